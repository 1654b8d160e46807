"""Files that are sent: the answers are the recogniser's own."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from genrescope import Recogniser
from genrescope.learn.prediction import Prediction
from tests.apps.service.serving import Running, sound
from tests.same import same, same_answer


def as_file(tmp_path: Path, data: bytes, name: str = "x.wav") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_a_file_in_a_form(client: httpx.Client, running: Running, tmp_path: Path) -> None:
    data = sound()
    response = client.post("/v1/recognise", files={"file": ("My Song.wav", data)})
    assert response.status_code == 200
    told = response.json()
    card = Recogniser.load().card
    assert told["api"] == "v1"
    assert told["bundle"] == {
        "name": card["name"],
        "version": card["version"],
        "sha256": card["graph"]["sha256"],
    }
    (result,) = told["results"]
    want = Recogniser.load().predict(as_file(tmp_path, data)).to_dict()
    want |= {"path": "My Song.wav", "timeline": []}
    assert same_answer(result["prediction"], want)
    assert (result["file"], result["problem"]) == ("My Song.wav", None)
    assert Prediction.from_dict(result["prediction"]).best == want["best"]
    assert running.left() == []


def test_a_file_as_the_whole_body(client: httpx.Client, tmp_path: Path) -> None:
    data = sound(form="FLAC")
    for kind in ("audio/flac", "application/octet-stream", "video/mp4"):
        response = client.post(
            "/v1/recognise?name=dir/a.flac", content=data, headers={"Content-Type": kind}
        )
        assert response.json()["results"][0]["file"] == "a.flac"
    want = Recogniser.load().predict(as_file(tmp_path, data, "a.flac")).to_dict()
    got = response.json()["results"][0]["prediction"]
    assert same(got["probabilities"], want["probabilities"])


def test_several_files_each_have_a_result(client: httpx.Client, running: Running) -> None:
    files = [
        ("file", ("a.wav", sound(seed=1))),
        ("file", ("notes.txt", b"no music at all\n" * 50)),
        ("file", ("nothing.wav", b"")),
        ("file", ("short.wav", sound(0.02))),
        ("other", ("a.wav", sound(seed=2))),
    ]
    response = client.post("/v1/recognise", files=files, data={"comment": "hello"})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [one["file"] for one in results] == [name for _, (name, _) in files]
    assert [one["prediction"] is not None for one in results] == [True, False, False, False, True]
    errors = [one["problem"]["error"] for one in results if one["problem"]]
    assert errors == ["AudioUnsupportedError", "AudioEmptyError", "AudioTooShortError"]
    assert results[0]["prediction"]["best"]
    assert running.left() == []


def test_one_file_that_fails_is_a_problem(client: httpx.Client, running: Running) -> None:
    response = client.post("/v1/recognise", files={"file": ("x.mp3", b"not audio" * 99)})
    assert response.status_code == 415
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["type"] == "urn:genrescope:problem:audio-unsupported"
    assert told["status"] == 415
    assert told["detail"].startswith("x.mp3: ")
    assert told["instance"].startswith("urn:uuid:")
    assert str(running.service.workshop.folder) not in response.text


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Music\\song.mp3", "song.mp3"),
        ("/abs/olute.wav", "olute.wav"),
        ("a\tb\u202egnp.exe", "abgnp.exe"),
        ("..", ".."),
        ("é日本.flac", "é日本.flac"),
        ("x" * 5000 + ".wav", "x" * 200),
        ("  ", "upload"),
        ("<script>alert(1)</script>.wav", "script>.wav"),
        ("%2e%2e%2fpasswd", "%2e%2e%2fpasswd"),
    ],
)
def test_names_never_touch_the_file_system(
    client: httpx.Client, running: Running, told: str, shown: str
) -> None:
    response = client.post(
        "/v1/recognise", params={"name": told[:900]}, content=b"nothing", headers=AUDIO
    )
    assert response.json()["detail"].startswith(f"{shown}: ")
    if len(told) < 100 and told.isprintable():
        body = (
            b'--edge\r\nContent-Disposition: form-data; name="file"; filename="'
            + told.replace("\\", "\\\\").encode()
            + b'"\r\n\r\nnothing\r\n--edge--\r\n'
        )
        response = client.post("/v1/recognise", content=body, headers=FORM)
        assert response.json()["detail"].startswith(f"{shown}: ")
    assert running.left() == []
    assert running.service.workshop.folder.stat().st_mode & 0o077 == 0


AUDIO = {"Content-Type": "audio/mpeg"}
FORM = {"Content-Type": "multipart/form-data; boundary=edge"}


def test_names_on_disk_are_the_servers_own(running: Running) -> None:
    names = [running.service.workshop.new(f"../../{name}").name for name in ("a.MP3", "b.exe", "")]
    assert [name[32:] for name in names] == [".mp3", "", ""]
    assert len(set(names)) == 3
    assert all(name[:32].isalnum() for name in names)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"x", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", 415),
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({"Content-Type": "multipart/form-data"}, b"x", 400),
        ({"Content-Type": "multipart/form-data; boundary=" + "x" * 500}, b"x", 400),
        (FORM, b"", 400),
        (FORM, b"garbage", 400),
        (FORM, b"--edge\r\n", 400),
        (FORM, b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nhal', 400),
        (FORM, b"--edge\r\nX: " + b"x" * 10_000 + b"\r\n\r\n\r\n--edge--\r\n", 400),
        (FORM, b"--edge\r\n" + b"X: y\r\n" * 100 + b"\r\n\r\n--edge--\r\n", 400),
        (FORM, b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--edge--\r\n', 422),
        (
            FORM,
            b'--edge\r\nContent-Disposition: form-data; name="a"; filename=""\r\n\r\n\r\n'
            b"--edge--\r\n",
            422,
        ),
        (
            FORM,
            b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 20
            + b"--edge--\r\n",
            422,
        ),
        ({**AUDIO, "Content-Encoding": "gzip"}, b"\x1f\x8b" + bytes(99), 415),
        (AUDIO, b"", 422),
    ],
)
def test_what_cannot_be_read_is_said(
    client: httpx.Client, running: Running, headers: dict[str, str], body: bytes, status: int
) -> None:
    response = client.post("/v1/recognise", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert running.left() == []
    assert client.get("/healthz").status_code == 200


def test_playlists_open_nothing_else(client: httpx.Client, tmp_path: Path) -> None:
    secret = as_file(tmp_path, sound(), "secret.wav")
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"[playlist]\nFile1={secret}\nNumberOfEntries=1\n",
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]><x>&e;</x>',
    ]
    for text in playlists:
        response = client.post("/v1/recognise", files={"file": ("a.m3u8", text.encode())})
        assert response.status_code in (415, 422), text
        assert str(tmp_path) not in response.text


def test_archives_are_not_unpacked(client: httpx.Client) -> None:
    import gzip

    bomb = gzip.compress(bytes(30 << 20))
    response = client.post("/v1/recognise", files={"file": ("song.wav.gz", bomb)})
    assert response.status_code == 415


def test_windows_and_timeline(client: httpx.Client, tmp_path: Path) -> None:
    data = sound(95)
    path = as_file(tmp_path, data)
    lengths = {}
    for query in ("", "windows=2", "timeline=true", "timeline=true&windows=2", "windows=200"):
        response = client.post(f"/v1/recognise?{query}", files={"file": ("a.wav", data)})
        lengths[query] = response.json()["results"][0]["prediction"]
    assert [len(one["timeline"]) for one in lengths.values()][:2] == [0, 0]
    two = Recogniser.load(n_windows=2).predict(path).to_dict()
    assert same(lengths["timeline=true&windows=2"]["timeline"], two["timeline"])
    assert same(lengths["windows=2"]["probabilities"], two["probabilities"])
    assert len(lengths["timeline=true"]["timeline"]) > 2


@pytest.mark.parametrize("query", ["windows=0", "windows=201", "windows=many", "timeline=perhaps"])
def test_values_out_of_range(client: httpx.Client, query: str) -> None:
    response = client.post(f"/v1/recognise?{query}", files={"file": ("a.wav", b"x")})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert query.partition("=")[0] in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/recognise", 405),
        ("POST", "/healthz", 405),
        ("DELETE", "/v1/bundles", 405),
        ("OPTIONS", "/v1/recognise", 405),
        ("BREW", "/v1/bundles", 405),
        ("GET", "/v1/", 404),
        ("GET", "/v1/recognise/", 404),
        ("POST", "/v1/recognise/path", 404),  # there is no library
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),  # nothing is loaded from elsewhere
    ],
)
def test_paths_and_methods(client: httpx.Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    if status == 405:
        assert response.headers["allow"]


def test_health_bundles_and_head(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.head("/healthz").status_code == 200
    told = client.get("/v1/bundles").json()
    assert told["bundles"][0]["genres"] == list(Recogniser.load().genres)


def test_figures(client: httpx.Client) -> None:
    def figures() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {k: float(v) for k, _, v in (x.rpartition(" ") for x in lines if x[0] != "#")}

    before = figures()
    client.post("/v1/recognise", files={"file": ("a.wav", sound())})
    client.post("/v1/recognise", files={"file": ("a.wav", b"x")})
    for i in range(5):
        client.get(f"/made/up/{i}")
    after = figures()
    more = {key: value - before.get(key, 0) for key, value in after.items()}
    ok = 'genrescope_requests_total{method="POST",route="/v1/recognise",status="200"}'
    assert more[ok] == 1
    assert more['genrescope_errors_total{error="AudioUnsupportedError"}'] == 1
    assert more['genrescope_requests_total{method="GET",route="other",status="404"}'] == 5
    assert not any("made" in key for key in after)
    assert more["genrescope_recognition_seconds_count"] == 1
    assert after["genrescope_workers_ready"] == 1
    assert after["genrescope_queue_length"] == after["genrescope_running"] == 0
    name = Recogniser.load().card["name"]
    assert any(key.startswith(f'genrescope_bundle_info{{name="{name}"') for key in after)


@pytest.mark.data
def test_real_clips(client: httpx.Client, fma_clips: list[Path]) -> None:
    recogniser = Recogniser.load()
    files = [("file", (clip.name, clip.read_bytes())) for clip in fma_clips[:3]]
    results = client.post("/v1/recognise", files=files).json()["results"]
    for clip, result in zip(fma_clips, results, strict=False):
        want = recogniser.predict(clip).to_dict() | {"path": clip.name, "timeline": []}
        assert same_answer(result["prediction"], want)
        assert want["title"]
    assert json.dumps(results)
