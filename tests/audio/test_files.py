"""Opening files: what is wrong with a path, and that nothing else is opened."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from genrescope.audio import files
from genrescope.audio.files import not_opened, open_regular, printable
from genrescope.errors import (
    AudioCorruptError,
    AudioEmptyError,
    AudioError,
    AudioIsDirectoryError,
    AudioNotFoundError,
    AudioPermissionError,
    AudioUnsupportedError,
)

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


def refused(path: Path | str, kind: type[AudioError]) -> str:
    with pytest.raises(AudioError) as error:
        open_regular(str(path))
    assert type(error.value) is kind
    return str(error.value)


def test_a_regular_file_is_opened_for_reading_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"0123456789")
    fd, size = open_regular(str(path))
    try:
        assert size == 10
        assert os.read(fd, 99) == b"0123456789"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
    finally:
        os.close(fd)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"0123")
    (tmp_path / "link").symlink_to("a.wav")
    fd, size = open_regular(str(tmp_path / "link"))
    os.close(fd)
    assert size == 4


def test_one_byte_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"0")
    fd, size = open_regular(str(path))
    os.close(fd)
    assert size == 1


def test_what_is_refused_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_bytes(b"x")
    cases: list[tuple[Path, type[AudioError], str]] = [
        (
            tmp_path,
            AudioIsDirectoryError,
            "a directory; a single audio file is needed. Name a file in it.",
        ),
        (
            tmp_path / "empty",
            AudioEmptyError,
            "the file has no bytes; only files with sound can be read. Copy or download it again.",
        ),
        (
            tmp_path / "none",
            AudioNotFoundError,
            "there is no such file. Check the spelling of the path.",
        ),
        (
            tmp_path / "file" / "a",
            AudioNotFoundError,
            "there is no such file (Not a directory). Check the spelling of the path.",
        ),
        (
            tmp_path / ("x" * 400),
            AudioNotFoundError,
            "there is no such file (File name too long). Check the spelling of the path.",
        ),
    ]
    for path, kind, message in cases:
        assert refused(path, kind) == f"{path}: {message}"


def test_a_name_with_a_zero_byte_is_no_file() -> None:
    said = refused("a\0b", AudioNotFoundError)  # the words between are Python's, and change
    assert said.startswith("a\0b: there is no such file (")
    assert "embedded null" in said
    assert said.endswith("). Check the spelling of the path.")


def test_a_circle_of_links_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert "no such file (Too many levels" in refused(tmp_path / "circle", AudioNotFoundError)


@needs_pipes
def test_pipes_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path in ("pipe", "socket", "/dev/null"):
            assert refused(path, AudioUnsupportedError) == (
                f"{path}: a pipe, socket or device; only regular files are read. "
                "Copy its content to a file first."
            )


@needs_pipes
def test_a_device_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one may rewind a tape."""
    monkeypatch.setattr(files.os, "open", lambda *_: pytest.fail("it was opened"))
    refused("/dev/null", AudioUnsupportedError)


@needs_pipes
@pytest.mark.parametrize("became", ["directory", "pipe"])
def test_a_path_that_became_something_else_is_closed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, became: str
) -> None:
    """Between the look at it and its opening, which must not wait for a writer of a pipe."""
    (tmp_path / "file").write_bytes(b"x")
    path = tmp_path / "a.wav"
    if became == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    regular = os.stat(tmp_path / "file")
    monkeypatch.setattr(files.os, "stat", lambda _: regular)
    opened: list[int] = []
    really = os.open

    def spy(*args: int) -> int:
        opened.append(really(*args))
        return opened[-1]

    monkeypatch.setattr(files.os, "open", spy)
    refused(path, AudioUnsupportedError if became == "pipe" else AudioIsDirectoryError)
    (fd,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_an_empty_file_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").touch()
    closed: list[int] = []
    monkeypatch.setattr(files.os, "close", closed.append)
    refused(tmp_path / "a.wav", AudioEmptyError)
    monkeypatch.undo()
    (fd,) = closed
    assert stat.S_ISREG(os.fstat(fd).st_mode)
    os.close(fd)


def test_what_the_system_refuses_when_opening_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"x")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuse)
    assert refused(path, AudioPermissionError) == (
        f"{path}: no permission to read it. Change its permissions or owner."
    )


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            OSError(errno.EIO, "Input/output error"),
            AudioCorruptError,
            "a: the system cannot read it (Input/output error).",
        ),
        (OSError("odd"), AudioCorruptError, "a: the system cannot read it (odd)."),
        (
            PermissionError(errno.EPERM, "Operation not permitted"),
            AudioPermissionError,
            "a: no permission to read it. Change its permissions or owner.",
        ),
    ],
    ids=str,
)
def test_errors_of_the_system_are_told_apart(
    error: OSError, kind: type[AudioError], message: str
) -> None:
    told = not_opened("a", error)
    assert type(told) is kind
    assert str(told) == message


def test_any_name_can_be_printed_in_an_error(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9 \xff.mp3")
    assert printable("naïve – 音楽.mp3") == "naïve – 音楽.mp3"
    assert printable("caf\udce9.mp3") == "caf?.mp3"
    for error in (FileNotFoundError(), PermissionError(), OSError(errno.EIO, "no")):
        assert str(not_opened(odd, error)).startswith(f"{printable(odd)}: ")
    if sys.platform == "linux":
        (tmp_path / odd).touch()
        (tmp_path / os.fsdecode(b"\xff")).mkdir()
        shown = printable(str(tmp_path / odd))
        assert refused(tmp_path / odd, AudioEmptyError).startswith(f"{shown}: ")
        assert refused(tmp_path / os.fsdecode(b"\xff"), AudioIsDirectoryError).startswith(
            f"{tmp_path}/?: "
        )
