"""Recognisers and encoders."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.fuzz.common import Target, put, workspace


def _card(data: bytes) -> None:
    from genrescope.learn.card import check_card
    from genrescope.learn.graphs import parse_object

    check_card(parse_object(data, where="card.json"), where="card.json")


@functools.cache
def _tiny() -> tuple[bytes, bytes]:
    """The card and the graph of a small bundle."""
    from genrescope.learn.bundle import write_bundle
    from tests.learn.tinybundle import make_card, make_graph

    folder = workspace() / "made"
    graph = make_graph(n_features=12)
    write_bundle(folder, graph=graph, card=make_card(n_features=12))
    return (folder / "card.json").read_bytes(), graph


@functools.cache
def _shipped_card() -> bytes:
    from importlib import resources

    card = json.loads((resources.files("genrescope.bundles") / "default/card.json").read_bytes())
    card["training"]["track_ids"] = card["training"]["track_ids"][:3]
    return json.dumps(card).encode()


def _card_seeds() -> list[bytes]:
    return [_tiny()[0], _shipped_card()]


def _graph(data: bytes) -> None:
    from genrescope.audio.encoders.onnx_check import check_graph

    told = check_graph(data)
    # What was let through must be harmless as another reader has it, too.
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        return
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return
    for text in _texts_of(model):
        assert text in ("", "ai.onnx", "ai.onnx.ml"), f"an operator of the domain {text!r}"
    weights = [tensor.name for tensor in model.graph.initializer]
    weights += [tensor.values.name for tensor in model.graph.sparse_initializer]
    inputs = [tensor.name for tensor in model.graph.input if tensor.name not in weights]
    assert sorted(tensor.name for tensor in told.inputs) == sorted(inputs)
    assert len(told.outputs) == len(model.graph.output)


def _texts_of(message: Any) -> list[str]:
    """Domains of operators, wherever they are; asserts that no tensor lies elsewhere."""
    found, waiting = [], [message]
    while waiting:
        here = waiting.pop()
        kind = type(here).__name__
        assert kind != "FunctionProto"
        if kind == "NodeProto":
            found.append(here.domain)
            assert here.op_type not in ("Loop", "Scan")
        if kind == "TensorProto":
            assert not here.external_data
            assert here.data_location == 0
        for field, value in here.ListFields():
            if field.message_type is not None:
                try:
                    waiting += list(value)
                except TypeError:
                    waiting.append(value)
    return found


def _graph_seeds() -> list[bytes]:
    from genrescope.audio.encoders.protobuf import field

    tiny = _tiny()[1]
    outside = field(13, field(1, "location") + field(2, "/etc/passwd")) + field(14, 1)
    weights = field(1, 2) + field(2, 1) + field(8, "weights")
    node = field(1, "a") + field(2, "b") + field(4, "Relu")
    inner = field(5, field(1, "body") + field(6, field(1, node)))
    value = field(1, "x") + field(2, field(1, field(1, 1) + field(2, field(1, field(1, 3)))))
    graph = field(1, node + inner) + field(5, weights) + field(11, value) + field(12, value)
    return [
        tiny,
        field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 18)),
        field(7, graph + field(5, weights + outside)),
        field(7, field(1, node + field(7, "com.microsoft")) + field(12, value)),
        field(7, field(1, field(4, "Loop") + inner) + field(12, value)),
        field(7, graph) + field(25, field(1, "f") + field(7, node)),
        field(7, graph + field(15, field(1, weights))),
    ]


def _bundle(data: bytes) -> None:
    """A card that fits its graph: everything that loading one does, and a first answer."""
    import numpy as np

    from genrescope.errors import BundleError
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.recogniser import Recogniser

    folder = workspace() / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_bytes(data)
    (folder / "model.onnx").write_bytes(_tiny()[1])
    bundle = Bundle.load(folder)
    repr(bundle)
    bundle.run(np.zeros((1, 2, 12), np.float32))
    with contextlib.suppress(BundleError):  # no front end makes these few features
        Recogniser(bundle)


def _bundle_seeds() -> list[bytes]:
    return [_tiny()[0]]


@functools.cache
def _shipped_bundle() -> tuple[Path, bytes]:
    """The shipped bundle in a folder of its own, and its card; without the large main graph."""
    from importlib import resources

    folder = workspace() / "shipped"
    folder.mkdir()
    shipped = resources.files("genrescope.bundles") / "default"
    card = json.loads((shipped / "card.json").read_bytes())
    for part in card["parts"].values():
        name = part["graph"]["file"]
        (folder / name).write_bytes((shipped / name).read_bytes())
    (folder / "model.onnx").write_bytes(b"none")
    card["graph"] |= {"bytes": 4, "sha256": hashlib.sha256(b"none").hexdigest()}
    card["training"]["track_ids"] = [2, 5]
    return folder, json.dumps(card).encode()


def _parts(data: bytes) -> None:
    """A card whose settings of parts may be anything: what each part makes of them."""
    import numpy as np

    from genrescope.audio import frames
    from genrescope.errors import GenrescopeError
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.parts.about import About
    from genrescope.learn.parts.company import Company
    from genrescope.learn.prediction import Prediction
    from genrescope.learn.recogniser import Recogniser

    folder, _ = _shipped_bundle()
    (folder / "card.json").write_bytes(data)
    bundle = Bundle.load(folder)
    recogniser = Recogniser(bundle)
    p = np.full(len(bundle.genres), 1 / len(bundle.genres))
    sound = np.zeros((2, frames.N_FEATURES), np.float32)
    sources: tuple[str, ...] = ("sound",)
    threshold, quantile = recogniser._threshold, recogniser._quantile
    if recogniser._text is not None:
        p, sources = recogniser._text.fuse(p, About(title="A title", artist="Someone"))
        threshold, quantile = recogniser._text.decision(sources)
    if recogniser._familiar is not None:
        recogniser._familiar.judge(sound, seconds=30.0)
    if recogniser.known is not None:
        recogniser.known.look(sound)
    branches = ()
    if recogniser._tree is not None:
        branches = recogniser._tree.describe(sound, p).paths()
    made = Prediction.from_probabilities(
        dict(zip(bundle.genres, p.tolist(), strict=True)),
        threshold=threshold,
        quantile=quantile,
        path=Path("a.mp3"),
        artist="Someone",
        sources=sources,
        branches=branches,
    )
    assert abs(sum(made.probabilities.values()) - 1) < 1e-6
    with contextlib.suppress(GenrescopeError):
        Company.of_card(bundle.card).answer([made, made])


def _parts_seeds() -> list[bytes]:
    card = json.loads(_shipped_bundle()[1])
    # Small ones, so that changes hit what is used.
    parts = [{}, *({name: part} for name, part in card["parts"].items()), card["parts"]]
    return [json.dumps({**card, "parts": chosen}).encode() for chosen in parts]


def _declaration(data: bytes) -> None:
    from genrescope.audio.encoders.declaration import read_declaration
    from genrescope.audio.encoders.graph import GraphEncoder

    path = put(data, "graph.json")
    said = read_declaration(path, graph=path)
    encoder = GraphEncoder("onnx:x", path=path, declaration=said)
    encoder.parameters()


def _declaration_seeds() -> list[bytes]:
    mel = {
        "format": 1, "version": 1, "licence": "CC BY 4.0", "sample_rate": 16000,
        "input": {
            "tensor": "mel", "kind": "mel", "layout": ["batch", 1, "time", "band"], "n_fft": 512,
            "hop": 256, "bands": 96, "scale": "log10(10000x+1)", "length": 187, "step": 187,
        },
        "embedding": {"tensor": "embedding", "size": 200},
        "tags": {"tensor": "tags", "names": ["rock", "pop"]},
    }  # fmt: skip
    plain = {
        "tensor": "x", "kind": "samples", "layout": ["batch", "time"], "length": 99, "step": 9
    }  # fmt: skip
    samples = {**mel, "input": plain, "tags": None}
    return [json.dumps(said).encode() for said in (mel, samples)]


TARGETS = (
    Target("card", "card.json", _card, _card_seeds, json=True, max_len=1 << 16),
    Target("graph", "ONNX graphs", _graph, _graph_seeds, (b"\x6a", b"\x70\x01", b"\x3a")),
    Target("bundle", "bundles, loaded and run", _bundle, _bundle_seeds, json=True),
    Target("parts", "parts of bundles", _parts, _parts_seeds, json=True, max_len=1 << 18),
    Target("declaration", "what is declared of encoders", _declaration, _declaration_seeds,
           json=True),
)  # fmt: skip
