"""Maps of the tracks in two and three dimensions: PCA, LDA and t-SNE.

A map is fitted on training rows; the others are projected or placed on it afterwards, by the way
any new track would be. Beside each map stands what it keeps of the neighbours and the genres.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.maps import tsne
from genrescope.explain.maps.drawn import CLIP, Map, Projection, read_map, write_map
from genrescope.explain.maps.quality import NEIGHBOURS, MapQuality, map_quality, sample
from genrescope.learn.lab.tabular import TabularData

try:
    from sklearn.covariance import ledoit_wolf
    from sklearn.decomposition import PCA
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the laboratory", extra="lab", package="scikit-learn") from error

__all__ = ["DIMS", "METHODS", "Map", "Projection", "left_out", "make_maps", "place"]

METHODS = ("PCA", "LDA", "t-SNE")
DIMS = (2, 3)

_FIT_ROWS = {"PCA": 50_000, "LDA": 50_000, "t-SNE": 20_000}  # more are sampled
_QUALITY_ROWS = 8_000  # whose neighbours are looked at
_COMPONENTS = 50  # that t-SNE sees
_SCREE = 20  # components whose variance is told
_AXIS_FEATURES = 3  # told for each axis
_FORMAT = 1  # of the files in the cache; also to be raised when the method changes

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def make_maps(
    data: TabularData,
    *,
    train: Mask,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
    dims: Sequence[int] = DIMS,
    cache: Path | None = None,
) -> tuple[Map, ...]:
    """Draw the maps of a table and measure them.

    Parameters
    ----------
    data : TabularData
        The tracks.
    train : np.ndarray [shape=(n,), bool]
        Rows to fit on. Of very many (50,000; for t-SNE 20,000) a sample is taken.
    seed : int
        Of samples and of t-SNE.
    methods : sequence of str
        Of :data:`METHODS`.
    dims : sequence of int
        Of :data:`DIMS`.
    cache : Path, optional
        Folder for finished maps. A map is taken from it if data, training rows, settings and
        versions of the libraries are the same; a damaged file is made anew.

    Returns
    -------
    tuple of Map
        By method, then by dimensions, as asked for. A map that the table is too small for is
        left out; :func:`left_out` says why.

    Raises
    ------
    DataError
        If a method or a number of dimensions is not known, or ``train`` is no mask of the rows.
    """
    wanted = _wanted(data, train, methods, dims)
    makeable = [key for key in wanted if _obstacle(data, train, *key) is None]
    paths = {} if cache is None else {key: _path(cache, data, train, seed, key) for key in makeable}
    found = {key: read for key, path in paths.items() if (read := read_map(path, n=len(data)))}
    missing = [key for key in makeable if key not in found]
    if missing:
        for key, made in _Maker(data, train=train, seed=seed).make(missing).items():
            found[key] = made
            if key in paths:
                write_map(paths[key], made)
    return tuple(found[key] for key in makeable)


def left_out(
    data: TabularData,
    *,
    train: Mask,
    methods: Sequence[str] = METHODS,
    dims: Sequence[int] = DIMS,
) -> tuple[str, ...]:
    """Why :func:`make_maps` leaves maps out: a sentence for each; none if it leaves out none.

    Parameters
    ----------
    data, train, methods, dims
        As for :func:`make_maps`.

    Returns
    -------
    tuple of str

    Raises
    ------
    DataError
        As :func:`make_maps`.
    """
    reasons = {key: _obstacle(data, train, *key) for key in _wanted(data, train, methods, dims)}
    return tuple(
        f"There is no {method} map in {dims}-D: {reason}."
        for (method, dims), reason in reasons.items()
        if reason is not None
    )


def place(on: Map, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Where tracks lie on a map that was drawn without them.

    Parameters
    ----------
    on : Map
        Of any method; it does not change.
    rows : np.ndarray [shape=(m, d)]
        Features as in the table of the map, in the same order; NaN where missing.

    Returns
    -------
    np.ndarray [shape=(m, dims), float32]
        A row's position does not depend on the other rows.

    Raises
    ------
    DataError
        If the rows have another number of features than the map.
    """
    d = len(on.projection.mean)
    if rows.ndim != 2 or rows.shape[1] != d:
        raise DataError(
            f"rows have shape {rows.shape}; the map was made of {d} features: give [tracks, {d}]"
        )
    reduced = on.projection.reduce(rows)
    if on.method != "t-SNE":
        return reduced
    there = on.positions[on.fitted_on]
    return tsne.place(reduced, on.projection.reference, there).astype(np.float32)


class _Maker:
    """Maps of one table; what several maps need is computed once."""

    def __init__(self, data: TabularData, *, train: Mask, seed: int) -> None:
        self.data, self.train, self.seed = data, train, seed

    def make(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Map]:
        drawn = {key: self._draw(*key) for key in keys}
        at = {f"{method} {dims}": one.positions for (method, dims), one in drawn.items()}
        among = self.rows("t-SNE")  # part of what every method was fitted on
        x = self.scaling.standardise(self.data.x)

        def measured(rows: NDArray[np.int64]) -> dict[str, MapQuality]:
            some = sample(rows, most=_QUALITY_ROWS, seed=self.seed)
            y, groups = self.data.y, self.data.groups
            return map_quality(x, at, y=y, groups=groups, rows=some, among=among)

        own = measured(among)
        held_out = np.flatnonzero(~self.train)
        other = measured(held_out) if len(held_out) else {}
        return {
            (method, dims): replace(
                one,
                quality=own[f"{method} {dims}"],
                quality_held_out=other.get(f"{method} {dims}"),
            )
            for (method, dims), one in drawn.items()
        }

    def rows(self, method: str) -> NDArray[np.int64]:
        """The training rows that a method is fitted on."""
        return sample(np.flatnonzero(self.train), most=_FIT_ROWS[method], seed=self.seed)

    @cached_property
    def scaling(self) -> Projection:
        """The standardisation alone."""
        x = np.where(np.isfinite(self.data.x), self.data.x, np.nan)[self.train]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column may be empty in training
            median = np.nan_to_num(np.nanmedian(x, axis=0)).astype(np.float64)
        filled = np.where(np.isnan(x), median, x)
        scale = filled.std(axis=0)
        scale[scale <= 1e-7 * np.abs(median)] = 1.0  # constant in training
        scale[scale == 0] = 1.0
        none = np.empty((0, 0))
        return Projection(
            median, filled.mean(axis=0), scale, none, np.empty(0), none.astype(np.float32)
        )

    @cached_property
    def pca(self) -> tuple[Any, Projection]:
        """Principal components, as many as t-SNE sees or as the table has."""
        x = self.scaling.standardise(self.data.x[self.rows("PCA")])
        n, d = x.shape
        solver = "covariance_eigh" if n >= d else "full"
        model = PCA(min(_COMPONENTS, d, n - 1), svd_solver=solver).fit(x)
        matrix = model.components_.T.astype(np.float64)
        return model, replace(self.scaling, matrix=matrix, offset=model.mean_ @ matrix)

    @cached_property
    def lda(self) -> tuple[Any, Projection]:
        """Discriminant axes."""
        rows = self.rows("LDA")
        x = self.scaling.standardise(self.data.x[rows])
        model = discriminant_axes(x, self.data.y[rows])
        return model, replace(
            self.scaling, matrix=model.matrix, offset=x.mean(axis=0) @ model.matrix
        )

    def _draw(self, method: str, dims: int) -> Map:
        """A map whose quality is not yet known."""
        started = time.process_time()
        rows = self.rows(method)
        fitted = np.zeros(len(self.data), dtype=bool)
        fitted[rows] = True
        settings: dict[str, Any] = {
            "scaling": f"standardised on training rows, within {CLIP:g} standard deviations",
            "missing": "median of training rows",
            "seed": self.seed,
            "rows_fitted": len(rows),
        }
        explained: tuple[float, ...] = ()
        labels: tuple[str, ...] = tuple(f"t-SNE {axis + 1}" for axis in range(dims))
        if method == "t-SNE":
            _, whole = self.pca
            reference = whole.reduce(self.data.x[rows])
            projection = replace(whole, reference=reference)
            positions = np.empty((len(self.data), dims), dtype=np.float32)
            positions[rows] = tsne.fit(reference, dims=dims, seed=self.seed)
            others = whole.reduce(self.data.x[~fitted])
            positions[~fitted] = tsne.place(others, reference, positions[rows])
            settings |= {"components": len(whole.offset), **tsne.settings_for(len(rows), dims=dims)}
        else:
            model, whole = self.pca if method == "PCA" else self.lda
            shares = model.explained_variance_ratio_
            matrix = whole.matrix[:, :dims]
            # An axis may point either way: the feature that weighs most points up.
            sign = np.sign(matrix[np.abs(matrix).argmax(axis=0), np.arange(dims)])
            projection = replace(
                whole,
                matrix=np.ascontiguousarray(matrix * sign),
                offset=whole.offset[:dims] * sign,
            )
            positions = projection.reduce(self.data.x)
            explained = tuple(float(share) for share in shares[:_SCREE])
            what = "variance" if method == "PCA" else "variance between genres"
            name = "PC" if method == "PCA" else "LD"
            labels = tuple(
                f"{name}{axis + 1} ({explained[axis]:.1%} of {what})".replace("%", " %")
                for axis in range(dims)
            )
            if method == "LDA":
                settings["shrinkage"] = model.shrinkage
        unknown = MapQuality(None, None, None, None, 0, 0, 0, 0.0, 0)
        drawn = Map(
            method=method,
            dims=dims,
            positions=positions,
            fitted_on=fitted,
            projected=not fitted.all(),
            explained=explained,
            axis_labels=labels,
            axis_features=() if method == "t-SNE" else self._axis_features(positions, rows),
            quality=unknown,
            quality_held_out=None,
            seconds=time.process_time() - started,
            settings=settings,
            note="",
            projection=projection,
        )
        return replace(drawn, note=_note(drawn, n_train=int(self.train.sum())))

    def _axis_features(
        self, positions: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[tuple[tuple[str, float], ...], ...]:
        x = self.scaling.standardise(self.data.x[rows])
        x -= x.mean(axis=0)
        axes = positions[rows].astype(np.float64)
        axes -= axes.mean(axis=0)
        spread = np.outer(np.sqrt((x**2).sum(axis=0)), np.sqrt((axes**2).sum(axis=0)))
        r = np.divide(x.T @ axes, spread, out=np.zeros_like(spread), where=spread > 0)
        order = np.argsort(-np.abs(r), axis=0, kind="stable")[:_AXIS_FEATURES]
        return tuple(
            tuple((self.data.features[f], float(r[f, axis])) for f in order[:, axis])
            for axis in range(axes.shape[1])
        )


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Axes that tell classes apart.

    Attributes
    ----------
    matrix : np.ndarray [shape=(d, min(k - 1, d)), float64]
        The strongest axis first, each with variance 1 within the classes.
    explained_variance_ratio_ : np.ndarray
        The share of the variance between the classes on each axis; scikit-learn's name.
    shrinkage : float in [0, 1]
        Of the covariance within the classes.
    """

    matrix: Floats
    explained_variance_ratio_: Floats
    shrinkage: float


def discriminant_axes(x: Floats, y: NDArray[np.int64]) -> Discriminant:
    """Linear discriminant analysis with Ledoit and Wolf's shrinkage of the covariance.

    scikit-learn's eigenvalue solver shrinks the total and the within-class covariance each by
    its own amount and takes one from the other; what is left has full rank, and the share of an
    axis means nothing. Here only the covariance within the classes, pooled, is shrunk.

    Parameters
    ----------
    x : np.ndarray [shape=(n, d), float64]
        Standardised features.
    y : np.ndarray [shape=(n,), int]
        Classes, at least two.

    Returns
    -------
    Discriminant
    """
    codes, counts = np.unique(y, return_inverse=True, return_counts=True)[1:]
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, codes, x)
    means = sums / counts[:, None]
    within, shrinkage = ledoit_wolf(x - means[codes], assume_centered=True)
    values, vectors = np.linalg.eigh(within)
    # A direction without variance within the classes is left out: dividing by it is noise.
    used = values > 1e-9 * values[-1]
    whiten = vectors[:, used] / np.sqrt(values[used])
    between = np.sqrt(counts / len(y))[:, None] * (means - x.mean(axis=0))
    _, strength, axes = np.linalg.svd(between @ whiten, full_matrices=False)
    n_axes = min(len(counts) - 1, x.shape[1])
    found = min(n_axes, len(strength))  # fewer where features are copies of each other
    matrix, power = np.zeros((x.shape[1], n_axes)), np.zeros(n_axes)
    matrix[:, :found] = whiten @ axes[:found].T
    power[:found] = strength[:found] ** 2
    share = power / max(float(power.sum()), np.finfo(np.float64).tiny)
    return Discriminant(matrix, share, float(shrinkage))


def _note(one: Map, *, n_train: int) -> str:
    n, d = int(one.fitted_on.sum()), one.dims
    if one.method == "PCA":
        told = [
            "The axes are the directions in which the features vary most; the genres played no "
            f"part. These {d} hold {sum(one.explained[:d]):.0%} of the variance."
        ]
    elif one.method == "LDA":
        told = [
            "The axes were chosen so that the genres of the rows that the map was fitted on lie "
            "apart. So these rows look better separated than new tracks would: only rows outside "
            "training show what the map is worth."
        ]
    else:
        told = [
            "The genres played no part. Tracks that lie close together are alike; the axes, the "
            "sizes of clusters and the distances between them mean nothing."
        ]
        if n < tsne.ROWS_WANTED:
            told.append(
                f"The perplexity was lowered to {tsne.perplexity_for(n):.1f}, because there are "
                f"only {n:,} rows."
            )
    if n < n_train:
        told.append(f"Fitted on a sample of {n:,} of the {n_train:,} training rows.")
    if one.projected:
        how = "placed among them one by one" if one.method == "t-SNE" else "projected"
        told.append(
            f"Fitted on {n:,} rows; the other {len(one.fitted_on) - n:,} were {how} afterwards."
        )
    return " ".join(told).replace("%", " %")


def _wanted(
    data: TabularData, train: Mask, methods: Sequence[str], dims: Sequence[int]
) -> list[tuple[str, int]]:
    for what, given, known in (("method", methods, METHODS), ("dims", dims, DIMS)):
        for value in given:
            if value not in known:
                choices = ", ".join(str(choice) for choice in known)
                raise DataError(f"{what} is {value!r}; maps are made for {choices}: give one")
    if train.dtype != bool or train.shape != (len(data),):
        raise DataError(
            f"train is {train.dtype}{list(train.shape)}; it says of each of the {len(data)} rows "
            "whether to fit on it: give bool"
        )
    return [(method, d) for method in dict.fromkeys(methods) for d in dict.fromkeys(dims)]


def _n_axes(data: TabularData, train: Mask) -> int:
    """How many axes LDA has."""
    return min(len(np.unique(data.y[train])) - 1, len(data.features))


def _obstacle(data: TabularData, train: Mask, method: str, dims: int) -> str | None:
    """Why a map cannot be made, if so."""
    n, d = int(train.sum()), len(data.features)
    if n < tsne.FEWEST_ROWS:
        return f"it takes at least {tsne.FEWEST_ROWS} training rows, and there are {n}"
    if d < dims:
        return f"it takes at least {dims} features, and the table has {d}"
    if method == "LDA":
        axes = _n_axes(data, train)
        if axes < dims:
            return (
                "LDA has one axis fewer than there are genres, and the training rows have "
                f"{axes + 1} genre{'s' if axes else ''}"
            )
        if n <= axes + 1:
            return f"LDA takes more training rows than genres, and there are {n} of each"
    return None


def _path(cache: Path, data: TabularData, train: Mask, seed: int, key: tuple[str, int]) -> Path:
    method, dims = key
    packages = ("numpy", "scikit-learn", *(("openTSNE",) if method == "t-SNE" else ()))
    settings = [
        _FORMAT, method, dims, seed, _FIT_ROWS, _QUALITY_ROWS, _COMPONENTS, CLIP, _SCREE,
        NEIGHBOURS, tsne.settings_for(int(train.sum()), dims=dims),
        {package: version(package) for package in packages},
    ]  # fmt: skip
    digest = hashlib.sha256(data.fingerprint.encode())
    digest.update(np.packbits(train).tobytes() + json.dumps(settings).encode())
    name = method.lower().replace("-", "")
    return cache / f"map-{name}-{dims}d-{digest.hexdigest()[:32]}.npz"
