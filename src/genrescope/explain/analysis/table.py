"""Genre against every feature: who is in the table, which numbers tell genres apart, by how much.

Nothing is learnt here; the figures describe the table. An effect of one feature says nothing about
what several do together, and nothing about causes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.analysis.densities import distribution
from genrescope.explain.analysis.effects import FeatureEffect, Labels, feature_effects, ranks
from genrescope.explain.analysis.types import (
    Analysis,
    Correlation,
    GroupEffect,
    LargestGroups,
    MissingPattern,
)
from genrescope.explain.analysis.words import describe
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.resampling import artist_units

try:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the analysis of features", extra="lab", package="scipy") from error

__all__ = ["analyse", "spearman"]

ALL_SHOWN = 12  # a table with no more features shows the distribution of each
NEAR_COPIES = 0.9  # |Spearman| above which two features show the same thing
CORRELATED = 30  # features of the correlation matrix
_CANDIDATES = 400  # looked through for distributions that differ


def analyse(data: TabularData, *, seed: int = 0, n_distributions: int = 8) -> Analysis:
    """Describe a table: balance, artists, missing values, effects, distributions, correlation.

    Parameters
    ----------
    data : TabularData
        The table; NaN is missing.
    seed : int
        Of the artist bootstrap.
    n_distributions : int >= 0
        Features whose distribution is given where there are more than 12: those with the largest
        effect, passing over one that correlates above 0.9 with one already chosen.

    Returns
    -------
    Analysis

    Raises
    ------
    DataError
        If the table has no rows or no features.
    """
    if not len(data) or not data.features:
        raise DataError(
            f"{data.name} has {len(data)} tracks and {len(data.features)} features; "
            "an analysis needs some of both"
        )
    units, _, _ = artist_units(data.groups, n=len(data))
    labels = Labels(data.y, data.genres, units)
    effects = feature_effects(
        data.x, labels, names=data.features, families=data.feature_groups, seed=seed
    )
    extras = {name: column for name, column in data.extras.items() if np.isfinite(column).sum() > 1}
    extra_effects = feature_effects(
        np.stack(list(extras.values()), axis=1) if extras else np.empty((len(data), 0)),
        labels,
        names=tuple(extras),
        families=("extra",) * len(extras),
        seed=seed,
    )
    place = {name: j for j, name in enumerate(data.features)}
    shown = _shown(data, effects, place, n=n_distributions)
    columns: list[tuple[NDArray[Any], FeatureEffect]]
    columns = [(data.x[:, place[e.feature]], e) for e in shown]
    columns += [(extras[e.feature], e) for e in extra_effects]
    strongest = [e.feature for e in effects[:CORRELATED] if np.isfinite(e.eta_squared)]
    made = Analysis(
        n=len(data),
        n_groups=labels.n_units,
        group_name=data.group_name,
        balance=dict(zip(data.genres, np.bincount(data.y).tolist(), strict=True)),
        groups_per_genre={
            genre: len(np.unique(units[data.y == g])) for g, genre in enumerate(data.genres)
        },
        largest_groups=_largest_groups(data, units),
        missing={e.feature: e.n_missing for e in effects if e.n_missing},
        missing_patterns=_missing_patterns(data, labels, seed=seed),
        effects=effects,
        group_effects=_group_effects(effects),
        extra_effects=extra_effects,
        distributions=tuple(
            distribution(column, data.y, data.genres, effect=e) for column, e in columns
        ),
        correlation=_correlation(data.x, strongest, place),
        n_without_group=_without_group(data, units),
    )
    return replace(made, sentences=describe(made))


def spearman(x: NDArray[Any]) -> NDArray[np.float64]:
    """Spearman's correlation of all columns, each pair on the rows that have both.

    Parameters
    ----------
    x : np.ndarray [shape=(n, m), float]
        What is not finite is missing.

    Returns
    -------
    np.ndarray [shape=(m, m), float64]
        0 where a pair has no spread or fewer than three rows in common; 1 on the diagonal.

    Examples
    --------
    >>> spearman(np.array([[1.0, 3.0], [2.0, 2.0], [9.0, 0.5]])).round(6).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    here = np.isfinite(x)
    m = x.shape[1]
    out = np.eye(m)
    whole = np.flatnonzero(here.all(axis=0))
    if len(whole):
        out[np.ix_(whole, whole)] = _pearson(np.stack([ranks(x[:, j])[0] for j in whole], axis=1))
    gaps = set(range(m)) - set(whole.tolist())
    for i in sorted(gaps):
        for j in range(m):
            if j == i or (j in gaps and j < i):
                continue
            both = here[:, i] & here[:, j]
            if both.sum() >= 3:
                pair = np.stack([ranks(x[both, c])[0] for c in (i, j)], axis=1)
                out[i, j] = out[j, i] = _pearson(pair)[0, 1]
    return out


def _pearson(x: NDArray[np.float64]) -> NDArray[np.float64]:
    z = x - x.mean(axis=0)
    length = np.sqrt((z * z).sum(axis=0))
    z = np.divide(z, length, out=np.zeros_like(z), where=length > 0)
    out = np.clip(z.T @ z, -1.0, 1.0)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)


def _shown(
    data: TabularData, effects: tuple[FeatureEffect, ...], place: dict[str, int], *, n: int
) -> list[FeatureEffect]:
    """Features whose distributions are worth a look: strong, and not copies of each other."""
    usable = [e for e in effects if np.isfinite(e.eta_squared)]
    if len(data.features) <= ALL_SHOWN:
        return usable
    chosen: list[FeatureEffect] = []
    for e in usable[:_CANDIDATES]:
        if len(chosen) == n:
            break
        columns = [place[c.feature] for c in (e, *chosen)]
        if not chosen or np.abs(spearman(data.x[:, columns])[0, 1:]).max() <= NEAR_COPIES:
            chosen.append(e)
    return chosen


def _without_group(data: TabularData, units: NDArray[np.int64]) -> int:
    """Tracks that are alone in their group and lack the name that others have."""
    named = data.artist != ""
    if data.group_name != "artist" or not named.any():
        return 0  # a group of another kind need not have the artist's name
    return int((~named & (np.bincount(units)[units] == 1)).sum())


def _largest_groups(data: TabularData, units: NDArray[np.int64]) -> dict[str, LargestGroups]:
    if len(np.unique(units)) == len(units):
        return {}
    out = {}
    for g, genre in enumerate(data.genres):
        rows = np.flatnonzero(data.y == g)
        _, first, counts = np.unique(units[rows], return_index=True, return_counts=True)
        order = np.lexsort((first, -counts))
        largest = rows[first[order[0]]]
        share = counts / counts.sum()
        out[genre] = LargestGroups(
            name=str(data.artist[largest] or data.groups[largest]),
            n=int(counts.max()),
            share=float(share.max()),
            share_of_five=float(np.sort(share)[-5:].sum()),
            effective=float(1 / (share * share).sum()),
        )
    return out


def _missing_patterns(
    data: TabularData, labels: Labels, *, seed: int
) -> tuple[MissingPattern, ...]:
    gone = ~np.isfinite(data.x)
    by_pattern: dict[bytes, list[int]] = {}
    for j in np.flatnonzero(gone.any(axis=0)):
        by_pattern.setdefault(np.packbits(gone[:, j]).tobytes(), []).append(int(j))
    members = list(by_pattern.values())
    effects = feature_effects(
        gone[:, [m[0] for m in members]].astype(np.float64),
        labels,
        names=tuple(str(i) for i in range(len(members))),
        families=("missing",) * len(members),
        seed=seed,
    )
    patterns = []
    for e in effects:
        columns = members[int(e.feature)]
        missing = gone[:, columns[0]]
        names = tuple(data.features[j] for j in columns)
        patterns.append(
            MissingPattern(
                names,
                int(missing.sum()),
                float(missing.mean()),
                {genre: float(missing[data.y == g].mean()) for g, genre in enumerate(data.genres)},
                _renamed(e, f"{names[0]} is missing"),
            )
        )
    return tuple(sorted(patterns, key=lambda p: -p.n))


def _renamed(effect: FeatureEffect, name: str) -> FeatureEffect:
    return replace(effect, feature=name)


def _group_effects(effects: Iterable[FeatureEffect]) -> dict[str, GroupEffect]:
    by_family: dict[str, list[FeatureEffect]] = {}
    for e in effects:  # the largest comes first
        if np.isfinite(e.eta_squared):
            by_family.setdefault(e.group, []).append(e)
    return {
        family: GroupEffect(
            len(own),
            float(np.mean([e.eta_squared for e in own])),
            own[0].eta_squared,
            own[0].feature,
        )
        for family, own in by_family.items()
    }


def _correlation(x: NDArray[Any], names: list[str], place: dict[str, int]) -> Correlation:
    matrix = spearman(x[:, [place[name] for name in names]])
    if len(names) > 2:
        distance = 1 - np.abs(matrix)
        np.fill_diagonal(distance, 0.0)
        tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
        order = leaves_list(tree)
        matrix, names = matrix[np.ix_(order, order)], [names[i] for i in order]
    return Correlation(tuple(names), matrix)
