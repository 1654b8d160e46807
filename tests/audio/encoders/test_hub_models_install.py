"""What installing a model of the hub, or PaSST, leaves in the cache, and how it fails."""

from __future__ import annotations

import hashlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.encoders.hub_models import install
from genrescope.errors import DataError, DownloadError, MissingExtraError
from tests.audio.encoders.conftest import COMMIT, stand_in_passt

NAME = f"hf:MIT/ast@{COMMIT}"
TAGGED = "f" * 40
FILES = {
    "config.json": b'{"model_type": "audio-spectrogram-transformer", "hidden_size": 4}',
    "preprocessor_config.json": b'{"sampling_rate": 16000}',
    "model.safetensors": b"weights",
    "LICENSE": b"BSD",
    "README.md": b"# AST",
}


class StandInHub(types.ModuleType):
    """huggingface_hub, as far as it is used."""

    def __init__(self) -> None:
        super().__init__("huggingface_hub")
        self.files = dict(FILES)
        self.info: Any = types.SimpleNamespace(card_data={"license": "bsd-3-clause"})
        self.asked: list[tuple[Any, ...]] = []

    def HfApi(self) -> Any:
        return self

    def list_repo_refs(self, repository: str) -> Any:
        self.asked.append(("refs", repository))
        tags = [("v0", "0" * 40), ("v1", TAGGED), ("v2", "2" * 40)]
        named = [types.SimpleNamespace(name=name, target_commit=commit) for name, commit in tags]
        return types.SimpleNamespace(tags=named)

    def model_info(self, repository: str, *, revision: str) -> Any:
        self.asked.append(("info", repository, revision))
        return self.info

    def snapshot_download(
        self, repository: str, *, revision: str, local_dir: str, allow_patterns: list[str]
    ) -> None:
        self.asked.append(("files", repository, revision, *allow_patterns))
        for name, content in self.files.items():
            (Path(local_dir) / name).write_bytes(content)
        (Path(local_dir) / ".cache").mkdir()
        (Path(local_dir) / ".cache" / "notes").touch()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    return tmp_path / "genrescope" / "encoders"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> StandInHub:
    found = StandInHub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    return found


def told(ask: Callable[[], Any], error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as refused:
        ask()
    return str(refused.value)


def noted(folder: Path) -> dict[str, Any]:
    text = (folder / "encoder.json").read_text("utf-8")
    assert text.startswith('{\n  "name": ')
    assert text.endswith("\n}\n")
    said: dict[str, Any] = json.loads(text)
    return said


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_model_is_noted_down_with_its_files_and_where_it_is_from(
    hub: StandInHub, cache: Path
) -> None:
    folder = install(NAME)
    assert folder == cache / f"hf-MIT-ast@{COMMIT}"
    assert {path.name for path in folder.iterdir()} == {*FILES, "encoder.json"}
    read = ("config.json", "model.safetensors", "preprocessor_config.json")
    assert noted(folder) == {
        "name": NAME,
        "about": "Audio Spectrogram Transformer, 768 numbers every 10 s, from AudioSet",
        "licence": "bsd-3-clause",
        "source": {"repository": "MIT/ast", "commit": COMMIT},
        "files": {name: digest(FILES[name]) for name in read},
    }
    assert hub.asked == [
        ("info", "MIT/ast", COMMIT),
        (
            "files", "MIT/ast", COMMIT, "config.json", "preprocessor_config.json",
            "*.safetensors", "LICENSE*", "README.md",
        ),
    ]  # fmt: skip


def test_a_tag_is_resolved_to_its_commit(hub: StandInHub) -> None:
    folder = install("hf:MIT/ast@v1")
    assert noted(folder)["source"]["commit"] == TAGGED
    assert [each[:3] for each in hub.asked] == [
        ("refs", "MIT/ast"),
        ("info", "MIT/ast", TAGGED),
        ("files", "MIT/ast", TAGGED),
    ]


@pytest.mark.parametrize("card", [None, {}, {"license": None}, ...])
def test_a_licence_that_is_not_told_is_unknown(hub: StandInHub, card: Any) -> None:
    hub.info = types.SimpleNamespace(**({} if card is ... else {"card_data": card}))
    assert noted(install(NAME))["licence"] == "unknown"


def test_what_is_neither_a_commit_nor_a_tag(hub: StandInHub) -> None:
    for revision in ("develop", COMMIT[:-1], COMMIT.upper(), f"{COMMIT}0"):
        name = f"hf:MIT/ast@{revision}"
        assert told(lambda name=name: install(name)) == (
            f"encoder {name}: {revision} is neither a commit of 40 hexadecimal digits nor a tag "
            "there"
        )
    assert {each[0] for each in hub.asked} == {"refs"}


def test_without_safetensors_nothing_is_kept(hub: StandInHub, cache: Path) -> None:
    del hub.files["model.safetensors"]
    assert told(lambda: install(NAME)) == (
        f"encoder {NAME}: has no safetensors file, and others can hold programs; choose a commit "
        "that has one"
    )
    assert list(cache.iterdir()) == []


def test_another_kind_of_model_is_not_kept(hub: StandInHub, cache: Path) -> None:
    hub.files["config.json"] = b'{"model_type": "bert"}'
    words = told(lambda: install(NAME))
    assert words.startswith(f"encoder {NAME}: is a model of the type bert, known are ")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("step", ["list_repo_refs", "model_info", "snapshot_download"])
def test_whatever_the_hub_refuses_is_one_error(
    hub: StandInHub, cache: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no\nroute")

    monkeypatch.setattr(hub, step, refuse)
    name = "hf:MIT/ast@v1"
    assert told(lambda: install(name), DownloadError) == (
        f"encoder {name}: could not be fetched (OSError: no route); look at the name and at the "
        "network"
    )
    assert not cache.exists() or list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "gone"),
    [(NAME, "huggingface_hub"), ("passt", "hear21passt"), ("passt", "safetensors")],
)
def test_a_library_that_is_absent_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, gone: str
) -> None:
    for package in {"hear21passt", "safetensors"} - {gone}:
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    monkeypatch.setitem(sys.modules, gone, None)
    assert told(lambda: install(name), MissingExtraError) == (
        f"encoder {name} needs the package {gone}, which is not installed; "
        'run: pip install "genrescope[encoders]"'
    )


# --- PaSST -----------------------------------------------------------------


@pytest.fixture
def passt(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    pytest.importorskip("safetensors")
    modules = stand_in_passt()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


@pytest.mark.parametrize(("version", "told_as"), [("0.1", "0.1"), (None, "0.0.26")])
def test_passt_is_kept_as_its_package_gives_it(
    passt: dict[str, types.ModuleType], cache: Path, version: str | None, told_as: str
) -> None:
    from safetensors.torch import load_file

    package: Any = passt["hear21passt"]
    del package.__version__
    if version is not None:
        package.__version__ = version
    folder = install("passt")
    assert folder == cache / "passt"
    names = {"config.json", "encoder.json", "passt.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    arch = "passt_s_swa_p16_128_ap476"
    config = (folder / "config.json").read_text("utf-8")
    assert json.loads(config) == {"model_type": "passt", "arch": arch, "hidden_size": 768}
    assert config.endswith("}\n")
    assert noted(folder) == {
        "name": "passt",
        "about": "PaSST, 768 numbers every 10 s, from AudioSet",
        "licence": "Apache-2.0",
        "source": {"package": f"hear21passt {told_as}", "arch": arch},
        "files": {
            name: digest((folder / name).read_bytes())
            for name in ("config.json", "passt.safetensors")
        },
    }
    models: Any = passt["hear21passt.models.passt"]
    expected = models.get_model(arch=arch, pretrained=True).state_dict()
    kept = load_file(str(folder / "passt.safetensors"))
    assert kept.keys() == expected.keys()
    assert all(bool((kept[key] == expected[key]).all()) for key in kept)


def test_weights_of_passt_that_cannot_be_fetched(
    passt: dict[str, types.ModuleType], cache: Path
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no\nroute")

    models: Any = passt["hear21passt.models.passt"]
    models.get_model = refuse
    assert told(lambda: install("passt"), DownloadError) == (
        "encoder passt: hear21passt could not fetch it (OSError: no route); look at the network"
    )
    assert not cache.exists()
