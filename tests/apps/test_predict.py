"""``genrescope predict``, as people and programs run it."""

from __future__ import annotations

import csv
import doctest
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.apps.cli import render, text
from genrescope.apps.cli.sinks import list_failures
from genrescope.apps.cli.text import dump, printable
from genrescope.learn.prediction import FailedPrediction
from tests.apps.command import here
from tests.apps.sounds import sound
from tests.learn.tinybundle import GENRES


def predict(*arguments: str | Path, tiny: Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ``genrescope predict`` in this process."""
    return here("predict", *arguments, "--bundle", tiny, "--workers", "0", **more)


# --- what a program reads --------------------------------------------------


def test_csv_of_what_was_done_and_what_was_not(tiny: Path, noises: Path) -> None:
    done = predict(noises, "nowhere.mp3", "--csv", tiny=tiny)
    assert done.returncode == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [Path(row["path"]).name for row in rows] == ["one.flac", "two.flac", "nowhere.mp3"]
    for row in rows[:2]:
        assert abs(sum(float(row[genre]) for genre in GENRES) - 1) < 1e-6
        assert row["best"] in GENRES
        assert row["error"] == ""
    assert rows[2]["best"] == ""
    assert rows[2]["error"] == "AudioNotFoundError"
    assert "nowhere.mp3" in rows[2]["message"]


def test_csv_is_safe_in_a_spreadsheet(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound(tmp_path / "=1+1.wav", title='=HYPERLINK("http://x")', artist="@SUM(A1)")
    sound(tmp_path / "b.wav", title="-2+3", artist='A "quoted", comma')
    monkeypatch.chdir(tmp_path)
    done = predict("=1+1.wav", "b.wav", "--csv", tiny=tiny)
    assert done.returncode == 0
    first, second = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert first["title"] == '\'=HYPERLINK("http://x")'
    assert first["artist"] == "'@SUM(A1)"
    assert first["path"] == os.path.join(".", "=1+1.wav")  # still a path that opens
    assert second["title"] == "'-2+3"
    assert second["artist"] == 'A "quoted", comma'


def test_timeline(tiny: Path, songs: list[Path]) -> None:
    song = next(path for path in songs if path.stem == "BrakhageIntro")
    done = predict(song, "--json", "--timeline", tiny=tiny)
    (entry,) = json.loads(done.stdout)["predictions"]
    assert len(entry["timeline"]) == 2  # 50 s
    for moment in entry["timeline"]:
        assert 0 <= moment["start"] < moment["end"] <= entry["duration"]
        assert abs(sum(moment["probabilities"].values()) - 1) < 1e-6
    shown = predict(song, "--timeline", tiny=tiny).stdout.decode()
    assert "Intro · Brakhage  0:50" in shown
    assert re.search(r"0:00 +0:10 +0:20 +0:30 +0:40", shown)
    assert re.search(r"^  0:00 [A-Z]", shown, re.MULTILINE)


def test_windows(tiny: Path, songs: list[Path]) -> None:
    song = next(path for path in songs if path.stem == "MegatoneElectron")
    done = predict(song, "--json", "--timeline", "--windows", "3", tiny=tiny)
    (entry,) = json.loads(done.stdout)["predictions"]
    assert len(entry["timeline"]) == 3


# --- what a person reads ---------------------------------------------------


def test_a_table_in_a_pipe_is_whole_and_plain(tiny: Path, data_dir: Path) -> None:
    done = predict(data_dir / "audio" / "fma_clips", tiny=tiny, COLUMNS="40")
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert "Queen Of The Wires · Alec K Redfearn And The Eyesores" in text
    assert "not sure" in text
    assert "█" in text
    assert done.stderr == b""
    lines = text.splitlines()
    assert len(lines) == 2 + 8
    assert all(line == line.rstrip() for line in lines)


def test_top_counts_genres(tiny: Path, noises: Path) -> None:
    for k in (1, 99):
        text = predict(noises, "--top", str(k), tiny=tiny).stdout.decode()
        (row,) = (line for line in text.splitlines() if " One " in line)
        assert row.count("%") == min(k, len(GENRES))


def test_titles_cannot_steer_the_terminal(tiny: Path, tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", title="\x1b[31mred\x07 \u202eabc", artist="b\x9b2J")
    text = predict(tmp_path, tiny=tiny).stdout.decode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert r"\x1b[31mred\x07" in text
    for form in ("--json", "--jsonl", "--csv"):
        out = predict(tmp_path, form, tiny=tiny).stdout.decode()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
        if form == "--json":
            assert json.loads(out)["predictions"][0]["title"].startswith("\x1b[31mred")


# --- names -----------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no UTF-8")
@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv", "--timeline"])
def test_names_in_any_encoding(tiny: Path, tmp_path: Path, form: str) -> None:
    odd = sound(Path(f"{tmp_path}/in/caf\udce9 \U0001f3b5 a\nb.wav"))
    (tmp_path / "in" / os.fsdecode(b"broken\xff.mp3")).write_text("no music")
    for encoding in ("utf-8", "ascii"):
        done = predict(tmp_path / "in", form, tiny=tiny, PYTHONIOENCODING=encoding)
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        out = done.stdout.decode(encoding)
        if form == "--json":
            whole = json.loads(out)
            assert whole["predictions"][0]["path"] == str(odd)
            assert os.fsencode(whole["errors"][0]["path"]).endswith(b"broken\xff.mp3")
        elif form == "--csv" and encoding == "utf-8":
            rows = list(csv.DictReader(io.StringIO(out)))
            assert sorted(Path(row["path"]).name for row in rows) == [
                r"broken\xff.mp3",
                "caf\\xe9 \U0001f3b5 a\\x0ab.wav",
            ]


def test_lists_on_stdin(tiny: Path, noises: Path, tmp_path: Path) -> None:
    one, two = noises / "a" / "one.flac", noises / "b" / "two.flac"
    listed = f"{one}\r\n\n{two}\n".encode()
    done = predict("-", "--jsonl", tiny=tiny, stdin=listed)
    assert [json.loads(line)["title"] for line in done.stdout.splitlines()] == ["One", "Two"]
    newline = sound(tmp_path / "a\nb.wav")
    listed = b"\0".join([os.fsencode(newline), os.fsencode(two), b""])
    done = predict("-0", "-", "--jsonl", tiny=tiny, stdin=listed)
    assert done.returncode == 0
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [
        str(newline),
        str(two),
    ]


def test_patterns(tiny: Path, noises: Path) -> None:
    done = predict(noises / "*" / "*.flac", "--jsonl", tiny=tiny)
    assert len(done.stdout.splitlines()) == 2


# --- exit codes ------------------------------------------------------------


def test_a_missing_path_does_not_stop_the_rest(tiny: Path, noises: Path) -> None:
    done = predict("nowhere.mp3", noises, "--json", tiny=tiny)
    assert done.returncode == 1
    whole = json.loads(done.stdout)
    assert len(whole["predictions"]) == 2
    (error,) = whole["errors"]
    assert error["path"] == "nowhere.mp3"
    assert error["error"] == "AudioNotFoundError"
    done = predict("nowhere.mp3", noises, tiny=tiny)
    assert done.returncode == 1
    assert b"1 of 3 files could not be recognised" in done.stderr
    assert b"nowhere.mp3" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.mp3", "--json", "--csv"], "exclude each other"),
        (["a.mp3", "--csv", "--timeline"], "does not fit into CSV"),
        (["a.mp3", "--null"], "give - as a path"),
        (["a.mp3", "--top", "0"], "--top"),
        (["a.mp3", "--workers", "-1"], "--workers"),
        (["a.mp3", "--bundle", "nowhere"], "nowhere: does not exist; a bundle is a folder"),
        ([""], "one of the paths is empty"),
        ([], "PATH"),
        (["a.mp3", "--speed", "9"], "--speed"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = here("predict", *arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert words in re.sub(r"[\s│]+", " ", done.stderr.decode())


def test_nothing_to_do(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no music")
    done = predict(tmp_path, tiny=tiny)
    assert done.returncode == 2
    assert f"no audio files in {tmp_path}" in done.stderr.decode()
    assert done.stdout == b""
    done = predict("-", tiny=tiny)
    assert done.returncode == 2
    assert b"the list on stdin" in done.stderr
    done = predict(tmp_path / "*.mp3", tiny=tiny)
    assert done.returncode == 2
    assert b"no file matches this pattern" in done.stderr


# --- pieces ----------------------------------------------------------------


def failures(count: int, reason: str) -> list[FailedPrediction]:
    return [
        FailedPrediction(Path(f"{i}.mp3"), "AudioEmptyError", f"{i}.mp3: {reason}")
        for i in range(count)
    ]


def test_files_with_one_reason_are_listed_together() -> None:
    lines: list[str] = []
    odd = FailedPrediction(Path("caf\udce9.mp3"), "AudioSilentError", "caf\ufffd.mp3: silence")
    list_failures([*failures(3, "empty"), odd], total=10, write=lines.append)
    assert lines == [
        "4 of 10 files could not be recognised:",
        "  empty",
        "    0.mp3",
        "    1.mp3",
        "    2.mp3",
        r"  caf\xe9.mp3: silence",
    ]


def test_very_many_failures_do_not_fill_the_screen() -> None:
    lines: list[str] = []
    list_failures([*failures(500, "empty"), *failures(1, "odd")], total=900, write=lines.append)
    assert len(lines) < 20
    assert "    and 490 more" in lines
    assert "  0.mp3: odd" in lines
    assert "--csv" in lines[-1]
    lines.clear()
    list_failures([], total=900, write=lines.append)
    assert lines == []


def test_doctests() -> None:
    for module in (render, text):
        assert doctest.testmod(module).attempted > 0
        assert doctest.testmod(module).failed == 0


@given(st.text(st.characters(codec=None)))
def test_printable_text_is_safe_and_encodable(text: str) -> None:
    safe = printable(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", safe)
    safe.encode("utf-8")


@given(st.text(st.characters(codec=None)))
def test_json_text_comes_back(text: str) -> None:
    for encoding in ("utf-8", "ascii"):
        line = dump({"a": text}, encoding=encoding)
        assert json.loads(line.encode(encoding)) == {"a": text}
        assert "\n" not in line
