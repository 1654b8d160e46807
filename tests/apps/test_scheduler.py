"""The options of commands that run on a cluster."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from genrescope.audio.store import FeatureStore
from genrescope.audio.store.verify import verify
from tests.apps.command import run
from tests.audio.stores import write_tone

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(4):
        write_tone(folder / f"{i}.wav", seed=i)
    (folder / "bad.mp3").write_bytes(b"no sound")
    return folder


def test_features_and_predictions_come_from_a_cluster(music: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    what = ("features", "extract", music, "--out", store, "--what", "mel", "--seconds", "1")
    done = run(*what, "--cluster", "local:2", OMP_NUM_THREADS="1")
    assert done.returncode == 1, done.stderr  # one is in quarantine
    assert b"4 tracks; 4 now" in done.stdout
    assert b"partition=*/quarantine.csv says why" in done.stderr
    assert b"distributed" not in done.stderr
    assert FeatureStore.open(store).partitions == 1
    assert verify(store).whole
    # A store of partitions is one without a cluster, too.
    again = run(*what, "--workers", "1", OMP_NUM_THREADS="1")
    assert b"4 were there already" in again.stdout
    asked = ("predict", music, "--jsonl")
    there = run(*asked, "--cluster", "local:1", OMP_NUM_THREADS="1")
    here = run(*asked, "--workers", "0", OMP_NUM_THREADS="1")
    assert there.returncode == here.returncode == 1
    assert there.stdout == here.stdout
    assert len([json.loads(line) for line in there.stdout.splitlines()]) == 5


def test_nobody_at_the_address_ends_with_a_sentence(music: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    done = run("features", "extract", music, "--out", tmp_path / "s", "--scheduler", address)
    assert done.returncode == 2
    assert b"no scheduler of Dask answers there" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cluster", "local:1", "--scheduler", "tcp://a:1"), b"exclude each other"),
        (("--cluster", "remote"), b"give local:N"),
        (("--cluster", "local:1", "--workers", "2"), b"without a cluster"),
    ],
)
def test_options_that_do_not_fit(
    music: Path, tmp_path: Path, options: tuple[str, ...], said: bytes
) -> None:
    done = run("features", "extract", music, "--out", tmp_path / "s", *options)
    assert done.returncode == 2
    assert said in done.stderr
