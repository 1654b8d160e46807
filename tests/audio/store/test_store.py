"""The feature store: true to the files, and quick to say what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import frames
from genrescope.audio.decode import read_audio
from genrescope.audio.descriptors import DESCRIPTOR_NAMES, fma_descriptors
from genrescope.audio.frames import describe_file
from genrescope.audio.store import FeatureStore, load_frames
from genrescope.audio.store.disk import sha256_of
from genrescope.audio.store.export import export_prepared, export_table
from genrescope.audio.store.extract import Job, extract_file, extract_samples
from genrescope.audio.store.journal import Failure, Journal
from genrescope.audio.store.parts import part_file
from genrescope.audio.store.recipe import KINDS, Recipe, to_decibels
from genrescope.audio.store.sources import Catalogue, find_tracks
from genrescope.audio.store.verify import verify
from genrescope.audio.store.write import Extraction, extract
from genrescope.catalog.fma_prepare import prepare
from genrescope.catalog.fma_simulate import simulate
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import DataError
from tests.audio.stores import SHORT, SR, N, content, fill, write_tone

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


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as on Linux")
def test_reading_leaves_no_file_open_or_mapped(filled: Path) -> None:
    opened = FeatureStore.open(filled)
    before = len(os.listdir("/proc/self/fd"))
    expected = FeatureStore.open(filled).mel()
    assert np.array_equal(opened.mel([6, 0, 3, 1]), expected[[6, 0, 3, 1]])
    assert len(os.listdir("/proc/self/fd")) == before
    assert str(filled) not in Path("/proc/self/maps").read_text()


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
    extract(first, tmp_path / "s", how=Extraction(SHORT), workers=0)
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
    done = extract(found, tmp_path / "s", how=Extraction(SHORT), workers=0)
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
    assert np.array_equal(load_frames(tmp_path / "labelled").mel, prepared.mel)
    export_prepared(labelled, tmp_path / "e")
    assert np.array_equal(load_frames(tmp_path / "e").mel, prepared.mel[:5])
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
