"""Classifiers that answer together: voting, weighted voting, and stacking.

Nothing is trained on the features again. An ensemble is made from the held-out probabilities of
its members, and whatever it fits itself (which members, their weights, the stacking model) is
fitted for each fold on the rows of the *other* folds, so that no row is scored by something that
saw its genre. One thread remains: the members that answered on those other rows were themselves
trained on the fold. Cutting it needs every member trained once more for every pair of folds. It
does not flatter: nine models on 40 MFCC statistics of FMA-small, five folds by artist, reach 0.446
with weights either way, and by stacking 0.436 with the thread and 0.445 without.

References
----------
Breiman (1996), Stacked regressions.
Wolpert (1992), Stacked generalization.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError
from genrescope.learn.lab.combine import (
    BEST_FEW,
    FLOOR,
    STRENGTHS,
    Combine,
    Part,
    answer_all,
    hard_votes,
    soft_best,
    soft_weights,
    stack,
)
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.presets import FIFTEEN
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.resampling import Floats, check_predictions

__all__ = ["answers_of", "ensemble_runs", "parts_of", "usable"]

_READING = (
    "The study does not say which of its fifteen models voted; taken here as {which}, in the order "
    "of its table."
)
_NO_ROWS = (
    "There are no held-out answers on other rows than the scored ones to fit it on: use folds, or "
    "a split with validation rows."
)


def ensemble_runs(
    data: TabularData,
    protocol: Protocol,
    runs: Sequence[ModelRun],
    *,
    seed: int = 0,
) -> tuple[ModelRun, ...]:
    """Make the ensembles out of the models' held-out probabilities.

    ================ =====================================================================
    ``vote_3``       hard voting of the study's first three (``classic.FIFTEEN``)
    ``vote_5``       of its first five
    ``vote_15``      of all fifteen
    ``soft_all``     mean probability of all models
    ``soft_best``    mean probability of the five with the lowest log-loss on the other folds
    ``soft_weights`` weighted mean; the weights maximise the likelihood of the other folds
    ``stack``        logistic regression on all log-probabilities, fitted on the other folds
    ================ =====================================================================

    Models that failed are left out, and the notes of a run say so. Ties of a hard vote go to the
    genre that comes first, as in scikit-learn's ``VotingClassifier``; its probabilities are the
    shares of votes, with one more vote spread evenly over all genres, so that no genre has
    probability 0. Seconds are those of all members that were looked at and of the combination.

    Parameters
    ----------
    data : TabularData
        What the models were trained on.
    protocol : Protocol
        How.
    runs : sequence of ModelRun
        The models. Ensembles among them are passed over: none votes in another. With an official
        split, ``soft_best``, ``soft_weights`` and ``stack`` are fitted on the models' answers on
        the validation rows; where there are none, they fail and say so.
    seed : int >= 0
        Nothing here is random; it is recorded with the settings.

    Returns
    -------
    tuple of ModelRun
        Family "ensemble". One that cannot be made has no probabilities and a reason.

    Raises
    ------
    DataError
        Probabilities that do not fit the rows.
    """
    models = usable(data, protocol, runs)
    failed = tuple(r.name for r in runs if r.family != "ensemble" and r.probabilities is None)
    lost = (f"Left out because they failed: {', '.join(failed)}.",) if failed else ()
    made: list[ModelRun] = []
    for size in (3, 5, len(FIFTEEN)):
        made.append(_vote(size, models, runs=runs, before=made))
    every = list(models.values())
    made.append(_soft_all(every, notes=lost))
    for key, name, combine, settings in (
        (
            "soft_best",
            f"Soft voting (best {BEST_FEW})",
            soft_best,
            {"of_the_best": BEST_FEW, "chosen_by": "log-loss on the other folds"},
        ),
        ("soft_weights", "Weighted soft voting", soft_weights, {"weights_by": "likelihood"}),
        (
            "stack",
            "Stacking (LogisticRegression)",
            stack,
            {"features": "log-probabilities", "floor": FLOOR, "C": list(STRENGTHS)},
        ),
    ):
        made.append(
            _fitted(
                ModelRun(
                    key=key,
                    name=name,
                    family="ensemble",
                    settings={**settings, "seed": seed},
                    probabilities=None,
                    calibrated="as it comes",
                    fit_seconds=0.0,
                    predict_seconds=0.0,
                    notes=lost,
                ),
                combine,
                every,
                data=data,
                protocol=protocol,
            )
        )
    return tuple(made)


# --- what can be combined --------------------------------------------------


def usable(data: TabularData, protocol: Protocol, runs: Sequence[ModelRun]) -> dict[str, ModelRun]:
    """The models that may be members, by key; never an ensemble."""
    y = data.y[protocol.scored]
    models = {}
    for run in runs:
        if run.family == "ensemble" or run.members or run.probabilities is None:
            continue
        if run.key in models:
            raise DataError(f"{run.key} is there more than once; give each key once")
        try:
            check_predictions(y, run.probabilities, k=len(data.genres))
        except DataError as error:
            raise DataError(f"{run.key}: {error}") from error
        models[run.key] = run
    return models


def answers_of(run: ModelRun) -> Floats:
    if run.probabilities is None:
        raise DataError(f"{run.key} has no probabilities: {run.failure}")
    return run.probabilities


def parts_of(
    data: TabularData,
    protocol: Protocol,
    runs: Sequence[ModelRun],
) -> tuple[list[str], list[Part]] | None:
    """Keys of the members, and for each fold what to fit on; None where there is nothing."""
    scored = protocol.scored
    y, fold, groups = data.y[scored], protocol.fold[scored], data.groups[scored]
    if protocol.n_folds > 1:
        p = np.stack([answers_of(run) for run in runs])
        parts = []
        for number in range(protocol.n_folds):
            own = fold == number
            block = _blocks(fold[~own], groups[~own])
            parts.append(Part(y[~own], p[:, ~own], block, p[:, own], np.flatnonzero(own)))
        return [run.key for run in runs], parts
    answers = {run.key: run.validation for run in runs if run.validation is not None}
    if not answers or protocol.calibration is None:
        return None
    runs = [run for run in runs if run.key in answers]
    held = np.flatnonzero(protocol.calibration)
    fit = np.stack(
        [check_predictions(data.y[held], p, k=len(data.genres))[1] for p in answers.values()]
    )
    block = _blocks(np.zeros(len(held), dtype=np.int64), data.groups[held])
    ask = np.stack([answers_of(run) for run in runs])
    return [run.key for run in runs], [
        Part(data.y[held], fit, block, ask, np.arange(len(scored), dtype=np.intp))
    ]


def _blocks(fold: NDArray[np.int64], groups: NDArray[np.str_]) -> NDArray[np.int64]:
    """The folds where there are several, else four parts that share no artist."""
    if len(np.unique(fold)) > 1:
        return fold
    return np.unique(groups, return_inverse=True)[1].astype(np.int64) % 4


# --- the ensembles ---------------------------------------------------------


def _vote(
    size: int,
    models: Mapping[str, ModelRun],
    *,
    runs: Sequence[ModelRun],
    before: Sequence[ModelRun],
) -> ModelRun:
    """Hard voting of those of the study's first ``size`` classifiers that gave answers."""
    wanted = FIFTEEN[:size]
    voters = [models[key] for key in wanted if key in models]
    members = tuple(run.key for run in voters)
    given = {run.key for run in runs}
    lost = {
        "failed": [key for key in wanted if key in given and key not in models],
        "not among the models of this table": [key for key in wanted if key not in given],
    }
    without = "; ".join(f"{why}: {', '.join(keys)}" for why, keys in lost.items() if keys)
    same = [run.name for run in before if run.members == members and not run.failure]
    failure = ""
    if len(members) < 2:
        failure = f"Fewer than two of its members gave answers ({without})."
    elif same:
        failure = f"It would have the same members as {same[0]} ({without})."
    start = time.process_time()
    probabilities = None
    if not failure:
        answers = np.stack([answers_of(run).argmax(axis=1) for run in voters])
        probabilities = hard_votes(answers, k=answers_of(voters[0]).shape[1])
    own = time.process_time() - start
    return ModelRun(
        key=f"vote_{size}",
        name=f"Hard voting (first {size})" if size < len(FIFTEEN) else "Hard voting (fifteen)",
        family="ensemble",
        settings={"voting": "hard", "ties": "the genre that comes first", "wanted": list(wanted)},
        probabilities=probabilities,
        calibrated="votes",
        fit_seconds=sum(run.fit_seconds for run in voters),
        predict_seconds=sum(run.predict_seconds for run in voters) + own,
        failure=failure,
        cached=all(run.cached for run in voters),
        members=members,
        notes=(
            _READING.format(which="all fifteen" if size == len(FIFTEEN) else f"the first {size}"),
            *([f"Left out: {without}."] if without and not failure else []),
        ),
    )


def _soft_all(runs: Sequence[ModelRun], *, notes: tuple[str, ...]) -> ModelRun:
    start = time.process_time()
    enough = len(runs) > 1
    probabilities = np.mean([answers_of(run) for run in runs], axis=0) if enough else None
    own = time.process_time() - start
    return ModelRun(
        key="soft_all",
        name="Soft voting (all)",
        family="ensemble",
        settings={"voting": "soft"},
        probabilities=probabilities,
        calibrated="as it comes",
        fit_seconds=sum(run.fit_seconds for run in runs),
        predict_seconds=sum(run.predict_seconds for run in runs) + own,
        failure="" if enough else "Fewer than two models gave answers.",
        cached=all(run.cached for run in runs),
        members=tuple(run.key for run in runs),
        notes=notes,
    )


def _fitted(
    empty: ModelRun,
    combine: Combine,
    runs: Sequence[ModelRun],
    *,
    data: TabularData,
    protocol: Protocol,
) -> ModelRun:
    """Fit a combination for each fold on the other folds; ``empty`` names it."""
    start = time.process_time()
    parts = parts_of(data, protocol, runs) if len(runs) > 1 else None
    probabilities, failure = None, ""
    keys: list[str] = []
    record: list[dict[str, Any]] = []
    if len(runs) < 2:
        failure = "Fewer than two models gave answers."
    elif parts is None:
        failure = _NO_ROWS
    elif len(parts[0]) < 2:
        failure = "Fewer than two models have probabilities on the validation rows."
    elif any(len(np.unique(part.y)) < 2 for part in parts[1]):
        failure = "The rows outside one of the folds are all of one genre."
    else:
        keys = parts[0]
        probabilities, record = answer_all(combine, *parts)
    own = time.process_time() - start
    used = [run for run in runs if run.key in keys]
    chosen = {key for entry in record for key in entry.get("members", keys)}
    absent = [run.name for run in runs if keys and run.key not in keys]
    return ModelRun(
        key=empty.key,
        name=empty.name,
        family=empty.family,
        settings={**empty.settings, "candidates": keys, "folds": record},
        probabilities=probabilities,
        calibrated=empty.calibrated,
        fit_seconds=sum(run.fit_seconds for run in used) + own,
        predict_seconds=sum(run.predict_seconds for run in used),
        failure=failure,
        members=tuple(key for key in keys if key in chosen),
        notes=(
            *empty.notes,
            *([f"No probabilities on the validation rows: {', '.join(absent)}."] if absent else []),
            "Fitted for each fold on the held-out answers in the other folds."
            if protocol.n_folds > 1
            else "Fitted on the validation rows.",
        ),
    )
