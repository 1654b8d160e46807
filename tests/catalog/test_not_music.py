"""Sound that is not music: what is asked for is what is made, and the same each time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genrescope.catalog import speech
from genrescope.catalog.not_music import KINDS, make_not_music
from genrescope.errors import DataError


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_made_from_its_seed(kind: str) -> None:
    one = make_not_music(kind, seconds=1.5, seed=3)
    again = make_not_music(kind, seconds=1.5, seed=3)
    other = make_not_music(kind, seconds=1.5, seed=4)
    assert one.dtype == np.float32
    assert one.shape == (66_150,)
    assert np.isfinite(one).all()
    assert 10 ** (-31 / 20) <= np.abs(one).max() <= 1
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert make_not_music(kind, seconds=1.0, sr=8_000, seed=0).shape == (8_000,)


def slope(y: np.ndarray, sr: int = 44_100) -> float:
    """How power falls with frequency between 100 Hz and 10 kHz, as an exponent."""
    power = np.abs(np.fft.rfft(y)) ** 2
    hz = np.fft.rfftfreq(len(y), 1 / sr)
    edges = np.geomspace(100, 10_000, 15)
    levels = [power[(hz >= a) & (hz < b)].mean() for a, b in itertools.pairwise(edges)]
    middles = np.sqrt(edges[1:] * edges[:-1])
    return float(np.polyfit(np.log(middles), np.log(levels), 1)[0])


@pytest.mark.parametrize(
    ("kind", "power"), [("white hiss", 0), ("pink hiss", 1), ("brown hiss", 2)]
)
def test_hiss_has_its_colour(kind: str, power: float) -> None:
    slopes = [slope(make_not_music(kind, seconds=4, seed=seed)) for seed in range(3)]
    assert -np.mean(slopes) == pytest.approx(power, abs=0.25)


def test_hum_is_of_the_mains() -> None:
    for seed in range(3):
        y = make_not_music("mains hum", seconds=4, seed=seed)
        spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
        loudest = np.fft.rfftfreq(len(y), 1 / 44_100)[spectrum.argmax()]
        assert min(abs(loudest / mains - round(loudest / mains)) for mains in (50, 60)) < 0.02


def test_a_voice_pauses_and_an_engine_does_not() -> None:
    def loudness(kind: str) -> np.ndarray:
        y = make_not_music(kind, seconds=6, seed=1)
        blocks = y[: len(y) // 2205 * 2205].reshape(-1, 2205)
        return 20 * np.log10(np.sqrt((blocks**2).mean(axis=1)) + 1e-9)

    def spread(kind: str) -> float:
        return float(np.ptp(np.quantile(loudness(kind), [0.05, 0.95])))

    assert spread("voice without words") > 15
    assert spread("engine") < 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "waltz"}, "is not a kind of non-music"),
        ({"kind": "tone", "seconds": 0}, "cannot be made"),
        ({"kind": "tone", "sr": 4000}, "8,000 Hz"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: dict, said: str) -> None:
    kind = arguments.pop("kind")
    with pytest.raises(DataError, match=said):
        make_not_music(kind, seed=0, **arguments)


def test_no_program_no_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not speech.has_speech()
    with pytest.raises(DataError, match="apt install espeak-ng"):
        speech.speak("en")


@pytest.mark.skipif(not speech.has_speech(), reason="espeak-ng is not installed")
def test_a_story_is_read() -> None:
    y, sr = speech.speak("en", voice="f2", seconds=3, seed=1)
    assert len(y) == 3 * sr
    assert 0.05 < np.abs(y).max() <= 1
    np.testing.assert_array_equal(y, speech.speak("en", voice="f2", seconds=3, seed=1)[0])
    assert not np.array_equal(y, speech.speak("de", voice="f2", seconds=3, seed=1)[0])
    with pytest.raises(DataError, match="no story"):
        speech.speak("xx")
