"""Prepared tracks through a narrower channel, compared with sound that really went through one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.audio.mel import hz_to_mel, mel_to_hz, mfcc_matrix
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.learn.train.augment import HIGHEST_HZ, LOWEST_HZ, band_limited, draw_cutoffs
from tests.learn.small_data import make_prepared

STATISTICS = slice(0, frames.N_STATISTICS)
SPARSE = slice(frames.N_STATISTICS, frames.N_STATISTICS + frames.READ_BANDS * frames.N_FRAMES)
DENSE = slice(SPARSE.stop, frames.N_FEATURES)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    # More than one batch of 128.
    folder = tmp_path_factory.mktemp("prepared")
    return load_prepared(make_prepared(folder, n_artists=47, tracks_each=3))


def centres(top_hz: float) -> np.ndarray:
    """Centre frequencies of 128 mel bands up to ``top_hz``, in Hz."""
    edges = np.linspace(0.0, float(hz_to_mel(top_hz)), 130)
    return np.asarray(mel_to_hz(edges))[1:-1]


def everywhere(n: int, hz: float) -> np.ndarray:
    return np.full(n, hz)


def sparse(rows: np.ndarray) -> np.ndarray:
    """The frames [n, bands, 128] of feature rows."""
    return rows[:, SPARSE].reshape(len(rows), frames.READ_BANDS, frames.N_FRAMES)


def test_a_cut_above_everything_changes_nothing(tracks: PreparedData) -> None:
    plain = frames.describe_prepared(tracks.mel, tracks.mfcc_3s)
    rows = band_limited(tracks.mel, tracks.mfcc_3s, cutoff_hz=everywhere(len(tracks), 1e9))
    assert rows.dtype == np.float32
    assert np.ptp(plain, axis=0).mean() > 1.0
    np.testing.assert_allclose(rows, plain, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("cutoff", [3_500.0, 6_000.0, 11_025.0])
def test_nothing_is_left_above_the_cut(tracks: PreparedData, cutoff: float) -> None:
    some = tracks.where(np.arange(len(tracks)) < 20)
    plain = frames.describe_prepared(some.mel, some.mfcc_3s)
    rows = band_limited(some.mel, some.mfcc_3s, cutoff_hz=everywhere(20, cutoff))
    above = centres(frames.REFERENCE_HZ / 2)[: frames.READ_BANDS] > cutoff
    assert 0 < above.sum() < frames.READ_BANDS

    # Of the frames, not a trace above, and below all is as it was.
    assert (sparse(rows)[:, above] == -frames.FLOOR_DB).all()
    assert (sparse(plain)[:, above] > -frames.FLOOR_DB).mean() > 0.9
    np.testing.assert_allclose(sparse(rows)[:, ~above], sparse(plain)[:, ~above], atol=1e-3)

    # Of the dense part there are 20 coefficients: their curve falls far down above the cut.
    def curve(kind: np.ndarray) -> np.ndarray:
        coefficients = kind[:, DENSE].reshape(len(kind), 20, -1).mean(axis=2)
        return np.asarray(coefficients @ mfcc_matrix(20, frames.N_BANDS))

    dense_above = centres(frames.DENSE_HZ / 2) > cutoff * 1.2
    if dense_above.any():
        drop = [
            bands[:, ~dense_above].mean(axis=1) - bands[:, dense_above].mean(axis=1)
            for bands in (curve(plain), curve(rows))
        ]
        assert (drop[1] - drop[0] > 20.0).all()
    else:
        np.testing.assert_allclose(rows[:, DENSE], plain[:, DENSE], atol=2e-3)


def test_every_track_has_its_own_cut_whatever_stands_beside_it(tracks: PreparedData) -> None:
    cutoffs = np.geomspace(4_000.0, 14_000.0, len(tracks))
    together = band_limited(tracks.mel, tracks.mfcc_3s, cutoff_hz=cutoffs)
    for i in (0, 127, 128, len(tracks) - 1):
        alone = slice(i, i + 1)
        row = band_limited(tracks.mel[alone], tracks.mfcc_3s[alone], cutoff_hz=cutoffs[alone])
        np.testing.assert_allclose(together[alone], row, rtol=1e-4, atol=1e-3)
    left = (sparse(together) > -frames.FLOOR_DB).any(axis=2).sum(axis=1)
    assert (np.diff(left) >= 0).all()
    assert left[-1] - left[0] > 20


def test_the_equaliser_is_smooth_gentle_and_seeded(tracks: PreparedData) -> None:
    some = tracks.where(np.arange(len(tracks)) < 20)

    def rows(seed: int) -> np.ndarray:
        return band_limited(
            some.mel,
            some.mfcc_3s,
            cutoff_hz=everywhere(20, 1e9),
            rng=np.random.default_rng(seed),
        )

    np.testing.assert_array_equal(rows(1), rows(1))
    plain = sparse(band_limited(some.mel, some.mfcc_3s, cutoff_hz=everywhere(20, 1e9)))
    gain = sparse(rows(1)) - plain
    # The same for every moment of a track, apart from what touches the floor.
    assert np.median(gain.std(axis=2)) < 1e-3
    gain = np.median(gain, axis=2)
    assert not np.allclose(gain, np.median(sparse(rows(2)) - plain, axis=2), atol=0.1)
    assert 0.2 < (gain - gain.mean(axis=1, keepdims=True)).std() < 2.0
    assert np.abs(np.diff(gain, axis=1)).max() < 0.5  # dB from band to band
    # The dense part goes through the same equaliser.
    unchanged = frames.describe_prepared(some.mel, some.mfcc_3s)[:, DENSE]
    assert np.abs(rows(1)[:, DENSE] - unchanged).max() > 0.5


def test_no_tracks() -> None:
    rows = band_limited(
        np.zeros((0, 128, 128), np.uint8), np.zeros((0, 130, 20)), cutoff_hz=np.zeros(0)
    )
    assert rows.shape == (0, frames.N_FEATURES)


def test_cutoffs_are_uniform_on_a_logarithmic_scale() -> None:
    drawn = draw_cutoffs(4_000, np.random.default_rng(0))
    assert drawn.shape == (4_000,)
    assert LOWEST_HZ <= drawn.min() < 1.01 * LOWEST_HZ
    assert 0.99 * HIGHEST_HZ < drawn.max() <= HIGHEST_HZ
    quartiles = np.quantile(drawn, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, np.geomspace(LOWEST_HZ, HIGHEST_HZ, 5)[1:4], rtol=0.04)
    np.testing.assert_array_equal(drawn, draw_cutoffs(4_000, np.random.default_rng(0)))


@pytest.mark.data
def test_it_is_what_low_passing_the_sound_does(data_dir: Path, fma_clips: list[Path]) -> None:
    """Real clips at 16 kHz against their prepared frames, limited to 8 kHz."""
    import soxr

    from genrescope.audio.decode import read_audio

    data = load_prepared(data_dir / "fma")
    rng = np.random.default_rng(0)
    some = np.sort(rng.choice(len(data), size=200, replace=False))
    sample = frames.describe_prepared(data.mel[some], data.mfcc_3s[some])
    spread = np.maximum(sample.std(axis=0), 1e-3)
    untouched = band_limited(data.mel[some], data.mfcc_3s[some], cutoff_hz=everywhere(200, 1e9))
    # One in a hundred has a smooth spectrum that spans more than the 80 dB.
    same = (np.abs(untouched - sample) / spread).max(axis=1) < 0.01
    assert same.mean() > 0.97

    row = {int(track): i for i, track in enumerate(data.track_id)}
    mine = [row[int(path.stem)] for path in fma_clips]
    heard = []
    for path in fma_clips:
        y, sr = read_audio(path, duration=30.0)
        narrow = soxr.resample(y, sr, 16_000, quality="HQ")
        heard.append(frames.describe_samples(narrow, sr=16_000, n_windows=1).features[0])
    real = np.stack(heard)
    limited = band_limited(
        data.mel[mine], data.mfcc_3s[mine], cutoff_hz=everywhere(len(mine), 8_000.0)
    )
    whole = frames.describe_prepared(data.mel[mine], data.mfcc_3s[mine])

    error, without = (np.abs(x - real) / spread for x in (limited, whole))
    # Mean error in spreads, and how much of the distance it closes. The dense part is coarser: its
    # cut is made on the smooth spectrum of 20 coefficients.
    for part, most, share in ((STATISTICS, 0.10, 0.25), (SPARSE, 0.06, 0.25), (DENSE, 0.45, 0.5)):
        assert error[:, part].mean() < most
        assert error[:, part].mean() < share * without[:, part].mean()
    assert np.median(error[:, STATISTICS]) < 0.03
    assert np.quantile(error[:, STATISTICS], 0.9) < 0.2
