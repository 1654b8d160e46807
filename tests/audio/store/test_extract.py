"""From one file to one row: what is read of it, and what is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from mutagen.flac import FLAC

from genrescope.audio import frames
from genrescope.audio.decode import read_audio
from genrescope.audio.descriptors import fma_descriptors
from genrescope.audio.store import extract as store_extract
from genrescope.audio.store.extract import Job, extract_file, extract_samples, look
from genrescope.audio.store.recipe import Recipe
from genrescope.errors import (
    AudioError,
    AudioNotFoundError,
    AudioSilentError,
    AudioTooShortError,
)
from tests.audio.stores import SR, write_tone

MEL = Recipe(("mel",), seconds=1.0)


def tone(seconds: float, *, sr: int = SR, peak: float = 0.5) -> np.ndarray:
    t = np.arange(round(seconds * sr)) / sr
    return (peak * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


# --- samples -----------------------------------------------------------------


@pytest.mark.parametrize("what", [("mel",), ("descriptors",), ("frames",)])
def test_too_short_and_silent_sound_is_refused(what: tuple[str, ...]) -> None:
    recipe = Recipe(what, seconds=1.0)
    extract_samples(tone(0.5), sr=SR, recipe=recipe)
    with pytest.raises(AudioTooShortError, match=r"^0\.499 s of sound, at least 0\.5 s is needed$"):
        extract_samples(tone(0.499), sr=SR, recipe=recipe)
    with pytest.raises(AudioSilentError) as caught:
        extract_samples(tone(0.7, peak=0.99e-4), sr=SR, recipe=recipe)
    assert str(caught.value) == (
        "no sample of the first 0.7 s is louder than -80 dB of full scale; there is nothing to "
        "compute from silence"
    )


def test_sound_on_one_side_of_zero_is_no_silence() -> None:
    for sign in (1, -1):
        y = np.zeros(SR, np.float32)
        y[100:200] = sign * 2e-4
        extract_samples(y, sr=SR, recipe=MEL)
    exact = np.zeros(SR, np.float32)
    exact[7] = 1.001e-4
    extract_samples(exact, sr=SR, recipe=MEL)


def test_what_is_silent_in_the_excerpt_is_refused_though_it_is_loud_later() -> None:
    y = np.concatenate([np.zeros(SR, np.float32), tone(1)])
    with pytest.raises(AudioSilentError, match=r"first 1\.0 s"):
        extract_samples(y, sr=SR, recipe=MEL)
    arrays, _, facts = extract_samples(y, sr=SR, recipe=Recipe(("frames",), seconds=1.0))
    assert list(arrays) == ["frames", "mfcc"]
    assert facts["seconds"] == 2.0


def test_facts_say_where_sound_ends() -> None:
    arrays, row, facts = extract_samples(tone(0.7), sr=SR, recipe=Recipe(seconds=1.0))
    assert row is not None
    assert facts == {
        "sr": SR,
        "seconds": 0.7,
        "mel_frames": 31,
        "level_db": facts["level_db"],
        "dense_frames": 130,  # so short a piece is repeated as sound
    }
    assert arrays["mel"].shape == (128, 44)
    assert (arrays["mel"][:, 31:] == 0).all()
    assert arrays["mel"][:, :31].max() == 255
    # A longer one, if below 3 s, as its frames.
    noisy = tone(2) + np.random.default_rng(0).normal(0, 0.1, 2 * SR).astype(np.float32)
    arrays, _, facts = extract_samples(noisy, sr=SR, recipe=Recipe(("frames",)))
    mfcc = arrays["mfcc"]
    assert facts["dense_frames"] == 87
    assert (mfcc.shape, mfcc.dtype) == ((130, 20), np.float16)
    assert np.array_equal(mfcc[87:], mfcc[:43])
    assert not np.array_equal(mfcc[0], mfcc[1])
    long = extract_samples(tone(3.2), sr=SR, recipe=Recipe(("mel", "frames"), seconds=1.0))[2]
    assert (long["mel_frames"], long["dense_frames"], long["seconds"]) == (44, 130, 3.2)
    alone = extract_samples(tone(0.7), sr=SR, recipe=Recipe(("descriptors",), seconds=1.0))
    assert alone[0] == {}
    assert (alone[2]["mel_frames"], alone[2]["level_db"], alone[2]["dense_frames"]) == (0, 0, 0)


def test_a_recipe_of_one_second_reads_no_later_sound() -> None:
    both = np.concatenate([tone(1), tone(1, peak=0.9)])
    recipe = Recipe(("mel", "descriptors"), seconds=1.0)
    first, later = (extract_samples(y, sr=SR, recipe=recipe) for y in (both[:SR], both))
    assert np.array_equal(first[0]["mel"], later[0]["mel"])
    np.testing.assert_array_equal(first[1], later[1])
    np.testing.assert_allclose(first[1], fma_descriptors(both[:SR], sr=SR), rtol=1e-5)


def test_frames_are_of_thirty_seconds_and_mfcc_over_the_floor_of_all_of_them() -> None:
    quiet, loud = tone(4, peak=0.002), tone(2, peak=0.9)
    recipe = Recipe(("frames",))
    y = np.concatenate([quiet, loud])
    arrays, _, facts = extract_samples(y, sr=SR, recipe=recipe)
    alone = extract_samples(quiet, sr=SR, recipe=recipe)[0]
    assert not np.array_equal(arrays["mfcc"], alone["mfcc"])  # the floor is higher
    both = extract_samples(y, sr=SR, recipe=Recipe(("mel", "frames")))[0]
    assert np.array_equal(both["mfcc"], arrays["mfcc"])  # the same picture, computed once
    part = extract_samples(y, sr=SR, recipe=Recipe(("mel", "frames"), seconds=2.0))[0]
    assert np.array_equal(part["mfcc"], arrays["mfcc"])
    np.testing.assert_array_equal(arrays["frames"], frames.mel_frames(y, sr=SR, exact=True))
    assert facts["dense_frames"] == 130


@pytest.mark.parametrize("sr", [16_000, 44_100, 48_000])
def test_other_rates_have_as_many_frames(sr: int) -> None:
    arrays, _, facts = extract_samples(tone(1.5, sr=sr), sr=sr, recipe=Recipe(seconds=1.0))
    assert (facts["sr"], facts["seconds"]) == (sr, 1.5)
    assert facts["mel_frames"] == 44
    same = extract_samples(tone(1.5), sr=SR, recipe=Recipe(seconds=1.0))
    assert facts["level_db"] == pytest.approx(same[2]["level_db"], abs=0.3)
    assert facts["dense_frames"] == same[2]["dense_frames"]
    assert np.abs(arrays["mel"][:80, 3:40].astype(int) - same[0]["mel"][:80, 3:40]).mean() < 12


# --- files -------------------------------------------------------------------


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "a.flac"
    write_tone(path, seed=3, seconds=1.2)
    return path


def test_a_file_is_told_by_its_identity_its_sum_and_its_tags(song: Path) -> None:
    bare = extract_file(Job("a", str(song)), recipe=MEL)
    assert (bare.facts["title"], bare.facts["artist"], bare.facts["genres"]) == ("", "", ())
    tags = FLAC(song)
    tags["title"], tags["artist"], tags["genre"] = "A title", "Somebody", ["Rock", "Pop"]
    tags.save()
    found = extract_file(Job("a", str(song)), recipe=MEL)
    status = os.stat(song)
    assert found.status == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    assert found.status == look(str(song))
    assert found.sha256 == hashlib.sha256(song.read_bytes()).hexdigest()
    assert (found.facts["title"], found.facts["artist"]) == ("A title", "Somebody")
    assert found.facts["genres"] == ("Rock", "Pop")
    y, sr = read_audio(song, duration=1.0)
    assert np.array_equal(found.arrays["mel"], extract_samples(y, sr=sr, recipe=MEL)[0]["mel"])
    assert found.facts["seconds"] == 1.0  # no more was read
    longer = extract_file(Job("a", str(song)), recipe=Recipe(("mel", "frames"), seconds=1.0))
    assert longer.facts["seconds"] == 1.2
    only = extract_file(Job("a", str(song)), recipe=Recipe(("frames",), seconds=1.0))
    assert only.facts["seconds"] == 1.2


def test_a_file_that_is_known_is_not_decoded(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(song.read_bytes()).hexdigest()

    def never(path: str) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr(store_extract, "open_audio", never)
    found = extract_file(Job("a", str(song), digest), recipe=MEL)
    assert (found.sha256, found.status) == (digest, look(str(song)))
    assert (found.arrays, found.descriptors, found.facts) == ({}, None, {})


def test_a_file_that_changes_meanwhile_is_refused(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store_extract.read_tags

    def later(path: str) -> object:
        os.utime(song, ns=(1, 1))
        return real(path)

    monkeypatch.setattr(store_extract, "read_tags", later)
    with pytest.raises(AudioError) as caught:
        extract_file(Job("a", str(song)), recipe=MEL)
    assert str(caught.value) == (
        f"{song}: the file changed while it was read; run again when whoever writes to it is done"
    )


def test_what_is_wrong_with_a_file_names_it_once(tmp_path: Path) -> None:
    write_tone(tmp_path / "s.wav", seed=0, seconds=0.2)
    with pytest.raises(AudioTooShortError, match=rf"^{tmp_path}/s\.wav: 0\.200 s of sound"):
        extract_file(Job("s", str(tmp_path / "s.wav")), recipe=MEL)
    (tmp_path / "b.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(AudioError) as caught:
        extract_file(Job("b", str(tmp_path / "b.wav")), recipe=MEL)
    assert str(caught.value).count("b.wav") == 1
    with pytest.raises(AudioNotFoundError):
        extract_file(Job("n", str(tmp_path / "n.wav")), recipe=MEL)


def test_a_disk_that_cannot_be_read_is_said(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, says in (
        (OSError(5, "Input/output error"), r"Input/output error"),
        (OSError("gone"), "gone"),
    ):

        def broken(*_: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(hashlib, "file_digest", broken)
        with pytest.raises(AudioError, match=rf"a\.flac: the system cannot read it \({says}\)\.$"):
            extract_file(Job("a", str(song)), recipe=MEL)


def test_a_look_at_what_cannot_be_seen(tmp_path: Path) -> None:
    assert look(str(tmp_path / "none")) is None
    assert look("a\0b") is None
    assert os.fspath(Job("a", "/x/y")) == "/x/y"
    assert Job("a", "b").status == (-1, -1, -1)
    assert Job("a", "b").known == ""
