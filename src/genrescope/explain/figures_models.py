"""Static figures of classifiers: how good they are, what they confuse, what they look at.

As in :mod:`genrescope.explain.figures`: call inside :func:`~genrescope.explain.ink.style`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.colours import colours_of
from genrescope.explain.ink import (
    ACCENT,
    ALERT,
    GRID,
    INK,
    PAPER,
    QUIET,
    WHITE,
    WIDTH,
    Drawing,
    MaxNLocator,
    finish,
    label,
    new_figure,
)
from genrescope.explain.marks import cells, names_down, number, only_x, plain_log, share

if TYPE_CHECKING:
    from genrescope.explain.confusion import Confusion
    from genrescope.explain.importance.types import Importance, TrackExplanation
    from genrescope.learn.evaluate import Scores
    from genrescope.learn.lab.gains import EnsembleGain
    from genrescope.learn.lab.leaderboard import Leaderboard

__all__ = [
    "accuracies",
    "confusion_matrix",
    "cost",
    "gains",
    "importance",
    "importance_by_group",
    "per_genre",
    "reliability",
    "speaks_for",
    "track",
]

_TOP = 18  # features in a figure of importance


def accuracies(board: Leaderboard, *, chance: float) -> Drawing | None:
    """Accuracy of every classifier with its interval; those not told from the best are filled."""
    rows = [row for row in board.rows if row.scores is not None]
    if not rows:
        return None
    figure = new_figure(WIDTH, 1.2 + 0.24 * len(rows))
    axes = figure.subplots()
    for at, row in enumerate(rows):
        scores: Any = row.scores
        ends = scores.intervals.get("accuracy")
        good = row.best or row.within
        colour = ACCENT if good else QUIET
        if ends:
            axes.plot(ends, [at, at], color=colour, lw=2.4, alpha=0.45)
        axes.plot(
            scores.accuracy,
            at,
            "D" if row.best else "o",
            color=colour,
            ms=7 if row.best else 5.5,
            mfc=colour if good else PAPER,
        )
        axes.annotate(
            share(scores.accuracy, 1),
            (ends[1] if ends else scores.accuracy, at),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK if good else QUIET,
        )
    names = [label(row.run.name, width=32) for row in rows]
    names_down(axes, names)
    axes.set_ylim(len(rows) + 0.6, -0.6)  # room for what the line is
    axes.axvline(chance, color=ALERT, lw=1, ls=(0, (4, 3)))
    axes.annotate(
        "always the most\ncommon genre",
        (chance, len(rows) + 0.6),
        (5, 3),
        textcoords="offset points",
        fontsize=7.5,
        color=ALERT,
        va="bottom",
    )
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter(lambda v, _: share(v))
    axes.set_xlabel("accuracy, 95 % interval")
    only_x(axes)
    return finish(figure, key="leaderboard")


def cost(board: Leaderboard) -> Drawing | None:
    """Accuracy against the seconds of fitting; names where they find room."""
    rows = [row for row in board.rows if row.scores is not None and row.run.fit_seconds > 0]
    if len(rows) < 2:
        return None
    figure = new_figure(WIDTH, 4.0)
    axes = figure.subplots()
    x = np.array([row.run.fit_seconds for row in rows])
    y = np.array([row.scores.accuracy for row in rows if row.scores is not None])
    # A model is worth naming first if none that is faster is also better.
    front = np.array([not ((x < x[i]) & (y >= y[i])).any() for i in range(len(rows))])
    plain_log(axes, "x")
    order = np.argsort(x[front])
    axes.plot(x[front][order], y[front][order], color=ACCENT, lw=1, alpha=0.5, ls=(0, (3, 2)))
    for at, chosen in zip(range(len(rows)), front, strict=True):
        axes.plot(
            x[at], y[at], "o", ms=6, color=ACCENT if chosen else QUIET,
            mfc=ACCENT if chosen else PAPER,
        )  # fmt: skip
    low, high = float(x.min()), float(x.max())
    axes.set_xlim(low / 1.6, high * (high / low) ** 0.12 * 1.6)
    axes.margins(y=0.08)
    axes.yaxis.set_major_formatter(lambda v, _: share(v))
    axes.set_xlabel("CPU seconds to fit, all folds together (log scale)")
    axes.set_ylabel("accuracy")
    axes.grid(axis="both")
    figure.draw_without_rendering()
    _name_points(axes, x, y, [label(row.run.name, width=28) for row in rows], first=front)
    return finish(figure, key="accuracy-and-seconds")


def reliability(scores: Scores, *, name: str) -> Drawing | None:
    """How often the best is right when it says so sure, and how often it says so."""
    bins = [b for b in scores.reliability if b["n"]]
    if not bins:
        return None
    figure = new_figure(4.6, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    said = [b["confidence"] for b in bins]
    right = [b["accuracy"] for b in bins]
    n = np.array([b["n"] for b in bins])
    upper.plot([0, 1], [0, 1], color=QUIET, lw=1, ls=(0, (4, 3)))
    spread = 1.96 * np.sqrt(np.array(right) * (1 - np.array(right)) / n)
    upper.vlines(said, np.array(right) - spread, np.array(right) + spread, color=ACCENT, alpha=0.45)
    upper.plot(said, right, "o-", color=ACCENT, ms=5)
    upper.annotate("surer than right", (0.97, 0.04), xycoords="axes fraction", ha="right",
                   fontsize=8, color=QUIET)  # fmt: skip
    upper.annotate("righter than sure", (0.03, 0.93), xycoords="axes fraction", fontsize=8,
                   color=QUIET)  # fmt: skip
    upper.set_ylim(0, 1)
    upper.set_ylabel("share that is right")
    upper.set_title(f"{label(name)}   ECE {scores.ece:.3f}")
    upper.grid()
    lower.bar([(b["low"] + b["high"]) / 2 for b in bins], n,
              width=[0.9 * (b["high"] - b["low"]) for b in bins], color=ACCENT)  # fmt: skip
    lower.set_xlim(0, 1)
    lower.set_ylabel("tracks")
    lower.set_xlabel("highest probability")
    for axes in (upper, lower):
        axes.xaxis.set_major_formatter(lambda v, _: share(v))
    upper.yaxis.set_major_formatter(lambda v, _: share(v))
    return finish(figure, key="reliability")


def per_genre(scores: Scores) -> Drawing | None:
    """Precision and recall of the best by genre, the easiest first."""
    found = {g: row for g, row in scores.per_genre.items() if row["support"]}
    names = sorted(found, key=lambda g: (-np.nan_to_num(found[g]["f1"]), g))
    if not names:
        return None
    colours = colours_of(list(scores.per_genre))
    figure = new_figure(WIDTH, 0.9 + 0.27 * len(names))
    axes = figure.subplots()
    for at, name in enumerate(names):
        row = {key: float(np.nan_to_num(value)) for key, value in found[name].items()}
        axes.plot([row["precision"], row["recall"]], [at, at], color=GRID, lw=2, zorder=1)
        axes.plot(row["precision"], at, "o", ms=6.5, color=colours[name], mfc=PAPER)
        axes.plot(row["recall"], at, "o", ms=6.5, color=colours[name])
    axes.plot([], [], "o", ms=6.5, color=QUIET, label="recall: of its tracks, found")
    axes.plot([], [], "o", ms=6.5, color=QUIET, mfc=PAPER, label="precision: of those named, right")
    names_down(axes, [label(n) for n in names])
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(lambda v, _: share(v))
    figure.legend(loc="outside lower center", ncols=2)
    only_x(axes)
    return finish(figure, key="per-genre")


def gains(found: Sequence[EnsembleGain]) -> Drawing | None:
    """What each ensemble adds to its best member."""
    shown = [one for one in found if np.isfinite(one.gain.difference)]
    if not shown:
        return None
    figure = new_figure(WIDTH, 1.0 + 0.36 * len(shown))
    axes = figure.subplots()
    axes.axvline(0, color=QUIET, lw=1)
    for at, one in enumerate(shown):
        gain = one.gain
        colour = (ACCENT if gain.difference > 0 else ALERT) if gain.significant else QUIET
        if np.isfinite(gain.low) and np.isfinite(gain.high):
            axes.plot([100 * gain.low, 100 * gain.high], [at, at], color=colour, lw=2.4, alpha=0.45)
        axes.plot(100 * gain.difference, at, "o", color=colour, ms=6,
                  mfc=colour if gain.significant else PAPER)  # fmt: skip
    names_down(axes, [label(one.name, width=36) for one in shown])
    axes.margins(x=0.12)
    axes.set_xlabel("percentage points of accuracy over the best member, 95 % interval")
    only_x(axes)
    return finish(figure, key="ensemble-gains")


def confusion_matrix(found: Confusion) -> Drawing:
    """Shares of each true genre as opacity, with counts."""
    k = len(found.genres)
    side = float(np.clip(2.2 + 0.5 * k, 4.2, WIDTH + 0.6))
    figure = new_figure(side, side * 0.9)
    axes = figure.subplots()
    shares = np.nan_to_num(np.asarray(found.shares, float))
    diagonal = np.eye(k, dtype=bool)
    cells(axes, shares, np.where(diagonal, ACCENT, ALERT))
    big = float(np.clip(110 / k, 5.5, 9))
    for row, column in np.ndindex(k, k):
        count = int(found.counts[row, column])
        if not count:
            continue
        ink = WHITE if shares[row, column] > 0.8 else INK
        where = {"ha": "center", "color": ink}
        if k <= 10:
            axes.text(column, row - 0.06, share(shares[row, column]), va="bottom", fontsize=big,
                      **where)  # fmt: skip
            axes.text(column, row + 0.08, f"{count:,}", va="top", fontsize=big * 0.75, **where)
        else:
            axes.text(column, row, f"{100 * shares[row, column]:.0f}", va="center", fontsize=big,
                      **where)  # fmt: skip
    names = [label(g, width=20) for g in found.genres]
    axes.set_xticks(range(k), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), names)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true genre")
    return finish(figure, key="confusion-matrix")


def importance(found: Mapping[str, Importance], *, top: int = _TOP) -> Drawing | None:
    """Importance of single features, one column a method, in one common order."""
    shown = {kind: one for kind, one in found.items() if len(one.features)}
    if not shown:
        return None
    chosen = _common_order([(one.features, one.mean) for one in shown.values()])[:top]
    sizes = [
        {name: (one.mean[i], one.low[i], one.high[i]) for i, name in enumerate(one.features)}
        for one in shown.values()
    ]
    return _columns(list(shown.values()), sizes, chosen, key="importance")


def importance_by_group(found: Mapping[str, Importance]) -> Drawing | None:
    """The same, added up by family; None where there is one family, or families of one."""
    shown = {kind: one for kind, one in found.items() if 1 < len(one.by_group) < len(one.features)}
    if not shown:
        return None
    groups = [list(one.by_group) for one in shown.values()]
    means = [np.array([one.by_group[g][0] for g in one.by_group]) for one in shown.values()]
    chosen = _common_order(list(zip(groups, means, strict=True)))[:_TOP]
    sizes = [dict(one.by_group) for one in shown.values()]
    return _columns(list(shown.values()), sizes, chosen, key="importance-by-group")


def speaks_for(one: Importance, *, top: int = 15) -> Drawing | None:
    """How much each feature moves each genre: blue where high values speak for it, else orange."""
    if not one.per_genre or len(one.features) < 2:
        return None
    genres = list(one.per_genre)
    order = np.argsort(-np.nan_to_num(np.asarray(one.mean)), kind="stable")[:top]
    table = np.nan_to_num(np.array([np.asarray(one.per_genre[g], float) for g in genres]).T[order])
    strength = np.abs(table) / (float(np.abs(table).max()) or 1.0)
    k, d = len(genres), len(order)
    figure = new_figure(WIDTH, 1.4 + 0.3 * d)
    axes = figure.subplots()
    cells(axes, strength, np.where(table < 0, ALERT, ACCENT))
    axes.set_aspect("auto")
    names = [label(g, width=20) for g in genres]
    axes.set_xticks(range(k), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(d), [label(one.features[i], width=30) for i in order])
    for row, column in np.ndindex(d, k):
        ink = WHITE if strength[row, column] > 0.8 else INK
        text = f"{abs(table[row, column]):.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
    return finish(figure, key=f"{one.kind}-by-genre")


def track(one: TrackExplanation, *, key: str, top: int = 12) -> Drawing:
    """From the base value to the answer, one bar a feature: a waterfall."""
    parts = np.asarray(one.contributions, float)
    order = np.argsort(-np.abs(parts), kind="stable")
    shown, rest = order[:top], order[top:]
    steps = [*parts[shown]] + ([float(parts[rest].sum())] if len(rest) else [])
    names = [f"{label(one.features[i], width=26)} = {_value(one.values[i])}" for i in shown]
    if len(rest):
        names.append(f"{len(rest)} other feature{'s' if len(rest) > 1 else ''}")
    # Read upwards from what is expected of any track: the small steps first, the large on top.
    steps, names = steps[::-1], names[::-1]
    start = one.base + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    figure = new_figure(WIDTH, 1.1 + 0.27 * len(steps))
    axes = figure.subplots()
    axes.use_sticky_edges = False
    for at, (begin, step) in enumerate(zip(start, steps, strict=True)):
        colour = ACCENT if step >= 0 else ALERT
        axes.barh(at, step, left=begin, color=colour, height=0.7)
        end = begin + step
        axes.plot([end, end], [at - 0.35, at + 1.35], color=QUIET, lw=0.6)
        axes.annotate(
            f"{step:+.2f}".replace("-", "−"),
            (max(begin, end), at),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=QUIET,
        )
    axes.axvline(one.base, color=QUIET, lw=0.8, ls=(0, (4, 3)))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.1)
    axes.margins(x=0.1)
    end = one.base + float(np.sum(steps))
    axes.set_title(f"for {label(one.genre)}: from {number(one.base)} to {number(end)}")
    axes.set_xlabel("log-odds")
    only_x(axes)
    return finish(figure, key=key)


def _columns(
    found: Sequence[Importance],
    sizes: Sequence[Mapping[str, tuple[float, float, float]]],
    chosen: Sequence[str],
    *,
    key: str,
) -> Drawing:
    """Bars with spread: a column for each method, a row for each name."""
    figure = new_figure(WIDTH, 1.2 + 0.24 * len(chosen))
    columns = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, one, size in zip(columns, found, sizes, strict=True):
        for at, name in enumerate(chosen):
            mean, low, high = (float(v) for v in size.get(name, (np.nan,) * 3))
            if not np.isfinite(mean):
                continue
            axes.barh(at, mean, color=ACCENT if mean >= 0 else ALERT, height=0.7, alpha=0.85)
            if np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [at, at], color=INK, lw=1)
        if one.noise is not None and key == "importance":
            axes.axvline(one.noise, color=ALERT, lw=1, ls=(0, (4, 3)))
        title = {"shap": "SHAP"}.get(one.kind, one.kind.capitalize())
        axes.set_title(f"{title}\n{label(one.model, width=26)}", fontsize=8.5)
        axes.set_xlabel("\n".join(_wrap(one.unit, 28)), fontsize=7.5)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        only_x(axes)
    columns[0].set_yticks(range(len(chosen)), [label(n, width=30) for n in chosen])
    columns[0].set_ylim(len(chosen) - 0.4, -0.6)
    return finish(figure, key=key)


def _common_order(
    found: Sequence[tuple[Sequence[str], NDArray[np.float64]]],
) -> list[str]:
    """Names by their mean rank over the methods, best first."""
    ranks: dict[str, list[float]] = {}
    for names, mean in found:
        order = np.argsort(-np.nan_to_num(np.asarray(mean, float)), kind="stable")
        for rank, i in enumerate(order):
            ranks.setdefault(names[i], []).append(float(rank))
    return sorted(ranks, key=lambda name: (float(np.mean(ranks[name])), name))


def _name_points(
    axes: Any, x: NDArray[Any], y: NDArray[Any], names: Sequence[str], *, first: NDArray[np.bool_]
) -> None:
    """Write names beside points where they cover neither a point nor another name."""
    at = axes.transData.transform(np.column_stack([x, y])) * 72 / axes.figure.dpi  # points
    taken = [(px - 4, py - 4, px + 4, py + 4) for px, py in at]
    box = axes.get_window_extent()
    right, bottom, top = (v * 72 / axes.figure.dpi for v in (box.x1, box.y0, box.y1))
    for i in sorted(range(len(names)), key=lambda i: (not first[i], -y[i])):
        wide, high = 4.3 * len(names[i]), 9.0
        for dx, dy, side in ((6, 0, "left"), (-6, 0, "right"), (0, 9, "center"), (0, -9, "center"),
                             (6, 8, "left"), (6, -8, "left"), (-6, 8, "right"),
                             (-6, -8, "right")):  # fmt: skip
            left = at[i, 0] + dx - {"left": 0.0, "right": wide, "center": wide / 2}[side]
            low = at[i, 1] + dy - high / 2
            corner = (left, low, left + wide, low + high)
            outside = corner[2] > right + 30 or low < bottom or low + high > top
            outside = outside or left < box.x0 * 72 / axes.figure.dpi
            own = (at[i, 0] - 4, at[i, 1] - 4, at[i, 0] + 4, at[i, 1] + 4)
            if outside or any(_overlap(corner, other) for other in taken if other != own):
                continue
            taken.append(corner)
            axes.annotate(names[i], (x[i], y[i]), (dx, dy), textcoords="offset points", ha=side,
                          va="center", fontsize=7.5, color=INK if first[i] else QUIET)  # fmt: skip
            break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _value(value: float) -> str:
    return number(float(value)) if np.isfinite(value) else "missing"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width)[:3] or [""]
