"""Encoders that are an ONNX graph and a declaration of what goes in.

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

import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.encoders.base import (
    FloatArray,
    WindowEncoder,
    mean_and_spread,
    resample,
)
from genrescope.audio.encoders.cache import ABOUT, encoder_folder
from genrescope.audio.encoders.onnx_check import check_graph
from genrescope.audio.mel import mel_spectrogram, power_to_db
from genrescope.errors import AudioNotFiniteError, DataError

__all__ = [
    "DECLARATION_FORMAT",
    "SCALES",
    "GraphEncoder",
    "GraphTagger",
    "check_declaration",
    "load_graph",
    "read_declared",
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
        raise DataError(f"{where}: holds no JSON object; genrescope.audio.encoders.graph has one")
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
    return _read(path), _read_declaration(path.with_suffix(".json"), graph=path)


def _read(path: Path) -> bytes:
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


def _read_declaration(path: Path, *, graph: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_MAX_DECLARATION))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); it has to say what {graph.name} "
            "reads (see genrescope.audio.encoders.graph for an example)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({_one_line(error)}); correct it") from error
    return check_declaration(said, where=str(path))


def load_graph(name: str, *, sha256: str | None = None) -> GraphEncoder:
    """The encoder ``onnx:PATH``.

    Parameters
    ----------
    name : str
        With a path after the colon.
    sha256 : str, optional
        Of the graph that is wanted. An installed copy of it will do where the path leads to
        none or to another one.

    Returns
    -------
    GraphEncoder

    Raises
    ------
    DataError
        If it is not there, or what is declared of it cannot be.
    """
    path = Path(name.partition(":")[2])
    try:
        declaration = _read_declaration(path.with_suffix(".json"), graph=path)
        return GraphEncoder(name, path=path, declaration=declaration, sha256=sha256)
    except DataError as error:
        kept = None if sha256 is None else encoder_folder(f"onnx-{sha256[:16]}")
        if kept is None:
            raise
        if not (kept / ABOUT).is_file():
            raise DataError(
                f"{error}. Where the graph is, `genrescope encoders install onnx:PATH` keeps a "
                f"copy that is found by its SHA-256, {sha256}"
            ) from error
        declaration = _read_declaration(kept / ABOUT, graph=kept / "graph.onnx")
        return GraphEncoder(name, path=kept / "graph.onnx", declaration=declaration, sha256=sha256)


class GraphEncoder(WindowEncoder):
    """An ONNX graph with a declared front end.

    Parameters
    ----------
    name : str
        As :func:`~genrescope.audio.encoders.get_encoder` takes it.
    path : Path
        The graph; it holds its own weights.
    declaration : mapping
        See the module; checked.
    sha256 : str, optional
        What the graph must have.

    Raises
    ------
    DataError
        If the graph cannot be read, is another one, or the declaration says what it may not.
    """

    def __init__(
        self,
        name: str,
        *,
        path: Path,
        declaration: Mapping[str, Any],
        sha256: str | None = None,
    ) -> None:
        said = check_declaration(dict(declaration), where=f"encoder {name}")
        self.name = name
        self.version = said["version"]
        self.licence = said["licence"]
        self.n_features = 2 * said["embedding"]["size"]
        self.declaration = said
        self.path = path
        try:
            with path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                f"encoder {name}: {path} cannot be read ({error.strerror or error}); "
                "name a graph that is there"
            ) from error
        if sha256 is not None and self.sha256 != sha256:
            raise DataError(
                f"encoder {name}: SHA-256 of {path} is {self.sha256}, expected {sha256}; "
                "it was changed or damaged: install it again"
            )
        self._session: Any = None
        self._lock = threading.Lock()

    @property
    def tag_names(self) -> tuple[str, ...]:
        """What the graph gives tags for; empty where it gives none."""
        return tuple((self.declaration.get("tags") or {}).get("names", ()))

    def parameters(self) -> dict[str, Any]:
        """See :meth:`WindowEncoder.parameters`."""
        said = self.declaration
        source = {key: said[key] for key in ("source",) if key in said}
        copy: dict[str, Any] = json.loads(
            json.dumps(
                {
                    **source,
                    "sample_rate": said["sample_rate"],
                    "resampling": "soxr HQ",
                    "input": said["input"],
                    "embedding": said["embedding"],
                    "pooling": "mean and standard deviation over patches",
                    "graph_sha256": self.sha256,
                }
            )
        )
        return copy

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """See :meth:`WindowEncoder.encode`."""
        size = self.declaration["embedding"]["size"]
        return np.stack(
            [mean_and_spread(self._run(y, sr=sr, part="embedding", size=size)) for y in windows]
        )

    def tag_windows(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """Tags of some windows, averaged over the patches of each.

        Parameters
        ----------
        windows, sr
            See :meth:`WindowEncoder.encode`.

        Returns
        -------
        np.ndarray [shape=(windows, tags), float32]

        Raises
        ------
        DataError
            If the graph gives no tags.
        """
        if not self.tag_names:
            raise DataError(f"encoder {self.name}: it gives no tags; musicnn does")
        size = len(self.tag_names)
        rows = [self._run(y, sr=sr, part="tags", size=size).mean(axis=0) for y in windows]
        return np.stack(rows)

    def _run(self, y: FloatArray, *, sr: int, part: str, size: int) -> FloatArray:
        """What a graph says of the patches of one window: [patches, size]."""
        said = self.declaration
        patches = self._patches(resample(y, sr, said["sample_rate"]))
        tensor = said[part]["tensor"]
        session = self._open()  # whose own errors say what is wrong with the declaration
        try:
            (found,) = session.run([tensor], {said["input"]["tensor"]: patches})
        except Exception as error:
            raise DataError(
                f"encoder {self.name}: the graph could not be run ({_one_line(error)}); "
                "check its declaration"
            ) from error
        values = np.asarray(found)
        if values.ndim < 2 or values.shape[-1] != size:
            raise DataError(
                f"encoder {self.name}: tensor {tensor} has the shape {list(values.shape)}, "
                f"its declaration says {size} numbers; correct the declaration"
            )
        rows = values.reshape(-1, size).astype(np.float32)
        if not np.isfinite(rows).all():
            raise AudioNotFiniteError(
                f"encoder {self.name}: NaN or infinity for sound that is finite; "
                "the graph is damaged or not meant for this input"
            )
        return rows

    def _patches(self, y: FloatArray) -> FloatArray:
        """What the graph reads of a window at its own rate, patch by patch."""
        given = self.declaration["input"]
        if given["kind"] == "mel":
            power = mel_spectrogram(
                y,
                sr=self.declaration["sample_rate"],
                n_fft=given["n_fft"],
                hop_length=given["hop"],
                n_mels=given["bands"],
            )
            series = np.ascontiguousarray(SCALES[given["scale"]](power).T)
        else:
            series = y
        length, step = given["length"], given["step"]
        if len(series) < length:
            again = math.ceil(length / len(series))
            series = np.tile(series, (again,) + (1,) * (series.ndim - 1))[:length]
        starts = range(0, len(series) - length + 1, step)
        patches = np.stack([series[start : start + length] for start in starts])
        axes = [axis for axis in given["layout"] if axis != 1]
        usual = ["batch", "time", "band"][: patches.ndim]
        moved = patches.transpose([usual.index(axis) for axis in axes])
        sizes = iter(moved.shape)
        shape = [1 if axis == 1 else next(sizes) for axis in given["layout"]]
        return np.ascontiguousarray(moved.reshape(shape), dtype=np.float32)

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = self._new_session()
            return self._session

    def _new_session(self) -> Any:
        # Opened from bytes, so that a graph cannot have other files read.
        with self.path.open("rb") as file:
            graph = file.read(MAX_GRAPH)
        if hashlib.sha256(graph).hexdigest() != self.sha256:
            raise DataError(f"encoder {self.name}: {self.path} was changed; install it again")
        self._check(graph)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Tracks are described several at a time, a core each.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(
                graph, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise DataError(
                f"encoder {self.name}: the graph cannot be opened ({_one_line(error)}); it has to "
                "be ONNX, with its weights inside"
            ) from error

    def _check(self, graph: bytes) -> None:
        """Compare the graph with its declaration, before a runtime sees it."""
        try:
            # Sound is encoded in processes with a time limit, so that loops may be.
            told = check_graph(graph, loops=True)
        except DataError as error:
            raise DataError(f"encoder {self.name}: {error}; it cannot be used") from error
        said = self.declaration
        inputs = [tensor.name for tensor in told.inputs]
        outputs = [tensor.name for tensor in told.outputs]
        if inputs != [said["input"]["tensor"]]:
            raise DataError(
                f"encoder {self.name}: the graph has the inputs {inputs}, its declaration says "
                f"input.tensor = {said['input']['tensor']}; correct that"
            )
        for part in ("embedding", "tags"):
            if said.get(part) is not None and said[part]["tensor"] not in outputs:
                raise DataError(
                    f"encoder {self.name}: the graph has the outputs {outputs}, its "
                    f"declaration says {part}.tensor = {said[part]['tensor']}; correct that"
                )

    def __getstate__(self) -> dict[str, Any]:
        # A session cannot be pickled; it is opened again from the file.
        return {**self.__dict__, "_session": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


class GraphTagger(WindowEncoder):
    """The tags of a graph, window by window, by the way that its embedding takes.

    Parameters
    ----------
    encoder : GraphEncoder
        One that gives tags.
    """

    def __init__(self, encoder: GraphEncoder) -> None:
        self.encoder = encoder
        self.name = encoder.name
        self.version = encoder.version
        self.licence = encoder.licence
        self.n_features = len(encoder.tag_names)

    def parameters(self) -> dict[str, Any]:
        """See :meth:`WindowEncoder.parameters`."""
        return self.encoder.parameters()

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """See :meth:`WindowEncoder.encode`."""
        return self.encoder.tag_windows(windows, sr=sr)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
