"""``genrescope tag`` as a process of its own: shells, terminals, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from genrescope.apps.journal import Journal
from tests.apps.command import COMMAND, environment, on_terminal, posix, run
from tests.apps.sounds import genres, noise

pytestmark = pytest.mark.usefixtures("own_state")


def test_a_list_on_stdin(sure: Path, music: Path) -> None:
    one, two = music / "A" / "none.flac", music / "A" / "other.flac"
    for option, separator in (((), b"\n"), (("-0",), b"\0")):
        listed = separator.join([os.fsencode(one), os.fsencode(two)])
        keep = {key: value for key, value in os.environ.items() if "GENRESCOPE_" in key}
        arguments = ["tag", "-", *option, "--json", "--bundle", str(sure), "-j", "0"]
        done = run(*arguments, stdin=listed, **keep)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["proposals"]
        assert [entry["path"] for entry in found] == [str(one), str(two)]


@posix
@pytest.mark.parametrize("width", [60, 120])
def test_the_table_fits_the_terminal(sure: Path, music: Path, width: int) -> None:
    noise(music / "A long name of a folder" / ("long " * 12 + ".flac"), seed=9)
    (music / "broken.flac").write_bytes(b"no music")
    shown = ("--existing", "replace", "--bundle", sure, "-j", "0", "--never", "audiobook")
    changes = {key: os.environ[key] for key in os.environ if key.startswith("GENRESCOPE_")}
    code, output = on_terminal("tag", music, *shown, width=width, NO_COLOR="1", **changes)
    assert code == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.split("\x1b[2K")[-1])
    lines = [line.split("\r")[-1] for line in text.replace("\r\n", "\n").split("\n")]
    command = next(place for place, line in enumerate(lines) if line.startswith("   genrescope"))
    assert all(cell_len(line) <= width for line in lines[:command])
    assert any(line.startswith(" A/none.flac") for line in lines)
    assert any("long .flac" in line and "…" in line for line in lines)
    assert "1 of 6 files could not be tagged" in " ".join(lines)


SLOW = """
import sys, time
from genrescope.apps.cli.main import main
from genrescope.apps.tagger import Tagger
from genrescope.learn.recogniser import Recogniser
def slowly(cls, name):
    done = getattr(cls, name)
    def slow(*args, **named):
        print("@" + name, file=sys.stderr, flush=True)
        sys.stdin.read(1)
        return done(*args, **named)
    setattr(cls, name, slow)
slowly(Recogniser, "predict")
slowly(Tagger, "write")
sys.argv[0] = "genrescope"
main()
"""


@posix
@pytest.mark.parametrize("stage", ["predict", "write"])
def test_ctrl_c(sure: Path, music: Path, stage: str) -> None:
    """In the middle of one file: that file is done whole, and no other is begun."""
    arguments = ["tag", str(music), "--write", "--alone", "--bundle", str(sure), "-j", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**{k: v for k, v in os.environ.items() if k.startswith("GENRESCOPE_")}),
    ) as process:
        assert process.stderr is not None
        assert process.stdin is not None
        while (line := process.stderr.readline()) != f"@{stage}\n".encode():
            assert line, "ended early"
            process.stdin.write(b".")
            process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.stdin.write(b"....")
        process.stdin.close()
        said = process.stderr.read().decode()
        assert process.wait(timeout=60) == 130
    count = 1 if stage == "write" else 0
    assert f"stopped; {count} " in said
    assert sum(values not in ((), ("Other",)) for values in genres(music / "A").values()) == count
    with Journal.open() as journal:
        assert sum(run.files for run in journal.runs()) == count


@posix
def test_a_reader_that_leaves(sure: Path, music: Path) -> None:
    command = [*COMMAND, "tag", str(music), "--jsonl", "--bundle", str(sure), "-j", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**{k: v for k, v in os.environ.items() if k.startswith("GENRESCOPE_")}),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=60) == 141
