"""Writing what was approved on the page *Library*, and taking it back; one at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genrescope.apps.journal import Journal
from genrescope.apps.pages.library_rows import Row
from genrescope.apps.pages.library_table import Table
from genrescope.apps.service.library import inside
from genrescope.apps.service.refusals import RequestError
from genrescope.apps.tagger import Tagger
from genrescope.apps.undoing import Undone, undo
from genrescope.catalog.genre_tags import read_genre_field
from genrescope.errors import GenrescopeError, JournalError, TagError

__all__ = ["Job", "Writing"]

_PLANS = 16  # previews that are kept
_COMMAND = "genrescope serve"

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """How far writing ("write"), or taking back ("undo"), is.

    Attributes
    ----------
    total, done, changed, failed : int
        Files in all, those that were tried, and what became of them.
    run : int or None
        In the journal.
    error : str
        Why it ended early.
    """

    kind: str
    total: int
    done: int = 0
    changed: int = 0
    failed: int = 0
    running: bool = True
    run: int | None = None
    error: str = ""


class Writing:
    """The one hand that writes into the files of a table.

    Attributes
    ----------
    job : Job or None
        The last one.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.job: Job | None = None
        self._busy = threading.Lock()
        self._plans: OrderedDict[str, dict[int, tuple[str, ...]]] = OrderedDict()

    def plan(self, rows: Sequence[Row]) -> tuple[str, list[Row]]:
        """What would be written for these rows, and a key to have just that written."""
        changing = [row for row in rows if row.target is not None]
        key = secrets.token_urlsafe(9)
        with self.table.lock:
            self._plans[key] = {row.id: row.target or () for row in changing}
            while len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        return key, changing

    def begin_write(self, key: str) -> None:
        """Write what was planned, in the background.

        Raises
        ------
        RequestError
            If the plan is not known any more, or another writing is going on.
        """
        with self.table.lock:
            if key not in self._plans:
                raise RequestError(
                    410, "this preview is out of date or was written already; look again"
                )
            self._claim()
            plan = self._plans.pop(key)
            self._begin(Job("write", len(plan)), self._write, plan)

    def begin_undo(self, numbers: Sequence[int] | None = None, *, run: int | None = None) -> None:
        """Bring back the genres that rows, or all files of a run, had before.

        Raises
        ------
        RequestError
            If another writing is going on, or the run changed files outside of the library.
        JournalError
            If the journal cannot be read.
        """
        root = self.table.root
        if run is None:
            rows = [self.table.row(number) for number in numbers or ()]
            paths = [inside(root, row.path) for row in rows if row.run is not None]
        else:
            with Journal.open() as journal:
                paths = [entry.path for entry in journal.entries(run=run) if entry.in_force]
            if any(root not in path.parents for path in paths):
                raise RequestError(
                    403,
                    f"run {run} wrote files outside of this library, too; take it back on the "
                    f"command line: genrescope undo {run}",
                )
        with self.table.lock:
            self._claim()
            self._begin(Job("undo", len(paths), run=run), self._undo, paths, run)

    def history(self) -> list[dict[str, Any]]:
        """The runs that wrote files of this library, the latest first.

        Raises
        ------
        JournalError
            If the journal cannot be read.
        """
        here: dict[int, int] = defaultdict(int)
        with Journal.open() as journal:
            for entry in journal.entries(path=self.table.root):
                if entry.state in ("written", "unclear"):
                    here[entry.run] += 1
            runs = [one for one in journal.runs() if one.id in here and not one.is_undo]
        return [
            {
                "run": one.id,
                "when": one.when.isoformat(timespec="seconds"),
                "command": one.command,
                "bundle": one.bundle,
                "files": one.files,
                "undone": one.undone,
                "outside": one.files - here[one.id],
            }
            for one in runs
        ]

    # --- in the background -------------------------------------------------

    def _claim(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise RequestError(
                409, "files are being written, perhaps from another window; wait for that"
            )

    def _begin(self, job: Job, work: Any, *args: Any) -> None:
        self.job = job
        self.table.changed()
        self.table.start(work, job, *args)

    @contextlib.contextmanager
    def _finishing(self, job: Job) -> Iterator[None]:
        """However a job ends, it is told and the next one may begin."""
        try:
            yield
        except GenrescopeError as error:
            job.error = self.table.words(error)
        except Exception as error:  # noqa: BLE001 (it is told on the page)
            _log.exception("%s ended early", job.kind)
            job.error = f"ended early ({type(error).__name__}: {error})"
        finally:
            job.running = False
            self._busy.release()
            self.table.changed()

    def _write(self, job: Job, plan: Mapping[int, tuple[str, ...]]) -> None:
        table = self.table
        with self._finishing(job), Journal.open() as journal:
            tagger = Tagger(journal, command=_COMMAND, bundle=table.recogniser.bundle.name)
            job.run = tagger.run
            for number, genres in plan.items():
                row = table.find(number)
                try:
                    if row is None or row.target != genres:
                        raise TagError("was changed in another window meanwhile; look again")
                    path = inside(table.root, row.path)
                    change = tagger.write(path, genres, expected=row.now)
                except JournalError:
                    raise
                except GenrescopeError as error:
                    self._failed(job, None if row is None else row.path, error)
                    continue
                job.done, job.changed = job.done + 1, job.changed + 1
                self._settled(path, change.new, run=tagger.run)

    def _undo(self, job: Job, paths: Sequence[Path], run: int | None) -> None:
        with self._finishing(job), Journal.open() as journal:
            if run is not None:
                for undone in undo(journal, run=run):
                    self._undone(job, undone)
            else:
                for path in paths:
                    try:
                        for undone in undo(journal, path=path):
                            self._undone(job, undone)
                    except JournalError as error:  # taken back elsewhere meanwhile
                        self._failed(job, path, error)
            self.table.note_runs(journal)

    def _undone(self, job: Job, undone: Undone) -> None:
        path = Path(os.path.realpath(undone.path))
        if undone.state not in ("restored", "as before"):
            self._failed(job, path, undone.message)
            return
        job.done, job.changed = job.done + 1, job.changed + 1
        self._settled(path, read_genre_field(path).values, run=None)

    def _settled(self, path: Path, now: tuple[str, ...], *, run: int | None) -> None:
        table = self.table
        table.remember(path, now)
        with table.lock:
            row = table.at(path)
            if row is not None:
                table.put(replace(row, now=now, chosen=None, run=run, error=""))

    def _failed(self, job: Job, path: Path | None, error: GenrescopeError | str) -> None:
        job.done, job.failed = job.done + 1, job.failed + 1
        table = self.table
        with table.lock:
            row = None if path is None else table.at(path)
            if row is not None:
                now = row.now
                with contextlib.suppress(GenrescopeError):
                    now = read_genre_field(inside(table.root, row.path)).values
                table.put(replace(row, now=now, error=table.words(error)))
