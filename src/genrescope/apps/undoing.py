"""Take back what was written into files, through the journal."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from genrescope.apps.journal import Entry, Journal, Planned, Run
from genrescope.apps.rewriting import carry_out, listed
from genrescope.apps.safe_write import FileIdentity, Replacement
from genrescope.catalog.genre_tags import Scan
from genrescope.errors import JournalError, TagError

__all__ = ["Undone", "undo", "undo_all"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of taking back one file.

    Attributes
    ----------
    path : Path
        The file.
    state : str
        ``restored``: the old genres are back. ``as before``: they were already.
        ``changed since``: the genres, or the whole file, are not what was written; left alone.
        ``gone``: no such file any more. ``failed``: it cannot be written.
    message : str
        What a person is told.
    old, now : tuple of str
        The genres before it was written, and those in the file when it was looked at.
    """

    path: Path
    state: str
    message: str
    old: tuple[str, ...]
    now: tuple[str, ...]


def undo(
    journal: Journal,
    *,
    run: int | None = None,
    path: Path | None = None,
    last: bool = False,
    force: bool = False,
    split_links: bool = False,
) -> Generator[Undone, None, None]:
    """Bring back the genres that stood in files before they were written.

    What is brought back is the field as it was, to the byte: its spelling, its key, one value
    or several. Whatever else was changed in a file since stays. Taking back is a run in the
    journal like any other.

    Parameters
    ----------
    journal : Journal
        Where the changes are noted.
    run : int, optional
        Take back all of this run; of an undo, that puts the genres in again.
    path : Path, optional
        Take back the last change of this file, or of each file below this folder. A file that was
        moved is known by where its content is.
    last : bool
        Take back the latest run that is not (all) taken back yet. One of whose remaining files
        all are gone, from a disk that is there, is passed over for an earlier one.
    force : bool
        Also where the genres or the file were changed since.
    split_links : bool
        As of :class:`Tagger`.

    Yields
    ------
    Undone
        One for each file, as it is done.

    Raises
    ------
    JournalError
        If there is no such run, or nothing to take back; or the journal cannot be used.
    """
    if (run is not None) + (path is not None) + last != 1:
        raise ValueError("one of run, path and last says what to take back")
    chosen = _chosen(journal, run=run, path=path, last=last)
    writing: Run | None = None
    for entry, at in chosen:
        if writing is None:
            writing = journal.begin(command="genrescope undo", bundle="")
        try:
            yield _undo_one(journal, entry, at, writing, force=force, split_links=split_links)
        except TagError as error:
            yield Undone(at, "failed", str(error), entry.old, ())


def undo_all(
    journal: Journal, path: Path, *, force: bool = False, split_links: bool = False
) -> Generator[Undone, None, None]:
    """Bring back the genres that stood in files before they were written for the first time.

    Each file goes back change by change, the latest first, whatever run made them, what was taken
    back among them. :func:`undo` leaves something where runs were taken back by force in another
    order than they were made; this does not.

    Parameters
    ----------
    journal : Journal
        Where the changes are noted.
    path : Path
        A file, or a folder with all files below it. A file that was moved is known by where its
        content is.
    force, split_links : bool
        As of :func:`undo`.

    Yields
    ------
    Undone
        One for each file, as it is done. One that something else changed in between goes back as
        far as to that, and is "changed since".

    Raises
    ------
    JournalError
        If nothing was ever written there, or the journal cannot be used.
    """
    writing: Run | None = None
    for rows, at in _histories(journal, path):
        first = rows[-1].plan
        result: Undone | None = None
        try:
            if not os.path.lexists(at):
                result = _gone(at, first.old)
            elif _has_field(at, first):
                message = f"{at}: has the genres it had at first"
                result = Undone(at, "as before", message, first.old, first.old)
            else:
                writing = writing or journal.begin(command="genrescope undo --all", bundle="")
                result = _rewind(journal, rows, at, writing, force=force, split_links=split_links)
        except TagError as error:
            result = Undone(at, "failed", str(error), first.old, ())
        if result.state in ("restored", "as before"):
            for row in rows:
                known = journal.entry(row.id)
                if known and known.in_force and known.plan.undoes is None:
                    journal.note_as_before(row.id)
        yield result


def _histories(journal: Journal, path: Path) -> list[tuple[list[Entry], Path]]:
    """All rows of each file, the latest first, with where the file is now."""
    rows_of: dict[Path, list[Entry]] = {}
    for entry in journal.entries(path=path):
        if entry.state != "left":
            rows_of.setdefault(entry.path, []).append(entry)
    if rows_of:
        return [(rows, at) for at, rows in rows_of.items()]
    if path.is_file():
        for entry in journal.entries_at(FileIdentity.of(path.stat())):
            if not entry.path.exists():
                rows = [row for row in journal.entries(path=entry.path) if row.state != "left"]
                return [(rows, path)]
    raise JournalError(
        f"{path}: nothing was ever written there; genrescope undo --list shows what was"
    )


def _has_field(at: Path, first: Planned) -> bool:
    with at.open("rb") as file:
        scan = Scan(file, str(at))
    kept = json.loads(json.dumps(scan.kept))  # as it comes back from the journal
    return scan.field.values == first.old and kept == dict(first.kept)


def _rewind(
    journal: Journal, rows: list[Entry], at: Path, run: Run, *, force: bool, split_links: bool
) -> Undone:
    """Undo row after row, until the file has the field of the first or something is in the way."""
    first, now = rows[-1].plan, rows[0].new
    for row in rows:
        step = _undo_one(journal, row, at, run, force=force, split_links=split_links)
        if row is rows[0]:
            now = step.now
        if step.state not in ("restored", "as before"):
            return step
        if row.plan.old == first.old and row.plan.kept == first.kept:
            break
    message = f"{at}: {listed(now)} -> {listed(first.old)}"
    return Undone(at, "restored", message, first.old, now)


def _undo_one(
    journal: Journal, entry: Entry, at: Path, run: Run, *, force: bool, split_links: bool
) -> Undone:
    if not os.path.lexists(at):
        return _gone(at, entry.old)
    plan = entry.plan
    with Replacement(at, keep_times=plan.kept_times, split_links=split_links) as work:
        scan = Scan(work.source, str(at))
        now = scan.field.values
        said = f"{listed(now)} -> {listed(entry.old)}"
        same_sound = scan.audio_digest() == plan.sound
        if same_sound and now == plan.old:
            if not _written_later(journal, entry, work.path):
                journal.note_as_before(entry.id)
            return Undone(at, "as before", f"{at}: has its old genres already", entry.old, now)
        # Two runs may have written the same genres; the later goes first, as they are stacked.
        above = next(
            (
                other
                for other in journal.entries(path=work.path)
                if other.id > entry.id
                and other.in_force
                and other.new == now
                and other.plan.undoes is None
            ),
            None,
        )
        why = ""
        if not same_sound:
            why = "holds other sound than the file that was written"
        elif above is not None:
            why = f"was written again by run {above.run}, which can be taken back first"
        elif now != plan.new:
            why = f"its genres were changed since, from {listed(plan.new)} to {listed(now)}"
        elif entry.state == "unclear":
            why = "writing it was interrupted, and it was changed since"
        if why and not force:
            message = f"{at}: {why}; left as it is (--force restores {listed(entry.old)})"
            return Undone(at, "changed since", message, entry.old, now)
        carry_out(
            work,
            scan,
            run,
            fill=lambda part: scan.rewrite(part, values=entry.old, kept=dict(plan.kept)),
            new=entry.old,
            undoes=entry.id,
        )
    return Undone(at, "restored", f"{at}: {said}", entry.old, now)


def _gone(at: Path, old: tuple[str, ...]) -> Undone:
    message = f"{at}: is gone (moved or removed); if it was moved, give its new path"
    return Undone(at, "gone", message, old, ())


def _written_later(journal: Journal, entry: Entry, path: Path) -> bool:
    return any(
        other.id > entry.id and other.in_force and other.plan.undoes is None
        for other in journal.entries(path=path)
    )


def _chosen(
    journal: Journal, *, run: int | None, path: Path | None, last: bool
) -> list[tuple[Entry, Path]]:
    """The entries to take back, each with where its file is."""
    if last:
        run = _latest(journal)
    if run is not None:
        found = [entry for entry in journal.entries(run=run) if entry.state != "left"]
        if not found:
            raise JournalError(
                f"{run}: no such run in {journal.path}; genrescope undo --list shows them"
            )
        return [(entry, entry.path) for entry in found if entry.in_force]
    assert path is not None
    latest_of: dict[Path, Entry] = {}
    for entry in journal.entries(path=path):
        if entry.in_force and entry.plan.undoes is None:
            latest_of.setdefault(entry.path, entry)
    chosen = [(entry, entry.path) for entry in latest_of.values()]
    if not chosen and path.is_file():
        identity = FileIdentity.of(path.stat())
        chosen = [
            (entry, path)
            for entry in journal.entries_at(identity)
            if entry.in_force and entry.plan.undoes is None and not entry.path.exists()
        ][:1]
    if not chosen:
        raise JournalError(
            f"{path}: nothing was written there that is not taken back; genrescope undo --list "
            "shows what was"
        )
    return chosen


def _latest(journal: Journal) -> int:
    """The latest run of which something can be taken back still."""
    runs = [one.id for one in journal.runs() if not one.is_undo and one.undone < one.files]
    if not runs:
        raise JournalError(
            f"{journal.path}: there is nothing to take back; genrescope undo --list shows "
            "what was written"
        )
    for run in runs:
        if not all(_is_gone(entry) for entry in journal.entries(run=run) if entry.in_force):
            return run
    return runs[0]  # whose files are named as gone


def _is_gone(entry: Entry) -> bool:
    """Whether a file was moved or removed, rather than that its disk is not there now."""
    if os.path.lexists(entry.path):
        return False
    there = next(folder for folder in entry.path.parents if folder.exists())
    return there.stat().st_dev == entry.identity.device
