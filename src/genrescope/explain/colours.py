"""The colours and marker shapes of labels: the same in every figure and page."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from genrescope.catalog.genres import GENRE_COLOURS, GenreTree
from genrescope.errors import UnknownGenreError

__all__ = ["MANY", "SHAPES", "colours_of", "shapes_of"]

MANY = 8
"""Above this many labels, colour alone is not enough and shapes help."""

SHAPES = ("circle", "square", "diamond")
"""Marker shapes, by plotly's names; each also exists as an outline, in 2-D and in 3-D."""

_PALETTE = tuple(GENRE_COLOURS.values())


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """One colour for each label.

    A top-level genre of FMA, under any of its names, has its own colour. Any other label takes
    one of the colours that are left, chosen by its name, so that it does not depend on the order
    of the labels; eight labels or fewer share the eight colours that are easiest to tell apart.
    Colours repeat when there are more than 16 labels, which :func:`shapes_of` then tells apart.

    Parameters
    ----------
    labels : sequence of str
        Any names, in any order.

    Returns
    -------
    dict of str to str
        Label to ``#rrggbb``, in the order of `labels`.

    Examples
    --------
    >>> colours_of(["Rock", "hip hop"])
    {'Rock': '#c21400', 'hip hop': '#b88f00'}
    """
    found: dict[str, str] = {}
    for label in sorted(set(labels)):
        colour = GENRE_COLOURS.get(label)
        if colour:
            found[label] = colour
    for label in sorted(set(labels) - found.keys()):
        colour = _genre_colour(label)
        if colour and colour not in found.values():
            found[label] = colour
    rest = sorted(set(labels) - found.keys())
    for n, label in enumerate(rest):
        found[label] = _free_colour(label, set(found.values()), few=len(found) + len(rest) - n)
    return {label: found[label] for label in labels}


def shapes_of(labels: Sequence[str]) -> dict[str, str]:
    """One marker shape for each label: circles only, unless there are more than :data:`MANY`.

    Parameters
    ----------
    labels : sequence of str
        Any names.

    Returns
    -------
    dict of str to str
        Label to one of :data:`SHAPES`; labels next to each other in the alphabet differ.
    """
    if len(set(labels)) <= MANY:
        return dict.fromkeys(labels, SHAPES[0])
    order = {label: n for n, label in enumerate(sorted(set(labels)))}
    # Every 16 labels the colours start again, so the shapes must not start at the same place.
    return {label: SHAPES[(order[label] + order[label] // 16) % len(SHAPES)] for label in labels}


def _genre_colour(label: str) -> str | None:
    """The colour of the top-level genre that `label` is another name of."""
    if label.strip().isdigit():  # a number is a label of its own here, not an FMA id
        return None
    try:
        return GENRE_COLOURS.get(GenreTree.fma().canonical(label))
    except UnknownGenreError:
        return None


def _free_colour(label: str, taken: set[str], *, few: int) -> str:
    """The first colour that is free, starting from a place that the name decides."""
    start = int.from_bytes(hashlib.sha256(label.encode()).digest()[:4])
    for palette in (_PALETTE[:MANY], _PALETTE) if few <= MANY else (_PALETTE,):
        at = start % len(palette)
        for colour in (*palette[at:], *palette[:at]):
            if colour not in taken:
                return colour
    return _PALETTE[start % len(_PALETTE)]
