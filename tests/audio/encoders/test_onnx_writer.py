"""Graphs that are written here are what the standard's own reader finds in them."""

from __future__ import annotations

import numpy as np
import pytest

from genrescope.audio.encoders.onnx_writer import GraphWriter

onnx = pytest.importorskip("onnx")


def test_a_model_has_what_was_written() -> None:
    graph = GraphWriter("small")
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert graph.weight("w", matrix.T) == "w"
    assert graph.weight("shape", np.array([-1, 2], np.int64)) == "shape"
    first = graph.node("MatMul", ["x", "w"])
    second = graph.node("Conv", [first, "w"], pads=[3, -1], kernel_shape=[7], group=2, alpha=0.25)
    last = graph.node("Reshape", [second, "shape"], output="y")
    assert (first, second, last) == ("matmul_0", "conv_1", "y")
    data = graph.serialise(inputs={"x": ["batch", 3]}, outputs={"y": ["batch", 2], "z": []})
    model = onnx.load_model_from_string(data)
    assert (model.ir_version, model.producer_name) == (8, "genrescope")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.graph.name == "small"
    assert [(node.name, node.op_type, *node.input, *node.output) for node in model.graph.node] == [
        ("matmul_0", "MatMul", "x", "w", "matmul_0"),
        ("conv_1", "Conv", "matmul_0", "w", "conv_1"),
        ("y", "Reshape", "conv_1", "shape", "y"),
    ]
    attributes = {
        each.name: onnx.helper.get_attribute_value(each) for each in model.graph.node[1].attribute
    }
    assert attributes == {"alpha": 0.25, "group": 2, "kernel_shape": [7], "pads": [3, -1]}
    assert list(attributes) == sorted(attributes), "the same bytes in whatever order they are given"
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    assert weights["w"].dtype == np.float32
    np.testing.assert_array_equal(weights["w"], matrix.T)
    assert weights["shape"].dtype == np.int64
    assert weights["shape"].tolist() == [-1, 2]
    told = [
        (
            each.name,
            each.type.tensor_type.elem_type,
            [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim],
        )
        for each in (*model.graph.input, *model.graph.output)
    ]
    assert told == [("x", 1, ["batch", 3]), ("y", 1, ["batch", 2]), ("z", 1, [])]


def test_numbers_of_other_types_are_kept_as_float32_or_int64() -> None:
    graph = GraphWriter("small")
    graph.weight("a", np.array([0.5, 1.5]).astype(">f8"))  # type: ignore[arg-type]
    graph.weight("b", np.array([1, 2], np.int8))  # type: ignore[arg-type]
    graph.weight("a2", np.zeros((2, 0), np.float32))
    graph.node("Relu", ["x"], output="y")
    model = onnx.load_model_from_string(graph.serialise(inputs={"x": [1]}, outputs={"y": [1]}))
    found = [onnx.numpy_helper.to_array(each) for each in model.graph.initializer]
    assert [values.dtype.name for values in found] == ["float32", "int64", "float32"]
    assert [values.tolist() for values in found] == [[0.5, 1.5], [1, 2], [[], []]]


def test_the_same_weights_give_the_same_bytes() -> None:
    def write() -> bytes:
        graph = GraphWriter("small")
        graph.node("Relu", ["x"], output="y", b=1, a=2)
        return graph.serialise(inputs={"x": [1]}, outputs={"y": [1]})

    assert write() == write()
