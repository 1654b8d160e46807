"""Statistics: the quick forms give what the plain ones give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.fft
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genrescope.audio import statistics
from genrescope.audio.frames import N_STATISTICS, READ_BANDS


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14)),
        elements=st.floats(-72, 0, width=32),
    ),
    st.sampled_from([5, 9]),
    st.sampled_from([1, 2]),
)
def test_running_median_is_the_median(x: np.ndarray, width: int, axis: int) -> None:
    pad = [(0, 0)] * 3
    pad[axis] = (width // 2, width // 2)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, pad, mode="edge"), width, axis=axis
    )
    np.testing.assert_array_equal(
        statistics._running_median(x, width, axis), np.median(windows, axis=-1)
    )


def test_rows_do_not_depend_on_their_neighbours() -> None:
    rng = np.random.default_rng(1)
    db = rng.uniform(-72, 0, size=(5, READ_BANDS, 128)).astype(np.float32)
    dense = rng.normal(size=(5, 20, 130)).astype(np.float32) * 20
    together = np.concatenate(
        [statistics.frame_statistics(db), statistics.dense_statistics(dense)], axis=1
    )
    assert together.shape == (5, N_STATISTICS)
    for k in range(5):
        alone = np.concatenate(
            [
                statistics.frame_statistics(db[k : k + 1]),
                statistics.dense_statistics(dense[k : k + 1]),
            ],
            axis=1,
        )
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, -72.0])
def test_what_never_changes_gives_finite_numbers(value: float) -> None:
    db = np.full((1, READ_BANDS, 128), value, dtype=np.float32)
    dense = np.zeros((1, 20, 130), dtype=np.float32)
    assert np.isfinite(statistics.frame_statistics(db)).all()
    assert np.isfinite(statistics.dense_statistics(dense)).all()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def moments(x: np.ndarray) -> dict[str, float]:
    """The seven of one series, by SciPy and NumPy."""
    return {
        "mean": x.mean(),
        "std": x.std(),
        "skew": scipy.stats.skew(x),
        "kurtosis": scipy.stats.kurtosis(x),
        "median": np.median(x),
        "min": x.min(),
        "max": x.max(),
    }


def lagged(x: np.ndarray, lag: int) -> float:
    """Autocorrelation, of products that there are, with the mean and variance of the whole."""
    z = (x - x.mean()) / x.std()
    return float((z[lag:] * z[:-lag]).mean())


def median_away(x: np.ndarray, width: int) -> np.ndarray:
    """A series without the median of its neighbourhood, edges repeated."""
    padded = np.pad(x, width // 2, mode="edge")
    return x - np.array([np.median(padded[k : k + width]) for k in range(len(x))])


def shape_of(frame: np.ndarray) -> dict[str, float]:
    """Of one frame in dB, band by band."""
    amplitude = 10 ** (frame / 20)
    share = amplitude / amplitude.sum()
    place = np.linspace(0, 1, len(frame))
    centroid = (share * place).sum()
    found = {
        "centroid": centroid,
        "spread": np.sqrt((share * (place - centroid) ** 2).sum()),
        "entropy": -(share * np.log(share)).sum() / np.log(len(frame)),
        "flatness": frame.mean() - 20 * np.log10(amplitude.mean()),
        "level": frame.mean(),
    }
    for percent in (25, 50, 85, 95):
        found[f"rolloff{percent}"] = (np.cumsum(share) < percent / 100).mean()
    edges = np.linspace(0, len(frame), 9).round().astype(int)
    for group in range(8):
        part = np.sort(frame[edges[group] : edges[group + 1]])
        found[f"energy{group}"] = part.mean()
        found[f"contrast{group}"] = part[-3:].mean() - part[:3].mean()
    return found


@pytest.fixture(scope="module")
def frames_in_db() -> np.ndarray:
    """A window of 36 bands and 90 frames that moves, with strokes and a tone, 0 dB its loudest."""
    rng = np.random.default_rng(4)
    level = np.cumsum(rng.normal(size=90)) * 2 - np.linspace(10, 40, 36)[:, None]
    db = level + rng.gamma(1.0, 4.0, size=(36, 90))
    db[:, ::13] += 9
    db[11] += 20
    return np.maximum(db - db.max(), -72).astype(np.float32)


@pytest.fixture(scope="module")
def dense() -> np.ndarray:
    rng = np.random.default_rng(5)
    steps = rng.normal(size=(20, 130)) * np.linspace(20, 2, 20)[:, None]
    series = np.cumsum(steps, axis=1) * 0.3 + rng.gamma(0.7, 9.0, size=(20, 130))
    series[0] -= series[0].mean()
    return series.astype(np.float32)


def assert_named(row: np.ndarray, names: list[str], expected: dict[str, float]) -> None:
    """All columns, in order, by what a plain computation says that they hold."""
    assert list(expected) == names
    assert row.shape == (len(names),)
    assert row.dtype == np.float32
    for name, value in zip(names, row.tolist(), strict=True):
        assert value == pytest.approx(expected[name], rel=2e-3, abs=2e-4), name


def test_every_column_of_the_frames_holds_what_its_name_says(frames_in_db: np.ndarray) -> None:
    db = frames_in_db.astype(np.float64)
    step = np.abs(np.diff(db, axis=1))
    jump = np.abs(db[:, 4:] - db[:, :-4])
    tonal = np.array([median_away(frame, 9) for frame in db.T]).T
    stroke = np.array([median_away(band, 5) for band in db])
    ordered = np.sort(db, axis=1)
    per_band = {
        "mean": db.mean(axis=1),
        "std": db.std(axis=1),
        **{f"p{q:02d}": ordered[:, round(q / 100 * 89)] for q in (5, 25, 50, 75, 95)},
        "step_mean": step.mean(axis=1),
        "step_std": step.std(axis=1),
        "jump_mean": jump.mean(axis=1),
        "tonal_mean": tonal.mean(axis=1),
        "tonal_std": tonal.std(axis=1),
        "stroke_mean": np.abs(stroke).mean(axis=1),
        "stroke_max": stroke.max(axis=1),
    }
    expected = {f"band.{what}.{k}": v for what, row in per_band.items() for k, v in enumerate(row)}
    mfcc = scipy.fft.dct(db, axis=0, norm="ortho")[:20]
    for k, series in enumerate(mfcc):
        expected |= {f"mfcc.mfcc_{name}.{k}": value for name, value in moments(series).items()}
    for k, series in enumerate(mfcc):
        expected[f"mfcc.step_mean.{k}"] = np.abs(np.diff(series)).mean()
    for i, j in itertools.combinations(range(20), 2):
        expected[f"mfcc.correlation.{i}-{j}"] = correlation(mfcc[i], mfcc[j])
    for lag in (1, 2, 4, 8):
        expected |= {f"mfcc.lag{lag}.{k}": lagged(series, lag) for k, series in enumerate(mfcc)}
    by_frame = [shape_of(frame) for frame in db.T]
    shape = {name: np.array([one[name] for one in by_frame]) for name in by_frame[0]}
    rise = np.maximum(np.diff(db, axis=1), 0).mean(axis=0)
    fall = np.maximum(-np.diff(db, axis=1), 0).mean(axis=0)
    shape["rise"], shape["fall"] = np.append(0, rise), np.append(0, fall)
    first = ("centroid", "spread", "rolloff25", "rolloff50", "rolloff85", "rolloff95")
    then = ("entropy", "flatness", "level", "rise", "fall")
    groups = [f"{what}{k}" for k in range(8) for what in ("energy", "contrast")]
    for name in (*first, *then, *groups):
        expected |= {f"shape.shape_{what}.{name}": v for what, v in moments(shape[name]).items()}
    row = statistics.frame_statistics(frames_in_db[None])[0]
    assert_named(row, statistics.feature_names(36)[: len(row)], expected)


def test_every_column_of_the_dense_part_holds_what_its_name_says(dense: np.ndarray) -> None:
    mfcc = dense.astype(np.float64)
    step = np.diff(mfcc, axis=1)
    expected: dict[str, float] = {}
    for k, series in enumerate(mfcc):
        expected |= {f"dense.mfcc_{name}.{k}": value for name, value in moments(series).items()}
    del expected["dense.mfcc_mean.0"]  # the level, which was taken away
    for name, rows in (
        ("step_std", step.std(axis=1)),
        ("step_mean", np.abs(step).mean(axis=1)),
        ("bend_std", np.diff(step, axis=1).std(axis=1)),
    ):
        expected |= {f"dense.{name}.{k}": value for k, value in enumerate(rows)}
    for i, j in itertools.combinations(range(20), 2):
        expected[f"dense.correlation.{i}-{j}"] = correlation(mfcc[i], mfcc[j])
    for lag in (1, 2, 4, 8, 12, 16, 24, 32, 48):
        expected |= {f"dense.lag{lag}.{k}": lagged(series, lag) for k, series in enumerate(mfcc)}
    novelty = {
        "onset": np.maximum(step[0], 0),
        "movement": np.sqrt((step[1:] ** 2).mean(axis=0)),
    }
    for what, series in novelty.items():
        expected |= {f"dense.novelty_{name}.{what}": v for name, v in moments(series).items()}
    for lag in range(4, 64, 2):
        expected |= {f"dense.beat{lag}.{k}": lagged(series, lag) for k, series in novelty.items()}
    row = statistics.dense_statistics(dense[None])[0]
    assert_named(row, statistics.feature_names(36)[-len(row) :], expected)


def test_names_are_those_of_the_frames_and_then_of_the_dense_part(
    frames_in_db: np.ndarray, dense: np.ndarray
) -> None:
    both = (
        statistics.frame_statistics(frames_in_db[None]),
        statistics.dense_statistics(dense[None]),
    )
    assert len(statistics.feature_names(36)) == sum(part.shape[1] for part in both)


def test_what_hardly_moves_has_no_shape_of_its_own() -> None:
    """Rounding, standardised, would be noise of full size."""
    dense = np.zeros((1, 20, 130), np.float32)
    dense[0, 3, ::2] = 1e-5
    row = statistics.dense_statistics(dense)[0]
    by_name = dict(zip(statistics.feature_names(36)[-len(row) :], row.tolist(), strict=True))
    assert by_name["dense.mfcc_kurtosis.3"] == pytest.approx(-3, abs=1e-3)
    assert by_name["dense.mfcc_skew.3"] == pytest.approx(0, abs=1e-3)
    assert by_name["dense.lag2.3"] == pytest.approx(0, abs=1e-3)
    assert by_name["dense.correlation.3-4"] == 0
    assert by_name["dense.mfcc_kurtosis.4"] == -3
