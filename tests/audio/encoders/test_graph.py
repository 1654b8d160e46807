"""Encoders that are a graph: what it reads of a window, what is made of its answers, what fails."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from genrescope.audio.encoders.base import mean_and_spread, resample
from genrescope.audio.encoders.declaration import SCALES
from genrescope.audio.encoders.graph import GraphEncoder, GraphTagger, load_graph
from genrescope.audio.encoders.install import install_encoder
from genrescope.audio.encoders.onnx_writer import GraphWriter
from genrescope.audio.mel import mel_spectrogram
from genrescope.errors import AudioNotFiniteError, DataError
from tests.audio.encoders.conftest import make_graph
from tests.audio.encoders.test_contract import sound

SR = 8_000


def told(ask: Callable[[], Any], error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as refused:
        ask()
    return str(refused.value)


def write(path: Path, *nodes: tuple[str, dict[str, Any]], axes: Sequence[int | str]) -> Path:
    """A graph of nodes one after another, from `x` to `embedding`."""
    graph = GraphWriter("small")
    source = "x"
    for place, (operator, attributes) in enumerate(nodes, 1):
        output = "embedding" if place == len(nodes) else None
        source = graph.node(operator, [source], output=output, **attributes)
    sizes = ["batch", "size"]
    path.write_bytes(graph.serialise(inputs={"x": axes}, outputs={"embedding": sizes}))
    return path


def reading(folder: Path, size: int, **given: Any) -> GraphEncoder:
    """An encoder whose embedding is what the graph reads, as it is."""
    axes = [axis if axis == 1 else str(axis) for axis in given["layout"]]
    path = write(folder / "all.onnx", ("Flatten", {"axis": 1}), axes=axes)
    declaration = {
        "format": 1, "version": 1, "licence": "CC0-1.0", "sample_rate": SR,
        "input": {"tensor": "x", **given}, "embedding": {"tensor": "embedding", "size": size},
    }  # fmt: skip
    return GraphEncoder("all", path=path, declaration=declaration)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_graph(tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    return tmp_path / "genrescope" / "encoders"


# --- what it says of itself ------------------------------------------------


def test_an_encoder_says_what_is_declared(path: Path) -> None:
    encoder = load_graph(f"onnx:{path}")
    said = json.loads(path.with_suffix(".json").read_text("utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (encoder.name, encoder.version, encoder.licence) == (f"onnx:{path}", 3, "CC0-1.0")
    assert encoder.n_features == 8
    assert encoder.tag_names == ("loud", "soft")
    expected = {
        "sample_rate": 8000,
        "resampling": "soxr HQ",
        "input": said["input"],
        "embedding": {"tensor": "embedding", "size": 4},
        "pooling": "mean and standard deviation over patches",
        "graph_sha256": digest,
    }
    assert encoder.parameters() == expected
    encoder.parameters()["input"].clear()
    assert encoder.parameters() == expected
    tagger = GraphTagger(encoder)
    assert (tagger.name, tagger.version, tagger.licence) == (encoder.name, 3, "CC0-1.0")
    assert (tagger.n_features, tagger.parameters()) == (2, expected)


def test_a_source_that_is_declared_is_told(tmp_path: Path) -> None:
    encoder = load_graph(f"onnx:{make_graph(tmp_path, source={'url': 'a'}, tags=None)}")
    assert encoder.parameters()["source"] == {"url": "a"}
    assert encoder.tag_names == ()
    assert told(lambda: encoder.tag_windows([sound(1)], sr=SR)) == (
        f"encoder {encoder.name}: it gives no tags; musicnn does"
    )


# --- what the graph reads --------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "patches"),
    [
        (10, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]),
        (9, [[0, 1, 2, 3], [3, 4, 5, 6]]),
        (4, [[0, 1, 2, 3]]),
        (3, [[0, 1, 2, 0]]),
        (1, [[0, 0, 0, 0]]),
    ],
)
def test_samples_are_cut_into_patches(
    tmp_path: Path, samples: int, patches: list[list[int]]
) -> None:
    given = {"kind": "samples", "layout": ["batch", 1, "time"], "length": 4, "step": 3}
    encoder = reading(tmp_path, 4, **given)
    (row,) = encoder.encode([np.arange(samples, dtype=np.float32)], sr=SR)
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, mean_and_spread(np.array(patches, float)), atol=1e-6)


@pytest.mark.parametrize(
    "layout",
    [["batch", "time", "band"], ["batch", 1, "band", "time"], ["batch", "band", 1, "time"]],
)
@pytest.mark.parametrize("scale", ["ln(x+1e-6)", "decibel"])
def test_mel_bands_are_laid_out_as_declared(tmp_path: Path, layout: list[Any], scale: str) -> None:
    y = sound(0.1, SR)
    given = {"n_fft": 256, "hop": 64, "bands": 6, "scale": scale, "length": 13, "step": 13}
    encoder = reading(tmp_path, 13 * 6, kind="mel", layout=layout, **given)
    mel = SCALES[scale](mel_spectrogram(y, sr=SR, n_fft=256, hop_length=64, n_mels=6))
    assert mel.shape == (6, 13)
    bands_first = layout.index("band") < layout.index("time")
    read = mel if bands_first else mel.T
    (row,) = encoder.encode([y], sr=SR)
    np.testing.assert_allclose(row[:78], read.reshape(-1), rtol=1e-5, atol=1e-5)
    assert not row[78:].any()
    # Too short: what is there is repeated from its first frame.
    half = SCALES[scale](mel_spectrogram(y[:400], sr=SR, n_fft=256, hop_length=64, n_mels=6))
    assert half.shape == (6, 7)
    filled = np.concatenate([half, half], axis=1)[:, :13]
    (row,) = encoder.encode([y[:400]], sr=SR)
    expected = (filled if bands_first else filled.T).reshape(-1)
    np.testing.assert_allclose(row[:78], expected, rtol=1e-5, atol=1e-5)


def test_a_window_comes_at_the_declared_rate(path: Path) -> None:
    encoder = load_graph(f"onnx:{path}")
    y = sound(2, 44_100)
    at_8_khz = resample(y, 44_100, SR)
    for ask in (encoder.encode, encoder.tag_windows, GraphTagger(encoder).encode):
        np.testing.assert_array_equal(ask([y], sr=44_100), ask([at_8_khz], sr=SR))


def test_every_window_has_its_own_row(path: Path) -> None:
    encoder = load_graph(f"onnx:{path}")
    loud, soft = sound(1, SR), 0.1 * sound(1, SR)
    for ask, size in ((encoder.encode, 8), (encoder.tag_windows, 2)):
        both = ask([loud, soft], sr=SR)
        assert both.shape == (2, size)
        np.testing.assert_array_equal(both, np.concatenate([ask([y], sr=SR) for y in (loud, soft)]))
        assert not np.array_equal(both[0], both[1])


# --- what the graph gives --------------------------------------------------


def of_samples(path: Path, size: int, length: int = 4) -> GraphEncoder:
    given = {"tensor": "x", "kind": "samples", "layout": ["batch", "time"]}
    declaration = {
        "format": 1, "version": 1, "licence": "CC0-1.0", "sample_rate": SR,
        "input": {**given, "length": length, "step": length},
        "embedding": {"tensor": "embedding", "size": size},
    }  # fmt: skip
    return GraphEncoder("e", path=path, declaration=declaration)


def test_embeddings_within_a_patch_are_pooled_too(tmp_path: Path) -> None:
    # [batch, 4] in two rows of two: as if there were an embedding every half patch.
    graph = GraphWriter("halves")
    shape = graph.weight("shape", np.array([-1, 2, 2], np.int64))
    graph.node("Reshape", ["x", shape], output="embedding")
    path = tmp_path / "a.onnx"
    sizes = {"embedding": ["batch", 2, 2]}
    path.write_bytes(graph.serialise(inputs={"x": ["batch", 4]}, outputs=sizes))
    (row,) = of_samples(path, 2).encode([np.array([1, 2, 3, 6], np.float32)], sr=SR)
    assert row.tolist() == [2.0, 4.0, 1.0, 2.0]


def test_numbers_of_another_shape_are_refused(tmp_path: Path) -> None:
    y = np.ones(4, np.float32)
    path = write(tmp_path / "a.onnx", ("Relu", {}), axes=["batch", 4])
    assert told(lambda: of_samples(path, 5).encode([y], sr=SR)) == (
        "encoder e: tensor embedding has the shape [1, 4], its declaration says 5 numbers; "
        "correct the declaration"
    )
    mean = ("ReduceMean", {"axes": [0], "keepdims": 0})
    path = write(tmp_path / "b.onnx", mean, axes=["batch", 4])
    assert "has the shape [4], its declaration says 4 numbers" in told(
        lambda: of_samples(path, 4).encode([y], sr=SR)
    )


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ("Log", {}), axes=["batch", 4])
    encoder = of_samples(path, 4)
    assert encoder.encode([np.ones(4, np.float32)], sr=SR).tolist() == [[0.0] * 8]
    y = np.array([1, 1, 0, 1], np.float32)
    assert told(lambda: encoder.encode([y], sr=SR), AudioNotFiniteError) == (
        "encoder e: NaN or infinity for sound that is finite; the graph is damaged or not meant "
        "for this input"
    )


def test_a_graph_that_does_not_run_says_to_check_the_declaration(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ("Relu", {}), axes=["batch", 5])
    words = told(lambda: of_samples(path, 4).encode([np.ones(4, np.float32)], sr=SR))
    assert words.startswith("encoder e: the graph could not be run ([ONNXRuntimeError] : 2 : ")
    assert words.endswith("); check its declaration")


def test_a_graph_that_no_runtime_knows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", ("Nothing", {}), axes=["batch", 4])
    words = told(lambda: of_samples(path, 4).encode([np.ones(4, np.float32)], sr=SR))
    assert words.startswith("encoder e: the graph cannot be opened ([ONNXRuntimeError] : ")
    assert words.endswith("); it has to be ONNX, with its weights inside")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"embedding": {"tensor": "other", "size": 4}},
            "the graph has the outputs ['embedding', 'tags'], its declaration says "
            "embedding.tensor = other; correct that",
        ),
        (
            {"tags": {"tensor": "labels", "names": ["a", "b"]}},
            "the graph has the outputs ['embedding', 'tags'], its declaration says "
            "tags.tensor = labels; correct that",
        ),
        (
            {"input": {
                "tensor": "y", "kind": "samples", "layout": ["batch", "time"],
                "length": 2000, "step": 2000,
            }},
            "the graph has the inputs ['x'], its declaration says input.tensor = y; correct that",
        ),
    ],
)  # fmt: skip
def test_tensors_that_the_graph_does_not_have(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    encoder = load_graph(f"onnx:{make_graph(tmp_path, **changes)}")
    assert told(lambda: encoder.encode([sound(1)], sr=SR)) == f"encoder {encoder.name}: {words}"


def test_what_is_no_graph_is_refused_before_a_runtime_sees_it(path: Path) -> None:
    path.write_bytes(b"no graph")
    encoder = load_graph(f"onnx:{path}")
    words = told(lambda: encoder.encode([sound(1)], sr=SR))
    assert words.startswith(f"encoder {encoder.name}: the graph cannot be opened: it is no ONNX")
    assert words.endswith("; it cannot be used")


def test_loops_may_be_in_a_graph(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto
    values = [helper.make_tensor_value_info(name, kind.FLOAT, [None, 4]) for name in "abxy"]
    go = [helper.make_tensor_value_info(name, kind.BOOL, []) for name in ("on", "still")]
    turn = helper.make_tensor_value_info("turn", kind.INT64, [])
    nodes = [
        helper.make_node("Identity", ["on"], ["still"]),
        helper.make_node("Add", ["a", "a"], ["b"]),
    ]
    body = helper.make_graph(nodes, "body", [turn, go[0], values[0]], [go[1], values[1]])
    three = helper.make_tensor("three", kind.INT64, [], [3])
    loop = helper.make_node("Loop", ["three", "", "x"], ["embedding"], body=body)
    values[3].name = "embedding"
    whole = helper.make_graph([loop], "g", [values[2]], [values[3]], initializer=[three])
    path = tmp_path / "a.onnx"
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(whole, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    (row,) = of_samples(path, 4).encode([np.ones(4, np.float32)], sr=SR)
    assert row.tolist() == [8.0] * 4 + [0.0] * 4


# --- files -----------------------------------------------------------------


def test_a_track_takes_one_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = onnxruntime.InferenceSession

    def open_session(graph: bytes, **options: Any) -> Any:
        asked.append(options)
        return real(graph, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    encoder = load_graph(f"onnx:{path}")
    first = encoder.encode([sound(1)], sr=SR)
    np.testing.assert_array_equal(encoder.encode([sound(1)], sr=SR), first)
    assert len(asked) == 1, "opened once"
    options = asked[0]
    assert options["providers"] == ["CPUExecutionProvider"]
    given = options["sess_options"]
    assert (given.intra_op_num_threads, given.inter_op_num_threads) == (1, 1)
    assert given.log_severity_level == 4, "its errors are told by ours"


def test_an_encoder_that_was_used_can_be_sent(path: Path) -> None:
    encoder = load_graph(f"onnx:{path}")
    row = encoder.encode([sound(1)], sr=SR)
    there = pickle.loads(pickle.dumps(encoder))
    assert there.sha256 == encoder.sha256
    np.testing.assert_array_equal(there.encode([sound(1)], sr=SR), row)


def test_a_graph_that_is_not_there_or_another_one(path: Path) -> None:
    declaration = json.loads(path.with_suffix(".json").read_text("utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    make = partial(GraphEncoder, "e")
    assert make(path=path, declaration=declaration, sha256=digest).sha256 == digest
    other = "0" * 64
    assert told(lambda: make(path=path, declaration=declaration, sha256=other)) == (
        f"encoder e: SHA-256 of {path} is {digest}, expected {other}; it was changed or "
        "damaged: install it again"
    )
    gone = path.with_name("gone.onnx")
    assert told(lambda: make(path=gone, declaration=declaration)) == (
        f"encoder e: {gone} cannot be read (No such file or directory); name a graph that is there"
    )
    bad = {**copy.deepcopy(declaration), "format": 9}
    assert told(lambda: make(path=path, declaration=bad)) == (
        "encoder e: key format is 9, expected 1"
    )


def test_a_graph_that_changes_before_it_is_opened_is_not_used(path: Path) -> None:
    encoder = load_graph(f"onnx:{path}")
    path.write_bytes(path.read_bytes() + b"\0")
    assert told(lambda: encoder.encode([sound(1)], sr=SR)) == (
        f"encoder {encoder.name}: {path} was changed; install it again"
    )


def test_an_installed_copy_stands_in_for_a_graph_that_is_gone(path: Path, cache: Path) -> None:
    name = f"onnx:{path}"
    digest = load_graph(name).sha256
    row = load_graph(name).encode([sound(1)], sr=SR)
    kept = install_encoder(name)
    assert load_graph(name, sha256=digest).path == path, "the graph itself, where it is there"
    path.write_bytes(b"another")
    found = load_graph(name, sha256=digest)
    assert found.path == kept / "graph.onnx"
    assert (found.name, found.sha256) == (name, digest)
    np.testing.assert_array_equal(found.encode([sound(1)], sr=SR), row)
    (kept / "graph.onnx").write_bytes(b"damaged")
    assert f"SHA-256 of {kept / 'graph.onnx'} is" in told(lambda: load_graph(name, sha256=digest))


def test_a_graph_that_is_nowhere_says_how_to_keep_a_copy(path: Path, cache: Path) -> None:
    beside = path.with_suffix(".json")
    beside.unlink()
    missing = (
        f"{beside}: cannot be read (No such file or directory); it has to say what tiny.onnx reads "
        "(see genrescope.audio.encoders.declaration for an example)"
    )
    assert told(lambda: load_graph(f"onnx:{path}")) == missing
    digest = "ab" * 32
    assert told(lambda: load_graph(f"onnx:{path}", sha256=digest)) == (
        f"{missing}. Where the graph is, `genrescope encoders install onnx:PATH` keeps a copy that "
        f"is found by its SHA-256, {digest}"
    )
