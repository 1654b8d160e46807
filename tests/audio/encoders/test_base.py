"""What all encoders share: samples as they must be, rates, pooling, windows at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from genrescope.audio.encoders.base import (
    FloatArray,
    WindowEncoder,
    mean_and_spread,
    resample,
)
from genrescope.errors import AudioNotFiniteError, DataError

SR = 100


class Listening(WindowEncoder):
    """Keeps what it is given; a row has one number, the mean of a window."""

    name, version, n_features, licence = "listening", 1, 1, "CC0-1.0"

    def __init__(self) -> None:
        self.heard: list[list[FloatArray]] = []
        self.rates: set[int] = set()

    def parameters(self) -> dict[str, Any]:
        return {}

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        self.heard.append(list(windows))
        self.rates.add(sr)
        return np.stack([y.mean(keepdims=True) for y in windows]).astype(np.float32)


def steps(seconds: int, sr: int = SR) -> np.ndarray:
    """Louder from second to second."""
    return np.repeat(np.arange(1, seconds + 1, dtype=np.float32) / 1_000, sr)


def test_four_windows_at_once_of_five_that_are_looked_at() -> None:
    encoder = Listening()
    described = encoder.describe_samples(steps(300), sr=SR)
    assert [len(group) for group in encoder.heard] == [4, 1]
    assert encoder.rates == {SR}
    assert described.features.shape == (5, 1)
    assert described.offsets.tolist() == [15.0, 75.0, 135.0, 195.0, 255.0]
    assert described.features[:, 0] == pytest.approx(
        np.array([30.5, 90.5, 150.5, 210.5, 270.5]) / 1_000
    )


def test_as_many_windows_as_asked_for(tmp_path: Path) -> None:
    y = steps(150, 1_000)
    path = tmp_path / "a.wav"
    soundfile.write(path, y, 1_000, subtype="FLOAT")
    encoder = Listening()
    in_memory = encoder.describe_samples(y, sr=1_000, n_windows=2)
    from_file = encoder.describe_file(path, n_windows=2)
    for described in (in_memory, from_file):
        assert described.offsets.tolist() == [22.5, 97.5]
        assert described.features[:, 0] == pytest.approx(np.array([38.0, 113.0]) / 1_000, rel=1e-5)
    encoder.heard.clear()
    assert len(encoder.describe_file(path).features) == 5
    assert [len(group) for group in encoder.heard] == [4, 1]
    assert encoder.rates == {1_000}


def heard(y: np.ndarray) -> np.ndarray:
    encoder = Listening()
    encoder.describe_samples(y, sr=SR)
    return encoder.heard[0][0]


def test_channels_are_averaged_and_windows_are_plain_float32() -> None:
    left, right = steps(2), np.full(200, 0.5, np.float32)
    mixed = heard(np.stack([left, right]).astype(np.float64))
    np.testing.assert_allclose(mixed, (left + right) / 2, atol=1e-7)
    for y in (mixed, heard(np.stack([left, right], axis=1).T), heard(steps(4)[::2])):
        assert y.dtype == np.float32
        assert y.shape == (200,)
        assert y.flags.c_contiguous


@pytest.mark.parametrize(
    "y",
    [np.ones(200, np.int16), np.ones((2, 2, 200), np.float32), np.float32(1.0)],
    ids=["integers", "three dimensions", "one number"],
)
def test_what_cannot_be_samples_is_refused(y: Any) -> None:
    with pytest.raises(DataError) as refused:
        Listening().describe_samples(y, sr=SR)
    assert str(refused.value) == (
        f"samples are {y.dtype} of shape {y.shape}, expected floats of shape (n,) or "
        "(channels, n); divide integers by their largest value"
    )


def test_more_rows_than_channels_can_be_are_samples() -> None:
    assert heard(np.ones((64, 200), np.float32)).tolist() == [1.0] * 200
    with pytest.raises(DataError) as refused:
        Listening().describe_samples(np.ones((65, 2), np.float32), sr=SR)
    assert str(refused.value) == (
        "samples have the shape (65, 2), expected (channels, n); samples as soundfile reads them "
        "need a transpose: samples.T"
    )
    assert len(heard(np.ones(200, np.float32))) == 200, "one row of any length is samples"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(value: float) -> None:
    y = np.full(200, 0.5)
    y[7] = value
    with pytest.raises(AudioNotFiniteError) as refused:
        Listening().describe_samples(y, sr=SR)
    assert str(refused.value) == "samples hold NaN or infinity; replace them first"


def test_mean_then_spread() -> None:
    pooled = mean_and_spread(np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]], np.float32))
    assert pooled.dtype == np.float32
    assert pooled.tolist() == pytest.approx([4.0, 5.0, np.sqrt(26 / 3), 0.0])
    # Small steps on a large number are lost where float32 adds them up.
    offset = np.float32(10_000)
    many = offset + np.tile(np.array([[0.0], [0.25]], np.float32), (20_000, 1))
    assert mean_and_spread(many).tolist() == pytest.approx([10_000.125, 0.125], rel=1e-6)


def test_the_same_rate_changes_nothing() -> None:
    y = steps(1)
    assert resample(y, 16_000, 16_000) is y


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (8_000, 16_000), (48_000, 32_000)])
def test_another_rate_is_soxrs_at_high_quality(old: int, new: int) -> None:
    y = np.random.default_rng(0).normal(size=4_000).astype(np.float32)
    found, expected = resample(y, old, new), soxr.resample(y, old, new, quality="HQ")
    assert found.dtype == np.float32
    assert len(found) == int(np.ceil(4_000 * new / old))
    n = min(len(found), len(expected))
    np.testing.assert_array_equal(found[:n], expected[:n])
    assert not found[n:].any()


def test_the_length_is_rounded_up_whatever_the_resampler_gives() -> None:
    for size in range(1_000, 1_040):
        y = np.ones(size, np.float32)
        assert len(resample(y, 44_100, 16_000)) == int(np.ceil(size * (16_000 / 44_100)))
        short = resample(y, 48_000, 32_000)
        assert len(short) == int(np.ceil(size * (32_000 / 48_000)))
        assert short.dtype == np.float32
