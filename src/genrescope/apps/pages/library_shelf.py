"""The library behind the page *Library*: one for the server, whoever looks at it.

A scan runs in a thread of its own and goes on when a page is closed. Everything that pages show
comes from here, so two of them cannot differ for longer than it takes to ask again. Writing is done
by one at a time; what was decided elsewhere meanwhile is not written over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.apps.genre_policy import Policy
from genrescope.apps.heard import Heard
from genrescope.apps.journal import Journal
from genrescope.apps.pages.library_finding import Scan, find_inside, folders_of
from genrescope.apps.pages.library_rows import Query, Row, counts
from genrescope.apps.pages.library_table import Table
from genrescope.apps.pages.library_writing import Writing
from genrescope.apps.service.library import inside
from genrescope.apps.service.refusals import RequestError
from genrescope.apps.tagging import can_judge_together, hear
from genrescope.catalog.genre_tags import read_genre_field
from genrescope.catalog.tags import read_tags
from genrescope.errors import DataError, GenrescopeError, TagError
from genrescope.learn.prediction import FailedPrediction, Prediction

if TYPE_CHECKING:
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Shelf"]

_MOST_GENRES = 20  # values that one file is given by hand
_LONGEST = 200  # characters of one
_COUNTED = 2.0  # s between two counts of rows while a folder is heard
_JUDGED = 1.0  # s between two judgements of tracks together

_log = logging.getLogger(__name__)


class Shelf(Table):
    """What is known of a library, and what may be done with it.

    Parameters
    ----------
    root : Path
        The library, resolved. Nothing outside of it is read or written.
    recogniser : Recogniser
        What hears.
    workers : int or None
        Processes that hear.

    Attributes
    ----------
    scan : Scan or None
        The last one.
    writing : Writing
        What writes and takes back.
    """

    def __init__(self, root: Path, recogniser: Recogniser, *, workers: int | None) -> None:
        super().__init__(root, recogniser)
        self.workers = workers
        self.together = self.can_together = can_judge_together(recogniser)
        self.scan: Scan | None = None
        self.writing = Writing(self)
        self._known: dict[int, Row] = {}  # of folders that were heard before, too
        self._cancel = threading.Event()
        self._picked: tuple[tuple[int, Query], list[Row]] | None = None
        self._counted: tuple[int, float, dict[str, Any]] | None = None

    # --- looking -----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All but the rows, in types that JSON has."""
        with self.lock:
            version, rows = self.version, list(self._rows.values())
            counted, job = self._counted, self.writing.job
            told = {
                "version": version,
                "rows": len(rows),
                "scan": None if self.scan is None else self.scan.to_dict(),
                "job": None if job is None else dict(vars(job)),
                "policy": {
                    "existing": self.policy.existing,
                    "min_confidence": self.policy.min_confidence,
                    "subgenres": self.policy.subgenres,
                    "together": self.together,
                },
            }
        busy = self.scan is not None and self.scan.running
        fresh = counted is not None and time.monotonic() - counted[1] < _COUNTED
        # Counting is not done in the lock, since rows do not change; they are replaced.
        if counted is None or (counted[0] != version and not (busy and fresh)):
            counted = self._counted = (version, time.monotonic(), counts(rows))
        return {**told, **counted[2]}

    def pick(self, query: Query) -> list[Row]:
        """The rows that are asked for, in order."""
        with self.lock:
            key, rows = (self.version, query), list(self._rows.values())
            picked = self._picked
        if picked is None or picked[0] != key:
            picked = self._picked = (key, query.pick(rows))
        return picked[1]

    def folders(self) -> list[str]:
        """The folders right below the root."""
        return folders_of(self.root)

    def close(self) -> None:
        """Stop hearing, and finish what is being written."""
        self._cancel.set()
        for thread in self._threads:
            thread.join()
        if self._heard is not None:
            self._heard.close()

    # --- hearing -----------------------------------------------------------

    def begin_scan(self, folder: str) -> None:
        """Hear a folder of the library, in the background.

        Raises
        ------
        AudioNotFoundError
            If there is no such folder in the library.
        DataError
            If it is a file.
        RequestError
            If a scan is running.
        """
        start = inside(self.root, folder or ".")
        if not start.is_dir():
            raise DataError(f"{folder}: is a file; give a folder of the library")
        with self.lock:
            if self.scan is not None and self.scan.running:
                raise RequestError(409, "a folder is being heard; stop that first, or wait for it")
            self.scan = Scan(folder.strip("/"), time.monotonic())
            self._cancel = threading.Event()
            self.changed()
            self.start(self._scan, self.scan, start, self._cancel)

    def cancel_scan(self) -> None:
        """Stop the scan; what was heard stays."""
        self._cancel.set()

    def _scan(self, scan: Scan, start: Path, cancel: threading.Event) -> None:
        try:
            found = find_inside(self.root, start, scan, cancel)
            self._lay_out(found)
            scan.looking = False
            self._hear(scan, [path for path, _ in found], cancel)
            with Journal.open() as journal:
                self.note_runs(journal)
        except GenrescopeError as error:
            scan.error = self.words(error)
        except Exception as error:  # noqa: BLE001 (it is told on the page)
            _log.exception("the scan of %s ended early", start)
            scan.error = f"it ended early ({type(error).__name__}: {error})"
        finally:
            scan.cancelled, scan.ended = cancel.is_set(), time.monotonic()
            scan.running = scan.looking = False
            self.changed()

    def _lay_out(self, found: Sequence[tuple[Path, str]]) -> None:
        """A row for each file; those that were known keep what was decided."""
        with self.lock:
            self._known.update(self._rows)
            self._rows, version = {}, self.version + 1
            for path, name in found:
                number = self._ids.setdefault(path, len(self._ids) + 1)
                row = self._known.get(number) or Row(number, path, name)
                self._rows[number] = replace(row, name=name, version=version)
            self.version = version

    def _hear(self, scan: Scan, paths: Sequence[Path], cancel: threading.Event) -> None:
        if self._heard is None:
            self._heard = Heard.open()
        coming = (path for path in paths if not cancel.is_set())
        artists: set[str] = set()
        judged = time.monotonic()
        hearing = hear(self._heard, self.recogniser, coming, workers=self.workers, neighbours=True)
        with closing(hearing) as results:
            for result in results:
                if cancel.is_set():
                    break
                artists.add(self._take(scan, result))
                if time.monotonic() - judged > _JUDGED:
                    self._judge(artists)
                    artists, judged = set(), time.monotonic()
        self._judge(artists)

    def _take(self, scan: Scan, result: Prediction | FailedPrediction) -> str:
        """Put an answer into its row; the artist, whose other tracks it may change."""
        path, error, solo = result.path, "", None
        row = None if path is None else self.at(path)
        if path is None or row is None:
            return ""
        if isinstance(result, FailedPrediction):
            tags = read_tags(path)
            title, artist = tags.title, tags.artist
            error = self.words(result.message)
        else:
            solo, title, artist = result, result.title, result.artist
        now: tuple[str, ...] = ()
        try:
            now = read_genre_field(path).values
        except TagError as problem:
            error = error or self.words(problem)
        with self.lock:
            scan.done, scan.failed = scan.done + 1, scan.failed + (solo is None)
            fresh = replace(self._rows[row.id], now=now, title=title, artist=artist, done=True)
            self.put(replace(fresh, solo=solo, heard=solo, error=error))
        return (artist or "").casefold()

    def _judge(self, artists: Collection[str] | None) -> None:
        """Judge the tracks of artists together, where wanted; None is every track anew."""
        by_artist: dict[str, list[Row]] = defaultdict(list)
        for row in list(self._rows.values()):
            artist = (row.artist or "").casefold()
            if row.solo is not None and (artists is None or (artist and artist in artists)):
                by_artist[artist].append(row)
        for artist, rows in by_artist.items():
            judged = [row.solo for row in rows if row.solo is not None]
            if artist and self.together:
                judged = self.recogniser.together(judged)
            with self.lock:
                for row, heard in zip(rows, judged, strict=True):
                    here = self._rows.get(row.id)
                    if here is not None and here.solo is row.solo:
                        self.put(replace(here, heard=heard))

    # --- deciding ----------------------------------------------------------

    def set_policy(self, told: Mapping[str, Any]) -> None:
        """Change what is written where.

        Raises
        ------
        DataError
            If a value cannot be.
        """
        least = told.get("min_confidence")
        if not (least is None or (isinstance(least, int | float) and not isinstance(least, bool))):
            raise DataError("min_confidence has to be a number from 0 to 1, or null")
        policy = Policy(
            existing=told.get("existing", self.policy.existing),
            min_confidence=least,
            subgenres=told.get("subgenres") is True,
        )
        with self.lock:
            self.policy = policy
            self.together = self.can_together and told.get("together") is True
        self._judge(None)
        self.changed()

    def choose(self, numbers: Sequence[int], genres: Sequence[str] | None) -> int:
        """Give rows genres by hand; None takes that back. How many rows have changed.

        Raises
        ------
        DataError
            If these are no genres.
        """
        chosen = None if genres is None else _checked(genres)
        with self.lock:
            rows = [row for n in numbers if (row := self._rows.get(n)) is not None and row.done]
            changed = [row for row in rows if row.chosen != chosen]
            for row in changed:
                self.put(replace(row, chosen=chosen))
            return len(changed)

    def leave(self, numbers: Sequence[int]) -> int:
        """Have rows keep the genres that they have. How many rows have changed."""
        with self.lock:
            rows = [row for n in numbers if (row := self._rows.get(n)) is not None and row.done]
            changed = [row for row in rows if row.chosen != row.now]
            for row in changed:
                self.put(replace(row, chosen=row.now))
            return len(changed)


def _checked(genres: Sequence[str]) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in genres):
        raise DataError("genres have to be text")
    found: dict[str, str] = {}
    for name in genres:
        text = " ".join(name.split())
        if len(text) > _LONGEST or not text.isprintable():
            raise DataError(
                f"a genre has at most {_LONGEST} printable characters; this one has {len(text)}"
            )
        if text:
            found.setdefault(text.casefold(), text)
    if len(found) > _MOST_GENRES:
        raise DataError(f"{len(found)} genres are too many; a file is given {_MOST_GENRES} at most")
    return tuple(found.values())
