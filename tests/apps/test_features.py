"""``genrescope features``, as a user runs it: killed, continued, checked."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.store import FeatureStore
from genrescope.catalog.prepared import load_prepared
from tests.apps.command import COMMAND, environment, here, on_terminal, run
from tests.audio.stores import content, write_tone

N = 24  # tracks


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    for i in range(N):
        write_tone(folder / ("Rock" if i % 2 else "Folk") / f"{i:02d}.wav", seed=i)
    (folder / "Folk" / "bad.mp3").write_bytes(b"\xff\xfb garbage" * 9)
    return folder


@pytest.fixture(scope="module")
def filled(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stores") / "filled"
    done = here("features", "extract", music, "--out", out, "--seconds", "1", "--workers", "1")
    assert done.returncode == 1, done.stderr.decode()
    return out


def killed(arguments: list[str | Path], *, when: Path, at_least: int, limit: float = 240) -> bool:
    """Run it, and kill -9 it once the manifest has so many bytes; whether it came to that."""
    process = subprocess.Popen(
        [*COMMAND, *map(os.fspath, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    end = time.monotonic() + limit
    while process.poll() is None and time.monotonic() < end:
        if when.exists() and when.stat().st_size >= at_least:
            children = _children(process.pid)
            process.send_signal(signal.SIGKILL)
            process.wait()
            _gone(children)
            return True
        time.sleep(0.005)
    process.kill()
    process.wait()
    return False


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _gone(pids: list[int]) -> None:
    """Workers end when nobody is there to give them work."""
    end = time.monotonic() + 30
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < end, f"{pids} go on without the process that started them"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_extract_says_what_it_did(music: Path, filled: Path) -> None:
    done = here("features", "extract", music, "--out", filled)
    assert done.returncode == 1
    assert f"{filled}: 24 tracks; 0 now (source: genre folders)" in done.stdout.decode()
    assert "24 were there already" in done.stdout.decode()
    said = done.stderr.decode()
    assert "1 track in quarantine, 1 not tried again (--retry does)" in said
    assert "quarantine.csv says why" in said


def test_killed_again_and_again_it_ends_with_the_same_bytes(
    music: Path, filled: Path, tmp_path: Path
) -> None:
    arguments: list[str | Path] = ["features", "extract", music, "--out", tmp_path / "s"]
    arguments += ["--seconds", "1", "--workers", "2", "--batch", "2"]
    manifest, times = tmp_path / "s" / "manifest.jsonl", 0
    for _ in range(3):
        size = manifest.stat().st_size if manifest.exists() else 0
        times += killed(arguments, when=manifest, at_least=size + 2000)
    assert times >= 2
    done = run(*arguments)
    assert done.returncode == 1
    assert "had ended in the middle" in done.stderr.decode()
    assert here("features", "verify", tmp_path / "s").returncode == 0
    one = tmp_path / "one"
    here("features", "extract", music, "--out", one, "--seconds", "1", "-j", "1", "--batch", "2")
    assert content(one) == content(tmp_path / "s")
    assert np.array_equal(FeatureStore.open(filled).mel(), FeatureStore.open(one).mel())


def test_ctrl_c_says_that_nothing_is_lost(music: Path, tmp_path: Path) -> None:
    arguments = ["features", "extract", str(music), "--out", str(tmp_path / "s"), "--batch", "2"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--workers", "1"], stderr=subprocess.PIPE, env=environment()
    )
    manifest = tmp_path / "s" / "manifest.jsonl"
    while not manifest.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.decode().endswith("Stopped. The same command goes on where it was.\n")
    assert here("features", "verify", tmp_path / "s").returncode == 0
    assert [p.name for p in (tmp_path / "s").glob("parts/*") if p.stat().st_size == 0] == []


def test_other_parameters_are_refused(music: Path, filled: Path) -> None:
    done = here("features", "extract", music, "--out", filled, "--seconds", "2")
    assert done.returncode == 2
    assert b"seconds is 1.0 there and 2.0 here" in done.stderr


def test_verify_finds_damage(filled: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(filled, tmp_path / "s"))
    clean = here("features", "verify", store, "--recompute", "3", "--workers", "1")
    assert clean.returncode == 0
    lines = clean.stdout.decode().splitlines()
    assert lines[0].startswith(f"{store}: 24 tracks, 1 in quarantine; 4 files")
    assert "3 tracks extracted again: 3 the same to the bit" in lines
    assert lines[-1] == "clean"
    part = next((store / "parts").glob("*.mel.npy"))
    part.write_bytes(part.read_bytes()[:-1] + b"\x99")
    damaged = here("features", "verify", store, "--json")
    assert damaged.returncode == 1
    found = json.loads(damaged.stdout)
    assert not found["whole"]
    assert "SHA-256" in found["problems"][0]


def test_info_and_export(filled: Path, tmp_path: Path) -> None:
    said = here("features", "info", filled).stdout.decode()
    for text in ("mel: 24 x 128 x 44 uint8", "Folk 12, Rock 12", "AudioCorruptError: ", "hash "):
        assert text in said
    assert json.loads(here("features", "info", filled, "--json").stdout)["tracks"] == 24
    done = here("features", "export", filled, "--out", tmp_path / "e")
    assert done.returncode == 0, done.stderr.decode()
    assert len(load_prepared(tmp_path / "e")) == 24
    assert (tmp_path / "e" / "descriptors.parquet").exists()


def test_a_terminal_gets_a_bar_with_the_rate(music: Path, tmp_path: Path) -> None:
    code, said = on_terminal(
        "features", "extract", music, "--out", tmp_path / "s", "--what", "mel", "-j", "1", width=100
    )
    assert code == 1
    assert "Extracting" in said
    assert "tracks/s" in said


def test_no_store_is_said(tmp_path: Path) -> None:
    done = here("features", "info", tmp_path)
    assert done.returncode == 2
    assert b"no feature store" in done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom genrescope.apps.cli.main import app\n"
        "try: app(['features', 'extract', '--help'])\nexcept SystemExit: pass\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not names & {'numpy', 'soundfile', 'av', 'pyarrow', 'pebble', 'soxr'}, names"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True)


@pytest.mark.data
@pytest.mark.slow
def test_real_music_with_two_corrupt_files_killed_twice(data_dir: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    for name, most in (("fma_clips", 8), ("songs", 4), ("gtzan_snippets", 12)):
        (library / name).mkdir(parents=True)
        for file in sorted((data_dir / "audio" / name).iterdir())[:most]:
            shutil.copy(file, library / name)
    whole = (library / "fma_clips" / "000002.mp3").read_bytes()
    (library / "fma_clips" / "cut.mp3").write_bytes(whole[:700])
    (library / "songs" / "overwritten.wav").write_bytes(
        b"RIFF" + np.random.default_rng(0).bytes(9000)
    )
    store = tmp_path / "store"
    arguments: list[str | Path] = ["features", "extract", library, "--out", store]
    arguments += ["--what", "mel,descriptors,frames", "--workers", "2", "--batch", "8"]
    for parts in (1, 2):
        assert killed(arguments, when=store / "manifest.jsonl", at_least=parts * 3000)
        assert here("features", "verify", store).returncode == 0
    done = run(*arguments, timeout=240)
    assert done.returncode == 1, done.stderr.decode()
    checked = here("features", "verify", store, "--recompute", "3")
    assert checked.returncode == 0, checked.stdout.decode()
    assert "24 tracks, 2 in quarantine" in checked.stdout.decode()
    assert "3 the same to the bit" in checked.stdout.decode()
    assert "not extracted yet" not in checked.stdout.decode()
    with (store / "quarantine.csv").open(newline="") as file:
        quarantine = {row["id"]: row for row in csv.DictReader(file)}
    assert quarantine.keys() == {"fma_clips/cut.mp3", "songs/overwritten.wav"}
    assert {row["error"] for row in quarantine.values()} == {"AudioCorruptError"}
    opened = FeatureStore.open(store)
    assert len(set(opened.ids.tolist())) == len(opened) == 24
    assert opened.mel().shape == (24, 128, 1292)
    assert here(*arguments).returncode == 1  # nothing to do but for those in quarantine
    assert len(FeatureStore.open(store).journal.parts) == len(opened.journal.parts)
