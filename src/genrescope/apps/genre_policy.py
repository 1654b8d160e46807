"""What to write into the genre field of a file: the rules, apart from any file.

A recogniser says what it hears, a file says what it is, and a :class:`Policy` is what its owner
wants. :func:`propose` brings the three together. It writes nothing.

The rules, in this order; the first that applies decides:

1. A file with a genre that is never to be touched stays as it is.
2. A file that has the genre already, in whatever spelling, is not rewritten.
3. Where the genres in the file are kept, and it has one, it stays as it is.
4. "Not sure" writes nothing, and neither does an answer below the least confidence.
5. A genre that the owner has no name for is not written.

A genre that says nothing ("Other", "Unknown", ...; see :func:`says_nothing`) counts as none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from genrescope.apps.genre_names import GenreNames, folded
from genrescope.catalog.genres import GenreTree, split_genres
from genrescope.errors import DataError, UnknownGenreError
from genrescope.learn.prediction import LOW_CONFIDENCE, Prediction

__all__ = [
    "ACTIONS",
    "EXISTING",
    "Action",
    "Existing",
    "GenreNames",
    "Policy",
    "Proposal",
    "mentions",
    "propose",
    "says_nothing",
    "stays",
]

Existing: TypeAlias = Literal["keep", "replace", "add"]
Action: TypeAlias = Literal["write", "same", "keep", "protected", "not sure", "unwanted"]

EXISTING: tuple[Existing, ...] = ("keep", "replace", "add")
ACTIONS: tuple[Action, ...] = ("write", "same", "keep", "protected", "not sure", "unwanted")

# What rippers, shops and players write where they know nothing, word by word, as in
# "Other - misc". ID3v1's number 12 is "Other", and 255 is "none".
_NOTHING = frozenset(
    {
        *("other", "others", "unknown", "undefined", "unspecified", "unclassifiable"),
        *("unclassified", "uncategorized", "uncategorised", "misc", "miscellaneous", "none", "no"),
        *("genre", "genres", "n", "a", "na", "not", "available", "set", "12", "255"),
    }
)


@dataclass(frozen=True)
class Policy:
    """What the owner of the files wants.

    Attributes
    ----------
    existing : {"keep", "replace", "add"}
        What becomes of genres that are there: "keep" fills only fields that say nothing, "replace"
        puts ours in their place, "add" puts ours after them.
    min_confidence : float or None
        Write only what is at least so probable. It can ask for more than the recogniser does, not
        for less: what it is not sure of is not written.
    subgenres : bool
        Write the genre and the most probable sub-genre of it (with what lies between, where there
        is something), each as a value.
    names : GenreNames or None
        The owner's own names for our genres.
    keep_genres : tuple of str
        A file with one of these is never touched. Spelling does not matter.

    Raises
    ------
    DataError
        If `existing` is none of the three, or `min_confidence` no probability.
    """

    existing: Existing = "keep"
    min_confidence: float | None = None
    subgenres: bool = False
    names: GenreNames | None = None
    keep_genres: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.existing not in EXISTING:
            raise DataError(f"existing is {self.existing!r}; give one of {', '.join(EXISTING)}")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise DataError(
                f"min_confidence is {self.min_confidence}; a probability lies between 0 and 1"
            )

    @property
    def never(self) -> tuple[str, ...]:
        """All genres that are never to be touched, those of the file of names included."""
        return (*self.keep_genres, *(self.names.never if self.names else ()))


@dataclass(frozen=True)
class Proposal:
    """What would become of the genre field of one file.

    Attributes
    ----------
    path : Path or None
        The file.
    now : tuple of str
        The values that the field has.
    proposed : tuple of str
        The values that it would have; those of `now` where nothing is written.
    action : str
        "write", or why not: "same" (it has the genre), "keep" (it has another), "protected" (it
        has one that is never touched), "not sure", "unwanted" (the owner has no name for it).
    why : str
        The same in words; empty for "write".
    confidence : float or None
        Of the genre; None where the file was not heard.
    prediction : Prediction or None
        What was recognised; None where the file was not heard, since its genre stays anyway.
    """

    path: Path | None
    now: tuple[str, ...]
    proposed: tuple[str, ...]
    action: Action
    why: str
    confidence: float | None
    prediction: Prediction | None = field(default=None, repr=False)

    @property
    def writes(self) -> bool:
        """Whether the file would be changed."""
        return self.action == "write"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the timeline, in types that JSON has."""
        heard = self.prediction
        return {
            "path": None if self.path is None else str(self.path),
            "action": self.action,
            "now": list(self.now),
            "proposed": list(self.proposed),
            "why": self.why,
            "genre": heard.genre if heard else None,
            "best": heard.best if heard else None,
            "confidence": None if self.confidence is None else round(self.confidence, 8),
        }


def propose(prediction: Prediction, now: Sequence[str], policy: Policy) -> Proposal:
    """Decide on the genre field of one file.

    Parameters
    ----------
    prediction : Prediction
        What was recognised in it.
    now : sequence of str
        The values of its genre field, as written.
    policy : Policy
        What its owner wants.

    Returns
    -------
    Proposal

    Examples
    --------
    >>> heard = Prediction.from_probabilities({"Rock": 0.8, "Folk": 0.2}, threshold=0.5)
    >>> propose(heard, ["Other"], Policy()).proposed
    ('Rock',)
    >>> proposal = propose(heard, ["Polka"], Policy())
    >>> proposal.action, proposal.why
    ('keep', 'it has a genre')
    >>> propose(heard, ["Polka"], Policy(existing="add")).proposed
    ('Polka', 'Rock')
    """
    values = tuple(now)

    def so(action: Action, why: str, proposed: tuple[str, ...] = values) -> Proposal:
        return Proposal(
            prediction.path, values, proposed, action, why, prediction.confidence, prediction
        )

    known = tuple(prediction.probabilities)
    held = _held(values)
    if touched := _protected(held, policy):
        return so("protected", f"{touched} is never touched")
    wanted, missing = _wanted(prediction, policy)
    has = [any(_same(w, h, known=known, names=policy.names) for h in held) for w in wanted]
    enough = bool(wanted) and _reason(prediction, policy) == ""
    if enough and all(has) and (policy.existing == "add" or len(held) == len(wanted)):
        return so("same", "it has this genre" if len(wanted) == 1 else "it has these genres")
    if held and policy.existing == "keep":
        return so("keep", "it has a genre" if len(held) == 1 else "it has genres")
    if reason := _reason(prediction, policy):
        return so("not sure", reason)
    if not wanted:
        return so("unwanted", f"your names have none for {missing}")
    new = tuple(wanted)
    if policy.existing == "add":
        new = (*held, *(name for name, there in zip(wanted, has, strict=True) if not there))
    return so("write", "", new)


def stays(now: Sequence[str], policy: Policy, *, path: Path | None = None) -> Proposal | None:
    """The proposal for a file that stays as it is, whatever would be heard in it.

    Returns
    -------
    Proposal or None
        None where it has to be heard.
    """
    held = _held(now)
    if touched := _protected(held, policy):
        return Proposal(
            path, tuple(now), tuple(now), "protected", f"{touched} is never touched", None
        )
    if held and policy.existing == "keep":
        why = "it has a genre" if len(held) == 1 else "it has genres"
        return Proposal(path, tuple(now), tuple(now), "keep", why, None)
    return None


def says_nothing(genre: str) -> bool:
    """Whether the value of a genre field means that the genre is not known.

    >>> [says_nothing(text) for text in (" ", "Other - misc", "(12)", "N/A", "Rock")]
    [True, True, True, True, False]
    """
    return all(word in _NOTHING for word in re.findall(r"\w+", genre.casefold()))


def mentions(genres: Iterable[str], wanted: Iterable[str]) -> str:
    """The first of `genres` that is one of `wanted`, however it is spelled; empty if none is."""
    folds = {folded(name) for name in wanted}
    titles = {title for name in wanted if (title := _title(name))}
    return next((g for g in genres if folded(g) in folds or _title(g) in titles), "")


def _held(values: Sequence[str]) -> tuple[str, ...]:
    """The genres in a field that say something, taken apart where one value holds several."""
    return tuple(name for value in values for name in split_genres(value) if not says_nothing(name))


def _protected(held: Sequence[str], policy: Policy) -> str:
    return mentions(held, policy.never) if policy.never else ""


def _reason(prediction: Prediction, policy: Policy) -> str:
    """Why the answer is not good enough to be written; empty where it is."""
    if prediction.genre is None:
        return prediction.reason or LOW_CONFIDENCE
    least = policy.min_confidence
    if least is not None and prediction.confidence < least:
        return f"below {least:.0%}"
    return ""


def _wanted(prediction: Prediction, policy: Policy) -> tuple[list[str], str]:
    """The values to write, and the first genre that was left out for want of a name."""
    least = policy.min_confidence or 0.0
    genres: tuple[str, ...] = (prediction.best,)
    if policy.subgenres:
        # Most probable first. What is part of another genre than the one that is written would
        # contradict it; what is less probable than asked for is not written either.
        fitting = (b for b in prediction.branches if b.path[0] == prediction.best)
        genres = next((b.path for b in fitting if b.probability >= least), genres)
    values: dict[str, str] = {}
    missing = ""
    for genre in dict.fromkeys(genres):
        names = (genre,) if policy.names is None else policy.names.of(genre)
        if not names:
            missing = missing or genre
        for name in names:
            values.setdefault(name.casefold(), name)
    return list(values.values()), missing


def _same(wanted: str, there: str, *, known: Sequence[str], names: GenreNames | None) -> bool:
    if wanted.casefold() == there.casefold():
        return True
    if names is not None and names.gives(wanted):
        return False  # the owner's own spelling counts
    a, b = folded(wanted), folded(there)
    if a == b:
        return True
    folds = {folded(name) for name in known}
    if a in folds and b in folds:
        return False  # two genres of a recogniser are two, though a tree may take them together
    title = _title(wanted)
    return bool(title) and title == _title(there)


@functools.lru_cache(maxsize=8192)
def _title(name: str) -> str:
    """The title in the genre tree; empty for a name that is not in it."""
    text = f"({name.strip()})" if name.strip().isdigit() else name  # of ID3v1, not of FMA
    try:
        return GenreTree.fma().canonical(text)
    except UnknownGenreError:
        return ""
