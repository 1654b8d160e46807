"""One target, run on many inputs: what it raised that it may not, how long it took."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from genrescope.errors import GenrescopeError
from tests.fuzz.mutate import mutate, mutate_json
from tests.fuzz.targets import Target

__all__ = ["LIMIT", "Find", "Judge", "run_random", "vary"]

LIMIT = 10.0  # s an input


class _HangError(BaseException):
    """Past every ``except Exception``."""


@dataclass(frozen=True)
class Find:
    """Something that must not be."""

    what: str
    data: bytes
    trace: str


@dataclass
class Judge:
    """Calls a target and keeps what it finds, one input for each place in the code."""

    target: Target
    runs: int = 0
    refused: int = 0
    slowest: float = 0.0
    finds: dict[str, Find] = field(default_factory=dict)

    def __call__(self, data: bytes) -> None:
        """One execution."""
        self.runs += 1
        started = time.perf_counter()
        try:
            with _alarm():
                self.target.run(data)
        except GenrescopeError:
            self.refused += 1
        except (Exception, _HangError) as error:
            self._keep(error, data)
        self.slowest = max(self.slowest, time.perf_counter() - started)

    def _keep(self, error: BaseException, data: bytes) -> None:
        places = [
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if "genrescope" in frame.filename or "/fuzz/" in frame.filename
        ]
        what = f"{type(error).__name__} at {places[-1] if places else '?'}"
        if what not in self.finds or len(data) < len(self.finds[what].data):
            self.finds[what] = Find(what, data, "".join(traceback.format_exception(error)))


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _HangError(f"more than {LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_random(
    judge: Judge,
    *,
    executions: int,
    seed: int = 0,
    seconds: float = float("inf"),
    corpus: list[bytes] | None = None,
    call: Callable[[bytes], None] | None = None,
) -> None:
    """Feed a target with changed seeds; without a look at what they reach."""
    call = call or judge
    rng = random.Random(seed)
    known = corpus or [*judge.target.seeds()]
    with contextlib.suppress(Exception):
        judge.target.run(known[0])  # what is imported on first use does not count
    until = time.monotonic() + seconds
    for data in known:
        call(data)
    while judge.runs < executions and time.monotonic() < until:
        call(vary(rng, judge.target, rng.choice(known), known))


def vary(rng: random.Random, target: Target, data: bytes, corpus: list[bytes]) -> bytes:
    """A changed input, in its structure where the target has one."""
    if target.json and rng.random() < 0.8:
        made = mutate_json(rng, data)
        if made is not None:
            return made
    return mutate(rng, data, corpus=corpus, words=target.words, max_len=target.max_len)


if sys.platform == "win32":  # pragma: no cover - it has no alarms
    raise ImportError("fuzzing needs a system with signals")
