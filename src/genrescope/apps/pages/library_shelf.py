"""The library behind the page *Library*: one for the server, whoever looks at it.

A scan runs in a thread of its own and goes on when a page is closed. Everything that pages show
comes from here, so two of them cannot differ for longer than it takes to ask again. Writing is done
by one at a time; what was decided elsewhere meanwhile is not written over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.apps.genre_policy import Policy
from genrescope.apps.heard import Heard
from genrescope.apps.journal import Journal
from genrescope.apps.pages.library_rows import Query, Row, counts
from genrescope.apps.service.library import inside
from genrescope.apps.service.problems import RequestError
from genrescope.apps.tagger import Tagger, Undone, undo
from genrescope.apps.tagging import can_judge_together, hear
from genrescope.audio.files import printable
from genrescope.catalog.folders import AUDIO_SUFFIXES
from genrescope.catalog.genre_tags import read_genre_field
from genrescope.catalog.tags import read_tags
from genrescope.errors import DataError, GenrescopeError, JournalError, TagError
from genrescope.learn.prediction import FailedPrediction, Prediction

if TYPE_CHECKING:
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Shelf"]

_PLANS = 16  # previews that are kept
_MOST_GENRES = 20  # values that one file is given by hand
_LONGEST = 200  # characters of one
_JUDGED = 1.0  # s between two judgements of tracks together
_COMMAND = "genrescope serve"

_log = logging.getLogger(__name__)


@dataclass
class Scan:
    """How far a scan is."""

    folder: str
    began: float
    found: int = 0
    done: int = 0
    failed: int = 0
    outside: int = 0
    running: bool = True
    looking: bool = True
    cancelled: bool = False
    ended: float = 0.0
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has; the rate in files a second."""
        took = (self.ended or time.monotonic()) - self.began
        told = {name: value for name, value in vars(self).items() if name not in ("began", "ended")}
        return {**told, "seconds": round(took, 1), "rate": round(self.done / max(took, 0.1), 1)}


@dataclass
class Job:
    """How far writing, or taking back, is."""

    kind: str
    total: int
    done: int = 0
    changed: int = 0
    failed: int = 0
    running: bool = True
    run: int | None = None
    error: str = ""


class Shelf:
    """What is known of a library, and what may be done with it.

    Parameters
    ----------
    root : Path
        The library, resolved. Nothing outside of it is read or written.
    recogniser : Recogniser
        What hears.
    workers : int or None
        Processes that hear.
    """

    def __init__(self, root: Path, recogniser: Recogniser, *, workers: int | None) -> None:
        self.root, self.recogniser, self.workers = root, recogniser, workers
        self.policy, self.can_together = Policy(), can_judge_together(recogniser)
        self.together = self.can_together
        self.scan: Scan | None = None
        self.job: Job | None = None
        self.version = 0
        self._rows: dict[int, Row] = {}
        self._ids: dict[Path, int] = {}
        self._next = 1
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._cancel = threading.Event()
        self._threads: list[threading.Thread] = []
        self._plans: OrderedDict[str, dict[int, tuple[str, ...]]] = OrderedDict()
        self._heard: Heard | None = None
        self._picked: tuple[Any, list[Row]] | None = None
        self._counted: tuple[int, dict[str, Any]] | None = None

    # --- looking -----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All but the rows."""
        with self._lock:
            version, rows = self.version, list(self._rows.values())
            if self._counted is None or self._counted[0] != version:
                self._counted = (version, counts(rows))
            return {
                "version": version,
                "rows": len(rows),
                **self._counted[1],
                "scan": None if self.scan is None else self.scan.to_dict(),
                "job": None if self.job is None else dict(vars(self.job)),
                "policy": {
                    "existing": self.policy.existing,
                    "min_confidence": self.policy.min_confidence,
                    "subgenres": self.policy.subgenres,
                    "together": self.together,
                },
            }

    def pick(self, query: Query) -> list[Row]:
        """The rows that are asked for, in order."""
        with self._lock:
            key = (self.version, query)
            if self._picked is None or self._picked[0] != key:
                self._picked = (key, query.pick(self._rows.values()))
            return self._picked[1]

    def row(self, number: int) -> Row:
        """One row.

        Raises
        ------
        DataError
            If there is none, or no longer.
        """
        with self._lock:
            if number not in self._rows:
                raise DataError(f"row {number} is no longer there; the folder was scanned again")
            return self._rows[number]

    def file(self, number: int) -> Path:
        """The file of a row, which is inside the library still."""
        return inside(self.root, self.row(number).path)

    def folders(self) -> list[str]:
        """The folders right below the root."""
        with os.scandir(self.root) as entries:
            found = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and entry.is_dir()
                and printable(entry.name) == entry.name
                and self._is_inside(entry.path)
            ]
        return sorted(found, key=str.casefold)

    # --- scanning ----------------------------------------------------------

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
        with self._lock:
            if self.scan is not None and self.scan.running:
                raise RequestError(409, "a scan is running; stop it first, or wait for it")
            self.scan = Scan(folder.strip("/") or "", time.monotonic())
            self._cancel = threading.Event()
            self.version += 1
            self._start(self._scan, self.scan, start, self._cancel)

    def cancel_scan(self) -> None:
        """Stop the scan; what was heard stays."""
        self._cancel.set()

    def close(self) -> None:
        """Stop everything; a file that is being written is finished."""
        self._cancel.set()
        for thread in self._threads:
            thread.join()
        if self._heard is not None:
            self._heard.close()

    def _start(self, work: Any, *args: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=args, name="genrescope-library", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _scan(self, scan: Scan, start: Path, cancel: threading.Event) -> None:
        try:
            paths = self._find(scan, start, cancel)
            scan.looking = False
            if self._heard is None:
                self._heard = Heard.open()
            coming = (path for path in paths if not cancel.is_set())
            dirty: set[str] = set()
            judged = time.monotonic()
            results = hear(self._heard, self.recogniser, coming, workers=self.workers)
            for result in results:
                if cancel.is_set():
                    break
                dirty |= self._take(scan, result)
                if time.monotonic() - judged > _JUDGED:
                    self._judge(dirty)
                    dirty, judged = set(), time.monotonic()
            self._judge(dirty)
            self._note_runs(start)
        except GenrescopeError as error:
            scan.error = self.words(error)
        except Exception as error:  # noqa: BLE001 (told on the page)
            _log.exception("the scan of %s ended early", start)
            scan.error = f"the scan ended early ({type(error).__name__}: {error})"
        finally:
            with self._lock:
                scan.cancelled = cancel.is_set()
                scan.running = scan.looking = False
                scan.ended = time.monotonic()
                self.version += 1

    def _find(self, scan: Scan, start: Path, cancel: threading.Event) -> list[Path]:
        """The files below a folder; their rows take the place of those that were there."""
        paths: dict[Path, str] = {}
        for path in self._walk(start, scan, cancel):
            real = Path(os.path.realpath(path))
            paths.setdefault(real, printable(os.path.relpath(path, self.root)))
            scan.found = len(paths)
        ordered = sorted(paths.items(), key=lambda pair: pair[1])
        with self._lock:
            known, rows, self.version = self._rows, {}, self.version + 1
            for path, name in ordered:
                number = self._ids.get(path)
                if number is None:
                    number, self._next = self._next, self._next + 1
                    self._ids[path] = number
                old = known.get(number)
                rows[number] = replace(old or Row(number, path, name), name=name, done=False)
            self._rows = {
                number: replace(row, version=self.version) for number, row in rows.items()
            }
        return [path for path, _ in ordered]

    def _walk(self, folder: Path, scan: Scan, cancel: threading.Event) -> Iterator[Path]:
        """Audio files, in folders and links that stay inside the library."""
        seen: set[str] = set()
        pending = [str(folder)]
        while pending and not cancel.is_set():
            here = pending.pop()
            real = os.path.realpath(here)
            if real in seen:
                continue
            seen.add(real)
            try:
                with os.scandir(here) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                _log.warning("%s: left out: %s", here, error.strerror)
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and not self._is_inside(entry.path):
                    scan.outside += 1
                elif entry.is_dir():
                    pending.append(entry.path)
                elif Path(entry.name).suffix.casefold() in AUDIO_SUFFIXES and entry.is_file():
                    yield Path(entry.path)

    def _is_inside(self, path: str) -> bool:
        try:
            inside(self.root, path)
        except GenrescopeError:
            return False
        return True

    def _take(self, scan: Scan, result: Prediction | FailedPrediction) -> set[str]:
        """Put an answer into its row; the artists whose tracks have to be judged anew."""
        path = result.path
        if path is None or path not in self._ids:
            return set()
        number, error = self._ids[path], ""
        now: tuple[str, ...] = ()
        if isinstance(result, FailedPrediction):
            tags = read_tags(path)
            heard, title, artist = None, tags.title, tags.artist
            error = self.words(result.message)
            scan.failed += 1
        else:
            heard, title, artist = result, result.title, result.artist
        try:
            now = read_genre_field(path).values
        except TagError as problem:
            error = error or self.words(problem)
        with self._lock:
            scan.done += 1
            row = self._rows[number]
            fresh = replace(
                row, now=now, solo=heard, title=title, artist=artist, error=error, done=True
            )
            self._put(fresh.judged(heard, self.policy))
        return {artist.casefold()} if artist and self.together else set()

    def _put(self, row: Row) -> None:
        self.version += 1
        self._rows[row.id] = replace(row, version=self.version)

    def _judge(self, artists: Iterable[str] | None) -> None:
        """Judge the tracks of artists together; None is of all."""
        wanted = None if artists is None else set(artists)
        if wanted is not None and not wanted:
            return
        with self._lock:
            rows = [row for row in self._rows.values() if row.solo is not None]
        by_artist: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            key = (row.artist or "").casefold()
            if wanted is None or key in wanted:
                by_artist[key].append(row)
        for key, tracks in by_artist.items():
            solo = [row.solo for row in tracks if row.solo is not None]
            judged = self.recogniser.together(solo) if self.together and key else solo
            with self._lock:
                for row, heard in zip(tracks, judged, strict=True):
                    here = self._rows.get(row.id)
                    if here is not None and here.solo is row.solo:
                        self._put(here.judged(heard, self.policy))

    def _note_runs(self, below: Path) -> None:
        """Which files have genres that can be taken back."""
        with Journal.open() as journal:
            runs: dict[Path, int] = {}
            for entry in journal.entries(path=below):
                if entry.in_force and entry.plan.undoes is None:
                    runs.setdefault(entry.path, entry.run)
        with self._lock:
            for row in list(self._rows.values()):
                if (below == row.path or below in row.path.parents) and (
                    row.run != runs.get(row.path)
                ):
                    self._put(replace(row, run=runs.get(row.path)))

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
        with self._lock:
            self.policy = policy
            self.together = self.can_together and told.get("together") is True
        self._judge(None)

    def choose(self, numbers: Sequence[int], genres: Sequence[str] | None) -> int:
        """Give rows genres by hand; None takes that back. How many rows have changed.

        Raises
        ------
        DataError
            If these are no genres.
        """
        chosen = None if genres is None else _checked(genres)
        with self._lock:
            changed = [
                row
                for number in numbers
                if (row := self._rows.get(number)) is not None and row.done and row.chosen != chosen
            ]
            for row in changed:
                self._put(replace(row, chosen=chosen))
            return len(changed)

    def leave(self, numbers: Sequence[int]) -> int:
        """Have rows keep the genres that they have. How many rows have changed."""
        with self._lock:
            changed = [row for n in numbers if (row := self._rows.get(n)) is not None and row.done]
            for row in changed:
                self._put(replace(row, chosen=row.now))
            return len(changed)

    # --- writing -----------------------------------------------------------

    def plan(self, rows: Sequence[Row]) -> tuple[str, list[Row]]:
        """What would be written for these rows, and a key to have just that written."""
        changing = [row for row in rows if row.target is not None]
        key = secrets.token_urlsafe(9)
        with self._lock:
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
        with self._lock:
            if key not in self._plans:
                raise RequestError(
                    410, "this preview is out of date or was written already; look again"
                )
            self._claim()
            plan = self._plans.pop(key)
            self.job = Job("write", len(plan))
            self.version += 1
            self._start(self._write, self.job, plan)

    def begin_undo(self, numbers: Sequence[int] | None = None, *, run: int | None = None) -> None:
        """Bring back the genres that rows, or all files of a run, had before.

        Raises
        ------
        RequestError
            If another writing is going on, or the run changed files outside of the library.
        JournalError
            If the journal cannot be read.
        """
        paths: list[Path] = []
        if run is None:
            rows = [self.row(number) for number in numbers or ()]
            paths = [inside(self.root, row.path) for row in rows if row.run is not None]
        else:
            with Journal.open() as journal:
                paths = [entry.path for entry in journal.entries(run=run) if entry.in_force]
            if any(self.root not in path.parents for path in paths):
                raise RequestError(
                    403,
                    f"run {run} wrote files outside of this library, too; take it back on the "
                    f"command line: genrescope undo {run}",
                )
        with self._lock:
            self._claim()
            self.job = Job("undo", len(paths), run=run)
            self.version += 1
            self._start(self._undo, self.job, paths, run)

    def history(self) -> list[dict[str, Any]]:
        """The runs that wrote files of this library, the latest first.

        Raises
        ------
        JournalError
            If the journal cannot be read.
        """
        here: dict[int, int] = defaultdict(int)
        with Journal.open() as journal:
            for entry in journal.entries(path=self.root):
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

    def words(self, error: GenrescopeError | str) -> str:
        """An error in its own words, with files named as they are inside the library."""
        text = str(error).replace(f"{self.root}{os.sep}", "")
        return text.split(" (--force")[0]

    def _claim(self) -> None:
        if not self._writing.acquire(blocking=False):
            raise RequestError(
                409, "files are being written, perhaps from another window; wait for that"
            )

    def _write(self, job: Job, plan: Mapping[int, tuple[str, ...]]) -> None:
        with self._finishing(job), Journal.open() as journal:
            tagger = Tagger(journal, command=_COMMAND, bundle=self.recogniser.bundle.name)
            job.run = tagger.run
            for number, genres in plan.items():
                row = self._rows.get(number)
                try:
                    if row is None or row.target != genres:
                        raise TagError("was changed in another window meanwhile; look again")
                    path = inside(self.root, row.path)
                    change = tagger.write(path, genres, expected=row.now)
                except JournalError:
                    raise
                except GenrescopeError as error:
                    self._failed(job, None if row is None else row.path, error)
                    continue
                if self._heard is not None:
                    self._heard.rewritten(path, change.new)
                with self._lock:
                    job.done, job.changed = job.done + 1, job.changed + 1
                    row = replace(
                        self._rows[number], now=change.new, chosen=None, run=tagger.run, error=""
                    )
                    self._put(row.judged(row.heard, self.policy))

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
            self._note_runs(self.root)

    def _undone(self, job: Job, undone: Undone) -> None:
        path = Path(os.path.realpath(undone.path))
        if undone.state not in ("restored", "as before"):
            self._failed(job, path, undone.message)
            return
        if self._heard is not None:
            self._heard.rewritten(path, undone.old)
        with self._lock:
            job.done, job.changed = job.done + 1, job.changed + 1
            row = self._rows.get(self._ids.get(path, 0))
            if row is not None:
                now = read_genre_field(path).values
                row = replace(row, now=now, chosen=None, error="")
                self._put(row.judged(row.heard, self.policy))

    def _failed(self, job: Job, path: Path | None, error: GenrescopeError | str) -> None:
        with self._lock:
            job.done, job.failed = job.done + 1, job.failed + 1
            row = None if path is None else self._rows.get(self._ids.get(path, 0))
            if row is not None:
                now = row.now
                with contextlib.suppress(GenrescopeError):
                    now = read_genre_field(inside(self.root, row.path)).values
                row = replace(row, now=now, error=self.words(error))
                self._put(row.judged(row.heard, self.policy))

    def _finishing(self, job: Job) -> _Finishing:
        return _Finishing(self, job)


class _Finishing:
    """However a job ends, it is told and the next one may begin."""

    def __init__(self, shelf: Shelf, job: Job) -> None:
        self._shelf, self._job = shelf, job

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        shelf, job = self._shelf, self._job
        if isinstance(error, GenrescopeError):
            job.error = shelf.words(error)
        elif error is not None:
            _log.error("%s ended early", job.kind, exc_info=error)
            job.error = f"ended early ({type(error).__name__}: {error})"
        with shelf._lock:
            job.running = False
            shelf.version += 1
        shelf._writing.release()
        return isinstance(error, Exception)


def _checked(genres: Sequence[str]) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in genres):
        raise DataError("genres have to be text")
    found: dict[str, str] = {}
    for name in genres:
        text = " ".join(name.split())
        if not text:
            continue
        if len(text) > _LONGEST or not text.isprintable():
            raise DataError(
                f"a genre has at most {_LONGEST} printable characters; this one has {len(text)}"
            )
        found.setdefault(text.casefold(), text)
    if len(found) > _MOST_GENRES:
        raise DataError(f"{len(found)} genres are too many; a file is given {_MOST_GENRES} at most")
    return tuple(found.values())
