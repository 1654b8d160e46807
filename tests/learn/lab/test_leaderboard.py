"""The table of classifiers: order, paired comparison, and the price of choosing."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.metrics import f1_score, precision_score, recall_score

from genrescope.errors import DataError
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.leaderboard import leaderboard, scored_groups
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.paired import holm, mcnemar_mid_p, paired_difference

K = 4


def make_data(
    n: int = 400, *, k: int = K, n_artists: int = 80, n_folds: int = 4, seed: int = 0
) -> tuple[TabularData, Protocol]:
    rng = np.random.default_rng(seed)
    artist = rng.integers(0, n_artists, n) if n_artists else np.arange(n)
    names = np.array([f"a{i}" for i in artist])
    data = TabularData(
        name="made-up",
        x=rng.normal(size=(n, 2)).astype(np.float32),
        features=("f.0", "f.1"),
        feature_groups=("f", "f"),
        y=rng.integers(0, k, n),
        genres=tuple(f"genre {i}" for i in range(k)),
        groups=names,
        group_name="artist" if n_artists else "track",
        track_id=np.array([str(i) for i in range(n)]),
        title=np.array([""] * n),
        artist=names,
    )
    return data, Protocol("folds", artist % n_folds, n_folds, seed=0, description="")


def make_run(
    data: TabularData,
    key: str,
    *,
    accuracy: float,
    seed: int = 0,
    rows: NDArray[np.intp] | None = None,
    **fields: Any,
) -> ModelRun:
    """A classifier that is right on about this share of the tracks."""
    rng = np.random.default_rng(seed)
    y = data.y if rows is None else data.y[rows]
    k = len(data.genres)
    wrong = (y + rng.integers(1, k, len(y))) % k
    said = np.where(rng.uniform(size=len(y)) < accuracy, y, wrong)
    p = 0.6 * np.eye(k)[said] + 0.4 * rng.dirichlet(np.ones(k), len(y))
    given: dict[str, Any] = {
        "name": key.title(),
        "family": "linear",
        "settings": {},
        "calibrated": "as it comes",
        "fit_seconds": 1.5,
        "predict_seconds": 0.25,
        **fields,
    }
    return ModelRun(key=key, probabilities=p, **given)


def failed(key: str) -> ModelRun:
    return ModelRun(key, key, "linear", {}, None, "as it comes", 0.0, 0.0, failure="No luck.")


def test_the_most_accurate_is_first_and_failures_are_last() -> None:
    data, protocol = make_data()
    runs = [
        failed("broken"),
        make_run(data, "poor", accuracy=0.3, seed=1),
        make_run(data, "good", accuracy=0.9, seed=2),
        make_run(data, "twin", accuracy=0.88, seed=3),
    ]
    board = leaderboard(data, protocol, runs, n_boot=300)
    assert [row.run.key for row in board.rows] == ["good", "twin", "poor", "broken"]
    assert board.best == "good"
    assert [row.best for row in board.rows] == [True, False, False, False]
    assert [row.within for row in board.rows] == [False, True, False, False]
    last = board.row("broken")
    assert last.scores is None
    assert last.run.failure == "No luck."
    assert any("1 of 4 models failed" in note for note in board.notes)


def test_differences_are_those_of_the_pairs() -> None:
    data, protocol = make_data()
    runs = [make_run(data, f"m{i}", accuracy=0.5 + 0.05 * i, seed=i) for i in range(5)]
    board = leaderboard(data, protocol, runs, n_boot=200, seed=7)
    best = board.rows[0].run.probabilities
    assert best is not None
    for row in board.rows[1:]:
        assert row.run.probabilities is not None
        assert row.difference is not None
        alone = paired_difference(
            data.y, best, row.run.probabilities, data.groups, n_boot=200, seed=7
        )
        assert row.difference.difference == pytest.approx(alone.difference)
        assert (row.difference.low, row.difference.high) == pytest.approx((alone.low, alone.high))
        assert (row.difference.n_units, row.difference.resampled) == (alone.n_units, "artist")


def test_macro_figures_are_those_of_scikit_learn() -> None:
    data, protocol = make_data(n_artists=60)
    run = make_run(data, "m", accuracy=0.6)
    assert run.probabilities is not None
    probabilities = run.probabilities.copy()
    probabilities[:, 3] = 0  # a genre that is never answered
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    said = probabilities.argmax(axis=1)
    run = ModelRun("m", "M", "linear", {}, probabilities, "as it comes", 0.0, 0.0)
    row = leaderboard(data, protocol, [run], n_boot=0).rows[0]
    assert row.macro_precision == pytest.approx(
        precision_score(data.y, said, average="macro", zero_division=0)
    )
    assert row.macro_recall == pytest.approx(recall_score(data.y, said, average="macro"))
    assert row.micro_f1 == pytest.approx(f1_score(data.y, said, average="micro"))
    assert row.scores is not None
    assert row.micro_f1 == pytest.approx(row.scores.accuracy)
    assert row.macro_recall == pytest.approx(row.scores.balanced_accuracy)


def test_the_order_of_tracks_and_runs_does_not_matter() -> None:
    data, protocol = make_data()
    runs = [make_run(data, f"m{i}", accuracy=0.6, seed=i) for i in range(4)]
    order = np.random.default_rng(3).permutation(len(data))
    moved = TabularData(
        **{
            name: getattr(data, name)[order]
            for name in ("x", "y", "groups", "track_id", "title", "artist")
        },
        **{
            name: getattr(data, name)
            for name in ("name", "features", "feature_groups", "genres", "group_name")
        },
    )
    there = Protocol("folds", protocol.fold[order], 4, seed=0, description="")
    turned = [
        ModelRun(r.key, r.name, r.family, {}, r.probabilities[order], r.calibrated, 1.5, 0.25)
        for r in reversed(runs)
        if r.probabilities is not None
    ]
    one = leaderboard(data, protocol, runs, n_boot=50).to_dict()
    two = leaderboard(moved, there, turned, n_boot=50).to_dict()
    assert [row["key"] for row in one["rows"]] == [row["key"] for row in two["rows"]]
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert a["scores"]["confusion"] == b["scores"]["confusion"]
        assert a["scores"]["intervals"]["accuracy"] == pytest.approx(
            b["scores"]["intervals"]["accuracy"]
        )
        assert a["mcnemar_p"] == b["mcnemar_p"]


def test_only_scored_rows_count() -> None:
    data, protocol = make_data()
    fold = np.where(protocol.fold == 0, 0, -1)
    official = Protocol("official", fold, 1, seed=0, description="")
    run = make_run(data, "m", accuracy=0.7, rows=official.scored)
    board = leaderboard(data, official, [run], n_boot=20)
    assert board.n == int((fold == 0).sum()) == len(official.scored)
    with pytest.raises(DataError, match="one label for every row"):
        leaderboard(data, official, [make_run(data, "m", accuracy=0.7)], n_boot=0)


def test_without_artists_tracks_are_resampled() -> None:
    data, protocol = make_data(n=60, n_artists=0)
    assert scored_groups(data, protocol) is None
    board = leaderboard(data, protocol, [make_run(data, "m", accuracy=0.7)], n_boot=20)
    assert board.resampled == "track"
    assert any("too narrow" in note for note in board.notes)


def test_json_and_table() -> None:
    data, protocol = make_data()
    runs = [
        make_run(data, "a", accuracy=0.8, members=("x", "y")),
        make_run(data, "b", accuracy=0.6, seed=1),
        failed("c"),
    ]
    board = leaderboard(data, protocol, runs, n_boot=50)
    text = json.dumps(board.to_dict(), allow_nan=False)
    assert json.loads(text)["rows"][1]["difference"]["n"] == 400
    columns, rows = board.table()
    assert all(len(row) == len(columns) for row in rows)
    assert len(set(columns)) == len(columns)
    first, second, third = (dict(zip(columns, row, strict=True)) for row in rows)
    assert (first["rank"], first["best"], first["members"]) == (1, True, "x y")
    assert first["fit_cpu_s"] == 1.5
    assert first["log_loss_nats"] > 0
    assert first["accuracy_low"] <= first["accuracy"] <= first["accuracy_high"]
    assert first["best_minus_this"] is None
    assert second["best_minus_this"] == pytest.approx(first["accuracy"] - second["accuracy"])
    assert second["mcnemar_mid_p"] <= second["mcnemar_mid_p_holm"]
    assert (third["rank"], third["accuracy"], third["failure"]) == (None, None, "No luck.")


def test_one_artist_gives_no_intervals_and_no_nan() -> None:
    data, protocol = make_data(n=40, n_artists=1)
    runs = [make_run(data, "a", accuracy=0.8), make_run(data, "b", accuracy=0.2, seed=1)]
    board = leaderboard(data, protocol, runs, n_boot=20)
    assert board.selection is None
    assert board.rows[1].within  # nothing tells them apart
    json.dumps(board.to_dict(), allow_nan=False)


def test_all_failed_and_nothing_given() -> None:
    data, protocol = make_data()
    board = leaderboard(data, protocol, [failed("a"), failed("b")])
    assert board.best == ""
    assert len(board.table()[1]) == 2
    with pytest.raises(DataError, match="0 runs"):
        leaderboard(data, protocol, [])
    with pytest.raises(DataError, match="more than once"):
        leaderboard(data, protocol, [failed("a"), failed("a")])
    with pytest.raises(DataError, match="it has a, b"):
        board.row("c")


def test_choosing_among_equals_flatters_and_the_correction_takes_it_back() -> None:
    """Twenty classifiers, all truly right on half of the tracks."""
    gains, corrections, optimism = [], [], []
    for seed in range(8):
        data, protocol = make_data(n=300, n_artists=300, seed=seed)
        runs = [make_run(data, f"m{i}", accuracy=0.5, seed=100 * seed + i) for i in range(20)]
        found = leaderboard(data, protocol, runs, n_boot=200).selection
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.corrected is not None
        assert found.low <= found.corrected <= found.high
        assert sum(found.wins.values()) == pytest.approx(1)
        assert found.stays == found.wins[found.best]
        assert "The best of 20" in found.sentence
        gains.append(found.accuracy - 0.5)
        corrections.append(found.corrected - 0.5)
        optimism.append(found.optimism)
    assert np.mean(gains) > 0.04  # the luck of the best
    assert abs(np.mean(corrections)) < 0.02
    assert 0.02 < np.mean(optimism) < 0.08


def test_a_clear_winner_owes_nothing_to_the_choice() -> None:
    data, protocol = make_data()
    runs = [make_run(data, f"m{i}", accuracy=0.3, seed=i) for i in range(5)]
    runs.append(make_run(data, "clear", accuracy=0.95, seed=9))
    found = leaderboard(data, protocol, runs, n_boot=200).selection
    assert found is not None
    assert found.wins == {"clear": 1.0}
    assert abs(found.optimism) < 0.005


@given(st.integers(0, 60), st.integers(0, 60))
def test_mid_p_is_the_definition(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c, dtype=bool)
    p = mcnemar_mid_p(first, ~first)
    # P(|B - C| more extreme than seen) + half of P(as extreme), B ~ Binomial(n, 1/2)
    n = b + c
    counts = np.arange(n + 1)
    mass = binom.pmf(counts, n, 0.5)
    distance = np.abs(2 * counts - n)
    expected = mass[distance > abs(b - c)].sum() + mass[distance == abs(b - c)].sum() / 2
    assert p == pytest.approx(expected if n else 1.0, abs=1e-12)
    assert p == mcnemar_mid_p(~first, first)


def test_mid_p_of_many_tracks() -> None:
    a = np.arange(5000) < 2700
    assert mcnemar_mid_p(a, ~a) == pytest.approx(
        2 * binom.cdf(2299, 5000, 0.5) + binom.pmf(2300, 5000, 0.5), rel=1e-9
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_monotone_and_never_below_the_raw_value(p: list[float]) -> None:
    adjusted = holm(np.array(p)).tolist()
    assert all(a >= raw and a <= 1 for a, raw in zip(adjusted, p, strict=True))
    assert adjusted[int(np.argmin(p))] == min(1.0, len(p) * min(p))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_twenty_five_models_of_real_size_take_seconds() -> None:
    data, protocol = make_data(n=7115, k=8, n_artists=2000)
    runs = [make_run(data, f"m{i:02d}", accuracy=0.5 + 0.002 * i, seed=i) for i in range(25)]
    start = time.process_time()
    leaderboard(data, protocol, runs)
    assert time.process_time() - start < 20  # CPU seconds; about 3 where nothing else runs
