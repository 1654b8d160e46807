"""Lines of a TOML file: where a key stands, and how one is changed without touching the others.

The standard library reads TOML and does not write it. Changed is one line, or the lines of one
list; the result is read again before anybody takes it for the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

__all__ = ["line_of", "literal", "with_key", "without_key"]

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_ENTRY = re.compile(r"""^\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")


def literal(value: Any) -> str:
    """A value as TOML writes it.

    >>> literal(["Spoken Word", 0.5, True])
    '["Spoken Word", 0.5, true]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    quoted = (
        _ESCAPES.get(one) or (one if one.isprintable() else f"\\U{ord(one):08x}")
        for one in str(value)
    )
    return f'"{"".join(quoted)}"'


def line_of(text: str, table: Sequence[str], key: str | None = None) -> int | None:
    """The line, from 1, of a key or of the header of a table; None where it is not seen."""
    span = _spans(text.splitlines()).get((".".join(table), None if key is None else _plain(key)))
    return span[0] + 1 if span else None


def with_key(text: str, table: Sequence[str], key: str, value: Any) -> str:
    """The text with a key set; all other lines and comments as they are.

    Raises
    ------
    ValueError
        If the text is written in a way that this cannot be done in, such as in one line.
    """
    lines = text.splitlines()
    spans = _spans(lines)
    name, entry = ".".join(table), f"{key} = {literal(value)}"
    if (name, key) in spans:
        start, stop = spans[name, key]
        comment = _comment(lines[start]) if stop == start + 1 else ""
        lines[start:stop] = [entry + comment]
    elif (name, None) in spans:
        lines.insert(spans[name, None][1], entry)
    else:
        lines += [*([""] if lines and lines[-1].strip() else []), f"[{name}]", entry]
    return _checked(lines, table, key, value)


def without_key(text: str, table: Sequence[str], key: str) -> str | None:
    """The text without a key; None where it was not seen.

    Raises
    ------
    ValueError
        As :func:`with_key`.
    """
    lines = text.splitlines()
    span = _spans(lines).get((".".join(table), key))
    if span is None:
        return None
    del lines[span[0] : span[1]]
    return _checked(lines, table, key, None)


def _spans(lines: Sequence[str]) -> dict[tuple[str, str | None], tuple[int, int]]:
    """Lines of each key; of each table (key None), from its header to its last entry."""
    spans: dict[tuple[str, str | None], tuple[int, int]] = {}
    table, i = "", 0
    while i < len(lines):
        header, entry = _HEADER.match(lines[i]), _ENTRY.match(lines[i])
        stop = i + 1
        if header:
            table = re.sub(r"\s*\.\s*", ".", header[1]).replace('"', "").replace("'", "")
            spans[table, None] = (i, stop)
        elif entry:
            while stop < len(lines) and not _whole("\n".join(lines[i:stop])):
                stop += 1
            spans[table, _plain(entry[1])] = (i, stop)
            if table:
                spans[table, None] = (spans[table, None][0], stop)
        i = stop
    return spans


def _plain(key: str) -> str:
    return key.replace("_", "-")


def _whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _comment(line: str) -> str:
    """The comment at the end of a line, with the space before it."""
    for found in re.finditer(r"\s*#", line):
        if _whole(line[: found.start()]):
            return line[found.start() :]
    return ""


def _checked(lines: list[str], table: Sequence[str], key: str, value: Any) -> str:
    """The text, if it says what it should."""
    text = "\n".join(lines).strip("\n") + "\n" if lines else ""
    try:
        now: Any = tomllib.loads(text)
        for part in table:
            now = now.get(part, {})
        said = now.get(key)
    except (tomllib.TOMLDecodeError, AttributeError):
        raise ValueError(".".join((*table, key))) from None
    if said != value:
        raise ValueError(".".join((*table, key)))
    return text
