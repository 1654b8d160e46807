"""SHAP values of boosted trees: what each feature adds to the answer for one track.

LightGBM computes them exactly (TreeSHAP, Lundberg et al. 2020). A classifier's scores have no zero
of their own, only differences between genres mean something; so contributions are given against
the mean over the genres: the logarithm of a genre's probability over the geometric mean of all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import MissingExtraError

try:
    import lightgbm
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("explaining models", extra="lab", package="lightgbm") from error

__all__ = ["BOOSTING", "contributions", "fit_boosting", "probabilities"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOOSTING: dict[str, Any] = {
    "objective": "multiclass",
    "learning_rate": 0.08,
    "num_leaves": 15,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_col_wise": True,
    "verbose": -1,
}
ROUNDS = 150
COLUMNS = 42  # at least so many columns are looked at by each tree, or all, or 5 %
_CELLS = 8_000_000  # contributions held at once: 64 MB


def fit_boosting(
    x: NDArray[np.float32], y: Ints, *, n_classes: int, seed: int = 0, threads: int = 1
) -> Any:
    """Train LightGBM with settings that are quick on wide tables.

    Parameters
    ----------
    x : np.ndarray [shape=(n, d), float32]
        Features; NaN is missing and has its own way through a tree.
    y : np.ndarray [shape=(n,), int64]
        Classes; each of ``n_classes`` has a row.
    n_classes : int >= 2
        How many.
    seed : int
        Of the draws of rows and columns.
    threads : int
        To use; the model does not depend on it.

    Returns
    -------
    lightgbm.Booster
    """
    d = x.shape[1]
    settings = {
        **BOOSTING,
        "num_class": n_classes,
        "feature_fraction": min(1.0, max(COLUMNS / d, 0.05)),
        "min_data_in_leaf": max(2, min(20, len(x) // 50)),
        "seed": seed,
        "num_threads": threads,
    }
    return lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=ROUNDS)


def probabilities(booster: Any, x: NDArray[np.float32]) -> Floats:
    """Probabilities of the classes [n, k].

    Parameters
    ----------
    booster : lightgbm.Booster
        Of a multiclass model.
    x : np.ndarray [shape=(n, d), float32]
        Features.

    Returns
    -------
    np.ndarray [shape=(n, k), float64]
    """
    return np.asarray(booster.predict(x, num_threads=1), dtype=np.float64)


def contributions(booster: Any, x: NDArray[np.float32], *, threads: int = 1) -> Floats:
    """What each feature adds to each class for each row.

    Parameters
    ----------
    booster : lightgbm.Booster
        Of a multiclass model.
    x : np.ndarray [shape=(n, d), float32]
        Features.
    threads : int
        To use.

    Returns
    -------
    np.ndarray [shape=(n, k, d + 1), float64]
        The last column is the base, what the model expects of any row. A row of a class adds up
        to ln(p) minus the mean of ln(p) over the classes; its softmax over the classes is p.
    """
    raw = np.asarray(booster.predict(x, pred_contrib=True, num_threads=threads), dtype=np.float64)
    parts = raw.reshape(len(x), -1, x.shape[1] + 1)
    return np.asarray(parts - parts.mean(axis=1, keepdims=True))


def rows_at_once(n_classes: int, n_features: int) -> int:
    """How many rows :func:`contributions` should be given at once to stay within memory."""
    return max(1, _CELLS // (n_classes * (n_features + 1)))
