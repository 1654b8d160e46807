"""What may be skipped where extras are not installed, and what may not."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.package.installed import TREE

# Hides an extra and a package of the core; scipy seems to be here.
_HIDE = """
import importlib.machinery, sys, types
sys.modules["librosa"] = sys.modules["soxr"] = None
sys.modules["scipy"] = scipy = types.ModuleType("scipy")
scipy.__spec__ = importlib.machinery.ModuleSpec("scipy", None)
"""
_TESTS = """
import subprocess, sys
import pytest
from genrescope.errors import MissingExtraError

SAID = "this needs the package librosa, which is not installed"

def test_runs():
    pass

def test_skipped_by_its_import():
    import librosa

def test_skipped_by_a_command():
    done = subprocess.run([sys.executable, "-c", f"exit({SAID!r})"], capture_output=True)
    assert done.returncode == 0

def test_skipped_by_an_error_that_was_caught():
    try:
        raise MissingExtraError("this", extra="lab", package="scikit-learn and librosa")
    except MissingExtraError:
        answer = 0
    assert answer

def test_fails_by_itself_after_that():
    assert not "x"

@pytest.fixture(scope="module")
def made():
    print(SAID)
    MissingExtraError("this", extra="lab", package="librosa")
    raise AssertionError

def test_skipped_by_a_fixture(made):
    pass

def test_skipped_by_a_fixture_that_failed_before(made):
    pass

def test_fails_for_want_of_the_core():
    import soxr

def test_fails_for_what_is_here():
    raise MissingExtraError("this", extra="lab", package="scipy")

def test_passes_whatever_it_heard():
    MissingExtraError("this", extra="lab", package="librosa")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("project")
    (folder / "pytest.ini").touch()
    (folder / "hide.py").write_text(_HIDE, encoding="utf-8")
    (folder / "test_some.py").write_text(_TESTS, encoding="utf-8")
    (folder / "test_whole.py").write_text("import librosa\ndef test(): pass\n", encoding="utf-8")
    (folder / "tests" / "audio").mkdir(parents=True)
    needed = "def test_needed():\n    import librosa\n"
    (folder / "tests" / "audio" / "test_slices.py").write_text(needed, encoding="utf-8")
    (folder / "tests" / "test_chaos.py").write_text("raise ValueError", encoding="utf-8")
    words = ("-rA", "-p", "hide", "-p", "tests.without_extras", "-p", "no:cacheprovider")
    done = subprocess.run(
        (sys.executable, "-m", "pytest", *words),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(TREE)))},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_what_wants_an_extra_is_skipped_and_nothing_else(said: str) -> None:
    for outcome in ("PASSED", "FAILED"):
        names = set(re.findall(rf"^{outcome} \S+::(\w+)", said, flags=re.MULTILINE))
        beginning = {"PASSED": ("test_runs", "test_passes"), "FAILED": ("test_fails", "test_need")}
        assert {name for name in names if name.startswith(beginning[outcome])} == names
        assert len(names) == {"PASSED": 2, "FAILED": 4}[outcome]
    assert re.search(r"4 failed, 2 passed, 6 skipped", said)


def test_what_was_skipped_is_counted(said: str) -> None:
    table = said.partition("what could be run here")[2]
    assert re.search(r"^tests +2 +3 +0 +5 +1 +0$", table, flags=re.MULTILINE), table
    assert re.search(r"^audio +0 +1 +0 +0 +0 +0$", table, flags=re.MULTILINE), table
    assert re.search(r"^extra lab: librosa: modules 1, librosa: tests 5$", table, re.MULTILINE)
    assert "not run here: tests/test_chaos.py (minutes of load)" in table


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("training needs the package torch, which is not installed", "torch"),
        ("a needs the package scikit-learn and onnx, which is not installed", "onnx"),
        ("a needs the package scikit-learn, which is not installed", ""),
        ("ModuleNotFoundError: No module named 'torch.nn'", "torch"),
        ("No module named 'soxr'", ""),
        ("torch is slow", ""),
    ],
)
def test_what_a_text_says_is_missing(text: str, module: str) -> None:
    pytest.importorskip("packaging")
    done = subprocess.run(
        (
            sys.executable,
            "-c",
            "import sys; from tests.without_extras import wanting;"
            "print(wanting(sys.argv[1], {'torch': (), 'onnx': ()}))",
            text,
        ),
        cwd=TREE,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.strip() == module
