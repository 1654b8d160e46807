"""All commands, read beside each other: the same words for the same thing."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from functools import cache
from typing import Any

import pytest
import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.command import USAGE, run
from genrescope.apps.cli.lazy import leaves
from genrescope.apps.cli.main import app
from tests.apps import command as shell

# The same name for two things, on purpose: what is shown where it is not given, or what it is of.
OF_SOMETHING_ELSE = {"--out", "--data", "--force", "--from", "--epochs", "--genres", "--seconds"}
OF_SOMETHING_ELSE |= {
    "--at",
    "--preset",
    "--subset",
    "--limit",
    "--folds",
    "--workers",
    "--encoder",
}
OF_SOMETHING_ELSE |= {"--group", "--check", "--yes", "--all"}
METAVAR = re.compile(r"[A-Z][A-Z/@\[\]|=,._]*|[a-z0-9]+(\|[a-z0-9]+)+|local:N")
CODES = "2 wrong usage or nothing to do"


@cache
def commands() -> dict[str, Any]:
    """Every command by its path."""
    root = typer.main.get_command(app)
    return {" ".join(path): found for path, found in leaves(root)}


def names() -> list[str]:
    return sorted(commands())


def long_name(option: Any) -> str:
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])


def parameters(kind: str) -> list[tuple[str, Any]]:
    return [
        (path, one)
        for path, found in commands().items()
        for one in found.params
        if one.param_type_name == kind and not getattr(one, "hidden", False)
    ]


def paragraph(text: str, start: str) -> str:
    """The paragraph that begins so, on one line."""
    found = next((part for part in text.split("\n\n") if part.startswith(start)), "")
    return " ".join(found.split())


# --- options ---------------------------------------------------------------


def test_one_option_says_the_same_everywhere() -> None:
    said: dict[str, dict[tuple[Any, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, one in parameters("option"):
        key = (tuple(one.secondary_opts), one.metavar, one.help, one.rich_help_panel)
        said[long_name(one)][key].append(path)
    different = {
        name: dict(found)
        for name, found in said.items()
        if len(found) > 1 and name not in OF_SOMETHING_ELSE
    }
    assert different == {}


def test_one_letter_is_one_option() -> None:
    letters: dict[str, set[str]] = defaultdict(set)
    for _, one in parameters("option"):
        for letter in (name for name in one.opts if not name.startswith("--")):
            letters[letter].add(long_name(one))
    assert {letter: found for letter, found in letters.items() if len(found) > 1} == {}


def test_an_option_of_one_name_takes_one_kind_of_value() -> None:
    metavars: dict[str, set[str]] = defaultdict(set)
    for _, one in parameters("option"):
        metavars[long_name(one)].add("" if one.is_flag else one.metavar)
    several = {name: found for name, found in metavars.items() if len(found) > 1}
    assert several == {"--out": {"FOLDER", "FILE"}}


@pytest.mark.parametrize("path", names())
def test_values_have_a_name_that_says_what_is_meant(path: str) -> None:
    for one in commands()[path].params:
        if getattr(one, "hidden", False):
            continue
        if one.param_type_name == "argument" or not one.is_flag:
            assert one.metavar, one.opts
            assert re.fullmatch(
                r"[A-Z][A-Z/@\[\]|=,._]*|[a-z0-9]+(\|[a-z0-9]+)+|local:N", one.metavar
            )
        assert one.help, one.opts
        assert one.help[-1] in ".)" or one.help.endswith("..."), one.help


@pytest.mark.parametrize("path", names())
def test_headings_stand_in_one_order(path: str) -> None:
    panels = [
        one.rich_help_panel or "Options"
        for one in commands()[path].params
        if one.param_type_name == "option" and not getattr(one, "hidden", False)
    ]
    shown = list(dict.fromkeys(["Options", *panels]))
    assert shown == sorted(shown, key=options.PANELS.index)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["lab", "--jobs", "2"], ["lab", "--workers", "2"]),
        (["teach", "a", "--out", "b", "--groups", "c"],
         ["teach", "a", "--out", "b", "--group", "c"]),
        (["fma", "fetch", "small", "--to", "x"], ["fma", "fetch", "small", "--out", "x"]),
        (["fma", "simulate", "x", "--audio", "none"], ["fma", "simulate", "x", "--subset", "none"]),
        (["features", "extract", "a", "--out", "b", "--batch", "9"],
         ["features", "extract", "a", "--out", "b", "--part-size", "9"]),
        (["serve", "--max-seconds", "9"], ["serve", "--timeout", "9"]),
        (["evaluate", "--audio", "m.csv"], ["evaluate", "--manifest", "m.csv"]),
        (["robustness", "a", "--markdown", "f"], ["robustness", "a", "--out", "f"]),
        (["model", "filters", "r", "--out", "p", "--most", "3"],
         ["model", "filters", "r", "--out", "p", "--limit", "3"]),
    ],
)  # fmt: skip
def test_old_names_of_options_still_work(old: list[str], new: list[str]) -> None:
    assert parsed(old) == parsed(new)


def parsed(words: list[str]) -> dict[str, Any]:
    """What a command is called with."""
    path = next(p for n in (2, 1) if (p := " ".join(words[:n])) in commands())
    rest = words[len(path.split()) :]
    return dict(commands()[path].make_context(path, list(rest)).params)


def test_old_names_are_not_shown() -> None:
    found = commands()["lab"]
    context = found.make_context("lab", [], resilient_parsing=True)
    assert "--jobs" not in found.get_help(context)
    assert "--jobs" not in [item.value for item in found.shell_complete(context, "--")]


# --- help ------------------------------------------------------------------


@pytest.mark.parametrize("path", names())
def test_help_says_what_it_does_how_it_ends_and_how_it_is_called(path: str) -> None:
    text = commands()[path].help
    first = text.split("\n\n")[0]
    assert first.rstrip().endswith("."), first
    codes = paragraph(text, "Exit codes:")
    assert CODES in codes or path.startswith(("doctor", "config")), codes
    assert "genrescope " in text.partition("Examples:")[2]


def examples() -> list[tuple[str, str]]:
    """Each line of an example that calls the program, with its command."""
    return [
        (path, line.strip())
        for path in names()
        for line in commands()[path].help.partition("Examples:")[2].splitlines()
        if "genrescope " in line
    ]


@pytest.mark.parametrize(("path", "line"), examples())
def test_examples_can_be_parsed(path: str, line: str) -> None:
    words = shlex.split(re.sub(r'.*"\$\((.*)\)".*', r"\1", line))
    words = words[words.index("genrescope") + 1 :]
    for end in (">", "|", ";"):
        words = words[: words.index(end)] if end in words else words
    parsed(words)
    called = next(p for n in (2, 1) if (p := " ".join(words[:n])) in commands())
    assert called == path or line != examples_of(path)[0], "the first example is of the command"


def examples_of(path: str) -> list[str]:
    return [line for of, line in examples() if of == path]


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("path", names())
def test_help_fits_the_terminal(path: str, width: int) -> None:
    done = shell.here(*path.split(), "--help", terminal=True, COLUMNS=str(width), NO_COLOR="1")
    assert done.returncode == 0
    said = done.stdout.decode()
    head = said.partition("Examples:")[0]
    assert max(map(len, head.splitlines())) < min(width, 101)
    assert "\x1b" not in said


def test_help_has_no_colours_in_a_pipe_unless_they_are_forced() -> None:
    assert b"\x1b" not in shell.here("predict", "--help").stdout
    assert b"\x1b[1m" in shell.here("predict", "--help", FORCE_COLOR="1").stdout
    shown = {"terminal": True, "TERM": "xterm-256color"}
    assert b"\x1b[1m" in shell.here("predict", "--help", **shown).stdout
    assert b"\x1b" not in shell.here("predict", "--help", **shown, NO_COLOR="1").stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("arguments", ["--help", "tag --help", "lab --help", "info", "model list"])
def test_any_encoding_will_do(arguments: str, encoding: str) -> None:
    done = shell.here(*arguments.split(), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding)
    assert b"\\u" not in done.stdout


# --- errors ----------------------------------------------------------------


@pytest.mark.parametrize("path", names())
@pytest.mark.parametrize("wrong", [["--no-such-option"], ["--help=3"]])
def test_wrong_usage_is_one_line_and_code_2(
    path: str, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, [*path.split(), *wrong]) == USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"genrescope: {wrong[0].partition('=')[0]}: ")
    assert said.err.endswith(f"; see `genrescope {path} --help`\n")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("predict --jsn", "--jsn: no such option; did you mean --json"),
        ("predct", "predct: no such command; did you mean predict?"),
        ("features extrct", "extrct: no such command; did you mean extract or export?"),
        ("lab --folds x", "--folds: give a whole number"),
        ("lab --folds 1", "--folds: give 2 or more"),
        ("predict a --windows", "--windows: needs a value"),
        ("tag a --existing all", "--existing: all is none of keep, replace, add"),
        ("train default", "--data: is missing"),
        ("info x", "x: more than it takes"),
        ("predict a --json --csv", "--json and --csv: exclude each other; give one of them"),
        ("evaluate x --data y", "x: more than it takes"),
        ("info --bundle nowhere", "nowhere: does not exist"),
    ],
)
def test_errors_say_value_rule_and_way_out(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, arguments.split()) == USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"genrescope: {words}"), said
    assert said.count("\n") == 1


def test_a_family_alone_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["features"]) == USAGE
    assert "extract" in capsys.readouterr().err


# --- completion ------------------------------------------------------------


def test_names_that_are_completed_are_those_that_there_are() -> None:
    from genrescope.audio.encoders.install import known_encoders
    from genrescope.audio.perturb import PERTURBATIONS
    from genrescope.catalog.fma import ARCHIVES
    from genrescope.explain.report.reference import REFERENCES
    from genrescope.learn.deep.settings import PRESETS as NETWORK_PRESETS
    from genrescope.learn.lab.datasets import DATASETS
    from genrescope.learn.lab.presets import PRESETS

    assert completion.changes("") == list(PERTURBATIONS)
    assert completion.archives("") == list(ARCHIVES)
    assert completion.datasets("") == list(DATASETS)
    assert completion.presets("") == list(PRESETS)
    assert completion.network_presets("") == list(NETWORK_PRESETS)
    assert completion.references("") == list(REFERENCES)
    assert {"frames", "musicnn", "musicnn:MTT"} <= {one.name for one in known_encoders()}
    assert set(completion.encoders("")) <= {one.name for one in known_encoders()}


def test_what_is_completed_begins_as_it_is_typed() -> None:
    assert completion.genres("hip") == ["Hip-Hop"]
    assert completion.networks("cs464-") == ["cs464-cnn", "cs464-vit"]
    assert completion.bundles("def") == ["default"]
    assert completion.bundles("./mine") == []


def test_pulled_bundles_are_completed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "genrescope" / "bundles" / "someone--mine" / ("0" * 40)).mkdir(parents=True)
    assert completion.bundles("hub:") == ["hub:someone/mine"]
