"""Models of the hub: which are fetched, and that nothing else is read or run."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.encoders import get_encoder, hub_models, install
from genrescope.audio.encoders.cache import encoder_folder
from genrescope.errors import ChecksumError, DataError, DownloadError, MissingExtraError
from tests.audio.encoders.conftest import COMMIT, save_ast
from tests.audio.encoders.test_contract import SR, sound

TAGGED = "f" * 40


class StandInHub(types.SimpleNamespace):
    """huggingface_hub, as far as it is used, over a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder=folder, asked=[])

    def HfApi(self) -> Any:
        tags = [types.SimpleNamespace(name="v1", target_commit=TAGGED)]
        return types.SimpleNamespace(
            list_repo_refs=lambda repository: types.SimpleNamespace(tags=tags),
            model_info=lambda repository, revision: types.SimpleNamespace(
                card_data={"license": "bsd-3-clause"}
            ),
        )

    def snapshot_download(
        self, repository: str, *, revision: str, local_dir: str, allow_patterns: list[str]
    ) -> str:
        self.asked.append((repository, revision))
        for path in self.folder.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, local_dir)
        return local_dir


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ast")
    save_ast(folder)
    (folder / "pytorch_model.bin").write_bytes(b"could hold a program")
    return folder


@pytest.fixture
def hub(home: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInHub:
    shutil.copytree(saved, tmp_path / "hub")
    found = StandInHub(tmp_path / "hub")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    monkeypatch.setattr(hub_models, "_library", lambda package, name: found)
    return found


@pytest.mark.parametrize(("revision", "commit"), [(COMMIT, COMMIT), ("v1", TAGGED)])
def test_a_pinned_model(hub: StandInHub, revision: str, commit: str) -> None:
    name = f"hf:MIT/ast@{revision}"
    with pytest.raises(DataError, match="is not installed"):
        get_encoder(name)
    assert hub.asked == []  # nothing is fetched unless it is asked for
    folder = install.install_encoder(name)
    assert hub.asked == [("MIT/ast", commit)]
    assert not (folder / "pytorch_model.bin").exists()
    encoder = get_encoder(name)
    said = encoder.parameters()
    assert said["source"] == {"repository": "MIT/ast", "commit": commit}
    assert set(said["files"]) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert encoder.licence == "bsd-3-clause"
    assert encoder.n_features == 32
    listed = {entry.name: entry for entry in install.known_encoders()}
    assert listed[name].installed
    assert listed[name].licence == "bsd-3-clause"


@pytest.mark.parametrize("name", ["hf:MIT/ast", "hf:ast@x", "hf:MIT/ast@main", "hf:a/b@../c"])
def test_names_that_pin_nothing(hub: StandInHub, name: str) -> None:
    for ask in (get_encoder, install.install_encoder):
        with pytest.raises(DataError, match="40 hexadecimal digits"):
            ask(name)
    assert hub.asked == []


def test_a_branch_is_refused(hub: StandInHub) -> None:
    with pytest.raises(DataError, match="neither a commit"):
        install.install_encoder("hf:MIT/ast@develop")
    assert hub.asked == []


def test_only_safetensors_are_read(hub: StandInHub) -> None:
    (hub.folder / "model.safetensors").unlink()
    name = f"hf:MIT/ast@{COMMIT}"
    with pytest.raises(DataError, match="has no safetensors file"):
        install.install_encoder(name)
    assert not encoder_folder(name).exists()


def test_an_unknown_kind(hub: StandInHub) -> None:
    (hub.folder / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    with pytest.raises(DataError, match="type llama"):
        install.install_encoder(f"hf:MIT/ast@{COMMIT}")


def test_no_network(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(DownloadError, match="no route to host"):
        install.install_encoder(f"hf:MIT/ast@{COMMIT}")


def test_changed_files_are_not_used(hub: StandInHub) -> None:
    name = f"hf:MIT/ast@{COMMIT}"
    folder = install.install_encoder(name)
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ChecksumError, match=r"model\.safetensors: is not the file"):
        get_encoder(name).describe_samples(sound(1), sr=SR)


def test_weights_of_another_network(hub: StandInHub) -> None:
    config = json.loads((hub.folder / "config.json").read_text("utf-8"))
    config["num_hidden_layers"] = 2
    (hub.folder / "config.json").write_text(json.dumps(config), "utf-8")
    name = f"hf:MIT/ast@{COMMIT}"
    install.install_encoder(name)
    with pytest.raises(DataError, match="the weights lack"):
        get_encoder(name).describe_samples(sound(1), sr=SR)


def test_without_the_library(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"hf:MIT/ast@{COMMIT}"
    install.install_encoder(name)
    there = hub_models.importlib.util.find_spec
    monkeypatch.setattr(
        hub_models.importlib.util,
        "find_spec",
        lambda package: None if package == "transformers" else there(package),
    )
    with pytest.raises(MissingExtraError, match=r'pip install "genrescope\[encoders\]"'):
        get_encoder(name)
