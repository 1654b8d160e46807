"""One ONNX graph for the whole recogniser: scaling, networks, trees, pooling, calibration.

The graph is written node by node, so that it holds nothing that is not needed, its weights in
float16, and needs operators that every runtime of the last years has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import MissingExtraError
from genrescope.learn.framenet import CLIP, FrontScale

__all__ = ["OPSET", "build_graph", "net_log_probabilities"]

FloatArray = npt.NDArray[np.float32]

OPSET = 17
_ML_OPSET = 3
_IR_VERSION = 8


def net_log_probabilities(z: FloatArray, weights: Mapping[str, FloatArray]) -> FloatArray:
    """What a network of the graph answers, in numpy.

    Parameters
    ----------
    z : np.ndarray [shape=(n, n_in), float32]
        Scaled features.
    weights : mapping of np.ndarray
        Of :func:`genrescope.learn.framenet.folded_weights`.

    Returns
    -------
    np.ndarray [shape=(n, n_genres), float32]
        Logarithms of probabilities.
    """
    h = _gelu(z @ weights["first.weight"] + weights["first.bias"])
    h = h + _gelu(h @ weights["block.weight"] + weights["block.bias"])
    return log_softmax(h @ weights["genre.weight"] + weights["genre.bias"])


def log_softmax(x: FloatArray) -> FloatArray:
    """Logarithm of the softmax over the last axis."""
    shifted = x - x.max(axis=-1, keepdims=True)
    out: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return out


def _gelu(x: FloatArray) -> FloatArray:
    import torch

    out: FloatArray = torch.nn.functional.gelu(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return out


class _Graph:
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
        return self.node("Cast", [stored], name, to=1)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def gelu(self, x: str, name: str) -> str:
        scaled = self.node("Mul", [x, "gelu.root_half"], f"{name}.scaled")
        erf = self.node("Erf", [scaled], f"{name}.erf")
        shifted = self.node("Add", [erf, "gelu.one"], f"{name}.shifted")
        product = self.node("Mul", [x, shifted], f"{name}.product")
        return self.node("Mul", [product, "gelu.half"], name)


def build_graph(
    *,
    scale: FrontScale,
    nets: Sequence[Mapping[str, FloatArray]],
    trees: Any | None,
    tree_weight: float,
    temperature: float,
    n_genres: int,
    name: str,
) -> bytes:
    """Build the graph of a recogniser.

    Parameters
    ----------
    scale : FrontScale
        In front of the networks.
    nets : sequence of mapping
        Folded weights; their log-probabilities are averaged.
    trees : lightgbm.Booster or None
        Their log-probabilities are added, times ``tree_weight``.
    tree_weight : float
        See ``trees``.
    temperature : float > 0
        The sum is divided by it before the softmax.
    n_genres : int
        Number of classes.
    name : str
        Of the graph.

    Returns
    -------
    bytes
        A serialised ONNX model. Input ``features`` float32 [batch, windows, n_features]; outputs
        ``probabilities`` [batch, n_genres], pooled over the windows (mean of log-probabilities),
        and ``window_probabilities`` [batch, windows, n_genres].
    """
    g = _Graph()
    helper = g.helper
    n_features = len(scale.mean)
    g.constant("gelu.root_half", np.array([np.sqrt(0.5)], dtype=np.float32))
    g.constant("gelu.one", np.array([1.0], dtype=np.float32))
    g.constant("gelu.half", np.array([0.5], dtype=np.float32))
    g.constant("clip.low", np.array(-CLIP, dtype=np.float32))
    g.constant("clip.high", np.array(CLIP, dtype=np.float32))
    rows = g.node(
        "Reshape",
        ["features", g.constant("rows.shape", np.array([-1, n_features], dtype=np.int64))],
        "rows",
    )
    centred = g.node("Sub", [rows, g.constant("scale.mean", scale.mean)], "centred")
    scaled = g.node("Mul", [centred, g.constant("scale.scale", scale.scale)], "scaled")
    clipped = g.node("Clip", [scaled, "clip.low", "clip.high"], "clipped")
    z = g.node("MatMul", [clipped, g.half("scale.projection", scale.projection)], "z")

    answers = [_add_net(g, z, weights, f"net{i}") for i, weights in enumerate(nets)]
    total = g.node("Mean", answers, "nets") if len(answers) > 1 else answers[0]
    if trees is not None:
        scores = _add_trees(g, rows, trees, n_genres)
        log_p = g.node("LogSoftmax", [scores], "trees.log_p", axis=1)
        factor = g.constant("trees.weight", np.array([tree_weight], dtype=np.float32))
        total = g.node("Add", [total, g.node("Mul", [log_p, factor], "trees.part")], "total")
    cool = g.node(
        "Mul",
        [total, g.constant("inverse_temperature", np.array([1.0 / temperature], dtype=np.float32))],
        "cool",
    )
    shape = g.node("Shape", ["features"], "shape")
    leading = g.node(
        "Slice",
        [
            shape,
            g.constant("zero", np.array([0], dtype=np.int64)),
            g.constant("two", np.array([2], dtype=np.int64)),
        ],
        "leading",
    )
    target = g.node(
        "Concat",
        [leading, g.constant("genres", np.array([n_genres], dtype=np.int64))],
        "target",
        axis=0,
    )
    windows = g.node("Reshape", [cool, target], "windows")
    pooled = g.node("ReduceMean", [windows], "pooled", axes=[1], keepdims=0)
    g.node("Softmax", [pooled], "probabilities", axis=1)
    g.node("Softmax", [windows], "window_probabilities", axis=2)

    def tensor(label: str, dims: list[Any]) -> Any:
        return helper.make_tensor_value_info(label, 1, dims)  # 1: float32

    graph = helper.make_graph(
        g.nodes,
        name,
        [tensor("features", ["batch", "windows", n_features])],
        [
            tensor("probabilities", ["batch", n_genres]),
            tensor("window_probabilities", ["batch", "windows", n_genres]),
        ],
        g.initialisers,
    )
    model = helper.make_model(
        graph,
        producer_name="genrescope",
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ],
        ir_version=_IR_VERSION,
    )
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _add_net(g: _Graph, z: str, weights: Mapping[str, FloatArray], name: str) -> str:
    def dense(x: str, layer: str) -> str:
        matrix = g.half(f"{name}.{layer}.weight", weights[f"{layer}.weight"])
        bias = g.constant(f"{name}.{layer}.bias", weights[f"{layer}.bias"])
        product = g.node("MatMul", [x, matrix], f"{name}.{layer}.product")
        return g.node("Add", [product, bias], f"{name}.{layer}")

    first = g.gelu(dense(z, "first"), f"{name}.first.gelu")
    block = g.gelu(dense(first, "block"), f"{name}.block.gelu")
    hidden = g.node("Add", [first, block], f"{name}.hidden")
    return g.node("LogSoftmax", [dense(hidden, "genre")], f"{name}.log_p", axis=1)


def _add_trees(g: _Graph, rows: str, booster: Any, n_genres: int) -> str:
    """LightGBM's trees as one TreeEnsembleRegressor with a target for each genre."""
    nodes: dict[str, list[Any]] = {
        key: []
        for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "false")
    }
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}

    def add(tree: int, node: Mapping[str, Any]) -> int:
        here = len(nodes["nodeids"]) - start
        nodes["treeids"].append(tree)
        nodes["nodeids"].append(here)
        place = len(nodes["nodeids"]) - 1
        for key in ("featureids", "values", "modes", "truenodeids", "false"):
            nodes[key].append(0)
        if "split_feature" not in node:
            nodes["modes"][place] = "LEAF"
            leaves["treeids"].append(tree)
            leaves["nodeids"].append(here)
            leaves["ids"].append(tree % n_genres)
            leaves["weights"].append(float(node["leaf_value"]))
            return here
        nodes["featureids"][place] = int(node["split_feature"])
        nodes["values"][place] = _round_down(float(node["threshold"]))
        nodes["modes"][place] = "BRANCH_LEQ"
        nodes["truenodeids"][place] = add(tree, node["left_child"])
        nodes["false"][place] = add(tree, node["right_child"])
        return here

    dump = booster.dump_model(num_iteration=booster.best_iteration or None)
    for tree, info in enumerate(dump["tree_info"]):
        start = len(nodes["nodeids"])
        add(tree, info["tree_structure"])
    return g.node(
        "TreeEnsembleRegressor",
        [rows],
        "trees.scores",
        domain="ai.onnx.ml",
        n_targets=n_genres,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=nodes["treeids"],
        nodes_nodeids=nodes["nodeids"],
        nodes_featureids=nodes["featureids"],
        nodes_values=nodes["values"],
        nodes_modes=nodes["modes"],
        nodes_truenodeids=nodes["truenodeids"],
        nodes_falsenodeids=nodes["false"],
        target_treeids=leaves["treeids"],
        target_nodeids=leaves["nodeids"],
        target_ids=leaves["ids"],
        target_weights=leaves["weights"],
    )


def _round_down(threshold: float) -> float:
    """The largest float32 not above: for float32 x, ``x <= threshold`` stays what it was."""
    nearest = np.float32(threshold)
    if float(nearest) > threshold:
        nearest = np.float32(np.nextafter(nearest, np.float32(-np.inf)))
    return float(nearest)
