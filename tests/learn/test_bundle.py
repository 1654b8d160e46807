"""Bundles: what is written is what is read, and whatever does not fit is refused by name."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from genrescope.errors import BundleError, DataError, GenrescopeError
from genrescope.learn.bundle import CARD_FILE, GRAPH_FILE, Bundle, write_bundle
from tests.learn.tinybundle import GENRES, make_bundle, make_card, make_graph

N = 12  # features


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "tiny", n_features=N)
    return tmp_path / "tiny"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the card on disk."""
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    change(card)
    (folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")


def test_round_trip(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.genres == GENRES
    assert bundle.n_features == N
    assert bundle.name == "tiny 1"
    graph = (folder / GRAPH_FILE).read_bytes()
    assert bundle.card["graph"] == {
        "file": GRAPH_FILE,
        "sha256": hashlib.sha256(graph).hexdigest(),
        "bytes": len(graph),
        "opset": 18,
        "input": {"name": "features", "shape": ["batch", "windows", N]},
        "outputs": [
            {"name": "probabilities", "shape": ["batch", 8]},
            {"name": "window_probabilities", "shape": ["batch", "windows", 8]},
        ],
    }
    assert sorted(path.name for path in folder.iterdir()) == [CARD_FILE, GRAPH_FILE]


def test_run_is_the_graph(folder: Path) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, N)).astype(np.float32)
    pooled, windows = Bundle.load(folder).run(x)
    assert pooled.shape == (3, 8)
    assert windows.shape == (3, 4, 8)
    np.testing.assert_allclose(pooled.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(windows.sum(-1), 1, atol=1e-12)
    # The same by hand: standardise, multiply, softmax; the pool is the mean of the logits.
    model = onnx.load_model_from_string((folder / GRAPH_FILE).read_bytes())
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    logits = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) @ weights

    def softmax(z: np.ndarray) -> np.ndarray:
        e = np.exp(z - z.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    np.testing.assert_allclose(windows, softmax(logits), atol=1e-5)
    np.testing.assert_allclose(pooled, softmax(logits.mean(1)), atol=1e-5)


def test_a_bundle_survives_pickle(folder: Path) -> None:
    bundle = Bundle.load(folder)
    x = np.ones((1, 2, N))
    x[:, :, ::3] = 4
    before = bundle.run(x)[0]  # opened, so that a session would be in the pickle
    again = pickle.loads(pickle.dumps(bundle))
    np.testing.assert_array_equal(again.run(x)[0], before)


def test_loading_imports_no_runtime(folder: Path) -> None:
    code = (
        "import sys; from genrescope.learn.bundle import Bundle; "
        f"Bundle.load({str(folder)!r}); print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "run.log").write_text("kept")
    make_bundle(tmp_path, seed=0)
    make_bundle(tmp_path, seed=1)  # over the old one
    assert sorted(path.name for path in tmp_path.iterdir()) == [CARD_FILE, GRAPH_FILE, "run.log"]


def test_lists_of_numbers_stay_on_one_line(tmp_path: Path) -> None:
    ids = list(range(3000))
    training = {**make_card(n_features=N)["training"], "track_ids": ids, "licence": "[\n 1\n]"}
    bundle = make_bundle(tmp_path, training=training)
    assert bundle.card["training"]["track_ids"] == ids
    assert bundle.card["training"]["licence"] == "[\n 1\n]"
    assert len((tmp_path / CARD_FILE).read_text(encoding="utf-8").splitlines()) < 250


# --- what is refused -------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("genres"), ["genres", "is missing", "a list"]),
        (lambda c: c["training"].pop("licence"), ["training.licence", "is missing"]),
        (lambda c: c.update(format=2), ["format", "2", "reads format 1"]),
        (lambda c: c.update(format="1"), ["format", "'1'", "an integer"]),
        (lambda c: c.update(name=" "), ["name", "not empty"]),
        (lambda c: c.update(genres="Rock"), ["genres", "'Rock'", "a list"]),
        (lambda c: c.update(genres=["Rock"]), ["genres", "1 items", "2 or more"]),
        (lambda c: c.update(genres=["Rock", 7]), ["genres[1]", "7", "a string"]),
        (
            lambda c: c.update(genres=[*c["genres"][:7], "Folk"]),
            ["genres", "Folk more than once"],
        ),
        (
            lambda c: c.update(genres=[*c["genres"], "Jazz"]),
            ["graph.outputs, probabilities", "the last 9"],
        ),
        (lambda c: c["graph"].update(file="../model.onnx"), ["graph.file", "without a folder"]),
        (lambda c: c["graph"].update(file="/etc/passwd"), ["graph.file", "without a folder"]),
        (lambda c: c["graph"].update(sha256="abc"), ["graph.sha256", "64 hexadecimal"]),
        (lambda c: c["graph"].update(sha256="0" * 64), ["SHA-256 is", "0000", "changed"]),
        (lambda c: c["graph"].update(bytes=5), ["bytes", "the card says 5"]),
        (lambda c: c["graph"]["input"].update(name="x"), ["graph.input", "the name features"]),
        (
            lambda c: c["front_end"].update(n_features=13),
            ["graph.input.shape", "ends with 12", "which is 13"],
        ),
        (
            lambda c: c["graph"]["outputs"].pop(1),
            ["graph.outputs", "1 items", "2 or more"],
        ),
        (
            lambda c: c["graph"]["outputs"][1].update(name="windows"),
            ["graph.outputs", "one named window_probabilities"],
        ),
        (lambda c: c["abstention"].update(threshold=1.5), ["abstention.threshold", "0 to 1"]),
        (lambda c: c["abstention"].update(threshold=True), ["abstention.threshold", "True"]),
        (lambda c: c["calibration"].update(temperature=0), ["calibration.temperature", "above 0"]),
        (lambda c: c["metrics"].update(table={}), ["metrics.table", "a list"]),
        (
            lambda c: c["metrics"]["table"][0].pop("accuracy"),
            ["metrics.table[0].accuracy", "is missing"],
        ),
        (lambda c: c.update(front_end=[]), ["front_end", "an object"]),
    ],
)
def test_a_wrong_card_is_named(
    folder: Path, change: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    message = str(caught.value)
    assert str(folder) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff\xfe{}", b'{"format": NaN}', b"[" * 100_000],
    ids=["empty", "list", "cut", "encoding", "nan", "deep"],
)
def test_a_card_that_is_no_json(folder: Path, text: bytes) -> None:
    (folder / CARD_FILE).write_bytes(text)
    with pytest.raises(BundleError, match=CARD_FILE):
        Bundle.load(folder)


@given(text=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_whatever_a_card_holds_the_error_is_ours(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / CARD_FILE).write_bytes(text)
    with pytest.raises(BundleError):
        Bundle.load(folder)


def test_any_value_in_any_place_is_accepted_or_named(folder: Path) -> None:
    """Put a wrong type at every key of the card in turn: BundleError or nothing."""
    whole = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        keys = list(value) if isinstance(value, dict) else []
        return [path, *(p for key in keys for p in places(value[key], (*path, key)))]

    refused = 0
    for path in places(whole):
        for junk in (None, [], {}, -1, "x", [None], {"a": 1}, 1e400):
            card = json.loads(json.dumps(whole))
            if not path:
                card = junk
            else:
                at = card
                for key in path[:-1]:
                    at = at[key]
                at[path[-1]] = junk
            (folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
            try:
                Bundle.load(folder)
            except BundleError:
                refused += 1
    assert refused > 200


def test_a_damaged_graph(folder: Path) -> None:
    data = bytearray((folder / GRAPH_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / GRAPH_FILE).write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256 is"):
        Bundle.load(folder)


@pytest.mark.parametrize("missing", [CARD_FILE, GRAPH_FILE])
def test_a_missing_file(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(BundleError, match=f"{missing}: cannot be read"):
        Bundle.load(folder)


def test_places_that_are_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist; a bundle is a folder"):
        Bundle.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="is a file"):
        Bundle.load(tmp_path / "file")


def test_a_graph_that_is_none(folder: Path) -> None:
    """The right checksum of the wrong bytes: found when the graph is opened."""
    junk = b"this is not a graph"
    (folder / GRAPH_FILE).write_bytes(junk)
    edit(
        folder,
        lambda c: c["graph"].update(bytes=len(junk), sha256=hashlib.sha256(junk).hexdigest()),
    )
    bundle = Bundle.load(folder)
    with pytest.raises(BundleError, match="cannot be opened"):
        bundle.run(np.ones((1, 1, N)))


def test_a_graph_that_is_not_the_one_of_the_card(folder: Path) -> None:
    other = make_graph(n_features=N + 1)
    (folder / GRAPH_FILE).write_bytes(other)
    edit(
        folder,
        lambda c: c["graph"].update(bytes=len(other), sha256=hashlib.sha256(other).hexdigest()),
    )
    with pytest.raises(BundleError, match="input features of the graph has the shape"):
        Bundle.load(folder).run(np.ones((1, 1, N)))


def graph_with(pooled_node: onnx.NodeProto) -> bytes:
    """A graph with right shapes whose pooled output is made by one node from ``even``."""
    tensor = helper.make_tensor_value_info
    weights = onnx.numpy_helper.from_array(np.zeros((N, 8), dtype=np.float32), "weights")
    axis = onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "windows")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["window_probabilities"], axis=-1),
            helper.make_node("ReduceMean", ["logits", "windows"], ["even"], keepdims=0),
            pooled_node,
        ],
        "odd",
        [tensor("features", TensorProto.FLOAT, ["batch", "windows", N])],
        [
            tensor("probabilities", TensorProto.FLOAT, ["batch", 8]),
            tensor("window_probabilities", TensorProto.FLOAT, ["batch", "windows", 8]),
        ],
        initializer=[weights, axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("operator", ["Identity", "Cos", "Log"])  # zeros, ones, -infinity
def test_outputs_that_are_no_probabilities(tmp_path: Path, operator: str) -> None:
    graph = graph_with(helper.make_node(operator, ["even"], ["probabilities"]))
    bundle = write_bundle(tmp_path, graph=graph, card=make_card(n_features=N))
    with pytest.raises(BundleError, match="no probabilities"):
        bundle.run(np.ones((1, 2, N)))


@pytest.mark.parametrize("shape", [(N,), (2, N), (1, 0, N), (0, 1, N), (1, 1, N + 1), (1, 1, 1, N)])
def test_features_of_another_shape(folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"\(batch, windows, 12\)"):
        Bundle.load(folder).run(np.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(folder: Path, value: float) -> None:
    x = np.ones((1, 2, N))
    x[0, 1, 3] = value
    with pytest.raises(DataError, match="NaN or infinity"):
        Bundle.load(folder).run(x)


# --- writing ---------------------------------------------------------------


def test_nothing_is_written_when_the_card_is_wrong(tmp_path: Path) -> None:
    card = make_card(n_features=N)
    del card["abstention"]
    with pytest.raises(BundleError, match=r"key abstention is missing"):
        write_bundle(tmp_path / "new", graph=make_graph(n_features=N), card=card)
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_when_the_graph_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no valid ONNX model"):
        write_bundle(tmp_path / "new", graph=b"junk", card=make_card(n_features=N))
    assert not (tmp_path / "new").exists()


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(make_graph(n_features=N))
    weights = model.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    weights.ClearField("raw_data")
    with pytest.raises(GenrescopeError, match="graph"):
        write_bundle(
            tmp_path / "new",
            graph=model.SerializeToString(),
            card=make_card(n_features=N),
        )


def test_numbers_of_numpy_are_written_and_nan_is_not(tmp_path: Path) -> None:
    card = make_card(n_features=N)
    card["training"]["track_ids"] = np.array([3, 4])
    card["calibration"]["temperature"] = np.float32(1.5)
    bundle = write_bundle(tmp_path, graph=make_graph(n_features=N), card=card)
    assert bundle.card["training"]["track_ids"] == [3, 4]
    assert bundle.card["calibration"]["temperature"] == 1.5
    card["calibration"]["ece"] = float("nan")
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        write_bundle(tmp_path, graph=make_graph(n_features=N), card=card)


def test_a_threshold_may_be_missing_by_name(tmp_path: Path) -> None:
    """No threshold reached the target: null, and the recogniser is never sure."""
    section = {**make_card(n_features=N)["abstention"], "threshold": None, "coverage": None}
    assert make_bundle(tmp_path, abstention=section).card["abstention"]["threshold"] is None


def test_a_name_of_the_hub_is_looked_up_among_pulled_bundles() -> None:
    with pytest.raises(BundleError, match="genrescope bundles pull"):
        Bundle.load("hub:nobody/nothing@v1")
