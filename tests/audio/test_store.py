"""The feature store: whole whenever it is killed, and true to the files."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import frames, store, store_write
from genrescope.audio.decode import read_audio
from genrescope.audio.descriptors import DESCRIPTOR_NAMES, fma_descriptors
from genrescope.audio.frames import describe_file
from genrescope.audio.store import FeatureStore
from genrescope.audio.store_disk import StoreLock, sha256_of
from genrescope.audio.store_export import export_prepared, export_table
from genrescope.audio.store_extract import Job, extract_file, extract_samples
from genrescope.audio.store_journal import Failure, Journal
from genrescope.audio.store_recipe import KINDS, Recipe, to_decibels
from genrescope.audio.store_sources import Catalogue, find_tracks
from genrescope.audio.store_verify import verify
from genrescope.audio.store_write import Summary, extract, part_file
from genrescope.catalog.fma_prepare import prepare
from genrescope.catalog.fma_simulate import simulate
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import DataError, DiskSpaceError
from tests.apps.command import environment
from tests.audio.deadly import extract_or_die

SR = 22_050  # Hz
SHORT = Recipe(seconds=1.0)
N = 7  # tracks


def write_tone(path: Path, *, seed: int, seconds: float = 0.7, sr: int = SR) -> None:
    """A tone with noise, different for each seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sr)) / sr
    y = 0.3 * np.sin(2 * np.pi * (150 + 60 * seed) * t * (1 + t)) + 0.02 * rng.normal(size=len(t))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, y.astype(np.float32), sr)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven short tracks, two files that are no music and one that is silent."""
    folder = tmp_path_factory.mktemp("music")
    for i in range(N):
        write_tone(folder / f"{i}.wav", seed=i, seconds=0.7 + 0.1 * i)
    (folder / "2b broken.wav").write_bytes(b"RIFF" + np.random.default_rng(0).bytes(5000))
    (folder / "5b empty.mp3").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(SR), SR)
    return folder


@pytest.fixture
def copy(music: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(music, tmp_path / "copy"))


def fill(folder: Path, out: Path, *, recipe: Recipe = SHORT, **options: object) -> Summary:
    """Extract in this process, three tracks a part."""
    settings = {"workers": 0, "batch": 3, **options}
    return extract(find_tracks(folder), out, recipe=recipe, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def filled(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stores") / "filled"
    fill(music, out)
    return out


def content(folder: Path) -> dict[str, str]:
    """Checksums of all files of a store."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- what is in it -----------------------------------------------------------


def test_rows_are_what_the_front_ends_say(music: Path, filled: Path) -> None:
    opened = FeatureStore.open(filled)
    assert opened.ids.tolist() == [f"{i}.wav" for i in range(N)]
    table = opened.descriptors()
    assert table.names == DESCRIPTOR_NAMES
    assert opened.mel().shape == (N, 128, 44)
    assert opened.mel().dtype == np.uint8
    for i in range(N):
        y, sr = read_audio(music / f"{i}.wav", duration=1.0)
        np.testing.assert_allclose(table.values[i], fma_descriptors(y, sr=sr), rtol=1e-5)
        power = librosa.feature.melspectrogram(y=y, sr=sr)
        expected = librosa.power_to_db(power, ref=np.max)
        length = opened.rows[i].mel_frames
        assert length == expected.shape[1]
        db = opened.decibels([i])[0]
        assert np.abs(db[:, :length] - expected).max() <= 0.5 * 80 / 255 + 1e-3
        assert (db[:, length:] == -80).all()
        assert opened.rows[i].level_db == pytest.approx(10 * np.log10(power.max()), abs=1e-3)
        assert opened.rows[i].sha256 == sha256_of(music / f"{i}.wav")


def test_float16_is_closer(music: Path) -> None:
    y, sr = read_audio(music / "3.wav")
    fine = replace(SHORT, what=("mel",), dtype="float16")
    exact = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=sr), ref=np.max)
    stored = extract_samples(y, sr=sr, recipe=fine)[0]["mel"]
    assert stored.dtype == np.float16
    assert np.abs(to_decibels(stored)[:, : exact.shape[1]] - exact).max() < 0.04


def test_the_study_reads_128_by_1292() -> None:
    assert Recipe(("mel",)).arrays["mel"][0] == (128, 1292)


def test_resampled_tracks_have_the_mel_of_librosa(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", seed=1, seconds=1.3, sr=44_100)
    found = extract_file(Job("a", str(tmp_path / "a.wav")), recipe=Recipe(seconds=1.0))
    y, _ = librosa.load(tmp_path / "a.wav", sr=SR, duration=1.0)
    exact = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=SR), ref=np.max)
    assert np.abs(to_decibels(found.arrays["mel"]) - exact).max() <= 0.5 * 80 / 255 + 1e-3


def test_frames_are_what_the_recogniser_hears(music: Path, filled: Path) -> None:
    opened = FeatureStore.open(filled)
    rows = opened.frame_features([4, 0])
    assert rows.shape == (2, frames.N_FEATURES) == (2, 20_192)
    for row, i in zip(rows, (4, 0), strict=True):
        heard = describe_file(music / f"{i}.wav").features[0]
        # 7 bits of 80 dB, and 16-bit coefficients, are what was stored.
        assert np.abs(row - heard).mean() < 0.01 * np.abs(heard).mean()
        assert np.corrcoef(row, heard)[0, 1] > 0.9995


@pytest.mark.data
def test_frames_are_those_that_fma_was_prepared_as(fma_clips: list[Path], data_dir: Path) -> None:
    clip = fma_clips[0]
    found = extract_file(Job("2", str(clip)), recipe=Recipe(("mel", "frames")))
    with np.load(data_dir / "fma" / "small_mel_frames.npz") as stored:
        mel = stored["mel"][stored["track_id"] == 2][0].astype(float)
    with np.load(data_dir / "fma" / "small_mfcc.npz") as stored:
        mfcc = stored["mfcc_3s"][stored["track_id"] == 2][0].astype(float)
    assert np.abs(found.arrays["frames"] - mel).mean() < 0.2
    assert np.abs(found.arrays["mfcc"] - mfcc).max() < 0.1
    alone = extract_file(Job("2", str(clip)), recipe=Recipe(("frames",)))
    assert np.array_equal(alone.arrays["mfcc"], found.arrays["mfcc"])


def test_what_cannot_be_read_is_in_quarantine_with_its_reason(filled: Path) -> None:
    opened = FeatureStore.open(filled)
    assert {failure.id: failure.error for failure in opened.quarantine} == {
        "2b broken.wav": "AudioCorruptError",
        "5b empty.mp3": "AudioEmptyError",
        "silent.wav": "AudioSilentError",
    }
    lines = (filled / "quarantine.csv").read_text().splitlines()
    assert lines[0] == "id,path,error,reason"
    assert len(lines) == 4
    assert "no bytes" in lines[2]
    assert "no sample of the first 1.0 s" in lines[3]


# --- reading -----------------------------------------------------------------


@given(indices=st.lists(st.integers(-N, N - 1), max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_order_gives_the_same_rows(filled: Path, indices: list[int]) -> None:
    opened = FeatureStore.open(filled)
    whole = opened.mel()
    assert np.array_equal(opened.mel(indices), whole[np.array(indices, dtype=int)])
    assert np.array_equal(
        opened.descriptors(indices).values,
        opened.descriptors().values[np.array(indices, dtype=int)],
    )


def test_few_files_are_open_at_once(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MAPPED", 1)
    opened = FeatureStore.open(filled)
    expected = FeatureStore.open(filled).mel()
    assert np.array_equal(opened.mel([6, 0, 3, 1]), expected[[6, 0, 3, 1]])
    assert len(opened._maps) == 1


def test_positions_that_are_not_there(filled: Path) -> None:
    opened = FeatureStore.open(filled)
    with pytest.raises(IndexError, match="no track 7; the store has 7"):
        opened.mel([7])
    with pytest.raises(DataError, match="whole numbers"):
        opened.mel(np.array([0.5]))


def test_what_is_not_stored_is_named(music: Path, tmp_path: Path) -> None:
    fill(music, tmp_path / "s", recipe=Recipe(("mel",), seconds=1.0))
    opened = FeatureStore.open(tmp_path / "s")
    with pytest.raises(DataError, match=r"holds mel and no frames.*--what frames"):
        opened.frames()
    with pytest.raises(DataError, match="no descriptors"):
        opened.descriptors()


def test_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no feature store.*genrescope features extract"):
        FeatureStore.open(tmp_path)


# --- killed ------------------------------------------------------------------

# Runs extractions that die at their n-th operation on the disk, for all n, and looks whether the
# next run makes the store whole. Forked, so that a run takes milliseconds; what is extracted is
# computed once.
KILLER = """
import functools, os, signal, sys
import numpy as np
from pathlib import Path
from genrescope.audio import store_write
from genrescope.audio.store_recipe import Recipe
from genrescope.audio.store_sources import find_tracks
from genrescope.audio.store_verify import verify
from genrescope.audio.workers import map_isolated
from tests.audio.test_store import content

music, work = Path(sys.argv[1]), Path(sys.argv[2])
catalogue, recipe = find_tracks(music), Recipe(seconds=1.0)
jobs, _ = store_write._plan(catalogue, store_write.Journal(work), retry=False)
known = dict(map_isolated(functools.partial(store_write.extract_file, recipe=recipe), jobs,
                          workers=0))
store_write.map_isolated = lambda fn, jobs, **_: ((job, known[job]) for job in jobs)

os.fsync = lambda fd: None  # nothing here cuts the power
made, parquet = {}, store_write._parquet

def cached(ids, values):
    if tuple(ids) not in made:
        made[tuple(ids)] = parquet(ids, values)
    return made[tuple(ids)]

store_write._parquet = cached
for first in range(0, len(jobs), 3):
    rows = [(j.id, known[j].descriptors) for j in jobs[first : first + 3]
            if not isinstance(known[j], Exception)]
    if rows:
        cached([id_ for id_, _ in rows], np.stack([row for _, row in rows]))

def killed_at(n, out):
    "Whether a run was killed at its n-th operation; 0 never kills."
    child = os.fork()
    if not child:
        count = 0
        def counting(name):
            original = getattr(os, name)
            def call(*arguments):
                nonlocal count
                count += 1
                if count == n:
                    if name == "write":
                        original(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments)
            setattr(os, name, call)
        for name in ("write", "fsync", "replace", "unlink", "truncate", "ftruncate", "mkdir"):
            counting(name)
        try:
            store_write.extract(catalogue, out, recipe=recipe, batch=3)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0

assert not killed_at(0, work / "never")
expected = content(work / "never")
n = 1
while True:
    out = work / str(n)
    dead = killed_at(n, out)
    if dead and n % 3 == 0:
        killed_at(1 + n // 2, out)  # and once more
    if n % 5 == 0 and (out / "store.json").exists():
        assert not verify(out).problems, (n, verify(out).problems)
    assert not killed_at(0, out)
    assert content(out) == expected, n
    if not dead:
        break
    n += 1
print("killed", n - 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_operation_it_ends_with_the_same_bytes(music: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(music), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(OMP_NUM_THREADS="1"),
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 60


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


# --- a full disk -------------------------------------------------------------


class _Full:
    """Makes the n-th operation of one kind fail for want of space."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def at(self, name: str, n: int) -> None:
        original: Callable[..., object] = getattr(os, name)
        count = 0

        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == n:
                if name == "write":  # what fits is written
                    data = arguments[1]
                    assert isinstance(data, memoryview)
                    original(arguments[0], data[: len(data) // 3])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments)

        self._monkeypatch.setattr(os, name, call)


@pytest.fixture
def known(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extraction that takes no time."""
    made = functools.lru_cache(functools.partial(extract_file, recipe=SHORT))

    def quick(job: Job, *, recipe: Recipe) -> object:
        return made(job)

    parquet: dict[tuple[str, ...], memoryview] = {}

    def quick_parquet(ids: list[str], values: np.ndarray) -> memoryview:
        if tuple(ids) not in parquet:
            parquet[tuple(ids)] = store_write_parquet(ids, values)
        return parquet[tuple(ids)]

    store_write_parquet = store_write._parquet
    monkeypatch.setattr(store_write, "extract_file", quick)
    monkeypatch.setattr(store_write, "_parquet", quick_parquet)
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # nothing here cuts the power


@pytest.mark.usefixtures("known")
def test_a_full_disk_leaves_the_store_whole(
    music: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, failures = content(filled), 0
    for name, step in (("write", 3), ("fsync", 1), ("replace", 1)):
        n = 1
        while True:
            out = tmp_path / f"{name}{n}"
            with monkeypatch.context() as patch:
                _Full(patch).at(name, n)
                try:
                    fill(music, out)
                except DiskSpaceError as error:
                    assert "goes on where it was" in str(error)  # noqa: PT017
                else:
                    break
            failures += 1
            assert not list((out / "parts").glob("*.part"))
            if (out / "store.json").exists():
                found = verify(out)
                assert found.whole, (name, n, found.problems)
                # No file is left that takes the room that is wanted.
                assert not [note for note in found.notes if "not committed" in note], (name, n)
            fill(music, out)
            assert content(out) == expected, (name, n)
            n += step
    assert failures > 25


def test_too_little_room_is_said_at_once(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DiskSpaceError, match=r"1\.0 kB are free"):
        fill(music, tmp_path / "s")
    assert not list((tmp_path / "s" / "parts").iterdir())


# --- once more ---------------------------------------------------------------


def test_a_second_run_reads_nothing(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(music, tmp_path / "s")
    before = content(tmp_path / "s")

    def never(job: Job, *, recipe: Recipe) -> object:
        raise AssertionError(f"{job.path} was read")

    monkeypatch.setattr(store_write, "extract_file", never)
    done = fill(music, tmp_path / "s")
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
    extract(catalogue, tmp_path / "s", recipe=SHORT, workers=0)
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


# --- parameters --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": 2.0}, "seconds is 1.0 there and 2.0 here"),
        ({"dtype": "float16"}, "dtype is uint8 there and float16 here"),
        ({"what": ("mel",)}, "what is mel,descriptors,frames there and mel here"),
    ],
)
def test_other_parameters_are_refused(
    music: Path, filled: Path, change: dict[str, object], said: str
) -> None:
    before = content(filled)
    with pytest.raises(DataError, match=said) as caught:
        fill(music, filled, recipe=replace(SHORT, **change))  # type: ignore[arg-type]
    assert "another --out" in str(caught.value)
    assert content(filled) == before


def test_another_version_of_a_front_end_is_refused(
    music: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "FRONT_END_VERSION", 99)
    with pytest.raises(DataError, match="version of frames is 1 there and 99 here"):
        fill(music, filled)
    monkeypatch.undo()
    monkeypatch.setitem(frames.FRONT_END["parameters"], "floor_db", 60.0)
    with pytest.raises(DataError, match=r"floor_db of frames is 72\.0 there and 60\.0 here"):
        fill(music, filled)
    assert len(FeatureStore.open(filled)) == N  # what is there can be read


@given(
    what=st.sets(st.sampled_from(KINDS), min_size=1),
    seconds=st.floats(1, 600),
    dtype=st.sampled_from(["uint8", "float16"]),
)
def test_a_recipe_survives_being_written(what: set[str], seconds: float, dtype: str) -> None:
    recipe = Recipe(tuple(what), seconds=seconds, dtype=dtype)
    said = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(said) == recipe
    recipe.require_same(said, store="s")


@pytest.mark.parametrize(
    "wrong", [{"what": ("mels",)}, {"what": ()}, {"seconds": 0.2}, {"dtype": "int8"}]
)
def test_recipes_that_there_are_not(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Recipe(**wrong)  # type: ignore[arg-type]


# --- processes ---------------------------------------------------------------


def test_two_workers_give_the_bytes_of_one(music: Path, tmp_path: Path) -> None:
    one = extract(find_tracks(music), tmp_path / "1", recipe=SHORT, workers=1, batch=3)
    two = extract(find_tracks(music), tmp_path / "2", recipe=SHORT, workers=2, batch=3)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert one.rows == two.rows == N


def test_a_decoder_that_crashes_or_hangs_costs_its_own_file(
    music: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_write, "extract_file", extract_or_die)
        done = fill(music, tmp_path / "s", workers=2, timeout=10.0)
    assert (done.added, done.failed) == (N - 2, 5)
    errors = {failure.id: failure.error for failure in FeatureStore.open(tmp_path / "s").quarantine}
    assert errors["2.wav"] == "DecoderCrashError"
    assert errors["4.wav"] == "DecoderTimeoutError"
    assert verify(tmp_path / "s").whole
    assert fill(music, tmp_path / "s").waiting == 5
    assert fill(music, tmp_path / "s", retry=True).added == 2
    whole, mended = FeatureStore.open(filled), FeatureStore.open(tmp_path / "s")
    at = [mended.ids.tolist().index(id_) for id_ in whole.ids.tolist()]
    assert np.array_equal(whole.mel(), mended.mel(at))


def test_one_writer_at_a_time(music: Path, filled: Path) -> None:
    with StoreLock(filled), pytest.raises(DataError, match=f"process {os.getpid()} on .* writing"):
        fill(music, filled)
    assert fill(music, filled).kept == N


def test_the_lock_of_a_dead_process_is_free(music: Path, copy: Path, tmp_path: Path) -> None:
    fill(copy, tmp_path / "s")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from genrescope.audio.store_disk import StoreLock\n"
        "StoreLock(Path(sys.argv[1])).__enter__(); print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    died = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    done = fill(copy, tmp_path / "s")
    assert done.left_by == int(died.stdout)
    assert fill(copy, tmp_path / "s").left_by is None


def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path: Path) -> None:
    """An hour takes what two seconds take."""
    code = (
        "import resource, sys\n"
        "from genrescope.audio.store_extract import Job, extract_file\n"
        "from genrescope.audio.store_recipe import Recipe\n"
        "extract_file(Job('a', sys.argv[1]), recipe=Recipe(seconds=2.0))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    used = {}
    for name, seconds in (("short", 2), ("long", 3600)):
        path = tmp_path / f"{name}.wav"
        write_tone(path, seed=1, seconds=2)
        head = bytearray(path.read_bytes()[:44])
        size = seconds * SR * 2
        head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
        with path.open("rb+") as file:
            file.write(head)
            file.truncate(44 + size)
        out = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True,
            text=True,
            env=environment(OMP_NUM_THREADS="1"),
            check=True,
        )
        used[name] = int(out.stdout) * 1024
    assert (tmp_path / "long.wav").stat().st_size > 150e6
    assert used["long"] < used["short"] + 30e6


# --- verify ------------------------------------------------------------------


@pytest.fixture
def damaged(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "damaged"))


def test_a_store_is_clean(filled: Path) -> None:
    found = verify(filled, recompute=3, workers=0)
    assert (found.problems, found.notes) == ((), ())
    assert (found.tracks, found.quarantined, found.files) == (N, 3, 12)
    assert (found.recomputed, found.identical) == (3, 3)


@pytest.mark.parametrize("name", ["mel", "frames", "mfcc", "descriptors"])
def test_one_wrong_bit_is_found(damaged: Path, name: str) -> None:
    path = damaged / "parts" / part_file(1, name)
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    assert [p for p in verify(damaged).problems if path.name in p and "SHA-256" in p]


def test_files_that_are_gone_or_cut_are_found(damaged: Path) -> None:
    (damaged / "parts" / part_file(0, "mel")).unlink()
    os.truncate(damaged / "parts" / part_file(2, "frames"), 500)
    problems = " ".join(verify(damaged).problems)
    assert "000000.mel.npy: No such file" in problems
    assert "000002.frames.npy: has 500 bytes" in problems


def _rewritten(folder: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    """Change an array of part 0 as if it had been extracted so."""
    path = folder / "parts" / part_file(0, name)
    cells = np.load(path)
    change(cells)
    path.write_bytes(path.read_bytes()[:128] + cells.tobytes())
    _agreed(folder, path)


def _agreed(folder: Path, path: Path) -> None:
    """Make the manifest's first line agree with a file."""
    data = path.read_bytes()
    lines = (folder / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    entry = json.loads(lines[0])
    del entry["check"]
    entry["files"][path.name] = [len(data), hashlib.sha256(data).hexdigest()]
    body = json.dumps(entry, separators=(",", ":"))
    check = hashlib.sha256(body.encode()).hexdigest()[:32]
    lines[0] = f'{{"check":"{check}",{body[1:]}\n'.encode()
    (folder / "manifest.jsonl").write_bytes(b"".join(lines))


def test_nan_and_constant_images_are_found(damaged: Path) -> None:
    def nan(cells: np.ndarray) -> None:
        cells[1, 3, 4] = np.nan

    def flat(cells: np.ndarray) -> None:
        cells[2] = 7

    _rewritten(damaged, "mfcc", nan)
    _rewritten(damaged, "mel", flat)
    problems = " ".join(verify(damaged).problems)
    assert "000000.mfcc.npy: 1.wav has NaN" in problems
    assert "000000.mel.npy: all values of 2.wav are 7" in problems


def test_rows_that_do_not_fit_the_manifest_are_found(damaged: Path) -> None:
    path = damaged / "parts" / part_file(0, "frames")
    np.save(path, np.load(path)[:2])
    _agreed(damaged, path)
    problems = verify(damaged).problems
    assert problems == ("000000.frames.npy: uint8 (2, 128, 128), expected uint8 (3, 128, 128)",)
    with pytest.raises(DataError, match="features verify"):
        FeatureStore.open(damaged).frames([1])


def test_features_that_are_not_the_files_are_found(damaged: Path) -> None:
    def other(cells: np.ndarray) -> None:
        cells[0] = 255 - cells[0]

    _rewritten(damaged, "mel", other)
    found = verify(damaged, recompute=N, workers=0)
    assert found.identical == N - 1
    assert "0.wav: mel differs by" in " ".join(found.problems)


def test_what_is_left_to_do_is_noted(music: Path, tmp_path: Path) -> None:
    catalogue = find_tracks(music)
    first = Catalogue(catalogue.ids[:4], catalogue.paths[:4], {}, "folder")
    extract(first, tmp_path / "s", recipe=SHORT, workers=0)
    catalogue.keep(tmp_path / "s")
    (tmp_path / "s" / "parts" / "000009.mel.npy").write_bytes(b"left by a run that was killed")
    with (tmp_path / "s" / "manifest.jsonl").open("ab") as file:
        file.write(b'{"check":"12')
    found = verify(tmp_path / "s")
    assert found.whole
    notes = " ".join(found.notes)
    assert "6 of 10 tracks are not extracted yet" in notes
    assert "1 files belong to a batch that is not committed" in notes
    assert "12 bytes that are not committed" in notes
    fill(music, tmp_path / "s")
    assert verify(tmp_path / "s").notes == ()


def test_a_track_that_is_both_or_twice_is_found(damaged: Path) -> None:
    journal = Journal.read(damaged)
    row = journal.rows["1.wav"]
    journal.failures["1.wav"] = Failure("1.wav", row.path, -1, -1, -1, "AudioError", "?")
    opened = FeatureStore.open(damaged)
    opened.journal.failures.update(journal.failures)
    assert Journal.read(damaged).failures.keys() == {"2b broken.wav", "5b empty.mp3", "silent.wav"}
    Journal.read(damaged).commit(files={}, rows=[row, row])
    problems = " ".join(verify(damaged).problems)
    assert "1.wav is there twice" in problems
    assert "the manifest names nothing" in problems


# --- sources -----------------------------------------------------------------


def test_folders_with_and_without_genres(tmp_path: Path) -> None:
    for i, name in enumerate(("Rock/a.wav", "hiphop/deep/b.wav")):
        write_tone(tmp_path / name, seed=i)
    found = find_tracks(tmp_path)
    assert (found.kind, found.ids) == ("genre folders", ("hiphop/deep/b.wav", "Rock/a.wav"))
    assert found.columns == {"genre_top": ["hiphop", "Rock"]}
    assert find_tracks(tmp_path, genre_folders=False).columns == {}
    (tmp_path / "Rock").rename(tmp_path / "Some artist")
    assert find_tracks(tmp_path).kind == "folder"
    forced = find_tracks(tmp_path, genre_folders=True)
    assert forced.columns == {"genre_top": ["hiphop", "Some artist"]}


def test_manifests(tmp_path: Path) -> None:
    write_tone(tmp_path / "sub" / "a.wav", seed=0)
    (tmp_path / "m.csv").write_text("path,genre,split,mood\nsub/a.wav,Rock,test,calm\n")
    found = find_tracks(tmp_path / "m.csv")
    assert found.ids == ("sub/a.wav",)
    assert found.columns == {"genre_top": ["Rock"], "split": ["test"], "mood": ["calm"]}
    (tmp_path / "n.csv").write_text("path,track_id\nsub/a.wav,17\nsub/b.wav,4\n")
    assert find_tracks(tmp_path / "n.csv").ids == ("17", "4")
    (tmp_path / "o.csv").write_text("path,genre\nsub/a.wav,Rock\nsub/a.wav,Pop\n")
    with pytest.raises(DataError, match=r"sub/a\.wav is the id of two tracks"):
        find_tracks(tmp_path / "o.csv")


def test_fma(tmp_path: Path) -> None:
    made = simulate(tmp_path, tracks=6, genres=2, seconds=0.7)
    prepare(made.metadata)
    with pytest.raises(DataError, match=r"which hold no sound.*--audio"):
        find_tracks(made.metadata)
    assert made.audio is not None
    found = find_tracks(made.metadata, audio=made.audio)
    assert (found.kind, found.simulated, len(found)) == ("FMA", True, 6)
    assert {"genre_top", "artist_id", "split", "subset"} <= found.columns.keys()
    done = extract(found, tmp_path / "s", recipe=SHORT, workers=0)
    assert done.rows == 6
    opened = FeatureStore.open(tmp_path / "s")
    assert set(opened.texts("split").tolist()) <= {"training", "validation", "test"}
    assert opened.prepared().track_id.tolist() == [int(id_) for id_ in found.ids]
    assert (tmp_path / "e" / "SIMULATED.txt") in export_prepared(opened, tmp_path / "e")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no audio files"):
        find_tracks(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        find_tracks(tmp_path / "nowhere")
    with pytest.raises(DataError, match="belong to those"):
        find_tracks(tmp_path, audio=tmp_path)


def test_another_folder_is_not_taken_for_a_store(music: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(DataError, match=r"not empty and no feature store \(it holds thesis.tex\)"):
        fill(music, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.wav")
    write_tone(tmp_path / "m" / "a.wav", seed=0)
    (tmp_path / "m" / "a.wav").rename(tmp_path / "m" / name)
    (tmp_path / "m" / os.fsdecode(b"\xfe.wav")).write_bytes(b"RIFFx")
    fill(tmp_path / "m", tmp_path / "s")
    assert fill(tmp_path / "m", tmp_path / "s").kept == 1
    opened = FeatureStore.open(tmp_path / "s")
    assert opened.ids.tolist() == [name]
    assert verify(tmp_path / "s", recompute=1, workers=0).identical == 1
    assert (tmp_path / "s" / "quarantine.csv").read_text(encoding="utf-8")


# --- for others --------------------------------------------------------------


@pytest.fixture
def labelled(copy: Path, tmp_path: Path) -> FeatureStore:
    rows = [f"{i}.wav,{'Rock' if i % 2 else 'Folk'},artist {i // 2}" for i in range(5)]
    text = "\n".join(["path,genre,artist_id", *rows, "5.wav,,", "2b broken.wav,Rock,x"])
    (copy / "m.csv").write_text(text)
    fill(copy / "m.csv", tmp_path / "labelled")
    return FeatureStore.open(tmp_path / "labelled")


def test_training_reads_it(labelled: FeatureStore, tmp_path: Path) -> None:
    prepared = labelled.prepared()
    assert prepared.genre_top.tolist() == ["Folk", "Rock", "Folk", "Rock", "Folk", ""]
    assert prepared.artist_id.tolist()[:3] == ["artist 0", "artist 0", "artist 1"]
    assert prepared.track_id.tolist() == list(range(6))
    export_prepared(labelled, tmp_path / "e")
    read = load_prepared(tmp_path / "e")
    assert np.array_equal(read.mel, prepared.mel[:5])
    assert np.array_equal(read.mfcc_3s, prepared.mfcc_3s[:5])
    assert read.artist_id.tolist() == prepared.artist_id.tolist()[:5]


def test_the_laboratory_reads_it(labelled: FeatureStore, tmp_path: Path) -> None:
    import pyarrow.parquet

    path = export_table(labelled, tmp_path / "d.parquet")
    table = pyarrow.parquet.read_table(path)
    assert set(table.column_names[:5]) == {"track_id", "path", "genre_top", "artist_id", "title"}
    assert tuple(table.column_names[5:]) == DESCRIPTOR_NAMES
    assert (
        table["zcr_mean_01"].to_pylist()
        == labelled.descriptors().values[:, DESCRIPTOR_NAMES.index("zcr_mean_01")].tolist()
    )


def test_without_genres_there_is_nothing_to_train_on(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no track has a genre"):
        export_prepared(FeatureStore.open(filled), tmp_path / "e")


def test_it_says_what_is_in_it(labelled: FeatureStore) -> None:
    said = json.loads(json.dumps(labelled.describe()))
    assert said["tracks"] == 6
    assert said["quarantined"] == {"AudioCorruptError": 1}
    assert said["genres"] == {"": 1, "Folk": 3, "Rock": 2}
    assert said["arrays"]["mel"] == {"shape": [6, 128, 44], "dtype": "uint8"}
    assert said["front_ends"]["mel"]["parameters"]["sr"] == 22_050
    assert said["not_extracted"] == said["replaced_rows"] == 0
