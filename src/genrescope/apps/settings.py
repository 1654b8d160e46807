"""What can be set by file and by environment, and what cannot; where the file is.

Nothing here knows typer: an option is what :class:`Option` says.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from genrescope.apps.toml_lines import line_of
from genrescope.errors import ConfigurationError

__all__ = [
    "DEFAULTS",
    "LIST_SEPARATOR",
    "NEVER",
    "PREFIX",
    "SHARED",
    "VARIABLES",
    "File",
    "Option",
    "Setting",
    "config_path",
    "key_of",
    "meant",
    "read_file",
    "settable",
    "short_path",
    "variable_of",
]

PREFIX = "GENRESCOPE"
DEFAULTS = "defaults"
LIST_SEPARATOR = ";"  # in variables; genres have commas and spaces in their names

SHARED = (
    "bundle",
    "cluster",
    "device",
    "folds",
    "json",
    "metadata",
    "min-confidence",
    "scheduler",
    "seed",
    "threads",
    "together",
    "windows",
    "workers",
)
"""Options that may stand in ``[defaults]``."""

_CHANGES = "it changes, replaces or deletes files"
_ASKS = "it asks for something else to be done"
_PLACE = "where results go is said with each command"
NEVER: Mapping[str, str] = {
    "all": _CHANGES,
    "force": _CHANGES,
    "split-links": _CHANGES,
    "write": _CHANGES,
    "yes": _CHANGES,
    "clean": _CHANGES,
    "moved": "it accepts that something is not what it was",
    "out": _PLACE,
    "last": "which run is taken back is said each time",
    "list": _ASKS,
    "names-template": _ASKS,
    "null": "it is about what is on stdin",
}
"""Options that are given on the command line only, and why."""

VARIABLES: Mapping[str, str] = {
    "GENRESCOPE_CONFIG": "The configuration file.",
    "GENRESCOPE_JOURNAL": "The journal of written tags, which `genrescope undo` reads.",
    "GENRESCOPE_HEARD": "What was heard before, so that it is not heard again.",
    "GENRESCOPE_TOKEN": "The token of `genrescope serve`.",
    "GENRESCOPE_DEBUG": "1: show the traceback of an unexpected error.",
}
"""Variables that are no option of a command."""


@dataclass(frozen=True)
class Option:
    """An option as it can be set.

    Attributes
    ----------
    command : tuple of str
        The command that has it: ``("features", "extract")``.
    key : str
        Its long name without dashes.
    name : str
        The name of the parameter that takes it.
    default : Any
        What it is where nobody sets it; None where the command decides.
    many : bool
        Whether it takes a list.
    flag : bool
        Whether it is on or off.
    convert : callable
        Turns a value into what the command takes; raises a ValueError that says the rule.
    """

    command: tuple[str, ...]
    key: str
    name: str
    default: Any
    many: bool
    flag: bool
    convert: Callable[[Any], Any]

    @property
    def variable(self) -> str:
        """The variable of the environment that sets it."""
        return variable_of(self.command, self.key)


@dataclass(frozen=True)
class Setting:
    """The value of an option, and where it comes from.

    Attributes
    ----------
    option : Option
        The option.
    value : Any
        As it stands in the file or in the variable; else the default.
    source : str
        ``"default"``, ``"file"`` or ``"environment"``.
    where : str
        ``config.toml:12``, or the name of the variable; empty for a default.
    """

    option: Option
    value: Any
    source: str
    where: str


@dataclass(frozen=True)
class File:
    """A configuration file that was read.

    Attributes
    ----------
    path : Path
        Where it is, or would be.
    tables : mapping
        What it says; empty where there is no file.
    text : str
        The file as it stands.
    """

    path: Path
    tables: Mapping[str, Any]
    text: str

    def where(self, table: Sequence[str], key: str | None = None) -> str:
        """File and line of a key, as people and editors write it."""
        line = line_of(self.text, table, key)
        return short_path(self.path) + (f":{line}" if line else "")


# --- places ----------------------------------------------------------------


def config_path() -> Path:
    """Where the file is: ``GENRESCOPE_CONFIG``, or the user's folder for configuration."""
    if given := os.environ.get("GENRESCOPE_CONFIG"):
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_config_path("genrescope")) / "config.toml"


def short_path(path: Path | str) -> str:
    """A path with the home folder as ``~``."""
    text, home = str(path), os.path.expanduser("~")
    if len(home) > 1 and (text == home or text.startswith(home + os.sep)):
        return "~" + text[len(home) :]
    return text


def variable_of(command: Sequence[str], key: str) -> str:
    """The variable that sets an option: ``GENRESCOPE_FEATURES_EXTRACT_WORKERS``."""
    return "_".join((PREFIX, *command, key)).upper().replace("-", "_")


def key_of(names: Iterable[str]) -> str | None:
    """The key of an option from what can be typed: ``["-j", "--workers"]`` is ``workers``."""
    return next((name[2:] for name in names if name.startswith("--")), None)


def settable(key: str | None) -> bool:
    """Whether a file or a variable may set it."""
    return key is not None and key not in NEVER


def meant(word: str, known: Iterable[str], form: str = "{}") -> str:
    """A question for who mistyped a word; empty where nothing is like it."""
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {form.format(near[0])}?" if near else ""


# --- reading ---------------------------------------------------------------


def read_file(path: Path | None = None) -> File:
    """The user's file; without one, a file that says nothing.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or is no TOML. Also if ``GENRESCOPE_CONFIG`` names a file that is
        not there.
    """
    path = path or config_path()
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if os.environ.get("GENRESCOPE_CONFIG") == str(path):
            raise ConfigurationError(
                f"{short_path(path)}: there is no such file, but GENRESCOPE_CONFIG names it; "
                "create it with `genrescope config set`, or unset the variable"
            ) from None
        return File(path, {}, "")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(
            f"{short_path(path)}: the configuration cannot be read: {reason}"
        ) from error
    try:
        return File(path, tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{short_path(path)}: {error}; the configuration is TOML: `top = 5` under `[predict]`"
        ) from error
