"""How good the neighbours and the map of known tracks are, on artists that they were made without.

Two questions are asked of the nearest tracks. Are they of the same genre, where the same artist
never counts? And, of all other tracks, are they by the same artist? The second needs nobody's idea
of genres, though tracks of one record share a studio as well as a style.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.learn.parts.known import ALIKE, place_among
from genrescope.learn.resampling import artist_units, interval, resamples, sum_by_unit
from genrescope.learn.train.known_space import KnownData, draw_map

__all__ = ["Measured", "measure", "own_places", "report"]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NEAR = 5
_VOTERS = 25


@dataclass(frozen=True, eq=False)
class Measured:
    """What was seen of tracks whose artists the axes and the map were made without.

    Attributes
    ----------
    same_genre : np.ndarray [shape=(n, 5), bool]
        Of the nearest tracks by other artists.
    likeness : np.ndarray [shape=(n, 5), float64]
        Of these.
    voted : np.ndarray [shape=(n,), bool]
        Whether the 25 nearest voted for the right genre.
    same_genre_map : np.ndarray [shape=(n, 5), bool]
        Of the nearest on the map, where there is one.
    voted_map : np.ndarray [shape=(n,), bool]
    same_artist : np.ndarray [shape=(n, 5), bool]
        Of the nearest of all other tracks, the artist's own among them.
    """

    same_genre: Bools
    likeness: Floats
    voted: Bools
    same_genre_map: Bools
    voted_map: Bools
    same_artist: Bools


def measure(
    data: KnownData,
    directions_of: Callable[[Bools], FloatArray],
    *,
    seed: int = 0,
    with_map: bool = True,
) -> Measured:
    """Make directions and map without each fold, and look at the tracks of that fold.

    Parameters
    ----------
    data : KnownData
        Tracks and folds.
    directions_of : callable
        Given the rows that may be looked at, directions of all tracks [n, axes], each of length 1.
    seed : int
        Of the maps.
    with_map : bool
        False leaves out the maps, which take most of the time.

    Returns
    -------
    Measured
    """
    n = len(data.y)
    near = min(_NEAR, n - 1)
    same_genre, same_map, same_artist = (np.zeros((n, near), dtype=bool) for _ in range(3))
    voted, voted_map = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    likeness = np.zeros((n, near))
    for fold in np.unique(data.folds).tolist():
        rest, mine = data.folds != fold, data.folds == fold
        directions = directions_of(rest)
        cosines = directions[mine] @ directions[rest].T
        y, asked = data.y[rest], data.y[mine]
        order = _first(-cosines, _VOTERS)
        likeness[mine] = np.take_along_axis(cosines, order[:, :near], axis=1)
        same_genre[mine] = y[order[:, :near]] == asked[:, None]
        voted[mine] = _vote(y[order], len(data.genres)) == asked
        everybody = directions[mine] @ directions.T
        everybody[np.arange(len(asked)), np.flatnonzero(mine)] = -np.inf
        found = _first(-everybody, near)
        same_artist[mine] = data.artists[found] == data.artists[mine][:, None]
        if with_map:
            there = draw_map(directions[rest], seed=seed)
            placed = place_among(cosines, there)
            order = _first(_squares(placed, there), _VOTERS)
            same_map[mine] = y[order[:, :near]] == asked[:, None]
            voted_map[mine] = _vote(y[order], len(data.genres)) == asked
    return Measured(same_genre, likeness, voted, same_map, voted_map, same_artist)


def report(
    data: KnownData, seen: Measured, *, own: Floats | None = None, seed: int = 0
) -> dict[str, Any]:
    """What was measured, in figures.

    Parameters
    ----------
    data : KnownData
        The tracks.
    seen : Measured
        Of :func:`measure`.
    own : np.ndarray [shape=(n,), float64], optional
        Of :func:`own_places`.
    seed : int
        Of the intervals.

    Returns
    -------
    dict
        JSON-clean.
    """
    units, n_artists, _ = artist_units(data.artists, n=len(data.y))
    counts = np.bincount(units)[units]
    several = counts > 1
    share = np.bincount(data.y, minlength=len(data.genres)) / len(data.y)
    bands, upper = {}, np.inf
    marks = np.quantile(seen.likeness, [least / 100 for least, _ in ALIKE])
    for (_, words), least in zip(ALIKE, marks.tolist(), strict=True):
        there = (seen.likeness >= least) & (seen.likeness < upper)
        bands[words] = float(seen.same_genre[there].mean()) if there.any() else None
        upper = least

    def agreement(same: Bools, rows: Bools | slice = slice(None)) -> dict[str, Any]:
        per_track, point = same[rows].mean(axis=1), float(same[rows].mean())
        _, codes = np.unique(units[rows], return_inverse=True)
        table = sum_by_unit(np.stack([per_track, np.ones(len(per_track))], axis=1), codes)
        draws = []
        for drawn in resamples(len(table), n_boot=1000, seed=seed):
            total = drawn @ table
            draws.append(total[:, 0] / total[:, 1])
        low, high = interval(draws, point=point) or (point, point)
        return {"share": point, "low": low, "high": high}

    artists = None
    if several.any():
        others = counts[several] - 1
        artists = {
            "tracks": int(several.sum()),
            **agreement(seen.same_artist, several),
            "found_any": float(seen.same_artist[several].any(axis=1).mean()),
            "chance": float(others.mean() / (len(data.y) - 1)),
            "most_possible": float(np.minimum(others, _NEAR).mean() / _NEAR),
        }
    return {
        "tracks": len(data.y),
        "artists": n_artists,
        "same_genre_5": agreement(seen.same_genre),
        "same_genre_5_map": agreement(seen.same_genre_map),
        "same_genre_chance": float((share**2).sum()),
        "vote_25": float(seen.voted.mean()),
        "vote_25_map": float(seen.voted_map.mean()),
        "same_genre_by_words": bands,
        "same_artist_5": artists,
        "own_place": None
        if own is None
        else {
            "median": float(np.median(own)),
            "p90": float(np.quantile(own, 0.9)),
            "unit": "typical distance between two tracks on the map",
        },
        "protocol": (
            "every fold once; axes and map were made without its artists, none of whom is among "
            "the neighbours; same artist: neighbours among all tracks"
        ),
    }


def own_places(directions: FloatArray, positions: FloatArray) -> Floats:
    """How far each track comes from its own place when it is placed by the others.

    Parameters
    ----------
    directions : np.ndarray [shape=(n, axes), float32]
        Of length 1.
    positions : np.ndarray [shape=(n, 3), float32]
        On the map.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        In typical (median) distances between two tracks.
    """
    away = np.empty(len(directions))
    for rows in np.array_split(np.arange(len(directions)), max(1, len(directions) // 1000)):
        cosines = directions[rows] @ directions.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        placed = place_among(cosines, positions)
        away[rows] = np.linalg.norm(placed - positions[rows], axis=1)
    other = np.random.default_rng(0).permutation(len(positions))
    typical = float(np.median(np.linalg.norm(positions - positions[other], axis=1)))
    return np.asarray(away / max(typical, 1e-9))


def _first(values: npt.NDArray[Any], k: int) -> Ints:
    """Columns of the `k` smallest values of each row, in order."""
    k = min(k, values.shape[1])
    some = np.argpartition(values, k - 1, axis=1)[:, :k]
    inner = np.argsort(np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, inner, axis=1).astype(np.int64)


def _vote(labels: Ints, n: int) -> Ints:
    """The most frequent label of each row; of several, the one whose first voter is nearest."""
    votes = np.zeros((len(labels), n))
    rows = np.arange(len(labels))[:, None]
    np.add.at(votes, (rows, labels), 1.0 - 1e-6 * np.arange(labels.shape[1]))
    return np.asarray(votes.argmax(axis=1), dtype=np.int64)


def _squares(a: FloatArray, b: FloatArray) -> Floats:
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, dtype=np.float64)
