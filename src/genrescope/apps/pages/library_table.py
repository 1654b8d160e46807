"""The rows of the page *Library*, and what works on them: below hearing, deciding and writing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.apps.genre_policy import Policy
from genrescope.apps.heard import Heard
from genrescope.apps.journal import Journal
from genrescope.apps.pages.library_rows import Row
from genrescope.apps.service.library import inside
from genrescope.errors import DataError, GenrescopeError

if TYPE_CHECKING:
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Table"]


class Table:
    """Rows by number and by file, which several threads read and replace.

    Parameters
    ----------
    root : Path
        The library, resolved. Nothing outside of it is read or written.
    recogniser : Recogniser
        What hears.

    Attributes
    ----------
    policy : Policy
        What is written where; rows are judged by it.
    lock : RLock
        To be held between reading a row and putting it back.
    version : int
        Grows with every change.
    """

    def __init__(self, root: Path, recogniser: Recogniser) -> None:
        self.root, self.recogniser = root, recogniser
        self.policy = Policy()
        self.lock = threading.RLock()
        self.version = 0
        self._rows: dict[int, Row] = {}
        self._ids: dict[Path, int] = {}
        self._threads: list[threading.Thread] = []
        self._heard: Heard | None = None

    def row(self, number: int) -> Row:
        """One row.

        Raises
        ------
        DataError
            If there is none, or no longer.
        """
        row = self.find(number)
        if row is None:
            raise DataError(f"row {number} is no longer there; the folder was heard again")
        return row

    def find(self, number: int) -> Row | None:
        """One row, if it is there."""
        return self._rows.get(number)

    def at(self, path: Path) -> Row | None:
        """The row of a file, if it is there."""
        return self._rows.get(self._ids.get(path, 0))

    def file(self, number: int) -> Path:
        """The file of a row, which is inside the library still."""
        return inside(self.root, self.row(number).path)

    def words(self, error: GenrescopeError | str) -> str:
        """An error in its own words, with files named as they are inside the library."""
        text = str(error).replace(f"{self.root}{os.sep}", "")
        return text.split(" (--force")[0]

    def changed(self) -> None:
        """Have every page look again."""
        with self.lock:
            self.version += 1

    def put(self, row: Row) -> None:
        """Put a row in the place of the one with its number, judged anew."""
        with self.lock:
            if row.id in self._rows:
                self.version += 1
                row = row.judged(row.heard, self.policy)
                self._rows[row.id] = replace(row, version=self.version)

    def remember(self, path: Path, genres: Sequence[str]) -> None:
        """Take note that genres were written into a file, and nothing else."""
        if self._heard is not None:
            self._heard.rewritten(path, genres)

    def start(self, work: Callable[..., None], *args: Any) -> None:
        """Do work in the background; :meth:`close` waits for it."""
        with self.lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=work, args=args, name="library", daemon=True)
            self._threads.append(thread)
            thread.start()

    def note_runs(self, journal: Journal) -> None:
        """Look up which files have genres that can be taken back."""
        runs: dict[Path, int] = {}
        for entry in journal.entries(path=self.root):
            if entry.in_force and entry.plan.undoes is None:
                runs.setdefault(entry.path, entry.run)
        with self.lock:
            for row in list(self._rows.values()):
                if row.run != runs.get(row.path):
                    self.put(replace(row, run=runs.get(row.path)))
