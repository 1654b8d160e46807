"""What spoke for a genre, and against it, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from genrescope.explain.signal.words import hertz, share
from genrescope.explain.why.saliency import Floats

if TYPE_CHECKING:
    from genrescope.explain.why.reasons import Why

__all__ = ["in_short", "inside", "is_it_true", "range_of", "spoke"]

_LITTLE = 0.1  # log-odds; less is not worth a word
_FALLS = 0.5  # of the highest: so far a range is wide


def range_of(worth: Floats) -> tuple[int, int] | None:
    """First and last place around the highest value that are at least half as high.

    Examples
    --------
    >>> range_of(np.array([0.1, 0.6, 1.0, 0.2])), range_of(np.array([-1.0, 0.0]))
    ((1, 2), None)
    """
    best = int(np.argmax(worth))
    if worth[best] < _LITTLE:
        return None
    low = high = best
    while low > 0 and worth[low - 1] >= _FALLS * worth[best]:
        low -= 1
    while high < len(worth) - 1 and worth[high + 1] >= _FALLS * worth[best]:
        high += 1
    return low, high


def spoke(why: Why) -> str:
    """Which bands and which seconds spoke for the genre, and which against it."""
    found = why.occlusion
    sides = []
    for verb, sign in (("for", 1.0), ("against", -1.0)):
        bands, times = range_of(sign * found.by_band), range_of(sign * found.by_time)
        parts = []
        if bands:
            parts.append(f"{_hertz(why, bands)}{_worth(sign * found.by_band, bands)}")
        if times:
            parts.append(f"{_seconds(why, times)}{_worth(sign * found.by_time, times)}")
        sides.append(
            f"{verb} {why.genre} spoke {' and '.join(parts)}"
            if parts
            else f"no band and no stretch of time spoke {verb} {why.genre} by itself"
        )
    text = "; ".join(sides)
    return f"{text[0].upper()}{text[1:]}."


def in_short(why: Why) -> tuple[str, ...]:
    """The page in a few sentences."""
    best = why.verdict.best
    written = [name for name in why.verdict.sources if name != "sound"]
    said = f"The recogniser gives this window {share(why.probability)} for {why.genre}"
    if written:  # the answer for the track may be another figure
        said += f" by its sound, without {' and '.join(written)}"
    said += "." if why.genre == best else f"; the whole track is {best} to it."
    alone = (
        f"The {share(float(why.kept.mean()))} of the cells that spoke most for it are enough for "
        f"{share(why.alone)}, with everything else at its mean."
    )
    return said, spoke(why), alone


def is_it_true(why: Why) -> tuple[str, ...]:
    """What the deletion curve and the shuffled recogniser say of the map."""
    curve = why.deletion
    if curve.better:
        first = (
            f"The map is borne out: when cells go in its order, the log-odds are {curve.area:.2f} "
            f"lower on average than in random orders (± {curve.spread:.2f} between those), and "
            f"lower than in each of {len(curve.chance)}."
        )
    else:
        first = (
            f"The map is not borne out: when cells go in its order, the log-odds are "
            f"{abs(curve.area):.2f} {'lower' if curve.area > 0 else 'higher'} on average than in "
            f"random orders (± {curve.spread:.2f}), and not lower than in each. Do not rely on it."
        )
    if why.chance is None:
        return (first,)
    second = (
        "With the weights of the recogniser shuffled, so that it has forgotten what it learnt, the "
        f"map is another one: the rank correlation of the two is {why.chance:.2f}. "
        + (
            "They differ, as they should."
            if abs(why.chance) < 0.5
            else "That is high: part of the map tells of the sound, not of what was learnt."
        )
    )
    return first, second


def inside(why: Why) -> tuple[str, ...]:
    """What the gradients of the network say, and whether they are true."""
    found = why.network
    if found is None:
        return ()
    curve = found.deletion
    sentences = [
        f"The values of the integrated gradients add up to {found.difference:.2f} of log-odds, "
        f"to within {found.missing:.2f}.",
        f"When cells go in their order, the log-odds are {abs(curve.area):.2f} "
        f"{'lower' if curve.area > 0 else 'higher'} on average than in random orders "
        f"(± {curve.spread:.2f}).",
    ]
    if np.isfinite(found.chance):
        text = f"With shuffled weights the rank correlation of the maps is {found.chance:.2f}"
        if np.isfinite(found.chance_cam):
            text += f", that of Grad-CAM {found.chance_cam:.2f}"
        sentences.append(f"{text}.")
    return tuple(sentences)


def _hertz(why: Why, places: tuple[int, int]) -> str:
    low, high = why.heard.band_edges[places[0]], why.heard.band_edges[places[1] + 1]
    return (
        f"what is below {hertz(high)}" if low < 1 else f"what is from {hertz(low)} to {hertz(high)}"
    )


def _seconds(why: Why, places: tuple[int, int]) -> str:
    edges = why.excerpt.start + why.heard.time_edges
    if places == (0, len(edges) - 2):
        return "all of the time alike"
    return f"the time from {edges[places[0]]:.0f} to {edges[places[1] + 1]:.0f}\u00a0s"


def _worth(worth: Sequence[float] | Floats, places: tuple[int, int]) -> str:
    most = float(np.max(worth[places[0] : places[1] + 1]))
    return f" (worth up to {most:.1f} of log-odds)"
