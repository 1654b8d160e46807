"""Sections of a card that every training fills in the same way, from answers on unseen artists."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.learn.calibrate import (
    abstention_threshold,
    apply_temperature,
    conformal_quantile,
    fit_temperature,
    prediction_set,
)
from genrescope.learn.evaluate import Scores

__all__ = [
    "cross_cooled",
    "decisions",
    "is_fma_small",
    "licence_of_weights",
    "score_row",
    "what_was_learnt_from",
]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# SHA-256 of the track ids, sorted, joined by commas.
_FMA_SMALL_IDS = "55e337a6dce0fc2915c39b562ddc7aae5b010d07dd250356e75be5b24c79541d"
_FMA_SMALL = "FMA-small (Defferrard et al. 2017), official training and validation tracks"
_FMA_LICENCE = "metadata CC BY 4.0; audio under each artist's Creative Commons licence"


def cross_cooled(logits: Floats, y: IntArray, folds: IntArray) -> tuple[Floats, list[float]]:
    """Probabilities, each fold cooled by the temperature of the others.

    Parameters
    ----------
    logits : np.ndarray [shape=(n, k)]
        Scores or log-probabilities of tracks that were not trained on.
    y : np.ndarray [shape=(n,)]
        True genres.
    folds : np.ndarray [shape=(n,)]
        Fold of each track; two different ones at least.

    Returns
    -------
    probabilities : np.ndarray [shape=(n, k)]
    temperatures : list of float
        One a fold, in the order of their numbers.
    """
    out = np.zeros_like(logits)
    temperatures = []
    for k in np.unique(folds).tolist():
        rest = folds != k
        temperatures.append(fit_temperature(logits[rest], y[rest]))
        out[~rest] = apply_temperature(logits[~rest], temperatures[-1])
    return out, temperatures


def decisions(
    p: Floats,
    y: IntArray,
    *,
    folds: IntArray,
    artists: npt.NDArray[Any],
    target_accuracy: float,
    conformal_level: float,
) -> dict[str, dict[str, Any]]:
    """Threshold of "not sure" and conformal quantile, with what they give on unseen folds.

    Parameters
    ----------
    p : np.ndarray [shape=(n, k)]
        Calibrated probabilities of tracks that were not trained on.
    y : np.ndarray [shape=(n,)]
        True genres.
    folds, artists : np.ndarray [shape=(n,)]
        Fold and artist of each track; no artist in two folds.
    target_accuracy, conformal_level : float
        What is asked of answers that are given, and of sets of plausible genres.

    Returns
    -------
    dict
        The sections "abstention" and "conformal" of a card.
    """
    chosen = abstention_threshold(p, y, target_accuracy=target_accuracy, groups=artists)
    quantile = conformal_quantile(p, y, level=conformal_level, groups=artists)
    sure = np.zeros(len(y), dtype=bool)
    plausible = np.zeros_like(p, dtype=bool)
    for k in np.unique(folds).tolist():
        rest, held = folds != k, folds == k
        found = abstention_threshold(
            p[rest], y[rest], target_accuracy=target_accuracy, groups=artists[rest]
        )
        if found.threshold is not None:
            sure[held] = p[held].max(axis=1) >= found.threshold
        limit = conformal_quantile(p[rest], y[rest], level=conformal_level, groups=artists[rest])
        plausible[held] = prediction_set(p[held], limit)
    right = p.argmax(axis=1) == y
    abstention = chosen.to_dict()
    # What is reported was measured with thresholds that had not seen the fold.
    abstention |= {
        "coverage": float(sure.mean()),
        "accuracy_when_sure": float(right[sure].mean()) if sure.any() else None,
    }
    conformal = {
        "level": conformal_level,
        "quantile": quantile,
        "coverage": float(plausible[np.arange(len(right)), y].mean()),
        "mean_set_size": float(plausible.sum(axis=1).mean()),
        "method": "split conformal, 1 - p, every artist weighs the same",
    }
    return {"abstention": abstention, "conformal": conformal}


def score_row(name: str, scores: Scores) -> dict[str, Any]:
    """A row of the card's table."""
    full = scores.to_dict()
    keys = ("accuracy", "macro_f1", "top3", "log_loss", "ece", "artist_weighted_accuracy")
    return {
        "name": name,
        **{key: full[key] for key in keys},
        "intervals": {key: full["intervals"][key] for key in keys},
    }


def is_fma_small(track_id: IntArray) -> bool:
    """Whether these are the official training and validation tracks of FMA-small."""
    ids = ",".join(str(track) for track in sorted(track_id.tolist()))
    return hashlib.sha256(ids.encode()).hexdigest() == _FMA_SMALL_IDS


def what_was_learnt_from(track_id: IntArray, artists: npt.NDArray[Any]) -> dict[str, Any]:
    """The head of the card's section "training": data, licence, numbers, ids."""
    known = is_fma_small(track_id)
    return {
        "data": _FMA_SMALL if known else "prepared tracks of the person who trained it",
        "licence": _FMA_LICENCE if known else "not stated",
        "tracks": len(track_id),
        "artists": len(np.unique(artists)),
        "track_ids": [int(track) for track in track_id],
    }


def licence_of_weights(track_id: IntArray) -> str:
    """The card's licence, as far as it is known."""
    if not is_fma_small(track_id):
        return "not stated"
    return (
        "Apache-2.0 for the weights. Trained on features of FMA tracks (metadata CC BY 4.0; "
        "the audio, which is not included, is under each artist's Creative Commons licence)."
    )
