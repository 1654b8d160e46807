"""The recogniser object: files and samples in, predictions out, and no file stops the others."""

from __future__ import annotations

import csv
import doctest
import json
import math
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from importlib import resources
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile

import genrescope.learn.prediction
from genrescope import Prediction, Recogniser
from genrescope.audio import frames
from genrescope.errors import (
    AudioEmptyError,
    AudioError,
    AudioNotFiniteError,
    AudioNotFoundError,
    AudioSilentError,
    AudioTooShortError,
    BundleError,
    DataError,
)
from genrescope.learn.bundle import Bundle
from genrescope.learn.prediction import Branch, FailedPrediction
from tests.learn.tinybundle import GENRES, make_bundle, make_card
from tests.same import same

SR = 22_050


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("tiny"), n_features=frames.N_FEATURES)


@pytest.fixture(scope="module")
def recogniser(bundle: Bundle) -> Recogniser:
    return Recogniser.load(bundle.folder)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    rng = np.random.default_rng(3)
    envelope = np.abs(np.sin(np.arange(5 * SR) / SR * 7))
    return (rng.normal(size=5 * SR) * envelope * 0.2).astype(np.float32)


# --- one file --------------------------------------------------------------


def test_a_real_clip(recogniser: Recogniser, fma_clips: list[Path]) -> None:
    prediction = recogniser.predict(fma_clips[0])
    assert prediction.path == fma_clips[0]
    assert set(prediction.probabilities) == set(GENRES) == set(recogniser.genres)
    values = list(prediction.probabilities.values())
    assert values == sorted(values, reverse=True)
    assert math.isclose(sum(values), 1, abs_tol=1e-6)
    assert prediction.best == next(iter(prediction.probabilities))
    assert prediction.confidence == values[0]
    assert prediction.sure == (values[0] >= 0.5)
    assert prediction.genre == (prediction.best if prediction.sure else None)
    assert (prediction.title, prediction.artist) == ("Food", "AWOL")
    assert prediction.tagged_genres == ("Hip-Hop",)
    assert abs(prediction.duration - 29.98) < 0.1
    (moment,) = prediction.timeline
    assert moment.start == 0
    assert abs(moment.end - 29.98) < 0.1
    assert moment.best == prediction.best


def test_samples_give_what_their_file_gives(recogniser: Recogniser, fma_clips: list[Path]) -> None:
    for path in fma_clips[:3]:
        samples, sr = soundfile.read(path, dtype="float32")
        from_file = recogniser.predict(path)
        from_samples = recogniser.predict(samples.T, sr=sr)
        assert from_samples.path is None
        for genre, p in from_file.probabilities.items():
            assert abs(from_samples.probabilities[genre] - p) < 0.02


def test_a_whole_song(recogniser: Recogniser, songs: list[Path]) -> None:
    song = next(path for path in songs if path.stem == "MegatoneElectron")
    prediction = recogniser.predict(song)
    assert len(prediction.timeline) == frames.DEFAULT_WINDOWS
    starts = [moment.start for moment in prediction.timeline]
    assert starts == sorted(starts)
    assert all(0 <= m.start < m.end <= prediction.duration for m in prediction.timeline)
    assert all(abs(sum(m.probabilities.values()) - 1) < 1e-6 for m in prediction.timeline)
    two = Recogniser(recogniser.bundle, n_windows=2).predict(song)
    assert len(two.timeline) == 2


def test_errors_have_their_own_class(recogniser: Recogniser, tmp_path: Path) -> None:
    with pytest.raises(AudioNotFoundError):
        recogniser.predict(tmp_path / "nowhere.mp3")
    (tmp_path / "text.mp3").write_text("no music")
    with pytest.raises(AudioError):
        recogniser.predict(str(tmp_path / "text.mp3"))
    with pytest.raises(DataError, match="leave sr out"):
        recogniser.predict(tmp_path / "text.mp3", sr=44_100)
    with pytest.raises(DataError, match="list, expected a path"):
        recogniser.predict([0.1, 0.2], sr=44_100)  # type: ignore[arg-type]


def test_broken_tags_do_not_matter(
    recogniser: Recogniser, fma_clips: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / "broken tags.flac"
    samples, sr = soundfile.read(fma_clips[0], frames=10 * SR)
    soundfile.write(path, samples, sr)
    data = bytearray(path.read_bytes())
    comments = data.find(b"reference libFLAC")  # the vendor string of the comment block
    assert comments > 0
    data[comments - 4 : comments] = b"\xff\xff\xff\x7f"  # a length that leads out of the file
    path.write_bytes(bytes(data))
    prediction = recogniser.predict(path)
    assert prediction.title is None


# --- samples ---------------------------------------------------------------


def test_types_and_shapes_that_mean_the_same(recogniser: Recogniser, noise: np.ndarray) -> None:
    expected = recogniser.predict(noise, sr=SR).probabilities
    same = {
        "float64": noise.astype(np.float64),
        "one channel": noise[np.newaxis],
        "stereo": np.stack([noise, noise]),
        "reversed view": noise[::-1][::-1],
        "int16": np.round(noise * 32_768).clip(-32_768, 32_767).astype(np.int16),
        "int32": (noise.astype(np.float64) * 2**31).clip(-(2**31), 2**31 - 1).astype(np.int32),
    }
    for name, samples in same.items():
        found = recogniser.predict(samples, sr=SR).probabilities
        for genre, p in expected.items():
            assert abs(found[genre] - p) < 0.05, name
    before = noise.copy()
    recogniser.predict(noise, sr=SR)
    np.testing.assert_array_equal(noise, before)


def test_uint8_is_centred(recogniser: Recogniser) -> None:
    with pytest.raises(AudioSilentError):
        recogniser.predict(np.full(SR * 2, 128, dtype=np.uint8), sr=SR)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((SR, 2), dtype=np.float32), r"need a transpose"),
        (np.zeros((2, 3, SR), dtype=np.float32), r"expected \(n,\) or \(channels, n\)"),
        (np.zeros(SR, dtype=np.complex64), "type complex64"),
        (np.zeros(SR, dtype=bool), "type bool"),
        (np.zeros(SR, dtype=np.int64), "type int64"),
        (np.array(["a"]), "expected floats"),
    ],
)
def test_samples_that_cannot_be_sound(
    recogniser: Recogniser, samples: np.ndarray, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        recogniser.predict(samples, sr=SR)


@pytest.mark.parametrize("sr", [None, 0, -44_100, math.nan, math.inf])
def test_samples_need_a_rate(recogniser: Recogniser, noise: np.ndarray, sr: float | None) -> None:
    with pytest.raises(DataError, match="sampling rate"):
        recogniser.predict(noise, sr=sr)


def test_samples_with_nothing_to_recognise(recogniser: Recogniser, noise: np.ndarray) -> None:
    with pytest.raises(AudioEmptyError):
        recogniser.predict(np.zeros(0, dtype=np.float32), sr=SR)
    with pytest.raises(AudioTooShortError):
        recogniser.predict(noise[:100], sr=SR)
    with pytest.raises(AudioSilentError):
        recogniser.predict(np.zeros(5 * SR, dtype=np.float32), sr=SR)
    for value in (math.nan, math.inf, 1e300):
        broken = noise.astype(np.float64)
        broken[77] = value
        with pytest.raises(AudioNotFiniteError):
            recogniser.predict(broken, sr=SR)


# --- how sure --------------------------------------------------------------


def changed(bundle: Bundle, tmp_path: Path, section: str, **values: object) -> Recogniser:
    whole = make_card(n_features=frames.N_FEATURES)
    make_bundle(tmp_path, n_features=frames.N_FEATURES, **{section: {**whole[section], **values}})
    return Recogniser.load(tmp_path)


@pytest.mark.parametrize(("threshold", "sure"), [(0.0, True), (1.0, False), (None, False)])
def test_the_threshold_of_the_card_decides(
    bundle: Bundle, tmp_path: Path, noise: np.ndarray, threshold: float | None, sure: bool
) -> None:
    recogniser = changed(bundle, tmp_path, "abstention", threshold=threshold)
    prediction = recogniser.predict(noise, sr=SR)
    assert prediction.sure is sure
    assert (prediction.genre is not None) is sure
    assert prediction.best in GENRES


def test_the_quantile_of_the_card_makes_the_set(
    bundle: Bundle, tmp_path: Path, noise: np.ndarray
) -> None:
    everything = changed(bundle, tmp_path / "a", "conformal", quantile=1.0).predict(noise, sr=SR)
    assert everything.plausible == tuple(everything.probabilities)
    nothing = changed(bundle, tmp_path / "b", "conformal", quantile=0.0).predict(noise, sr=SR)
    assert nothing.plausible == (nothing.best,)
    some = changed(bundle, tmp_path / "c", "conformal", quantile=0.95).predict(noise, sr=SR)
    assert set(some.plausible) == {g for g, p in some.probabilities.items() if 1 - p <= 0.95}


# --- the prediction --------------------------------------------------------


def test_a_prediction_is_data(recogniser: Recogniser, fma_clips: list[Path]) -> None:
    prediction = recogniser.predict(fma_clips[1])
    with pytest.raises(FrozenInstanceError):
        prediction.genre = "Rock"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(prediction)) == prediction
    whole = json.loads(json.dumps(prediction.to_dict(), allow_nan=False))
    assert whole["path"] == str(fma_clips[1])
    assert abs(sum(whole["probabilities"].values()) - 1) < 1e-6
    assert whole["genre"] in (*GENRES, None)
    assert whole["timeline"][0]["best"] == prediction.timeline[0].best
    assert [genre for genre, _ in prediction.top(3)] == list(prediction.probabilities)[:3]
    with pytest.raises(DataError):
        prediction.top(0)


def test_what_a_prediction_told_makes_it_again(
    recogniser: Recogniser, fma_clips: list[Path]
) -> None:
    heard = recogniser.predict(fma_clips[1])
    heard = replace(heard, branches=(Branch(("Rock", "Punk"), 0.25),))
    told = json.loads(json.dumps(heard.to_dict()))
    again = Prediction.from_dict(told)
    assert again.to_dict() == told
    assert again.path == fma_clips[1]
    assert again.branches == heard.branches
    assert again.timeline
    for wrong in ({}, {**told, "probabilities": None}, {**told, "confidence": "high"}):
        with pytest.raises(DataError, match="to_dict"):
            Prediction.from_dict(wrong)


def test_equal_probabilities_are_ordered_by_name() -> None:
    made = Prediction.from_probabilities({"b": 0.25, "a": 0.25, "c": 0.5}, threshold=None)
    assert list(made.probabilities) == ["c", "a", "b"]


def test_doctests() -> None:
    assert doctest.testmod(genrescope.learn.prediction).attempted > 3
    assert doctest.testmod(genrescope.learn.prediction).failed == 0


# --- many files ------------------------------------------------------------


def test_many_files_in_order(recogniser: Recogniser, fma_clips: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "text.mp3"
    text.write_text("no music")
    paths = [fma_clips[0], tmp_path / "nowhere.mp3", str(fma_clips[1]), text, tmp_path]
    results = list(recogniser.predict_many(paths, workers=2))
    assert [result.path for result in results] == [Path(path) for path in paths]
    kinds = [r.error if isinstance(r, FailedPrediction) else r.title for r in results]
    assert kinds[0] == "Food"
    assert kinds[1] == "AudioNotFoundError"
    assert kinds[2] == "This World"
    assert kinds[4] == "AudioIsDirectoryError"
    assert len(set(kinds)) == 5
    assert str(text) in results[3].to_dict()["message"]  # type: ignore[union-attr]
    alone = recogniser.predict(fma_clips[0])
    assert same(results[0].to_dict(), alone.to_dict())  # type: ignore[union-attr]


def test_inline_and_workers_give_the_same(recogniser: Recogniser, fma_clips: list[Path]) -> None:
    inline = list(recogniser.predict_many(fma_clips[:3], workers=0))
    apart = {r.path: r for r in recogniser.predict_many(fma_clips[:3], workers=2, ordered=False)}
    assert len(apart) == len(inline)
    assert all(same(apart[one.path].to_dict(), one.to_dict()) for one in inline)


def test_paths_may_never_end(recogniser: Recogniser, fma_clips: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for i in count():
            taken += 1
            yield fma_clips[i % 2]

    results = recogniser.predict_many(endless(), workers=1)
    assert isinstance(next(results), Prediction)
    assert isinstance(next(results), Prediction)
    results.close()
    assert taken < 50


def test_one_path_is_not_many(recogniser: Recogniser) -> None:
    for path in ("song.mp3", Path("song.mp3"), b"song.mp3"):
        with pytest.raises(DataError, match="one path"):
            recogniser.predict_many(path)  # type: ignore[arg-type]


def test_names_that_are_no_utf8(
    recogniser: Recogniser, fma_clips: list[Path], tmp_path: Path
) -> None:
    odd = Path(f"{tmp_path}/caf\udce9 \U0001f3b5.mp3")
    try:
        shutil.copyfile(fma_clips[0], odd)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes UTF-8 names only")
    (result,) = recogniser.predict_many([odd], workers=1)
    assert isinstance(result, Prediction)
    assert result.path == odd
    assert json.loads(json.dumps(result.to_dict()))["path"] == str(odd)


# --- loading ---------------------------------------------------------------


def test_another_front_end_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "narrow", n_features=12)
    with pytest.raises(BundleError, match="with 12 features, this genrescope has frames"):
        Recogniser.load(tmp_path / "narrow")
    front_end = {**make_card(n_features=frames.N_FEATURES)["front_end"], "version": 99}
    make_bundle(tmp_path / "newer", n_features=frames.N_FEATURES, front_end=front_end)
    with pytest.raises(BundleError, match="frames version 99"):
        Recogniser.load(tmp_path / "newer")


@pytest.mark.parametrize("wrong", [{"n_windows": 0}, {"workers": -1}])
def test_numbers_that_make_no_sense(bundle: Bundle, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected"):
        Recogniser.load(bundle.folder, **wrong)  # type: ignore[arg-type]


def test_card_and_genres(recogniser: Recogniser) -> None:
    assert recogniser.genres == GENRES
    assert recogniser.card["name"] == "tiny"
    assert "tiny 1" in repr(recogniser)


# --- the recogniser that ships ---------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Recogniser:
    if not (resources.files("genrescope.bundles") / "default" / "card.json").is_file():
        pytest.skip("no bundle has been trained yet")
    return Recogniser.load()


def test_the_shipped_recogniser_is_small_and_knows_eight_genres(shipped: Recogniser) -> None:
    assert sorted(shipped.genres) == sorted(GENRES)
    files = [path for path in shipped.bundle.folder.iterdir() if path.is_file()]
    assert {path.suffix for path in files} == {".onnx", ".json"}
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    scores = shipped.card["metrics"]["scores"]
    assert scores["accuracy"] >= 0.57
    assert scores["macro_f1"] >= 0.56
    assert scores["ece"] <= 0.03
    assert len(shipped.card["training"]["track_ids"]) == shipped.card["training"]["tracks"]


def test_the_shipped_recogniser_on_real_music(
    shipped: Recogniser, fma_clips: list[Path], songs: list[Path], data_dir: Path
) -> None:
    results = list(shipped.predict_many([*fma_clips, *songs], workers=2))
    assert len(results) == 12
    for result in results:
        assert isinstance(result, Prediction)
        assert abs(sum(result.probabilities.values()) - 1) < 1e-6
        assert abs(sum(result.to_dict()["probabilities"].values()) - 1) < 1e-6
        assert result.best in result.plausible
        assert result.sure == (result.confidence >= shipped.card["abstention"]["threshold"])
    # The clips are among its training tracks, so that it should know most of them.
    with (data_dir / "audio" / "fma_clips.csv").open(encoding="utf-8") as file:
        archive = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    heard = set(shipped.card["training"]["track_ids"])
    known = [r for r in results if r.path.name in archive]  # type: ignore[union-attr]
    assert {int(archive[r.path.name]["track_id"]) for r in known} <= heard  # type: ignore[union-attr]
    right = [archive[r.path.name]["genre_top"] == r.best for r in known]  # type: ignore[union-attr]
    assert sum(right) >= 6


def test_a_copy_in_another_format_changes_little(fma_clips: list[Path], tmp_path: Path) -> None:
    shipped = Recogniser.load(metadata=False)  # the copies have no tags
    for path in fma_clips[::3]:
        samples, sr = soundfile.read(path)
        soundfile.write(tmp_path / "copy.flac", samples, sr)
        soundfile.write(tmp_path / "quiet.wav", samples[:, 0] * 0.3, sr, subtype="FLOAT")
        whole = shipped.predict(path).probabilities
        for name, allowed in (("copy.flac", 0.02), ("quiet.wav", 0.3)):
            other = shipped.predict(tmp_path / name).probabilities
            assert max(abs(other[genre] - p) for genre, p in whole.items()) < allowed, name
