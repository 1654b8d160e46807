"""The 518 descriptors are librosa's, and where they differ it is on purpose."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from genrescope.audio import descriptors
from genrescope.audio.decode import read_audio
from genrescope.audio.descriptors import (
    DESCRIPTOR_NAMES,
    DESCRIPTORS,
    STATISTICS,
    descriptor_series,
    fma_descriptors,
    series_statistics,
)
from genrescope.catalog.fma_simulate import simulate
from genrescope.errors import (
    AudioNotFiniteError,
    AudioTooShortError,
    AudioUnsupportedError,
)
from tests.audio import fma_by_librosa

pytest.importorskip("librosa", reason="librosa is the reference")

TOLERANCE = 1e-3


def some_music(sr: int, seconds: float = 3.0) -> np.ndarray:
    """Chords a little sharp, strokes, noise, and a second of nothing."""
    t = np.arange(int(seconds * sr)) / sr
    rng = np.random.default_rng(3)
    y = np.zeros(len(t))
    for k, semitone in enumerate((0, 4, 7, 12, 19, 31)):
        y += 0.1 / (k + 1) * np.sin(2 * np.pi * 110 * 2 ** ((semitone + 0.17) / 12) * t)
    y *= 1 + 0.5 * np.sin(2 * np.pi * 0.9 * t)
    y += 0.1 * rng.normal(size=len(t)) * np.exp(-9 * (2 * t % 1))
    y[-len(t) // 4 :] = 0
    return y.astype(np.float32)


def assert_same_series(
    y: np.ndarray, sr: int, convention: str = "fma", *, but: tuple[str, ...] = ()
) -> None:
    """Each value within a thousandth of itself, or a millionth of the largest of its kind."""
    ours = descriptor_series(y, sr=sr, convention=convention)
    theirs = fma_by_librosa.series(y, sr, convention=convention)
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        assert ours[name].shape == values.shape, name
        if name in but:
            continue
        np.testing.assert_allclose(
            ours[name],
            values,
            rtol=TOLERANCE,
            atol=1e-6 * np.abs(values).max() + 2e-6,
            err_msg=name,
        )


@pytest.mark.parametrize("convention", ["fma", "librosa"])
def test_real_music_is_described_as_by_librosa(fma_clips: list[Path], convention: str) -> None:
    for path in fma_clips[:: 2 if convention == "fma" else 5]:
        y, sr = read_audio(path)
        ours = fma_descriptors(y, sr=sr, convention=convention)
        series = fma_by_librosa.series(y, sr, convention=convention)
        theirs = np.concatenate([fma_by_librosa.statistics(s).ravel() for s in series.values()])
        assert ours.dtype == np.float32
        # Every one of the 518, skewness and kurtosis near 0 included.
        away = np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-9)
        worst = int(away.argmax())
        assert away[worst] <= TOLERANCE, (path.name, DESCRIPTOR_NAMES[worst], away[worst])


def test_every_frame_of_real_music_is_librosas(fma_clips: list[Path]) -> None:
    y, sr = read_audio(fma_clips[3], offset=4.0, duration=6.0)
    assert_same_series(y, sr)


def test_contrast_needs_the_double_spectrum(fma_clips: list[Path]) -> None:
    """What makes the test above worth something: single precision would fail it."""
    import librosa
    import scipy.fft

    y, sr = read_audio(fma_clips[0], duration=10.0)
    frames = librosa.util.frame(y, frame_length=2048, hop_length=512)
    window = librosa.filters.get_window("hann", 2048)[:, None]
    single = np.abs(scipy.fft.rfft(frames * window.astype(np.float32), axis=0))
    double = np.abs(scipy.fft.rfft(frames * window, axis=0)).astype(np.float32)
    away = librosa.feature.spectral_contrast(S=single) - librosa.feature.spectral_contrast(S=double)
    assert np.abs(away).max() > 0.2  # dB
    ours = descriptor_series(y, sr=sr)["spectral_contrast"][:, 2 : 2 + frames.shape[1]]
    theirs = librosa.feature.spectral_contrast(S=np.abs(librosa.stft(y)))
    assert np.abs(ours - theirs[:, 2 : 2 + frames.shape[1]]).max() < 1e-4


@pytest.mark.parametrize("sr", [11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_any_rate(sr: int) -> None:
    assert_same_series(some_music(sr), sr)


@pytest.mark.parametrize("n", [2048, 2049, 2560, 5119, 5120, 5121, 131_072])
def test_any_length(n: int) -> None:
    """The last one has a frame more than a block has."""
    assert_same_series(some_music(44_100, 4.0)[5000 : 5000 + n], 44_100)


@pytest.mark.parametrize("kept", [300, 344, 345])
def test_a_long_piece_is_described_in_less_memory(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Whether the powers of its 345 frames are kept or made again."""
    y = some_music(44_100, 4.0)
    whole = fma_descriptors(y, sr=44_100)
    monkeypatch.setattr(descriptors, "_KEPT", kept)
    np.testing.assert_allclose(fma_descriptors(y, sr=44_100), whole, rtol=1e-5, atol=1e-6)


def test_todays_librosa_can_be_had() -> None:
    assert_same_series(some_music(22_050), 22_050, "librosa")


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_silence_and_a_constant(level: float) -> None:
    y = np.full(44_100, level, np.float32)
    # A constant has no notes: what the transform leaves of it is rounding, in librosa as here.
    notes = ("chroma_cqt", "chroma_cens", "tonnetz")
    assert_same_series(y, 44_100, but=notes if level else ())
    row = dict(zip(DESCRIPTOR_NAMES, fma_descriptors(y, sr=44_100), strict=True))
    assert np.isfinite(list(row.values())).all()
    assert row["zcr_mean_01"] == 0
    assert row["zcr_skew_01"] == 0
    assert row["zcr_kurtosis_01"] == -3


def test_a_single_click() -> None:
    y = np.zeros(22_050, np.float32)
    y[9000] = 1.0
    assert_same_series(y, 22_050)


def test_names_are_the_columns_of_the_prepared_table(tmp_path: Path) -> None:
    from genrescope.catalog.fma_tables import read_header

    simulate(tmp_path, tracks=8, audio=None)
    file = next(tmp_path.rglob("features.csv"))
    assert read_header(file, table="features").names[1:] == DESCRIPTOR_NAMES
    assert len(DESCRIPTOR_NAMES) == 518
    assert tuple(DESCRIPTORS) == fma_by_librosa.ORDER


def test_statistics_stand_at_their_names() -> None:
    y = some_music(22_050)
    row = dict(zip(DESCRIPTOR_NAMES, fma_descriptors(y, sr=22_050), strict=True))
    series = descriptor_series(y, sr=22_050)
    assert row["mfcc_max_03"] == pytest.approx(series["mfcc"][2].max(), rel=1e-6)
    assert row["zcr_median_01"] == pytest.approx(np.median(series["zcr"]), rel=1e-6)
    assert row["tonnetz_std_06"] == pytest.approx(series["tonnetz"][5].std(), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(2, 40)),
        elements=st.floats(-1000, 1000, width=16),
    )
)
def test_statistics_are_scipys(values: np.ndarray) -> None:
    ours = dict(zip(STATISTICS, series_statistics(values), strict=True))
    np.testing.assert_allclose(ours["mean"], values.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(ours["std"], values.std(axis=1), atol=1e-9)
    np.testing.assert_array_equal(ours["median"], np.median(values, axis=1))
    np.testing.assert_array_equal(ours["min"], values.min(axis=1))
    np.testing.assert_array_equal(ours["max"], values.max(axis=1))
    moving = values.std(axis=1) > 1e-6 * np.abs(values).max(axis=1)
    if moving.any():
        some = values[moving]
        np.testing.assert_allclose(ours["skew"][moving], stats.skew(some, axis=1), atol=1e-6)
        kurtosis = stats.kurtosis(some, axis=1)
        np.testing.assert_allclose(ours["kurtosis"][moving], kurtosis, atol=1e-6)
    assert (ours["skew"][~moving] == 0).all()
    assert (ours["kurtosis"][~moving] == -3).all()


def test_rounding_is_no_movement() -> None:
    row = np.float32(7.3) + np.float32(5e-7) * np.array([[0, 1, 0, 0, 1, 1, 0]], np.float32)
    found = dict(zip(STATISTICS, series_statistics(row)[:, 0], strict=True))
    assert (found["skew"], found["kurtosis"]) == (0, -3)


def test_the_same_twice() -> None:
    y = some_music(44_100)
    before = y.copy()
    np.testing.assert_array_equal(fma_descriptors(y, sr=44_100), fma_descriptors(y, sr=44_100))
    np.testing.assert_array_equal(y, before)


def test_doubles_are_taken_as_singles() -> None:
    y = some_music(22_050)
    np.testing.assert_array_equal(
        fma_descriptors(y.astype(np.float64), sr=22_050), fma_descriptors(y, sr=22_050)
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_mean_no_sound(bad: float) -> None:
    y = some_music(22_050)
    y[1234] = bad
    with pytest.raises(AudioNotFiniteError):
        fma_descriptors(y, sr=22_050)


def test_the_loudest_that_has_a_power_is_described() -> None:
    y = some_music(22_050)
    y /= np.abs(y).max()
    for sign in (1, -1):
        assert np.isfinite(fma_descriptors(sign * y * np.float32(9.9e14), sr=22_050)).all()
        with pytest.raises(AudioNotFiniteError) as error:
            fma_descriptors(sign * np.abs(y) * np.float32(1.1e15), sr=22_050)
        assert str(error.value) == (
            "samples of more than 1e+15, whose powers are infinite; full scale is 1.0. "
            "Divide them by the largest."
        )


def test_what_cannot_be_described() -> None:
    y = some_music(22_050)
    with pytest.raises(AudioTooShortError, match="2047 samples, at least 2048"):
        fma_descriptors(y[:2047], sr=22_050)
    with pytest.raises(AudioUnsupportedError, match="8000 Hz"):
        fma_descriptors(y, sr=8_000)
    with pytest.raises(ValueError, match="one row of floats"):
        fma_descriptors(np.stack([y, y]), sr=22_050)
    with pytest.raises(ValueError, match="int16"):
        fma_descriptors((y * 32_767).astype(np.int16), sr=22_050)
    with pytest.raises(ValueError) as error:
        fma_descriptors(y, sr=22_050, convention="csv")  # type: ignore[arg-type]
    assert str(error.value) == "convention is 'csv'; it must be one of fma, librosa"


def test_librosa_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("librosa", "scipy", "numba"):
        monkeypatch.setitem(sys.modules, name, None)
    assert np.isfinite(fma_descriptors(some_music(22_050), sr=22_050)).all()
