"""The help of every command, on docs/command-line.md.

``python -m benchmarks.commands_page`` writes what stands between the markers of the page: the table
of all commands, and the help of each, as ``--help`` prints it on 80 columns. ``--check`` says
whether it is what the commands say today, and changes nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import typer

from genrescope.apps.cli.command import first_sentence
from genrescope.apps.cli.lazy import leaves
from genrescope.apps.cli.main import app

__all__ = ["PAGE", "main", "page"]

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
MARKS = ("<!-- commands -->", "<!-- /commands -->", "<!-- reference -->", "<!-- /reference -->")

# Where the manual says more.
MORE = {
    "tag": "tags.md",
    "undo": "tags.md",
    "watch": "tags.md",
    "playlist": "playlists.md",
    "look": "look.md",
    "explain": "explain.md",
    "serve": "service.md",
    "teach": "teach.md",
    "bundles": "bundles.md",
    "robustness": "robustness.md",
    "features": "features.md",
    "lab": "laboratory.md",
    "train": "networks.md",
    "runs": "networks.md",
    "model": "networks.md",
    "info": "model-card.md",
    "config": "configuration.md",
}


def page(text: str) -> str:
    """The page with the table and the reference of today.

    Parameters
    ----------
    text : str
        The page as it is, with its four markers.
    """
    root = typer.main.get_command(app)
    found = list(leaves(root))
    before, rest = text.split(MARKS[0])
    _, rest = rest.split(MARKS[1])
    middle, rest = rest.split(MARKS[2])
    _, after = rest.split(MARKS[3])
    return "".join(
        (
            *(before, MARKS[0], "\n\n", _table(root, found), "\n", MARKS[1], middle),
            *(MARKS[2], "\n\n", _reference(root, found), "\n", MARKS[3], after),
        )
    )


def _table(root: Any, found: Sequence[tuple[tuple[str, ...], Any]]) -> str:
    panels = root.panels(root.context_class(root, info_name="genrescope"))
    lines = []
    for heading, rows in panels:
        lines += [f"**{heading}**", "", "| Command | What it does | More |", "|---|---|---|"]
        for name, _ in rows:
            for path, command in found:
                if path[0] == name:
                    spelled = " ".join(path)
                    more = MORE.get(name, "")
                    link = f"[{more.removesuffix('.md')}]({more})" if more else ""
                    first = first_sentence(command.help).replace("|", "\\|")
                    lines.append(f"| [`{spelled}`](#{_anchor(path)}) | {first} | {link} |")
        lines.append("")
    return "\n".join(lines)


def _reference(root: Any, found: Sequence[tuple[tuple[str, ...], Any]]) -> str:
    lines = []
    for path, command in found:
        words = " ".join(("genrescope", *path))
        lines += [f"### {words} {{: #{_anchor(path)} }}", "", "```text"]
        lines += [_help(root, path, command), "```", ""]
    return "\n".join(lines)


def _anchor(path: Sequence[str]) -> str:
    return "-".join(path)


def _help(root: Any, path: Sequence[str], command: Any) -> str:
    """As it is printed into a pipe."""
    context = root.context_class(root, info_name="genrescope", help_option_names=["-h", "--help"])
    above = root
    for name in path[:-1]:
        above = above.commands[name]
        context = above.context_class(above, parent=context, info_name=name)
    context = command.context_class(command, parent=context, info_name=path[-1])
    plain = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    with mock.patch.dict(os.environ, plain, clear=True), redirect_stdout(io.StringIO()):
        return str(command.get_help(context))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 where it is stale")
    given = parser.parse_args(arguments)
    now = PAGE.read_text(encoding="utf-8")
    new = page(now)
    if given.check:
        return int(new != now)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
