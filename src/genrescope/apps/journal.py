"""The journal of written tags: what was changed, when, by what, and what stood there before.

An SQLite file. Each file that is written goes through these states:

``begun``
    The name of the new file is known, so that a kill leaves nothing that is not found again.
``planned``
    The new file is complete and on the disk, and so is this row; the rename comes next.
``written``
    The new file is in its place.
``left``
    The file is as it was: the writing was interrupted or refused after it was planned.
``unclear``
    The writing was interrupted, and something else has changed the file since.

A process that is killed leaves rows ``begun`` or ``planned``. Whoever opens the journal next looks
at the files and makes these rows true: a digest of the whole file, old and new, stands in the row.
A writer that is still alive holds a lock, so that its rows are left to it.

Write-ahead logging lets several processes read while one writes; every commit survives a kill.
``planned`` must survive a power cut too (a new file in place that no row knows of could not be
taken back), so that commit waits for the disk (``synchronous=FULL``). The others do not
(``NORMAL``): what a power cut takes of them is found out from the file. Paths are stored as
bytes, since names of files need not be text.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genrescope.apps.journal_rows import (
    COLUMNS,
    Entry,
    Planned,
    RunSummary,
    cells_of,
    date_of,
    entry_of,
    place_of,
)
from genrescope.apps.safe_write import FileIdentity, try_lock
from genrescope.errors import JournalError

__all__ = ["Entry", "Journal", "Planned", "Run", "RunSummary", "digest_of", "journal_path"]

_VERSION = 1
_BUSY = 30.0  # s to wait for another process that writes to the journal

_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    began REAL NOT NULL,
    owner TEXT NOT NULL,
    command TEXT NOT NULL,
    bundle TEXT NOT NULL
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (id),
    path BLOB NOT NULL,
    temporary BLOB NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    container TEXT NOT NULL DEFAULT '',
    old TEXT NOT NULL DEFAULT '[]',
    new TEXT NOT NULL DEFAULT '[]',
    kept TEXT NOT NULL DEFAULT '{}',
    before TEXT NOT NULL DEFAULT '[]',
    after TEXT NOT NULL DEFAULT '[]',
    place TEXT NOT NULL DEFAULT '',
    digest_before TEXT NOT NULL DEFAULT '',
    digest_after TEXT NOT NULL DEFAULT '',
    sound TEXT NOT NULL DEFAULT '',
    kept_times INTEGER NOT NULL DEFAULT 0,
    undoes INTEGER REFERENCES entries (id),
    undone_by INTEGER REFERENCES entries (id)
);
CREATE INDEX entries_of_run ON entries (run);
CREATE INDEX entries_of_path ON entries (path, id);
CREATE INDEX entries_of_place ON entries (place) WHERE state = 'written';
CREATE INDEX entries_open ON entries (state) WHERE state IN ('begun', 'planned');
"""


def journal_path() -> Path:
    """Where the journal is: ``GENRESCOPE_JOURNAL``, or the user's folder for states."""
    if given := os.environ.get("GENRESCOPE_JOURNAL"):
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_state_path("genrescope")) / "journal.sqlite3"


class Journal:
    """The journal; use :meth:`open`. Safe between threads and between processes.

    Attributes
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._owner = secrets.token_hex(8)
        self._alive = -1

    @classmethod
    def open(cls, path: Path | None = None) -> Journal:
        """Open the journal, make it where there is none, and make true what a kill left.

        Raises
        ------
        JournalError
            If it cannot be made or read, or a newer genrescope wrote it.
        """
        path = (journal_path() if path is None else Path(path)).absolute()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise JournalError(_refused(path, error)) from error
        journal = cls(path, connection)
        try:
            journal._prepare()
            journal._recover()
        except BaseException:
            connection.close()
            raise
        return journal

    def close(self) -> None:
        """Give everything back; what is not done by now is made true by the next who opens."""
        with self._lock:
            if os.getpid() != self._pid:
                return
            self._db.close()
            if self._alive >= 0:
                with contextlib.suppress(OSError):
                    self._lock_file(self._owner).unlink(missing_ok=True)
                os.close(self._alive)
                self._alive = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing -----------------------------------------------------------

    def begin(self, *, command: str, bundle: str) -> Run:
        """Begin a run; one that writes nothing leaves no trace in `runs`.

        Parameters
        ----------
        command : str
            What writes, such as "genrescope tag".
        bundle : str
            The recogniser it asks; empty where none is.
        """
        with self._lock:
            if self._alive < 0:
                self._alive = self._show_life()
            row = self._execute(
                "INSERT INTO runs (began, owner, command, bundle) VALUES (?, ?, ?, ?)",
                (_now(), self._owner, _text(command), _text(bundle)),
            )
            return Run(self, int(row.lastrowid or 0))

    def note_as_before(self, entry: int) -> None:
        """Note that the old genres of an entry stand in its file, by whatever hand."""
        with self._transaction():
            self._take_back(entry, by=entry)

    # --- reading -----------------------------------------------------------

    def runs(self) -> list[RunSummary]:
        """Every run that wrote a file, the latest first."""
        rows = self._execute(
            "SELECT runs.id, began, command, bundle, count(*), "
            "count(undone_by), sum(state = 'unclear'), count(undoes) "
            "FROM runs JOIN entries ON entries.run = runs.id "
            "WHERE state IN ('written', 'unclear') GROUP BY runs.id ORDER BY runs.id DESC"
        ).fetchall()
        return [
            RunSummary(
                id=row[0],
                when=date_of(row[1]),
                command=row[2],
                bundle=row[3],
                files=row[4],
                undone=row[5],
                unclear=row[6],
                is_undo=row[7] > 0,
            )
            for row in rows
        ]

    def entries(self, *, run: int | None = None, path: Path | None = None) -> Iterator[Entry]:
        """Files that were written, the latest first.

        Parameters
        ----------
        run : int, optional
            Of this run alone.
        path : Path, optional
            Of this file, or of the files below this folder; links are followed.
        """
        wanted, values = ["state != 'begun'"], list[Any]()
        if run is not None:
            wanted.append("run = ?")
            values.append(run)
        if path is not None:
            name = os.fsencode(os.path.realpath(path))
            below = name.rstrip(os.fsencode(os.sep)) + os.fsencode(os.sep)
            # The byte after the separator ends the range of all names that begin with it.
            wanted.append("(path = ? OR (path >= ? AND path < ?))")
            values += [name, below, below[:-1] + bytes([below[-1] + 1])]
        yield from self._select(" AND ".join(wanted), values)

    def entries_at(self, identity: FileIdentity) -> Iterator[Entry]:
        """Files that were written and are now where `identity` says, under whatever name."""
        yield from self._select("state = 'written' AND place = ?", [place_of(identity)])

    def entry(self, number: int) -> Entry | None:
        """One entry by its number."""
        return next(self._select("id = ?", [number]), None)

    def _select(self, where: str, values: Sequence[Any]) -> Iterator[Entry]:
        """Entries, latest first, a page at a time so that nothing is held open in between."""
        upper = 2**62
        while True:
            rows = self._execute(
                f"SELECT {COLUMNS} FROM entries WHERE {where} AND id < ? "  # noqa: S608
                "ORDER BY id DESC LIMIT 500",
                [*values, upper],
            ).fetchall()
            for row in rows:
                yield entry_of(row)
            if len(rows) < 500:
                return
            upper = rows[-1][0]

    # --- inside ------------------------------------------------------------

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if os.getpid() != self._pid:
            raise JournalError(
                f"{self.path}: a journal does not survive a fork; open it in the new process"
            )
        try:
            with self._lock:
                return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise JournalError(_refused(self.path, error)) from error

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        with self._lock:
            self._execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        self._execute("PRAGMA journal_mode=WAL")
        self._execute("PRAGMA foreign_keys=ON")
        version = self._execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            with self._transaction(durable=True):
                if self._execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _SCHEMA.split(";\n"):
                        if statement.strip():
                            self._execute(statement)
                    self._execute(f"PRAGMA user_version={_VERSION}")
        elif version != _VERSION:
            raise JournalError(
                f"{self.path}: a newer genrescope wrote it (layout {version}, this one knows "
                f"{_VERSION}); upgrade genrescope, or name another file in GENRESCOPE_JOURNAL"
            )

    def _lock_file(self, owner: str) -> Path:
        return self.path.with_name(f"{self.path.name}-{owner}.alive")

    def _show_life(self) -> int:
        path = self._lock_file(self._owner)
        try:
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                # Who opens the journal may have taken it for that of a dead process just now.
                if try_lock(fd) and os.fstat(fd).st_nlink:
                    break
                os.close(fd)
        except OSError as error:
            raise JournalError(
                f"{path}: cannot be locked ({error.strerror}); put the journal on a local disk "
                "(GENRESCOPE_JOURNAL)"
            ) from error
        return fd

    def _recover(self) -> None:
        """Make true the rows of processes that are no more."""
        owners = self._execute(
            "SELECT DISTINCT owner FROM entries JOIN runs ON runs.id = entries.run "
            "WHERE state IN ('begun', 'planned')"
        ).fetchall()
        paths = {self._lock_file(owner): owner for (owner,) in owners}
        # Those that were killed between two files left no row, but their lock file.
        prefix, suffix = self._lock_file("*").name.split("*")
        with contextlib.suppress(OSError):
            for name in os.listdir(self.path.parent):
                if name.startswith(prefix) and name.endswith(suffix):
                    paths.setdefault(self.path.with_name(name), "")
        for path, owner in paths.items():
            try:
                fd = os.open(path, os.O_RDWR)
            except OSError:
                fd = -1
            try:
                if fd >= 0 and not try_lock(fd):
                    continue
                if (not owner or self._recover_owner(owner)) and fd >= 0:
                    path.unlink(missing_ok=True)
            except OSError:
                continue
            finally:
                if fd >= 0:
                    os.close(fd)

    def _recover_owner(self, owner: str) -> bool:
        """Whether every row of that process is true now."""
        with self._transaction():
            rows = self._execute(
                f"SELECT {COLUMNS}, temporary FROM entries "  # noqa: S608
                "WHERE state IN ('begun', 'planned') AND run IN "
                "(SELECT id FROM runs WHERE owner = ?)",
                (owner,),
            ).fetchall()
            complete = True
            for row in rows:
                entry, temporary = entry_of(row), Path(os.fsdecode(row[-1]))
                built_upon = entry.state == "planned" and self._is_built_upon(entry)
                state = "written" if built_upon else _found_state(entry, temporary)
                if state is None:
                    complete = False
                    continue
                if state != "written":
                    with contextlib.suppress(OSError):
                        temporary.unlink(missing_ok=True)
                if entry.state == "begun":
                    self._execute("DELETE FROM entries WHERE id = ?", (entry.id,))
                else:
                    self._set_state(entry.id, state)
        return complete

    def _is_built_upon(self, entry: Entry) -> bool:
        """Whether another process has written on top of what this entry put there.

        The file may be what it was before, then, and says nothing of this entry.
        """
        rows = self._execute(
            f"SELECT {COLUMNS} FROM entries WHERE path = ? AND id > ? AND digest_before = ?",  # noqa: S608
            (os.fsencode(entry.path), entry.id, entry.plan.digest_after),
        ).fetchall()
        befores = (entry_of(row).plan.before for row in rows)
        return any(place_of(before) == place_of(entry.plan.after) for before in befores)

    def _set_state(self, entry: int, state: str) -> None:
        self._execute("UPDATE entries SET state = ? WHERE id = ?", (state, entry))
        if state != "written":
            return
        undone = self._undoes(entry)
        if undone is not None:
            self._take_back(undone, by=entry)

    def _undoes(self, entry: int) -> int | None:
        row = self._execute("SELECT undoes FROM entries WHERE id = ?", (entry,)).fetchone()
        undone: int | None = row[0]
        return undone

    def _take_back(self, entry: int, *, by: int) -> None:
        self._execute("UPDATE entries SET undone_by = ? WHERE id = ?", (by, entry))
        # What an entry took back is in force again without it; what that one had taken back is not.
        stands = False
        while (earlier := self._undoes(entry)) is not None:
            taker = entry if stands else None
            self._execute("UPDATE entries SET undone_by = ? WHERE id = ?", (taker, earlier))
            entry, stands = earlier, not stands


class Run:
    """One run of writing.

    Attributes
    ----------
    id : int
        Its number.
    """

    def __init__(self, journal: Journal, number: int) -> None:
        self._journal = journal
        self.id = number

    def start(self, path: Path, *, temporary: Path) -> int:
        """Note that a new file is about to be made; gives the number of the entry."""
        with self._journal._lock, self._journal._transaction():
            row = self._journal._execute(
                "INSERT INTO entries (run, path, temporary, at, state) "
                "VALUES (?, ?, ?, ?, 'begun')",
                (self.id, os.fsencode(path), os.fsencode(temporary), _now()),
            )
            return int(row.lastrowid or 0)

    def plan(self, entry: int, plan: Planned) -> None:
        """Note, on the disk, what the rename that comes next does."""
        with self._journal._transaction(durable=True):
            names, cells = zip(*cells_of(plan).items(), strict=True)
            settings = ", ".join(f"{name} = ?" for name in names)
            self._journal._execute(
                f"UPDATE entries SET state = 'planned', at = ?, {settings} WHERE id = ?",  # noqa: S608
                (_now(), *cells, entry),
            )

    def finish(self, entry: int) -> None:
        """Note that the new file is in its place."""
        with self._journal._transaction():
            self._journal._set_state(entry, "written")

    def leave(self, entry: int) -> None:
        """Note that nothing came of it, and the file is as it was."""
        with self._journal._transaction():
            self._journal._execute("DELETE FROM entries WHERE id = ? AND state = 'begun'", (entry,))
            self._journal._execute(
                "UPDATE entries SET state = 'left' WHERE id = ? AND state = 'planned'", (entry,)
            )


def digest_of(path: Path) -> str:
    """A digest of all bytes of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _found_state(entry: Entry, temporary: Path) -> str | None:
    """What became of a file whose writer was killed; None where it cannot be told yet."""
    if entry.state == "begun" or os.path.lexists(temporary):
        return "left"  # a rename would have used the new file up
    try:
        found = FileIdentity.of(entry.path.stat())
        digest = digest_of(entry.path)
    except OSError:
        return None  # on a disk that is not there now, perhaps
    if digest == entry.plan.digest_after:
        return "written"
    if digest == entry.plan.digest_before:
        return "left"
    if place_of(found) == place_of(entry.plan.after):
        return "written"  # and changed in place since
    return "unclear"


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _text(text: str) -> str:
    """Text that SQLite takes: bytes of file names that are no UTF-8 spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _refused(path: Path, error: Exception) -> str:
    return (
        f"{path}: the journal of written tags cannot be used ({error}); without it nothing is "
        "written. Name another file in GENRESCOPE_JOURNAL, or make room and permission there"
    )
