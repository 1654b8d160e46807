"""What a feature store holds, and by which parameters it was computed.

A store has one recipe for good. Each feature of it is named by its front end: a name, a version and
all parameters. Features of two recipes are never in one store.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import descriptors, frames
from genrescope.audio.statistics import N_MFCC
from genrescope.errors import DataError

__all__ = ["KINDS", "MEL_BANDS", "MEL_HOP", "MEL_HZ", "RANGE_DB", "Recipe", "parse_what"]

#: The features that a store can have.
KINDS: tuple[str, ...] = ("mel", "descriptors", "frames")

MEL_HZ = 22_050
MEL_N_FFT = 2048  # samples at MEL_HZ
MEL_HOP = 512  # samples at MEL_HZ
MEL_BANDS = 128
RANGE_DB = 80.0  # below the loudest value of the excerpt

_MEL_VERSION = 1
_DESCRIPTORS_VERSION = 1
_DTYPES = ("uint8", "float16")
_SECONDS = (1.0, 600.0)


@dataclass(frozen=True)
class Recipe:
    """What is computed for each track.

    Attributes
    ----------
    what : tuple of str
        Some of :data:`KINDS`, in that order. ``mel`` is the mel spectrogram, ``descriptors`` are
        the 518 of FMA's features.csv, ``frames`` are the 128 mel frames and the dense MFCC that
        the shipped recogniser reads.
    seconds : float
        How much of each track ``mel`` and ``descriptors`` read, from its beginning; 1 to 600.
        ``frames`` read 30 s, as their own recipe says.
    dtype : str
        Of the mel spectrogram: "uint8", in steps of 0.31 dB, or "float16".

    Raises
    ------
    DataError
        If a value is none of those.

    Examples
    --------
    >>> Recipe(("mel",)).arrays
    {'mel': ((128, 1292), dtype('uint8'))}
    """

    what: tuple[str, ...] = KINDS
    seconds: float = 30.0
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", parse_what(self.what))
        low, high = _SECONDS
        if not (math.isfinite(self.seconds) and low <= self.seconds <= high):
            raise DataError(
                f"seconds is {self.seconds:g}; from {low:g} to {high:g} of each track can be read"
            )
        object.__setattr__(self, "seconds", float(self.seconds))
        if self.dtype not in _DTYPES:
            raise DataError(f"dtype is {self.dtype!r}; it must be one of {', '.join(_DTYPES)}")

    @property
    def mel_frames(self) -> int:
        """Columns of a mel spectrogram; shorter tracks are filled up with the lowest value."""
        return 1 + math.ceil(self.seconds * MEL_HZ) // MEL_HOP

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Arrays of a part: name to the shape of one row and the type of its values."""
        found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        if "mel" in self.what:
            found["mel"] = ((MEL_BANDS, self.mel_frames), np.dtype(self.dtype))
        if "frames" in self.what:
            found["frames"] = ((frames.N_BANDS, frames.N_FRAMES), np.dtype(np.uint8))
            found["mfcc"] = ((frames.DENSE_FRAMES, N_MFCC), np.dtype(np.float16))
        return found

    @property
    def row_bytes(self) -> int:
        """What a track takes on the disk, about."""
        arrays = sum(math.prod(shape) * kind.itemsize for shape, kind in self.arrays.values())
        return arrays + ("descriptors" in self.what) * 4 * len(descriptors.DESCRIPTOR_NAMES) + 512

    @property
    def front_ends(self) -> dict[str, dict[str, Any]]:
        """Name, version and parameters of what computes each feature."""
        of = {
            "mel": {
                "name": "mel",
                "version": _MEL_VERSION,
                "parameters": {
                    "seconds": self.seconds,
                    "sr": MEL_HZ,
                    "resampling": "soxr HQ",
                    "n_fft": MEL_N_FFT,
                    "hop_length": MEL_HOP,
                    "mel_bands": MEL_BANDS,
                    "mel_scale": "slaney",
                    "power": 2,
                    "decibels": "below the loudest value of the excerpt",
                    "range_db": RANGE_DB,
                    "dtype": self.dtype,
                },
            },
            "descriptors": {
                "name": "descriptors",
                "version": _DESCRIPTORS_VERSION,
                "parameters": {
                    "seconds": self.seconds,
                    "convention": "fma",
                    "columns": len(descriptors.DESCRIPTOR_NAMES),
                },
            },
            "frames": {
                "name": frames.FRONT_END_NAME,
                "version": frames.FRONT_END_VERSION,
                "parameters": {
                    "seconds": frames.WINDOW_SECONDS,
                    "reference_level": "loudest value of the excerpt",
                    **frames.FRONT_END["parameters"],
                },
            },
        }
        return {kind: of[kind] for kind in self.what}

    @property
    def hashes(self) -> dict[str, str]:
        """A short hash of each front end, by which two are told apart."""
        return {kind: _hash(front_end) for kind, front_end in self.front_ends.items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the store's own description."""
        ends = self.front_ends
        return {
            "what": list(self.what),
            "seconds": self.seconds,
            "dtype": self.dtype,
            "front_ends": {
                kind: {**ends[kind], "hash": digest} for kind, digest in self.hashes.items()
            },
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Recipe:
        """The recipe that :meth:`to_dict` described."""
        return cls(tuple(said["what"]), seconds=float(said["seconds"]), dtype=str(said["dtype"]))

    def require_same(self, said: Mapping[str, Any], *, store: str) -> None:
        """Check that a store was made by this recipe.

        Raises
        ------
        DataError
            If it was not; the message names every parameter that differs, on both sides.
        """
        asked = self.to_dict()
        differ = [
            f"{name} is {_shown(said.get(name))} there and {_shown(asked[name])} here"
            for name in ("what", "seconds", "dtype")
            if said.get(name) != asked[name]
        ]
        for kind in () if differ else self.what:
            there, here = said["front_ends"].get(kind, {}), asked["front_ends"][kind]
            if there.get("hash") != here["hash"]:
                differ += _differences(kind, there, here)
        if differ:
            raise DataError(
                f"{store}: made with other parameters: {'; '.join(differ)}. Features of different "
                "parameters are never mixed: give the store's own, or another --out"
            )


def parse_what(what: str | Iterable[str]) -> tuple[str, ...]:
    """Kinds of features, each once, in their own order.

    >>> parse_what("frames,mel")
    ('mel', 'frames')

    Raises
    ------
    DataError
        If one is not known, or there is none.
    """
    names = [name.strip() for name in (what.split(",") if isinstance(what, str) else what)]
    wrong = [name for name in names if name not in KINDS]
    if wrong or not names:
        said = repr(wrong[0]) if wrong else "nothing"
        raise DataError(f"what is {said}; give some of {', '.join(KINDS)}, with commas between")
    return tuple(kind for kind in KINDS if kind in names)


def quantise(db: npt.NDArray[np.float32], *, dtype: str) -> npt.NDArray[Any]:
    """Decibels from -80 to 0 as they are stored."""
    if dtype == "float16":
        return db.astype(np.float16)
    scaled = np.rint((db + np.float32(RANGE_DB)) * np.float32(255.0 / RANGE_DB))
    stored: npt.NDArray[Any] = scaled.astype(np.uint8)
    return stored


def to_decibels(stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Stored values as decibels below the loudest, -80 to 0."""
    db = stored.astype(np.float32)
    if stored.dtype == np.uint8:
        db *= np.float32(RANGE_DB / 255.0)
        db -= np.float32(RANGE_DB)
    return db


def _hash(front_end: Mapping[str, Any]) -> str:
    text = json.dumps(front_end, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _differences(kind: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    if there.get("version") != here["version"]:
        return [f"version of {kind} is {there.get('version')} there and {here['version']} here"]
    old, new = there.get("parameters", {}), here["parameters"]
    return [
        f"{name} of {kind} is {old.get(name)} there and {new.get(name)} here"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ] or [f"{kind} has the hash {there.get('hash')} there and {here['hash']} here"]
