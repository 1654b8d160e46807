"""ONNX graphs from anywhere: looked through before a runtime sees them.

The bytes are walked as a protocol buffer, without the package onnx. A graph has to keep its weights
inside, to be made of the standard's own operators (domains ``ai.onnx`` and ``ai.onnx.ml``), and to
be of a size that can be meant; what it reads and gives is told, so that a caller can compare it
with what was declared. Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from genrescope.audio.encoders.protobuf import iter_fields
from genrescope.errors import DataError

__all__ = ["GraphTensor", "GraphTold", "check_graph"]

_DOMAINS = frozenset({b"", b"ai.onnx", b"ai.onnx.ml"})
# Nobody can say when these end.
_LOOPS = frozenset({b"Loop", b"Scan", b"SequenceMap"})
_MAX_NODES = 100_000
_MAX_FIELDS = 5_000_000  # about 5 s; boosted trees, which have most, need 200,000
_MAX_DEPTH = 8  # graphs in graphs
_MAX_NAME = 1_000  # bytes

_TYPES = {
    1: "float", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "double", 12: "uint32", 13: "uint64",
}  # fmt: skip

_Value = int | memoryview


@dataclass(frozen=True)
class GraphTensor:
    """An input or an output of a graph.

    Attributes
    ----------
    name : str
        Its name.
    type : str
        As onnxruntime calls it: ``tensor(float)``.
    shape : tuple of int or str
        Sizes; free ones by name, or as empty text.
    """

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphTold:
    """What a graph says of itself.

    Attributes
    ----------
    inputs, outputs : tuple of GraphTensor
        Inputs that have a value of their own in the graph are left out.
    nodes : int
        How many operators it is made of, those in inner graphs counted.
    """

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    nodes: int


def check_graph(data: bytes, *, loops: bool = False) -> GraphTold:
    """Look through a serialised graph.

    Parameters
    ----------
    data : bytes
        A serialised ONNX model.
    loops : bool
        Whether it may hold loops. They need not end: only where the process that runs the graph
        has a time limit.

    Returns
    -------
    GraphTold

    Raises
    ------
    DataError
        If it is no ONNX model, keeps weights in other files, uses operators that are not in the
        standard, or is too large. The message begins with "the graph cannot be opened".
    """
    try:
        return _Walk(loops).model(memoryview(data))
    except _RefusedError as error:
        raise DataError(f"the graph cannot be opened: it {error}") from error
    except DataError as error:
        raise DataError(f"the graph cannot be opened: it is no ONNX model ({error})") from error


class _RefusedError(Exception):
    """What is wrong, as the rest of a sentence that begins with "it"."""


@dataclass
class _Walk:
    """One look through one model; it counts what it meets."""

    loops: bool
    fields: int = 0
    nodes: int = 0

    def model(self, data: memoryview) -> GraphTold:
        graphs: list[memoryview] = []
        for number, value in self._fields(data):
            if number == 7:
                graphs.append(_message(value))
            elif number == 20:
                raise _RefusedError("holds what training needs; export it for inference")
            elif number == 25:
                raise _RefusedError("defines functions of its own; export it with those inlined")
        # A second graph would be merged with the first, by some readers.
        if len(graphs) != 1:
            raise _RefusedError(f"is no ONNX model: it holds {len(graphs)} graphs, expected one")
        said = self._graph(graphs[0], depth=0)
        given = {self._name_of(tensor, at=8) for tensor in said.get(5, ())}
        inputs = [self._tensor(value) for value in said.get(11, ())]
        outputs = [self._tensor(value) for value in said.get(12, ())]
        if not self.nodes or not outputs:
            raise _RefusedError("is no ONNX model: it has no operators, or gives nothing")
        return GraphTold(
            tuple(tensor for tensor in inputs if tensor.name not in given),
            tuple(outputs),
            self.nodes,
        )

    def _fields(self, data: memoryview) -> Iterator[tuple[int, _Value]]:
        for number, value in iter_fields(data):
            self.fields += 1
            if self.fields > _MAX_FIELDS:
                raise _RefusedError(f"is made of more than {_MAX_FIELDS:,} pieces")
            yield number, value

    def _graph(self, data: memoryview, *, depth: int) -> dict[int, list[memoryview]]:
        if depth > _MAX_DEPTH:
            raise _RefusedError(f"has graphs in graphs, more than {_MAX_DEPTH} deep")
        kept: dict[int, list[memoryview]] = {}
        for number, value in self._fields(data):
            if number == 1:
                self._node(_message(value), depth=depth)
            elif number == 5:
                self._weights(_message(value))
            elif number == 15:
                self._sparse(_message(value))
            if number in (5, 11, 12):
                kept.setdefault(number, []).append(_message(value))
        return kept

    def _node(self, data: memoryview, *, depth: int) -> None:
        self.nodes += 1
        if self.nodes > _MAX_NODES:
            raise _RefusedError(f"has more than {_MAX_NODES:,} operators")
        for number, value in self._fields(data):
            if number == 4:
                operator = bytes(_message(value)[:_MAX_NAME])
                if operator in _LOOPS and not self.loops:
                    raise _RefusedError(f"has a loop ({operator.decode()}), which need not end")
            elif number == 7 and (domain := bytes(_message(value)[:_MAX_NAME])) not in _DOMAINS:
                raise _RefusedError(
                    f"has operators of the domain {domain[:60].decode('utf-8', 'replace')!r}; only "
                    "those of the ONNX standard are run"
                )
            elif number == 5:
                self._attribute(_message(value), depth=depth)

    def _attribute(self, data: memoryview, *, depth: int) -> None:
        for number, value in self._fields(data):
            if number in (5, 10):
                self._weights(_message(value))
            elif number in (6, 11):
                self._graph(_message(value), depth=depth + 1)
            elif number in (22, 23):
                self._sparse(_message(value))

    def _sparse(self, data: memoryview) -> None:
        for number, value in self._fields(data):
            if number in (1, 2):
                self._weights(_message(value))

    def _weights(self, data: memoryview) -> None:
        for number, value in self._fields(data):
            if number == 13 or (number == 14 and value != 0):
                raise _RefusedError("keeps weights in another file; they have to be inside it")

    def _name_of(self, data: memoryview, *, at: int) -> str:
        names = [value for number, value in self._fields(data) if number == at]
        return _text(names[-1]) if names else ""

    def _tensor(self, data: memoryview) -> GraphTensor:
        name, kind = "", "no tensor"
        shape: tuple[int | str, ...] = ()
        for number, value in self._fields(data):
            if number == 1:
                name = _text(value)
            elif number == 2:
                kind, shape = self._type(_message(value))
        return GraphTensor(name, kind, shape)

    def _type(self, data: memoryview) -> tuple[str, tuple[int | str, ...]]:
        sizes: list[int | str] = []
        kind = "no tensor"
        for number, value in self._fields(data):
            if number != 1:
                continue
            for inner, told in self._fields(_message(value)):
                if inner == 1 and isinstance(told, int):
                    kind = f"tensor({_TYPES.get(told, 'unknown')})"
                elif inner == 2:
                    sizes = [
                        self._size(_message(size))
                        for at, size in self._fields(_message(told))
                        if at == 1
                    ]
        return kind, tuple(sizes)

    def _size(self, data: memoryview) -> int | str:
        size: int | str = ""
        for number, value in self._fields(data):
            if number == 1 and isinstance(value, int):
                size = value
            elif number == 2:
                size = _text(value)
        return size


def _message(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise _RefusedError("is no ONNX model: a number stands where a message belongs")
    return value


def _text(value: _Value) -> str:
    data = _message(value)
    if len(data) > _MAX_NAME:
        raise _RefusedError(f"has a name of {len(data):,} bytes")
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        raise _RefusedError("has a name that is not UTF-8") from None
