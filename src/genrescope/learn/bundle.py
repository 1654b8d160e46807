"""A recogniser on disk: one ONNX graph and one JSON card in a folder, never a pickle.

The graph takes ``features`` (float32 [batch, windows, n_features]) and gives
``probabilities`` (float32 [batch, n_genres], pooled over the windows and calibrated)
and ``window_probabilities`` (float32 [batch, windows, n_genres]). The card says which
genres these are, which front end makes the features, what the graph was trained on, and
how well it did; see :mod:`genrescope.learn.card`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import BundleError, DataError, MissingExtraError
from genrescope.learn.card import CARD_FORMAT, check_card

__all__ = ["CARD_FILE", "DEFAULT_BUNDLE", "GRAPH_FILE", "Bundle", "write_bundle"]

#: The name of the bundle that ships in the package.
DEFAULT_BUNDLE = "default"
CARD_FILE = "card.json"
GRAPH_FILE = "model.onnx"

_MAX_CARD = 16 * 2**20  # bytes
_MAX_GRAPH = 512 * 2**20  # bytes
_SUM_TOLERANCE = 1e-3  # float32 softmax is good to 1e-6; more is a graph that lies


class Bundle:
    """A recogniser that was read from disk and checked.

    Use :meth:`load`. A bundle is safe to share between threads and can be pickled.

    Attributes
    ----------
    folder : Path
        Where it was read from.
    card : dict
        What the bundle says about itself (read only by convention).
    genres : tuple of str
        The genres, in the order of the columns of the probabilities.
    n_features : int
        How many numbers describe one window of sound.
    """

    def __init__(self, *, folder: Path, card: dict[str, Any], graph: bytes) -> None:
        self.folder = folder
        self.card = card
        self.genres: tuple[str, ...] = tuple(card["genres"])
        self.n_features: int = card["front_end"]["n_features"]
        self._graph = graph
        self._session: Any = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path_or_name: str | os.PathLike[str] = DEFAULT_BUNDLE) -> Bundle:
        """Read a bundle and check its card and the SHA-256 of its graph.

        The graph itself is opened on the first :meth:`run`, so loading is quick and
        imports no runtime.

        Parameters
        ----------
        path_or_name : str or path-like
            ``"default"`` for the bundle of the package, else the folder of a bundle.

        Returns
        -------
        Bundle

        Raises
        ------
        BundleError
            If there is no such folder, a file is missing, the card lacks a key or holds
            what it may not, or the graph is not the one that the card describes.
        """
        folder = _folder_of(path_or_name)
        card_file = folder / CARD_FILE
        card = _parse(_read(card_file, limit=_MAX_CARD), where=str(card_file))
        check_card(card, where=str(card_file))
        graph_file = folder / card["graph"]["file"]
        graph = _read(graph_file, limit=_MAX_GRAPH)
        if len(graph) != card["graph"]["bytes"]:
            raise BundleError(
                f"{graph_file}: has {len(graph):,} bytes, the card says "
                f"{card['graph']['bytes']:,}; get the bundle again"
            )
        found = hashlib.sha256(graph).hexdigest()
        if found != card["graph"]["sha256"]:
            raise BundleError(
                f"{graph_file}: SHA-256 is {found}, the card says "
                f"{card['graph']['sha256']}; the file was changed: get the bundle again"
            )
        return cls(folder=folder, card=card, graph=graph)

    @property
    def name(self) -> str:
        """The name and version that the card gives."""
        return f"{self.card['name']} {self.card['version']}"

    def run(
        self, features: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Probabilities of the genres.

        Parameters
        ----------
        features : array_like [shape=(batch, windows, n_features)]
            What the front end says about each window; finite.

        Returns
        -------
        probabilities : np.ndarray [shape=(batch, n_genres), float64]
            For each track, calibrated; rows sum to 1.
        window_probabilities : np.ndarray [shape=(batch, windows, n_genres), float64]
            For each window; rows sum to 1.

        Raises
        ------
        DataError
            If `features` has another shape, no window, or values that are not finite.
        BundleError
            If the graph cannot be opened, does not have the inputs and outputs of the
            card, or gives what are no probabilities.
        """
        batch = np.ascontiguousarray(features, dtype=np.float32)
        if batch.ndim != 3 or batch.shape[2] != self.n_features or 0 in batch.shape:
            raise DataError(
                f"features have the shape {batch.shape}, the bundle {self.name} takes "
                f"(batch, windows, {self.n_features}) with one window or more"
            )
        if not np.isfinite(batch).all():
            raise DataError("features hold NaN or infinity; every value has to be finite")
        session = self._open()
        try:
            outputs = session.run(["probabilities", "window_probabilities"], {"features": batch})
        except Exception as error:
            raise BundleError(
                f"{self.folder}: the graph could not be run ({_one_line(error)}); "
                "get the bundle again"
            ) from error
        n_genres = len(self.genres)
        shapes = ((len(batch), n_genres), (*batch.shape[:2], n_genres))
        probabilities, windows = (
            self._checked(output, shape) for output, shape in zip(outputs, shapes, strict=True)
        )
        return probabilities, windows

    def _checked(self, output: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        values = np.asarray(output, dtype=np.float64)
        if values.shape != shape:
            raise BundleError(
                f"{self.folder}: the graph gave the shape {values.shape}, expected {shape}"
            )
        sums = values.sum(axis=-1, keepdims=True)
        if (
            not np.isfinite(values).all()
            or (values < 0).any()
            or (np.abs(sums - 1) > _SUM_TOLERANCE).any()
        ):
            raise BundleError(
                f"{self.folder}: the graph gave what are no probabilities (finite, 0 or more, "
                "sum 1); the bundle is not usable: get it again or train another"
            )
        normalised: npt.NDArray[np.float64] = values / sums
        return normalised

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = _open_session(self._graph, self.card, where=str(self.folder))
            return self._session

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {len(self.genres)} genres, folder={str(self.folder)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A session cannot be pickled; the bytes and the card can.
        return (_rebuild, (self.folder, self.card, self._graph))


def write_bundle(
    folder: str | os.PathLike[str], *, graph: bytes, card: Mapping[str, Any]
) -> Bundle:
    """Write a bundle, and read it back.

    Each file replaces an older one as a whole. A program that dies between the two
    leaves a bundle whose checksum does not fit, which :meth:`Bundle.load` refuses.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist; other files in it stay as they are.
    graph : bytes
        A serialised ONNX model that holds its own weights.
    card : mapping
        The card. ``format`` and ``graph`` are filled in here.

    Returns
    -------
    Bundle
        What was written, loaded from disk.

    Raises
    ------
    BundleError
        If the card or the graph could not be loaded again; nothing is written then.
    MissingExtraError
        If the package onnx is not installed.
    """
    target = Path(folder)
    full = {**card, "format": CARD_FORMAT, "graph": _describe_graph(graph)}
    # Through JSON and back, so that what is checked is what will be read.
    text = _card_text(full)
    check_card(json.loads(text), where=str(target / CARD_FILE))
    _open_session(graph, full, where=str(target))
    target.mkdir(parents=True, exist_ok=True)
    temporary = [
        (target / f".{name}.{os.getpid()}.part", target / name) for name in (GRAPH_FILE, CARD_FILE)
    ]
    try:
        for (part, _), data in zip(temporary, (graph, text.encode()), strict=True):
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for part, final in temporary:
            os.replace(part, final)
    finally:
        for part, _ in temporary:
            with suppress(FileNotFoundError):
                part.unlink()
    return Bundle.load(target)


def _card_text(card: Mapping[str, Any]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise BundleError(f"the card holds {value!r}, which JSON has no form for")

    try:
        text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False, default=plain)
    except ValueError as error:
        raise BundleError(f"the card cannot be written as JSON ({error})") from error
    # Thousands of track ids, one a line, would bury the rest: lists of numbers on one line.
    numbers = re.compile(r"\[\n\s+([-+\d.eE,\s]+?)\n\s*\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _rebuild(folder: Path, card: dict[str, Any], graph: bytes) -> Bundle:
    return Bundle(folder=folder, card=card, graph=graph)


def _folder_of(path_or_name: str | os.PathLike[str]) -> Path:
    if os.fspath(path_or_name) == DEFAULT_BUNDLE:
        folder = Path(str(resources.files("genrescope.bundles"))) / DEFAULT_BUNDLE
        if not (folder / CARD_FILE).is_file():
            raise BundleError(
                f"{folder}: the bundle that ships with genrescope is not there; "
                "install genrescope again, or name another bundle"
            )
        return folder
    folder = Path(path_or_name)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise BundleError(
            f"{folder}: {what}; a bundle is a folder with {CARD_FILE} and {GRAPH_FILE}, "
            f'or the name "{DEFAULT_BUNDLE}"'
        )
    return folder


def _read(path: Path, *, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); "
            f"a bundle is a folder with {CARD_FILE} and {GRAPH_FILE}"
        ) from error
    if len(data) > limit:
        raise BundleError(f"{path}: is larger than {limit:,} bytes; this is no genrescope bundle")
    return data


def _parse(data: bytes, *, where: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        card = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: is not JSON ({_one_line(error)}); get the bundle again"
        ) from error
    if not isinstance(card, dict):
        raise BundleError(f"{where}: holds no JSON object; get the bundle again")
    return card


def _open_session(graph: bytes, card: Mapping[str, Any], *, where: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The graph is small: one thread is quickest, and leaves the cores to the decoders.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise BundleError(
            f"{where}: the graph cannot be opened ({_one_line(error)}); get the bundle again"
        ) from error
    _compare(session.get_inputs(), [card["graph"]["input"]], "input", where)
    _compare(session.get_outputs(), card["graph"]["outputs"], "output", where)
    return session


def _compare(found: Any, said: list[Mapping[str, Any]], kind: str, where: str) -> None:
    """Compare the tensors of a graph with those on its card: names, type, fixed sizes."""
    tensors = {tensor.name: tensor for tensor in found}
    names = {tensor["name"] for tensor in said}
    if set(tensors) != names:
        raise BundleError(
            f"{where}: the graph has the {kind}s {sorted(tensors)}, the card says {sorted(names)}"
        )
    for tensor in said:
        real = tensors[tensor["name"]]
        if real.type != "tensor(float)":
            raise BundleError(
                f"{where}: {kind} {real.name} of the graph is {real.type}, expected tensor(float)"
            )
        fixed = [size if isinstance(size, int) else None for size in real.shape]
        expected = [size if isinstance(size, int) else None for size in tensor["shape"]]
        if fixed != expected:
            raise BundleError(
                f"{where}: {kind} {real.name} of the graph has the shape {list(real.shape)}, "
                f"the card says {tensor['shape']}"
            )


def _describe_graph(graph: bytes) -> dict[str, Any]:
    """The ``graph`` section of the card for a serialised model."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("writing a bundle", extra="deep", package="onnx") from error
    try:
        model = onnx.load_model_from_string(graph)
        onnx.checker.check_model(model)
    except Exception as error:
        raise BundleError(f"the graph is no valid ONNX model ({_one_line(error)})") from error
    if any(onnx.external_data_helper.uses_external_data(t) for t in model.graph.initializer):
        raise BundleError("the graph keeps weights in another file; they have to be inside it")
    if len(model.graph.input) != 1:
        names = [tensor.name for tensor in model.graph.input]
        raise BundleError(f"the graph has the inputs {names}, expected one named features")
    return {
        "file": GRAPH_FILE,
        "sha256": hashlib.sha256(graph).hexdigest(),
        "bytes": len(graph),
        "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "input": _describe_tensor(model.graph.input[0]),
        "outputs": [_describe_tensor(tensor) for tensor in model.graph.output],
    }


def _describe_tensor(tensor: Any) -> dict[str, Any]:
    dimensions = tensor.type.tensor_type.shape.dim
    shape = [
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"free{i}"
        for i, d in enumerate(dimensions)
    ]
    return {"name": tensor.name, "shape": shape}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
