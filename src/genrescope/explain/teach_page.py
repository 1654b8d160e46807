"""A page about a taught recogniser: how good it is, what it confuses, and which labels to check.

The page is one file. Sound is inside it, up to a limit; nothing is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.files import printable
from genrescope.catalog.storage import atomic, human_bytes
from genrescope.errors import AudioError, MissingExtraError
from genrescope.explain.colours import colours_of
from genrescope.explain.confusion import Confusion, similarity_order
from genrescope.explain.figures_models import confusion_matrix, per_genre
from genrescope.explain.ink import (
    ACCENT,
    QUIET,
    WIDTH,
    Drawing,
    finish,
    new_figure,
    style,
    themed,
)
from genrescope.explain.page import render
from genrescope.explain.signal.excerpt import encode_sound, read_excerpt
from genrescope.learn.evaluate import Scores
from genrescope.learn.teach.learning_curve import LearningCurve
from genrescope.learn.teach.lesson import Taught
from genrescope.learn.teach.mislabelled import Doubtful

try:
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the page", extra="lab", package="jinja2") from error

__all__ = ["PAGE", "write_teach_page"]

PAGE = "index.html"
_SHOWN = 40  # doubtful tracks
_SECONDS = 12.0  # of each that can be heard
_SOUND_LIMIT = 8 << 20  # bytes of sound in the page


@dataclass(frozen=True)
class _Figure:
    key: str
    title: str
    reading: str
    svg: Markup
    width: float


@dataclass(frozen=True)
class _Row:
    """A doubtful track as the page shows it."""

    place: int
    name: str
    folder: str
    given: str
    suggested: str
    p_given: str
    p_suggested: str
    group: str
    given_colour: str
    suggested_colour: str
    source: Markup


def write_teach_page(
    taught: Taught, out: Path, *, command: str = "", sound: bool = True, limit: int = _SOUND_LIMIT
) -> Path:
    """Write the page.

    Parameters
    ----------
    taught : Taught
        What was taught, and what was found out.
    out : Path
        Folder; the page is its ``index.html``.
    command : str
        What a reader types to repeat it.
    sound : bool
        Whether the doubtful tracks can be heard on the page.
    limit : int
        Bytes of sound in the page, at most; the most doubtful tracks come first.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    DataError
        If the disk refuses.
    """
    with style():
        figures = [_confusion(taught), _genres(taught.scores)]
        if taught.curve is not None:
            figures.append(_curve(taught.curve))
    rows, heard = _doubtful(taught, sound=sound, limit=limit)
    shown = [figure for figure in figures if figure is not None]
    chapters = [("scores", "Scores"), *((figure.key, figure.title) for figure in shown)]
    chapters += [("doubtful", "Labels to check")]
    chapters += [("refused", "Files left out")] if taught.refused else []
    page = render(
        "teach.html",
        styles=("report.css", "look.css", "teach.css"),
        kind="look taught",
        title=f"{taught.bundle.card['name']}: {len(taught.genres)} genres",
        heading=taught.bundle.card["name"],
        subtitle=_subtitle(taught),
        told=_in_short(taught),
        notes=taught.notes,
        table=_table(taught),
        figures=shown,
        chapters=[*chapters, ("how", "How it was computed")],
        rows=rows,
        hidden=len(taught.mislabelled.doubtful) - len(rows),
        heard=heard,
        seconds=f"{_SECONDS:g}",
        doubtful_share=f"{100 * taught.mislabelled.noise:.0f} %",
        refused=[(printable(r.path), r.kind, r.reason) for r in taught.refused[:100]],
        n_refused=len(taught.refused),
        computed=_computed(taught),
        command=command,
    )
    with atomic(out / PAGE) as part:
        # A name that is not UTF-8 cannot stand in a page as it is.
        part.write_bytes(page.encode("utf-8", errors="replace"))
    return out / PAGE


def _subtitle(taught: Taught) -> str:
    encoders = taught.bundle.card["front_end"]["parameters"]["encoders"]
    return (
        f"{len(taught.paths):,} tracks, {len(taught.genres)} genres, "
        f"{len(np.unique(taught.grouping.groups)):,} groups; hears with "
        f"{' and '.join(encoder['name'] for encoder in encoders)}"
    )


def _in_short(taught: Taught) -> list[str]:
    scores, card = taught.scores, taught.bundle.card
    low_high = scores.intervals["accuracy"]
    told = [
        f"{_percent(scores.accuracy)} of tracks got their own genre from a recogniser that had "
        "heard nothing of their group"
        + (
            f" (95 % interval {_percent(low_high[0])} to {_percent(low_high[1])})."
            if low_high
            else "."
        )
        + f" Guessing would give {_percent(1 / len(taught.genres))}."
    ]
    told.append(f"Groups are told by {taught.grouping.by}.")
    abstention = card["abstention"]
    if abstention["threshold"] is None:
        told.append("No answer is sure enough to be promised anything: it always says “not sure”.")
    elif abstention["accuracy_when_sure"] is not None:
        told.append(
            f"It says “not sure” for {_percent(1 - abstention['coverage'])}; of the other answers "
            f"{_percent(abstention['accuracy_when_sure'])} were right."
        )
    if taught.curve is not None:
        told.append(taught.curve.words)
    return told


def _table(taught: Taught) -> list[tuple[str, ...]]:
    """Rows: what, accuracy with interval, macro-F1, log-loss, calibration error."""
    rows = [("As it is", taught.scores), *taught.alone]
    return [
        (
            name,
            _with_interval(scores, "accuracy"),
            _with_interval(scores, "macro_f1"),
            f"{scores.log_loss:.2f}",
            f"{scores.ece:.3f}",
        )
        for name, scores in rows
    ]


def _with_interval(scores: Scores, metric: str) -> str:
    value, pair = getattr(scores, metric), scores.intervals[metric]
    return f"{value:.3f}" + (f" ({pair[0]:.3f} to {pair[1]:.3f})" if pair else "")


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _figure(drawing: Drawing, title: str, reading: str) -> _Figure:
    svg = Markup(themed(drawing, alt=f"{title}. {reading}"))  # noqa: S704 - escaped
    return _Figure(drawing.key, title, reading, svg, drawing.width)


def _confusion(taught: Taught) -> _Figure:
    counts = taught.scores.confusion
    order = similarity_order(counts, taught.genres)
    ordered = counts[np.ix_(order, order)]
    with np.errstate(invalid="ignore"):
        shares = ordered / ordered.sum(axis=1, keepdims=True)
    found = Confusion(
        model=taught.bundle.name,
        key="taught",
        genres=tuple(taught.genres[place] for place in order),
        counts=ordered,
        shares=shares,
        pairs=(),
        order_note="",
    )
    off = counts.astype(np.float64)
    np.fill_diagonal(off, 0)
    off /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    most = (
        f" Most often, {taught.genres[i]} was taken for {taught.genres[j]}: {int(counts[i, j])} of "
        f"{int(counts[i].sum())} tracks."
        if off[i, j] > 0
        else ""
    )
    return _figure(
        confusion_matrix(found),
        "What is taken for what",
        "Each row is a genre, each column an answer; rows add up to 100 %, with the number of "
        "tracks below. Genres that are taken for each other stand side by side." + most,
    )


def _genres(scores: Scores) -> _Figure | None:
    drawing = per_genre(scores)
    if drawing is None:
        return None
    return _figure(
        drawing,
        "Genre by genre",
        "The easiest genre first. Recall: how many of its tracks are found. Precision: how many "
        "of the tracks that get its name carry it.",
    )


def _curve(curve: LearningCurve) -> _Figure:
    figure = new_figure(0.8 * WIDTH, 3.1)
    axes = figure.subplots()
    x = [point.tracks for point in curve.points]
    y = [point.accuracy for point in curve.points]
    for at, point in zip(x, curve.points, strict=True):
        axes.plot([at, at], point.interval, color=ACCENT, lw=3, alpha=0.35, solid_capstyle="butt")
    axes.plot(x, y, "o-", color=ACCENT, ms=6)
    for at, value in zip(x, y, strict=True):
        axes.annotate(
            f"{value:.2f}",
            (at, value),
            xytext=(7, -11),
            textcoords="offset points",
            color=QUIET,
            fontsize=8,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [f"{at:.0f}" for at in x])
    axes.minorticks_off()
    axes.set_xlim(x[0] / 1.25, x[-1] * 1.3)
    axes.set_xlabel("tracks to learn from (each point: about twice as many as the one before)")
    axes.set_ylabel("accuracy")
    axes.grid(axis="y")
    return _figure(
        finish(figure, key="learning-curve"),
        "Would more tracks help?",
        f"Accuracy on the same unseen groups after learning from a part of the others, with 95 % "
        f"intervals. {curve.words}",
    )


def _doubtful(taught: Taught, *, sound: bool, limit: int) -> tuple[list[_Row], bool]:
    """The most doubtful tracks, with sound as long as there is room."""
    colours = colours_of(taught.genres)
    rows: list[_Row] = []
    room = limit if sound else 0
    for place, found in enumerate(taught.mislabelled.doubtful[:_SHOWN], start=1):
        path = taught.paths[found.row]
        data = _sound(path) if room > 0 else ""
        if len(data) > room:
            data, room = "", 0
        room -= len(data)
        rows.append(_row(taught, found, place, data, colours))
    return rows, any(row.source for row in rows)


def _row(taught: Taught, found: Doubtful, place: int, data: str, colours: dict[str, str]) -> _Row:
    path = Path(printable(taught.paths[found.row]))
    group = str(taught.grouping.groups[found.row])
    given, suggested = taught.genres[found.given], taught.genres[found.suggested]
    return _Row(
        place=place,
        name=path.name,
        folder=path.parent.name,
        given=given,
        suggested=suggested,
        p_given=_percent(found.p_given),
        p_suggested=_percent(found.p_suggested),
        group=group.removeprefix("= ") if taught.grouping.known else "",
        given_colour=colours[given],
        suggested_colour=colours[suggested],
        source=Markup(data),  # noqa: S704 - base64
    )


def _sound(path: str | os.PathLike[str]) -> str:
    """The loudest seconds of a track as a data URI; empty where it cannot be read any more."""
    try:
        return encode_sound(read_excerpt(path, seconds=_SECONDS)).uri
    except AudioError:
        return ""


def _computed(taught: Taught) -> Sequence[str]:
    card: dict[str, Any] = taught.bundle.card
    return [
        card["metrics"]["protocol"],
        f"The head is kernel ridge on standardised rows of the encoders; it tried "
        f"{card['teaching']['settings_tried']} settings in each fold and chose the one with the "
        "highest accuracy on folds inside the training part.",
        "Doubtful labels: confident learning (Northcutt, Jiang, Chuang 2021) on the same answers.",
        f"Encoders and licences: {card['licence']}",
        f"The recogniser is {human_bytes(card['graph']['bytes'])} large. Listening took "
        f"{taught.seconds['listening']:.0f} s, learning and testing "
        f"{taught.seconds['learning']:.0f} s.",
    ]
