"""Pictures with panels placed by the inch, light enough for a page, and where time runs in them.

All pictures of one width have their time axis at the same place, so that one line through all of
them is one moment.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import MissingExtraError
from genrescope.explain.ink import QUIET, Drawing, finish, new_figure

try:
    from matplotlib import colormaps
    from PIL import Image
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("drawing", extra="lab", package="matplotlib") from error

__all__ = ["BRIGHT", "DARK", "Canvas", "Pane", "Picture", "hertz", "image", "pane_of"]

DARK, BRIGHT = "magma", "viridis"  # perceptually uniform, both

_LEFT, _RIGHT, _TOP, _BOTTOM = 0.74, 0.82, 0.28, 0.46  # inches around the panels
_GAP = 0.36
_DOTS = 200  # to an inch; more would not be seen
_TONES = 64  # of a colour map: steps of 1.25 dB


@dataclass(frozen=True)
class Pane:
    """A part of a picture with a time axis.

    Attributes
    ----------
    track : int
        0 for the first track, 1 for the second.
    left, top, width, height : float
        Of the picture, in percent from its upper left corner.
    start, stop : float
        Seconds of the track at its left and right edge.
    """

    track: int
    left: float
    top: float
    width: float
    height: float
    start: float
    stop: float


@dataclass(frozen=True)
class Picture:
    """A drawing, and where in it time runs."""

    drawing: Drawing
    panes: tuple[Pane, ...] = ()


class Canvas:
    """A figure whose panels are placed by the inch, one below the other.

    Parameters
    ----------
    width : float
        In inches.
    heights : sequence of float
        Of the panels, in inches, from the top.
    gap : float
        Between panels, in inches.
    """

    def __init__(self, width: float, heights: Sequence[float], *, gap: float = _GAP) -> None:
        self.width = width
        self.height = _TOP + sum(heights) + gap * (len(heights) - 1) + _BOTTOM
        self.figure = new_figure(width, self.height)
        self.figure.set_layout_engine("none")
        self.axes = []
        top = self.height - _TOP
        for tall in heights:
            self.axes.append(self.place(_LEFT, top - tall, width - _LEFT - _RIGHT, tall))
            top -= tall + gap

    def place(self, left: float, bottom: float, width: float, height: float) -> Any:
        """New axes at a place given in inches from the lower left corner."""
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def bar(self, image: Any, axes: Any, text: str, *, ticks: Any = None) -> None:
        """A colour bar beside a panel."""
        box = axes.get_position()
        beside = self.figure.add_axes(
            (box.x1 + 0.09 / self.width, box.y0, 0.11 / self.width, box.height)
        )
        bar = self.figure.colorbar(image, cax=beside, ticks=ticks)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2, labelsize=7)
        bar.ax.set_title(text, fontsize=7, fontweight="normal", color=QUIET, pad=3, loc="left")

    def done(
        self, key: str, *, timed: Sequence[Any] = (), track: int = 0, start: float = 0.0,
        stop: float = 0.0,
    ) -> Picture:  # fmt: skip
        """Draw it; `timed` are the panels with a time axis from `start` to `stop`."""
        drawing = finish(self.figure, key=key)
        panes = tuple(pane_of(axes, track=track, start=start, stop=stop) for axes in timed)
        return Picture(replace(drawing, svg=lighter(drawing.svg)), panes)


def pane_of(axes: Any, *, track: int, start: float, stop: float) -> Pane:
    """Where a panel lies in its picture."""
    box = axes.get_position()
    return Pane(
        track=track,
        left=round(float(100 * box.x0), 3),
        top=round(float(100 * (1 - box.y1)), 3),
        width=round(float(100 * box.width), 3),
        height=round(float(100 * box.height), 3),
        start=round(start, 3),
        stop=round(stop, 3),
    )


def lighter(svg: str) -> str:
    """An SVG whose pictures of few colours are stored as such: a fourth of the size."""

    def shrink(match: re.Match[str]) -> str:
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as picture:
            pixels = picture.convert("RGBA")
            if pixels.getchannel("A").getextrema() != (255, 255) or not pixels.getcolors(256):
                return match[0]
            # No dithering and enough places: every colour stays what it is.
            few = pixels.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        few.save(buffer, "PNG", optimize=True)
        if buffer.tell() >= len(match[1]) * 3 // 4:
            return match[0]
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    svg = re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", shrink, svg)
    return svg.replace(' style="image-rendering:crisp-edges;image-rendering:pixelated"', "")


def image(
    axes: Any,
    values: npt.NDArray[Any],
    *,
    extent: tuple[float, float, float, float],
    limits: tuple[float, float],
    colours: str = DARK,
) -> Any:
    """A picture of numbers, row 0 at the bottom; `extent` is left, right, bottom, top."""
    axes.set_facecolor(colormaps[colours](0.0))
    return axes.imshow(
        _seen(axes, values),
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="none",
        cmap=colormaps[colours].resampled(_TONES),
        vmin=limits[0],
        vmax=limits[1],
    )


def _seen(axes: Any, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As many numbers as can be seen.

    Where there are more, each is the mean of those that it stands for; where there are fewer,
    they are repeated, since a browser would blur them.
    """
    inches = axes.get_position().width * axes.figure.get_figwidth()
    most = round(_DOTS * inches)
    rows, columns = values.shape
    if columns > most:
        picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
        values = np.asarray(picture.resize((most, rows), Image.Resampling.BOX))
    else:
        values = np.repeat(values, max(1, most // columns), axis=1)
    return np.repeat(values, max(1, _DOTS // rows), axis=0)


def hertz(value: float) -> str:
    """A frequency on an axis."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
