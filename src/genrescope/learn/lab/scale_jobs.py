"""The fits of a comparison on a cluster, by joblib's Dask backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from genrescope.audio.scale import Cluster
from genrescope.audio.scale.work import Isolation, each_isolated
from genrescope.errors import (
    ClusterError,
    DecoderCrashError,
    DecoderMemoryError,
    DecoderTimeoutError,
    GenrescopeError,
    MissingExtraError,
)
from genrescope.learn.lab.compare_worker import Job, fit_fold
from genrescope.learn.lab.jobs import Answers, Number, Task, failure
from genrescope.learn.lab.results import FoldResult

__all__ = ["fit_isolated", "run_on_cluster"]

_LEAST = 4 << 30  # bytes that a model may take, however few it is thought to need


def run_on_cluster(
    tasks: Sequence[Task], *, wanted: Callable[[Number], bool], cluster: Cluster
) -> Answers:
    """Do tasks on the workers of a cluster, a few ahead of the answers.

    Parameters
    ----------
    tasks : sequence of Task
        What to do. All workers must see the table that it names, so the report's folder has to be
        one that they share.
    wanted : callable
        Asked before a task is handed out whether its answer is still of use.
    cluster : Cluster
        Where it is done.

    Yields
    ------
    tuple of (number, FoldResult)
        As they are done, also those that failed or took too long.

    Raises
    ------
    ClusterError
        If the cluster is lost.
    MissingExtraError
        If joblib, which comes with scikit-learn, is not installed.
    """
    try:
        from joblib import Parallel, delayed, parallel_config
    except ImportError as error:
        raise MissingExtraError("Comparing models", extra="lab", package="joblib") from error

    def coming() -> Iterator[object]:
        for task in tasks:
            if wanted(task.number):
                table, memory = task.job.table.absolute(), max(task.memory, _LEAST)
                job = replace(task.job, table=table, memory=memory)
                yield delayed(fit_isolated)(task.number, job, task.seconds)

    try:
        with parallel_config(backend="dask", client=cluster.client):
            # Told as they come, so that what is not wanted any more is not begun.
            results = Parallel(return_as="generator_unordered", batch_size=1)(coming())
            yield from results
    except GenrescopeError:
        raise
    except Exception as error:
        raise ClusterError(
            f"the cluster could not go on ({type(error).__name__}: {error}); what was fitted is "
            "kept, and the same command goes on where it was"
        ) from error


def fit_isolated(number: Number, job: Job, seconds: float) -> tuple[Number, FoldResult]:
    """Fit and apply a model in a process with limits. What workers of a cluster run."""
    about = Isolation(1, timeout=seconds, memory_limit=None)  # the job limits its memory
    (result,) = each_isolated(fit_fold, [job], about)
    if isinstance(result, FoldResult):
        return number, result
    if isinstance(result, DecoderTimeoutError):
        return number, failure(f"it took longer than {seconds:.3g} s, the time allowed a fold")
    if isinstance(result, DecoderMemoryError):
        return number, failure(f"it needed more than {job.memory or 0:,} bytes, its share")
    if isinstance(result, DecoderCrashError):
        return number, failure("its process died, two times")
    return number, failure(str(result))
