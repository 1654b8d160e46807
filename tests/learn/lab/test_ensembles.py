"""Voting, weighted voting and stacking: what they answer, and that they see nothing they score."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier

from genrescope.errors import DataError
from genrescope.learn.lab.combine import hard_votes, mixture_weights
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.ensembles import ensemble_runs
from genrescope.learn.lab.gains import best_elsewhere, ensemble_gains
from genrescope.learn.lab.presets import FIFTEEN
from genrescope.learn.lab.tabular import TabularData

K = 4
FITTED = ("soft_best", "soft_weights", "stack")


def make_data(
    n: int = 240, *, k: int = K, n_folds: int = 4, seed: int = 0
) -> tuple[TabularData, Protocol]:
    rng = np.random.default_rng(seed)
    artist = np.arange(n) % 60
    data = TabularData(
        name="made-up",
        x=rng.normal(size=(n, 2)).astype(np.float32),
        features=("f.0", "f.1"),
        feature_groups=("f", "f"),
        y=rng.integers(0, k, n),
        genres=tuple(f"genre {i}" for i in range(k)),
        groups=np.array([f"a{i}" for i in artist]),
        group_name="artist",
        track_id=np.array([str(i) for i in range(n)]),
        title=np.array([""] * n),
        artist=np.array([""] * n),
    )
    return data, Protocol("folds", artist % n_folds, n_folds, seed=0, description="")


def make_run(
    data: TabularData,
    key: str,
    *,
    skill: float = 1.5,
    seed: int = 0,
    rows: NDArray[Any] | None = None,
    **fields: Any,
) -> ModelRun:
    """A model whose scores are the truth in noise."""
    rng = np.random.default_rng(seed)
    y = data.y if rows is None else data.y[rows]
    k = len(data.genres)
    z = skill * np.eye(k)[y] + rng.normal(size=(len(y), k))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    given: dict[str, Any] = {
        "name": f"Model {key}",
        "family": "linear",
        "settings": {},
        "calibrated": "as it comes",
        "fit_seconds": 2.0,
        "predict_seconds": 0.5,
        **fields,
    }
    return ModelRun(key=key, probabilities=p, **given)


def failed(key: str) -> ModelRun:
    return ModelRun(key, f"Model {key}", "linear", {}, None, "", 0.0, 0.0, failure="No luck.")


def fifteen(data: TabularData, **fields: Any) -> list[ModelRun]:
    return [
        make_run(data, key, skill=2 - 0.1 * i, seed=i, **fields) for i, key in enumerate(FIFTEEN)
    ]


def by_key(runs: tuple[ModelRun, ...]) -> dict[str, ModelRun]:
    return {run.key: run for run in runs}


def p_of(run: ModelRun) -> NDArray[np.float64]:
    assert run.probabilities is not None, run.failure
    return run.probabilities


def accuracy(run: ModelRun, data: TabularData) -> float:
    return float((p_of(run).argmax(axis=1) == data.y).mean())


# --- the arithmetic --------------------------------------------------------


class Fixed(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers what it was made with, whatever it is asked."""

    def __init__(self, answers: Any = None) -> None:
        self.answers = answers

    def fit(self, x: Any, y: Any) -> Fixed:
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: Any) -> Any:
        return np.asarray(self.answers)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(1, 7), st.just(12)), elements=st.integers(0, 3)))
def test_a_hard_vote_is_that_of_scikit_learn_ties_too(answers: NDArray[np.int64]) -> None:
    x, y = np.zeros((12, 1)), np.arange(12) % 4
    voters = [(f"m{i}", Fixed(row)) for i, row in enumerate(answers)]
    theirs = VotingClassifier(voters, voting="hard").fit(x, y).predict(x)
    shares = hard_votes(answers, k=4)
    assert shares.argmax(axis=1).tolist() == theirs.tolist()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.min() > 0
    np.testing.assert_array_equal(shares, hard_votes(answers[::-1], k=4))


def test_mixture_weights_are_the_most_likely_ones() -> None:
    rng = np.random.default_rng(0)
    likelihood = rng.uniform(0.05, 1, size=(5, 400)) ** np.array([[1], [2], [1], [3], [0.5]])

    def mean_log(weights: NDArray[np.float64]) -> float:
        return float(np.log(weights @ likelihood).mean())

    found = mixture_weights(likelihood)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    for other in rng.dirichlet(np.full(5, 0.5), size=500):
        assert mean_log(found) >= mean_log(other) - 3e-4


# --- the ensembles ---------------------------------------------------------


def test_all_seven_are_made_and_better_than_their_parts() -> None:
    data, protocol = make_data()
    runs = fifteen(data)
    made = by_key(ensemble_runs(data, protocol, runs))
    assert list(made) == ["vote_3", "vote_5", "vote_15", "soft_all", *FITTED]
    best = max(accuracy(run, data) for run in runs)
    for run in made.values():
        assert run.family == "ensemble"
        assert p_of(run).shape == (len(data), K)
        np.testing.assert_allclose(p_of(run).sum(axis=1), 1)
        # Members err independently here, so together they are far better.
        assert accuracy(run, data) > best + (0.01 if run.key == "vote_3" else 0.05)
        json.dumps(run.settings, allow_nan=False)
    assert made["vote_3"].members == ("mlp", "svc", "extra_trees")
    assert made["vote_5"].members == FIFTEEN[:5]
    assert made["vote_15"].members == FIFTEEN
    assert made["vote_15"].calibrated == "votes"
    assert made["vote_15"].fit_seconds == pytest.approx(30)
    assert made["stack"].fit_seconds > 30


def test_a_vote_and_a_mean_are_what_they_say() -> None:
    data, protocol = make_data()
    runs = fifteen(data)
    made = by_key(ensemble_runs(data, protocol, runs))
    answers = np.stack([p_of(run).argmax(axis=1) for run in runs[:3]])
    majority = [np.bincount(column, minlength=K).argmax() for column in answers.T]
    assert p_of(made["vote_3"]).argmax(axis=1).tolist() == majority
    np.testing.assert_allclose(p_of(made["soft_all"]), np.mean([p_of(run) for run in runs], axis=0))


def test_weights_and_the_best_few_are_those_recorded() -> None:
    data, protocol = make_data()
    runs = fifteen(data)
    made = by_key(ensemble_runs(data, protocol, runs))
    p = {run.key: p_of(run) for run in runs}
    for number in range(protocol.n_folds):
        own = protocol.fold == number
        entry = made["soft_weights"].settings["folds"][number]
        mean = sum(weight * p[key][own] for key, weight in entry["weights"].items())
        np.testing.assert_allclose(p_of(made["soft_weights"])[own], mean, atol=1e-3)
        few = made["soft_best"].settings["folds"][number]["members"]
        assert len(few) == 5
        np.testing.assert_allclose(
            p_of(made["soft_best"])[own], np.mean([p[key][own] for key in few], axis=0)
        )
        other = np.flatnonzero(~own)
        loss = {key: -np.log(values[other, data.y[other]]).mean() for key, values in p.items()}
        assert few == sorted(loss, key=lambda key: loss[key])[:5]
    assert "mlp" in made["soft_best"].members


@pytest.mark.parametrize("key", FITTED)
def test_genres_of_a_fold_do_not_change_its_answers(key: str) -> None:
    """What is fitted for a fold never sees the genres that it is scored on."""
    data, protocol = make_data()
    runs = fifteen(data)
    own = protocol.fold == 2
    y = data.y.copy()
    y[own] = np.random.default_rng(5).permutation((y[own] + 1) % K)
    before = by_key(ensemble_runs(data, protocol, runs))[key]
    after = by_key(ensemble_runs(replace(data, y=y), protocol, runs))[key]
    np.testing.assert_array_equal(p_of(before)[own], p_of(after)[own])
    assert not np.allclose(p_of(before)[~own], p_of(after)[~own])  # they do change the others


def test_the_order_of_tracks_does_not_matter() -> None:
    data, protocol = make_data()
    runs = fifteen(data)[:5]
    order = np.random.default_rng(1).permutation(len(data))
    moved = replace(
        data,
        **{
            name: getattr(data, name)[order]
            for name in ("x", "y", "groups", "track_id", "title", "artist")
        },
    )
    there = replace(protocol, fold=protocol.fold[order])
    turned = [replace(run, probabilities=p_of(run)[order]) for run in runs]
    for one, two in zip(
        ensemble_runs(data, protocol, runs), ensemble_runs(moved, there, turned), strict=True
    ):
        if one.probabilities is None:
            assert two.probabilities is None
        else:
            np.testing.assert_allclose(one.probabilities[order], p_of(two), atol=2e-3)


def test_it_is_the_same_on_repetition() -> None:
    data, protocol = make_data()
    runs = fifteen(data)[:6]
    once, twice = (ensemble_runs(data, protocol, runs) for _ in range(2))
    for one, two in zip(once, twice, strict=True):
        assert one.settings == two.settings
        if one.probabilities is not None:
            np.testing.assert_array_equal(one.probabilities, p_of(two))


def test_a_member_that_knows_nothing_changes_nothing() -> None:
    data, protocol = make_data()
    runs = fifteen(data)[:4]
    flat = replace(runs[0], key="flat", probabilities=np.full((len(data), K), 1 / K))
    before = by_key(ensemble_runs(data, protocol, runs))
    after = by_key(ensemble_runs(data, protocol, [*runs, flat]))
    assert (
        p_of(before["soft_all"]).argmax(axis=1).tolist()
        == p_of(after["soft_all"]).argmax(axis=1).tolist()
    )
    np.testing.assert_allclose(p_of(before["stack"]), p_of(after["stack"]), atol=2e-3)
    # Its weight is what is not enough to matter, and it is not among the best few of more.
    for entry in after["soft_weights"].settings["folds"]:
        assert entry["weights"].get("flat", 0) < 0.1


def test_ensembles_are_no_members() -> None:
    data, protocol = make_data()
    runs = fifteen(data)[:5]
    made = ensemble_runs(data, protocol, runs)
    again = ensemble_runs(data, protocol, [*runs, *made])
    for one, two in zip(made, again, strict=True):
        assert one.members == two.members
        assert set(one.members) <= set(FIFTEEN)
        if one.probabilities is not None:
            np.testing.assert_array_equal(one.probabilities, p_of(two))


def test_failed_and_missing_models_are_left_out_and_said() -> None:
    data, protocol = make_data()
    runs = [failed("mlp"), *fifteen(data)[1:5]]
    made = by_key(ensemble_runs(data, protocol, runs))
    assert made["vote_3"].members == ("svc", "extra_trees")
    assert "failed: mlp" in " ".join(made["vote_3"].notes)
    assert "not among the models of this table: logistic_regression" in made["vote_15"].failure
    assert "same members as Hard voting (first 5)" in made["vote_15"].failure
    assert made["vote_15"].probabilities is None
    for key in ("soft_all", *FITTED):
        assert "Model mlp" in " ".join(made[key].notes)
        assert "mlp" not in made[key].members
    gains = ensemble_gains(data, protocol, tuple(made.values()), runs, n_boot=20)
    assert "vote_15" not in [gain.key for gain in gains]


def test_one_model_is_no_ensemble() -> None:
    data, protocol = make_data()
    for run in ensemble_runs(data, protocol, fifteen(data)[:1]):
        assert run.probabilities is None
        assert "ewer than two" in run.failure


def test_an_official_split_needs_validation_answers() -> None:
    data, _ = make_data()
    part = np.arange(len(data)) % 3
    fold = np.where(part == 0, 0, -1)
    protocol = Protocol("official", fold, 1, seed=0, description="", calibration=part == 1)
    runs = [make_run(data, key, seed=i, rows=part == 0) for i, key in enumerate(FIFTEEN)]
    made = by_key(ensemble_runs(data, protocol, runs))
    assert len(p_of(made["vote_15"])) == int((part == 0).sum())
    for key in FITTED:
        assert made[key].probabilities is None
        assert "validation rows" in made[key].failure
    assert best_elsewhere(data, protocol, runs) is None
    gains = ensemble_gains(data, protocol, tuple(made.values()), runs, n_boot=20)
    assert [gain.gain_chosen for gain in gains] == [None] * 4

    runs[:6] = [
        replace(run, validation=p_of(make_run(data, run.key, seed=50 + i, rows=part == 1)))
        for i, run in enumerate(runs[:6])
    ]
    made = by_key(ensemble_runs(data, protocol, runs))
    for key in FITTED:
        assert len(p_of(made[key])) == int((part == 0).sum())
        assert set(made[key].members) <= set(FIFTEEN[:6])
        assert "No probabilities on the validation rows: Model k_neighbors" in str(made[key].notes)
    # The genres of the scored rows play no part in it.
    y = np.where(part == 0, (data.y + 1) % K, data.y)
    other = by_key(ensemble_runs(replace(data, y=y), protocol, runs))
    for key in FITTED:
        np.testing.assert_array_equal(p_of(made[key]), p_of(other[key]))


def test_a_genre_that_other_folds_lack_keeps_a_small_probability() -> None:
    data, protocol = make_data()
    y = np.where(data.y == 3, 2, data.y)
    y[np.flatnonzero(protocol.fold == 1)[:3]] = 3  # this genre is in fold 1 alone
    data = replace(data, y=y)
    stack = by_key(ensemble_runs(data, protocol, fifteen(data)))["stack"]
    np.testing.assert_allclose(p_of(stack).sum(axis=1), 1)
    assert 0 < p_of(stack)[protocol.fold == 1, 3].max() < 0.01


def test_two_folds_and_two_genres_are_enough() -> None:
    data, protocol = make_data(n=80, k=2, n_folds=2)
    for run in ensemble_runs(data, protocol, fifteen(data)):
        np.testing.assert_allclose(p_of(run).sum(axis=1), 1)


def test_answers_that_do_not_fit_are_refused() -> None:
    data, protocol = make_data()
    runs = fifteen(data)
    with pytest.raises(DataError, match="svc: probabilities of track 0"):
        ensemble_runs(data, protocol, [runs[0], replace(runs[1], probabilities=2 * p_of(runs[1]))])
    with pytest.raises(DataError, match="mlp is there more than once"):
        ensemble_runs(data, protocol, [runs[0], runs[0]])


# --- gains -----------------------------------------------------------------


def test_gains_are_over_the_best_of_what_could_be_used() -> None:
    data, protocol = make_data()
    runs = fifteen(data)
    made = ensemble_runs(data, protocol, runs)
    gains = {gain.key: gain for gain in ensemble_gains(data, protocol, made, runs, n_boot=200)}
    assert list(gains) == [run.key for run in made]
    right = {run.key: accuracy(run, data) for run in runs}
    for run in made:
        gain = gains[run.key]
        candidates = run.settings.get("candidates", run.members)
        assert gain.best_member in candidates
        assert right[gain.best_member] == max(right[key] for key in candidates)
        assert gain.gain.a == pytest.approx(accuracy(run, data))
        assert gain.gain.b == pytest.approx(right[gain.best_member])
        assert gain.gain.resampled == "artist"
        assert gain.gain_chosen is not None
        # Chosen without the fold, a member is at most as good as the best with hindsight.
        assert gain.gain_chosen.difference >= gain.gain.difference - 1e-12
        assert len(gain.chosen) == protocol.n_folds
        json.dumps(gain.to_dict(), allow_nan=False)
    assert gains["stack"].gain.significant
    assert "points above its best member Model" in gains["stack"].sentence
    with pytest.raises(DataError, match="give the runs that it was made from"):
        ensemble_gains(data, protocol, made, runs[:2])


def test_the_member_chosen_elsewhere_is_the_best_on_the_other_folds() -> None:
    data, protocol = make_data()
    runs = fifteen(data)[:6]
    found = best_elsewhere(data, protocol, runs)
    assert found is not None
    chosen, p = found
    for number, key in enumerate(chosen):
        own = protocol.fold == number
        score = {r.key: (p_of(r)[~own].argmax(axis=1) == data.y[~own]).mean() for r in runs}
        assert score[key] == max(score.values())
        np.testing.assert_array_equal(p[own], p_of(by_key(tuple(runs))[key])[own])
