"""Full queues, slow and large requests, clients that leave, files that end their worker."""

from __future__ import annotations

import io
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from genrescope.apps.service import uploads
from genrescope.errors import AudioNotFoundError, DecoderMemoryError, DecoderTimeoutError
from tests.apps.service import serving as helpers
from tests.apps.service.serving import Running, serving, sound, until

POST = b"POST /v1/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    """One worker, two places, and little of everything; its files may tell it what to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrescope.apps.service.service._hear", helpers.hear_or_do)
        with serving(
            queue=1,
            max_bytes=300_000,
            max_files=3,
            max_seconds=3.0,
            max_memory=400 << 20,
            stall_seconds=1.0,
        ) as found:
            yield found


@pytest.fixture
def client(small: Running) -> Iterator[httpx.Client]:
    with small.client() as found:
        yield found


def send(client: httpx.Client, data: bytes, name: str = "a.wav") -> httpx.Response:
    return client.post("/v1/recognise", files={"file": (name, data)})


def wait_for(flag: Path) -> bytes:
    return b"WAIT\n" + os.fsencode(flag)


def state(small: Running, key: str) -> Any:
    return small.service.state[key]


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    received = b""
    while piece := connection.recv(65_536):
        received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")]
        if length and len(body) >= int(length[0].split(b":")[1]):
            break
    return int(received.split()[1]) if received else 0, received


def test_a_full_queue_says_when_to_come_again(
    small: Running, client: httpx.Client, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    with ThreadPoolExecutor() as pool:
        first = [pool.submit(send, client, wait_for(flag)) for _ in range(2)]
        until(lambda: state(small, "taken") == 2 and state(small, "waiting") == 1)
        before = state(small, "rejected")
        refused = send(client, sound())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"] == "QueueFullError"
        # Before the body: whoever asks first need not send it.
        with small.connect() as connection:
            connection.sendall(POST + b"Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n")
            assert answer_of(connection)[0] == 429
        assert state(small, "rejected") == before + 2
        assert client.get("/healthz").status_code == 200
        flag.touch()
        assert [one.result().status_code for one in first] == [200, 200]
    assert send(client, sound()).status_code == 200
    assert small.left() == []


def test_clients_that_leave_free_their_places(
    small: Running, client: httpx.Client, tmp_path: Path
) -> None:
    lost = state(small, "lost")
    flag = tmp_path / "flag"
    body = wait_for(flag)
    gone = []
    for _ in range(2):
        connection = small.connect()
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        gone.append(connection)
    until(lambda: state(small, "waiting") == 1 and state(small, "running") == 1)
    gone[1].close()  # one that waits is dropped
    until(lambda: state(small, "waiting") == 0 and state(small, "taken") == 1)
    gone[0].close()  # one that is being recognised leaves its place at once, its worker later
    until(lambda: state(small, "taken") == 0)
    until(lambda: small.left() == [])
    assert send(client, sound()).status_code == 200
    assert state(small, "lost") == lost + 1  # it would have waited for ever


def test_uploads_cut_short_leave_nothing(small: Running) -> None:
    for head in (b"Content-Length: 90000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n9000\r\n"):
        connection = small.connect()
        connection.sendall(POST + head + b"x" * 1000)
        until(small.left)
        connection.close()
        until(lambda: small.left() == [] and state(small, "taken") == 0)


def test_slow_bodies_are_given_up(small: Running) -> None:
    with small.connect() as connection:
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\nsome")
        status, received = answer_of(connection)
    assert status == 408
    assert b"application/problem+json" in received
    until(lambda: small.left() == [] and state(small, "taken") == 0)


def test_slow_heads_are_closed(small: Running) -> None:
    silent, dripping = small.connect(), small.connect()
    dripping.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
    for connection in (silent, dripping):
        connection.settimeout(30)
        assert connection.recv(1) == b""
        connection.close()


def test_connections_are_kept_and_used_again(small: Running) -> None:
    with small.connect() as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer_of(connection)[0] == 200
        # An answer that comes before the whole body does not spoil the connection.
        connection.sendall(
            b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
        )
        assert answer_of(connection)[0] == 404
        connection.sendall(b"12345GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer_of(connection)[0] == 200


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("form", [True, False])
def test_too_large(small: Running, client: httpx.Client, declared: bool, form: bool) -> None:
    data = bytes(301_000)
    headers = {"Content-Type": "audio/wav"}
    if form:
        data = b'--e\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + data
        data += b"\r\n--e--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=e"}
    pieces = data if declared else (data[i : i + 9_999] for i in range(0, len(data), 9_999))
    response = client.post("/v1/recognise", content=pieces, headers=headers)
    assert response.status_code == 413
    assert "300000 bytes" in response.json()["detail"]
    until(lambda: small.left() == [])


def test_the_limit_holds_while_bytes_arrive(small: Running) -> None:
    with small.connect() as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            connection.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        # The last piece never comes; the answer does.
        assert answer_of(connection)[0] == 413


def test_too_many_files(client: httpx.Client) -> None:
    response = client.post("/v1/recognise", files=[("f", (f"{i}.wav", b"x")) for i in range(4)])
    assert response.status_code == 413
    assert "more than 3 files" in response.json()["detail"]


def test_lies_about_the_length(small: Running) -> None:
    for head in (
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ):
        with small.connect() as connection:
            connection.sendall(POST + head + b"\r\n" + b"abcdefgh")
            status, _ = answer_of(connection)
        assert 400 <= status < 500 or status == 501, head
    assert state(small, "taken") == 0


def test_large_heads_are_refused(small: Running) -> None:
    with small.connect() as connection:
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 500_000)
            assert answer_of(connection)[0] in (400, 431)
        except ConnectionError:  # closed before all of it was sent
            pass


@pytest.mark.parametrize(
    ("word", "error", "status"),
    [
        ("CRASH", "DecoderCrashError", 422),
        pytest.param(
            "MEMORY",
            "DecoderMemoryError",
            422,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="limited on Linux only"),
        ),
        ("BUG", "AudioError", 422),
        ("WAIT\n/nowhere/flag", None, 422),
    ],
)
def test_files_that_end_their_worker(
    small: Running, client: httpx.Client, word: str, error: str | None, status: int, tmp_path: Path
) -> None:
    if error is None:
        word, error = f"WAIT\n{tmp_path}/never", "DecoderTimeoutError"
    response = send(client, word.encode(), "bad.mp3")
    told = response.json()
    assert (response.status_code, told["error"]) == (status, error)
    assert told["detail"].startswith("bad.mp3: ")
    assert str(small.service.workshop.folder) not in response.text
    assert send(client, sound()).status_code == 200
    assert small.left() == []


def test_what_nobody_foresaw_is_told_without_its_insides(
    small: Running, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **rest: Any) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(small.service, "recognise_here", fail)
    response = send(client, sound())
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["instance"].startswith("urn:uuid:")
    assert small.left() == []
    assert state(small, "taken") == 0


def test_a_full_disk(small: Running, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    new = small.service.workshop.new

    def full(name: str) -> Path:
        path = new(name)
        path.symlink_to("/dev/full")
        return path

    monkeypatch.setattr(small.service.workshop, "new", full)
    monkeypatch.setattr(
        "genrescope.apps.service.uploads._create", lambda path: path.open("wb", buffering=0)
    )
    response = send(client, sound())
    assert response.status_code == 507
    assert response.json()["error"] == "DiskSpaceError"
    monkeypatch.undo()
    assert small.left() == []


def test_many_at_once_and_one_who_only_asks(small: Running) -> None:
    """Everybody gets a whole answer; nothing is lost between the answers."""
    seen: list[int] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        with small.client() as client:
            response = send(client, sound(1.0, seed=number % 3))
            body = json.loads(response.content)
            with lock:
                seen.append(response.status_code)
            assert ("results" in body) == (response.status_code == 200)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(40)))
    assert set(seen) <= {200, 429}
    assert seen.count(200) >= 2
    until(lambda: state(small, "taken") == 0)
    assert small.left() == []


def test_a_connection_that_is_used_stays_open(small: Running) -> None:
    """However short its requests are: it is idle whenever it is looked at."""
    with small.connect() as connection:
        asked, end = 0, time.monotonic() + 4.0  # stalled connections are closed after 1 to 2 s
        while time.monotonic() < end:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, _ = answer_of(connection)
            assert status == 200, f"closed after {asked} requests"
            asked += 1
            select.select([], [], [], 0.02)
    assert asked > 20


class ShortWrites(io.FileIO):
    """A file on a disk that takes half of what it is given, as one does that runs full."""

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        return super().write(rest[: max(1, len(rest) // 2)]) or 0


@pytest.mark.parametrize("form", [True, False])
def test_a_disk_that_takes_only_a_part_gets_the_rest(
    form: bool, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sound()

    def send() -> Any:
        if form:
            response = client.post("/v1/recognise", files={"file": ("x.wav", data)})
        else:
            kind = {"Content-Type": "audio/wav"}
            response = client.post("/v1/recognise?name=x.wav", content=data, headers=kind)
        return response.json()["results"]

    want = send()
    monkeypatch.setattr(uploads, "_create", lambda path: ShortWrites(path, "xb"))
    assert send() == want


def test_errors_are_renamed_beside_dask_too() -> None:
    pytest.importorskip("distributed")  # it changes how exceptions are copied
    from genrescope.apps.service.problems import in_names_of

    for kind in (DecoderMemoryError, DecoderTimeoutError, AudioNotFoundError):
        error = kind("/srv/1234.mp3: too much")
        told = in_names_of(error, {"/srv/1234.mp3": "song.mp3"})
        assert type(told) is kind
        assert str(told) == "song.mp3: too much"
        assert str(error) == "/srv/1234.mp3: too much"
