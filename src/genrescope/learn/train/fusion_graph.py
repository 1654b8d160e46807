"""The ONNX graph that answers from hashed text and numbers: one small linear model a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.learn.train.graph import GraphBuilder

__all__ = ["LinearSource", "build_text_graph"]

_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class LinearSource:
    """A multinomial logistic regression, with what comes before it.

    Attributes
    ----------
    idf : np.ndarray [shape=(d,), float32] or None
        For counts: their logarithms (of 1 + count) are multiplied by it, then each row is divided
        by its length. None for numbers, which are taken as they are.
    weight : np.ndarray [shape=(d, k), float32]
    bias : np.ndarray [shape=(k,), float64]
    """

    idf: npt.NDArray[np.float32] | None
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float64]

    def scaled(self, rows: Any) -> Any:
        """Sparse rows [n, d] as the regression takes them."""
        if self.idf is None:
            return rows
        out = rows.copy()
        out.data = np.log1p(out.data) * self.idf[out.indices]
        size = np.sqrt(np.asarray(out.multiply(out).sum(axis=1)).ravel())
        out.data /= np.repeat(np.maximum(size, _TINY), np.diff(out.indptr))
        return out

    def log_probabilities(self, rows: Any) -> npt.NDArray[np.float64]:
        """Of sparse rows [n, d], as the graph gives them apart from rounding."""
        z = np.asarray(self.scaled(rows) @ self.weight, dtype=np.float64) + self.bias
        z -= z.max(axis=1, keepdims=True)
        out: npt.NDArray[np.float64] = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return out


def build_text_graph(sources: Mapping[str, LinearSource]) -> bytes:
    """The graph of the part "text".

    Parameters
    ----------
    sources : mapping of str to LinearSource
        One or more.

    Returns
    -------
    bytes
        A serialised ONNX model. For each source an input of its name, float32 [batch, d], and an
        output ``NAME_log_p``, float32 [batch, k]. Weights are stored in float16.

    Raises
    ------
    MissingExtraError
        If onnx is not installed.
    """
    g = GraphBuilder()
    one = g.constant("one", np.array([1.0], dtype=np.float32))
    tiny = g.constant("tiny", np.array([_TINY], dtype=np.float32))
    inputs: dict[str, list[Any]] = {}
    outputs: dict[str, list[Any]] = {}
    for name, source in sources.items():
        x = name
        if source.idf is not None:
            shifted = g.node("Add", [x, one], f"{name}.shifted")
            logarithm = g.node("Log", [shifted], f"{name}.log")
            weighed = g.node("Mul", [logarithm, g.half(f"{name}.idf", source.idf)], f"{name}.tf")
            size = g.node("ReduceL2", [weighed], f"{name}.size", axes=[1], keepdims=1)
            x = g.node("Div", [weighed, g.node("Max", [size, tiny], f"{name}.safe")], f"{name}.x")
        product = g.node("MatMul", [x, g.half(f"{name}.weight", source.weight)], f"{name}.product")
        bias = g.constant(f"{name}.bias", source.bias.astype(np.float32))
        z = g.node("Add", [product, bias], f"{name}.z")
        g.node("LogSoftmax", [z], f"{name}_log_p", axis=1)
        d, k = source.weight.shape
        inputs[name] = ["batch", d]
        outputs[f"{name}_log_p"] = ["batch", k]
    return g.serialise("metadata", inputs=inputs, outputs=outputs)
