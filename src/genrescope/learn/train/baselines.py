"""What the recogniser is compared with, on the same folds.

Each gives scores for a fold it has not seen; the scores are calibrated like the recogniser's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.errors import MissingExtraError

try:
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("training", extra="train", package="scikit-learn") from error

__all__ = ["BASELINES", "kernel_ridge", "stock_svc", "vggish_regression"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_MFCC_COLUMNS = np.flatnonzero([name.startswith("mfcc.mfcc_") for name in frames.STATISTIC_NAMES])


def stock_svc(train: FloatArray, y: IntArray, test: FloatArray, *, n_genres: int) -> FloatArray:
    """scikit-learn's SVC as it comes, on the 140 MFCC statistics (mean, standard deviation, skew,
    kurtosis, median, minimum, maximum of 20 coefficients) of the mel frames.

    Parameters
    ----------
    train, test : np.ndarray [shape=(n, n_statistics), float32]
        Statistics.
    y : np.ndarray [shape=(n,), int]
        Genres of ``train``.
    n_genres : int
        Number of classes.

    Returns
    -------
    np.ndarray [shape=(n_test, n_genres), float32]
        Decision values.
    """
    model = make_pipeline(StandardScaler(), SVC())
    model.fit(train[:, _MFCC_COLUMNS], y)
    return _by_genre(model, test[:, _MFCC_COLUMNS], n_genres=n_genres)


def kernel_ridge(train: FloatArray, y: IntArray, test: FloatArray, *, n_genres: int) -> FloatArray:
    """Ridge regression on the labels with a Gaussian kernel, on all statistics.

    Parameters
    ----------
    train, test : np.ndarray [shape=(n, n_statistics), float32]
        Statistics.
    y : np.ndarray [shape=(n,), int]
        Genres of ``train``.
    n_genres : int
        Number of classes.

    Returns
    -------
    np.ndarray [shape=(n_test, n_genres), float32]
        Regressed labels.
    """
    scaler = StandardScaler().fit(train)
    # float32: the kernel of 5,700 tracks then takes 130 MB, and the answer is the same.
    a, b = (np.clip(scaler.transform(x), -4.0, 4.0).astype(np.float32) for x in (train, test))
    goal = np.eye(n_genres, dtype=np.float32)[y] - np.float32(1.0 / n_genres)
    model = KernelRidge(kernel="rbf", gamma=0.5 / a.shape[1], alpha=0.3).fit(a, goal)
    out: FloatArray = model.predict(b).astype(np.float32)
    return out


def vggish_regression(
    train: FloatArray, y: IntArray, test: FloatArray, *, n_genres: int
) -> FloatArray:
    """Logistic regression on VGGish embeddings: what a network pretrained on two million videos
    hears. The recogniser learns from it and never needs it.

    Parameters
    ----------
    train, test : np.ndarray [shape=(n, 128), float32]
        Embeddings.
    y : np.ndarray [shape=(n,), int]
        Genres of ``train``.
    n_genres : int
        Number of classes.

    Returns
    -------
    np.ndarray [shape=(n_test, n_genres), float32]
        Logits.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    model.fit(train, y)
    return _by_genre(model, test, n_genres=n_genres)


def _by_genre(model: Any, test: FloatArray, *, n_genres: int) -> FloatArray:
    """Decision values with a column for every genre, those not in the training part last."""
    values = model.decision_function(test)
    if values.ndim == 1:  # of two classes scikit-learn gives one column
        values = np.stack([np.zeros_like(values), values], axis=1)
    scores = np.full((len(test), n_genres), values.min() - 1.0, dtype=np.float32)
    scores[:, model[-1].classes_] = values
    return scores


#: Key -> (name in the table, function, what it reads: "statistics" or "vggish").
BASELINES: dict[str, tuple[str, Callable[..., FloatArray], str]] = {
    "svc": ("SVC as it comes, 140 MFCC statistics", stock_svc, "statistics"),
    "ridge": ("Kernel ridge, all statistics", kernel_ridge, "statistics"),
    "vggish": ("VGGish + logistic regression (needs VGGish)", vggish_regression, "vggish"),
}
