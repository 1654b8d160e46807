"""Which features models use: impurity, permutation on held-out tracks, and SHAP.

One random forest a fold serves for impurity and permutation, so that the two can be compared;
LightGBM, trained without one fold, is explained on that fold with SHAP values.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.storage import atomic
from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.analysis.effects import ranks
from genrescope.explain.importance.forest import (
    FOREST,
    SETTINGS,
    artist_interval,
    by_size,
    family_numbers,
    grow,
    impurity,
    known_classes,
    permutation,
)
from genrescope.explain.importance.shapley import (
    BOOSTING,
    COLUMNS,
    ROUNDS,
    contributions,
    fit_boosting,
    rows_at_once,
)
from genrescope.explain.importance.shapley import probabilities as boosted
from genrescope.explain.importance.types import Explanations, Importance, TrackExplanation
from genrescope.explain.importance.words import conclude
from genrescope.explain.words import plural
from genrescope.learn.lab.protocol import Protocol
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.resampling import artist_units

try:
    import lightgbm
    import sklearn
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("explaining models", extra="lab", package=str(error.name)) from error

__all__ = ["Explanations", "Importance", "TrackExplanation", "explain_models", "explain_tracks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = 2  # of what is stored; raise it when the same input gives other figures
EXPLAINED_ROWS = 2000  # tracks at most that SHAP values are computed for

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
    counted, shuffled, shap = (
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
        counted,
        shuffled,
        shap,
        tracks=shown,
        sentences=conclude(
            (counted, shuffled, shap), record["accuracy"], group_name=data.group_name
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
        [*SETTINGS, EXPLAINED_ROWS],
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
    forests = grow(data, protocol, seed=seed, threads=threads)
    grown = time.process_time() - started
    families = sorted(set(data.feature_groups))
    counted = impurity(data, forests, families, seconds=grown)
    shuffled = permutation(data, forests, families, seconds=grown)
    shap, rest = _shap(data, protocol, families, seed=seed, threads=threads)
    hits = forests[0].p.argmax(axis=1) == forests[0].y  # the fold that LightGBM is scored on
    return {
        "impurity": counted.to_dict(),
        "permutation": shuffled.to_dict(),
        "shap": shap.to_dict(),
        **rest,
        "accuracy": {FOREST: float(hits.mean()), BOOSTED: rest["accuracy"]},
    }


def _shap(
    data: TabularData, protocol: Protocol, families: list[str], *, seed: int, threads: int
) -> tuple[Importance, dict[str, Any]]:
    """Importance by SHAP values on the first fold; the model, its genres and example tracks."""
    started = time.process_time()
    train, test = next(iter(protocol.parts()))
    classes, y = known_classes(data, train)
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
    mean, low, high = artist_interval(sizes.by_row, units, corrected=True)
    by_family = artist_interval(sizes.by_row_and_family, units, corrected=True)
    direction = sizes.direction()
    size = sizes.by_class / len(rows)
    found = Importance(
        "shap",
        BOOSTED,
        data.features,
        mean=mean,
        low=low,
        high=high,
        spread_of=f"95 % interval over {plural(data.group_name)}",
        unit="mean absolute contribution, log-odds against the mean genre",
        by_group=by_size(families, *by_family),
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
        self.member = np.eye(len(set(data.feature_groups)))[family_numbers(data)]
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
