"""Runs side by side: what each scored, and whether the differences mean anything."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.paired import paired_difference

__all__ = ["RunRow", "SeedRow", "compare_runs", "find_runs", "over_seeds", "read_run"]

METRICS = ("accuracy", "macro_f1", "top3", "log_loss", "ece", "artist_weighted_accuracy")
_DEPTH = 3  # folders below the one that was named


@dataclass(frozen=True, eq=False)
class RunRow:
    """One run.

    Attributes
    ----------
    folder : Path
        Where it is.
    model, preset : str
        What was trained and how; "default" for the recogniser that ships.
    options, settings : dict
        Of the network and of the training.
    seed, folds : int
        As asked for.
    folds_scored : tuple of int
        Which folds are done.
    parameters : int or None
        That are learnt; None where the run does not say.
    seconds : float or None
        That the folds took to train.
    scores : dict or None
        As :meth:`genrescope.learn.evaluate.Scores.to_dict` gives them; None while it runs.
    data_sha256, device, precision : str
        What it was trained on, and where.
    state : str
        "done", "done, but ..." where folds learnt nothing, or how far it is.
    """

    folder: Path
    model: str
    preset: str
    options: dict[str, Any]
    settings: dict[str, Any]
    seed: int
    folds: int
    folds_scored: tuple[int, ...]
    parameters: int | None
    seconds: float | None
    scores: dict[str, Any] | None
    data_sha256: str
    device: str
    precision: str
    state: str

    def to_dict(self) -> dict[str, Any]:
        """All of it under stable names, fit for JSON."""
        return {
            **vars(self),
            "folder": str(self.folder),
            "folds_scored": list(self.folds_scored),
        }


@dataclass(frozen=True)
class SeedRow:
    """Runs that differ in their seed only: mean and spread of each metric."""

    model: str
    preset: str
    seeds: tuple[int, ...]
    mean: dict[str, float]
    spread: dict[str, float]  # standard deviation, 0 for one run


def find_runs(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """Folders of runs: those that were named, and those below them.

    Parameters
    ----------
    paths : iterable of path
        Runs, or folders with runs in them.

    Returns
    -------
    list of Path
        Sorted below each path, none twice.

    Raises
    ------
    DataError
        If there is no run at or below a path.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        here = [
            record.parent
            for depth in range(_DEPTH + 1)
            for record in sorted(path.glob("*/" * depth + "run.json"))
        ]
        if not here:
            raise DataError(
                f"{path}: no run is here (a run has a file run.json); name the folder that was "
                "given to `genrescope train` with --out, or one that holds such folders"
            )
        found.update(dict.fromkeys(here))
    return list(found)


def read_run(folder: Path) -> RunRow:
    """Read what a run left.

    Raises
    ------
    DataError
        If its files cannot be read.
    """
    record = _read(folder / "run.json")
    if record.get("kind") != "network":
        return _default_run(folder, record)
    scores_file = folder / "scores.json"
    found = _read(scores_file) if scores_file.exists() else {}
    training = found.get("training", {})
    try:
        return RunRow(
            folder=folder,
            model=record["model"],
            preset=record["preset"],
            options=record["options"],
            settings=record["settings"],
            seed=record["seed"],
            folds=record["folds"],
            folds_scored=tuple(found.get("folds_scored", ())),
            parameters=record["parameters"],
            seconds=sum(p["seconds"] for k, p in training.items() if k != "all") or None,
            scores=found.get("scores"),
            data_sha256=record["data_sha256"],
            device=record["device"],
            precision=record["precision"],
            state=_outcome(found) if found else _last_words(folder),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder}: its record lacks {error}; the run was damaged") from error


def _outcome(found: dict[str, Any]) -> str:
    failed = found.get("folds_that_learnt_nothing", [])
    if not failed:
        return "done"
    return f"done, but {len(failed)} of {len(found['folds_scored'])} fold(s) learnt nothing"


def _default_run(folder: Path, record: dict[str, Any]) -> RunRow:
    """A run of ``genrescope train default``, whose scores are on the card."""
    card_file = folder / "bundle" / "card.json"
    card = _read(card_file) if card_file.exists() else {}
    recipe = record.get("recipe", {})
    folds = int(recipe.get("folds", 0))
    return RunRow(
        folder=folder,
        model="default",
        preset="default",
        options={},
        settings=recipe,
        seed=int(recipe.get("seed", 0)),
        folds=folds,
        folds_scored=tuple(range(folds)) if card else (),
        parameters=None,
        seconds=None,
        scores=card.get("metrics", {}).get("scores"),
        data_sha256=str(record.get("data_sha256", "")),
        device="",
        precision="fp32",
        state="done" if card else _last_words(folder),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no JSON object")
    return found


def _last_words(folder: Path) -> str:
    """How far a run is, by its log."""
    try:
        lines = (folder / "log.jsonl").read_text().splitlines()
    except OSError:
        return "not begun"
    for text in reversed(lines):
        try:
            line = json.loads(text)
        except ValueError:  # cut off by a kill
            continue
        if line.get("event") == "epoch":
            return f"{line['part']}, epoch {line['epoch']} of {line['epochs']}"
        if line.get("event") == "fold":
            return f"{line.get('part', line.get('name'))} is done"
    return "begun"


def over_seeds(rows: Iterable[RunRow]) -> list[SeedRow]:
    """Means over runs that differ in nothing but the seed, best accuracy first."""
    groups: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.scores is not None:
            same = [row.model, row.preset, row.options, row.settings, row.folds]
            key = json.dumps([*same, row.folds_scored, row.data_sha256], sort_keys=True)
            groups.setdefault(key, []).append(row)
    found = []
    for group in groups.values():
        values: dict[str, list[float]] = {
            name: [row.scores[name] for row in group if row.scores and row.scores[name] is not None]
            for name in METRICS
        }
        found.append(
            SeedRow(
                model=group[0].model,
                preset=group[0].preset,
                seeds=tuple(sorted(row.seed for row in group)),
                mean={k: statistics.fmean(v) for k, v in values.items() if v},
                spread={k: statistics.stdev(v) if len(v) > 1 else 0.0 for k, v in values.items()},
            )
        )
    return sorted(found, key=lambda row: -row.mean["accuracy"])


def compare_runs(rows: Iterable[RunRow]) -> dict[str, Any]:
    """Runs in order of accuracy, each against the best on the tracks that both scored.

    Parameters
    ----------
    rows : iterable of RunRow
        From :func:`read_run`.

    Returns
    -------
    dict
        "runs": best first, those without scores last, each with "to_best": the difference in
        accuracy to the best, its 95 % interval by artist and the number of tracks (None for the
        best, and where there is nothing in common). "seeds": see :func:`over_seeds`.
    """
    ordered = sorted(
        rows, key=lambda row: (row.scores is None, -(row.scores or {"accuracy": 0})["accuracy"])
    )
    best = _answers(ordered[0]) if ordered and ordered[0].scores else None
    listed = []
    for place, row in enumerate(ordered):
        entry = row.to_dict()
        entry["to_best"] = None
        if place and best is not None and row.data_sha256 == ordered[0].data_sha256:
            entry["to_best"] = _difference(_answers(row), best)
        listed.append(entry)
    return {"runs": listed, "seeds": [vars(row) for row in over_seeds(ordered)]}


def _answers(row: RunRow) -> dict[str, npt.NDArray[Any]] | None:
    """Ids, genres, artists and probabilities of all tracks that a run scored."""
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for k in row.folds_scored:
        path = row.folder / f"fold-{k}" / "answers.npz"
        if row.model == "default" or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as stored:
            parts.append({name: stored[name] for name in stored.files if stored[name].ndim})
    if not parts:
        return None
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _difference(
    mine: dict[str, npt.NDArray[Any]] | None, best: dict[str, npt.NDArray[Any]]
) -> dict[str, Any] | None:
    if mine is None:
        return None
    _, here, there = np.intersect1d(mine["track_id"], best["track_id"], return_indices=True)
    if not len(here):
        return None
    found = paired_difference(
        mine["y"][here],
        apply_temperature(mine["logits"][here], 1.0),
        apply_temperature(best["logits"][there], 1.0),
        mine["artist"][here],
    )
    return {
        "difference": found.difference,
        "interval": None if found.low != found.low else [found.low, found.high],
        "n": found.n,
        "resampled": found.resampled,
    }
