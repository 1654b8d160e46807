"""What of the commands' help and completion needs a process or a terminal of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.apps.command import on_terminal, posix, run


@posix
@pytest.mark.parametrize("width", [40, 120])
def test_help_fits_a_terminal_of_the_system(width: int) -> None:
    code, said = on_terminal("predict", "--help", width=width, NO_COLOR="1")
    assert code == 0
    head = said.replace("\r", "").partition("Examples:")[0]
    assert max(map(len, head.splitlines())) < min(width, 101)
    assert "\x1b" not in said
    assert "\x1b[1m" in on_terminal("predict", "--help", width=width)[1]


def test_an_encoding_of_the_system_will_do() -> None:
    done = run("tag", "--help", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")
    assert b"\\u" not in done.stdout


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom genrescope.apps.cli import completion as c\n"
        "c.genres(''), c.networks(''), c.encoders(''), c.bundles(''), c.changes('')\n"
        "heavy = {'numpy', 'rich.console', 'torch', 'onnxruntime', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
