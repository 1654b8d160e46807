"""What people set once: options by file and by environment, below the command line.

The order is command line, environment, file, default. The file is TOML, a table for each command
(``[predict]``, ``[features.extract]``) and one, ``[defaults]``, for options that many commands
have. Only the user's own file is read, never one in the folder that a command happens to run in: a
folder that came from somebody else must not change what a command does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genrescope.apps.settings import (
    DEFAULTS,
    LIST_SEPARATOR,
    NEVER,
    PREFIX,
    SHARED,
    VARIABLES,
    File,
    Option,
    Setting,
    config_path,
    key_of,
    meant,
    read_file,
    settable,
    short_path,
    variable_of,
)
from genrescope.apps.toml_lines import literal, with_key, without_key
from genrescope.errors import ConfigurationError, DataError

__all__ = [
    "DEFAULTS",
    "NEVER",
    "SHARED",
    "VARIABLES",
    "File",
    "Option",
    "Setting",
    "came_from",
    "check_file",
    "check_value",
    "config_path",
    "effective",
    "key_of",
    "meant",
    "read_file",
    "set_key",
    "settable",
    "short_path",
    "strange_variables",
    "unset_key",
    "variable_of",
]

# --- checking --------------------------------------------------------------


def check_file(
    file: File,
    options: Sequence[Option],
    *,
    of: Iterable[tuple[str, ...]],
    commands: Iterable[str],
) -> list[ConfigurationError]:
    """Everything that is wrong in a file, as far as the options of these commands go.

    Parameters
    ----------
    file : File
        The file.
    options : sequence of Option
        Options of the commands that are looked at.
    of : iterable of tuple of str
        Those commands, which may have none.
    commands : iterable of str
        Names of all commands, with dots: tables that may be there.
    """
    errors = []
    looked_at = set(of)
    tables = {DEFAULTS, *commands}
    for table, values in _leaves(file.tables, tables):
        dotted = ".".join(table)
        if not isinstance(values, dict):
            errors.append(_error(file, table[:-1], table[-1], _LOOSE.format(key=table[-1])))
        elif dotted not in tables:
            errors.append(_error(file, table, None, f"[{dotted}]: {_no_table(dotted, tables)}"))
        elif dotted == DEFAULTS:
            for key, value in values.items():
                errors += _check_default(file, key, value, options)
        elif table in looked_at:
            mine = {option.key: option for option in options if option.command == table}
            for key, value in values.items():
                errors += _check_key(file, table, key, value, mine)
    return errors


_LOOSE = "{key}: it stands outside of a table; options stand under their command, as in [predict]"


def _leaves(tables: Mapping[str, Any], known: set[str]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Tables of the file, each by its path; a value outside of any table by its own."""
    groups = {name.partition(".")[0] for name in known if "." in name}
    for name, values in tables.items():
        if name in groups and isinstance(values, dict):
            yield from (((name, below), inner) for below, inner in values.items())
        else:
            yield (name,), values


def _no_table(name: str, tables: set[str]) -> str:
    return f"there is no such command{meant(name, tables, '[{}]')}"


def _error(file: File, table: Sequence[str], key: str | None, text: str) -> ConfigurationError:
    return ConfigurationError(f"{file.where(table, key)}: {text}")


def _check_default(
    file: File, key: str, value: Any, options: Sequence[Option]
) -> list[ConfigurationError]:
    plain = key.replace("_", "-")
    if plain not in SHARED:
        way = meant(plain, SHARED) or "; set it under the command that it is for"
        why = f"not an option that commands share ({', '.join(SHARED)})"
        return [_error(file, (DEFAULTS,), key, f"{key}: {NEVER.get(plain) or why}{way}")]
    mine = {option.key: option for option in options if option.key == plain}
    return _check_key(file, (DEFAULTS,), key, value, mine) if mine else []


def _check_key(
    file: File, table: Sequence[str], key: str, value: Any, mine: Mapping[str, Option]
) -> list[ConfigurationError]:
    plain = key.replace("_", "-")
    if plain in NEVER:
        text = f"{key}: {NEVER[plain]}, so it is given on the command line only; remove the line"
    elif plain not in mine:
        name = " ".join(table)
        way = meant(plain, mine) or f"; `genrescope config show {name}` lists those that can be"
        text = f"{key}: `genrescope {name}` has no option --{plain} that can be set{way}"
    else:
        wrong = check_value(mine[plain], value)
        if wrong is None:
            return []
        text = f"{key} = {literal(value)}: {wrong}"
    return [_error(file, table, key, text)]


def check_value(option: Option, value: Any) -> str | None:
    """Why a value from a file cannot be the option's; None where it can."""
    if option.many != isinstance(value, list):
        return 'it takes a list: ["one", "other"]' if option.many else "it takes one value"
    if option.flag != isinstance(value, bool):
        return "it is true or false" if option.flag else "it is not true or false, but a value"
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if not isinstance(part, bool | int | float | str):
            return "it takes a text, a number, true or false"
    try:
        became = option.convert(value)
    except ValueError as error:
        return str(error)
    results = became if isinstance(became, list | tuple) else [became]
    for part, result in zip(parts, results, strict=True):
        if isinstance(result, bool | int | float) and isinstance(part, str):
            return "it is a number, which stands without quotes"
        if isinstance(result, int) and isinstance(part, float):
            return "it is a whole number"
        if not isinstance(result, bool | int | float) and not isinstance(part, str):
            return f'it is a text, which stands in quotes: "{part}"'
    return None


# --- what holds ------------------------------------------------------------


def effective(
    options: Sequence[Option],
    file: File,
    *,
    of: Sequence[tuple[str, ...]],
    commands: Iterable[str],
) -> list[Setting]:
    """The value of each option below the command line, and where it comes from.

    Raises
    ------
    ConfigurationError
        If the file or a variable sets one of them wrongly.
    """
    for error in check_file(file, options, of=of, commands=commands):
        raise error
    variables = {option.variable for option in options}
    for command in of:
        for error in _strange(command, variables, options):
            raise error
    return [_setting(option, file) for option in options]


def _setting(option: Option, file: File) -> Setting:
    tables = [option.command, *([(DEFAULTS,)] if option.key in SHARED else [])]
    for table in tables:
        variable = variable_of(table, option.key)
        if text := os.environ.get(variable):
            return Setting(option, _from_text(option, text, variable), "environment", variable)
    for table in tables:
        values: Any = file.tables
        for part in table:
            values = values.get(part, {}) if isinstance(values, dict) else {}
        for key in (option.key, option.key.replace("-", "_")):
            if key in values:
                return Setting(option, values[key], "file", file.where(table, key))
    return Setting(option, option.default, "default", "")


def _from_text(option: Option, text: str, variable: str) -> Any:
    """What a variable says, as the option takes it."""
    value: Any = text.split(LIST_SEPARATOR) if option.many else text
    try:
        became = option.convert(value)
    except ValueError as error:
        raise ConfigurationError(
            f"{variable}={text}: {error!s}; change or unset the variable"
        ) from error
    return became if isinstance(became, bool | int | float) else value


def strange_variables(options: Sequence[Option]) -> list[str]:
    """What is wrong with variables of the environment that begin as ours do."""
    known = {option.variable for option in options} | set(VARIABLES)
    known |= {variable_of((DEFAULTS,), key) for key in SHARED}
    return [
        f"{name}: nothing reads this variable{meant(name, known)}"
        for name in sorted(os.environ)
        if name.startswith(f"{PREFIX}_") and name not in known
    ]


def _strange(
    command: tuple[str, ...], known: set[str], options: Sequence[Option]
) -> Iterable[ConfigurationError]:
    start = variable_of(command, "")
    mine = {name for name in known if name.startswith(start)}
    for name in sorted(os.environ):
        if not name.startswith(start) or name in known or not os.environ[name]:
            continue
        key = name[len(start) :].lower().replace("_", "-")
        if key in NEVER:
            yield ConfigurationError(
                f"{name}: {NEVER[key]}, so it is given on the command line only; unset the variable"
            )
        else:
            way = meant(name, mine) or "; unset it"
            yield ConfigurationError(
                f"{name}: `genrescope {' '.join(command)}` has no such option{way}"
            )


def came_from(context: Any) -> str:
    """For errors about options: which of them were not typed, and where they are set.

    Parameters
    ----------
    context : typer.Context or None
        Of the command that complains.

    Returns
    -------
    str
        Empty where all was typed.
    """
    told = [
        f"--{setting.option.key} is set by {setting.where}"
        for setting in getattr(context, "meta", {}).get("genrescope.settings", ())
        if _was_used(context, setting.option.name)
    ]
    return f" ({', '.join(told)})" if told else ""


def _was_used(context: Any, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


# --- writing ---------------------------------------------------------------


def set_key(file: File, table: Sequence[str], key: str, value: Any) -> None:
    """Write one key; comments and all else stay as they are.

    Raises
    ------
    ConfigurationError
        If the file is written in a way that one line cannot be changed in, or the disk refuses.
    """
    try:
        _write(file, with_key(file.text, table, key, value))
    except ValueError as error:
        raise _cannot_change(file, error) from error


def unset_key(file: File, table: Sequence[str], key: str) -> bool:
    """Take one key out; whether it was there.

    Raises
    ------
    ConfigurationError
        As :func:`set_key`.
    """
    try:
        text = without_key(file.text, table, key)
    except ValueError as error:
        raise _cannot_change(file, error) from error
    if text is not None:
        _write(file, text)
    return text is not None


def _cannot_change(file: File, error: ValueError) -> ConfigurationError:
    if isinstance(error, ConfigurationError):
        return error
    return ConfigurationError(
        f"{short_path(file.path)}: {error} stands there in a way that cannot be changed from here; "
        "change it in an editor"
    )


def _write(file: File, text: str) -> None:
    from genrescope.catalog.storage import atomic

    path = file.path.resolve()  # so that a link into a folder of dotfiles stays a link
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    try:
        with atomic(path) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
            if mode is not None:
                part.chmod(mode)
    except DataError as error:
        raise ConfigurationError(short_path(str(error))) from error
