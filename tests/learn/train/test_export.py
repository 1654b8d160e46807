"""The graph that ships answers as the networks and the trees that were trained."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from genrescope.audio import frames
from genrescope.catalog.prepared import load_prepared
from genrescope.learn.train.export import Ensemble, build_graph
from genrescope.learn.train.framenet import FrameNet, folded_frame_weights, split_row
from genrescope.learn.train.graph import OPSET
from genrescope.learn.train.statnet import StatNet, fit_front_scale, folded_weights
from tests.learn.small_data import make_prepared
from tests.learn.train.test_statnet import lived_in

GENRES = 4


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))


def answer(graph: bytes, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pooled, windows = session.run(
        ["probabilities", "window_probabilities"], {"features": features.astype(np.float32)}
    )
    return pooled, windows


class Trained:
    """Members of every kind, and what each says about some tracks."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        torch.manual_seed(0)
        self.x = x
        statistics = x[:, : frames.N_STATISTICS]
        self.scale = fit_front_scale(statistics, n_components=40)
        self.z = torch.as_tensor(self.scale(statistics))
        self.sequences = split_row(torch.as_tensor(x))
        self.nets = [StatNet(self.z.shape[1], n_genres=GENRES, n_teacher=3) for _ in range(2)]
        self.frame_nets = [FrameNet(n_genres=GENRES, n_teacher=3) for _ in range(2)]
        # Networks that are sure of something, not ones that always say a quarter.
        for net in self.nets:
            lived_in(net, self.z)
            with torch.no_grad():
                net.genre.weight *= 6
        for frame_net in self.frame_nets:
            lived_in(frame_net, *self.sequences)
            with torch.no_grad():
                frame_net.genre.weight *= 12
        self.trees = lightgbm.train(
            {"objective": "multiclass", "num_class": GENRES, "verbose": -1, "num_threads": 1,
             "min_data_in_leaf": 4, "feature_fraction": 0.1},
            lightgbm.Dataset(statistics, y),
            num_boost_round=6,
        )  # fmt: skip

    def parts(self) -> dict[str, np.ndarray]:
        """Mean log-probabilities of each kind [n, genres], by torch and by LightGBM."""
        with torch.no_grad():
            nets = [log_softmax(net(self.z)[0].numpy()) for net in self.nets]
            seen = [log_softmax(net(*self.sequences)[0].numpy()) for net in self.frame_nets]
        raw = self.trees.predict(self.x[:, : frames.N_STATISTICS], raw_score=True)
        return {
            "nets": np.mean(nets, axis=0),
            "frames": np.mean(seen, axis=0),
            "trees": log_softmax(np.asarray(raw)),
        }

    def graph(
        self, *, only: str | None = None, temperature: float = 1.0, **weights: float
    ) -> bytes:
        ensemble = Ensemble(
            scale=self.scale,
            nets=[folded_weights(net) for net in self.nets] if only in (None, "nets") else (),
            frame_nets=[folded_frame_weights(net) for net in self.frame_nets]
            if only in (None, "frames")
            else (),
            trees=self.trees if only in (None, "trees") else None,
            **weights,
        )
        return build_graph(ensemble, temperature=temperature, n_genres=GENRES, name="test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = make_prepared(tmp_path_factory.mktemp("prepared"), n_artists=20, tracks_each=3)
    data = load_prepared(folder)
    y = np.unique(data.genre_top, return_inverse=True)[1]
    return Trained(frames.describe_prepared(data.mel, data.mfcc_3s), y)


@pytest.mark.parametrize("kind", ["nets", "frames", "trees"])
def test_one_kind_answers_as_what_was_trained(trained: Trained, kind: str) -> None:
    expected = np.exp(log_softmax(trained.parts()[kind]))
    assert np.ptp(expected, axis=0).min() > 0.1
    pooled, windows = answer(trained.graph(only=kind), trained.x[:, None])
    assert pooled.shape == (len(trained.x), GENRES)
    np.testing.assert_allclose(pooled, expected, atol=1e-3 if kind != "trees" else 1e-5)
    np.testing.assert_allclose(windows[:, 0], pooled, atol=1e-6)


@pytest.mark.parametrize(
    ("frame_weight", "tree_weight", "temperature"), [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0)]
)
def test_kinds_are_added_by_weight_and_cooled(
    trained: Trained, frame_weight: float, tree_weight: float, temperature: float
) -> None:
    parts = trained.parts()
    total = parts["nets"] + frame_weight * parts["frames"] + tree_weight * parts["trees"]
    graph = trained.graph(
        frame_weight=frame_weight, tree_weight=tree_weight, temperature=temperature
    )
    pooled, _ = answer(graph, trained.x[:, None])
    np.testing.assert_allclose(pooled, np.exp(log_softmax(total / temperature)), atol=1e-3)


def test_windows_are_pooled_by_the_mean_of_their_log_probabilities(trained: Trained) -> None:
    tracks = trained.x[:24].reshape(8, 3, -1)
    plain, windows = answer(trained.graph(), tracks)
    assert plain.shape == (8, GENRES)
    assert windows.shape == (8, 3, GENRES)
    mean = np.log(windows.astype(np.float64)).mean(axis=1)
    np.testing.assert_allclose(plain, np.exp(log_softmax(mean)), atol=1e-4)
    assert np.abs(plain - windows.mean(axis=1)).max() > 0.05  # it is not the plain mean
    # The temperature comes after pooling and after the windows alike.
    cool, cool_windows = answer(trained.graph(temperature=2.5), tracks)
    np.testing.assert_allclose(cool, np.exp(log_softmax(mean / 2.5)), atol=1e-4)
    np.testing.assert_allclose(
        cool_windows, np.exp(log_softmax(np.log(windows.astype(np.float64)) / 2.5)), atol=1e-4
    )


def test_a_track_is_answered_the_same_alone_and_in_a_batch(trained: Trained) -> None:
    graph = trained.graph(temperature=1.7)
    tracks = trained.x[:20].reshape(5, 4, -1)
    together, windows = answer(graph, tracks)
    for i, track in enumerate(tracks):
        alone, mine = answer(graph, track[None])
        np.testing.assert_allclose(together[i], alone[0], atol=1e-5)
        np.testing.assert_allclose(windows[i], mine[0], atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(windows.sum(axis=2), 1.0, atol=1e-5)


def test_the_graph_is_valid_compact_and_the_same_every_time(trained: Trained) -> None:
    graph = trained.graph()
    assert graph == trained.graph()
    model = onnx.load_model_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain: o.version for o in model.opset_import} == {"": OPSET, "ai.onnx.ml": 3}
    weights = [
        *(w for net in trained.nets for w in folded_weights(net).values()),
        *(w for net in trained.frame_nets for w in folded_frame_weights(net).values()),
        trained.scale.projection,
    ]
    # Two bytes a weight; the trees and some vectors are the rest.
    assert len(graph) < 2.3 * sum(w.size for w in weights)


# --- trees -----------------------------------------------------------------


def raw_scores(booster: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(booster.predict(x, raw_score=True))


def tree_log_probabilities(booster: Any, x: np.ndarray, *, n_genres: int) -> np.ndarray:
    """What the graph of these trees alone says about statistics [n, d]."""
    rows = np.zeros((len(x), frames.N_FEATURES), dtype=np.float32)
    rows[:, : x.shape[1]] = x
    scale = fit_front_scale(np.eye(3, dtype=np.float32), n_components=1)
    ensemble = Ensemble(scale=scale, trees=booster)
    graph = build_graph(ensemble, temperature=1.0, n_genres=n_genres, name="trees")
    pooled, _ = answer(graph, rows[:, None])
    return np.log(pooled.astype(np.float64))


def thresholds(booster: Any) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}

    def walk(node: dict[str, Any]) -> None:
        if "split_feature" in node:
            found.setdefault(node["split_feature"], []).append(node["threshold"])
            walk(node["left_child"])
            walk(node["right_child"])

    for tree in booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return found


def grown(x: np.ndarray, y: np.ndarray, *, rounds: int = 10, n_genres: int = 3) -> Any:
    settings = {
        "objective": "multiclass",
        "num_class": n_genres,
        "num_leaves": 8,
        "min_data_in_leaf": 2,
        "verbose": -1,
        "num_threads": 1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=rounds)


def test_trees_agree_on_the_very_thresholds() -> None:
    """Values on, just below and just above thresholds that float32 does not have."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1], 1)
    x[:, 2] *= 1e4
    x[rng.random(400) < 0.5, 3] = 0.0
    y = (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] + 1e4 * x[:, 3] > 0)
    booster = grown(x, y)
    splits = thresholds(booster)
    assert set(splits) == {0, 1, 2, 3}
    inexact = [t for ts in splits.values() for t in ts if float(np.float32(t)) != t]
    rounded_up = [t for t in inexact if float(np.float32(t)) > t]
    assert len(rounded_up) > 20
    assert len(inexact) - len(rounded_up) > 20

    rows = []
    for feature, values in splits.items():
        for threshold in values:
            nearest = np.float32(threshold)
            for value in (
                nearest,
                np.nextafter(nearest, np.float32(-np.inf)),
                np.nextafter(nearest, np.float32(np.inf)),
            ):
                row = x[rng.integers(len(x))].copy()
                row[feature] = value
                rows.append(row)
    edge = np.stack(rows)
    expected = log_softmax(raw_scores(booster, edge))
    np.testing.assert_allclose(
        tree_log_probabilities(booster, edge, n_genres=3), expected, atol=1e-5
    )
    # The values do decide: stepping over a threshold changes the answer.
    assert np.abs(expected[1::3] - expected[2::3]).max() > 0.1


def test_classes_of_different_size_and_trees_without_a_split() -> None:
    """The start of each class is in its first tree; a tree may be one leaf."""
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], [200, 60, 12])
    x = (y[:, None] == 1) + 0.1 * rng.normal(size=(len(y), 3))
    booster = grown(x, y, rounds=4)
    expected = log_softmax(raw_scores(booster, x.astype(np.float32)))
    got = tree_log_probabilities(booster, x.astype(np.float32), n_genres=3)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert expected[0, 0] - expected[0, 2] > 1.0

    nothing = grown(np.zeros((len(y), 3)), y, rounds=2)
    assert not thresholds(nothing)
    expected = log_softmax(raw_scores(nothing, np.zeros((2, 3))))
    np.testing.assert_allclose(
        tree_log_probabilities(nothing, np.zeros((2, 3)), n_genres=3), expected, atol=1e-5
    )


def test_only_the_best_rounds_of_trees_that_stopped_early() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 5)).astype(np.float32), rng.integers(0, 3, size=300)
    x[:, 0] += y
    train = lightgbm.Dataset(x[:200], y[:200])
    booster = lightgbm.train(
        {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1},
        train,
        num_boost_round=60,
        keep_training_booster=True,
        valid_sets=[lightgbm.Dataset(x[200:], y[200:], reference=train)],
        callbacks=[lightgbm.early_stopping(8, verbose=False)],
    )
    assert 0 < booster.best_iteration < booster.current_iteration()
    best = np.asarray(booster.predict(x, raw_score=True, num_iteration=booster.best_iteration))
    every = np.asarray(booster.predict(x, raw_score=True, num_iteration=-1))
    got = tree_log_probabilities(booster, x, n_genres=3)
    np.testing.assert_allclose(got, log_softmax(best), atol=1e-5)
    assert np.abs(log_softmax(every) - got).max() > 0.05
