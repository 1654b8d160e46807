"""Encoders that are an ONNX graph and a declaration of what goes in.

``onnx:PATH`` is anyone's graph; its declaration is read by
:mod:`genrescope.audio.encoders.declaration`.
What a graph says of a window is the mean and the spread of its patches' embeddings.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
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
from genrescope.audio.encoders.declaration import (
    MAX_GRAPH,
    SCALES,
    check_declaration,
    one_line,
    read_declaration,
)
from genrescope.audio.encoders.onnx_check import check_graph
from genrescope.audio.mel import mel_spectrogram
from genrescope.errors import AudioNotFiniteError, DataError

__all__ = [
    "GraphEncoder",
    "GraphTagger",
    "load_graph",
]


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
        declaration = read_declaration(path.with_suffix(".json"), graph=path)
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
        declaration = read_declaration(kept / ABOUT, graph=kept / "graph.onnx")
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
                f"encoder {self.name}: the graph could not be run ({one_line(error)}); "
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
                f"encoder {self.name}: the graph cannot be opened ({one_line(error)}); it has to "
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
