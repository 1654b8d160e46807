"""What every encoder has in common: windows of sound in, one row of numbers a window out.

An encoder says what it makes of one window. Which windows of a track are heard is decided by
:mod:`genrescope.audio.windows`.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from genrescope.audio import windows
from genrescope.audio.windows import TrackFeatures
from genrescope.errors import AudioNotFiniteError, DataError

__all__ = [
    "Encoder",
    "FrontEnd",
    "WindowEncoder",
    "mean_and_spread",
    "resample",
]

FloatArray = npt.NDArray[np.float32]

_AT_ONCE = 4  # windows held in memory: 21 MB at 44.1 kHz
_MAX_CHANNELS = 64  # more rows than this in a 2-D array are samples, not channels


class FrontEnd(Protocol):
    """From sound to the rows that a recogniser reads.

    Attributes
    ----------
    name : str
        What a card calls it.
    version : str or int
        Changes whenever the numbers do.
    n_features : int
        Numbers in a row.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str | int: ...

    @property
    def n_features(self) -> int: ...

    def card_section(self) -> dict[str, Any]:
        """What stands under ``front_end`` on the card of a bundle that reads these rows."""
        ...

    def describe_samples(
        self, y: FloatArray, *, sr: int, n_windows: int | None = None
    ) -> TrackFeatures:
        """Rows of sound in memory."""
        ...

    def describe_file(
        self, path: str | os.PathLike[str], *, n_windows: int | None = None
    ) -> TrackFeatures:
        """Rows of an audio file."""
        ...


class Encoder(Protocol):
    """A way from a window of sound to numbers that a head can be trained on.

    Attributes
    ----------
    name : str
        What :func:`~genrescope.audio.encoders.get_encoder` makes it from.
    version : str or int
        Changes whenever the numbers do.
    n_features : int
        Numbers for one window; mean and spread beside each other where it pools.
    licence : str
        Of its weights.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str | int: ...

    @property
    def n_features(self) -> int: ...

    @property
    def licence(self) -> str: ...

    def parameters(self) -> dict[str, Any]:
        """Everything that decides the numbers, in types that JSON has."""
        ...

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """Rows of some windows of one track."""
        ...

    def describe_samples(
        self, y: FloatArray, *, sr: int, n_windows: int | None = None
    ) -> TrackFeatures:
        """Rows of sound in memory."""
        ...

    def describe_file(
        self, path: str | os.PathLike[str], *, n_windows: int | None = None
    ) -> TrackFeatures:
        """Rows of an audio file."""
        ...


class WindowEncoder(ABC):
    """The part of an encoder that is the same for all: which windows are described.

    A child sets `name`, `version`, `n_features` and `licence`, and says what a window becomes. One
    that is built in also says in `about` what it is, for ``genrescope encoders list``.
    """

    about: str = ""
    name: str
    version: str | int
    n_features: int
    licence: str

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Everything that decides the numbers, in types that JSON has.

        Returns
        -------
        dict
            Sources, hashes, rates, pooling; the same from one process to the next.
        """

    @abstractmethod
    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """Rows of some windows of one track.

        Parameters
        ----------
        windows : sequence of np.ndarray [shape=(n,), float32]
            Mono samples, half a second or more each, not necessarily equally long.
        sr : int > 0
            Their sampling rate in Hz.

        Returns
        -------
        np.ndarray [shape=(windows, n_features), float32]
            A row does not depend on which other windows are there.
        """

    def describe_samples(
        self, y: FloatArray, *, sr: int, n_windows: int | None = None
    ) -> TrackFeatures:
        """Describe sound that is in memory.

        Parameters
        ----------
        y : np.ndarray [shape=(n,) or (channels, n), floating]
            Samples in [-1, 1]; channels are averaged.
        sr : int > 0
            Sampling rate in Hz.
        n_windows : int > 0, optional
            At most so many windows of 30 s, spread evenly over `y`. Default: 5.

        Returns
        -------
        TrackFeatures
            A row of `n_features` numbers for each window that is not silent.

        Raises
        ------
        DataError
            If the samples have a shape or type that cannot be sound.
        AudioError
            If they are too few, silent or not finite, each by its own class.
        """
        return windows.describe_samples(
            _mono(y), self.encode, sr=sr, n_windows=n_windows, at_once=_AT_ONCE
        )

    def describe_file(
        self, path: str | os.PathLike[str], *, n_windows: int | None = None
    ) -> TrackFeatures:
        """Describe an audio file; only the windows are decoded.

        Parameters
        ----------
        path : path-like
            Any file that :func:`genrescope.audio.decode.open_audio` reads.
        n_windows : int > 0, optional
            At most so many windows of 30 s, spread evenly over the track. Default: 5.

        Returns
        -------
        TrackFeatures
            A row of `n_features` numbers for each window that is not silent.

        Raises
        ------
        AudioError
            Whatever is wrong with the file, each by its own class.
        """
        return windows.describe_file(path, self.encode, n_windows=n_windows, at_once=_AT_ONCE)


def mean_and_spread(embeddings: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Pool the embeddings of a window.

    Parameters
    ----------
    embeddings : np.ndarray [shape=(times, n), floating]
        One or more, in time.

    Returns
    -------
    np.ndarray [shape=(2 n,), float32]
        Their mean, then their standard deviation (zeros where there is one embedding).

    Examples
    --------
    >>> mean_and_spread(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [2.0, 5.0, 1.0, 0.0]
    """
    exact = np.asarray(embeddings, dtype=np.float64)
    return np.concatenate([exact.mean(axis=0), exact.std(axis=0)]).astype(np.float32)


def resample(y: FloatArray, old: int, new: int) -> FloatArray:
    """Samples at another rate (soxr, HQ).

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples.
    old, new : int > 0
        Rates in Hz.

    Returns
    -------
    np.ndarray [shape=(ceil(n * new / old),), float32]
        As ``librosa.resample`` has it.
    """
    if old == new:
        return y
    import soxr

    n = math.ceil(len(y) * (new / old))
    out: FloatArray = soxr.resample(y, old, new, quality="HQ")
    return out[:n] if len(out) >= n else np.concatenate([out, np.zeros(n - len(out), np.float32)])


def _mono(y: npt.NDArray[Any]) -> FloatArray:
    """Samples as one row of float32."""
    if y.ndim not in (1, 2) or y.dtype.kind != "f":
        raise DataError(
            f"samples are {y.dtype} of shape {y.shape}, expected floats of shape (n,) or "
            "(channels, n); divide integers by their largest value"
        )
    if y.ndim == 2 and y.shape[0] > _MAX_CHANNELS:
        raise DataError(
            f"samples have the shape {y.shape}, expected (channels, n); "
            "samples as soundfile reads them need a transpose: samples.T"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        mixed = y.astype(np.float32, copy=False)
    if mixed.ndim == 2:
        mixed = mixed.mean(axis=0)
    if not np.isfinite(mixed).all():
        raise AudioNotFiniteError("samples hold NaN or infinity; replace them first")
    return np.ascontiguousarray(mixed)
