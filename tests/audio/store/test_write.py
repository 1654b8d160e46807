"""Filling a store again, from files that changed, and what a run says of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.decode import read_audio
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.disk import StoreLock
from genrescope.audio.store.extract import Extracted, Job, extract_file, extract_samples
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue, find_tracks
from genrescope.audio.store.verify import verify
from genrescope.audio.store.write import BATCH, Extraction, Summary, extract
from genrescope.errors import DataError, DiskSpaceError
from tests.audio.stores import SHORT, N, content, fill, write_tone


def test_a_second_run_reads_nothing(music: Path, tmp_path: Path) -> None:
    fill(music, tmp_path / "s")
    before = content(tmp_path / "s")

    def never(job: Job, *, recipe: Recipe) -> object:
        raise AssertionError(f"{job.path} was read")

    done = fill(music, tmp_path / "s", read=never)
    assert (done.added, done.kept, done.waiting, done.quarantined) == (0, N, 3, 3)
    assert content(tmp_path / "s") == before


def test_quarantine_is_tried_again_when_asked_or_replaced(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    fill(copy, out)
    again = fill(copy, out, retry=True)
    assert (again.failed, again.waiting, again.quarantined) == (3, 0, 3)
    write_tone(copy / "silent.wav", seed=9)
    mended = fill(copy, out)
    assert (mended.added, mended.waiting, mended.quarantined) == (1, 2, 2)
    assert FeatureStore.open(out).ids.tolist()[-1] == "silent.wav"
    assert verify(out).whole
    assert "silent.wav" not in (out / "quarantine.csv").read_text()


def test_a_file_that_was_replaced_is_noticed(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    fill(copy, out)
    old = FeatureStore.open(out)
    before = os.stat(copy / "3.wav")
    write_tone(copy / "3.wav", seed=50, seconds=1.0)
    os.truncate(copy / "3.wav", before.st_size)  # as large and as old as before
    os.utime(copy / "3.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "were touched or replaced" in " ".join(verify(out).notes)
    done = fill(copy, out)
    assert (done.replaced, done.added, done.kept) == (1, 0, N - 1)
    new = FeatureStore.open(out)
    assert sorted(new.ids) == sorted(old.ids)
    assert len(set(new.ids.tolist())) == N
    i, j = old.ids.tolist().index("3.wav"), new.ids.tolist().index("3.wav")
    assert not np.array_equal(old.mel([i]), new.mel([j]))
    y, sr = read_audio(copy / "3.wav", duration=1.0)
    assert np.array_equal(new.mel([j])[0], extract_samples(y, sr=sr, recipe=SHORT)[0]["mel"])
    found = verify(out, recompute=N, workers=0)
    assert found.whole
    assert found.identical == N
    assert "1 rows of files that were replaced" in " ".join(found.notes)


def test_a_file_that_was_damaged_leaves_the_store(copy: Path, tmp_path: Path) -> None:
    fill(copy, tmp_path / "s")
    (copy / "3.wav").write_bytes(b"RIFF nothing")
    fill(copy, tmp_path / "s")
    opened = FeatureStore.open(tmp_path / "s")
    assert "3.wav" not in opened.ids
    assert "3.wav" in {failure.id for failure in opened.quarantine}
    assert verify(tmp_path / "s").whole


def test_a_file_that_was_touched_or_moved_is_the_same(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    fill(copy, out)
    os.utime(copy / "1.wav")
    done = fill(copy, out)
    assert (done.kept, done.replaced) == (N, 0)
    assert "touched" not in " ".join(verify(out).notes)
    moved = copy.rename(tmp_path / "elsewhere")
    done = fill(moved, out)
    assert (done.kept, done.replaced, done.added) == (N, 0, 0)
    opened = FeatureStore.open(out)
    assert opened.rows[0].path == str(moved / "0.wav")
    assert len([part for part in opened.journal.parts if part.ids]) == 3


def test_a_file_that_is_gone_keeps_its_features(copy: Path, tmp_path: Path) -> None:
    catalogue = find_tracks(copy)
    extract(catalogue, tmp_path / "s", how=Extraction(SHORT), workers=0)
    for name in ("1.wav", "2.wav"):
        (copy / name).unlink()
    done = extract(catalogue, tmp_path / "s", workers=0)
    assert (done.missing, done.kept) == (2, N - 2)
    assert {"1.wav", "2.wav"} <= set(FeatureStore.open(tmp_path / "s").ids)
    assert "files of 2 tracks are gone" in " ".join(verify(tmp_path / "s").notes)


def test_one_id_for_two_files_is_an_error(copy: Path, tmp_path: Path) -> None:
    fill(copy, tmp_path / "s")
    write_tone(tmp_path / "other" / "1.wav", seed=77)
    with pytest.raises(DataError, match=r"1\.wav is .*copy/1\.wav in the store and .*other/1\.wav"):
        fill(tmp_path / "other", tmp_path / "s")
    assert verify(tmp_path / "s").whole


def test_a_store_grows_by_another_source(copy: Path, tmp_path: Path) -> None:
    fill(copy, tmp_path / "s")
    write_tone(tmp_path / "more" / "100.wav", seed=77)
    (tmp_path / "more" / "m.csv").write_text("path,genre\n100.wav,Rock\n")
    done = fill(tmp_path / "more" / "m.csv", tmp_path / "s")
    assert (done.asked, done.added, done.rows) == (1, 1, N + 1)
    opened = FeatureStore.open(tmp_path / "s")
    assert opened.texts("genre_top").tolist() == [""] * N + ["Rock"]


def test_one_writer_at_a_time(music: Path, filled: Path) -> None:
    with StoreLock(filled), pytest.raises(DataError, match=f"process {os.getpid()} on .* writing"):
        fill(music, filled)
    assert fill(music, filled).kept == N


def test_too_little_room_is_said_at_once(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DiskSpaceError, match=r"1\.0 kB are free"):
        fill(music, tmp_path / "s")
    assert not list((tmp_path / "s" / "parts").iterdir())


# --- what a run says ---------------------------------------------------------


def test_a_run_counts_what_it_did_and_tells_as_it_goes(copy: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "s", list[tuple[int, int, int]]()
    done = fill(copy, out, report=lambda *numbers: told.append(numbers))
    assert done == Summary(asked=N + 3, added=N, failed=3, rows=N, quarantined=3)
    assert [row[:2] for row in told] == [(n, N + 3) for n in range(1, N + 4)]
    assert [row[2] for row in told] == sorted(row[2] for row in told)
    assert told[-1][2] == 3
    write_tone(copy / "2b broken.wav", seed=40)
    (copy / "0.wav").write_bytes(b"RIFF")
    write_tone(copy / "4.wav", seed=41)
    os.utime(copy / "1.wav")
    catalogue = find_tracks(copy)
    (copy / "3.wav").unlink()
    again = extract(catalogue, out, how=Extraction(SHORT, batch=2), workers=0)
    assert again == Summary(
        asked=N + 3, added=1, replaced=1, kept=4, missing=1, waiting=2, failed=1, rows=N,
        quarantined=3,
    )  # fmt: skip
    assert [len(part.ids) for part in FeatureStore.open(out).journal.parts] == [3, 2, 2, 0, 0, 2]


def test_batches_are_parts(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch is 0; at least 1 track is committed at a time"):
        Extraction(batch=0)
    assert Extraction().batch == BATCH == 128
    fill(copy, tmp_path / "s", recipe=Recipe(("mel",), seconds=1.0), batch=1)
    parts = FeatureStore.open(tmp_path / "s").journal.parts
    assert len(parts) == N + 3
    assert sum(bool(part.ids) for part in parts) == N


def test_a_store_keeps_its_recipe_without_being_told(copy: Path, tmp_path: Path) -> None:
    recipe = Recipe(("mel",), seconds=2.0, dtype="float16")
    fill(copy, tmp_path / "s", recipe=recipe)
    write_tone(copy / "new.wav", seed=8)
    assert extract(find_tracks(copy), tmp_path / "s", workers=0).added == 1
    assert FeatureStore.open(tmp_path / "s").recipe == recipe
    assert (tmp_path / "s" / "store.json").read_text().endswith("\n}\n")
    only = find_tracks(copy).taken([0])
    extract(only, tmp_path / "all", workers=0)
    assert FeatureStore.open(tmp_path / "all").recipe == Recipe()


def test_a_file_is_looked_at_where_any_of_its_marks_changed(copy: Path, tmp_path: Path) -> None:
    fill(copy, tmp_path / "s", recipe=Recipe(("mel",), seconds=1.0))
    read: list[str] = []

    def noting(job: Job, *, recipe: Recipe) -> Extracted:
        read.append(job.id)
        return extract_file(job, recipe=recipe)

    def again() -> list[str]:
        read.clear()
        fill(copy, tmp_path / "s", recipe=Recipe(("mel",), seconds=1.0), read=noting)
        return list(read)

    assert again() == []
    os.chmod(copy / "1.wav", 0o600)  # its ctime alone
    os.utime(copy / "silent.wav")  # of one in quarantine
    (copy / "5b empty.mp3").unlink()
    assert again() == ["1.wav", "silent.wav"]
    assert again() == []
    (copy / "silent.wav").rename(copy / "s2.wav")
    assert again() == ["s2.wav"]
    catalogue = Catalogue(("x",), (str(copy / "none.wav"),), {}, "folder")
    extract(catalogue, tmp_path / "s", workers=0)
    waiting = extract(catalogue, tmp_path / "s", workers=0)
    assert (waiting.waiting, waiting.failed) == (1, 0)  # still nothing there
    write_tone(copy / "none.wav", seed=2)
    assert extract(catalogue, tmp_path / "s", workers=0).added == 1


def test_an_id_may_move_to_a_file_whose_predecessor_is_gone(copy: Path, tmp_path: Path) -> None:
    mel = Recipe(("mel",), seconds=1.0)
    fill(copy, tmp_path / "s", recipe=mel)
    write_tone(tmp_path / "other" / "1.wav", seed=77)
    (copy / "1.wav").unlink()
    done = fill(tmp_path / "other", tmp_path / "s", recipe=mel)
    assert (done.asked, done.replaced, done.added) == (1, 1, 0)


# --- what is refused ---------------------------------------------------------


def test_what_is_no_place_for_a_store_is_said(music: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="file: a file; a feature store is a folder, give another"):
        fill(music, tmp_path / "file")
    for name in ("z.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "file").unlink()
    with pytest.raises(DataError, match=r"no feature store \(it holds b\.txt\); give a new folder"):
        fill(music, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["b.txt", "z.txt"]


def test_what_a_killed_run_left_is_no_reason_to_refuse_a_folder(
    music: Path, tmp_path: Path
) -> None:
    (tmp_path / "s" / "parts").mkdir(parents=True)
    (tmp_path / "s" / "lock").write_bytes(b"")
    (tmp_path / "s" / ".hidden").write_bytes(b"")
    (tmp_path / "s" / ".store.json.part").write_bytes(b"half")
    (tmp_path / "s" / "parts" / "000000.mel.npy").write_bytes(b"half")
    only = find_tracks(music).taken([0])
    extract(only, tmp_path / "s", how=Extraction(Recipe(("frames",))), workers=0)
    assert sorted(os.listdir(tmp_path / "s")) == [
        ".hidden", "catalogue.json", "lock", "manifest.jsonl", "parts", "quarantine.csv",
        "store.json",
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path / "s" / "parts")) == [
        "000000.frames.npy", "000000.mfcc.npy",
    ]  # fmt: skip
    assert (tmp_path / "s" / "quarantine.csv").read_bytes() == b"id,path,error,reason\r\n"


@pytest.mark.parametrize(("spare", "enough"), [(0, True), (-1, False)])
def test_the_room_that_is_asked_for(
    spare: int, enough: bool, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What two tracks take, and 64 MiB that stay free."""
    recipe = Recipe(("mel",), seconds=1.0)
    free = 2 * recipe.row_bytes + (64 << 20) + spare
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    two = find_tracks(music).taken([0, 1])
    if enough:
        assert extract(two, tmp_path / "s", how=Extraction(recipe), workers=0).added == 2
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
        assert extract(two, tmp_path / "s", how=Extraction(recipe), workers=0).kept == 2
    else:
        with pytest.raises(DiskSpaceError) as caught:
            extract(two, tmp_path / "s", how=Extraction(recipe), workers=0)
        assert str(caught.value) == (
            f"{tmp_path / 's'}: up to 67.1 MB will be needed, and 67.1 MB are free; free some "
            "space, take fewer features with --what, or give another disk with --out"
        )


@pytest.mark.parametrize("wrong", ["shape", "kind"])
def test_rows_of_another_shape_are_not_stored(wrong: str, music: Path, tmp_path: Path) -> None:
    def odd(job: Job, *, recipe: Recipe) -> Extracted:
        found = extract_file(job, recipe=recipe)
        mel = found.arrays["mel"]
        found.arrays["mel"] = mel[:, :-1] if wrong == "shape" else mel.astype(np.int8)
        return found

    said = r"mel is uint8 \(128, 43\), " if wrong == "shape" else r"mel is int8 \(128, 44\), "
    with pytest.raises(DataError, match=said + r"and the recipe says uint8 \(128, 44\); please"):
        fill(music, tmp_path / "s", recipe=Recipe(("mel",), seconds=1.0), read=odd)
    assert os.listdir(tmp_path / "s" / "parts") == []


def test_an_interrupt_leaves_what_was_committed_and_nothing_else(
    music: Path, tmp_path: Path
) -> None:
    mel = Recipe(("mel",), seconds=1.0)

    def stop(done: int, total: int, failed: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(music, tmp_path / "s", recipe=mel, report=stop)
    assert len(FeatureStore.open(tmp_path / "s")) == 3

    def interrupted(job: Job, *, recipe: Recipe) -> Extracted:
        if job.id == "6.wav":
            raise KeyboardInterrupt
        return extract_file(job, recipe=recipe)

    with pytest.raises(KeyboardInterrupt):
        fill(music, tmp_path / "s", recipe=mel, read=interrupted)
    found = verify(tmp_path / "s")
    assert found.whole
    assert len(FeatureStore.open(tmp_path / "s")) < N
    fill(music, tmp_path / "s", recipe=mel)
    assert len(FeatureStore.open(tmp_path / "s")) == N
    assert verify(tmp_path / "s").notes == ()


def test_a_store_of_partitions_is_filled_otherwise(music: Path, tmp_path: Path) -> None:
    fill(music, tmp_path / "s", recipe=Recipe(("mel",), seconds=1.0))
    path = tmp_path / "s" / "store.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2', 1))
    with pytest.raises(
        DataError, match="a store of partitions, which --cluster, --scheduler or --partitions fill"
    ):
        fill(music, tmp_path / "s")
