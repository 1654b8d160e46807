"""Doubtful labels: those that were exchanged are found, and the rest is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from genrescope.errors import DataError
from genrescope.learn.teach.mislabelled import find_mislabelled


def answers(n=300, k=3, wrong=15, seed=0):
    """Labels of which some were exchanged, and probabilities that know better."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 4.0 * np.eye(k)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = true.copy()
    swapped = rng.choice(n, wrong, replace=False)
    given[swapped] = (given[swapped] + 1) % k
    return given, p, true, set(swapped.tolist())


def test_exchanged_labels_are_found():
    given, p, true, swapped = answers()
    found = find_mislabelled(given, p)
    rows = [doubt.row for doubt in found.doubtful]
    assert len(swapped & set(rows)) >= 12
    assert len(rows) <= 25
    assert len(swapped & set(rows[:10])) >= 9  # the most doubtful first
    right = [doubt.suggested == true[doubt.row] for doubt in found.doubtful if doubt.row in swapped]
    assert all(right)
    assert 0.03 < found.noise < 0.09  # 15 of 300
    assert found.joint.sum() == pytest.approx(1)


def test_margins_fall_and_the_other_genre_is_more_probable():
    given, p, *_ = answers()
    margins = [doubt.margin for doubt in find_mislabelled(given, p).doubtful]
    assert margins == sorted(margins, reverse=True)
    assert min(margins) > 0


def test_an_underrated_genre_is_not_taken_for_wrong():
    # Genre 1 never gets more than 0.45: its own threshold is low, so it is still believed.
    y = [0] * 20 + [1] * 20
    p = [[0.95, 0.05]] * 20 + [[0.55, 0.45]] * 20
    assert find_mislabelled(y, p).doubtful == ()


def test_a_genre_without_tracks_and_one_that_is_never_right():
    found = find_mislabelled([0, 0, 0], [[0.9, 0.1, 0.0]] * 3)
    assert found.doubtful == ()
    assert np.isinf(found.thresholds[2])


def test_what_are_no_probabilities():
    with pytest.raises(DataError, match="add up"):
        find_mislabelled([0, 1], [[0.9, 0.9], [0.1, 0.9]])
