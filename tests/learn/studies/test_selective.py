"""Risk and coverage: counted by hand, by brute force, and where the best order is known."""

from __future__ import annotations

import numpy as np
import pytest

from genrescope.errors import DataError
from genrescope.learn.studies.selective import conformal_coverage, risk_coverage, selective


def answers(n: int, seed: int = 0, k: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities given, and artists of three tracks."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.5), size=n)
    y = np.array([rng.choice(k, p=row) for row in p])
    return y, p, np.arange(n) // 3


def test_area_is_the_mean_risk_of_the_surest() -> None:
    y, p, artists = answers(200)
    right = p.argmax(axis=1) == y
    order = np.argsort(-p.max(axis=1))
    risks = [1 - right[order[: m + 1]].mean() for m in range(200)]
    best = np.sort(~right)
    least = [best[: m + 1].mean() for m in range(200)]
    found = selective(y, p, groups=artists, n_boot=0)
    assert found.aurc.value == pytest.approx(np.mean(risks))
    assert found.excess_aurc.value == pytest.approx(np.mean(risks) - np.mean(least))
    assert found.accuracy_at[0.8].value == pytest.approx(right[order[:160]].mean())
    assert found.gain_at[0.8].value == pytest.approx(right[order[:160]].mean() - right.mean())
    assert found.aurc.low is None
    assert (found.n, found.n_units) == (200, 67)


def test_the_best_order_has_no_excess_and_the_worst_has_most() -> None:
    y, p, _ = answers(120)
    right = (p.argmax(axis=1) == y).astype(float)
    ways = (right, np.zeros(120), -right)
    best, none, worst = (selective(y, p, confidence=c, n_boot=0).excess_aurc.value for c in ways)
    assert best == pytest.approx(0, abs=1e-12)
    assert best < none < worst
    flat = selective(y, p, confidence=np.zeros(120), n_boot=0)
    assert flat.accuracy_at[0.3].value == pytest.approx(right.mean())


def test_a_tie_is_one_point_of_the_curve() -> None:
    coverage, risk = risk_coverage([True, False, True, False, True], [0.9, 0.5, 0.5, 0.5, 0.1])
    np.testing.assert_allclose(coverage, [0.2, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0, 0.5, 0.4])


def test_intervals_hold_the_truth_and_respect_artists() -> None:
    y, p, artists = answers(600, seed=1)
    found = selective(y, p, groups=artists, n_boot=200)
    figure = found.gain_at[0.8]
    assert figure.low < figure.value < figure.high
    assert "[" in str(figure)
    # The same tracks, each ten times by its artist, tell no more than once.
    many = np.repeat(np.arange(600), 10)
    again = selective(y[many], p[many], groups=artists[many], n_boot=200).gain_at[0.8]
    alone = selective(y[many], p[many], n_boot=200).gain_at[0.8]
    assert again.high - again.low == pytest.approx(figure.high - figure.low, rel=0.25)
    assert alone.high - alone.low < 0.6 * (again.high - again.low)
    assert found.to_dict()["gain_at"]["0.8"]["value"] == figure.value


def test_sets_are_counted_on_folds_that_had_no_part_in_them() -> None:
    y, p, artists = answers(1500, seed=2)
    folds = artists % 5
    found = conformal_coverage(y, p, folds=folds, artists=artists, level=0.8, n_boot=100)
    assert found.overall.value == pytest.approx(found.covered.mean())
    assert found.overall.value == pytest.approx(0.8, abs=0.04)
    assert sum(row["n"] for row in found.per_fold) == 1500
    # One fold whose probabilities are wrong suffers; the others hardly notice.
    bad = p.copy()
    bad[folds == 0] = np.roll(bad[folds == 0], 1, axis=1)
    shifted = conformal_coverage(y, bad, folds=folds, artists=artists, level=0.8, n_boot=0)
    by_fold = {row["fold"]: row["coverage"].value for row in shifted.per_fold}
    assert by_fold[0] < 0.7
    assert min(by_fold[k] for k in (1, 2, 3, 4)) > 0.78
    assert shifted.per_fold[0]["quantile"] < shifted.per_fold[1]["quantile"]


def test_artists_that_are_badly_served_are_found() -> None:
    rng = np.random.default_rng(3)
    artists = np.repeat(np.arange(100), 6)
    y = rng.integers(0, 3, size=600)
    p = np.full((600, 3), 0.05)
    p[np.arange(600), y] = 0.9
    lost = artists < 20
    p[lost] = np.roll(p[lost], 1, axis=1)
    found = conformal_coverage(y, p, folds=artists % 4, artists=artists, level=0.7, n_boot=0)
    assert found.n_many == 100
    assert found.badly_served == pytest.approx(0.2)
    assert found.worst_artists[0.1] == 0
    assert found.worst_artists[0.5] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"coverages": (0.0,)}, "a share above 0"),
        ({"confidence": np.full(30, np.nan)}, "not finite"),
        ({"confidence": np.zeros(7)}, "one of each|expected one"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict, said: str) -> None:
    y, p, _ = answers(30)
    with pytest.raises(DataError, match=said):
        selective(y, p, **change)


def test_an_artist_in_two_folds_is_refused() -> None:
    y, p, artists = answers(30)
    with pytest.raises(DataError, match="in two folds"):
        conformal_coverage(y, p, folds=np.arange(30) % 2, artists=artists)
    with pytest.raises(DataError, match="two at least"):
        conformal_coverage(y, p, folds=np.zeros(30), artists=artists)
