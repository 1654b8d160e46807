"""What is in a page of the tutorials, and when two outputs say the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "NORMAL",
    "PORT",
    "Block",
    "Command",
    "TutorialError",
    "check_syntax",
    "read_blocks",
    "read_commands",
    "same",
    "tidy",
]

PORT = 8000  # of the service, in the pages; a free one is used

#: What may differ: pattern and what stands for it. Everything else is compared as it is, except
#: that numbers may differ by one unit in their last digit.
NORMAL: tuple[tuple[str, str], ...] = (
    (r"[█▉▊▋▌▍▎▏]+", ""),  # bars repeat the number beside them
    (r"[─━═]+", "─"),  # rules are as wide as what they part
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),  # of day
    (r"\b\d+(\.\d+)?( ?(s|ms|min)\b| seconds?\b)( \d+ s\b)?", "TIME"),
    (r"\b[\d,.]+ (a|per) second\b|\b[\d.]+ files/s\b", "RATE"),
    (r"\b[\d,.]+ ?(bytes|kB|MB|GB)\b", "SIZE"),
    (r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?)?)?", "DATE"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"((?: +\d\.\d{3}){4}) +\d+\b(?!\.)", r"\1 TIME"),  # what a training took, after its scores
)
# What a program says while it works, where a terminal cannot be drawn on.
_PROGRESS = re.compile(r"^[\w .,'-]+: [\d,]+ of [\d,]+\b.*\(\d+\s?%\)|^fold-\d+ epoch \d+/\d+: ")
_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?")
_FENCE = re.compile(r"^```(\w*)\s*$")
_NOTE = re.compile(r"^<!-- (not run|file|exit|within|terminal|stop|picture): (.*?) -->$")


class TutorialError(Exception):
    """A page does not do what it says."""


@dataclass(frozen=True)
class Block:
    """A fenced block, or a picture: what it holds, from which line, and the notes before it."""

    kind: str
    lines: tuple[str, ...]
    start: int  # of its first line inside, from 0
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The line after its last."""
        return self.start + len(self.lines)


@dataclass(frozen=True)
class Command:
    """A command of a console block, and what stands below it."""

    text: str
    shown: tuple[str, ...]  # as in the page, with its $
    printed: tuple[str, ...]


def read_blocks(text: str) -> list[Block]:
    """All blocks and noted pictures of a page, and stops, in order.

    Raises
    ------
    TutorialError
        If a fence is not closed.
    """
    lines = text.splitlines()
    blocks: list[Block] = []
    notes: dict[str, str] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        note, fence = _NOTE.match(line), _FENCE.match(line)
        if note:
            notes[note[1]] = note[2]
            if note[1] == "stop":
                blocks.append(Block("stop", (), at, notes))
                notes = {}
        elif fence:
            end = next((n for n in range(at + 1, len(lines)) if lines[n] == "```"), None)
            if end is None:
                raise TutorialError(f"line {at + 1}: this block does not end")
            blocks.append(Block(fence[1], tuple(lines[at + 1 : end]), at + 1, notes))
            notes, at = {}, end
        elif "picture" in notes and line.startswith("!["):
            blocks.append(Block("picture", (line,), at, notes))
            notes = {}
        elif line.strip():
            notes = {}
        at += 1
    return blocks


def read_commands(block: Block) -> list[Command]:
    """The commands of a console block; one that ends in a backslash goes on in the next line."""
    commands: list[Command] = []
    lines = list(block.lines)
    while lines:
        if not lines[0].startswith("$ "):
            raise TutorialError(f"line {block.start + 1}: a console block begins with `$ `")
        shown = [lines.pop(0)]
        while shown[-1].endswith("\\") and lines:
            shown.append(lines.pop(0))
        printed = []
        while lines and not lines[0].startswith("$ "):
            printed.append(lines.pop(0))
        text = "\n".join([shown[0][2:], *shown[1:]])
        commands.append(Command(text, tuple(shown), tuple(printed)))
    return commands


def check_syntax(block: Block) -> None:
    """Parse a block that is not run.

    Raises
    ------
    TutorialError
        If it is no Python, or has a command or an option that genrescope does not have.
    """
    if block.kind == "python":
        compile("\n".join(block.lines), "page", "exec")
    if block.kind != "console":
        return
    from typer.main import get_command

    from genrescope.apps.cli.main import app

    for command in read_commands(block):
        words = shlex.split(command.text.replace("\\\n", " "), comments=True)
        if "genrescope" not in words[:1]:
            continue
        here = get_command(app)
        words = [word for word in words[1:] if word not in ("&",)]
        while words and words[0] in getattr(here, "commands", {}):
            here = here.commands[words.pop(0)]  # type: ignore[attr-defined]
        if hasattr(here, "commands") and words and not words[0].startswith("-"):
            raise TutorialError(f"line {block.start + 1}: there is no command {words[0]!r}")
        try:
            here.make_parser(here.context_class(here)).parse_args(words)
        except Exception as error:
            raise TutorialError(f"line {block.start + 1}: {command.text}: {error}") from error


def tidy(text: str, *, folder: Path, port: int) -> list[str]:
    """What was printed, as a page may show it: no progress, no folder of this machine."""
    for path, name in ((f"{folder}/home", "~"), (f"{folder}/", ""), (str(folder), ".")):
        text = text.replace(path, name)
    text = text.replace(f":{port}", f":{PORT}")
    lines = [line.rstrip() for line in text.expandtabs().splitlines()]
    return [line for line in lines if not _PROGRESS.match(line)]


def same(shown: Sequence[str], printed: Sequence[str], *, within: float = 0.0) -> bool:
    """Whether two outputs say the same; see `NORMAL`."""
    left, right = _normal(shown), _normal(printed)
    words = re.compile(r"\s+|(?=[()\[\]{},:;=\"'])|(?<=[()\[\]{},:;=\"'])")
    pairs = ([w for w in words.split(side) if w] for side in (left, right))
    ours, theirs = pairs
    return len(ours) == len(theirs) and all(
        _same_word(a, b, within) for a, b in zip(ours, theirs, strict=True)
    )


def _normal(lines: Sequence[str]) -> str:
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    for pattern, instead in NORMAL:
        text = re.sub(pattern, instead, text)
    return text


def _same_word(a: str, b: str, within: float) -> bool:
    if a == b:
        return True
    if _NUMBER.sub("#", a) != _NUMBER.sub("#", b):
        return False
    for left, right in zip(_NUMBER.findall(a), _NUMBER.findall(b), strict=True):
        digits = len(left.partition(".")[2])
        if len(right.partition(".")[2]) != digits:
            return False
        percent = f"{left}%" in a and f"{right}%" in b
        if digits == 0 and not percent:
            if left != right:
                return False
            continue
        unit = 1.0 / 10**digits
        gap = abs(_value(left) - _value(right))
        if gap > max(unit, within * (100 if percent else 1)) * 1.001:
            return False
    return True


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))
