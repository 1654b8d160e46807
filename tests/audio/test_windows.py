"""Which windows of a track are described."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from genrescope.audio.windows import Sound, describe_windows


def test_a_header_that_promises_too_much_is_measured() -> None:
    """Windows go where the sound is, not where a header says."""
    y = np.random.default_rng(0).normal(size=90 * 8_000).astype(np.float32)
    measured = []

    def read(offset: float) -> np.ndarray:
        start = int(offset * 8_000)
        return y[start : start + 240_000]

    def measure() -> float:
        measured.append(True)
        return len(y) / 8_000

    def loudest(windows: Sequence[np.ndarray], *, sr: int) -> np.ndarray:
        return np.array([[window.max()] for window in windows])

    liar = Sound("liar", read, 8_000, 3_000.0, measure)
    described = describe_windows(liar, loudest, n_windows=3, at_once=2)
    assert described.features.shape == (3, 1)
    np.testing.assert_allclose(described.offsets, [0.0, 30.0, 60.0])
    assert described.duration == pytest.approx(90.0)
    assert measured == [True]
