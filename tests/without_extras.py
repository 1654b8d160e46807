"""Runs what can be run where extras are not installed: ``pytest -p tests.without_extras``.

A test that cannot be imported, or fails, for want of an extra is skipped and says which; so no list
of tests has to be kept. It failed for want of one if its error, an error behind that, or what a
command said that it ran, names a package of an extra, and that package is not installed here.

Three things must not hide behind that. What the core promises stands in `NEEDED`: those modules may
skip nothing for want of an extra. A package of the core that is missing stays an error. And a table
at the end counts what was skipped, by extra and by room, and gives every other reason in full.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from genrescope.errors import MissingExtraError

#: Modules that need the core alone, and no extra.
NEEDED = (
    "tests/apps/test_config.py",
    "tests/apps/test_details.py",
    "tests/apps/test_genre_policy.py",
    "tests/apps/test_heard.py",
    "tests/apps/test_journal.py",
    "tests/apps/test_playlist.py",
    "tests/apps/test_playlists.py",
    "tests/apps/test_predict.py",
    "tests/apps/test_safe_write.py",
    "tests/apps/test_tag.py",
    "tests/apps/test_undo.py",
    "tests/audio/test_isolation.py",
    "tests/audio/test_mpeg.py",
    "tests/audio/test_slices.py",
    "tests/audio/test_workers.py",
    "tests/catalog/test_genre_tags.py",
    "tests/catalog/test_genres.py",
    "tests/catalog/test_tags.py",
    "tests/learn/test_recogniser.py",
    "tests/test_portability.py",
)
#: What another version of Python, or of a package, cannot change; `.ci/run` has it on every change.
ELSEWHERE = {
    "tests/fuzz": "searches for new inputs; by time, not by version",
    "tests/package": "builds the wheel, which is what is tested here",
    "tests/test_architecture.py": "reads the source",
    "tests/test_chaos.py": "minutes of load",
    "tests/test_commands_page.py": "compares pages of the manual",
    "tests/test_docs.py": "compares pages of the manual",
    "tests/test_examples.py": "changes the source",
    "tests/test_manual.py": "builds the manual",
    "tests/test_tutorials.py": "minutes of sessions with all extras",
}
# Distributions whose modules have other names.
_IMPORTED_AS = {
    "scikit-learn": ("sklearn", "joblib", "threadpoolctl"),
    "scikit-learn-intelex": ("sklearnex", "daal4py"),
    "opentsne": ("openTSNE",),
    "jinja2": ("jinja2", "markupsafe"),
    "matplotlib": ("matplotlib", "PIL"),
    "huggingface-hub": ("huggingface_hub", "yaml"),
    "pyarrow": ("pyarrow", "pandas", "polars"),
    "python-multipart": ("multipart", "python_multipart"),
    "fastapi": ("fastapi", "starlette"),
    "dask": ("dask", "distributed", "fsspec", "tornado"),
    "beets": ("beets", "mediafile"),
    "import-linter": ("importlinter", "grimp"),
    "pytest-xdist": ("xdist",),
    "torch": ("torch", "psutil"),
}


def _extras() -> dict[str, tuple[str, ...]]:
    """The extras, but for those of the developers, that bring each module that is missing here."""
    brought: dict[str, list[str]] = defaultdict(list)
    for line in importlib.metadata.requires("genrescope") or []:
        asked = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)", str(asked.marker or ""))
        if extra is None or canonicalize_name(asked.name) == "genrescope":
            continue
        name = canonicalize_name(asked.name)
        for module in _IMPORTED_AS.get(name, (asked.name.replace("-", "_"),)):
            brought[module].append(extra.group(1))
    return {
        module: tuple(one for one in extras if one not in ("dev", "docs")) or ("dev",)
        for module, extras in brought.items()
        if importlib.util.find_spec(module) is None
    }


MISSING = _extras()
_SAID = (
    re.compile(r"needs the package (.{1,80}?), which is not installed"),
    re.compile(r"No module named '([\w.]+)'"),
)
_MOST = 1 << 20  # characters of what commands said that are kept for a test


def wanting(text: str, missing: Mapping[str, object] | None = None) -> str:
    """The package that a text says is not installed; empty where it names none that is missing."""
    missing = MISSING if missing is None else missing
    for pattern in _SAID:
        for found in pattern.findall(text):
            for name in re.split(r",? and |, | or ", found):
                for module in (*_IMPORTED_AS.get(canonicalize_name(name), ()), name.split(".")[0]):
                    if module.replace("-", "_") in missing:
                        return module.replace("-", "_")
    return ""


def _behind(error: BaseException | None) -> str:
    """The package for want of which something ended; empty where that was not the reason."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ImportError):  # MissingExtraError is one, too
            root = (error.name or "").split(".")[0]
            name = root if root in MISSING else wanting(str(error))
            if name:
                return name
        error = error.__cause__ or error.__context__
    return ""


class _Heard:
    """What commands and the package itself said since a test began."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, said: object) -> None:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or "")
        self.text = (self.text + "\n" + text)[-_MOST:]


_heard = _Heard()


def _listen() -> None:
    """Hear what processes say that are read to their end, and errors that are made here."""
    communicate, made = subprocess.Popen.communicate, MissingExtraError.__init__

    def heard_communicate(self: Any, *args: Any, **kwargs: Any) -> Any:
        said = communicate(self, *args, **kwargs)
        for one in said:
            _heard.add(one)
        return said

    def heard_made(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        _heard.add(self)

    subprocess.Popen.communicate = heard_communicate  # type: ignore[method-assign]
    MissingExtraError.__init__ = heard_made  # type: ignore[method-assign]


_listen()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module, or a folder with its conftest, that imports what is not installed."""
    report = yield
    call = getattr(report, "call", None)
    if report.failed and call is not None and not collector.nodeid.startswith(NEEDED):
        wanted = _behind(call.excinfo.value)
        if wanted:
            report.outcome = "skipped"
            report.longrepr = (collector.nodeid, 0, f"Skipped: needs {wanted}")
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    try:
        path = collection_path.relative_to(config.rootpath).as_posix()
    except ValueError:
        return None
    return True if path in ELSEWHERE else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    _heard.text = ""
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is None or not report.failed or item.nodeid.startswith(NEEDED):
        return report
    error = call.excinfo.value
    # A fixture that failed raises the same error for each test that asks for it.
    wanted = (
        getattr(error, "_wanting", "")
        or _behind(error)
        or wanting(f"{_heard.text}\n{report.longreprtext}\n{report.caplog}")
    )
    if wanted:
        error._wanting = wanted  # type: ignore[attr-defined]
        report.outcome = "skipped"
        path, line, _ = item.location
        report.longrepr = (path, line or 0, f"Skipped: needs {wanted}")
    return report


def _room(nodeid: str) -> str:
    parts = nodeid.split("::")[0].split("/")
    return parts[1] if len(parts) > 2 else "tests"


def _module_in(reason: str) -> str:
    """The module of an extra that the reason of a skip names."""
    for word in re.findall(r"[\w-]+", reason):
        for module in (word.replace("-", "_"), *_IMPORTED_AS.get(canonicalize_name(word), ())):
            if module in MISSING:
                return module
    return ""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count by room and extra; a module that was skipped as a whole counts as one."""
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    wanted: dict[str, Counter[str]] = defaultdict(Counter)
    others: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "call") == "call" or outcome != "passed":
                rooms[_room(report.nodeid)][outcome] += 1
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        module = _module_in(reason)
        room = _room(report.nodeid)
        if module:
            whole = "::" not in report.nodeid
            rooms[room]["modules" if whole else "tests"] += 1
            kind = f"{module}: {'modules' if whole else 'tests'}"
            wanted[" or ".join(MISSING[module])][kind] += 1
        elif extra := re.search(r"the extra (\w+) is not installed", reason):
            rooms[room]["tests"] += 1
            wanted[extra.group(1)]["tests"] += 1
        else:
            rooms[room]["other"] += 1
            others[f"{room}: {reason.removeprefix('Skipped: ')}"] += 1
    write = terminalreporter.write_line
    terminalreporter.section("what could be run here")
    columns = ("passed", "failed", "error", "tests", "modules", "other")
    heads = ("passed", "failed", "errors", "tests without their extra", "modules", "other skips")
    write(f"{'':10}" + "".join(f"{head:>{len(head) + 2}}" for head in heads))
    for room, row in sorted(rooms.items()):
        cells = zip(heads, (row[one] for one in columns), strict=True)
        write(f"{room:10}" + "".join(f"{value:>{len(head) + 2}}" for head, value in cells))
    for extra, counts in sorted(wanted.items()):
        write(f"extra {extra}: " + ", ".join(f"{k} {n}" for k, n in sorted(counts.items())))
    for reason, count in sorted(others.items()):
        write(f"skipped, {count}: {reason}")
    for path, reason in ELSEWHERE.items():
        write(f"not run here: {path} ({reason})")
