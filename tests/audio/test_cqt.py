"""The constant-Q transform is librosa's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.cqt import _plan, constant_q
from genrescope.audio.decode import read_audio
from genrescope.errors import AudioTooShortError, AudioUnsupportedError

librosa = pytest.importorskip("librosa", reason="librosa is the reference")


@pytest.fixture(scope="module", autouse=True)
def _filters_are_made_here() -> None:
    """And not taken from what some other test had made."""
    _plan.cache_clear()


def assert_librosas(y: np.ndarray, sr: int, tuning: float | None) -> None:
    ours = constant_q(y, sr=sr, tuning=tuning)
    theirs = np.abs(librosa.cqt(y, sr=sr, hop_length=512, n_bins=84, tuning=tuning))
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-6 * theirs.max())


def test_real_music_at_its_own_tuning(fma_clips: list[Path]) -> None:
    for path in fma_clips[::3]:
        assert_librosas(*read_audio(path, duration=6.0), tuning=None)


@pytest.mark.parametrize("sr", [11_025, 16_000, 22_050, 32_000, 48_000, 96_000])
@pytest.mark.parametrize("tuning", [0.0, -0.37])
def test_any_rate_and_tuning(sr: int, tuning: float) -> None:
    y = np.random.default_rng(sr).normal(size=2 * sr).astype(np.float32)
    assert_librosas(y, sr, tuning)


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize("n", [256, 1000, 1023, 1024, 1025, 4096])
def test_short_pieces(n: int) -> None:
    y = np.random.default_rng(n).normal(size=n).astype(np.float32)
    assert_librosas(y, 44_100, 0.0)


def test_fewer_octaves_and_another_step() -> None:
    y = np.random.default_rng(1).normal(size=22_050).astype(np.float32)
    ours = constant_q(y, sr=22_050, tuning=0.1, hop_length=160, n_octaves=4)
    theirs = librosa.cqt(y, sr=22_050, hop_length=160, n_bins=48, tuning=0.1)
    np.testing.assert_allclose(ours, np.abs(theirs), rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize(("sr", "hop"), [(96_000, 64), (96_000, 128), (192_000, 192)])
def test_a_step_may_leave_no_room_to_halve_the_rate_first(sr: int, hop: int) -> None:
    y = np.random.default_rng(hop).normal(size=sr // 4).astype(np.float32)
    ours = constant_q(y, sr=sr, tuning=0.0, hop_length=hop)
    theirs = np.abs(librosa.cqt(y, sr=sr, hop_length=hop, n_bins=84, tuning=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-6 * theirs.max())


def test_more_frames_than_are_multiplied_at_once() -> None:
    y = np.random.default_rng(2).normal(size=2_600 * 8).astype(np.float32)
    ours = constant_q(y, sr=22_050, tuning=0.0, hop_length=8, n_octaves=3)
    theirs = np.abs(librosa.cqt(y, sr=22_050, hop_length=8, n_bins=36, tuning=0.0))
    assert ours.shape == (36, 2_601)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-6 * theirs.max())


def test_filters_are_made_once() -> None:
    y = np.random.default_rng(1).normal(size=8_192).astype(np.float32)
    constant_q(y, sr=44_100, tuning=0.23)
    before = _plan.cache_info().misses
    constant_q(y[::-1], sr=44_100, tuning=0.23)
    assert _plan.cache_info().misses == before
    assert not any(f.flags.writeable for f in _plan(44_100.0, 0.23, 512, 7).filters)


def test_what_has_no_notes() -> None:
    y = np.ones(8_000, np.float32)
    with pytest.raises(AudioUnsupportedError) as unsupported:
        constant_q(y, sr=8_000, tuning=0.0)
    assert str(unsupported.value) == (
        "its sampling rate is 8000 Hz, and the highest of 7 octaves of notes needs at least "
        "8245 Hz; use a recording at 11025 Hz or more"
    )
    assert constant_q(y, sr=8_245, tuning=0.0).shape == (84, 16)
    with pytest.raises(AudioUnsupportedError):
        constant_q(y, sr=8_244, tuning=0.0)
    with pytest.raises(AudioTooShortError) as short:
        constant_q(y[:255], sr=44_100, tuning=0.0)
    assert str(short.value) == (
        "255 samples, at least 256 are needed for the lowest octave; take a longer piece"
    )


@pytest.mark.parametrize(("hop", "octaves", "multiple"), [(500, 7, 64), (0, 7, 64), (12, 4, 8)])
def test_a_step_must_be_halved_with_the_rate(hop: int, octaves: int, multiple: int) -> None:
    with pytest.raises(ValueError) as error:
        constant_q(np.ones(8_000, np.float32), sr=44_100, hop_length=hop, n_octaves=octaves)
    assert str(error.value) == (
        f"hop_length is {hop}; {octaves} octaves need a multiple of {multiple}"
    )


def test_a_step_of_one_sample_will_do_for_one_octave() -> None:
    y = np.random.default_rng(2).normal(size=300).astype(np.float32)
    assert constant_q(y, sr=8_000, tuning=0.0, hop_length=1, n_octaves=1).shape == (12, 301)
