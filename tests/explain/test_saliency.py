"""Whether a map of what mattered is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.audio.decode import open_audio
from genrescope.errors import DataError
from genrescope.explain.why.hearing import hear, score_of
from genrescope.explain.why.saliency import deletion, log_odds, occlude, rank_correlation
from genrescope.learn.bundle import Bundle
from tests.explain.tracks import clicks, progression

WORTH = np.random.default_rng(3).normal(size=(5, 7))


def linear(kept: np.ndarray) -> np.ndarray:
    """A recogniser whose log-odds are the sum of what the kept cells are worth."""
    return 0.5 + (kept * WORTH).sum(axis=(1, 2))


def test_occlusion_finds_what_each_cell_is_worth() -> None:
    found = occlude(linear, WORTH.shape, draws=4000)
    np.testing.assert_allclose(found.cells, WORTH, rtol=0.05, atol=0.02)
    np.testing.assert_allclose(found.by_band, WORTH.sum(axis=1))
    np.testing.assert_allclose(found.by_time, WORTH.sum(axis=0))
    assert found.nothing == pytest.approx(0.5)
    assert found.whole == pytest.approx(0.5 + WORTH.sum())


def test_occlusion_repeats_itself() -> None:
    first, second = (occlude(linear, WORTH.shape, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.cells, second.cells)
    assert (occlude(linear, WORTH.shape, seed=5).cells != first.cells).any()


def test_a_true_map_beats_chance_and_a_false_one_does_not() -> None:
    true, false = deletion(linear, WORTH), deletion(linear, -WORTH)
    assert true.area > 3 * true.spread
    assert true.better
    assert false.area < -3 * false.spread
    assert not false.better
    for curve in (true.ordered, *true.chance):  # all begin with everything, and end with nothing
        np.testing.assert_allclose(curve[[0, -1]], [0.5 + WORTH.sum(), 0.5])
    assert true.share[0] == 0
    assert true.share[-1] == 1


@pytest.mark.parametrize("worth", [np.zeros(3), np.zeros((0, 2)), np.full((2, 2), np.nan)])
def test_no_map_no_curve(worth: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot be followed"):
        deletion(linear, worth)


def test_answers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        occlude(lambda kept: np.full(len(kept), np.nan), (2, 2))
    with pytest.raises(DataError, match="2 draws"):
        occlude(linear, (5, 7), draws=1)


def test_rank_correlation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 60), rng.integers(0, 5, 60)
    from scipy.stats import spearmanr

    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rank_correlation(a, np.ones(60)))


def test_log_odds_of_certainties_are_finite() -> None:
    assert np.isfinite(log_odds([0.0, 1.0])).all()


@pytest.mark.parametrize("seconds", [0.7, 3.0, 12.0, 24.0, 31.0])
def test_what_is_heard_whole_is_what_the_front_end_says(seconds: float) -> None:
    sr = 44_100
    y = np.resize(progression(), round(seconds * sr)).astype(np.float32)
    heard = hear(y, sr=sr)
    row = heard.rows(np.ones((1, *heard.shape), bool))[0]
    expected = frames.describe_samples(y[: 30 * sr], sr=sr, n_windows=1).features[0]
    np.testing.assert_allclose(row, expected, atol=1e-4)
    assert heard.seconds == pytest.approx(min(seconds, 30), abs=1e-3)


def test_hidden_cells_change_only_their_own_frames() -> None:
    heard = hear(np.resize(clicks(120, 8), 22_050 * 24).astype(np.float32), sr=22_050)
    kept = np.ones((1, *heard.shape), bool)
    kept[0, :, 3] = False
    part = slice(frames.N_STATISTICS, frames.N_STATISTICS + frames.READ_BANDS * frames.N_FRAMES)
    db = heard.rows(kept)[0, part].reshape(frames.READ_BANDS, frames.N_FRAMES)
    low, high = heard.time_edges[3:5]
    inside = (heard.times >= low) & (heard.times < high)
    assert inside.sum() in (10, 11)
    # The level of a row is relative to its loudest value, which was not hidden here.
    np.testing.assert_allclose(db[:, ~inside], heard.db[:, ~inside], atol=1e-4)
    np.testing.assert_allclose(db[:, inside].std(axis=1), 0, atol=1e-4)
    silent = heard.rows(kept, fill="floor")[0, part].reshape(db.shape)
    assert (silent[:, inside] == -frames.FLOOR_DB).all()


def test_hiding_the_first_seconds_changes_the_dense_part() -> None:
    heard = hear(np.resize(progression(), 22_050 * 24).astype(np.float32), sr=22_050)
    first, last = np.ones((2, 1, *heard.shape), bool)
    first[0, :, 0], last[0, :, -1] = False, False
    dense = slice(frames.N_STATISTICS + frames.READ_BANDS * frames.N_FRAMES, None)
    whole = heard.rows(np.ones((1, *heard.shape), bool))[0, dense]
    assert np.abs(heard.rows(first)[0, dense] - whole).max() > 1
    np.testing.assert_allclose(heard.rows(last)[0, dense], whole, atol=1e-5)


def test_unknown_genres_and_shapes_are_refused() -> None:
    heard = hear(progression(), sr=22_050)
    with pytest.raises(DataError, match="does not know 'Polka'"):
        score_of(heard, Bundle.load(), "Polka")
    with pytest.raises(DataError, match="expected"):
        heard.rows(np.ones((1, 2, 2), bool))
    with pytest.raises(DataError, match="mean, floor"):
        heard.rows(np.ones((1, *heard.shape), bool), fill="pink")


@pytest.mark.data
def test_maps_of_real_clips_are_true(fma_clips: list[Path]) -> None:
    bundle = Bundle.load()
    for path in fma_clips[:2]:
        with open_audio(path) as audio:
            y, sr = audio.read(offset=0.0, duration=30.0), audio.sr
        heard = hear(y, sr=sr)
        probabilities = bundle.run(heard.rows(np.ones((1, *heard.shape), bool))[:, None])[0][0]
        score = score_of(heard, bundle, bundle.genres[int(probabilities.argmax())])
        found = occlude(score, heard.shape, draws=400)
        curve = deletion(score, found.cells, steps=10, orders=4)
        assert curve.better
        assert curve.area > 0.5  # of log-odds
