"""Runs what can be run where extras are not installed: ``pytest -p tests.without_extras``.

A test that cannot be imported, or ends, for want of an extra is skipped and says which; so no list
of tests has to be kept. Two things must not hide behind that. What the core promises stands in
`NEEDED`: those modules may skip nothing for want of an extra. And a package of the core that is
missing stays an error.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Generator
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Modules that need the core alone, and no extra.
NEEDED = (
    "tests/audio/test_slices.py",
    "tests/audio/test_workers.py",
    "tests/catalog/test_tags.py",
    "tests/catalog/test_genre_tags.py",
    "tests/apps/test_journal.py",
    "tests/apps/test_safe_write.py",
)
# Distributions whose modules have other names.
_IMPORTED_AS = {
    "scikit-learn": ("sklearn", "joblib", "threadpoolctl"),
    "scikit-learn-intelex": ("sklearnex", "daal4py"),
    "pyarrow": ("pyarrow", "pandas", "polars"),
    "python-multipart": ("multipart", "python_multipart"),
    "fastapi": ("fastapi", "starlette"),
    "dask": ("dask", "distributed", "fsspec", "tornado"),
    "beets": ("beets", "mediafile"),
    "import-linter": ("importlinter", "grimp"),
    "pytest-xdist": ("xdist",),
    "torch": ("torch", "psutil"),
}


def _missing() -> frozenset[str]:
    """The modules of extras that are not installed here."""
    names: set[str] = set()
    for line in importlib.metadata.requires("genrescope") or []:
        asked = Requirement(line)
        if asked.marker is not None and "extra" in str(asked.marker):
            plain = canonicalize_name(asked.name)
            names.update(_IMPORTED_AS.get(plain, (asked.name.replace("-", "_"),)))
    names.discard("genrescope")
    return frozenset(name for name in names if importlib.util.find_spec(name) is None)


MISSING = _missing()


def _wanting(error: BaseException | None) -> str:
    """The extra for want of which something ended; empty where that was not the reason."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            root = error.name.split(".")[0]
            if root in MISSING:
                return root
        if type(error).__name__ == "MissingExtraError":
            return str(error).splitlines()[0]
        error = error.__cause__ or error.__context__
    return ""


class _Module(pytest.Module):
    """A module of tests that is skipped where what it imports is not installed."""

    def _getobj(self) -> Any:
        try:
            return super()._getobj()
        except self.CollectError as error:
            wanted = _wanting(error)
            if not wanted or self.nodeid in NEEDED:
                raise
            pytest.skip(f"needs {wanted}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> pytest.Module:
    return _Module.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    wanted = _wanting(call.excinfo.value) if call.excinfo is not None else ""
    if report.failed and wanted and not item.nodeid.startswith(NEEDED):
        report.outcome = "skipped"
        path, line, _ = item.location
        report.longrepr = (path, line or 0, f"Skipped: needs {wanted}")
    return report
