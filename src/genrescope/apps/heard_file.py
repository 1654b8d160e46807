"""The SQLite file that remembers what was heard, and never stands in the way.

Where it is damaged it is put aside and begun anew; where it cannot be used nothing is remembered,
and a warning says so. Several processes and threads may use it at once.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["MemoryFile"]

_log = logging.getLogger(__name__)

_OURS = 0x67736864  # SQLite's application_id, "gshd"
_FORMAT = 1  # of the tables
_BUSY = 10.0  # s to wait for another process
_MOST = 250_000  # rows of each table that are kept, about 200 MB
_SPARE = 0.1  # of these, which go at once, those first that were not asked for the longest
_COUNTED = 2_000  # rows written until it is looked whether there are too many
_LINE = 1_024  # changes that wait at most

_TABLES = """
CREATE TABLE answers (
    sound BLOB NOT NULL, about BLOB NOT NULL, settings BLOB NOT NULL,
    day INTEGER NOT NULL, answer BLOB NOT NULL,
    PRIMARY KEY (sound, about, settings)
) WITHOUT ROWID;
CREATE INDEX oldest ON answers (day);
CREATE TABLE files (
    path BLOB PRIMARY KEY NOT NULL, identity TEXT NOT NULL,
    sound BLOB NOT NULL, about BLOB NOT NULL, genres TEXT NOT NULL, day INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX oldest_files ON files (day);
"""


class MemoryFile:
    """The tables ``answers`` and ``files``, and changes that wait to be written together.

    Parameters
    ----------
    path : Path
        The file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._waiting: list[tuple[str, tuple[object, ...]]] = []
        self._since_count = _COUNTED
        self._db: sqlite3.Connection | None = None
        self._connect()

    @property
    def usable(self) -> bool:
        """Whether anything is remembered at all."""
        return self._db is not None

    def ask(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """The rows of an answer; none where the file cannot be used."""
        found: list[tuple[Any, ...]] = []

        def ask(db: sqlite3.Connection) -> None:
            found.extend(db.execute(query, values).fetchall())

        self._attempt(ask)
        return found

    def keep(self, statement: str, values: tuple[object, ...]) -> None:
        """Have a change wait until :meth:`store`, or until many wait."""
        with self._lock:
            if self._db is not None:
                self._waiting.append((statement, values))
                if len(self._waiting) >= _LINE:
                    self.store()

    def store(self) -> None:
        """Put what waits on the disk."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._attempt(partial(self._write, waiting))

    def close(self) -> None:
        """Store what waits, and close the file."""
        with self._lock:
            self.store()
            if self._db is not None:
                self._db.close()
                self._db = None

    def _write(
        self, waiting: Sequence[tuple[str, tuple[object, ...]]], db: sqlite3.Connection
    ) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in waiting:
                db.execute(statement, values)
            self._since_count += len(waiting)
            if self._since_count >= _COUNTED:
                self._since_count = 0
                self._forget_oldest(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _forget_oldest(self, db: sqlite3.Connection) -> None:
        for table in ("answers", "files"):
            (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            if count <= _MOST:
                continue
            limit = count - round(_MOST * (1 - _SPARE))
            key = "sound, about, settings" if table == "answers" else "path"
            db.execute(
                f"DELETE FROM {table} WHERE ({key}) IN "  # noqa: S608 (names of our own tables)
                f"(SELECT {key} FROM {table} ORDER BY day LIMIT ?)",
                (limit,),
            )

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do something with the file; where it cannot be used, go on without it."""
        with self._lock:
            if self._db is None:
                return
            try:
                work(self._db)
            except sqlite3.OperationalError as error:  # full, locked, on a disk that has gone
                self._give_up(str(error))
            except sqlite3.DatabaseError as error:
                self._begin_anew(error)

    def _connect(self, *, again: bool = False) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = _open_file(self.path)
        except (sqlite3.OperationalError, OSError) as error:
            self._give_up(str(error))
        except sqlite3.DatabaseError as error:
            if again:
                self._give_up(str(error))
            else:
                self._begin_anew(error)

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        """Put a damaged file aside, rather than delete what may not even be ours."""
        if self._db is not None:
            self._db.close()
            self._db = None
        aside = self.path.with_name(f"{self.path.name}.damaged")
        _log.warning(
            "%s: the memory of what was heard is damaged (%s); it was renamed to %s and is begun "
            "anew",
            *(self.path, error, aside.name),
        )
        try:
            os.replace(self.path, aside)
        except OSError as problem:
            self._give_up(str(problem))
            return
        self._connect(again=True)

    def _give_up(self, why: str) -> None:
        db, self._db = self._db, None
        self._waiting.clear()
        if db is not None:
            db.close()
        _log.warning(
            "%s: cannot be used to remember what was heard (%s); GENRESCOPE_HEARD names another "
            "file",
            *(self.path, why),
        )


def _open_file(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN IMMEDIATE")
        (owner,), (version,), (tables,) = (
            db.execute(query).fetchone()
            for query in (
                "PRAGMA application_id",
                "PRAGMA user_version",
                "SELECT count(*) FROM sqlite_master",
            )
        )
        if tables and owner != _OURS:
            raise OSError("it is the database of another program")
        if tables and version != _FORMAT:
            db.execute("DROP TABLE answers")
            db.execute("DROP TABLE files")
        if not tables or version != _FORMAT:
            for statement in _TABLES.strip().rstrip(";").split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_OURS}")
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db
