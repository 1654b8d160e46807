"""Calibration to the digit: the bound and the walk against a plain reading of their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from genrescope.errors import DataError
from genrescope.learn.calibrate import (
    Abstention,
    abstention_threshold,
    apply_temperature,
    conformal_quantile,
    fit_temperature,
    lower_bound,
    prediction_set,
)

METHOD = (
    "fixed-sequence test from high to low (Learn then Test), {}-clustered exact lower bound "
    "(Korn and Graubard)"
)


def korn_graubard(right: Any, total: Any, delta: float) -> float:
    """As their paper has it, with the quantiles of SciPy."""
    x, m = np.asarray(right, float), np.asarray(total, float)
    n, g, share = m.sum(), len(m), x.sum() / m.sum()
    if share in (0, 1) or g == 1:
        effective = g
    else:
        variance = g / (g - 1) * ((x - share * m) ** 2).sum() / n**2
        effective = n if variance == 0 else share * (1 - share) / variance
        if delta < 0.5:
            effective *= (stats.t.isf(delta, n - 1) / stats.t.isf(delta, g - 1)) ** 2
        effective = min(effective, n)
    hits = share * effective
    return float(stats.beta.ppf(delta, hits, effective - hits + 1)) if hits else 0.0


def walked(p: Any, y: Any, groups: Any, target: float, delta: float) -> float | None:
    """The threshold, by trying all of them from high to low."""
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == y
    names = np.unique(groups)
    enough = min(max(30, math.ceil(0.1 * len(names))), len(names))
    found = None
    for percent in range(99, -1, -1):
        sure = confidence >= percent / 100
        total = np.bincount(groups[sure], minlength=groups.max() + 1)
        right = np.bincount(groups[sure & hit], minlength=groups.max() + 1)
        if (total > 0).sum() < enough:
            continue
        if korn_graubard(right[total > 0], total[total > 0], delta) < target:
            break
        found = percent / 100
    return found


def heard(seed: int, artists: int, tracks: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, artists, tracks)
    z = rng.normal(size=(tracks, 3))
    z[:, 0] += 1 + rng.normal(0, 0.5, artists)[groups]
    p = special.softmax(2 * z, axis=1)
    return p, (p.cumsum(axis=1) < rng.random(tracks)[:, None]).sum(axis=1), groups


# --- the bound -------------------------------------------------------------


@pytest.mark.parametrize("delta", [0.01, 0.1, 0.3, 0.5, 0.7])
def test_the_bound_is_that_of_korn_and_graubard(delta: float) -> None:
    rng = np.random.default_rng(1)
    for artists in (2, 3, 10, 61, 62, 200):
        total = rng.geometric(0.3, artists)
        right = rng.binomial(total, rng.beta(4, 1, artists))
        found = lower_bound(right, total, delta=delta)
        assert found == pytest.approx(korn_graubard(right, total, delta), abs=2e-6), artists


@pytest.mark.parametrize(
    ("right", "total"),
    [
        ([3], [4]),  # one artist
        ([1, 1, 1], [2, 2, 2]),  # no variance
        ([2, 0], [2, 3]),
        ([5, 5], [5, 5]),
        ([0, 0], [1, 2]),
        ([1, 0], [1, 1]),
    ],
)
def test_bounds_of_few_artists(right: list[int], total: list[int]) -> None:
    for delta in (0.1, 0.6):
        found = lower_bound(right, total, delta=delta)
        assert found == pytest.approx(korn_graubard(right, total, delta), abs=1e-9)
        assert isinstance(found, float)


@pytest.mark.parametrize(
    ("right", "total", "words"),
    [
        ([1, 1], [1], r"^right has shape \(2,\) and total \(1,\); give one pair of counts for eac"),
        ([[1]], [[1]], r"shape \(1, 1\)"),
        ([], [], "artist, at least one$"),
        ([-1], [1], r"^counts of right answers must be in 0 \.\. total, each total at least 1$"),
        ([0], [0.5], "each total at least 1"),
        ([1.5], [1], "counts of right"),
    ],
)
def test_counts_that_cannot_be(right: Any, total: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        lower_bound(right, total, delta=0.1)
    with pytest.raises(DataError, match=r"^delta is 1; it is a share: give one between 0 and 1"):
        lower_bound([1], [1], delta=1)


# --- not sure --------------------------------------------------------------


@pytest.mark.parametrize(("artists", "tracks"), [(20, 60), (60, 300), (400, 500)])
@pytest.mark.parametrize("target", [0.6, 0.75, 0.9])
def test_the_threshold_is_the_last_that_is_proven(artists: int, tracks: int, target: float) -> None:
    for seed in range(3):
        p, y, groups = heard(seed, artists, tracks)
        found = abstention_threshold(p, y, target_accuracy=target, delta=0.2, groups=groups)
        expected = walked(p, y, groups, target, 0.2)
        assert found.threshold == expected
        assert (found.n, found.n_units) == (tracks, len(np.unique(groups)))
        if expected is None:
            assert (found.coverage, found.accuracy_when_sure, found.n_sure) == (None, None, 0)
            continue
        sure = p.max(axis=1) >= expected
        right = (p.argmax(axis=1) == y)[sure]
        assert (found.n_sure, found.message, found.reached) == (int(sure.sum()), "", True)
        assert found.coverage == pytest.approx(sure.mean())
        assert found.accuracy_when_sure == pytest.approx(right.mean())
        assert isinstance(found.threshold, float)
        rows = [right[groups[sure] == g] for g in np.unique(groups[sure])]
        bound = korn_graubard([r.sum() for r in rows], [len(r) for r in rows], 0.2)
        assert found.lower_bound == pytest.approx(bound, abs=2e-6)
        assert found.lower_bound >= target


@pytest.mark.parametrize("unit", ["artist", "track"])
def test_what_was_not_reached_is_told_with_how_near_it_came(unit: str) -> None:
    p = np.tile([0.853, 0.147], (40, 1))
    y = np.repeat([0, 1], 20)
    groups = np.arange(40) if unit == "artist" else None
    bound = korn_graubard(1 - y, np.ones(40), 0.1)
    assert abstention_threshold(p, y, target_accuracy=0.9, groups=groups) == Abstention(
        threshold=None,
        coverage=None,
        accuracy_when_sure=None,
        lower_bound=pytest.approx(bound),
        target_accuracy=0.9,
        delta=0.1,
        n=40,
        n_sure=0,
        n_units=40,
        unit=unit,
        method=METHOD.format(unit),
        message=(
            "no threshold reaches accuracy 0.9: the 40 surest tracks (highest probability at "
            f"least 0.85) are only proven to reach {bound:.3f}; ask for less, or calibrate on more "
            f"{unit}s"
        ),
    )


@pytest.mark.parametrize(("sure", "reached"), [(29, False), (30, True)])
def test_the_walk_begins_with_thirty_artists(sure: int, reached: bool) -> None:
    """With fewer than that, good answers prove too little to begin with."""
    confidence = np.r_[np.full(sure, 0.95), np.full(100 - sure, 0.55)]
    p = np.column_stack([confidence, 1 - confidence])
    y = np.r_[np.zeros(sure, int), np.ones(100 - sure, int)]  # right where it is sure
    found = abstention_threshold(p, y, target_accuracy=0.9, groups=np.arange(100))
    assert (found.threshold == 0.56) == found.reached == reached


@pytest.mark.parametrize(("sure", "reached"), [(39, False), (40, True)])
def test_the_walk_begins_with_a_tenth_of_the_artists(sure: int, reached: bool) -> None:
    n = 400
    confidence = np.r_[np.full(sure, 0.95), np.full(n - sure, 0.55)]
    p = np.column_stack([confidence, 1 - confidence])
    y = np.r_[np.zeros(sure, int), np.ones(n - sure, int)]
    found = abstention_threshold(p, y, target_accuracy=0.9, groups=np.arange(n))
    assert found.reached == reached


# --- temperature -----------------------------------------------------------


def test_rows_of_any_height_are_softened_each_by_itself() -> None:
    z = np.array([[0.0, 1.0, 2.0], [3000.0, 3001.0, 3002.0], [-9e5, -9e5, -9e5]])
    np.testing.assert_allclose(apply_temperature(z, 2), special.softmax(z / 2, axis=1))


def test_temperature_to_the_digit() -> None:
    """One logit of 1 against 0, right in 3 of 4: softmax(1 / T) is 3/4 at T = 1 / ln 3."""
    found = fit_temperature([[1.0, 0.0]] * 4, [0, 0, 0, 1])
    assert found == pytest.approx(1 / math.log(3), rel=1e-11)
    # Not better than chance, and always right: the ends.
    assert fit_temperature([[1.0, 0.0]] * 2, [0, 1]) == 100
    assert fit_temperature([[1.0, 0.0]] * 2, [0, 0]) == pytest.approx(0.01)


@pytest.mark.parametrize("t", [0, -1.0, math.nan, math.inf])
def test_temperatures_that_are_none(t: float) -> None:
    with pytest.raises(DataError) as caught:
        apply_temperature([[0.0]], t)
    assert str(caught.value) == f"temperature is {t}; it must be above 0; 1 changes nothing"
    assert apply_temperature([[5.0]], 1e-9).tolist() == [[1.0]]


def test_logits_that_cannot_be_taken_are_counted() -> None:
    z = [[0.0, 0.0], [np.nan, 0.0], [0.0, np.inf]]
    with pytest.raises(DataError) as caught:
        apply_temperature(z, 1)
    assert str(caught.value) == (
        "logits of track 1 are not finite (2 such tracks); clip probabilities before taking the "
        "logarithm, such as to at least 1e-12"
    )
    for shape in ((3,), (3, 0), (1, 1, 1)):
        with pytest.raises(DataError, match=r"they must be \[tracks, genres\]$"):
            apply_temperature(np.zeros(shape), 1)


# --- sets ------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 7, 9, 49, 99])
def test_the_quantile_is_the_score_of_that_rank(n: int) -> None:
    """The ceil((n + 1) level)-th of n scores, also where the sum of the shares falls short."""
    own = np.random.default_rng(n).permutation(np.arange(1, n + 1) / (n + 1))
    p = np.column_stack([own, 1 - own])
    for rank in range(1, n + 1):
        found = conformal_quantile(p, np.zeros(n, int), level=rank / (n + 1))
        assert found == pytest.approx(rank / (n + 1)), rank
    assert conformal_quantile(p, np.zeros(n, int), level=n / (n + 1) + 1e-6) == 1.0
    assert conformal_quantile(p, np.zeros(n, int), level=1e-9) == pytest.approx(1 / (n + 1))


def test_artists_weigh_the_same_and_those_without_one_are_their_own() -> None:
    own = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    p, y = np.column_stack([own, 1 - own]), np.zeros(5, int)
    groups = ["a", "a", "a", "b", ""]
    # Three units and the new one: 1/4 each, a's in thirds of it.
    for level, expected in ((1 / 12, 0.1), (0.2, 0.3), (0.25, 0.3), (0.3, 0.4), (0.75, 0.5)):
        found = conformal_quantile(p, y, level=level, groups=groups)
        assert found == pytest.approx(expected), level
    assert conformal_quantile(p, y, level=0.76, groups=groups) == 1.0


def test_sets_hold_what_is_at_the_quantile() -> None:
    p = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    assert prediction_set(p, 0.75).tolist() == [[True, True, True], [False, True, False]]
    assert prediction_set(p, 0.74).tolist() == [[True, False, False], [False, True, False]]
    assert prediction_set(p, 0).tolist() == [[True, False, False], [False, True, False]]
    assert prediction_set(p[0], 1).tolist() == [True, True, True]
    for wrong in (-0.01, 1.01, math.nan):
        with pytest.raises(DataError) as caught:
            prediction_set(p, wrong)
        assert str(caught.value) == (
            f"quantile is {wrong}; it is 1 - a probability: give one in [0, 1]"
        )


@pytest.mark.parametrize("call", [conformal_quantile, abstention_threshold])
def test_probabilities_of_another_shape(call: Any) -> None:
    name = "level" if call is conformal_quantile else "target_accuracy"
    with pytest.raises(DataError, match=r"must be \[tracks, genres\]"):
        call([0.5, 0.5], [0, 1], **{name: 0.5})
    with pytest.raises(DataError, match=r"one artist for each of the 1 tracks"):
        call([[0.5, 0.5]], [0], **{name: 0.5}, groups=["a", "b"])
    with pytest.raises(DataError, match=rf"^{name} is 1; it is a share: .*, such as 0\.9$"):
        call([[0.5, 0.5]], [0], **{name: 1})
