"""Train a network in folds of unseen artists, score it, and write it as a bundle.

Each fold, and then all tracks together, is a part with a folder of its own. A part that is done is
never done again; one that was killed goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.catalog.splits import group_folds, holdout
from genrescope.catalog.storage import atomic
from genrescope.errors import MissingExtraError
from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.calibrate import apply_temperature, fit_temperature
from genrescope.learn.card_parts import cross_cooled, decisions
from genrescope.learn.deep.architectures import FRAMES_SHAPE, build, count_parameters
from genrescope.learn.deep.card import Judged, network_card
from genrescope.learn.deep.curves import draw_curves, write_curves
from genrescope.learn.deep.data import Feed, FrameData
from genrescope.learn.deep.export import network_graph
from genrescope.learn.deep.loop import WEIGHTS, Job, Trained, logits_of, train_part
from genrescope.learn.deep.parallel import World, join_world
from genrescope.learn.deep.plan import Plan, pick_precision
from genrescope.learn.deep.record import Folder, Report
from genrescope.learn.deep.state import read_tensors, step_seed
from genrescope.learn.evaluate import score

try:
    import torch
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="deep", package="torch") from error

__all__ = ["ANSWERS", "SCORES", "train_network"]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

KIND = "network"
SCORES = "scores.json"
ANSWERS = "answers.npz"
CURVES = "curves.csv"
# The same folds for all seeds and networks, so that runs can be compared track by track.
_FOLD_SEED = 0
_FIRST_WEIGHTS = 2**31  # an epoch that never comes: where the seed of the first weights is taken
_CALIBRATION_FOLDS = 5
_BLIND = 0.99  # of the log-loss of a blind guess; above it nothing was learnt
_TARGET_ACCURACY = 0.75
_CONFORMAL_LEVEL = 0.9


def train_network(
    data: Path,
    out: Path,
    *,
    plan: Plan,
    device: str = "auto",
    threads: int | None = None,
    report: Report | None = None,
) -> dict[str, Any] | None:
    """Run a plan, or what is left of it.

    Parameters
    ----------
    data : Path
        Prepared data, see :func:`genrescope.catalog.prepared.load_prepared`.
    out : Path
        Folder of the run.
    plan : Plan
        What to do.
    device : str
        "auto", "cpu", "cuda", "mps", ... Processes that ``torchrun`` started train together.
    threads : int, optional
        Processor threads; by default torch's own choice.
    report : callable, optional
        Told what happens, ``report(event, details)``, in the leading process.

    Returns
    -------
    dict or None
        What ``scores.json`` holds; None in a process that does not lead.

    Raises
    ------
    TrainingError, DataError, SplitError
        If it cannot start or go on; what was finished is kept.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if plan.tensorboard:
        from genrescope.learn.deep.board import require_board

        require_board()  # now, rather than after an epoch
    with join_world(device) as world:
        run = _Run(data, out, plan, world, report)
        for k in plan.chosen:
            run.fold(k)
        if not world.leads and not run.trains_all:
            return None
        if run.trains_all:
            run.part("all", plan.folds, np.arange(len(run.data)))
        return run.finish() if world.leads else None


class _Run:
    """The objects of a run while it is made."""

    def __init__(
        self, data: Path, out: Path, plan: Plan, world: World, report: Report | None
    ) -> None:
        self.plan, self.world, self.out = plan, world, out
        self.data = FrameData.load(data)
        self.folds = group_folds(self.data.y, self.data.artist, n_folds=plan.folds, seed=_FOLD_SEED)
        self.architecture = plan.architecture.at(FRAMES_SHAPE)
        self.precision = pick_precision(plan.precision, world.device)
        self.feed = Feed(self.data, device=world.device, dense=self.architecture.hears_dense)
        # Before the folder is taken: a network that cannot be built leaves nothing behind.
        self.parameters = count_parameters(self._new_net(0))
        self.histories: dict[str, list[dict[str, float]]] = {}
        if world.leads:
            self.folder = Folder(out, identity=self._identity(), notes=self._notes(), report=report)
            self.folder.report(
                "start",
                model=self.architecture.name,
                device=str(world.device),
                precision=self.precision,
                tracks=len(self.data),
                parts=self.parts,
                epochs=plan.settings.epochs,
            )
        self._board: Any = None
        if plan.tensorboard and world.leads:
            from genrescope.learn.deep.board import Board

            self._board = Board(out)
        world.wait()

    @property
    def trains_all(self) -> bool:
        return self.plan.export and len(self.plan.chosen) == self.plan.folds

    @property
    def parts(self) -> list[str]:
        return [*(f"fold-{k}" for k in self.plan.chosen), *["all"] * self.trains_all]

    def _identity(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "model": self.architecture.key,
            "options": dict(self.architecture.options),
            "preset": self.plan.preset,
            "settings": dataclasses.asdict(self.plan.settings),
            "seed": self.plan.seed,
            "folds": self.plan.folds,
            "precision": self.precision,
            "processes": self.world.size,
            "data_sha256": self.data.sha256,
            "front_end": frames.FRONT_END,
        }

    def _notes(self) -> dict[str, Any]:
        device = self.world.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return {
            "device": name,
            "parameters": self.parameters,
            "command": self.plan.command,
            "tracks": len(self.data),
            "artists": len(np.unique(self.data.artist)),
            "genres": list(self.data.genres),
        }

    def _new_net(self, part: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(self.plan.seed, part, _FIRST_WEIGHTS))
            net = build(self.architecture, n_genres=len(self.data.genres))
        return net.to(self.world.device)

    # --- parts ---

    def part(self, name: str, number: int, rows: IntArray) -> tuple[Any, Trained]:
        """Train on these rows; the network with its best weights."""
        plan, y = self.plan, self.data.y
        held = holdout(
            y[rows], self.data.artist[rows], fraction=plan.settings.held_out, seed=plan.seed
        )
        job = Job(
            rows=rows[~held],
            held=rows[held],
            y=y,
            n_genres=len(self.data.genres),
            settings=plan.settings,
            seed=plan.seed,
            part=number,
            folder=self.out / name,
            precision=self.precision,
            every=plan.every,
        )
        net = self._new_net(number)
        trained = train_part(net, self.feed, job, world=self.world, on_epoch=self._on_epoch(name))
        net.load_state_dict(trained.tensors)
        self.histories[name] = trained.history
        return net, trained

    def _on_epoch(self, name: str) -> Callable[[dict[str, float]], None]:
        def told(row: dict[str, float]) -> None:
            self.folder.report("epoch", part=name, epochs=self.plan.settings.epochs, **row)
            if self._board is not None:
                self._board.add(name, row)

        return told

    def fold(self, k: int) -> None:
        """Train a fold and answer on its tracks, unless that was done."""
        name = f"fold-{k}"
        path = self.out / name / ANSWERS
        if self.world.told([float(path.exists())]) == [1.0]:
            if self.world.leads:
                self.histories[name] = read_tensors(self.out / name / WEIGHTS)[1]["history"]
                self.folder.report("kept", part=name)
            return
        net, trained = self.part(name, k, np.flatnonzero(self.folds != k))
        if self.world.leads:
            rows = np.flatnonzero(self.folds == k)
            logits = logits_of(net, self.feed, rows, precision=self.precision)
            with atomic(path) as fresh, fresh.open("wb") as file:
                np.savez(
                    file,
                    track_id=self.data.track_id[rows],
                    y=self.data.y[rows],
                    artist=self.data.artist[rows],
                    logits=logits,
                    temperature=np.float64(trained.temperature),
                )
            right = float((logits.argmax(axis=1) == self.data.y[rows]).mean())
            self.folder.report(
                "fold",
                part=name,
                accuracy=right,
                best_epoch=trained.best_epoch,
                seconds=round(trained.seconds, 1),
            )
            if self._learnt_nothing(k):
                self.folder.report(
                    "note",
                    text=f"{name} learnt nothing: on held-out artists its best epoch is no better "
                    "than the shares of the genres. Its score is that of a network that failed to "
                    "train; look at the curves, and try a lower --lr or other first weights",
                )
            write_curves(self.out / CURVES, self.histories)  # to look at while it goes on
        self.world.wait()

    def _learnt_nothing(self, k: int) -> bool:
        """Whether a fold's best epoch says no more than how frequent each genre is."""
        rows = np.flatnonzero(self.folds != k)
        y = self.data.y[rows]
        held = holdout(
            y, self.data.artist[rows], fraction=self.plan.settings.held_out, seed=self.plan.seed
        )
        counts = np.bincount(y[~held], minlength=len(self.data.genres)) + 1.0
        blind = -float(np.log(counts / counts.sum())[y[held]].mean())
        history = self.histories[f"fold-{k}"]
        return min(row["held_out_log_loss"] for row in history) > _BLIND * blind

    # --- what comes of it ---

    def finish(self) -> dict[str, Any]:
        """Scores, curves and the bundle."""
        if self._board is not None:
            self._board.close()
        done = [k for k in range(self.plan.folds) if (self.out / f"fold-{k}" / ANSWERS).exists()]
        for k in done:
            part = f"fold-{k}"
            if part not in self.histories:
                self.histories[part] = read_tensors(self.out / part / WEIGHTS)[1]["history"]
        ordered = {part: self.histories[part] for part in sorted(self.histories, key=_place)}
        rows = np.flatnonzero(np.isin(self.folds, done))
        logits, temperatures = self._answers(done)
        if len(done) > 1:
            p, temperatures = cross_cooled(logits[rows], self.data.y[rows], self.folds[rows])
        else:
            p = apply_temperature(logits[rows], temperatures[0])
        self.judged = self._judge(p, rows, done)
        self.judged.temperatures.extend(temperatures)
        found: dict[str, Any] = {
            "model": self.architecture.name,
            "parameters": self.parameters,
            "folds_scored": done,
            "accuracy_by_fold": self.judged.by_fold,
            "folds_that_learnt_nothing": [k for k in done if self._learnt_nothing(k)],
            "temperatures": temperatures,
            "training": _training(ordered),
            "scores": self.judged.scores.to_dict(),
        }
        self.folder.write_json(SCORES, found)
        write_curves(self.out / CURVES, ordered)
        try:
            draw_curves(
                self.out / "curves",
                ordered,
                title=f"{self.architecture.name}, {self.plan.preset}, seed {self.plan.seed}",
            )
        except MissingExtraError as error:
            self.folder.report("note", text=str(error))
        if self.plan.export:
            self._bundle(rows, logits)
        scores = found["scores"]
        self.folder.report("done", accuracy=scores["accuracy"], macro_f1=scores["macro_f1"])
        return found

    def _answers(self, done: list[int]) -> tuple[Floats, list[float]]:
        """Logits of all tracks (zero where not scored), and each fold's own temperature."""
        logits = np.zeros((len(self.data), len(self.data.genres)))
        temperatures = []
        for k in done:
            with np.load(self.out / f"fold-{k}" / ANSWERS, allow_pickle=False) as stored:
                logits[self.folds == k] = stored["logits"]
                temperatures.append(float(stored["temperature"]))
        return logits, temperatures

    def _judge(self, p: Floats, rows: IntArray, done: list[int]) -> Judged:
        y, artists = self.data.y[rows], self.data.artist[rows]
        sections = decisions(
            p,
            y,
            folds=self._calibration_folds(rows, done),
            artists=artists,
            target_accuracy=_TARGET_ACCURACY,
            conformal_level=_CONFORMAL_LEVEL,
        )
        threshold = sections["abstention"]["threshold"]
        scores = score(y, p, genres=self.data.genres, groups=artists, threshold=threshold)
        right = p.argmax(axis=1) == y
        by_fold = [float(right[self.folds[rows] == k].mean()) for k in done]
        return Judged(scores=scores, sections=sections, folds=done, by_fold=by_fold)

    def _calibration_folds(self, rows: IntArray, done: list[int]) -> IntArray:
        """Folds to measure thresholds with: those of the run, or parts of the only one."""
        if len(done) > 1:
            return self.folds[rows]
        y, artists = self.data.y[rows], self.data.artist[rows]
        n_folds = min(_CALIBRATION_FOLDS, len(np.unique(artists)))
        return group_folds(y, artists, n_folds=n_folds, seed=_FOLD_SEED)

    def _bundle(self, rows: IntArray, logits: Floats) -> Bundle:
        plan = self.plan
        whole = self.trains_all
        part = "all" if whole else f"fold-{plan.chosen[0]}"
        tensors, info = read_tensors(self.out / part / WEIGHTS)
        temperature = (
            fit_temperature(logits[rows], self.data.y[rows]) if whole else info["temperature"]
        )
        net = self._new_net(0)
        net.load_state_dict(tensors)
        n_genres = len(self.data.genres)
        graph = network_graph(net, self.architecture, temperature=temperature, n_genres=n_genres)
        learnt = np.ones(len(self.data), dtype=bool) if whole else self.folds != plan.chosen[0]
        card = network_card(
            plan,
            self.data,
            learnt,
            judged=self.judged,
            temperature=temperature,
            best_epoch=info["best_epoch"],
        )
        return write_bundle(self.out / "bundle", graph=graph, card=card)


def _place(part: str) -> tuple[bool, int]:
    """Folds by number, then all."""
    return (part == "all", 0 if part == "all" else int(part.split("-")[1]))


def _training(histories: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """How long each part took, and how many epochs."""
    return {
        part: {"epochs": len(history), "seconds": history[-1]["seconds"] if history else 0.0}
        for part, history in histories.items()
    }
