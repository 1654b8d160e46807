"""A stand-in of the Hub, and a small bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.parts.base import NewPart
from tests.learn.hub_stand_in import Hub, hub_stand_in, use
from tests.learn.tinybundle import make_card, make_graph


def doubling() -> NewPart:
    """A part that doubles what it is given."""
    tensor = helper.make_tensor_value_info
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "double",
        [tensor("x", TensorProto.FLOAT, ["batch", 3])],
        [tensor("y", TensorProto.FLOAT, ["batch", 3])],
        initializer=[two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return NewPart(bytes(model.SerializeToString()), {"factor": 2})


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hub_stand_in() as hub:
        yield hub


@pytest.fixture
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    server.__dict__.update(Hub(url=server.url).__dict__)
    use(server, monkeypatch, tmp_path / "no-token")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries
    return server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return write_bundle(
        folder,
        graph=make_graph(n_features=12),
        card=make_card(n_features=12),
        parts={"double": doubling()},
    )
