"""A small valid bundle for tests: a linear layer with seeded weights, and a whole card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from genrescope.learn.bundle import Bundle, write_bundle

#: The eight genres of FMA-small.
GENRES = (
    "Electronic",
    "Experimental",
    "Folk",
    "Hip-Hop",
    "Instrumental",
    "International",
    "Pop",
    "Rock",
)


def make_graph(
    *, n_features: int, n_genres: int = len(GENRES), seed: int = 0, sharpness: float = 3.0
) -> bytes:
    """Standardise each window over its features, one linear layer, softmax, pool.

    ``sharpness`` is the spread of the logits: high for a recogniser that is always sure.
    """
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_features, n_genres)) * sharpness / np.sqrt(n_features)
    constants = {
        "weights": weights.astype(np.float32),
        "epsilon": np.array(1e-6, dtype=np.float32),
        "last": np.array([-1], dtype=np.int64),
        "windows": np.array([1], dtype=np.int64),
    }
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["features", "last"], ["mean"], keepdims=1),
        node("Sub", ["features", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["squared"]),
        node("ReduceMean", ["squared", "last"], ["variance"], keepdims=1),
        node("Add", ["variance", "epsilon"], ["positive"]),
        node("Sqrt", ["positive"], ["spread"]),
        node("Div", ["centred", "spread"], ["standard"]),
        node("MatMul", ["standard", "weights"], ["logits"]),
        node("Softmax", ["logits"], ["window_probabilities"], axis=-1),
        node("ReduceMean", ["logits", "windows"], ["pooled"], keepdims=0),
        node("Softmax", ["pooled"], ["probabilities"], axis=-1),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("features", TensorProto.FLOAT, ["batch", "windows", n_features])],
        [
            tensor("probabilities", TensorProto.FLOAT, ["batch", n_genres]),
            tensor("window_probabilities", TensorProto.FLOAT, ["batch", "windows", n_genres]),
        ],
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def make_card(*, n_features: int, genres: tuple[str, ...] = GENRES, **changes: Any) -> dict:
    """A card without its graph section; ``changes`` replace whole sections."""
    scores = {
        "n": 100,
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "artist_weighted_accuracy": 0.5,
        "macro_f1": 0.48,
        "top3": 0.8,
        "log_loss": 1.4,
        "ece": 0.02,
        "coverage": 0.4,
        "accuracy_when_sure": 0.75,
        "per_genre": {
            genre: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 10} for genre in genres
        },
        "confusion": np.eye(len(genres), dtype=int).tolist(),
        "intervals": {"accuracy": [0.4, 0.6], "macro_f1": [0.38, 0.58]},
    }
    card = {
        "name": "tiny",
        "version": "1",
        "description": "Random weights, for tests; it recognises nothing.",
        "genres": list(genres),
        "front_end": {
            "name": "frames",
            "version": 1,
            "n_features": n_features,
            "parameters": {},
        },
        "training": {
            "data": "none",
            "licence": "CC0-1.0",
            "tracks": 2,
            "artists": 1,
            "track_ids": [2, 5],
            "command": "none",
            "seed": 0,
            "packages": {},
        },
        "metrics": {
            "protocol": "none",
            "table": [{"name": "tiny", "accuracy": 0.5, "macro_f1": 0.48}],
            "scores": scores,
        },
        "calibration": {"method": "temperature", "temperature": 1.0, "ece": 0.02},
        "abstention": {
            "threshold": 0.5,
            "target_accuracy": 0.75,
            "coverage": 0.4,
            "accuracy_when_sure": 0.75,
            "method": "none",
        },
        "conformal": {"level": 0.9, "quantile": 0.9, "coverage": 0.9, "mean_set_size": 3.0},
        "licence": "CC0-1.0",
        "created": "2025-01-01",
    }
    return {**card, **changes}


def make_bundle(folder: Path, *, n_features: int = 12, seed: int = 0, **changes: Any) -> Bundle:
    """Write a tiny bundle into ``folder``; ``changes`` replace sections of the card."""
    genres = tuple(changes.pop("genres", GENRES))
    sharpness = changes.pop("sharpness", 3.0)
    graph = make_graph(n_features=n_features, n_genres=len(genres), seed=seed, sharpness=sharpness)
    card = make_card(n_features=n_features, genres=genres, **changes)
    return write_bundle(folder, graph=graph, card=card)
