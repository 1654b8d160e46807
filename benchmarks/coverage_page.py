"""Which lines and branches the tests come through, module by module.

    python -m benchmarks.coverage_page --page          # runs all tests: some 20 minutes
    python -m benchmarks.coverage_page tests/learn     # or some

Processes that tests start count, unless they are killed, as many are on purpose. What a test comes
through may still be wrong: :mod:`benchmarks.mutants` says how much of it is looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

__all__ = ["every_module", "table"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "coverage.md"
LOW = 0.8  # a module below has a row of its own
_HEADER = (
    "| | lines | reached | branches | reached |",
    "| --- | ---: | ---: | ---: | ---: |",
)
HEAD = """# What the tests come through

`python -m benchmarks.coverage_page --page` runs the tests and counts lines and branches, in the
processes that they start as well. What only happens in a process that is killed is not seen.
"""


def main() -> int:
    """``python -m benchmarks.coverage_page``."""
    parser = argparse.ArgumentParser(description="Count the lines and branches that tests reach.")
    parser.add_argument("tests", nargs="*", default=["tests"])
    parser.add_argument("--report", type=Path, default=ROOT / "runs" / "coverage.json")
    parser.add_argument("--only-show", action="store_true", help="of the last run")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    code = 0
    if not given.only_show:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        code = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"),
                *("--cov", "--cov-report=", f"--cov-report=json:{given.report}"),
                *("--durations=60", *given.tests),
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        ).returncode
    files = json.loads(given.report.read_text())["files"]
    print(table(files))
    if given.page and not code:  # what failed came through less than it should
        PAGE.write_text(f"{HEAD}\n{table(files)}\n\n## Every module\n\n{every_module(files)}\n")
    return code


def table(files: dict[str, Any]) -> str:
    """Rooms, then the modules that are reached least."""
    rooms: dict[str, list[dict[str, int]]] = defaultdict(list)
    modules = _modules(files)
    for name, one in modules.items():
        parts = name.split("/")
        rooms["/".join(parts[:2]) if len(parts) > 2 else name].append(one)
    lines = [*_HEADER, _row("**all**", list(modules.values()))]
    lines += [_row(f"`{room}`", ones) for room, ones in sorted(rooms.items()) if _lines(ones)]
    low = {name: one for name, one in modules.items() if _share(one) < LOW}
    if low:
        lines += ["", f"Modules of which less than {LOW:.0%} is reached:", "", *_HEADER]
        lines += [
            _row(f"`{name}`", [low[name]]) for name in sorted(low, key=lambda n: _share(low[n]))
        ]
    return "\n".join(lines)


def every_module(files: dict[str, Any]) -> str:
    """Each module that has code, in the order of their names."""
    modules = sorted((name, one) for name, one in _modules(files).items() if _lines([one]))
    return "\n".join([*_HEADER, *(_row(f"`{name}`", [one]) for name, one in modules)])


def _modules(files: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {path.partition("src/")[2]: file["summary"] for path, file in files.items()}


def _lines(ones: list[dict[str, int]]) -> int:
    return sum(one["num_statements"] for one in ones)


def _share(one: dict[str, int]) -> float:
    """Of lines and branches together, as coverage counts."""
    there = one["num_statements"] + one["num_branches"]
    return (one["covered_lines"] + one["covered_branches"]) / there if there else 1.0


def _row(name: str, ones: list[dict[str, int]]) -> str:
    statements, branches = _lines(ones), sum(one["num_branches"] for one in ones)
    lines, ways = (sum(one[f"covered_{k}"] for one in ones) for k in ("lines", "branches"))
    share = f"{ways / branches:.0%}" if branches else ""
    return (
        f"| {name} | {statements:,} | {lines / max(statements, 1):.0%} | {branches:,} | {share} |"
    )


if __name__ == "__main__":
    sys.exit(main())
