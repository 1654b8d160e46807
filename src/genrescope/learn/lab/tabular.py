"""A table that can be learnt from: features, genres, and who made the tracks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError

__all__ = ["TabularData"]


@dataclass(frozen=True, eq=False)
class TabularData:
    """Tracks as rows of numbers, with their genres; what the laboratory works on.

    Attributes
    ----------
    name : str
        What the table is called in reports: ``fma-small-mfcc``, or the stem of a file.
    x : np.ndarray [shape=(n, d), float32]
        Features; NaN where missing. No column is empty or constant.
    features : tuple of d str
        Names of the columns, such as ``mfcc_mean.3``.
    feature_groups : tuple of d str
        The family of each column, such as ``mfcc``; what importance is added up by.
    y : np.ndarray [shape=(n,), int64]
        Genres as positions in ``genres``; every genre has at least two tracks.
    genres : tuple of k str
        Names of the genres, in alphabetical order.
    groups : np.ndarray [shape=(n,), str]
        What must stay on one side of a split, as a rule the artist. A track of no known artist
        is a group of its own.
    group_name : str
        What a group is, in the singular: "artist", or "track" where the table has none.
    split : np.ndarray [shape=(n,), str] or None
        "training", "validation" or "test", where the table has an official split.
    track_id, title, artist : np.ndarray [shape=(n,), str]
        For people; empty where not known.
    extras : mapping of str to np.ndarray [shape=(n,), float64]
        Numbers that are shown but not learnt from: ``listens``, ``duration`` (s), ``year``, ...
    notes : tuple of str
        What was left out or changed on the way in, and why: sentences for the report.
    source : str
        Where it comes from and under what licence: a sentence for the report.
    simulated : bool
        Whether the numbers are made up; every page made from them says so.
    """

    name: str
    x: NDArray[np.float32]
    features: tuple[str, ...]
    feature_groups: tuple[str, ...]
    y: NDArray[np.int64]
    genres: tuple[str, ...]
    groups: NDArray[np.str_]
    group_name: str
    track_id: NDArray[np.str_]
    title: NDArray[np.str_]
    artist: NDArray[np.str_]
    split: NDArray[np.str_] | None = None
    extras: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: str = ""
    simulated: bool = False

    def __post_init__(self) -> None:
        n, d = self.x.shape
        for what, length, wanted in (
            ("features", len(self.features), d),
            ("feature_groups", len(self.feature_groups), d),
            *((name, len(getattr(self, name)), n) for name in _ROWS),
            *((f"extras[{name!r}]", len(column), n) for name, column in self.extras.items()),
        ):
            if length != wanted:
                raise DataError(f"{what} has {length} values; x is {self.x.shape}: give {wanted}")
        if self.split is not None and len(self.split) != n:
            raise DataError(f"split has {len(self.split)} values; give one for each of {n} rows")

    def __len__(self) -> int:
        return len(self.y)

    def where(self, mask: NDArray[np.bool_]) -> TabularData:
        """The rows for which `mask` [shape=(n,), bool] is true, in the same order."""
        rows: dict[str, Any] = {name: getattr(self, name)[mask] for name in ("x", *_ROWS)}
        return replace(
            self,
            **rows,
            split=None if self.split is None else self.split[mask],
            extras={name: column[mask] for name, column in self.extras.items()},
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what a model sees: features, genres, groups and split."""
        digest = hashlib.sha256()
        for part in (self.x, self.y):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        split = () if self.split is None else self.split.tolist()
        for names in (self.features, self.genres, self.groups.tolist(), split):
            digest.update("\x1f".join(names).encode() + b"\x1e")
        return digest.hexdigest()


_ROWS = ("y", "groups", "track_id", "title", "artist")
