"""What is declared of a graph: every rule, told by key, value and rule."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio.encoders import declaration
from genrescope.audio.encoders.declaration import (
    SCALES,
    check_declaration,
    one_line,
    read_declaration,
    read_declared,
    read_graph,
)
from genrescope.errors import DataError

MEL: dict[str, Any] = {
    "format": 1,
    "version": "2024-05",
    "licence": "CC BY 4.0",
    "sample_rate": 16_000,
    "input": {
        "tensor": "mel", "kind": "mel", "layout": ["batch", 1, "time", "band"], "n_fft": 512,
        "hop": 256, "bands": 96, "scale": "power", "length": 187, "step": 187,
    },
    "embedding": {"tensor": "embedding", "size": 200},
    "tags": {"tensor": "tags", "names": ["rock", "pop"]},
}  # fmt: skip
SAMPLES: dict[str, Any] = {
    **MEL,
    "version": 3,
    "input": {
        "tensor": "x", "kind": "samples", "layout": ["batch", "time"], "length": 10, "step": 5,
    },
}  # fmt: skip


def changed(said: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with another value, or without the key where the value is `...`."""
    new = copy.deepcopy(said)
    *outer, last = key.split(".")
    part = new
    for name in outer:
        part = part[name]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return new


def refusal(said: Any) -> str:
    with pytest.raises(DataError) as refused:
        check_declaration(said, where="a.json")
    return str(refused.value)


@pytest.mark.parametrize("said", [MEL, SAMPLES], ids=["mel", "samples"])
def test_a_declaration_that_keeps_the_rules_is_given_back(said: dict[str, Any]) -> None:
    assert check_declaration(copy.deepcopy(said), where="a.json") == said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sample_rate", 1_000), ("sample_rate", 384_000),
        ("input.n_fft", 1), ("input.n_fft", 1 << 16), ("input.hop", 1), ("input.hop", 1 << 16),
        ("input.bands", 1), ("input.bands", 1 << 12), ("input.length", 1 << 26),
        ("input.step", 1 << 26), ("input.length", 1), ("input.step", 1),
        ("embedding.size", 1), ("embedding.size", 1 << 20),
        ("input.layout", ["batch", "time", "band"]), ("input.layout", ["batch", "band", "time"]),
        ("input.layout", [1, "batch", 1, "time", "band", 1]),
        ("tags", None), ("tags", ...), ("tags.names", ["one"]),
        *(("input.scale", scale) for scale in SCALES),
    ],
)  # fmt: skip
def test_the_bounds_themselves_are_allowed(key: str, value: Any) -> None:
    said = changed(MEL, key, value)
    assert check_declaration(copy.deepcopy(said), where="a.json") == said


RATE = "Hz, 1000 to 384000"
SIZE = "its tensor and size, 1 to 1,048,576"
LAYOUT = "a list of batch, time and band, batch first, and 1s"
NAMES = "its tensor and the names"


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("format", 2, "1"), ("format", ..., "1"), ("format", None, "1"),
        ("version", 1.5, "a string or an integer"), ("version", ..., "a string or an integer"),
        ("licence", "", "the licence of the weights"), ("licence", 7, "the licence of the weights"),
        ("licence", ..., "the licence of the weights"),
        *(("sample_rate", value, RATE) for value in (999, 384_001, 16_000.0, "16000", True, ...)),
        *(("input.n_fft", value, "an integer, 1 to 65,536") for value in (0, 65_537, 1.5, ...)),
        *(("input.hop", value, "an integer, 1 to 65,536") for value in (0, 65_537, "2", ...)),
        *(("input.bands", value, "an integer, 1 to 4,096") for value in (0, 4_097, True, ...)),
        *(
            (key, value, "an integer, 1 to 67,108,864")
            for key in ("input.length", "input.step") for value in (0, -1, 67_108_865, None, ...)
        ),
        (
            "input.scale", "sone",
            "one of power, log10(10000x+1), ln(x+1e-6), decibel, decibel below peak",
        ),
        *(
            ("input.layout", value, LAYOUT)
            for value in (
                "batch", ..., [], ["batch", "time"], ["time", "batch", "band"],
                ["batch", "time", "time"], ["batch", 2, "time", "band"],
            )
        ),
        *(("embedding.size", value, SIZE) for value in (0, 1_048_577, 2.0, ...)),
        ("embedding", 5, SIZE), ("embedding", ..., SIZE),
        *(("tags.names", value, NAMES) for value in ([], ["a", 1], "rock", ...)),
        ("tags", 5, NAMES),
        *(
            (f"{key}.tensor", value, "the name of a tensor")
            for key in ("input", "embedding", "tags") for value in (7, ...)
        ),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused(key: str, value: Any, rule: str) -> None:
    told = refusal(changed(MEL, key, value))
    named, _, found = told.removeprefix("a.json: key ").partition(" is ")
    assert told.startswith("a.json: key ")
    whole = key.startswith(("embedding.", "tags.")) and not key.endswith(".tensor")
    assert named == (key.partition(".")[0] if whole else key)
    assert found.endswith(f", expected {rule}")
    if not whole:
        assert found.startswith(repr(None if value is ... else value)[:60])


def test_layout_of_samples_and_kind_have_words_of_their_own() -> None:
    assert refusal(changed(SAMPLES, "input.layout", ["batch", "time", "band"])) == (
        "a.json: key input.layout is ['batch', 'time', 'band'], expected a list of batch and time, "
        "batch first, and 1s"
    )
    for given in ({"kind": "video"}, None, {}):
        assert refusal(changed(MEL, "input", given)) == (
            f"a.json: key input.kind is {given!r}, expected mel or samples"
        )
    # What only mel has is not asked of samples.
    for key in ("n_fft", "hop", "bands", "scale"):
        assert key not in SAMPLES["input"]


def test_a_long_value_is_cut() -> None:
    assert refusal(changed(MEL, "version", ["x" * 100])) == (
        f"a.json: key version is ['{'x' * 58}, expected a string or an integer"
    )


@pytest.mark.parametrize("said", [None, [], "text", 5])
def test_what_is_no_object_is_refused(said: Any) -> None:
    assert refusal(said) == (
        "a.json: holds no JSON object; genrescope.audio.encoders.declaration has an example"
    )


def power(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("scale", "given", "expected"),
    [
        ("power", (0.0, 2.5), (0.0, 2.5)),
        ("log10(10000x+1)", (0.0, 0.0009, 0.9999), (0.0, 1.0, 4.0)),
        ("ln(x+1e-6)", (0.0, 1.0), (-13.815511, 1e-6)),
        ("decibel", (1.0, 0.1, 100.0), (0.0, -10.0, 20.0)),
        ("decibel below peak", (10.0, 1.0, 1e-9), (0.0, -10.0, -80.0)),
    ],
)
def test_scales(scale: str, given: tuple[float, ...], expected: tuple[float, ...]) -> None:
    scaled = SCALES[scale](power(*given))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0], expected, rtol=0, atol=2e-5)


def test_a_scale_leaves_what_it_was_given() -> None:
    given = power(0.5, 2.0)
    for scale in SCALES.values():
        scale(given)
        assert given.tolist() == [[0.5, 2.0]]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"graph")
    path.with_suffix(".json").write_text(json.dumps(SAMPLES), "utf-8")
    return path


def test_a_graph_and_what_lies_beside_it(graph: Path) -> None:
    assert read_declared(graph) == (b"graph", SAMPLES)


def told_of(read: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as refused:
        read()
    return str(refused.value)


def test_missing_files_are_told_with_the_way_out(graph: Path) -> None:
    beside = graph.with_suffix(".json")
    beside.unlink()
    assert told_of(lambda: read_declared(graph)) == (
        f"{beside}: cannot be read (No such file or directory); it has to say what a.onnx reads "
        "(see genrescope.audio.encoders.declaration for an example)"
    )
    graph.unlink()
    assert told_of(lambda: read_graph(graph)) == (
        f"{graph}: cannot be read (No such file or directory); name an ONNX graph"
    )


def test_a_declaration_that_is_no_json_is_told(graph: Path) -> None:
    beside = graph.with_suffix(".json")
    beside.write_text("{\n", "utf-8")
    assert told_of(lambda: read_declared(graph)) == (
        f"{beside}: is not JSON (Expecting property name enclosed in double quotes: line 2 column "
        "1 (char 2)); correct it"
    )
    beside.write_bytes(b"[" * 200_000)
    assert told_of(lambda: read_declared(graph)).startswith(f"{beside}: is not JSON (")
    beside.write_text("{}", "utf-8")
    assert told_of(lambda: read_declaration(beside, graph=graph)) == (
        f"{beside}: key format is None, expected 1"
    )


def test_files_beyond_all_measure_are_not_read_whole(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declaration, "MAX_GRAPH", 5)
    assert read_graph(graph) == b"graph"
    graph.write_bytes(b"graphs")
    assert told_of(lambda: read_graph(graph)) == (
        f"{graph}: has more than 5 bytes; no ONNX graph is larger"
    )
    beside = graph.with_suffix(".json")
    monkeypatch.setattr(declaration, "_MAX_DECLARATION", 20)
    assert "is not JSON" in told_of(lambda: read_declaration(beside, graph=graph))


def test_an_error_in_one_line_of_200_characters() -> None:
    assert one_line(ValueError("a\n  b\tc ")) == "a b c"
    assert one_line(ValueError("x" * 200)) == "x" * 200
    assert one_line(ValueError("x" * 201)) == "x" * 197 + "..."
