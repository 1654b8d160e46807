"""Graphs beside the main one of a bundle: for text, for sub-genres, for what is no music.

Each part is one ONNX graph with a name, and settings on the card that say how it is used. A bundle
without parts recognises sound all the same; a part that this version does not know is left alone.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import BundleError, DataError
from genrescope.learn.graphs import (
    check_digest,
    check_said,
    describe_graph,
    one_line,
    open_session,
    read_limited,
)

__all__ = ["NewPart", "Part", "describe_parts", "open_new_parts", "part_file", "read_parts"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NewPart:
    """A part that is to be written.

    Attributes
    ----------
    graph : bytes
        A serialised ONNX model with float32 inputs and outputs.
    settings : dict
        Everything else that its use needs, in types that JSON has.
    """

    graph: bytes = field(repr=False)
    settings: dict[str, Any]


class Part:
    """A part of a bundle that was read from disk and checked.

    Safe to share between threads, and can be pickled.

    Attributes
    ----------
    name : str
        Which part it is.
    settings : mapping
        As it was written.
    """

    def __init__(
        self, name: str, *, graph: bytes, said: Mapping[str, Any], where: str = "a new part"
    ) -> None:
        self.name = name
        self.settings: Mapping[str, Any] = said["settings"]
        self._graph, self._said, self._where = graph, said, where
        self._session: Any = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, name: str, new: NewPart) -> Part:
        """A part as it will be once it is written."""
        return cls(name, graph=new.graph, said=describe_parts({name: new})[name])

    @property
    def n_bytes(self) -> int:
        """Size of the graph."""
        return len(self._graph)

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, FloatArray]:
        """What the graph makes of its inputs.

        Parameters
        ----------
        inputs : mapping of str to array_like
            By name, in the shapes that the card gives; finite.

        Returns
        -------
        dict of str to np.ndarray [float32]
            Every output, finite.

        Raises
        ------
        DataError
            If an input is missing, has another shape, or holds NaN or infinity.
        BundleError
            If the graph cannot be opened or run, or gives values that are not finite.
        """
        fed = {
            tensor["name"]: self._input(tensor, inputs) for tensor in self._said["graph"]["inputs"]
        }
        session = self._open()
        names = [tensor["name"] for tensor in self._said["graph"]["outputs"]]
        try:
            outputs = session.run(names, fed)
        except Exception as error:
            raise BundleError(
                f"{self._where}: the part {self.name} could not be run ({one_line(error)}); "
                "get the bundle again"
            ) from error
        found = {
            name: np.asarray(out, np.float32) for name, out in zip(names, outputs, strict=True)
        }
        if not all(np.isfinite(values).all() for values in found.values()):
            raise BundleError(
                f"{self._where}: the part {self.name} gave values that are not finite; "
                "get the bundle again, or train another"
            )
        return found

    def check_graph(self) -> None:
        """Look through the graph as it is done before the first :meth:`run`, but run nothing.

        Raises
        ------
        BundleError
            If it holds what no bundle may hold, or has other tensors than the card says.
        """
        said = self._said["graph"]
        check_said(
            self._graph,
            inputs=said["inputs"],
            outputs=said["outputs"],
            where=f"{self._where}, part {self.name}",
        )

    def _input(self, tensor: Mapping[str, Any], inputs: Mapping[str, npt.ArrayLike]) -> FloatArray:
        name, shape = tensor["name"], tensor["shape"]
        if name not in inputs:
            raise DataError(f"the part {self.name} needs the input {name}")
        values = np.ascontiguousarray(inputs[name], dtype=np.float32)
        fits = values.ndim == len(shape) and all(
            not isinstance(said, int) or said == size
            for said, size in zip(shape, values.shape, strict=True)
        )
        if not fits or 0 in values.shape:
            raise DataError(
                f"{name} has the shape {values.shape}, the part {self.name} takes {tuple(shape)}"
            )
        if not np.isfinite(values).all():
            raise DataError(f"{name} holds NaN or infinity; every value has to be finite")
        return values

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                said = self._said["graph"]
                self._session = open_session(
                    self._graph,
                    inputs=said["inputs"],
                    outputs=said["outputs"],
                    where=f"{self._where}, part {self.name}",
                )
            return self._session

    def __repr__(self) -> str:
        return f"Part({self.name!r}, {self.n_bytes:,} bytes)"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.name, self._graph, dict(self._said), self._where))


def _rebuild(name: str, graph: bytes, said: dict[str, Any], where: str) -> Part:
    return Part(name, graph=graph, said=said, where=where)


def part_file(name: str) -> str:
    """The file that a part is in."""
    return f"{name}.onnx"


def describe_parts(parts: Mapping[str, NewPart]) -> dict[str, Any]:
    """The section "parts" of a card.

    Raises
    ------
    BundleError
        If a name cannot be, or a graph is no valid model.
    MissingExtraError
        If the package onnx is not installed.
    """
    for name in parts:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or part_file(name) == "model.onnx":
            raise BundleError(
                f"a part is named {name!r}; a name is of small letters, digits and _, and not model"
            )
    return {
        name: {
            "graph": describe_graph(new.graph, file=part_file(name)),
            "settings": new.settings,
        }
        for name, new in parts.items()
    }


def open_new_parts(card: Mapping[str, Any], parts: Mapping[str, NewPart], *, where: str) -> None:
    """Open each part once, before anything is written; BundleError where one cannot be."""
    for name, new in parts.items():
        said = card["parts"][name]["graph"]
        open_session(
            new.graph,
            inputs=said["inputs"],
            outputs=said["outputs"],
            where=f"{where}, part {name}",
        )


def read_parts(card: Mapping[str, Any], folder: Path) -> dict[str, Part]:
    """All parts that a card names.

    Raises
    ------
    BundleError
        If a file is missing or is not the one that the card describes.
    """
    found = {}
    for name, said in card.get("parts", {}).items():
        path = folder / said["graph"]["file"]
        data = read_limited(path)
        check_digest(data, said["graph"], where=str(path))
        found[name] = Part(name, graph=data, said=said, where=str(folder))
    return found
