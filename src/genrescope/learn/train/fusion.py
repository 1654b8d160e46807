"""Training what is read from metadata, and how it is put together with the sound.

Every source gets a model of its own: a multinomial logistic regression on hashed text, or on
numbers with signs for what is missing. Its answers are out-of-fold, on the folds of the sound, so
no model has met the artist whose track it answers for. How much each source weighs beside the
others is then fitted on these answers (stacking, Wolpert 1992), for every combination of sources
that can be known, with its own temperature, threshold and conformal quantile; what is reported for
a fold was fitted on the others.

References
----------
Wolpert (1992), Stacked generalization.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError, MissingExtraError, TrainingError
from genrescope.learn.calibrate import fit_temperature
from genrescope.learn.card_parts import cross_cooled, decisions
from genrescope.learn.parts.about import NUMBERS, TEXT_SOURCES, About
from genrescope.learn.parts.base import NewPart
from genrescope.learn.parts.fusion import KIND, SOUND, VERSION, Combination, NumberScale
from genrescope.learn.parts.text_features import TextSettings, sparse_rows
from genrescope.learn.train.fusion_graph import LinearSource, build_text_graph
from genrescope.learn.train.namesakes import namesakes

__all__ = [
    "FusionRecipe",
    "FusionTracks",
    "FusionTraining",
    "SourceAnswers",
    "answer_out_of_fold",
    "stack",
    "text_part",
    "train_fusion",
]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_FLOOR = 1e-12
# What tells of the artist: for the answers on a fold, nothing is learnt from namesakes in others.
_OF_ARTISTS = ("artist", "biography")
_MIN_ROWS = 100  # tracks that a combination needs before weights are fitted for it
_LOWEST = 0.01  # of the first source's weight: no answer may be blown up without end


@dataclass(frozen=True)
class FusionRecipe:
    """Every number of the training.

    Attributes
    ----------
    sources : tuple of str
        What is read: some of "title", "artist", "album", "tags", "biography", "numbers". One of
        which nothing is known in the data is left out.
    text : TextSettings
        How text becomes rows.
    strength : mapping of str to float
        Source -> inverse of the regularisation; others have 1.
    artist_power : mapping of str to float
        Source -> each track weighs 1 / (tracks of its artist) ** power. A name is the same on all
        tracks of an artist, so those of a prolific one would count as often.
    target_accuracy, conformal_level : float
        See :func:`genrescope.learn.card_parts.decisions`.
    """

    sources: tuple[str, ...] = ("title", "artist")
    text: TextSettings = field(default_factory=lambda: TextSettings(bits=14))
    strength: Mapping[str, float] = field(default_factory=lambda: {"artist": 2.0, "biography": 2.0})
    artist_power: Mapping[str, float] = field(
        default_factory=lambda: {"artist": 0.5, "biography": 0.5}
    )
    target_accuracy: float = 0.75
    conformal_level: float = 0.9


@dataclass(frozen=True, eq=False, kw_only=True)
class FusionTracks:
    """Tracks, what is known of each, and what a recogniser of sound says of it.

    Attributes
    ----------
    abouts : sequence of n About
        What is known of every track; :func:`genrescope.learn.parts.about.table_abouts` reads it.
    y : np.ndarray [shape=(n,), int64]
        True genres.
    folds : np.ndarray [shape=(n,), int64]
        Fold of each track, no artist in two.
    log_p : np.ndarray [shape=(n, k), float64]
        Log-probabilities of the recogniser of sound, which has not met the track's fold; any
        temperature.
    genres : tuple of k str
        Names of the columns.
    artists : np.ndarray [shape=(n,)]
        Artist of every track.

    Raises
    ------
    DataError
        If lengths differ, or an artist is in two folds.
    """

    abouts: Sequence[About]
    y: IntArray
    folds: IntArray
    log_p: Floats
    genres: tuple[str, ...]
    artists: npt.NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("y", "folds"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        object.__setattr__(self, "log_p", np.asarray(self.log_p, dtype=np.float64))
        n, folds, artists = len(self.y), self.folds, self.artists.tolist()
        shape = (n, len(self.genres))
        if not (len(self.abouts) == len(folds) == len(artists) == n and self.log_p.shape == shape):
            raise DataError(
                f"there are {len(self.abouts)} tracks with {n} genres, {len(folds)} folds, "
                f"{len(artists)} artists and log-probabilities of the shape {self.log_p.shape}; "
                "they have to fit"
            )
        if len(set(zip(artists, folds.tolist(), strict=True))) != len(set(artists)):
            raise DataError("an artist is in two folds; make them by catalog.splits.group_folds")


@dataclass(frozen=True, eq=False)
class SourceAnswers:
    """What one source says, out of fold, and the model trained on all tracks.

    Attributes
    ----------
    name : str
        Of the source.
    known : np.ndarray [shape=(n,), bool]
        Tracks for which it says something.
    log_p : np.ndarray [shape=(n, k), float64]
        Log-probabilities; those of tracks for which it is not known mean nothing.
    model : LinearSource
        Trained on all tracks.
    scale : NumberScale or None
        In front of the model, for numbers.
    """

    name: str
    known: npt.NDArray[np.bool_]
    log_p: Floats
    model: LinearSource
    scale: NumberScale | None = None


@dataclass(frozen=True, eq=False)
class FusionTraining:
    """What :func:`train_fusion` gave.

    Attributes
    ----------
    part : NewPart
        For the bundle, under the name "text".
    probabilities : np.ndarray [shape=(n, k), float64]
        Out of fold: of each track from everything that is known about it.
    by_combination : dict of tuple to np.ndarray [shape=(n, k), float64]
        Out of fold, for every combination of sources, where all of them are known; NaN elsewhere.
    answers : dict of str to SourceAnswers
        Of every source.
    sound : np.ndarray [shape=(n, k), float64]
        Out of fold, of the sound alone, cooled across folds.
    """

    part: NewPart
    probabilities: Floats
    by_combination: dict[tuple[str, ...], Floats]
    answers: dict[str, SourceAnswers]
    sound: Floats


def text_part(tracks: FusionTracks, *, recipe: FusionRecipe | None = None) -> FusionTraining:
    """Train the part "text" beside a recogniser of sound.

    The same arguments give the same part, to the byte, on one machine.

    Parameters
    ----------
    tracks : FusionTracks
        What is learnt from.
    recipe : FusionRecipe, optional
        Every number.

    Returns
    -------
    FusionTraining

    Raises
    ------
    TrainingError
        If nothing is known of the tracks.
    MissingExtraError
        If scikit-learn, scipy or onnx are not installed.
    """
    recipe = recipe or FusionRecipe()
    answers = {}
    for name in recipe.sources:
        found = answer_out_of_fold(name, tracks, recipe=recipe)
        if found is not None:
            answers[name] = found
    if not answers:
        raise TrainingError(
            f"none of {', '.join(recipe.sources)} is known of {_MIN_ROWS} tracks or more; there "
            "is nothing to learn from beside the sound"
        )
    return train_fusion(tracks, answers, recipe=recipe)


def answer_out_of_fold(
    name: str, tracks: FusionTracks, *, recipe: FusionRecipe
) -> SourceAnswers | None:
    """What one source says of every track, by models that had not met its fold.

    Parameters
    ----------
    name : str
        Of the source.
    tracks : FusionTracks
        What is learnt from; the sound is not read.
    recipe : FusionRecipe
        Every number.

    Returns
    -------
    SourceAnswers or None
        None where a fold has no tracks, or a training part too few, for which it is known.
    """
    abouts, y, folds, n_genres = tracks.abouts, tracks.y, tracks.folds, len(tracks.genres)
    sparse = _import_sparse()
    scale: NumberScale | None = None
    known: npt.NDArray[np.bool_]
    if name == "numbers":
        values = np.stack([about.numbers() for about in abouts])
        # Means and spreads of all tracks, not of a fold: twenty numbers that no label enters.
        scale = NumberScale.fit(values)
        known = np.asarray(scale.known(values).any(axis=1), dtype=np.bool_)
        rows = sparse.csr_matrix(scale(values))
    else:
        texts = [about.text(name) or "" for about in abouts]
        data, indices, indptr = sparse_rows(texts, recipe.text)
        rows = sparse.csr_matrix((data, indices, indptr), shape=(len(texts), recipe.text.columns))
        known = np.diff(indptr) > 0
    parts = [known & (folds != k) for k in np.unique(folds)]
    if name in _OF_ARTISTS:
        same = namesakes([about.artist for about in abouts])
        parts = [
            part & ~np.isin(same, same[folds == k])
            for part, k in zip(parts, np.unique(folds), strict=True)
        ]
    if known.sum() < _MIN_ROWS or any(len(np.unique(y[p])) < 2 for p in parts):
        return None
    _, unit, count = np.unique(tracks.artists, return_inverse=True, return_counts=True)
    weights = 1.0 / count[unit] ** recipe.artist_power.get(name, 0.0)
    strength = recipe.strength.get(name, 1.0)

    def fit(train: npt.NDArray[np.bool_]) -> LinearSource:
        return _fit_linear(
            rows[train],
            y[train],
            weights=weights[train] / weights[train].mean(),
            strength=strength,
            n_genres=n_genres,
            text=name != "numbers",
        )

    log_p = np.full((len(y), n_genres), -np.log(n_genres))
    for k, train in zip(np.unique(folds), parts, strict=True):
        held = known & (folds == k)
        log_p[held] = fit(train).log_probabilities(rows[held])
    return SourceAnswers(name, known, log_p, fit(known), scale)


def train_fusion(
    tracks: FusionTracks, answers: Mapping[str, SourceAnswers], *, recipe: FusionRecipe
) -> FusionTraining:
    """Stack sources on the sound, for every combination of them; see :func:`text_part`."""
    y, folds, genres = tracks.y, tracks.folds, tracks.genres
    sound, _ = cross_cooled(tracks.log_p, y, folds)
    sources = tuple(name for name in (*TEXT_SOURCES, "numbers") if name in answers)
    log_p = {name: answers[name].log_p for name in sources}
    # As it will be at prediction: cooled by the one temperature of all folds.
    cooled = tracks.log_p / fit_temperature(tracks.log_p, y)
    log_p[SOUND] = np.maximum(_log_softmax(cooled), np.log(_FLOOR))
    by_combination: dict[tuple[str, ...], Floats] = {}
    fitted: list[dict[str, Any]] = []
    best = sound.copy()
    subsets = chain.from_iterable(combinations(sources, m) for m in range(1, len(sources) + 1))
    for subset in subsets:
        rows = np.logical_and.reduce([answers[name].known for name in subset])
        if rows.sum() < _MIN_ROWS or len(np.unique(folds[rows])) < 2:
            continue
        for names in (subset, (SOUND, *subset)):
            here = {name: log_p[name][rows] for name in names}
            combination, p = stack(here, y[rows], folds[rows])
            measured = decisions(
                p,
                y[rows],
                folds=folds[rows],
                artists=tracks.artists[rows],
                target_accuracy=recipe.target_accuracy,
                conformal_level=recipe.conformal_level,
            )
            combination = replace(
                combination,
                threshold=measured["abstention"]["threshold"],
                quantile=measured["conformal"]["quantile"],
            )
            whole = np.full_like(sound, np.nan)
            whole[rows] = p
            by_combination[names] = whole
            fitted.append({**combination.to_dict(), "tracks": int(rows.sum()), **measured})
            if SOUND in names:  # later ones know more, and overwrite
                best[rows] = p
    if not fitted:
        raise TrainingError("no combination of sources is known of enough tracks")
    share = np.bincount(y, minlength=len(genres)) / len(y)
    settings = {
        "kind": KIND,
        "version": VERSION,
        "genres": list(genres),
        "sources": list(sources),
        "text": recipe.text.to_dict(),
        "prior": share.tolist(),
        "strength": {name: recipe.strength.get(name, 1.0) for name in sources},
        "combinations": fitted,
    }
    if (scaled := answers.get("numbers")) is not None and scaled.scale is not None:
        settings["numbers"] = {
            "names": list(NUMBERS),
            "mean": list(scaled.scale.mean),
            "scale": list(scaled.scale.scale),
        }
    graph = build_text_graph({name: answers[name].model for name in sources})
    return FusionTraining(NewPart(graph, settings), best, by_combination, dict(answers), sound)


def stack(log_p: Mapping[str, Floats], y: IntArray, folds: IntArray) -> tuple[Combination, Floats]:
    """Weights of sources that make the right genres most likely.

    Parameters
    ----------
    log_p : mapping of str to np.ndarray [shape=(n, k), float64]
        Out-of-fold log-probabilities of each source, the first the one that the others help.
    y, folds : np.ndarray [shape=(n,), int64]
        True genres, and folds.

    Returns
    -------
    Combination
        Fitted on all tracks; its threshold and quantile are not, yet.
    np.ndarray [shape=(n, k), float64]
        Probabilities, those of each fold by weights fitted on the other folds.
    """
    names = tuple(log_p)
    scores = np.stack([log_p[name] for name in names])
    out = np.zeros(scores.shape[1:])
    for k in np.unique(folds):
        held = folds == k
        out[held] = np.exp(
            _log_softmax(np.tensordot(_weights(scores[:, ~held], y[~held]), scores[:, held], 1))
        )
    weights = _weights(scores, y)
    relative = {name: float(w / weights[0]) for name, w in zip(names, weights, strict=True)}
    return Combination(relative, float(1 / weights[0]), None, 1.0), out


def _weights(scores: Floats, y: IntArray) -> Floats:
    """Of the sources [m, n, k], 0 or more: the log-loss is convex in them."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="scipy") from error
    rows = np.arange(len(y))

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_p = _log_softmax(np.tensordot(weights, scores, 1))
        away = np.exp(log_p)
        away[rows, y] -= 1
        return -float(log_p[rows, y].mean()), (scores * away).sum(axis=(1, 2)) / len(y)

    m = len(scores)
    start = np.full(m, 0.5)
    start[0] = 1.0
    limits = [(_LOWEST, 100.0), *[(0.0, 100.0)] * (m - 1)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits)
    return np.asarray(found.x, dtype=np.float64)


def _fit_linear(
    rows: Any,
    y: IntArray,
    *,
    weights: Floats,
    strength: float,
    n_genres: int,
    text: bool,
) -> LinearSource:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="scikit-learn") from error
    idf: npt.NDArray[np.float32] | None = None
    if text:
        seen = np.asarray((rows > 0).sum(axis=0)).ravel()
        idf = (np.log((1 + rows.shape[0]) / (1 + seen)) + 1).astype(np.float32)
    source = LinearSource(idf, np.zeros((rows.shape[1], n_genres), np.float32), np.zeros(n_genres))
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-4)
    model.fit(source.scaled(rows), y, sample_weight=weights)
    weight = np.zeros((rows.shape[1], n_genres))
    # A genre that has no track here is as unlikely as the rarest of the others.
    bias = np.full(n_genres, float(model.intercept_.min()) - 1.0)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row for two classes
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight[:, model.classes_] = coefficients.T
    bias[model.classes_] = intercepts
    return LinearSource(idf, weight.astype(np.float32), bias)


def _log_softmax(z: Floats) -> Floats:
    shifted = z - z.max(axis=1, keepdims=True)
    out: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return out


def _import_sparse() -> Any:
    try:
        from scipy import sparse
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="scipy") from error
    return sparse
