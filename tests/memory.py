"""The most memory that code takes in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["peak_of"]

# What a process had before it started another program counts in Linux's ru_maxrss of that program,
# so that a child's peak is never below its parent's; VmHWM is of the program alone.
_TOLD = """
import sys
if sys.platform == "linux":
    print(next(int(line.split()[1]) for line in open("/proc/self/status")
               if line.startswith("VmHWM")) * 1024)
else:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def peak_of(code: str, *arguments: str | Path, env: dict[str, str] | None = None) -> int:
    """Bytes that the code had at its most, run by an interpreter of its own."""
    if sys.platform == "win32":
        pytest.skip("the peak is asked of POSIX")
    done = subprocess.run(
        [sys.executable, "-c", code + _TOLD, *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    return int(done.stdout)
