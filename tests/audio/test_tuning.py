"""The tuning is librosa's, hundredth for hundredth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio.decode import read_audio
from genrescope.audio.stft import magnitude_spectrogram
from genrescope.audio.tuning import Peaks, estimate_tuning

librosa = pytest.importorskip("librosa", reason="librosa is the reference")


def test_real_music(fma_clips: list[Path]) -> None:
    for path in fma_clips:
        y, sr = read_audio(path, duration=10.0)
        magnitudes = magnitude_spectrogram(y)
        assert estimate_tuning(magnitudes, sr=sr) == librosa.estimate_tuning(y=y, sr=sr)
        power = magnitudes**2
        assert estimate_tuning(power, sr=22_050) == librosa.estimate_tuning(S=power, sr=22_050)


def test_peaks_bit_for_bit(fma_clips: list[Path]) -> None:
    y, sr = read_audio(fma_clips[2], duration=5.0)
    magnitudes = magnitude_spectrogram(y)
    hz, heights = librosa.piptrack(S=magnitudes, sr=sr)
    peaks = Peaks(sr, 2048)
    rows = np.ascontiguousarray(magnitudes.T)
    for part in np.array_split(rows, 7):
        peaks.add(part, part.max(axis=1))
    found = hz.T > 0
    assert found.sum() > 1000
    np.testing.assert_array_equal(np.concatenate(peaks._hz), hz.T[found])
    np.testing.assert_array_equal(np.concatenate(peaks._heights), heights.T[found])


@settings(max_examples=20, deadline=None)
@given(st.integers(-45, 45), st.sampled_from([8_000, 22_050, 44_100]))
def test_a_detuned_tone_is_found(cents: int, sr: int) -> None:
    t = np.arange(sr) / sr
    y = sum(np.sin(2 * np.pi * k * 440 * 2 ** (cents / 1200) * t) for k in (1, 2, 4))
    magnitudes = magnitude_spectrogram(np.asarray(y, np.float32))
    found = estimate_tuning(magnitudes, sr=sr)
    assert found == pytest.approx(cents / 100, abs=0.05)
    assert found == librosa.estimate_tuning(S=magnitudes, sr=sr)


@pytest.mark.parametrize("sr", [200, 22_050])
def test_without_peaks_there_is_no_deviation(sr: int) -> None:
    assert estimate_tuning(np.zeros((1025, 9), np.float32), sr=sr) == 0.0
