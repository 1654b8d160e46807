"""Commands that are imported when they are called, and the configuration that they are given."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group

from genrescope.apps.cli.command import Command, Group, rule_of

__all__ = ["LazyGroup", "Where", "leaves", "options_of"]

# They have to work where the configuration does not.
_WITHOUT_CONFIGURATION = ("config", "doctor")


@dataclass(frozen=True)
class Where:
    """Where a command is, and what it does.

    Attributes
    ----------
    module : str
        Its module, which has a function or a ``typer.Typer`` of the command's name.
    help : str
        The first sentence of its help, so that a list of all commands need not import any.
    panel : str
        The heading that it stands under.
    """

    module: str
    help: str
    panel: str


class _Commands(MutableMapping[str, Any]):
    """Commands by name, made when they are asked for."""

    def __init__(self, where: dict[str, Where]) -> None:
        self._where = where
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(name, self._where[name].module)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._where, *self._made)))

    def __len__(self) -> int:
        return len({*self._where, *self._made})


class LazyGroup(Group):
    """A group that knows names and first sentences, and imports a command when it is called.

    Attributes
    ----------
    where : dict of str to Where
        The commands, in the order of the help.
    """

    where: ClassVar[dict[str, Where]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands(self.where)
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; while names are listed, no more of it than is shown."""
        if self._listing and cmd_name in self.where:
            return TyperCommand(cmd_name, help=self.where[cmd_name].help)
        return super().get_command(ctx, cmd_name)

    def panels(self, ctx: Any) -> list[tuple[str, list[tuple[str, str]]]]:
        """Headings, and under each the commands with what they do."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, one in self.where.items():
            found.setdefault(one.panel, []).append((name, one.help))
        return list(found.items())

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names that begin so."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False

    def _main_shell_completion(self, *arguments: Any, **named: Any) -> None:
        """Answer a shell that asks what could come next."""
        if any(name.endswith("_COMPLETE") for name in os.environ):
            from typer import completion

            completion.get_completion_inspect_parameters()  # makes the shells known
        super()._main_shell_completion(*arguments, **named)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that is called, and what is configured for it."""
        name, command, rest = super().resolve_command(ctx, args)
        quiet = ctx.resilient_parsing or _asks_for_help(rest) or name in _WITHOUT_CONFIGURATION
        if command is not None and not quiet:
            _configure(ctx, str(name), command, rest)
        return name, command, rest


def options_of(command: Any, path: Sequence[str]) -> list[Any]:
    """The options of a command that can be set by file and by environment."""
    from genrescope.apps.configuration import Option, key_of, settable

    context = command.context_class(command, info_name=path[-1], resilient_parsing=True)
    found = []
    for parameter in command.params:
        key = key_of(parameter.opts)
        if parameter.param_type_name != "option" or not settable(key):
            continue
        found.append(
            Option(
                command=tuple(path),
                key=str(key),
                name=parameter.name,
                default=_plain(parameter.get_default(context)),
                many=bool(parameter.multiple),
                flag=bool(parameter.is_flag),
                convert=partial(_convert, parameter, context),
            )
        )
    return found


def leaves(command: Any, path: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command below a command, with its path."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from leaves(below, (*path, name))
    else:
        yield tuple(path), command


def _make(name: str, module: str) -> Any:
    """The command of that name, from its module."""
    found = getattr(importlib.import_module(module), name)
    if isinstance(found, typer.Typer):
        command: Any = get_group(found)
    else:
        alone = typer.Typer(add_completion=False)
        alone.command(name, cls=Command)(found)
        command = get_command(alone)
    command.name = name
    return command


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return any(one in ("-h", "--help") for one in arguments)


def _configure(context: Any, name: str, command: Any, arguments: Sequence[str]) -> None:
    """Give a command its defaults from the file and from the environment."""
    from genrescope.apps import configuration

    file = configuration.read_file()
    if not file.tables and not any(key.startswith("GENRESCOPE_") for key in os.environ):
        return
    path: tuple[str, ...] = (name,)
    known = set(context.command.commands)
    if hasattr(command, "commands"):
        known |= {f"{name}.{below}" for below in command.commands}
        below = next((one for one in arguments if one in command.commands), None)
        if below is None:
            return
        path, command = (name, below), command.commands[below]
    settings = configuration.effective(options_of(command, path), file, of=[path], commands=known)
    used = [setting for setting in settings if setting.source != "default"]
    defaults: dict[str, Any] = {setting.option.name: setting.value for setting in used}
    for part in reversed(path):
        defaults = {part: defaults}
    context.default_map = defaults
    context.meta["genrescope.settings"] = used


def _convert(parameter: Any, context: Any, value: Any) -> Any:
    """A value as the command would get it, or a ValueError with the rule that it breaks."""
    try:
        if hasattr(parameter, "type_cast_value"):  # of click; later typer has its own way
            return parameter.type_cast_value(context, value)
        return parameter.get_runtime_param().coerce(value, param=parameter, ctx=context)
    except Exception as error:
        message = " ".join(str(getattr(error, "message", None) or error).split())
        raise ValueError(rule_of(message.removesuffix("."))) from error


def _plain(value: Any) -> Any:
    """A default as it would be written."""
    value = getattr(value, "value", value)
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
