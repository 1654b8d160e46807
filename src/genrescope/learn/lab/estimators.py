"""Classifiers and scalers that scikit-learn does not have, in its interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.catalog.splits import holdout
from genrescope.errors import DataError, MissingExtraError, SplitError

try:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular
    from scipy.special import ndtri
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the laboratory", extra="lab", package="scikit-learn") from error

__all__ = [
    "ClippedScaler",
    "GroupWeights",
    "KernelRidgeClassifier",
    "NormalRanks",
    "TunedClassifier",
]

Rows = NDArray[np.float32]

_TAIL = 1e-3  # share of the training rows beyond which ranks are not told apart
_JITTER = 1e-6  # added to the diagonal of a kernel whose diagonal is 1
_BLOCK = 2_000  # rows of a kernel that are held at once beside it


class ClippedScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Mean 0 and standard deviation 1 on the training rows, then cut off at a limit.

    Statistics of sound have heavy tails: one odd track lies twenty standard deviations out and
    decides every distance to it. Beyond the limit, further is no more.

    Parameters
    ----------
    limit : float > 0
        In standard deviations.
    """

    def __init__(self, limit: float = 4.0) -> None:
        self.limit = limit

    def fit(self, x: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn mean and standard deviation of x [shape=(n, d)]."""
        rows = np.asarray(x)
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        deviation = rows.std(axis=0, dtype=np.float64)
        # A column that is constant up to rounding tells nothing: it becomes 0.
        flat = deviation <= 1e-6 * np.maximum(1.0, np.abs(self.mean_))
        self.scale_ = np.where(flat, np.inf, deviation)
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, x: ArrayLike) -> Rows:
        """x [shape=(n, d)] in standard deviations, float32."""
        scaled = (np.asarray(x) - self.mean_) / self.scale_
        out: Rows = np.clip(scaled, -self.limit, self.limit).astype(np.float32)
        return out


class NormalRanks(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Replace each feature by its rank among the training rows, spread like a normal variable.

    What counts is then that a track is louder, or more tonal, than most, and not by how much:
    statistics whose scales differ and whose tails are heavy become comparable. On FMA-small it
    lifts kernel ridge by about one point.

    Parameters
    ----------
    quantiles : int > 1
        Points between which ranks are interpolated; fewer where there are fewer rows.
    """

    def __init__(self, quantiles: int = 500) -> None:
        self.quantiles = quantiles

    def fit(self, x: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn the quantiles of x [shape=(n, d)]."""
        rows = np.asarray(x)
        n_quantiles = max(2, min(self.quantiles, len(rows)))
        shares = np.linspace(0.0, 1.0, n_quantiles)
        ordered = np.sort(rows, axis=0)
        at = shares * (len(rows) - 1)
        low = np.floor(at).astype(np.intp)
        high = np.minimum(low + 1, len(rows) - 1)
        part = (at - low)[:, None]
        quantiles = ordered[low] * (1.0 - part) + ordered[high] * part
        # Column by column in memory; rounding must not put them out of order.
        self.quantiles_ = np.ascontiguousarray(np.maximum.accumulate(quantiles, axis=0).T)
        self.shares_ = shares
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, x: ArrayLike) -> Rows:
        """Normal scores of x [shape=(n, d)], float32, at most 3.1 from 0."""
        rows = np.asarray(x)
        out = np.empty(rows.shape, np.float32)
        for column, quantiles in enumerate(self.quantiles_):
            # A value that fills several quantiles gets the middle of them.
            values = rows[:, column]
            up = np.interp(values, quantiles, self.shares_)
            down = np.interp(-values, -quantiles[::-1], self.shares_)
            share = 0.5 * (up + 1.0 - down)
            out[:, column] = ndtri(np.clip(share, _TAIL, 1.0 - _TAIL))
        return out


class GroupWeights(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Weigh features so that a family counts in a distance by the square root of its size.

    Where a table has 1,600 statistics of the bands and 190 of the shape of the spectrum, a plain
    distance hears little but the bands.

    Parameters
    ----------
    families : sequence of int
        Number of the family of each feature.
    """

    def __init__(self, families: Sequence[int] = ()) -> None:
        self.families = families

    def fit(self, x: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn nothing; x [shape=(n, d)] must have a column for each of `families`."""
        families = np.asarray(self.families, dtype=np.int64)
        n_features = np.shape(x)[1]
        if len(families) != n_features:
            raise DataError(
                f"families has {len(families)} values and x {n_features} columns; give one each"
            )
        _, codes, counts = np.unique(families, return_inverse=True, return_counts=True)
        # The weights have a mean square of 1, so that settings do not depend on the families.
        share = np.sqrt(counts) / np.sqrt(counts).sum()
        weights = np.sqrt(n_features * share[codes] / counts[codes])
        self.weights_ = weights.astype(np.float32)
        self.n_features_in_ = n_features
        return self

    def transform(self, x: ArrayLike) -> Rows:
        """Weighted x [shape=(n, d)], float32."""
        out: Rows = (np.asarray(x) * self.weights_).astype(np.float32)
        return out


class KernelRidgeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Ridge regression on the labels with a kernel.

    Exact up to `exact_rows` training rows. Beyond, or where `components` is set, the kernel is
    approximated through that many training rows (Nystroem), so that memory stays in bounds.

    Parameters
    ----------
    kernel : {"rbf", "exponential"}
        exp(-gamma * D) or exp(-gamma * sqrt(D)), where D is the mean of the squared differences
        of the features, so that gamma does not depend on their number.
    gamma : float > 0
        How fast the kernel falls with distance.
    alpha : float > 0
        Added to the diagonal of the kernel.
    exact_rows : int
        Largest number of training rows for the exact solution; its kernel takes 4 bytes an entry.
    components : int or None
        Rows that the kernel is approximated through; None is exact where that is possible, and
        3,000 where not.
    random_state : int or None
        Draws those rows.
    """

    def __init__(
        self,
        kernel: str = "rbf",
        *,
        gamma: float = 0.5,
        alpha: float = 0.3,
        exact_rows: int = 12_000,
        components: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.gamma = gamma
        self.alpha = alpha
        self.exact_rows = exact_rows
        self.components = components
        self.random_state = random_state

    def fit(self, x: ArrayLike, y: ArrayLike) -> Self:
        """Fit on rows x [shape=(n, d)] and labels y [shape=(n,)]."""
        if self.kernel not in _KERNELS:
            raise DataError(f"kernel is {self.kernel!r}; choose one of {', '.join(_KERNELS)}")
        rows = np.ascontiguousarray(x, dtype=np.float32)
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        goal = np.eye(len(self.classes_), dtype=np.float32)[labels]
        self.mean_ = goal.mean(axis=0)
        goal -= self.mean_
        self.n_features_in_ = rows.shape[1]
        n_components = self.components or (3_000 if len(rows) > self.exact_rows else len(rows))
        if n_components >= len(rows):
            self.rows_ = rows
            exact = self._kernel(rows, rows)
            exact[np.diag_indices(len(exact))] += self.alpha
            self.weights_ = _solve(exact, goal)
            return self
        chosen = np.random.default_rng(self.random_state).choice(
            len(rows), size=n_components, replace=False
        )
        self.rows_ = rows[np.sort(chosen)]
        # In the coordinates in which the kernel of the chosen rows is the identity, this is ridge
        # regression; solved without them, rounding would make it indefinite.
        small = self._kernel(self.rows_, self.rows_).astype(np.float64)
        small[np.diag_indices(n_components)] += _JITTER
        root = cholesky(small, lower=True, overwrite_a=True, check_finite=False)
        matrix = self.alpha * np.eye(n_components)
        target = np.zeros((n_components, len(self.classes_)))
        for part in _blocks(len(rows)):
            block = self._kernel(self.rows_, rows[part]).astype(np.float64)
            block = solve_triangular(root, block, lower=True, overwrite_b=True, check_finite=False)
            matrix += block @ block.T
            target += block @ goal[part]
        weights = solve_triangular(root, _solve(matrix, target), lower=True, trans="T")
        self.weights_ = weights.astype(np.float32)
        return self

    def decision_function(self, x: ArrayLike) -> NDArray[np.float32]:
        """Regressed labels [shape=(n, k)]; of two classes the second's, [shape=(n,)]."""
        rows = np.ascontiguousarray(x, dtype=np.float32)
        values = [
            self._kernel(rows[part], self.rows_) @ self.weights_ for part in _blocks(len(rows))
        ]
        out = np.concatenate(values) + self.mean_ if values else np.zeros((0, len(self.mean_)))
        return np.asarray(out[:, 1] - out[:, 0] if len(self.classes_) == 2 else out)

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Labels [shape=(n,)]."""
        values = self.decision_function(x)
        best = values.argmax(axis=1) if values.ndim == 2 else (values > 0).astype(np.intp)
        return np.asarray(self.classes_[best])

    def _kernel(self, a: Rows, b: Rows) -> Rows:
        """Kernel [shape=(len(a), len(b)), float32], made in place."""
        scale = np.float32(a.shape[1])
        out: Rows = a @ b.T
        out *= np.float32(-2.0) / scale
        out += ((a * a).sum(axis=1) / scale)[:, None]
        out += ((b * b).sum(axis=1) / scale)[None, :]
        np.maximum(out, 0.0, out=out)
        if self.kernel == "exponential":
            np.sqrt(out, out=out)
        out *= np.float32(-self.gamma)
        return np.exp(out, out=out)


_KERNELS = ("rbf", "exponential")


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def _solve(matrix: NDArray[Any], goal: NDArray[Any]) -> NDArray[Any]:
    """Solve a symmetric positive definite system; `matrix` is lost."""
    try:
        factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError as error:
        raise DataError(
            "the kernel matrix cannot be factorised; make alpha larger than it is"
        ) from error
    return np.asarray(cho_solve(factor, goal, check_finite=False))


class TunedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose settings are chosen on its own training rows.

    A fifth of the training groups (artists) is held out, every choice is fitted on the others and
    scored on them, and the best is fitted again on all. Rows that are to be scored later take no
    part in it.

    Parameters
    ----------
    estimator : classifier
        What is tuned.
    choices : sequence of mapping
        Settings to try; of equally good ones the first is taken.
    max_rows : int
        Rows that the choice is made on; a larger table gives a sample.
    random_state : int or None
        Draws the sample and the groups.
    """

    def __init__(
        self,
        estimator: Any = None,
        choices: Sequence[Mapping[str, Any]] = (),
        *,
        max_rows: int = 3_000,
        random_state: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.choices = choices
        self.max_rows = max_rows
        self.random_state = random_state

    def fit(self, x: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Choose and fit; groups [shape=(n,)] stay on one side while choosing."""
        rows, labels = np.asarray(x), np.asarray(y)
        units = np.arange(len(labels)) if groups is None else np.asarray(groups)
        best = self._choose(rows, labels, units) if len(self.choices) > 1 else 0
        self.chosen_ = dict(self.choices[best]) if self.choices else {}
        self.fitted_ = clone(self.estimator).set_params(**self.chosen_).fit(rows, labels)
        self.classes_ = self.fitted_.classes_
        self.n_features_in_ = rows.shape[1]
        return self

    def _choose(self, rows: NDArray[Any], labels: NDArray[Any], units: NDArray[Any]) -> int:
        seed = 0 if self.random_state is None else self.random_state
        if len(labels) > self.max_rows:
            drawn = np.random.default_rng(seed).choice(len(labels), self.max_rows, replace=False)
            rows, labels, units = rows[drawn], labels[drawn], units[drawn]
        try:
            out = holdout(labels, units, fraction=0.2, seed=seed)
        except SplitError:  # one group: there is nothing to choose on
            return 0
        if len(np.unique(labels[~out])) < 2:
            return 0

        def accuracy(choice: Mapping[str, Any]) -> float:
            model = clone(self.estimator).set_params(**choice).fit(rows[~out], labels[~out])
            return float((model.predict(rows[out]) == labels[out]).mean())

        return int(np.argmax([accuracy(choice) for choice in self.choices]))

    def decision_function(self, x: ArrayLike) -> NDArray[Any]:
        """Decision values of the classifier that was chosen."""
        return np.asarray(self.fitted_.decision_function(x))

    def predict_proba(self, x: ArrayLike) -> NDArray[Any]:
        """Probabilities of the classifier that was chosen."""
        return np.asarray(self.fitted_.predict_proba(x))

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Labels [shape=(n,)]."""
        return np.asarray(self.fitted_.predict(x))
