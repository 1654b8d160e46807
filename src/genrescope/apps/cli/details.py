"""What a table has no room for: sub-genres, plausible genres, and why it is not sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from genrescope.apps.cli.render import colour, timeline, track_name
from genrescope.apps.cli.text import percent, printable

if TYPE_CHECKING:
    from genrescope.learn.prediction import Prediction

__all__ = ["Details", "describe"]


@dataclass(frozen=True)
class Details:
    """What is shown of each track below the table.

    Attributes
    ----------
    timeline : bool
        Genre over time.
    tree : bool
        Sub-genres, each with what it is part of.
    sets : bool
        The genres that hold the right one nine times in ten.
    """

    timeline: bool = False
    tree: bool = False
    sets: bool = False

    def __bool__(self) -> bool:
        return self.timeline or self.tree or self.sets


def describe(
    prediction: Prediction, details: Details, *, width: int, top: int, plain: bool
) -> list[Text]:
    """The lines below the table for one track.

    Parameters
    ----------
    prediction : Prediction
        What was recognised.
    details : Details
        What is asked for.
    width, top, plain
        As of :func:`genrescope.apps.cli.render.timeline`.

    Returns
    -------
    list of Text
    """
    lines = []
    if details.timeline and prediction.timeline:
        lines = timeline(prediction, width=width, top=max(top, 2), plain=plain)
    else:
        title, artist = track_name(prediction)
        lines = [Text(" ").append(title, style="bold").append(f" · {artist}" if artist else "")]
    if details.tree:
        lines += _tree(prediction)
    if details.sets:
        line = Text("  one of: ")
        for place, genre in enumerate(prediction.plausible):
            share = percent(prediction.probabilities[genre])
            line.append(", " if place else "")
            line.append(printable(genre), style=colour(genre)).append(f" {share}")
        lines.append(line)
    if prediction.reason:
        lines.append(Text(f"  not sure: {printable(prediction.reason)}", style="dim"))
    return lines


def _tree(prediction: Prediction) -> list[Text]:
    if not prediction.branches:
        return [Text("  no sub-genre is probable enough", style="dim")]
    lines = []
    for branch in prediction.branches:
        line = Text("  ")
        for place, genre in enumerate(branch.path):
            line.append(" > " if place else "")
            line.append(printable(genre), style=colour(branch.path[0]))
        lines.append(line.append(f"  {percent(branch.probability)}"))
    return lines
