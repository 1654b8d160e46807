"""The public interface as text, and its record: ``python -m benchmarks.public_api [--record]``.

docs/api.md names what is public. Each line of the record is one thing that a program of somebody
else may rely on: a signature, a base class, a command with its options, a route. The tests compare
it with what is there. `--record` writes it anew, and refuses as long as the newest section of
CHANGELOG.md has no new line for each name that changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "package" / "public_api.txt"
CHANGELOG = ROOT / "CHANGELOG.md"
PAGE = ROOT / "docs" / "api.md"


def public_modules(page: str) -> list[str]:
    """The modules that docs/api.md lists as public, beside `genrescope` itself."""
    return re.findall(r"^\| `(genrescope\.[\w.]+)` \|", page, flags=re.MULTILINE)


def of_python(modules: list[str]) -> Iterator[str]:
    """A line for each public name of Python, and for each public member of a class."""
    for name in ("genrescope", *modules):
        module = importlib.import_module(name)
        for one in sorted(module.__all__):
            yield from _described(f"{name}.{one}", getattr(module, one))


def _described(name: str, thing: Any) -> Iterator[str]:
    if inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        yield f"class {name}({bases}){_signature(thing)}"
        seen: set[str] = set()
        for kind in thing.__mro__:
            if not kind.__module__.startswith("genrescope"):
                continue
            for member, value in vars(kind).items():
                if not member.startswith("_") and member not in seen:
                    seen.add(member)
                    yield from _member(f"{name}.{member}", value)
    elif callable(thing):
        yield f"def {name}{_signature(thing)}"
    else:
        yield f"data {name}: {type(thing).__name__}"


def _member(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property):
        told = inspect.get_annotations(value.fget).get("return", "?") if value.fget else "?"
        yield f"property {name} -> {told}"
    elif isinstance(value, classmethod | staticmethod):
        yield f"{type(value).__name__} {name}{_signature(value.__func__)}"
    elif inspect.isfunction(value):
        yield f"def {name}{_signature(value)}"
    else:
        yield f"data {name}"


def _signature(thing: Any) -> str:
    """As written; annotations are the words of the source, so that all versions agree."""
    try:
        given = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parts = [
        one.replace(default=_Plain(one.default)) if one.default is not one.empty else one
        for one in given.parameters.values()
    ]
    return str(given.replace(parameters=parts)).replace("'", "")


class _Plain:
    """A default that prints alike on every system and version."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, str):
            return json.dumps(self.value)
        if isinstance(self.value, int | float | bool | tuple | None):
            return repr(self.value)
        return f"<{getattr(self.value, '__name__', type(self.value).__name__)}>"


def of_commands() -> Iterator[str]:
    """A line for each command: its arguments and options, and the short forms of these."""
    from typer.main import get_command

    from genrescope.apps.cli.main import app

    yield from _commands("genrescope", get_command(app))


def _commands(name: str, command: Any) -> Iterator[str]:
    words = []
    for one in command.get_params(_context(command, name)):
        if not getattr(one, "hidden", False) and one.name != "help":
            named = [*one.opts, *one.secondary_opts]
            words.append("/".join(named) if named[0].startswith("-") else f"<{named[0]}>")
    yield " ".join((name, *sorted(words)))
    if hasattr(command, "list_commands"):
        context = _context(command, name)
        for below in sorted(command.list_commands(context)):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from _commands(f"{name} {below}", found)


def of_routes() -> Iterator[str]:
    """A line for each route of the service; none where the extra `serve` is not installed."""
    if not importlib.util.find_spec("fastapi"):
        return
    from genrescope.apps.service import Settings, create_app

    for path, methods in create_app(Settings(), pages=False).openapi()["paths"].items():
        for method, told in methods.items():
            codes = ", ".join(sorted(told["responses"]))
            yield f"{method.upper()} {path} -> {codes}"


def _context(command: Any, name: str) -> Any:
    return command.context_class(command, info_name=name)


def current() -> list[str]:
    """All lines, sorted."""
    modules = public_modules(PAGE.read_text("utf-8"))
    return sorted({*of_python(modules), *of_commands(), *of_routes()})


def recorded() -> tuple[list[str], set[str]]:
    """The lines of the record, and marks of the notes that there were when it was made.

    Raises
    ------
    ValueError
        If the record was edited by hand.
    """
    head, _, body = RECORD.read_text("utf-8").partition("\n\n")
    told = dict(line[2:].split(": ", 1) for line in head.splitlines() if ": " in line)
    if told.get("sha256") != _digest(body):
        raise ValueError(f"{RECORD} was edited by hand: python -m benchmarks.public_api --record")
    return body.splitlines(), set(told.get("notes", "").split())


def notes(changelog: str) -> dict[str, str]:
    """The entries of the newest section of the changelog, by a mark of each."""
    section = re.split(r"^## ", changelog, flags=re.MULTILINE)[1]
    entries = re.findall(r"^- (?:.*\n?)(?:^  .*\n?)*", section, flags=re.MULTILINE)
    return {_digest(" ".join(entry.split()))[:8]: entry.strip() for entry in entries}


def unnoted(before: list[str], after: list[str], new_notes: str) -> list[str]:
    """The names that were added, changed or removed and stand in none of the new notes."""
    changed = {_last_name(line) for line in set(before) ^ set(after)}
    return sorted(
        name
        for name in changed
        if not re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", new_notes)
    )


def _last_name(line: str) -> str:
    """What a note must name: `predict` of a function, `genrescope tag` of a command."""
    if line.startswith("genrescope"):
        return re.split(r" (?=[-<])", line)[0]
    if line[0].isupper():
        return line.split(" ")[1]
    return re.split(r"[(:\s]", line.split(" ", 1)[1])[0].rpartition(".")[2]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def record() -> str:
    """Write the record; why not, where a note is missing."""
    after, told = current(), notes(CHANGELOG.read_text("utf-8"))
    if RECORD.exists():
        before, seen = recorded()
        new = "\n".join(entry for mark, entry in told.items() if mark not in seen)
        missing = unnoted(before, after, new)
        if missing:
            return (
                "The newest section of CHANGELOG.md has no new line that names "
                f"{', '.join(missing)}. Say what changed, and what to do about it, then record."
            )
    body = "\n".join(after) + "\n"
    head = (
        "# Made by `python -m benchmarks.public_api --record`; docs/api.md says what it promises.",
        f"# sha256: {_digest(body)}",
        f"# notes: {' '.join(sorted(told))}",
    )
    RECORD.write_text("\n".join(head) + "\n\n" + body, encoding="utf-8", newline="\n")
    return ""


def main() -> int:
    """Compare, or record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.public_api")
    parser.add_argument("--record", action="store_true", help="write the record anew")
    if parser.parse_args().record:
        why_not = record()
        print(why_not or f"{RECORD.relative_to(ROOT)} is written")
        return int(bool(why_not))
    before, after = recorded()[0], current()
    for line in sorted(set(before) ^ set(after)):
        print("-" if line in before else "+", line)
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
