"""What the journal of written tags holds: plans, entries, runs, and how they stand in SQLite."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genrescope.apps.safe_write import FileIdentity

__all__ = [
    "COLUMNS", "Entry", "Planned", "RunSummary", "cells_of", "date_of", "entry_of", "place_of",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planned:
    """All that is known of one file before it is replaced.

    Attributes
    ----------
    container : str
        Of the genres, before.
    old, new : tuple of str
        The genres before and after.
    kept : mapping
        What puts the old field back exactly; JSON.
    before, after : FileIdentity
        Of the old file and of the new one.
    digest_before, digest_after : str
        Of all bytes.
    sound : str
        Digest of the sound alone, which no tag changes.
    kept_times : bool
        Whether the modification time was kept.
    undoes : int or None
        The entry that this one takes back.
    """

    container: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    kept: Mapping[str, Any]
    before: FileIdentity
    after: FileIdentity
    digest_before: str
    digest_after: str
    sound: str
    kept_times: bool = False
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that was written.

    Attributes
    ----------
    id, run : int
        Its number, and that of the run that wrote it.
    path : Path
        The file, absolute, links followed.
    when : datetime
        In UTC.
    state : str
        ``planned``, ``written``, ``left`` or ``unclear``; see the module.
    plan : Planned
        Genres, identities and digests, before and after.
    undone_by : int or None
        The entry that took this one back; its own where that was done by other means.
    """

    id: int
    run: int
    path: Path
    when: datetime
    state: str
    plan: Planned
    undone_by: int | None

    @property
    def old(self) -> tuple[str, ...]:
        """The genres before."""
        return self.plan.old

    @property
    def new(self) -> tuple[str, ...]:
        """The genres that were written."""
        return self.plan.new

    @property
    def identity(self) -> FileIdentity:
        """Of the file as it was written."""
        return self.plan.after

    @property
    def in_force(self) -> bool:
        """Whether it was written and not taken back."""
        return self.state in ("written", "unclear") and self.undone_by is None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run.

    Attributes
    ----------
    id : int
        What ``genrescope undo`` is given.
    when : datetime
        In UTC.
    command, bundle : str
        What wrote, and the recogniser that it asked.
    files : int
        That were written.
    undone : int
        Of these, taken back since.
    unclear : int
        Of these, interrupted with an unknown end.
    is_undo : bool
        Whether the run took back others.
    """

    id: int
    when: datetime
    command: str
    bundle: str
    files: int
    undone: int
    unclear: int
    is_undo: bool


COLUMNS = (
    "id, run, path, at, state, container, old, new, kept, before, after, digest_before, "
    "digest_after, sound, kept_times, undoes, undone_by"
)


def entry_of(row: Sequence[Any]) -> Entry:
    """An entry from the cells of `COLUMNS`."""
    return Entry(
        id=row[0],
        run=row[1],
        path=Path(os.fsdecode(row[2])),
        when=date_of(row[3]),
        state=row[4],
        plan=Planned(
            container=row[5],
            old=tuple(json.loads(row[6])),
            new=tuple(json.loads(row[7])),
            kept=json.loads(row[8]),
            before=_identity(row[9]),
            after=_identity(row[10]),
            digest_before=row[11],
            digest_after=row[12],
            sound=row[13],
            kept_times=bool(row[14]),
            undoes=row[15],
        ),
        undone_by=row[16],
    )


def cells_of(plan: Planned) -> dict[str, Any]:
    """The cells of a plan, by column."""
    return {
        "container": plan.container,
        "old": json.dumps(plan.old),
        "new": json.dumps(plan.new),
        "kept": json.dumps(plan.kept),
        "before": json.dumps(_numbers(plan.before)),
        "after": json.dumps(_numbers(plan.after)),
        "place": place_of(plan.after),
        "digest_before": plan.digest_before,
        "digest_after": plan.digest_after,
        "sound": plan.sound,
        "kept_times": plan.kept_times,
        "undoes": plan.undoes,
    }


def _numbers(identity: FileIdentity) -> list[int]:
    return [identity.device, identity.inode, identity.size, identity.mtime_ns]


def _identity(text: str) -> FileIdentity:
    numbers = json.loads(text)
    return FileIdentity(*numbers) if numbers else FileIdentity(0, 0, 0, 0)


def place_of(identity: FileIdentity) -> str:
    """Where the content of a file is, as text: numbers of inodes may be larger than SQLite's."""
    return f"{identity.device}:{identity.inode}"


def date_of(seconds: float) -> datetime:
    """A time in UTC from seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
