"""Our own features, as an encoder for heads and as the front end of bundles.

A row of :mod:`genrescope.audio.frames` has 20,192 numbers, most of them frames that a network
reads as a picture. A head that learns from a few hundred tracks can only drown in those, so the
encoder gives it the statistics alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from genrescope.audio import frames
from genrescope.audio.encoders.base import FloatArray, WindowEncoder
from genrescope.audio.frames import TrackFeatures

__all__ = ["FramesEncoder", "WholeFrames"]


class FramesEncoder(WindowEncoder):
    """The statistics of a window's mel frames and dense MFCC: the first part of a whole row."""

    about = "2,872 statistics of mel frames and MFCC"
    name = frames.FRONT_END_NAME
    version = frames.FRONT_END_VERSION
    n_features = frames.N_STATISTICS
    licence = "Apache-2.0"

    def parameters(self) -> dict[str, Any]:
        """See :meth:`WindowEncoder.parameters`."""
        return {**frames.FRONT_END["parameters"], "columns": "statistics"}

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """See :meth:`WindowEncoder.encode`."""
        rows = [
            frames.describe_samples(y, sr=sr, n_windows=1).features[0, : self.n_features]
            for y in windows
        ]
        return np.stack(rows)


class WholeFrames:
    """The front end ``frames``: whole rows, as :mod:`genrescope.audio.frames` makes them.

    An object rather than the module, since a recogniser travels to worker processes and a
    module cannot.
    """

    name = frames.FRONT_END_NAME
    version = frames.FRONT_END_VERSION
    n_features = frames.N_FEATURES

    def card_section(self) -> dict[str, Any]:
        """What stands under ``front_end`` on a card."""
        return {**frames.FRONT_END, "parameters": dict(frames.FRONT_END["parameters"])}

    def describe_samples(
        self, y: FloatArray, *, sr: int, n_windows: int | None = None
    ) -> TrackFeatures:
        """See :func:`genrescope.audio.frames.describe_samples`."""
        count = frames.DEFAULT_WINDOWS if n_windows is None else n_windows
        return frames.describe_samples(y, sr=sr, n_windows=count)

    def describe_file(
        self, path: str | os.PathLike[str], *, n_windows: int | None = None
    ) -> TrackFeatures:
        """See :func:`genrescope.audio.frames.describe_file`."""
        count = frames.DEFAULT_WINDOWS if n_windows is None else n_windows
        return frames.describe_file(path, n_windows=count)
