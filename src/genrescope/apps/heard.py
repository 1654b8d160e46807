"""Predictions remembered, so that no sound is heard twice.

A file is known again by what the system says of it (path, size, times, number), which costs
nothing; where that has changed, by its sound and by what its tags say beside the genre, which
costs a few milliseconds. So a prediction outlives that genres are written, by us or by others,
and that files are moved or renamed. It does not outlive that title, artist, album or date are
edited, since these have a say in it, nor another bundle, other settings, or another version of
genrescope.

The memory is a SQLite file in the cache folder of the user. It may be deleted at any time. Several
processes may use it at once. It never stands in the way: where it is damaged it is begun anew,
where it cannot be used files are heard without it, and a warning says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import stat
import time
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import platformdirs

from genrescope import __version__
from genrescope.apps.heard_file import MemoryFile
from genrescope.apps.sound_identity import sound_identity
from genrescope.catalog.tags import Tags, read_tags
from genrescope.errors import DataError, GenrescopeError
from genrescope.learn.prediction import FailedPrediction, Prediction

if TYPE_CHECKING:
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Heard", "heard_file"]

_log = logging.getLogger(__name__)

_BATCH = 32  # predictions that are stored together; what a kill loses at most
_PATIENCE = 2.0  # s; after which fewer are stored
_BREATH = 64  # known files that are passed over before results are looked for
_DAY = 86_400  # s


def heard_file() -> Path:
    """Where the memory is: ``GENRESCOPE_HEARD``, else in the cache folder of the user."""
    named = os.environ.get("GENRESCOPE_HEARD")
    return Path(named) if named else platformdirs.user_cache_path("genrescope") / "heard.sqlite3"


@dataclass(frozen=True)
class _Key:
    """What a prediction is remembered by: the file as it was, its sound, what its tags say."""

    identity: str
    sound: bytes
    about: bytes
    genres: tuple[str, ...]


_Result: TypeAlias = tuple[Prediction, _Key | None]


class Heard:
    """Predictions that were made before. Use :meth:`open`; safe to share between threads.

    Parameters
    ----------
    path : Path
        The SQLite file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = MemoryFile(path)
        self._answers = 0  # that were kept since they were stored
        self._stored = time.monotonic()

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Heard:
        """Open the memory.

        Parameters
        ----------
        path : path-like, optional
            Default: see :func:`heard_file`.

        Returns
        -------
        Heard
            To be closed, or used in a ``with`` block.
        """
        return cls(heard_file() if path is None else Path(path))

    def recognise(
        self,
        recogniser: Recogniser,
        paths: Iterable[str | os.PathLike[str] | None],
        *,
        workers: int | None = None,
    ) -> Generator[Prediction | FailedPrediction, None, None]:
        """Recognise files, those that were heard before from memory.

        Parameters
        ----------
        recogniser : Recogniser
            What hears the others.
        paths, workers
            As of :meth:`~genrescope.learn.recogniser.Recogniser.predict_many`.

        Yields
        ------
        Prediction or FailedPrediction
            One for each path, in their order. What failed is not remembered: it is tried again.
        """
        count = recogniser.workers if workers is None else workers
        given = (None if path is None else Path(path) for path in paths)
        settings = _settings(recogniser)
        try:
            for path in given:
                known = None if path is None else self._recall(path, settings)
                if known is not None:
                    yield known
                elif path is not None:
                    # No worker is started before there is something to hear.
                    yield from self._hear_rest(recogniser, chain([path], given), count)
        finally:
            self.store()

    def recall(self, recogniser: Recogniser, path: str | os.PathLike[str]) -> Prediction | None:
        """What is remembered of one file; None where it would have to be heard."""
        return self._recall(Path(path), _settings(recogniser))

    def rewritten(self, path: str | os.PathLike[str], genres: Sequence[str]) -> None:
        """Take note that we have written genres into a file, and nothing else.

        The next look at it then costs nothing; without this, a few milliseconds.
        """
        file = Path(path)
        identity = _identity(file)
        if identity is not None:
            changed = "UPDATE files SET identity = ?, genres = ? WHERE path = ?"
            self._file.keep(changed, (identity, json.dumps(list(genres)), _name(file)))

    def store(self) -> None:
        """Put what waits on the disk."""
        self._answers, self._stored = 0, time.monotonic()
        self._file.store()

    def close(self) -> None:
        """Store what waits, and close the file."""
        self._file.close()

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- hearing -----------------------------------------------------------

    def _hear_rest(
        self, recogniser: Recogniser, given: Iterator[Path | None], workers: int | None
    ) -> Generator[Prediction | FailedPrediction, None, None]:
        """All that is left, the first of it unknown.

        As ``predict_many`` does, but the workers also say what to remember an answer by, and None
        comes back, so that known ones can come out while nothing is heard.
        """
        from genrescope.audio.workers import map_isolated

        settings = _settings(recogniser)
        line: deque[Prediction | None] = deque()  # what is known, and None where it is not

        def unknown() -> Iterator[Path | None]:
            passed = 0
            for path in given:
                known = None if path is None else self._recall(path, settings)
                if known is None:
                    if path is not None:
                        line.append(None)
                    yield path
                    continue
                line.append(known)
                passed += 1
                if passed % _BREATH == 0:
                    yield None

        with closing(map_isolated(partial(_hear, recogniser), unknown(), workers=workers)) as done:
            for path, result in done:
                yield from _leading(line)
                if path is not None:
                    line.popleft()
                    yield self._take(path, result, settings)
                    yield from _leading(line)
        yield from _leading(line)

    def _take(
        self, path: Path, result: _Result | GenrescopeError | None, settings: bytes
    ) -> Prediction | FailedPrediction:
        """A result of a worker, noted down where it can be."""
        if isinstance(result, GenrescopeError):
            return FailedPrediction(path, type(result).__name__, str(result))
        if result is None:
            raise GenrescopeError(f"{path}: a worker gave no answer; please report it")
        prediction, key = result
        said = prediction.to_dict()
        if key is not None:
            answer = zlib.compress(json.dumps(said).encode(), 1)
            self._file.keep(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (key.sound, key.about, settings, _today(), answer),
            )
            self._keep_file(path, key)
            self._answers += 1
            if self._answers >= _BATCH or time.monotonic() - self._stored > _PATIENCE:
                self.store()
        # As it will be remembered, to the last digit: looked at twice, it is the same.
        return Prediction.from_dict(said)

    def _recall(self, path: Path, settings: bytes) -> Prediction | None:
        identity = _identity(path)
        if identity is None or not self._file.usable:
            return None
        rows = self._file.ask(
            "SELECT identity, sound, about, genres, "
            "(SELECT day FROM answers a WHERE a.sound = files.sound AND a.about = files.about "
            "AND settings = ?), (SELECT answer FROM answers a WHERE a.sound = files.sound "
            "AND a.about = files.about AND settings = ?) FROM files WHERE path = ?",
            (settings, settings, _name(path)),
        )
        if rows and rows[0][0] == identity:
            _, sound, about, genres, day, answer = rows[0]
            found = _read_answer(answer, path, genres)
            if found is not None and day != _today():
                self._touch(path, sound, about, settings)
            return found
        return self._recall_sound(path, identity, settings)

    def _recall_sound(self, path: Path, identity: str, settings: bytes) -> Prediction | None:
        """Of a file that is new or was changed: whether its sound was heard."""
        try:
            sound = sound_identity(path)
        except OSError:
            return None  # whoever opens it next says why
        query = "SELECT answer FROM answers WHERE sound = ? AND settings = ? LIMIT 1"
        if not self._file.ask(query, (sound, settings)):
            return None
        tags = read_tags(path)
        key = _Key(identity, sound, _about(tags), tags.genres)
        query = "SELECT answer FROM answers WHERE sound = ? AND about = ? AND settings = ?"
        rows = self._file.ask(query, (sound, key.about, settings))
        found = _read_answer(rows[0][0], path, json.dumps(tags.genres)) if rows else None
        if found is not None:
            self._keep_file(path, key)
            self._touch(path, sound, key.about, settings)
        return found

    # --- the file ----------------------------------------------------------

    def _keep_file(self, path: Path, key: _Key) -> None:
        row = (_name(path), key.identity, key.sound, key.about, json.dumps(key.genres), _today())
        self._file.keep("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def _touch(self, path: Path, sound: bytes, about: bytes, settings: bytes) -> None:
        used = "UPDATE answers SET day = ? WHERE sound = ? AND about = ? AND settings = ?"
        self._file.keep(used, (_today(), sound, about, settings))
        self._file.keep("UPDATE files SET day = ? WHERE path = ?", (_today(), _name(path)))


def _hear(recogniser: Recogniser, path: Path | None) -> _Result | None:
    """What a worker does."""
    if path is None:
        return None
    before = _identity(path)
    prediction = recogniser.predict(path)
    if before is None:
        return prediction, None
    try:
        key = _Key(before, sound_identity(path), _about(read_tags(path)), prediction.tagged_genres)
    except OSError:
        return prediction, None
    # What changed while it was heard is not remembered.
    return prediction, key if _identity(path) == before else None


def _leading(line: deque[Prediction | None]) -> Iterator[Prediction]:
    """Take what is known from the head of the line."""
    while line and line[0] is not None:
        yield line[0]
        line.popleft()


def _read_answer(answer: Any, path: Path, genres: Any) -> Prediction | None:
    """A prediction from memory; None where there is none, or not one that can be read."""
    if answer is None:
        return None
    try:
        known = Prediction.from_dict(json.loads(zlib.decompress(answer)))
        tagged = tuple(json.loads(genres))
    except (zlib.error, ValueError, TypeError, DataError):
        return None
    return dataclasses.replace(known, path=path, tagged_genres=tagged)


def _settings(recogniser: Recogniser) -> bytes:
    """A digest of all that an answer depends on, beside the file."""
    said = {
        "version": __version__,
        "fields": [one.name for one in dataclasses.fields(Prediction)],
        "card": recogniser.card,  # with the digests of all graphs, and all thresholds
        "windows": recogniser.n_windows,
        "metadata": recogniser._text is not None,
    }
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).digest()


def _about(tags: Tags) -> bytes:
    """A digest of the tags that have a say, or are part of a prediction."""
    said = json.dumps([tags.title, tags.artist, tags.album, tags.date])
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _identity(path: Path) -> str | None:
    """What the system says of a regular file; any change of it changes this."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _name(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _today() -> int:
    return int(time.time() // _DAY)
