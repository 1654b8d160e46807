"""The two documented additions still fit the code, and keep the contract of their kind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "how-to" / "add-an-encoder-or-a-classifier.md"
#: Diff, the test of its contract, and the name that it adds.
ADDITIONS = [
    ("add-an-encoder.diff", "tests/audio/encoders/test_contract.py", "rhythm"),
    ("add-a-classifier.diff", "tests/learn/lab/test_classic.py", "lda"),
]
NAMES = [name for name, *_ in ADDITIONS]


def changed(diff: str) -> int:
    """Lines that a diff adds or takes away."""
    return len(re.findall(r"^[+-](?!\+\+ |-- )", diff, flags=re.MULTILINE))


def environment(folder: Path) -> dict[str, str]:
    """In which Git sees no checkout around the folder, and Python the package that is in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PYTEST_"))}
    own = {"GIT_CEILING_DIRECTORIES": str(folder.parent), "PYTHONPATH": str(folder / "src")}
    return {**kept, **own, "OMP_NUM_THREADS": "1"}


def applied(diff: Path, folder: Path) -> None:
    """Apply a diff to a copy of the files that it touches, or of the whole tree."""
    if shutil.which("git") is None:
        pytest.skip("git is not here, which applies the diffs")
    for check in (["--check"], []):
        done = subprocess.run(
            ["git", "apply", *check, str(diff)],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_it_applies_to_what_it_touches(name: str, tmp_path: Path) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for touched in re.findall(r"^--- a/(.+)$", text, flags=re.MULTILINE):
        (tmp_path / touched).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / touched, tmp_path / touched)
    applied(EXAMPLES / name, tmp_path)
    for written in re.findall(r"^\+\+\+ b/(.+)$", text, flags=re.MULTILINE):
        compile((tmp_path / written).read_text(encoding="utf-8"), written, "exec")
        assert (
            not (ROOT / written).exists()
            or (tmp_path / written).read_bytes() != (ROOT / written).read_bytes()
        )


@pytest.mark.parametrize(("name", "contract", "added"), ADDITIONS, ids=NAMES)
def test_what_it_adds_keeps_the_contract(
    name: str, contract: str, added: str, tmp_path: Path
) -> None:
    if "lab" in contract:
        pytest.importorskip("sklearn", reason="the extra lab is not installed")
    tree = tmp_path / "tree"
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", tree / "pyproject.toml")
    applied(EXAMPLES / name, tree)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", contract, "-k", added]
    done = subprocess.run(
        run,
        cwd=tree,
        env=environment(tree),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[1-9]\d* passed, \d+ deselected", done.stdout, re.MULTILINE), done.stdout


def test_the_page_shows_them_as_they_are_and_counts_their_lines() -> None:
    page = PAGE.read_text(encoding="utf-8")
    diffs = [(EXAMPLES / name).read_text(encoding="utf-8") for name in NAMES]
    assert re.findall(r"^```diff\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE) == diffs
    house = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for what, diff in zip(("an encoder", "a classifier"), diffs, strict=True):
        assert 0 < changed(diff) < 60
        files = len(re.findall(r"^diff --git ", diff, flags=re.MULTILINE))
        assert f"| {what} | {changed(diff)} | {files} |" in page
        assert f"{what} in {changed(diff)}" in house
