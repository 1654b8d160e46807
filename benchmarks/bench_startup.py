"""Start-up: what the command line takes to say something, against importing what it is made of.

Each command runs in a process of its own, in turn with the import, so that whatever else the
machine does falls on all of them alike. Compiled modules and the cache of the system are warm.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Any

__all__ = ["run"]

ROUNDS = 15
TARGET = 2.0  # times the import
_IMPORT = ("-c", "import typer, rich")
_COMMANDS = (("--help",), ("--version",), ("predict", "--help"), ("fma", "fetch", "--help"))


def run(*, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure.

    Parameters
    ----------
    rounds : int
        How often each is started.

    Returns
    -------
    list of dict
        Milliseconds by the clock and of CPU time (medians), and the ratios to the import.
    """
    lines: dict[str, tuple[str, ...]] = {'python -c "import typer, rich"': _IMPORT}
    for words in _COMMANDS:
        lines[f"genrescope {' '.join(words)}"] = ("-m", "genrescope", *words)
    lines["complete a command in bash"] = ("-m", "genrescope")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in lines}
    for line in lines.values():  # once, to compile
        _timed(line, completes=False)
    for _ in range(rounds):
        for name, line in lines.items():
            taken[name].append(_timed(line, completes=name.startswith("complete")))
    rows = []
    base = _medians(taken[next(iter(lines))])
    for name, times in taken.items():
        wall, cpu = _medians(times)
        row: dict[str, Any] = {"name": name, "ms": 1e3 * wall, "CPU ms": 1e3 * cpu}
        if name.startswith("genrescope"):
            row |= {"ratio": wall / base[0], "CPU ratio": cpu / base[1]}
            row["target"] = f"under {TARGET:.0f}"
        rows.append(row)
    return rows


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def _timed(line: tuple[str, ...], *, completes: bool) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GENRESCOPE_")}
    if completes:  # as the script that the shell was given asks
        asked = {"COMP_WORDS": "genrescope pre", "COMP_CWORD": "1"}
        environment |= asked | {"_GENRESCOPE_COMPLETE": "complete_bash"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return wall, used.ru_utime + used.ru_stime
