"""``genrescope fma`` as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from tests.apps.command import COMMAND, environment, here, on_terminal
from tests.catalog.web import Way, serving

FILES = {f"fma_small/000/{n:06d}.mp3": random.Random(n).randbytes(600_000) for n in range(2, 12)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    path = tmp_path_factory.mktemp("archive") / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for at, (name, data) in enumerate(FILES.items()):
            opened.writestr(name, data, zipfile.ZIP_BZIP2 if at % 2 else zipfile.ZIP_STORED)
    data = path.read_bytes()
    return data, hashlib.sha1(data).hexdigest()


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.mp3")
    }


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_fetch_killed_twice_ends_with_a_verified_archive(
    tmp_path: Path, archive: tuple[bytes, str]
) -> None:
    body, sha1 = archive
    out, part = tmp_path / "out", tmp_path / "out" / "fma_small.zip.part"
    slow = Way(pause=0.05, drop_after=3_000_000)
    with serving(body, slow) as web:
        command = ["fma", "fetch", "small", "--to", str(out), "--url", web.url, "--sha1", sha1]
        for goal in (1_000_000, 2_500_000):
            process = subprocess.Popen(
                [*COMMAND, *command], env=environment(), stderr=subprocess.DEVNULL
            )
            end = time.monotonic() + 60
            while not part.exists() or part.stat().st_size < goal:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            assert not (out / "fma_small.zip").exists()
        sent = web.sent
        web.ways[:] = [Way(drop_after=1_500_000), Way(status=503), Way()]
        done = here(*command)
        assert done.returncode == 0, done.stderr
        assert all(r.startswith("bytes=") for r in web.ranges()[1:])
        assert web.sent - sent < len(body) - 2_500_000 + 4 * 2**16
    assert hashlib.sha1((out / "fma_small.zip").read_bytes()).hexdigest() == sha1
    assert files(out) == FILES
    assert sorted(p.name for p in out.iterdir()) == ["fma_small", "fma_small.zip"]
    assert done.stdout.decode() == (
        f"{out / 'fma_small'}: 10 files; SHA-1 of fma_small.zip is right\n"
    )
    lines = done.stderr.decode().splitlines()
    assert re.fullmatch(r"downloading fma_small\.zip: .* MB of 6\.0 MB \(\d+%\)", lines[0])
    # With a rate, where it took longer than a second.
    assert lines[-1].startswith("unpacking fma_small.zip: 6.0 MB of 6.0 MB (100%)")
    assert len(lines) < 12  # no bar in a pipe
    again = here(*command)
    assert again.returncode == 0
    assert b"was there already" in again.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_ctrl_c_ends_in_order(tmp_path: Path, archive: tuple[bytes, str]) -> None:
    body, sha1 = archive
    part = tmp_path / "fma_small.zip.part"
    with serving(body, Way(pause=0.1)) as web:
        process = subprocess.Popen(
            [*COMMAND, "fma", "fetch", "small", "--to", tmp_path, "--url", web.url, "--sha1", sha1],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        while not part.exists() or not part.stat().st_size:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "Stopped. The same command goes on where it was."
    assert part.stat().st_size


def test_wrong_bytes(tmp_path: Path, archive: tuple[bytes, str]) -> None:
    body, _ = archive
    with serving(body) as web:
        done = here("fma", "fetch", "small", "--to", tmp_path, "--url", web.url)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == (
        f"genrescope: fma_small.zip: SHA-1 is {hashlib.sha1(body).hexdigest()}, expected "
        "ade154f733639d52e35e32f5593efe5be76c6d70; the file was kept as fma_small.zip.part. "
        "Run `genrescope fma fetch small` again to fetch it anew."
    )


def test_damaged_members_end_in_exit_code_1(tmp_path: Path, archive: tuple[bytes, str]) -> None:
    data = bytearray(archive[0])
    data[data.find(b"PK\x01\x02") + 16] ^= 1
    path = tmp_path / "bad.zip"
    path.write_bytes(data)
    sha1 = hashlib.sha1(data).hexdigest()
    for _ in range(2):
        done = here("fma", "fetch", "small", "--to", tmp_path, "--from", path, "--sha1", sha1)
        assert done.returncode == 1
        assert "1 member could not be unpacked" in done.stderr.decode()
        assert "quarantine.csv says why" in done.stderr.decode()
    assert len(files(tmp_path)) == 9


def test_a_bar_on_a_terminal(tmp_path: Path, archive: tuple[bytes, str]) -> None:
    body, sha1 = archive
    with serving(body, Way(pause=0.005)) as web:
        code, output = on_terminal(
            *("fma", "fetch", "small", "--to", tmp_path, "--url", web.url, "--sha1", sha1),
            width=100,
        )
    assert code == 0
    assert "downloading fma_small.zip" in output
    assert "%" in output
    assert "MB/s" in output
    assert files(tmp_path) == FILES


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["fetch", "tiny"], "none of FMA's archives"),
        (["fetch", "small", "--from", "a", "--url", "b"], "give --from"),
        (["fetch", "small", "--url", "nonsense"], "no web address"),
        (["prepare", "."], "holds no tracks.csv"),
        (["info", "."], "genrescope fma prepare DIR"),
        (["simulate", ".", "--tracks", "0"], "--tracks"),
        (["simulate", "new", "--audio", "loud"], "must be one of small, medium, large"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = here("fma", *arguments, COLUMNS="200")
    assert done.returncode == 2
    assert match in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_simulate_prepare_and_info(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    done = here("fma", "simulate", tmp_path, "--tracks", "24", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    metadata = tmp_path / "fma_metadata"
    assert f"{metadata}: 24 tracks of" in done.stdout.decode()
    assert "24 clips, simulated" in done.stdout.decode()
    for state in ("made", "up to date"):
        done = here("fma", "prepare", tmp_path)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode().splitlines()
        assert lines[0] == str(metadata / "prepared")
        assert lines[2].split(maxsplit=3) == ["tracks", "24", "53", state]
        assert lines[4].split(maxsplit=3) == ["features", "24", "519", state]
        assert "SIMULATED" in done.stderr.decode()
    done = here("fma", "info", tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 0
    assert text.startswith("SIMULATED: this archive was made up")
    for part in ("24 tracks", "small", "validation", "Hip-Hop", "(none)", "no genre at all"):
        assert part in text
    found = json.loads(here("fma", "info", tmp_path, "--json").stdout)
    assert found["simulated"] is True
    assert found["tracks"] == 24
    assert sum(found["subsets"]["large"].values()) == 24
    # The audit knows the same archive by its Parquet file.
    audit = here("audit", metadata / "prepared" / "tracks.parquet")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_what_cannot_be_read_or_is_not_there_is_said(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert here("fma", "simulate", tmp_path, "--tracks", "9", "--audio", "none").returncode == 0
    source = tmp_path / "fma_metadata"
    (source / "features.csv").unlink()
    text = (source / "tracks.csv").read_text(encoding="utf-8")
    (source / "tracks.csv").write_text(text.replace("2006-01-01", "soon"))
    done = here("fma", "prepare", source)
    assert done.returncode == 0
    err = done.stderr.decode()
    assert "features.csv is not there; its table was left out" in err
    assert "of artist_active_year_begin left empty, not readable: 'soon 00:00:00'" in err


def test_names_from_a_table_cannot_steer_the_terminal(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert here("fma", "simulate", tmp_path, "--tracks", "9", "--audio", "none").returncode == 0
    path = tmp_path / "fma_metadata" / "tracks.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Hip-Hop", "Hip\x1b[31mHop"), encoding="utf-8")
    assert here("fma", "prepare", tmp_path).returncode == 0
    assert b"Hip\\x1b[31mHop" in here("fma", "info", tmp_path).stdout


def test_help_is_light() -> None:
    from tests.apps.test_imports import HEAVY, loaded

    for arguments in (["fma"], ["fma", "fetch"], ["fma", "simulate"]):
        found = loaded(
            "from genrescope.apps.cli.main import app\n"
            f"try: app([*{arguments!r}, '--help'])\n"
            "except SystemExit as end: assert not end.code, end.code"
        )
        assert "typer" in found
        assert not found & HEAVY
