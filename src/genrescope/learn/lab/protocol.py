"""Who is trained on and who is scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.splits import group_folds
from genrescope.errors import SplitError
from genrescope.learn.lab.tabular import TabularData

__all__ = ["Protocol", "make_protocol"]

KINDS = ("folds", "official", "random")


@dataclass(frozen=True, eq=False)
class Protocol:
    """Who is trained on and who is scored.

    Attributes
    ----------
    kind : {"folds", "official", "random"}
        Folds that share no group; the split that the table brings; or folds of single tracks,
        in which an artist is on both sides.
    fold : np.ndarray [shape=(n,), int64]
        The fold in which a row is scored, 0 or more; -1 where it never is.
    n_folds : int
        1 for the official split.
    seed : int
        Of the folds.
    description : str
        Sentences for a report.
    calibration : np.ndarray [shape=(n,), bool] or None
        Rows that are neither trained on nor scored: temperatures are fitted on them. None
        where other folds serve for that.
    """

    kind: str
    fold: NDArray[np.int64]
    n_folds: int
    seed: int
    description: str
    calibration: NDArray[np.bool_] | None = None

    @property
    def scored(self) -> NDArray[np.intp]:
        """Positions of the rows that are scored, ascending."""
        return np.flatnonzero(self.fold >= 0)

    def parts(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows to train on and rows to score, fold by fold, ascending.

        Examples
        --------
        >>> p = Protocol("folds", np.array([0, 1, 0]), 2, seed=0, description="")
        >>> [(train.tolist(), test.tolist()) for train, test in p.parts()]
        [([1], [0, 2]), ([0, 2], [1])]
        """
        usable = np.ones(len(self.fold), bool) if self.calibration is None else ~self.calibration
        for number in range(self.n_folds):
            yield (
                np.flatnonzero(usable & (self.fold != number)),
                np.flatnonzero(self.fold == number),
            )


def make_protocol(
    data: TabularData, *, kind: str = "folds", n_folds: int = 5, seed: int = 0
) -> Protocol:
    """Decide who is trained on and who is scored.

    Parameters
    ----------
    data : TabularData
        The table.
    kind : {"folds", "official", "random"}
        "folds": cross-validation in which no group (artist) is in two folds. "official": train
        on the rows of the split "training", score "test" ("validation" where there is no test).
        "random": folds of single tracks; its scores flatter every model.
    n_folds : int >= 2
        How many folds; without effect on "official".
    seed : int >= 0
        Of the folds.

    Returns
    -------
    Protocol

    Raises
    ------
    SplitError
        A kind that is none of these, an official split that the table does not have, or fewer
        groups than folds.
    """
    if kind == "official":
        return _official(data, seed=seed)
    if kind not in KINDS:
        raise SplitError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}")
    n, k = len(data), len(data.genres)
    what = data.group_name
    groups: NDArray[Any] = np.arange(n) if kind == "random" else data.groups
    fold = group_folds(data.y, groups, n_folds=n_folds, seed=seed)
    n_groups = len(np.unique(groups))
    if kind == "random" and what != "track":
        description = (
            f"RANDOM FOLDS: {n_folds} folds of single tracks, drawn without regard to the {what}. "
            f"Tracks of one {what} are in training and in test, so a model can score by "
            f"recognising the {what}. These scores are higher than any that new {what}s would "
            f"get; do not compare them with scores of folds grouped by {what}."
        )
    elif what == "track":
        description = (
            f"Cross-validation in {n_folds} folds of {n} tracks in {k} genres. The table does "
            "not say who made a track, so one artist may be in training and in test."
        )
    else:
        description = (
            f"Cross-validation in {n_folds} folds of {n} tracks in {k} genres. No {what} is in "
            f"two folds ({n_groups} {what}s), and the folds have nearly the same share of each "
            "genre."
        )
    return Protocol(kind, fold, n_folds, seed=seed, description=description)


def _official(data: TabularData, *, seed: int) -> Protocol:
    parts = {"training", "validation", "test"}
    if data.split is None:
        raise SplitError(
            f"{data.name} has no official split; use kind 'folds', or give the table a column "
            f"split with {', '.join(sorted(parts))}"
        )
    counts = {part: int((data.split == part).sum()) for part in sorted(parts)}
    scored = "test" if counts["test"] else "validation"
    if not (counts["training"] and counts[scored]):
        raise SplitError(
            f"the split of {data.name} has {counts}; an official split needs rows of training "
            "and of test or validation; use kind 'folds' instead"
        )
    fold = np.where(data.split == scored, 0, -1).astype(np.int64)
    trained = data.split == "training"
    calibration: NDArray[np.bool_] = ~trained & (fold < 0)
    description = (
        f"The official split: {counts['training']} tracks of training are learnt from, "
        f"{counts[scored]} of {scored} are scored."
    )
    if scored == "validation":
        description += " There are no test tracks here; validation is as a rule easier than test."
    elif counts["validation"]:
        description += (
            f" The {counts['validation']} tracks of validation only set the temperature of "
            "models that give no probabilities."
        )
    shared = np.intersect1d(data.groups[trained], data.groups[fold == 0])
    if len(shared):
        description += (
            f" {len(shared)} {data.group_name}{'s' * (len(shared) > 1)} "
            f"{'are' if len(shared) > 1 else 'is'} on both sides, which flatters every model."
        )
    return Protocol(
        "official", fold, 1, seed=seed, description=description, calibration=calibration
    )
