"""Building ONNX graphs: nodes and weights are collected, then written as one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import MissingExtraError

__all__ = ["OPSET", "GraphBuilder"]

FloatArray = npt.NDArray[np.float32]

OPSET = 17
_ML_OPSET = 3
_IR_VERSION = 8
_FLOAT = 1  # ONNX's number for float32


class GraphBuilder:
    """Collects nodes and initialisers; every method returns the name of its output."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:  # pragma: no cover - the tests have it
            raise MissingExtraError("exporting", extra="train", package="onnx") from error
        self.helper: Any = onnx.helper
        self.to_tensor: Any = onnx.numpy_helper.from_array
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.initialisers.append(self.to_tensor(value, name))
        return name

    def half(self, name: str, value: FloatArray) -> str:
        """A weight stored in float16 and used in float32 (runtimes fold the cast once)."""
        stored = self.constant(f"{name}.f16", np.asarray(value, dtype=np.float16))
        return self.node("Cast", [stored], name, to=_FLOAT)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(f"{name}.const", np.array(values, dtype=np.int64))

    def columns(self, x: str, first: int, last: int, output: str) -> str:
        ends = [self.integers(f"{output}.{k}", [v]) for k, v in (("from", first), ("to", last))]
        return self.node("Slice", [x, *ends, self.integers(f"{output}.axis", [1])], output)

    def times(self, x: str, factor: float, output: str) -> str:
        by = self.constant(f"{output}.factor", np.array([factor], dtype=np.float32))
        return self.node("Mul", [x, by], output)

    def mean(self, parts: Sequence[str], output: str) -> str:
        return self.node("Mean", parts, output)

    def dense(self, x: str, weights: Mapping[str, FloatArray], layer: str, name: str) -> str:
        matrix = self.half(f"{name}.{layer}.weight", weights[f"{layer}.weight"])
        bias = self.constant(f"{name}.{layer}.bias", weights[f"{layer}.bias"])
        product = self.node("MatMul", [x, matrix], f"{name}.{layer}.product")
        return self.node("Add", [product, bias], f"{name}.{layer}")

    def gelu(self, x: str, name: str) -> str:
        scaled = self.node("Mul", [x, "gelu.root_half"], f"{name}.scaled")
        erf = self.node("Erf", [scaled], f"{name}.erf")
        shifted = self.node("Add", [erf, "gelu.one"], f"{name}.shifted")
        product = self.node("Mul", [x, shifted], f"{name}.product")
        return self.node("Mul", [product, "gelu.half"], name)

    def gelu_constants(self) -> None:
        """What :meth:`gelu` needs, once a graph."""
        self.constant("gelu.root_half", np.array([np.sqrt(0.5)], dtype=np.float32))
        self.constant("gelu.one", np.array([1.0], dtype=np.float32))
        self.constant("gelu.half", np.array([0.5], dtype=np.float32))

    def serialise(
        self,
        name: str,
        *,
        inputs: Mapping[str, Sequence[Any]],
        outputs: Mapping[str, Sequence[Any]],
        trees: bool = False,
    ) -> bytes:
        """The model.

        Parameters
        ----------
        name : str
            Of the graph.
        inputs, outputs : mapping of str to sequence of int or str
            Shapes by name, all float32; a word is a size that is known when it runs.
        trees : bool
            Whether operators of ``ai.onnx.ml`` are used.

        Returns
        -------
        bytes
            The same for the same graph.
        """
        make = self.helper
        ends = [
            [make.make_tensor_value_info(key, _FLOAT, list(shape)) for key, shape in side.items()]
            for side in (inputs, outputs)
        ]
        opsets = [make.make_opsetid("", OPSET)]
        if trees:
            opsets.append(make.make_opsetid("ai.onnx.ml", _ML_OPSET))
        model = make.make_model(
            make.make_graph(self.nodes, name, *ends, self.initialisers),
            producer_name="genrescope",
            opset_imports=opsets,
            ir_version=_IR_VERSION,
        )
        serialised: bytes = model.SerializeToString(deterministic=True)
        return serialised
