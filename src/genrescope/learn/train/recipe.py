"""The recipe of the shipped recogniser, from prepared data to a bundle.

Folds are made by artist. For each fold, and then for all tracks together, the same members are
trained: networks with different seeds, and trees. The answers on the folds give the scores, the
temperature, the conformal quantile and the threshold for "not sure"; the members trained on all
tracks go into the graph.

Every step leaves a file, written whole or not at all. A run that was killed goes on after the last
file that is there, and ends where it would have ended.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.catalog.splits import group_folds
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError, MissingExtraError, TrainingError
from genrescope.learn.provenance import flat, versions
from genrescope.learn.train.augment import band_limited, draw_cutoffs
from genrescope.learn.train.export import Ensemble, build_graph
from genrescope.learn.train.statnet import FrontScale, fit_front_scale
from genrescope.learn.train.training import (
    FRAME_SETTINGS,
    FrameLearner,
    Goal,
    NetSettings,
    StatLearner,
    TreeSettings,
    TreeTracks,
    pick_device,
    soft_targets,
    train_net,
    train_trees,
)

__all__ = ["Members", "Recipe", "Run", "teach", "train_members"]

FloatArray = npt.NDArray[np.float32]
Report = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Recipe:
    """Every number of the recipe; a run with other numbers is another run."""

    folds: int = 5
    seed: int = 0
    nets: int = 3
    frame_nets: int = 1
    components: int = 400
    limited_views: int = 2
    teacher_share: float = 0.7
    frame_weight: float = 1.0
    tree_weight: float = 0.5
    target_accuracy: float = 0.75
    conformal_level: float = 0.9
    net: NetSettings = field(default_factory=NetSettings)
    frame_net: NetSettings = FRAME_SETTINGS
    trees: TreeSettings = field(default_factory=TreeSettings)


@dataclass(frozen=True)
class Members:
    """What one training part gave.

    Attributes
    ----------
    scale : FrontScale
        In front of the networks on statistics.
    nets, frame_nets : tuple of dict
        Folded weights, one dictionary a seed.
    trees : lightgbm.Booster
        The trees.
    """

    scale: FrontScale
    nets: tuple[dict[str, FloatArray], ...]
    frame_nets: tuple[dict[str, FloatArray], ...]
    trees: Any

    def graph(
        self,
        recipe: Recipe,
        *,
        n_genres: int,
        temperature: float = 1.0,
        only: str | None = None,
    ) -> bytes:
        """The ONNX graph of these members, or of one kind of them ("nets", "frames", "trees")."""
        ensemble = Ensemble(
            scale=self.scale,
            nets=self.nets if only in (None, "nets") else (),
            frame_nets=self.frame_nets if only in (None, "frames") else (),
            trees=self.trees if only in (None, "trees") else None,
            frame_weight=recipe.frame_weight if only is None else 1.0,
            tree_weight=recipe.tree_weight if only is None else 1.0,
        )
        return build_graph(ensemble, temperature=temperature, n_genres=n_genres, name="genrescope")


class Run:
    """A folder in which a training run lives.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    recipe : Recipe
        What is run.
    data : Path
        The prepared data.
    report : callable, optional
        Told what happens, ``report(event, details)``.

    Raises
    ------
    TrainingError
        If the folder holds a run with other numbers or other data.
    DataError
        If the data is not there or not as it should be.
    """

    def __init__(
        self, folder: Path, *, recipe: Recipe, data: Path, report: Report | None = None
    ) -> None:
        self.folder, self.recipe, self._report = folder, recipe, report
        self.data: PreparedData = load_prepared(data)
        known = self.data.genre_top != ""
        if not known.all():
            self.data = self.data.where(known)
        if np.any(self.data.artist_id == ""):
            lost = int((self.data.artist_id == "").sum())
            raise DataError(
                f"{lost} of {len(self.data)} tracks have no artist_id, so no split by artist can "
                "be made; fill the column in small_tracks.csv"
            )
        for name, values in (("mfcc_3s", self.data.mfcc_3s), ("vggish", self.data.vggish)):
            if values is None:
                continue
            odd = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            if odd.any():
                raise DataError(
                    f"{int(odd.sum())} of {len(self.data)} tracks have NaN or infinity in {name} "
                    f"(first: {self.data.track_id[odd][0]}); drop them from small_tracks.csv, or "
                    "prepare them again"
                )
        names, codes = np.unique(self.data.genre_top, return_inverse=True)
        self.genres: list[str] = [str(name) for name in names]
        self.y: npt.NDArray[np.int64] = codes.astype(np.int64)
        self.folds = group_folds(
            self.y, self.data.artist_id, n_folds=recipe.folds, seed=recipe.seed
        )
        self._claim()

    def _claim(self) -> None:
        digest = hashlib.sha256()
        for part in (self.data.track_id, self.data.mel, self.data.mfcc_3s, self.data.vggish):
            if part is not None:
                digest.update(np.ascontiguousarray(part).data)
        digest.update("\n".join(self.data.genre_top).encode())
        digest.update("\n".join(self.data.artist_id).encode())
        identity = {
            "recipe": dataclasses.asdict(self.recipe),
            "data_sha256": digest.hexdigest(),
            "front_end": json.loads(json.dumps(frames.FRONT_END)),
        }
        record: Path = self.folder / "run.json"
        if record.exists():
            changed = _differences(_read_record(record), identity)
            if changed:
                raise TrainingError(
                    f"{self.folder} holds another run ({'; '.join(changed)}); "
                    "give a new folder with --out, or the settings and data of that run"
                )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{self.folder} cannot be made ({error.strerror}); a run needs a folder of its "
                "own: give another with --out"
            ) from error
        full = {**identity, "packages": packages(), "started": time.strftime("%Y-%m-%dT%H:%M:%S")}
        with atomic(record) as fresh:
            fresh.write_text(json.dumps(full, indent=2) + "\n")

    def report(self, event: str, **details: Any) -> None:
        """Tell the caller and the log."""
        line = {"time": round(time.time(), 3), "event": event, **details}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self._report is not None:
            self._report(event, details)

    def arrays(
        self, name: str, make: Callable[[], Mapping[str, npt.NDArray[Any]]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Arrays of a step: read if the step was done, made and written if not."""
        path = self.folder / f"{name}.npz"
        if path.exists():
            self.report("kept", name=name)
            with np.load(path, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        made = dict(make())
        with atomic(path) as part, part.open("wb") as file:
            np.savez(file, **made)  # type: ignore[arg-type]
        self.report("step", name=name, seconds=round(time.perf_counter() - started, 1))
        return made

    def features(self) -> list[FloatArray]:
        """Feature rows of all tracks: as they are, then band-limited views.

        They are made anew by every run: a minute of work, against a gigabyte on disk.
        """
        data, views = self.data, []
        for view in range(1 + self.recipe.limited_views):
            started = time.perf_counter()
            if view == 0:
                views.append(frames.describe_prepared(data.mel, data.mfcc_3s))
            else:
                rng = np.random.default_rng([self.recipe.seed, view])
                cutoffs = draw_cutoffs(len(data), rng)
                views.append(band_limited(data.mel, data.mfcc_3s, cutoff_hz=cutoffs, rng=rng))
            seconds = round(time.perf_counter() - started, 1)
            self.report("step", name=f"features/view-{view}", seconds=seconds)
        return views

    def parts(self) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        """Names and training rows: every fold without itself, then all tracks."""
        parts = [(f"fold-{k}", self.folds != k) for k in range(self.recipe.folds)]
        return [*parts, ("all", np.ones(len(self.y), dtype=bool))]


def train_members(
    run: Run,
    name: str,
    train: npt.NDArray[np.bool_],
    views: list[FloatArray],
    *,
    device: str = "auto",
    threads: int = 1,
) -> Members:
    """Train the members of one part, or read what a run before this one left.

    Parameters
    ----------
    run : Run
        Where the parts are kept.
    name : str
        Of the part.
    train : np.ndarray [shape=(n,), bool]
        Rows to learn from; nothing of the others is looked at.
    views : list of np.ndarray [shape=(n, n_features), float32]
        Of :meth:`Run.features`.
    device : str
        For the networks, see :func:`genrescope.learn.train.training.pick_device`.
    threads : int
        For the trees.

    Returns
    -------
    Members
    """
    import lightgbm

    recipe, y = run.recipe, run.y[train]
    artists = run.data.artist_id[train]
    mine = [view[train] for view in views]
    statistics = [view[:, : frames.N_STATISTICS].astype(np.float32) for view in mine]

    def scaling() -> dict[str, npt.NDArray[Any]]:
        # A part of the band-limited rows, so that their holes are within the scale.
        sample = [statistics[0], *(view[::3] for view in statistics[1:2])]
        fitted = fit_front_scale(np.concatenate(sample), n_components=recipe.components)
        return {"mean": fitted.mean, "scale": fitted.scale, "projection": fitted.projection}

    scale = FrontScale(**run.arrays(f"{name}/scale", scaling))
    teacher, embedding = teach(run, name, train)
    targets = soft_targets(y, teacher, n_genres=len(run.genres), share=recipe.teacher_share)
    goal = Goal(targets, y, artists, embedding)

    place = pick_device(device)

    def fit(learner: Any, label: str, settings: NetSettings, seed: int) -> dict[str, FloatArray]:
        weights = train_net(
            learner,
            goal,
            settings=settings,
            seed=seed,
            device=place,
            on_epoch=lambda told: run.report("epoch", part=name, member=label, **told),
        )
        return {key: value.astype(np.float16) for key, value in weights.items()}

    def member(label: str, make: Callable[[], dict[str, FloatArray]]) -> dict[str, FloatArray]:
        stored = run.arrays(f"{name}/{label}", make)
        return {key: value.astype(np.float32) for key, value in stored.items()}

    inputs = np.stack([scale(view) for view in statistics], axis=1)
    on_statistics = StatLearner(inputs, settings=recipe.net, device=place)
    on_frames = FrameLearner(mine, device=place)
    first = recipe.seed * 1000
    nets = tuple(
        member(f"net-{k}", partial(fit, on_statistics, f"net-{k}", recipe.net, first + k))
        for k in range(recipe.nets)
    )
    frame_nets = tuple(
        member(
            f"frames-{k}", partial(fit, on_frames, f"frames-{k}", recipe.frame_net, first + 500 + k)
        )
        for k in range(recipe.frame_nets)
    )
    path = run.folder / name / "trees.txt"
    if path.exists():
        run.report("kept", name=f"{name}/trees")
    else:
        started = time.perf_counter()
        grown = train_trees(
            TreeTracks(statistics[0], y, artists, statistics[1] if len(views) > 1 else None),
            n_genres=len(run.genres),
            settings=recipe.trees,
            seed=recipe.seed,
            threads=threads,
        )
        with atomic(path) as part:
            grown.save_model(str(part), num_iteration=grown.best_iteration)
        seconds = round(time.perf_counter() - started, 1)
        run.report("step", name=f"{name}/trees", seconds=seconds, rounds=grown.best_iteration)
    return Members(
        scale=scale,
        nets=nets,
        frame_nets=frame_nets,
        trees=lightgbm.Booster(model_file=str(path)),
    )


def teach(
    run: Run, name: str, train: npt.NDArray[np.bool_]
) -> tuple[FloatArray | None, FloatArray | None]:
    """A teacher's probabilities for artists it had not seen, and its embedding, standardised."""
    if run.data.vggish is None:
        return None, None
    vggish = run.data.vggish[train].astype(np.float64)
    y = run.y[train]
    spread = np.maximum(vggish.std(axis=0), 1e-6)
    standard = ((vggish - vggish.mean(axis=0)) / spread).astype(np.float32)

    def fit() -> dict[str, npt.NDArray[Any]]:
        try:
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ImportError as error:  # pragma: no cover - the tests have it
            raise MissingExtraError("training", extra="train", package="scikit-learn") from error
        inner = group_folds(y, run.data.artist_id[train], n_folds=5, seed=run.recipe.seed + 1)
        out = np.zeros((len(y), len(run.genres)), dtype=np.float32)
        for k in range(5):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            model.fit(vggish[inner != k], y[inner != k])
            out[np.ix_(inner == k, model[-1].classes_)] = model.predict_proba(vggish[inner == k])
        return {"probabilities": out}

    return run.arrays(f"{name}/teacher", fit)["probabilities"], standard


def _read_record(record: Path) -> dict[str, Any]:
    try:
        before = json.loads(record.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{record}: cannot be read ({error}); give a new folder with --out"
        ) from error
    return before if isinstance(before, dict) else {}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What another run was about, in words."""
    found = []
    if before.get("data_sha256") != now["data_sha256"]:
        found.append("its data is other data")
    for part in ("recipe", "front_end"):
        old, new = flat(before.get(part)), flat(now[part])
        found += [
            f"its {part} has {key} {old.get(key)}, not {new.get(key)}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
    return found


def packages() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return versions(("numpy", "torch", "scikit-learn", "lightgbm", "onnx", "onnxruntime"))
