"""What is written into tags: options of ``tag`` and ``watch``, and what they come to."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genrescope.apps.cli import completion
from genrescope.apps.cli.options import TAGGING

if TYPE_CHECKING:
    from genrescope.apps.genre_policy import Policy
    from genrescope.learn.recogniser import Recogniser

__all__ = [
    "Existing",
    "ExistingGenres",
    "Id3",
    "Id3Version",
    "KeepTimes",
    "Names",
    "Never",
    "Subgenres",
    "all_genres",
    "command_line",
    "id3_version",
    "make_policy",
    "need_subgenres",
]


class ExistingGenres(Enum):
    """What becomes of genres that a file has."""

    keep = "keep"
    replace = "replace"
    add = "add"


class Id3Version(Enum):
    """Which version of ID3 tags is written."""

    keep = "keep"
    v3 = "3"
    v4 = "4"


Existing = Annotated[
    ExistingGenres,
    typer.Option(
        "--existing",
        metavar="keep|replace|add",
        help="Genres that a file has: keep them (fill only empty fields), replace them, or add "
        "ours to them.",
        rich_help_panel=TAGGING,
    ),
]
Subgenres = Annotated[
    bool,
    typer.Option(
        "--subgenres",
        help="The genre and its most probable sub-genre, each as a value.",
        rich_help_panel=TAGGING,
    ),
]
Names = Annotated[
    Path | None,
    typer.Option(
        "--names",
        metavar="FILE",
        show_default=False,
        help="Your own names for our genres; see --names-template of `genrescope tag`.",
        rich_help_panel=TAGGING,
    ),
]
Never = Annotated[
    list[str] | None,
    typer.Option(
        "--never",
        metavar="GENRE",
        show_default=False,
        help="Leave files alone that have this genre, such as Audiobook; repeat it for more.",
        autocompletion=completion.genres,
        rich_help_panel=TAGGING,
    ),
]
KeepTimes = Annotated[
    bool,
    typer.Option(
        "--keep-times", help="Files keep their modification time.", rich_help_panel=TAGGING
    ),
]
Id3 = Annotated[
    Id3Version,
    typer.Option(
        "--id3",
        metavar="keep|3|4",
        help="Version of ID3 tags: as found (2.4 where there are none), or turned into 2.3 or 2.4.",
        rich_help_panel=TAGGING,
    ),
]


def make_policy(
    recogniser: Recogniser,
    *,
    existing: ExistingGenres,
    min_confidence: float | None,
    subgenres: bool,
    names: Path | None,
    never: list[str] | None,
) -> Policy:
    """The policy that the options describe.

    Raises
    ------
    DataError
        If the file of names cannot be used.
    """
    from genrescope.apps.genre_policy import GenreNames, Policy

    need_subgenres(recogniser, wanted=subgenres)
    top, below = all_genres(recogniser)
    if any(not genre.strip() for genre in never or ()):
        raise typer.BadParameter("--never: is empty; give the name of a genre")
    return Policy(
        existing=existing.value,
        min_confidence=min_confidence,
        subgenres=subgenres,
        names=None if names is None else GenreNames.read(names, genres=(*top, *below)),
        keep_genres=tuple(never or ()),
    )


def need_subgenres(recogniser: Recogniser, *, wanted: bool) -> None:
    """Say so where sub-genres are asked of a bundle that has none."""
    if wanted and not recogniser.knows_subgenres:
        raise typer.BadParameter(
            f"--bundle: {recogniser.bundle.name} knows no sub-genres; take one that does, such as "
            "default"
        )


def all_genres(recogniser: Recogniser) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The genres of a recogniser, and the sub-genres that it knows."""
    part = recogniser.bundle.parts.get("tree")
    nodes = part.settings["nodes"] if part is not None and recogniser.knows_subgenres else []
    below = dict.fromkeys(str(node[-1]) for node in nodes)
    return recogniser.genres, tuple(name for name in below if name not in recogniser.genres)


def id3_version(version: Id3Version) -> Literal["keep", 3, 4]:
    """As the tagger takes it."""
    versions: dict[Id3Version, Literal["keep", 3, 4]] = {
        Id3Version.keep: "keep",
        Id3Version.v3: 3,
        Id3Version.v4: 4,
    }
    return versions[version]


def command_line(context: typer.Context, *more: str) -> str:
    """The line that was typed, quoted for a shell, with more at its end."""
    import shlex

    words: list[str] = []
    given: list[str] = []
    for parameter in context.command.params:
        value: Any = context.params.get(str(parameter.name))
        if context.get_parameter_source(str(parameter.name)) is None or value is None:
            continue
        if parameter.param_type_name == "argument":
            given += [str(one) for one in (value if isinstance(value, list) else [value])]
        elif context.get_parameter_source(str(parameter.name)).name == "COMMANDLINE":  # type: ignore[union-attr]
            words += _words(parameter, value)
    # A name that begins with a dash would be taken for an option.
    given = [f"./{one}" if one.startswith("-") and one != "-" else one for one in given]
    return shlex.join(["genrescope", str(context.command.name), *given, *words, *more])


def _words(parameter: Any, value: Any) -> list[str]:
    if isinstance(value, bool):
        names = parameter.opts if value else parameter.secondary_opts
        return [_long(names)]
    name = _long(parameter.opts)
    values = value if isinstance(value, list | tuple) else [value]
    texts = (str(one.value if isinstance(one, Enum) else one) for one in values)
    return [word for text in texts for word in (name, text)]


def _long(names: list[str]) -> str:
    """The first long name; later ones are kept for old scripts."""
    return next((name for name in names if name.startswith("--")), names[0])
