"""The journal of a store: lines that are whole or do not count."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio.store.journal import (
    Failure,
    Journal,
    Part,
    Row,
    Seen,
    quarantine_table,
    read_line,
    write_line,
)
from genrescope.errors import DataError, DiskSpaceError


@given(cut=st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_a_journal_that_was_cut_off_holds_what_was_before(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    data = (filled / "manifest.jsonl").read_bytes()
    cut %= len(data) + 1
    folder = tmp_path_factory.mktemp("cut")
    (folder / "manifest.jsonl").write_bytes(data[:cut])
    found = Journal.read(folder)
    assert len(found.parts) == data[:cut].count(b"\n")
    found.cut()
    assert Journal.read(folder).torn == 0
    assert (folder / "manifest.jsonl").read_bytes() == data[: data.rfind(b"\n", 0, cut) + 1]


def test_damage_inside_the_journal_is_an_error(filled: Path, tmp_path: Path) -> None:
    data = bytearray((filled / "manifest.jsonl").read_bytes())
    data[300] ^= 1
    (tmp_path / "manifest.jsonl").write_bytes(data)
    with pytest.raises(DataError, match="line 1 is damaged"):
        Journal.read(tmp_path)


# --- lines -------------------------------------------------------------------


def row(id_: str, **changes: object) -> Row:
    cells: dict[str, object] = {
        "id": id_, "path": f"/m/{id_}", "size": 3, "mtime_ns": 4, "ctime_ns": 5, "sha256": "ab",
        "sr": 22_050, "seconds": 1.5, "mel_frames": 44, "level_db": -3.25, "dense_frames": 31,
        "title": "Ü", "artist": "", "genres": ("Rock", "Pop"), **changes,
    }  # fmt: skip
    return Row(**cells)  # type: ignore[arg-type]


def failure(id_: str, reason: str = "why") -> Failure:
    return Failure(id_, f"/m/{id_}", -1, -1, -1, "AudioCorruptError", reason)


def test_a_line_says_what_it_was_given() -> None:
    odd = os.fsdecode(b"caf\xe9")
    line = write_line(
        "key", files={"f.npy": (7, "aa")}, rows=[row("a"), row(odd)], failures=[failure("b")],
        seen=[Seen("c", "/c", 1, 2, 3)],
    )  # fmt: skip
    assert line.isascii()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    said = read_line(line)
    assert said is not None
    assert (said["part"], said["files"]) == ("key", {"f.npy": [7, "aa"]})
    assert said["rows"]["id"] == ["a", odd]
    assert said["rows"]["genres"] == [["Rock", "Pop"]] * 2
    assert said["failures"]["reason"] == ["why"]
    assert said["seen"] == {
        "id": ["c"], "path": ["/c"], "size": [1], "mtime_ns": [2], "ctime_ns": [3],
    }  # fmt: skip
    with pytest.raises(ValueError, match="Out of range"):
        write_line(0, files={}, rows=[row("a", seconds=float("nan"))])


def test_a_line_that_is_not_whole_does_not_count() -> None:
    line = write_line(0, files={}, rows=[row("a")])
    for wrong in (
        line[:-1], line[:-1] + b" ", line[1:], b"", b"\n", line[:40] + line[41:],
        line.replace(b'"check"', b'"chock"'), line.replace(b'"part":0', b'"part":1'),
        line[:11] + b"0" * 31 + line[42:], line[:-1] + b"\xff\n",
    ):  # fmt: skip
        assert read_line(wrong) is None, wrong
    whole = Journal(Path("store"))
    with pytest.raises(DataError, match=r"store: a line of its manifest is damaged; copy it"):
        whole.add(line[:-1])


def test_the_journal_of_a_version_before_can_be_read() -> None:
    """The very bytes: whoever has a store does not extract it again for a new release."""
    line = (
        b'{"check":"%b","part":0,"files":{},"rows":{},"failures":{},"seen":{}}\n'
        % b"fd525667698bffbbd9a69ebc7a2ebe75"
    )
    assert write_line(0, files={}, rows=()) == line
    assert read_line(line) is not None


# --- what they say together --------------------------------------------------


def test_the_last_line_about_a_track_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit(files={"000000.mel.npy": (9, "aa")}, rows=[row("a"), row("b")])
    journal.commit(files={}, rows=[], failures=[failure("b"), failure("c")])
    journal.commit(
        files={"000002.mel.npy": (8, "bb"), "000002.descriptors.parquet": (7, "cc")},
        rows=[row("d"), row("a", size=6), row("c")],
        seen=[Seen("a", "/elsewhere", 1, 2, 3), Seen("b", "/b", 1, 2, 3), Seen("x", "/", 1, 1, 1)],
    )
    for one in (journal, Journal.read(tmp_path)):
        assert sorted(one.rows) == ["a", "c", "d"]
        assert one.places == {"a": (2, 1), "c": (2, 2), "d": (2, 0)}
        assert sorted(one.failures) == ["b"]
        assert one.rows["a"] == row("a", path="/elsewhere", size=1, mtime_ns=2, ctime_ns=3)
        assert one.rows["c"] == row("c")
        assert [part.ids for part in one.parts] == [("a", "b"), (), ("d", "a", "c")]
        assert [part.number for part in one.parts] == [0, 1, 2]
        assert one.parts[0].files == {"000000.mel.npy": (9, "aa")}
        assert one.settled
        assert one.torn == 0
    lines = (tmp_path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["part"] for line in lines] == [0, 1, 2]


def test_a_part_knows_which_file_holds_an_array() -> None:
    files = dict.fromkeys(("1.mel.npy", "1.frames.npy", "1.descriptors.parquet"), (0, ""))
    part = Part(0, files, ("a",))
    assert part.file("mel") == "1.mel.npy"
    assert part.file("descriptors") == "1.descriptors.parquet"
    assert part.file("mfcc") is None
    assert Part(0, {"1.descriptors.npy": (0, "")}, ()).file("descriptors") is None


def test_an_absent_journal_is_an_empty_one(tmp_path: Path) -> None:
    found = Journal.read(tmp_path)
    assert (found.parts, found.rows, found.failures, found.torn) == ([], {}, {}, 0)
    assert found.settled
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(DataError, match=r"manifest\.jsonl: cannot be read: Is a directory"):
        Journal.read(tmp_path)


def test_what_was_not_committed_is_cut_off_and_the_rest_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.commit(files={}, rows=[row("a")])
    whole = (tmp_path / "manifest.jsonl").read_bytes()
    (tmp_path / "manifest.jsonl").write_bytes(whole + b'{"check":')
    assert not journal.settled
    found = Journal.read(tmp_path)
    assert (found.torn, list(found.rows)) == (9, ["a"])
    found.cut()
    assert (found.torn, found.settled) == (0, True)
    assert (tmp_path / "manifest.jsonl").read_bytes() == whole
    found.commit(files={}, rows=[row("b")])
    assert list(Journal.read(tmp_path).rows) == ["a", "b"]


def test_damage_says_where_and_how_much_follows(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in "abcd":
        journal.commit(files={}, rows=[row(name)])
    lines = (tmp_path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    lines[1] = b"?" + lines[1][1:]
    (tmp_path / "manifest.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=r"line 2 is damaged, and 2 follow it; copy the store"):
        Journal.read(tmp_path)


def test_a_line_that_cannot_be_written_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.commit(files={}, rows=[row("a")])
    whole = (tmp_path / "manifest.jsonl").read_bytes()
    opened: list[int] = []
    real = os.open

    def noted(path: Path, *rest: int) -> int:
        opened.append(real(path, *rest))
        return opened[-1]

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(os, "open", noted)
        with pytest.raises(DiskSpaceError, match=r"manifest\.jsonl: No space left"):
            journal.commit(files={}, rows=[row("b")])
    assert (tmp_path / "manifest.jsonl").read_bytes() == whole
    assert list(journal.rows) == ["a"]
    assert journal.settled
    for fd in opened:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
    journal.commit(files={}, rows=[row("b")])
    assert list(Journal.read(tmp_path).rows) == ["a", "b"]


def test_a_line_counts_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the journal once, each line every time."""
    synced: list[str] = []
    real = os.fsync

    def note(fd: int) -> None:
        synced.append("folder" if os.fstat(fd).st_mode & 0o040000 else str(os.fstat(fd).st_size))
        real(fd)

    monkeypatch.setattr(os, "fsync", note)
    journal = Journal(tmp_path)
    journal.commit(files={}, rows=[row("a")])
    one = (tmp_path / "manifest.jsonl").stat().st_size
    assert synced == ["folder", str(one)]
    journal.commit(files={}, rows=[row("b")])
    assert synced == ["folder", str(one), str(2 * one)]


# --- for people --------------------------------------------------------------


def test_the_table_of_what_could_not_be_read(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.wav")
    table = quarantine_table({name: failure(name, 'a, "b"') for name in ("b", odd, "a")})
    assert table.decode().splitlines() == [
        "id,path,error,reason",
        'a,/m/a,AudioCorruptError,"a, ""b"""',
        'b,/m/b,AudioCorruptError,"a, ""b"""',
        '?.wav,/m/?.wav,AudioCorruptError,"a, ""b"""',
    ]
    journal = Journal(tmp_path)
    journal.commit(files={}, rows=[], failures=[failure("a")])
    journal.write_quarantine()
    first = (tmp_path / "quarantine.csv").stat()
    assert (tmp_path / "quarantine.csv").read_bytes() == quarantine_table(journal.failures)
    journal.write_quarantine()  # what is up to date is not written again
    assert (tmp_path / "quarantine.csv").stat().st_ino == first.st_ino
    journal.commit(files={}, rows=[row("a")])
    journal.write_quarantine()
    assert (tmp_path / "quarantine.csv").read_bytes() == b"id,path,error,reason\r\n"
