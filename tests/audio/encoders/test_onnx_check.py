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
ELSEWHERE = "keeps weights in another file; they have to be inside it"


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


def refusal(data: bytes, *, loops: bool = False) -> str:
    with pytest.raises(DataError) as refused:
        check_graph(data, loops=loops)
    return str(refused.value).removeprefix("the graph cannot be opened: it ")


@pytest.mark.parametrize("number", range(1, 14))
def test_types_are_called_as_the_runtime_calls_them(number: int) -> None:
    names = {TensorProto.FLOAT: "float", TensorProto.STRING: "string", TensorProto.BOOL: "bool"}
    numpy_name = names.get(number) or helper.tensor_dtype_to_np_dtype(number).name
    name = {"float64": "double"}.get(numpy_name, numpy_name)
    made = model(RELU)
    made.graph.output[0].type.tensor_type.elem_type = number
    (output,) = check_graph(made.SerializeToString()).outputs
    assert output == GraphTensor("y", f"tensor({name})", ("", 3))


def test_what_is_no_tensor_or_of_no_known_type_is_told_so() -> None:
    made = model(RELU)
    made.graph.output[0].type.tensor_type.elem_type = 99
    several = made.graph.output.add(name="several")
    several.type.sequence_type.elem_type.tensor_type.elem_type = 1
    made.graph.output.add(name="untold")
    scalar = made.graph.output.add(name="scalar")
    scalar.type.tensor_type.elem_type = 7
    scalar.type.tensor_type.shape.SetInParent()
    told = check_graph(made.SerializeToString())
    assert told.outputs == (
        GraphTensor("y", "tensor(unknown)", ("", 3)),
        GraphTensor("several", "no tensor", ()),
        GraphTensor("untold", "no tensor", ()),
        GraphTensor("scalar", "tensor(int64)", ()),
    )


def test_every_input_and_output_is_told_in_order() -> None:
    made = model(RELU, initializer=(numpy_helper.from_array(np.zeros(3, np.float32), "w"),))
    for name in ("w", "x2"):
        made.graph.input.add(name=name).type.tensor_type.elem_type = 1
    made.graph.output.add(name="y2").type.tensor_type.elem_type = 1
    told = check_graph(made.SerializeToString())
    assert [tensor.name for tensor in told.inputs] == ["x", "x2"]
    assert [tensor.name for tensor in told.outputs] == ["y", "y2"]


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
    assert refusal(made.SerializeToString(), loops=True) == ELSEWHERE


@pytest.mark.parametrize("part", ["values", "indices"])
@pytest.mark.parametrize("place", ["graph", "attribute", "attributes"])
def test_sparse_weights_in_other_files_are_refused(place: str, part: str) -> None:
    made = model(RELU)
    if place == "graph":
        sparse = made.graph.sparse_initializer.add()
    else:
        attribute = made.graph.node[0].attribute.add(name="a")
        one = place == "attribute"
        sparse = attribute.sparse_tensor if one else attribute.sparse_tensors.add()
    getattr(sparse, part).CopyFrom(outside())
    assert refusal(made.SerializeToString()) == ELSEWHERE


def test_lists_of_weights_and_of_graphs_are_looked_through() -> None:
    made = model(RELU)
    made.graph.node[0].attribute.add(name="a").tensors.add().CopyFrom(outside())
    assert refusal(made.SerializeToString()) == ELSEWHERE
    made = model(RELU)
    evil = helper.make_node("Run", ["x"], ["y"], domain="evil")
    made.graph.node[0].attribute.add(name="a").graphs.add().CopyFrom(inner(evil))
    assert refusal(made.SerializeToString()).startswith("has operators of the domain 'evil'")


def test_weights_that_say_where_they_are_may_say_inside() -> None:
    told = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    told.data_location = TensorProto.DEFAULT
    assert check_graph(model(RELU, initializer=(told,)).SerializeToString()).nodes == 1
    told.data_location = TensorProto.EXTERNAL  # without saying in which file
    assert refusal(model(RELU, initializer=(told,)).SerializeToString()) == ELSEWHERE
    named = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    named.external_data.add(key="location", value="a")
    assert refusal(model(RELU, initializer=(named,)).SerializeToString()) == ELSEWHERE


@pytest.mark.parametrize(
    "domain", ["com.microsoft", "evil", "ai.onnx.preview.training", "é", "ai.onnx.mlx"]
)
def test_operators_that_are_not_in_the_standard_are_refused(domain: str) -> None:
    node = helper.make_node("Run", ["x"], ["y"], domain=domain)
    nested = helper.make_node("If", ["c"], ["y"], then_branch=inner(node))
    for each in (node, nested):
        assert refusal(model(each).SerializeToString()) == (
            f"has operators of the domain '{domain}'; only those of the ONNX standard are run"
        )


def test_a_long_domain_is_cut_where_it_is_told() -> None:
    data = model(helper.make_node("Run", ["x"], ["y"], domain="é" * 600)).SerializeToString()
    assert f"domain '{'é' * 30}'; only" in refusal(data)


@pytest.mark.parametrize("domain", ["", "ai.onnx", "ai.onnx.ml"])
def test_operators_of_the_standard_pass(domain: str) -> None:
    node = helper.make_node("Run", ["x"], ["y"], domain=domain)
    assert check_graph(model(node, RELU).SerializeToString()).nodes == 2


def test_functions_and_training_are_refused() -> None:
    made = model(RELU)
    made.functions.add(name="f", domain="evil").node.append(RELU)
    assert refusal(made.SerializeToString()) == (
        "defines functions of its own; export it with those inlined"
    )
    made = model(RELU)
    made.training_info.add().algorithm.node.append(RELU)
    assert refusal(made.SerializeToString()) == (
        "holds what training needs; export it for inference"
    )


@pytest.mark.parametrize("operator", ["Loop", "Scan", "SequenceMap"])
def test_loops_are_refused_where_nothing_ends_them(operator: str) -> None:
    node = helper.make_node(operator, ["", "c"], ["y"], body=inner(RELU))
    made = model(node).SerializeToString()
    assert refusal(made) == f"has a loop ({operator}), which need not end"
    assert check_graph(made, loops=True).nodes == 2


def test_graphs_in_graphs_end_somewhere() -> None:
    node = RELU
    for _ in range(8):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner(node))
    assert check_graph(model(node).SerializeToString()).nodes == 9
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner(node))
    assert refusal(model(node).SerializeToString()) == "has graphs in graphs, more than 8 deep"


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = model(*[RELU] * 20).SerializeToString()
    monkeypatch.setattr(onnx_check, "_MAX_NODES", 20)
    assert check_graph(data).nodes == 20
    monkeypatch.setattr(onnx_check, "_MAX_NODES", 19)
    assert refusal(data) == "has more than 19 operators"
    monkeypatch.setattr(onnx_check, "_MAX_NODES", 1_999)
    assert refusal(model(*[RELU] * 2_000).SerializeToString()) == "has more than 1,999 operators"


def test_the_number_of_pieces_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    small = field(7, field(1, b"") + field(12, b""))  # a graph of an operator and an output
    monkeypatch.setattr(onnx_check, "_MAX_FIELDS", 3)
    assert check_graph(small).nodes == 1
    monkeypatch.setattr(onnx_check, "_MAX_FIELDS", 2)
    assert refusal(small) == "is made of more than 2 pieces"
    monkeypatch.setattr(onnx_check, "_MAX_FIELDS", 1_000)
    assert refusal(field(1, 1) * 1_001) == "is made of more than 1,000 pieces"


def test_names_are_texts_of_some_length() -> None:
    made = model(RELU)
    made.graph.input[0].name = "x" * 1_000
    assert check_graph(made.SerializeToString()).inputs[0].name == "x" * 1_000
    made.graph.input[0].name = "x" * 1_001
    assert refusal(made.SerializeToString()) == "has a name of 1,001 bytes"
    made.graph.input[0].name = "abc"
    data = made.SerializeToString().replace(b"\x03abc", b"\x03a\xffc")
    assert refusal(data) == "has a name that is not UTF-8"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no ONNX model: it holds 0 graphs, expected one"),
        (field(7, b"") * 2, "is no ONNX model: it holds 2 graphs, expected one"),
        (field(7, b""), "is no ONNX model: it has no operators, or gives nothing"),
        (field(7, field(1, b"")), "is no ONNX model: it has no operators, or gives nothing"),
        (field(7, field(12, b"")), "is no ONNX model: it has no operators, or gives nothing"),
        (field(7, 1), "is no ONNX model: a number stands where a message belongs"),
        (field(7, field(1, 1)), "is no ONNX model: a number stands where a message belongs"),
        (b"\x0b", "is no ONNX model (byte 1: a field reaches past the end; the file is damaged)"),
    ],
)
def test_what_is_no_model_says_why(data: bytes, words: str) -> None:
    assert refusal(data) == words


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
