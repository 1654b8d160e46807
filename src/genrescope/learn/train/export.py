"""One ONNX graph for the whole recogniser: scaling, networks, trees, pooling, calibration.

The graph is written node by node, so that it holds nothing that is not needed, its weights in
float16, and needs operators that every runtime of the last years has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.statistics import N_MFCC
from genrescope.learn.train.graph import GraphBuilder
from genrescope.learn.train.statnet import CLIP, FrontScale

__all__ = ["Ensemble", "add_scale", "build_graph"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What answers together in one graph.

    Attributes
    ----------
    scale : FrontScale
        In front of the networks on statistics.
    nets, frame_nets : sequence of mapping
        Folded weights of networks on statistics and on frames; the log-probabilities of a kind
        are averaged.
    trees : lightgbm.Booster or None
        Trees on statistics.
    frame_weight, tree_weight : float
        What the log-probabilities of frame networks and trees are multiplied by before they are
        added to those of the networks on statistics.
    """

    scale: FrontScale
    nets: Sequence[Mapping[str, FloatArray]] = ()
    frame_nets: Sequence[Mapping[str, FloatArray]] = ()
    trees: Any | None = None
    frame_weight: float = 1.0
    tree_weight: float = 1.0


def build_graph(ensemble: Ensemble, *, temperature: float, n_genres: int, name: str) -> bytes:
    """Build the graph of a recogniser.

    Parameters
    ----------
    ensemble : Ensemble
        Networks and trees.
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
    g = GraphBuilder()
    nets, frame_nets, trees = ensemble.nets, ensemble.frame_nets, ensemble.trees
    if nets or frame_nets:
        g.gelu_constants()
    rows = g.node("Reshape", ["features", g.integers("rows", [-1, frames.N_FEATURES])], "rows")
    statistics = g.columns(rows, 0, frames.N_STATISTICS, "statistics")
    parts: list[str] = []
    if nets:
        z = add_scale(g, statistics, ensemble.scale)
        answers = [_add_net(g, z, weights, f"net{i}") for i, weights in enumerate(nets)]
        parts.append(g.mean(answers, "nets"))
    if frame_nets:
        seen = _add_frames(g, rows)
        answers = [_add_frame_net(g, seen, w, f"frame{i}") for i, w in enumerate(frame_nets)]
        parts.append(g.times(g.mean(answers, "frame_nets"), ensemble.frame_weight, "frame_part"))
    if trees is not None:
        scores = _add_trees(g, statistics, trees, n_genres)
        log_p = g.node("LogSoftmax", [scores], "trees.log_p", axis=1)
        parts.append(g.times(log_p, ensemble.tree_weight, "tree_part"))
    total = g.node("Sum", parts, "total")
    cool = g.times(total, 1.0 / temperature, "cool")
    shape = g.node("Shape", ["features"], "shape")
    leading = g.node("Slice", [shape, g.integers("zero", [0]), g.integers("two", [2])], "leading")
    target = g.node("Concat", [leading, g.integers("genres", [n_genres])], "target", axis=0)
    windows = g.node("Reshape", [cool, target], "windows")
    pooled = g.node("ReduceMean", [windows], "pooled", axes=[1], keepdims=0)
    g.node("Softmax", [pooled], "probabilities", axis=1)
    g.node("Softmax", [windows], "window_probabilities", axis=2)

    return g.serialise(
        name,
        inputs={"features": ["batch", "windows", frames.N_FEATURES]},
        outputs={
            "probabilities": ["batch", n_genres],
            "window_probabilities": ["batch", "windows", n_genres],
        },
        trees=True,
    )


def add_scale(g: GraphBuilder, statistics: str, scale: FrontScale) -> str:
    """Statistics as the networks read them: centred, scaled, cut off, turned."""
    low = g.constant("clip.low", np.array(-CLIP, dtype=np.float32))
    high = g.constant("clip.high", np.array(CLIP, dtype=np.float32))
    centred = g.node("Sub", [statistics, g.constant("scale.mean", scale.mean)], "centred")
    scaled = g.node("Mul", [centred, g.constant("scale.scale", scale.scale)], "scaled")
    clipped = g.node("Clip", [scaled, low, high], "clipped")
    return g.node("MatMul", [clipped, g.half("scale.projection", scale.projection)], "z")


def _add_net(g: GraphBuilder, z: str, weights: Mapping[str, FloatArray], name: str) -> str:
    first = g.gelu(g.dense(z, weights, "first", name), f"{name}.first.gelu")
    block = g.gelu(g.dense(first, weights, "block", name), f"{name}.block.gelu")
    hidden = g.node("Add", [first, block], f"{name}.hidden")
    logits = g.dense(hidden, weights, "genre", name)
    return g.node("LogSoftmax", [logits], f"{name}.log_p", axis=1)


def _add_frames(g: GraphBuilder, rows: str) -> dict[str, str]:
    """The two sequences of a feature row, each [n, channels, time]."""
    first = frames.N_STATISTICS
    second = first + frames.READ_BANDS * frames.N_FRAMES
    shapes = {
        "frames": (first, second, frames.READ_BANDS, frames.N_FRAMES),
        "dense": (second, frames.N_FEATURES, N_MFCC, frames.DENSE_FRAMES),
    }
    seen = {}
    for name, (start, stop, channels, time) in shapes.items():
        flat = g.columns(rows, start, stop, f"{name}.flat")
        shape = g.integers(f"{name}.shape", [-1, channels, time])
        seen[name] = g.node("Reshape", [flat, shape], f"{name}.sequence")
    return seen


def _add_frame_net(
    g: GraphBuilder, seen: Mapping[str, str], weights: Mapping[str, FloatArray], name: str
) -> str:
    pooled: list[str] = []
    for branch, sequence in seen.items():
        label = f"{name}.{branch}"
        gain, offset = (
            g.constant(f"{label}.{what}", weights[f"{branch}.{what}"][:, None])
            for what in ("gain", "offset")
        )
        h = g.node("Mul", [sequence, gain], f"{label}.gained")
        h = g.node("Add", [h, offset], f"{label}.normed")
        for k in range(3):
            kernel = weights[f"{branch}.{k}.weight"]
            pad = kernel.shape[2] // 2
            matrix = g.half(f"{label}.{k}.weight", kernel)
            bias = g.constant(f"{label}.{k}.bias", weights[f"{branch}.{k}.bias"])
            h = g.node("Conv", [h, matrix, bias], f"{label}.{k}", pads=[pad, pad])
            h = g.gelu(h, f"{label}.{k}.gelu")
            if branch == "dense" and k < 2:
                h = g.node("MaxPool", [h], f"{label}.{k}.pool", kernel_shape=[2], strides=[2])
        pooled += _add_pool(g, h, label)
    joined = g.node("Concat", pooled, f"{name}.pooled", axis=1)
    hidden = g.gelu(g.dense(joined, weights, "join", name), f"{name}.join.gelu")
    logits = g.dense(hidden, weights, "genre", name)
    return g.node("LogSoftmax", [logits], f"{name}.log_p", axis=1)


def _add_pool(g: GraphBuilder, h: str, label: str) -> list[str]:
    """Mean, maximum and spread over time."""
    mean = g.node("ReduceMean", [h], f"{label}.mean", axes=[2], keepdims=1)
    away = g.node("Sub", [h, mean], f"{label}.away")
    square = g.node("Mul", [away, away], f"{label}.square")
    variance = g.node("ReduceMean", [square], f"{label}.variance", axes=[2], keepdims=0)
    tiny = g.constant(f"{label}.tiny", np.array([1e-5], dtype=np.float32))
    safe = g.node("Add", [variance, tiny], f"{label}.safe")
    return [
        g.node("ReduceMean", [h], f"{label}.mean_flat", axes=[2], keepdims=0),
        g.node("ReduceMax", [h], f"{label}.max", axes=[2], keepdims=0),
        g.node("Sqrt", [safe], f"{label}.spread"),
    ]


def _add_trees(g: GraphBuilder, rows: str, booster: Any, n_genres: int) -> str:
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
        for key in ("featureids", "modes", "truenodeids", "false"):
            nodes[key].append(0)
        nodes["values"].append(0.0)  # the type of an attribute is that of its values
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
