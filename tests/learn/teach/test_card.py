"""The graph of a head answers as the head does; targets that cannot be promised are not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from genrescope.catalog.splits import group_folds
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.teach.card import decide, head_graph
from genrescope.learn.teach.head import GenreHead


def run(graph, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "window_probabilities"], {"features": x})


@pytest.mark.parametrize("k", [2, 5])
def test_graph_and_head_agree_and_windows_are_pooled(k):
    rng = np.random.default_rng(0)
    y = np.arange(90) % k * (np.arange(90) < 80)
    x = rng.normal(size=(90, 30)) + 1.5 * np.eye(30)[y]
    x[:, 7] = 3.0
    head = GenreHead([(0, 10), (10, 30)], balanced=k == 2).fit(x, y, groups=np.arange(90) // 3)
    new = rng.normal(size=(6, 30)) * 3
    pooled, windows = run(
        head_graph(head, n_features=30, temperature=1.7), new.reshape(2, 3, 30).astype(np.float32)
    )
    cool = np.log(head.predict_proba(new)) / 1.7
    assert np.abs(windows.reshape(6, k) - apply_temperature(cool, 1.0)).max() < 5e-3
    mean = apply_temperature(cool.reshape(2, 3, k).mean(axis=1), 1.0)
    assert np.abs(pooled - mean).max() < 5e-3


def test_the_highest_target_that_holds_is_promised():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 5)
    y = (groups % 3).astype(np.int64)
    folds = group_folds(y, groups, n_folds=5)

    def asked(accuracy):
        right = rng.uniform(size=len(y)) < accuracy
        said = np.where(right, y, (y + 1) % 3)
        p = 0.1 + 0.7 * np.eye(3)[said]
        return decide(p, y, folds=folds, groups=groups)["abstention"]

    assert asked(0.99)["target_accuracy"] == 0.95
    assert asked(0.86)["target_accuracy"] == 0.8
    hopeless = asked(0.3)
    assert hopeless["threshold"] is None
