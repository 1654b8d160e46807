"""What the page draws itself: maps that answer to the mouse, and the confusion matrix.

The page holds plotly's script once and the numbers once, as text that is short (positions as
16-bit steps, names by number) and that cannot end a script element, whatever a title holds.
"""

from __future__ import annotations

import base64
import importlib.resources
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import MissingExtraError
from genrescope.explain.colours import colours_of, shapes_of
from genrescope.explain.report.map_sections import map_key

if TYPE_CHECKING:
    from genrescope.explain.report.result import LabResult

__all__ = ["payload", "plotly_script", "script_json"]

MOST_POINTS = 20_000
"""More points than this make a map slow; a sample of that size stands in."""

_NOBODY = 0xFFFF  # the genre of a track that was not scored
_TITLE = 90  # characters of a title in a hover text


def plotly_script() -> str:
    """plotly.js, as it comes with the package, fit for a script element.

    Raises
    ------
    MissingExtraError
        If plotly is not installed.
    """
    try:
        folder = importlib.resources.files("plotly") / "package_data"
        source = (folder / "plotly.min.js").read_text(encoding="utf-8")
    except (ImportError, OSError) as error:
        raise MissingExtraError("the report", extra="lab", package="plotly") from error
    # Either would end or swallow the element; inside a string, a backslash changes nothing.
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: no character of it is markup.

    >>> script_json({"title": "</script>"})
    '{"title":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def payload(result: LabResult, *, seed: int = 0) -> dict[str, Any]:
    """The numbers behind the interactive figures.

    Parameters
    ----------
    result : LabResult
        What there is to tell.
    seed : int
        Of the choice of tracks, where there are more than :data:`MOST_POINTS`.

    Returns
    -------
    dict
        "genres" (name, colour, shape), "tracks" (title, artist, genre, predicted, sure; arrays
        are base64 of little-endian numbers), "maps" by name, "confusion" or None.
    """
    data = result.data
    rows = np.arange(len(data))
    if len(rows) > MOST_POINTS:
        chosen = np.random.default_rng(seed).choice(len(rows), MOST_POINTS, replace=False)
        rows = np.sort(chosen)
    colours, shapes = colours_of(data.genres), shapes_of(data.genres)
    artists, artist = np.unique(data.artist[rows].astype(str), return_inverse=True)
    predicted, sure = _answers(result)
    return {
        "genres": [
            {"name": name, "colour": colours[name], "shape": shapes[name]} for name in data.genres
        ],
        "tracks": {
            "n": len(rows),
            "of": len(data),
            "title": [_short(t or i) for t, i in zip(data.title[rows], data.track_id[rows],
                                                     strict=True)],
            "artists": [_short(name) for name in artists],
            "artist": _packed(artist, "<u4"),
            "genre": _packed(data.y[rows], "<u2"),
            "predicted": _packed(predicted[rows], "<u2"),
            "sure": _packed(sure[rows], "u1"),
        },
        "maps": {map_key(one): _map(one, rows) for one in result.maps},
        "confusion": _confusion(result),
    }  # fmt: skip


def _map(one: Any, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Positions as steps of 1/65534 of each axis; the last value means nowhere."""
    positions = np.asarray(one.positions, np.float64)[rows]
    known = np.isfinite(positions).all(axis=1)
    axes = []
    for column in positions.T:
        low = float(column[known].min()) if known.any() else 0.0
        high = float(column[known].max()) if known.any() else 1.0
        step = (high - low) / 65_534 or 1.0
        steps = np.where(known, np.round((np.where(known, column, low) - low) / step), 65_535)
        axes.append(
            {"low": round(low, 6), "step": float(f"{step:.8g}"), "v": _packed(steps, "<u2")}
        )
    names = list(one.axis_labels)
    if len(names) < one.dims:
        names = [f"{one.method} {n + 1}" for n in range(one.dims)]
    return {
        "dims": int(one.dims),
        "method": one.method,
        "axes": axes,
        "names": [str(name) for name in names[: one.dims]],
        "fitted": _packed(np.asarray(one.fitted_on, bool)[rows], "u1"),
    }


def _confusion(result: LabResult) -> dict[str, Any] | None:
    found = result.confusion
    if found is None:
        return None
    shares = np.nan_to_num(np.asarray(found.shares, float)).round(4)
    return {
        "genres": list(found.genres),
        "counts": np.asarray(found.counts).tolist(),
        "shares": shares.tolist(),
    }


def _answers(result: LabResult) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the best took each track for, and how sure it was in percent."""
    n = len(result.data)
    predicted, sure = np.full(n, _NOBODY), np.zeros(n, np.int64)
    best = result.best
    if best is not None and best.run.probabilities is not None:
        scored = np.flatnonzero(result.protocol.fold >= 0)
        p = best.run.probabilities
        predicted[scored] = p.argmax(axis=1)
        sure[scored] = np.round(100 * p.max(axis=1)).astype(np.int64)
    return predicted, sure


def _packed(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode("ascii")


def _short(text: str) -> str:
    text = " ".join(str(text).encode("utf-8", "replace").decode().split())
    return text if len(text) <= _TITLE else text[: _TITLE - 1] + "…"
