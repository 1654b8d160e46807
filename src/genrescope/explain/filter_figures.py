"""The filters of a layer as a labelled grid, with the clips that excite them, and the files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.mel import hz_to_mel, mel_to_hz
from genrescope.catalog.storage import atomic
from genrescope.explain.colours import colours_of
from genrescope.explain.filters import Clip, FilterImages
from genrescope.explain.ink import (
    QUIET,
    WHITE,
    Drawing,
    MaxNLocator,
    Rectangle,
    finish,
    label,
    new_figure,
    style,
)
from genrescope.explain.signal.canvas import hertz, lighter

__all__ = ["clip_grid", "filter_grid", "write_filters"]

_COLUMNS = 6
_TICKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000)
_SPREAD_DB = 17.0  # to one unit of a network's input
_WIDTH = 7.6  # inches
_WIDE = 9.6
_PIECES = 3
_BANDS = 128  # of a clip
_REAL_DB = 60.0  # of a clip that are shown


def filter_grid(
    found: FilterImages,
    *,
    clips: Mapping[int, Sequence[Clip]] | None = None,
    frame_seconds: float | None = None,
    key: str = "filters",
) -> Drawing:
    """Draw pictures of filters beside each other.

    Parameters
    ----------
    found : FilterImages
        From :func:`genrescope.explain.filters.excite`.
    clips : mapping of int to sequence of Clip, optional
        The real clips that excite each filter most; named below its picture.
    frame_seconds : float, optional
        From one frame to the next; frames are counted where it is not known.
    key : str
        Name of the figure.

    Returns
    -------
    Drawing
    """
    count = len(found.filters)
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    text = 0.5 if clips else 0.0
    with style():
        figure = new_figure(_WIDTH, 0.75 + rows * (1.35 + text))
        grid = figure.subplots(rows, columns, squeeze=False)
        step = frame_seconds or 1.0
        for place, axes in enumerate(grid.ravel()):
            if place >= count:
                axes.set_visible(False)
                continue
            _draw_made(axes, found, place, step=step)
            axes.set_title(f"filter {found.filters[place] + 1}", fontsize=8)
            if place % columns:
                axes.set_yticklabels([])
            if place < count - columns:
                axes.set_xticklabels([])
            if clips:
                named = [
                    f"{label(clip.title, width=max(6, 24 - len(clip.genre)))} ({clip.genre})"
                    for clip in clips.get(found.filters[place], ())[:3]
                ]
                axes.set_xlabel("\n".join(named), fontsize=5.5, color=QUIET, loc="left")
        unit = "s" if frame_seconds else "frames"
        figure.supxlabel(f"time ({unit})", fontsize=8)
        figure.supylabel("Hz, mel scale" if found.total_bands == 128 else "band", fontsize=8)
        figure.suptitle(
            f"What excites the filters of convolution {found.layer}",
            fontsize=10,
            fontweight="bold",
            x=0.01,
            ha="left",
        )
        drawing = finish(figure, key=key)
    return Drawing(drawing.key, lighter(drawing.svg), drawing.png, drawing.width, drawing.height)


def clip_grid(
    found: FilterImages,
    clips: Mapping[int, Sequence[Clip]],
    *,
    frame_seconds: float,
    key: str = "filter-clips",
) -> Drawing:
    """Draw pictures of filters, and beside each the pieces of real clips that excite it most.

    Parameters
    ----------
    found : FilterImages
        From :func:`genrescope.explain.filters.excite`.
    clips : mapping of int to sequence of Clip
        From :func:`genrescope.explain.filters.exciting_clips`; the first three are drawn.
    frame_seconds : float
        From one frame to the next.
    key : str
        Name of the figure.

    Returns
    -------
    Drawing
        The box in a piece is what the filter sees; its frame has the colour of the genre.
    """
    count = len(found.filters)
    rows = math.ceil(count / 2)
    shown = [clip for one in found.filters for clip in clips.get(one, ())[:_PIECES]]
    colours = colours_of([clip.genre for clip in shown])
    with style():
        figure = new_figure(_WIDE, 0.8 + 1.5 * rows)
        # Two filters in a row, with an empty column between them.
        widths = [1.0, *[1.15] * _PIECES]
        grid = figure.subplots(
            rows,
            2 * len(widths) + 1,
            squeeze=False,
            gridspec_kw={"width_ratios": [*widths, 0.12, *widths]},
        )
        for axes in grid.ravel():
            axes.set_visible(False)
        for place, one in enumerate(found.filters):
            row, first = place // 2, (place % 2) * (len(widths) + 1)
            made = grid[row, first]
            made.set_visible(True)
            _draw_made(made, found, place, step=frame_seconds)
            made.set_title(f"filter {one + 1}", fontsize=8, loc="left")
            for clip, axes in zip(clips.get(one, ()), grid[row, first + 1 :], strict=False):
                if clip.piece.size:
                    axes.set_visible(True)
                    _draw_piece(axes, clip, colours[clip.genre], step=frame_seconds)
        figure.suptitle(
            f"What excites the filters of convolution {found.layer}: made, and found in real clips",
            fontsize=10,
            fontweight="bold",
            x=0.01,
            ha="left",
        )
        figure.supxlabel(
            "time (s). Left of each four: the picture that was made, bands in Hz. Then the clips "
            "that excite the filter most: the box is what it sees.",
            fontsize=7,
            color=QUIET,
        )
        drawing = finish(figure, key=key)
    return Drawing(drawing.key, lighter(drawing.svg), drawing.png, drawing.width, drawing.height)


def _draw_made(axes: Any, found: FilterImages, place: int, *, step: float) -> None:
    one = found.images[place]
    # Each in its own colours: what counts is the pattern, not how strong it is.
    reach = float(np.abs(one - one.mean()).max()) or 1.0
    axes.imshow(
        (one - one.mean()) / reach,
        cmap="magma",
        vmin=-1,
        vmax=1,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, one.shape[1] * step, found.bands[0] - 0.5, found.bands[1] - 0.5),
    )
    axes.tick_params(labelsize=6.5, length=2)
    _band_ticks(axes, found)


def _draw_piece(axes: Any, clip: Clip, colour: str, *, step: float) -> None:
    band, frame = clip.corner
    tall, wide = clip.piece.shape
    axes.imshow(
        clip.piece,
        cmap="magma",
        vmin=-_REAL_DB,
        vmax=0,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(frame * step, (frame + wide) * step, band - 0.5, band + tall - 0.5),
    )
    (low, high), (left, right) = clip.bands, clip.frames
    if (low, high, left, right) != (band, band + tall, frame, frame + wide):
        size = ((right - left) * step, high - low)
        corner = (left * step, low - 0.5)
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=WHITE, linewidth=0.9))
    axes.set_yticks([])
    axes.tick_params(labelsize=6, length=2)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.6)
    edges = mel_to_hz(np.linspace(0.0, hz_to_mel(22_050.0), _BANDS + 2))
    low_hz, high_hz = (hertz(_brief(float(edges[at]))) for at in (band, band + tall + 1))
    axes.set_title(
        f"{label(clip.title, width=17)}\n{clip.genre}, {low_hz} to {high_hz} Hz",
        fontsize=5.5,
        fontweight="normal",
        loc="left",
        color=QUIET,
    )


def write_filters(
    found: FilterImages,
    out: Path,
    *,
    clips: Mapping[int, Sequence[Clip]] | None = None,
    frame_seconds: float | None = None,
) -> tuple[Path, ...]:
    """Write the grid as SVG and PNG, and what is in it as JSON.

    Where there are clips, a second picture has the pieces of them beside each filter.

    Parameters
    ----------
    found, clips, frame_seconds
        As of :func:`filter_grid`.
    out : Path
        Folder, made where it is missing.

    Returns
    -------
    tuple of Path
        What was written.

    Raises
    ------
    DataError
        If the disk refuses.
    """
    key = f"filters-layer-{found.layer}"
    drawing = filter_grid(found, clips=clips, frame_seconds=frame_seconds, key=key)
    low, high = found.hertz
    facts = {
        "layer": found.layer,
        "name": found.name,
        "hertz": [round(low, 1), round(high, 1)] if found.total_bands == 128 else None,
        "frame_seconds": frame_seconds,
        "size": list(found.images.shape[1:]),
        "decibels_a_unit": _SPREAD_DB,
        "filters": [
            {
                "filter": one + 1,
                "excited_by_noise": round(float(found.before[place]), 4),
                "excited_by_picture": round(float(found.after[place]), 4),
                "clips": [_facts(clip) for clip in (clips or {}).get(one, ())],
            }
            for place, one in enumerate(found.filters)
        ],
    }
    contents = {
        f"{key}.svg": drawing.svg.encode("utf-8"),
        f"{key}.png": drawing.png,
        f"{key}.json": json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False).encode(),
    }
    if clips and frame_seconds:
        beside = clip_grid(found, clips, frame_seconds=frame_seconds, key=f"{key}-clips")
        contents[f"{beside.key}.svg"] = beside.svg.encode("utf-8")
        contents[f"{beside.key}.png"] = beside.png
    for name, content in contents.items():
        with atomic(out / name) as part:
            part.write_bytes(content)
    return tuple(out / name for name in contents)


def _facts(clip: Clip) -> dict[str, Any]:
    """A clip as JSON has it: without the piece, which is drawn."""
    return {
        "track_id": clip.track_id,
        "title": clip.title,
        "genre": clip.genre,
        "excitement": round(clip.excitement, 4),
        "at": round(clip.at, 4),
        "frames": list(clip.frames),
        "bands": list(clip.bands),
    }


def _band_ticks(axes: object, found: FilterImages) -> None:
    """Hz beside the bands that the picture shows, where the input is mel of 128 bands."""
    if found.total_bands != 128:
        return
    per_mel = (found.total_bands + 1) / float(hz_to_mel(22_050.0))
    at = [(float(hz_to_mel(tick)) * per_mel - 1, float(tick)) for tick in _TICKS]
    low, high = found.hertz
    inside = [(place, tick) for place, tick in at if found.bands[0] <= place < found.bands[1]]
    if len(inside) < 2:  # a small filter: its own edges say more
        inside = [(found.bands[0] - 0.5, _brief(low)), (found.bands[1] - 0.5, _brief(high))]
    axes.set_yticks([p for p, _ in inside], [hertz(t) for _, t in inside])  # type: ignore[attr-defined]


def _brief(value: float) -> float:
    """A frequency in two digits."""
    return float(f"{value:.2g}")
