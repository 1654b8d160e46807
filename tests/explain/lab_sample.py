"""A made-up run of the laboratory, quick to make: fit for looking at the page, not for science."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genrescope.catalog.leaks import audit
from genrescope.catalog.table import TrackTable
from genrescope.explain.analysis.table import analyse
from genrescope.explain.confusion import confusion
from genrescope.explain.importance.types import Explanations, Importance, TrackExplanation
from genrescope.explain.maps.drawn import Map, Projection
from genrescope.explain.maps.quality import MapQuality
from genrescope.explain.report.reference import REFERENCES
from genrescope.explain.report.result import LabResult
from genrescope.learn.lab.compare import ModelRun, make_protocol
from genrescope.learn.lab.gains import EnsembleGain
from genrescope.learn.lab.leaderboard import leaderboard
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.paired import paired_difference

FMA = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop",
       "Rock")  # fmt: skip
MODELS = (
    ("kernel_ridge", "KernelRidge", "kernel", 3.0, 41.0),
    ("svc", "SVC", "kernel", 2.9, 30.0),
    ("random_forest", "RandomForestClassifier", "trees", 2.2, 22.0),
    ("mlp", "MLPClassifier", "neural", 2.6, 64.0),
    ("logistic_regression", "LogisticRegression", "linear", 2.0, 4.0),
    ("k_neighbors", "KNeighborsClassifier", "neighbours", 1.4, 0.02),
    ("gaussian_nb", "GaussianNB", "bayes", 0.9, 0.05),
)


def made_up(
    *,
    n: int = 400,
    genres: tuple[str, ...] = FMA,
    n_features: int = 24,
    features: tuple[str, ...] | None = None,
    missing: bool = False,
    seed: int = 0,
    **changes: Any,
) -> TabularData:
    """A table in which the first features say most about genre."""
    rng = np.random.default_rng(seed)
    k = len(genres)
    n_artists = max(2 * k, n // 4)
    genre_of = rng.integers(k, size=n_artists)
    genre_of[: 2 * k] = np.repeat(np.arange(k), 2)
    artist = np.concatenate([np.arange(n_artists), rng.integers(n_artists, size=n - n_artists)])
    y = genre_of[artist]
    strength = 2.0 / (1 + np.arange(n_features))
    centres = rng.normal(size=(k, n_features)) * strength
    x = centres[y] + 0.3 * rng.normal(size=(n_artists, n_features))[artist]
    x = (x + 0.8 * rng.normal(size=(n, n_features))).astype(np.float32)
    if missing:
        x[rng.random(n) < 0.2, 1] = np.nan
        x[rng.random(n) < 0.05, 3:6] = np.nan
    names = features or tuple(
        f"{'mfcc' if i % 3 else 'chroma'}_mean.{i}" for i in range(n_features)
    )
    known: dict[str, Any] = {
        "name": "made-up",
        "x": x,
        "features": names,
        "feature_groups": tuple("mfcc" if i % 3 else "chroma" for i in range(n_features)),
        "y": y.astype(np.int64),
        "genres": genres,
        "groups": np.array([f"artist {a}" for a in artist]),
        "group_name": "artist",
        "track_id": np.array([str(i) for i in range(n)]),
        "title": np.array([f"Title {i}" for i in range(n)]),
        "artist": np.array([f"The Band Number {a}" for a in artist]),
        "notes": ("2 tracks were left out, because they have no sound.",),
        "source": "Made up for a test.",
    }
    return TabularData(**{**known, **changes})


def lab_result(
    data: TabularData | None = None, *, kind: str = "folds", **changes: Any
) -> LabResult:
    """A run on `data`: real analysis and tables, made-up classifiers, maps and reasons."""
    data = made_up() if data is None else data
    protocol = make_protocol(data, kind=kind, seed=0)
    rng = np.random.default_rng(1)
    scored = np.flatnonzero(protocol.fold >= 0)
    runs = []
    noise = rng.normal(size=(len(scored), len(data.genres)))
    for key, name, family, skill, seconds in MODELS:
        p = _softmax(noise + 0.5 * rng.normal(size=noise.shape) + _right(data, scored, skill))
        runs.append(ModelRun(key, name, family, {"C": 1.0}, p, "as it comes", seconds, 0.4))
    runs.append(
        ModelRun("qda", "QuadraticDiscriminantAnalysis", "bayes", {}, None, "as it comes", 1.0, 0.0,
                 failure="Its covariance matrix is singular.")
    )  # fmt: skip
    board = leaderboard(data, protocol, runs, n_boot=200)
    best = next((run for run in runs if run.key == board.best), runs[0])
    mixed, gains = _ensembles(data, scored, runs, best)
    known: dict[str, Any] = {
        "data": data,
        "protocol": protocol,
        "audit": _audit(data, protocol),
        "analysis": analyse(data, seed=0),
        "maps": _maps(data, protocol.fold != 0, rng),
        "leaderboard": board,
        "ensembles": mixed,
        "gains": gains,
        "confusion": confusion(data, protocol, best),
        "explanations": _explanations(data, rng),
        "reference": REFERENCES["cs464"],
        "command": "genrescope lab made-up --out report --reference cs464",
        "seconds": 123.4,
        "versions": {"genrescope": "0.0", "python": "3.11", "numpy": "2.0"},
        "notes": data.notes,
    }
    return LabResult(**{**known, **changes})


def without_models(result: LabResult) -> LabResult:
    """The same run, had every classifier failed."""
    failed = [
        replace(row.run, probabilities=None, failure="It was stopped after 900 s.")
        for row in result.leaderboard.rows
    ]
    board = leaderboard(result.data, result.protocol, failed)
    return replace(
        result,
        leaderboard=board,
        ensembles=(),
        gains=(),
        confusion=None,
        explanations=None,
        maps=(),
    )


def _softmax(values: Any) -> Any:
    e = np.exp(values - values.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _right(data: TabularData, scored: Any, skill: float) -> Any:
    """A push towards the true genre, and a smaller one towards its neighbour."""
    k = len(data.genres)
    push = np.zeros((len(scored), k))
    rows = np.arange(len(scored))
    push[rows, data.y[scored]] = skill * 0.8
    push[rows, (data.y[scored] + 1) % k] += 0.5
    return push


def _ensembles(data: TabularData, scored: Any, runs: list[ModelRun], best: ModelRun) -> Any:
    made, gains = [], []
    for key, name, members in (
        ("soft_all", "Soft vote of all", tuple(r.key for r in runs if r.probabilities is not None)),
        ("hard_three", "Hard vote of three", ("svc", "mlp", "random_forest")),
    ):
        p = np.mean([r.probabilities for r in runs if r.key in members], axis=0)
        run = ModelRun(key, name, "ensemble", {}, p, "as it comes", 0.0, 0.1, members=members)
        gain = paired_difference(
            data.y[scored], p, best.probabilities, groups=data.groups[scored], n_boot=200
        )
        made.append(run)
        gains.append(EnsembleGain(key, name, members, best.key, best.name, gain))
    return tuple(made), tuple(gains)


def _maps(data: TabularData, fitted: Any, rng: np.random.Generator) -> tuple[Any, ...]:
    x = np.nan_to_num(np.asarray(data.x, float))
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    explained = tuple(s[:10] ** 2 / np.sum(s**2))
    quality = MapQuality(0.9, 0.92, 0.5, 0.55, k=10, n_rows=300, n_among=300, chance=0.15,
                         n_votes=290)  # fmt: skip
    d = len(data.features)
    made = []
    for method in ("PCA", "LDA", "t-SNE"):
        for dims in (2, 3):
            positions = u[:, :dims] * s[:dims]
            if method != "PCA":
                positions = positions + 3 * rng.normal(size=(len(data.genres), dims))[data.y]
            made.append(
                Map(
                    method=method,
                    dims=dims,
                    positions=positions.astype(np.float32),
                    fitted_on=fitted,
                    projected=bool((~fitted).any()),
                    explained=explained if method == "PCA" else (),
                    axis_labels=tuple(f"{method} {i + 1}" for i in range(dims)),
                    axis_features=(((data.features[0], 0.9),),) * dims if method == "PCA" else (),
                    quality=quality,
                    quality_held_out=quality,
                    seconds=1.5,
                    settings={"perplexity": 30},
                    note="The genres played no part.",
                    projection=Projection(
                        np.zeros(d),
                        np.zeros(d),
                        np.ones(d),
                        np.zeros((d, dims)),
                        np.zeros(dims),
                        np.zeros((0, dims), np.float32),
                    ),
                )
            )
    return tuple(made)


def _explanations(data: TabularData, rng: np.random.Generator) -> Explanations:
    d = len(data.features)
    kinds = {}
    for kind, warning, unit in (
        ("impurity", "Impurity favours features with many values.", "share of the fall"),
        ("permutation", "", "rise of log-loss"),
        ("shap", "", "mean absolute contribution, log-odds"),
    ):
        mean = np.sort(rng.gamma(1.0, 0.02, size=d))[::-1]
        by_group = {
            g: (float(m.sum()), 0.9 * float(m.sum()), 1.1 * float(m.sum()))
            for g in dict.fromkeys(data.feature_groups)
            for m in [mean[[f == g for f in data.feature_groups]]]
        }
        per_genre = {g: mean * rng.normal(size=d) for g in data.genres}
        kinds[kind] = Importance(
            kind=kind, model="RandomForestClassifier", features=data.features, mean=mean,
            low=0.8 * mean, high=1.2 * mean, spread_of="folds", unit=unit, by_group=by_group,
            per_genre=per_genre if kind == "shap" else None, warning=warning, seconds=1.0,
            noise=0.01 if kind == "impurity" else None,
        )  # fmt: skip
    tracks = tuple(
        TrackExplanation(
            track_id=str(data.track_id[i]), title=str(data.title[i]), artist=str(data.artist[i]),
            true_genre=data.genres[data.y[i]], genre=data.genres[0], probability=0.6, base=-2.0,
            features=data.features, values=np.asarray(data.x[i], float),
            contributions=rng.normal(size=d) * 0.3, scores=dict.fromkeys(data.genres, 0.0),
            why="confidently right",
        )
        for i in range(2)
    )  # fmt: skip
    return Explanations(
        **kinds, tracks=tracks, sentences=("Both methods agree.",), accuracy={"forest": 0.5}
    )


def _audit(data: TabularData, protocol: Any) -> Any:
    if data.group_name == "track":
        return None
    return audit(
        TrackTable(
            {
                "track_id": data.track_id.tolist(),
                "title": data.title.tolist(),
                "artist_id": data.groups.tolist(),
                "artist_name": data.artist.tolist(),
                "genre_top": [data.genres[i] for i in data.y],
                "split": [f"fold {fold}" for fold in protocol.fold],
            },
            text=frozenset({"track_id", "split"}),
        )
    )
