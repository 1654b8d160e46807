"""The cluster that ``--scheduler`` and ``--cluster`` ask for."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from genrescope.audio.scale import Cluster
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["cluster_of", "predict_there"]


@contextmanager
def cluster_of(scheduler: str | None, cluster: str | None) -> Iterator[Cluster | None]:
    """The cluster that the options ask for, for the time of the block; None without any.

    Raises
    ------
    typer.BadParameter
        If there are both.
    ClusterError, DataError, MissingExtraError
        If it cannot be had.
    """
    if scheduler is None and cluster is None:
        yield None
        return
    if scheduler is not None and cluster is not None:
        raise typer.BadParameter("--scheduler and --cluster: exclude each other; give one of them")
    from genrescope.audio.scale import Cluster, parse_local

    if scheduler is not None:
        engine = Cluster.connect(scheduler)
    else:
        engine = Cluster.local(parse_local(cluster or ""))
    with engine:
        yield engine


def predict_there(
    recogniser: Recogniser,
    paths: Iterable[str | os.PathLike[str] | None],
    cluster: Cluster | None,
) -> Generator[Prediction | FailedPrediction, None, None]:
    """Recognise files on a cluster, or here without one."""
    if cluster is None:
        return recogniser.predict_many(paths)
    from genrescope.learn.scale import predict_scaled

    return predict_scaled(recogniser, paths, engine=cluster)
