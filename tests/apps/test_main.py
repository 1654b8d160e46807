"""What every command has in common: lists, errors, exit codes, completion."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from genrescope.apps.cli.command import first_sentence, run
from genrescope.apps.cli.lazy import leaves
from genrescope.apps.cli.main import app
from tests.apps.command import COMMAND, environment
from tests.apps.command import run as command


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["info", "--markdown"]])
def test_a_reader_who_leaves_gets_no_traceback(arguments: list[str]) -> None:
    running = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()  # nobody reads
    complaint = running.stderr.read().decode()
    assert running.wait(timeout=60) == 141, complaint
    assert complaint == ""


def test_an_error_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run(
        [*COMMAND, "info", "--bundle", "nowhere"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("genrescope: nowhere")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predcit"], ["predcit", "predict"]),
        (["predict", "--tpo", "3", "x.mp3"], ["--tpo", "--top", "predict --help"]),
        (["predict", "--top", "many", "x.mp3"], ["--top", "number"]),
        (["predict", "--top", "0", "x.mp3"], ["--top", "1"]),
        (["explain"], ["FILE"]),
    ],
)
def test_wrong_usage_is_one_line_that_says_the_way_out(
    arguments: list[str], words: list[str]
) -> None:
    done = command(*arguments)
    complaint = done.stderr.decode()
    assert done.returncode == 2
    assert complaint.startswith("genrescope: ")
    assert complaint.count("\n") == 1
    assert all(word in complaint for word in words), complaint
    assert done.stdout == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "info", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert os.strerror(errno.ENOSPC) in done.stderr


def test_a_refusal_of_the_system_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/music/out.csv")

    monkeypatch.setattr("genrescope.learn.bundle.Bundle.load", refuse)
    assert run(app, ["info"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("genrescope: /music/out.csv: Permission denied")
    assert complaint.count("\n") == 1


def test_a_mistake_of_ours_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("two and two is five")

    monkeypatch.delenv("GENRESCOPE_DEBUG", raising=False)
    monkeypatch.setattr("genrescope.learn.bundle.Bundle.load", fail)
    assert run(app, ["info"]) == 70
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    for word in ("RuntimeError", "two and two is five", "genrescope doctor", "GENRESCOPE_DEBUG=1"):
        assert word in complaint
    monkeypatch.setenv("GENRESCOPE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="two and two is five"):
        run(app, ["info"])


# --- commands that are imported when they are called -------------------------


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    root: Any = get_command(app)
    listed = {name: text for _, rows in root.panels(None) for name, text in rows}
    assert len(listed) >= 24
    assert listed == {
        name: first_sentence(one.short_help or one.help) for name, one in root.commands.items()
    }


def test_every_command_has_a_help_and_a_name() -> None:
    found = dict(leaves(get_command(app)))
    assert ("features", "extract") in found
    assert all(one.help and one.name == path[-1] for path, one in found.items())


def imported(*arguments: str) -> set[str]:
    """Modules that a command imports."""
    code = (
        "import sys\nfrom genrescope.apps.cli.main import main\n"
        f"sys.argv = ['genrescope', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print('\\n' + ' '.join(sys.modules))\n"
    )
    # What counts lines would be imported as well.
    own = {key: value for key, value in environment().items() if not key.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=own, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_a_list_of_commands_imports_none_of_them(arguments: tuple[str, ...]) -> None:
    names = set(get_command(app).commands)  # type: ignore[attr-defined]
    found = imported(*arguments)
    assert not found & {f"genrescope.apps.cli.{name}" for name in names}
    # What typer would load to draw boxes and to convert values; rich itself costs half of a start.
    assert not found & {"pydantic", "typer.rich_utils", "rich.console", "numpy", "tomllib"}


@pytest.mark.parametrize("arguments", [("predict", "--help"), ("fma", "fetch", "--help")])
def test_the_help_of_a_command_imports_no_other(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert f"genrescope.apps.cli.{arguments[0]}" in found
    others = {"tag", "teach", "train", "lab", "serve", "features"}
    assert not found & {f"genrescope.apps.cli.{name}" for name in others}
    assert not found & {"pydantic", "typer.rich_utils", "rich.console", "numpy"}


# --- completion --------------------------------------------------------------

_ASKS = {
    "bash": (
        "source <(genrescope --show-completion)\n"
        "COMP_WORDS=(genrescope {words}); COMP_CWORD={last}\n"
        '_genrescope_completion genrescope; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ),
    # What the completion system of zsh would be given.
    "zsh": (
        'compdef() {{ : }}; _arguments() {{ print -r -- "$@" }}\n'
        "source <(genrescope --show-completion)\n"
        "words=(genrescope {words}); CURRENT=$#words; _genrescope_completion"
    ),
    "fish": 'genrescope --show-completion | source; complete -C "genrescope {words}"',
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pre", ["predict"]),
        ("predict --tim", ["--timeline"]),
        ("tag --existing r", ["replace"]),
        ("features ex", ["extract", "export"]),
    ],
)
def test_a_shell_completes(tmp_path: Path, shell: str, words: str, offered: list[str]) -> None:
    if shutil.which(shell) is None or os.name != "posix":
        pytest.skip(f"no {shell} here")
    program = tmp_path / "bin" / "genrescope"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genrescope "$@"\n')
    program.chmod(0o755)
    script = _ASKS[shell].format(words=words, last=len(words.split()))
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *plain, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(
            PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            HOME=str(tmp_path),
            XDG_DATA_HOME=str(tmp_path),
            SHELL=f"/bin/{shell}",
        ),
        check=False,
    )
    for word in offered:
        assert word in done.stdout, (done.stdout, done.stderr)
    assert "serve" not in done.stdout  # nothing that does not begin so
