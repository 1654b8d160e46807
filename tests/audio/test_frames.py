"""The frame summary: equal to the prepared data, indifferent to what is not the music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr

from genrescope.audio import frames
from genrescope.audio.decode import read_audio
from genrescope.audio.statistics import feature_names
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.errors import (
    AudioEmptyError,
    AudioSilentError,
    AudioTooShortError,
    DataError,
)

STATISTICS = slice(0, frames.N_STATISTICS)


@pytest.fixture(scope="module")
def prepared(data_dir: Path) -> PreparedData:
    return load_prepared(data_dir / "fma")


@pytest.fixture(scope="module")
def spread(prepared: PreparedData) -> np.ndarray:
    """How much every feature varies between tracks [N_FEATURES]."""
    rows = frames.describe_prepared(prepared.mel[::40], prepared.mfcc_3s[::40])
    return rows.std(axis=0) + 1e-6


def piece(seconds: float, sr: int = 44_100, seed: int = 0) -> np.ndarray:
    """Notes and strokes: enough structure to be told from noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sr)) / sr
    notes = rng.choice([220.0, 277.2, 329.6, 440.0, 554.4], size=int(seconds * 4) + 1)
    hz = notes[(t * 4).astype(int)]
    y = 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / sr) + 0.1 * np.sin(4 * np.pi * np.cumsum(hz) / sr)
    y += 0.2 * rng.normal(size=len(t)) * np.exp(-((t * 2) % 1) * 12)
    return y.astype(np.float32)


def row_of(prepared: PreparedData, path: Path) -> int:
    return int(np.flatnonzero(prepared.track_id == int(path.stem))[0])


def test_exact_frames_are_the_prepared_ones(fma_clips: list[Path], prepared: PreparedData) -> None:
    for path in fma_clips:
        y, sr = read_audio(path, duration=30.0)
        ours = frames.mel_frames(y, sr=sr, exact=True).astype(int)
        stored = prepared.mel[row_of(prepared, path)].astype(int)
        assert np.abs(ours - stored).mean() < 0.1, path.name  # of 255


def test_sound_and_prepared_data_give_the_same_features(
    fma_clips: list[Path], prepared: PreparedData, spread: np.ndarray
) -> None:
    for path in fma_clips:
        row = row_of(prepared, path)
        stored = frames.describe_prepared(
            prepared.mel[row : row + 1], prepared.mfcc_3s[row : row + 1]
        )[0]
        ours = frames.describe_file(path).features
        assert ours.shape == (1, frames.N_FEATURES)
        apart = np.abs(ours[0] - stored) / spread
        assert apart[STATISTICS].mean() < 0.05, path.name
        assert np.quantile(apart[STATISTICS], 0.99) < 0.2, path.name
        assert apart[frames.N_STATISTICS :].mean() < 0.1, path.name


def test_dense_part_is_the_prepared_one(fma_clips: list[Path], prepared: PreparedData) -> None:
    y, sr = read_audio(fma_clips[0], duration=30.0)
    ours = frames.dense_mfcc(y, sr=sr)
    stored = prepared.mfcc_3s[row_of(prepared, fma_clips[0])].astype(np.float32).T
    assert ours.shape == stored.shape == (20, 130)
    assert np.abs(ours - stored).mean() < 0.1


@pytest.mark.parametrize("gain", [1e-2, 0.5, 3.0])
def test_gain_changes_nothing(fma_clips: list[Path], spread: np.ndarray, gain: float) -> None:
    y, sr = read_audio(fma_clips[3], duration=30.0)
    before = frames.describe_samples(y, sr=sr).features[0]
    after = frames.describe_samples(y * np.float32(gain), sr=sr).features[0]
    assert (np.abs(before - after) / spread).mean() < 0.02


@pytest.mark.parametrize("rate", [32_000, 48_000, 96_000])
def test_the_files_rate_changes_next_to_nothing(
    fma_clips: list[Path], spread: np.ndarray, rate: int
) -> None:
    y, sr = read_audio(fma_clips[2], duration=30.0)
    before = frames.describe_samples(y, sr=sr).features[0]
    after = frames.describe_samples(soxr.resample(y, sr, rate, quality="HQ"), sr=rate).features[0]
    assert (np.abs(before - after) / spread)[STATISTICS].mean() < 0.08


def test_what_is_above_15_khz_is_not_read(fma_clips: list[Path]) -> None:
    y, sr = read_audio(fma_clips[0], duration=30.0)
    whistle = 0.8 * np.sin(2 * np.pi * 17_000 * np.arange(len(y)) / sr).astype(np.float32)
    before = frames.describe_samples(y, sr=sr).features[0]
    after = frames.describe_samples(y + whistle, sr=sr).features[0]
    assert np.abs(before - after)[frames.N_STATISTICS :].mean() < 0.05
    above = frames.mel_frames(y + whistle, sr=sr)[frames.READ_BANDS :]
    without = frames.mel_frames(y, sr=sr)[frames.READ_BANDS :]
    assert above.max() > without.max() + 50  # it is there, in the bands that are left out


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 192_000])
def test_any_rate_gives_finite_features(rate: int) -> None:
    described = frames.describe_samples(piece(4.0, sr=rate), sr=rate)
    assert np.isfinite(described.features).all()


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5, 7.0, 29.0])
def test_short_pieces_keep_their_movement(seconds: float) -> None:
    """Frames of a short piece are not so close together that nothing moves between them."""
    described = frames.describe_samples(piece(seconds), sr=44_100)
    assert described.features.shape == (1, frames.N_FEATURES)
    assert np.isfinite(described.features).all()
    step = [i for i, name in enumerate(frames.STATISTIC_NAMES) if name.startswith("band.step_mean")]
    long = frames.describe_samples(piece(30.0), sr=44_100).features[0, step].mean()
    if seconds >= 2.5:
        assert described.features[0, step].mean() > 0.5 * long


def test_windows_are_spread_over_the_track() -> None:
    described = frames.describe_samples(piece(200.0, sr=8_000), sr=8_000, n_windows=4)
    np.testing.assert_allclose(described.offsets, [10.0, 60.0, 110.0, 160.0])
    assert described.window == 30.0
    assert described.duration == pytest.approx(200.0)
    assert len(frames.describe_samples(piece(70.0, sr=8_000), sr=8_000).offsets) == 2
    assert len(frames.describe_samples(piece(31.0, sr=8_000), sr=8_000).offsets) == 1


def test_silent_windows_are_left_out(tmp_path: Path) -> None:
    y = np.concatenate([np.zeros(8_000 * 60, np.float32), piece(60.0, sr=8_000)])
    described = frames.describe_samples(y, sr=8_000, n_windows=4)
    assert (described.offsets >= 45).all()
    assert 1 <= len(described.offsets) < 4
    with pytest.raises(AudioSilentError, match="silence"):
        frames.describe_samples(np.zeros(44_100 * 5, np.float32), sr=44_100)


def test_too_little_is_an_error() -> None:
    with pytest.raises(AudioTooShortError, match=r"0\.250 s"):
        frames.describe_samples(piece(0.25), sr=44_100)
    with pytest.raises(AudioEmptyError):
        frames.describe_samples(np.empty(0, np.float32), sr=44_100)
    with pytest.raises(DataError, match="n_windows is 0"):
        frames.describe_samples(piece(1.0), sr=44_100, n_windows=0)


def test_a_long_file_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.audio.decode import AudioFile

    path = tmp_path / "long.flac"
    sf.write(path, piece(400.0, sr=8_000), 8_000)
    lengths = []
    original = AudioFile.read

    def spy(self: AudioFile, **kwargs: float) -> np.ndarray:
        y = original(self, **kwargs)  # type: ignore[arg-type]
        lengths.append(len(y))
        return y

    monkeypatch.setattr(AudioFile, "read", spy)
    described = frames.describe_file(path, n_windows=5)
    assert lengths == [30 * 8_000] * 5
    assert len(described.offsets) == 5


def test_prepared_data_of_another_shape_is_refused() -> None:
    mel = np.zeros((2, 128, 128), np.uint8)
    with pytest.raises(DataError, match="uint8"):
        frames.describe_prepared(mel.astype(np.float32), np.zeros((2, 130, 20)))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="mfcc_3s"):
        frames.describe_prepared(mel, np.zeros((2, 20, 130)))


def test_every_column_has_a_name_of_its_own() -> None:
    names = feature_names(frames.READ_BANDS)
    assert len(set(names)) == len(names) == frames.N_STATISTICS
    row = frames.describe_samples(piece(30.0), sr=44_100).features[0]
    assert len(row) == frames.N_FEATURES


def test_names_tell_what_the_columns_hold(fma_clips: list[Path]) -> None:
    """Columns computed here from the frames, found by name in the row."""
    y, sr = read_audio(fma_clips[4], duration=30.0)
    row = frames.describe_samples(y, sr=sr).features[0]
    by_name = dict(zip(frames.STATISTIC_NAMES, row, strict=False))
    bands, count = frames.READ_BANDS, frames.N_FRAMES
    db = row[frames.N_STATISTICS :][: bands * count].reshape(bands, count)
    assert by_name["band.mean.7"] == pytest.approx(db[7].mean(), abs=1e-3)
    assert by_name["band.std.30"] == pytest.approx(db[30].std(), abs=1e-3)
    assert by_name["band.step_mean.3"] == pytest.approx(np.abs(np.diff(db[3])).mean(), abs=1e-3)
    mfcc = frames.mfcc_matrix(20, bands) @ db
    assert by_name["mfcc.mfcc_std.4"] == pytest.approx(mfcc[4].std(), rel=1e-3)
    assert by_name["mfcc.mfcc_max.0"] == pytest.approx(mfcc[0].max(), rel=1e-3)
    pair = np.corrcoef(mfcc[2], mfcc[5])[0, 1]
    assert by_name["mfcc.correlation.2-5"] == pytest.approx(pair, abs=1e-3)
    dense = row[frames.N_STATISTICS + bands * count :].reshape(20, 130)
    assert by_name["dense.step_std.6"] == pytest.approx(np.diff(dense[6]).std(), rel=1e-3)
