"""Writing ONNX graphs without the package ``onnx``.

A graph is a protocol buffer of a few dozen nodes and their weights. Written here, an encoder can
be converted with what the core brings, and the same weights give the same bytes everywhere: so the
SHA-256 of a converted graph can be known beforehand. (Field numbers: ``onnx.proto``.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from genrescope.audio.encoders.protobuf import field, packed

__all__ = ["GraphWriter"]

_OPSET = 17
_IR_VERSION = 8  # the one that came with opset 17
_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7  # AttributeProto.AttributeType


class GraphWriter:
    """Collects nodes and weights, then writes a model.

    Examples
    --------
    >>> graph = GraphWriter("twice")
    >>> two = graph.weight("two", np.full(1, 2, dtype=np.float32))
    >>> _ = graph.node("Mul", ["x", two], output="y")
    >>> model = graph.serialise(inputs={"x": ["batch", 3]}, outputs={"y": ["batch", 3]})
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(model)
    >>> session.run(None, {"x": np.ones((1, 3), np.float32)})[0].tolist()
    [[2.0, 2.0, 2.0]]
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[bytes] = []
        self._weights: dict[str, bytes] = {}

    def weight(self, name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        """Keep a weight; gives its name."""
        kind = _INT64 if values.dtype.kind == "i" else _FLOAT
        plain = np.ascontiguousarray(values, dtype="<i8" if kind == _INT64 else "<f4")
        self._weights[name] = (
            b"".join(field(1, size) for size in plain.shape)
            + field(2, kind)
            + field(8, name)
            + field(9, plain.tobytes())
        )
        return name

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        output: str | None = None,
        **attributes: int | float | Sequence[int],
    ) -> str:
        """Add an operation; gives the name of its output."""
        name = output or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(
            b"".join(field(1, source) for source in inputs)
            + field(2, name)
            + field(3, name)
            + field(4, op)
            + b"".join(field(5, _attribute(key, attributes[key])) for key in sorted(attributes))
        )
        return name

    def serialise(
        self,
        *,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
    ) -> bytes:
        """The model, with inputs and outputs of float32; free sizes have a name."""
        graph = (
            b"".join(field(1, node) for node in self._nodes)
            + field(2, self.name)
            + b"".join(field(5, weight) for weight in self._weights.values())
            + b"".join(field(11, _tensor(name, shape)) for name, shape in inputs.items())
            + b"".join(field(12, _tensor(name, shape)) for name, shape in outputs.items())
        )
        opset = field(1, "") + field(2, _OPSET)
        return field(1, _IR_VERSION) + field(2, "genrescope") + field(7, graph) + field(8, opset)


def _attribute(name: str, value: int | float | Sequence[int]) -> bytes:
    if isinstance(value, float):
        return field(1, name) + field(2, value) + field(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, _ATTRIBUTE_INT)
    return field(1, name) + packed(8, value) + field(20, _ATTRIBUTE_INTS)


def _tensor(name: str, shape: Sequence[int | str]) -> bytes:
    sizes = b"".join(
        field(1, field(2, size) if isinstance(size, str) else field(1, size)) for size in shape
    )
    return field(1, name) + field(2, field(1, field(1, _FLOAT) + field(2, sizes)))
