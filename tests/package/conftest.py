from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.package.installed import TREE, Installed, build, install

FOLDERS = ("src", "tests", "benchmarks", "docs", "requirements", ".ci")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, which nobody edits while it is built, with litter in it."""
    pytest.importorskip("hatchling")
    copy = tmp_path_factory.mktemp("copy") / "genrescope"
    for name in FOLDERS:
        shutil.copytree(TREE / name, copy / name)
    for file in TREE.iterdir():
        if file.is_file():
            shutil.copy(file, copy)
    litter = (".venv/lib/x.py", "build/x.py", "dist/x.whl", "runs/x.json", ".hypothesis/x")
    for name in (*litter, "src/genrescope/__pycache__/litter.cpython-311.pyc"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    return copy


@pytest.fixture(scope="session")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return build("wheel", tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment in which that wheel is installed."""
    pytest.importorskip("pip")
    return install(wheel, tmp_path_factory.mktemp("installed"))
