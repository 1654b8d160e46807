"""A recogniser for anyone's genres, small enough for a few hundred tracks: kernel ridge.

Rows of one or several encoders are standardised, cut off at four standard deviations, and scaled so
that each encoder has the same say in the distance between two tracks, however many numbers it
gives. A Gaussian kernel of that distance is regressed on the genres. Width and strength are chosen
by folds that share no group, inside the rows that are given, and the same folds say how sharp the
probabilities may be.

Sources: Saunders, Gammerman, Vovk (1998), Ridge regression learning algorithm in dual variables;
Williams, Seeger (2001), Using the Nystroem method to speed up kernel machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genrescope.catalog.splits import group_folds
from genrescope.errors import DataError, MissingExtraError, SplitError
from genrescope.learn.calibrate import apply_temperature, fit_temperature

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("teaching", extra="train", package="scikit-learn") from error

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # pragma: no cover - before scikit-learn 1.6

    def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """What later versions have as a function."""
        return estimator._validate_data(*args, **kwargs)


__all__ = ["LIMIT", "GenreHead"]

Floats = NDArray[np.float64]

LIMIT = 4.0  # standard deviations
_SAME = 0.9  # a column with one value in more than this share of the rows is not read
_FLAT = 1e-6  # standard deviation relative to the mean that is taken for none
_JITTER = 1e-6  # of the kernel's diagonal, which is 1
_USUAL = (2.0, 0.1)  # width and strength where too few groups leave nothing to choose by


@dataclass(frozen=True)
class _Solved:
    """The regression at one width, ready for every strength."""

    basis: Floats  # [m, m] kernel columns to coordinates
    values: Floats  # [m] eigenvalues
    vectors: Floats  # [m, m]
    targets: Floats  # [m, k]
    offset: Floats  # [k], shares of the genres by weight

    def weights(self, strength: float) -> Floats:
        """What the kernel columns are multiplied by [m, k]."""
        inner = self.targets / (self.values[:, None] + strength)
        weights: Floats = self.basis @ (self.vectors @ inner)
        return weights


class GenreHead(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Kernel ridge on the rows of encoders, with settings chosen by folds of groups.

    Parameters
    ----------
    blocks : sequence of (int, int), optional
        First and last (excluded) column of each encoder; each counts the same in the distance.
        Default: one block of all columns.
    widths : sequence of float > 0
        Of the kernel ``exp(-width * d2)``, where d2 is the squared distance and the mean of the
        squared norms of the training rows is 1. Several are chosen from.
    strengths : sequence of float > 0
        Of the ridge. Several are chosen from.
    balanced : bool
        Every genre weighs the same, however many rows it has.
    inner_folds : int >= 2
        For the choice, fewer where there are fewer groups.
    max_support : int > 0
        Kernel columns; where there are more rows, so many of them are drawn.
    random_state : int >= 0
        Of folds and of that draw.

    Attributes
    ----------
    classes_ : np.ndarray [shape=(k,)]
        Genres, sorted.
    n_features_in_ : int
        Columns of a row.
    columns_ : np.ndarray [shape=(d,), int64]
        Columns that are read: those that differ from row to row.
    mean_, factor_ : np.ndarray [shape=(d,), float64]
        What is taken away, and multiplied by, before the cut at four standard deviations.
    share_ : np.ndarray [shape=(d,), float64]
        What is multiplied by after it.
    support_ : np.ndarray [shape=(m, d), float32]
        Scaled rows that others are compared with.
    dual_ : np.ndarray [shape=(m, k), float64]
        What the kernel columns are multiplied by.
    offset_ : np.ndarray [shape=(k,), float64]
        What is added then: the shares of the genres, by weight.
    width_, strength_, temperature_ : float
        As chosen; the scores are divided by the temperature before the softmax.
    tried_ : list of dict
        Every pair of settings with its log-loss and accuracy on the inner folds, the best first;
        empty where there was nothing to choose.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["calm", "loud"], 30)
    >>> x = rng.normal(size=(60, 4)) + 2.0 * (y == "loud")[:, None]
    >>> head = GenreHead().fit(x, y, groups=np.arange(60) // 3)
    >>> head.predict([[0.0] * 4, [2.0] * 4]).tolist()
    ['calm', 'loud']
    """

    def __init__(
        self,
        blocks: Sequence[tuple[int, int]] | None = None,
        *,
        widths: Sequence[float] = (0.5, 1.0, 2.0),
        strengths: Sequence[float] = (0.03, 0.1, 0.3),
        balanced: bool = True,
        inner_folds: int = 4,
        max_support: int = 1024,
        random_state: int = 0,
    ) -> None:
        self.blocks = blocks
        self.widths = widths
        self.strengths = strengths
        self.balanced = balanced
        self.inner_folds = inner_folds
        self.max_support = max_support
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn the genres of rows.

        Parameters
        ----------
        X : array-like [shape=(n, n_features), float]
            Rows of encoders.
        y : array-like [shape=(n,)]
            Genres, as names or numbers.
        groups : array-like [shape=(n,)], optional
            What must not be on both sides of an inner fold, such as the artist. Default: every
            row for itself.
        sample_weight : array-like [shape=(n,), float >= 0], optional
            How much each row counts.

        Returns
        -------
        GenreHead

        Raises
        ------
        ValueError
            Rows, labels, weights or settings that cannot be.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_[0]!r}; a head needs two classes or more to "
                "tell apart"
            )
        weight = _checked_weight(sample_weight, len(rows))
        groups = np.arange(len(rows)) if groups is None else np.asarray(groups)
        if groups.shape != (len(rows),):
            raise DataError(f"groups has shape {groups.shape}, expected ({len(rows)},)")
        self._check_settings()
        z = self._fit_scale(rows, weight)
        chosen = self._chosen_support(len(z))
        self.support_ = z[chosen].astype(np.float32)
        distance = _squared_distances(z, z[chosen])
        self._choose(distance, chosen, codes, groups, weight)
        solved = self._solve(distance, chosen, codes, weight, width=self.width_)
        self.dual_ = solved.weights(self.strength_)
        self.offset_ = solved.offset
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Scores before the softmax: [n, k], or [n] for the second of two classes.

        Parameters
        ----------
        X : array-like [shape=(n, n_features), float]
            Rows of encoders.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities [n, k] of the genres, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like [shape=(n, n_features), float]
            Rows of encoders.
        """
        return apply_temperature(self._scores(X), 1.0)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable genre of each row [n].

        Parameters
        ----------
        X : array-like [shape=(n, n_features), float]
            Rows of encoders.
        """
        scores = self._scores(X)
        best: NDArray[Any] = self.classes_[scores.argmax(axis=1)]
        return best

    def _scores(self, x: ArrayLike) -> Floats:
        check_is_fitted(self)
        rows = validate_data(self, x, dtype=np.float64, reset=False)
        kernel = np.exp(-self.width_ * _squared_distances(self._scale(rows), self.support_))
        scores: Floats = (kernel @ self.dual_ + self.offset_) / self.temperature_
        return scores

    def _check_settings(self) -> None:
        for name in ("widths", "strengths"):
            values = getattr(self, name)
            if not len(values) or not all(np.isfinite(v) and v > 0 for v in values):
                raise DataError(f"{name} is {values!r}; give one or more numbers above 0")
        if self.inner_folds < 2 or self.max_support < 1:
            raise DataError(
                f"inner_folds is {self.inner_folds} and max_support {self.max_support}; give 2 "
                "folds and 1 row or more"
            )

    def _fit_scale(self, rows: Floats, weight: Floats) -> Floats:
        """Learn the scale, and apply it to the rows it was learnt from."""
        heard = weight > 0
        blocks = self.blocks or [(0, rows.shape[1])]
        ends = [end for block in blocks for end in block]
        if ends != sorted(ends) or ends[0] < 0 or ends[-1] > rows.shape[1]:
            raise DataError(
                f"blocks are {list(blocks)}; they must be in order, apart from each other, and "
                f"within the {rows.shape[1]} columns"
            )
        live = _differ(rows[heard])
        columns, means, factors, shares = [], [], [], []
        for first, last in blocks:
            own = first + np.flatnonzero(live[first:last])
            if not len(own):
                continue
            mean = np.average(rows[:, own], axis=0, weights=weight)
            spread = np.sqrt(np.average((rows[:, own] - mean) ** 2, axis=0, weights=weight))
            z = np.clip((rows[:, own] - mean) / spread, -LIMIT, LIMIT)
            norm = np.average((z**2).sum(axis=1), weights=weight)
            columns.append(own)
            means.append(mean)
            factors.append(1 / spread)
            shares.append(np.full(len(own), 1 / np.sqrt(norm)))
        if not columns:
            # Nothing tells rows apart: every answer is then the share of the classes.
            columns, means = [np.arange(1)], [rows[:, :1].mean(axis=0)]
            factors, shares = [np.zeros(1)], [np.zeros(1)]
        self.columns_ = np.concatenate(columns)
        self.mean_ = np.concatenate(means)
        self.factor_ = np.concatenate(factors)
        self.share_ = np.concatenate(shares) / np.sqrt(len(columns))
        return self._scale(rows)

    def _scale(self, rows: Floats) -> Floats:
        z = (rows[:, self.columns_] - self.mean_) * self.factor_
        scaled: Floats = np.clip(z, -LIMIT, LIMIT) * self.share_
        return scaled

    def _chosen_support(self, n: int) -> NDArray[np.int64]:
        if n <= self.max_support:
            return np.arange(n)
        rng = np.random.default_rng(self.random_state)
        return np.sort(rng.choice(n, self.max_support, replace=False))

    def _choose(
        self,
        distance: Floats,
        chosen: NDArray[np.int64],
        codes: NDArray[np.int64],
        groups: NDArray[Any],
        weight: Floats,
    ) -> None:
        """Set width, strength and temperature by the answers on inner folds."""
        n_folds = min(self.inner_folds, len(np.unique(groups)))
        self.tried_: list[dict[str, float]] = []
        try:
            folds = group_folds(codes, groups, n_folds=n_folds, seed=self.random_state)
        except SplitError:
            self.width_, self.strength_ = self._middle()
            self.temperature_ = 0.2
            return
        k = len(self.classes_)
        settings = [(w, s) for w in self.widths for s in self.strengths]
        scores = {pair: np.zeros((len(codes), k)) for pair in settings}
        for fold in range(n_folds):
            held, rest = folds == fold, folds != fold
            own = rest[chosen]
            for width in self.widths:
                solved = self._solve(
                    distance[:, own], chosen[own], codes, weight * rest, width=width
                )
                kernel = np.exp(-width * distance[np.ix_(held, own)])
                for strength in self.strengths:
                    found = kernel @ solved.weights(strength)
                    scores[width, strength][held] = found + solved.offset
        heard = weight > 0
        y = codes[heard]
        for (width, strength), values in scores.items():
            temperature = fit_temperature(values[heard], y)
            p = apply_temperature(values[heard], temperature)
            own_p = np.maximum(p[np.arange(len(y)), y], 1e-12)
            loss = float(np.average(-np.log(own_p), weights=weight[heard]))
            right = np.average(p.argmax(axis=1) == y, weights=weight[heard])
            self.tried_.append(
                {
                    "width": float(width),
                    "strength": float(strength),
                    "temperature": temperature,
                    "log_loss": loss,
                    "accuracy": float(right),
                }
            )
        # Which genre is asked for first; how sure it is decides between equals.
        self.tried_.sort(key=lambda row: (-round(row["accuracy"], 9), round(row["log_loss"], 9)))
        best = self.tried_[0]
        self.width_, self.strength_ = best["width"], best["strength"]
        self.temperature_ = best["temperature"]

    def _middle(self) -> tuple[float, float]:
        """Usual settings, or what is nearest to them of those allowed."""
        width, strength = (
            min(values, key=lambda v: abs(np.log(v / usual)))
            for values, usual in zip((self.widths, self.strengths), _USUAL, strict=True)
        )
        return float(width), float(strength)

    def _solve(
        self,
        distance: Floats,
        support: NDArray[np.int64],
        codes: NDArray[np.int64],
        weight: Floats,
        *,
        width: float,
    ) -> _Solved:
        """Regress the classes on the kernel columns `support`; rows of weight 0 say nothing."""
        k = len(self.classes_)
        counts = np.bincount(codes, weights=weight, minlength=k)
        w = weight / counts[codes].clip(1e-12) if self.balanced else weight
        w = w * ((weight > 0).sum() / w.sum())
        used = w > 0
        w, y = w[used], codes[used]
        kernel = np.exp(-width * distance[used])
        inside = np.exp(-width * distance[support])
        inside[np.diag_indices(len(inside))] += _JITTER
        basis: Floats = np.asarray(np.linalg.inv(np.linalg.cholesky(inside)).T, np.float64)
        root = np.sqrt(w)[:, None]
        phi = root * (kernel @ basis)
        one_hot = np.eye(k)[y]
        values, vectors = (np.asarray(a, np.float64) for a in np.linalg.eigh(phi.T @ phi))
        offset = np.asarray(np.average(one_hot, axis=0, weights=w), np.float64)
        targets = vectors.T @ (phi.T @ (root * (one_hot - offset)))
        return _Solved(basis, np.maximum(values, 0.0), vectors, targets, offset)


def _differ(rows: Floats) -> NDArray[np.bool_]:
    """Columns whose values differ from row to row [d].

    An encoder that pools over time gives spreads that are zero for every short clip. The few that
    are not would be taken for the mark of a genre, and the first long track for something unheard.
    """
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    live: NDArray[np.bool_] = spread > _FLAT * np.maximum(1.0, np.abs(mean))
    if len(rows) >= 20:
        middle = np.median(rows, axis=0)
        live &= (rows == middle).mean(axis=0) <= _SAME
    return live


def _squared_distances(a: Floats, b: NDArray[np.floating[Any]]) -> Floats:
    """Squared distances between rows [len(a), len(b)]."""
    b = b.astype(np.float64, copy=False)
    d = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    out: Floats = np.maximum(d, 0.0)
    return out


def _checked_weight(sample_weight: ArrayLike | None, n: int) -> Floats:
    if sample_weight is None:
        return np.ones(n)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(
            f"sample_weight must hold {n} finite numbers, 0 or more; it has shape {weight.shape}"
        )
    if not weight.any():
        raise ValueError("every sample_weight is zero; some rows must count")
    return weight
