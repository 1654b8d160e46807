"""Which encoders are known, and what installing and removing them leaves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.encoders import hub_models, musicnn
from genrescope.audio.encoders.install import (
    KnownEncoder,
    install_encoder,
    known_encoders,
    remove_encoder,
)
from genrescope.errors import DataError
from tests.audio.encoders.conftest import COMMIT, make_graph


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    return tmp_path / "genrescope" / "encoders"


def put(folder: Path, said: Any, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "encoder.json").write_text(json.dumps(said), "utf-8")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_known_where_nothing_is_installed() -> None:
    musicnn_size = 29_292_476  # of the wheel
    assert known_encoders() == [
        KnownEncoder(
            "frames", "2,872 statistics of mel frames and MFCC; ours, always there", "Apache-2.0",
            0, True, "",
        ),
        KnownEncoder(
            "musicnn", musicnn.MODELS["musicnn"].about, "ISC", musicnn_size, False,
            "genrescope encoders install musicnn",
        ),
        KnownEncoder(
            "musicnn:MTT", musicnn.MODELS["musicnn:MTT"].about, "ISC", musicnn_size, False,
            "genrescope encoders install musicnn:MTT",
        ),
        KnownEncoder(
            "onnx:PATH", "an ONNX graph of yours, with its declaration beside it", "yours", None,
            False, "name the file",
        ),
        *(
            KnownEncoder(
                family.example, family.about, family.licence, family.size, False,
                f"genrescope encoders install {family.example}",
            )
            for family in hub_models.FAMILIES.values()
        ),
    ]  # fmt: skip


def test_what_is_installed_is_listed_with_the_room_it_takes(cache: Path) -> None:
    put(cache / "musicnn", {"name": "musicnn", "about": "x", "licence": "y"}, graph=b"12345")
    said = {"name": "hf:a/b@v1", "about": "ours", "licence": "MIT"}
    other = put(cache / "hf-a-b@v1", said, weights=b"123")
    (other / "deeper").mkdir()
    (other / "deeper" / "more").write_bytes(b"1234567")
    listed = known_encoders()
    by_name = {entry.name: entry for entry in listed}
    assert len(by_name) == len(listed) == 9
    assert by_name["musicnn"].installed
    assert by_name["musicnn"].size == size_of(cache / "musicnn")
    assert by_name["musicnn"].about == musicnn.MODELS["musicnn"].about
    assert not by_name["musicnn:MTT"].installed
    size = len(json.dumps(said)) + 10
    assert by_name["hf:a/b@v1"] == KnownEncoder("hf:a/b@v1", "ours", "MIT", size, True, "")
    assert by_name["hf:a/b@v1"].to_dict() == {
        "name": "hf:a/b@v1",
        "about": "ours",
        "licence": "MIT",
        "size": size,
        "installed": True,
        "install": "",
    }


def damage(cache: Path) -> None:
    """Folders that come before all others, and of which nothing can be read."""
    put(cache / "aa", [1, 2])
    put(cache / "ab", {"name": "x", "about": "no licence"})
    (put(cache / "ac", {}) / "encoder.json").write_text("{", "utf-8")
    (put(cache / "ad", {}) / "encoder.json").write_bytes(b"\xff")
    (cache / "ae" / "encoder.json").mkdir(parents=True)


def test_damaged_folders_are_passed_over(cache: Path, tmp_path: Path) -> None:
    damage(cache)
    put(cache / ".half", {"name": "half", "about": "in work", "licence": "MIT"})
    put(cache / "whole", {"name": "whole", "about": "a", "licence": "MIT"})
    (found,) = [entry for entry in known_encoders() if entry.installed and entry.name != "frames"]
    assert found.name == "whole"
    name = f"onnx:{make_graph(tmp_path)}"
    kept = install_encoder(name)
    assert remove_encoder(name) == kept
    with pytest.raises(DataError, match="is not installed"):
        remove_encoder(name)
    assert len(list(cache.iterdir())) == 7


def test_a_graph_is_kept_whole_under_its_hash(cache: Path, tmp_path: Path) -> None:
    path = make_graph(tmp_path)
    folder = install_encoder(f"onnx:{path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert folder == cache / f"onnx-{digest[:16]}"
    assert {entry.name for entry in folder.iterdir()} == {"graph.onnx", "encoder.json"}
    assert (folder / "graph.onnx").read_bytes() == path.read_bytes()
    text = (folder / "encoder.json").read_text("utf-8")
    assert json.loads(text) == {
        "about": "an ONNX graph of yours",
        **json.loads(path.with_suffix(".json").read_text("utf-8")),
        "name": f"onnx:{path}",
        "graph_sha256": digest,
    }
    assert text.startswith('{\n  "about": ')
    assert text.endswith("\n}\n")


def test_a_graph_may_say_what_it_is(tmp_path: Path) -> None:
    name = f"onnx:{make_graph(tmp_path, about='mine')}"
    install_encoder(name)
    (listed,) = [entry for entry in known_encoders() if entry.name == name]
    assert (listed.about, listed.licence) == ("mine", "CC0-1.0")


def test_a_hub_model_is_removed_by_its_name(cache: Path) -> None:
    name = f"hf:a/b@{COMMIT}"
    folder = put(cache / f"hf-a-b@{COMMIT}", {"name": name})
    other = put(cache / "other", {"name": "other:x"})
    assert remove_encoder(name) == folder
    assert list(cache.iterdir()) == [other]
    assert remove_encoder("other:x") == other


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("frames", "is always there; there is nothing to install"),
        ("nothing", "there is none of that name; `genrescope encoders list` names them"),
        ("onnx", "there is none of that name; `genrescope encoders list` names them"),
        ("onnx:", "there is none of that name; `genrescope encoders list` names them"),
        ("vggish:x", "there is none of that name; `genrescope encoders list` names them"),
        ("musicnn:big", "there is none of that name; `genrescope encoders list` names them"),
        (
            "hf:a/b",
            "expected hf:OWNER/REPOSITORY@COMMIT, with the 40 hexadecimal digits of a commit or "
            "the name of a tag",
        ),
    ],
)
def test_what_cannot_be_installed_says_why(cache: Path, name: str, words: str) -> None:
    with pytest.raises(DataError) as refused:
        install_encoder(name)
    assert str(refused.value) == f"encoder {name}: {words}"
    assert not cache.exists()


def test_a_file_is_for_musicnn_alone(tmp_path: Path) -> None:
    for name in ("passt", "frames", "nothing", f"onnx:{make_graph(tmp_path)}"):
        with pytest.raises(DataError) as refused:
            install_encoder(name, source=tmp_path / "a.whl")
        assert str(refused.value) == f"encoder {name}: is not made from a file; leave --from out"
    missing = tmp_path / "a.whl"
    with pytest.raises(DataError) as refused:
        install_encoder("musicnn", source=missing)
    assert str(refused.value) == (
        f"{missing}: cannot be read (No such file or directory); name the wheel of musicnn==0.1.0"
    )


def test_what_cannot_be_removed_says_why() -> None:
    with pytest.raises(DataError) as refused:
        remove_encoder("frames")
    assert str(refused.value) == ("encoder frames: is a part of genrescope and cannot be removed")
    with pytest.raises(DataError) as refused:
        remove_encoder("musicnn")
    assert str(refused.value) == (
        "encoder musicnn: is not installed; `genrescope encoders list` says which are"
    )
