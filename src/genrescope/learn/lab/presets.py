"""The classifiers that the laboratory compares: one registry, with two sets of settings.

``default`` has settings that are sensible for statistics of sound, ``cs464`` scikit-learn's own on
standardised features, which is what the 2022 study used. An entry of one's own goes into
``_WINNERS``; tests/learn/lab/test_classic.py then holds it to the contract.

The settings of "default" were chosen by folds between artists on FMA-small's tracks of training
and validation, never its test, and for speed where two were equal. Scores on those same folds are
therefore flattered a little: some thirty kernels and features were tried for kernel ridge, whose
accuracies spread over two points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from genrescope.errors import DataError
from genrescope.learn.lab.classic import ClassifierSpec, Nested, PerFeature

__all__ = ["FIFTEEN", "PRESETS", "REGISTRY", "classifiers"]

PRESETS = ("default", "cs464")

#: The classifiers of the 2022 study, in the order of its table.
FIFTEEN = (
    "mlp",
    "svc",
    "extra_trees",
    "random_forest",
    "linear_svc",
    "logistic_regression",
    "k_neighbors",
    "bagging",
    "ridge",
    "sgd",
    "decision_tree",
    "ada_boost",
    "nearest_centroid",
    "perceptron",
    "gaussian_nb",
)

_DECISION = "decision_function"
_TREE = "sklearn.tree:DecisionTreeClassifier"

_TUNED = "genrescope.learn.lab.estimators:TunedClassifier"
_SVC_CHOICES = tuple({"C": c, "gamma": PerFeature(g)} for g in (0.3, 0.8) for c in (2.0, 6.0))

# What is the same in both presets; the order is that of the study's table, then the others.
_BASE = (
    ClassifierSpec(
        key="mlp",
        name="MLPClassifier",
        family="neural",
        estimator="sklearn.neural_network:MLPClassifier",
        cost=60,
    ),
    ClassifierSpec(
        key="svc",
        name="SVC",
        family="kernel",
        estimator="sklearn.svm:SVC",
        scores=_DECISION,
        intel="sklearnex.svm:SVC",
        cost=32,
        bytes_per_row_pair=4.0,
    ),
    ClassifierSpec(
        key="extra_trees",
        name="ExtraTreesClassifier",
        family="trees",
        estimator="sklearn.ensemble:ExtraTreesClassifier",
        cost=15,
    ),
    ClassifierSpec(
        key="random_forest",
        name="RandomForestClassifier",
        family="trees",
        estimator="sklearn.ensemble:RandomForestClassifier",
        intel="sklearnex.ensemble:RandomForestClassifier",
        cost=24,
    ),
    ClassifierSpec(
        key="linear_svc",
        name="LinearSVC",
        family="linear",
        estimator="sklearn.svm:LinearSVC",
        scores=_DECISION,
        cost=18,
    ),
    ClassifierSpec(
        key="logistic_regression",
        name="LogisticRegression",
        family="linear",
        estimator="sklearn.linear_model:LogisticRegression",
        cost=3,
    ),
    ClassifierSpec(
        key="k_neighbors",
        name="KNeighborsClassifier",
        family="neighbours",
        estimator="sklearn.neighbors:KNeighborsClassifier",
        cost=5,
    ),
    ClassifierSpec(
        key="bagging",
        name="BaggingClassifier",
        family="trees",
        estimator="sklearn.ensemble:BaggingClassifier",
        cost=40,
    ),
    ClassifierSpec(
        key="ridge",
        name="RidgeClassifier",
        family="linear",
        estimator="sklearn.linear_model:RidgeClassifier",
        scores=_DECISION,
        cost=1,
    ),
    ClassifierSpec(
        key="sgd",
        name="SGDClassifier",
        family="linear",
        estimator="sklearn.linear_model:SGDClassifier",
        scores=_DECISION,
        cost=20,
    ),
    ClassifierSpec(
        key="decision_tree",
        name="DecisionTreeClassifier",
        family="trees",
        estimator=_TREE,
        cost=8,
    ),
    ClassifierSpec(
        key="ada_boost",
        name="AdaBoostClassifier",
        family="boosting",
        estimator="sklearn.ensemble:AdaBoostClassifier",
        # Its probabilities are nearly equal for all classes; a temperature mends that.
        scores=_DECISION,
        cost=35,
    ),
    ClassifierSpec(
        key="nearest_centroid",
        name="NearestCentroid",
        family="neighbours",
        estimator="sklearn.neighbors:NearestCentroid",
        scores=_DECISION,
        min_per_class=2,
        cost=0.1,
    ),
    ClassifierSpec(
        key="perceptron",
        name="Perceptron",
        family="linear",
        estimator="sklearn.linear_model:Perceptron",
        scores=_DECISION,
        cost=2,
    ),
    ClassifierSpec(
        key="gaussian_nb",
        name="GaussianNB",
        family="bayes",
        estimator="sklearn.naive_bayes:GaussianNB",
        cost=0.1,
    ),
    ClassifierSpec(
        key="qda",
        name="QuadraticDiscriminantAnalysis",
        family="bayes",
        estimator="sklearn.discriminant_analysis:QuadraticDiscriminantAnalysis",
        min_per_class=2,
        cost=2,
    ),
    ClassifierSpec(
        key="bernoulli_nb",
        name="BernoulliNB",
        family="bayes",
        estimator="sklearn.naive_bayes:BernoulliNB",
        cost=0.1,
    ),
    ClassifierSpec(
        key="gradient_boosting",
        name="GradientBoostingClassifier",
        family="boosting",
        estimator="sklearn.ensemble:GradientBoostingClassifier",
        # All features in every split would take hours at the size of the study.
        params={"max_features": "sqrt"},
        cost=120,
    ),
)

_DEFAULT = {
    "mlp": {
        "params": {
            "hidden_layer_sizes": (200,),
            "alpha": 3.0,
            "learning_rate_init": 1e-3,
            "max_iter": 25,
        },
        "scaler": "clipped",
        "full_run": True,
        "cost": 5,
    },
    "svc": {
        "params": {"C": 3.0, "gamma": PerFeature(0.5), "cache_size": 500},
        "scaler": "clipped",
    },
    "extra_trees": {"params": {"n_estimators": 200, "min_samples_leaf": 2, "max_depth": 24}},
    "random_forest": {"params": {"n_estimators": 200, "min_samples_leaf": 2}},
    "linear_svc": {
        "params": {"C": PerFeature(1.4), "tol": 0.01, "dual": "auto"},
        "scaler": "clipped",
    },
    "logistic_regression": {"params": {"C": PerFeature(5.0), "max_iter": 300}},
    "k_neighbors": {
        "params": {"n_neighbors": 15, "weights": "distance", "algorithm": "brute"},
        "scaler": "clipped",
    },
    # A bag of whole trees is a forest whose trees see all features: with the accelerated kernels
    # it is computed as one.
    "bagging": {
        "params": {
            "estimator": Nested(_TREE, {"min_samples_leaf": 2}),
            "n_estimators": 20,
        },
        "intel": "sklearnex.ensemble:RandomForestClassifier",
        "intel_params": {"n_estimators": 20, "max_features": None, "min_samples_leaf": 2},
        "cost": 23,
    },
    "ridge": {"params": {"alpha": PerFeature(1.0, power=1.0)}, "scaler": "clipped"},
    "sgd": {
        "params": {"alpha": PerFeature(1e-4, power=1.0), "average": True, "max_iter": 20},
        "scaler": "clipped",
        "full_run": True,
        "cost": 4,
    },
    "decision_tree": {
        "params": {"min_samples_leaf": 20, "max_depth": 12},
        "scaler": "none",
        "takes_nan": True,
    },
    "ada_boost": {
        "params": {
            "estimator": Nested(_TREE, {"max_depth": 6, "max_features": "sqrt"}),
            "n_estimators": 100,
            "learning_rate": 0.5,
        },
    },
    "nearest_centroid": {"scaler": "clipped"},
    "perceptron": {"params": {"penalty": "l2", "alpha": 1e-5}},
    "gaussian_nb": {"scaler": "clipped"},
    "qda": {"params": {"reg_param": 0.3}, "scaler": "clipped"},
    "bernoulli_nb": {},
    "gradient_boosting": {
        "params": {
            "n_estimators": 80,
            "learning_rate": 0.12,
            "max_depth": 4,
            "subsample": 0.5,
            "max_features": "sqrt",
        },
        "cost": 60,
    },
}

_WINNERS = (
    ClassifierSpec(
        key="lightgbm",
        name="LGBMClassifier",
        family="boosting",
        estimator="lightgbm:LGBMClassifier",
        params={
            "n_estimators": 200,
            "num_leaves": 10,
            "learning_rate": 0.09,
            "min_child_samples": 10,
            "colsample_bytree": PerFeature(4.0, -0.53, at_most=1.0),
            "subsample": 0.7,
            "subsample_freq": 1,
            "reg_lambda": 5.0,
            "n_jobs": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        },
        scaler="none",
        takes_nan=True,
        cost=60,
    ),
    ClassifierSpec(
        key="hist_gradient_boosting",
        name="HistGradientBoostingClassifier",
        family="boosting",
        estimator="sklearn.ensemble:HistGradientBoostingClassifier",
        params={
            "max_iter": 100,
            "learning_rate": 0.1,
            "max_leaf_nodes": 10,
            "max_features": PerFeature(4.0, -0.53, at_most=1.0),
            "l2_regularization": 5.0,
            "early_stopping": False,
        },
        scaler="none",
        takes_nan=True,
        cost=80,
    ),
    ClassifierSpec(
        key="kernel_ridge",
        name="KernelRidge",
        family="kernel",
        estimator="genrescope.learn.lab.estimators:KernelRidgeClassifier",
        params={"kernel": "exponential", "gamma": 1.0, "alpha": 0.1},
        scaler="ranks by family",
        scores=_DECISION,
        cost=60,
        bytes_per_row_pair=8.0,
    ),
    ClassifierSpec(
        key="nystroem",
        name="Nystroem + Ridge",
        family="kernel",
        estimator="genrescope.learn.lab.estimators:KernelRidgeClassifier",
        params={"kernel": "exponential", "gamma": 1.0, "alpha": 0.1, "components": 1_000},
        scaler="ranks by family",
        scores=_DECISION,
        cost=10,
    ),
    ClassifierSpec(
        key="svc_tuned",
        name="SVC (tuned)",
        family="kernel",
        estimator=_TUNED,
        params={"estimator": Nested("sklearn.svm:SVC"), "choices": _SVC_CHOICES},
        intel=_TUNED,
        intel_params={"estimator": Nested("sklearnex.svm:SVC"), "choices": _SVC_CHOICES},
        scaler="ranks by family",
        scores=_DECISION,
        takes_groups=True,
        cost=100,
        bytes_per_row_pair=4.0,
    ),
    ClassifierSpec(
        key="mlp_tuned",
        name="MLPClassifier (tuned)",
        family="neural",
        estimator=_TUNED,
        params={
            "estimator": Nested(
                "sklearn.neural_network:MLPClassifier",
                {"hidden_layer_sizes": (200,)},
            ),
            "choices": tuple(
                {"alpha": alpha, "max_iter": epochs} for alpha in (1.0, 5.0) for epochs in (12, 30)
            ),
        },
        scaler="clipped",
        takes_groups=True,
        full_run=True,
        cost=60,
    ),
)


def _presets() -> dict[str, tuple[ClassifierSpec, ...]]:
    own = tuple(replace(spec, preset="default", **_DEFAULT[spec.key]) for spec in _BASE)  # type: ignore[arg-type]
    study = tuple(replace(spec, preset="cs464") for spec in _BASE)
    return {"default": own + _WINNERS, "cs464": study}


#: Preset -> entries.
REGISTRY = _presets()


def classifiers(
    preset: str = "default", only: Iterable[str] | None = None
) -> tuple[ClassifierSpec, ...]:
    """Entries of the registry.

    Parameters
    ----------
    preset : {"default", "cs464"}
        Which settings. Both have the fifteen of the study and the three that its report named
        beside them; "default" also has what wins today.
    only : iterable of str, optional
        Keys to take; the order stays that of the registry.

    Returns
    -------
    tuple of ClassifierSpec
        The fifteen first, in the order of :data:`FIFTEEN`.

    Raises
    ------
    DataError
        If a preset or a key does not exist.

    Examples
    --------
    >>> [spec.name for spec in classifiers("cs464", only=["svc", "mlp"])]
    ['MLPClassifier', 'SVC']
    """
    if preset not in PRESETS:
        raise DataError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}")
    specs = REGISTRY[preset]
    if only is None:
        return specs
    wanted = list(only)
    unknown = sorted(set(wanted) - {spec.key for spec in specs})
    if unknown:
        known = ", ".join(spec.key for spec in specs)
        raise DataError(f"no classifier {', '.join(unknown)} in preset {preset}; it has {known}")
    return tuple(spec for spec in specs if spec.key in wanted)
