"""docs/licences.md names everything that is bundled or needed."""

from __future__ import annotations

import re

import pytest
from benchmarks.licences import PAGE, licence_of, needed

from tests.package.installed import TREE

TEXT = PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", sorted(needed()))
def test_each_dependency_has_its_licence(name: str) -> None:
    row = re.search(rf"^\| {re.escape(name)} \| (.+) \| (.+) \|$", TEXT, flags=re.MULTILINE)
    assert row, "run: python -m benchmarks.licences"
    assert set(row[1].split(", ")) == needed()[name]
    assert row[2] != "see its files"


def test_the_core_says_what_is_installed() -> None:
    for name, groups in needed().items():
        if "core" in groups:
            assert licence_of(name)


def test_each_kind_of_bundled_file_is_known() -> None:
    """A file of a new kind in the package may need a line on the page."""
    kinds = {path.suffix for path in (TREE / "src").rglob("*") if path.is_file()}
    known = {".py", ".pyc", ".onnx", ".json", ".csv", ".css", ".js", ".svg", ".html", ".typed"}
    assert kinds <= known | {""}
