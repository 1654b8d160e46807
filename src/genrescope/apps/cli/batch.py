"""The files that the arguments of a command mean, found as they are needed."""

from __future__ import annotations

import glob
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genrescope.apps.cli.text import printable

if TYPE_CHECKING:
    from genrescope.learn.prediction import FailedPrediction, Prediction

__all__ = ["Batch"]

_POLL = 0.1  # s


class Batch:
    """The files that the arguments mean, found as they are needed.

    Attributes
    ----------
    total : int or None
        How many there are, after :meth:`look_ahead`.
    unread : list of FailedPrediction
        Folders that could not be searched.
    """

    def __init__(self, given: list[str], *, null: bool) -> None:
        self._given = given
        self._null = null
        self._found: list[Path] | None = None
        self.total: int | None = None
        self.unread: list[FailedPrediction] = []

    def look_ahead(self) -> None:
        """Count the files, unless they come from a list that may still grow."""
        if "-" not in self._given:
            self._found = [path for path in self if path is not None]
            self.total = len(self._found)

    def __iter__(self) -> Iterator[Path | None]:
        """Each file once; None where the list on stdin is waited for."""
        if self._found is not None:
            yield from self._found
            return
        from genrescope.catalog.folders import find_audio

        seen: set[str] = set()
        for given in self._arguments():
            if given is None:
                yield None
                continue
            for path in find_audio(given, on_error=self._note):
                key = os.path.abspath(path)
                if key not in seen:
                    seen.add(key)
                    yield path

    def explain(self, result: Prediction | FailedPrediction) -> Prediction | FailedPrediction:
        """Say of a pattern that it matches nothing, rather than that there is no such file."""
        from genrescope.learn.prediction import FailedPrediction

        if isinstance(result, FailedPrediction) and self._is_pattern(result.path):
            message = f"{result.path}: no file matches this pattern"
            return FailedPrediction(result.path, result.error, message)
        return result

    def only_patterns(self, failures: list[FailedPrediction]) -> bool:
        """Whether all that failed is patterns that match nothing."""
        return all(self._is_pattern(failure.path) for failure in failures)

    def nothing_found(self) -> str:
        """What to say where there was not one file."""
        where = ", ".join(printable(path) for path in self._given if path != "-")
        places = [where] if where else []
        if "-" in self._given:
            places.append("the list on stdin")
        suffixes = " ".join(("mp3", "flac", "wav", "aiff", "ogg", "opus", "m4a", "wma"))
        return (
            f"no audio files in {' or '.join(places)}; "
            f"in folders, files that end in {suffixes} and the like are taken"
        )

    def _is_pattern(self, path: Path) -> bool:
        return (
            str(path) in {str(Path(given)) for given in self._given}
            and glob.has_magic(str(path))
            and not os.path.lexists(path)
        )

    def _arguments(self) -> Iterator[str | None]:
        for given in self._given:
            if given == "-":
                yield from _listed(b"\0" if self._null else b"\n")
            else:
                yield given

    def _note(self, folder: Path, error: OSError) -> None:
        from genrescope.learn.prediction import FailedPrediction

        kind = "AudioPermissionError" if isinstance(error, PermissionError) else "AudioError"
        message = f"{folder}: the folder cannot be read ({error.strerror or error})"
        self.unread.append(FailedPrediction(folder, kind, message))


def _listed(separator: bytes) -> Iterator[str | None]:
    """Names from standard input, as they arrive; None where there is none at the moment."""
    source = sys.stdin.fileno()
    rest = b""
    while True:
        while not _readable(source):
            yield None
        # Not through sys.stdin, which would wait for a full buffer.
        chunk = os.read(source, 1 << 16)
        if not chunk:
            break
        *names, rest = (rest + chunk).split(separator)
        yield from _names(names, separator)
    yield from _names([rest], separator)


def _readable(source: int) -> bool:
    """Whether there is something to read, or the end; waits a little for it."""
    try:
        return bool(select.select([source], [], [], _POLL)[0])
    except (OSError, ValueError):  # Windows can do this with sockets only
        return True


def _names(raw: list[bytes], separator: bytes) -> Iterator[str]:
    for name in raw:
        cut = name.removesuffix(b"\r") if separator == b"\n" else name
        if cut:
            yield os.fsdecode(cut)
