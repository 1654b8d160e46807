"""The folder of installed encoders: each is there whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import platformdirs
import pytest

from genrescope.audio.encoders.cache import (
    encoder_folder,
    encoders_folder,
    new_folder,
    remove_folder,
)
from genrescope.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "genrescope" / "encoders"


def test_encoders_are_in_the_cache_folder_of_the_user(cache: Path) -> None:
    assert encoders_folder() == cache
    assert encoder_folder("musicnn") == cache / "musicnn"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("musicnn:MTT", "musicnn-MTT"),
        ("hf:MIT/ast-10_0.4593@v1", "hf-MIT-ast-10_0.4593@v1"),
        ("onnx:///a b", "onnx-a-b"),
    ],
)
def test_a_name_becomes_the_name_of_a_folder(cache: Path, name: str, folder: str) -> None:
    assert encoder_folder(name) == cache / folder


def test_a_new_folder_takes_the_place_of_the_old_one_when_it_is_complete(cache: Path) -> None:
    folder = cache / "musicnn"
    for text in ("first", "second"):
        with new_folder(folder) as part:
            (part / f"{text}.txt").write_text(text, "utf-8")
            assert part.parent == cache
            assert part.name.startswith(".musicnn.")
        assert [path.name for path in folder.iterdir()] == [f"{text}.txt"]
    assert list(cache.iterdir()) == [folder]
    if sys.platform != "win32":
        assert folder.stat().st_mode & 0o777 == 0o755, "others of the machine may read it"


def test_a_folder_that_is_not_completed_leaves_the_old_one(cache: Path) -> None:
    folder = cache / "musicnn"
    with new_folder(folder) as part:
        (part / "a").write_bytes(b"1")
    with pytest.raises(ZeroDivisionError), new_folder(folder) as part:
        (part / "b").write_bytes(bytes(1 // 0))
    with pytest.raises(DataError, match=r"^ours$"), new_folder(folder):
        raise DataError("ours")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert list(cache.iterdir()) == [folder]


def test_a_disk_that_refuses_is_told_with_the_way_out(cache: Path) -> None:
    folder = cache / "musicnn"
    for error, said in (
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), os.strerror(errno.ENOSPC)),
        (OSError("strange"), "strange"),
    ):
        with pytest.raises(DataError) as refused, new_folder(folder):
            raise error
        assert str(refused.value) == (
            f"{folder}: cannot be written ({said}); free some space, or make the folder writable"
        )
    assert list(cache.iterdir()) == []


def test_removing_leaves_nothing_behind(cache: Path) -> None:
    folder = cache / "musicnn"
    assert remove_folder(folder) is False
    with new_folder(folder) as part:
        (part / "a").write_bytes(b"1")
        (part / "deeper").mkdir()
    (cache / "other").mkdir()
    assert remove_folder(folder) is True
    assert list(cache.iterdir()) == [cache / "other"]


def test_what_cannot_be_moved_away_stays_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache / "musicnn"
    with new_folder(folder) as part:
        (part / "a").write_bytes(b"1")
    moved: list[tuple[Path, Path]] = []

    def refuse(source: Path, target: Path) -> None:
        moved.append((Path(source), Path(target)))
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        remove_folder(folder)
    ((source, target),) = moved
    assert source == folder
    # Beside it, so that it is a rename; and where no encoder is looked for.
    assert target.parent.parent == cache
    assert target.parent.name.startswith(".musicnn.")
    assert (folder / "a").read_bytes() == b"1"
    assert list(cache.iterdir()) == [folder]


def test_what_cannot_be_deleted_is_gone_all_the_same(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache / "musicnn"
    with new_folder(folder) as part:
        (part / "a").write_bytes(b"1")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("in use")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        assert remove_folder(folder) is True
    assert not folder.exists()
    assert [path for path in cache.iterdir() if not path.name.startswith(".")] == []
