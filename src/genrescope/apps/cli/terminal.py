"""What a stream can show: colour, bars that move, how many cells, which characters."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["NO_READER", "animated", "coloured", "silence_stdout", "tame", "width_of"]

NO_READER = 141  # 128 + SIGPIPE, which Windows does not have

_USUAL = 80  # cells

# What stands in where an encoding lacks a character; one for one, so that columns stay columns.
_ALIKE = {
    "-": "─━–—−·╶╷╸╺",
    "=": "═",
    "|": "│┃▌▍▎▏",
    "+": "╭╮╰╯┌┐└┘├┤┬┴┼",
    "#": "█▉▊▋▇▆",
    ".": "▁▂",
    ":": "▃▄",
    "*": "▅•★",
    "~": "…±≈",
    "x": "×",
    ">": "→≥",
    "<": "←≤",
    '"': "“”",
    "'": "‘’",
}
_STAND_INS = {ord(odd): plain for plain, odds in _ALIKE.items() for odd in odds}
_ERRORS = "genrescope"


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """Say it in ASCII: by a character that looks alike, or as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_STAND_INS)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(_ERRORS, _stand_in)


def tame(*streams: TextIO) -> None:
    """Make streams unable to fail on a character that their encoding lacks."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_ERRORS)


def coloured(stream: TextIO) -> bool:
    """Whether text on this stream may have colours, as NO_COLOR, FORCE_COLOR and TERM say."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and not _dumb())


def animated(stream: TextIO) -> bool:
    """Whether something may move on this stream: a terminal that can, and is not asked not to."""
    return stream.isatty() and not _dumb() and not os.environ.get("NO_COLOR")


def width_of(stream: TextIO) -> int | None:
    """Cells of a line on a terminal; None where lines have no end."""
    if not stream.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    except (OSError, ValueError):  # a terminal that is none of the system's
        return _USUAL


def silence_stdout() -> None:
    """After a broken pipe: what is still in the buffer must not fail again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
