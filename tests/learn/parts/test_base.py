"""Parts of a bundle: written and read with it, checked like it, used by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from genrescope.errors import BundleError, DataError  # noqa: E402
from genrescope.learn.bundle import CARD_FILE, Bundle, write_bundle  # noqa: E402
from genrescope.learn.parts.base import NewPart, Part  # noqa: E402
from tests.learn.tinybundle import make_card, make_graph  # noqa: E402


def doubling(factor: float = 2.0) -> bytes:
    """A graph that multiplies [batch, 3] by a number."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph(
        [node],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def write(folder: Path, **parts: NewPart) -> Bundle:
    return write_bundle(
        folder, graph=make_graph(n_features=4), card=make_card(n_features=4), parts=parts
    )


def test_a_part_is_written_read_and_run(tmp_path: Path) -> None:
    write(tmp_path / "b", text=NewPart(doubling(), {"weight": 0.5}))
    part = Bundle.load(tmp_path / "b").parts["text"]
    assert part.settings["weight"] == 0.5
    np.testing.assert_array_equal(part.run({"x": [[1.0, 2.0, 3.0]]})["y"], [[2.0, 4.0, 6.0]])


def test_a_bundle_without_parts_has_none(tmp_path: Path) -> None:
    assert write(tmp_path / "b").parts == {}


def test_writing_again_without_a_part_forgets_it(tmp_path: Path) -> None:
    first = write(tmp_path / "b", text=NewPart(doubling(), {}))
    again = write_bundle(tmp_path / "b", graph=make_graph(n_features=4), card=first.card)
    assert again.parts == {}


def test_a_bundle_with_parts_survives_pickling(tmp_path: Path) -> None:
    bundle = write(tmp_path / "b", text=NewPart(doubling(3.0), {}))
    bundle.parts["text"].run({"x": np.ones((1, 3))})  # with an open session
    part = pickle.loads(pickle.dumps(bundle)).parts["text"]
    assert part.run({"x": np.ones((1, 3))})["y"][0, 0] == 3.0


@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_a_part_that_was_changed_is_refused(tmp_path: Path, change: str) -> None:
    write(tmp_path / "b", text=NewPart(doubling(), {}))
    file = tmp_path / "b" / "text.onnx"
    data = bytearray(file.read_bytes())
    if change == "remove":
        file.unlink()
    elif change == "cut":
        file.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(BundleError, match=r"text\.onnx"):
        Bundle.load(tmp_path / "b")


def test_a_card_that_says_other_tensors_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "b", text=NewPart(doubling(), {}))
    path = tmp_path / "b" / CARD_FILE
    card = json.loads(path.read_text())
    card["parts"]["text"]["graph"]["inputs"][0]["shape"][1] = 4
    path.write_text(json.dumps(card))
    part = Bundle.load(tmp_path / "b").parts["text"]
    with pytest.raises(BundleError, match="part text"):
        part.run({"x": np.ones((1, 4))})


@pytest.mark.parametrize("wrong", [[], {"text": 1}, {"text": {"graph": {}, "settings": {}}}])
def test_a_card_whose_parts_are_none_is_refused(tmp_path: Path, wrong: object) -> None:
    write(tmp_path / "b", text=NewPart(doubling(), {}))
    path = tmp_path / "b" / CARD_FILE
    card = json.loads(path.read_text())
    card["parts"] = wrong
    path.write_text(json.dumps(card))
    with pytest.raises(BundleError, match="parts"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "needs the input x"),
        ({"x": np.ones((1, 4))}, r"has the shape \(1, 4\)"),
        ({"x": np.ones(3)}, "has the shape"),
        ({"x": np.ones((0, 3))}, "has the shape"),
        ({"x": [[1.0, np.nan, 0.0]]}, "NaN"),
    ],
)
def test_inputs_that_do_not_fit_are_said(inputs: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Part.of("text", NewPart(doubling(), {})).run(inputs)  # type: ignore[arg-type]


def test_outputs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(BundleError, match="not finite"):
        Part.of("text", NewPart(doubling(np.inf), {})).run({"x": np.ones((1, 3))})


@pytest.mark.parametrize("name", ["model", "../text", "Text", ""])
def test_names_that_could_reach_other_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="named"):
        write(tmp_path / "b", **{name: NewPart(doubling(), {})})
    assert not (tmp_path / "b").exists()
