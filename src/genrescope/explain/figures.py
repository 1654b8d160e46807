"""Static figures of a table and its maps; those of models are in ``figures_models``.

Every function here takes a result and returns a :class:`~genrescope.explain.ink.Drawing`, or None
where there is nothing to draw. Call them inside :func:`~genrescope.explain.ink.style`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.colours import SHAPES, colours_of, shapes_of
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
    finish,
    label,
    new_figure,
    to_rgba,
)
from genrescope.explain.marks import cells, names_down, number, only_x, plain_log, share
from genrescope.explain.words import plural

if TYPE_CHECKING:
    from genrescope.explain.analysis.densities import Distribution
    from genrescope.explain.analysis.effects import FeatureEffect
    from genrescope.explain.analysis.types import Analysis, GroupEffect
    from genrescope.explain.maps.drawn import Map

__all__ = [
    "balance",
    "correlation",
    "distributions",
    "effects",
    "explained_variance",
    "group_bars",
    "map_figure",
    "missing",
]

PANELS = 4  # distributions in one figure
_MAP_POINTS = 20_000  # more would only paint over each other
_MPL_SHAPE = dict(zip(SHAPES, ("o", "s", "D"), strict=True))


def balance(analysis: Analysis) -> Drawing:
    """Tracks and groups of each genre."""
    names = sorted(analysis.balance, key=lambda g: (analysis.balance[g], g))
    colours = colours_of(names)
    counts = [analysis.balance[name] for name in names]
    figure = new_figure(WIDTH, 0.7 + 0.27 * len(names))
    axes = figure.subplots()
    axes.barh(range(len(names)), counts, color=[colours[n] for n in names], height=0.72)
    what = analysis.group_name
    for row, name in enumerate(names):
        text = f"{counts[row]:,}"
        if what != "track":
            n = analysis.groups_per_genre.get(name, 0)
            text += f"  ·  {n:,} {what if n == 1 else plural(what)}"
        axes.annotate(
            text, (counts[row], row), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(names)), [label(n) for n in names])
    axes.set_xlim(0, max(counts) * 1.28)
    axes.set_xlabel("tracks")
    only_x(axes)
    return finish(figure, key="class-balance")


def missing(analysis: Analysis) -> Drawing | None:
    """Features with gaps, the most incomplete first; None where there is no gap."""
    gaps = {name: n for name, n in analysis.missing.items() if n}
    if not gaps:
        return None
    names = sorted(gaps, key=lambda f: (-gaps[f], f))[:25][::-1]
    figure = new_figure(WIDTH, 0.8 + 0.24 * len(names))
    axes = figure.subplots()
    shares = [gaps[name] / analysis.n for name in names]
    axes.barh(range(len(names)), shares, color=ACCENT, height=0.66)
    for row, name in enumerate(names):
        axes.annotate(
            f"{share(shares[row], 1)}  ·  {gaps[name]:,}",
            (shares[row], row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(names)), [label(n) for n in names])
    axes.set_xlim(0, min(1.3, max(shares) * 1.3))
    axes.xaxis.set_major_formatter(lambda v, _: share(v) if v <= 1 else "")
    axes.set_xlabel("share of tracks without a value")
    only_x(axes)
    return finish(figure, key="missing-values")


def distributions(chosen: Sequence[Distribution], *, key: str) -> Drawing:
    """Up to :data:`PANELS` features as ridges, genres in the order of their medians."""
    rows = -(-len(chosen) // 2)
    columns = min(2, len(chosen))
    k = max(len(d.density) for d in chosen)
    figure = new_figure(WIDTH, rows * (0.95 + 0.26 * k))
    figure.get_layout_engine().set(w_pad=0.32, h_pad=0.1)  # inches
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = colours_of(sorted({g for d in chosen for g in d.density}))
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, one in zip(grid.flat, chosen, strict=False):
        _ridges(axes, one, colours)
    return finish(figure, key=key)


def _ridges(axes: Any, one: Distribution, colours: Mapping[str, str]) -> None:
    names = list(one.density)
    step = max(1, len(one.grid) // 100)  # finer than can be seen
    grid = np.asarray(one.grid)[::step]
    for row, name in enumerate(names):
        base = len(names) - 1 - row
        height = np.asarray(one.density[name])[::step]
        height = 1.5 * height / (float(height.max()) or 1.0)
        axes.fill_between(
            grid, base, base + height, color=colours[name], alpha=0.8, lw=0, zorder=row + 2
        )
        axes.plot(grid, base + height, color=PAPER, lw=0.7, zorder=row + 2)
        median = one.median.get(name)
        if median is not None and np.isfinite(median):
            at = float(np.interp(median, grid, height))
            axes.plot([median] * 2, [base, base + at], color=INK, lw=1.3, zorder=row + 2)
            axes.annotate(
                number(median),
                (1.0, base),
                (3, 2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                fontsize=7,
                color=QUIET,
                annotation_clip=False,
            ).set_in_layout(False)  # the padding is made for it; measuring is slow
    if one.log:
        plain_log(axes, "x")
    axes.set_xlim(one.grid[0], one.grid[-1])
    axes.set_ylim(-0.15, len(names) + 0.7)
    short = [f"{label(g, width=20)} ({one.n.get(g, 0):,})" for g in names]
    axes.set_yticks(range(len(names))[::-1], short, va="bottom")
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.spines["left"].set_visible(False)
    title = label(one.label or one.feature, width=34)
    eta = getattr(one.effect, "eta_squared", None)
    axes.set_title(title if eta is None else f"{title}   η² {eta:.2f}")
    axes.set_xlabel(label(one.unit) + (" (log scale)" if one.log else "") if one.unit else "")
    axes.set_ylabel("")


def effects(ranked: Sequence[FeatureEffect], *, top: int = 25) -> Drawing | None:
    """How much of each feature's variance genre accounts for, with intervals."""
    shown = [e for e in ranked if e.eta_squared is not None and np.isfinite(e.eta_squared)][:top]
    if not shown:
        return None
    figure = new_figure(WIDTH, 0.8 + 0.22 * len(shown))
    axes = figure.subplots()
    for row, one in enumerate(shown):
        low, high = _number(one.eta_low), _number(one.eta_high)
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], color=ACCENT, lw=2.2, alpha=0.45)
        axes.plot(one.eta_squared, row, "o", color=ACCENT, ms=5.5)
        axes.annotate(
            f"{one.eta_squared:.2f}",
            (max(one.eta_squared, high or 0), row),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=QUIET,
        )
    names_down(axes, [label(e.feature) for e in shown])
    axes.set_xlim(0, None)
    axes.margins(x=0.1)
    axes.set_xlabel("η²: share of the feature's variance that lies between genres")
    only_x(axes)
    return finish(figure, key="effect-sizes")


def group_bars(groups: Mapping[str, GroupEffect]) -> Drawing | None:
    """Mean and largest effect by family; None where there is one family, or families of one."""
    if len(groups) < 2 or all(group.n_features == 1 for group in groups.values()):
        return None
    names = sorted(groups, key=lambda g: (-(_number(groups[g].mean) or 0), g))[:20]
    figure = new_figure(WIDTH, 0.8 + 0.26 * len(names))
    axes = figure.subplots()
    for row, name in enumerate(names):
        mean, most = (_number(v) or 0 for v in (groups[name].mean, groups[name].max))
        axes.plot([mean, most], [row, row], color=GRID, lw=2, zorder=1)
        axes.plot(mean, row, "o", color=ACCENT, ms=6.5, label=None if row else "mean")
        axes.plot(most, row, "D", color=ALERT, ms=5, label=None if row else "largest")
    names_down(axes, [label(n) for n in names])
    axes.set_xlim(0, None)
    figure.legend(loc="outside lower center", ncols=2)
    axes.set_xlabel("η² of the features of a family")
    only_x(axes)
    return finish(figure, key="effect-by-group")


def correlation(features: Sequence[str], matrix: NDArray[np.float64]) -> Drawing | None:
    """Rank correlations as a heat map: blue together, orange opposed."""
    d = len(features)
    if d < 2:
        return None
    side = float(np.clip(1.8 + 0.19 * d, 4.0, WIDTH))
    figure = new_figure(side, side * 0.94)
    axes = figure.subplots()
    values = np.nan_to_num(np.asarray(matrix, float))
    cells(axes, np.abs(values), np.where(values < 0, ALERT, ACCENT))
    names = [label(f, width=24) for f in features]
    size = float(np.clip(190 / d, 5.5, 8))
    axes.set_xticks(range(d), names, rotation=90, fontsize=size)
    axes.set_yticks(range(d), names, fontsize=size)
    if d <= 12:
        for row, column in np.ndindex(d, d):
            strong = abs(values[row, column]) > 0.8
            axes.text(
                column,
                row,
                f"{values[row, column]:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color=WHITE if strong else INK,
            )
    return finish(figure, key="correlation")


def map_figure(one: Map, *, y: NDArray[np.int64], genres: Sequence[str], seed: int = 0) -> Drawing:
    """A map as a picture: filled points were fitted on, rings were placed afterwards.

    Parameters
    ----------
    one : Map
        Two or three dimensions.
    y : np.ndarray [shape=(n,), int64]
        Genres as positions in `genres`.
    genres : sequence of str
        Their names.
    seed : int
        Of the choice of points, where there are more than a picture can show.

    Returns
    -------
    Drawing
    """
    figure = new_figure(WIDTH, 5.2 if one.dims == 2 else 5.6)
    axes = figure.subplots(subplot_kw={"projection": "3d"} if one.dims == 3 else {})
    order = np.random.default_rng(seed).permutation(len(y))  # no genre always lies on top
    order = order[np.isfinite(one.positions[order]).all(axis=1)][:_MAP_POINTS]
    colours, shapes = colours_of(genres), shapes_of(genres)
    size = float(np.clip(9_000 / max(len(order), 1), 3, 30))
    fitted = np.asarray(one.fitted_on, bool)
    palette = np.array([to_rgba(colours[g], 0.75) for g in genres])
    ink = palette[y[order]]
    inside = np.where(fitted[order, None], ink, 0.0)  # a ring is empty, and so see-through
    shape = np.array([shapes[genres[c]] for c in y[order]])
    for which in SHAPES:
        rows = np.flatnonzero(shape == which)
        if not len(rows):
            continue
        axes.scatter(
            *one.positions[order[rows]].T,
            s=size,
            marker=_MPL_SHAPE[which],
            facecolors=inside[rows],
            edgecolors=ink[rows],
            linewidths=0.5,
            rasterized=True,
            **({"depthshade": False} if one.dims == 3 else {}),
        )
    names = [*one.axis_labels, *(f"{one.method} {n + 1}" for n in range(one.dims))]
    names = [*one.axis_labels] if len(one.axis_labels) >= one.dims else names[-one.dims :]
    for which, name in zip("xyz", names, strict=False):
        short = name.split(" (")[0] if one.dims == 3 else name  # there is little room in 3-D
        getattr(axes, f"set_{which}label")(label(short))
    if one.dims == 3:
        _quiet_box(axes)
    else:
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[["left", "bottom"]].set_color(GRID)
        axes.tick_params(color=GRID, labelcolor=QUIET)
    present = [g for n, g in enumerate(genres) if (y[order] == n).any()]
    handles = [
        axes.plot([], [], _MPL_SHAPE[shapes[g]], color=colours[g], ms=6, label=label(g, width=24))[
            0
        ]
        for g in present
    ]
    if not fitted[order].all():
        handles.append(
            axes.plot([], [], "o", mfc="none", mec=QUIET, ms=6, label="placed afterwards")[0]
        )
    figure.legend(handles=handles, loc="outside right center")
    return finish(figure, key=f"map-{one.method.lower().replace('-', '')}-{one.dims}d")


def explained_variance(shares: Sequence[float]) -> Drawing | None:
    """Share of the variance on each principal component, and added up."""
    values = np.asarray(shares, float)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    figure = new_figure(WIDTH, 2.9)
    axes = figure.subplots()
    at = np.arange(1, len(values) + 1)
    total = np.cumsum(values)
    axes.bar(at, values, color=ACCENT, width=0.72, label="each")
    axes.plot(at, total, "o-", color=ALERT, ms=4, label="added up")
    axes.annotate(
        share(total[-1]), (at[-1], total[-1]), (0, 6), textcoords="offset points", ha="center",
        fontsize=8,
    )  # fmt: skip
    axes.set_ylim(0, min(1.05, total[-1] * 1.2))
    axes.yaxis.set_major_formatter(lambda v, _: share(v))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("principal component")
    axes.set_ylabel("variance explained")
    axes.grid(axis="y")
    axes.legend(loc="center right")
    return finish(figure, key="explained-variance")


def _quiet_box(axes: Any) -> None:
    """A 3-D box of thin lines, without the grey walls."""
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_color(GRID)
        axis._axinfo["grid"].update(color=GRID, linewidth=0.6)
        axis.set_tick_params(labelsize=7, labelcolor=QUIET)
    axes.set_box_aspect(None, zoom=0.92)


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
