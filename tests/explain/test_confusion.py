"""Confusion: nothing is lost by ordering, and the pairs and their examples are the right ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from genrescope.errors import DataError
from genrescope.explain.confusion import confusion, similarity_order, wilson_low
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.tabular import TabularData

GENRES = ("Blues", "Folk", "Metal", "Rock")


def make_data(y: NDArray[Any], *, genres: tuple[str, ...] = GENRES, **columns: Any) -> TabularData:
    n = len(y)
    given: dict[str, Any] = {
        "groups": np.array([f"g{i // 2}" for i in range(n)]),
        "track_id": np.array([str(100 + i) for i in range(n)]),
        "title": np.array([f"Song {i}" for i in range(n)]),
        "artist": np.array([f"Artist {i // 2}" for i in range(n)]),
        **columns,
    }
    return TabularData(
        name="made-up",
        x=np.zeros((n, 1), dtype=np.float32),
        features=("f",),
        feature_groups=("f",),
        y=np.asarray(y, dtype=np.int64),
        genres=genres,
        group_name="artist",
        **given,
    )


def everywhere(n: int) -> Protocol:
    return Protocol("folds", np.arange(n) % 2, 2, seed=0, description="")


def make_run(p: NDArray[np.float64] | None, **fields: Any) -> ModelRun:
    return ModelRun("m", "Model", "linear", {}, p, "as it comes", 0.0, 0.0, **fields)


def random_case(seed: int = 0, n: int = 300) -> tuple[TabularData, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    # Blues and Rock are alike, Folk and Metal less.
    near = np.array([[9, 1, 1, 5], [1, 9, 2, 1], [1, 2, 9, 1], [4, 1, 1, 9]])
    p = np.stack([rng.dirichlet(near[genre]) for genre in y])
    return make_data(y), p


def test_counts_are_those_of_scikit_learn() -> None:
    data, p = random_case()
    found = confusion(data, everywhere(len(data)), make_run(p))
    order = [GENRES.index(genre) for genre in found.genres]
    np.testing.assert_array_equal(
        found.counts, confusion_matrix(data.y, p.argmax(axis=1), labels=order)
    )
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)
    np.testing.assert_allclose(found.shares * found.counts.sum(axis=1, keepdims=True), found.counts)


def test_only_scored_rows_are_counted_and_shown() -> None:
    data, p = random_case()
    scored = np.arange(len(data)) % 3 == 1
    protocol = Protocol("official", np.where(scored, 0, -1), 1, seed=0, description="")
    found = confusion(data, protocol, make_run(p[scored]))
    assert found.counts.sum() == scored.sum()
    allowed = set(data.track_id[scored].tolist())
    shown = [example.track_id for pair in found.pairs for example in pair.examples]
    assert shown
    assert set(shown) <= allowed


def test_similar_genres_are_neighbours() -> None:
    data, p = random_case()
    genres = confusion(data, everywhere(len(data)), make_run(p)).genres
    assert sorted(genres) == sorted(GENRES)
    assert abs(genres.index("Blues") - genres.index("Rock")) == 1
    assert abs(genres.index("Folk") - genres.index("Metal")) == 1
    assert genres[0] <= genres[-1]


@given(arrays(np.int64, (6, 6), elements=st.integers(0, 1000)), st.permutations(range(6)))
def test_the_order_holds_every_genre_once(counts: NDArray[np.int64], moved: list[int]) -> None:
    names = tuple("ABCDEF")
    order = similarity_order(counts, names)
    assert sorted(order) == list(range(6))
    there = similarity_order(counts[np.ix_(moved, moved)], [names[i] for i in moved])
    assert [moved[i] for i in there] == order


def test_few_genres_have_an_order() -> None:
    assert similarity_order(np.array([[5]]), ["A"]) == [0]
    assert similarity_order(np.array([[5, 1], [2, 3]]), ["B", "A"]) == [1, 0]
    assert sorted(similarity_order(np.zeros((3, 3), dtype=np.int64), ["A", "B", "C"])) == [0, 1, 2]


def test_pairs_are_directed_and_the_most_confused_is_first() -> None:
    # 40 Blues of which 20 are taken for Rock; 40 Rock of which 4 for Blues; 2 Folk, 1 for Metal.
    y = np.array([0] * 40 + [3] * 40 + [1] * 2)
    said = np.array([3] * 20 + [0] * 20 + [0] * 4 + [3] * 36 + [2, 1])
    p = 0.6 * np.eye(4)[said] + 0.1
    found = confusion(make_data(y), everywhere(len(y)), make_run(p))
    assert [(pair.true, pair.taken_for, pair.n, pair.n_true) for pair in found.pairs] == [
        ("Blues", "Rock", 20, 40),
        ("Folk", "Metal", 1, 2),  # half of the genre, but of two tracks: certain of 9 % only
        ("Rock", "Blues", 4, 40),
    ]
    assert [pair.share for pair in found.pairs] == [0.5, 0.5, 0.1]
    assert len(confusion(make_data(y), everywhere(len(y)), make_run(p), n_pairs=1).pairs) == 1


def test_examples_are_the_surest_and_one_of_each_artist() -> None:
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    p = np.zeros((6, 4))
    p[:5, 3], p[:5, 0] = sure, 1 - sure
    p[5, 0] = 1
    p[4] = [0.2, 0.2, 0.1, 0.5]
    y = np.array([0] * 6)
    artist = np.array(["A", "A", "", "", "C", "A"])
    groups = np.array(["1", "2", "3", "4", "3", "6"])
    title = np.array(["Old", "New", "", "Low", "Last", "Right"])
    data = make_data(y, artist=artist, groups=groups, title=title)
    pair = confusion(data, everywhere(6), make_run(p), n_examples=4).pairs[0]
    # 101 is of the artist of 100 under another number, 104 of the group of 102.
    assert [example.track_id for example in pair.examples] == ["100", "102", "103"]
    assert [example.title for example in pair.examples] == ["Old", "102", "Low"]
    assert pair.examples[0].probability == 0.9
    assert pair.examples[0].probability_of_true == pytest.approx(0.1)
    assert pair.sentence == (
        "Of 6 Blues tracks, 5 (83 %) were taken for Rock; the surest of these is “Old” by A "
        "(Rock 90 %, Blues 10 %)."
    )
    none = confusion(data, everywhere(6), make_run(p), n_examples=0).pairs[0]
    assert none.sentence == "Of 6 Blues tracks, 5 (83 %) were taken for Rock."


def test_tracks_without_any_name_are_told_by_their_row() -> None:
    empty = np.array(["", ""])
    data = make_data(np.array([0, 0]), artist=empty, title=empty, track_id=empty)
    p = np.array([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0]])
    pair = confusion(data, everywhere(2), make_run(p)).pairs[0]
    assert pair.examples[0].title == "row 1"
    assert "1 (50 %) was taken for Folk; the surest of these is track row 1 (" in pair.sentence


def test_the_order_of_tracks_does_not_matter() -> None:
    data, p = random_case()
    order = np.random.default_rng(4).permutation(len(data))
    moved = replace(
        data,
        **{
            name: getattr(data, name)[order]
            for name in ("x", "y", "groups", "track_id", "title", "artist")
        },
    )
    one = confusion(data, everywhere(len(data)), make_run(p))
    two = confusion(moved, everywhere(len(data)), make_run(p[order]))
    assert one.to_dict() == two.to_dict()


def test_a_genre_without_scored_tracks_is_kept() -> None:
    y = np.array([0, 0, 1, 1, 3, 3])
    p = 0.6 * np.eye(4)[[0, 2, 1, 1, 3, 0]] + 0.1
    found = confusion(make_data(y), everywhere(6), make_run(p))
    row = found.genres.index("Metal")
    assert np.isnan(found.shares[row]).all()
    assert found.to_dict()["shares"][row] == [None] * 4
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_perfect_model_confuses_nothing() -> None:
    y = np.arange(8) % 4
    found = confusion(make_data(y), everywhere(8), make_run(np.eye(4)[y]))
    assert found.pairs == ()
    assert sorted(found.genres) == sorted(GENRES)


def test_a_failed_model_is_refused() -> None:
    data, p = random_case()
    with pytest.raises(DataError, match="m gave no answers: Too slow"):
        confusion(data, everywhere(len(data)), make_run(None, failure="Too slow."))
    with pytest.raises(DataError, match="one label for every row"):
        confusion(data, everywhere(len(data)), make_run(p[:-1]))


@given(st.integers(0, 50), st.integers(1, 200))
def test_wilson_is_that_of_scipy(hits: int, more: int) -> None:
    total = hits + more - 1 if hits else more
    expected = binomtest(hits, total).proportion_ci(0.95, method="wilson").low
    assert wilson_low(np.array([hits]), np.array([total]))[0] == pytest.approx(expected, abs=1e-9)
