"""Pictures of what spoke for a genre: the map over the spectrogram, and whether it is true."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.mel import hz_to_mel
from genrescope.explain.ink import (
    ACCENT,
    ALERT,
    GRID,
    INK,
    QUIET,
    WIDTH,
    Drawing,
    finish,
    new_figure,
)
from genrescope.explain.signal.canvas import Canvas, Picture, hertz, image
from genrescope.explain.why.reasons import Why

__all__ = ["deletion_figure", "kept_figure", "map_figure", "network_figure", "overlay"]

_TICKS = (250, 500, 1000, 2000, 4000, 8000)
_FOR, _AGAINST = (0.25, 0.55, 1.0), (1.0, 0.50, 0.10)  # on grey of any brightness
_TALL = 1.75  # inches


def map_figure(why: Why, *, key: str = "map", track: int = 0) -> Picture:
    """The mel spectrogram, the map over it, and what bands and stretches of time are worth."""
    canvas = Canvas(WIDTH, [_TALL, _TALL, 0.7])
    above, over, below = canvas.axes
    db, extent = _spectrogram(why)
    drawn = image(above, db, extent=extent, limits=(-frames.FLOOR_DB, 0.0))
    canvas.bar(drawn, above, "dB", ticks=[-60, -30, 0])
    above.set_title("What is heard")
    colours = overlay(_lit(db), why.occlusion.cells)
    over.imshow(colours, extent=extent, origin="lower", aspect="auto", interpolation="none")
    over.set_title(f"What spoke for {why.genre} (blue), and what against it (orange)")
    for axes in (above, over):
        _mel_axis(axes)
        axes.set_xticklabels([])
        axes.set_ylabel("Hz, mel scale")
    start, stop = why.excerpt.start, why.excerpt.start + why.heard.seconds
    for axes in canvas.axes:
        axes.set_xlim(start, stop)
    _bars(below, start + why.heard.time_edges, why.occlusion.by_time)
    below.set_xlabel("time (s)", labelpad=2)
    below.set_ylabel("worth")
    box = over.get_position()
    beside = canvas.figure.add_axes(
        (box.x1 + 0.1 / canvas.width, box.y0, 0.62 / canvas.width, box.height)
    )
    _bars(beside, hz_to_mel(why.heard.band_edges), why.occlusion.by_band, flat=True)
    beside.set_ylim(*over.get_ylim())
    beside.set_yticks([])
    beside.set_title("worth", fontsize=7, fontweight="normal", color=QUIET, pad=3)
    beside.tick_params(labelsize=7)
    return canvas.done(key, timed=canvas.axes, track=track, start=start, stop=stop)


def kept_figure(why: Why, *, key: str = "kept", track: int = 1) -> Picture:
    """The mel spectrogram of which only the cells are left that spoke most for the genre."""
    canvas = Canvas(WIDTH, [_TALL])
    (axes,) = canvas.axes
    db, extent = _spectrogram(why)
    dimmed = np.where(_spread(why.kept.astype(float), db.shape) > 0.5, db, -frames.FLOOR_DB)
    drawn = image(axes, dimmed, extent=extent, limits=(-frames.FLOOR_DB, 0.0))
    canvas.bar(drawn, axes, "dB", ticks=[-60, -30, 0])
    _mel_axis(axes)
    axes.set_ylabel("Hz, mel scale")
    axes.set_xlabel("time (s)", labelpad=2)
    axes.set_title(f"The {why.kept.mean():.0%} of the cells that spoke most for {why.genre}")
    start, stop = why.excerpt.start, why.excerpt.start + why.heard.seconds
    axes.set_xlim(start, stop)
    return canvas.done(key, timed=[axes], track=track, start=start, stop=stop)


def network_figure(why: Why, *, key: str = "network", track: int = 0) -> Picture | None:
    """Grad-CAM and integrated gradients over the spectrogram; None where there are none."""
    found = why.network
    if found is None:
        return None
    maps = [("Integrated gradients", found.integrated)]
    if found.cam is not None:
        maps.insert(0, ("Grad-CAM", found.cam))
    canvas = Canvas(WIDTH, [_TALL] * len(maps))
    db, extent = _spectrogram(why)
    start, stop = why.excerpt.start, why.excerpt.start + why.heard.seconds
    for axes, (name, values) in zip(canvas.axes, maps, strict=True):
        axes.imshow(
            overlay(_lit(db), values[:, : db.shape[1]]),
            extent=extent,
            origin="lower",
            aspect="auto",
            interpolation="none",
        )
        axes.set_title(f"{name} for {why.genre}")
        axes.set_ylabel("Hz, mel scale")
        _mel_axis(axes)
        axes.set_xlim(start, stop)
    for axes in canvas.axes[:-1]:
        axes.set_xticklabels([])
    canvas.axes[-1].set_xlabel("time (s)", labelpad=2)
    return canvas.done(key, timed=canvas.axes, track=track, start=start, stop=stop)


def deletion_figure(why: Why, *, key: str = "deletion") -> Drawing:
    """How the log-odds fall when cells go in the order of the map, and in random orders."""
    figure = new_figure(WIDTH * 0.72, 2.7)
    axes = figure.add_subplot()
    curve = why.deletion
    x = 100 * curve.share
    axes.fill_between(x, curve.chance.min(axis=0), curve.chance.max(axis=0), color=GRID, lw=0)
    axes.plot(x, curve.chance.mean(axis=0), color=QUIET, linestyle="--", label="in random order")
    axes.plot(x, curve.ordered, color=ACCENT, lw=1.8, label="what the map puts first, first")
    axes.set_xlim(0, 100)
    axes.set_xlabel("cells that are gone (%)")
    axes.set_ylabel(f"log-odds of {why.genre}")
    axes.grid(axis="y")
    axes.legend(loc="lower left")
    return finish(figure, key=key)


def overlay(
    grey: npt.NDArray[np.floating[Any]], cells: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """A map over a grey picture.

    Parameters
    ----------
    grey : np.ndarray [shape=(rows, columns)]
        Brightness, 0 to 1.
    cells : np.ndarray [shape=(bands, times)]
        Above 0 becomes blue, below orange, the more the stronger.

    Returns
    -------
    np.ndarray [shape=(rows, columns, 3), float64]
        Red, green, blue from 0 to 1.
    """
    # The strongest few would leave the rest pale.
    top = float(np.quantile(np.abs(cells), 0.98)) or 1.0
    strength = np.clip(_spread(cells, grey.shape) / top, -1.0, 1.0)[..., None]
    colour = np.where(strength > 0, np.asarray(_FOR), np.asarray(_AGAINST))
    share = 0.85 * np.abs(strength)
    light = grey[..., None]
    mixed: npt.NDArray[np.float64] = (1 - share) * light + share * colour * (0.25 + 0.75 * light)
    rounded: npt.NDArray[np.float64] = np.clip(mixed, 0.0, 1.0).astype(np.float64).round(3)
    return rounded


def _spectrogram(why: Why) -> tuple[npt.NDArray[Any], tuple[float, float, float, float]]:
    """Decibels [bands, columns] in the order of time, and left, right, bottom, top in s and mel."""
    heard = why.heard
    # A short piece was gone through several times; once is enough to look at.
    once = (
        int((np.diff(heard.times) > 0).argmin()) + 1 if (np.diff(heard.times) < 0).any() else None
    )
    db = heard.db[:, :once]
    per_band = float(hz_to_mel(frames.REFERENCE_HZ / 2)) / (frames.N_BANDS + 1)
    start = why.excerpt.start
    ends = (0.5 * per_band, (frames.READ_BANDS + 0.5) * per_band)
    return db, (start, start + heard.seconds, *ends)


def _lit(db: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.clip(db / frames.FLOOR_DB + 1.0, 0.0, 1.0)


def _spread(cells: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Cells as a picture of more rows and columns, each as large as it is."""
    rows = np.minimum(np.arange(shape[0]) * cells.shape[0] // shape[0], cells.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]) * cells.shape[1] // shape[1], cells.shape[1] - 1)
    spread: npt.NDArray[Any] = cells[rows][:, columns]
    return spread


def _mel_axis(axes: Any) -> None:
    axes.set_yticks([float(hz_to_mel(t)) for t in _TICKS], [hertz(t) for t in _TICKS])
    axes.set_ylim(0, float(hz_to_mel(frames.TOP_HZ)))


def _bars(axes: Any, edges: Any, worth: Any, *, flat: bool = False) -> None:
    """What each range is worth, as bars that touch."""
    edges = np.asarray(edges)
    colours = [ACCENT if value > 0 else ALERT for value in worth]
    if flat:
        axes.barh(edges[:-1], worth, np.diff(edges), align="edge", color=colours, linewidth=0)
        axes.axvline(0, color=INK, lw=0.6)
    else:
        axes.bar(edges[:-1], worth, np.diff(edges), align="edge", color=colours, linewidth=0)
        axes.axhline(0, color=INK, lw=0.6)
