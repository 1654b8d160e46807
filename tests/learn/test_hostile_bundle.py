"""Bundles that someone made to do harm: refused before anything of them is run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from genrescope.errors import BundleError
from genrescope.learn import graphs
from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.parts.base import NewPart
from tests.learn.tinybundle import make_card, make_graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path, graph=make_graph(n_features=12), card=make_card(n_features=12))
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def swap(folder: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """Another graph, and a card that describes its bytes."""
    model = onnx.load_model(folder / "model.onnx")
    change(model)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    said = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, lambda card: card["graph"].update(said))


def refused(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is refused, and no session was made."""
    import onnxruntime

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a session was made")

    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    with pytest.raises(BundleError, match=words):
        Bundle.load(folder).run(np.zeros((1, 2, 12), np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m: m.graph.node.add(op_type="Run", domain="com.evil", output=["z"]),
            "operators of the domain 'com.evil'",
        ),
        (lambda m: m.graph.node.add(op_type="Loop", output=["z"]), "a loop"),
        (
            lambda m: m.graph.initializer[0].external_data.add(key="location", value="../x"),
            "weights in another file",
        ),
        (
            lambda m: m.graph.input.append(
                helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])
            ),
            r"the graph has the inputs \['features', 'more'\]",
        ),
        (lambda m: m.graph.output.pop(), "the graph has the outputs"),
        (
            lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
            r"tensor\(string\), expected tensor\(float\)",
        ),
        (
            lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 13),
            "has the shape",
        ),
    ],
)
def test_a_graph_is_looked_through_before_a_runtime_sees_it(
    folder: Path,
    change: Callable[[onnx.ModelProto], object],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swap(folder, change)
    refused(folder, words, monkeypatch)
    with pytest.raises(BundleError, match=words):
        Bundle.load(folder).check_graphs()


def test_graphs_of_parts_are_looked_through_too(folder: Path) -> None:
    graph = make_graph(n_features=5)
    part = NewPart(graph, {})
    made = write_bundle(
        folder, graph=make_graph(n_features=12), card=make_card(n_features=12), parts={"x": part}
    )
    made.check_graphs()
    model = onnx.load_model_from_string(graph)
    model.graph.node.add(op_type="Run", domain="com.evil", output=["z"])
    data = model.SerializeToString()
    (folder / "x.onnx").write_bytes(data)
    said = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, lambda card: card["parts"]["x"]["graph"].update(said))
    with pytest.raises(BundleError, match=r"part x: .*'com.evil'"):
        Bundle.load(folder).check_graphs()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(name="\x1b]0;gone\x07"), "key name"),
        (lambda c: c.update(name="x" * 501), "key name"),
        (lambda c: c["genres"].__setitem__(0, "Ro\nck"), r"key genres\[0\]"),
        (lambda c: c["genres"].__setitem__(0, "\ud800"), r"key genres\[0\]"),
        (lambda c: c.update(description="\udfff"), "key description"),
        (lambda c: c["conformal"].update(quantile=10**90), "conformal.quantile"),
        (lambda c: c["graph"].update(bytes=10**90), "graph.bytes"),
        (lambda c: c["training"].update(packages={"x": 10**400}), "has 401 digits"),
        (lambda c: c["graph"].update(file="x" * 300 + ".onnx"), "graph.file"),
        (lambda c: c.update(parts={"\x00": {}}), "parts has one named"),
        (lambda c: c.update(genres=[str(i) for i in range(10_001)]), "10000 at most"),
    ],
)
def test_a_card_of_odd_values_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=words):
        Bundle.load(folder)


def test_no_number_of_a_card_is_infinite(folder: Path) -> None:
    text = (folder / "card.json").read_text()
    for number in ("1e999", "-1e999", "Infinity", "NaN"):
        (folder / "card.json").write_text(text.replace('"packages": {}', f'"packages": [{number}]'))
        with pytest.raises(BundleError, match="is not JSON"):
            Bundle.load(folder)


def test_a_card_is_not_nested_for_ever(folder: Path) -> None:
    deep: list[Any] = []
    for _ in range(60):
        deep = [deep]
    edit(folder, lambda card: card["training"].update(packages={"x": deep}))
    with pytest.raises(BundleError, match="more than 50 deep"):
        Bundle.load(folder)


def test_a_file_that_is_too_large_is_not_read_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MAX_GRAPH", 100)
    with pytest.raises(BundleError, match="larger than 100 bytes"):
        graphs.read_limited(folder / "model.onnx", limit=graphs.MAX_GRAPH)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with names")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(BundleError, match="no regular file"):
        Bundle.load(folder)
