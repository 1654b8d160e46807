"""One wheel by pip: what pip is asked, and what is told where it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.encoders.wheels import fetch_wheel
from genrescope.errors import DownloadError


class StandInPip:
    """In the place of subprocess.run: notes what it is asked, and does what it is told."""

    def __init__(self) -> None:
        self.files: tuple[str, ...] = ("a-1.0-py3-none-any.whl",)
        self.returncode = 0
        self.stderr = b""
        self.commands: list[list[str]] = []
        self.options: dict[str, Any] = {}

    def __call__(self, command: list[str], **options: Any) -> Any:
        self.commands.append(command)
        self.options = options
        folder = Path(command[command.index("--dest") + 1])
        for file in self.files:
            (folder / file).touch()
        return subprocess.CompletedProcess(command, self.returncode, None, self.stderr)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> StandInPip:
    found = StandInPip()
    monkeypatch.setattr(subprocess, "run", found)
    return found


def test_pip_fetches_one_wheel_and_installs_nothing(pip: StandInPip, tmp_path: Path) -> None:
    assert fetch_wheel("a==1.0", tmp_path) == tmp_path / "a-1.0-py3-none-any.whl"
    expected = [sys.executable, "-m", "pip", "download", "a==1.0", "--no-deps"]
    expected += ["--only-binary=:all:", "--dest", str(tmp_path), "--timeout", "10"]
    expected += ["--retries", "1", "--no-input", "--quiet", "--disable-pip-version-check"]
    assert pip.commands == [expected]
    fetch_wheel("a==1.0", tmp_path, kept=False)
    assert pip.commands[1] == [*expected, "--no-cache-dir"]


def test_pip_is_silent_asks_nothing_and_has_its_time(pip: StandInPip, tmp_path: Path) -> None:
    fetch_wheel("a==1.0", tmp_path)
    assert pip.options == {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "timeout": 600,
        "check": False,
    }
    fetch_wheel("a==1.0", tmp_path, timeout=7)
    assert pip.options["timeout"] == 7


def test_only_a_wheel_counts(pip: StandInPip, tmp_path: Path) -> None:
    pip.files = ("a-1.0.tar.gz", "b.whl", "a.whl")
    assert fetch_wheel("a==1.0", tmp_path).name == "a.whl"


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (b"WARNING: old\n  ERROR: first \nERROR: No match \nhint\n\n", "No match"),
        (b"Traceback\nValueError: bad\n \n", "ValueError: bad"),
        (b"ERROR: caf\xe9\n", "caf\ufffd"),
        (b" \n\n", "it gave no reason"),
    ],
)
def test_the_last_error_of_pip_is_told(
    pip: StandInPip, tmp_path: Path, stderr: bytes, reason: str
) -> None:
    pip.returncode, pip.stderr = 1, stderr
    with pytest.raises(DownloadError) as refused:
        fetch_wheel("a==1.0", tmp_path)
    assert str(refused.value) == (
        f"pip could not fetch a==1.0: {reason}; look at the network and at pip's settings"
    )
    with pytest.raises(DownloadError) as refused:
        fetch_wheel("a==1.0", tmp_path, or_else="or try it by hand")
    assert str(refused.value).endswith("at pip's settings, or try it by hand")


def test_success_without_a_wheel_is_a_failure(pip: StandInPip, tmp_path: Path) -> None:
    pip.files = ()
    with pytest.raises(DownloadError, match=r"==1\.0: it gave no reason; look"):
        fetch_wheel("a==1.0", tmp_path)


def test_a_time_that_is_over_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(DownloadError) as refused:
        fetch_wheel("a==1.0", tmp_path, timeout=5, or_else="or wait")
    assert str(refused.value) == (
        "a==1.0 could not be fetched within 5 s; look at the network and at pip's settings, or wait"
    )
