"""A feature store that many machines fill at once, at any URL, in partitions.

The hash of a track's id says which partition it is in, for good. A partition is a store in itself,
and all of them read as one::

    store.json                                        as of any store, and the number of partitions
    runs/000001-8d1f.json                             who filled it
    partition=7/catalogue.json                        what the source says of its tracks
    partition=7/manifest/000001-000004-8d1f.line      what one batch committed
    partition=7/manifest/000001-000003-8d1f.lines     lines of earlier batches, put together
    partition=7/parts/000001-000004-8d1f.c2a9.mel.npy the rows of that batch
    partition=7/quarantine.csv                        tracks that could not be read, and why
    partition=7/begun/000001-000004-8d1f-3.91b0       who reads a track that workers died with

Nothing is ever changed in place, and no lock is needed between those who write: the worker that did
a batch writes its parts under names of its own, and then one line under the name of the batch, in
one piece. Whoever does the batch again, since nobody heard of the first, replaces that line by one
that says the same. Parts that no line names do not count.

A name tells the order: the number of the run, of the batch in it, and four letters drawn for the
run. Where a track is in two lines, the later one counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrescope.audio.store.journal import (
    QUARANTINE,
    Journal,
    Part,
    quarantine_table,
    read_line,
)
from genrescope.audio.store.parts import PARTS
from genrescope.audio.store.place import Place
from genrescope.audio.store.sources import CATALOGUE, Catalogue
from genrescope.errors import DataError

__all__ = ["Partition", "partition_of", "partitions_for", "read_all", "read_catalogues"]

TRACKS_EACH = 10_000  # of a partition, for which a new store is laid out
MOST = 16_384  # partitions
MANIFEST = "manifest"
BEGUN = "begun"
RUNS = "runs"

_LINE, _LINES = ".line", ".lines"
_LOOKS = 5  # at a manifest that others put together meanwhile
_GROWTH = 2  # a file of lines joins those before it unless it is so many times as large


def partition_of(id_: str, partitions: int) -> int:
    """The partition of a track.

    >>> partition_of("000/000002.mp3", 16)
    5
    """
    digest = hashlib.blake2b(id_.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def partitions_for(tracks: int) -> int:
    """Partitions of a new store that is to hold so many tracks: a power of two.

    >>> partitions_for(8_000), partitions_for(1_000_000), partitions_for(100_000_000)
    (1, 128, 16384)
    """
    wanted = max(1, -(-tracks // TRACKS_EACH))
    return min(MOST, 1 << (wanted - 1).bit_length())


def shares(ids: Sequence[str], partitions: int) -> dict[int, list[int]]:
    """Positions of ids by partition, in the order of the partitions."""
    found: dict[int, list[int]] = {}
    for at, id_ in enumerate(ids):
        found.setdefault(partition_of(id_, partitions), []).append(at)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Partition:
    """One share of a store.

    Attributes
    ----------
    store : Place
    number : int
    """

    store: Place
    number: int

    @property
    def folder(self) -> str:
        """Its name in the store; pyarrow and Spark read the number from it."""
        return f"partition={self.number}"

    # --- what is committed -------------------------------------------------

    def lines(self) -> dict[str, bytes]:
        """Committed lines by the name of their batch, in order.

        Raises
        ------
        DataError
            If one cannot be read, or is damaged.
        """
        for _ in range(_LOOKS):
            try:
                return self._lines(self._manifest())
            except FileNotFoundError:  # put together with others since it was listed
                continue
        raise DataError(
            f"{self.store}/{self.folder}: its manifest changes all the time; wait until those who "
            "write to the store are done"
        )

    def _manifest(self) -> dict[str, int]:
        files = self.store.names(f"{self.folder}/{MANIFEST}")
        return {name: size for name, size in files.items() if name.endswith((_LINE, _LINES))}

    def _lines(self, names: Iterable[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        # A line that is alone was written after those that were put together.
        for name in sorted(names, key=lambda name: (name.endswith(_LINE), name)):
            path = f"{self.folder}/{MANIFEST}/{name}"
            for line in self.store.read(path).splitlines(keepends=True):
                entry = read_line(line)
                if entry is None:
                    raise DataError(f"{self.store}/{path}: damaged; copy the store again")
                found[str(entry["part"])] = line
        return dict(sorted(found.items()))

    def journal(self) -> Journal:
        """All that is committed here."""
        return journal_of(self.lines(), self.folder)

    def line(self, key: str) -> bytes | None:
        """What a batch has committed, if nobody put it together with others yet."""
        try:
            return self.store.read(f"{self.folder}/{MANIFEST}/{key}{_LINE}")
        except FileNotFoundError:
            return None

    def commit(self, key: str, line: bytes) -> None:
        """Make a batch count; its parts must be there."""
        self.store.write(f"{self.folder}/{MANIFEST}/{key}{_LINE}", line)

    # --- what was begun ----------------------------------------------------

    def begun_by(self, who: str, key: str) -> str:
        """The file that says that a process began with the one track of a batch."""
        return f"{self.folder}/{BEGUN}/{key}.{who}"

    def begun(self, key: str) -> int:
        """How many processes did."""
        return len(self._begun(key))

    def forget(self, key: str) -> None:
        """Remove what says so, once the batch is committed."""
        self.store.remove([f"{self.folder}/{BEGUN}/{name}" for name in self._begun(key)])

    def _begun(self, key: str) -> list[str]:
        return [n for n in self.store.names(f"{self.folder}/{BEGUN}") if n.startswith(f"{key}.")]

    # --- putting in order --------------------------------------------------

    def put_together(self) -> None:
        """Make few files of many lines; who reads meanwhile finds the one or the other.

        Small files join, and larger ones as soon as those that joined are half as large: so n
        batches leave about log n files, and a line is copied about log n times.
        """
        files = self._manifest()
        joined = [name for name in files if name.endswith(_LINE)]
        total = sum(files[name] for name in joined)
        for name in sorted((n for n in files if n.endswith(_LINES)), key=lambda n: files[n]):
            if files[name] > _GROWTH * total:
                break
            joined.append(name)
            total += files[name]
        if len(joined) < 2:
            return
        try:
            lines = self._lines(joined)
        except FileNotFoundError:  # someone else does the same
            return
        data = b"".join(lines.values())
        # Named by what is in it, so that two who do the same write the same.
        name = f"{max(lines)}.{hashlib.sha256(data).hexdigest()[:8]}{_LINES}"
        self.store.write(f"{self.folder}/{MANIFEST}/{name}", data)
        self.store.remove(
            [f"{self.folder}/{MANIFEST}/{old}" for old in joined if old != name],
        )

    def strays(self) -> list[str]:
        """Parts that no line names: of batches in work, done twice, or killed."""
        # Listed before the lines are read that may name them.
        files = self.store.names(f"{self.folder}/{PARTS}")
        halves = self.store.names(f"{self.folder}/{MANIFEST}")
        named = {name for part in self.journal().parts for name in part.files}
        found = [f"{self.folder}/{PARTS}/{name}" for name in files if name not in named]
        found += [f"{self.folder}/{BEGUN}/{n}" for n in self.store.names(f"{self.folder}/{BEGUN}")]
        return found + [f"{self.folder}/{MANIFEST}/{n}" for n in halves if n.endswith(".part")]

    # --- what people read --------------------------------------------------

    def catalogue(self) -> Catalogue | None:
        """What the source says of its tracks; None before the first run."""
        path = f"{self.folder}/{CATALOGUE}"
        try:
            return Catalogue.from_json(self.store.read(path))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.store}/{path}: cannot be read ({error}); `genrescope features extract` "
                "with the same source makes it again once this file is removed"
            ) from error

    def keep_catalogue(self, new: Catalogue) -> None:
        """Add what a source says to it."""
        before = self.catalogue()
        data = (new if before is None else before.merged(new)).to_json()
        if before is None or data != before.to_json():
            self.store.write(f"{self.folder}/{CATALOGUE}", data)

    def write_quarantine(self, journal: Journal) -> None:
        """Bring the table of what could not be read up to date."""
        path = f"{self.folder}/{QUARANTINE}"
        data = quarantine_table(journal.failures)
        before: bytes | None
        try:
            before = self.store.read(path)
        except FileNotFoundError:
            before = None if journal.failures else data
        if before != data:
            self.store.write(path, data)


def journal_of(lines: Mapping[str, bytes], folder: str) -> Journal:
    """What lines say together."""
    journal = Journal(Path(folder))
    for line in lines.values():
        journal.add(line)
    return journal


def read_all(store: Place, partitions: int, *, only: Iterable[int] | None = None) -> Journal:
    """What is committed in all partitions, as if it were one store.

    The names of files are those below the store: ``partition=7/parts/...``.
    """
    whole = Journal(Path(store.url))
    for number in range(partitions) if only is None else only:
        partition = Partition(store, number)
        part = partition.journal()
        first = len(whole.parts)
        for one in part.parts:
            files = {f"{partition.folder}/{PARTS}/{name}": f for name, f in one.files.items()}
            whole.parts.append(Part(first + one.number, files, one.ids))
        whole.rows |= part.rows
        whole.failures |= part.failures
        whole.places |= {id_: (first + n, at) for id_, (n, at) in part.places.items()}
    return whole


def read_catalogues(store: Place, partitions: int) -> Catalogue | None:
    """What the source says of the tracks of all partitions."""
    found: Catalogue | None = None
    parts = (Partition(store, number).catalogue() for number in range(partitions))
    known = [part for part in parts if part is not None]
    if known:
        columns = list(dict.fromkeys(name for part in known for name in part.columns))
        found = Catalogue(
            tuple(id_ for part in known for id_ in part.ids),
            tuple(path for part in known for path in part.paths),
            {
                name: [
                    cell for part in known for cell in part.columns.get(name, [None] * len(part))
                ]
                for name in columns
            },
            known[0].kind,
            any(part.simulated for part in known),
        )
    return found


def describe(place: Place) -> dict[str, Any]:
    """What the store says of itself, as plain values.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    return dict(json.loads(place.read("store.json")))
