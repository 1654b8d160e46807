"""The lists of versions agree with pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.package.installed import TREE

HERE = TREE / "requirements"
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = sorted(HERE.glob("lock-*.txt"))


def pinned(lock: Path) -> dict[str, Version]:
    lines = [line for line in lock.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {
        canonicalize_name(one.name): Version(next(iter(one.specifier)).version)
        for one in map(Requirement, lines)
    }


def test_the_lowest_versions_are_those_of_the_project() -> None:
    done = subprocess.run((sys.executable, HERE / "lowest.py", "--check"), check=False)
    assert done.returncode == 0, "run: python requirements/lowest.py"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_fits_what_the_project_asks_for(lock: Path) -> None:
    there = pinned(lock)
    extras = PROJECT["optional-dependencies"]
    for line in (*PROJECT["dependencies"], *extras["dev"], *extras["lab"], *extras["serve"]):
        asked = Requirement(line)
        name = canonicalize_name(asked.name)
        if name == "genrescope" or (asked.marker and not asked.marker.evaluate()):
            continue
        assert name in there, f"{name} is not in {lock.name}: make lock"
        assert asked.specifier.contains(there[name]), f"{name}: make lock"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_versions_and_no_place(lock: Path) -> None:
    for line in lock.read_text("utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.skipif(os.name == "nt", reason="a script of the shell")
def test_where_the_lock_cannot_be_had_the_newest_that_fit_are_taken(tmp_path: Path) -> None:
    """Against a stand-in for Python: `pip install --constraint` fails, and without it works."""
    (tmp_path / "install").write_text((HERE / "install").read_text("utf-8"), "utf-8")
    (tmp_path / "lock-3.11.txt").touch()
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        'case "$*" in *print*) echo 3.11 ;; *--constraint*) exit 1 ;; esac\n',
        "utf-8",
    )
    python.chmod(0o755)
    done = subprocess.run(
        ("sh", tmp_path / "install", python, "numpy"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "cannot be had here" in done.stderr
    _, first, second = (tmp_path / "calls").read_text("utf-8").splitlines()
    assert "--constraint" in first
    assert second.endswith("install --quiet numpy")
