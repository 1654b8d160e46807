"""Magnitudes are librosa's to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import stft
from genrescope.audio.decode import read_audio
from genrescope.errors import AudioNotFiniteError, AudioTooShortError

librosa = pytest.importorskip("librosa", reason="librosa is the reference")


@pytest.mark.parametrize("n", [1, 2, 7, 255, 256, 743, 2048])
def test_window_is_scipys(n: int) -> None:
    np.testing.assert_array_equal(stft.periodic_hann(n), scipy.signal.get_window("hann", n))
    assert not stft.periodic_hann(n).flags.writeable


def test_real_music_bit_for_bit(fma_clips: list[Path]) -> None:
    for path in fma_clips[::3]:
        y, _ = read_audio(path, duration=12.0)
        np.testing.assert_array_equal(stft.magnitude_spectrogram(y), np.abs(librosa.stft(y)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.sampled_from([64, 256, 512]), st.sampled_from([32, 100, 128]))
@pytest.mark.filterwarnings("ignore:n_fft=")
def test_any_length(n: int, n_fft: int, hop: int) -> None:
    y = np.random.default_rng(n).normal(size=n).astype(np.float32)
    ours = stft.magnitude_spectrogram(y, n_fft=n_fft, hop_length=hop)
    theirs = np.abs(librosa.stft(y, n_fft=n_fft, hop_length=hop))
    np.testing.assert_array_equal(ours, theirs)


def test_blocks_make_the_whole() -> None:
    y = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    whole = stft.magnitude_spectrogram(y, n_fft=512, hop_length=128)
    blocks = [
        (first, part.copy())
        for first, part in stft.magnitude_blocks(y, n_fft=512, hop_length=128, block=50)
    ]
    assert [first for first, _ in blocks] == [0, 50, 100, 150]
    np.testing.assert_array_equal(np.concatenate([part for _, part in blocks]).T, whole)


def test_an_odd_window_has_its_last_frame() -> None:
    y = np.ones(300, np.float32)
    assert stft.magnitude_spectrogram(y, n_fft=75, hop_length=100).shape == (38, 4)


def test_what_has_no_spectrum() -> None:
    with pytest.raises(AudioTooShortError, match="0 samples"):
        stft.magnitude_spectrogram(np.empty(0, np.float32))
    for bad in (np.nan, np.inf, -np.inf, 1e300):
        with pytest.raises(AudioNotFiniteError):
            stft.magnitude_spectrogram(np.array([0.0, bad, 0.0]))
    with pytest.raises(ValueError, match=r"shape \(2, 9\)"):
        stft.magnitude_spectrogram(np.zeros((2, 9), np.float32))
    with pytest.raises(ValueError, match="int64"):
        stft.magnitude_spectrogram(np.arange(9))
