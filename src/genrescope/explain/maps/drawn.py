"""A map of tracks: where each lies, how new ones are placed, and how a map is kept on disk."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.storage import atomic
from genrescope.explain.maps.quality import MapQuality

__all__ = ["CLIP", "Map", "Projection", "read_map", "write_map"]

CLIP = 10.0  # standard deviations; else one odd track stretches the whole map
_CELLS = 20_000_000  # features handled at once, so that memory stays near 500 MB

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Projection:
    """How rows of features become positions.

    Attributes
    ----------
    median, mean, scale : np.ndarray [shape=(d,), float64]
        Of the features, over training rows: to fill in what is missing, and to standardise.
    matrix : np.ndarray [shape=(d, p), float64]
    offset : np.ndarray [shape=(p,), float64]
        Standardised rows times ``matrix`` minus ``offset`` are positions, or what t-SNE sees.
    reference : np.ndarray [shape=(n_fitted, p), float32]
        For t-SNE: what it saw of the rows it was fitted on; else no rows.
    """

    median: Floats
    mean: Floats
    scale: Floats
    matrix: Floats
    offset: Floats
    reference: NDArray[np.float32]

    def standardise(self, x: NDArray[np.floating[Any]]) -> Floats:
        """Features [n, d] in standard deviations from the mean of the training rows."""
        filled = np.where(np.isfinite(x), x, self.median)
        return np.clip((filled - self.mean) / self.scale, -CLIP, CLIP)

    def reduce(self, x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Features [n, d] as positions, or as what t-SNE sees, [n, p]."""
        rows = max(1, _CELLS // max(1, x.shape[1]))
        parts = [
            (self.standardise(x[at : at + rows]) @ self.matrix - self.offset).astype(np.float32)
            for at in range(0, len(x), rows)
        ]
        return np.concatenate([np.empty((0, len(self.offset)), dtype=np.float32), *parts])


@dataclass(frozen=True, eq=False)
class Map:
    """Tracks as points.

    Attributes
    ----------
    method : str
        "PCA", "LDA" or "t-SNE".
    dims : 2 or 3
    positions : np.ndarray [shape=(n, dims), float32]
        Of all rows of the table.
    fitted_on : np.ndarray [shape=(n,), bool]
        Rows that the map was fitted on; the others were placed on it afterwards.
    projected : bool
        Whether there are such others.
    explained : tuple of float
        PCA: share of the variance on each of the first components, also beyond ``dims``. LDA:
        share of the variance between genres on each axis. t-SNE: none.
    axis_labels : tuple of dims str
    axis_features : tuple of dims tuples of (str, float)
        PCA and LDA: the features that go along with each axis most, with the correlation.
    quality : MapQuality
        Of the rows that the map was fitted on, among themselves.
    quality_held_out : MapQuality or None
        Of rows outside training among those that the map was fitted on.
    seconds : float
        CPU seconds that fitting and placing took; without measuring the quality.
    settings : dict
        Numbers that the map depends on, fit for JSON.
    note : str
        What somebody who looks at the map must know.
    projection : Projection
        For :func:`place`.
    cached : bool
        Whether it was read from a cache.
    """

    method: str
    dims: int
    positions: NDArray[np.float32]
    fitted_on: Mask
    projected: bool
    explained: tuple[float, ...]
    axis_labels: tuple[str, ...]
    axis_features: tuple[tuple[tuple[str, float], ...], ...]
    quality: MapQuality
    quality_held_out: MapQuality | None
    seconds: float
    settings: Mapping[str, Any]
    note: str
    projection: Projection
    cached: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Everything but positions and projection, fit for JSON."""
        held_out = self.quality_held_out
        return {
            "method": self.method,
            "dims": self.dims,
            "n": len(self.positions),
            "n_fitted": int(self.fitted_on.sum()),
            "projected": self.projected,
            "explained": list(self.explained),
            "axis_labels": list(self.axis_labels),
            "axis_features": [
                [{"feature": name, "correlation": r} for name, r in axis]
                for axis in self.axis_features
            ],
            "quality": self.quality.to_dict(),
            "quality_held_out": None if held_out is None else held_out.to_dict(),
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "note": self.note,
        }


def write_map(path: Path, one: Map) -> None:
    """Keep a map, whole or not at all; the folder is made.

    Raises
    ------
    DataError
        If the disk does not take it.
    """
    held_out = one.quality_held_out
    told = {
        **{name: getattr(one, name) for name in _TOLD},
        "settings": dict(one.settings),
        "quality": one.quality.to_dict(),
        "quality_held_out": None if held_out is None else held_out.to_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as fresh, fresh.open("wb") as file:
        np.savez(
            file,
            told=np.array(json.dumps(told)),
            positions=one.positions,
            fitted_on=one.fitted_on,
            **{f.name: getattr(one.projection, f.name) for f in fields(Projection)},
        )


def read_map(path: Path, *, n: int) -> Map | None:
    """A map of `n` rows that :func:`write_map` kept, if it is there and whole; else None."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            told = json.loads(str(stored["told"]))
            positions, fitted = stored["positions"], stored["fitted_on"]
            projection = Projection(**{f.name: stored[f.name] for f in fields(Projection)})
        other = told["quality_held_out"]
        whole = Map(
            **{name: _tuples(told[name]) for name in _TOLD},
            positions=positions,
            fitted_on=fitted,
            settings=told["settings"],
            quality=MapQuality(**told["quality"]),
            quality_held_out=None if other is None else MapQuality(**other),
            projection=projection,
            cached=True,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # not there, or damaged: it is made anew
    return whole if len(positions) == n else None


def _tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


_TOLD = (
    "method", "dims", "projected", "explained", "axis_labels", "axis_features", "seconds", "note",
)  # fmt: skip
