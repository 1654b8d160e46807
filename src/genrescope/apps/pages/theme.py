"""What the pages look like: colours as CSS variables, and a mark that tells a genre without hue."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from genrescope.catalog.genres import GENRE_COLOURS
from genrescope.explain.colours import colours_of

__all__ = ["asset", "genre_marks", "genre_styles", "mark", "slug"]

#: Each shape as a path in a box of 16 by 16; as on the map, in the order of a bundle's genres.
_PATHS = {
    "circle": "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13z",
    "square": "M2 2h12v12H2z",
    "diamond": "M8 .5L15.5 8L8 15.5L.5 8z",
    "triangle-up": "M8 1L15.5 14.5H.5z",
    "triangle-down": "M8 15L.5 1.5H15.5z",
    "plus": "M5.5 1h5v4.5H15v5h-4.5V15h-5v-4.5H1v-5h4.5z",
    "cross": "M4.5 1L8 4.5L11.5 1L15 4.5L11.5 8L15 11.5L11.5 15L8 11.5L4.5 15L1 11.5L4.5 8L1 4.5z",
    "star": "M8 .5l2.2 5 5.3.5-4 3.6 1.2 5.4L8 12.2 3.3 15l1.2-5.4-4-3.6 5.3-.5z",
}
_SHAPES = tuple(_PATHS)


def asset(name: str) -> str:
    """Address of a file in ``static``, which changes when the file does.

    Parameters
    ----------
    name : str
        Such as ``"pages.css"``.

    Returns
    -------
    str
        ``/pages/static/pages.css?v=...``: a browser may keep it for ever.
    """
    file = importlib.resources.files("genrescope.apps.pages") / "static" / name
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return f"/pages/static/{quote(name)}?v={digest}"


def slug(genre: str) -> str:
    """A genre's name as part of a CSS name.

    Examples
    --------
    >>> slug("Old-Time / Historic")
    'old-time---historic'
    """
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in genre.lower())


def genre_marks(genres: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour of each genre, the same as in every figure of the project, and a shape.

    Parameters
    ----------
    genres : sequence of str
        Top-level genres of FMA, or any labels of a bundle.

    Returns
    -------
    dict of str to (str, str)
        Genre to ``#rrggbb`` and a shape such as ``"circle"``, by its place: no two of up to eight
        share one.
    """
    colours = colours_of(genres)
    return {g: (colours[g], _SHAPES[n % len(_SHAPES)]) for n, g in enumerate(genres)}


def genre_styles(genres: Sequence[str]) -> str:
    """CSS variables ``--genre-NAME``, one a genre: those given and the 16 of the archive."""
    names = list(dict.fromkeys([*genres, *GENRE_COLOURS]))
    colours = {**GENRE_COLOURS, **colours_of(genres)}
    rows = "".join(f"--genre-{slug(name)}:{colours[name]};" for name in names)
    return f":root{{{rows}}}"


def mark(genre: str, genres: Sequence[str]) -> str:
    """A small mark in the colour and shape of a genre, as SVG; the name has to stand beside it."""
    colour, shape = genre_marks(list(dict.fromkeys([*genres, genre])))[genre]
    return (
        f'<svg class="mark" viewBox="0 0 16 16" aria-hidden="true" data-genre="{escape(genre)}">'
        f'<path d="{_PATHS[shape]}" fill="{colour}"/></svg>'
    )
