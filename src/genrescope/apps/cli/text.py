"""Words and numbers as every command writes them; text that is safe to print."""

from __future__ import annotations

import re
import sys
from typing import Any

__all__ = ["NOT_SURE", "clock", "counted", "dump", "percent", "print_json", "printable"]

NOT_SURE = "not sure"

# Control characters (a tag could steer the terminal), the marks that turn text round, and
# the halves of surrogate pairs, which stand for bytes of a file name that are no UTF-8.
_TURNING = r"\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(rf"[\x00-\x1f\x7f-\x9f{_TURNING}]")
# Valid in JSON as they are, but not on a terminal, in UTF-8, or in JavaScript.
_ESCAPED = re.compile(rf"[\x7f-\x9f{_TURNING}]")


def printable(text: object) -> str:
    r"""Text that is safe to print: what could steer a terminal is spelled out.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    >>> printable("caf\udce9.mp3")  # a byte of a Latin-1 file name
    'caf\\xe9.mp3'
    """

    def spell(match: re.Match[str]) -> str:
        code = ord(match[0])
        if 0xDC80 <= code <= 0xDCFF:
            code -= 0xDC00
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSAFE.sub(spell, str(text))


def percent(share: float) -> str:
    """A share as a percentage of at most four characters; never 100 % unless it is.

    >>> percent(0.734), percent(0.9999), percent(0.001)
    ('73%', '>99%', '<1%')
    """
    if 0.995 <= share < 1:
        return ">99%"
    if 0 < share < 0.005:
        return "<1%"
    return f"{share:.0%}"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> clock(9.6), clock(221), clock(7384)
    ('0:10', '3:41', '2:03:04')
    """
    whole = round(max(seconds, 0))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "track"), counted(7115, "track")
    ('1 track', '7,115 tracks')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def dump(value: Any, *, encoding: str | None = "utf-8", indent: int | None = None) -> str:
    r"""JSON, on one line unless it is indented: readable where that is safe, else escaped.

    The bytes of file names that are no UTF-8 come out as lone surrogates, ``\udcXX``, which
    ``json.loads`` and ``os.fsencode`` turn back into the same bytes.

    >>> dump({"path": "Dvořák/caf\udce9.mp3"})
    '{"path": "Dvořák/caf\\udce9.mp3"}'
    """
    import json

    ascii_only = not (encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, indent=indent)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print all of it as one JSON value, indented."""
    sys.stdout.write(dump(value, encoding=sys.stdout.encoding, indent=2) + "\n")
