"""Scores: the textbook figures, artists as the unit of doubt, and refusals that say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from genrescope.errors import DataError
from genrescope.learn.evaluate import METRICS, Scores, expected_calibration_error, score
from genrescope.learn.paired import paired_difference

GENRES = ("Electronic", "Folk", "Hip-Hop", "Pop", "Rock")
K = len(GENRES)


def predictions(seed: int = 0, n: int = 400, artists: int = 90) -> tuple[Any, Any, Any]:
    """Labels, probabilities that know something, and artists."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, n)
    z = rng.normal(size=(n, K))
    z[np.arange(n), y] += 1.2
    p = np.exp(z)
    return y, p / p.sum(axis=1, keepdims=True), rng.integers(0, artists, n)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    n = draw(st.integers(2, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    return predictions(seed, n, draw(st.integers(2, 8)))


# --- the figures -----------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    y, p, _ = predictions(seed)
    s, best = score(y, p, genres=GENRES, n_boot=0), p.argmax(axis=1)
    assert s.accuracy == pytest.approx(sk.accuracy_score(y, best))
    assert s.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(y, best))
    assert s.macro_f1 == pytest.approx(sk.f1_score(y, best, average="macro"))
    assert s.top3 == pytest.approx(sk.top_k_accuracy_score(y, p, k=3))
    assert s.log_loss == pytest.approx(sk.log_loss(y, p))
    np.testing.assert_array_equal(s.confusion, sk.confusion_matrix(y, best))
    columns = sk.precision_recall_fscore_support(y, best)
    for i, genre in enumerate(GENRES):
        row = s.per_genre[genre]
        expected = [column[i] for column in columns]
        assert list(row) == ["precision", "recall", "f1", "support"]
        assert list(row.values()) == pytest.approx(expected)


def test_macro_f1_is_not_accuracy() -> None:
    """Micro-averaged F1 is accuracy under another name; one lazy genre tells them apart."""
    y = np.array([0] * 90 + [1] * 10)
    p = np.tile([0.9, 0.1], (100, 1))
    s = score(y, p, genres=["a", "b"], n_boot=0)
    assert s.accuracy == pytest.approx(0.9)
    assert s.macro_f1 == pytest.approx((2 * 0.9 / 1.9 + 0) / 2)
    assert s.balanced_accuracy == pytest.approx(0.5)


def test_every_artist_counts_the_same() -> None:
    y = np.zeros(11, dtype=int)
    p = np.array([[0.8, 0.2]] * 9 + [[0.3, 0.7]] * 2)  # nine right, of one artist; two wrong
    s = score(y, p, genres=["a", "b"], groups=["x"] * 9 + ["y", "z"], n_boot=0)
    assert s.accuracy == pytest.approx(9 / 11)
    assert s.artist_weighted_accuracy == pytest.approx(1 / 3)


def test_calibration_error_by_hand() -> None:
    # Two bins: 0.9 said, 1 of 2 right; 0.6 said, 2 of 2 right.
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    y = np.array([0, 1, 0, 0])
    expected = 0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0)
    assert score(y, p, genres=["a", "b"], n_boot=0).ece == pytest.approx(expected)
    assert expected_calibration_error(y, p) == pytest.approx(expected)
    assert expected_calibration_error(y, p, bins=1) == pytest.approx(abs(0.75 - 0.75))
    assert expected_calibration_error(y, p, bins=2, adaptive=True) == pytest.approx(expected)


def test_reliability_bins_hold_the_calibration_error() -> None:
    y, p, _ = predictions()
    s = score(y, p, genres=GENRES, n_boot=0)
    assert sum(row["n"] for row in s.reliability) == s.n
    gaps = [row["n"] * abs(row["confidence"] - row["accuracy"]) for row in s.reliability]
    assert sum(gaps) / s.n == pytest.approx(s.ece)
    for row in s.reliability:
        assert row["low"] < row["confidence"] <= row["high"]


def test_sure_is_at_or_above_the_threshold() -> None:
    p = np.array([[0.75, 0.25], [0.75, 0.25], [0.74, 0.26], [0.1, 0.9]])
    s = score([0, 1, 0, 1], p, genres=["a", "b"], threshold=0.75, n_boot=0)
    assert s.coverage == pytest.approx(3 / 4)
    assert s.accuracy_when_sure == pytest.approx(2 / 3)
    never = score([0, 1, 0, 1], p, genres=["a", "b"], threshold=1.0)
    assert never.coverage == 0
    assert never.to_dict()["accuracy_when_sure"] is None
    without = score([0, 1, 0, 1], p, genres=["a", "b"]).to_dict()
    assert without["coverage"] is without["accuracy_when_sure"] is None


# --- properties ------------------------------------------------------------


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_of_the_tracks_does_not_matter(problem: Any, random: Any) -> None:
    y, p, g = problem
    order = np.array(random.sample(range(len(y)), len(y)))
    one = score(y, p, genres=GENRES, groups=g, threshold=0.5, n_boot=50).to_dict()
    two = score(y[order], p[order], genres=GENRES, groups=g[order], threshold=0.5, n_boot=50)
    other = two.to_dict()
    for name in METRICS:
        assert one[name] == pytest.approx(other[name], abs=1e-12), name
        assert one["intervals"][name] == pytest.approx(other["intervals"][name], abs=1e-9), name
    assert one["confusion"] == other["confusion"]


@given(problems(), st.permutations(range(K)))
@settings(max_examples=30, deadline=None)
def test_order_of_the_genres_does_not_matter(problem: Any, order: list[int]) -> None:
    y, p, g = problem
    place = np.argsort(order)
    one = score(y, p, genres=GENRES, groups=g, n_boot=20)
    two = score(place[y], p[:, order], genres=[GENRES[i] for i in order], groups=g, n_boot=20)
    for name in METRICS[:7]:
        assert getattr(one, name) == pytest.approx(getattr(two, name)), name
    for genre in GENRES:
        assert one.per_genre[genre] == pytest.approx(two.per_genre[genre], nan_ok=True)


@given(problems())
@settings(max_examples=30, deadline=None)
def test_perfect_predictions(problem: Any) -> None:
    y = problem[0]
    artists = np.arange(len(y))
    s = score(y, np.eye(K)[y], genres=GENRES, groups=artists, threshold=0.9, n_boot=20)
    for name in METRICS:
        expected = 0 if name in ("log_loss", "ece") else 1
        assert getattr(s, name) == pytest.approx(expected), name
    assert s.intervals["macro_f1"] == pytest.approx((1, 1))


@given(problems())
@settings(max_examples=30, deadline=None)
def test_uniform_predictions(problem: Any) -> None:
    y, p, g = problem
    s = score(y, np.full_like(p, 1 / K), genres=GENRES, groups=g, n_boot=0)
    assert s.log_loss == pytest.approx(np.log(K))
    assert s.accuracy == pytest.approx((y == 0).mean())  # ties go to the first genre
    assert s.top3 == pytest.approx((y < 3).mean())
    assert s.ece == pytest.approx(abs(1 / K - s.accuracy))


@given(problems())
@settings(max_examples=50, deadline=None)
def test_intervals_hold_their_figure_and_json_is_clean(problem: Any) -> None:
    y, p, g = problem
    s = score(y, p, genres=GENRES, groups=g, threshold=0.5, n_boot=30)
    for name, pair in s.intervals.items():
        if pair is None:
            assert name == "accuracy_when_sure" or s.n_artists == 1
        else:
            assert pair[0] <= getattr(s, name) <= pair[1]
    again = json.loads(json.dumps(s.to_dict(), allow_nan=False))
    assert np.array(again["confusion"]).sum() == again["n"] == len(y)


# --- intervals -------------------------------------------------------------


def test_the_bootstrap_is_the_plain_one() -> None:
    """The matrix product against resampling tracks one artist at a time."""
    y, p, g = predictions(n=120, artists=15)
    s = score(y, p, genres=GENRES, groups=g, n_boot=400, seed=3)
    rng = np.random.default_rng(11)
    members = [np.flatnonzero(g == artist) for artist in np.unique(g)]
    draws: dict[str, list[float]] = {"accuracy": [], "macro_f1": [], "log_loss": [], "ece": []}
    for _ in range(400):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        one = score(y[rows], p[rows], genres=GENRES, n_boot=0)
        for name, values in draws.items():
            values.append(getattr(one, name))
    for name, values in draws.items():
        low, high = np.percentile(values, [2.5, 97.5])
        found = s.intervals[name]
        assert found is not None
        assert found == pytest.approx((low, high), abs=0.25 * (high - low)), name


def test_intervals_cover_the_truth() -> None:
    """Tracks of an artist are all right or all wrong: only resampling artists is honest."""
    rng = np.random.default_rng(0)
    covered = {"artist": 0, "track": 0}
    runs = 150
    for run in range(runs):
        right = np.repeat(rng.random(60) < 0.6, 8)
        p = np.where(right[:, None], [0.7, 0.3], [0.3, 0.7])
        y = np.zeros(len(p), dtype=int)
        artists = np.repeat(np.arange(60), 8)
        for unit, groups in (("artist", artists), ("track", None)):
            s = score(y, p, genres=["a", "b"], groups=groups, n_boot=200, seed=run)
            assert s.resampled == unit
            low, high = s.intervals["accuracy"] or (2, 2)
            covered[unit] += low <= 0.6 <= high
    assert covered["artist"] / runs > 0.88  # 0.95 meant; the binomial spread of 150 runs is 0.02
    assert covered["track"] / runs < 0.75


def test_a_seed_repeats_and_another_differs() -> None:
    y, p, g = predictions()
    one, two, three = (
        score(y, p, genres=GENRES, groups=g, n_boot=100, seed=seed).intervals for seed in (1, 1, 2)
    )
    assert one == two
    assert one != three


def test_tracks_without_artist_are_units_of_their_own() -> None:
    y, p, _ = predictions(n=30)
    groups = np.array(["x"] * 10 + [""] * 10 + ["y"] * 10)
    s = score(y, p, genres=GENRES, groups=groups)
    assert (s.n_artists, s.n_without_artist, s.resampled) == (2, 10, "artist")
    assert any("10 tracks have no known artist" in note for note in s.notes)
    for same in (
        ["x"] * 10 + [None] * 10 + ["y"] * 10,
        [1.0] * 10 + [np.nan] * 10 + [2.0] * 10,
        np.array(groups, dtype=object),
    ):
        assert score(y, p, genres=GENRES, groups=same).intervals == s.intervals
    nobody = score(y, p, genres=GENRES, groups=[""] * 30)
    assert nobody.resampled == "track"
    assert nobody.to_dict()["artist_weighted_accuracy"] is None
    assert nobody.intervals == score(y, p, genres=GENRES).intervals


def test_one_artist_has_no_interval_and_says_so() -> None:
    y, p, _ = predictions(n=20)
    s = score(y, p, genres=GENRES, groups=["x"] * 20, threshold=0.4)
    assert set(s.intervals) == set(METRICS)
    assert set(s.to_dict()["intervals"].values()) == {None}
    assert any("only one artist" in note for note in s.notes)
    assert s.accuracy == pytest.approx((p.argmax(axis=1) == y).mean())


def test_a_genre_without_tracks() -> None:
    y, p, g = predictions()
    keep = y != 1
    s = score(y[keep], p[keep], genres=GENRES, groups=g[keep], n_boot=20)
    row = s.to_dict()["per_genre"]["Folk"]
    assert row["support"] == 0
    assert row["recall"] is row["f1"] is None
    assert any("No tracks of Folk" in note and "4 genres" in note for note in s.notes)
    present = [s.per_genre[genre] for genre in GENRES if genre != "Folk"]
    assert s.macro_f1 == pytest.approx(np.mean([row["f1"] for row in present]))
    assert s.balanced_accuracy == pytest.approx(np.mean([row["recall"] for row in present]))


def test_json_names_are_stable() -> None:
    y, p, g = predictions(n=50)
    stable = (
        "accuracy balanced_accuracy artist_weighted_accuracy macro_f1 top3 log_loss ece per_genre "
        "confusion intervals coverage accuracy_when_sure n"
    )
    found = score(y, p, genres=GENRES, groups=g, threshold=0.5).to_dict()
    assert set(stable.split()) <= set(found)
    assert found["resampling"]["unit"] == "artist"
    assert found["genres"] == list(GENRES)


def test_fewer_than_three_genres() -> None:
    s = score([0, 1], [[0.6, 0.4], [0.7, 0.3]], genres=["a", "b"])
    assert s.top3 == 1


# --- two recognisers -------------------------------------------------------


def test_paired_difference_is_narrower_than_two_intervals() -> None:
    y, p, g = predictions(n=600, artists=150)
    better = p.copy()
    some = np.flatnonzero(p.argmax(axis=1) != y)[:25]
    better[some] = np.eye(K)[y[some]]
    d = paired_difference(y, better, p, g)
    assert d.difference == pytest.approx(25 / 600)
    assert d.difference == pytest.approx(d.a - d.b)
    assert 0 < d.low < d.difference < d.high
    assert d.significant
    one = score(y, p, genres=GENRES, groups=g).intervals["accuracy"] or (0, 0)
    assert d.high - d.low < one[1] - one[0]
    back = paired_difference(y, p, better, g)
    assert (back.low, back.high) == pytest.approx((-d.high, -d.low))


def test_paired_difference_of_the_same_is_nothing() -> None:
    y, p, g = predictions()
    d = paired_difference(y, p, p, g)
    assert (d.difference, d.low, d.high) == (0, 0, 0)
    assert not d.significant
    alone = paired_difference(y, p, p, ["x"] * len(y))
    assert np.isnan(alone.low)
    assert not alone.significant
    with pytest.raises(DataError, match="shape"):
        paired_difference(y, p, p[:, :3], g)


# --- what is refused -------------------------------------------------------

GOOD = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("y", "p", "kwargs", "words"),
    [
        ([0, 1, 2, 0], GOOD, {}, r"y\[2\] is 2; labels go from 0 to 1"),
        ([0, -1, 0, 0], GOOD, {}, r"y\[1\] is -1"),
        ([0.0, 1.0, 0.0, 0.0], GOOD, {}, "integers"),
        (["Rock", "Pop", "Rock", "Pop"], GOOD, {}, "'Rock'.*positions in `genres`"),
        ([0, 1, 0], GOOD, {}, "one label for every row"),
        ([], np.empty((0, 2)), {}, "0 tracks"),
        ([0, 1, 0, 1], np.full((4, 3), 1 / 3), {}, "each of the 2 genres"),
        ([0, 1, 0, 1], np.full(4, 0.5), {}, "must be .tracks, genres."),
        ([0, 1, 0, 1], [[0.5, 0.5], [np.nan, 1], [0.5, 0.5], [0.5, 0.5]], {}, "track 1 hold NaN"),
        ([0, 1, 0, 1], GOOD * 1.1, {}, "add up to 1.1"),
        ([0, 1, 0, 1], [[0.5, 0.5], [1.2, -0.2], [0, 1], [0, 1]], {}, "track 1 .* lowest -0.2"),
        ([0, 1, 0, 1], GOOD, {"genres": ["a", "a"]}, "a more than once"),
        ([0, 1, 0, 1], GOOD, {"groups": [1, 2]}, "one artist for each of the 4"),
        ([0, 1, 0, 1], GOOD, {"threshold": 1.5}, "threshold is 1.5"),
        ([0, 1, 0, 1], GOOD, {"n_boot": -1}, "n_boot is -1"),
    ],
)
def test_what_cannot_be_scored_says_why(y: Any, p: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        score(y, p, **{"genres": ["a", "b"], **kwargs})
    assert isinstance(caught.value, ValueError)


def test_only_genres_that_are_given_twice_are_named() -> None:
    with pytest.raises(DataError, match="genres holds a more than once"):
        score([0, 1], np.full((2, 3), 1 / 3), genres=["a", "b", "a"])


def test_how_intervals_were_made_is_told() -> None:
    y, p, groups = predictions()
    told = score(y, p, genres=GENRES, groups=groups, n_boot=20, seed=7).to_dict()["resampling"]
    assert told == {
        "unit": "artist",
        "level": 0.95,
        "resamples": 20,
        "seed": 7,
        "method": "percentile bootstrap of whole artists",
    }


def test_float16_probabilities_are_close_enough() -> None:
    y, p, _ = predictions()
    assert isinstance(score(y, p.astype(np.float16), genres=GENRES, n_boot=0), Scores)


# --- real data -------------------------------------------------------------


def test_real_artists(data_dir: Path) -> None:
    """On FMA-small, artists make intervals wider than tracks do."""
    from genrescope.catalog.table import TrackTable

    table = TrackTable.from_csv(data_dir / "fma" / "small_tracks.csv", keep_unknown=True)
    genres, y = np.unique(table["genre_top"].astype(str), return_inverse=True)
    # A guesser that knows some artists well and others not at all.
    artists = table["artist_id"].astype(str)
    _, artist = np.unique(artists, return_inverse=True)
    rng = np.random.default_rng(0)
    knows = rng.random(artist.max() + 1)[artist] < 0.5
    guess = np.where(knows, y, rng.integers(0, len(genres), len(y)))
    p = np.full((len(y), len(genres)), 0.05)
    p[np.arange(len(y)), guess] = 1 - 0.05 * (len(genres) - 1)
    by_artist = score(y, p, genres=genres.tolist(), groups=artists)
    by_track = score(y, p, genres=genres.tolist())
    assert by_artist.n_artists > 1500
    width = {}
    for s in (by_artist, by_track):
        low, high = s.intervals["accuracy"] or (0, 0)
        width[s.resampled] = high - low
    assert width["artist"] > 1.5 * width["track"]
