"""Hearing the files of a library in workers that stay between albums."""

from __future__ import annotations

import atexit
import dataclasses
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from genrescope.apps.heard import Heard
from genrescope.learn.prediction import FailedPrediction, Prediction
from genrescope.learn.recogniser import Recogniser

__all__ = ["Ear"]


class Ear:
    """Recognises files a few at a time, in one pool of workers for the whole run.

    Starting workers takes seconds, which an import would pay for every album. What was heard
    before comes from memory, and starts none.

    Parameters
    ----------
    recogniser : Recogniser
        What hears.
    workers : int or None
        As for :meth:`Heard.recognise`.
    """

    def __init__(self, recogniser: Recogniser, *, workers: int | None) -> None:
        self.recogniser = recogniser
        self.workers = workers
        self._wanted: deque[Path] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._memory: Heard | None = None
        self._answers: Generator[Prediction | FailedPrediction, None, None] | None = None

    def hear(self, paths: Sequence[Path]) -> list[Prediction | FailedPrediction]:
        """One answer for each path, in order; no file stops the others."""
        if not paths:
            return []
        with self._lock:
            if self._answers is None:
                self._closed = False
                self._memory = Heard.open()
                self._answers = self._memory.recognise(
                    self.recogniser, self._coming(), workers=self.workers
                )
                atexit.register(self.close)
            self._wanted.extend(paths)
            try:
                return [next(self._answers) for _ in paths]
            except BaseException:
                # What was on its way would be taken for the answers to the next album.
                self._stop()
                raise

    def close(self) -> None:
        """End the workers; hearing again starts new ones."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        answers, self._answers = self._answers, None
        self._closed = True
        self._wanted.clear()
        if answers is not None:
            answers.close()
            atexit.unregister(self.close)
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _coming(self) -> Iterator[Path | None]:
        while not self._closed:
            # None is "nothing yet": the pool waits for the next album.
            yield self._wanted.popleft() if self._wanted else None


def by_artist(predictions: Sequence[Prediction], artists: Sequence[str]) -> list[Prediction]:
    """The predictions with the artists that the library names, where it names one."""
    return [
        dataclasses.replace(one, artist=artist or one.artist)
        for one, artist in zip(predictions, artists, strict=True)
    ]
