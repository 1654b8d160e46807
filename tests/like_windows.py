"""``python -m tests.like_windows tag song.mp3``: the command, where files behave as on Windows.

There nobody can remove, rename or replace a file that anybody has open (as Python opens files), or
a folder that holds one; locks are msvcrt's, and nothing of POSIX is there. Other processes are not
looked at, and what packages do in C is not changed.
"""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable
from typing import Any

_POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios")
_POSIX_OS = ("sched_getaffinity", "fchown", "fchmod", "getuid", "O_NOFOLLOW", "O_NONBLOCK")
_POSIX_SIGNALS = ("SIGKILL", "SIGALRM", "pthread_sigmask", "SIGHUP")


def _open_here() -> set[str]:
    """Every file that this process has open or mapped, by /proc."""
    files: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            files.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the listing itself
            continue
    with open("/proc/self/maps", encoding="utf-8") as maps:
        files.update(line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/" in line)
    return files


def _refuse_if_open(path: Any, folder: int | None = None) -> None:
    name = os.fsdecode(path)
    if folder is not None:
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    name = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    if any(one == name or one.startswith(f"{name}{os.sep}") for one in _open_here()):
        raise PermissionError(13, "it is open, and here that forbids it", name)


def _removing(system: Callable[..., None]) -> Callable[..., None]:
    def remove(path: Any, *, dir_fd: int | None = None) -> None:
        _refuse_if_open(path, dir_fd)
        system(path, dir_fd=dir_fd)

    return remove


def _renaming(system: Callable[..., None], *, over: bool) -> Callable[..., None]:
    def rename(source: Any, target: Any) -> None:
        _refuse_if_open(source)
        _refuse_if_open(target)
        if not over and os.path.lexists(target):
            raise FileExistsError(17, "there is one by that name", os.fsdecode(target))
        system(source, target)

    return rename


class _Locks(types.ModuleType):
    """``msvcrt``: one holder of a byte, until the descriptor is closed."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self._held: dict[tuple[int, int, int], int] = {}

    def locking(self, fd: int, mode: int, count: int) -> None:
        found = os.fstat(fd)
        where = (found.st_dev, found.st_ino, os.lseek(fd, 0, os.SEEK_CUR))
        holder = self._held.get(where)
        if holder is not None and holder != fd and self._same(holder, found):
            raise PermissionError(13, "locked by another")
        self._held[where] = fd

    @staticmethod
    def _same(fd: int, found: os.stat_result) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), found)
        except OSError:
            return False


class _Windows(types.ModuleType):
    """``sys`` with another platform, for one module."""

    platform = "win32"

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def pretend() -> None:
    """Let files of this process behave so from now on."""
    # Packages that we need ask for POSIX themselves, so it goes once they are here.
    import select  # noqa: F401
    import sqlite3  # noqa: F401
    import tempfile  # noqa: F401

    import mutagen  # noqa: F401
    import numpy  # noqa: F401
    import onnxruntime  # noqa: F401
    import pebble  # noqa: F401
    import platformdirs.unix  # noqa: F401
    import rich  # noqa: F401
    import soundfile  # noqa: F401
    import typer  # noqa: F401

    from genrescope.apps import safe_write
    from genrescope.audio.store import disk

    for name in _POSIX_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for owner, names in ((os, _POSIX_OS), (signal, _POSIX_SIGNALS)):
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    sys.modules["msvcrt"] = _Locks()
    safe_write.sys = disk.sys = _Windows("sys")  # type: ignore[assignment]
    os.replace = _renaming(os.replace, over=True)
    os.rename = _renaming(os.rename, over=False)
    os.unlink = os.remove = _removing(os.unlink)


if __name__ == "__main__":
    pretend()
    from genrescope.apps.cli.main import main

    sys.argv[0] = "genrescope"
    main()
