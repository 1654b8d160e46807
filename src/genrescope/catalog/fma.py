"""The Free Music Archive: its archives, fetched and checked, and its tables.

Defferrard, Benzi, Vandergheynst, Bresson: FMA: A Dataset For Music Analysis, ISMIR 2017. The
metadata is CC BY 4.0; each track has the licence that its artist chose.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from genrescope.catalog.download import Expected, download
from genrescope.catalog.fma_load import (
    KNOWN_BAD,
    FeatureTable,
    FmaInfo,
    audio_path,
    describe,
    load_echonest,
    load_features,
    load_genres,
    load_tracks,
)
from genrescope.catalog.fma_prepare import Prepared, find_prepared, is_simulated, prepare
from genrescope.catalog.storage import Report, check_sha1
from genrescope.catalog.unzip import Limits, Unpacked, unzip
from genrescope.errors import DataError

__all__ = [
    "ARCHIVES",
    "KNOWN_BAD",
    "Archive",
    "FeatureTable",
    "Fetched",
    "FmaInfo",
    "Prepared",
    "audio_path",
    "describe",
    "fetch",
    "find_prepared",
    "is_simulated",
    "load_echonest",
    "load_features",
    "load_genres",
    "load_tracks",
    "prepare",
]

_BASE = "https://os.unil.cloud.switch.ch/fma/"
_GIB = 1 << 30
_STAMP = ".genrescope-fetch.json"
_QUARANTINE = "quarantine.csv"
_KEEP = ("both", "folder", "archive")
_GROWTH_LIMIT = 2.0  # times the expected size unpacked, above which it is not the archive


@dataclass(frozen=True)
class Archive:
    """One of FMA's zip files.

    Attributes
    ----------
    name : str
        metadata, small, medium, large or full.
    sha1 : str
        As published with the dataset.
    size : int
        Bytes, about.
    growth : float
        Size unpacked by size packed, about.
    holds : str
        What is in it.
    """

    name: str
    sha1: str
    size: int
    growth: float
    holds: str

    @property
    def folder(self) -> str:
        """The folder that all members are in."""
        return f"fma_{self.name}"

    @property
    def file(self) -> str:
        """Its file name."""
        return f"{self.folder}.zip"

    @property
    def url(self) -> str:
        """Its official address."""
        return _BASE + self.file


ARCHIVES: Mapping[str, Archive] = MappingProxyType(
    {
        archive.name: archive
        for archive in (
            Archive(
                "metadata",
                "f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
                342 << 20,
                4.5,
                "tables of all 106,574 tracks",
            ),
            Archive(
                "small",
                "ade154f733639d52e35e32f5593efe5be76c6d70",
                int(7.2 * _GIB),
                1.05,
                "8,000 clips of 30 s, 8 balanced genres",
            ),
            Archive(
                "medium",
                "c67b69ea232021025fca9231fc1c7c1a063ab50b",
                22 * _GIB,
                1.05,
                "25,000 clips of 30 s, 16 unbalanced genres",
            ),
            Archive(
                "large",
                "497109f4dd721066b5ce5e5f250ec604dc78939e",
                93 * _GIB,
                1.05,
                "106,574 clips of 30 s, 161 genres",
            ),
            Archive(
                "full",
                "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab",
                879 * _GIB,
                1.05,
                "106,574 whole tracks, 161 genres",
            ),
        )
    }
)
"""FMA's archives by name."""


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch` left.

    Attributes
    ----------
    archive : Path
        The zip file (it may have been removed).
    folder : Path or None
        What was unpacked; None if nothing was.
    unpacked : Unpacked or None
        How unpacking went; None if there was nothing to do.
    quarantine : Path or None
        The table of members that could not be unpacked, with reasons, if there are any.
    failed : int
        How many those are.
    """

    archive: Path
    folder: Path | None = None
    unpacked: Unpacked | None = None
    quarantine: Path | None = None
    failed: int = 0


def fetch(
    name: str,
    *,
    to: str | PathLike[str],
    source: str | PathLike[str] | None = None,
    sha1: str | None = None,
    keep: Literal["both", "folder", "archive"] = "both",
    report: Report | None = None,
) -> Fetched:
    """Fetch, check and unpack one of FMA's archives.

    It can be stopped at any moment: the next call goes on where this one was, in the download
    and in unpacking. What is there already is not fetched or unpacked again.

    Parameters
    ----------
    name : str
        One of :data:`ARCHIVES`.
    to : path
        The folder that the archive and its own folder (``fma_small``) go into.
    source : str or path, optional
        Where it comes from; default its official address. A web address is a mirror: of the file,
        or, with ``/`` at its end, of the folder it is in. A path is an archive that is there
        already; nothing is downloaded then.
    sha1 : str, optional
        Expected SHA-1 of an archive other than the official one.
    keep : {"both", "folder", "archive"}
        What is there in the end. With "folder", the archive is removed once it is unpacked (never
        one that was there already); with "archive", it is not unpacked.
    report : callable, optional
        See :data:`genrescope.catalog.storage.Report`.

    Returns
    -------
    Fetched
        Members that are damaged inside the archive are in its quarantine.

    Raises
    ------
    DataError
        If there is no archive of that name, it cannot be unpacked safely, or `keep` is none of
        these.
    ChecksumError, DownloadError, DiskSpaceError
        See :func:`genrescope.catalog.download.download`.
    """
    if name not in ARCHIVES:
        raise DataError(f"{name!r} is none of FMA's archives, {', '.join(ARCHIVES)}")
    official = ARCHIVES[name]
    expected = (sha1 or official.sha1).lower()
    if len(expected) != 40 or set(expected) - set("0123456789abcdef"):
        raise DataError(f"{sha1!r} is no SHA-1; it has 40 digits from 0-9 and a-f")
    if keep not in _KEEP:
        raise DataError(f"keep is {keep!r}; give one of {', '.join(_KEEP)}")
    target = Path(to)
    folder = target / official.folder
    mirror = isinstance(source, str) and "://" in source
    here = None if source is None or mirror else Path(source)
    archive = target / official.file if here is None else here
    unpack = keep != "archive"
    if unpack and (done := _done(archive, folder, expected)):
        return done
    if here is None:
        address = str(source) if mirror else official.url
        download(
            address + official.file if address.endswith("/") else address,
            to=archive,
            expected=Expected(
                sha1=expected,
                max_bytes=int(1.2 * official.size),
                room_for=lambda size: int(official.growth * size) if unpack else 0,
            ),
            again=f"Run `genrescope fma fetch {name}` again",
            report=report,
        )
    else:
        if not archive.is_file():
            raise DataError(f"{archive}: no such file; give the path of {official.file}")
        check_sha1(archive, expected=expected, report=report)
    if not unpack:
        return Fetched(archive)
    unpacked = unzip(
        archive,
        to=target,
        inside=official.folder,
        limits=Limits(max_bytes=int(_GROWTH_LIMIT * official.growth * official.size)),
        report=report,
    )
    _note(folder, expected, unpacked)
    if keep == "folder" and here is None:
        archive.unlink()
    return _fetched(archive, folder, unpacked)


def _fetched(archive: Path, folder: Path, unpacked: Unpacked | None, failed: int = 0) -> Fetched:
    failed = len(unpacked.failed) if unpacked else failed
    quarantine = folder / _QUARANTINE if failed else None
    return Fetched(archive, folder, unpacked, quarantine, failed)


def _done(archive: Path, folder: Path, expected: str) -> Fetched | None:
    """The result of an earlier call that unpacked all of this archive."""
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        if stamp["sha1"] != expected:
            return None
        return _fetched(archive, folder, None, int(stamp["failed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(folder: Path, sha1: str, unpacked: Unpacked) -> None:
    """Say that all is unpacked, after what could not be."""
    try:
        table = folder / _QUARANTINE
        if unpacked.failed:
            folder.mkdir(exist_ok=True)
            fresh = table.with_name(f".{table.name}.part")
            with fresh.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("member", "reason"), *unpacked.failed])
            os.replace(fresh, table)
        else:
            table.unlink(missing_ok=True)
        files = unpacked.written + unpacked.kept
        stamp = {"sha1": sha1, "files": files, "failed": len(unpacked.failed)}
        (folder / _STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error
