"""Several encoders side by side, as one front end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genrescope.audio.encoders.base import Encoder, FloatArray, WindowEncoder
from genrescope.errors import DataError

__all__ = ["COMBINED_NAME", "COMBINED_VERSION", "Combined"]

COMBINED_NAME = "encoders"
COMBINED_VERSION = 1


class Combined(WindowEncoder):
    """One or more encoders that describe the same windows, which are decoded once.

    Parameters
    ----------
    encoders : sequence of Encoder
        In the order of their columns; at least one, each name once.

    Raises
    ------
    DataError
        If there is none, or one is there twice.
    """

    name = COMBINED_NAME
    version = COMBINED_VERSION

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        names = [encoder.name for encoder in encoders]
        if not names:
            raise DataError("no encoder was named; name at least one, such as frames")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"encoder {repeated[0]} is named twice; name each once")
        self.encoders = tuple(encoders)
        self.n_features = sum(encoder.n_features for encoder in encoders)
        self.licence = "; ".join(f"{encoder.name}: {encoder.licence}" for encoder in encoders)

    @property
    def columns(self) -> dict[str, slice]:
        """Which columns of a row are whose."""
        found, first = {}, 0
        for encoder in self.encoders:
            found[encoder.name] = slice(first, first + encoder.n_features)
            first += encoder.n_features
        return found

    def parameters(self) -> dict[str, Any]:
        """See :meth:`WindowEncoder.parameters`."""
        return {
            "encoders": [
                {
                    "name": encoder.name,
                    "version": encoder.version,
                    "n_features": encoder.n_features,
                    "licence": encoder.licence,
                    "parameters": encoder.parameters(),
                }
                for encoder in self.encoders
            ]
        }

    def card_section(self) -> dict[str, Any]:
        """What stands under ``front_end`` on the card of a bundle that reads these rows."""
        return {
            "name": self.name,
            "version": self.version,
            "n_features": self.n_features,
            "parameters": self.parameters(),
        }

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """See :meth:`WindowEncoder.encode`."""
        parts = [encoder.encode(windows, sr=sr) for encoder in self.encoders]
        return np.concatenate(parts, axis=1)
