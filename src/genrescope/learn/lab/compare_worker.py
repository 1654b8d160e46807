"""One model on one fold: what runs in a worker process.

Nothing of the laboratory is imported before the environment of the worker is set (one thread
each), so this module is imported by the worker and not by the process that started it.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import isolation
from genrescope.learn.lab.classic import ClassifierSpec
from genrescope.learn.lab.results import FoldResult

__all__ = ["Job", "fit_fold"]


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker is told.

    Attributes
    ----------
    spec : ClassifierSpec
        The model.
    table : Path
        The features, a ``.npy`` file that all workers map.
    y : np.ndarray [shape=(n,), int64]
        Genres.
    groups : np.ndarray [shape=(n,), int64]
        Numbers of the groups.
    train, apply : np.ndarray [shape=(m,), intp]
        Rows to fit on, and rows to answer for.
    n_classes : int
        Number of genres.
    families : tuple of d int
        Numbers of the families of the features.
    missing : bool
        Whether the table has missing values.
    seed : int
        Of the model.
    memory : int or None
        Bytes that may be allocated for it.
    """

    spec: ClassifierSpec
    table: Path
    y: NDArray[np.int64]
    groups: NDArray[np.int64]
    train: NDArray[np.intp]
    apply: NDArray[np.intp]
    n_classes: int
    families: tuple[int, ...]
    missing: bool
    seed: int
    memory: int | None = None


def fit_fold(job: Job) -> FoldResult:
    """Fit a model on some rows and apply it to others.

    Parameters
    ----------
    job : Job
        What to do.

    Returns
    -------
    FoldResult
        With a failure in it where the model raised an error.

    Raises
    ------
    MemoryError
        If it needs more than it may.
    """
    if job.memory is not None:
        isolation.limit_memory(job.memory)
    try:
        with _one_thread():
            return _fit(job)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (libraries raise what they like; it is told)
        text = " ".join(str(error).split())[:300]
        return _failed(f"{type(error).__name__}: {text}")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep every library to one thread: a core works faster on a model of its own."""
    from threadpoolctl import threadpool_limits

    try:
        import daal4py
    except ImportError:
        daal4py = None
    before = daal4py.num_threads() if daal4py else 0
    try:
        if daal4py:
            daal4py.daalinit(1)
        with threadpool_limits(1):
            yield
    finally:
        if daal4py:
            daal4py.daalinit(before)


def _failed(failure: str) -> FoldResult:
    return FoldResult(np.zeros((0, 0), np.float32), 0.0, 0.0, failure)


def _fit(job: Job) -> FoldResult:
    spec, k = job.spec, job.n_classes
    table = np.load(job.table, mmap_mode="r")  # rows that are indexed out of it are copies
    train, notes = _with_enough(job)
    present = np.unique(job.y[train])
    if len(present) < 2:
        return _failed(
            f"the training rows have {len(present)} genre(s) with at least {spec.min_per_class} "
            "track(s); a classifier needs two"
        )
    model = spec.build(
        seed=job.seed, n_features=table.shape[1], families=job.families, missing=job.missing
    )
    extra = {"classifier__groups": job.groups[train]} if spec.takes_groups else {}
    x, y, asked = np.asarray(table[train]), job.y[train], np.asarray(table[job.apply])
    if job.missing and spec.takes_nan:
        # Trees that take missing values fail on a column that has no value at all.
        empty = np.isnan(x).all(axis=0)
        x[:, empty] = asked[:, empty] = 0.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.process_time()
        model.fit(x, y, **extra)
        fitted = time.process_time()
        answers = getattr(model, spec.scores)(asked)
        applied = time.process_time()
    values = np.full((len(job.apply), k), np.nan, np.float32)
    values[:, model[-1].classes_] = _columns(np.asarray(answers))
    if not np.isfinite(values[:, model[-1].classes_]).all():
        return _failed("it gave values that are not finite; its settings do not suit the table")
    return FoldResult(
        values=values,
        fit_seconds=fitted - started,
        predict_seconds=applied - fitted,
        notes=(*notes, *_complaints(caught, full_run=spec.full_run)),
    )


def _with_enough(job: Job) -> tuple[NDArray[np.intp], list[str]]:
    """Training rows without those of genres that are too small for the model."""
    counts = np.bincount(job.y[job.train], minlength=job.n_classes)
    enough = counts >= job.spec.min_per_class
    left_out = int(((counts > 0) & ~enough).sum())
    if not left_out:
        return job.train, []
    note = f"left out {left_out} genre(s) with fewer than {job.spec.min_per_class} training tracks"
    return job.train[enough[job.y[job.train]]], [note]


def _columns(values: NDArray[Any]) -> NDArray[Any]:
    """A column a class; of two classes scikit-learn gives one decision value."""
    if values.ndim == 1:
        return np.stack([-values / 2, values / 2], axis=1)
    return values


def _complaints(caught: list[warnings.WarningMessage], *, full_run: bool) -> list[str]:
    """What a reader of the table should know of what the libraries warned of."""
    from sklearn.exceptions import ConvergenceWarning

    found = []
    for one in caught:
        text = " ".join(str(one.message).split())
        if issubclass(one.category, ConvergenceWarning):
            if not full_run:
                found.append("stopped before it converged")
        elif issubclass(one.category, RuntimeWarning | UserWarning) and "name" not in text:
            found.append(text.partition(". ")[0][:200])
    return sorted(set(found))
