"""What every command has in common: how it says its help, its errors and its exit code."""

from __future__ import annotations

import inspect
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from genrescope.apps.cli.terminal import NO_READER, coloured, silence_stdout, tame, width_of
from genrescope.errors import GenrescopeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["USAGE", "Command", "Family", "Group", "rule_of", "run"]

USAGE = 2  # exit code: wrong usage, or nothing to do
_MISTAKE = 70  # as sysexits.h has it
_INTERRUPTED = 130  # 128 + SIGINT
_MOST = 100  # cells of a line of help
_USUAL = 80  # cells, where there is no terminal
_NAMES = 26  # cells for the names of options, at most, before they get a line of their own
_LAST = ("Exit codes:", "Examples:")  # paragraphs that stand at the end


class Command(TyperCommand):
    """A command that says its help for the width of the terminal, and ends as all others do."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option ``--help``, quick to leave out."""
        return _quick(super().get_help_option(ctx))

    def get_help(self, ctx: Any) -> str:
        """The help, laid out."""
        return _page(self, ctx, _panels(self, ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the name of the command."""
        pieces = ["[OPTIONS]"]
        for one in self.get_params(ctx):
            if one.param_type_name == "argument" and not getattr(one, "hidden", False):
                name = _metavar(one) + ("..." if one.nargs == -1 else "")
                pieces.append(name if one.required else f"[{name}]")
        return pieces

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; an error knows whose it is."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:
                vars(error)["ctx"] = ctx
            raise

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names of options, without those that are only kept for old scripts."""
        old = {name for one in self.get_params(ctx) for name in _names(one)[1]}
        return [item for item in super().shell_complete(ctx, incomplete) if item.value not in old]

    def invoke(self, ctx: Any) -> Any:
        """Run it; a reader who leaves and Ctrl-C end it in order."""
        tame(sys.stdout, sys.stderr)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
            raise typer.Exit(NO_READER) from None
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        return result


class Group(TyperGroup):
    """A command that has commands below it."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option ``--help``, quick to leave out."""
        return _quick(super().get_help_option(ctx))

    def get_help(self, ctx: Any) -> str:
        """The help, laid out, with the commands."""
        return _page(self, ctx, [*self.panels(ctx), *_panels(self, ctx)])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the name of the command."""
        return ["COMMAND ..."]

    def panels(self, ctx: Any) -> list[tuple[str, list[tuple[str, str]]]]:
        """The commands with one sentence each, by heading."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                heading = getattr(command, "rich_help_panel", None) or "Commands"
                rows = found.setdefault(heading, [])
                rows.append((name, first_sentence(command.short_help or command.help or "")))
        return list(found.items())


class Family(typer.Typer):
    """Commands below one name, such as ``genrescope fma``."""

    def __init__(self, about: str) -> None:
        super().__init__(
            cls=Group, help=about, no_args_is_help=True, pretty_exceptions_enable=False
        )
        self.callback()(lambda: None)  # a family of one command is a family

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """As of typer, for commands of ours."""
        return super().command(name, **{"cls": Command, **settings})


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run a command line; every error is one line on stderr.

    Parameters
    ----------
    app : typer.Typer
        The command.
    arguments : sequence of str, optional
        Instead of those of the process.

    Returns
    -------
    int
        The exit code: 0, 1 some failed, 2 wrong usage or nothing to do, 130 Ctrl-C, 141 the
        reader of a pipe has left.
    """
    tame(sys.stdout, sys.stderr)
    try:
        code = app(arguments, prog_name="genrescope", standalone_mode=False)
        sys.stdout.flush()
    except GenrescopeError as error:
        return _complain(str(error))
    except BrokenPipeError:
        silence_stdout()
        return NO_READER
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except SystemExit as end:  # of options that end the program by themselves
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001 - the last resort of the whole program
        return _unexpected(error)
    return code if isinstance(code, int) else 0


# --- errors ----------------------------------------------------------------


def _complain(message: str) -> int:
    from genrescope.apps.cli.text import printable

    typer.echo(f"genrescope: {printable(message)}", err=True)
    return USAGE


def _unexpected(error: Exception) -> int:
    """What is not one of our errors: of click, of the system, or a mistake of ours."""
    if hasattr(error, "format_message"):
        return _wrong_usage(error)
    if os.environ.get("GENRESCOPE_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror}")
    _complain(
        f"{type(error).__name__}: {error}; this is a mistake in genrescope: please report it with "
        "what `genrescope doctor` says (GENRESCOPE_DEBUG=1 shows where it happened)"
    )
    return _MISTAKE


def _wrong_usage(error: Any) -> int:
    """Say an error of click's in our words."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True, color=context.color)
        return USAGE
    from genrescope.apps.configuration import came_from

    path = context.command_path if context is not None else "genrescope"
    return _complain(f"{_in_our_words(error)}{came_from(context)}; see `{path} --help`")


# What click and its successor in typer say, and what we do. The first that is found counts.
_RULES = (
    (r".*valid integer.*", "give a whole number"),
    (r".*valid number.*", "give a number"),
    (r".*not a valid (?:int|float).*", "give a number"),
    (r".*greater than or equal to (\S+)", r"give \1 or more"),
    (r".*less than or equal to (\S+)", r"give at most \1"),
    (r".*?'([^']*)' is not one of (.*)", r"\1 is none of \2"),
    (r"Value error, (.*)", r"\1"),
)


def _in_our_words(error: Any) -> str:
    """The value and the rule, on one line."""
    message = " ".join(str(error.message).split()).removesuffix(".")
    if getattr(error, "option_name", None) is not None:
        return _option_error(error, message)
    if getattr(error, "param", None) is not None:
        return _value_error(error, message)
    if found := re.match(r"No such command '(.*?)'\.?\s*(?:Did you mean (.*?)\??)?$", message):
        near = (found[2] or "").replace("'", "").replace(", ", " or ")
        return f"{found[1]}: no such command" + (f"; did you mean {near}?" if near else "")
    if found := re.match(r"Got unexpected extra argument(?:s|\(s\))? \((.*)\)", message):
        return f"{found[1]}: more than it takes"
    return message


def _option_error(error: Any, message: str) -> str:
    if "requires" in message:
        return f"{error.option_name}: needs a value"
    if "does not take" in message:
        return f"{error.option_name}: takes no value"
    near = error.possibilities or () if hasattr(error, "possibilities") else ()
    command = error.ctx.command if error.ctx is not None else None
    old = {name for one in getattr(command, "params", ()) for name in _names(one)[1]}
    known = " or ".join(name for name in near if name not in old)
    return f"{error.option_name}: no such option" + (f"; did you mean {known}?" if known else "")


def _value_error(error: Any, message: str) -> str:
    one = error.param
    name = _names(one)[0][-1] if one.param_type_name == "option" else _metavar(one)
    if type(error).__name__ == "MissingParameter":
        what = first_sentence(one.help or "").rstrip(".")
        return f"{name}: is missing" + (f" ({what})" if what else "")
    return f"{name}: {rule_of(message)}"


def rule_of(message: str) -> str:
    """What click or typer says of a value, in our words."""
    for pattern, ours in _RULES:
        if found := re.fullmatch(pattern, message):
            return found.expand(ours).replace("'", "")
    return f"{message[:1].lower()}{message[1:]}"


def _quick(option: Any) -> Any:
    """An option that is off where it is not given; to see that None is, typer loads pydantic."""
    if option is not None and option.default is None:
        option.default = False
    return option


# --- help ------------------------------------------------------------------


def first_sentence(text: str) -> str:
    """What stands before the first full stop that ends a sentence, or the first empty line."""
    first = inspect.cleandoc(text).split("\n\n", 1)[0]
    return re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join(first.split()), maxsplit=1)[0]


def _page(command: Any, ctx: Any, panels: Iterable[tuple[str, list[tuple[str, str]]]]) -> str:
    """Everything, for the terminal or for a pipe."""
    bold = (lambda text: f"\x1b[1m{text}\x1b[0m") if coloured(sys.stdout) else str
    ctx.color = coloured(sys.stdout)
    width = min(width_of(sys.stdout) or _USUAL, _MOST)
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = _wrapped(usage, width, first=f"{bold('Usage:')} ", indent=7)
    body, last = _paragraphs(command.help or "")
    for paragraph in body:
        lines += ["", *_wrapped(paragraph, width)]
    for heading, rows in panels:
        lines += ["", bold(f"{heading}:"), *_rows(rows, width)]
    for paragraph in last:
        head, _, rest = paragraph.partition(":")
        lines += ["", bold(f"{head}:")]
        if head == "Examples":
            lines += [f"  {line.strip()}" for line in rest.splitlines() if line.strip()]
        else:
            lines += _rows(_codes(rest), width)
    return "\n".join(lines)


def _paragraphs(text: str) -> tuple[list[str], list[str]]:
    """Those that are told first, and those that stand at the end; examples are one paragraph."""
    body: list[str] = []
    last: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if last and last[-1].startswith("Examples:"):
            last[-1] += f"\n{paragraph}"
        elif paragraph.startswith(_LAST):
            last.append(paragraph)
        else:
            body.append(paragraph)
    return body, last


def _codes(text: str) -> list[tuple[str, str]]:
    """The exit codes of a sentence such as "0 done, 1 some failed"."""
    parts = re.split(r"(?:^|,\s+)(?=\d{1,3}\s)", " ".join(text.split()).removesuffix("."))
    return [(code, said) for code, _, said in (part.partition(" ") for part in parts if part)]


def _panels(command: Any, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Arguments and options by heading: what has none of its own stands first."""
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for one in command.get_params(ctx):
        if getattr(one, "hidden", False):
            continue
        option = one.param_type_name == "option"
        usual = "Options" if option else "Arguments"
        rows = found.setdefault(getattr(one, "rich_help_panel", None) or usual, [])
        rows.append((_spelled(one) if option else _metavar(one), _told(one, ctx)))
    yield from ((heading, rows) for heading, rows in found.items() if rows)


def _names(one: Any) -> tuple[list[str], list[str]]:
    """The names of an option, short before long, and those that only old scripts know."""
    if one.param_type_name != "option":
        return [], []
    short = [name for name in one.opts if not name.startswith("--")]
    long = [name for name in one.opts if name.startswith("--")]
    return [*short[:1], *long[:1]], long[1:]


def _metavar(one: Any) -> str:
    return str(one.metavar or one.name).upper()


def _spelled(one: Any) -> str:
    """An option as it is written."""
    names = ", ".join(_names(one)[0])
    if one.secondary_opts:
        return f"{names} / {one.secondary_opts[0]}"
    return names if one.is_flag else f"{names} {one.metavar or one.name.upper()}"


def _told(one: Any, ctx: Any) -> str:
    """What an option is about, and what stands for it where it is not given."""
    text = " ".join(inspect.cleandoc(one.help or "").split())
    usual = one.show_default
    if isinstance(usual, str):
        default = usual
    elif usual and not (one.is_flag if one.param_type_name == "option" else True):
        value = one.get_default(ctx, call=False)
        default = "" if value is None else str(getattr(value, "value", value))
    elif one.required:
        default = ""
    else:
        default = ""
    if one.required and one.param_type_name == "option":
        return f"{text} (required)"
    return f"{text} (default: {default})" if default else text


def _rows(rows: list[tuple[str, str]], width: int) -> list[str]:
    """Names and what they are, in two columns; one below the other where it is narrow."""
    stacked = width < 60
    column = min(max((len(name) for name, _ in rows), default=0), _NAMES) + 4
    if stacked:
        column = 6
    lines = []
    for name, text in rows:
        start = f"  {name}"
        if stacked or len(name) > _NAMES:
            lines += [start, *_wrapped(text, width, first=" " * column, indent=column)]
        else:
            lines += _wrapped(text, width, first=f"{start:<{column}}", indent=column)
    return lines


def _wrapped(text: str, width: int, *, first: str = "", indent: int = 0) -> list[str]:
    bare = re.sub(r"\x1b\[\d+m", "", first)
    wrapped = textwrap.wrap(
        " ".join(text.split()),
        max(width - 1, 20),
        initial_indent=" " * len(bare),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if not wrapped:
        return [first.rstrip()]
    return [first + wrapped[0][len(bare) :], *wrapped[1:]]
