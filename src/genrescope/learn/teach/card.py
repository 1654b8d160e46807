"""A taught head as a bundle: its graph and its card."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.learn.card_parts import decisions, score_row
from genrescope.learn.evaluate import Scores
from genrescope.learn.resampling import Floats, Ints
from genrescope.learn.teach.head import LIMIT, GenreHead
from genrescope.learn.teach.learning_curve import LearningCurve
from genrescope.learn.train.graph import GraphBuilder

__all__ = ["TARGETS", "Learnt", "decide", "head_graph", "make_card"]

_FLOAT = 1  # ONNX's number for float32

#: Accuracies asked of sure answers: the first that some threshold reaches is taken.
TARGETS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
_LEVEL = 0.9  # of the sets


@dataclass(frozen=True, eq=False)
class Learnt:
    """What came out of learning.

    Attributes
    ----------
    head : GenreHead
        Fitted on all tracks.
    temperature, temperatures : float, list of float
        The one in the graph, and the ones of the folds.
    p : np.ndarray [shape=(n, k), float64]
        Calibrated out-of-fold probabilities.
    scores : Scores
        Out-of-fold, of the bundle as it is.
    sections : dict
        From :func:`decide`.
    alone : tuple of (str, Scores)
        Scores of what it is compared with.
    curve : LearningCurve or None
    chosen : tuple of dict
        Settings that each fold chose, and those of all tracks at the end.
    """

    head: GenreHead
    temperature: float
    temperatures: list[float]
    p: Floats
    scores: Scores
    sections: dict[str, dict[str, Any]]
    alone: tuple[tuple[str, Scores], ...]
    curve: LearningCurve | None
    chosen: tuple[dict[str, float], ...]


def head_graph(head: GenreHead, *, n_features: int, temperature: float = 1.0) -> bytes:
    """The ONNX graph of a fitted head.

    Parameters
    ----------
    head : GenreHead
        Fitted.
    n_features : int
        Numbers in a row of the front end.
    temperature : float > 0
        The head's own scores, which are cooled once already, are divided by it.

    Returns
    -------
    bytes
        A serialised model: input ``features`` float32 [batch, windows, n_features]; outputs
        ``probabilities`` [batch, k], pooled over the windows (mean of log-probabilities), and
        ``window_probabilities`` [batch, windows, k]. The rows to compare with are in float16.
    """
    g = GraphBuilder()
    node, constant = g.node, g.constant

    def single(name: str, values: Any) -> str:
        return constant(name, np.asarray(values, dtype=np.float32))

    k = len(head.classes_)
    half = head.support_.astype(np.float16)
    support = half.astype(np.float64)  # what the graph compares with
    cool = head.temperature_ * temperature

    rows = node("Reshape", ["features", constant("flat", np.array([-1, n_features]))], "rows")
    read = node("Gather", [rows, constant("columns", head.columns_)], "read", axis=1)
    centred = node("Sub", [read, single("mean", head.mean_)], "centred")
    scaled = node("Mul", [centred, single("factor", head.factor_)], "scaled")
    cut = node("Clip", [scaled, single("low", -LIMIT), single("high", LIMIT)], "cut")
    z = node("Mul", [cut, single("share", head.share_)], "z")
    turned = node("Cast", [constant("support.f16", half.T.copy())], "support", to=_FLOAT)
    product = node("MatMul", [z, turned], "product")
    twice = node("Mul", [product, single("two", 2.0)], "twice")
    own = node("ReduceSumSquare", [z], "own", axes=[1], keepdims=1)
    both = node("Add", [own, single("norms", (support**2).sum(axis=1))], "both")
    distance = node("Sub", [both, twice], "distance.raw")
    distance = node("Max", [distance, single("zero", 0.0)], "distance")
    narrowed = node("Mul", [distance, single("width", -head.width_)], "narrowed")
    kernel = node("Exp", [narrowed], "kernel")
    answers = node("MatMul", [kernel, single("dual", head.dual_ / cool)], "answers")
    scores = node("Add", [answers, single("offset", head.offset_ / cool)], "scores")
    log_p = node("LogSoftmax", [scores], "log_p", axis=1)
    shape = node("Shape", ["features"], "shape", end=2)
    genres = constant("genres", np.array([k], dtype=np.int64))
    target = node("Concat", [shape, genres], "target", axis=0)
    windows = node("Reshape", [log_p, target], "windows")
    pooled = node("ReduceMean", [windows], "pooled", axes=[1], keepdims=0)
    node("Softmax", [pooled], "probabilities", axis=1)
    node("Softmax", [windows], "window_probabilities", axis=2)

    return g.serialise(
        "taught",
        inputs={"features": ["batch", "windows", n_features]},
        outputs={
            "probabilities": ["batch", k],
            "window_probabilities": ["batch", "windows", k],
        },
    )


def decide(
    p: Floats,
    y: Ints,
    *,
    folds: Ints,
    groups: npt.NDArray[Any],
    target_accuracy: float | None = None,
) -> dict[str, dict[str, Any]]:
    """The sections "abstention" and "conformal" of a card.

    Parameters
    ----------
    p : np.ndarray [shape=(n, k)]
        Calibrated out-of-fold probabilities.
    y, folds, groups : np.ndarray [shape=(n,)]
        True genres, fold and group of each track.
    target_accuracy : float in (0, 1), optional
        Of sure answers. Default: the highest of :data:`TARGETS` that is proven to be reached,
        and nearly so without any one fold; having several to choose from makes the proof a
        little weaker.

    Returns
    -------
    dict
    """
    targets = TARGETS if target_accuracy is None else (target_accuracy,)
    for target in targets:
        sections = decisions(
            p, y, folds=folds, artists=groups, target_accuracy=target, conformal_level=_LEVEL
        )
        found = sections["abstention"]
        # With few groups a target may be reached on all of them and on hardly any four fifths.
        if found["threshold"] is not None and 2 * found["coverage"] * len(y) >= found["n_sure"]:
            break
    return sections


def make_card(
    learnt: Learnt,
    *,
    name: str,
    front_end: Mapping[str, Any],
    training: Mapping[str, Any],
    teaching: Mapping[str, Any],
    protocol: str,
) -> dict[str, Any]:
    """The card of a taught bundle.

    Parameters
    ----------
    learnt : Learnt
        What is written.
    name : str
        Of the bundle.
    front_end : mapping
        ``card_section()`` of the front end.
    training, teaching : mapping
        What was learnt from, and how; "teaching" is for whoever wants to know more.
    protocol : str
        How the scores were made.

    Returns
    -------
    dict
    """
    scores = learnt.scores
    encoders = [encoder["name"] for encoder in front_end["parameters"]["encoders"]]
    licences = [
        f"{encoder['name']}: {encoder['licence']}"
        for encoder in front_end["parameters"]["encoders"]
    ]
    return {
        "name": name,
        "version": "1",
        "description": (
            f"Recognises {len(scores.genres)} genres that its owner taught it, from "
            f"{training['tracks']} tracks, by kernel ridge on {' and '.join(encoders)}."
        ),
        "genres": list(scores.genres),
        "front_end": dict(front_end),
        "training": dict(training),
        "metrics": {
            "protocol": protocol,
            "table": [score_row("as written", scores)]
            + [score_row(label, other) for label, other in learnt.alone],
            "scores": scores.to_dict(),
        },
        "calibration": {
            "method": "temperature on the pooled log-probabilities, fitted on out-of-fold answers",
            "temperature": learnt.temperature,
            "temperatures_by_fold": list(learnt.temperatures),
            "ece": scores.ece,
        },
        **learnt.sections,
        "teaching": dict(teaching),
        "licence": (
            "The head belongs to whoever taught it. Encoders, which are not in the bundle: "
            f"{'; '.join(licences)}."
        ),
        "created": time.strftime("%Y-%m-%d"),
    }
