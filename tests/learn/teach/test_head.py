"""The head: what it tells apart, what it chooses, and that scikit-learn takes it for its own."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from genrescope.errors import DataError
from genrescope.learn.teach.head import GenreHead

# Weights of 2 and rows that are there twice are not the same to folds that are drawn.
FAIL = {"check_sample_weight_equivalence_on_dense_data": "inner folds see rows, not weights"}


def rows(n=120, d=8, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(["blues", "disco", "metal"], n // 3)
    means = {"blues": 0.0, "disco": 1.2, "metal": 2.4}
    x = rng.normal(size=(n, d)) + np.array([means[name] for name in y])[:, None]
    return x, y, np.arange(n) // 4


def test_scikit_learn_takes_it_for_one_of_its_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks that are skipped, and the one that may fail
        check_estimator(GenreHead(widths=(1.0,), strengths=(0.1, 0.3)), expected_failed_checks=FAIL)


def test_it_tells_genres_apart_and_its_probabilities_add_up():
    x, y, groups = rows()
    head = GenreHead().fit(x[::2], y[::2], groups=groups[::2])
    p = head.predict_proba(x[1::2])
    assert np.allclose(p.sum(axis=1), 1)
    assert (head.predict(x[1::2]) == y[1::2]).mean() > 0.85
    assert (head.classes_[p.argmax(axis=1)] == head.predict(x[1::2])).all()


def test_the_same_seed_gives_the_same_head():
    x, y, groups = rows()
    first, second = (GenreHead().fit(x, y, groups=groups).predict_proba(x) for _ in range(2))
    assert np.array_equal(first, second)


def test_settings_are_chosen_by_folds_of_groups():
    # Each group has a mark of its own: whoever splits groups takes the mark for the genre.
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 6)
    y = np.where(np.arange(20) % 2, "a", "b")[groups]
    x = np.column_stack([3 * rng.normal(size=(20, 6))[groups], (y == "a") + rng.normal(size=120)])
    x[:, :6] += 0.01 * rng.normal(size=(120, 6))
    honest = GenreHead().fit(x, y, groups=groups).tried_[0]["accuracy"]
    fooled = GenreHead().fit(x, y).tried_[0]["accuracy"]
    assert fooled > 0.97
    assert honest < 0.9


def test_columns_that_are_the_same_for_nearly_all_rows_are_not_read():
    x, y, groups = rows()
    flat = np.zeros((len(x), 2))
    flat[:5, 0] = 100.0  # five tracks were longer than the others
    head = GenreHead().fit(np.hstack([x, flat]), y, groups=groups)
    assert head.columns_.tolist() == list(range(8))
    longer = np.hstack([x, np.full((len(x), 2), 50.0)])
    assert np.array_equal(head.predict_proba(longer), head.predict_proba(np.hstack([x, flat])))


def test_a_wide_encoder_does_not_drown_a_narrow_one():
    x, y, groups = rows(d=3)
    noise = np.random.default_rng(2).normal(size=(len(x), 600))
    both = np.hstack([x, noise])
    train = groups % 2 == 0

    def right(blocks):
        head = GenreHead(blocks).fit(both[train], y[train], groups=groups[train])
        return (head.predict(both[~train]) == y[~train]).mean()

    assert right([(0, 3), (3, 603)]) > right(None) + 0.15


def test_a_rare_genre_weighs_as_much_as_a_frequent_one():
    rng = np.random.default_rng(3)
    y = np.repeat(["rare", "usual"], [12, 188])
    x = rng.normal(size=(200, 3)) + 1.6 * (y == "rare")[:, None]
    new = rng.normal(size=(200, 3)) + 1.6

    def found(balanced):
        head = GenreHead(balanced=balanced, widths=(0.5,), strengths=(0.3,)).fit(x, y)
        return (head.predict(new) == "rare").mean()

    assert found(True) > found(False) + 0.15


def test_more_rows_than_the_support_are_learnt_from_all_the_same():
    x, y, groups = rows(n=600)
    head = GenreHead(max_support=60).fit(x, y, groups=groups)
    assert head.support_.shape[0] == 60
    assert (head.predict(x) == y).mean() > 0.85


def test_one_group_leaves_nothing_to_choose_by():
    x, y, _ = rows()
    head = GenreHead().fit(x, y, groups=np.zeros(len(y), dtype=int))
    assert head.tried_ == []
    assert (head.predict(x) == y).mean() > 0.8


def test_clone_and_grid_search():
    x, y, groups = rows()
    assert clone(GenreHead(widths=(1.0,))).widths == (1.0,)
    search = GridSearchCV(GenreHead(), {"balanced": [True, False]}, cv=GroupKFold(3))
    search.fit(x, y, groups=groups)
    assert search.best_score_ > 0.8
    assert cross_val_score(GenreHead(), x, y, groups=groups, cv=GroupKFold(3)).mean() > 0.8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"widths": ()}, "widths"),
        ({"strengths": (0.0,)}, "strengths"),
        ({"inner_folds": 1}, "inner_folds"),
        ({"blocks": [(0, 99)]}, "blocks"),
        ({"blocks": [(4, 8), (0, 4)]}, "blocks"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    x, y, _ = rows()
    with pytest.raises(DataError, match=words):
        GenreHead(**settings).fit(x, y)
