"""Genres are written whole or not at all, noted, and taken back to the byte."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TIT2

from genrescope.apps.journal import Entry, Journal
from genrescope.apps.safe_write import FileIdentity
from genrescope.apps.tagger import Change, Tagger
from genrescope.apps.undoing import Undone, undo
from genrescope.catalog.genre_tags import Scan, read_genre_field, write_genre_field
from genrescope.errors import JournalError, TagError
from tests.apps.children import in_child
from tests.audio.sounds import encode, encode_av
from tests.catalog.tagged import make, others, tag

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    with Journal.open(tmp_path / "state" / "journal.sqlite3") as opened:
        yield opened


def tagger(journal: Journal, **options: bool) -> Tagger:
    return Tagger(journal, command="a test", bundle="none", **options)


def one(results: object) -> Undone:
    (result,) = list(results)
    return result


# --- writing -----------------------------------------------------------------------------


def test_what_is_written_is_noted(song: Path, journal: Journal) -> None:
    before = os.stat(song)
    writer = tagger(journal)
    assert writer.write(song, [" Folk ", "Blues", "Folk"]) == Change(
        song, ("Rock;Pop",), ("Folk", "Blues")
    )
    assert read_genre_field(song).values == ("Folk", "Blues")
    (entry,) = journal.entries(path=song)
    assert (entry.run, entry.path, entry.state) == (writer.run, song, "written")
    assert (entry.old, entry.new) == (("Rock;Pop",), ("Folk", "Blues"))
    assert entry.plan.before.inode == before.st_ino
    assert entry.identity.inode == os.stat(song).st_ino
    (run,) = journal.runs()
    assert (run.command, run.bundle, run.files, run.undone) == ("a test", "none", 1, 0)
    assert os.listdir(song.parent) == ["mp3.mp3"]


def test_the_same_genres_are_not_written_again(song: Path, journal: Journal) -> None:
    before = os.stat(song)
    assert tagger(journal).write(song, ["Rock;Pop"], expected=["Jazz"]).new == ("Rock;Pop",)
    after = os.stat(song)
    for name in ("st_ino", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns"):  # it was read
        assert getattr(after, name) == getattr(before, name), name
    assert list(journal.entries()) == journal.runs() == []


def test_one_file_by_two_names_is_written_once(song: Path, journal: Journal) -> None:
    link = song.parent / "link.mp3"
    link.symlink_to(song.name)
    writer = tagger(journal)
    writer.write(song, ["Folk"], expected=["Rock;Pop"])
    assert writer.write(link, ["Folk"], expected=["Rock;Pop"]).old == ("Folk",)
    assert link.is_symlink()
    assert len(list(journal.entries())) == 1
    assert one(undo(journal, path=link)).state == "restored"
    assert link.is_symlink()
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_other_genres_than_expected_are_not_written_over(song: Path, journal: Journal) -> None:
    original = song.read_bytes()
    with pytest.raises(TagError, match=r"Rock;Pop now, and were Jazz when"):
        tagger(journal).write(song, ["Folk"], expected=["Jazz"])
    with pytest.raises(TagError, match="were none when"):
        tagger(journal).write(song, ["Folk"], expected=[])
    assert song.read_bytes() == original
    tagger(journal).write(song, ["Folk"], expected=["rock", "Pop"])  # as read_tags takes it apart


@pytest.mark.parametrize("genre", ["", "  ", "a\0b", "a\nb", "x" * 501, "\udce9"])
def test_what_is_no_genre_is_refused(genre: str, song: Path, journal: Journal) -> None:
    original = song.read_bytes()
    with pytest.raises(TagError, match="cannot be a genre"):
        tagger(journal).write(song, ["Rock", genre])
    assert song.read_bytes() == original


def test_a_name_that_reads_as_a_number_is_refused(song: Path, journal: Journal) -> None:
    original = song.read_bytes()
    with pytest.raises(TagError, match="would hold Rock instead of 17"):
        tagger(journal).write(song, ["17"])
    assert song.read_bytes() == original
    assert list(journal.entries()) == []


def test_times_are_kept_on_request_and_by_undo(song: Path, journal: Journal) -> None:
    os.utime(song, ns=(10**18, 10**18))
    tagger(journal, keep_times=True).write(song, ["Folk"])
    assert os.stat(song).st_mtime_ns == 10**18
    assert one(undo(journal, last=True)).state == "restored"
    assert os.stat(song).st_mtime_ns == 10**18
    tagger(journal).write(song, ["Folk"])
    assert os.stat(song).st_mtime_ns != 10**18


def test_hard_links_are_parted_on_request(song: Path, journal: Journal) -> None:
    other = song.parent / "other.mp3"
    os.link(song, other)
    with pytest.raises(TagError, match="hard links"):
        tagger(journal).write(song, ["Folk"])
    tagger(journal, split_links=True).write(song, ["Folk"])
    assert read_genre_field(other).values == ("Rock;Pop",)
    assert read_genre_field(song).values == ("Folk",)


def test_names_of_odd_bytes_survive_the_journal(song: Path, journal: Journal) -> None:
    odd = Path(os.fsdecode(os.fsencode(song.parent) + b"/caf\xe9 \xff.mp3"))
    song.rename(odd)
    tagger(journal).write(odd, ["Folk"])
    assert [entry.path for entry in journal.entries(path=odd.parent)] == [odd]
    assert one(undo(journal, last=True)).path == odd
    assert read_genre_field(odd).values == ("Rock;Pop",)


@forks
@pytest.mark.parametrize("limit", [1000, 12_000])
def test_a_disk_that_fills_up_leaves_the_file(limit: int, song: Path, tmp_path: Path) -> None:
    """The copy stops in the middle, as on a full disk; a limit on file sizes does the same."""
    original = song.read_bytes()
    place = tmp_path / "elsewhere.sqlite3"
    Journal.open(place).close()

    def write() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Journal.open(place) as opened:
            writer = tagger(opened)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            writer.write(song, ["Folk"])

    said = in_child(write)
    assert "TagError" in said or "JournalError" in said
    assert song.read_bytes() == original
    with Journal.open(place) as opened:
        assert list(opened.entries()) == []
    assert os.listdir(song.parent) == ["mp3.mp3"]


def test_a_copy_that_came_out_wrong_is_thrown_away(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, rewrite = song.read_bytes(), Scan.rewrite

    def spoil(where: int) -> Callable[..., None]:
        def spoiled(self: Scan, target: io.BytesIO, **options: object) -> None:
            rewrite(self, target, **options)
            target.seek(where, 0 if where >= 0 else 2)
            byte = target.read(1)
            target.seek(-1, 1)
            target.write(bytes([byte[0] ^ 1]))

        return spoiled

    title = original.index(b"A title")
    for where, says in ((-5000, "same sound"), (title, "same other tags")):
        monkeypatch.setattr(Scan, "rewrite", spoil(where))
        with pytest.raises(TagError, match=says):
            tagger(journal).write(song, ["Folk"])
    monkeypatch.setattr(Scan, "others_digest", lambda self: "")
    with pytest.raises(TagError, match="read otherwise"):  # mutagen sees it as well
        tagger(journal).write(song, ["Folk"])
    assert song.read_bytes() == original
    assert os.listdir(song.parent) == ["mp3.mp3"]
    assert list(journal.entries()) == []


def test_a_rename_that_fails_is_noted_as_such(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(old: Path, new: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(TagError, match=r"cannot be replaced.*read-only"):
        tagger(journal).write(song, ["Folk"])
    assert [entry.state for entry in journal.entries()] == ["left"]
    assert journal.runs() == []
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_an_interrupt_after_the_rename_is_noted_as_written(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("genrescope.apps.safe_write.sync_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tagger(journal).write(song, ["Folk"])
    assert read_genre_field(song).values == ("Folk",)
    (entry,) = journal.entries(path=song)
    assert entry.state == "written"
    monkeypatch.undo()
    assert one(undo(journal, path=song)).state == "restored"
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_two_at_once_take_turns(song: Path, journal: Journal) -> None:
    """Every change begins with what the one before ended with: none is lost."""
    with Journal.open(journal.path) as second:
        writers = [tagger(journal), tagger(second)]
        errors: list[Exception] = []

        def work(k: int) -> None:
            try:
                for n in range(15):
                    writers[k % 2].write(song, [f"genre {k}-{n}"])
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    rows = list(journal.entries(path=song))
    assert len(rows) == 60
    for later, earlier in zip(rows, rows[1:], strict=False):  # noqa: RUF007
        assert later.old == earlier.new
    assert rows[0].new == read_genre_field(song).values
    assert rows[-1].old == ("Rock;Pop",)


# --- taking back -------------------------------------------------------------------------


def test_undo_brings_back_the_bytes(song: Path, journal: Journal) -> None:
    original = song.read_bytes()
    tagger(journal).write(song, ["Folk", "Blues"])
    result = one(undo(journal, last=True))
    assert (result.state, result.old, result.now) == (
        "restored", ("Rock;Pop",), ("Folk", "Blues"),
    )  # fmt: skip
    assert song.read_bytes() == original
    undone, first = journal.entries()
    assert first.undone_by == undone.id
    assert undone.plan.undoes == first.id
    assert [run.is_undo for run in journal.runs()] == [True, False]
    with pytest.raises(JournalError, match="nothing to take back"):
        list(undo(journal, last=True))


def test_an_undo_can_be_undone(song: Path, journal: Journal) -> None:
    tagger(journal).write(song, ["Folk"])
    written = song.read_bytes()
    list(undo(journal, last=True))
    assert one(undo(journal, run=journal.runs()[0].id)).state == "restored"
    assert song.read_bytes() == written
    assert one(undo(journal, last=True)).state == "restored"  # the first is in force again
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_an_undo_of_an_undo_can_be_undone(song: Path, journal: Journal) -> None:
    """To and fro any number of times, the journal says what stands in the file."""
    earlier = tagger(journal)
    earlier.write(song, ["Blues"])
    tagger(journal).write(song, ["Folk"])
    list(undo(journal, last=True))
    for genre in ("Folk", "Blues", "Folk", "Blues"):
        assert one(undo(journal, run=journal.runs()[0].id)).state == "restored"
        assert read_genre_field(song).values == (genre,)
        undone = {run.id: run.undone for run in journal.runs()}
        assert (undone[earlier.run], undone[earlier.run + 1]) == (0, int(genre == "Blues"))
    assert one(undo(journal, last=True)).now == ("Blues",)  # the run before is reached
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_changes_to_other_tags_stay(song: Path, journal: Journal) -> None:
    tagger(journal).write(song, ["Folk"])
    tags = ID3(song)
    tags["TIT2"] = TIT2(encoding=3, text="A better title")
    tags.save(song)
    assert one(undo(journal, path=song)).state == "restored"
    assert ID3(song)["TIT2"].text == ["A better title"]
    assert ID3(song)["TCON"].text == ["Rock;Pop"]


def test_genres_changed_since_are_left_unless_forced(song: Path, journal: Journal) -> None:
    tagger(journal).write(song, ["Folk"])
    write_genre_field(song, ["My own"])
    result = one(undo(journal, last=True))
    assert result.state == "changed since"
    assert "from Folk to My own" in result.message
    assert "--force restores Rock;Pop" in result.message
    assert read_genre_field(song).values == ("My own",)
    assert one(undo(journal, last=True, force=True)).state == "restored"
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_another_file_under_that_name_is_left_unless_forced(song: Path, journal: Journal) -> None:
    tagger(journal).write(song, ["Folk"])
    data = bytearray(song.read_bytes())
    data[-3000] ^= 1
    song.write_bytes(bytes(data))
    result = one(undo(journal, last=True))
    assert (result.state, "other sound" in result.message) == ("changed since", True)
    assert read_genre_field(song).values == ("Folk",)
    assert one(undo(journal, last=True, force=True)).state == "restored"


def test_another_container_under_that_name(song: Path, journal: Journal) -> None:
    """The values come back, in the way of the new container."""
    tagger(journal).write(song, ["Folk"])
    shutil.copyfile(make(song.parent, "flac"), song)
    assert one(undo(journal, last=True)).state == "changed since"
    assert one(undo(journal, last=True, force=True)).state == "restored"
    assert FLAC(song)["genre"] == ["Rock;Pop"]


def test_old_genres_that_are_back_already(song: Path, journal: Journal) -> None:
    tagger(journal).write(song, ["Folk"])
    write_genre_field(song, ["Rock;Pop"])
    before = os.stat(song)
    assert one(undo(journal, last=True)).state == "as before"
    assert os.stat(song) == before
    with pytest.raises(JournalError, match="nothing to take back"):  # rather than this for ever
        list(undo(journal, last=True))


def test_what_is_gone_is_named_and_what_moved_is_found(song: Path, journal: Journal) -> None:
    tagger(journal).write(song, ["Folk"])
    moved = song.rename(song.parent / "moved.mp3")
    result = one(undo(journal, last=True))
    assert (result.state, "new path" in result.message) == ("gone", True)
    assert one(undo(journal, path=moved)).state == "restored"
    assert read_genre_field(moved).values == ("Rock;Pop",)
    with pytest.raises(JournalError, match="nothing was written there"):
        list(undo(journal, path=moved))


def test_a_run_whose_files_are_gone_is_passed_over(song: Path, journal: Journal) -> None:
    other = make(song.parent, "flac")
    was = read_genre_field(other).values
    tagger(journal).write(other, ["Jazz"])
    tagger(journal).write(song, ["Folk"])
    song.unlink()
    assert one(undo(journal, last=True)).path == other
    assert read_genre_field(other).values == was
    assert one(undo(journal, last=True)).state == "gone"  # all that is left


def test_a_disk_that_is_not_there_keeps_its_run_the_last(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make(song.parent, "flac")
    tagger(journal).write(other, ["Jazz"])
    tagger(journal).write(song, ["Folk"])
    song.unlink()
    there = FileIdentity.of(other.stat())
    elsewhere = dataclasses.replace(there, device=there.device + 1)
    monkeypatch.setattr(Entry, "identity", elsewhere)
    result = one(undo(journal, last=True))
    assert (result.state, result.path) == ("gone", song)
    assert read_genre_field(other).values == ("Jazz",)


def test_later_runs_go_first(song: Path, journal: Journal) -> None:
    first, second, third = (tagger(journal) for _ in range(3))
    for writer, genre in ((first, "Folk"), (second, "Blues"), (third, "Folk")):
        writer.write(song, [genre])
    result = one(undo(journal, run=first.run))
    assert (result.state, f"run {third.run}, which can" in result.message) == (
        "changed since",
        True,
    )
    assert one(undo(journal, run=second.run)).state == "as before"
    for run, values in ((third.run, "Blues"), (second.run, "Folk"), (first.run, "Rock;Pop")):
        assert one(undo(journal, run=run)).state == "restored"
        assert read_genre_field(song).values == (values,)


def test_a_folder_is_taken_back_file_by_file(song: Path, journal: Journal) -> None:
    paths = [song, make(song.parent, "flac"), make(song.parent, "m4a")]
    (song.parent / "music2").mkdir()
    beside = make(song.parent / "music2", "ogg")
    originals = [path.read_bytes() for path in paths]
    for path in (*paths, beside):
        tagger(journal).write(path, ["Folk"])
    os.chmod(paths[1], 0o444)
    states = {r.path.name: r.state for r in undo(journal, path=song.parent)}
    assert states == {
        "mp3.mp3": "restored", "flac.flac": "failed", "m4a.m4a": "restored", "ogg.ogg": "restored",
    }  # fmt: skip
    os.chmod(paths[1], 0o644)
    assert one(undo(journal, path=song.parent)).state == "restored"
    assert [path.read_bytes() for path in paths] == originals


def test_what_there_is_not(song: Path, journal: Journal) -> None:
    with pytest.raises(JournalError, match="7: no such run"):
        list(undo(journal, run=7))
    with pytest.raises(ValueError, match="one of run, path and last"):
        list(undo(journal))


# --- real music, in every container ------------------------------------------------------


def pcm(path: Path) -> str:
    import av

    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            digest.update(np.ascontiguousarray(frame.to_ndarray()).tobytes())
    return digest.hexdigest()


@pytest.mark.data
def test_real_clips_in_many_containers(
    fma_clips: list[Path], tmp_path: Path, journal: Journal
) -> None:
    """Copies of real clips, tagged and undone: the same sound, the same tags, the same bytes."""
    music = tmp_path / "clips"
    music.mkdir()
    for clip in fma_clips[:3]:
        shutil.copyfile(clip, music / clip.name)
    y, sr = soundfile.read(fma_clips[0], frames=4 * 44_100, dtype="float32", always_2d=True)
    y = np.repeat(y, 2, axis=1)[:, :2] if y.shape[1] == 1 else y
    made = {
        "flac": encode(y, sr, format="FLAC"),
        "ogg": encode(y, sr, format="OGG", subtype="VORBIS"),
        "wav": encode(y, sr, format="WAV"),
        "aiff": encode(y, sr, format="AIFF"),
        "opus": encode_av(y[: 2 * sr], 48_000, codec="libopus", format="ogg"),
        "m4a": encode_av(y, sr, codec="aac", format="ipod"),
        "alac": encode_av(y, sr, codec="alac", format="ipod"),
        "wma": encode_av(y, sr, codec="wmav2", format="asf"),
        "wv": encode_av(y, sr, codec="wavpack", format="wv"),
        "tta": encode_av(y, sr, codec="tta", format="tta"),
    }
    for kind, data in made.items():
        path = music / f"{kind}.{'m4a' if kind == 'alac' else kind}"
        path.write_bytes(data)
        tag(path, kind)
        if kind not in ("opus", "wv"):
            write_genre_field(path, ["Old; Genre"])
    paths = sorted(music.iterdir())
    assert len({path.suffix for path in paths}) >= 10
    before = {p: (p.read_bytes(), pcm(p), others(p)) for p in paths}
    writer = tagger(journal)
    for path in paths:
        writer.write(path, ["Hip-Hop", "Alternative Hip-Hop", "日本"])
    for path in paths:
        assert read_genre_field(path).values == ("Hip-Hop", "Alternative Hip-Hop", "日本")
        assert pcm(path) == before[path][1]
        assert others(path) == before[path][2]
    assert {result.state for result in undo(journal, run=writer.run)} == {"restored"}
    assert {p: p.read_bytes() for p in paths} == {p: found[0] for p, found in before.items()}
