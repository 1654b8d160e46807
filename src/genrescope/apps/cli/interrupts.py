"""Ctrl-C that ends a command soon, in order, and with the exit code that shells expect."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = ["Interrupts", "resumable"]


class Interrupts:
    """Within the block, the first SIGINT or SIGTERM raises KeyboardInterrupt in the main thread.

    A second one does what it does by default: it ends the program at once.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._holding = False
        self._before: dict[int, Any] = {}

    @property
    def happened(self) -> bool:
        """Whether there was one."""
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal: 130 after Ctrl-C."""
        return 128 + int(self._signal or signal.SIGINT)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put off an interrupt until the end of the block."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._signal is not None:
            raise KeyboardInterrupt

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            with suppress(ValueError, TypeError):  # a handler that was not set from Python
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        for again in self._before:
            signal.signal(again, signal.SIG_DFL)
        if not self._holding:
            raise KeyboardInterrupt


@contextmanager
def resumable() -> Iterator[None]:
    """Around what keeps its work: Ctrl-C ends in order, and says that nothing is lost."""
    import typer

    with Interrupts() as interrupts:
        try:
            yield
        except KeyboardInterrupt:
            typer.echo("Stopped. The same command goes on where it was.", err=True)
            raise typer.Exit(interrupts.exit_code) from None
