"""What is like music and what is not: on made-up music, and with the recogniser that ships."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from genrescope import Recogniser
from genrescope.audio import frames
from genrescope.catalog.not_music import KINDS, make_not_music
from genrescope.catalog.speech import STORIES, has_speech, speak
from genrescope.catalog.synth import synthesise
from genrescope.errors import BundleError, DataError
from genrescope.learn.parts import familiarity
from genrescope.learn.parts.base import NewPart, Part
from genrescope.learn.parts.familiarity import Familiarity, aspects, heard_to_hz
from genrescope.learn.train import familiarity as training

SR = 44_100
# A small world, of the kinds that are quickly made.
QUICK = (
    *("white hiss", "pink hiss", "brown hiss", "idle converter"),
    *("tone", "tones", "beeps", "clicks", "footsteps", "animals"),
)


def described(y: np.ndarray, sr: int = SR) -> np.ndarray:
    return frames.describe_samples(y, sr=sr).features


def sound(kind: str, seed: int) -> np.ndarray:
    return described(make_not_music(kind, seconds=10, sr=SR, seed=seed))


def songs_of(seed: int, n: int, *, top_hz: float = 20_000) -> np.ndarray:
    """Rows of made-up music, straight from frames: a beat, chords, a falling spectrum."""
    rng = np.random.default_rng(seed)
    band, frame = np.arange(128)[:, None], np.arange(128)
    out = []
    for _ in range(n):
        db = -rng.uniform(0.2, 0.4) * band + rng.normal(scale=3, size=(128, 1))
        db = db + rng.uniform(4, 9) * np.sin(frame * rng.uniform(0.5, 3) + band / 40)
        for chord in range(8):
            tones = rng.integers(0, 90, size=5)
            db[tones, 16 * chord : 16 * chord + 16] += rng.uniform(6, 18)
        db += rng.normal(scale=rng.uniform(2, 5), size=db.shape)
        db[familiarity._centres().searchsorted(top_hz) :] = -200
        dense = rng.normal(scale=8, size=(20, 130)).cumsum(axis=1) / 3
        rows = frames.describe_decibels(db[None].astype(np.float32), dense[None].astype(np.float32))
        out.append(rows[0])
    return np.stack(out)


@dataclasses.dataclass(frozen=True)
class World:
    music: np.ndarray
    artists: np.ndarray
    folds: np.ndarray
    made: training.Made
    part: NewPart
    report: dict[str, Any]

    @property
    def judge(self) -> Familiarity:
        return Familiarity(Part.of("familiar", self.part))


@pytest.fixture(scope="module")
def world() -> World:
    music = songs_of(0, 120)[:, : frames.N_STATISTICS]
    artists = np.array([f"artist {k // 3}" for k in range(120)])
    folds = np.arange(120) // 3 % 3
    rows = [sound(kind, seed)[0, : frames.N_STATISTICS] for kind in QUICK for seed in (1, 2)]
    made = training.Made(np.stack(rows), np.repeat(QUICK, 2))
    part, report = training.familiar_part(music, artists, folds, made=made)
    return World(music, artists, folds, made, part, report)


def test_music_is_familiar_and_other_sound_is_not(world: World) -> None:
    judge = world.judge
    fresh = [judge.judge(row[None], seconds=30) for row in songs_of(1, 30)]
    assert np.mean([one.familiar for one in fresh]) > 0.9
    assert {one.reason for one in fresh if one.familiar} == {""}
    flagged = {kind: judge.judge(sound(kind, 7), seconds=10) for kind in QUICK}
    assert np.mean([not found.familiar for found in flagged.values()]) > 0.9
    hiss = flagged["white hiss"]
    assert hiss.score > 1
    assert not hiss.familiar
    assert hiss.reason.startswith("unlike the music it learnt from (")


def test_the_limits_keep_their_word(world: World) -> None:
    assert world.report["flagged"] <= training.MAX_FLAGGED
    scores = training.held_out(world.music, world.folds, made=world.made)
    assert (scores > 1).mean() == pytest.approx(world.report["flagged"])
    low, high = world.report["flagged_interval"]
    assert low <= world.report["flagged"] <= high
    # By each test as many, and one more would be too many.
    values = {"a": np.arange(100.0), "b": np.arange(100.0)[::-1]}
    assert training._limits(values, share=0.06) == {"a": 96.0, "b": 96.0}


def test_kinds_left_out_are_caught_without_having_been_met(world: World) -> None:
    for left_out in ("caught_kind_left_out", "caught_family_left_out"):
        assert set(world.report[left_out]) == set(QUICK)
        assert np.mean(list(world.report[left_out].values())) > 0.7


def test_the_graph_gives_what_was_fitted(world: World) -> None:
    space = training._Space.fit(world.music, seed=0)
    border = training._Border.fit(space, space(world.music), space(world.made.statistics))
    rows = np.concatenate([world.music[:5], world.made.statistics[:5]])
    found = Part.of("familiar", world.part).run({"statistics": rows})
    scores = space(rows)
    np.testing.assert_allclose(found["distance"], space.distance(scores), atol=5e-3)
    np.testing.assert_allclose(found["border"], border(scores), atol=1e-3)
    assert len(world.part.graph) < 400_000


def test_the_axes_are_the_principal_ones(world: World) -> None:
    space = training._Space.fit(world.music, seed=0)
    z = np.clip((world.music - space.mean) * space.scale, -training.CLIP, training.CLIP)
    exact = np.linalg.svd(z, compute_uv=False)[:16] ** 2 / len(z)
    np.testing.assert_allclose(space.variances[:16], exact, rtol=1e-3)


def test_the_same_data_give_the_same_part(world: World) -> None:
    again, report = training.familiar_part(world.music, world.artists, world.folds, made=world.made)
    assert again.graph == world.part.graph
    assert again.settings == world.part.settings
    assert report == world.report


def test_music_with_its_top_cut_off_can_count_as_music(world: World) -> None:
    limited = world.music + np.float32(1.5) * np.sign(world.made.statistics.mean(axis=0))
    judge = world.judge
    before = np.mean([judge.judge(row[None]).score for row in limited])
    part, _ = training.familiar_part(
        world.music, world.artists, world.folds, made=world.made, limited=limited
    )
    after = np.mean([Familiarity(Part.of("f", part)).judge(row[None]).score for row in limited])
    assert after < before


def test_too_little_sound_is_never_familiar(world: World) -> None:
    rows = songs_of(1, 1)
    assert world.judge.judge(rows).familiar
    short = world.judge.judge(rows, seconds=1.0)
    assert (short.familiar, short.reason) == (False, "too little sound (1.0 s)")
    nearly = world.judge.judge(rows, seconds=training.LEAST_SECONDS - 0.001)
    assert nearly.reason == "too little sound (2.9 s)"
    assert short.score == world.judge.judge(rows).score
    assert world.judge.judge(rows, seconds=training.LEAST_SECONDS).familiar


def test_music_of_a_telephone_is_never_familiar(world: World) -> None:
    rows = songs_of(1, 1, top_hz=4_000)
    assert heard_to_hz(rows[:, : frames.N_STATISTICS]).max() < training.LEAST_HZ
    assert world.judge.judge(rows).reason == "nothing above 4.2 kHz"
    assert heard_to_hz(songs_of(1, 1)[:, : frames.N_STATISTICS]).min() > 8_000
    real = described(synthesise("Rock", seconds=10, sr=8_000, seed=0), sr=8_000)
    assert world.judge.judge(real).reason == "nothing above 4.2 kHz"


def test_windows_are_judged_together(world: World) -> None:
    rock, hiss = songs_of(1, 1), sound("white hiss", 5)
    mixed = np.concatenate([rock] * 9 + [hiss])
    assert not world.judge.judge(hiss).familiar
    assert world.judge.judge(mixed).familiar
    assert world.judge.judge(rock).score < world.judge.judge(mixed).score


def test_words_say_what_is_odd(world: World) -> None:
    def reason(kind: str) -> str:
        return world.judge.judge(sound(kind, 5)).reason

    assert "even as noise" in reason("white hiss") or "too steady" in reason("white hiss")
    assert "too steady" in reason("tones") or "bare tones" in reason("tones")
    made = aspects(world.made.statistics)
    kinds = world.made.kinds
    assert made["change"][kinds == "tone"].mean() < made["change"][kinds == "clicks"].mean()
    assert (
        made["flatness"][kinds == "tones"].mean() < made["flatness"][kinds == "white hiss"].mean()
    )


def test_what_does_not_fit_is_refused(world: World) -> None:
    with pytest.raises(DataError, match="expected \\[windows"):
        world.judge.judge(world.music[0])
    with pytest.raises(DataError, match="expected \\[windows"):
        world.judge.judge(world.music[:, :100])
    with pytest.raises(DataError, match="in two folds"):
        training.familiar_part(
            world.music, np.repeat("one", len(world.music)), world.folds, made=world.made
        )
    with pytest.raises(DataError, match="two at least"):
        training.familiar_part(world.music, world.artists, world.folds * 0, made=world.made)
    with pytest.raises(DataError, match="first columns"):
        training.familiar_part(world.music[:, 1:], world.artists, world.folds, made=world.made)


@pytest.mark.parametrize("lost", ["tests", "usual", "least_seconds", "n_statistics"])
def test_a_part_that_lacks_a_setting_is_refused(world: World, lost: str) -> None:
    settings = {key: value for key, value in world.part.settings.items() if key != lost}
    with pytest.raises(BundleError, match=lost):
        Familiarity(Part.of("familiar", NewPart(world.part.graph, settings)))


def test_a_part_for_other_statistics_is_refused(world: World) -> None:
    other = {**world.part.settings, "n_statistics": 7}
    with pytest.raises(BundleError, match="reads 7 statistics"):
        Familiarity(Part.of("familiar", NewPart(world.part.graph, other)))


# --- the recogniser that ships ---------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Recogniser:
    recogniser = Recogniser.load()
    if "familiar" not in recogniser.bundle.parts:
        pytest.skip("the shipped bundle has no part that tells what is not music")
    return recogniser


def test_nearly_all_that_is_not_music_is_not_sure(shipped: Recogniser) -> None:
    sure = {
        kind: shipped.predict(make_not_music(kind, seconds=12, seed=77), sr=44_100).sure
        for kind in KINDS
    }
    assert np.mean(list(sure.values())) <= 0.05, sure


def test_a_second_of_music_and_telephone_music_are_not_sure(shipped: Recogniser) -> None:
    second = shipped.predict(synthesise("Rock", seconds=1.0, sr=SR, seed=0), sr=SR)
    assert (second.sure, second.reason) == (False, "too little sound (1.0 s)")
    narrow = shipped.predict(synthesise("Folk", seconds=10, sr=8_000, seed=0), sr=8_000)
    assert (narrow.sure, narrow.reason) == (False, "nothing above 4.2 kHz")


@pytest.mark.skipif(not has_speech(), reason="espeak-ng is not installed")
def test_speech_is_not_sure(shipped: Recogniser) -> None:
    answers = {}
    for number, language in enumerate(STORIES):
        y, sr = speak(language, voice=("", "f2", "m3")[number % 3], seconds=15, seed=number)
        answers[language] = shipped.predict(y, sr=sr).sure
    assert not any(answers.values()), answers


@pytest.mark.data
def test_real_music_is_familiar(shipped: Recogniser, fma_clips: list, songs: list) -> None:
    judge = Familiarity(shipped.bundle.parts["familiar"])
    found = [judge.judge(frames.describe_file(p, n_windows=2).features) for p in fma_clips + songs]
    assert np.mean([one.familiar for one in found]) >= 0.8
