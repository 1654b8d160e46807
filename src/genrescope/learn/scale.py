"""Recognition on a cluster: what :meth:`Recogniser.predict_many` does, on other machines."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from genrescope.audio.scale import Engine, Lost
from genrescope.audio.scale.work import Isolation, each_isolated
from genrescope.errors import DecoderCrashError, GenrescopeError
from genrescope.learn.prediction import FailedPrediction, Prediction
from genrescope.learn.recogniser import Recogniser

__all__ = ["TracksBatch", "predict_scaled", "recognise_batch"]

Result = Prediction | FailedPrediction

_TRACKS = 16  # a batch, at most: who waits for answers gets them soon
_BYTES = 256 << 20  # of their files


@dataclass(frozen=True)
class TracksBatch:
    """Files that one worker hears.

    Attributes
    ----------
    number : tuple of int
        Its place among the batches; pieces of a batch have one number more.
    paths : tuple of Path
    folder : Path
        What the paths are below, unless they are absolute.
    isolation : Isolation
        The processes that hear them.
    tries : int
        How often it alone ended workers of the cluster.
    """

    number: tuple[int, ...]
    paths: tuple[Path, ...]
    folder: Path
    isolation: Isolation
    tries: int = 0

    def pieces(self) -> Iterator[TracksBatch]:
        """One for each file, to find the one that ends workers; none at the end."""
        if len(self.paths) > 1:
            for at, path in enumerate(self.paths):
                yield TracksBatch((*self.number, at), (path,), self.folder, self.isolation)
        elif not self.tries:
            yield replace(self, tries=1)


def recognise_batch(batch: TracksBatch, recogniser: Recogniser) -> list[Result]:
    """Recognise the files of a batch, in their order. What workers of a cluster run."""
    found: list[Result] = []
    work = partial(_predict, recogniser, batch.folder)
    results = each_isolated(work, batch.paths, batch.isolation)
    for path, result in zip(batch.paths, results, strict=True):
        if isinstance(result, GenrescopeError):
            found.append(FailedPrediction(path, type(result).__name__, str(result)))
        else:
            found.append(result)
    return found


def predict_scaled(
    recogniser: Recogniser, paths: Iterable[str | os.PathLike[str] | None], *, engine: Engine
) -> Generator[Result, None, None]:
    """Recognise many files on a cluster, in their order.

    Parameters
    ----------
    recogniser : Recogniser
        It travels to the workers, which need no bundle.
    paths : iterable of path-like
        Files that all workers see under the same names; taken a few batches ahead. None among
        them says nothing.
    engine : Engine
        Where it is done, such as a :class:`genrescope.audio.scale.Cluster`.

    Yields
    ------
    Prediction or FailedPrediction
        One for each path, as of :meth:`Recogniser.predict_many`.

    Raises
    ------
    ClusterError
        If the cluster is lost.
    """
    waiting: dict[int, dict[tuple[int, ...], list[Result]]] = {}
    sizes: dict[int, int] = {}
    following = 0
    batches = _batches(paths, Isolation(engine.slots_each), sizes)
    results = engine.run(recognise_batch, batches, split=TracksBatch.pieces, shared=recogniser)
    with closing(results):
        for batch, result in results:
            told = [_given_up(batch, result)] if isinstance(result, Lost) else result
            first = batch.number[0]
            waiting.setdefault(first, {})[batch.number] = told
            while following in waiting:
                there = waiting[following]
                if sum(len(some) for some in there.values()) < sizes[following]:
                    break
                for number in sorted(there):
                    yield from there[number]
                del waiting[following], sizes[following]
                following += 1


def _predict(recogniser: Recogniser, folder: Path, path: Path) -> Prediction:
    return replace(recogniser.predict(folder / path), path=path)


def _batches(
    paths: Iterable[str | os.PathLike[str] | None], isolation: Isolation, sizes: dict[int, int]
) -> Iterator[TracksBatch]:
    here = Path.cwd()
    some: list[Path] = []
    number = room = 0
    for path in paths:
        if path is None:
            continue
        one = Path(path)
        n = _bytes(one)
        if some and (len(some) == _TRACKS or n > room):
            sizes[number] = len(some)
            yield TracksBatch((number,), tuple(some), here, isolation)
            some, number = [], number + 1
        room = (room if some else _BYTES) - n
        some.append(one)
    if some:
        sizes[number] = len(some)
        yield TracksBatch((number,), tuple(some), here, isolation)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _given_up(batch: TracksBatch, lost: Lost) -> FailedPrediction:
    (path,) = batch.paths
    why = f"{path}: {lost.reason}, and this was the only file that they read"
    return FailedPrediction(path, DecoderCrashError.__name__, why)
