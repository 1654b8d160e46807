"""The frame summary against its recipe, written out plainly with librosa's functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import soundfile as sf
import soxr

from genrescope.audio import frames
from genrescope.errors import AudioTooShortError, DataError
from tests.audio.sounds import music

librosa = pytest.importorskip("librosa", reason="librosa is the reference")


def sound(seconds: float, sr: int) -> np.ndarray:
    y = music(seconds, sr).mean(axis=1) * np.linspace(0.02, 1, int(seconds * sr))
    return y.astype(np.float32)


def power_at(y: np.ndarray, centres: np.ndarray, n_fft: int) -> np.ndarray:
    """Power spectra [frames, bins] of windows centred there, zeros outside."""
    padded = np.pad(y.astype(np.float64), n_fft)
    windows = [padded[c + n_fft - n_fft // 2 :][:n_fft] for c in centres]
    hann = scipy.signal.get_window("hann", n_fft)
    return np.abs(np.fft.rfft(np.array(windows) * hann)) ** 2


def decibels(power: np.ndarray) -> np.ndarray:
    return np.asarray(librosa.power_to_db(power, amin=1e-10, top_db=None))


def mel_frames(y: np.ndarray, sr: int, *, exact: bool) -> np.ndarray:
    """Bins of 21.5 Hz, a step of 11.6 ms, and 128 frames of it."""
    n_fft, hop = round(2048 * sr / 44_100), 512 * sr / 44_100
    total = 1 + int(len(y) / hop)
    if len(y) >= 20 * sr:
        chosen = np.floor((np.arange(128) + 0.5) / 128 * total)
    else:  # as far apart as in a whole window, and from the start again
        chosen = np.floor((np.arange(128) + 0.5) * 30 / 128 * sr / hop) % total
    bank = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=128, fmax=22_050)
    taken = decibels(bank @ power_at(y, np.round(chosen * hop).astype(int), n_fft).T)
    top = taken.max()
    low = top - 80
    if exact:
        every = decibels(bank @ power_at(y, np.round(np.arange(total) * hop).astype(int), n_fft).T)
        top = every.max()
        low = max(top - 80, every.min())
    steps = np.floor(np.clip((taken - low) * 256 / (top - low), 0, 255))
    return np.where(steps > 0, steps.astype(int) | 1, 0)


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize(
    ("seconds", "sr"),
    [(20.0, 8_000), (19.9, 8_000), (3.0, 44_100), (1.0, 16_000), (0.5, 22_050), (4.0, 48_000)],
)
@pytest.mark.parametrize("exact", [False, True])
def test_mel_frames_are_those_of_the_recipe(seconds: float, sr: int, exact: bool) -> None:
    y = sound(seconds, sr)
    got = frames.mel_frames(y, sr=sr, exact=exact)
    assert got.dtype == np.uint8
    assert got.shape == (128, 128)
    want = mel_frames(y, sr, exact=exact)
    away = np.abs(got - want)
    assert (away > 0).mean() < 2e-3  # rounding decides between neighbours
    assert away.max() <= 2


def test_a_constant_level_has_frames() -> None:
    """Where the loudest is the quietest there is no range to divide by."""
    for exact in (False, True):
        got = frames.mel_frames(np.zeros(8_000, np.float32), sr=8_000, exact=exact)
        assert (got == 255).all()


def test_nothing_has_no_frames() -> None:
    with pytest.raises(AudioTooShortError) as error:
        frames.mel_frames(np.empty(0, np.float32), sr=44_100)
    assert str(error.value) == "0 samples, at least 1 is needed for a spectrum"


def dense_mfcc(y: np.ndarray, sr: int, peak_db: float = -np.inf) -> np.ndarray:
    part = y[: int(135 * 512 / 22_050 * sr)]
    part = part if sr == 22_050 else soxr.resample(part, sr, 22_050, quality="HQ")
    if len(part) < 1.6 * 22_050:
        part = np.tile(part, 9)[: 3 * 22_050]
    power = librosa.feature.melspectrogram(y=part, sr=22_050, n_mels=128)[:, :130]
    db = decibels(power)
    db = np.maximum(db, max(db.max(), peak_db) - 80)
    return np.asarray(scipy.fft.dct(db, axis=0, norm="ortho")[:20])


@pytest.mark.parametrize("sr", [22_050, 44_100, 16_000])
@pytest.mark.parametrize(
    ("seconds", "count"), [(5.0, 130), (2.0, 87), (1.61, 70), (1.59, 130), (0.5, 130)]
)
def test_the_dense_part_is_librosas_mfcc(sr: int, seconds: float, count: int) -> None:
    y = sound(seconds, sr)
    got = frames.dense_mfcc(y, sr=sr)
    assert got.shape == (20, count)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, dense_mfcc(y, sr), atol=2e-2)


def test_what_is_1_6_s_long_is_not_repeated() -> None:
    y = sound(2.0, 22_050)
    assert frames.dense_mfcc(y[:35_280], sr=22_050).shape == (20, 69)
    assert frames.dense_mfcc(y[:35_279], sr=22_050).shape == (20, 130)


@pytest.mark.parametrize("peak_db", [-200.0, 50.0, 70.0])
def test_the_dense_part_has_its_floor_below_the_loudest_of_the_window(peak_db: float) -> None:
    y = sound(3.2, 22_050)
    got = frames.dense_mfcc(y, sr=22_050, peak_db=peak_db)
    np.testing.assert_allclose(got, dense_mfcc(y, 22_050, peak_db), atol=2e-2)
    if peak_db < 0:
        np.testing.assert_array_equal(got, frames.dense_mfcc(y, sr=22_050))
    else:
        assert not np.allclose(got, frames.dense_mfcc(y, sr=22_050), atol=1)


@pytest.mark.parametrize("sr", [22_050, 44_100])
def test_a_quiet_beginning_has_the_floor_of_the_whole_window(sr: int) -> None:
    y = sound(30.0, sr)
    y[: 4 * sr] *= 1e-3
    row = frames.describe_samples(y, sr=sr).features[0]
    got = row[-20 * 130 :].reshape(20, 130)
    n_fft, total = 2048 * sr // 44_100, 1 + len(y) * 44_100 // (512 * sr)
    chosen = np.floor((np.arange(128) + 0.5) / 128 * total).astype(int)
    power = power_at(y, chosen * (512 * sr // 44_100), n_fft)
    bank = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=128, fmax=11_025)
    # As if the window were as long as at 44,100 Hz, where power grows with its square.
    peak = decibels((bank @ power.T).max() * (44_100 / sr) ** 2)
    want = dense_mfcc(y, sr, float(peak))
    want[0] -= want[0].mean()
    np.testing.assert_allclose(got, want, atol=2e-2)


def rows_of(db: np.ndarray, dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Statistics, frames and the dense part."""
    rows = frames.describe_decibels(db, dense)
    assert rows.shape == (len(db), frames.N_FEATURES)
    assert rows.dtype == np.float32
    count = frames.READ_BANDS * 128
    return np.split(rows, [frames.N_STATISTICS, frames.N_STATISTICS + count], axis=1)  # type: ignore[return-value]


def test_a_row_holds_the_frames_below_their_loudest_and_the_dense_part_without_level() -> None:
    rng = np.random.default_rng(0)
    db = rng.uniform(-120, 30, (3, 128, 128)).astype(np.float32)
    db[:, frames.READ_BANDS :] = 500  # is not read
    db[1] -= 40
    dense = rng.normal(size=(3, 20, 130)).astype(np.float32) * 9 + 5
    before = db.copy(), dense.copy()
    _, shown, sequence = rows_of(db, dense)
    for k in range(3):
        read = db[k, : frames.READ_BANDS]
        want = np.maximum(read - read.max(), -72)
        np.testing.assert_allclose(shown[k], want.ravel(), atol=1e-4)
        level_free = dense[k].copy()
        level_free[0] -= level_free[0].mean()
        np.testing.assert_allclose(sequence[k], level_free.ravel(), atol=1e-4)
    np.testing.assert_array_equal(db, before[0])
    np.testing.assert_array_equal(dense, before[1])


def test_a_short_dense_part_is_repeated() -> None:
    rng = np.random.default_rng(1)
    db = rng.uniform(-70, 0, (2, 128, 128)).astype(np.float32)
    dense = rng.normal(size=(2, 20, 87)).astype(np.float32)
    dense[:, 0] -= dense[:, 0].mean(axis=1, keepdims=True)
    _, _, sequence = rows_of(db, dense)
    sequence = sequence.reshape(2, 20, 130)
    np.testing.assert_allclose(sequence[:, :, :87], dense, atol=1e-6)
    np.testing.assert_allclose(sequence[:, :, 87:], dense[:, :, :43], atol=1e-6)


def test_prepared_rows_are_those_of_their_decibels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    mel = rng.integers(0, 256, (5, 128, 128), dtype=np.uint8)
    dense = rng.normal(size=(5, 130, 20)).astype(np.float16) * 9
    monkeypatch.setattr(frames, "_BATCH", 2)
    rows = frames.describe_prepared(mel, dense)
    assert rows.dtype == np.float32
    want = frames.describe_decibels(
        mel.astype(np.float32) * np.float32(80 / 255), dense.astype(np.float32).transpose(0, 2, 1)
    )
    np.testing.assert_allclose(rows, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("mel", "dense", "message"),
    [
        (
            np.zeros((2, 128, 128)), np.zeros((2, 130, 20)),
            "mel frames are float64 [2, 128, 128], expected uint8 [n, 128, 128]; "
            "prepare them by the recipe of genrescope.audio.frames",
        ),
        (
            np.zeros((2, 128, 127), np.uint8), np.zeros((2, 130, 20)),
            "mel frames are uint8 [2, 128, 127], expected uint8 [n, 128, 128]; "
            "prepare them by the recipe of genrescope.audio.frames",
        ),
        (
            np.zeros((128, 128), np.uint8), np.zeros((2, 130, 20)),
            "mel frames are uint8 [128, 128], expected uint8 [n, 128, 128]; "
            "prepare them by the recipe of genrescope.audio.frames",
        ),
        (
            np.zeros((2, 128, 128), np.uint8), np.zeros((3, 130, 20)),
            "mfcc_3s has shape [3, 130, 20], expected [2, 130, 20]; "
            "prepare it by the recipe of genrescope.audio.frames",
        ),
    ],
)  # fmt: skip
def test_what_is_not_prepared_so_is_refused(
    mel: np.ndarray, dense: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError) as error:
        frames.describe_prepared(mel, dense)
    assert str(error.value) == message


def test_windows_are_five_unless_told_otherwise(tmp_path: Path) -> None:
    y = sound(160.0, 1_000)
    sf.write(tmp_path / "a.wav", y, 1_000)
    assert len(frames.describe_samples(y, sr=1_000).offsets) == 5
    assert len(frames.describe_file(tmp_path / "a.wav").offsets) == 5
    assert len(frames.describe_file(tmp_path / "a.wav", n_windows=2).offsets) == 2
