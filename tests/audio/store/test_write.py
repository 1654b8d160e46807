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
    (copy / "1.wav").unlink()
    done = extract(catalogue, tmp_path / "s", workers=0)
    assert (done.missing, done.kept) == (1, N - 1)
    assert "1.wav" in FeatureStore.open(tmp_path / "s").ids
    assert "files of 1 tracks are gone" in " ".join(verify(tmp_path / "s").notes)


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


