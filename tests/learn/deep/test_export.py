"""Networks as ONNX graphs that answer as they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from genrescope.audio import frames
from genrescope.errors import TrainingError
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.deep.architectures import ARCHITECTURES, FRAMES_SHAPE, build, find
from genrescope.learn.deep.data import Feed, FrameData
from genrescope.learn.deep.export import network_graph, pair_columns, plain_graph
from genrescope.learn.deep.loop import logits_of

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = find("compact-cnn", {"widths": (4, 8), "bands_each": 1})
CPU = torch.device("cpu")


@pytest.mark.parametrize("key", [a.key for a in ARCHITECTURES if a.key != "cs464-vit"])
def test_every_network_becomes_a_graph(key: str) -> None:
    """It answers as the network does, for any number of tracks and windows."""
    import onnxruntime

    architecture = find(key).at(FRAMES_SHAPE)
    if key == "vit-small":
        architecture = architecture.having({"depth": 1})
    torch.manual_seed(0)
    net = build(architecture, n_genres=5)
    graph = network_graph(net, architecture, temperature=2.0, n_genres=5)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    mel = rng.integers(0, 256, (3, 128, 128), dtype=np.uint8)
    mfcc = rng.normal(0, 20, (3, 130, 20)).astype(np.float16)
    rows = frames.describe_prepared(mel, mfcc)
    pooled, windows = session.run(None, {"features": rows[None]})
    assert pooled.shape == (1, 5)
    assert windows.shape == (1, 3, 5)
    data = FrameData(
        track_id=np.arange(3),
        mel=mel,
        mfcc=mfcc,
        y=np.zeros(3, dtype=np.int64),
        genres=("a", "b"),
        artist=np.array(["x", "y", "z"]),
    )
    feed = Feed(data, device=CPU, dense=architecture.hears_dense)
    expected = apply_temperature(logits_of(net, feed, np.arange(3)), 2.0)
    np.testing.assert_allclose(windows[0], expected, atol=2e-3)
    mean = np.log(expected).mean(axis=0)
    np.testing.assert_allclose(pooled[0], np.exp(mean) / np.exp(mean).sum(), atol=2e-3)


@pytest.mark.parametrize("name", ["cs464-cnn@3x64x80", "vit-tiny@2x32x48", "frame-net"])
def test_a_network_of_any_input_as_a_graph(name: str) -> None:
    import onnxruntime

    architecture = find(name)
    torch.manual_seed(0)
    net = build(architecture, n_genres=5)
    session = onnxruntime.InferenceSession(
        plain_graph(net, architecture), providers=["CPUExecutionProvider"]
    )
    inputs = {"frames": torch.randn(3, *architecture.input_shape)}
    if architecture.hears_dense:
        inputs["dense"] = torch.randn(3, 20, 130)
    assert [tensor.name for tensor in session.get_inputs()] == list(inputs)
    (logits,) = session.run(["logits"], {k: v.numpy() for k, v in inputs.items()})
    with torch.no_grad():
        expected = net.eval()(*inputs.values()).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-3)


def test_few_filters_are_computed_two_columns_at_a_time() -> None:
    """The second block of the study's CNN, as it leaves half of a vector empty; no other."""
    import onnx
    import onnxruntime

    architecture = find("cs464-cnn@1x64x77")  # 77 columns: the last one has no other
    torch.manual_seed(0)
    net = build(architecture, n_genres=5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    graph = plain_graph(net, architecture)
    shapes = [
        tuple(weight.dims)
        for weight in onnx.load_model_from_string(graph).graph.initializer
        if len(weight.dims) == 4
    ]
    assert sorted(shapes)[:3] == [(4, 1, 3, 3), (16, 4, 3, 4), (16, 8, 3, 3)]
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    x = torch.randn(3, 1, 64, 77)
    with torch.no_grad():
        expected = net.eval()(x).numpy()
    np.testing.assert_allclose(
        session.run(None, {"frames": x.numpy()})[0], expected, atol=1e-4, rtol=1e-4
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        {"padding": 0},
        {"stride": 2},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"bias": False},
        {"padding_mode": "circular"},
    ],
)
def test_other_convolutions_are_left_alone(change: dict[str, Any]) -> None:
    torch.manual_seed(0)
    usual: dict[str, Any] = {"padding": 1}
    conv = torch.nn.Conv2d(2, 4, 3, **(usual | change))
    net = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    made = pair_columns(net)
    assert [type(layer) for layer in made] == [type(layer) for layer in net]
    x = torch.randn(2, 2, 12, 13)
    with torch.no_grad():
        torch.testing.assert_close(made(x), net(x))


def test_a_graph_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.learn.deep import export

    real = export._run
    monkeypatch.setattr(export, "_run", lambda *a: np.roll(real(*a), 1, axis=-1))
    torch.manual_seed(0)
    net = build(TINY, n_genres=4)
    with torch.no_grad():
        net.genre.bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0]))
    with pytest.raises(TrainingError, match="answers otherwise than the network"):
        network_graph(net, TINY, temperature=1.0, n_genres=4)
