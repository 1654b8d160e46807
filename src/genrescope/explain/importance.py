"""Which features models use: impurity, permutation on held-out tracks, and SHAP.

One random forest a fold serves for impurity and permutation, so that the two can be compared;
LightGBM, trained without one fold, is explained on that fold with SHAP values.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.storage import atomic
from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.effects import bc_interval, ranks
from genrescope.explain.importance_types import Explanations, Importance, TrackExplanation
from genrescope.explain.importance_words import conclude, misleads
from genrescope.explain.shapley import (
    BOOSTING,
    COLUMNS,
    ROUNDS,
    contributions,
    fit_boosting,
    rows_at_once,
)
from genrescope.explain.shapley import probabilities as boosted
from genrescope.explain.shuffling import shuffle_losses, trees_of
from genrescope.learn.protocol import Protocol
from genrescope.learn.resampling import artist_units, resamples, sum_by_unit
from genrescope.learn.tabular import TabularData

try:
    import lightgbm
    import sklearn
    from sklearn.ensemble import RandomForestClassifier
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("explaining models", extra="lab", package=str(error.name)) from error

__all__ = ["Explanations", "Importance", "TrackExplanation", "explain_models", "explain_tracks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = 1  # of what is stored; raise it when the same input gives other figures
TREES = 300  # of all folds together
NOISE = 5  # columns of random numbers that the forest is given besides
REPEATS = 5  # shuffles of each feature
SHUFFLED_ROWS = 8000  # tracks at most that the shuffles are measured on
EXPLAINED_ROWS = 2000  # tracks at most that SHAP values are computed for
FOREST_ROWS = 20_000  # tracks at most that one tree is grown on
N_BOOT = 500

FOREST = "RandomForestClassifier"
BOOSTED = "LightGBM"
_WHY = {
    "right": "confidently right",
    "wrong": "confidently wrong",
    "unsure": "unsure",
}


def explain_models(
    data: TabularData,
    protocol: Protocol,
    *,
    seed: int = 0,
    cache: Path | None = None,
    tracks: Sequence[int] | None = None,
    threads: int = 1,
) -> Explanations:
    """Explain a random forest and a boosted model of a table.

    Parameters
    ----------
    data : TabularData
        The table. For the forest, NaN is replaced by the column's median of training tracks.
    protocol : Protocol
        Who is trained on and who is held out. Importance is measured on held-out tracks; SHAP
        values on those of the first fold.
    seed : int
        Of everything drawn.
    cache : Path, optional
        Folder for the results; the same input is then read instead of computed.
    tracks : sequence of int, optional
        Rows of ``data`` to explain. By default one that the model gets right and is sure of, one
        that it gets wrong and is sure of, and the one it is least sure of.
    threads : int
        To use for training; the figures do not depend on it.

    Returns
    -------
    Explanations

    Raises
    ------
    DataError
        If a training part has fewer than two genres, or a row in ``tracks`` does not exist.
    """
    if tracks is not None:
        for row in tracks:
            if not 0 <= row < len(data):
                raise DataError(
                    f"tracks holds {row}; {data.name} has rows 0 to {len(data) - 1}: give rows "
                    "in this range"
                )
    path = None if cache is None else cache / f"explain-{_key(data, protocol, seed)[:24]}.json"
    record = _stored(path)
    cached = record is not None
    if record is None:
        record = _measure(data, protocol, seed=seed, threads=threads)
        if path is not None:
            with atomic(path) as part:
                part.write_text(json.dumps(record, allow_nan=False))
    impurity, permutation, shap = (
        Importance.from_dict(record[kind]) for kind in ("impurity", "permutation", "shap")
    )
    examples: dict[int, str] = {row: _WHY[why] for why, row in record["examples"].items()}
    chosen = list(examples) if tracks is None else list(tracks)
    train = next(iter(protocol.parts()))[0]
    shown = explain_tracks(
        data,
        lightgbm.Booster(model_str=record["booster"]),
        rows=chosen,
        genres=tuple(record["genres"]),
        seen=data.groups[train],
        why=examples,
    )
    return Explanations(
        impurity,
        permutation,
        shap,
        tracks=shown,
        sentences=conclude(
            (impurity, permutation, shap), record["accuracy"], group_name=data.group_name
        ),
        accuracy=record["accuracy"],
        cached=cached,
    )


def explain_tracks(
    data: TabularData,
    booster: Any,
    *,
    rows: Sequence[int],
    genres: tuple[str, ...],
    seen: NDArray[np.str_],
    why: dict[int, str],
) -> tuple[TrackExplanation, ...]:
    """What each feature added to a boosted model's answers for single tracks.

    Parameters
    ----------
    data : TabularData
        The table.
    booster : lightgbm.Booster
        Of a multiclass model on the table's features.
    rows : sequence of int
        Which tracks.
    genres : tuple of str
        What the model's classes are.
    seen : np.ndarray of str
        Groups (artists) that the model was trained on.
    why : dict of row -> str
        Why a track is shown.

    Returns
    -------
    tuple of TrackExplanation
    """
    if not len(rows):
        return ()
    x = data.x[np.asarray(rows)]
    parts = contributions(booster, x)
    p = boosted(booster, x)
    known = set(seen.tolist())
    out = []
    for i, row in enumerate(rows):
        best = int(p[i].argmax())
        out.append(
            TrackExplanation(
                str(data.track_id[row]),
                str(data.title[row]),
                str(data.artist[row]),
                data.genres[int(data.y[row])],
                genres[best],
                probability=float(p[i, best]),
                base=float(parts[i, best, -1]),
                features=data.features,
                values=x[i].astype(np.float64),
                contributions=parts[i, best, :-1].copy(),
                scores={
                    genre: float(score)
                    for genre, score in zip(genres, parts[i].sum(axis=1), strict=True)
                },
                why=why.get(int(row), "asked for"),
                held_out=str(data.groups[row]) not in known,
            )
        )
    return tuple(out)


def _key(data: TabularData, protocol: Protocol, seed: int) -> str:
    """Of everything that the figures depend on."""
    digest = hashlib.sha256()
    calibration = b"" if protocol.calibration is None else protocol.calibration.tobytes()
    digest.update(protocol.fold.tobytes() + b"\x1e" + calibration)
    described = [
        VERSION,
        data.fingerprint,
        data.feature_groups,
        protocol.n_folds,
        seed,
        [TREES, NOISE, REPEATS, SHUFFLED_ROWS, EXPLAINED_ROWS, FOREST_ROWS, N_BOOT],
        [BOOSTING, ROUNDS, COLUMNS],
        [np.__version__, sklearn.__version__, lightgbm.__version__],
    ]
    digest.update(json.dumps(described).encode())
    return digest.hexdigest()


def _stored(path: Path | None) -> dict[str, Any] | None:
    """What an earlier run left, or None: a damaged file is as good as none."""
    if path is None or not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        wanted = {"impurity", "permutation", "shap", "examples", "booster", "genres", "accuracy"}
        return record if isinstance(record, dict) and wanted <= set(record) else None
    except (OSError, ValueError):
        return None


def _measure(data: TabularData, protocol: Protocol, *, seed: int, threads: int) -> dict[str, Any]:
    started = time.process_time()
    forests = [
        _forest(data, train, test, n_trees=_trees(protocol), seed=[seed, number], threads=threads)
        for number, (train, test) in enumerate(_sampled(protocol, seed))
    ]
    grown = time.process_time() - started
    families = sorted(set(data.feature_groups))
    impurity = _impurity(data, forests, families, seconds=grown)
    permutation = _permutation(data, forests, families, seconds=grown)
    shap, rest = _shap(data, protocol, families, seed=seed, threads=threads)
    hits = np.concatenate([f.p.argmax(axis=1) == f.y for f in forests])
    return {
        "impurity": impurity.to_dict(),
        "permutation": permutation.to_dict(),
        "shap": shap.to_dict(),
        **rest,
        "accuracy": {FOREST: float(hits.mean()), BOOSTED: rest["accuracy"]},
    }


# --- the forest --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Grown:
    """One fold's forest, and what it loses on the fold when features are shuffled."""

    per_tree: Floats  # [trees, d + NOISE]: impurity
    test: NDArray[np.intp]
    y: Ints  # as the forest numbers genres; -1 for one that it does not know
    p: Floats
    single: tuple[NDArray[np.float32], NDArray[np.float32]]  # log-loss, accuracy [n, d]
    family: tuple[NDArray[np.float32], NDArray[np.float32]]


def _trees(protocol: Protocol) -> int:
    return max(30, TREES // protocol.n_folds)


def _sampled(protocol: Protocol, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The parts, with so many held-out tracks left away that the time stays bounded."""
    share = min(1.0, SHUFFLED_ROWS / max(int((protocol.fold >= 0).sum()), 1))
    rng = np.random.default_rng([seed, 1])
    out = []
    for train, test in protocol.parts():
        keep = max(1, round(share * len(test)))
        kept = test if share == 1.0 else np.sort(rng.choice(test, keep, replace=False))
        out.append((train, kept))
    return out


def _forest(
    data: TabularData,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    *,
    n_trees: int,
    seed: list[int],
    threads: int,
) -> _Grown:
    _, y = _classes(data, train)
    rng = np.random.default_rng(seed)
    middle = _medians(data.x[train])
    x_train, x_test = (
        np.concatenate(
            [
                np.where(np.isfinite(data.x[rows]), data.x[rows], middle),
                rng.standard_normal((len(rows), NOISE), dtype=np.float32),
            ],
            axis=1,
        )
        for rows in (train, test)
    )
    forest = RandomForestClassifier(
        n_trees,
        min_samples_leaf=3 if len(train) >= 500 else 1,
        max_samples=FOREST_ROWS if len(train) > FOREST_ROWS else None,
        random_state=int(rng.integers(2**31)),
        n_jobs=threads,
    ).fit(x_train, y[train])
    per_tree = np.stack([tree.feature_importances_ for tree in forest.estimators_])
    shuffles = np.stack([rng.permutation(len(test)) for _ in range(REPEATS)])
    d = len(data.features)
    trees = trees_of(forest)
    single = shuffle_losses(trees, x_test, y[test], part_of=np.arange(d + NOISE), shuffles=shuffles)
    of = _family_numbers(data)
    family = shuffle_losses(
        trees,
        x_test,
        y[test],
        part_of=np.concatenate([of, np.full(NOISE, of.max() + 1)]),
        shuffles=shuffles,
    )
    return _Grown(
        per_tree,
        test,
        y[test],
        single.probabilities,
        (single.log_loss[:, :d], single.accuracy[:, :d]),
        (family.log_loss[:, :-1], family.accuracy[:, :-1]),
    )


def _classes(data: TabularData, train: NDArray[np.intp]) -> tuple[Ints, Ints]:
    """The genres that have training tracks, and all labels as positions among them, or -1."""
    classes = np.unique(data.y[train])
    if len(classes) < 2:
        named = ", ".join(data.genres[c] for c in classes) or "none"
        raise DataError(
            f"the training part of {data.name} has {len(classes)} genre(s) ({named}); a model "
            "needs two: use fewer folds, or a table with more tracks of each genre"
        )
    number = np.full(len(data.genres), -1, dtype=np.int64)
    number[classes] = np.arange(len(classes))
    return classes, number[data.y]


def _medians(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Medians of the columns; 0 for one that has no value."""
    if np.isfinite(x).all():
        return np.asarray(np.median(x, axis=0), dtype=np.float32)
    known = (column[np.isfinite(column)] for column in x.T)
    return np.array([np.median(c) if len(c) else 0.0 for c in known], dtype=np.float32)


def _family_numbers(data: TabularData) -> Ints:
    families = sorted(set(data.feature_groups))
    place = {name: i for i, name in enumerate(families)}
    return np.array([place[name] for name in data.feature_groups], dtype=np.int64)


def _by_size(
    families: list[str], mean: Floats, low: Floats, high: Floats
) -> dict[str, tuple[float, float, float]]:
    order = np.argsort(-mean, kind="stable")
    return {families[i]: (float(mean[i]), float(low[i]), float(high[i])) for i in order}


def _impurity(
    data: TabularData, forests: list[_Grown], families: list[str], *, seconds: float
) -> Importance:
    per_tree = np.concatenate([f.per_tree for f in forests])
    d = len(data.features)
    own = per_tree[:, :d]
    member = np.eye(len(families))[_family_numbers(data)]
    by_family = own @ member
    low, high = np.percentile(own, [2.5, 97.5], axis=0)
    family_low, family_high = np.percentile(by_family, [2.5, 97.5], axis=0)
    noise = float(per_tree[:, d:].mean())
    return Importance(
        "impurity",
        FOREST,
        data.features,
        mean=own.mean(axis=0),
        low=low,
        high=high,
        spread_of=f"95 % of the {len(per_tree)} trees",
        unit="share of the fall in impurity",
        by_group=_by_size(families, by_family.mean(axis=0), family_low, family_high),
        per_genre=None,
        warning=misleads(own.mean(axis=0), noise=noise),
        seconds=seconds,
        noise=noise,
        n=int(sum(len(f.test) for f in forests)),
    )


def _permutation(
    data: TabularData, forests: list[_Grown], families: list[str], *, seconds: float
) -> Importance:
    started = time.process_time()
    rows = np.concatenate([f.test for f in forests])
    units = artist_units(data.groups[rows], n=len(rows))[0]
    single, family = (
        [
            _artist_interval(np.concatenate([getattr(f, of)[which] for f in forests]), units)
            for which in (0, 1)
        ]
        for of in ("single", "family")
    )
    loss, accuracy = single
    return Importance(
        "permutation",
        FOREST,
        data.features,
        mean=loss[0],
        low=loss[1],
        high=loss[2],
        spread_of=f"95 % interval over {data.group_name}s",
        unit="rise of log-loss on held-out tracks",
        by_group=_by_size(families, *family[0]),
        per_genre=None,
        warning=(
            "Shuffling one of several features that say the same costs little, because the others "
            "stand in: a small loss does not mean that a feature is useless. The figures of whole "
            "families are not misled by that within the family."
        ),
        seconds=seconds + time.process_time() - started,
        accuracy=accuracy[0],
        accuracy_low=accuracy[1],
        accuracy_high=accuracy[2],
        accuracy_by_group=_by_size(families, *family[1]),
        n=len(rows),
    )


def _artist_interval(
    values: NDArray[Any], units: Ints, *, corrected: bool = False
) -> tuple[Floats, Floats, Floats]:
    """Means of the columns over the rows, and 95 % intervals that resample whole artists."""
    sums = sum_by_unit(values.astype(np.float64), units)
    sizes = np.bincount(units).astype(np.float64)
    mean = sums.sum(axis=0) / sizes.sum()
    if len(sizes) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    draws = np.concatenate(
        [(w @ sums) / (w @ sizes)[:, None] for w in resamples(len(sizes), n_boot=N_BOOT, seed=0)]
    )
    if corrected:
        return mean, *bc_interval(draws, mean)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return mean, np.minimum(low, mean), np.maximum(high, mean)


# --- SHAP --------------------------------------------------------------------------------------


def _shap(
    data: TabularData, protocol: Protocol, families: list[str], *, seed: int, threads: int
) -> tuple[Importance, dict[str, Any]]:
    """Importance by SHAP values on the first fold; the model, its genres and example tracks."""
    started = time.process_time()
    train, test = next(iter(protocol.parts()))
    classes, y = _classes(data, train)
    genres = tuple(data.genres[c] for c in classes)
    trained = fit_boosting(
        data.x[train], y[train], n_classes=len(genres), seed=seed, threads=threads
    )
    text = trained.model_to_string()
    booster = lightgbm.Booster(model_str=text)  # what a later run will have
    p = boosted(booster, data.x[test])
    right = p.argmax(axis=1) == y[test]
    rows = test
    if len(test) > EXPLAINED_ROWS:
        rng = np.random.default_rng([seed, 2])
        rows = np.sort(rng.choice(test, EXPLAINED_ROWS, replace=False))
    sizes = _Sizes(data, rows, n_classes=len(genres))
    step = rows_at_once(len(genres), len(data.features))
    for start in range(0, len(rows), step):
        chunk = slice(start, start + step)
        sizes.add(chunk, contributions(booster, data.x[rows[chunk]], threads=threads)[:, :, :-1])
    units = artist_units(data.groups[rows], n=len(rows))[0]
    mean, low, high = _artist_interval(sizes.by_row, units, corrected=True)
    by_family = _artist_interval(sizes.by_row_and_family, units, corrected=True)
    direction = sizes.direction()
    size = sizes.by_class / len(rows)
    found = Importance(
        "shap",
        BOOSTED,
        data.features,
        mean=mean,
        low=low,
        high=high,
        spread_of=f"95 % interval over {data.group_name}s",
        unit="mean absolute contribution, log-odds",
        by_group=_by_size(families, *by_family),
        per_genre={
            genre: np.where(direction[c] < 0, -size[c], size[c]) for c, genre in enumerate(genres)
        },
        warning=(
            "SHAP values say what moved this model's answers, right or wrong. Of features that say "
            "the same, the model may use one and leave the others."
        ),
        seconds=time.process_time() - started,
        direction={genre: direction[c] for c, genre in enumerate(genres)},
        n=len(rows),
    )
    return found, {
        "booster": text,
        "genres": list(genres),
        "accuracy": float(right.mean()),
        "examples": _examples(data, test, p, right),
    }


class _Sizes:
    """Sums over SHAP values, gathered a few rows at a time."""

    def __init__(self, data: TabularData, rows: NDArray[np.intp], *, n_classes: int) -> None:
        d = len(data.features)
        self.member = np.eye(len(set(data.feature_groups)))[_family_numbers(data)]
        self.by_row = np.zeros((len(rows), d), np.float32)
        self.by_row_and_family = np.zeros((len(rows), self.member.shape[1]), np.float32)
        self.by_class = np.zeros((n_classes, d))
        x = data.x[rows]
        self.here = np.isfinite(x)
        self.rank = np.zeros((len(rows), d), np.float32)  # centred, 0 where missing
        for j in range(d):
            known = self.here[:, j]
            r = ranks(x[known, j])[0]
            self.rank[known, j] = r - r.mean() if len(r) else r
        self.cross, self.first, self.second = (np.zeros((n_classes, d)) for _ in range(3))

    def add(self, chunk: slice, parts: Floats) -> None:
        """Count the contributions [rows, classes, d] of some rows."""
        size = np.abs(parts)
        self.by_row[chunk] = size.mean(axis=1)
        self.by_class += size.sum(axis=0)
        self.by_row_and_family[chunk] = np.abs(parts @ self.member).mean(axis=1)
        here = self.here[chunk, None]
        self.cross += np.einsum("rcd,rd->cd", parts, self.rank[chunk].astype(np.float64))
        self.first += (parts * here).sum(axis=0)
        self.second += (parts * parts * here).sum(axis=0)

    def direction(self) -> Floats:
        """Correlation of contributions with the rank of their feature [classes, d]."""
        n = np.maximum(self.here.sum(axis=0), 1)
        spread = np.maximum(self.second - self.first**2 / n, 0.0)
        length = np.sqrt(spread * (self.rank.astype(np.float64) ** 2).sum(axis=0))
        out = np.divide(self.cross, length, out=np.zeros_like(self.cross), where=length > 1e-12)
        return np.asarray(np.clip(out, -1.0, 1.0))


def _examples(
    data: TabularData, test: NDArray[np.intp], p: Floats, right: NDArray[np.bool_]
) -> dict[str, int]:
    """A row that is confidently right, one confidently wrong, and the least sure one."""
    best = p.max(axis=1)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    named = data.title[test] != ""
    if not named.any():
        named = np.ones(len(test), dtype=bool)  # no track has a name: any will do
    out: dict[str, int] = {}
    for why, among, order in (
        ("right", right & named, best),
        ("wrong", ~right & named, best),
        ("unsure", named, entropy),
    ):
        among = among & ~np.isin(test, list(out.values()))
        if among.any():
            candidates = np.flatnonzero(among)
            out[why] = int(test[candidates[order[candidates].argmax()]])
    return out
