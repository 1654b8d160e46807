"""The shape of a spectrum is librosa's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genrescope.audio import spectral

librosa = pytest.importorskip("librosa", reason="librosa is the reference")

AXES = [(22_050, 2048), (44_100, 2048), (32_000, 1024)]


def some_frames(n_fft: int, count: int = 300) -> np.ndarray:
    """Falling spectra with holes; one of silence, one of a single tone."""
    rng = np.random.default_rng(5)
    bins = 1 + n_fft // 2
    frames = rng.gamma(0.6, size=(count, bins)) * np.exp(-np.arange(bins) / rng.uniform(5, bins))
    frames[:, -bins // 4 :] *= 1e-6
    frames[3] = 0
    frames[4] = 0
    frames[4, bins // 2] = 50
    return frames.astype(np.float32)


@pytest.mark.parametrize(("sr", "n_fft"), AXES)
def test_centroid_and_bandwidth(sr: int, n_fft: int) -> None:
    frames = some_frames(n_fft)
    centroid, bandwidth = spectral.centroid_and_bandwidth(frames, sr=sr, n_fft=n_fft)
    theirs = librosa.feature.spectral_centroid(S=frames.T, sr=sr)[0]
    np.testing.assert_allclose(centroid, theirs, rtol=1e-6)
    theirs = librosa.feature.spectral_bandwidth(S=frames.T, sr=sr)[0]
    np.testing.assert_allclose(bandwidth, theirs, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(("sr", "n_fft"), AXES)
def test_rolloff_to_the_bin(sr: int, n_fft: int) -> None:
    frames = some_frames(n_fft)
    frames[5] = 1  # adds up exactly, until rounding begins
    frames[6, :-1] = 0  # all in the last bin
    np.testing.assert_array_equal(
        spectral.rolloff(frames, sr=sr, n_fft=n_fft),
        librosa.feature.spectral_rolloff(S=frames.T, sr=sr)[0],
    )


@pytest.mark.parametrize("at", [0, 10, 31, 32, 33, 63, 64, 127])
def test_rolloff_is_reached_when_exactly_85_percent_are(at: int) -> None:
    frames = np.zeros((2, 129), np.float32)
    frames[:, at] = np.float32(0.85)
    frames[:, 128] = 1 - np.float32(0.85)
    assert (frames.sum(axis=1) == 1).all()
    ours = spectral.rolloff(frames, sr=256, n_fft=256)
    assert ours.tolist() == [at, at]
    theirs = librosa.feature.spectral_rolloff(S=frames.T, sr=256)[0]
    np.testing.assert_array_equal(ours, theirs)


def test_rolloff_adds_up_as_roundly_as_librosa() -> None:
    """What is less than half of the last digit of the sum adds nothing, however often."""
    frames = np.zeros((3, 129), np.float32)
    frames[:, 0] = 1
    frames[:, 1:32] = 5e-8
    frames[:, 100] = 1 / 0.85 - 1 + np.array([[0.0], [3e-7], [8e-7]])[:, 0]
    np.testing.assert_array_equal(
        spectral.rolloff(frames, sr=256, n_fft=256),
        librosa.feature.spectral_rolloff(S=frames.T, sr=256)[0],
    )


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.just(65)),
        elements=st.sampled_from([0.0, 1e-8, 0.1, 0.3, 1.0, 17.0, 1e6]),
    )
)
def test_rolloff_of_anything(frames: np.ndarray) -> None:
    before = frames.copy()
    np.testing.assert_array_equal(
        spectral.rolloff(frames, sr=8_000, n_fft=128),
        librosa.feature.spectral_rolloff(S=frames.T, sr=8_000)[0],
    )
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(("sr", "n_fft"), [*AXES, (96_000, 2048)])
def test_contrast(sr: int, n_fft: int) -> None:
    frames = some_frames(n_fft)
    parts = [
        spectral.peaks_and_valleys(part, sr=sr, n_fft=n_fft) for part in (frames[:77], frames[77:])
    ]
    theirs = librosa.feature.spectral_contrast(S=frames.T, sr=sr, n_bands=6)
    ours = spectral.contrast(np.concatenate(parts, axis=2))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.integers(1, 900),
        elements=st.sampled_from([0.0, -0.0, 1e-11, -1e-11, 1e-9, -1e-9, 0.5, -0.5]),
    )
)
def test_zero_crossings(y: np.ndarray) -> None:
    ours = spectral.zero_crossings(y, frame_length=128, hop_length=32)
    theirs = librosa.feature.zero_crossing_rate(y, frame_length=128, hop_length=32)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_frames_of_zero_crossings_are_the_usual_ones_unless_told_otherwise() -> None:
    y = np.random.default_rng(0).normal(size=5_000).astype(np.float32)
    ours = spectral.zero_crossings(y)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, librosa.feature.zero_crossing_rate(y)[0], atol=1e-12)


def test_contrast_has_a_range_of_80_db_below_the_loudest_peak_and_the_loudest_valley() -> None:
    extremes = np.full((2, 7, 3), 1e-3, np.float32)
    extremes[0, 0, 0] = 1e6
    extremes[1, 1, 0] = 1e-12
    ratio = spectral.contrast(extremes)
    assert ratio.shape == (7, 3)
    assert ratio[0, 0] == pytest.approx(90.0, abs=1e-4)
    assert ratio[1, 0] == pytest.approx(80.0, abs=1e-4)  # nothing lies below -100 dB
    np.testing.assert_allclose(ratio[2:], 10.0, atol=1e-4)
