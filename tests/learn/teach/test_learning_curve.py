"""The learning curve: which tracks are learnt from, and what it says."""

from __future__ import annotations

import numpy as np

from genrescope.catalog.splits import group_folds
from genrescope.learn.teach.learning_curve import learning_curve


def collection(groups=40, each=5):
    group = np.repeat(np.arange(groups), each)
    y = (group % 2).astype(np.int64)
    return y, group, group_folds(y, group, n_folds=4)


def as_good_as(accuracy_of):
    """Answers that are right for a share of the tracks that the number learnt from decides."""

    def answer(kept, asked):
        y, _, _ = collection()
        right = np.random.default_rng(0).uniform(size=len(y)) < accuracy_of(int(kept.sum()))
        said = np.where(right, y, 1 - y)[asked]
        return np.eye(2)[said] * 0.8 + 0.1

    return answer


def curve_of(accuracy_of):
    y, group, folds = collection()
    answer = as_good_as(accuracy_of)
    whole = np.zeros((len(y), 2))
    for k in range(4):
        whole[folds == k] = answer(folds != k, folds == k)
    return learning_curve(answer, whole, y, groups=group, folds=folds)


def test_a_curve_that_climbs_says_that_more_would_help():
    curve = curve_of(lambda n: 0.5 + n / 400)
    assert [point.share for point in curve.points] == [0.25, 0.5, 1.0]
    assert [round(point.tracks) for point in curve.points] == [40, 80, 150]
    assert curve.verdict == "more"
    assert "80 to 150 tracks" in curve.words
    assert "More tracks would help" in curve.words


def test_a_flat_curve_says_that_it_is_enough():
    curve = curve_of(lambda n: 0.8)
    assert curve.verdict == "enough"
    assert curve.gain.difference == 0
    assert "little" in curve.words


def test_smaller_parts_lie_in_larger_ones_and_groups_stay_whole():
    y, group, folds = collection()
    seen = {}

    def answer(kept, asked):
        assert not (kept & asked).any()
        assert not set(group[kept]) & set(group[asked])
        for one in set(group[kept]):
            assert kept[group == one].all()
        seen.setdefault(int(folds[asked][0]), []).append(kept)
        return np.full((int(asked.sum()), 2), 0.5)

    learning_curve(answer, np.full((len(y), 2), 0.5), y, groups=group, folds=folds)
    for small, large in seen.values():
        assert small.sum() < large.sum()
        assert (large | ~small).all()
