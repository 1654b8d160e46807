"""``genrescope doctor``: what is installed, what can be read, what takes up room, what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from genrescope.apps.diagnosis import Diagnosis
    from genrescope.apps.kept import Place

__all__ = ["doctor"]

_LABEL = 14  # cells
_NARROW = 72  # cells; below, values stand under their names


def doctor(
    context: typer.Context,
    json: options.Json = False,
    clean: Annotated[
        bool,
        typer.Option(
            "--clean",
            help="Remove what can be made again: what was heard before, clips of the demo, what "
            "killed processes left. Never the journal.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --clean: do not ask.")] = False,
) -> None:
    """Check what is installed, what can be read, and what takes up room.

    What it prints has no name of a user and no home folder in it, so that it can be pasted into
    a report.

    Exit codes: 0 all is well, 1 something is wrong, 2 wrong usage or nothing to do.

    Examples:

      genrescope doctor
      genrescope doctor --json > doctor.json
      genrescope doctor --clean
    """
    if yes and not clean:
        raise typer.BadParameter("--yes goes with --clean")
    if clean:
        raise typer.Exit(_clean(yes=yes, json=json))
    from genrescope.apps.diagnosis import diagnose

    found = diagnose(configuration=lambda: _configuration_problems(context))
    if json:
        from genrescope.apps.cli.text import print_json

        print_json({**found.sections, "problems": found.problems})
    else:
        for line in _report(found):
            typer.echo(line)
    raise typer.Exit(1 if found.problems else 0)


def _configuration_problems(context: typer.Context) -> list[str]:
    """What is wrong in the file and in the environment, for all commands."""
    from genrescope.apps import configuration
    from genrescope.apps.cli.lazy import leaves, options_of
    from genrescope.errors import ConfigurationError

    found = list(leaves(context.find_root().command))
    options = [option for path, one in found for option in options_of(one, path)]
    problems = configuration.strange_variables(options)
    try:
        file = configuration.read_file()
    except ConfigurationError as error:
        return [*problems, str(error)]
    commands = [".".join(path) for path, _ in found]
    wrong = configuration.check_file(
        file, options, of=[path for path, _ in found], commands=commands
    )
    return [*problems, *map(str, wrong)]


# --- the report ------------------------------------------------------------


def _report(found: Diagnosis) -> Iterator[str]:
    sections = found.sections
    yield from _block("System", {k: v for k, v in sections["system"].items() if v != ""}.items())
    if packages := sections["packages"]:
        core = ", ".join(f"{name} {version or '?'}" for name, version in packages["core"].items())
        yield from _block("Packages", [("core", core), *_extras(packages["extras"])])
    if formats := sections["formats"]:
        yield from _block("Sound that can be read", _decoders(formats))
    if recogniser := sections["recogniser"]:
        yield from _block("Recogniser", _recogniser(recogniser))
    if computing := sections["computing"]:
        rows = ((name, ", ".join(devices)) for name, devices in computing.items())
        yield from _block("Computing", rows)
    yield from _block("Kept on disk", _kept(sections["places"], sections["disk"]))
    configured = sections["configuration"]
    if configured:
        there = "" if configured["exists"] else " (there is none)"
        set_here = configured["environment"].items()
        yield from _block("Configuration", [("file", configured["file"] + there), *set_here])
    yield ""
    if not found.problems:
        yield "All is well."
    else:
        yield _bold(f"{len(found.problems)} wrong:" if len(found.problems) > 1 else "Wrong:")
        for problem in found.problems:
            yield from _wrapped(problem, first="  - ", indent=4)


def _extras(extras: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, extra in extras.items():
        here = ", ".join(
            f"{one} {version}" for one, version in extra["versions"].items() if version
        )
        if not extra["missing"]:
            yield name, here
        else:
            lacks = ", ".join(extra["missing"])
            yield name, f"not installed: {lacks}. For {extra['brings']}: {extra['install']}"


def _decoders(formats: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    by: dict[str, list[str]] = {"libsndfile": [], "ffmpeg": []}
    for name, one in formats["formats"].items():
        if one["decoder"]:
            by.setdefault(one["decoder"], []).append(name)
    yield "libsndfile", f"{formats['libsndfile']}: {', '.join(by['libsndfile']) or 'nothing'}"
    version = f"{formats['FFmpeg']} (PyAV {formats['PyAV']})"
    yield "FFmpeg", f"{version}: {', '.join(by['ffmpeg']) or 'nothing'}"
    if formats["not tried"]:
        yield "not tried", f"{', '.join(formats['not tried'])} (cannot be made here to try)"


def _recogniser(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "bundle", f"{one['bundle']}, {one['genres']} genres, checksums {one['checksums']}"
    yield "speed", f"{one['predict ms']} ms for 10 s of sound, {one['load ms']} ms to load"


def _kept(places: Mapping[str, Any], disk: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from genrescope.catalog.storage import human_bytes

    for name, place in places.items():
        size = human_bytes(place["bytes"]) if place["bytes"] else "nothing"
        yield name, f"{size} in {place['path']}: {place['about']}"
    for folder, room in disk.get("free", {}).items():
        yield "free", f"{human_bytes(room)} for {folder}"


def _block(title: str, rows: Iterable[tuple[str, Any]]) -> Iterator[str]:
    if title != "System":
        yield ""
    yield _bold(title)
    for name, value in rows:
        long = len(name) > _LABEL
        if long:
            yield f"  {name}"
        first = " " * (_LABEL + 4) if long else f"  {name:<{_LABEL}}  "
        yield from _wrapped(str(value), first=first, indent=_LABEL + 4)


def _bold(text: str) -> str:
    from genrescope.apps.cli.terminal import coloured

    return f"\x1b[1m{text}\x1b[0m" if coloured(sys.stdout) else text


def _wrapped(text: str, *, first: str, indent: int) -> list[str]:
    import textwrap

    from genrescope.apps.cli.terminal import width_of
    from genrescope.apps.cli.text import printable

    width = width_of(sys.stdout)
    whole = first + printable(text)
    if width is None or len(whole) < width:  # lines of a pipe have no end
        return [whole]
    if width < _NARROW:
        indent = 4
        if len(first.strip()) and not first.strip().startswith("-"):
            return [first.rstrip(), *_wrapped(text, first=" " * indent, indent=indent)]
        first = first[:indent]
    return textwrap.wrap(
        printable(text),
        max(width - 1, 30),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


# --- --clean ---------------------------------------------------------------


def _clean(*, yes: bool, json: bool) -> int:
    from genrescope.apps import kept as disk
    from genrescope.apps.cli.text import print_json
    from genrescope.catalog.storage import human_bytes

    everything = disk.places()
    chosen = [place for place in everything if place.again and place.paths]
    kept = [place for place in everything if not place.again and place.paths]
    total = human_bytes(sum(place.size for place in chosen))
    if not json:
        _tell_of(chosen, kept)
    sure = yes or (bool(chosen) and not json and _asked(total))
    results = disk.remove(chosen) if sure else []
    failures = [f"{place.name}: {why}" for place, why in results if why]
    if json:
        print_json(
            {
                "removed": [_entry(place) for place, why in results if not why],
                "would remove": [] if sure else [_entry(place) for place in chosen],
                "kept": [_entry(place) for place in kept],
                "errors": failures,
            }
        )
    elif not chosen:
        typer.echo("There is nothing to remove.")
    elif not sure:
        typer.echo("Nothing was removed. To remove it: genrescope doctor --clean --yes")
    elif not failures:
        typer.echo(f"Removed {total}.")
    for failure in failures:
        typer.echo(f"genrescope: {failure}; close what uses it, and try again", err=True)
    return 1 if failures else 0


def _entry(place: Place) -> dict[str, Any]:
    from genrescope.apps.configuration import short_path

    return {"name": place.name, "path": short_path(place.path), "bytes": place.size}


def _tell_of(chosen: list[Place], kept: list[Place]) -> None:
    from genrescope.apps.configuration import short_path
    from genrescope.catalog.storage import human_bytes

    for title, group in (("Can be made again, and goes", chosen), ("Stays", kept)):
        if group:
            rows = (
                (one.name, f"{human_bytes(one.size)} in {short_path(one.path)}: {one.about}")
                for one in group
            )
            for line in list(_block(title, rows))[1:]:
                typer.echo(line)


def _asked(total: str) -> bool:
    """Whether a person says yes; in a pipe, nobody does."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm(f"Remove {total}?", default=False)
