"""The user's own names for our genres, from a file that people write by hand.

The file is TOML::

    never-touch = ["Audiobook", "Comedy"]

    [names]
    "Hip-Hop" = "Rap"
    Electronic = ["Electronic", "Dance"]
    Experimental = []                      # never written

A genre that the file does not name is written as it is.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genrescope.catalog.genres import GenreTree
from genrescope.errors import DataError

__all__ = ["GenreNames", "folded", "names_template"]

_NAMES = "names"
_NEVER = "never-touch"
_LIMIT = 1 << 20  # bytes; a list of names is not longer
_LONGEST = 200  # characters of a name
_SHOWN = 12  # genres that a message names
_EXAMPLES = ("Audiobook", "Comedy", "Christmas")


@dataclass(frozen=True)
class GenreNames:
    """Names that a user has for our genres.

    Attributes
    ----------
    names : mapping of str to tuple of str
        Our genre to the names to write: one, several, or none to never write it.
    never : tuple of str
        Genres that are never to be touched in a file.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    never: tuple[str, ...] = ()

    def of(self, genre: str) -> tuple[str, ...]:
        """What to write for one of our genres.

        >>> GenreNames({"Hip-Hop": ("Rap",)}).of("Hip-Hop"), GenreNames().of("Rock")
        (('Rap',), ('Rock',))
        """
        return self.names.get(genre, (genre,))

    def gives(self, name: str) -> bool:
        """Whether the user wrote this very name."""
        return any(name in names for names in self.names.values())

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, genres: Iterable[str] | None = None
    ) -> GenreNames:
        """Read a file of names.

        Parameters
        ----------
        path : path-like
            A TOML file, see the top of this module.
        genres : iterable of str, optional
            The genres that there may be: those of a recogniser with its sub-genres. Default: the
            163 genres of FMA.

        Returns
        -------
        GenreNames

        Raises
        ------
        DataError
            If the file cannot be read, is no TOML, or names what is no genre; with the line.
        """
        file = Path(path)
        text = _text_of(file)
        try:
            told = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise DataError(
                f"{file}: is no TOML ({error}); print a template with "
                "`genrescope tag --names-template`"
            ) from error
        for key in told:
            if key not in (_NAMES, _NEVER):
                raise DataError(
                    f"{file}{_line(text, key)}: has the key {key!r}; a file of names has the "
                    f"table [{_NAMES}] and the list {_NEVER}"
                )
        table = told.get(_NAMES, {})
        if not isinstance(table, dict):
            raise DataError(f"{file}{_line(text, _NAMES)}: {_NAMES} is no table; write [{_NAMES}]")
        known = {folded(name): name for name in genres or GenreTree.fma().titles}
        found: dict[str, tuple[str, ...]] = {}
        for key, value in table.items():
            where = f"{file}{_line(text, key)}"
            genre = known.get(folded(key))
            if genre is None:
                raise DataError(
                    f"{where}: {key!r} is no genre that is recognised{_near(key, known)}"
                )
            if genre in found:
                raise DataError(f"{where}: {genre} is given twice; give all its names in one list")
            found[genre] = _strings(value, where=f"{where}: {key}")
        never = _strings(told.get(_NEVER, []), where=f"{file}{_line(text, _NEVER)}: {_NEVER}")
        return cls(found, never)


def names_template(genres: Iterable[str], subgenres: Iterable[str] = ()) -> str:
    """A file of names to start from: every genre with its own name.

    Parameters
    ----------
    genres, subgenres : iterable of str
        Of the recogniser.

    Returns
    -------
    str
        TOML that changes nothing until it is edited.
    """
    lines = [
        "# Your names for the genres that are recognised, for: genrescope tag --names FILE",
        "# One name, or several in a list; [] never writes the genre. Delete what you do not need.",
        "",
        "# Files with one of these genres are never touched, such as:",
        f"# {_NEVER} = [{', '.join(map(_quoted, _EXAMPLES))}]",
        f"{_NEVER} = []",
        "",
        f"[{_NAMES}]",
        *(f"{_quoted(genre)} = {_quoted(genre)}" for genre in genres),
    ]
    rest = [f"{_quoted(genre)} = {_quoted(genre)}" for genre in subgenres]
    if rest:
        lines += ["", "# Sub-genres, which are written with --subgenres.", *rest]
    return "\n".join(lines) + "\n"


def folded(name: str) -> str:
    """Letters and digits only, without case and accents, so that spellings of one name meet.

    >>> folded("Hip-Hop") == folded("hip hop"), folded("R&B")
    (True, 'randb')
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in re.sub(r"[&+]", " and ", plain) if c.isalnum())


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read ({getattr(error, 'strerror', None) or error}); print a "
            "template with `genrescope tag --names-template`"
        ) from error
    if len(data) > _LIMIT:
        raise DataError(f"{file}: is larger than {_LIMIT:,} bytes; this is no file of names")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is no UTF-8 (byte {error.start}); save it as UTF-8") from error


def _strings(value: Any, *, where: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise DataError(f'{where} is {value!r}; give a name in "quotes", or several in [ ]')
    names = [" ".join(one.split()) for one in values]
    for name in names:
        if len(name) > _LONGEST or not name.isprintable():
            raise DataError(
                f"{where} holds a name that is longer than {_LONGEST} characters or cannot be "
                "printed; shorten it"
            )
    return tuple(dict.fromkeys(name for name in names if name))


def _line(text: str, key: str) -> str:
    """Where a key stands, as ``, line 7``; empty where it cannot be found."""
    forms = {key, _quoted(key), f"'{key}'"}
    pattern = rf"\s*(?:\[\s*)?({'|'.join(re.escape(form) for form in forms)})\s*[=\]]"
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(pattern, line):
            return f", line {number}"
    return ""


def _near(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(folded(name), known, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(known[key] for key in close) + "?"
    names = list(known.values())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; those are {', '.join(names[:_SHOWN])}{more}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
