"""What every command has in common."""

from __future__ import annotations

import subprocess

import pytest

from tests.apps.command import COMMAND, environment


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
    assert running.wait(timeout=60) in (1, 141), complaint  # click says 1, a shell 141
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
