"""The card of a bundle: what ``card.json`` must say, checked by hand.

A schema is a nested description. A dictionary names the keys that have to be there
(others may be), a :class:`Rule` checks one value, :class:`ListOf` each item of a list.
The checks are written out here, rather than left to a schema package, because the core
stays small and because the message has to name the key, the value and the rule.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genrescope.errors import BundleError

__all__ = ["CARD_FILE", "CARD_FORMAT", "CARD_SCHEMA", "check_card"]

CARD_FILE = "card.json"

#: The layout of ``card.json`` that this version reads and writes.
CARD_FORMAT = 1

#: How far a bundle may be from what it says about itself before it is refused.
_MAX_GENRES = 10_000
_MAX_NAME = 500  # characters
_LARGEST = 2**53  # beyond, JSON of other programs does not tell one number from the next


@dataclass(frozen=True)
class Rule:
    """One value: what it has to be, in words, and the test for it."""

    words: str
    test: Callable[[Any], bool]


@dataclass(frozen=True)
class ListOf:
    """A list whose items all follow one schema."""

    item: Any
    at_least: int = 0


def _is_number(value: Any) -> bool:
    # An integer that no float holds has no place on a card; isfinite would raise.
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (abs(value) <= _LARGEST if isinstance(value, int) else math.isfinite(value))
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    # Half a surrogate pair, which JSON can spell, can be neither printed nor written.
    return isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value)


def _is_name(value: Any) -> bool:
    # Control characters would steer the terminal that a name is printed on.
    return (
        _is_text(value)
        and 0 < len(value.strip()) <= len(value) <= _MAX_NAME
        and not re.search(r"[\x00-\x1f\x7f-\x9f]", value)
    )


TEXT = Rule("a string", _is_text)
NAME = Rule(f"a string that is not empty, printable, of {_MAX_NAME} characters at most", _is_name)
COUNT = Rule("an integer, 0 to 2**53", _is_count)
POSITIVE = Rule("an integer, 1 to 2**53", lambda v: _is_count(v) and v > 0)
SHARE = Rule("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
ABOVE_ZERO = Rule("a number above 0", lambda v: _is_number(v) and v > 0)
SHARE_OR_NULL = Rule("a number from 0 to 1, or null", lambda v: v is None or SHARE.test(v))
NOT_NEGATIVE = Rule("a number, 0 or more", lambda v: _is_number(v) and v >= 0)
OBJECT = Rule("an object", lambda v: isinstance(v, Mapping))
VERSION = Rule(
    "a string or an integer", lambda v: isinstance(v, str | int) and not isinstance(v, bool)
)
SHA256 = Rule(
    "64 hexadecimal digits",
    lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{64}", v) is not None,
)
# A plain name: a card that came from elsewhere must not reach outside its own folder.
FILE_NAME = Rule(
    "a file name without a folder",
    lambda v: isinstance(v, str) and re.fullmatch(r"[\w][\w.\- ]{0,199}", v) is not None,
)
TRACK_ID = Rule(
    "an integer or a string", lambda v: isinstance(v, int | str) and not isinstance(v, bool)
)
DIMENSION = Rule(
    "a size, or the name of a free one",
    lambda v: _is_name(v) or (_is_count(v) and v > 0),
)
SEED = Rule(
    "an integer, or a list of integers",
    lambda v: _is_seed(v) or (isinstance(v, list) and all(map(_is_seed, v))),
)

_TENSOR = {"name": NAME, "shape": ListOf(DIMENSION, at_least=2)}
_PART_TENSOR = {"name": NAME, "shape": ListOf(DIMENSION, at_least=1)}

#: The keys that a card must have; more are allowed everywhere.
CARD_SCHEMA: dict[str, Any] = {
    "format": POSITIVE,
    "name": NAME,
    "version": VERSION,
    "description": TEXT,
    "genres": ListOf(NAME, at_least=2),
    "graph": {
        "file": FILE_NAME,
        "sha256": SHA256,
        "bytes": POSITIVE,
        "opset": POSITIVE,
        "input": _TENSOR,
        "outputs": ListOf(_TENSOR, at_least=2),
    },
    "front_end": {
        "name": NAME,
        "version": VERSION,
        "n_features": POSITIVE,
        "parameters": OBJECT,
    },
    "training": {
        "data": TEXT,
        "licence": TEXT,
        "tracks": COUNT,
        "artists": COUNT,
        "track_ids": ListOf(TRACK_ID),
        "command": TEXT,
        "seed": SEED,
        "packages": OBJECT,
    },
    "metrics": {
        "protocol": TEXT,
        "table": ListOf({"name": NAME, "accuracy": SHARE, "macro_f1": SHARE_OR_NULL}),
        "scores": OBJECT,
    },
    "calibration": {"method": TEXT, "temperature": ABOVE_ZERO, "ece": SHARE_OR_NULL},
    "abstention": {
        "threshold": SHARE_OR_NULL,  # null: no threshold reaches the target, so never sure
        "target_accuracy": SHARE,
        "coverage": SHARE_OR_NULL,
        "accuracy_when_sure": SHARE_OR_NULL,
        "method": TEXT,
    },
    "conformal": {
        "level": SHARE,
        "quantile": SHARE,
        "coverage": SHARE_OR_NULL,
        "mean_set_size": NOT_NEGATIVE,
    },
    "licence": TEXT,
    "created": TEXT,
}

#: What a card says of each of its parts, where it has any.
PART_SCHEMA: dict[str, Any] = {
    "graph": {
        "file": FILE_NAME,
        "sha256": SHA256,
        "bytes": POSITIVE,
        "opset": POSITIVE,
        "inputs": ListOf(_PART_TENSOR, at_least=1),
        "outputs": ListOf(_PART_TENSOR, at_least=1),
    },
    "settings": OBJECT,
}


def check_card(card: Any, *, where: str, schema: Mapping[str, Any] = CARD_SCHEMA) -> None:
    """Check a card against the schema, and its parts against each other.

    Parameters
    ----------
    card : object
        What ``json.load`` gave.
    where : str
        The file it came from, for the message.
    schema : mapping
        The schema; the default is the one of whole cards.

    Raises
    ------
    BundleError
        At the first key that is missing or holds what it may not: the message names
        the key, what it holds, and what was expected.
    """
    _check(card, schema, key="", where=where)
    if schema is not CARD_SCHEMA:
        return
    if card["format"] != CARD_FORMAT:
        raise BundleError(
            f"{where}: key format is {card['format']}, this version of genrescope reads "
            f"format {CARD_FORMAT}; install a newer genrescope, or train the bundle again"
        )
    genres = card["genres"]
    repeated = sorted(genre for genre, n in Counter(genres).items() if n > 1)
    if repeated:
        raise _error(where, "genres", f"names {repeated[0]} more than once", "each genre once")
    _check_shapes(card, where)
    parts = card.get("parts", {})
    if not isinstance(parts, Mapping):
        raise _error(where, "parts", f"is {_quote(parts)}", "an object")
    for name, part in parts.items():
        if not _is_name(name):
            raise _error(where, "parts", f"has one named {_quote(name)}", NAME.words)
        _check(part, PART_SCHEMA, key=f"parts.{name}", where=where)


def _check_shapes(card: Mapping[str, Any], where: str) -> None:
    graph, n_features = card["graph"], card["front_end"]["n_features"]
    tensor = graph["input"]
    if tensor["name"] != "features" or len(tensor["shape"]) != 3:
        raise _error(
            where, "graph.input", _quote(tensor), "the name features and [batch, windows, n]"
        )
    if tensor["shape"][2] != n_features:
        raise _error(
            where,
            "graph.input.shape",
            f"ends with {tensor['shape'][2]}",
            f"front_end.n_features, which is {n_features}",
        )
    shapes = {output["name"]: output["shape"] for output in graph["outputs"]}
    for name, rank in (("probabilities", 2), ("window_probabilities", 3)):
        if name not in shapes:
            raise _error(
                where, "graph.outputs", f"has {_quote(sorted(shapes))}", f"one named {name}"
            )
        shape = shapes[name]
        if len(shape) != rank or shape[-1] != len(card["genres"]):
            raise _error(
                where,
                f"graph.outputs, {name}",
                f"has the shape {_quote(shape)}",
                f"{rank} dimensions, the last {len(card['genres'])} (one for each genre)",
            )


def _check(value: Any, schema: Any, *, key: str, where: str) -> None:
    if isinstance(schema, Rule):
        if not schema.test(value):
            raise _error(where, key, f"is {_quote(value)}", schema.words)
    elif isinstance(schema, ListOf):
        if not isinstance(value, list):
            raise _error(where, key, f"is {_quote(value)}", "a list")
        if not schema.at_least <= len(value):
            raise _error(where, key, f"has {len(value)} items", f"{schema.at_least} or more")
        if key == "genres" and len(value) > _MAX_GENRES:
            raise _error(where, key, f"has {len(value)} items", f"{_MAX_GENRES} at most")
        for place, item in enumerate(value):
            _check(item, schema.item, key=f"{key}[{place}]", where=where)
    else:
        if not isinstance(value, Mapping):
            subject = key or "the card"
            raise _error(where, subject, f"is {_quote(value)}", "an object")
        for name, rule in schema.items():
            inner = f"{key}.{name}" if key else name
            if name not in value:
                raise _error(where, inner, "is missing", _words(rule))
            _check(value[name], rule, key=inner, where=where)


def _words(rule: Any) -> str:
    if isinstance(rule, Rule):
        return rule.words
    return "a list" if isinstance(rule, ListOf) else "an object"


def _quote(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _error(where: str, key: str, found: str, expected: str) -> BundleError:
    subject = key if " " in key else f"key {key}"
    return BundleError(
        f"{where}: {subject} {found}, expected {expected}; "
        "the card was damaged or written by another program: get the bundle again"
    )
