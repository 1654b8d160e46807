"""A page that says why: the map, whether it is true, and the sound of what spoke for a genre."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genrescope.errors import MissingExtraError
from genrescope.explain.colours import colours_of
from genrescope.explain.ink import style, themed
from genrescope.explain.page import render
from genrescope.explain.page_files import PagePaths, write_page
from genrescope.explain.signal.canvas import Pane, Picture
from genrescope.explain.signal.excerpt import encode_sound
from genrescope.explain.signal.words import share
from genrescope.explain.why.figures import (
    deletion_figure,
    kept_figure,
    map_figure,
    network_figure,
)
from genrescope.explain.why.reasons import Why, sounds_of
from genrescope.explain.why.words import in_short, inside, is_it_true

try:
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the page", extra="lab", package="jinja2") from error

__all__ = ["KIND", "write_why"]

KIND = "genrescope explain"  # of the facts beside the page


@dataclass(frozen=True)
class _Figure:
    key: str
    number: int
    title: str
    reading: str
    seen: tuple[str, ...]
    svg: Markup
    width: float
    panes: tuple[Pane, ...]


def write_why(why: Why, out: Path, *, command: str = "", sound: bool = True) -> PagePaths:
    """Write the page and the files beside it.

    Parameters
    ----------
    why : Why
        What was found.
    out : Path
        Folder, made where it is missing.
    command : str
        What a reader types to repeat it.
    sound : bool
        Whether the excerpt, and what spoke for the genre, can be heard on the page.

    Returns
    -------
    PagePaths

    Raises
    ------
    DataError
        If `out` holds a page that is not of this kind, or the disk refuses.
    """
    with style():
        pictures = [map_figure(why), kept_figure(why), Picture(deletion_figure(why))]
        within = network_figure(why)
        pictures += [within] if within is not None else []
    figures = [_figure(n, why, picture) for n, picture in enumerate(pictures, start=1)]
    page = _render(why, figures, command=command, sound=sound)
    drawings = [picture.drawing for picture in pictures]
    return write_page(out, page, drawings, kind=KIND, facts=why.to_dict())


def _figure(number: int, why: Why, picture: Picture) -> _Figure:
    key = picture.drawing.key
    title, reading, seen = _said(why)[key]
    alt = f"{title}. {' '.join(seen)}"
    return _Figure(
        key=key,
        number=number,
        title=title,
        reading=reading,
        seen=seen,
        svg=Markup(themed(picture.drawing, alt=alt)),  # noqa: S704 - escaped
        width=picture.drawing.width,
        panes=picture.panes,
    )


def _said(why: Why) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Title, how to read it, and what is seen, of each figure."""
    _, spoke, alone = in_short(why)
    genre = why.genre
    return {
        "map": (
            f"What spoke for {genre}",
            "Above, the sound as the recogniser hears it. In the middle the same in grey; what "
            f"spoke for {genre} is blue, what spoke against it orange, and the stronger the "
            "colour, the more it counted. To the right, how far the log-odds of the genre fall "
            "when a range of bands is hidden at all times; below, when all bands are hidden for "
            "two seconds. A bar to the other side (orange): without it the genre is more probable.",
            (spoke,),
        ),
        "kept": (
            f"Only what spoke for {genre}",
            "The few cells that hold four fifths of all that spoke for the genre. This is the "
            "second of the two sounds below: everything else is 40 dB quieter.",
            (alone,),
        ),
        "deletion": (
            "Is the map true?",
            "Cells are hidden, one after the other, and the recogniser is asked again. If the map "
            "says what counted, hiding in its order (blue) brings the log-odds down sooner than "
            "hiding in random orders (grey: the range of eight of them).",
            is_it_true(why),
        ),
        "network": (
            "Inside the network",
            "Grad-CAM says where the last convolution saw what speaks for the genre (blue). "
            "Integrated gradients say what each value added to the log-odds (blue) or took from "
            "them (orange), compared with a window in which nothing happens.",
            inside(why),
        ),
    }


def _render(why: Why, figures: list[_Figure], *, command: str, sound: bool) -> str:
    piece = why.excerpt
    best = why.verdict.top(3)
    colours = colours_of([genre for genre, _ in best])
    start, stop = piece.start, piece.start + why.heard.seconds
    decks = [("A", "as it is", piece), ("B", f"what spoke for {why.genre}", None)]
    return render(
        "explain.html",
        styles=("report.css", "look.css"),
        script="look.js",
        kind=f"look{' heard' if sound else ''}",
        title=f"Why {why.genre}? {piece.title}",
        genre=why.genre,
        track=piece.title,
        artist=piece.artist,
        window=f"{start:.1f} to {stop:.1f} s of {piece.track_seconds:.1f} s",
        best=[(genre, share(p), colours[genre]) for genre, p in best],
        told=in_short(why),
        figures=figures,
        chapters=[*((f.key, f.title) for f in figures), ("how", "How it was computed")],
        decks=[
            {
                "letter": letter,
                "title": name,
                "source": encode_sound(one or sounds_of(why)).uri if sound else "",
                "start": round(start, 3),
                "stop": round(stop, 3),
            }
            for letter, name, one in decks
        ],
        heard=sound,
        command=command,
        computed=_computed(why),
    )


def _computed(why: Why) -> tuple[str, ...]:
    bands, times = why.heard.shape
    return (
        f"Asked was {why.bundle}. It hears 30-s windows; this page explains one of them.",
        f"The window is divided into {bands} ranges of mel bands up to 15 kHz by {times} stretches "
        "of time. A cell that is hidden holds the mean of its bands over the window, so the "
        "colour of the sound stays and what happens is gone. The statistics, the frames and the "
        "MFCC that the recogniser reads are all computed again without it.",
        "The front end listens to the first 3 s of a window twice: their MFCC are read as well, "
        "so they often count for more than the rest.",
        f"The map comes from {why.occlusion.draws} random halves of the cells, each with its "
        "opposite, and a ridge regression of the log-odds on which cells were kept. Hiding single "
        "cells one by one is less true: each matters too little.",
        "Log-odds are the logarithm of p / (1 - p): 0 is 50 %, 2.2 is 90 %, 4.6 is 99 %.",
        "The second sound is the first one's short-time Fourier transform, weighted by the cells "
        "that were kept, and added up again.",
    )
