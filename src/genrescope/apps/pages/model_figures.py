"""Figures of the page *Model*, as HTML and SVG that follow light and dark; nothing to fetch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from genrescope.apps.pages.theme import mark

__all__ = ["confusion_table", "genre_table", "reliability_figure", "score_table", "share"]

_SCORES = (
    ("accuracy", "Accuracy"),
    ("macro_f1", "Macro-F1"),
    ("top3", "Top 3"),
    ("log_loss", "Log-loss"),
    ("ece", "ECE"),
)
_DEEPEST = 55  # per cent of the accent colour in a cell, so that ink is readable on it
_SIDE, _LEFT, _TOP = 300, 46, 12  # of the reliability figure, in its own units


def share(value: float, *, digits: int = 0) -> str:
    """A share as a percentage, with a space that does not break.

    Examples
    --------
    >>> share(0.5811, digits=1)
    '58.1\\xa0%'
    """
    return f"{100 * value:.{digits}f}\u00a0%"


def score_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The recogniser and what it was compared with.

    Parameters
    ----------
    rows : sequence of mapping
        ``card["metrics"]["table"]``: name, scores, and their 95 % intervals.

    Returns
    -------
    str
        An HTML table; the first row stands out.
    """
    head = "".join(f'<th scope="col" class="n">{label}</th>' for _, label in _SCORES)
    body = []
    for place, row in enumerate(rows):
        cells = "".join(_score(row, key) for key, _ in _SCORES)
        kind = ' class="first"' if place == 0 else ""
        body.append(f'<tr{kind}><th scope="row">{escape(str(row["name"]))}</th>{cells}</tr>')
    return (
        '<div class="gs-scroll" tabindex="0" role="region" aria-label="Scores"><table '
        f'class="gs-table scores"><thead><tr><th scope="col">Recogniser</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _score(row: Mapping[str, Any], key: str) -> str:
    value, ends = row.get(key), (row.get("intervals") or {}).get(key)
    if value is None:
        return '<td class="n">–</td>'
    between = f"<small>{ends[0]:.3f} to {ends[1]:.3f}</small>" if ends else ""
    return f'<td class="n">{value:.3f}{between}</td>'


def confusion_table(scores: Mapping[str, Any]) -> str:
    """What each genre is taken for, in percent of its tracks; the best known genre first.

    Parameters
    ----------
    scores : mapping
        ``card["metrics"]["scores"]`` with ``genres`` and ``confusion``.

    Returns
    -------
    str
        An HTML table: a row for each true genre, a column for each answer.
    """
    genres: Sequence[str] = scores["genres"]
    counts: Sequence[Sequence[float]] = scores["confusion"]
    totals = [sum(row) for row in counts]
    shares = [[n / (total or 1) for n in row] for row, total in zip(counts, totals, strict=True)]
    order = sorted(range(len(genres)), key=lambda place: -shares[place][place])
    most = max((value for row in shares for value in row), default=1.0) or 1.0
    short = _short(genres)
    head = "".join(
        f'<th scope="col"><abbr title="{escape(genres[column])}">{escape(short[genres[column]])}'
        "</abbr></th>"
        for column in order
    )
    rows = []
    for row in order:
        cells = "".join(
            _cell(
                shares[row][column],
                most=most,
                title=f"{genres[row]} taken for {genres[column]}: {counts[row][column]:,.0f} of "
                f"{totals[row]:,.0f} tracks",
                right=row == column,
            )
            for column in order
        )
        name = escape(genres[row])
        rows.append(
            f'<tr><th scope="row"><span>{mark(genres[row], genres)}{name}</span></th>{cells}</tr>'
        )
    return (
        '<div class="gs-scroll" tabindex="0" role="region" aria-label="What is taken for what">'
        '<table class="confusion"><caption class="gs-sr">Each row: of the tracks of a genre, how '
        "many of a hundred are taken for each genre</caption><thead><tr>"
        f'<td class="corner">true genre ↓ <span>taken for →</span></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value: float, *, most: float, title: str, right: bool) -> str:
    depth = round(_DEEPEST * value / most)
    kind = ' class="right"' if right else ""
    return f'<td{kind} style="--depth:{depth}%" title="{escape(title)}">{100 * value:.0f}</td>'


def _short(genres: Sequence[str]) -> dict[str, str]:
    """First letters of each name, as many as tell it from the others, three at least."""
    found = {}
    for genre in genres:
        others = [other for other in genres if other != genre]
        n = 3
        while n < len(genre) and any(other[:n] == genre[:n] for other in others):
            n += 1
        found[genre] = genre[:n].rstrip()
    return found


def genre_table(scores: Mapping[str, Any]) -> str:
    """Precision, recall, F1 and number of tracks, the best genre first."""
    genres: Sequence[str] = scores["genres"]
    ranked = sorted(scores["per_genre"].items(), key=lambda item: -(item[1]["f1"] or 0.0))
    rows = "".join(
        f'<tr><th scope="row">{mark(genre, genres)}{escape(genre)}</th>'
        + "".join(_bar(row[key]) for key in ("precision", "recall", "f1"))
        + f'<td class="n">{row["support"]:,.0f}</td></tr>'
        for genre, row in ranked
    )
    return (
        '<div class="gs-scroll" tabindex="0" role="region" aria-label="Genre by genre">'
        '<table class="gs-table by-genre"><thead><tr><th scope="col">Genre</th><th scope="col">'
        'Precision</th><th scope="col">Recall</th><th scope="col">F1</th><th scope="col" '
        f'class="n">Tracks</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _bar(value: float | None) -> str:
    if value is None:
        return "<td>–</td>"
    return (
        f'<td><span class="in-bar"><i style="width:{100 * value:.1f}%"></i>'
        f"<b>{value:.2f}</b></span></td>"
    )


def reliability_figure(bins: Sequence[Mapping[str, float]]) -> str:
    """How often it is right where it says so many percent.

    Parameters
    ----------
    bins : sequence of mapping
        ``low``, ``high``, ``n``, mean ``confidence`` and ``accuracy`` of each.

    Returns
    -------
    str
        An SVG; points are as large as they stand for many tracks.
    """
    most = max(one["n"] for one in bins)
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(tick), _y(tick)
        parts.append(
            f'<path class="grid" d="M{x:.1f} {_TOP}V{_TOP + _SIDE}M{_LEFT} {y:.1f}h{_SIDE}"/>'
            f'<text x="{x:.1f}" y="{_TOP + _SIDE + 18}" text-anchor="middle">{100 * tick:.0f}'
            "</text>"
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:.0f}</text>'
        )
    parts.append(f'<path class="ideal" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>')
    path = "L".join(f"{_x(one['confidence']):.1f} {_y(one['accuracy']):.1f}" for one in bins)
    parts.append(f'<path class="line" d="M{path}"/>')
    for one in bins:
        radius = 2.5 + 4.5 * (one["n"] / most) ** 0.5
        said, was = share(one["confidence"]), share(one["accuracy"])
        parts.append(
            f'<circle class="point" cx="{_x(one["confidence"]):.1f}" '
            f'cy="{_y(one["accuracy"]):.1f}" r="{radius:.1f}"><title>Said {said}, right {was} '
            f"({one['n']:,.0f} tracks)</title></circle>"
        )
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text class="axis" x="{_LEFT + _SIDE / 2}" y="{_TOP + _SIDE + 38}" text-anchor="middle">'
        "it says (%)</text>"
        f'<text class="axis" transform="rotate(-90 12 {middle})" x="12" y="{middle}" '
        'text-anchor="middle">it is right (%)</text>'
    )
    told = "; ".join(
        f"says {share(one['confidence'])}, is right {share(one['accuracy'])}" for one in bins
    )
    return (
        f'<svg class="reliability" viewBox="0 0 {_LEFT + _SIDE + 14} {_TOP + _SIDE + 46}" '
        f'role="img" aria-label="Reliability: {told}">{"".join(parts)}</svg>'
    )


def _x(value: float) -> float:
    return _LEFT + value * _SIDE


def _y(value: float) -> float:
    return _TOP + (1 - value) * _SIDE
