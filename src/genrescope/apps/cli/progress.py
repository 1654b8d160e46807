"""A progress bar on standard error, where that is a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from genrescope.apps.cli.render import console
from genrescope.apps.cli.terminal import animated

__all__ = ["Progress"]


class _Rate(bars.ProgressColumn):
    """How fast it goes."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: bars.Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        rate = f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}"
        return Text(f"{rate} {self._unit}/s", style="dim")


class Progress:
    """Counts what is done, with the rate and the time left; goes away at the end.

    Parameters
    ----------
    title : str
        What is being done.
    unit : str
        Of what is counted, in the plural.
    total : int, optional
        How many there will be, where that is known.
    wanted : bool
        False never shows it: the same terminal is written to by other means.
    """

    def __init__(
        self, title: str, *, unit: str, total: int | None = None, wanted: bool = True
    ) -> None:
        self.shown = wanted and animated(sys.stderr)
        self.console: Console = console(sys.stderr)
        self.total = total
        self._title = title
        self._bars = bars.Progress(
            bars.TextColumn(" {task.description}"),
            # Not to the edge: the ^C that a terminal echoes would break the line in two.
            bars.BarColumn(bar_width=max(8, min(40, self.console.width - 56))),
            bars.MofNCompleteColumn(),
            _Rate(unit),
            bars.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self.console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self.shown,
        )
        self._task: bars.TaskID | None = None

    def tell(self, line: str) -> None:
        """Write a line to standard error, wrapped between words on a terminal."""
        self.console.print(Text(line), soft_wrap=not self.console.is_terminal)

    def advance(self) -> None:
        """One more is done."""
        if self._task is not None:
            self._bars.advance(self._task)

    def __enter__(self) -> Progress:
        self._bars.start()
        self._task = self._bars.add_task(self._title, total=self.total)
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
