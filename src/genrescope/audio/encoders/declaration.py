"""What is declared of an encoder that is an ONNX graph, read and checked.

``onnx:PATH`` is anyone's graph. Beside ``NAME.onnx`` lies ``NAME.json``, which says what the graph
reads and gives:

.. code-block:: json

    {
      "format": 1,
      "version": 1,
      "licence": "CC BY 4.0",
      "sample_rate": 16000,
      "input": {
        "tensor": "mel", "kind": "mel", "layout": ["batch", 1, "time", "band"],
        "n_fft": 512, "hop": 256, "bands": 96, "scale": "log10(10000x+1)",
        "length": 187, "step": 187
      },
      "embedding": {"tensor": "embedding", "size": 200},
      "tags": {"tensor": "tags", "names": ["rock", "pop"]}
    }

``kind`` is ``mel`` (Slaney bands, as librosa's) or ``samples``; ``length`` and ``step`` count the
frames or samples of a patch. One that does not fill is left out; where it is the only one, it is
repeated until it does. ``scale`` is one of :data:`SCALES`. ``tags`` may be left out. What a graph
says of a window is the mean and the spread of its patches' embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.encoders.base import FloatArray
from genrescope.audio.mel import power_to_db
from genrescope.errors import DataError

__all__ = [
    "DECLARATION_FORMAT",
    "MAX_GRAPH",
    "SCALES",
    "check_declaration",
    "one_line",
    "read_declaration",
    "read_declared",
    "read_graph",
]

DECLARATION_FORMAT = 1
MAX_GRAPH = 2 * 2**30  # bytes; a serialised graph cannot be larger

_AXES = {"mel": {"batch", "time", "band"}, "samples": {"batch", "time"}}
_RATES = (1_000, 384_000)  # Hz
# A declaration comes from anywhere, too; beyond, it asks for memory rather than for sound.
_MOST = {
    "n_fft": 1 << 16,
    "hop": 1 << 16,
    "bands": 1 << 12,
    "length": 1 << 26,
    "step": 1 << 26,
    "size": 1 << 20,
}
_MAX_DECLARATION = 1 << 24  # bytes


def _log_compressed(power: FloatArray) -> FloatArray:
    # In float32: in float16 the product overflows to infinity.
    scaled: FloatArray = np.float32(10_000.0) * power + np.float32(1.0)
    return np.log10(scaled, out=scaled)


def _natural_log(power: FloatArray) -> FloatArray:
    raised: FloatArray = power + np.float32(1e-6)
    return np.log(raised, out=raised)


def _decibel_below_peak(power: FloatArray) -> FloatArray:
    db = power_to_db(power)
    below: FloatArray = np.maximum(db - db.max(), np.float32(-80.0))
    return below


#: What may be done with the power in mel bands before a graph reads it.
SCALES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "power": lambda power: power,
    "log10(10000x+1)": _log_compressed,
    "ln(x+1e-6)": _natural_log,
    "decibel": power_to_db,
    "decibel below peak": _decibel_below_peak,
}


def check_declaration(said: Any, *, where: str) -> dict[str, Any]:
    """Check what is declared of a graph.

    Parameters
    ----------
    said : object
        What ``json.load`` gave.
    where : str
        The file it came from, for the message.

    Returns
    -------
    dict
        The declaration.

    Raises
    ------
    DataError
        If a key is missing or holds what it may not; the message names it.
    """

    def refuse(key: str, found: Any, rule: str) -> DataError:
        return DataError(f"{where}: key {key} is {found!r:.60}, expected {rule}")

    if not isinstance(said, dict):
        raise DataError(
            f"{where}: holds no JSON object; genrescope.audio.encoders.declaration has an example"
        )
    if said.get("format") != DECLARATION_FORMAT:
        raise refuse("format", said.get("format"), str(DECLARATION_FORMAT))
    if not isinstance(said.get("version"), str | int):
        raise refuse("version", said.get("version"), "a string or an integer")
    if not isinstance(said.get("licence"), str) or not said["licence"]:
        raise refuse("licence", said.get("licence"), "the licence of the weights")
    low, high = _RATES
    if not (_is_positive(said.get("sample_rate")) and low <= said["sample_rate"] <= high):
        raise refuse("sample_rate", said.get("sample_rate"), f"Hz, {low} to {high}")
    given = said.get("input")
    if not isinstance(given, dict) or str(given.get("kind")) not in _AXES:
        raise refuse("input.kind", given, " or ".join(_AXES))
    numbers = ["length", "step"] + (["n_fft", "hop", "bands"] if given["kind"] == "mel" else [])
    for key in numbers:
        if not (_is_positive(given.get(key)) and given[key] <= _MOST[key]):
            raise refuse(f"input.{key}", given.get(key), f"an integer, 1 to {_MOST[key]:,}")
    if given["kind"] == "mel" and str(given.get("scale")) not in SCALES:
        raise refuse("input.scale", given.get("scale"), "one of " + ", ".join(SCALES))
    layout = given.get("layout")
    names = [axis for axis in layout if axis != 1] if isinstance(layout, list) else []
    if sorted(map(str, names)) != sorted(_AXES[given["kind"]]) or names[0] != "batch":
        axes = "batch, time and band" if given["kind"] == "mel" else "batch and time"
        raise refuse("input.layout", layout, f"a list of {axes}, batch first, and 1s")
    outputs = said.get("embedding")
    if not (
        isinstance(outputs, dict)
        and _is_positive(outputs.get("size"))
        and outputs["size"] <= _MOST["size"]
    ):
        raise refuse("embedding", outputs, f"its tensor and size, 1 to {_MOST['size']:,}")
    tags = said.get("tags")
    if tags is not None and not (
        isinstance(tags, dict)
        and isinstance(tags.get("names"), list)
        and tags["names"]
        and all(isinstance(name, str) for name in tags["names"])
    ):
        raise refuse("tags", tags, "its tensor and the names")
    for key, part in (("input", given), ("embedding", outputs), ("tags", tags)):
        if part is not None and not isinstance(part.get("tensor"), str):
            raise refuse(f"{key}.tensor", part.get("tensor"), "the name of a tensor")
    return said


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def read_declared(path: Path) -> tuple[bytes, dict[str, Any]]:
    """A graph and the declaration beside it.

    Parameters
    ----------
    path : Path
        ``NAME.onnx``; ``NAME.json`` is beside it.

    Returns
    -------
    graph : bytes
        Not yet opened.
    declaration : dict
        Checked.

    Raises
    ------
    DataError
        If one of them is missing or cannot be what it should be.
    """
    return read_graph(path), read_declaration(path.with_suffix(".json"), graph=path)


def read_graph(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_GRAPH + 1)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); name an ONNX graph"
        ) from error
    if len(data) > MAX_GRAPH:
        raise DataError(f"{path}: has more than {MAX_GRAPH:,} bytes; no ONNX graph is larger")
    return data


def read_declaration(path: Path, *, graph: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_MAX_DECLARATION))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); it has to say what {graph.name} "
            "reads (see genrescope.audio.encoders.declaration for an example)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({one_line(error)}); correct it") from error
    return check_declaration(said, where=str(path))


def one_line(error: BaseException) -> str:
    """What an error says, in one line of 200 characters at most."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
