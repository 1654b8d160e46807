"""Run the command as a user does: as a process of its own, in a pipe or on a terminal.

A process takes a second to start. What needs none is asked in this one, through the same function.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from genrescope.apps.cli import command
from genrescope.apps.cli.main import app

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and terminals")

COMMAND = [sys.executable, "-m", "genrescope"]


def environment(**changes: str) -> dict[str, str]:
    """The environment without what would change the output by accident."""
    plain = {
        key: value
        for key, value in os.environ.items()
        if key not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING", "TERM", "CI"}
        and not key.startswith(("GENRESCOPE_", "PYTEST_"))
    }
    return {**plain, "PYTHONUTF8": "1", **changes}


def run(
    *arguments: str | Path, stdin: bytes = b"", timeout: float = 120, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``genrescope ARGUMENTS`` in a pipe."""
    return subprocess.run(
        [*COMMAND, *map(os.fspath, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=environment(**env),
        check=False,
    )


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def here(
    *arguments: str | Path, stdin: bytes = b"", terminal: bool = False, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``genrescope ARGUMENTS`` in this process, in a pipe or on what says it is a terminal.

    The width of such a terminal is COLUMNS of the environment.
    """
    kind = _Terminal if terminal else io.TextIOWrapper
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    out, err = io.BytesIO(), io.BytesIO()
    words = list(map(os.fspath, arguments))
    with (
        tempfile.TemporaryFile() as read,
        mock.patch.dict(os.environ, environment(**env), clear=True),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(read, encoding)),
        mock.patch.object(sys, "stdout", kind(out, encoding)),
        mock.patch.object(sys, "stderr", kind(err, encoding)),
    ):
        read.write(stdin)
        read.seek(0)
        code = command.run(app, words)
        sys.stdout.flush()
        sys.stderr.flush()
        said = out.getvalue(), err.getvalue()
    return subprocess.CompletedProcess(words, code, *said)


def on_terminal(*arguments: str | Path, width: int, **env: str) -> tuple[int, str]:
    """Run it on a terminal of that width; gives the exit code and all that was printed."""
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(os.fspath, arguments)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", **env),
        start_new_session=True,
    )
    os.close(follower)
    output = b""
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        output += piece
    os.close(leader)
    return process.wait(timeout=60), output.decode("utf-8")


def handed_on(patch: pytest.MonkeyPatch, module: Any, name: str, *words: str) -> dict[str, Any]:
    """What a command calls ``module.name(data, out, ...)`` with; nothing is done."""
    found: dict[str, Any] = {}

    class Reached(Exception):
        pass

    def stand_in(data: Path, out: Path, **settings: Any) -> None:
        found.update(settings, data=data, out=out)
        raise Reached

    with patch.context() as while_asked:
        while_asked.setattr(module, name, stand_in)
        with pytest.raises(Reached):
            app(list(words))
    return found
