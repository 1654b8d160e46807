"""Files of the library: named by clients, and never one outside of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from genrescope import Recogniser
from genrescope.apps.service import library
from genrescope.apps.service.temporary import Workshop
from genrescope.errors import AudioError, AudioNotFoundError, ServiceError
from tests.apps.service.serving import Running, serving, sound, until
from tests.same import same_answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with all sorts of things in it, and a secret beside it."""
    base = tmp_path_factory.mktemp("music")
    root = base / "library"
    (root / "Artist").mkdir(parents=True)
    (root / "Artist" / "song ü.wav").write_bytes(sound())
    (base / "secret.wav").write_bytes(sound())
    (base / "library-2").mkdir()
    (base / "library-2" / "x.wav").write_bytes(sound())
    (root / "out.wav").symlink_to(base / "secret.wav")
    (root / "outdir").symlink_to(base)
    (root / "in.wav").symlink_to(root / "Artist" / "song ü.wav")
    (root / "round").symlink_to(root / "round")
    (root / "notes.txt").write_text("no music")
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "pipe.wav")
    return root


@pytest.fixture(scope="module")
def shelf(folder: Path) -> Iterator[Running]:
    with serving(library=folder, max_files=4) as found:
        yield found


@pytest.fixture
def client(shelf: Running) -> Iterator[httpx.Client]:
    with shelf.client() as found:
        yield found


def ask(client: httpx.Client, *paths: str) -> httpx.Response:
    return client.post("/v1/recognise/path", json={"paths": list(paths)})


def test_files_are_recognised_where_they_are(
    client: httpx.Client, shelf: Running, folder: Path
) -> None:
    paths = ["Artist/song ü.wav", "in.wav", "./Artist/../Artist/song ü.wav", "notes.txt"]
    response = ask(client, *paths)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [one["file"] for one in results] == paths
    want = Recogniser.load().predict(folder / "Artist" / "song ü.wav").to_dict()
    for path, result in zip(paths[:3], results, strict=False):
        assert same_answer(result["prediction"], want | {"path": path, "timeline": []})
    assert results[3]["problem"]["error"] == "AudioUnsupportedError"
    assert str(folder) not in response.text
    assert shelf.left() == []
    fds = Path("/proc/self/fd")
    if fds.exists():
        until(lambda: not any("song" in os.readlink(fd) for fd in fds.iterdir() if fd.is_symlink()))


@pytest.mark.parametrize(
    "path",
    [
        "../secret.wav",
        "Artist/../../secret.wav",
        "out.wav",
        "outdir/secret.wav",
        "../library-2/x.wav",
        "/etc/passwd",
        "//etc/passwd",
        "round",
        "nothing.wav",
        "Artist/song ü.wav/x",
        "a\0b.wav",
        "x" * 5000,
        "/".join(["x"] * 3000),
        "~/secret.wav",
        "file:///etc/passwd",
        "\ud800.wav",
    ],
)
def test_nothing_outside(client: httpx.Client, folder: Path, path: str) -> None:
    body = json.dumps({"paths": [path]})
    response = client.post("/v1/recognise/path", content=body)
    assert response.status_code in (404, 422), response.text
    if response.status_code == 422:
        assert path == "\ud800.wav"
    else:
        assert response.json()["error"] == "AudioNotFoundError"
    assert str(folder.parent) not in response.text


def test_the_library_itself_by_its_whole_path(client: httpx.Client, folder: Path) -> None:
    """Nobody learns, by asking, where on the server it lies."""
    assert ask(client, str(folder / "in.wav")).status_code == 404


@pytest.mark.parametrize("path", [".", "", "Artist", "pipe.wav"])
def test_what_is_no_file(client: httpx.Client, folder: Path, path: str) -> None:
    if path == "pipe.wav" and not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes")
    response = ask(client, path)
    assert response.status_code in (415, 422)
    assert str(folder.parent) not in response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"paths": []}', 422),
        (b'{"paths": "in.wav"}', 422),
        (b'{"paths": [1]}', 422),
        (b'{"paths": ["in.wav"], "more": 1}', 422),
        (b'{"paths": ["in.wav"', 422),
        (b"\xff\xfe", 422),
        (b"[" * 100_000, 422),
        (b'{"paths": ["a", "b", "c", "d", "e"]}', 413),
        (b" " * 1_100_000, 413),
    ],
)
def test_lists_that_are_none(client: httpx.Client, body: bytes, status: int) -> None:
    response = client.post("/v1/recognise/path", content=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.skipif(not library._BY_DESCRIPTOR, reason="on Linux only")
def test_a_name_that_changes_meanwhile_changes_nothing(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.wav"
    root.mkdir()
    song = root / "song.wav"
    song.write_bytes(b"the song")
    secret.write_bytes(b"the secret")
    workshop = Workshop()
    workshop.open()
    with library.opened(root, "song.wav", workshop) as path:
        song.unlink()
        song.symlink_to(secret)
        assert path.read_bytes() == b"the song"
        assert path.suffix == ".wav"
    assert not path.is_symlink()
    workshop.close()


def test_a_name_that_changed_just_before_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.wav"
    root.mkdir()
    song = root / "song.wav"
    song.write_bytes(b"the song")
    secret.write_bytes(b"the secret")
    looked = library.inside

    def then_changed(where: Path, path: str) -> Path:
        found = looked(where, path)
        song.unlink()
        song.symlink_to(secret)
        return found

    monkeypatch.setattr(library, "inside", then_changed)
    workshop = Workshop()
    workshop.open()
    opening = library.opened(root, "song.wav", workshop)
    with pytest.raises(AudioError, match=r"song\.wav: there is no such file"), opening:
        raise RuntimeError("it was opened")
    workshop.close()


def test_inside_library(shelf: Running, running: Running, folder: Path) -> None:
    service = shelf.service
    assert service.inside_library("in.wav") == folder / "Artist" / "song ü.wav"
    assert service.inside_library(folder / "Artist") == folder / "Artist"
    assert service.inside_library("") == folder
    for path in ("..", "outdir", folder.parent / "secret.wav", "out.wav", "a\0"):
        with pytest.raises(AudioNotFoundError):
            service.inside_library(path)
    with pytest.raises(ServiceError, match="--library"):
        running.service.inside_library("in.wav")
