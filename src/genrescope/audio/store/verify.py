"""Checking a feature store: that what was written is there, whole, and what the files give."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.files import printable
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.disk import sha256_of
from genrescope.audio.store.extract import Extracted, Job, extract_file, look
from genrescope.audio.store.journal import Part
from genrescope.audio.store.partitions import Partition
from genrescope.audio.store.write import strays
from genrescope.audio.workers import map_isolated
from genrescope.catalog.fma_tables import import_pyarrow
from genrescope.errors import DataError, GenrescopeError

__all__ = ["Verdict", "verify"]

_TOLERANCE = 1e-3  # of descriptors, relative to the column's size, between versions of libraries
_STEPS = {"mel": 1, "frames": 2, "mfcc": 0.25}  # of stored values, between versions of libraries
_FROM = 20  # tracks, from which a constant column is odd

Report = Callable[[int, int], None]
"""Told how much is done, and how much there is to do."""


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes
    ----------
    problems : tuple of str
        What is wrong; the store is whole if there are none.
    notes : tuple of str
        What is worth knowing.
    tracks, quarantined, files, bytes : int
        What was looked at.
    recomputed, identical : int
        Tracks that were extracted again, and those of them with the same bytes.
    """

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tracks: int = 0
    quarantined: int = 0
    files: int = 0
    bytes: int = 0
    recomputed: int = 0
    identical: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(eq=False)
class _Check:
    store: FeatureStore
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    low: npt.NDArray[np.float32] | None = None  # of each descriptor
    high: npt.NDArray[np.float32] | None = None


def verify(
    path: str | PathLike[str],
    *,
    recompute: int = 0,
    seed: int = 0,
    workers: int | None = None,
    report: Report | None = None,
) -> Verdict:
    """Check all of a store.

    Every file against its checksum, its rows against the journal, ids once each and none both in
    the store and in quarantine, no NaN and no image of one value, nothing that should be there
    missing. Files of a run that was killed are noted; the next run removes them.

    Parameters
    ----------
    path : path
        The store.
    recompute : int >= 0
        So many tracks, drawn at random, are extracted again and compared.
    seed : int
        Of the drawing.
    workers : int >= 0, optional
        For that, as in :func:`genrescope.audio.workers.map_isolated`.
    report : callable, optional
        Told how many parts and tracks are done, and how many there are.

    Returns
    -------
    Verdict

    Raises
    ------
    DataError
        If there is no store, or it is too damaged to be read at all.
    """
    store = FeatureStore.open(path)
    check = _Check(store)
    parts = store.journal.parts
    again = _drawn(store, recompute, seed)
    total = len(parts) + len(again)
    for done, part in enumerate(parts, start=1):
        check.problems += _part(check, part)
        if report is not None:
            report(done, total)
    _tracks(check)
    _columns(check)
    identical = 0
    for done, (row, result) in enumerate(_again(store, again, workers), start=1):
        identical += _compare(check, row, result)
        if report is not None:
            report(len(parts) + done, total)
    files = [file for part in parts for file in part.files.values()]
    return Verdict(
        problems=tuple(check.problems),
        notes=tuple(check.notes),
        tracks=len(store),
        quarantined=len(store.quarantine),
        files=len(files),
        bytes=sum(size for size, _ in files),
        recomputed=len(again),
        identical=identical,
    )


def _part(check: _Check, part: Part) -> Iterator[str]:
    """What is wrong with the files of a part."""
    store = check.store
    names = [*store.recipe.arrays, *(["descriptors"] if "descriptors" in store.recipe.what else [])]
    expected = {part.file(name) for name in names} if part.ids else set()
    if None in expected or set(part.files) != expected:
        yield f"part {part.number}: the manifest names {', '.join(sorted(part.files)) or 'nothing'}"
        return
    damaged = False
    for name in names if part.ids else ():
        file = store.file(part.number, name)
        problem = _file(store, file, *part.files[part.file(name) or ""])
        damaged |= problem is not None
        if problem is not None:
            yield problem
    if damaged or not part.ids:
        return
    places = store.journal.places
    live = [at for at, id_ in enumerate(part.ids) if places.get(id_) == (part.number, at)]
    for name, (shape, dtype) in store.recipe.arrays.items():
        path = PurePosixPath(store.file(part.number, name))
        cells = _load(store, str(path))
        if cells.shape != (len(part.ids), *shape) or cells.dtype != dtype:
            yield (
                f"{path.name}: {cells.dtype} {cells.shape}, expected {dtype} "
                f"{(len(part.ids), *shape)}"
            )
            continue
        for at in live:
            row = np.asarray(cells[at])
            who = printable(part.ids[at])
            if dtype.kind == "f" and not np.isfinite(row).all():
                yield f"{path.name}: {who} has NaN or infinite values"
            elif row.min() == row.max():
                yield f"{path.name}: all values of {who} are {row.flat[0]}"
    if "descriptors" in store.recipe.what:
        yield from _descriptors(check, part)


def _file(store: FeatureStore, file: str, size: int, digest: str) -> str | None:
    name = PurePosixPath(file).name
    try:
        if store.place.local is not None:
            path = store.place.local / file
            found, is_ = path.stat().st_size, ""
            if found == size:
                is_ = sha256_of(path)
        else:
            data = store.place.read(file)
            found, is_ = len(data), hashlib.sha256(data).hexdigest()
        if found != size:
            return f"{name}: has {found} bytes, expected {size}"
        if is_ != digest:
            return f"{name}: SHA-256 is {is_[:16]}..., expected {digest[:16]}..."
    except OSError as error:
        return f"{name}: {error.strerror or 'No such file or directory'}"
    return None


def _load(store: FeatureStore, file: str) -> npt.NDArray[Any]:
    if store.place.local is None:
        data = io.BytesIO(store.place.read(file))
        return np.asarray(np.load(data, allow_pickle=False))
    return np.asarray(np.load(store.place.local / file, mmap_mode="r", allow_pickle=False))


def _descriptors(check: _Check, part: Part) -> Iterator[str]:
    pa = import_pyarrow()
    path = PurePosixPath(check.store.file(part.number, "descriptors"))
    source = pa.BufferReader(check.store.place.read(str(path)))
    table = pa.parquet.ParquetFile(source).read(use_threads=False)
    if tuple(table.column_names) != ("id", *DESCRIPTOR_NAMES):
        yield f"{path.name}: its columns are not id and the 518 descriptors"
        return
    if table["id"].to_pylist() != [printable(id_) for id_ in part.ids]:
        yield f"{path.name}: its ids are not those of the manifest"
        return
    values = np.stack([table[name].to_numpy() for name in DESCRIPTOR_NAMES], axis=1)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    for at in wrong.tolist():
        yield f"{path.name}: {printable(part.ids[at])} has NaN or infinite values"
    if not len(wrong):
        low, high = values.min(axis=0), values.max(axis=0)
        check.low = low if check.low is None else np.minimum(check.low, low)
        check.high = high if check.high is None else np.maximum(check.high, high)


def _tracks(check: _Check) -> None:
    """Ids, the quarantine, and what is not there."""
    store, journal = check.store, check.store.journal
    both = sorted(set(journal.rows) & set(journal.failures))
    check.problems += [f"{printable(id_)} is in the store and in quarantine" for id_ in both]
    twice = [
        (part.number, id_)
        for part in journal.parts
        for id_, count in Counter(part.ids).items()
        if count > 1
    ]
    check.problems += [f"part {number}: {printable(id_)} is there twice" for number, id_ in twice]
    known = set(journal.rows) | set(journal.failures)
    catalogue = store.catalogue
    lost = known - set(catalogue.ids)
    if lost:
        check.problems.append(
            f"{len(lost)} tracks are not in catalogue.json, such as {printable(sorted(lost)[0])}"
        )
    if left := sum(id_ not in known for id_ in catalogue.ids):
        check.notes.append(
            f"{left} of {len(catalogue)} tracks are not extracted yet; the same "
            "`genrescope features extract` goes on with them"
        )
    if dead := sum(len(part.ids) for part in journal.parts) - len(journal.rows):
        check.notes.append(
            f"{dead} rows of files that were replaced or damaged since are not read any more"
        )
    changed = gone = 0
    for row in store.rows:
        now = look(row.path)
        gone += now is None
        changed += now is not None and now != (row.size, row.mtime_ns, row.ctime_ns)
    if gone:
        check.notes.append(f"the files of {gone} tracks are gone; their features stay")
    if changed:
        check.notes.append(
            f"the files of {changed} tracks were touched or replaced since; `genrescope features "
            "extract` looks into them"
        )
    if found := _strays(store):
        check.notes.append(
            f"{len(found)} files belong to a batch that is not committed: it is in work, or was "
            "killed, and the next run removes them"
        )
    if journal.torn:
        check.notes.append(
            f"the manifest ends with {journal.torn} bytes that are not committed; the next run "
            "removes them"
        )


def _strays(store: FeatureStore) -> list[str]:
    """Files that nobody counts."""
    if not store.partitions:
        return [str(path) for path in strays(store.path, store.journal)]
    shares = (Partition(store.place, number) for number in range(store.partitions))
    return [file for share in shares for file in share.strays()]


def _columns(check: _Check) -> None:
    """Descriptors that are the same for all tracks."""
    if check.low is None or check.high is None or len(check.store) < _FROM:
        return
    still = np.flatnonzero(check.low == check.high)
    if len(still):
        names = ", ".join(DESCRIPTOR_NAMES[at] for at in still[:3].tolist())
        check.notes.append(f"{len(still)} descriptors are the same for all tracks, such as {names}")


# --- once more -----------------------------------------------------------------


def _drawn(store: FeatureStore, count: int, seed: int) -> list[int]:
    count = min(count, len(store))
    if count < 1:
        return []
    return sorted(np.random.default_rng(seed).choice(len(store), count, replace=False).tolist())


def _again(
    store: FeatureStore, rows: list[int], workers: int | None
) -> Iterator[tuple[int, Extracted | GenrescopeError]]:
    jobs = [Job(store.rows[i].id, store.rows[i].path) for i in rows]
    work = partial(extract_file, recipe=store.recipe)
    with closing(map_isolated(work, jobs, workers=workers)) as results:
        for i, (_, result) in zip(rows, results, strict=True):
            yield i, result


def _compare(check: _Check, i: int, result: Extracted | GenrescopeError) -> bool:
    """Whether the same bytes came out once more; what differs by too much is a problem."""
    store, row = check.store, check.store.rows[i]
    who = printable(row.id)
    if isinstance(result, GenrescopeError):
        check.problems.append(f"{who}: was readable, and is not: {result}")
        return False
    if result.sha256 != row.sha256:
        check.notes.append(f"{who}: its file was replaced since, so it was not compared")
        return False
    same = True
    try:
        stored = {name: store._rows_of(_kind(name), name, [i])[0] for name in store.recipe.arrays}
        if result.descriptors is not None:
            stored["descriptors"] = store.descriptors([i]).values[0]
    except DataError as error:
        check.problems.append(f"{who}: {error}")
        return False
    for name, old in stored.items():
        new = result.descriptors if name == "descriptors" else result.arrays[name]
        if new is None or np.array_equal(old, new):
            continue
        same = False
        share, allowed = _distance(name, old, new)
        told = f"{who}: {name} differs by {share:.3g} at most"
        if share > allowed:
            check.problems.append(f"{told}, and {allowed:g} is what other versions may do")
        else:
            check.notes.append(f"{told}, as other versions of a library may do")
    return same


def _kind(name: str) -> str:
    return "frames" if name == "mfcc" else name


def _distance(name: str, old: npt.NDArray[Any], new: npt.NDArray[Any]) -> tuple[float, float]:
    """How far two rows are apart, and how far they may be."""
    apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
    if name == "descriptors":
        size = np.maximum(np.abs(old.astype(np.float64)), 1.0)
        return float((apart / size).max()), _TOLERANCE
    allowed = 0.3 if name == "mel" and old.dtype.kind == "f" else _STEPS[name]
    return float(apart.max()), allowed


def to_json(verdict: Verdict) -> str:
    """A verdict as JSON."""
    return json.dumps({"whole": verdict.whole, **verdict.__dict__}, indent=2)
