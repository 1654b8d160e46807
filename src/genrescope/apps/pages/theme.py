"""What the pages look like: colours as CSS variables, and a mark that tells a genre without hue."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from genrescope.catalog.genres import GENRE_COLOURS
from genrescope.explain.colours import colours_of, shapes_of

__all__ = ["asset", "genre_marks", "genre_styles", "mark", "slug"]

#: Each shape as a path in a box of 16 by 16; filled, so that it is seen at the size of text.
_PATHS = {
    "circle": "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13z",
    "square": "M2 2h12v12H2z",
    "diamond": "M8 .5L15.5 8L8 15.5L.5 8z",
}


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
    """Colour and shape of each genre, the same as in every figure of the project.

    Parameters
    ----------
    genres : sequence of str
        Top-level genres of FMA, or any labels of a bundle.

    Returns
    -------
    dict of str to (str, str)
        Genre to ``#rrggbb`` and ``"circle"``, ``"square"`` or ``"diamond"``.
    """
    colours, shapes = colours_of(genres), shapes_of(genres)
    return {genre: (colours[genre], shapes[genre]) for genre in genres}


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
