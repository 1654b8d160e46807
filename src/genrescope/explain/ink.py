"""Drawing without a screen: one style, and SVG whose ink follows the theme of a page.

A figure is drawn once, with a few agreed colours for ink, grid and paper. In a file they stay as
they are, dark on white. In a page they become CSS variables, so that the same drawing is right in
light and in dark. The colours of genres stay what they are in both.
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from genrescope.errors import MissingExtraError

try:
    import matplotlib
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("drawing", extra="lab", package="matplotlib") from error

__all__ = [
    "ACCENT",
    "ALERT",
    "GRID",
    "INK",
    "PAPER",
    "QUIET",
    "WHITE",
    "WIDTH",
    "Drawing",
    "LogLocator",
    "MaxNLocator",
    "NullFormatter",
    "PatchCollection",
    "Rectangle",
    "finish",
    "label",
    "new_figure",
    "style",
    "themed",
    "to_rgba",
]

INK = "#1b1c1e"  # text and axes
QUIET = "#5b5f66"  # text that matters less
GRID = "#dfe1e5"
PAPER = "#ffffff"  # background, and gaps between shapes
ACCENT = "#1f5fbf"  # what the figure is about, where no genre has a colour
ALERT = "#b4530a"  # the other direction, and warnings
WHITE = "#fefefe"  # white in both themes, such as text on a dark cell

WIDTH = 7.0  # inches: a figure as wide as a page

_VARIABLES = {
    INK: "--ink",
    QUIET: "--quiet",
    GRID: "--grid",
    PAPER: "--paper",
    ACCENT: "--accent",
    ALERT: "--alert",
}
_FONTS = "Helvetica Neue,Arial,Liberation Sans,DejaVu Sans,sans-serif"
_PNG_DPI = 200  # dots per inch: 1,400 pixels for a figure as wide as a page
_RASTER_DPI = 144  # of pictures inside an SVG: the points of a map
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so every machine draws the same
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.color": PAPER,
    "legend.edgecolor": GRID,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "patch.linewidth": 0.0,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes
    ----------
    key : str
        Its name, fit for a file: letters, digits and hyphens.
    svg : str
        A whole SVG file, dark on white.
    png : bytes
        The same as a picture, 200 dots per inch.
    width, height : float
        In CSS pixels (96 to an inch).
    """

    key: str
    svg: str
    png: bytes
    width: float
    height: float

    def _repr_html_(self) -> str:
        """The figure in a notebook: a picture of its own, so that its names meet no others."""
        data = base64.b64encode(self.svg.encode("utf-8")).decode("ascii")
        return (
            f'<img alt="{escape(self.key)}" width="{self.width:.0f}" style="max-width:100%" '
            f'src="data:image/svg+xml;base64,{data}">'
        )


@contextmanager
def style() -> Iterator[None]:
    """The style of every figure, for as long as the context lasts."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the user has set elsewhere
        matplotlib.rcParams.update(_STYLE)
        # A title in a script that the font lacks is whole in the SVG and a box in the PNG.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support")
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches that arranges its axes itself."""
    return Figure(figsize=(width, height), layout="constrained")


def label(text: str, *, width: int = 40) -> str:
    """A name from a table as it can be drawn: on one line, printable, and at most `width` long.

    >>> label("a very long name\\nindeed", width=12)
    'a very long…'
    """
    plain = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= width else plain[: width - 1].rstrip() + "…"


def finish(figure: Figure, *, key: str) -> Drawing:
    """Draw a figure, to be called inside :func:`style`.

    Parameters
    ----------
    figure : Figure
        Not to be used again.
    key : str
        Its name, which is also the seed of the ids inside the SVG: the same figure gives the
        same bytes.

    Returns
    -------
    Drawing
    """
    matplotlib.rcParams["svg.hashsalt"] = key
    text, picture = io.StringIO(), io.BytesIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, dpi=_RASTER_DPI)
    figure.set_layout_engine("none")  # the first file has arranged the axes for both
    figure.savefig(picture, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    width, height = (float(inches) * 96 for inches in figure.get_size_inches())
    return Drawing(key, _tidy(text.getvalue(), key), picture.getvalue(), width, height)


def themed(drawing: Drawing, *, alt: str) -> str:
    """The figure as an element of a page, its ink in CSS variables.

    Parameters
    ----------
    drawing : Drawing
        As :func:`finish` gives it.
    alt : str
        What a reader who cannot see it is told.

    Returns
    -------
    str
        ``<svg>...</svg>``.
    """
    svg = drawing.svg[drawing.svg.index("<svg") :]
    svg = re.sub(
        r"(?<=: )#[0-9a-f]{6}(?=[;\"])",
        lambda m: f"var({_VARIABLES[m[0]]})" if m[0] in _VARIABLES else m[0],
        svg,
    )
    svg = svg.replace(f"font-family: {_FONTS}", "font-family: var(--sans)")
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{_attribute(alt)}" focusable="false">{body}'


def _tidy(svg: str, key: str) -> str:
    """Shorter, with ids that no other figure has and no style that reaches beyond this one."""
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!DOCTYPE[^>]*>", "", svg)
    svg = re.sub(r"\s*<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", svg, count=1)
    svg = svg.replace("<svg ", '<svg stroke-linejoin="round" ', 1)
    svg = svg.replace("font-family: 'DejaVu Sans'", f"font-family: {_FONTS}")
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r"url\(#", f"url(#{key}-", svg)
    svg = svg.replace('xlink:href="#', f'xlink:href="#{key}-')
    svg = re.sub(r'(?<= d=")[^"]*(?=")', _short_path, svg)
    svg = re.sub(r'(?<= [xy]=")-?\d+\.\d+(?=")', lambda m: f"{float(m[0]):.2f}", svg)
    return re.sub(r"\n\s*", "\n", svg)


def _short_path(match: re.Match[str]) -> str:
    """A path with two decimals, on one line."""
    path = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", match[0])
    return " ".join(path.split())


def _attribute(text: str) -> str:
    for sign, name in (("&", "amp"), ('"', "quot"), ("<", "lt"), (">", "gt")):
        text = text.replace(sign, f"&{name};")
    return " ".join(text.split())
