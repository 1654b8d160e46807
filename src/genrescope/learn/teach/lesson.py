"""Teach a recogniser the genres of a user's own collection.

>>> from genrescope.learn.teach.lesson import teach
>>> taught = teach("my-music", "my-genres")  # doctest: +SKIP
>>> taught.scores.accuracy > 1 / len(taught.genres)  # doctest: +SKIP
True

Everything that is said about the result was measured on tracks whose group (artist, where known)
was not learnt from. Settings are chosen again in each fold, from its own training tracks.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.encoders import Combined, combine, get_encoder
from genrescope.audio.files import printable
from genrescope.catalog.splits import group_folds
from genrescope.errors import DataError, MissingExtraError, TrainingError
from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.calibrate import apply_temperature, fit_temperature
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.evaluate import Scores, score
from genrescope.learn.provenance import versions
from genrescope.learn.resampling import Floats, Ints
from genrescope.learn.teach.card import Learnt, decide, head_graph, make_card
from genrescope.learn.teach.data import (
    Grouping,
    Heard,
    Refused,
    check_sizes,
    describe_tracks,
    drop_copies,
    group_tracks,
    read_source,
)
from genrescope.learn.teach.head import GenreHead
from genrescope.learn.teach.learning_curve import LearningCurve, learning_curve
from genrescope.learn.teach.mislabelled import Mislabelled, find_mislabelled
from genrescope.learn.teach.record import claim, record

try:
    from threadpoolctl import threadpool_limits
except ImportError as error:  # pragma: no cover - comes with scikit-learn
    raise MissingExtraError("teaching", extra="train", package="scikit-learn") from error

__all__ = ["Taught", "TeachSettings", "default_encoders", "teach"]

FloatArray = npt.NDArray[np.float32]
Report = Callable[[str, Mapping[str, Any]], None]
Block = tuple[int, int]

_PACKAGES = ("genrescope", "numpy", "scikit-learn", "onnx", "onnxruntime")
_TOLERANCE = 0.02  # between graph and head, whose rows are in float16 in the graph


@dataclass(frozen=True)
class TeachSettings:
    """How a recogniser is taught.

    Attributes
    ----------
    encoders : tuple of str, optional
        As :func:`genrescope.audio.encoders.get_encoder` takes them. Default: see
        :func:`default_encoders`.
    groups : str, optional
        Column of the table that says which tracks belong together; see
        :func:`genrescope.learn.teach.data.group_tracks`.
    folds : int >= 2
        For the scores; fewer where a genre has fewer groups.
    seed : int >= 0
        Of folds and draws.
    n_windows : int > 0
        At most so many windows of 30 s of a track.
    target_accuracy : float in (0, 1), optional
        Of sure answers. Default: the highest of 0.95, 0.9, 0.8, ... that can be promised.
    curve, compare : bool
        Whether to measure the learning curve, and each encoder alone where there are several.
    """

    encoders: tuple[str, ...] | None = None
    groups: str | None = None
    folds: int = 5
    seed: int = 0
    n_windows: int = 5
    target_accuracy: float | None = None
    curve: bool = True
    compare: bool = True


@dataclass(frozen=True, eq=False)
class Taught:
    """A recogniser, and all that was found out while it was taught.

    Attributes
    ----------
    bundle : Bundle
        The recogniser as it lies in the folder.
    paths : tuple of str
        Tracks that it learnt from.
    genres : tuple of str
        Sorted; the columns of ``probabilities``.
    y, folds : np.ndarray [shape=(n,), int64]
        Genre and fold of each track.
    grouping : Grouping
        What was kept together.
    probabilities : np.ndarray [shape=(n, k), float64]
        Out-of-fold, calibrated on the other folds.
    scores : Scores
        Of these.
    alone : tuple of (str, Scores)
        The same for each encoder alone, where there are several.
    curve : LearningCurve or None
        Whether more tracks would help.
    mislabelled : Mislabelled
        Which labels are doubtful.
    chosen : tuple of dict
        Width and strength that each fold chose, then those of the whole.
    refused : tuple of Refused
        Files that were left out.
    notes : tuple of str
        What a reader of the scores must know.
    seconds : dict
        How long listening and learning took.
    """

    bundle: Bundle
    paths: tuple[str, ...]
    genres: tuple[str, ...]
    y: Ints
    folds: Ints
    grouping: Grouping
    probabilities: Floats
    scores: Scores
    alone: tuple[tuple[str, Scores], ...]
    curve: LearningCurve | None
    mislabelled: Mislabelled
    chosen: tuple[dict[str, float], ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)


def default_encoders() -> tuple[str, ...]:
    """Encoders that are used where none is named: musicnn where it is installed, and frames."""
    try:
        get_encoder("musicnn")
    except DataError:
        return ("frames",)
    return ("musicnn", "frames")


def teach(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    settings: TeachSettings | None = None,
    workers: int | None = None,
    command: str = "",
    report: Report | None = None,
) -> Taught:
    """Teach a recogniser the genres of some tracks, test it, and write it as a bundle.

    Parameters
    ----------
    source : path
        A folder with a folder for each genre, or a table with the columns ``path`` and ``genre``.
    out : path
        Folder of the bundle, made where it is missing. What was described is kept in its folder
        ``features``, so that a run that was killed goes on.
    settings : TeachSettings, optional
        Encoders, groups, folds, seed.
    workers : int >= 0, optional
        Processes that listen; default one a core, 0 for none beside this one.
    command : str
        How it was called, for the card.
    report : callable, optional
        Told what happens, ``report(event, details)``.

    Returns
    -------
    Taught

    Raises
    ------
    TableError, DataError
        If the source cannot be read, an encoder is not there, or a genre is too small.
    TrainingError
        If hardly anything could be heard, or `out` holds something else.
    MissingExtraError
        If scikit-learn or onnx is not installed.
    """
    settings = settings or TeachSettings()
    tell: Report = report or (lambda event, details: None)
    folder = Path(out)
    claim(folder)
    notes: list[str] = []
    encoders = settings.encoders
    if encoders is None:
        encoders = default_encoders()
        if "musicnn" not in encoders:
            notes.append(
                "The encoder musicnn is not installed; with it, results are usually much better: "
                "genrescope encoders install musicnn."
            )
    front_end = combine(encoders)
    table = read_source(source)
    check_sizes(table["genre_top"].tolist(), [str(row) for row in range(len(table))])
    tell("start", {"tracks": len(table), "encoders": list(encoders)})

    started = time.monotonic()
    heard, refused = describe_tracks(
        table["path"].tolist(),
        front_end,
        folder / "features",
        n_windows=settings.n_windows,
        workers=workers,
        report=tell,
    )
    if refused and len(refused) * 2 > len(table):
        raise TrainingError(
            f"{len(refused)} of {len(table)} tracks could not be heard (first: "
            f"{refused[0].reason}); see that the paths are right. What was heard is kept"
        )
    table = table.where(np.array([path in heard for path in table["path"]], dtype=bool))
    table, copies = drop_copies(table, heard)
    refused += copies
    seconds = {"listening": round(time.monotonic() - started, 1)}

    started = time.monotonic()
    tracks = [heard[path] for path in table["path"]]
    grouping = group_tracks(table, tracks, asked=settings.groups)
    check_sizes(table["genre_top"].tolist(), grouping.groups.tolist())
    names, y = np.unique(table["genre_top"].astype(str), return_inverse=True)
    lesson = _Lesson(tracks, y.astype(np.int64), grouping.groups, settings)
    notes += _notes(lesson, grouping, refused)
    # The matrices are small: threads would wait for each other longer than they compute.
    with threadpool_limits(1):
        taught = _learn(lesson, front_end, tuple(names.tolist()), tell)
    seconds["learning"] = round(time.monotonic() - started, 1)
    tell("writing", {})
    card = make_card(
        taught,
        name=folder.resolve().name,
        front_end=front_end.card_section(),
        training=_training(lesson, table["path"].tolist(), command),
        teaching=_teaching(taught, grouping, notes),
        protocol=_protocol(lesson, grouping),
    )
    graph = head_graph(taught.head, n_features=front_end.n_features, temperature=taught.temperature)
    bundle = write_bundle(folder, graph=graph, card=card)
    _check_graph(bundle, lesson, taught)
    result = Taught(
        bundle=bundle,
        paths=tuple(table["path"].tolist()),
        genres=tuple(names.tolist()),
        y=lesson.y,
        folds=lesson.folds,
        grouping=grouping,
        probabilities=taught.p,
        scores=taught.scores,
        alone=taught.alone,
        curve=taught.curve,
        mislabelled=find_mislabelled(lesson.y, taught.p),
        chosen=taught.chosen,
        refused=tuple(refused),
        notes=tuple(notes),
        seconds=seconds,
    )
    record(folder, result)
    tell("done", {"accuracy": result.scores.accuracy})
    return result


class _Lesson:
    """Tracks as rows of windows, and the folds."""

    def __init__(
        self, tracks: Sequence[Heard], y: Ints, groups: npt.NDArray[Any], settings: TeachSettings
    ) -> None:
        self.rows: FloatArray = np.concatenate([track.rows for track in tracks])
        counts = np.array([len(track.rows) for track in tracks])
        self.track = np.repeat(np.arange(len(tracks)), counts)
        self.weight = 1.0 / counts[self.track]
        self.y, self.groups, self.settings = y, groups, settings
        k = int(y.max()) + 1
        self.n_genres = k
        fewest = min(len(set(groups[y == genre].tolist())) for genre in range(k))
        self.n_folds = max(2, min(settings.folds, fewest))
        self.folds = group_folds(y, groups, n_folds=self.n_folds, seed=settings.seed)

    def fit(self, learn: npt.NDArray[np.bool_], blocks: Sequence[Block], **fixed: Any) -> GenreHead:
        """A head for some tracks."""
        mine = learn[self.track]
        head = GenreHead(tuple(blocks), random_state=self.settings.seed, **fixed)
        return head.fit(
            self.rows[mine],
            self.y[self.track][mine],
            groups=self.groups[self.track][mine],
            sample_weight=self.weight[mine],
        )

    def answer(self, head: GenreHead, asked: npt.NDArray[np.bool_]) -> Floats:
        """Scores of tracks [asked, k]: the mean over their windows, as the graph pools."""
        mine = asked[self.track]
        # Far below any score: a genre that none of the learnt tracks carries.
        scores = np.full((int(mine.sum()), self.n_genres), -50.0)
        found = head.decision_function(self.rows[mine])
        if found.ndim == 1:
            found = np.column_stack([-found / 2, found / 2])
        scores[:, head.classes_.astype(int)] = found
        place = np.cumsum(asked)[self.track[mine]] - 1
        pooled = np.zeros((int(asked.sum()), self.n_genres))
        np.add.at(pooled, place, scores * self.weight[mine][:, None])
        return pooled


def _learn(lesson: _Lesson, front_end: Combined, genres: tuple[str, ...], tell: Report) -> Learnt:
    """Score in folds, then learn from all tracks."""
    y, groups, folds, settings = lesson.y, lesson.groups, lesson.folds, lesson.settings
    columns = {name: (part.start, part.stop) for name, part in front_end.columns.items()}
    blocks = list(columns.values())

    def out_of_fold(own: Sequence[Block], label: str) -> tuple[Floats, list[GenreHead]]:
        z = np.zeros((len(y), len(genres)))
        heads = []
        for fold in range(lesson.n_folds):
            heads.append(lesson.fit(folds != fold, own))
            z[folds == fold] = lesson.answer(heads[-1], folds == fold)
            tell("fold", {"of": label, "fold": fold, "folds": lesson.n_folds})
        return z, heads

    def measure(p: Floats, threshold: float | None = None) -> Scores:
        return score(y, p, genres=genres, groups=groups, threshold=threshold, seed=settings.seed)

    logits, heads = out_of_fold(blocks, "all")
    p, temperatures = cross_cooled(logits, y, folds)
    sections = decide(p, y, folds=folds, groups=groups, target_accuracy=settings.target_accuracy)
    alone = []
    if settings.compare and len(blocks) > 1:
        for name, block in columns.items():
            cooled, _ = cross_cooled(out_of_fold([block], name)[0], y, folds)
            alone.append((f"{name} alone", measure(cooled)))
    curve = None
    if settings.curve:

        def with_part(kept: npt.NDArray[np.bool_], asked: npt.NDArray[np.bool_]) -> Floats:
            # Settings as the whole training part of this fold chose them.
            of_fold = heads[int(folds[asked][0])]
            fixed = {"widths": (of_fold.width_,), "strengths": (of_fold.strength_,)}
            return apply_temperature(lesson.answer(lesson.fit(kept, blocks, **fixed), asked), 1.0)

        tell("curve", {})
        curve = learning_curve(with_part, p, y, groups=groups, folds=folds, seed=settings.seed)
    tell("all", {})
    head = lesson.fit(np.ones(len(y), dtype=bool), blocks)
    return Learnt(
        head=head,
        temperature=fit_temperature(logits, y),
        temperatures=temperatures,
        p=p,
        scores=measure(p, sections["abstention"]["threshold"]),
        sections=sections,
        alone=tuple(alone),
        curve=curve,
        chosen=tuple({"width": h.width_, "strength": h.strength_} for h in [*heads, head]),
    )


def _training(lesson: _Lesson, paths: Sequence[str], command: str) -> dict[str, Any]:
    """What was learnt from, for the card."""
    return {
        "data": "tracks of the person who taught it",
        "licence": "not stated",
        "tracks": len(paths),
        "artists": len(np.unique(lesson.groups)),
        "track_ids": [printable(Path(path).name) for path in paths],
        "command": command or "genrescope.learn.teach.teach",
        "seed": lesson.settings.seed,
        "packages": versions(_PACKAGES),
    }


def _teaching(learnt: Learnt, grouping: Grouping, notes: Sequence[str]) -> dict[str, Any]:
    """How it was learnt, for the card."""
    head = learnt.head
    return {
        "groups": grouping.by,
        "head": {
            "kind": "kernel ridge",
            "width": head.width_,
            "strength": head.strength_,
            "columns_read": len(head.columns_),
            "rows_compared_with": len(head.support_),
        },
        "chosen_by_fold": list(learnt.chosen[:-1]),
        "settings_tried": len(head.tried_),
        "curve": None if learnt.curve is None else learnt.curve.to_dict(),
        "notes": list(notes),
    }


def _protocol(lesson: _Lesson, grouping: Grouping) -> str:
    """How the scores were made, for the card."""
    groups = "groups" if grouping.known else "tracks, whose artists are not known"
    return (
        f"{lesson.n_folds}-fold cross-validation, folds stratified by genre and split by "
        f"{groups} (by {grouping.by}); settings chosen inside the training folds, temperature "
        "fitted on the other folds; 95 % intervals by bootstrap over groups."
    )


def _check_graph(bundle: Bundle, lesson: _Lesson, learnt: Learnt) -> None:
    """Compare the graph with the head."""
    # A track at a time: tracks have different numbers of windows.
    n = len(lesson.y)
    for track in range(min(16, n)):
        rows = lesson.rows[lesson.track == track]
        expected = apply_temperature(
            lesson.answer(learnt.head, np.arange(n) == track), learnt.temperature
        )
        worst = float(np.abs(bundle.run(rows[None])[0] - expected).max())
        if worst > _TOLERANCE:
            raise TrainingError(
                f"the graph in {bundle.folder} answers otherwise than the head, by up to "
                f"{worst:.3f}; it is not usable, please report this"
            )


def _notes(lesson: _Lesson, grouping: Grouping, refused: Sequence[Refused]) -> list[str]:
    notes = []
    if not grouping.known:
        notes.append(
            "No groups are known, so each track stands for itself; name a column with --groups."
        )
    if lesson.n_folds < lesson.settings.folds:
        notes.append(
            f"There are {lesson.n_folds} folds instead of {lesson.settings.folds}, since the "
            f"smallest genre has {lesson.n_folds} groups."
        )
    sizes = Counter(lesson.y.tolist())
    if max(sizes.values()) >= 3 * min(sizes.values()):
        notes.append(
            f"The largest genre has {max(sizes.values())} tracks and the smallest "
            f"{min(sizes.values())}; every genre weighs the same in training."
        )
    if refused:
        files = "1 file was" if len(refused) == 1 else f"{len(refused)} files were"
        notes.append(f"{files} left out; quarantine.csv says why.")
    return notes
