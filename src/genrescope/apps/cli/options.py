"""Options that more than one command has: one name, one letter, one metavar, the same words.

Those that are the same thing everywhere are types (``workers: Workers = None``). Those that are
the same thing of something else are functions, which take the words (``out("the report")``).
A second long name is an old one: it works, and neither help nor completion shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genrescope.apps.cli import completion

__all__ = [
    "CLUSTER",
    "FMA_TABLES",
    "HEARING",
    "LIMITS",
    "OUTPUT",
    "OWN_TABLE",
    "PANELS",
    "TAGGING",
    "Alone",
    "Bundle",
    "Cluster",
    "Csv",
    "Device",
    "Encoder",
    "Folds",
    "GroupColumn",
    "Json",
    "JsonLines",
    "LabelColumn",
    "Metadata",
    "MinConfidence",
    "NetworkOptions",
    "Null",
    "OutFolder",
    "Paths",
    "RunFolder",
    "Scheduler",
    "Seed",
    "Sound",
    "SplitColumn",
    "SplitLinks",
    "Threads",
    "Timeout",
    "Top",
    "Windows",
    "Workers",
    "Write",
    "check_paths",
    "data",
    "force",
    "form_of",
    "number",
    "out",
    "text",
]

TAGGING = "What is written"
OWN_TABLE = "Your own table"
FMA_TABLES = "FMA's tables"
HEARING = "Hearing"
OUTPUT = "Output"
CLUSTER = "Cluster"
LIMITS = "Limits"

# The order in which they stand in every help.
PANELS = (
    "Arguments", "Options", TAGGING, FMA_TABLES, OWN_TABLE, HEARING, OUTPUT, LIMITS, CLUSTER,
)  # fmt: skip


# --- the same of something else --------------------------------------------


def out(of: str, *old: str, metavar: str = "FOLDER", show_default: bool | str = False) -> Any:
    """``--out FOLDER``: where a command writes; `of` says what."""
    return typer.Option("--out", *old, metavar=metavar, help=of, show_default=show_default)


def data(of: str, **more: Any) -> Any:
    """``--data FOLDER``: where prepared data is read."""
    return typer.Option("--data", metavar="FOLDER", help=of, show_default=False, **more)


def force(of: str) -> Any:
    """``--force``: do it to what is otherwise left alone."""
    return typer.Option("--force", help=of)


def number(name: str, of: str, *old: str, metavar: str = "N", **more: Any) -> Any:
    """An option that takes a number; a text for `default` is shown where there is none."""
    usual = {"show_default": more.pop("default", True)}
    return typer.Option(name, *old, metavar=metavar, help=of, **usual, **more)


def text(name: str, of: str, *old: str, metavar: str = "NAME", **more: Any) -> Any:
    """An option that takes a word; a text for `default` is shown where there is none."""
    usual = {"show_default": more.pop("default", True)}
    return typer.Option(name, *old, metavar=metavar, help=of, **usual, **more)


# --- what is read ----------------------------------------------------------

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        show_default=False,
        help="Files, folders (searched at any depth), patterns; - reads a list from stdin.",
    ),
]
Null = Annotated[
    bool,
    typer.Option("--null", "-0", help="The list on stdin has NUL between names, not newlines."),
]
Write = Annotated[
    bool, typer.Option("--write", help="Write the genres; without this, nothing is changed.")
]
SplitLinks = Annotated[
    bool,
    typer.Option(
        "--split-links",
        help="Part a file from its other hard links rather than refuse it.",
        rich_help_panel=TAGGING,
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence",
        min=0,
        max=1,
        metavar="P",
        show_default="those that the recogniser is sure of",
        help="Take only genres that are at least so probable, such as 0.8.",
        rich_help_panel=TAGGING,
    ),
]

# --- the columns of a table -------------------------------------------------

GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group",
        "--groups",
        metavar="COLUMN",
        show_default="the one of the artist",
        help="What must not be on both sides of a split, such as the artist.",
        rich_help_panel=OWN_TABLE,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="COLUMN",
        show_default="the one of the genre",
        help="The genre of a track.",
        rich_help_panel=OWN_TABLE,
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="COLUMN",
        show_default="split",
        help="Which split a track is in: training, validation or test.",
        rich_help_panel=OWN_TABLE,
    ),
]

# --- hearing ---------------------------------------------------------------

Bundle = Annotated[
    str,
    typer.Option(
        "--bundle",
        metavar="BUNDLE",
        help="The recogniser: default, a folder, or hub:OWNER/NAME.",
        rich_help_panel=HEARING,
        autocompletion=completion.bundles,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-j",
        min=0,
        metavar="N",
        show_default="one a core",
        help="Processes side by side; 0: none, and no protection from files that crash a decoder.",
        rich_help_panel=HEARING,
    ),
]
Windows = Annotated[
    int | None,
    typer.Option(
        "--windows",
        min=1,
        metavar="N",
        show_default="5",
        help="Windows of 30 s to hear of a long track, spread evenly over it.",
        rich_help_panel=HEARING,
    ),
]
Metadata = Annotated[
    bool,
    typer.Option(
        "--metadata/--no-metadata",
        help="Whether title, artist, album and date in the tags of a file have a say.",
        rich_help_panel=HEARING,
    ),
]
Alone = Annotated[
    bool | None,
    typer.Option(
        "--together/--alone",
        show_default="together, where the bundle can",
        help="Judge all tracks of an artist together, once the last is heard, or each for itself, "
        "at once.",
        rich_help_panel=HEARING,
    ),
]
Encoder = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        show_default="musicnn where it is installed, and frames",
        help="What hears the tracks, as `genrescope encoders list` has it; repeat it for more.",
        rich_help_panel=HEARING,
        autocompletion=completion.encoders,
    ),
]

# --- output ----------------------------------------------------------------

Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--jsonl",
        help="Print one JSON object a line, each as soon as its file is done.",
        rich_help_panel=OUTPUT,
    ),
]
Csv = Annotated[
    bool, typer.Option("--csv", help="Print CSV, one row a file.", rich_help_panel=OUTPUT)
]
Top = Annotated[
    int,
    typer.Option(
        "--top", "-k", min=1, metavar="N", help="Genres to show a track.", rich_help_panel=OUTPUT
    ),
]
Sound = Annotated[
    bool, typer.Option("--sound/--no-sound", help="Whether the page holds the sound, to be played.")
]

# --- learning --------------------------------------------------------------

OutFolder = Annotated[Path, out("The folder to write to; made where it is not there.")]
RunFolder = Annotated[
    Path, out("Folder of the run. The same command goes on where a killed one stopped.")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, metavar="N", help="Of everything that is left to chance.")
]
Folds = Annotated[
    int,
    typer.Option(
        "--folds",
        min=2,
        metavar="N",
        help="Folds of the cross-validation; no artist is in two of them.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where the networks run: auto, cpu, cuda, mps, ...",
        autocompletion=completion.devices,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, metavar="N", show_default="one a core", help="Threads that compute."
    ),
]
NetworkOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAME=VALUE",
        show_default=False,
        help="Build the network otherwise, such as patch=16x16, as `genrescope model list` has "
        "it; repeat it for more.",
    ),
]

Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        "--max-seconds",
        min=0.1,
        metavar="SECONDS",
        help="How long a file may take.",
        rich_help_panel=LIMITS,
    ),
]

# --- clusters --------------------------------------------------------------

Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        show_default=False,
        help="Run on the workers of this Dask scheduler: tcp://HOST:8786, or its file.",
        rich_help_panel=CLUSTER,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="local:N",
        show_default=False,
        help="Run on a Dask cluster of N processes on this machine.",
        rich_help_panel=CLUSTER,
    ),
]


# --- what they come to -----------------------------------------------------


def form_of(*, json: bool = False, jsonl: bool = False, csv: bool = False) -> str:
    """The form of output that was asked for: table, json, jsonl or csv.

    Raises
    ------
    typer.BadParameter
        If there is more than one.
    """
    given = [name for name, yes in (("json", json), ("jsonl", jsonl), ("csv", csv)) if yes]
    if len(given) > 1:
        names = " and ".join(f"--{name}" for name in given)
        raise typer.BadParameter(f"{names}: exclude each other; give one of them")
    return given[0] if given else "table"


def check_paths(paths: list[str] | None, *, null: bool) -> list[str]:
    """The paths that were given.

    Raises
    ------
    typer.BadParameter
        If one is empty, or ``--null`` is given without a list to read.
    """
    given = paths or []
    if "" in given:
        raise typer.BadParameter("PATH: one of the paths is empty; leave it out")
    if null and "-" not in given:
        raise typer.BadParameter("--null: is about a list on stdin; give - as a path")
    return given
