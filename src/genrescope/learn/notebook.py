"""Predictions and tables as they show themselves in a notebook: plain HTML, no script.

The page decides on ink and paper, so that light and dark themes both work. A genre has the colour
that it has everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from genrescope.catalog.genres import GENRE_COLOURS

if TYPE_CHECKING:
    from genrescope.learn.evaluate import Scores
    from genrescope.learn.lab.leaderboard import Leaderboard
    from genrescope.learn.prediction import Prediction

__all__ = ["leaderboard_html", "prediction_html", "scores_html"]

_OTHER = "#7f858d"  # of a genre without a colour of its own; legible on light and dark
_QUIET = "opacity:.7"
_LEFT, _RIGHT = "text-align:left", "text-align:right;font-variant-numeric:tabular-nums"
_FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "artist_weighted_accuracy": "Artist-weighted accuracy",
    "macro_f1": "Macro-F1",
    "top3": "Top-3",
    "log_loss": "Log-loss",
    "ece": "Calibration error (ECE)",
}


def prediction_html(prediction: Prediction) -> str:
    """What was recognised in a track: the answer, a bar for each genre, and a strip of its time.

    Parameters
    ----------
    prediction : Prediction
        Of one track.

    Returns
    -------
    str
        HTML in which names from tags and files are escaped.
    """
    named = prediction.title or (prediction.path.name if prediction.path else "")
    if prediction.title and prediction.artist:
        named = f"{prediction.title}, {prediction.artist}"
    bars = "".join(
        f"<tr><td style='{_LEFT}'>{escape(genre)}</td>"
        f"<td style='{_LEFT};width:16em'>{_bar(share, _colour(genre))}</td>"
        f"<td style='{_RIGHT}'>{_percent(share)}</td>"
        f"<td style='{_LEFT};{_QUIET}'>{'plausible' if genre in prediction.plausible else ''}</td>"
        "</tr>"
        for genre, share in prediction.probabilities.items()
    )
    head = f"<b>{escape(str(prediction))}</b>"
    if named:
        head += f" <span style='{_QUIET}'>{escape(named)}</span>"
    return f"<div>{head}<table>{bars}</table>{_strip(prediction)}</div>"


def scores_html(scores: Scores) -> str:
    """The figures with their intervals, and the genres.

    Parameters
    ----------
    scores : Scores
        From :func:`genrescope.learn.evaluate.score`.

    Returns
    -------
    str
        HTML.
    """
    figures = [
        (title, _number(getattr(scores, name)), _interval(scores.intervals.get(name)))
        for name, title in _FIGURES.items()
    ]
    genres = [
        (
            _chip(genre),
            str(int(row["support"])),
            *(_number(row[name]) for name in ("precision", "recall", "f1")),
        )
        for genre, row in scores.per_genre.items()
    ]
    said = f"{scores.n:,} tracks"
    if scores.n_artists:
        said += f", {scores.n_artists:,} artists"
    return (
        f"<div><b>{said}</b>"
        + _table(("", "value", f"95 % interval by {escape(scores.resampled)}"), figures)
        + _table(("genre", "tracks", "precision", "recall", "F1"), genres, raw=True)
        + _notes(scores.notes)
        + "</div>"
    )


def leaderboard_html(board: Leaderboard) -> str:
    """The classifiers, best first.

    Parameters
    ----------
    board : Leaderboard
        From :func:`genrescope.learn.lab.leaderboard.leaderboard`.

    Returns
    -------
    str
        HTML.
    """
    rows = []
    for rank, row in enumerate(board.rows, start=1):
        if row.scores is None:
            rows.append(("", row.run.name, "failed", row.run.failure or "", "", "", ""))
            continue
        scores = row.scores
        mark = "best" if row.best else "not told from the best" if row.within else ""
        rows.append(
            (
                str(rank),
                row.run.name,
                _number(scores.accuracy),
                _interval(scores.intervals.get("accuracy")),
                _number(scores.macro_f1),
                _number(scores.log_loss),
                mark,
            )
        )
    columns = ("", "classifier", "accuracy", "95 % interval", "macro-F1", "log-loss", "")
    said = f"{board.n:,} tracks, {board.n_genres} genres"
    return f"<div><b>{said}</b>{_table(columns, rows)}{_notes(board.notes)}</div>"


def _colour(genre: str) -> str:
    return GENRE_COLOURS.get(genre, _OTHER)


def _bar(share: float, colour: str) -> str:
    width = f"width:{100 * share:.1f}%;min-width:1px"
    return f"<div style='background:{colour};height:.8em;{width}'></div>"


def _chip(genre: str) -> str:
    return f"<span style='color:{_colour(genre)}'>&#9632;</span> {escape(genre)}"


def _strip(prediction: Prediction) -> str:
    """The best genre of each window, as wide as it is long; nothing for a single window."""
    moments = prediction.timeline
    if len(moments) < 2:
        return ""
    cells = "".join(
        f"<div title='{escape(_moment(m.start, m.end, m.best), quote=True)}' "
        f"style='background:{_colour(m.best)};flex:{max(m.end - m.start, 0.01):.2f}'></div>"
        for m in moments
    )
    return f"<div style='display:flex;gap:1px;height:1em;max-width:34em'>{cells}</div>"


def _moment(start: float, end: float, best: str) -> str:
    return f"{start:.0f} to {end:.0f} s: {best}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, raw: bool = False) -> str:
    """A table whose first column and words are left, numbers right; `raw` cells are HTML."""

    def cell(value: str, tag: str) -> str:
        number = value[:1].isdigit() or value == "-"
        text = value if raw or tag == "th" else escape(value)
        return f"<{tag} style='{_RIGHT if number else _LEFT}'>{text}</{tag}>"

    head = "".join(cell(name, "th") for name in columns)
    body = "".join(f"<tr>{''.join(cell(v, 'td') for v in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _notes(notes: Iterable[str]) -> str:
    return "".join(f"<div style='{_QUIET}'>{escape(note)}</div>" for note in notes)


def _number(value: float) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _interval(pair: tuple[float, float] | None) -> str:
    return "-" if pair is None else f"{_number(pair[0])} – {_number(pair[1])}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
