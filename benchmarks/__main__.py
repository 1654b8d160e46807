"""Run every benchmark, or one: ``python -m benchmarks [--only NAME]``.

A benchmark is a module ``bench_NAME.py`` here with a function ``run() -> list[dict]``, one
dict a row; the keys are the columns.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import time
from typing import Any

# One thread for everyone: what is compared is work, not cores. Before NumPy is imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def names() -> list[str]:
    """The names of the benchmarks that there are."""
    modules = pkgutil.iter_modules([os.path.dirname(os.path.abspath(__file__))])
    return sorted(m.name.removeprefix("bench_") for m in modules if m.name.startswith("bench_"))


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows of one benchmark as a table."""
    from rich.console import Console
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_text = any(isinstance(row.get(column), str) for row in rows)
        table.add_column(column, justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> int:
    """Run them; 0 when all went through, 1 when one failed, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="run this one (repeatable)")
    wanted = parser.parse_args(arguments).only
    known = names()
    unknown = [name for name in wanted or () if name.removeprefix("bench_") not in known]
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}")
    failed = 0
    for name in [name.removeprefix("bench_") for name in wanted] if wanted else known:
        start = time.perf_counter()
        try:
            rows = importlib.import_module(f"benchmarks.bench_{name}").run()
        except Exception as error:  # noqa: BLE001 (the others are still worth running)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            failed = 1
            continue
        show(f"{name} ({time.perf_counter() - start:.0f} s)", rows)
    return failed


if __name__ == "__main__":
    sys.exit(main())
