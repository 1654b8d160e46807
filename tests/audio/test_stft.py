"""Magnitudes are librosa's to the last bit."""

from __future__ import annotations

import warnings
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


def test_blocks_are_of_the_usual_window_and_step_unless_told_otherwise() -> None:
    y = np.random.default_rng(0).normal(size=512 * 300).astype(np.float32)
    blocks = [(first, part.copy()) for first, part in stft.magnitude_blocks(y)]
    assert [(first, part.shape) for first, part in blocks] == [(0, (256, 1025)), (256, (45, 1025))]
    whole = np.concatenate([part for _, part in blocks]).T
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, np.abs(librosa.stft(y)))


def test_samples_are_one_row_of_float32_and_copied_only_to_be_so() -> None:
    y = np.random.default_rng(0).normal(size=9)
    single = y.astype(np.float32)
    assert stft.checked_samples(single) is single
    assert stft.checked_samples(y).dtype == np.float32
    np.testing.assert_array_equal(stft.checked_samples(y), single)
    np.testing.assert_array_equal(stft.checked_samples(y.tolist()), single)
    assert len(stft.checked_samples(y, at_least=9)) == 9


def test_what_has_no_spectrum() -> None:
    with pytest.raises(AudioTooShortError) as short:
        stft.magnitude_spectrogram(np.empty(0, np.float32))
    assert str(short.value) == "0 samples, at least 1 are needed; take a longer piece"
    with pytest.raises(AudioTooShortError, match="8 samples, at least 9 are"):
        stft.checked_samples(np.zeros(8), at_least=9)
    for bad in (np.nan, np.inf, -np.inf, 1e300, -1e300):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the error below is enough
            with pytest.raises(AudioNotFiniteError) as not_finite:
                stft.magnitude_spectrogram(np.array([0.0, bad, 0.0]))
        assert str(not_finite.value) == (
            "NaN or infinite samples; only finite ones mean sound. Export the sound again from "
            "where it was made."
        )
    for wrong, what in (
        (np.zeros((2, 9), np.float32), "float32 of shape (2, 9)"),
        (np.zeros((1, 9), np.float32), "float32 of shape (1, 9)"),
        (np.array(1.0), "float64 of shape ()"),
        (np.arange(9), "int64 of shape (9,)"),
        (np.zeros(9, np.complex64), "complex64 of shape (9,)"),
    ):
        with pytest.raises(ValueError) as error:
            stft.magnitude_spectrogram(wrong)
        assert str(error.value) == (
            f"y is {what}; it must be one row of floats, full scale 1.0: average the channels, "
            "divide integers by their largest value"
        )
