"""What the analysis of a table comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.analysis.densities import Distribution
from genrescope.explain.analysis.effects import FeatureEffect
from genrescope.explain.plain import fields_of

__all__ = ["Analysis", "Correlation", "GroupEffect", "LargestGroups", "MissingPattern"]


@dataclass(frozen=True)
class LargestGroups:
    """How far a genre hangs on its most frequent groups (artists).

    Attributes
    ----------
    name : str
        The group with most tracks of the genre.
    n : int
        These tracks.
    share, share_of_five : float
        Of the genre's tracks: made by that group, and by the five largest.
    effective : float
        Number of equally large groups that would be as concentrated (inverse Simpson index).
    """

    name: str
    n: int
    share: float
    share_of_five: float
    effective: float


@dataclass(frozen=True)
class MissingPattern:
    """Features that are missing for the same tracks.

    Attributes
    ----------
    features : tuple of str
    n : int
        Tracks without them.
    share : float
        Of all tracks.
    by_genre : dict of genre -> float
        Share of the genre's tracks without them.
    effect : FeatureEffect
        Of genre on being missing (0 or 1). Eta squared is then Cramer's V squared.
    """

    features: tuple[str, ...]
    n: int
    share: float
    by_genre: dict[str, float]
    effect: FeatureEffect


@dataclass(frozen=True)
class GroupEffect:
    """Eta squared over the features of one family: their number, mean, largest, and which."""

    n_features: int
    mean: float
    max: float
    best: str


@dataclass(frozen=True, eq=False)
class Correlation:
    """Spearman's correlation of features, on the tracks that have both.

    Attributes
    ----------
    features : tuple of m str
        Neighbours are alike (average linkage of 1 - |correlation|).
    matrix : np.ndarray [shape=(m, m), float64]
    """

    features: tuple[str, ...]
    matrix: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names, the matrix as a list of rows."""
        return fields_of(self)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What :func:`~genrescope.explain.analysis.table.analyse` found.

    Attributes
    ----------
    n, n_groups : int
        Tracks, and groups (artists).
    group_name : str
        What a group is.
    n_without_group : int
        Tracks whose group is not known, each counted in ``n_groups`` as one of its own.
    balance, groups_per_genre : dict of genre -> int
        Tracks and groups of each genre.
    largest_groups : dict of genre -> LargestGroups
        Empty where every track is its own group.
    missing : dict of feature -> int
        Tracks without a value; only features for which there are such.
    missing_patterns : tuple of MissingPattern
        The same, features that miss the same tracks together, the commonest first.
    effects : tuple of FeatureEffect
        One a feature, the largest eta squared first.
    group_effects : dict of family -> GroupEffect
        The largest maximum first.
    extra_effects : tuple of FeatureEffect
        Of the numbers that are shown but not learnt from.
    distributions : tuple of Distribution
        Of features, then of extras.
    correlation : Correlation
        Of the features with the largest effects.
    sentences : tuple of str
        The findings in words.
    """

    n: int
    n_groups: int
    group_name: str
    balance: dict[str, int]
    groups_per_genre: dict[str, int]
    largest_groups: dict[str, LargestGroups]
    missing: dict[str, int]
    missing_patterns: tuple[MissingPattern, ...]
    effects: tuple[FeatureEffect, ...]
    group_effects: dict[str, GroupEffect]
    extra_effects: tuple[FeatureEffect, ...]
    distributions: tuple[Distribution, ...]
    correlation: Correlation
    n_without_group: int = 0
    sentences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names, fit for ``json.dumps(..., allow_nan=False)``."""
        return fields_of(self)
