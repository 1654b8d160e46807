"""How good sets of genres of a tree are, with intervals that respect artists.

References
----------
Kiritchenko, Matwin, Famili (2005), Functional annotation of genes using hierarchical text
categorization: hierarchical precision and recall compare sets with all their ancestors.
Schapire, Singer (2000), BoosTexter; Tsoumakas, Katakis, Vlahavas (2010), Mining multi-label data:
label-ranking average precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError
from genrescope.learn.parts.hierarchy import SubTree
from genrescope.learn.resampling import Floats, artist_units, interval, resamples, sum_by_unit

__all__ = [
    "TREE_METRICS",
    "TreeScores",
    "TreeTruth",
    "compare_trees",
    "label_ranking",
    "score_tree",
]

Bools = npt.NDArray[np.bool_]

#: The figures that have an interval, in the order in which they are shown.
TREE_METRICS = (
    "micro_f1",
    "macro_f1",
    "hierarchical_precision",
    "hierarchical_recall",
    "hierarchical_f1",
    "lrap",
)


@dataclass(frozen=True)
class TreeScores:
    """What :func:`score_tree` measured.

    Attributes
    ----------
    values : dict of str to float
        Each of :data:`TREE_METRICS`. Micro-F1, macro-F1 and label-ranking average precision
        ("lrap") are over the sub-genres; the hierarchical figures count top-level genres too.
        Macro-F1 is the mean over sub-genres that have tracks; lrap the mean over tracks that have
        sub-genres. NaN where there are none.
    intervals : dict of str to (float, float) or None
        95 %.
    n, n_artists, n_nodes : int
        Tracks, known artists, sub-genres.
    above_parent : float
        Share of tracks in which some sub-genre is more probable than what it is part of.
    n_boot, seed : int
        Resamples of whole artists, and the seed of the draw.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float] | None]
    n: int
    n_artists: int
    n_nodes: int
    above_parent: float
    n_boot: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-clean: NaN becomes None."""
        return {
            **{name: None if v != v else v for name, v in self.values.items()},
            "intervals": {
                name: None if pair is None else list(pair) for name, pair in self.intervals.items()
            },
            "n": self.n,
            "n_artists": self.n_artists,
            "n_nodes": self.n_nodes,
            "above_parent": self.above_parent,
            "resampling": {"unit": "artist", "resamples": self.n_boot, "seed": self.seed},
        }


@dataclass(frozen=True, eq=False)
class TreeTruth:
    """What tracks have, which genres there are, and who made the tracks.

    Attributes
    ----------
    genres : np.ndarray [shape=(n, k + m), bool]
        Columns as ``tree.paths``; ancestors are added where they are missing.
    tree : SubTree
        The genres.
    artists : array_like [shape=(n,)] or None
        What is resampled; None resamples tracks.
    """

    genres: Bools
    tree: SubTree
    artists: npt.ArrayLike | None


def score_tree(
    truth: TreeTruth,
    chosen: Bools,
    probabilities: Floats,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> TreeScores:
    """Score sets of genres, and the order that the probabilities put them in.

    Parameters
    ----------
    truth : TreeTruth
        What the tracks have.
    chosen : np.ndarray [shape=(n, k + m), bool]
        Columns as ``tree.paths``; ancestors are added where they are missing.
    probabilities : np.ndarray [shape=(n, k + m), float64]
        For the order of the sub-genres.
    n_boot, seed : int
        Of the resampling; 0 gives no intervals.

    Returns
    -------
    TreeScores

    Raises
    ------
    DataError
        If there is nothing to score, or shapes do not fit.
    """
    tree = truth.tree
    table, m = _table(truth, chosen, probabilities)
    units, n_artists, _ = artist_units(truth.artists, n=len(table))
    by_unit = sum_by_unit(table, units)
    point = _metrics(table.sum(axis=0, keepdims=True), m=m)
    draws: dict[str, list[Floats]] = {name: [] for name in TREE_METRICS}
    if len(by_unit) > 1:
        for weights in resamples(len(by_unit), n_boot=n_boot, seed=seed):
            for name, drawn in _metrics(weights @ by_unit, m=m).items():
                draws[name].append(drawn)
    values = {name: float(point[name][0]) for name in TREE_METRICS}
    above = probabilities[:, len(tree.genres) :] > probabilities[:, tree.parents]
    return TreeScores(
        values=values,
        intervals={name: interval(draws[name], point=values[name]) for name in TREE_METRICS},
        n=len(table),
        n_artists=n_artists,
        n_nodes=m,
        above_parent=float(above.any(axis=1).mean()),
        n_boot=n_boot,
        seed=seed,
    )


def compare_trees(
    truth: TreeTruth,
    first: tuple[Bools, Floats],
    second: tuple[Bools, Floats],
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Every figure of the first minus that of the second, with its interval.

    Both are scored on the same resamples of artists: the interval is that of the difference.

    Parameters
    ----------
    truth : TreeTruth
        What the tracks have.
    first, second : (chosen, probabilities)
        As in :func:`score_tree`.
    n_boot, seed
        As in :func:`score_tree`.

    Returns
    -------
    dict of str to (difference, low, high)
        The ends are NaN where there is only one artist.
    """
    tables = [_table(truth, *pair) for pair in (first, second)]
    m, width = tables[0][1], tables[0][0].shape[1]
    both = np.hstack([table for table, _ in tables])
    units, _, _ = artist_units(truth.artists, n=len(both))
    by_unit = sum_by_unit(both, units)

    def gap(total: Floats) -> Mapping[str, Floats]:
        a, b = _metrics(total[:, :width], m=m), _metrics(total[:, width:], m=m)
        return {name: a[name] - b[name] for name in TREE_METRICS}

    draws: dict[str, list[Floats]] = {name: [] for name in TREE_METRICS}
    if len(by_unit) > 1:
        for weights in resamples(len(by_unit), n_boot=n_boot, seed=seed):
            for name, values in gap(weights @ by_unit).items():
                draws[name].append(values)
    found = {}
    for name, values in gap(both.sum(axis=0, keepdims=True)).items():
        point = float(values[0])
        low, high = interval(draws[name], point=point) or (np.nan, np.nan)
        found[name] = (point, low, high)
    return found


def label_ranking(truth: Bools, probabilities: Floats) -> Floats:
    """Label-ranking precision of every track.

    For each label of a track: which share of the labels that are ranked as high or higher are the
    track's own; the mean over its labels.

    Parameters
    ----------
    truth : np.ndarray [shape=(n, m), bool]
        Labels of each track.
    probabilities : np.ndarray [shape=(n, m), float64]
        Of these labels.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        NaN for a track without labels.

    Examples
    --------
    >>> label_ranking(np.array([[True, False, True]]), np.array([[0.9, 0.5, 0.4]])).round(3)
    array([0.833])
    """
    out = np.full(len(truth), np.nan)
    for row in np.flatnonzero(truth.any(axis=1)).tolist():
        mine = probabilities[row, truth[row]]
        ranked = (probabilities[row] >= mine[:, np.newaxis]).sum(axis=1)
        out[row] = ((mine >= mine[:, np.newaxis]).sum(axis=1) / ranked).mean()
    return out


def _table(truth: TreeTruth, chosen: Bools, probabilities: Floats) -> tuple[Floats, int]:
    """One row a track of quantities whose sums give every metric, and the number of nodes.

    Columns: hits [m], chosen [m], true [m]; hits, chosen and true with ancestors and top-level
    genres; ranking precision, and whether there is one.
    """
    genres, tree = truth.genres, truth.tree
    shape = (len(genres), len(tree.paths))
    for name, values in (("truth", genres), ("chosen", chosen), ("probabilities", probabilities)):
        if values.shape != shape:
            raise DataError(f"{name} has the shape {values.shape}; the tree needs {shape}")
    if not len(genres):
        raise DataError("there are 0 tracks to score; give at least one")
    if not tree.nodes:
        raise DataError("the tree has no sub-genres; there is nothing to score")
    real, said = tree.closed(genres), tree.closed(chosen)
    nodes = slice(len(tree.genres), None)
    ranking = label_ranking(real[:, nodes], probabilities[:, nodes])
    return np.column_stack(
        [
            (real & said)[:, nodes],
            said[:, nodes],
            real[:, nodes],
            (real & said).sum(axis=1),
            said.sum(axis=1),
            real.sum(axis=1),
            np.nan_to_num(ranking),
            np.isfinite(ranking),
        ]
    ).astype(np.float64), len(tree.nodes)


def _metrics(total: Floats, *, m: int) -> dict[str, Floats]:
    """Metrics of each row of summed columns of :func:`_table`."""
    hits, said, real = total[:, :m], total[:, m : 2 * m], total[:, 2 * m : 3 * m]
    h_hits, h_said, h_real, ranking, ranked = total[:, 3 * m :].T
    present = real > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(present, 2 * hits / (said + real), 0.0)
        return {
            "micro_f1": 2 * hits.sum(axis=1) / (said.sum(axis=1) + real.sum(axis=1)),
            "macro_f1": each.sum(axis=1) / present.sum(axis=1),
            "hierarchical_precision": h_hits / h_said,
            "hierarchical_recall": h_hits / h_real,
            "hierarchical_f1": 2 * h_hits / (h_said + h_real),
            "lrap": ranking / ranked,
        }
