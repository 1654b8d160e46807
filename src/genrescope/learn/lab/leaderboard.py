"""The table of all classifiers: sorted, compared in pairs, and corrected for having chosen.

Every classifier was scored on the same tracks, so each is compared with the best on these tracks
in pairs; comparing two intervals that were made apart would waste that. The one at the top is
there partly by luck, the more so the more classifiers there are: how much is measured, too. Only
numpy is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError
from genrescope.learn.evaluate import METRICS, Scores, score
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.paired import (
    PairedDifference,
    Selection,
    compare_with_first,
    difference_to_dict,
    holm,
    mcnemar_mid_p,
)

__all__ = ["LeaderRow", "Leaderboard", "leaderboard", "scored_groups"]

_SHOWN = METRICS[:7]  # without the two figures that need a threshold


@dataclass(frozen=True, eq=False)
class LeaderRow:
    """One classifier in the table.

    Attributes
    ----------
    run : ModelRun
        The classifier and its answers.
    scores : Scores or None
        What they are worth; None where the classifier failed. So are the other figures.
    macro_precision, macro_recall : float or None
        Means over the genres that have scored tracks. Precision of a genre that was never
        answered counts as 0. Macro recall is balanced accuracy under its other name.
    micro_f1 : float or None
        F1 of all genres' counts together. With one genre a track it is the accuracy, as are micro
        precision and micro recall; it says nothing more.
    difference : PairedDifference or None
        Accuracy of the best minus this one's; None for the best itself.
    mcnemar_p : float or None
        McNemar's mid-p value against the best. It takes tracks as independent, and so is too
        small where artists have many tracks; the interval of ``difference`` is not.
    mcnemar_p_adjusted : float or None
        The same after Holm's correction over the table.
    best : bool
        Whether it is the first of the table.
    within : bool
        Whether the interval of ``difference`` holds zero: the tracks do not tell it from the
        best. False for the best itself.
    """

    run: ModelRun
    scores: Scores | None = None
    macro_precision: float | None = None
    macro_recall: float | None = None
    micro_f1: float | None = None
    difference: PairedDifference | None = None
    mcnemar_p: float | None = None
    mcnemar_p_adjusted: float | None = None
    best: bool = False
    within: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The row, fit for ``json.dumps(..., allow_nan=False)``; probabilities are left out."""
        run = self.run
        return {
            "key": run.key,
            "name": run.name,
            "family": run.family,
            "settings": run.settings,
            "members": list(run.members),
            "calibrated": run.calibrated,
            "fit_seconds": run.fit_seconds,
            "predict_seconds": run.predict_seconds,
            "failure": run.failure,
            "notes": list(run.notes),
            "best": self.best,
            "within": self.within,
            "scores": None if self.scores is None else self.scores.to_dict(),
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "micro_f1": self.micro_f1,
            "difference": difference_to_dict(self.difference),
            "mcnemar_p": self.mcnemar_p,
            "mcnemar_p_adjusted": self.mcnemar_p_adjusted,
        }


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All classifiers, the most accurate first and the failures last.

    Attributes
    ----------
    rows : tuple of LeaderRow
        Ties go to the lower log-loss, then to the key that comes first.
    best : str
        Key of the first row; empty where all failed.
    selection : Selection or None
        What choosing the best was worth; None with fewer than two classifiers, fewer than two
        artists, or without resamples.
    n, n_genres : int
        Scored tracks, and genres.
    resampled : str
        What the intervals resampled: "artist" or "track".
    notes : tuple of str
        What a reader of the table must know: sentences.
    """

    rows: tuple[LeaderRow, ...]
    best: str
    selection: Selection | None
    n: int
    n_genres: int
    resampled: str
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        from genrescope.learn.notebook import leaderboard_html

        return leaderboard_html(self)

    def row(self, key: str) -> LeaderRow:
        """The row of a classifier.

        Raises
        ------
        DataError
            Where it is not in the table.
        """
        for row in self.rows:
            if row.run.key == key:
                return row
        keys = ", ".join(row.run.key for row in self.rows)
        raise DataError(f"the table has no {key!r}; it has {keys}")

    def to_dict(self) -> dict[str, Any]:
        """The table, fit for ``json.dumps(..., allow_nan=False)``."""
        return {
            "best": self.best,
            "n": self.n,
            "n_genres": self.n_genres,
            "resampled": self.resampled,
            "notes": list(self.notes),
            "selection": None if self.selection is None else self.selection.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
        }

    def table(self) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
        """Columns and rows for a CSV or Parquet file.

        Figures without a unit in their name are shares (0 to 1). ``_nats`` is natural
        logarithm, ``_cpu_s`` CPU seconds over all folds. None where there is no figure.

        Returns
        -------
        tuple of columns and rows
        """
        columns = ["rank", "key", "model", "family", "best", "within_best"]
        for name in _SHOWN:
            unit = "_nats" if name == "log_loss" else ""
            columns += [f"{name}{unit}", f"{name}_low{unit}", f"{name}_high{unit}"]
        columns += ["macro_precision", "macro_recall", "micro_f1"]
        columns += ["best_minus_this", "best_minus_this_low", "best_minus_this_high"]
        columns += ["mcnemar_mid_p", "mcnemar_mid_p_holm", "fit_cpu_s", "predict_cpu_s"]
        columns += ["probabilities", "members", "failure"]
        return tuple(columns), tuple(
            _cells(row, rank=rank) for rank, row in enumerate(self.rows, start=1)
        )


def leaderboard(
    data: TabularData,
    protocol: Protocol,
    runs: Sequence[ModelRun],
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> Leaderboard:
    """Score all classifiers, sort them, and compare each with the best.

    Parameters
    ----------
    data : TabularData
        What they were trained and scored on.
    protocol : Protocol
        How.
    runs : sequence of ModelRun
        Classifiers and ensembles, in any order, each key once.
    n_boot : int >= 0
        Resamples of the intervals; 0 gives none, and every classifier counts as within the best.
    seed : int
        Of the resampling.

    Returns
    -------
    Leaderboard

    Raises
    ------
    DataError
        No run, a key that occurs twice, or probabilities that do not fit the scored rows.
    """
    if not runs:
        raise DataError("there are 0 runs to compare; give at least one")
    keys = [run.key for run in runs]
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise DataError(f"{', '.join(twice)} is there more than once; give each key once")
    y, groups = data.y[protocol.scored], scored_groups(data, protocol)
    scored = [
        (
            run,
            score(
                y, run.probabilities, genres=data.genres, groups=groups, n_boot=n_boot, seed=seed
            ),
        )
        for run in runs
        if run.probabilities is not None
    ]
    # Rounded, so that the order of a sum cannot decide between equals.
    scored.sort(key=lambda s: (-round(s[1].accuracy, 12), round(s[1].log_loss, 9), s[0].key))
    failed = tuple(LeaderRow(run) for run in runs if run.probabilities is None)
    resampled = "track" if groups is None else "artist"
    if not scored:
        notes = ("Every model failed; the reasons are in the table.",)
        return Leaderboard(failed, "", None, len(y), len(data.genres), resampled, notes)

    right = np.stack([_answers(run) == y for run, _ in scored], axis=1)
    differences, selection = compare_with_first(
        right, groups, keys=[run.key for run, _ in scored], n_boot=n_boot, seed=seed
    )
    p = [mcnemar_mid_p(right[:, 0], right[:, m]) for m in range(1, len(scored))]
    adjusted = holm(np.array(p)).tolist()
    rows = []
    for m, (run, scores) in enumerate(scored):
        difference = differences[m] if m else None
        genres = [g for g in scores.per_genre.values() if g["support"]]
        precision = [0.0 if math.isnan(g["precision"]) else g["precision"] for g in genres]
        rows.append(
            LeaderRow(
                run,
                scores=scores,
                macro_precision=float(np.mean(precision)),
                macro_recall=float(np.mean([g["recall"] for g in genres])),
                micro_f1=_micro_f1(scores),
                difference=difference,
                mcnemar_p=p[m - 1] if m else None,
                mcnemar_p_adjusted=adjusted[m - 1] if m else None,
                best=m == 0,
                within=difference is not None and not difference.significant,
            )
        )
    return Leaderboard(
        rows=(*rows, *failed),
        best=rows[0].run.key,
        selection=selection,
        n=len(y),
        n_genres=len(data.genres),
        resampled=resampled,
        notes=_notes(data, rows, selection, resampled=resampled, n_failed=len(failed)),
    )


def scored_groups(data: TabularData, protocol: Protocol) -> NDArray[np.str_] | None:
    """Artists of the scored rows, or None where no artist has two tracks in the table.

    Parameters
    ----------
    data : TabularData
        The table.
    protocol : Protocol
        Which rows are scored.

    Returns
    -------
    np.ndarray [shape=(n_scored,), str] or None
        What :func:`genrescope.learn.evaluate.score` wants as ``groups``.
    """
    if len(np.unique(data.groups)) == len(data.groups):
        return None
    return data.groups[protocol.scored]


def _answers(run: ModelRun) -> NDArray[np.intp]:
    if run.probabilities is None:
        raise DataError(f"{run.key} has no probabilities: {run.failure}")
    return np.asarray(run.probabilities.argmax(axis=1))


def _micro_f1(scores: Scores) -> float:
    """F1 of the counts of all genres together."""
    hits = float(np.trace(scores.confusion))
    missed = float(scores.confusion.sum()) - hits  # each is one false negative, one false positive
    return 2 * hits / (2 * hits + missed + missed)


def _notes(
    data: TabularData,
    rows: list[LeaderRow],
    selection: Selection | None,
    *,
    resampled: str,
    n_failed: int,
) -> tuple[str, ...]:
    notes = []
    if rows[0].scores is not None:
        notes += list(rows[0].scores.notes)  # they speak of the tracks: the same for every model
    if len(rows) > 1:
        notes.append(
            f"Each model is compared with the best on the same tracks, by resampling {resampled}s; "
            "a model is marked where the 95 % interval of that difference holds zero. These "
            "intervals are not corrected for their number; the McNemar p values are (Holm)."
        )
    if resampled == "artist" and len(rows) > 1:
        notes.append(
            "McNemar's test takes tracks as independent; tracks of one artist are not, so its p "
            "values are too small. Where it and the interval differ, trust the interval."
        )
    if selection is not None:
        notes.append(selection.sentence)
    notes.append(
        "Micro-F1, micro precision and micro recall equal accuracy where a track has one genre."
    )
    if len(data.genres) <= 3:
        notes.append(f"With {len(data.genres)} genres top-3 is always 1.")
    if n_failed:
        notes.append(f"{n_failed} of {n_failed + len(rows)} models failed; they are at the end.")
    return tuple(notes)


def _cells(row: LeaderRow, *, rank: int) -> tuple[Any, ...]:
    run, scores, gap = row.run, row.scores, difference_to_dict(row.difference) or {}
    cells: list[Any] = [None if scores is None else rank, run.key, run.name, run.family]
    cells += [row.best, row.within]
    figures = {} if scores is None else scores.to_dict()
    for name in _SHOWN:
        low, high = (figures.get("intervals", {}).get(name)) or (None, None)
        cells += [figures.get(name), low, high]
    cells += [row.macro_precision, row.macro_recall, row.micro_f1]
    cells += [gap.get("difference"), gap.get("low"), gap.get("high")]
    cells += [row.mcnemar_p, row.mcnemar_p_adjusted, run.fit_seconds, run.predict_seconds]
    return (*cells, run.calibrated, " ".join(run.members), run.failure)
