"""Predictions that are remembered: what they outlive, and what they do not."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile

from genrescope import Recogniser
from genrescope.apps import heard as module
from genrescope.apps import heard_file as file_module
from genrescope.apps.heard import Heard, heard_file
from genrescope.apps.sound_identity import sound_identity
from genrescope.audio import frames
from genrescope.catalog.genre_tags import write_genre_field
from genrescope.learn.prediction import FailedPrediction, Prediction
from tests.apps.command import environment
from tests.catalog import tagged
from tests.learn.tinybundle import make_bundle


@pytest.fixture(scope="module")
def recogniser(tiny: Path) -> Recogniser:
    return Recogniser.load(tiny, workers=0)


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were really heard."""
    names: list[str] = []
    predict = Recogniser.predict

    def noted(self: Recogniser, audio: Path, **more: object) -> Prediction:
        names.append(Path(audio).name)
        return predict(self, audio, **more)

    monkeypatch.setattr(Recogniser, "predict", noted)
    return names


def noise(path: Path, *, seed: int = 0, **tags: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    y = np.random.default_rng(seed).normal(size=44_100).astype(np.float32) * 0.1
    soundfile.write(path, y, 44_100)
    edit(path, **tags)
    return path


def edit(path: Path, **tags: str) -> None:
    file = mutagen.File(path)
    for key, value in tags.items():
        file[key] = value
    file.save()


@pytest.fixture
def music(tmp_path: Path) -> list[Path]:
    return [
        noise(tmp_path / "music" / f"{i}.flac", seed=i, title=f"T{i}", artist="A") for i in range(4)
    ]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Heard]:
    with Heard.open(tmp_path / "cache" / "heard.sqlite3") as opened:
        yield opened


def told(results: object) -> list[dict[str, object]]:
    return [one.to_dict() for one in results]  # type: ignore[attr-defined]


# --- what it outlives ------------------------------------------------------


def test_nothing_is_heard_twice(
    memory: Heard, recogniser: Recogniser, music: list[Path], listened: list[str]
) -> None:
    first = list(memory.recognise(recogniser, music))
    assert listened == [path.name for path in music]
    memory.close()
    with Heard.open(memory.path) as again:
        second = list(again.recognise(recogniser, music))
        assert again.recall(recogniser, music[0]) == second[0]
    assert len(listened) == len(music)
    assert told(first) == told(second)
    assert [one.path for one in second] == music
    assert second[0].timeline


def test_known_and_unknown_come_in_order(
    memory: Heard, recogniser: Recogniser, tmp_path: Path, listened: list[str]
) -> None:
    paths = [noise(tmp_path / f"{i:03d}.flac", seed=i) for i in range(12)]
    list(memory.recognise(recogniser, paths[1::3]))
    listened.clear()
    mixed = [*paths[:6], tmp_path / "nowhere.mp3", *paths[6:]]
    results = list(memory.recognise(recogniser, iter([None, *mixed, None])))
    assert [one.path for one in results] == mixed
    assert [type(one) for one in results] == [
        FailedPrediction if path.name == "nowhere.mp3" else Prediction for path in mixed
    ]
    assert listened == [path.name for path in mixed if path not in paths[1::3]]


def test_in_workers_too(memory: Heard, tiny: Path, tmp_path: Path) -> None:
    recogniser = Recogniser.load(tiny, workers=1)
    known = [noise(tmp_path / f"k{i}.flac", seed=i) for i in range(3)]
    list(memory.recognise(recogniser, known, workers=0))
    new = noise(tmp_path / "new.flac", seed=9)
    order = [known[0], new, *known[1:], tmp_path / "nowhere.flac", known[0]]
    results = list(memory.recognise(recogniser, order))
    assert [one.path for one in results] == order
    assert memory.recall(recogniser, new) is not None


def test_a_long_known_stretch_is_not_held_back(
    memory: Heard, recogniser: Recogniser, tmp_path: Path
) -> None:
    """However many known files lie between unknown ones, few are waiting at any time."""
    known = noise(tmp_path / "k.flac")
    list(memory.recognise(recogniser, [known]))
    links = []
    for i in range(300):
        links.append(tmp_path / f"{i}.flac")
        links[-1].symlink_to(known)
    list(memory.recognise(recogniser, links))
    taken = 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        for path in [noise(tmp_path / "u.flac", seed=5), *links]:
            taken += 1
            yield path

    most = 0
    for given, _ in enumerate(memory.recognise(recogniser, paths(), workers=0)):
        most = max(most, taken - given)
    assert taken == 301
    assert most <= 2 * module._BREATH


@pytest.mark.parametrize("kind", sorted(tagged.FORMATS))
def test_a_sound_is_the_same_whatever_its_tags_are(tmp_path: Path, kind: str) -> None:
    path = tagged.make(tmp_path, kind, tagged=False)
    bare = sound_identity(path)
    tagged.tag(path, kind)
    assert sound_identity(path) == bare
    write_genre_field(path, ["Rock", "A genre of some length " * 12])
    assert sound_identity(path) == bare
    write_genre_field(path, [])
    assert sound_identity(path) == bare
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) * 2 // 3] = bytes(len(data) * 2 // 3 - len(data) // 3)
    path.write_bytes(data)
    assert sound_identity(path) != bare


def test_a_large_comment_moves_ogg_pages_and_no_sound(tmp_path: Path) -> None:
    path = tagged.make(tmp_path, "ogg")
    before = sound_identity(path)
    edit(path, comment="x" * 200_000)  # the comments take more pages, so all are numbered anew
    assert sound_identity(path) == before


def test_kinds_that_no_tag_is_written_into(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8).tobytes()
    identities = set()
    for i, content in enumerate(
        (data, data[:-1], b"", b"RIFF\0\0\0\0WAVE", b"\0\0\0\1ftyp\0", b"OggS" + data[:500])
    ):
        (tmp_path / str(i)).write_bytes(content)
        identities.add(sound_identity(tmp_path / str(i)))
    assert len(identities) == 6


def test_written_genres_cost_no_hearing_and_are_seen(
    memory: Heard, recogniser: Recogniser, music: list[Path], listened: list[str]
) -> None:
    list(memory.recognise(recogniser, music))
    listened.clear()
    write_genre_field(music[0], ["Rock"])  # told of
    memory.rewritten(music[0], ["Rock"])
    write_genre_field(music[1], ["Pop", "Jazz"])  # not told of, as if by another program
    os.utime(music[2], (1, 1))
    music[3].rename(moved := music[3].with_name("moved.flac"))
    memory.store()
    results = list(memory.recognise(recogniser, [*music[:3], moved]))
    assert listened == []
    assert [one.tagged_genres for one in results] == [("Rock",), ("Pop", "Jazz"), (), ()]
    assert [one.path for one in results] == [*music[:3], moved]


# --- what it does not outlive ----------------------------------------------


@pytest.mark.parametrize("field", ["title", "artist", "album", "date"])
def test_edited_tags_are_heard_anew(
    memory: Heard, recogniser: Recogniser, music: list[Path], listened: list[str], field: str
) -> None:
    list(memory.recognise(recogniser, music[:1]))
    edit(music[0], **{field: "2001"})
    (result,) = memory.recognise(recogniser, music[:1])
    assert len(listened) == 2
    assert result.artist == ("2001" if field == "artist" else "A")


def test_other_sound_under_the_same_name_is_heard(
    memory: Heard, recogniser: Recogniser, music: list[Path], listened: list[str]
) -> None:
    list(memory.recognise(recogniser, music[:1]))
    noise(music[0], seed=77, title="T0", artist="A")
    list(memory.recognise(recogniser, music[:1]))
    assert len(listened) == 2


def test_other_settings_are_other_answers(
    memory: Heard, tiny: Path, tmp_path: Path, music: list[Path], listened: list[str]
) -> None:
    make_bundle(tmp_path / "other", n_features=frames.N_FEATURES, seed=1)
    for count, asked in enumerate(
        (
            Recogniser.load(tiny, workers=0),
            Recogniser.load(tiny, workers=0, n_windows=2),
            Recogniser.load(tmp_path / "other", workers=0),
        ),
        1,
    ):
        list(memory.recognise(asked, music[:1]))
        list(memory.recognise(asked, music[:1]))
        assert len(listened) == count


@pytest.mark.data
def test_metadata_on_and_off_are_other_answers(memory: Heard, fma_clips: list[Path]) -> None:
    with_tags = Recogniser.load(workers=0)
    without = Recogniser.load(workers=0, metadata=False)
    (a,) = memory.recognise(with_tags, fma_clips[:1])
    (b,) = memory.recognise(without, fma_clips[:1])
    assert a.sources != b.sources
    assert memory.recall(with_tags, fma_clips[0]).sources == a.sources
    assert memory.recall(without, fma_clips[0]).sources == b.sources


def test_what_failed_is_tried_again(
    memory: Heard, recogniser: Recogniser, tmp_path: Path, listened: list[str]
) -> None:
    broken = tmp_path / "a.flac"
    broken.write_bytes(b"no music")
    for count in (1, 2):
        (failed,) = memory.recognise(recogniser, [broken])
        assert isinstance(failed, FailedPrediction)
        assert len(listened) == count


# --- the file --------------------------------------------------------------


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENRESCOPE_HEARD", str(tmp_path / "x.sqlite3"))
    assert heard_file() == tmp_path / "x.sqlite3"
    monkeypatch.delenv("GENRESCOPE_HEARD")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert heard_file().name == "heard.sqlite3"


@pytest.mark.parametrize("damage", ["text", "cut", "middle"])
def test_a_damaged_memory_is_begun_anew(
    recogniser: Recogniser,
    music: list[Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    path = tmp_path / "heard.sqlite3"
    with Heard.open(path) as memory:
        list(memory.recognise(recogniser, music))
    data = path.read_bytes()
    path.write_bytes(
        {
            "text": b"this is not a database\n" * 99,
            "cut": data[: len(data) // 2 + 100],
            "middle": data[:4096] + bytes(len(data) - 4096),
        }[damage]
    )
    with Heard.open(path) as memory, caplog.at_level(logging.WARNING):
        assert len(list(memory.recognise(recogniser, music))) == 4
        list(memory.recognise(recogniser, music))
    assert "is damaged" in caplog.text or "is damaged" in str(caplog.get_records("call"))
    assert (tmp_path / "heard.sqlite3.damaged").exists()
    with Heard.open(path) as memory:
        list(memory.recognise(recogniser, music))
        assert memory.recall(recogniser, music[0]) is not None


def test_where_there_can_be_no_memory_files_are_heard_all_the_same(
    recogniser: Recogniser, music: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    foreign = tmp_path / "foreign.sqlite3"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE photographs (name TEXT)")
    db.close()
    for path in (tmp_path / "file" / "heard.sqlite3", tmp_path, foreign):
        caplog.clear()
        with Heard.open(path) as memory:
            assert len(list(memory.recognise(recogniser, music[:2]))) == 2
        assert caplog.text.count("cannot be used to remember") == 1, path
    with sqlite3.connect(foreign) as db:
        assert db.execute("SELECT count(*) FROM photographs").fetchone() == (0,)
    db.close()


def test_its_size_is_bounded(
    monkeypatch: pytest.MonkeyPatch, recogniser: Recogniser, tmp_path: Path
) -> None:
    monkeypatch.setattr(file_module, "_MOST", 10)
    monkeypatch.setattr(file_module, "_COUNTED", 1)
    day = 20_000
    monkeypatch.setattr(module, "_today", lambda: day)
    paths = [noise(tmp_path / f"{i}.flac", seed=i) for i in range(14)]
    with Heard.open(tmp_path / "heard.sqlite3") as memory:
        for path in paths:
            day += 1
            list(memory.recognise(recogniser, [path]))
            list(memory.recognise(recogniser, paths[:1]))  # in use every day
        known = [memory.recall(recogniser, path) is not None for path in paths]
    assert known[0]
    assert known[-1]
    assert 5 <= sum(known) <= 10


KILLED = """
import os, sys
from pathlib import Path
from genrescope import Recogniser
from genrescope.apps.heard import Heard
folder, bundle = map(Path, sys.argv[1:])
memory = Heard.open(folder / "heard.sqlite3")
recogniser = Recogniser.load(bundle, workers=0)
for count, _ in enumerate(memory.recognise(recogniser, sorted(folder.glob("*.flac")))):
    print(count, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_kill_loses_the_last_batch_at_most(
    tiny: Path, recogniser: Recogniser, tmp_path: Path, listened: list[str]
) -> None:
    first = noise(tmp_path / "000.flac")
    for i in range(1, 80):
        y = np.random.default_rng(i).normal(size=44_100).astype(np.float32) * 0.1
        soundfile.write(tmp_path / f"{i:03d}.flac", y, 44_100)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(tiny)],
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        done = 0
        while done < 70:
            done = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    with Heard.open(tmp_path / "heard.sqlite3") as memory:
        results = list(memory.recognise(recogniser, sorted(tmp_path.glob("*.flac"))))
    assert len(results) == 80
    assert first.name not in listened
    assert len(listened) <= 80 - done + module._BATCH


def test_several_processes_and_threads_at_once(
    tiny: Path, recogniser: Recogniser, music: list[Path], tmp_path: Path, listened: list[str]
) -> None:
    for path in music:
        shutil.copy(path, tmp_path / path.name)
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), str(tiny)]
    started = [subprocess.Popen(arguments, env=environment()) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    with Heard.open(tmp_path / "heard.sqlite3") as memory:
        found: list[list[object]] = []
        threads = [
            threading.Thread(target=lambda: found.append(list(memory.recognise(recogniser, music))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert [len(results) for results in found] == [4, 4, 4, 4]
    assert listened == []


def test_a_file_that_changes_while_it_is_heard_is_not_remembered(
    memory: Heard, recogniser: Recogniser, music: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Recogniser.predict

    def grows(self: Recogniser, audio: Path) -> Prediction:
        found = predict(self, audio)
        os.utime(audio, (time.time() + 5, time.time() + 5))
        return found

    monkeypatch.setattr(Recogniser, "predict", grows)
    list(memory.recognise(recogniser, music[:1]))
    memory.store()
    assert memory.recall(recogniser, music[0]) is None
