"""The filters of a layer as a labelled grid, with the clips that excite them, and the files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from genrescope.audio.mel import hz_to_mel
from genrescope.catalog.storage import atomic
from genrescope.explain.filters import Clip, FilterImages
from genrescope.explain.ink import QUIET, Drawing, finish, label, new_figure, style
from genrescope.explain.signal_canvas import hertz, lighter

__all__ = ["filter_grid", "write_filters"]

_COLUMNS = 6
_TICKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000)
_SPREAD_DB = 17.0  # to one unit of a network's input
_WIDTH = 7.6  # inches


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
    count, wide = len(found.filters), found.images.shape[2]
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
                extent=(0, wide * step, found.bands[0] - 0.5, found.bands[1] - 0.5),
            )
            axes.set_title(f"filter {found.filters[place] + 1}", fontsize=8)
            axes.tick_params(labelsize=6.5, length=2)
            _band_ticks(axes, found)
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


def write_filters(
    found: FilterImages,
    out: Path,
    *,
    clips: Mapping[int, Sequence[Clip]] | None = None,
    frame_seconds: float | None = None,
) -> tuple[Path, ...]:
    """Write the grid as SVG and PNG, and what is in it as JSON.

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
                "clips": [asdict(clip) for clip in (clips or {}).get(one, ())],
            }
            for place, one in enumerate(found.filters)
        ],
    }
    contents = {
        f"{key}.svg": drawing.svg.encode("utf-8"),
        f"{key}.png": drawing.png,
        f"{key}.json": json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False).encode(),
    }
    for name, content in contents.items():
        with atomic(out / name) as part:
            part.write_bytes(content)
    return tuple(out / name for name in contents)


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
