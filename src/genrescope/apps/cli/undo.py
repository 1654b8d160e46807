"""``genrescope undo``: take back what was written into tags."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options

if TYPE_CHECKING:
    from genrescope.apps.journal import Journal, RunSummary
    from genrescope.apps.undoing import Undone

__all__ = ["undo"]

_LISTED = 20  # runs


def undo(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|PATH",
            show_default=False,
            help="Numbers of runs, or files and folders (./12 for a file called 12).",
        ),
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Take back the latest run that still stands.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Take back every change of these files and folders, not only the last one: the "
            "genres they had before genrescope wrote any.",
        ),
    ] = False,
    show: Annotated[
        bool, typer.Option("--list", help="Show the runs, and change nothing.")
    ] = False,
    force: Annotated[
        bool, options.force("Take back, too, where genres or the file were changed since.")
    ] = False,
    split_links: options.SplitLinks = False,
    json: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            "--json",
            help="Print one JSON object a line, each as soon as its file is done.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> None:
    """Bring back the genres that stood in files before genrescope wrote them.

    A file whose genres were changed since, or that holds other sound, is named and left alone.
    Changes to other tags stay as they are.

    Exit codes: 0 all that was asked is as before, 1 some files were left alone, 2 wrong usage or
    nothing to do, 130 stopped by Ctrl-C (what was done until then is done).

    Examples:

      genrescope undo --list
      genrescope undo --last
      genrescope undo 12
      genrescope undo "Music/Miles Davis" song.mp3
      genrescope undo --all Music
    """
    given = what or []
    if "" in given:
        raise typer.BadParameter("PATH: one of the paths is empty; leave it out")
    if show and (last or force or everything):
        raise typer.BadParameter("--list: changes nothing; give it alone, or with files or runs")
    if not show and bool(given) == last:
        raise typer.BadParameter(
            "RUN|PATH: say what to take back; give --last, the number of a run, or files"
        )
    if everything and any(_is_run(text) for text in given):
        raise typer.BadParameter("--all: takes back all that was written in files; give PATH alone")
    if everything and last:
        raise typer.BadParameter("--all: is of files and folders; give them in place of --last")

    from genrescope.apps.cli.interrupts import Interrupts
    from genrescope.apps.journal import Journal

    with Journal.open() as journal:
        if show:
            _list(journal, given, as_json=json)
            return
        with Interrupts() as interrupts:
            taken = partial(_taken, journal, everything=everything, force=force)
            code = _undo(given, partial(taken, split_links=split_links), interrupts, as_json=json)
    raise typer.Exit(code)


def _undo(
    given: list[str], taken: Callable[[str], Generator[Undone]], interrupts: Any, *, as_json: bool
) -> int:
    from genrescope.apps.cli.text import dump, printable
    from genrescope.errors import GenrescopeError

    out = sys.stdout
    states: Counter[str] = Counter()
    code = 0
    try:
        for text in given or [""]:
            try:
                with closing(taken(text)) as results:
                    while True:
                        with interrupts.held():  # a file is done whole, and told of
                            result = next(results, None)
                            if result is None:
                                break
                            states[result.state] += 1
                            line = _as_json(result, dump) if as_json else printable(result.message)
                            out.write(line + "\n")
                            out.flush()
            except GenrescopeError as error:
                typer.echo(f"genrescope: {printable(error)}", err=True)
                code = 2
    except KeyboardInterrupt:
        typer.echo(f"stopped after {sum(states.values())} files", err=True)
        return int(interrupts.exit_code)
    total = sum(states.values())
    if total > 1:
        counted = ", ".join(f"{n} {state}" for state, n in states.most_common())
        typer.echo(f"{total} files: {counted}", err=True)
    if code:
        return code
    return 0 if total == states["restored"] + states["as before"] else 1


def _is_run(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _taken(
    journal: Journal, text: str, *, everything: bool, force: bool, split_links: bool
) -> Generator[Undone]:
    """What one of the arguments names, or the last run where it is empty."""
    from genrescope.apps import undoing

    if everything:
        return undoing.undo_all(journal, Path(text), force=force, split_links=split_links)
    what = {"run": int(text)} if _is_run(text) else {"path": Path(text)} if text else {"last": True}
    return undoing.undo(journal, **what, force=force, split_links=split_links)


def _as_json(result: Undone, dump: Any) -> str:
    return str(
        dump(
            {
                "path": str(result.path),
                "state": result.state,
                "old": list(result.old),
                "now": list(result.now),
                "message": result.message,
            }
        )
    )


def _list(journal: Journal, given: list[str], *, as_json: bool) -> None:
    from genrescope.apps.cli.text import dump

    out = sys.stdout
    runs = journal.runs()
    if given:
        numbers = {int(text) for text in given if _is_run(text)}
        for path in (Path(text) for text in given if not _is_run(text)):
            numbers |= {entry.run for entry in journal.entries(path=path)}
        runs = [run for run in runs if run.id in numbers]
    if as_json:
        for run in runs:
            out.write(dump(_run_as_json(run)) + "\n")
        return
    if not runs:
        out.write("nothing was written" + (" there" if given else "") + f" ({journal.path})\n")
        return
    _print(runs, more=bool(given))


def _run_as_json(run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.id,
        "when": run.when.isoformat(timespec="seconds"),
        "command": run.command,
        "bundle": run.bundle,
        "files": run.files,
        "undone": run.undone,
        "unclear": run.unclear,
    }


def _print(runs: list[RunSummary], *, more: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from genrescope.apps.cli.render import console
    from genrescope.apps.cli.text import printable

    screen = console()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for heading in ("Run", "Files"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("When", no_wrap=True)
    for heading in ("Command", "Bundle", "Now"):
        table.add_column(heading, overflow="fold")
    shown = runs if more else runs[:_LISTED]
    for run in shown:
        table.add_row(
            str(run.id),
            str(run.files),
            run.when.astimezone().strftime("%Y-%m-%d %H:%M"),
            Text(printable(run.command)),
            Text(printable(run.bundle)),
            _state(run),
        )
    screen.print(table, soft_wrap=False)
    if len(runs) > len(shown):
        screen.print(Text(f" and {len(runs) - len(shown)} earlier ones (--jsonl lists all)"))


def _state(run: RunSummary) -> str:
    parts = []
    if run.undone:
        parts.append("taken back" if run.undone == run.files else f"{run.undone} taken back")
    if run.unclear:
        parts.append(f"{run.unclear} unclear")
    return ", ".join(parts) or "stands"
