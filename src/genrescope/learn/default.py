"""Train, measure and write the recogniser that ships.

The figures on its card are out-of-fold: every track is scored by members that had never met its
artist, through the same graph that ships, and cooled by a temperature fitted on the other folds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.errors import TrainingError
from genrescope.learn.baselines import BASELINES
from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.calibrate import (
    abstention_threshold,
    apply_temperature,
    conformal_quantile,
    fit_temperature,
    prediction_set,
)
from genrescope.learn.evaluate import Scores, score
from genrescope.learn.recipe import Recipe, Report, Run, packages, train_members
from genrescope.learn.training import pick_device

__all__ = ["train_default"]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

# SHA-256 of the track ids, sorted, joined by commas.
_FMA_SMALL_IDS = "55e337a6dce0fc2915c39b562ddc7aae5b010d07dd250356e75be5b24c79541d"
_FMA_SMALL = "FMA-small (Defferrard et al. 2017), official training and validation tracks"
_FMA_LICENCE = "metadata CC BY 4.0; audio under each artist's Creative Commons licence"

_KINDS = {
    "nets": "Networks on statistics alone",
    "frames": "Networks on frames alone",
    "trees": "Boosted trees alone",
}


def train_default(
    data: Path,
    out: Path,
    *,
    recipe: Recipe | None = None,
    device: str = "auto",
    threads: int = 1,
    baselines: bool = True,
    command: str = "genrescope train default",
    report: Report | None = None,
) -> Bundle:
    """Run the whole recipe, or what is left of it.

    Parameters
    ----------
    data : Path
        Prepared data, see :func:`genrescope.catalog.prepared.load_prepared`.
    out : Path
        Folder of the run; the bundle is written to its ``bundle``.
    recipe : Recipe, optional
        Every number; the default is the shipped one.
    device : str
        For the networks.
    threads : int
        Processor threads.
    baselines : bool
        Score the models to compare with, too.
    command : str
        How it was called, for the card.
    report : callable, optional
        Told what happens, ``report(event, details)``.

    Returns
    -------
    Bundle
        What was written.

    Raises
    ------
    TrainingError, DataError
        If it cannot start or go on; what was finished is kept.
    """
    import torch

    torch.set_num_threads(max(1, threads))
    pick_device(device)  # now, rather than after minutes of work
    recipe = recipe or Recipe()
    run = Run(out, recipe=recipe, data=data, report=report)
    run.report("start", tracks=len(run.y), genres=run.genres, parts=len(run.parts()))
    views = run.features()
    answers = _answers(run, views, device=device, threads=threads)
    if baselines:
        answers |= _baselines(run, views[0])
    shipped, temperatures = _cross_cooled(run, answers["all"])

    everything = run.parts()[-1]
    members = train_members(run, *everything, views, device=device, threads=threads)
    temperature = fit_temperature(answers["all"], run.y)
    graph = members.graph(recipe, n_genres=len(run.genres), temperature=temperature)
    sections = _decisions(run, shipped)
    scores = _score(run, shipped, threshold=sections["abstention"]["threshold"])
    table = [_row("genrescope, as shipped", scores)]
    names = {**_KINDS, **{key: name for key, (name, _, _) in BASELINES.items()}}
    for key, name in names.items():
        if key in answers:
            table.append(_row(name, _score(run, _cross_cooled(run, answers[key])[0])))
    card = {
        "name": "fma-small-8" if _is_fma_small(run) else out.resolve().name,
        "version": "1",
        "description": (
            f"Recognises {len(run.genres)} genres from 30-s windows of sound. Small networks and "
            "boosted trees on mel frames below 15 kHz."
        ),
        "genres": run.genres,
        "front_end": frames.FRONT_END,
        "training": _training(run, command),
        "metrics": {
            "protocol": (
                f"{recipe.folds}-fold cross-validation on the training tracks, folds stratified by "
                "genre and grouped by artist; temperature fitted on the other folds; 95 % "
                "intervals by bootstrap over artists. Expect collections by other artists to be "
                "harder"
                + ("; FMA's official test tracks were not touched." if _is_fma_small(run) else ".")
            ),
            "table": table,
            "scores": scores.to_dict(),
        },
        "calibration": {
            "method": "temperature on the pooled log-probabilities, fitted on out-of-fold answers",
            "temperature": temperature,
            "temperatures_by_fold": temperatures,
            "ece": scores.ece,
        },
        **sections,
        "licence": (
            "Apache-2.0 for the weights. Trained on features of FMA tracks (metadata CC BY 4.0; "
            "the audio, which is not included, is under each artist's Creative Commons licence)."
            if _is_fma_small(run)
            else "not stated"
        ),
        "created": time.strftime("%Y-%m-%d"),
    }
    bundle = write_bundle(out / "bundle", graph=graph, card=card)
    _check_graph(run, bundle, views[0])
    run.report("done", accuracy=scores.accuracy, macro_f1=scores.macro_f1, ece=scores.ece)
    return bundle


def _answers(run: Run, views: list[FloatArray], *, device: str, threads: int) -> dict[str, Floats]:
    """Out-of-fold log-probabilities [n, n_genres] of the ensemble ("all") and of its kinds."""
    members = {"nets": run.recipe.nets, "frames": run.recipe.frame_nets, "trees": 1}
    kinds: list[str | None] = [None, *(kind for kind in _KINDS if members[kind])]
    answers = {kind or "all": np.zeros((len(run.y), len(run.genres))) for kind in kinds}
    for name, train in run.parts()[:-1]:
        rows = np.flatnonzero(~train)

        def predict(
            name: str = name, train: npt.NDArray[np.bool_] = train, rows: Any = rows
        ) -> Mapping[str, npt.NDArray[Any]]:
            trained = train_members(run, name, train, views, device=device, threads=threads)
            return {
                kind or "all": _log_probabilities(
                    trained.graph(run.recipe, n_genres=len(run.genres), only=kind), views[0][rows]
                )
                for kind in kinds
            }

        stored = run.arrays(f"{name}/answers", predict)
        for kind, values in stored.items():
            answers[kind][rows] = values
        right = answers["all"][rows].argmax(axis=1) == run.y[rows]
        run.report("fold", name=name, accuracy=float(right.mean()))
    return answers


def _log_probabilities(graph: bytes, x: FloatArray) -> Floats:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["probabilities"], {"features": part[:, None]})[0]
        for part in np.array_split(x, max(1, len(x) // 256))
    ]
    return np.log(np.maximum(np.concatenate(parts).astype(np.float64), 1e-12))


def _baselines(run: Run, x: FloatArray) -> dict[str, Floats]:
    answers: dict[str, Floats] = {}
    for key, (_, function, source) in BASELINES.items():
        inputs = run.data.vggish if source == "vggish" else x[:, : frames.N_STATISTICS]
        if inputs is None:
            continue
        answers[key] = np.zeros((len(run.y), len(run.genres)))
        for name, train in run.parts()[:-1]:

            def fit(
                function: Any = function, inputs: FloatArray = inputs, train: Any = train
            ) -> Mapping[str, npt.NDArray[Any]]:
                scores = function(
                    inputs[train], run.y[train], inputs[~train], n_genres=len(run.genres)
                )
                return {"scores": scores}

            answers[key][~train] = run.arrays(f"{name}/baseline-{key}", fit)["scores"]
    return answers


def _cross_cooled(run: Run, logits: Floats) -> tuple[Floats, list[float]]:
    """Probabilities, each fold cooled by the temperature of the others."""
    out = np.zeros_like(logits)
    temperatures = []
    for k in range(run.recipe.folds):
        rest = run.folds != k
        temperatures.append(fit_temperature(logits[rest], run.y[rest]))
        out[~rest] = apply_temperature(logits[~rest], temperatures[-1])
    return out, temperatures


def _decisions(run: Run, p: Floats) -> dict[str, dict[str, Any]]:
    """Threshold of "not sure" and conformal quantile, with what they give on unseen folds."""
    recipe, artists = run.recipe, run.data.artist_id
    chosen = abstention_threshold(p, run.y, target_accuracy=recipe.target_accuracy, groups=artists)
    quantile = conformal_quantile(p, run.y, level=recipe.conformal_level, groups=artists)
    sure = np.zeros(len(run.y), dtype=bool)
    plausible = np.zeros_like(p, dtype=bool)
    for k in range(recipe.folds):
        rest, held = run.folds != k, run.folds == k
        found = abstention_threshold(
            p[rest], run.y[rest], target_accuracy=recipe.target_accuracy, groups=artists[rest]
        )
        if found.threshold is not None:
            sure[held] = p[held].max(axis=1) >= found.threshold
        limit = conformal_quantile(
            p[rest], run.y[rest], level=recipe.conformal_level, groups=artists[rest]
        )
        plausible[held] = prediction_set(p[held], limit)
    right = p.argmax(axis=1) == run.y
    abstention = chosen.to_dict()
    # What is reported was measured with thresholds that had not seen the fold.
    abstention |= {
        "coverage": float(sure.mean()),
        "accuracy_when_sure": float(right[sure].mean()) if sure.any() else None,
    }
    conformal = {
        "level": recipe.conformal_level,
        "quantile": quantile,
        "coverage": float(plausible[np.arange(len(right)), run.y].mean()),
        "mean_set_size": float(plausible.sum(axis=1).mean()),
        "method": "split conformal, 1 - p, every artist weighs the same",
    }
    return {"abstention": abstention, "conformal": conformal}


def _score(run: Run, p: Floats, *, threshold: float | None = None) -> Scores:
    return score(
        run.y, p, genres=run.genres, groups=run.data.artist_id, threshold=threshold, seed=0
    )


def _row(name: str, scores: Scores) -> dict[str, Any]:
    full = scores.to_dict()
    keys = ("accuracy", "macro_f1", "top3", "log_loss", "ece", "artist_weighted_accuracy")
    return {
        "name": name,
        **{key: full[key] for key in keys},
        "intervals": {key: full["intervals"][key] for key in keys},
    }


def _is_fma_small(run: Run) -> bool:
    """Whether these are the official training and validation tracks of FMA-small."""
    ids = ",".join(str(track) for track in sorted(run.data.track_id.tolist()))
    return hashlib.sha256(ids.encode()).hexdigest() == _FMA_SMALL_IDS


def _training(run: Run, command: str) -> dict[str, Any]:
    known = _is_fma_small(run)
    return {
        "data": _FMA_SMALL if known else "prepared tracks of the person who trained it",
        "licence": _FMA_LICENCE if known else "not stated",
        "tracks": len(run.y),
        "artists": len(np.unique(run.data.artist_id)),
        "track_ids": [int(track) for track in run.data.track_id],
        "command": command,
        "seed": run.recipe.seed,
        "recipe": dataclasses.asdict(run.recipe),
        "teacher": "VGGish embeddings, in training only" if run.data.vggish is not None else "none",
        "packages": packages(),
    }


def _check_graph(run: Run, bundle: Bundle, x: FloatArray) -> None:
    """The bundle as written must know its own training tracks far better than chance."""
    probabilities, _ = bundle.run(x[:512, None])
    right = float((probabilities.argmax(axis=1) == run.y[:512]).mean())
    chance = 1.0 / len(run.genres)
    if right < chance + (1.0 - chance) / 7.0:  # a quarter where there are eight genres
        raise TrainingError(
            f"the exported graph gets {right:.2f} of its own training tracks right, which "
            f"is near chance; {bundle.folder} is not usable, please report this"
        )
