"""Write genres into files through the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genrescope.apps.journal import Journal
from genrescope.apps.rewriting import carry_out, listed
from genrescope.apps.safe_write import Replacement, remove_leftovers
from genrescope.catalog.genre_tags import Id3Version, Scan
from genrescope.catalog.genres import split_genres
from genrescope.errors import TagError

__all__ = ["Change", "Tagger"]

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
                    f"{path}: its genres are {listed(old)} now, and were {listed(expected)} "
                    "when this was decided; nothing was changed. Look again and decide anew"
                )
            if work.path.parent not in self._swept:
                self._swept.add(work.path.parent)
                remove_leftovers(work.path.parent)
            carry_out(
                work,
                scan,
                self._run,
                fill=lambda part: scan.rewrite(part, values=wanted, id3_version=self._id3_version),
                new=wanted,
            )
        return Change(path, old, wanted)


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
