"""Perturbations do what they say, and a codec's cut-off is not what is recognised."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.audio.decode import read_audio
from genrescope.audio.perturb import (
    PERTURBATIONS,
    Perturbation,
    Sound,
    choose,
    faded,
    level,
    low_passed,
    mixed,
    noisy,
    one_channel,
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
    assert [each.name for each in choose()] == list(PERTURBATIONS)
    with pytest.raises(DataError) as refused:
        choose(["mono", "mp3-129", "loud"])
    assert str(refused.value) == (
        f"'mp3-129' is no perturbation; there are {', '.join(PERTURBATIONS)}"
    )


# Name, label and kind, as tables of robustness show them, and what happens.
LISTED = {
    ("mp3-320", "MP3, 320 kbit/s", "codec"): partial(reencoded, codec="mp3", bit_rate=320_000),
    ("mp3-128", "MP3, 128 kbit/s", "codec"): partial(reencoded, codec="mp3", bit_rate=128_000),
    ("mp3-64", "MP3, 64 kbit/s", "codec"): partial(reencoded, codec="mp3", bit_rate=64_000),
    ("mp3-32", "MP3, 32 kbit/s", "codec"): partial(reencoded, codec="mp3", bit_rate=32_000),
    ("opus-24", "Opus, 24 kbit/s", "codec"): partial(reencoded, codec="opus", bit_rate=24_000),
    ("lowpass-16k", "nothing above 16 kHz", "codec"): partial(low_passed, hz=16_000.0),
    ("rate-22k", "sampled at 22.05 kHz", "rate"): partial(resampled, sr=22_050),
    ("rate-16k", "sampled at 16 kHz", "rate"): partial(resampled, sr=16_000),
    ("rate-8k", "sampled at 8 kHz", "rate"): partial(resampled, sr=8_000),
    ("minus-20db", "20 dB softer, 16 bit", "level"): partial(level, db=-20.0),
    ("plus-6db", "6 dB louder, clipped", "level"): partial(level, db=6.0),
    ("mono", "mixed to mono", "channels"): mixed,
    ("left", "left channel alone", "channels"): one_channel,
    ("ten-seconds", "10 s from its middle", "place"): partial(part_of, seconds=10.0),
    ("elsewhere", "another 30 s of the song", "place"): lambda sound: sound,
    ("key-up", "1 semitone higher", "tempo and key"): partial(shifted, semitones=1),
    ("key-down", "1 semitone lower", "tempo and key"): partial(shifted, semitones=-1),
    ("faster", "5 % faster", "tempo and key"): partial(stretched, speed=1.05),
    ("slower", "5 % slower", "tempo and key"): partial(stretched, speed=0.95),
    ("noise", "white noise, 30 dB below", "noise"): lambda sound: noisy(
        sound, np.random.default_rng(3), snr_db=30.0
    ),
    ("fade", "faded in and out over 5 s", "level"): partial(faded, seconds=5.0),
}  # fmt: skip


def listed_anew() -> dict[str, Perturbation]:
    """The list as an import makes it, whatever was imported before."""
    spec = importlib.util.find_spec("genrescope.audio.perturb")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Perturbation] = module.PERTURBATIONS
    return found


def test_what_is_listed_is_what_happens() -> None:
    short = Sound(music(1.0, 16_000), 16_000)
    long = Sound(music(12.0, 2_000), 2_000)
    listed = listed_anew()
    assert [(key, each.label, each.kind) for key, each in listed.items()] == list(LISTED)
    for (name, _, _), change in LISTED.items():
        sound = long if name in ("ten-seconds", "fade") else short
        got, wanted = listed[name](sound, seed=3), change(sound)
        assert (got.sr, got.samples.shape) == (wanted.sr, wanted.samples.shape), name
        assert np.array_equal(got.samples, wanted.samples), name
    assert [each.name for each in listed.values() if each.elsewhere] == ["elsewhere"]
    assert [each.name for each in choose()] == list(listed)


def test_what_is_random_follows_from_the_seed(sound: Sound) -> None:
    noise = PERTURBATIONS["noise"]
    assert np.array_equal(noise(sound).samples, noise(sound, seed=0).samples)
    assert not np.array_equal(noise(sound, seed=1).samples, noise(sound, seed=0).samples)


def test_a_low_bit_rate_loses_what_a_high_one_keeps(sound: Sound) -> None:
    loud_top = above(reencoded(sound, codec="mp3", bit_rate=320_000), 14_000)
    assert loud_top > 0.5 * above(sound, 14_000)
    for bit_rate in (64_000, 32_000):
        assert above(reencoded(sound, codec="mp3", bit_rate=bit_rate), 14_000) < 0.05 * loud_top
    with pytest.raises(DataError, match=r"^codec is 'flac', expected mp3 or opus$"):
        reencoded(sound, codec="flac", bit_rate=128_000)


@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_a_codec_keeps_two_channels_and_clips_what_is_too_loud(codec: str) -> None:
    loud = Sound(4 * music(1.0, 48_000), 48_000)
    as_in_a_file = Sound(np.clip(loud.samples, -1.0, 1.0), 48_000)
    changed = reencoded(loud, codec=codec, bit_rate=128_000)
    assert (changed.sr, changed.channels) == (48_000, 2)
    expected = reencoded(as_in_a_file, codec=codec, bit_rate=128_000)
    assert np.array_equal(changed.samples, expected.samples)
    n = min(len(loud.samples), len(changed.samples))
    for channel in range(2):
        before = as_in_a_file.samples[:n, channel]
        assert np.corrcoef(changed.samples[:n, channel], before)[0, 1] > 0.9


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
    few = Sound(np.array([[0.5], [1.0], [-1.0], [0.1]], dtype=np.float32), SR)
    steps = np.array([[32_689.0], [32_767.0], [-32_768.0], [6_538.0]])
    np.testing.assert_allclose(level(few, db=6.0).samples, steps / 32_767, atol=1e-7)


def test_channels_are_mixed_or_the_left_one_is_kept(sound: Sound) -> None:
    left, right = sound.samples.T
    assert np.array_equal(one_channel(sound).samples, left[:, None])
    np.testing.assert_allclose(mixed(sound).samples, (left + right)[:, None] / 2, atol=1e-7)
    for changed in (mixed(sound), one_channel(sound)):
        assert (changed.samples.dtype, changed.channels, changed.sr) == (np.float32, 1, SR)


def test_noise_is_as_far_below_as_said(sound: Sound) -> None:
    noise = noisy(sound, np.random.default_rng(0), snr_db=30.0).samples - sound.samples
    ratio = np.mean(sound.samples.astype(float) ** 2) / np.mean(noise.astype(float) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(30.0, abs=0.1)
    np.testing.assert_allclose(noise[:, 0], noise[:, 1], atol=1e-6)
    neighbours = np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]
    assert abs(neighbours) < 0.02, "white"


def test_a_fade_starts_and_ends_at_nothing(sound: Sound) -> None:
    changed = faded(sound, seconds=0.5)
    assert np.abs(changed.samples[[0, -1]]).max() == 0
    middle = slice(SR, 2 * SR)
    assert np.array_equal(changed.samples[middle], sound.samples[middle])
    half = SR // 4
    assert changed.samples[half] == pytest.approx(sound.samples[half] / 2, abs=1e-3)


def faded_ones(n: int, sr: int) -> list[float]:
    ones = Sound(np.ones((n, 1), np.float32), sr)
    return [round(float(value), 6) for value in faded(ones).samples[:, 0]]


def test_a_fade_takes_five_seconds_or_a_third() -> None:
    slope = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert faded_ones(20, sr=1) == [*slope, *[1.0] * 10, *slope[::-1]]
    assert faded_ones(9, sr=100) == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    assert faded_ones(1, sr=100) == [0.0]


def test_the_excerpt_is_the_middle(sound: Sound) -> None:
    short = part_of(sound, seconds=1.0)
    assert np.array_equal(short.samples, sound.samples[SR : 2 * SR])
    assert np.array_equal(part_of(sound, seconds=3.5).samples, sound.samples)
    assert len(part_of(sound, seconds=1.6 / SR).samples) == 2


def test_tempo_leaves_the_key_and_key_the_tempo() -> None:
    faster = stretched(tone(440.0), speed=1.05)
    assert faster.seconds == pytest.approx(3.0 / 1.05, abs=0.1)
    assert pitch(faster) == pytest.approx(440.0, abs=1.0)
    for semitones in (1, -1):
        moved = shifted(tone(440.0), semitones=semitones)
        assert moved.seconds == pytest.approx(3.0, abs=0.1)
        assert pitch(moved) == pytest.approx(440.0 * 2 ** (semitones / 12), abs=1.0)


@pytest.mark.parametrize("speed", [0.5, 2])
def test_tempo_changes_by_half_or_double_at_most(speed: float) -> None:
    assert stretched(tone(440.0, 1.0), speed=speed).seconds == pytest.approx(1 / speed, abs=0.1)
    for more in (0.49, 2.01):
        with pytest.raises(DataError) as refused:
            stretched(tone(440.0, 1.0), speed=more)
        assert str(refused.value) == f"speed is {more}, expected 0.5 (half) to 2 (double)"


def test_the_same_tempo_is_the_same_sound(sound: Sound) -> None:
    same = stretched(sound, speed=1)
    assert same.samples.shape == sound.samples.shape
    np.testing.assert_allclose(same.samples, sound.samples, atol=0.02)


def test_sound_that_is_too_short_to_stretch_is_refused() -> None:
    with pytest.raises(AudioTooShortError) as refused:
        stretched(Sound(np.ones((100, 1), np.float32), 8_000), speed=1.05)
    assert str(refused.value) == "0.013 s of sound is too little to stretch"


def test_stretching_keeps_two_channels_and_mixes_more(sound: Sound) -> None:
    two = stretched(sound, speed=1.05)
    assert (two.channels, two.sr) == (2, SR)
    left = stretched(one_channel(sound), speed=1.05)
    assert left.channels == 1
    assert np.std(two.samples[:, 0]) == pytest.approx(np.std(left.samples), rel=0.05)
    three = Sound(np.repeat(sound.samples[:, :1], 3, axis=1), SR)
    np.testing.assert_allclose(stretched(three, speed=1.05).samples, left.samples, atol=1e-4)
    assert shifted(sound, semitones=1).channels == 2


def test_a_low_pass_takes_the_top_and_nothing_else(sound: Sound) -> None:
    changed = low_passed(sound, hz=8_000.0)
    assert above(changed, 8_100.0) < 1e-5
    low, before = np.fft.rfft(changed.samples[:, 0]), np.fft.rfft(sound.samples[:, 0])
    kept = np.fft.rfftfreq(len(sound.samples), 1 / SR) < 7_900
    assert np.abs(low[kept] - before[kept]).max() < 1e-3 * np.abs(before).max()


@pytest.mark.parametrize("n", [4_095, 4_096, 4_097])
def test_a_low_pass_keeps_its_frequency_and_the_length(n: int) -> None:
    # A rate and a size that make this frequency the middle of a bin.
    sr = 1 << (n - 1).bit_length()
    for hz, kept in ((1_000, True), (1_001, False)):
        tone = np.sin(2 * np.pi * hz * np.arange(n) / sr).astype(np.float32)[:, None]
        changed = low_passed(Sound(tone, sr), hz=1_000.0)
        assert changed.samples.shape == (n, 1)
        assert changed.sr == sr
        if n == 4_096:
            np.testing.assert_allclose(changed.samples, tone if kept else 0 * tone, atol=1e-5)


def test_another_rate_keeps_pitch_and_length(sound: Sound) -> None:
    assert resampled(sound, sr=SR) is sound
    changed = resampled(tone(440.0), sr=16_000)
    assert (changed.sr, changed.seconds) == (16_000, 3.0)
    assert changed.samples.dtype == np.float32
    assert pitch(changed) == pytest.approx(440.0, abs=0.5)


def test_what_is_no_sound_is_refused() -> None:
    for samples, found in (
        (np.zeros(10, dtype=np.float32), "float32 [10]"),
        (np.zeros((10, 2)), "float64 [10, 2]"),
    ):
        with pytest.raises(DataError) as refused:
            Sound(samples, SR)
        assert str(refused.value) == (
            f"samples are {found}, expected float32 [n, channels]; "
            "read_audio(..., mono=False) gives them so"
        )
    with pytest.raises(AudioTooShortError) as empty:
        Sound(np.zeros((0, 2), dtype=np.float32), SR)
    assert str(empty.value) == "0 samples; there is nothing to change in no sound"


def test_sound_knows_its_length_and_channels() -> None:
    sound = Sound(np.zeros((8_000, 2), dtype=np.float32), 16_000)
    assert (sound.seconds, sound.channels) == (0.5, 2)


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
