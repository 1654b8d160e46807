"""``genrescope config``: what is set by file and by environment, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options as common
from genrescope.apps.cli.command import Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrescope.apps.configuration import Option, Setting

__all__ = ["config"]

config = Family("Show and change what is set by file and by environment.")

_Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        help="Command and option: predict.top, features.extract.workers, or "
        "defaults.bundle for all commands that have the option.",
    ),
]


@config.command("show")
def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            show_default=False,
            help="All options of this command, such as predict or features extract; else those "
            "that are set.",
        ),
    ] = None,
    json: common.Json = False,
) -> None:
    """Show what options are set to, and where that comes from.

    An option is what the command line says; else the environment; else the file; else its
    default.

    Exit codes: 0 done, 2 wrong usage or nothing to do.

    Examples:

      genrescope config show
      genrescope config show predict
      genrescope config show features extract --json
    """
    from genrescope.apps import configuration

    asked = tuple(word for one in command or () for word in one.split("."))
    file = configuration.read_file()
    options, paths, known = _options(context, asked)
    settings = configuration.effective(options, file, of=paths, commands=known)
    strange = [] if asked else configuration.strange_variables(options)
    if not asked:
        settings = [one for one in settings if one.source != "default"]
    if json:
        from genrescope.apps.cli.text import print_json

        print_json(_record(settings, strange, path=str(file.path), found=bool(file.text)))
    else:
        _print(settings, shown=asked)
        for warning in strange:
            typer.echo(f"genrescope: {warning}", err=True)
        if not asked and not settings:
            there = "" if file.text else " (there is none yet)"
            typer.echo(f"Nothing is set. File: {configuration.short_path(file.path)}{there}")


@config.command("path")
def path() -> None:
    """Print where the file is, or would be.

    Exit codes: 0 done, 2 wrong usage or nothing to do.

    Examples:

      genrescope config path
      $EDITOR "$(genrescope config path)"
    """
    from genrescope.apps.configuration import config_path

    typer.echo(str(config_path()))


@config.command("set")
def set_value(
    context: typer.Context,
    key: _Key,
    value: Annotated[
        list[str],
        typer.Argument(metavar="VALUE", help="Its value; several for an option that is a list."),
    ],
) -> None:
    """Write a value into the file.

    Comments and everything else in the file stay as they are.

    Exit codes: 0 done, 2 wrong usage or nothing to do.

    Examples:

      genrescope config set predict.top 5
      genrescope config set defaults.bundle ~/mine
      genrescope config set tag.never Audiobook Speech
    """
    from genrescope.apps import configuration
    from genrescope.apps.toml_lines import literal

    table, option = _option(context, key)
    given = _value(option, value, key)
    file = configuration.read_file(_path_to_write())
    configuration.set_key(file, table, option.key, given)
    line = f"{option.key} = {literal(given)}"
    typer.echo(f"{configuration.short_path(file.path)}: [{'.'.join(table)}] {line}")
    _warn_of_environment(table, option)


@config.command("unset")
def unset(context: typer.Context, key: _Key) -> None:
    """Take a value out of the file.

    Exit codes: 0 done, 1 it was not set, 2 wrong usage or nothing to do.

    Examples:

      genrescope config unset predict.top
    """
    from genrescope.apps import configuration

    words = key.replace("_", "-").split(".")
    file = configuration.read_file()
    # A key that no option has can be taken out, too: that is how a mistake is mended.
    if not configuration.unset_key(file, words[:-1], words[-1]):
        _option(context, key)
        typer.echo(f"{key} is not set in {configuration.short_path(file.path)}")
        raise typer.Exit(1)
    typer.echo(f"{configuration.short_path(file.path)}: {key} is gone")


# --- which options ---------------------------------------------------------


def _options(
    context: typer.Context, asked: Sequence[str]
) -> tuple[list[Option], list[tuple[str, ...]], set[str]]:
    """Options of the commands that are asked for, those, and the names of all that are known."""
    from genrescope.apps.cli.lazy import leaves, options_of
    from genrescope.apps.configuration import meant
    from genrescope.errors import ConfigurationError

    root: Any = context.find_root().command
    if asked:
        names = list(root.commands)
        if asked[0] not in names:
            raise ConfigurationError(
                f"{asked[0]}: no such command{meant(asked[0], names)}; see `genrescope --help`"
            )
        found = list(leaves(root.commands[asked[0]], asked[:1]))
        known = {*names, *(".".join(path) for path, _ in found)}
        below = [".".join(path) for path, _ in found]
        found = [(path, one) for path, one in found if path[: len(asked)] == tuple(asked)]
        if not found:
            raise ConfigurationError(
                f"{' '.join(asked)}: no such command; there are: {', '.join(sorted(below))}"
            )
    else:
        found = list(leaves(root))
        known = {".".join(path) for path, _ in found}
    options = [option for path, one in found for option in options_of(one, path)]
    return options, [path for path, _ in found], known


def _option(context: typer.Context, key: str) -> tuple[tuple[str, ...], Option]:
    """The table and the option that a key is about."""
    from genrescope.apps.configuration import DEFAULTS, NEVER, SHARED, meant
    from genrescope.errors import ConfigurationError

    *table, name = key.split(".")
    name = name.replace("_", "-")
    if not table:
        raise ConfigurationError(
            f"{key}: say the command, too: predict.{name}, or defaults.{name} for all commands"
        )
    if name in NEVER:
        raise ConfigurationError(f"{key}: {NEVER[name]}, so it is given on the command line only")
    shared = table == [DEFAULTS]
    if shared and name not in SHARED:
        raise ConfigurationError(
            f"{key}: commands share {', '.join(SHARED)}{meant(name, SHARED)}; set others under "
            "their command, such as predict.top"
        )
    options, *_ = _options(context, () if shared else table)
    known = {option.key: option for option in options if shared or option.command == tuple(table)}
    if name not in known:
        raise ConfigurationError(
            f"{key}: `genrescope {' '.join(table)}` has no option --{name} that can be set"
            f"{meant(name, known)}; `genrescope config show {' '.join(table)}` lists them"
        )
    return tuple(table), known[name]


def _value(option: Option, words: list[str], key: str) -> Any:
    """What is meant by the words, as TOML has it."""
    from genrescope.apps.configuration import check_value
    from genrescope.errors import ConfigurationError

    if len(words) > 1 and not option.many:
        raise ConfigurationError(f"{key}: it takes one value, not {len(words)}")
    given: Any = words if option.many else words[0]
    if not option.many:
        try:
            became = option.convert(given)
        except ValueError:  # said below, in the words of the option
            became = None
        given = became if isinstance(became, bool | int | float) else given
    wrong = check_value(option, given)
    if wrong:
        raise ConfigurationError(f"{key}: {' '.join(words)}: {wrong}")
    return given


def _path_to_write() -> Any:
    """The file; one that ``GENRESCOPE_CONFIG`` names may still have to be made."""
    from genrescope.apps.configuration import config_path

    path = config_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


def _warn_of_environment(table: Sequence[str], option: Option) -> None:
    import os

    from genrescope.apps.configuration import variable_of

    variable = variable_of(table, option.key)
    if os.environ.get(variable):
        typer.echo(f"genrescope: {variable} is set, and stands above the file", err=True)


# --- what is printed -------------------------------------------------------


def _print(settings: Sequence[Setting], *, shown: Sequence[str]) -> None:
    import sys

    from genrescope.apps.cli.terminal import width_of
    from genrescope.apps.cli.text import printable
    from genrescope.apps.configuration import short_path

    rows = []
    for one in settings:
        option = one.option
        path = option.command[len(shown) :] if shown else option.command
        name = ".".join((*path, option.key))
        rows.append((name, printable(short_path(_said(one.value))), one.where or one.source))
    if not rows:
        return
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    width = width_of(sys.stdout)
    beside = width is None or names + values + max(len(w) for _, _, w in rows) + 4 <= width
    for name, value, where in rows:
        if beside:
            typer.echo(f"{name:<{names}}  {value:<{values}}  {where}".rstrip())
        else:
            typer.echo(f"{name} = {value}" + ("" if where == "default" else f"\n    {where}"))


def _said(value: Any) -> str:
    from genrescope.apps.toml_lines import literal

    if value is None or value == []:
        return "-"
    return value if isinstance(value, str) else literal(value)


def _record(
    settings: Sequence[Setting], strange: Sequence[str], *, path: str, found: bool
) -> dict[str, Any]:
    return {
        "file": path,
        "exists": found,
        "settings": [
            {
                "command": " ".join(one.option.command),
                "option": one.option.key,
                "value": one.value,
                "source": one.source,
                "where": one.where or None,
                "variable": one.option.variable,
            }
            for one in settings
        ],
        "warnings": list(strange),
    }
