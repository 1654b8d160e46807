"""Perturbations do what they say, and a codec's cut-off is not what is recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.audio.decode import read_audio
from genrescope.audio.perturb import (
    PERTURBATIONS,
    Sound,
    choose,
    faded,
    level,
    low_passed,
    noisy,
    part_of,
    reencoded,
    resampled,
    shifted,
    stretched,
)
from genrescope.errors import AudioTooShortError, DataError
from tests.audio.sounds import SR, music


@pytest.fixture(scope="module")
def sound() -> Sound:
    return Sound(music(3.0), SR)


def tone(hz: float, seconds: float = 3.0) -> Sound:
    t = np.arange(int(seconds * SR)) / SR
    return Sound((0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)[:, None], SR)


def pitch(sound: Sound) -> float:
    middle = sound.samples[sound.sr // 2 : -sound.sr // 2, 0]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 19))
    return float(spectrum.argmax()) * sound.sr / (1 << 19)


def above(sound: Sound, hz: float) -> float:
    """Share of the energy above a frequency."""
    power = np.abs(np.fft.rfft(sound.samples[:, 0])) ** 2
    high = np.fft.rfftfreq(len(sound.samples), 1 / sound.sr) > hz
    return float(power[high].sum() / power.sum())


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_gives_sound_that_can_be_described(name: str, sound: Sound) -> None:
    perturbation = PERTURBATIONS[name]
    before = sound.samples.copy()
    changed = perturbation(sound, seed=3)
    assert np.array_equal(sound.samples, before), "the sound that was given is not its own"
    assert changed.samples.dtype == np.float32
    assert np.isfinite(changed.samples).all()
    speed = {"faster": 1.05, "slower": 0.95}.get(name, 1.0)
    assert changed.seconds == pytest.approx(3.0 / speed, abs=0.15)
    assert np.array_equal(changed.samples, perturbation(sound, seed=3).samples)
    same = changed.samples.shape == before.shape and np.array_equal(changed.samples, before)
    assert same == (name in ("elsewhere", "ten-seconds")), "it changes nothing"
    mono = changed.samples.mean(axis=1)
    assert len(frames.describe_samples(mono, sr=changed.sr).features) == 1


def test_names_are_chosen_or_refused() -> None:
    assert [each.name for each in choose(["mono", "fade"])] == ["mono", "fade"]
    assert len(choose()) == len(PERTURBATIONS)
    with pytest.raises(DataError, match=r"mp3-129.*mp3-128"):
        choose(["mp3-129"])


def test_a_low_bit_rate_loses_what_a_high_one_keeps(sound: Sound) -> None:
    loud_top = above(reencoded(sound, codec="mp3", bit_rate=320_000), 14_000)
    assert loud_top > 0.5 * above(sound, 14_000)
    for bit_rate in (64_000, 32_000):
        assert above(reencoded(sound, codec="mp3", bit_rate=bit_rate), 14_000) < 0.05 * loud_top
    with pytest.raises(DataError, match="flac"):
        reencoded(sound, codec="flac", bit_rate=128_000)


def test_a_codec_gives_back_the_same_moment(sound: Sound) -> None:
    changed = reencoded(sound, codec="mp3", bit_rate=320_000)
    n = min(len(changed.samples), len(sound.samples))
    agreement = np.corrcoef(changed.samples[:n, 1], sound.samples[:n, 1])[0, 1]
    assert agreement > 0.99


@pytest.mark.parametrize("sr", [96_000, 11_025])
def test_a_codec_takes_any_rate_and_any_number_of_channels(sr: int) -> None:
    many = Sound(np.repeat(music(1.0, sr)[:, :1], 5, axis=1), sr)
    for codec, rate in (("mp3", 44_100 if sr > 48_000 else sr), ("opus", 48_000)):
        changed = reencoded(many, codec=codec, bit_rate=64_000)
        assert (changed.sr, changed.channels) == (rate, 1)
        assert changed.seconds == pytest.approx(1.0, abs=0.15)


def test_levels_are_what_a_file_of_16_bits_keeps(sound: Sound) -> None:
    softer = level(sound, db=-20.0)
    assert softer.samples.std() == pytest.approx(sound.samples.std() / 10, rel=1e-3)
    steps = softer.samples * 32_767
    assert np.abs(steps - np.round(steps)).max() < 1e-2
    louder = level(tone(440.0), db=20.0)
    assert louder.samples.max() <= 1.0
    assert (louder.samples == 1.0).mean() > 0.2, "clipped"


def test_noise_is_as_far_below_as_said(sound: Sound) -> None:
    noise = noisy(sound, np.random.default_rng(0), snr_db=30.0).samples - sound.samples
    ratio = np.mean(sound.samples.astype(float) ** 2) / np.mean(noise.astype(float) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(30.0, abs=0.1)


def test_a_fade_starts_and_ends_at_nothing(sound: Sound) -> None:
    changed = faded(sound, seconds=0.5)
    assert np.abs(changed.samples[[0, -1]]).max() == 0
    middle = slice(SR, 2 * SR)
    assert np.array_equal(changed.samples[middle], sound.samples[middle])
    half = SR // 4
    assert changed.samples[half] == pytest.approx(sound.samples[half] / 2, abs=1e-3)


def test_the_excerpt_is_the_middle(sound: Sound) -> None:
    short = part_of(sound, seconds=1.0)
    assert np.array_equal(short.samples, sound.samples[SR : 2 * SR])


def test_tempo_leaves_the_key_and_key_the_tempo() -> None:
    faster = stretched(tone(440.0), speed=1.05)
    assert faster.seconds == pytest.approx(3.0 / 1.05, abs=0.1)
    assert pitch(faster) == pytest.approx(440.0, abs=1.0)
    for semitones in (1, -1):
        moved = shifted(tone(440.0), semitones=semitones)
        assert moved.seconds == pytest.approx(3.0, abs=0.1)
        assert pitch(moved) == pytest.approx(440.0 * 2 ** (semitones / 12), abs=1.0)
    with pytest.raises(DataError, match="speed is 3"):
        stretched(tone(440.0), speed=3)


def test_a_low_pass_takes_the_top_and_nothing_else(sound: Sound) -> None:
    changed = low_passed(sound, hz=8_000.0)
    assert above(changed, 8_100.0) < 1e-5
    low, before = np.fft.rfft(changed.samples[:, 0]), np.fft.rfft(sound.samples[:, 0])
    kept = np.fft.rfftfreq(len(sound.samples), 1 / SR) < 7_900
    assert np.abs(low[kept] - before[kept]).max() < 1e-3 * np.abs(before).max()
    assert resampled(sound, sr=16_000).sr == 16_000


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(DataError, match=r"float32 \[n, channels\]"):
        Sound(np.zeros(10, dtype=np.float32), SR)
    with pytest.raises(AudioTooShortError, match="0 samples"):
        Sound(np.zeros((0, 2), dtype=np.float32), SR)


def rows_of(sound: Sound) -> np.ndarray:
    return frames.describe_samples(sound.samples.mean(axis=1), sr=sound.sr).features


def frames_of(rows: np.ndarray) -> np.ndarray:
    first = frames.N_STATISTICS
    return rows[:, first : first + frames.READ_BANDS * frames.N_FRAMES]


def test_a_cut_off_at_16_khz_leaves_the_rows_as_they_are(sound: Sound) -> None:
    assert above(sound, 16_000) > 1e-4, "there is something to cut"
    rows, cut = rows_of(sound), rows_of(low_passed(sound, hz=16_000.0))
    step = 2 * frames.RANGE_DB / 255  # of the 7 bits that frames are kept in
    assert np.abs(frames_of(cut) - frames_of(rows)).max() <= step + 1e-3
    assert np.abs(frames_of(cut) - frames_of(rows)).mean() < 0.01
    telling = rows_of(low_passed(sound, hz=8_000.0))
    assert np.abs(frames_of(telling) - frames_of(rows)).mean() > 1.0, "the measure sees a cut"


@pytest.mark.data
def test_a_cut_off_at_16_khz_leaves_real_answers_as_they_are(fma_clips: list[Path]) -> None:
    from genrescope import Recogniser

    recogniser = Recogniser.load()
    for path in fma_clips[:3]:
        y, sr = read_audio(path, duration=10.0)
        sound = Sound(y[:, None], sr)
        cut = low_passed(sound, hz=16_000.0)
        before = recogniser.predict(sound.samples.T, sr=sr).probabilities
        after = recogniser.predict(cut.samples.T, sr=sr).probabilities
        moved = sum(abs(before[genre] - after[genre]) for genre in before) / 2
        assert moved < 0.01, path.name
