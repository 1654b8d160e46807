"""The journal of a feature store: what is committed, line by line.

Every batch of tracks ends with one line: the files of its part with their checksums, the tracks in
it, and those that could not be read. A line is added when all that it names is on the disk. What no
line names does not count, and is removed by the next run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from genrescope.audio.files import printable
from genrescope.audio.store.disk import replace_file, sync_folder, told, write_all
from genrescope.errors import DataError

__all__ = [
    "Failure",
    "Journal",
    "Part",
    "Row",
    "Seen",
    "quarantine_table",
    "read_line",
    "write_line",
]

JOURNAL = "manifest.jsonl"
QUARANTINE = "quarantine.csv"

_PREFIX = '{"check":"'
_DIGITS = 32  # of the checksum of a line


@dataclass(frozen=True, slots=True)
class Row:
    """A track whose features are in the store.

    Attributes
    ----------
    id : str
        Its name in the store.
    path : str
        The file, absolute.
    size, mtime_ns, ctime_ns : int
        What the system said of the file: while it says the same, the file is not read again.
    sha256 : str
        Of the whole file: what the features belong to.
    sr : int
        Its sampling rate in Hz.
    seconds : float
        Sound that was read.
    mel_frames : int
        Columns of its mel spectrogram that are sound and not filling; 0 without one.
    level_db : float
        Loudest value of the mel power spectrogram, in dB; 0 without one.
    dense_frames : int
        Rows of its MFCC sequence that are sound and not repetition; 0 without one.
    title, artist : str
        From its tags; empty where they do not say.
    genres : tuple of str
        From its tags.
    """

    id: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str
    sr: int
    seconds: float
    mel_frames: int
    level_db: float
    dense_frames: int
    title: str
    artist: str
    genres: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A track that is in quarantine.

    Attributes
    ----------
    id, path, size, mtime_ns, ctime_ns
        As in :class:`Row`; the numbers are -1 where there was no file.
    error : str
        Class of the error, such as AudioCorruptError.
    reason : str
        Its message.
    """

    id: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that moved or was touched, and holds what it held; see :class:`Row`."""

    id: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Part:
    """The files of one batch.

    Attributes
    ----------
    number : int
        Place in the journal, from 0.
    files : mapping of str to (int, str)
        Name in the folder ``parts`` to bytes and SHA-256.
    ids : tuple of str
        The tracks of its rows.
    """

    number: int
    files: Mapping[str, tuple[int, str]]
    ids: tuple[str, ...]

    def file(self, name: str) -> str | None:
        """Which of the files holds an array; None if none does."""
        ending = f".{name}.{'parquet' if name == 'descriptors' else 'npy'}"
        return next((file for file in self.files if file.endswith(ending)), None)


@dataclass(eq=False)
class Journal:
    """All that is committed.

    Attributes
    ----------
    folder : Path
        The store.
    parts : list of Part
    rows : dict of str to Row
        Tracks in the store, by id.
    places : dict of str to (int, int)
        Number of the part, and row in it, where each track is; earlier rows of a file that was
        replaced are in no track's place any more.
    failures : dict of str to Failure
        Tracks in quarantine, by id.
    torn : int
        Bytes at the end that were not committed.
    """

    folder: Path
    parts: list[Part] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    torn: int = 0
    _size: int = 0

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """Read what is committed, while someone may be writing more.

        Raises
        ------
        DataError
            If a line other than the last is damaged.
        """
        journal = cls(folder)
        path = folder / JOURNAL
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return journal
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        lines = data.splitlines(keepends=True)
        for number, line in enumerate(lines):
            entry = read_line(line)
            if entry is None:
                if number + 1 < len(lines):
                    raise DataError(
                        f"{path}: line {number + 1} is damaged, and {len(lines) - number - 1} "
                        "follow it; copy the store again, or extract into another --out"
                    )
                journal.torn = len(line)
                break
            journal._size += len(line)
            journal._apply(entry)
        return journal

    def cut(self) -> None:
        """Remove what was not committed from the end; only who has the lock may."""
        if self.torn:
            path = self.folder / JOURNAL
            with told(path):
                os.truncate(path, self._size)
            self.torn = 0

    def commit(
        self,
        *,
        files: Mapping[str, tuple[int, str]],
        rows: Iterable[Row],
        failures: Iterable[Failure] = (),
        seen: Iterable[Seen] = (),
    ) -> None:
        """Add a line; the files that it names must be on the disk.

        Raises
        ------
        DiskSpaceError, DataError
            If it cannot be written; the journal is then as it was.
        """
        line = write_line(len(self.parts), files=files, rows=rows, failures=failures, seen=seen)
        path = self.folder / JOURNAL
        with told(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            fd = os.open(path, flags, 0o666)
            try:
                if not self._size:
                    sync_folder(self.folder)
                write_all(fd, line)
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, self._size)
                raise
            finally:
                os.close(fd)
        self.add(line)
        self._size += len(line)

    @property
    def settled(self) -> bool:
        """Whether the file on the disk ends where this one knows that it ends."""
        path = self.folder / JOURNAL
        return (path.stat().st_size if path.exists() else 0) == self._size

    def write_quarantine(self) -> None:
        """Bring the table of what could not be read up to date, for people."""
        data = quarantine_table(self.failures)
        path = self.folder / QUARANTINE
        if not path.exists() or path.read_bytes() != data:
            replace_file(path, data)

    def add(self, line: bytes) -> None:
        """Take over what a line says, which is committed elsewhere.

        Raises
        ------
        DataError
            If it is damaged.
        """
        entry = read_line(line)
        if entry is None:
            raise DataError(f"{self.folder}: a line of its manifest is damaged; copy it again")
        self._apply(entry)

    def _apply(self, entry: Mapping[str, Any]) -> None:
        rows = [Row(**{**cells, "genres": tuple(cells["genres"])}) for cells in _cells(entry, Row)]
        files = {name: (int(n), str(digest)) for name, (n, digest) in entry["files"].items()}
        number = len(self.parts)
        self.parts.append(Part(number, files, tuple(row.id for row in rows)))
        for at, row in enumerate(rows):
            self.rows[row.id] = row
            self.places[row.id] = (number, at)
            self.failures.pop(row.id, None)
        for cells in _cells(entry, Failure):
            failure = Failure(**cells)
            # What the file held before it was damaged is not what it holds.
            self.rows.pop(failure.id, None)
            self.places.pop(failure.id, None)
            self.failures[failure.id] = failure
        for cells in _cells(entry, Seen):
            if cells["id"] in self.rows:
                self.rows[cells["id"]] = replace(self.rows[cells["id"]], **cells)


def write_line(
    part: int | str,
    *,
    files: Mapping[str, tuple[int, str]],
    rows: Iterable[Row],
    failures: Iterable[Failure] = (),
    seen: Iterable[Seen] = (),
) -> bytes:
    """What a batch commits, as a line with its own checksum."""
    entry = {
        "part": part,
        "files": {name: list(about) for name, about in files.items()},
        "rows": _columns(Row, rows),
        "failures": _columns(Failure, failures),
        "seen": _columns(Seen, seen),
    }
    body = json.dumps(entry, separators=(",", ":"), allow_nan=False)
    return f'{_PREFIX}{_sum(body)}",{body[1:]}\n'.encode("ascii")


def quarantine_table(failures: Mapping[str, Failure]) -> bytes:
    """What could not be read and why, as CSV for people."""
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(("id", "path", "error", "reason"))
    for id_ in sorted(failures):
        one = failures[id_]
        table.writerow([printable(cell) for cell in (one.id, one.path, one.error, one.reason)])
    return out.getvalue().encode()


_KEYS = {Row: "rows", Failure: "failures", Seen: "seen"}


def _columns(kind: type[Any], items: Iterable[Any]) -> dict[str, list[Any]]:
    listed = list(items)
    if not listed:
        return {}
    return {f.name: [getattr(item, f.name) for item in listed] for f in fields(kind)}


def _cells(entry: Mapping[str, Any], kind: type[Any]) -> Iterable[dict[str, Any]]:
    columns = entry[_KEYS[kind]]
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:_DIGITS]


def read_line(line: bytes) -> dict[str, Any] | None:
    """What :func:`write_line` wrote; None if it is not whole."""
    start = len(_PREFIX) + _DIGITS + 2
    try:
        text = line.decode("ascii")
        body = "{" + text[start:-1]
        if not text.startswith(_PREFIX) or not text.endswith("\n"):
            return None
        if text[len(_PREFIX) : len(_PREFIX) + _DIGITS] != _sum(body):
            return None
        entry = json.loads(body)
        return entry if isinstance(entry, dict) else None
    except ValueError:
        return None
