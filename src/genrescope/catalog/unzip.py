"""Zip archives, unpacked without trust in what they say about themselves.

Nothing is written outside the target, sizes are limited as declared and as they turn out, and
a member that is damaged costs that member only. Unpacking can be killed and goes on.
"""

from __future__ import annotations

import bz2
import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from genrescope.catalog.storage import Report, human_bytes, require_space
from genrescope.errors import DataError, DiskSpaceError

__all__ = ["Limits", "Unpacked", "unzip"]

_READ = 1 << 16  # compressed bytes at a time
_WRITE = 1 << 20  # unpacked bytes at a time, at most
_SMALL = 1 << 20  # bytes; below, a ratio says nothing
_METHODS = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bzip2",
}
# A name that the file system does not take; anything else is wrong with the disk.
_BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL, errno.EILSEQ})


class _DamagedError(Exception):
    """A member cannot be unpacked."""


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive.

    Attributes
    ----------
    written, kept : int
        Files that were unpacked now, and that were there already, whole.
    failed : tuple of (str, str)
        Members that could not be unpacked, and why.
    """

    written: int
    kept: int
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large an archive may be.

    Attributes
    ----------
    max_bytes : int, optional
        All members together may not be larger, unpacked.
    max_ratio : float
        Nor larger than this many times the archive.
    max_members : int
        Nor may there be more of them.
    """

    max_bytes: int | None = None
    max_ratio: float = 50.0
    max_members: int = 1_000_000


def unzip(
    archive: Path,
    *,
    to: Path,
    inside: str | None = None,
    limits: Limits | None = None,
    report: Report | None = None,
) -> Unpacked:
    """Unpack a zip archive.

    A file appears under its name only when it is whole; files that are there with the right
    size and checksum are kept.

    Parameters
    ----------
    archive : Path
        Members may be stored, deflated or packed with bzip2.
    to : Path
        The folder that everything goes into.
    inside : str, optional
        The one folder that every member must be in.
    limits : Limits, optional
        How large all of it may be.
    report : callable, optional
        See :data:`genrescope.catalog.storage.Report`; the stage is "unpack".

    Returns
    -------
    Unpacked

    Raises
    ------
    DataError
        If the archive is damaged as a whole, or breaks one of these rules; nothing was
        written then. Damaged members are no error: they are listed in the result.
    DiskSpaceError
        If what is missing does not fit on the disk.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{archive}: cannot be read as a zip archive ({error}); it is damaged or cut short, "
            "fetch it again"
        ) from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror or error}") from error
    limits = limits or Limits()
    _check(archive, members, inside, limits.max_members)
    _check_sizes(archive, members, limits)
    files = [m for m in members if not m.is_dir()]
    root = to.absolute()
    missing = sum(m.file_size for m in files if not _has_size(root / m.filename, m.file_size))
    require_space(root, needed=missing, what=f"Unpacking {archive.name}")

    total, done, written, kept = sum(m.file_size for m in files), 0, 0, 0
    failed: list[tuple[str, str]] = []
    safe: set[Path] = set()
    with archive.open("rb") as source:
        for member in files:
            target = root / member.filename
            try:
                _make_folders(root, target.parent, safe)
                if _is_whole(target, member):
                    kept += 1
                else:
                    _write(source, member, target)
                    written += 1
            except _DamagedError as error:
                failed.append((member.filename, str(error)))
            except OSError as error:
                if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                    raise DiskSpaceError(
                        f"{target}: the disk is full; free some space and run the same command "
                        "again to resume"
                    ) from error
                if error.errno not in _BAD_NAME:
                    raise DataError(
                        f"{target}: cannot be written: {error.strerror or error}"
                    ) from error
                failed.append((member.filename, f"cannot be written: {error.strerror}"))
            done += member.file_size
            if report:
                report("unpack", done, total)
    return Unpacked(written, kept, tuple(failed))


def _check(
    archive: Path, members: Sequence[zipfile.ZipInfo], inside: str | None, max_members: int
) -> None:
    def refuse(why: str) -> DataError:
        return DataError(
            f"{archive}: {why}; nothing was unpacked, fetch it from a source you trust"
        )

    if not members:
        raise refuse("has no members")
    if len(members) > max_members:
        raise refuse(f"has {len(members)} members, more than {max_members}")
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        name = member.orig_filename
        parts = name.rstrip("/").split("/")
        if (
            re.search(r"[\x00-\x1f\x7f\\]", name)
            or re.match(r"[A-Za-z]:", name)
            or any(part in ("", ".", "..") for part in parts)
        ):
            raise refuse(f"the member {name!r} would be written outside the folder, or nowhere")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"the member {name!r} is a link or a device; only files are unpacked")
        if inside is not None and parts[0] != inside:
            raise refuse(f"the member {name!r} is not in the folder {inside}/")
        if member.flag_bits & 0x1:
            raise refuse(f"the member {name!r} is encrypted")
        key = "/".join(parts).casefold()  # on some disks, names differ by more than case
        folders.update("/".join(parts[:n]).casefold() for n in range(1, len(parts)))
        if member.is_dir():
            folders.add(key)
        elif key in files:
            raise refuse(f"the member {name!r} is there twice")
        else:
            files.add(key)
    if both := files & folders:
        raise refuse(f"the member {min(both)!r} is a file and a folder")


def _check_sizes(archive: Path, members: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
    def refuse(why: str) -> DataError:
        return DataError(f"{archive}: {why}; this is a zip bomb or not the archive, not unpacked")

    total, packed = sum(m.file_size for m in members), archive.stat().st_size
    if limits.max_bytes is not None and total > limits.max_bytes:
        raise refuse(f"unpacks to {human_bytes(total)}, more than {human_bytes(limits.max_bytes)}")
    # Of all together: one clip of silence may well be a thousandth of its size.
    if total > max(_SMALL, limits.max_ratio * packed):
        raise refuse(
            f"has {human_bytes(packed)} and unpacks to {human_bytes(total)}, more than "
            f"{limits.max_ratio:g} times that"
        )
    # Members that share their packed bytes make small archives huge (Fifield 2019).
    end, before = 0, ""
    for member in sorted(members, key=lambda m: m.header_offset):
        if member.header_offset < end:
            raise refuse(f"the members {before!r} and {member.filename!r} overlap")
        end = member.header_offset + 30 + len(member.orig_filename) + member.compress_size
        before = member.filename


def _make_folders(root: Path, folder: Path, safe: set[Path]) -> None:
    """Make `folder`, one step at a time: a link on the way would lead out of `root`."""
    if folder in safe:
        return
    if folder != root:
        _make_folders(root, folder.parent, safe)
        if folder.is_symlink():
            raise DataError(
                f"{folder} is a link, and files unpacked through it could land anywhere; "
                "unpack into the folder it points to, or remove it"
            )
        folder.mkdir(exist_ok=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
    safe.add(folder)


def _has_size(path: Path, size: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _is_whole(path: Path, member: zipfile.ZipInfo) -> bool:
    if not _has_size(path, member.file_size):
        return False
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_WRITE):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == member.CRC


def _write(source: BinaryIO, member: zipfile.ZipInfo, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)  # of a run that was killed, or a link that someone left
    try:
        size = checksum = 0
        with part.open("xb") as file:
            for chunk in _unpacked(source, member):
                size += len(chunk)
                if size > member.file_size:
                    raise _DamagedError(
                        f"unpacks to more than the {member.file_size} bytes it says"
                    )
                checksum = zlib.crc32(chunk, checksum)
                file.write(chunk)
        if size != member.file_size:
            raise _DamagedError(f"unpacks to {size} bytes, and says {member.file_size}")
        if checksum != member.CRC:
            raise _DamagedError(f"CRC-32 is {checksum:08x}, expected {member.CRC:08x}")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _unpacked(source: BinaryIO, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member in small pieces, however much a piece unpacks to.

    ``zipfile`` bounds deflate only: its bzip2 unpacks whatever was read, whole.
    """
    if member.compress_type not in _METHODS:
        raise _DamagedError(f"is packed by method {member.compress_type}, which is not known here")
    source.seek(member.header_offset)
    header = source.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise _DamagedError("has no header where the list of members says")
    n_name, n_extra = struct.unpack("<HH", header[26:30])
    source.seek(n_name + n_extra, os.SEEK_CUR)
    left = member.compress_size
    if member.compress_type == zipfile.ZIP_STORED:
        while left and (data := source.read(min(_WRITE, left))):
            left -= len(data)
            yield data
        return
    deflate = member.compress_type == zipfile.ZIP_DEFLATED
    unpacker = _Inflater() if deflate else bz2.BZ2Decompressor()
    try:
        while not unpacker.eof:
            data = b""
            if unpacker.needs_input:
                data = source.read(min(_READ, left))
                left -= len(data)
                if not data:
                    raise _DamagedError("ends before its data does")
            yield unpacker.decompress(data, _WRITE)
    except (zlib.error, OSError, ValueError, EOFError) as error:
        raise _DamagedError(f"cannot be unpacked: {error}") from error


class _Inflater:
    """Raw deflate with the interface of ``BZ2Decompressor``."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._tail and not self._full

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inflate.decompress(self._tail + data, max_length)
        self._tail = self._inflate.unconsumed_tail
        # With all input taken, some output may still wait inside.
        self._full = len(out) == max_length
        return out
