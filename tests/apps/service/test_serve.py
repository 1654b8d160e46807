"""``genrescope serve`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from genrescope.apps.service.temporary import Workshop
from tests.apps.command import environment, run
from tests.apps.service.serving import TOKEN, command, get, sound, until

posix = pytest.mark.skipif(os.name != "posix", reason="needs Unix signals")


def send(url: str, data: bytes) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/recognise", files={"file": ("a.wav", data)}, timeout=60, trust_env=False
    )


def begun_upload(url: str, data: bytes) -> socket.socket:
    """An upload of which the last byte is still to come, and which has its place."""
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60)
    connection.sendall(
        b"POST /v1/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
        b"Content-Length: %d\r\n\r\n" % len(data) + data[:-1]
    )
    taken = "genrescope_places_taken 1.0"
    until(lambda: taken in get(f"{url}/metrics")[1])
    return connection


def refuses(url: str) -> bool:
    try:
        return get(f"{url}/readyz")[0] == 503
    except OSError:
        return True


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_finishes_what_it_has_begun(number: int, tmp_path: Path) -> None:
    """And takes nothing new, removes its folder, and leaves no worker behind."""
    data = sound()
    with command("--workers", "1", TMPDIR=str(tmp_path)) as (url, process):
        workers = children(process.pid)
        with begun_upload(url, data) as connection:
            process.send_signal(number)
            for pid in workers:  # as a service manager does, and a terminal
                os.kill(pid, number)
            until(lambda: refuses(url))
            connection.sendall(data[-1:])
            assert b" 200 OK" in connection.recv(65_536)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert not list(tmp_path.glob("genrescope-*"))
        for pid in workers:
            until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]


@posix
def test_it_ends_in_time(tmp_path: Path) -> None:
    with command("--workers", "1", "--grace", "1", TMPDIR=str(tmp_path)) as (url, process):
        with begun_upload(url, sound()):
            process.terminate()
            assert process.wait(30) == 0
        assert not list(tmp_path.glob("genrescope-*"))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in found.read_text().split()] if found.exists() else []


@posix
def test_what_a_killed_one_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = tmp_path / "genrescope-serve-other"
    other.mkdir()  # without a lock: not ours to judge
    code = (
        "import os, signal\n"
        "from genrescope.apps.service.temporary import Workshop\n"
        "workshop = Workshop(); workshop.open(); workshop.new('a.mp3').touch()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = environment(TMPDIR=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], env=env, check=False)
    (left,) = set(tmp_path.glob("genrescope-*")) - {other}
    assert len(list(left.iterdir())) == 2  # what was sent, and the lock
    first, second = Workshop(), Workshop()
    first.open()
    second.open()
    assert set(tmp_path.glob("genrescope-*")) == {other, first.folder, second.folder}
    first.close()
    second.close()
    assert set(tmp_path.glob("genrescope-*")) == {other}


def test_the_log_has_a_line_a_request(tmp_path: Path) -> None:
    with command("--workers", "1") as (url, process):
        send(url, sound())
        get(f"{url}/v1/secret%0Aline?token=hidden")
        process.terminate()
        assert process.stderr is not None
        lines = [line for line in process.stderr.read().splitlines() if "readyz" not in line]
    assert len(lines) == 2
    assert " POST /v1/recognise 200 " in lines[0]
    assert " GET /v1/secret\\nline 404 " in lines[1]
    assert "urn:uuid:" in lines[1]
    assert "hidden" not in lines[1]


def test_the_log_as_json() -> None:
    with command("--workers", "1", "--log-json", GENRESCOPE_TOKEN=TOKEN) as (url, process):
        get(f"{url}/v1/bundles")
        process.terminate()
        assert process.stderr is not None
        told = [json.loads(line) for line in process.stderr.read().splitlines()][-1]
    assert (told["method"], told["path"], told["status"]) == ("GET", "/v1/bundles", 401)
    assert told.keys() == {
        "time", "level", "client", "method", "path", "status", "received", "seconds", "instance"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "needs a token"),
        (["--token-file", "/nowhere/token"], "no token can be read"),
        (["--library", "/nowhere/music"], "the library has to be one"),
        (["--bundle", "/nowhere/bundle"], "a bundle is a folder"),
        (["--host", "no.such.host.invalid"], "no address"),
    ],
)
def test_what_it_does_not_start_with(arguments: list[str], words: str) -> None:
    done = run("serve", "--no-pages", *arguments)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert done.stderr.decode().startswith("genrescope: ")
    assert "Traceback" not in done.stderr.decode()


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run("serve", "--no-pages", "--workers", "1", "--port", str(other.getsockname()[1]))
    assert done.returncode == 2
    assert "--port" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_a_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from genrescope.apps.cli.main import main\n"
        "sys.argv = ['genrescope', 'serve']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'pip install "genrescope[serve]"' in done.stderr


def test_help_loads_nothing_of_it() -> None:
    code = (
        "import sys\n"
        "from genrescope.apps.cli.main import app\n"
        "try: app(['serve', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(set(sys.modules) & {'fastapi', 'starlette', 'uvicorn', 'nicegui', 'numpy'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
