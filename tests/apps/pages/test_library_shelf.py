"""The library behind the page: files inside it alone, one writer, rows that are asked for."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutagen
import pytest

pytest.importorskip("fastapi")

from genrescope import Recogniser
from genrescope.apps.genre_policy import Policy
from genrescope.apps.pages.library_finding import Scan, find_inside, folders_of
from genrescope.apps.pages.library_rows import STATES, Query, Row, counts
from genrescope.apps.pages.library_shelf import Shelf
from genrescope.apps.service.refusals import RequestError
from genrescope.errors import AudioNotFoundError, DataError
from genrescope.learn.prediction import Prediction


def genres(path: Path) -> list[str]:
    tags = mutagen.File(path).tags
    return list(tags["TCON"].text) if "TCON" in tags else []


def wait(done: Callable[[], bool], *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def finish(shelf: Shelf) -> None:
    """Wait for what is written."""
    wait(lambda: shelf.writing.job is not None and not shelf.writing.job.running)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load()


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENRESCOPE_JOURNAL", str(tmp_path / "journal.sqlite3"))
    monkeypatch.setenv("GENRESCOPE_HEARD", str(tmp_path / "heard.sqlite3"))
    return tmp_path


@pytest.fixture
def shelf(private: Path, fma_clips: list[Path], recogniser: Recogniser) -> Iterator[Shelf]:
    """Three clips without genre, heard."""
    root = private / "Music"
    root.mkdir()
    for clip in (fma_clips[0], fma_clips[3], fma_clips[7]):
        copy = Path(shutil.copyfile(clip, root / clip.name))
        file = mutagen.File(copy)
        del file.tags["TCON"]
        file.save()
    found = Shelf(root, recogniser, workers=0)
    scan(found)
    yield found
    found.close()


def scan(shelf: Shelf, folder: str = "") -> None:
    shelf.begin_scan(folder)
    wait(lambda: shelf.scan is not None and not shelf.scan.running)
    assert shelf.scan is not None
    assert shelf.scan.error == ""


def write(shelf: Shelf, query: Query | None = None) -> None:
    key, _ = shelf.writing.plan(shelf.pick(query or Query()))
    shelf.writing.begin_write(key)
    finish(shelf)


def by_title(shelf: Shelf, title: str) -> Row:
    return next(row for row in shelf.pick(Query()) if row.title == title)


# --- finding ---------------------------------------------------------------


def test_links_that_lead_out_are_left_out_and_told(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    for folder in (root / "a", root / ".hidden", away):
        folder.mkdir(parents=True)
        (folder / "x.mp3").touch()
    (root / "cover.jpg").touch()
    (root / "file.mp3").symlink_to(away / "x.mp3")
    (root / "folder").symlink_to(away)
    (root / "again").symlink_to(root / "a")
    (root / "round").symlink_to(root)
    told = Scan("", 0.0)
    found = find_inside(root, root, told, threading.Event())
    assert [path.relative_to(root) for path, _ in found] == [Path("a/x.mp3")]
    assert told.outside == 2
    assert folders_of(root) == ["a", "again", "round"]


def test_names_that_are_no_text_can_be_shown(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp3")).touch()
    found = find_inside(tmp_path, tmp_path, Scan("", 0.0), threading.Event())
    assert [name.encode("utf-8") for _, name in found] != []


@pytest.mark.parametrize("folder", ["..", "/etc", "nothing", "a\0b"])
def test_only_folders_of_the_library_are_heard(
    private: Path, recogniser: Recogniser, folder: str
) -> None:
    root = private / "Music"
    root.mkdir()
    with pytest.raises(AudioNotFoundError):
        Shelf(root, recogniser, workers=0).begin_scan(folder)


# --- rows ------------------------------------------------------------------


def made(number: int, now: tuple[str, ...], *, share: float = 0.9, **more: Any) -> Row:
    heard = Prediction.from_probabilities({"Rock": share, "Folk": 1 - share}, threshold=0.6)
    row = Row(number, Path(f"/m/{number}.mp3"), f"{number}.mp3", now=now, done=True, **more)
    return replace(row, solo=heard).judged(heard, Policy())


def test_states_of_rows() -> None:
    rows = [
        made(1, ()),
        made(2, ("Rock",)),
        made(3, ("Punk",)),
        made(4, ("Jazz",)),
        made(5, ("Unknown",), share=0.5),
        made(6, ("Jazz",), chosen=("Blues",)),
        Row(7, Path("/m/7.mp3"), "7.mp3"),
        replace(Row(8, Path("/m/8.mp3"), "8.mp3", done=True), error="is damaged"),
    ]
    found = {state: [row.id for row in Query(state=state).pick(rows)] for state in STATES}
    assert found == {
        "all": [1, 2, 3, 4, 5, 6, 7, 8],
        "change": [1, 6],
        "sure": [1, 2, 3, 4, 6],
        "unsure": [5],
        "disagrees": [4, 6],  # what is part of Rock does not
        "empty": [1, 5, 8],
        "hand": [6],
        "written": [],
        "failed": [8],
        "waiting": [7],
    }
    told = counts(rows)
    assert told["states"] == {state: len(numbers) for state, numbers in found.items()}
    assert told["genres"] == {"Rock": 5, "Folk": 1}


def test_search_sort_and_genre() -> None:
    rows = [
        made(1, ("Pop",), title="Bells", artist="Zed"),
        made(2, ("Rock",), title="Anthem", artist="Ann", share=0.7),
        made(3, (), title="Carol", share=0.2),
    ]
    assert [row.id for row in Query(search="ANTH ann").pick(rows)] == [2]
    assert [row.id for row in Query(search="pop").pick(rows)] == [1]
    assert [row.id for row in Query(genre="Folk").pick(rows)] == [3]
    assert [row.id for row in Query(sort="title").pick(rows)] == [2, 1, 3]
    assert [row.id for row in Query(sort="artist").pick(rows)] == [2, 1, 3]
    assert [row.id for row in Query(sort="confidence", down=True).pick(rows)] == [1, 3, 2]
    for wrong in ({"state": "nice"}, {"sort": "path; drop"}):
        with pytest.raises(DataError):
            Query.of(wrong)


# --- hearing, deciding, writing --------------------------------------------


@pytest.mark.data
def test_a_second_scan_is_from_memory_and_keeps_what_was_decided(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    food = by_title(shelf, "Food")
    shelf.choose([food.id], ["Polka"])
    monkeypatch.setattr(Recogniser, "_decide", None)  # nothing can be heard from here on
    other = Shelf(shelf.root, shelf.recogniser, workers=0)
    scan(other)
    other.close()
    assert [row.heard.best for row in other.pick(Query()) if row.heard] == [
        "Hip-Hop",
        "Folk",
        "Rock",
    ]
    scan(shelf)
    assert by_title(shelf, "Food").target == ("Polka",)


@pytest.mark.data
def test_policy_decides_what_changes(shelf: Shelf) -> None:
    assert len(shelf.pick(Query(state="change"))) == 2
    shelf.set_policy({"existing": "keep", "min_confidence": 0.9})
    assert [row.title for row in shelf.pick(Query(state="change"))] == ["Food"]
    shelf.set_policy({"existing": "keep", "subgenres": True})
    assert by_title(shelf, "Food").target == ("Hip-Hop", "Rap")
    for wrong in ({"existing": "burn"}, {"min_confidence": 4}, {"min_confidence": "much"}):
        with pytest.raises(DataError):
            shelf.set_policy(wrong)


@pytest.mark.data
def test_written_by_hand_or_not_and_taken_back(shelf: Shelf) -> None:
    unsure, food = by_title(shelf, "Feasting on Energy"), by_title(shelf, "Food")
    assert shelf.choose([unsure.id], [" Avant-Garde ", "avant-garde", "", "Noise"]) == 1
    assert shelf.leave([food.id]) == 1
    write(shelf)
    assert genres(unsure.path) == ["Avant-Garde", "Noise"]
    assert genres(food.path) == []
    assert genres(shelf.root / "000140.mp3") == ["Folk"]
    run = shelf.writing.history()[0]
    assert (run["files"], run["undone"], run["outside"]) == (2, 0, 0)
    assert by_title(shelf, "Queen Of The Wires").run == run["run"]
    shelf.writing.begin_undo(run=run["run"])
    finish(shelf)
    assert genres(unsure.path) == genres(shelf.root / "000140.mp3") == []
    assert by_title(shelf, "Queen Of The Wires").run is None
    assert shelf.writing.history()[0]["undone"] == 2


@pytest.mark.data
def test_a_file_changed_elsewhere_is_not_written_over(shelf: Shelf) -> None:
    key, changing = shelf.writing.plan(shelf.pick(Query()))
    assert [row.title for row in changing] == ["Food", "Queen Of The Wires"]
    file = mutagen.File(shelf.root / "000002.mp3")
    file["TCON"] = mutagen.id3.TCON(encoding=3, text=["Polka"])
    file.save()
    shelf.choose([by_title(shelf, "Queen Of The Wires").id], ["Jazz"])  # in another window
    shelf.writing.begin_write(key)
    finish(shelf)
    job = shelf.writing.job
    assert job is not None
    assert (job.changed, job.failed) == (0, 2)
    food, wires = by_title(shelf, "Food"), by_title(shelf, "Queen Of The Wires")
    assert "Polka" in food.error
    assert str(shelf.root) not in food.error
    assert food.now == ("Polka",)
    assert "another window" in wires.error
    assert genres(wires.path) == []


@pytest.mark.data
def test_a_preview_is_written_once_and_one_at_a_time(shelf: Shelf) -> None:
    first, _ = shelf.writing.plan(shelf.pick(Query()))
    second, _ = shelf.writing.plan(shelf.pick(Query()))
    with shelf.writing._busy:
        with pytest.raises(RequestError, match="another window"):
            shelf.writing.begin_write(first)
        with pytest.raises(RequestError, match="another window"):
            shelf.writing.begin_undo(run=1)
    shelf.writing.begin_write(first)
    finish(shelf)
    with pytest.raises(RequestError, match="out of date"):
        shelf.writing.begin_write(first)
    shelf.writing.begin_write(second)  # nothing of it is to be done any more
    finish(shelf)
    assert shelf.writing.job is not None
    assert shelf.writing.job.changed == 0


@pytest.mark.data
def test_a_run_that_wrote_elsewhere_is_not_taken_back_here(shelf: Shelf, private: Path) -> None:
    from genrescope.apps.journal import Journal
    from genrescope.apps.tagger import Tagger

    away = Path(shutil.copyfile(shelf.root / "000002.mp3", private / "away.mp3"))
    with Journal.open() as journal:
        tagger = Tagger(journal, command="genrescope tag", bundle="x")
        tagger.write(away, ["Rock"])
        tagger.write(shelf.root / "000002.mp3", ["Rock"])
        run = tagger.run
    with pytest.raises(RequestError, match=f"genrescope undo {run}"):
        shelf.writing.begin_undo(run=run)
    assert shelf.writing.history()[0]["outside"] == 1
    assert genres(away) == ["Rock"]


@pytest.mark.data
def test_a_file_that_became_a_link_out_of_the_library_is_left_alone(
    shelf: Shelf, private: Path
) -> None:
    food = by_title(shelf, "Food")
    away = private / "away.mp3"
    food.path.rename(away)
    food.path.symlink_to(away)
    write(shelf, Query(search="food"))
    assert genres(away) == []
    assert "no such file in the library" in by_title(shelf, "Food").error
    with pytest.raises(AudioNotFoundError):
        shelf.file(food.id)


@pytest.mark.data
@pytest.mark.parametrize("wrong", [["x" * 300], ["a\x1bb"], [f"genre {k}" for k in range(30)], [7]])
def test_what_is_no_genre_is_not_chosen(shelf: Shelf, wrong: list[Any]) -> None:
    with pytest.raises(DataError):
        shelf.choose([1], wrong)


@pytest.mark.data
def test_a_scan_stops_when_asked(shelf: Shelf) -> None:
    shelf.begin_scan("")
    with pytest.raises(RequestError, match="being heard"):
        shelf.begin_scan("")
    shelf.cancel_scan()
    wait(lambda: shelf.scan is not None and not shelf.scan.running)
    assert shelf.scan is not None
    assert shelf.scan.cancelled


def test_twenty_thousand_rows_are_found_and_paged(tmp_path: Path, recogniser: Recogniser) -> None:
    from benchmarks.bench_library_page import fill

    shelf = Shelf(tmp_path, recogniser, workers=0)
    fill(shelf, 20_000)
    assert shelf.state()["states"]["all"] == 20_000
    found = shelf.pick(Query(search="12345"))
    assert [row.name for row in found] == ["1028/12345.mp3"]
    ordered = shelf.pick(Query(sort="confidence", down=True))
    shares = [row.heard.confidence for row in ordered if row.heard]
    assert shares == sorted(shares, reverse=True)
    assert shelf.pick(Query(sort="confidence", down=True)) is ordered  # until something changes
