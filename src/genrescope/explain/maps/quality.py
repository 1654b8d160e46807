"""How much of what the features say is still to be seen in a map.

A map keeps neighbours in two senses: those drawn close are close (trustworthiness), and those that
are close are drawn close (continuity; both Venna & Kaski 2001). What it keeps of the genres is
measured by letting neighbours vote, in the map and in the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError

__all__ = ["NEIGHBOURS", "MapQuality", "map_quality", "nearest", "sample"]

NEIGHBOURS = 15  # how many make up a neighbourhood
_CELLS = 4_000_000  # distances held at once, so that memory stays near 200 MB

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class MapQuality:
    """What :func:`map_quality` measured; a figure that cannot be had is None.

    Attributes
    ----------
    trustworthiness : float in [0, 1]
        1 where all neighbours in the map are neighbours in the features.
    continuity : float in [0, 1]
        1 where all neighbours in the features are neighbours in the map.
    knn_accuracy : float
        Share of rows whose genre wins the vote of their neighbours in the map.
    knn_accuracy_features : float
        The same with the neighbours in the features.
    k : int
        Neighbours that are looked at.
    n_rows : int
        Rows whose neighbours were looked at; a sample where there are many.
    n_among : int
        Rows among which the neighbours were looked for.
    chance : float
        Accuracy of always saying the genre that is the most frequent among the latter.
    n_votes : int
        Rows that the accuracies are of: those with a row of another group beside them.
    """

    trustworthiness: float | None
    continuity: float | None
    knn_accuracy: float | None
    knn_accuracy_features: float | None
    k: int
    n_rows: int
    n_among: int
    chance: float
    n_votes: int

    def to_dict(self) -> dict[str, Any]:
        """The figures under the names of the attributes, fit for JSON."""
        return asdict(self)


def map_quality(
    features: NDArray[np.floating[Any]],
    maps: Mapping[str, NDArray[np.floating[Any]]],
    *,
    y: NDArray[np.int64],
    groups: NDArray[Any],
    rows: NDArray[np.integer[Any]],
    among: NDArray[np.integer[Any]],
    k: int = NEIGHBOURS,
) -> dict[str, MapQuality]:
    """Measure maps of the same rows.

    A row is never its own neighbour. In the votes, rows of the same group (artist) are no
    neighbours either: an artist's tracks resemble each other, and would tell the genre by
    telling the artist. A tied vote goes to the genre whose voters are nearer. Distances are
    Euclidean; of rows at the same distance, none counts as nearer.

    Parameters
    ----------
    features : np.ndarray [shape=(n, d)]
        In the scale in which distances mean something.
    maps : mapping of str to np.ndarray [shape=(n, dims)]
        Positions of the same rows.
    y : np.ndarray [shape=(n,), int]
        Genres, as 0, 1, ...
    groups : np.ndarray [shape=(n,)]
        Who made the tracks.
    rows, among : np.ndarray of int
        Which rows' neighbours are looked at, and among which rows they are looked for.
    k : int > 0
        Neighbours; lowered to under half of ``among``, where the measures are defined.

    Returns
    -------
    dict of str to MapQuality
        For each of ``maps``.

    Raises
    ------
    DataError
        If fewer than 3 rows to look among, or none to look at; if only some of ``rows`` are
        in ``among``.
    """
    inside = np.isin(rows, among)
    m = len(among) - int(inside.any())  # candidates of a row, itself left out
    k = min(k, m // 2)
    if k < 1 or not len(rows):
        raise DataError(
            f"{len(rows)} rows among {len(among)}: neighbourhoods need at least 1 among 3; "
            "give more rows"
        )
    if inside.any() and not inside.all():
        raise DataError(
            f"{int(inside.sum())} of {len(rows)} rows are among those looked among, the others "
            "are not; measure the two kinds apart"
        )
    labels = y[among]
    codes = np.unique(groups, return_inverse=True)[1]
    truth_of = _Space(features)
    spaces = {name: _Space(at) for name, at in maps.items()}
    strangers = dict.fromkeys(maps, 0.0)  # sums of ranks by which neighbours were none
    missed, right = dict(strangers), dict(strangers)
    votes, right_features = 0, 0.0
    for part in _blocks(rows, len(among)):
        own = part[:, None] == among[None, :]
        kin = own | (codes[part][:, None] == codes[among][None, :])
        judged = ~kin.all(axis=1)
        votes += int(judged.sum())
        # So many nearest rows hold k that are not of the same group, wherever there are k.
        wide = min(len(among), k + int(kin.sum(axis=1).max()))
        original = truth_of.distances(part, among)
        original[own] = np.inf
        near = _closest(original, wide)
        right_features += _hits(near, kin, labels, y[part], k)[judged].sum()
        near, ordered = near[:, :k], np.sort(original, axis=1)
        for name, space in spaces.items():
            drawn = space.distances(part, among)
            drawn[own] = np.inf
            seen = _closest(drawn, wide)
            right[name] += _hits(seen, kin, labels, y[part], k)[judged].sum()
            seen_at = np.take_along_axis(original, seen[:, :k], axis=1)
            pairs = zip(ordered, seen_at, strict=True)
            strangers[name] += _excess([np.searchsorted(row, at) for row, at in pairs], k)
            near_at = np.take_along_axis(drawn, near, axis=1).T[:, :, None]
            missed[name] += _excess([np.count_nonzero(drawn < at, axis=1) for at in near_at], k)
    scale = 2.0 / (len(rows) * k * (2 * m - 3 * k + 1))

    def share(hits: float) -> float | None:
        return float(hits / votes) if votes else None

    return {
        name: MapQuality(
            trustworthiness=1.0 - scale * strangers[name],
            continuity=1.0 - scale * missed[name],
            knn_accuracy=share(right[name]),
            knn_accuracy_features=share(right_features),
            k=k,
            n_rows=len(rows),
            n_among=len(among),
            chance=float(np.bincount(labels).max() / len(labels)),
            n_votes=votes,
        )
        for name in maps
    }


def nearest(
    points: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]] | None = None, *, k: int
) -> tuple[Ints, Floats]:
    """The nearest rows, exactly, in bounded memory.

    Parameters
    ----------
    points : np.ndarray [shape=(n, d)]
        Rows whose neighbours are looked for.
    others : np.ndarray [shape=(m, d)], optional
        Rows among which; ``points`` themselves by default, each without itself.
    k : int
        How many.

    Returns
    -------
    tuple of np.ndarray [shape=(n, k), int64] and np.ndarray [shape=(n, k), float64]
        Positions in ``others`` and distances, the nearest first.
    """
    among = points if others is None else others
    space = _Space(np.concatenate([points, among]) if others is not None else points)
    start = 0 if others is None else len(points)
    indices, lengths = [], []
    for part in _blocks(np.arange(len(points)), len(among)):
        distance = space.distances(part, np.arange(start, start + len(among)))
        if others is None:
            distance[np.arange(len(part)), part] = np.inf
        found = _closest(distance, k)
        indices.append(found)
        lengths.append(np.sqrt(np.take_along_axis(distance, found, axis=1)))
    if not indices:
        return np.empty((0, k), dtype=np.int64), np.empty((0, k))
    return np.concatenate(indices), np.concatenate(lengths)


class _Space:
    """Squared distances between rows, by a matrix product."""

    def __init__(self, points: NDArray[np.floating[Any]]) -> None:
        # Centred, because the product loses the digits that the rows have in common.
        self.points: Floats = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
        self.norms: Floats = np.einsum("ij,ij->i", self.points, self.points)

    def distances(self, rows: NDArray[Any], among: NDArray[Any]) -> Floats:
        product = self.points[rows] @ self.points[among].T
        product *= -2.0
        product += self.norms[rows][:, None]
        product += self.norms[among][None, :]
        out: Floats = np.maximum(product, 0.0, out=product)
        return out


def _blocks(rows: NDArray[Any], width: int) -> Iterator[NDArray[Any]]:
    step = max(1, _CELLS // max(1, width))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _closest(distance: Floats, k: int) -> Ints:
    """Positions of the `k` smallest of each row, in order."""
    if k < distance.shape[1]:
        found = np.argpartition(distance, k, axis=1)[:, :k]
    else:
        found = np.broadcast_to(np.arange(distance.shape[1]), distance.shape)
    # By position where the distance is the same, so that the answer is the same everywhere.
    found = np.sort(found, axis=1)
    order = np.argsort(np.take_along_axis(distance, found, axis=1), axis=1, kind="stable")
    out: Ints = np.take_along_axis(found, order, axis=1)
    return out


def _excess(nearer: Sequence[Any], k: int) -> float:
    """How far behind the first `k` rows rank that have so many `nearer`, added up."""
    return float(np.maximum(np.array(nearer) + 1 - k, 0).sum())


def _hits(
    near: Ints, kin: NDArray[np.bool_], labels: NDArray[np.int64], truth: NDArray[np.int64], k: int
) -> NDArray[np.bool_]:
    """Whether the vote of the first `k` of the nearest rows that are no kin gives the truth."""
    counted = ~np.take_along_axis(kin, near, axis=1)
    place = counted.cumsum(axis=1)
    counted &= place <= k
    # The places together weigh less than one vote: they only settle ties.
    weight = np.where(counted, 1.0 + (k + 1 - place) / (k * (k + 1.0)), 0.0)
    ballots = np.zeros((len(near), int(max(labels.max(), truth.max())) + 1))
    np.add.at(ballots, (np.arange(len(near))[:, None], labels[near]), weight)
    out: NDArray[np.bool_] = ballots.argmax(axis=1) == truth
    return out


def sample(rows: Sequence[int] | NDArray[Any], *, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many rows, by chance, in their order.

    Parameters
    ----------
    rows : array-like of int
        What is drawn from.
    most : int
        How many; a smaller sample is part of a larger one with the same seed.
    seed : int
        Of the draw.

    Returns
    -------
    np.ndarray of int64

    Examples
    --------
    >>> sample([3, 4, 9], most=5, seed=0).tolist()
    [3, 4, 9]
    """
    rows = np.asarray(rows, dtype=np.int64)
    drawn = np.random.default_rng(seed).permutation(len(rows))[:most]
    return rows[np.sort(drawn)]
