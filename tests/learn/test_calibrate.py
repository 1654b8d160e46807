"""Calibration: the optimum is the optimum, and promised frequencies are kept.

The guarantees are checked by simulation: many calibration sets are drawn from a population
whose truth is known, and the promise is compared with how often it held.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from genrescope.errors import DataError
from genrescope.learn import calibrate
from genrescope.learn.calibrate import (
    GRID,
    MIN_UNITS,
    Abstention,
    abstention_threshold,
    apply_temperature,
    conformal_quantile,
    fit_temperature,
    lower_bound,
    prediction_set,
)
from genrescope.learn.evaluate import expected_calibration_error

K = 4


def drawn(seed: int, n: int) -> tuple[Any, Any]:
    """Logits, and labels drawn from the very probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.normal(size=(n, K))
    p = special.softmax(z, axis=1)
    return z, (p.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1)


def by_artist(
    rng: np.random.Generator, artists: int, *, alike: float, heavy: bool = False
) -> tuple[Any, Any, Any]:
    """Two genres; tracks of an artist share how sure the recogniser is, and how right."""
    size = rng.geometric(0.35, artists)
    if heavy:  # a few artists with a large part of the tracks, as in FMA
        size = size + (rng.random(artists) < 0.03) * rng.integers(10, 60, artists)
    g = np.repeat(np.arange(artists), size)
    logit = np.abs(rng.normal(0, 1, artists)[g] * alike + rng.normal(0, 1, len(g)))
    shift = rng.normal(0, 1.5, artists)[g] * alike - 0.1
    right = rng.random(len(g)) < special.expit(logit + shift)
    y = rng.integers(0, 2, len(g))
    guess = np.where(right, y, 1 - y)
    confidence = special.expit(logit)
    p = np.where(guess[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
    return p, y, g


# --- temperature -----------------------------------------------------------


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_temperature_is_found_again(true: float) -> None:
    z, y = drawn(0, 20_000)
    found = fit_temperature(z * true, y)  # scores that are `true` times too sharp
    assert found == pytest.approx(true, rel=0.05)
    p = apply_temperature(z * true, found)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert expected_calibration_error(y, p) < 0.015
    if true != 1:
        assert expected_calibration_error(y, special.softmax(z * true, axis=1)) > 0.05


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
@settings(max_examples=25, deadline=None)
def test_no_other_temperature_is_better(seed: int, scale: float) -> None:
    z, y = drawn(seed, 60)
    z = z * scale
    found = fit_temperature(z, y)

    def loss(t: float) -> float:
        return -float(special.log_softmax(z / t, axis=1)[np.arange(len(y)), y].mean())

    for other in (found * 0.9, found * 0.99, found * 1.01, found * 1.1):
        assert loss(found) <= loss(float(np.clip(other, 0.01, 100))) + 1e-12


def test_log_probabilities_and_logits_give_the_same() -> None:
    z, y = drawn(1, 500)
    assert fit_temperature(special.log_softmax(z, axis=1), y) == pytest.approx(
        fit_temperature(z, y), rel=1e-9
    )


def test_temperature_keeps_the_ranking() -> None:
    z, _ = drawn(2, 200)
    for t in (0.1, 1, 10):
        np.testing.assert_array_equal(apply_temperature(z, t).argmax(axis=1), z.argmax(axis=1))


def test_temperature_at_its_ends() -> None:
    z = np.eye(K)
    assert fit_temperature(z, np.arange(K)) == pytest.approx(0.01)  # always right
    assert fit_temperature(z, (np.arange(K) + 1) % K) == 100  # always wrong
    assert np.isfinite(apply_temperature(1e4 * z, 0.01)).all()


@pytest.mark.parametrize(
    ("z", "y", "words"),
    [
        ([[0.0, -np.inf], [0.0, 0.0]], [0, 1], "track 0 are not finite.*clip"),
        ([[0.0, 0.0]], [2], "labels go from 0 to 1"),
        (np.empty((0, 2)), [], "0 tracks"),
        ([0.0, 1.0], [0, 1], "must be .tracks, genres."),
    ],
)
def test_temperature_refuses(z: Any, y: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit_temperature(z, y)


@pytest.mark.parametrize("t", [0, -1, float("nan"), float("inf")])
def test_no_such_temperature(t: float) -> None:
    with pytest.raises(DataError, match="temperature is"):
        apply_temperature([[0.0, 1.0]], t)


# --- conformal sets --------------------------------------------------------


@pytest.mark.parametrize("level", [0.6, 0.8, 0.9])
def test_sets_cover_as_promised(level: float) -> None:
    """Marginal coverage lies in [level, level + 1 / (n + 1)], even where probabilities lie."""
    n, runs, test = 99, 300, 200
    covered = []
    for seed in range(runs):
        z, y = drawn(seed, n + test)
        p = special.softmax(3 * z, axis=1)  # far too sure
        q = conformal_quantile(p[:n], y[:n], level=level)
        covered.append(((1 - p[n:]) <= q)[np.arange(test), y[n:]].mean())
    spread = np.std(covered) / np.sqrt(runs)
    assert level - 3 * spread <= np.mean(covered) <= level + 1 / (n + 1) + 3 * spread


def test_quantile_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    # Scores 0.1, 0.2, 0.3, 0.6; of 4, level 0.6 takes the ceil(5 * 0.6) = 3rd.
    assert conformal_quantile(p, [0, 0, 0, 1], level=0.6) == pytest.approx(0.3)
    assert conformal_quantile(p, [0, 0, 0, 1], level=0.8) == pytest.approx(0.6)
    assert conformal_quantile(p, [0, 0, 0, 1], level=0.81) == 1  # 4 tracks cannot tell
    # Artists a (scores 0.1, 0.2, 0.3) and b (0.6) weigh 1/3 each; the new one has the rest.
    q = conformal_quantile(p, [0, 0, 0, 1], level=1 / 3, groups=["a", "a", "a", "b"])
    assert q == pytest.approx(0.3)
    q = conformal_quantile(p, [0, 0, 0, 1], level=0.35, groups=["a", "a", "a", "b"])
    assert q == pytest.approx(0.6)


def test_sets_cover_new_artists_as_promised() -> None:
    """An artist with many easy tracks must not make the sets too small for the others."""
    level, runs = 0.8, 200
    covered = {"artist": [], "track": []}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        artists = 80
        size = np.where(rng.random(artists) < 0.1, 40, 2)
        g = np.repeat(np.arange(artists), size)
        easy = (size > 2)[g]
        own = np.where(easy, rng.uniform(0.8, 1, len(g)), rng.uniform(0, 1, len(g)))
        p = np.column_stack([own, 1 - own])
        y = np.zeros(len(g), dtype=int)
        new = g >= 60  # artists that were not heard
        for unit, groups in (("artist", g[~new]), ("track", None)):
            q = conformal_quantile(p[~new], y[~new], level=level, groups=groups)
            hit = (1 - own[new]) <= q
            _, place = np.unique(g[new], return_inverse=True)
            covered[unit].append((np.bincount(place, hit) / np.bincount(place)).mean())
    spread = np.std(covered["artist"]) / np.sqrt(runs)
    assert np.mean(covered["artist"]) == pytest.approx(level + 0.5 / 61, abs=0.5 / 61 + 3 * spread)
    assert np.mean(covered["track"]) < level - 0.05


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_sets_grow_with_the_quantile_and_are_never_empty(seed: int, a: float, b: float) -> None:
    p = special.softmax(drawn(seed, 20)[0], axis=1)
    small, large = (prediction_set(p, q) for q in sorted((a, b)))
    assert (large | ~small).all()
    assert small[np.arange(len(p)), p.argmax(axis=1)].all()
    assert prediction_set(p, 1.0).all()
    np.testing.assert_array_equal(prediction_set(p[3], a), prediction_set(p, a)[3])


@pytest.mark.parametrize("level", [0, 1, 90])
def test_no_such_level(level: float) -> None:
    with pytest.raises(DataError, match=f"level is {level}; it is a share"):
        conformal_quantile([[0.5, 0.5]], [0], level=level)
    with pytest.raises(DataError, match=r"quantile is 1\.5"):
        prediction_set([0.5, 0.5], 1.5)


# --- not sure --------------------------------------------------------------


def test_a_threshold_by_hand() -> None:
    """Above 0.75 always right, below it guessing."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 4000)
    right = (confidence >= 0.75) | (rng.random(4000) < 0.5)
    y = np.zeros(4000, dtype=int)
    guess = np.where(right, 0, 1)
    p = np.where(guess[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
    a = abstention_threshold(p, y, target_accuracy=0.95)
    assert a.reached
    assert 0.68 <= (a.threshold or 0) <= 0.75
    sure = confidence >= (a.threshold or 0)
    assert a.coverage == pytest.approx(sure.mean())
    assert a.accuracy_when_sure == pytest.approx(right[sure].mean())
    assert a.n_sure == sure.sum()
    assert 0.95 <= (a.lower_bound or 0) <= (a.accuracy_when_sure or 0)
    # The next lower threshold is not proven.
    below = confidence >= (a.threshold or 0) - 0.01
    assert lower_bound(right[below], np.ones(below.sum()), delta=0.1) < 0.95
    more = abstention_threshold(p, y, target_accuracy=0.7)
    assert (more.coverage or 0) > (a.coverage or 0)
    all_of_them = abstention_threshold(p, y, target_accuracy=0.6)
    assert all_of_them.coverage == 1
    assert json.loads(json.dumps(a.to_dict()))["threshold"] == a.threshold


@pytest.mark.parametrize(("artists", "target"), [(60, 0.7), (200, 0.7)])
def test_the_target_is_kept_for_new_artists(artists: int, target: float) -> None:
    """At most delta of calibrations miss it; taking tracks as independent, many more do."""
    delta, runs = 0.1, 200
    p, y, _ = by_artist(np.random.default_rng(99), 60_000, alike=1, heavy=True)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    truth = {t: right[confidence >= t].mean() for t in GRID.tolist() if (confidence >= t).any()}
    missed = {"artist": 0, "track": 0}
    reached = 0
    for seed in range(runs):
        p, y, g = by_artist(np.random.default_rng(seed), artists, alike=1, heavy=True)
        for unit, groups in (("artist", g), ("track", None)):
            a = abstention_threshold(p, y, target_accuracy=target, delta=delta, groups=groups)
            assert a.unit == unit
            if a.threshold is not None:
                missed[unit] += truth[a.threshold] < target
                reached += unit == "artist"
    noise = np.sqrt(delta * (1 - delta) / runs)
    assert missed["artist"] / runs <= delta + 2 * noise
    assert missed["track"] > 1.3 * missed["artist"]
    assert reached > 0.5 * runs  # a procedure that never answers keeps every promise


def test_no_threshold_reaches_the_target() -> None:
    rng = np.random.default_rng(0)
    p, y, g = by_artist(rng, 300, alike=0.3)
    a = abstention_threshold(p, y, target_accuracy=0.999, groups=g)
    assert not a.reached
    assert a.threshold is a.coverage is a.accuracy_when_sure is None
    assert 0.5 < (a.lower_bound or 0) < 0.999
    assert "no threshold reaches accuracy 0.999" in a.message
    assert "more artists" in a.message
    json.dumps(a.to_dict(), allow_nan=False)


def test_a_lucky_few_do_not_decide() -> None:
    """Ten faultless surest tracks, and coins below: nothing is proven, nothing is claimed."""
    n = 400
    confidence = np.r_[np.full(10, 0.99), np.full(n - 10, 0.6)]
    rng = np.random.default_rng(0)
    right = np.r_[np.ones(10, bool), rng.random(n - 10) < 0.5]
    guess = np.where(right, 0, 1)
    p = np.where(guess[:, None] == np.arange(2), confidence[:, None], 1 - confidence[:, None])
    assert MIN_UNITS > 10
    assert not abstention_threshold(p, np.zeros(n, int), target_accuracy=0.7).reached


def test_few_tracks_can_still_be_all_sure() -> None:
    p = np.tile([0.95, 0.05], (25, 1))  # fewer than the walk starts with on larger sets
    a = abstention_threshold(p, np.zeros(25, int), target_accuracy=0.9)
    assert a == Abstention(
        threshold=0.0,
        coverage=1.0,
        accuracy_when_sure=1.0,
        lower_bound=pytest.approx(0.1 ** (1 / 25)),
        target_accuracy=0.9,
        delta=0.1,
        n=25,
        n_sure=25,
        n_units=25,
        unit="track",
        method=a.method,
    )


@pytest.mark.parametrize("name", ["target_accuracy", "delta"])
@pytest.mark.parametrize("value", [0, 1, 80])
def test_shares_are_shares(name: str, value: float) -> None:
    wrong = {"target_accuracy": 0.8, "delta": 0.1, name: value}
    with pytest.raises(DataError, match=f"{name} is {value}"):
        abstention_threshold([[0.5, 0.5]], [0], **wrong)


# --- the bound -------------------------------------------------------------


def test_without_clusters_the_bound_is_clopper_and_pearson() -> None:
    for hits, n in ((0, 20), (13, 20), (80, 100), (960, 1000)):
        right = np.r_[np.ones(hits), np.zeros(n - hits)]
        exact = stats.beta.ppf(0.1, hits, n - hits + 1) if hits else 0
        # The sample variance has n - 1 below it, so a little less than n tracks count.
        assert lower_bound(right, np.ones(n), delta=0.1) == pytest.approx(
            exact, abs=0.001 + 0.1 / n
        )
    assert lower_bound(np.ones(30), np.ones(30), delta=0.1) == pytest.approx(0.1 ** (1 / 30))


def test_the_bound_falls_as_delta_does() -> None:
    right, total = np.array([3, 1, 4, 0, 2]), np.array([3, 2, 4, 1, 2])
    bounds = [lower_bound(right, total, delta=d) for d in (0.01, 0.1, 0.4, 0.5, 0.6, 0.99)]
    assert bounds == sorted(bounds)
    assert lower_bound([2], [3], delta=0.1) < 0.2  # one artist proves next to nothing


def test_copies_of_a_track_prove_nothing() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(200) < 0.8).astype(float)
    one = lower_bound(right, np.ones(200), delta=0.1)
    copied = lower_bound(right * 10, np.full(200, 10), delta=0.1)
    split = lower_bound(np.repeat(right, 10), np.ones(2000), delta=0.1)
    assert copied == pytest.approx(one, abs=0.003)
    assert split > one + 0.01
    faultless = lower_bound(np.full(5, 10), np.full(5, 10), delta=0.1)
    assert faultless == pytest.approx(0.1 ** (1 / 5))  # five artists, not fifty tracks


def test_the_bound_holds_as_often_as_it_says() -> None:
    missed = 0
    runs = 400
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        size = rng.geometric(0.3, 80)
        right = rng.binomial(size, rng.beta(4, 1, 80))
        missed += lower_bound(right, size, delta=0.1) > 0.8
    assert 0.03 < missed / runs < 0.13


def test_the_bound_refuses() -> None:
    for right, total, words in (
        ([1], [1, 2], "one pair of counts"),
        ([], [], "at least one"),
        ([2], [1], "0 .. total"),
        ([0], [0], "each total at least 1"),
    ):
        with pytest.raises(DataError, match=words):
            lower_bound(right, total, delta=0.1)


@given(st.floats(0.01, 500), st.floats(0.01, 500), st.floats(1e-9, 1))
@settings(max_examples=200, deadline=None)
def test_incomplete_beta_function(a: float, b: float, x: float) -> None:
    expected = special.betainc(a, b, x)
    assert calibrate._beta_cdf(x, a, b) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("tail", [0.005, 0.1, 0.4])
@pytest.mark.parametrize("df", [1, 3, 50, 61, 7000])
def test_student_quantile(tail: float, df: float) -> None:
    assert calibrate._t_quantile(tail, df) == pytest.approx(stats.t.isf(tail, df), abs=1e-6)
