"""A recogniser on disk: one ONNX graph and one JSON card in a folder, never a pickle.

The graph takes ``features`` (float32 [batch, windows, n_features]) and gives
``probabilities`` (float32 [batch, n_genres], pooled over the windows and calibrated)
and ``window_probabilities`` (float32 [batch, windows, n_genres]). The card says which
genres these are, which front end makes the features, what the graph was trained on, and
how well it did; see :mod:`genrescope.learn.card`.
"""

from __future__ import annotations

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

from genrescope.errors import BundleError, DataError
from genrescope.learn.card import CARD_FILE, CARD_FORMAT, check_card
from genrescope.learn.graphs import (
    check_digest,
    check_said,
    describe_graph,
    one_line,
    open_session,
    parse_object,
    read_limited,
)
from genrescope.learn.parts.base import (
    NewPart,
    Part,
    describe_parts,
    open_new_parts,
    part_file,
    read_parts,
)

__all__ = ["CARD_FILE", "DEFAULT_BUNDLE", "GRAPH_FILE", "Bundle", "write_bundle"]

#: The name of the bundle that ships in the package.
DEFAULT_BUNDLE = "default"
GRAPH_FILE = "model.onnx"

_MAX_CARD = 16 * 2**20  # bytes
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
    parts : mapping of str to Part
        Graphs beside the main one, by name: what it does with text, say. Often none.
    """

    def __init__(
        self,
        *,
        folder: Path,
        card: dict[str, Any],
        graph: bytes,
        parts: Mapping[str, Part] | None = None,
    ) -> None:
        self.folder = folder
        self.parts: Mapping[str, Part] = dict(parts or {})
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
            ``"default"`` for the bundle of the package, ``"hub:OWNER/NAME@REVISION"`` for one
            that was pulled (see :mod:`genrescope.learn.hub.pulled`), else the folder of a bundle.

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
        card = parse_object(read_limited(card_file, limit=_MAX_CARD), where=str(card_file))
        check_card(card, where=str(card_file))
        graph_file = folder / card["graph"]["file"]
        graph = read_limited(graph_file)
        check_digest(graph, card["graph"], where=str(graph_file))
        return cls(folder=folder, card=card, graph=graph, parts=read_parts(card, folder))

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
                f"{self.folder}: the graph could not be run ({one_line(error)}); "
                "get the bundle again"
            ) from error
        n_genres = len(self.genres)
        shapes = ((len(batch), n_genres), (*batch.shape[:2], n_genres))
        probabilities, windows = (
            self._checked(output, shape) for output, shape in zip(outputs, shapes, strict=True)
        )
        return probabilities, windows

    def check_graphs(self) -> None:
        """Look through every graph as it is done before the first :meth:`run`, but run nothing.

        Raises
        ------
        BundleError
            If one holds what no bundle may hold, or has other tensors than the card says.
        """
        said = self.card["graph"]
        where = str(self.folder)
        check_said(self._graph, inputs=[said["input"]], outputs=said["outputs"], where=where)
        for part in self.parts.values():
            part.check_graph()

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
                self._session = _open_main(self._graph, self.card, where=str(self.folder))
            return self._session

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {len(self.genres)} genres, folder={str(self.folder)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A session cannot be pickled; the bytes and the card can.
        return (_rebuild, (self.folder, self.card, self._graph, dict(self.parts)))


def write_bundle(
    folder: str | os.PathLike[str],
    *,
    graph: bytes,
    card: Mapping[str, Any],
    parts: Mapping[str, NewPart] | None = None,
) -> Bundle:
    """Write a bundle, and read it back.

    Each file replaces an older one as a whole. A program that dies between two of them
    leaves a bundle whose checksum does not fit, which :meth:`Bundle.load` refuses.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist; other files in it stay as they are.
    graph : bytes
        A serialised ONNX model that holds its own weights.
    card : mapping
        The card. ``format``, ``graph`` and ``parts`` are filled in here.
    parts : mapping of str to NewPart, optional
        What the recogniser does beside recognising sound, by name.

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
    parts = parts or {}
    full = {**card, "format": CARD_FORMAT, "graph": _describe_main(graph)}
    full.pop("parts", None)
    if parts:
        full["parts"] = describe_parts(parts)
    # Through JSON and back, so that what is checked is what will be read.
    text = _card_text(full)
    check_card(json.loads(text), where=str(target / CARD_FILE))
    _open_main(graph, full, where=str(target))
    open_new_parts(full, parts, where=str(target))
    target.mkdir(parents=True, exist_ok=True)
    files = {GRAPH_FILE: graph, **{part_file(name): new.graph for name, new in parts.items()}}
    files[CARD_FILE] = text.encode()  # last: what it describes is there then
    temporary = [(target / f".{name}.{os.getpid()}.part", target / name) for name in files]
    try:
        for (part, _), data in zip(temporary, files.values(), strict=True):
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


def _rebuild(folder: Path, card: dict[str, Any], graph: bytes, parts: Mapping[str, Part]) -> Bundle:
    return Bundle(folder=folder, card=card, graph=graph, parts=parts)


def _open_main(graph: bytes, card: Mapping[str, Any], *, where: str) -> Any:
    said = card["graph"]
    return open_session(graph, inputs=[said["input"]], outputs=said["outputs"], where=where)


def _describe_main(graph: bytes) -> dict[str, Any]:
    said = describe_graph(graph, file=GRAPH_FILE)
    inputs = said.pop("inputs")
    if len(inputs) != 1:
        names = [tensor["name"] for tensor in inputs]
        raise BundleError(f"the graph has the inputs {names}, expected one named features")
    return {**said, "input": inputs[0]}


def _folder_of(path_or_name: str | os.PathLike[str]) -> Path:
    if os.fspath(path_or_name) == DEFAULT_BUNDLE:
        folder = Path(str(resources.files("genrescope.bundles"))) / DEFAULT_BUNDLE
        if not (folder / CARD_FILE).is_file():
            raise BundleError(
                f"{folder}: the bundle that ships with genrescope is not there; "
                "install genrescope again, or name another bundle"
            )
        return folder
    if os.fspath(path_or_name).startswith("hub:"):
        from genrescope.learn.hub.pulled import resolve_bundle

        return resolve_bundle(os.fspath(path_or_name))
    folder = Path(path_or_name)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise BundleError(
            f"{folder}: {what}; a bundle is a folder with {CARD_FILE} and {GRAPH_FILE}, "
            f'or the name "{DEFAULT_BUNDLE}"'
        )
    return folder
