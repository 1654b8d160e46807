"""Importance: exact shuffles, exact SHAP values, and a cache that cannot go wrong."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import shap
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier

from genrescope.errors import DataError
from genrescope.explain.importance import models as importance
from genrescope.explain.importance.models import Explanations, explain_models
from genrescope.explain.importance.shapley import contributions, fit_boosting, probabilities
from genrescope.explain.importance.shuffling import shuffle_losses, smoothed, trees_of
from genrescope.explain.importance.types import Importance
from genrescope.learn.lab.protocol import make_protocol
from genrescope.learn.lab.tabular import TabularData

GENRES = ("Folk", "Hip-Hop", "Rock")
D = 8


def table(*, n: int = 450, seed: int = 0, missing: bool = False) -> TabularData:
    """Columns 0 and 1 are copies that tell Hip-Hop apart, 2 tells Rock apart, the rest is noise."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, 90, n)
    y = (who % 3).astype(np.int64)
    x = rng.normal(size=(n, D)).astype(np.float32)
    x[:, 0] += 2.0 * (y == 1)
    x[:, 1] = x[:, 0]
    x[:, 2] -= 2.0 * (y == 2)
    if missing:
        x[rng.random((n, D)) < 0.1] = np.nan
    text = np.array([f"a{i}" for i in who])
    return TabularData(
        "made",
        x,
        ("speech", "speech_again", "calm", *(f"noise.{i}" for i in range(3, D))),
        ("voice", "voice", "energy", *("noise" for _ in range(3, D))),
        y,
        GENRES,
        text,
        "artist",
        track_id=np.array([str(i) for i in range(n)]),
        title=np.array([f"t{i}" for i in range(n)]),
        artist=text,
    )


@pytest.fixture(scope="module", autouse=True)
def _small_models() -> Iterator[None]:
    """Fewer trees than in earnest: the tests are about what is done with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrescope.explain.importance.forest.TREES", 90)
        patch.setattr("genrescope.explain.importance.shapley.ROUNDS", 50)
        yield


@pytest.fixture(scope="module")
def explained() -> Explanations:
    data = table()
    return explain_models(data, make_protocol(data, n_folds=3))


def fitted(seed: int = 0) -> tuple[Any, Any, Any, Any]:
    data = table(seed=seed)
    # Leaves of several tracks: without them, genres tie and the last bit decides.
    forest = RandomForestClassifier(15, min_samples_leaf=4, random_state=seed).fit(
        data.x[:300], data.y[:300]
    )
    shuffles = np.stack([np.random.default_rng(r).permutation(150) for r in range(3)])
    return forest, data.x[300:], data.y[300:], shuffles


# --- shuffling -------------------------------------------------------------


@pytest.mark.parametrize("part_of", [np.arange(D), np.array([0, 0, 1, 2, 2, 2, 2, 2])])
def test_shuffling_along_paths_is_predicting_anew(part_of: Any) -> None:
    forest, x, y, shuffles = fitted()
    found = shuffle_losses(trees_of(forest), x, y, part_of=part_of, shuffles=shuffles)
    p = forest.predict_proba(x)
    np.testing.assert_allclose(found.probabilities, p, atol=1e-6)
    rows = np.arange(len(x))
    for part in range(part_of.max() + 1):
        loss, accuracy = np.zeros(len(x)), np.zeros(len(x))
        for order in shuffles:
            z = x.copy()
            z[:, part_of == part] = x[order][:, part_of == part]
            q = forest.predict_proba(z)
            loss += np.log(smoothed(p, n_trees=15)[rows, y] / smoothed(q, n_trees=15)[rows, y]) / 3
            accuracy += ((p.argmax(axis=1) == y) * 1.0 - (q.argmax(axis=1) == y)) / 3
        np.testing.assert_allclose(found.log_loss[:, part], loss, atol=1e-4)
        np.testing.assert_allclose(found.accuracy[:, part], accuracy, atol=1e-6)


def test_shuffling_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    forest, x, y, shuffles = fitted()
    options = {"part_of": np.arange(D), "shuffles": shuffles}
    whole = shuffle_losses(trees_of(forest), x, y, **options)
    monkeypatch.setattr("genrescope.explain.importance.shuffling._CELLS", 500)
    parts = shuffle_losses(trees_of(forest), x, y, **options)
    np.testing.assert_allclose(whole.log_loss, parts.log_loss, atol=1e-6)


def test_a_track_of_an_unknown_genre_neither_gains_nor_loses() -> None:
    forest, x, y, shuffles = fitted()
    y = y.copy()
    y[:10] = -1
    found = shuffle_losses(trees_of(forest), x, y, part_of=np.arange(D), shuffles=shuffles)
    assert (found.log_loss[:10] == 0).all()
    assert (found.accuracy[:10] == 0).all()


# --- SHAP values -----------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_contributions_add_up_and_are_those_of_shap(missing: bool) -> None:
    data = table(missing=missing)
    booster = fit_boosting(data.x[:300], data.y[:300], n_classes=3)
    x = data.x[300:330]
    parts = contributions(booster, x)
    np.testing.assert_allclose(
        softmax(parts.sum(axis=2), axis=1), probabilities(booster, x), atol=1e-9
    )
    raw = np.asarray(shap.TreeExplainer(booster).shap_values(x))  # rows, features, classes
    wanted = (raw - raw.mean(axis=2, keepdims=True)).transpose(0, 2, 1)
    np.testing.assert_allclose(parts[:, :, :-1], wanted, atol=1e-6)


def test_tracks_add_up_to_the_prediction(explained: Explanations) -> None:
    assert [t.why for t in explained.tracks] == ["confidently right", "confidently wrong", "unsure"]
    for t in explained.tracks:
        assert t.base + t.contributions.sum() == pytest.approx(t.scores[t.genre])
        p = softmax(np.array(list(t.scores.values())))
        assert t.probability == pytest.approx(p.max())
        assert list(t.scores)[int(p.argmax())] == t.genre
        assert t.held_out
    right, wrong, unsure = explained.tracks
    assert right.genre == right.true_genre
    assert wrong.genre != wrong.true_genre
    assert unsure.probability < min(right.probability, wrong.probability)


def test_asked_for_tracks(explained: Explanations) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=3)
    seen = int(np.flatnonzero(protocol.fold != 0)[0])
    held = int(np.flatnonzero(protocol.fold == 0)[0])
    found = explain_models(data, protocol, tracks=[seen, held]).tracks
    assert [t.track_id for t in found] == [str(seen), str(held)]
    assert [t.held_out for t in found] == [False, True]
    np.testing.assert_array_equal(found[0].values, data.x[seen])
    with pytest.raises(DataError, match="rows 0 to 449"):
        explain_models(data, protocol, tracks=[450])


# --- importance ------------------------------------------------------------


def test_what_matters_is_found(explained: Explanations) -> None:
    for one in (explained.impurity, explained.permutation, explained.shap):
        assert one.features == table().features
        assert (one.low <= one.mean + 1e-12).all()
        assert (one.mean <= one.high + 1e-12).all()
        assert set(np.argsort(-one.mean)[:2]) <= {0, 1, 2}  # of two copies one may do all the work
        assert {*list(one.by_group)[:2]} == {"voice", "energy"}
    assert explained.permutation.low[2] > 0
    assert (explained.permutation.low[3:] <= 0).sum() >= 4


def test_noise_line_tells_noise(explained: Explanations) -> None:
    one = explained.impurity
    assert one.noise is not None
    assert one.mean[:3].min() > 1.5 * one.noise
    assert one.mean[3:].max() < 1.5 * one.noise
    assert "random numbers" in one.warning
    total = one.mean.sum() + 5 * one.noise
    assert total == pytest.approx(1.0)
    assert sum(ends[0] for ends in one.by_group.values()) == pytest.approx(one.mean.sum())


def test_copies_hide_each_other_but_not_their_family(explained: Explanations) -> None:
    one = explained.permutation
    assert one.by_group["voice"][0] > 1.5 * (one.mean[0] + one.mean[1])
    assert one.accuracy_by_group is not None
    assert one.accuracy_by_group["voice"][1] > 0.1


def test_direction_says_what_speaks_for_a_genre(explained: Explanations) -> None:
    one = explained.shap
    assert one.per_genre is not None
    assert one.direction is not None
    assert one.direction["Rock"][2] < -0.7  # low values speak for Rock
    assert one.per_genre["Rock"][2] < 0
    assert "low calm for Rock" in " ".join(explained.sentences)


def test_sentences_say_what_not_to_conclude(explained: Explanations) -> None:
    text = " ".join(explained.sentences)
    assert "nothing about causes" in text
    assert "voice" in text
    json.dumps(explained.to_dict(), allow_nan=False)


def test_missing_values_and_an_official_split() -> None:
    data = table(missing=True)
    part = np.where(np.char.endswith(data.groups, "7"), "test", "training")
    data = dataclasses.replace(data, split=part)
    found = explain_models(data, make_protocol(data, kind="official"))
    assert found.permutation.n == int((part == "test").sum())
    assert np.argmax(found.shap.mean) in {0, 1, 2}
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_genre_that_a_fold_cannot_learn() -> None:
    data = table()
    y = data.y.copy()
    y[y == 0] = 1  # leave two genres, and one artist alone with the third
    y[data.groups == data.groups[0]] = 0
    data = dataclasses.replace(data, y=y)
    found = explain_models(data, make_protocol(data, n_folds=3))
    assert found.accuracy["LightGBM"] > 0.5
    assert len(found.tracks) == 3


def test_refuses_one_genre() -> None:
    data = table()
    one = dataclasses.replace(data, y=np.zeros(len(data), np.int64))
    with pytest.raises(DataError, match="needs two"):
        explain_models(one, make_protocol(data, n_folds=3))


# --- the cache -------------------------------------------------------------


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=3)
    first = explain_models(data, protocol, cache=tmp_path)
    started = time.process_time()
    second = explain_models(data, protocol, cache=tmp_path)
    assert time.process_time() - started < 0.5
    assert not first.cached
    assert second.cached
    a, b = first.to_dict(), second.to_dict()
    assert a | {"cached": None} == b | {"cached": None}
    (stored,) = tmp_path.iterdir()
    stored.write_text(stored.read_text()[:-100])  # as a full disk would leave it
    third = explain_models(data, protocol, cache=tmp_path)
    assert not third.cached
    timed = {"seconds": 0.0}
    for kind in ("impurity", "permutation", "shap"):
        assert {**third.to_dict()[kind], **timed} == {**a[kind], **timed}

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("computed anew")

    monkeypatch.setattr(importance, "_measure", fail)
    explain_models(data, protocol, cache=tmp_path)
    for other in (
        lambda: explain_models(data, protocol, cache=tmp_path, seed=1),
        lambda: explain_models(data, make_protocol(data, n_folds=4), cache=tmp_path),
        lambda: explain_models(table(seed=1), protocol, cache=tmp_path),
        lambda: explain_models(
            dataclasses.replace(data, feature_groups=("all",) * D), protocol, cache=tmp_path
        ),
    ):
        with pytest.raises(RuntimeError, match="computed anew"):
            other()


def test_importance_survives_storage(explained: Explanations) -> None:
    for one in (explained.impurity, explained.permutation, explained.shap):
        again = Importance.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False)))
        assert again.to_dict() == one.to_dict()
        np.testing.assert_array_equal(again.mean, one.mean)


@pytest.mark.slow
def test_threads_do_not_change_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrescope.explain.importance.shapley.ROUNDS", 3)
    data = table()
    one, two = (
        fit_boosting(data.x, data.y, n_classes=3, threads=threads).predict(data.x)
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert isinstance(fit_boosting(data.x, data.y, n_classes=3), lightgbm.Booster)
