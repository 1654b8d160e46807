"""The card of a network's bundle."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.learn.card_parts import (
    is_fma_small,
    licence_of_weights,
    score_row,
    what_was_learnt_from,
)
from genrescope.learn.deep.data import FrameData
from genrescope.learn.deep.plan import Plan
from genrescope.learn.deep.record import PACKAGES
from genrescope.learn.evaluate import Scores
from genrescope.learn.provenance import versions

__all__ = ["Judged", "network_card"]


@dataclass(frozen=True, eq=False)
class Judged:
    """How good a run's networks are on artists that they had not met.

    Attributes
    ----------
    scores : Scores
        Over all folds that were trained.
    sections : dict
        "abstention" and "conformal" of the card.
    folds : list of int
        The folds that were trained.
    by_fold : list of float
        Accuracy on each.
    temperatures : list of float
        That each was cooled by.
    """

    scores: Scores
    sections: dict[str, dict[str, Any]]
    folds: list[int]
    by_fold: list[float]
    temperatures: list[float] = field(default_factory=list)


def network_card(
    plan: Plan,
    data: FrameData,
    learnt: npt.NDArray[np.bool_],
    *,
    judged: Judged,
    temperature: float,
    best_epoch: int,
) -> dict[str, Any]:
    """What a bundle says about itself.

    Parameters
    ----------
    plan : Plan
        Network and settings.
    data : FrameData
        All tracks.
    learnt : np.ndarray [shape=(n,), bool]
        Those that the network in the bundle was trained on.
    judged : Judged
        How good it is.
    temperature : float
        In the graph.
    best_epoch : int
        Whose weights these are.

    Returns
    -------
    dict
        For :func:`genrescope.learn.bundle.write_bundle`.
    """
    architecture, n_genres = plan.architecture, len(data.genres)
    title = architecture.title[:1].upper() + architecture.title[1:]
    source = (
        "temperature fitted on the other folds"
        if len(judged.folds) > 1
        else "temperature fitted on artists held out of the training"
    )
    return {
        "name": f"{'fma-small-8-' if is_fma_small(data.track_id) else ''}{architecture.key}",
        "version": "1",
        "description": f"{title}, trained on 128 mel frames a clip to tell {n_genres} genres.",
        "genres": list(data.genres),
        "front_end": frames.FRONT_END,
        "training": {
            **what_was_learnt_from(data.track_id[learnt], data.artist[learnt]),
            "command": plan.command,
            "seed": plan.seed,
            "recipe": {
                "preset": plan.preset,
                "options": dict(architecture.options),
                **dataclasses.asdict(plan.settings),
            },
            "epochs": best_epoch,
            "packages": versions(PACKAGES),
        },
        "metrics": {
            "protocol": f"{len(judged.folds)} of {plan.folds} folds of the training tracks, "
            f"stratified by genre and grouped by artist; {source}; 95 % intervals by bootstrap "
            "over artists. Expect collections by other artists to be harder.",
            "table": [score_row(architecture.key, judged.scores)],
            "scores": judged.scores.to_dict(),
        },
        "calibration": {
            "method": "temperature on the pooled log-probabilities, fitted on unseen artists",
            "temperature": temperature,
            "temperatures_by_fold": judged.temperatures,
            "ece": judged.scores.ece,
        },
        **judged.sections,
        "licence": licence_of_weights(data.track_id),
        "created": time.strftime("%Y-%m-%d"),
    }
