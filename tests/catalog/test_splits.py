"""Folds and hold-outs: whole groups, balanced classes, the same every time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from genrescope.catalog.splits import group_folds, holdout
from genrescope.catalog.table import TrackTable
from genrescope.errors import SplitError


def shares(labels: NDArray[np.str_], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each class [classes] in each fold [folds]; every column sums to 1."""
    _, code = np.unique(labels, return_inverse=True)
    counts = np.zeros((fold.max() + 1, code.max() + 1))
    np.add.at(counts, (fold, code), 1)
    return counts / counts.sum(axis=0)


def skewed(seed: int, n: int = 2000) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Few large and many small groups, each mostly of one class; one group of 10 %."""
    rng = np.random.default_rng(seed)
    groups = rng.zipf(1.7, n) % 600
    groups[: n // 10] = 1000
    labels = (groups + (rng.random(n) < 0.2) * rng.integers(0, 8, n)) % 8
    return labels, groups


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=80),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_every_group_is_in_one_fold_and_no_fold_is_empty(
    tracks: list[tuple[int, int]], n_folds: int, seed: int
) -> None:
    labels, groups = (np.array(column) for column in zip(*tracks, strict=True))
    if len(set(groups)) < n_folds:
        with pytest.raises(SplitError, match="fewer folds"):
            group_folds(labels, groups, n_folds=n_folds, seed=seed)
        return
    fold = group_folds(labels, groups, n_folds=n_folds, seed=seed)
    assert set(fold) == set(range(n_folds))
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=80),
    st.floats(0.05, 0.95),
)
def test_a_holdout_takes_whole_groups(tracks: list[tuple[int, int]], fraction: float) -> None:
    labels, groups = (np.array(column) for column in zip(*tracks, strict=True))
    try:
        held = holdout(labels, groups, fraction=fraction)
    except SplitError:
        return
    assert held.any()
    assert not held.all()
    assert not set(groups[held]) & set(groups[~held])


@pytest.mark.parametrize("seed", range(3))
def test_folds_are_as_balanced_as_those_of_scikit_learn(seed: int) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    labels, groups = skewed(seed)
    theirs = np.zeros(len(labels), dtype=np.int64)
    split = selection.StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for i, (_, test) in enumerate(split.split(labels, labels, groups)):
        theirs[test] = i
    ours = group_folds(labels, groups, n_folds=5, seed=seed)
    assert shares(labels, ours).std() <= shares(labels, theirs).std() * 1.05


def test_labels_and_groups_may_be_text_or_numbers() -> None:
    labels, groups = skewed(0)
    names = np.array([f"g{g:04d}" for g in groups], dtype=object)
    genres = [f"c{c}" for c in labels]
    expected = group_folds(labels, groups, seed=3)
    np.testing.assert_array_equal(group_folds(genres, names, seed=3), expected)


def test_the_seed_decides_and_the_input_order_of_others_does_not_leak() -> None:
    labels, groups = skewed(1)
    first = group_folds(labels, groups, seed=1)
    np.testing.assert_array_equal(first, group_folds(labels, groups, seed=1))
    other = group_folds(labels, groups, seed=2)
    assert (first != other).any()
    # The folds belong to the groups: shuffled rows get the same ones.
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(group_folds(labels[order], groups[order], seed=1), first[order])


def test_these_folds_stay_the_same_in_later_versions() -> None:
    # Cached features and published figures depend on them.
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 0, 2]
    groups = list("aabbccdefg")
    assert group_folds(labels, groups, n_folds=3, seed=0).tolist() == [1, 1, 2, 2, 0, 0, 0, 2, 0, 1]


def test_a_group_larger_than_a_fold_stays_whole() -> None:
    labels = np.array([0, 1] * 50)
    groups = np.array([0] * 60 + list(range(1, 41)))
    fold = group_folds(labels, groups, n_folds=5)
    assert len(set(fold[:60])) == 1
    assert (fold == fold[0]).sum() == 60
    np.testing.assert_array_equal(np.bincount(np.delete(fold, np.s_[:60]), minlength=5)[1:], 10)


@pytest.mark.parametrize(
    ("labels", "groups", "n_folds", "message"),
    [
        ([0, 1], [0, 1], 1, "at least 2 folds"),
        ([0, 1, 1], [0, 1], 2, "labels has 3 values and groups has 2"),
        ([], [], 2, "no tracks"),
        ([0, 1, 0], ["", "", ""], 2, "here are 1"),
        ([0, 1], [None, "a"], 2, "groups has missing"),
        (["a", float("nan")], ["a", "b"], 2, "here are|missing"),
        ([0.0, float("nan")], [1, 2], 2, "labels has missing"),
        ([[0], [1]], [1, 2], 2, "shape"),
    ],
)
def test_what_cannot_be_split(
    labels: list[object], groups: list[object], n_folds: int, message: str
) -> None:
    if labels and isinstance(labels[0], str):
        labels = np.array(labels, dtype=object)  # type: ignore[assignment]
    with pytest.raises(SplitError, match=message):
        group_folds(labels, groups, n_folds=n_folds)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_fraction_outside_its_range(fraction: float) -> None:
    with pytest.raises(SplitError, match="between 0 and 1"):
        holdout([0, 1], [0, 1], fraction=fraction)


def test_a_holdout_that_would_be_empty_says_so() -> None:
    with pytest.raises(SplitError, match="one side empty"):
        holdout([0, 1, 0], ["a", "a", "a"], fraction=0.5)


# --- real artists --------------------------------------------------------------


@pytest.mark.data
def test_real_artists(data_dir) -> None:  # type: ignore[no-untyped-def]
    table = TrackTable.load(data_dir / "fma" / "small_tracks.csv")
    labels, artists = table["genre_top"], table["artist_id"]
    assert np.unique(artists.astype(str), return_counts=True)[1].max() == 205
    fold = group_folds(labels, artists, n_folds=5, seed=0)
    assert all(len(set(fold[artists == a])) == 1 for a in set(artists))
    # Every class is even but Instrumental, of which one artist has 205 of 897 tracks.
    share = shares(labels.astype(str), fold)
    names = np.unique(labels.astype(str)).tolist()
    even = np.delete(share, names.index("Instrumental"), axis=1)
    np.testing.assert_allclose(even, 0.2, atol=0.003)
    np.testing.assert_allclose(share, 0.2, atol=0.03)

    held = holdout(labels, artists, fraction=0.1, seed=0)
    assert not set(artists[held]) & set(artists[~held])
    for genre in names:
        assert held[labels == genre].mean() == pytest.approx(0.1, abs=0.005)


# --- to the word -----------------------------------------------------------------


def test_this_holdout_stays_the_same_in_later_versions() -> None:
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 0, 2, 1, 0]
    groups = list("aabbccdefghi")
    held = holdout(labels, groups, fraction=0.3, seed=2)
    assert held.dtype == bool
    assert "".join("x" if one else "." for one in held) == "xx.......x.."
    assert (holdout(labels, groups, fraction=0.3, seed=1) != held).any()
    assert np.array_equal(
        holdout(labels, groups, fraction=0.3), holdout(labels, groups, fraction=0.3, seed=0)
    )


def test_folds_are_five_and_of_seed_zero_if_nothing_is_said() -> None:
    labels, groups = skewed(0)
    plain = group_folds(labels, groups)
    np.testing.assert_array_equal(plain, group_folds(labels, groups, n_folds=5, seed=0))
    assert plain.dtype == np.int64


def test_two_folds_of_two_groups_are_the_least() -> None:
    one, two, three = group_folds([0, 0, 1], ["a", "b", "b"], n_folds=2).tolist()
    assert sorted((one, two)) == [0, 1]
    assert two == three


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: group_folds([0], [0], n_folds=1),
            "n_folds is 1; a split needs at least 2 folds",
        ),
        (
            lambda: group_folds([0, 1], [0, 1], n_folds=3),
            "3 folds need at least 3 different groups, here are 2; ask for fewer folds, or check "
            "the column that names the group",
        ),
        (
            lambda: holdout([0, 1], [0, 1], fraction=1.0),
            "fraction is 1.0; it must lie between 0 and 1, both excluded",
        ),
        (
            lambda: holdout([0, 1, 0], ["a", "a", "a"], fraction=0.25),
            "holding out 0.25 of 3 tracks in 1 group(s) leaves one side empty; use another "
            "fraction or more groups",
        ),
        (
            lambda: group_folds([0, 1, 1], [0, 1]),
            "labels has 3 values and groups has 2; both need one value a track",
        ),
        (lambda: group_folds([], []), "there are no tracks to split"),
        (
            lambda: group_folds([[0], [1]], [0, 1]),
            "labels has shape (2, 1); one value a track is needed",
        ),
        (
            lambda: group_folds([0, 1], [0.0, float("inf")]),
            "groups has missing (NaN) values; fill or drop those tracks first",
        ),
        (
            lambda: group_folds([0, 1], np.array(["a", None], dtype=object)),
            "groups has missing values; fill or drop those tracks first",
        ),
        (
            lambda: group_folds(np.array(["a", float("nan")], dtype=object), [0, 1]),
            "labels has missing values; fill or drop those tracks first",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_way_out(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SplitError) as caught:
        call()
    assert str(caught.value) == message


def test_numbers_that_are_no_whole_ones_name_groups_too() -> None:
    labels, groups = skewed(0, 200)
    np.testing.assert_array_equal(
        group_folds(labels, groups.astype(float) / 2), group_folds(labels, groups)
    )
