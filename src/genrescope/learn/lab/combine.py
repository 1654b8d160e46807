"""How the answers of several classifiers become one: votes, means, weights, and a regression.

What :mod:`genrescope.learn.lab.ensembles` fits for each fold on the other folds. Everything here
sees probabilities only, never features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import MissingExtraError
from genrescope.learn.resampling import Floats, Ints

try:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("ensembles", extra="lab", package="scikit-learn") from error

__all__ = [
    "BEST_FEW",
    "FLOOR",
    "STRENGTHS",
    "Combine",
    "Part",
    "answer_all",
    "hard_votes",
    "mixture_weights",
    "most_accurate",
    "soft_best",
    "soft_weights",
    "stack",
]

BEST_FEW = 5  # members of the soft vote of the best
FLOOR = 1e-3  # lowest probability in a logarithm: trees and neighbours answer 0 on thin evidence
# Strengths of the stacking model's penalty (scikit-learn's C) to try for every fold, the strongest
# penalty first.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
_GAP = 3e-4  # nats a track: how near to the best weights is near enough
_STEPS = 2000
_LEAST_WEIGHT = 1e-3  # below, a weight is 0 that the climb has not reached yet


@dataclass(frozen=True, eq=False)
class Part:
    """Rows to fit on and rows to answer, for one fold."""

    y: Ints  # [n_fit]
    p: Floats  # [members, n_fit, k]: held-out answers of the members on the rows to fit on
    block: NDArray[np.int64]  # [n_fit]: parts of the rows to fit on that share no artist
    ask: Floats  # [members, n_ask, k]: their answers on the rows to answer
    rows: NDArray[np.intp]  # [n_ask]: where these are among the scored rows


#: ``combine(part, keys)``: fit, and answer [shape=(n_ask, k)], with a record of what was fitted.
Combine = Callable[[Part, Sequence[str]], tuple[Floats, dict[str, Any]]]


def hard_votes(answers: NDArray[np.integer[Any]], *, k: int) -> Floats:
    """Shares of votes, with one more vote spread evenly over all genres.

    Parameters
    ----------
    answers : np.ndarray [shape=(members, n), int]
        The genre that each member answers.
    k : int > 0
        Number of genres.

    Returns
    -------
    np.ndarray [shape=(n, k), float64]
        Rows add up to 1, none is 0; ``argmax`` is the majority, the first of several.

    Examples
    --------
    >>> hard_votes(np.array([[0], [1], [1]]), k=2).tolist()
    [[0.375, 0.625]]
    """
    votes = np.zeros((answers.shape[1], k))
    for answer in answers:
        votes[np.arange(len(answer)), answer] += 1
    return np.asarray((votes + 1 / k) / (len(answers) + 1), dtype=np.float64)


def mixture_weights(likelihood: Floats) -> Floats:
    """Weights of a mean of probabilities under which the labels are most likely.

    The log-likelihood is concave in the weights; expectation-maximisation climbs it until no
    mixture can be better by more than 0.0003 nats a track (the steepest direction bounds it).

    Parameters
    ----------
    likelihood : np.ndarray [shape=(members, n), float64]
        Probability that each member gave to the right genre, above 0.

    Returns
    -------
    np.ndarray [shape=(members,), float64]
        At least 0, adding up to 1.
    """
    weights = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(_STEPS):
        slope = (likelihood / (weights @ likelihood)).mean(axis=1)
        if slope.max() - 1 < _GAP:
            break
        weights = weights * slope
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def answer_all(
    combine: Combine, keys: Sequence[str], parts: Sequence[Part]
) -> tuple[Floats, list[dict[str, Any]]]:
    """Fit and answer part by part.

    Parameters
    ----------
    combine : callable
        One of the functions below.
    keys : sequence of str
        Names of the members.
    parts : sequence of Part
        Together they ask for every scored row once.

    Returns
    -------
    probabilities : np.ndarray [shape=(n_scored, k), float64]
    record : list of dict
        What was fitted for each part.
    """
    n = sum(len(part.rows) for part in parts)
    probabilities = np.zeros((n, parts[0].p.shape[2]))
    record = []
    for part in parts:
        probabilities[part.rows], entry = combine(part, keys)
        record.append(entry)
    return probabilities, record


def most_accurate(part: Part, keys: Sequence[str]) -> tuple[Floats, dict[str, Any]]:
    """The answers of the one member that is most accurate on the rows to fit on.

    Parameters
    ----------
    part : Part
        Rows to fit on and to answer.
    keys : sequence of str
        Names of the members.

    Returns
    -------
    probabilities : np.ndarray [shape=(n_ask, k), float64]
    record : dict
        ``chosen``: its key.
    """
    best = int((part.p.argmax(axis=2) == part.y).mean(axis=1).argmax())
    return part.ask[best], {"chosen": keys[best]}


def soft_best(part: Part, keys: Sequence[str]) -> tuple[Floats, dict[str, Any]]:
    """The mean probability of the few members with the lowest log-loss on the rows to fit on.

    Log-loss and not accuracy, because a mean of probabilities needs members whose probabilities
    are good, and because it is less a matter of luck. In and out: :func:`most_accurate`; the
    record holds ``members``, the best first.
    """
    loss = -np.log(_own(part)).mean(axis=1)
    best = sorted(range(len(keys)), key=lambda m: (round(float(loss[m]), 12), keys[m]))[:BEST_FEW]
    return part.ask[sorted(best)].mean(axis=0), {"members": [keys[m] for m in best]}


def soft_weights(part: Part, keys: Sequence[str]) -> tuple[Floats, dict[str, Any]]:
    """The weighted mean probability, weights from :func:`mixture_weights`.

    In and out: :func:`most_accurate`; the record holds ``members`` and their ``weights``.
    """
    weights = mixture_weights(_own(part))
    weights = np.where(weights < _LEAST_WEIGHT, 0.0, weights)
    weights /= weights.sum()
    used = np.flatnonzero(weights).tolist()
    return np.tensordot(weights, part.ask, axes=1), {
        "members": [keys[m] for m in used],
        "weights": {keys[m]: round(float(weights[m]), 4) for m in used},
    }


def stack(part: Part, keys: Sequence[str]) -> tuple[Floats, dict[str, Any]]:
    """Multinomial logistic regression on the members' log-probabilities (stacking).

    Its penalty is the first of :data:`STRENGTHS` whose next predicts the first block worse, fitted
    on the other blocks; then it is fitted on all rows to fit on. In and out:
    :func:`most_accurate`; the record holds ``C``.
    """
    k = part.p.shape[2]
    x = _logs(part.p)
    held = part.block == part.block.min()
    best, lowest = STRENGTHS[1], np.inf
    if len(np.unique(part.y[~held])) > 1:
        rows = np.arange(int(held.sum()))
        model = _regression(STRENGTHS[0])
        for strength in STRENGTHS:  # from strong to weak penalties, each begun at the last
            model.set_params(regression__C=strength)
            p = _regress(model, x[~held], part.y[~held], ask=x[held], k=k)
            own = np.maximum(p[rows, part.y[held]], np.finfo(np.float64).eps)
            loss = -float(np.log(own).mean())
            if loss >= lowest:
                break
            best, lowest = strength, loss
    p = _regress(_regression(best), x, part.y, ask=_logs(part.ask), k=k)
    return p, {"C": best}


def _own(part: Part) -> Floats:
    """Probability [members, n_fit] that each member gave to the right genre, at least a little."""
    own = part.p[:, np.arange(len(part.y)), part.y]
    return np.asarray(np.maximum(own, FLOOR), dtype=np.float64)


def _logs(p: Floats) -> NDArray[np.float32]:
    """Features [shape=(n, members * k)] of the stacking model."""
    logs = np.log(np.maximum(p, FLOOR))
    # float32: twice as fast; on FMA-small the log-loss is the same to four digits.
    return logs.transpose(1, 0, 2).reshape(p.shape[1], -1).astype(np.float32)


def _regression(strength: float) -> Pipeline:
    model = LogisticRegression(C=strength, tol=1e-4, max_iter=500, warm_start=True)
    return Pipeline([("scaler", StandardScaler()), ("regression", model)])


def _regress(
    model: Pipeline, x: NDArray[np.float32], y: Ints, *, ask: NDArray[np.float32], k: int
) -> Floats:
    """Probabilities [shape=(n_ask, k)]; a genre that is not in ``y`` gets those of one track."""
    model.fit(x, y)
    classes = model.classes_
    p = np.zeros((len(ask), k))
    p[:, classes] = model.predict_proba(ask)
    p /= p.sum(axis=1, keepdims=True)  # of float32
    p *= 1 - (k - len(classes)) / (len(y) + k)
    p[:, np.setdiff1d(np.arange(k), classes)] = 1 / (len(y) + k)
    return p
