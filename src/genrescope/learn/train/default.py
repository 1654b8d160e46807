"""Train, measure and write the recogniser that ships.

The figures on its card are out-of-fold: every track is scored by members that had never met its
artist, through the same graph that ships, and cooled by a temperature fitted on the other folds.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.errors import TrainingError
from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.calibrate import fit_temperature
from genrescope.learn.card_parts import (
    cross_cooled,
    decisions,
    is_fma_small,
    licence_of_weights,
    score_row,
    what_was_learnt_from,
)
from genrescope.learn.evaluate import Scores, score
from genrescope.learn.train.baselines import BASELINES
from genrescope.learn.train.companions import train_companions
from genrescope.learn.train.recipe import Recipe, Report, Run, packages, train_members
from genrescope.learn.train.training import pick_device

__all__ = ["train_default"]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

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
    shipped, temperatures = cross_cooled(answers["all"], run.y, run.folds)

    everything = run.parts()[-1]
    members = train_members(run, *everything, views, device=device, threads=threads)
    temperature = fit_temperature(answers["all"], run.y)
    graph = members.graph(recipe, n_genres=len(run.genres), temperature=temperature)
    sections = decisions(
        shipped,
        run.y,
        folds=run.folds,
        artists=run.data.artist_id,
        target_accuracy=recipe.target_accuracy,
        conformal_level=recipe.conformal_level,
    )
    scores = _score(run, shipped, threshold=sections["abstention"]["threshold"])
    table = [score_row("genrescope, as shipped", scores)]
    names = {**_KINDS, **{key: name for key, (name, _, _) in BASELINES.items()}}
    for key, name in names.items():
        if key in answers:
            cooled = cross_cooled(answers[key], run.y, run.folds)[0]
            table.append(score_row(name, _score(run, cooled)))
    beside = train_companions(run, views, answers["all"], shipped)
    table[1:1] = beside.rows
    known = is_fma_small(run.data.track_id)
    card = {
        "name": "fma-small-8" if known else out.resolve().name,
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
                "harder" + ("; FMA's official test tracks were not touched." if known else ".")
            ),
            "table": table,
            "scores": scores.to_dict(),
            "parts": beside.metrics,
        },
        "calibration": {
            "method": "temperature on the pooled log-probabilities, fitted on out-of-fold answers",
            "temperature": temperature,
            "temperatures_by_fold": temperatures,
            "ece": scores.ece,
        },
        **sections,
        **({"company": beside.company} if beside.company else {}),
        "licence": licence_of_weights(run.data.track_id),
        "created": time.strftime("%Y-%m-%d"),
    }
    bundle = write_bundle(out / "bundle", graph=graph, card=card, parts=beside.parts)
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


def _score(run: Run, p: Floats, *, threshold: float | None = None) -> Scores:
    return score(
        run.y, p, genres=run.genres, groups=run.data.artist_id, threshold=threshold, seed=0
    )


def _training(run: Run, command: str) -> dict[str, Any]:
    return {
        **what_was_learnt_from(run.data.track_id, run.data.artist_id),
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
