"""The rows of the page *Library*: what is known of each file, and which of them are asked for."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genrescope.apps.genre_policy import Policy, Proposal, propose, says_nothing
from genrescope.catalog.genres import GenreTree, split_genres
from genrescope.errors import DataError, UnknownGenreError
from genrescope.learn.prediction import Prediction

__all__ = ["MOST_ROWS", "STATES", "Query", "Row", "counts"]

#: What a row can be asked for by.
STATES: Mapping[str, Callable[[Row], bool]]
MOST_ROWS = 500  # in one answer

_SHOWN = 3  # genres of a row that are told with their probability


@dataclass(frozen=True)
class Row:
    """One file of the library.

    Attributes
    ----------
    id : int
        Its number, as long as the server runs.
    path : Path
        Absolute, links resolved; inside the library.
    name : str
        The path inside the library, fit to be shown.
    title, artist : str or None
        From the tags.
    now : tuple of str
        The values of its genre field.
    solo, heard : Prediction or None
        What was recognised in it alone, and together with the artist's other tracks.
    proposal : Proposal or None
        What the policy makes of it.
    chosen : tuple of str or None
        Genres that a person chose for it; None where nobody did.
    run : int or None
        The run of writing that its genres come from and that can be taken back.
    error : str
        What went wrong with it last, in words.
    version : int
        Grows with every change of any row.
    """

    id: int
    path: Path
    name: str
    title: str | None = None
    artist: str | None = None
    now: tuple[str, ...] = ()
    solo: Prediction | None = None
    heard: Prediction | None = None
    proposal: Proposal | None = None
    disagrees: bool = False
    chosen: tuple[str, ...] | None = None
    run: int | None = None
    error: str = ""
    done: bool = field(default=False)
    version: int = 0

    @property
    def target(self) -> tuple[str, ...] | None:
        """The genres that would be written; None where nothing would."""
        if self.chosen is not None:
            return None if self.chosen == self.now else self.chosen
        if self.proposal is not None and self.proposal.writes:
            return self.proposal.proposed if self.proposal.proposed != self.now else None
        return None

    @property
    def sure(self) -> bool:
        """Whether a genre was recognised."""
        return self.heard is not None and self.heard.sure

    @property
    def empty(self) -> bool:
        """Whether the genre field says nothing."""
        return not held(self.now)

    def judged(self, heard: Prediction | None, policy: Policy) -> Row:
        """The same file with another answer, or under another policy."""
        if heard is None:
            return replace(self, heard=None, proposal=None, disagrees=False)
        return replace(
            self,
            heard=heard,
            proposal=propose(heard, self.now, policy),
            disagrees=bool(heard.genre) and not self.empty and not agrees(heard, self.now),
        )

    def to_dict(self) -> dict[str, Any]:
        """What the page shows, in types that JSON has."""
        heard, target = self.heard, self.target
        why = "" if self.proposal is None else self.proposal.why
        return {
            "id": self.id,
            "name": self.name,
            "title": self.title,
            "artist": self.artist,
            "now": list(self.now),
            "done": self.done,
            "genre": heard.genre if heard else None,
            "best": heard.best if heard else None,
            "confidence": round(heard.confidence, 4) if heard else None,
            "reason": heard.reason if heard else "",
            "top": [[g, round(p, 4)] for g, p in heard.top(_SHOWN)] if heard else [],
            "target": None if target is None else list(target),
            "why": why,
            "chosen": None if self.chosen is None else list(self.chosen),
            "disagrees": self.disagrees,
            "run": self.run,
            "error": self.error,
            "version": self.version,
        }


STATES = {
    "all": lambda row: True,
    "change": lambda row: row.target is not None,
    "sure": lambda row: row.sure,
    "unsure": lambda row: row.heard is not None and not row.sure,
    "disagrees": lambda row: row.disagrees,
    "empty": lambda row: row.done and row.empty,
    "hand": lambda row: row.chosen is not None,
    "written": lambda row: row.run is not None,
    "failed": lambda row: bool(row.error),
    "waiting": lambda row: not row.done,
}


_SORTS: Mapping[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "title": lambda row: (row.title or row.name).casefold(),
    "artist": lambda row: ((row.artist or "\uffff").casefold(), row.name),
    "now": lambda row: ("; ".join(row.now).casefold() or "\uffff", row.name),
    "genre": lambda row: (row.heard.best if row.heard else "\uffff", row.name),
    "confidence": lambda row: row.heard.confidence if row.heard else -1.0,
}


@dataclass(frozen=True)
class Query:
    """Which rows are asked for, and in which order.

    Attributes
    ----------
    state : str
        One of :data:`STATES`.
    genre : str
        The most probable genre; empty is any.
    search : str
        Words that title, artist, file or genres hold, all of them.
    sort : str
        "name", "title", "artist", "now", "genre" or "confidence".
    down : bool
        High to low.
    """

    state: str = "all"
    genre: str = ""
    search: str = ""
    sort: str = "name"
    down: bool = False

    def __post_init__(self) -> None:
        for name, known in (("state", STATES), ("sort", _SORTS)):
            if getattr(self, name) not in known:
                raise DataError(
                    f"{name} is {getattr(self, name)!r}; give one of {', '.join(known)}"
                )

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Query:
        """From the values of a request.

        Raises
        ------
        DataError
            If one cannot be.
        """
        down = told.get("down") in (True, "1", "true")
        texts = {name: told.get(name, "") for name in ("state", "genre", "search", "sort")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise DataError("state, genre, search and sort have to be text")
        return cls(
            state=texts["state"] or "all",
            genre=texts["genre"],
            search=texts["search"][:200],
            sort=texts["sort"] or "name",
            down=down,
        )

    def pick(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that are asked for, in order."""
        fits, words = STATES[self.state], self.search.casefold().split()
        found = [
            row
            for row in rows
            if fits(row)
            and (not self.genre or (row.heard is not None and row.heard.best == self.genre))
            and (not words or _holds(row, words))
        ]
        if self.sort != "name" or self.down:
            found.sort(key=_SORTS[self.sort], reverse=self.down)
        return found


def _holds(row: Row, words: Sequence[str]) -> bool:
    text = " ".join((row.name, row.title or "", row.artist or "", *row.now)).casefold()
    return all(word in text for word in words)


def counts(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """How many rows there are of each state, and of each most probable genre."""
    states: Counter[str] = Counter()
    genres: Counter[str] = Counter()
    for row in rows:
        for state, fits in STATES.items():
            if fits(row):
                states[state] += 1
        if row.heard is not None:
            genres[row.heard.best] += 1
    return {
        "states": {state: states[state] for state in STATES},
        "genres": dict(sorted(genres.items(), key=lambda pair: (-pair[1], pair[0]))),
    }


@functools.lru_cache(maxsize=8192)
def held(values: tuple[str, ...]) -> tuple[str, ...]:
    """The genres in a field that say something."""
    return tuple(name for value in values for name in split_genres(value) if not says_nothing(name))


def agrees(heard: Prediction, now: tuple[str, ...]) -> bool:
    """Whether the genre that was recognised is in the field, or what it is above of is."""
    genre = heard.genre or heard.best
    return any(name.casefold() == genre.casefold() or _top(name) == genre for name in held(now))


@functools.lru_cache(maxsize=8192)
def _top(name: str) -> str:
    try:
        return GenreTree.fma().top(name)
    except UnknownGenreError:
        return ""
