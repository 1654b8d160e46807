"""The networks, tiny: they give what their library gives when it is asked directly."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.errors import DataError
from tests.audio.encoders.conftest import save_ast, save_clap, save_mert, stand_in_passt
from tests.audio.encoders.test_contract import sound

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("safetensors")

import torch
import transformers

from genrescope.audio.encoders.hub_networks import BUILDERS, passt_network

SAVE: dict[str, tuple[Callable[[Path], None], int]] = {
    "ast": (save_ast, 16_000),
    "mert": (save_mert, 24_000),
    "clap": (save_clap, 48_000),
}


# The sizes are small, so that some bands are empty: it says so.
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    for kind, (save, _) in SAVE.items():
        save(folder / kind)
    return folder


def two_pieces(sr: int) -> np.ndarray:
    y = sound(2, sr)
    return np.stack([y[:sr], y[sr:]])


def asked_directly(kind: str, folder: Path, pieces: np.ndarray, sr: int) -> np.ndarray:
    """The same by the library's own names, as its documentation has it."""
    t = transformers
    extractors = {
        "ast": t.ASTFeatureExtractor, "mert": t.Wav2Vec2FeatureExtractor,
        "clap": t.ClapFeatureExtractor,
    }  # fmt: skip
    models = {"ast": t.ASTModel, "mert": t.HubertModel, "clap": t.ClapModel}
    config = {"config": t.HubertConfig.from_pretrained(str(folder))} if kind == "mert" else {}
    model = models[kind].from_pretrained(str(folder), **config).eval().float()
    extractor = extractors[kind].from_pretrained(str(folder))
    given = extractor(list(pieces), sampling_rate=sr, return_tensors="pt")
    with torch.no_grad():
        if kind == "ast":
            found = model(given["input_values"]).pooler_output
        elif kind == "mert":
            layers = model(given["input_values"], output_hidden_states=True).hidden_states
            assert len(layers) == 3
            found = sum(layer.mean(dim=1) for layer in layers) / 3
        else:
            found = model.get_audio_features(input_features=given["input_features"])
            found = getattr(found, "pooler_output", found)
    return np.asarray(found.numpy())


@pytest.mark.parametrize("kind", SAVE)
def test_a_row_a_piece_as_the_library_gives_it(saved: Path, kind: str) -> None:
    sr = SAVE[kind][1]
    pieces = two_pieces(sr)
    found = BUILDERS[kind](saved / kind, sr)(pieces)
    assert found.shape == (2, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, asked_directly(kind, saved / kind, pieces, sr), rtol=0, atol=1e-5
    )
    assert np.abs(found[0] - found[1]).max() > 1e-6


@pytest.mark.parametrize("kind", SAVE)
def test_sound_at_another_rate_is_refused(saved: Path, kind: str) -> None:
    forward = BUILDERS[kind](saved / kind, 8_000)
    with pytest.raises(ValueError, match=r"8000"):
        forward(two_pieces(8_000))


def test_sound_of_clap_is_cut_at_random_and_not_fused(tmp_path: Path) -> None:
    save_clap(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    said = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**said, "truncation": "fusion"}), "utf-8")
    pieces = two_pieces(48_000)
    found = BUILDERS["clap"](tmp_path, 48_000)(pieces)
    path.write_text(json.dumps({**said, "truncation": "rand_trunc"}), "utf-8")
    plain = asked_directly("clap", tmp_path, pieces, 48_000)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-5)


def test_weights_of_half_precision_are_used_in_single(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "ast"
    save_ast(path)
    transformers.ASTModel.from_pretrained(path).half().save_pretrained(path)
    found = BUILDERS["ast"](path, 16_000)(two_pieces(16_000))
    assert found.dtype == np.float32
    whole = BUILDERS["ast"](saved / "ast", 16_000)(two_pieces(16_000))
    np.testing.assert_allclose(found, whole, rtol=0, atol=5e-3)


def test_files_that_can_hold_programs_are_not_read(tmp_path: Path) -> None:
    save_ast(tmp_path)
    model = transformers.ASTModel.from_pretrained(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        BUILDERS["ast"](tmp_path, 16_000)


def test_weights_that_lack_some_are_refused(tmp_path: Path) -> None:
    save_ast(tmp_path)
    config = transformers.ASTConfig.from_pretrained(str(tmp_path))
    has = set(transformers.ASTModel(config).state_dict())
    config.num_hidden_layers = 2
    config.save_pretrained(tmp_path)
    missing = sorted(set(transformers.ASTModel(config).state_dict()) - has)
    with pytest.raises(DataError) as refused:
        BUILDERS["ast"](tmp_path, 16_000)
    assert str(refused.value) == (
        f"{tmp_path}: the weights lack {missing[0]} and {len(missing) - 1} more; "
        "this is another kind of model"
    )


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"feature_extractor_cqt": True}, True),
        ({"attention_relax": 0.5}, True),
        ({"attention_relax": 1}, True),
        ({"attention_relax": -1, "feature_extractor_cqt": False}, False),
        ({"attention_relax": None}, False),
        ({"attention_relax": 0}, False),
    ],
)
def test_only_a_mert_that_is_a_hubert_is_built(
    tmp_path: Path, changes: dict[str, Any], refused: bool
) -> None:
    save_mert(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    if not refused:
        assert BUILDERS["mert"](tmp_path, 24_000)(two_pieces(24_000)).shape == (2, 16)
        return
    with pytest.raises(DataError) as error:
        BUILDERS["mert"](tmp_path, 24_000)
    assert str(error.value) == (
        f"{tmp_path}: a MERT with a constant-Q input or relaxed attention, which transformers "
        "cannot build by itself; MERT-v1-95M has neither"
    )


def test_a_clap_that_fuses_is_refused(tmp_path: Path) -> None:
    save_clap(tmp_path)
    path = tmp_path / "config.json"
    said = json.loads(path.read_text("utf-8"))
    said["audio_config"]["enable_fusion"] = True
    config = transformers.ClapConfig(**{k: v for k, v in said.items() if k != "model_type"})
    transformers.ClapModel(config).save_pretrained(tmp_path)
    with pytest.raises(DataError) as refused:
        BUILDERS["clap"](tmp_path, 48_000)
    assert str(refused.value) == (
        f"{tmp_path}: a CLAP that fuses random pieces of long sound, so that its answer changes; "
        "take one without fusion"
    )


# --- PaSST -----------------------------------------------------------------


@pytest.fixture
def passt(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The stand-in for hear21passt, with what it was asked for."""
    modules = stand_in_passt()
    asked = types.SimpleNamespace(mel={}, models=[])
    models, preprocess = (modules[f"hear21passt.models.{name}"] for name in ("passt", "preprocess"))
    real_model, real_mel = models.get_model, preprocess.AugmentMelSTFT

    def get_model(**options: Any) -> Any:
        asked.models.append(options)
        return real_model(**options)

    def mel(**options: Any) -> Any:
        print("a spectrogram")  # as the package may
        asked.mel = options
        return real_mel(**options)

    monkeypatch.setattr(models, "get_model", get_model)
    monkeypatch.setattr(preprocess, "AugmentMelSTFT", mel)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return asked


@pytest.mark.parametrize("pretrained", [True, False])
def test_passt_is_built_by_its_package_without_a_word(
    passt: types.SimpleNamespace, capsys: pytest.CaptureFixture[str], pretrained: bool
) -> None:
    assert passt_network(pretrained=pretrained) is not None
    assert passt.models == [{"arch": "passt_s_swa_p16_128_ap476", "pretrained": pretrained}]
    assert capsys.readouterr().out == ""


def test_passt_reads_mel_bands_as_it_was_trained_on(
    passt: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    network = passt_network(pretrained=True).eval()
    save_file(network.state_dict(), str(tmp_path / "passt.safetensors"))
    forward = BUILDERS["passt"](tmp_path, 32_000)
    assert passt.mel == {
        "n_mels": 128, "sr": 32_000, "win_length": 800, "hopsize": 320, "n_fft": 1024,
        "freqm": 48, "timem": 192, "htk": False, "fmin": 0.0, "fmax": None, "norm": 1,
        "fmin_aug_range": 10, "fmax_aug_range": 2000,
    }  # fmt: skip
    assert passt.models[-1]["pretrained"] is False, "nothing is fetched"
    pieces = two_pieces(32_000)
    found = forward(pieces)
    assert found.shape == (2, 768)
    assert found.dtype == np.float32
    frames = torch.from_numpy(pieces).unfold(1, 320, 320).abs().mean(dim=2)
    with torch.no_grad():
        _, features = network(frames[:, None, None, :].expand(-1, 1, 128, -1))
    np.testing.assert_allclose(found, features.numpy(), rtol=0, atol=1e-5)
    assert capsys.readouterr().out == ""
