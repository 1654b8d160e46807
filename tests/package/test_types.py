"""What a checker of types sees of the package as it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from tests.package.installed import Installed

SAMPLES = Path(__file__).parent / "downstream"


@pytest.fixture(scope="module")
def checked(installed: Installed, request: pytest.FixtureRequest) -> str:
    """What mypy says about both programs."""
    pytest.importorskip("mypy")
    cache = request.config.cache
    assert cache is not None
    done = subprocess.run(
        (
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--hide-error-context"),
            *(
                "--python-executable",
                str(installed.python),
                "--cache-dir",
                str(cache.mkdir("mypy")),
            ),
            *(str(SAMPLES / "app.py"), str(SAMPLES / "wrong.py")),
        ),
        cwd=installed.elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_a_program_of_somebody_else_passes_the_strict_checks(checked: str) -> None:
    assert not [line for line in checked.splitlines() if "app.py" in line and "error" in line]


def test_what_is_wrong_is_found(checked: str) -> None:
    lines = (SAMPLES / "wrong.py").read_text("utf-8").splitlines()
    meant = {
        n: code[1] for n, line in enumerate(lines, 1) if (code := re.search(r"E: (\[.*\])", line))
    }
    found = {
        int(match[1]): match[2]
        for match in re.finditer(r"wrong\.py:(\d+): error: .*?(\[[\w-]+\])$", checked, re.MULTILINE)
    }
    assert len(meant) == 6
    assert found == meant


def test_that_program_runs(installed: Installed) -> None:
    rng = np.random.default_rng(3)
    sf.write(installed.elsewhere / "noise.wav", 0.1 * rng.normal(size=22_050 * 6), 22_050)
    told = installed.run(installed.python, SAMPLES / "app.py", "noise.wav", "none.wav")
    assert "noise.wav not sure: " in told
    assert "none.wav AudioNotFoundError: " in told
