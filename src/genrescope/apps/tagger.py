"""Write genres into files through the journal, and take them back."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrescope.apps.journal import Entry, Journal, Planned, Run, digest_of
from genrescope.apps.safe_write import FileIdentity, Replacement, remove_leftovers
from genrescope.catalog.genre_tags import Id3Version, Scan
from genrescope.catalog.genres import split_genres
from genrescope.errors import JournalError, TagError

__all__ = ["Change", "Tagger", "Undone", "undo"]

_MAX_LENGTH = 500  # characters; a genre is no essay


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a file.

    Attributes
    ----------
    path : Path
        As it was given.
    old, new : tuple of str
        Genres before and after; equal where nothing had to be written.
    """

    path: Path
    old: tuple[str, ...]
    new: tuple[str, ...]


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


class Tagger:
    """One run of writing genres; each file through the same safe steps.

    The file is checked, a copy with the new genres is made beside it, the copy is read back
    and compared (genres as asked, every other tag and all sound as before), put on the disk
    and noted in the journal; then it takes the place of the file. Killed at any moment, the file
    is whole, old or new, and the journal knows which.

    Parameters
    ----------
    journal : Journal
        Where every change is noted before it happens.
    command, bundle : str
        What writes, such as "genrescope tag", and the recogniser that it asks.
    keep_times : bool
        Files keep their modification time.
    split_links : bool
        A file with several hard links is parted from its other names, rather than refused.
    id3_version : {"keep", 3, 4}
        Of ID3 tags: as found (2.4 where there is none), or turned into that version.

    Attributes
    ----------
    run : int
        Number of the run in the journal, for ``genrescope undo``.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        command: str,
        bundle: str,
        keep_times: bool = False,
        split_links: bool = False,
        id3_version: Id3Version = "keep",
    ) -> None:
        self._run = journal.begin(command=command, bundle=bundle)
        self._keep_times, self._split_links = keep_times, split_links
        self._id3_version: Id3Version = id3_version
        self._swept: set[Path] = set()

    @property
    def run(self) -> int:
        """Number of the run in the journal."""
        return self._run.id

    def write(
        self, path: Path, genres: Sequence[str], *, expected: Sequence[str] | None = None
    ) -> Change:
        """Write genres into one file; where it has just these, nothing is done.

        Parameters
        ----------
        path : Path
            The file; a link is followed, and stays a link.
        genres : sequence of str
            Each a value of its own, in order; none removes the genre field.
        expected : sequence of str, optional
            The genres that were there when this was decided; others are not written over.

        Returns
        -------
        Change

        Raises
        ------
        TagError
            If the file cannot be written or holds other genres than expected; it is as it was.
        JournalError
            If the journal cannot be written; then nothing else is.
        """
        wanted = _checked(genres, path)
        with Replacement(path, keep_times=self._keep_times, split_links=self._split_links) as work:
            scan = Scan(work.source, str(path))
            old = scan.field.values
            if old == wanted:
                return Change(path, old, wanted)
            if expected is not None and not _agree(old, expected):
                raise TagError(
                    f"{path}: its genres are {_listed(old)} now, and were {_listed(expected)} "
                    "when this was decided; nothing was changed. Look again and decide anew"
                )
            if work.path.parent not in self._swept:
                self._swept.add(work.path.parent)
                remove_leftovers(work.path.parent)
            _carry_out(
                work,
                scan,
                self._run,
                fill=lambda part: scan.rewrite(part, values=wanted, id3_version=self._id3_version),
                new=wanted,
            )
        return Change(path, old, wanted)


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


def _undo_one(
    journal: Journal, entry: Entry, at: Path, run: Run, *, force: bool, split_links: bool
) -> Undone:
    if not os.path.lexists(at):
        message = f"{at}: is gone (moved or removed); if it was moved, give its new path"
        return Undone(at, "gone", message, entry.old, ())
    plan = entry.plan
    with Replacement(at, keep_times=plan.kept_times, split_links=split_links) as work:
        scan = Scan(work.source, str(at))
        now = scan.field.values
        said = f"{_listed(now)} -> {_listed(entry.old)}"
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
            why = f"its genres were changed since, from {_listed(plan.new)} to {_listed(now)}"
        elif entry.state == "unclear":
            why = "writing it was interrupted, and it was changed since"
        if why and not force:
            message = f"{at}: {why}; left as it is (--force restores {_listed(entry.old)})"
            return Undone(at, "changed since", message, entry.old, now)
        _carry_out(
            work,
            scan,
            run,
            fill=lambda part: scan.rewrite(part, values=entry.old, kept=dict(plan.kept)),
            new=entry.old,
            undoes=entry.id,
        )
    return Undone(at, "restored", f"{at}: {said}", entry.old, now)


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


def _carry_out(
    work: Replacement,
    scan: Scan,
    run: Run,
    *,
    fill: Callable[[Any], None],
    new: tuple[str, ...],
    undoes: int | None = None,
) -> None:
    """Make, check, note, replace, note."""
    entry = run.start(work.path, temporary=work.temporary)
    try:
        part = work.create()
        try:
            fill(part)
        except OSError as error:
            raise _no_copy(work.path, error) from error
        sound = scan.audio_digest()
        after = _check_copy(scan, part, work.path, new=new, sound=sound)
        identity = work.settle()
        run.plan(
            entry,
            Planned(
                container=scan.field.container,
                old=scan.field.values,
                new=after.field.values,
                kept=scan.kept,
                before=work.before,
                after=identity,
                digest_before=digest_of(work.path),
                digest_after=digest_of(work.temporary),
                sound=sound,
                kept_times=work.keep_times,
                undoes=undoes,
            ),
        )
        work.replace()
    finally:
        if work.replaced:
            run.finish(entry)
        else:
            work.discard()  # before the row, which knows its name, goes
            run.leave(entry)


def _check_copy(scan: Scan, part: Any, path: Path, *, new: tuple[str, ...], sound: str) -> Scan:
    """Read the copy back, by our eyes and by mutagen's; nothing but genres may differ."""
    part.flush()
    part.seek(0)
    after = Scan(part, str(path))
    if after.field.values != new:
        raise TagError(
            f"{path}: {after.field.container} would hold {_listed(after.field.values)} instead of "
            f"{_listed(new)}; nothing was changed. Name the genre in another way"
        )
    if after.audio_digest() != sound:
        raise TagError(f"{path}: the copy does not hold the same sound; nothing was changed")
    converted = after.id3_version != scan.id3_version
    if not converted and after.others_digest() != scan.others_digest():
        raise TagError(f"{path}: the copy does not hold the same other tags; nothing was changed")
    read = scan.as_read()
    if read is not None and after.as_read(like=scan) != read:
        raise TagError(f"{path}: the copy's other tags read otherwise; nothing was changed")
    return after


def _no_copy(path: Path, error: OSError) -> TagError:
    return TagError(
        f"{path}: the copy beside it cannot be written ({error.strerror or error}); it is as it "
        "was. Free some space on that disk"
    )


def _checked(genres: Sequence[str], path: Path) -> tuple[str, ...]:
    if isinstance(genres, str):
        raise TypeError("genres is a sequence of names, not one string")
    wanted = tuple(dict.fromkeys(genre.strip() for genre in genres))
    for genre in wanted:
        bad = (
            not genre or len(genre) > _MAX_LENGTH or any(ord(c) < 32 or c == "\x7f" for c in genre)
        )
        if bad or not _is_text(genre):
            raise TagError(
                f"{path}: {genre[:60]!r} cannot be a genre: a genre is text on one line, of 1 to "
                f"{_MAX_LENGTH} characters; nothing was changed"
            )
    return wanted


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _agree(now: Sequence[str], expected: Sequence[str]) -> bool:
    """Whether these are the genres that were seen, whole or taken apart."""
    if tuple(now) == tuple(expected):
        return True
    return _names(now) == _names(expected)


def _names(values: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for value in values:
        for name in split_genres(value):
            found.setdefault(name.casefold())
    return list(found)


def _listed(genres: Sequence[str]) -> str:
    return ", ".join(genres) if genres else "none"
