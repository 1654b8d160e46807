"""Put a changed file in the place of the old one so that a kill at any moment leaves one of them.

The new file is made beside the old one, under a hidden name, and takes its place by a rename once
all of it is on the disk. What is decided here:

- **Links.** A symbolic link is followed: its target is rewritten, the link stays. A file with
  several hard links is refused, since a rename would part it from its other names, and writing in
  place would change a copy that may be somebody's backup or upload; `split_links` parts it.
- **Write protection.** A file without any permission to write is left alone, for root as well,
  although a rename would get round it. A folder that takes no new file is refused.
- **Somebody else.** The old file is locked (``flock``) from reading to renaming, so that two
  writers of ours take turns, and its identity is compared once more right before the rename. A
  program that does not lock and writes within that last moment is not seen.
- **What is kept.** Mode, owner and group where the system allows it, extended attributes and
  access lists where the file system has them, and on request the modification time.
- **Names.** The hidden name is short and of fixed length, so a long file name is no trouble; a
  path at the limit of the system is refused. Names that are no text are kept as they are.
- **Special files** (devices, pipes, sockets) and folders are refused before they are opened.
- **The disk.** Folders that cannot be synced (some network drives) are not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from genrescope.errors import TagError

__all__ = ["FileIdentity", "Replacement", "remove_leftovers", "temporary_beside", "try_lock"]

_PREFIX, _SUFFIX = ".genrescope-", ".part"
# On Windows nobody else can read what is locked; this is as far out as its C library can lock.
_LOCKED_BYTE = (1 << 31) - 2
_PATIENCE = 60.0  # s to wait for another writer of the same file
_POLL = 0.02  # s
_YOUNG = 60.0  # s; a new file may not be locked yet
_BINARY = getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What the system says of a file: while it says the same, it is the same.

    Attributes
    ----------
    device, inode : int
        Where its content is.
    size : int
        Bytes.
    mtime_ns : int
        When it was changed, in ns since 1970.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileIdentity:
        """From what ``os.stat`` gives."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class Replacement:
    """One file on its way to being replaced; leaving the block without `replace` changes nothing.

    Parameters
    ----------
    path : Path
        The file; a link is followed.
    keep_times : bool
        The new file has the times of the old one.
    split_links : bool
        A file with several hard links is parted from its other names, which keep what they have.

    Attributes
    ----------
    path : Path
        The file itself, absolute, where `path` was a link.
    temporary : Path
        Where the new file is made.
    source : BinaryIO
        The old file, open for reading and locked.
    before : FileIdentity
        Of the old file.

    Raises
    ------
    TagError
        If the file may not or cannot be replaced; it is as it was.
    """

    def __init__(self, path: Path, *, keep_times: bool = False, split_links: bool = False) -> None:
        self._given, self.keep_times, self._split_links = path, keep_times, split_links
        self._part: BinaryIO | None = None
        self._sent = False

    def __enter__(self) -> Replacement:
        with told(self._given, "cannot be opened"):
            self.path = Path(os.path.realpath(self._given, strict=True))
            self.source = self._open()
        try:
            self._check()
            self.before = FileIdentity.of(self._stat)
            self.temporary = temporary_beside(self.path)
        except BaseException:
            self.source.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()
        self.source.close()

    @property
    def replaced(self) -> bool:
        """Whether the new file has taken its place, also where an interrupt came right after."""
        # The rename uses the hidden name up, which says so more surely than a line after it would.
        return self._sent and not os.path.lexists(self.temporary)

    def discard(self) -> None:
        """Remove the new file, unless it has taken its place."""
        if self._part is not None:
            self._part.close()
            if not self.replaced:
                with contextlib.suppress(OSError):
                    self.temporary.unlink(missing_ok=True)

    def create(self) -> BinaryIO:
        """The new file, empty; nobody else may read it yet."""
        with told(self.path, "the folder takes no new file, which safe writing needs"):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY
            fd = os.open(self.temporary, flags, 0o600)
            self._part = os.fdopen(fd, "w+b")
        with contextlib.suppress(OSError):
            try_lock(fd)  # so that nobody takes it for a leftover
        return self._part

    def settle(self) -> FileIdentity:
        """Give the new file what the old one had beside its content, and put it on the disk."""
        part = self._opened()
        with told(self.path, "the new file cannot be completed"):
            part.flush()
            self._copy_metadata(part.fileno())
            os.fsync(part.fileno())
            return FileIdentity.of(os.fstat(part.fileno()))

    def replace(self) -> None:
        """Put the new file in the place of the old one.

        Raises
        ------
        TagError
            If the old one is not what it was when the block was entered, or the system refuses.
        """
        part = self._opened()
        with told(self.path, "cannot be replaced"):
            try:
                now = os.stat(self.path, follow_symlinks=False)
            except FileNotFoundError as error:
                raise TagError(
                    f"{self.path}: was moved or removed while it was being written; nothing "
                    "was changed"
                ) from error
            if _all_of(now) != _all_of(self._stat):
                raise TagError(
                    f"{self.path}: was changed by something else while it was being written; it "
                    "is as the other left it. Try again"
                )
            if sys.platform == "win32":  # open files keep their names there
                part.close()
                self.source.close()
            self._sent = True
            os.replace(self.temporary, self.path)
        sync_folder(self.path.parent)

    def _opened(self) -> BinaryIO:
        if self._part is None:
            raise RuntimeError("create() comes first")
        return self._part

    def _open(self) -> BinaryIO:
        """The file, locked; waits for another writer of ours."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._stat = os.stat(self.path, follow_symlinks=False)
            if not stat.S_ISREG(self._stat.st_mode):
                kind = "a folder" if stat.S_ISDIR(self._stat.st_mode) else "a special file"
                raise TagError(f"{self._given}: is {kind}; tags are written into files")
            fd = os.open(self.path, os.O_RDONLY | _BINARY | _NO_WAIT)
            source = os.fdopen(fd, "rb")
            try:
                locked = try_lock(fd)
            except OSError:
                locked = True  # this file system has no locks; the check before the rename stays
            # Who had the lock has put another file here.
            if locked and _all_of(os.fstat(fd)) == _all_of(os.stat(self.path)):
                self._stat = os.fstat(fd)
                return source
            source.close()
            if time.monotonic() > deadline:
                raise TagError(
                    f"{self._given}: another program has held it for {_PATIENCE:.0f} s; "
                    "try again when that is done"
                )
            if not locked:
                time.sleep(_POLL)

    def _check(self) -> None:
        mode = self._stat.st_mode
        if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            raise TagError(
                f"{self._given}: is write-protected; nothing was changed. To have it tagged: "
                "chmod u+w"
            )
        if not os.access(self.path, os.W_OK):
            raise TagError(f"{self._given}: you may not write to it; nothing was changed")
        if self._stat.st_nlink > 1 and not self._split_links:
            raise TagError(
                f"{self._given}: has {self._stat.st_nlink} hard links, and the others would keep "
                "the old tags; nothing was changed. To part this name from the others: "
                "--split-links"
            )

    def _copy_metadata(self, fd: int) -> None:
        before = self._stat
        if hasattr(os, "fchown"):
            for uid, gid in ((before.st_uid, before.st_gid), (-1, before.st_gid)):
                try:
                    os.fchown(fd, uid, gid)
                    break
                except OSError:  # only root may give files away
                    continue
        if hasattr(os, "listxattr"):
            with contextlib.suppress(OSError):
                for name in os.listxattr(self.source.fileno()):
                    with contextlib.suppress(OSError):
                        os.setxattr(fd, name, os.getxattr(self.source.fileno(), name))
        else:
            with contextlib.suppress(OSError):
                shutil.copystat(self.path, self.temporary)
        if hasattr(os, "fchmod"):
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
        if self.keep_times:
            os.utime(
                fd if os.utime in os.supports_fd else self.temporary,
                ns=(before.st_atime_ns, before.st_mtime_ns),
            )
        elif not hasattr(os, "listxattr"):
            os.utime(self.temporary)


def temporary_beside(path: Path) -> Path:
    """A new hidden name in the folder of `path`."""
    return path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the new files that a killed writer left in a folder; those in use stay.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed: list[Path] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)):
                continue
            path = folder / name
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_ctime < _YOUNG:
                    continue
                with path.open("rb") as file:
                    if not try_lock(file.fileno()):
                        continue
                    path.unlink()
                    removed.append(path)
    return removed


def try_lock(fd: int) -> bool:
    """Lock an open file for one holder; the system frees it when that ends, however it ends.

    Returns
    -------
    bool
        False where another has it.

    Raises
    ------
    OSError
        If this file system cannot lock.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            before = os.lseek(fd, 0, os.SEEK_CUR)
            os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            os.lseek(fd, before, os.SEEK_SET)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    # Some network drives cannot, and a folder may be open to writing but not to reading. After
    # a power cut there, the file may be the old one again: whole, and the journal sees it.
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextlib.contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Turn what the system says of a file into a :class:`~genrescope.errors.TagError`."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        way = ""
        if error.errno in _FULL:
            way = "; free some space"
        elif error.errno == errno.ENAMETOOLONG:
            way = "; a shorter path would do"
        elif error.errno == errno.EROFS:
            way = "; the disk is read-only"
        raise TagError(f"{path}: {what} ({why}){way}. It is as it was") from error


def _all_of(found: os.stat_result) -> tuple[int, ...]:
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
