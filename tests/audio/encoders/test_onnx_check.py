"""Graphs from anywhere: what is refused before a runtime sees it."""

from __future__ import annotations

from importlib import resources

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from genrescope.audio.encoders import onnx_check
from genrescope.audio.encoders.onnx_check import GraphTensor, check_graph
from genrescope.audio.encoders.protobuf import field, read_fields
from genrescope.errors import DataError

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])


def model(
    *nodes: onnx.NodeProto, initializer: tuple[onnx.TensorProto, ...] = ()
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [X], [Y], initializer=list(initializer))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


RELU = helper.make_node("Relu", ["x"], ["y"])


def outside() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def inner(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "inner", [], [Y])


def test_what_a_graph_says_of_itself() -> None:
    told = check_graph(model(RELU).SerializeToString())
    assert told.inputs == (GraphTensor("x", "tensor(float)", ("batch", 3)),)
    assert told.outputs == (GraphTensor("y", "tensor(float)", ("", 3)),)
    assert told.nodes == 1


def test_the_graphs_that_ship_pass() -> None:
    folder = resources.files("genrescope.bundles") / "default"
    graphs = [entry for entry in folder.iterdir() if entry.name.endswith(".onnx")]
    for entry in graphs:
        assert check_graph(entry.read_bytes()).outputs
    assert len(graphs) >= 4


def test_an_input_with_a_value_of_its_own_is_none() -> None:
    made = model(RELU, initializer=(numpy_helper.from_array(np.zeros((1, 3), np.float32), "x"),))
    assert check_graph(made.SerializeToString()).inputs == ()


@pytest.mark.parametrize(
    "node",
    [
        RELU,
        helper.make_node("Constant", [], ["c"], value=outside()),
        helper.make_node(
            "If", ["c"], ["y"],
            then_branch=inner(helper.make_node("Constant", [], ["y"], value=outside())),
        ),
    ],
    ids=["initializer", "attribute", "inner graph"],
)  # fmt: skip
def test_weights_in_other_files_are_refused(node: onnx.NodeProto) -> None:
    made = model(node, initializer=(outside(),) if node is RELU else ())
    with pytest.raises(DataError, match="weights in another file"):
        check_graph(made.SerializeToString(), loops=True)


def test_sparse_weights_in_other_files_are_refused() -> None:
    made = model(RELU)
    made.graph.sparse_initializer.add().values.CopyFrom(outside())
    with pytest.raises(DataError, match="weights in another file"):
        check_graph(made.SerializeToString())


@pytest.mark.parametrize("domain", ["com.microsoft", "evil", "ai.onnx.preview.training", "é"])
def test_operators_that_are_not_in_the_standard_are_refused(domain: str) -> None:
    node = helper.make_node("Run", ["x"], ["y"], domain=domain)
    with pytest.raises(DataError, match=f"operators of the domain '{domain}'"):
        check_graph(model(node).SerializeToString())
    nested = helper.make_node("If", ["c"], ["y"], then_branch=inner(node))
    with pytest.raises(DataError, match=f"operators of the domain '{domain}'"):
        check_graph(model(nested).SerializeToString())


def test_functions_and_training_are_refused() -> None:
    made = model(RELU)
    made.functions.add(name="f", domain="evil").node.append(RELU)
    with pytest.raises(DataError, match="functions of its own"):
        check_graph(made.SerializeToString())
    made = model(RELU)
    made.training_info.add().algorithm.node.append(RELU)
    with pytest.raises(DataError, match="what training needs"):
        check_graph(made.SerializeToString())


def test_loops_are_refused_where_nothing_ends_them() -> None:
    made = model(helper.make_node("Loop", ["", "c"], ["y"], body=inner(RELU))).SerializeToString()
    with pytest.raises(DataError, match=r"a loop \(Loop\)"):
        check_graph(made)
    assert check_graph(made, loops=True).nodes == 2


def test_graphs_in_graphs_end_somewhere() -> None:
    node = RELU
    for _ in range(12):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner(node))
    with pytest.raises(DataError, match="more than 8 deep"):
        check_graph(model(node).SerializeToString())


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = model(*[RELU] * 20).SerializeToString()
    monkeypatch.setattr(onnx_check, "_MAX_NODES", 10)
    with pytest.raises(DataError, match="more than 10 operators"):
        check_graph(data)
    monkeypatch.setattr(onnx_check, "_MAX_FIELDS", 15)
    with pytest.raises(DataError, match="more than 15 pieces"):
        check_graph(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no graph at all",
        field(7, b""),
        field(7, 1),
        # A field number above 2**29 - 1 would be another one to readers that cut it off.
        b"\xba\x80\x80\x80\x80\x01\x00",
        model(RELU).SerializeToString() + field(7, model(RELU).graph.SerializeToString()),
        model(RELU).SerializeToString()[:-3],
    ],
    ids=["empty", "text", "empty graph", "number", "overlong", "two graphs", "cut off"],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^the graph cannot be opened: it "):
        check_graph(data)


def test_a_number_of_a_field_fits_29_bits() -> None:
    assert read_fields(field(2**29 - 1, 5)) == [(2**29 - 1, 5)]
    for number in (0, 2**29):
        with pytest.raises(DataError, match="no number of a field"):
            read_fields(field(number, 5))
