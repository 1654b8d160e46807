"""``genrescope predict`` that is stopped, or whose reader leaves."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps.command import COMMAND, environment, posix
from tests.learn.tinybundle import GENRES

# The command, with a mark on stderr for every track that is recognised.
MARKED = """
import sys
from genrescope.apps.cli.main import main
from genrescope.learn.recogniser import Recogniser
recognised = Recogniser.predict_many
def marked(*args, **named):
    results = recognised(*args, **named)
    try:
        for result in results:
            print("@", file=sys.stderr, flush=True)
            yield result
    finally:
        results.close()
Recogniser.predict_many = marked
sys.argv[0] = "genrescope"
main()
"""


@posix
@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv", "--top=2"])
def test_ctrl_c_prints_what_was_done(
    tiny: Path, songs: list[Path], form: str, tmp_path: Path
) -> None:
    for i in range(200):
        (tmp_path / f"{i}.mp3").symlink_to(songs[i % 4])
    process = subprocess.Popen(
        [sys.executable, "-c", MARKED, "predict", str(tmp_path), form, "--bundle", str(tiny)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stderr is not None
    for _ in range(3):
        assert process.stderr.readline() == b"@\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"stopped after" in err
    if form == "--json":
        whole = json.loads(out)
        assert 2 <= len(whole["predictions"]) < 200
        assert whole["errors"] == []
    elif form == "--jsonl":
        assert all(json.loads(line)["best"] in GENRES for line in out.splitlines())
    elif form == "--csv":
        rows = list(csv.DictReader(io.StringIO(out.decode())))
        assert all(row["best"] in GENRES and row["message"] == "" for row in rows)


@posix
def test_a_reader_that_leaves(tiny: Path, noises: Path) -> None:
    """As in ``genrescope predict ... | head -1``."""
    for form in ("--jsonl", "--json", "--top=1"):
        process = subprocess.Popen(
            [
                *COMMAND,
                "predict",
                str(noises / "a" / "one.flac"),
                "-",
                form,
                "--bundle",
                str(tiny),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(b"", timeout=60)
        assert process.returncode == 141
        assert err == b""
