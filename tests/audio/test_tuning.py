"""The tuning is librosa's, hundredth for hundredth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genrescope.audio.decode import read_audio
from genrescope.audio.stft import magnitude_spectrogram
from genrescope.audio.tuning import Peaks, estimate_tuning

librosa = pytest.importorskip("librosa", reason="librosa is the reference")


def test_real_music(fma_clips: list[Path]) -> None:
    for path in fma_clips[::3]:
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


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning from empty")
@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.just(161), st.integers(1, 4)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0, 20.0, 30.0]),
    ),
    st.sampled_from([8_000, 16_000, 22_050]),
    st.sampled_from([12, 24, 36]),
)
def test_spectra_of_a_few_values_have_librosas_tuning(
    magnitudes: np.ndarray, sr: int, bins_per_octave: int
) -> None:
    """Neighbours are equal, and at 16,000 Hz bins stand at both limits of the range."""
    ours = estimate_tuning(magnitudes, sr=sr, bins_per_octave=bins_per_octave)
    theirs = librosa.estimate_tuning(S=magnitudes, sr=sr, bins_per_octave=bins_per_octave)
    assert ours == theirs


@pytest.mark.parametrize(("hz", "heard"), [(100, False), (150, True), (3950, True), (4000, False)])
def test_peaks_count_from_150_to_4000_hz(hz: int, heard: bool) -> None:
    spectrum = np.zeros((161, 1), np.float32)  # of 50 Hz each
    spectrum[hz // 50] = 1
    found = estimate_tuning(spectrum, sr=16_000)
    away = 12 * np.log2(hz / 440) % 1
    assert found == (pytest.approx(away - round(away), abs=0.011) if heard else 0.0)


@pytest.mark.parametrize(("n_fft", "hz"), [(None, 500.0), (320, 500.0), (321, 498.4423676)])
def test_bins_are_as_wide_as_the_transform_makes_them(n_fft: int | None, hz: float) -> None:
    spectrum = np.zeros((161, 1), np.float32)
    spectrum[10] = 1
    away = 12 * np.log2(hz / 440) % 1
    found = estimate_tuning(spectrum, sr=16_000, n_fft=n_fft)
    assert found == pytest.approx(away - round(away), abs=0.011)


def test_a_quiet_frame_has_peaks_of_its_own() -> None:
    """The loudest is looked for frame by frame."""
    spectra = np.zeros((161, 5), np.float32)
    spectra[14, 0] = 100.0
    spectra[10, 1:] = 1.0
    assert estimate_tuning(spectra, sr=16_000) == librosa.estimate_tuning(S=spectra, sr=16_000)
