"""What a classifier of the laboratory is: a class, its settings, and the scaler before it.

An entry is data. It becomes a pipeline when it is built, so that scaler and imputer see training
rows only, and its content says whether two entries are the same. The entries themselves are in
:mod:`genrescope.learn.lab.presets`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrescope.errors import MissingExtraError

try:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the laboratory", extra="lab", package="scikit-learn") from error

from genrescope.learn.lab.estimators import ClippedScaler, GroupWeights, NormalRanks

__all__ = ["ClassifierSpec", "Nested", "PerFeature"]

_SCALERS = {
    "standard": "standardised",
    "clipped": "standardised, cut off at 4",
    "ranks": "normal scores of ranks",
    "ranks by family": "normal scores of ranks, families weighted by the root of their size",
    "none": "as they are",
}

_SCALER_CLASSES = {
    "standard": StandardScaler,
    "clipped": ClippedScaler,
    "ranks": NormalRanks,
    "ranks by family": NormalRanks,
}


@dataclass(frozen=True)
class PerFeature:
    """A setting that follows the number of features: ``factor * n_features ** power``."""

    factor: float
    power: float = -1.0
    at_most: float = float("inf")

    def value(self, n_features: int) -> float:
        """The setting for that many features.

        Examples
        --------
        >>> PerFeature(0.5).value(100), PerFeature(4.0, -0.5, at_most=1.0).value(4)
        (0.005, 1.0)
        """
        return float(min(self.factor * n_features**self.power, self.at_most))

    def __str__(self) -> str:
        limit = "" if self.at_most == float("inf") else f", at most {self.at_most:g}"
        by = {-1.0: " / features", 1.0: " * features"}.get(
            self.power, f" * features^{self.power:g}"
        )
        return f"{self.factor:g}{by}{limit}"


@dataclass(frozen=True)
class ClassifierSpec:
    """One classifier of the registry.

    Attributes
    ----------
    key : str
        Short name, such as ``random_forest``.
    name : str
        The name that its library gives it, such as ``RandomForestClassifier``.
    family : str
        linear, kernel, neighbours, trees, boosting, neural or bayes.
    estimator : str
        ``module:Class``.
    params : mapping
        Settings that differ from the library's own; a :class:`PerFeature` depends on the table.
    preset : str
        Which set of settings this is.
    scaler : {"standard", "clipped", "ranks", "ranks by family", "none"}
        What the features go through: standardisation, that and a cut at four standard
        deviations, normal scores of their ranks, those and weights that keep a large family of
        features from drowning the small ones, or nothing.
    takes_nan : bool
        Whether missing values are left to the classifier; elsewhere the median of the training
        rows stands in.
    scores : {"predict_proba", "decision_function"}
        What probabilities are made from.
    intel, intel_params : str, mapping
        The same algorithm in scikit-learn-intelex, used where that is installed; empty where it
        does not win. Its settings are those of `params` where `intel_params` is None.
    takes_groups : bool
        Whether `fit` wants to know the groups (artists), to choose settings on some of them.
    min_per_class : int
        Classes with fewer training rows are left out of a fit.
    full_run : bool
        Whether the number of iterations is a setting and not a limit, so that stopping there is
        not worth a note.
    cost : float
        CPU seconds of a fit on 30,000 rows of 140 features in 16 classes, roughly: the longest
        are run first.
    bytes_per_row_pair : float
        Memory that grows with the square of the training rows, up to 12,000 of them.
    """

    key: str
    name: str
    family: str
    estimator: str
    params: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "default"
    scaler: str = "standard"
    takes_nan: bool = False
    scores: str = "predict_proba"
    intel: str = ""
    intel_params: Mapping[str, Any] | None = None
    takes_groups: bool = False
    min_per_class: int = 1
    full_run: bool = False
    cost: float = 1.0
    bytes_per_row_pair: float = 0.0

    @property
    def accelerated(self) -> bool:
        """Whether it runs on the kernels of scikit-learn-intelex here."""
        return bool(self.intel) and importlib.util.find_spec("sklearnex") is not None

    @property
    def settings(self) -> dict[str, Any]:
        """What a report shows, JSON-able: the preset, the scaler, and settings of its own."""
        return {
            "preset": self.preset,
            "features": _SCALERS[self.scaler],
            **{name: _plain(value) for name, value in self.params.items()},
            "kernels": "scikit-learn-intelex" if self.accelerated else "stock",
        }

    def content(self) -> dict[str, Any]:
        """All that its answers depend on beside the data, JSON-able."""
        estimator, params = self._chosen()
        return {
            "estimator": estimator,
            "params": {name: _plain(params[name]) for name in sorted(params)},
            "scaler": self.scaler,
            "takes_nan": self.takes_nan,
            "scores": self.scores,
            "takes_groups": self.takes_groups,
            "min_per_class": self.min_per_class,
        }

    def build(
        self,
        *,
        n_features: int,
        seed: int = 0,
        families: Sequence[int] | None = None,
        missing: bool = True,
    ) -> Pipeline:
        """An unfitted pipeline: imputer, scaler, classifier.

        Parameters
        ----------
        n_features : int
            Of the table.
        seed : int
            Of the classifier, where it draws anything.
        families : sequence of int, optional
            Number of the family of each feature; all of one family if not given.
        missing : bool
            Whether there are missing values; without, there is no imputer.

        Returns
        -------
        sklearn.pipeline.Pipeline
            Its last step is named "classifier".

        Raises
        ------
        MissingExtraError
            If the library of the classifier is not installed.
        """
        estimator, params = self._chosen()
        steps: list[tuple[str, Any]] = []
        if missing and not self.takes_nan:
            # A column may be empty in a fold; it must not vanish, so it becomes 0.
            steps.append(("imputer", SimpleImputer(strategy="median", keep_empty_features=True)))
        if self.scaler != "none":
            steps.append(("scaler", _SCALER_CLASSES[self.scaler]()))
        if self.takes_families:
            weights = GroupWeights([0] * n_features if families is None else families)
            steps.append(("weights", weights))
        classifier = _make(estimator, params, seed=seed, n_features=n_features)
        return Pipeline([*steps, ("classifier", classifier)])

    def memory(self, n_rows: int, n_features: int, n_classes: int) -> int:
        """Bytes that a fit needs beside the table itself, estimated from above."""
        # Copies of the table (float32 and float64), decision values, and what libraries take.
        copies = 32 * n_rows * n_features + 64 * n_rows * n_classes
        pairs = self.bytes_per_row_pair * min(n_rows, 12_000) ** 2
        return int(300e6 + copies + pairs)

    @property
    def takes_families(self) -> bool:
        """Whether its answers depend on which family a feature is of."""
        return self.scaler == "ranks by family"

    def _chosen(self) -> tuple[str, Mapping[str, Any]]:
        if not self.accelerated:
            return self.estimator, self.params
        return self.intel, self.params if self.intel_params is None else self.intel_params


@dataclass(frozen=True)
class Nested:
    """A setting that is itself a classifier."""

    estimator: str
    params: Mapping[str, Any] = field(default_factory=dict)


def _make(estimator: str, params: Mapping[str, Any], *, seed: int, n_features: int) -> Any:
    module, _, name = estimator.partition(":")
    package = module.partition(".")[0]
    try:
        made = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(f"the classifier {name}", extra="lab", package=package) from error
    values = {key: _value(value, seed=seed, n_features=n_features) for key, value in params.items()}
    if "random_state" in inspect.signature(made).parameters:
        values.setdefault("random_state", seed)
    return made(**values)


def _value(value: Any, *, seed: int, n_features: int) -> Any:
    if isinstance(value, PerFeature):
        return value.value(n_features)
    if isinstance(value, Nested):
        return _make(value.estimator, value.params, seed=seed, n_features=n_features)
    if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
        return tuple(
            {k: _value(v, seed=seed, n_features=n_features) for k, v in one.items()}
            for one in value
        )
    return value


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    if isinstance(value, PerFeature):
        return str(value)
    if isinstance(value, Nested):
        inner = ", ".join(f"{name}={_plain(one)}" for name, one in value.params.items())
        return f"{value.estimator.partition(':')[2]}({inner})"
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
