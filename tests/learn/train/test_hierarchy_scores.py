"""Scores of sets of genres, by hand and beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, label_ranking_average_precision_score

from genrescope.errors import DataError
from genrescope.learn.parts.hierarchy import SubTree
from genrescope.learn.train.hierarchy_scores import (
    TREE_METRICS,
    TreeTruth,
    compare_trees,
    label_ranking,
    score_tree,
)

TREE = SubTree(["A", "B"], [("A", "a"), ("A", "b"), ("A", "a", "x"), ("B", "c")])


def made_up(n=200, seed=0):
    rng = np.random.default_rng(seed)
    top = rng.dirichlet([1, 1], size=n)
    p = TREE.join(top, rng.random((n, 4)))
    truth = TREE.closed(rng.random((n, 6)) < p)
    return truth, TREE.choose(p, np.full(4, 0.3)), p, rng.integers(0, 30, size=n)


def test_flat_figures_are_those_of_scikit_learn():
    truth, chosen, p, artists = made_up()
    found = score_tree(TreeTruth(truth, TREE, artists), chosen, p, n_boot=0).values
    real, said = truth[:, 2:], chosen[:, 2:]
    assert found["micro_f1"] == pytest.approx(f1_score(real, said, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(real, said, average="macro"))
    some = real.any(axis=1)
    expected = label_ranking_average_precision_score(real[some], p[some][:, 2:])
    assert found["lrap"] == pytest.approx(expected)


def test_hierarchical_figures_by_hand():
    """Truth A > a > x, said A > b: one of two, and one of three (Kiritchenko et al. 2005)."""
    column = TREE.column
    truth = np.zeros((1, 6), dtype=bool)
    truth[0, column["A", "a", "x"]] = True  # what is above is added
    chosen = np.zeros((1, 6), dtype=bool)
    chosen[0, column["A", "b"]] = True
    p = np.full((1, 6), 0.5)
    found = score_tree(TreeTruth(truth, TREE, ["one"]), chosen, p).values
    assert found["hierarchical_precision"] == pytest.approx(1 / 2)
    assert found["hierarchical_recall"] == pytest.approx(1 / 3)
    assert found["hierarchical_f1"] == pytest.approx(2 / 5)
    assert found["micro_f1"] == 0


def test_ties_in_the_ranking_count_against():
    assert label_ranking(np.array([[True, False]]), np.array([[0.5, 0.5]])).tolist() == [0.5]
    assert np.isnan(label_ranking(np.zeros((1, 2), dtype=bool), np.ones((1, 2)))).all()


def test_intervals_resample_artists():
    truth, chosen, p, artists = made_up()
    many = score_tree(TreeTruth(truth, TREE, np.arange(200)), chosen, p, n_boot=300)
    few = score_tree(TreeTruth(truth, TREE, artists % 4), chosen, p, n_boot=300)
    for name in TREE_METRICS:
        low, high = many.intervals[name]
        assert low <= many.values[name] <= high
    assert many.n_artists == 200
    assert few.n_artists == 4
    assert few.intervals != many.intervals
    again = score_tree(TreeTruth(truth, TREE, np.arange(200)), chosen, p, n_boot=300)
    assert again.intervals == many.intervals
    assert score_tree(TreeTruth(truth, TREE, ["a"] * 200), chosen, p).intervals["lrap"] is None


def test_a_paired_difference_is_that_of_the_figures_and_narrower():
    truth, chosen, p, artists = made_up()
    other = TREE.choose(p, np.full(4, 0.5))
    found = compare_trees(TreeTruth(truth, TREE, artists), (chosen, p), (other, p))
    a, b = (score_tree(TreeTruth(truth, TREE, artists), c, p) for c in (chosen, other))
    for name, (gap, low, high) in found.items():
        assert gap == pytest.approx(a.values[name] - b.values[name])
        assert low <= gap <= high
    assert found["lrap"] == (0.0, 0.0, 0.0)
    width = found["micro_f1"][2] - found["micro_f1"][1]
    apart = sum(high - low for low, high in (a.intervals["micro_f1"], b.intervals["micro_f1"]))
    assert width < apart


def test_a_child_above_its_parent_is_counted():
    truth, chosen, p, artists = made_up()
    assert score_tree(TreeTruth(truth, TREE, artists), chosen, p, n_boot=0).above_parent == 0
    p = p.copy()
    p[:50, TREE.column["A", "a", "x"]] = 1.0
    assert score_tree(TreeTruth(truth, TREE, artists), chosen, p, n_boot=0).above_parent > 0.2


def test_no_hits_no_labels_and_json():
    truth, _, p, artists = made_up()
    nothing = np.zeros_like(truth)
    found = score_tree(TreeTruth(nothing, TREE, artists), nothing, p).to_dict()
    assert found["lrap"] is None
    assert found["intervals"]["lrap"] is None
    assert score_tree(TreeTruth(truth, TREE, artists), nothing, p).values["micro_f1"] == 0


def test_what_cannot_be_scored_is_refused():
    truth, chosen, p, _ = made_up(3)
    with pytest.raises(DataError, match="shape"):
        score_tree(TreeTruth(truth[:, :5], TREE, None), chosen, p)
    with pytest.raises(DataError, match="0 tracks"):
        score_tree(TreeTruth(truth[:0], TREE, None), chosen[:0], p[:0])
    with pytest.raises(DataError, match="no sub-genres"):
        score_tree(TreeTruth(truth[:, :2], SubTree("AB", []), None), chosen[:, :2], p[:, :2])
