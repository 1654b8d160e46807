"""The spectrum's numbers are librosa's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import mel
from genrescope.audio.decode import read_audio
from genrescope.errors import AudioTooShortError

librosa = pytest.importorskip("librosa", reason="librosa is the reference")


@pytest.mark.parametrize("sr", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("n_mels", [10, 128])
def test_filter_bank_is_librosas(sr: int, n_mels: int) -> None:
    ours = mel.mel_filterbank(sr, n_fft=2048, n_mels=n_mels)
    theirs = librosa.filters.mel(sr=sr, n_fft=2048, n_mels=n_mels)
    np.testing.assert_allclose(ours, theirs, atol=1e-8, rtol=1e-4)


def test_bands_above_nyquist_are_empty() -> None:
    bank = mel.mel_filterbank(16_000, n_fft=743, n_mels=128, fmax=22_050.0)
    edges = mel.mel_to_hz(np.linspace(0.0, mel.hz_to_mel(22_050.0), 130))
    beyond = edges[:-2] >= 8_000
    assert beyond.sum() > 20
    assert not bank[beyond].any()
    assert bank[edges[2:] < 8_000].any(axis=1).mean() > 0.9


@given(st.floats(0.0, 24_000.0))
def test_the_mel_scale_inverts(hz: float) -> None:
    assert float(mel.mel_to_hz(mel.hz_to_mel(hz))) == pytest.approx(hz, abs=1e-6, rel=1e-9)


def test_mel_spectrogram_of_real_music(fma_clips: list[Path]) -> None:
    y, sr = read_audio(fma_clips[0], duration=10.0)
    ours = mel.power_to_db(mel.mel_spectrogram(y, sr=sr))
    theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=sr), top_db=None)
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    # Float32 rounding shows only in bands that the encoder left all but empty.
    loud = theirs > theirs.max() - 80
    assert np.abs(ours - theirs)[loud].max() < 1e-3


def test_chosen_frames_are_those_of_the_whole(fma_clips: list[Path]) -> None:
    y, sr = read_audio(fma_clips[1], duration=5.0)
    whole = mel.mel_spectrogram(y, sr=sr)
    picked = np.array([0, 3, 100, whole.shape[1] - 1])
    power = mel.power_frames(y, picked * 512, n_fft=2048)
    bank = mel.mel_filterbank(sr, n_fft=2048)
    np.testing.assert_allclose((bank @ power.T), whole[:, picked], rtol=1e-4, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4000), st.sampled_from([64, 256, 743]))
def test_any_length_has_its_frames(n: int, n_fft: int) -> None:
    y = np.random.default_rng(n).normal(size=n).astype(np.float32)
    out = mel.mel_spectrogram(y, sr=22_050, n_fft=n_fft, hop_length=128, n_mels=20)
    assert out.shape == (20, 1 + n // 128)
    assert np.isfinite(out).all()
    assert (out >= 0).all()


def test_mfcc_matrix_is_librosas() -> None:
    db = np.random.default_rng(0).normal(size=(128, 30)).astype(np.float32) * 20
    theirs = librosa.feature.mfcc(S=db, n_mfcc=20)
    np.testing.assert_allclose(mel.mfcc_matrix(20, 128) @ db, theirs, atol=1e-3)


def test_nothing_has_no_spectrum() -> None:
    with pytest.raises(AudioTooShortError) as error:
        mel.mel_spectrogram(np.empty(0, np.float32), sr=44_100)
    assert str(error.value) == "0 samples, at least 1 is needed for a spectrum"
    assert mel.mel_spectrogram(np.ones(1, np.float32), sr=44_100).shape == (128, 1)


def test_the_cached_bank_cannot_be_changed() -> None:
    with pytest.raises(ValueError):
        mel.mel_filterbank(44_100, n_fft=2048)[0, 0] = 1.0


@pytest.mark.parametrize("library", ["scipy", "numpy"])
def test_every_clip_within_a_thousandth_of_a_decibel(
    fma_clips: list[Path], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "numpy":
        monkeypatch.setattr(mel, "_real_transform", lambda: np.fft.rfft)
    for path in fma_clips[:: 1 if library == "scipy" else 4]:
        y, sr = read_audio(path)
        ours = librosa.power_to_db(mel.mel_spectrogram(y, sr=sr))
        theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=sr))
        assert np.abs(ours - theirs).max() < 1e-3


def test_scipy_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    mel._real_transform.cache_clear()
    monkeypatch.setitem(sys.modules, "scipy.fft", None)
    assert mel._real_transform() is np.fft.rfft
    mel._real_transform.cache_clear()


@pytest.mark.parametrize("n_mels", [1, 10, 16, 17, 128, 300])
def test_bands_are_the_product_with_the_bank(n_mels: int) -> None:
    power = np.random.default_rng(0).gamma(0.5, size=(40, 1025)).astype(np.float32)
    dense = power @ mel.mel_filterbank(22_050, n_fft=2048, n_mels=n_mels).T
    np.testing.assert_allclose(
        mel.mel_bands(power, sr=22_050, n_fft=2048, n_mels=n_mels), dense, rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("n_fft", [256, 743])
def test_windows_that_reach_outside_read_zeros(n_fft: int) -> None:
    y = np.random.default_rng(0).normal(size=900).astype(np.float32)
    centres = np.array([-2_000, -n_fft // 2, -3, 0, 100, 450, 899, 900 + n_fft // 2, 9_000])
    padded = np.pad(y.astype(np.float64), 3_000)
    hann = librosa.filters.get_window("hann", n_fft)
    for given_, start in zip(
        mel.power_frames(y, centres, n_fft=n_fft), centres - n_fft // 2 + 3_000, strict=True
    ):
        frame = padded[start : start + n_fft] if start + n_fft <= len(padded) else np.zeros(n_fft)
        want = np.abs(np.fft.rfft(frame * hann)) ** 2
        np.testing.assert_allclose(given_, want, rtol=1e-3, atol=1e-4)


def test_more_frames_than_are_transformed_at_once() -> None:
    y = np.random.default_rng(0).normal(size=5_000).astype(np.float32)
    centres = np.arange(600) * 8
    power = mel.power_frames(y, centres, n_fft=64)
    assert power.shape == (600, 33)
    assert power.dtype == np.float32
    one_by_one = [mel.power_frames(y, centres[k : k + 1], n_fft=64)[0] for k in range(0, 600, 50)]
    np.testing.assert_allclose(power[::50], one_by_one, rtol=1e-4, atol=1e-6)


def test_decibels_have_a_floor() -> None:
    power = np.array([100.0, 1.0, 0.5, 1e-10, 1e-11, 0.0], np.float32)
    db = mel.power_to_db(power)
    assert db.dtype == np.float32
    np.testing.assert_allclose(db, [20.0, 0.0, -3.0103, -100.0, -100.0, -100.0], atol=1e-4)
    np.testing.assert_allclose(mel.power_to_db(power, floor=0.1)[2:4], [-3.0103, -10.0], atol=1e-4)


def test_bands_are_128_unless_told_otherwise() -> None:
    power = np.random.default_rng(0).gamma(0.5, size=(3, 1025)).astype(np.float32)
    bands = mel.mel_bands(power, sr=22_050, n_fft=2048)
    assert bands.dtype == np.float32
    np.testing.assert_allclose(
        bands, power @ librosa.filters.mel(sr=22_050, n_fft=2048).T, rtol=1e-4, atol=1e-9
    )


def test_the_mel_scale_is_slaneys() -> None:
    hz = np.array([0.0, 66.7, 999.0, 1000.0, 1001.0, 6_400.0, 22_050.0])
    np.testing.assert_allclose(mel.hz_to_mel(hz), librosa.hz_to_mel(hz), rtol=1e-9)
    scale = np.array([0.0, 1.0, 14.9, 15.0, 15.1, 42.0, 60.0])
    np.testing.assert_allclose(mel.mel_to_hz(scale), librosa.mel_to_hz(scale), rtol=1e-9)
