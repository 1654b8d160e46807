"""What the decoders have in common: an open file that gives samples by position."""

from __future__ import annotations

from typing import Protocol

import numpy as np

__all__ = ["Source", "SourceEmptyError", "SourceError", "SourceForeignError"]


class SourceError(Exception):
    """A decoder cannot open the file or go on with it; another one may."""


class SourceEmptyError(SourceError):
    """A decoder knows the file, and finds no sound in it."""


class SourceForeignError(SourceError):
    """A decoder knows the file, and it is not of sound."""


class Source(Protocol):
    """One open audio file, seen by its samples.

    Attributes
    ----------
    name : str
        The library that decodes ("libsndfile" or "ffmpeg").
    format : str
        Container and codec, as that library calls them.
    sr, channels : int
        Sampling rate in Hz and number of channels.
    n_samples : int or None
        Samples per channel as far as the file says; None where it does not.
    exact : bool
        Whether `n_samples` follows from the bytes that are there. Otherwise it is what a
        header claims.
    """

    name: str
    format: str
    sr: int
    channels: int
    n_samples: int | None
    exact: bool

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples `start` to `stop`, fewer where the sound ends before.

        Returns
        -------
        np.ndarray [shape=(n, channels), float32]

        Raises
        ------
        SourceError
            If what is there cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Free what the decoder holds (not the descriptor it was given)."""
        ...
