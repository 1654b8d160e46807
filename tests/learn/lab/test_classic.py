"""One contract for every classifier, and what the registry promises."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone

from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.lab.classic import ClassifierSpec, PerFeature
from genrescope.learn.lab.compare_worker import Job, fit_fold
from genrescope.learn.lab.estimators import (
    ClippedScaler,
    GroupWeights,
    KernelRidgeClassifier,
    NormalRanks,
    TunedClassifier,
)
from genrescope.learn.lab.presets import FIFTEEN, PRESETS, classifiers

N, D, K = 90, 6, 3
EVERY = [spec for preset in PRESETS for spec in classifiers(preset)]


def small_table(seed: int = 0) -> tuple[Any, Any]:
    """Three genres that two of six features tell apart, with missing values."""
    rng = np.random.default_rng(seed)
    y = np.arange(N) // 3 % K
    x = rng.normal(size=(N, D))
    x[:, 0] += 4.0 * y
    x[:, 1] -= 4.0 * (y == 1)
    x[rng.random(x.shape) < 0.05] = np.nan
    return x.astype(np.float32), y.astype(np.int64)


def job(spec: ClassifierSpec, path: Any, x: Any, y: Any, **changes: Any) -> Job:
    if not path.exists():
        np.save(path, x)
    rows = np.arange(len(y))
    told = {
        "groups": rows // 3,
        "train": rows[rows % 3 > 0],
        "apply": rows[rows % 3 == 0],
        "n_classes": K,
        "families": (0, 0, 1, 1, 2, 2),
        "missing": True,
        "seed": 3,
    }
    return Job(spec=spec, table=path, y=y, **{**told, **changes})


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: f"{spec.preset}-{spec.key}")
def test_every_classifier_keeps_the_contract(spec: ClassifierSpec, tmp_path: Any) -> None:
    x, y = small_table()
    y[::2] = np.where(y[::2] == 2, 1, y[::2])  # unbalanced
    first = fit_fold(job(spec, tmp_path / "x.npy", x, y))
    assert first.failure == ""
    assert first.values.shape == (N // 3, K)
    assert first.values.dtype == np.float32
    assert np.isfinite(first.values).all()
    if spec.scores == "predict_proba":
        np.testing.assert_allclose(first.values.sum(axis=1), 1, atol=1e-4)
        assert (first.values >= 0).all()
    rows = np.arange(N)
    right = (first.values.argmax(axis=1) == y[rows % 3 == 0]).mean()
    assert right > 0.6, "it learns nothing of what is easy"
    again = fit_fold(job(spec, tmp_path / "x.npy", x, y))
    np.testing.assert_array_equal(first.values, again.values)
    assert json.loads(json.dumps(spec.settings)) == spec.settings
    json.dumps(spec.content())
    clone(spec.build(n_features=D, families=(0, 0, 1, 1, 2, 2)))
    assert spec.memory(40_000, 140, 16) > spec.memory(400, 14, 2) > 0


@pytest.mark.parametrize("spec", classifiers(), ids=lambda spec: spec.key)
def test_a_genre_that_is_not_trained_on_gets_no_values(spec: ClassifierSpec, tmp_path: Any) -> None:
    x, y = small_table()
    train = np.flatnonzero((np.arange(N) % 3 > 0) & (y != 1))
    result = fit_fold(job(spec, tmp_path / "x.npy", x, y, train=train))
    assert result.failure == ""
    assert np.isnan(result.values[:, 1]).all()
    assert np.isfinite(result.values[:, [0, 2]]).all()


@pytest.mark.parametrize("spec", classifiers(), ids=lambda spec: spec.key)
def test_a_genre_of_one_track_and_an_empty_column_do_not_stop_a_fit(
    spec: ClassifierSpec, tmp_path: Any
) -> None:
    x, y = small_table()
    x[:, 3] = 7.0
    x[np.arange(N) % 3 > 0, 4] = np.nan  # no value in the training rows
    y[y == 2] = 0
    y[1] = 2
    result = fit_fold(job(spec, tmp_path / "x.npy", x, y))
    assert result.failure == ""
    assert np.isfinite(result.values[:, :2]).all()


def test_the_fifteen_come_first_and_in_the_order_of_the_study() -> None:
    for preset in PRESETS:
        assert tuple(spec.key for spec in classifiers(preset))[:15] == FIFTEEN
        keys = [spec.key for spec in classifiers(preset)]
        assert len(set(keys)) == len(keys)
    names = [spec.name for spec in classifiers("cs464")]
    assert names[:3] == ["MLPClassifier", "SVC", "ExtraTreesClassifier"]
    assert {"QuadraticDiscriminantAnalysis", "BernoulliNB"} <= set(names)
    wins = {"lightgbm", "hist_gradient_boosting", "kernel_ridge", "svc_tuned", "mlp_tuned"}
    assert wins <= {spec.key for spec in classifiers()}


def test_the_study_preset_is_the_library_s_own_settings_on_standardised_features() -> None:
    for spec in classifiers("cs464"):
        assert spec.scaler == "standard"
        if spec.key != "gradient_boosting":
            assert not spec.params


def test_what_does_not_exist_is_said() -> None:
    with pytest.raises(DataError, match=r"preset is 'best'; choose one of default, cs464"):
        classifiers("best")
    with pytest.raises(DataError, match="no classifier svm in preset default; it has mlp, svc"):
        classifiers(only=["svm", "svc"])
    missing = ClassifierSpec("x", "X", "linear", "a_package_not_there.sub:X")
    with pytest.raises(MissingExtraError, match="a_package_not_there"):
        missing.build(n_features=2)


def test_accelerated_kernels_are_used_only_where_they_are_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (spec,) = classifiers(only=["random_forest"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not spec.accelerated
    stock = spec.build(n_features=4)
    assert type(stock[-1]).__module__.startswith("sklearn.")
    assert spec.settings["kernels"] == "stock"
    without = spec.content()
    monkeypatch.undo()
    if spec.accelerated:
        assert type(spec.build(n_features=4)[-1]).__module__.startswith("sklearnex.")
        assert spec.content() != without


def test_the_scaler_sees_training_rows_only(tmp_path: Any) -> None:
    """What the scored rows look like must not change how the others are scaled."""
    (spec,) = classifiers(only=["logistic_regression"])
    x, y = small_table()
    odd = x.copy()
    odd[3::3] *= 1_000.0  # all scored rows but the first
    plain = fit_fold(job(spec, tmp_path / "a.npy", x, y)).values
    other = fit_fold(job(spec, tmp_path / "b.npy", odd, y)).values
    np.testing.assert_array_equal(plain[0], other[0])


def test_settings_that_follow_the_number_of_features() -> None:
    assert str(PerFeature(0.5)) == "0.5 / features"
    assert str(PerFeature(2.0, power=1.0)) == "2 * features"
    (spec,) = classifiers(only=["svc"])
    assert spec.build(n_features=50)[-1].gamma == pytest.approx(spec.params["gamma"].factor / 50)


def test_clipped_scaler_cuts_what_is_far_out_and_silences_what_is_flat() -> None:
    x = np.random.default_rng(0).normal(size=(500, 3))
    x[0, 0], x[:, 2] = 1e6, 3.0
    out = ClippedScaler(limit=2.0).fit(x).transform(x)
    assert out.dtype == np.float32
    assert out.max() <= 2.0
    assert out.min() >= -2.0
    np.testing.assert_array_equal(out[:, 2], 0)


def test_normal_ranks_do_not_care_for_the_scale_of_a_feature() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    bent = np.column_stack([np.exp(5 * x[:, 0]), x[:, 1] ** 3])
    plain, other = (NormalRanks(400).fit(rows).transform(rows) for rows in (x, bent))
    np.testing.assert_allclose(plain, other, atol=1e-3)
    assert abs(plain.mean()) < 0.01
    assert plain.std() == pytest.approx(1, abs=0.03)
    # Half of the values are equal: they get the middle of the ranks that they share.
    tied = np.concatenate([np.zeros(200), np.arange(1.0, 201.0)])[:, None]
    assert NormalRanks().fit(tied).transform([[0.0]]) == pytest.approx(-0.674, abs=0.02)


def test_group_weights_lift_small_families() -> None:
    x = np.ones((2, 5))
    out = GroupWeights((0, 0, 0, 0, 1)).fit(x).transform(x)[0]
    assert out[4] > out[0]
    # Families share the distance as the roots of their sizes, 2 to 1; its mean stays.
    assert (out[:4] ** 2).sum() == pytest.approx(2 * out[4] ** 2)
    assert (out**2).mean() == pytest.approx(1)
    with pytest.raises(DataError, match="families has 2 values and x 5 columns"):
        GroupWeights((0, 1)).fit(x)


def test_kernel_ridge_is_the_textbook_s() -> None:
    from sklearn.kernel_ridge import KernelRidge

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    goal = np.eye(3)[y] - 1 / 3
    wanted = KernelRidge(kernel="rbf", gamma=0.5 / 4, alpha=0.3).fit(x, goal).predict(x) + 1 / 3
    model = KernelRidgeClassifier(gamma=0.5, alpha=0.3).fit(x, y)
    np.testing.assert_allclose(model.decision_function(x), wanted, atol=1e-4)


def test_the_approximated_kernel_comes_near_the_exact_one() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 3
    x = (rng.normal(size=(400, 4)) + y[:, None]).astype(np.float32)
    exact = KernelRidgeClassifier(alpha=0.1).fit(x, y).decision_function(x)
    near = KernelRidgeClassifier(alpha=0.1, components=200, random_state=0).fit(x, y)
    assert near.rows_.shape == (200, 4)
    assert np.abs(near.decision_function(x) - exact).mean() < 0.02
    many = KernelRidgeClassifier(exact_rows=100, components=None).fit(x, y)
    assert len(many.rows_) == 400  # 3,000 components are more than there are rows


def test_kernel_ridge_names_its_kernels() -> None:
    with pytest.raises(DataError, match="kernel is 'cubic'; choose one of rbf, exponential"):
        KernelRidgeClassifier("cubic").fit(np.zeros((4, 1)), [0, 1, 0, 1])


def test_tuning_takes_the_setting_that_works_for_new_groups() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    # Every artist is a point of its own; one neighbour knows an artist again, many know the genre.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    y = (groups + (rng.random(60) < 0.25)[groups]) % 2
    x = (groups % 2)[:, None] * 2.0 + rng.normal(size=(60, 1))[groups]
    x = x + 0.001 * rng.normal(size=(len(x), 1))
    choices = ({"n_neighbors": 1}, {"n_neighbors": 45})
    model = TunedClassifier(KNeighborsClassifier(), choices, random_state=0)
    assert model.fit(x, y, groups=groups).chosen_ == {"n_neighbors": 45}
    # Without groups the artists leak into the inner split, and memory wins.
    assert model.fit(x, y).chosen_ == {"n_neighbors": 1}


def test_tuning_says_nothing_where_there_is_nothing_to_choose_on() -> None:
    from sklearn.svm import SVC

    x, y = np.arange(8.0)[:, None], np.arange(8) % 2
    one_group = np.zeros(8)
    model = TunedClassifier(SVC(), ({"C": 1.0}, {"C": 2.0}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(x, y, groups=one_group).chosen_ == {"C": 1.0}
