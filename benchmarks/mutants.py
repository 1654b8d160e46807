"""Are the tests of the core worth anything? Faults are put in, and some test has to fail.

mutmut changes one thing in one function (``<`` to ``<=``, a number, a word, an argument left out)
and runs the tests that come through that function. A sample is drawn of each module, the same for
the same seed, and its share of killed faults is told with a 95 % interval, module by module, with
every survivor as a diff::

    pip install mutmut
    python -m benchmarks.mutants --page
    python -m benchmarks.mutants learn/calibrate.py apps/journal.py --each 100

Everything happens in a copy of the tree, which stays (``--folder``) so that a run goes on where a
killed one stopped. A fault that makes a test hang counts as killed, as does one that ends the
process. mutmut forks, so this runs on Linux and macOS alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from random import Random

__all__ = ["CORE", "Module", "sample", "table"]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "mutants.md"
CORE = (  # what must not be wrong
    "audio/**/*.py",
    "learn/evaluate.py",
    "learn/calibrate.py",
    "apps/journal.py",
    "apps/journal_rows.py",
    "apps/safe_write.py",
    "apps/rewriting.py",
    "apps/tagger.py",
    "apps/undoing.py",
    "apps/genre_policy.py",
    "catalog/splits.py",
)
EACH = 24  # faults a module
# What happens in other processes is not seen from here: faults would run for minutes for nothing.
NOT_SEEN = ("audio/isolation.py", "audio/pool.py", "audio/workers.py", "audio/scale/**/*.py")
LEFT_OUT = (
    "test_killed.py", "test_tags_killed.py", "test_scale.py", "test_isolation.py", "test_pool.py",
    "test_workers.py", "test_full_disk.py",
)  # fmt: skip
_KILLED = ("killed", "timeout", "segfault", "caught by type check")
_COPIED = ("src", "tests", "benchmarks", "docs")
_FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "LICENSE")


@dataclass
class Module:
    """What became of the faults of one module."""

    name: str
    there: int = 0  # faults that can be made
    verdicts: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Faults of the sample that some test reaches, or none does."""
        return sum(self.verdicts.values())

    @property
    def killed(self) -> int:
        """Faults that some test saw."""
        return sum(self.verdicts[verdict] for verdict in _KILLED)


def main() -> int:
    """``python -m benchmarks.mutants``."""
    parser = argparse.ArgumentParser(description="Put faults in and see whether tests fail.")
    parser.add_argument("modules", nargs="*", default=CORE, help="patterns below src/genrescope")
    parser.add_argument("--each", type=int, default=EACH, help="faults a module, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "mutants")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    here = given.folder.resolve()
    modules = sorted(
        {
            path.relative_to(ROOT).as_posix()
            for pattern in given.modules
            for path in (ROOT / "src" / "genrescope").glob(pattern)
        }
        - {
            path.relative_to(ROOT).as_posix()
            for pattern in NOT_SEEN
            for path in (ROOT / "src" / "genrescope").glob(pattern)
        }
    )
    if not modules:
        parser.error(f"no module matches {' '.join(given.modules)}")
    _copy(here, modules)
    there = _generate(here, given.jobs)
    chosen = sample(there, each=given.each, seed=given.seed)
    print(f"{sum(map(len, there.values())):,} faults in {len(there)} modules; {len(chosen)} tried")
    if _mutmut(here, "run", "--max-children", str(given.jobs), *chosen).returncode:
        raise SystemExit(f"the tests fail without any fault: {here}/mutmut.log")
    result = _collect(here, there, set(chosen))
    print(table(result))
    if given.page:
        _write_page(here, result, given)
    return 0


def sample(there: Mapping[str, Sequence[str]], *, each: int, seed: int) -> list[str]:
    """Of each module so many faults, or all where there are fewer; the same for the same seed."""
    return [
        name
        for module, names in sorted(there.items())
        for name in sorted(Random(f"{seed} {module}").sample(sorted(names), min(each, len(names))))
    ]


def table(modules: Iterable[Module]) -> str:
    """A row a module, the worst first, and all of them weighed by how many faults they can have."""
    rows = [module for module in modules if module.tried]
    rows.sort(key=lambda module: (module.killed / module.tried, module.name))
    tried, killed = sum(m.tried for m in rows), sum(m.killed for m in rows)
    there = sum(m.there for m in rows)
    weighed = sum(m.there * m.killed / m.tried for m in rows) / there
    lines = [
        "| module | faults possible | tried | killed | share | 95 % | no test comes through |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
        f"| **all** | {there:,} | {tried:,} | {killed:,} | **{killed / tried:.0%}** "
        f"({weighed:.0%} weighed by size) | {_interval(killed, tried)} "
        f"| {sum(m.verdicts['no tests'] for m in rows)} |",
    ]
    lines += [
        f"| {m.name} | {m.there:,} | {m.tried} | {m.killed} | {m.killed / m.tried:.0%} "
        f"| {_interval(m.killed, m.tried)} | {m.verdicts['no tests'] or ''} |"
        for m in rows
    ]
    return "\n".join(lines)


def _interval(killed: int, tried: int) -> str:
    """Wilson's, which holds where a share is near 1."""
    z = 1.96
    middle = (killed + z * z / 2) / (tried + z * z)
    half = z * sqrt(killed * (tried - killed) / tried + z * z / 4) / (tried + z * z)
    return f"{max(0.0, middle - half):.0%} to {min(1.0, middle + half):.0%}"


def _copy(here: Path, modules: Sequence[str]) -> None:
    """The tree as it is, with settings for mutmut; what a killed run had found stays."""
    # There when mutmut starts: a folder of sys.path that was absent once is not looked into again.
    (here / "mutants" / "src").mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        shutil.rmtree(here / name, ignore_errors=True)
        shutil.copytree(ROOT / name, here / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy2(ROOT / name, here / name)
    rooms = sorted({Path(module).parts[2] for module in modules})
    tests = [
        path.relative_to(ROOT).as_posix()
        for room in rooms
        for path in sorted((ROOT / "tests" / room).rglob("test_*.py"))
        if path.name not in LEFT_OUT and _is_about(path, modules)
    ]
    settings = {
        "source_paths": ["src"],
        "only_mutate": list(modules),
        "also_copy": [*_COPIED[2:], *_FILES[1:]],
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": [
            "-q",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow",
        ],
        "timeout_constant": 20.0,
        "debug": True,  # the log says why where the tests fail
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    with (here / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n" + "\n".join(lines) + "\n")


def _is_about(test: Path, modules: Sequence[str]) -> bool:
    """Whether a file of tests is named after one of the modules, or beside it and imports it.

    Tests of commands come through everything and see little of it: by name alone, there.
    """
    folder = test.relative_to(ROOT / "tests").parent.as_posix()
    for module in modules:
        path = Path(module).relative_to("src/genrescope")
        if test.stem == f"test_{path.stem}" or test.stem.startswith(f"test_{path.stem}_"):
            if folder.startswith(path.parts[0]):
                return True
        elif folder == path.parent.as_posix() != "apps":
            dotted = ".".join(("genrescope", *path.with_suffix("").parts))
            if re.search(rf"\b{re.escape(dotted.removesuffix('.__init__'))}\b", test.read_text()):
                return True
    return False


def _mutmut(here: Path, *args: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(here / "mutants" / name) for name in ("src", "."))
    # One thread a process: mutmut forks, and threads of the parent would be gone.
    own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    own.setdefault("GENRESCOPE_DATA", str(ROOT.parent / "shared" / "data"))
    command = [sys.executable, "-m", "mutmut", *args]
    log = (here / "mutmut.log").open("a") if args[0] == "run" else subprocess.PIPE
    return subprocess.run(
        command, cwd=here, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT, text=True
    )


def _generate(here: Path, jobs: int) -> dict[str, list[str]]:
    """The names of all faults, by module."""
    # There is no command that only makes them: a run of none of them stops after that.
    _mutmut(here, "run", "--max-children", str(jobs), "none of them")
    found = {}
    for path in sorted((here / "mutants" / "src").rglob("*.meta")):
        module = path.relative_to(here / "mutants" / "src" / "genrescope").as_posix()
        if names := list(json.loads(path.read_text())["exit_code_by_key"]):
            found[module.removesuffix(".meta")] = names
    if not (here / "mutants" / "mutmut-stats.json").exists():
        raise SystemExit(
            f"the tests fail without any fault, or mutmut is absent: {here}/mutmut.log"
        )
    return found


def _collect(here: Path, there: Mapping[str, Sequence[str]], chosen: set[str]) -> list[Module]:
    said = dict(
        line.strip().split(": ", 1)
        for line in _mutmut(here, "results", "--all", "True").stdout.splitlines()
        if "__mutmut_" in line and ": " in line
    )
    modules = []
    for name, faults in there.items():
        module = Module(name, there=len(faults))
        for fault in chosen.intersection(faults):
            module.verdicts[verdict := said.get(fault, "not run")] += 1
            if verdict not in _KILLED:
                module.survivors.append(fault)
        modules.append(module)
    return modules


def _write_page(here: Path, modules: Sequence[Module], given: argparse.Namespace) -> None:
    lines = [
        "# Faults that the tests see",
        "",
        "`python -m benchmarks.mutants --page` puts faults into the core, one by one (mutmut: a",
        "comparison turned, a number or a word changed, an argument left out), and runs the tests",
        f"that come through the changed function. Up to {given.each} faults of each module, drawn",
        f"with seed {given.seed}. Tests that start processes by the dozen are left out, so that",
        "the share is lower than that of the whole suite, as are modules that only they reach:",
        f"{', '.join(NOT_SEEN)}.",
        "",
        table(modules),
        "",
    ]
    explained = PAGE.read_text().split("## Survivors", 1) if PAGE.exists() else [""]
    if len(explained) == 2:
        lines.append("## Survivors" + explained[1].rstrip())
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    diffs = [
        _mutmut(here, "show", fault).stdout
        for module in modules
        for fault in sorted(module.survivors)
    ]
    (here / "survivors.diff").write_text("\n".join(diffs))
    print(f"{PAGE.relative_to(ROOT)} and {here / 'survivors.diff'} written")


if __name__ == "__main__":
    sys.exit(main())
