"""``genrescope predict``, as people and programs run it."""

from __future__ import annotations

import csv
import doctest
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from mutagen.id3 import TIT2, TPE1
from rich.cells import cell_len

from genrescope.apps.cli import render, sinks
from genrescope.apps.cli.sinks import list_failures
from genrescope.apps.cli.text import dump, printable
from genrescope.audio import frames
from genrescope.learn.prediction import FailedPrediction
from tests.apps.command import COMMAND, environment, on_terminal, run
from tests.audio.broken import make_broken_folder
from tests.learn.tinybundle import GENRES, make_bundle
from tests.same import same

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and terminals")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    make_bundle(folder, n_features=frames.N_FEATURES)
    return folder


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two short pieces of noise, with tags, in subfolders."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    for name, title in (("a/one.flac", "One"), ("b/two.flac", "Two")):
        path = folder / name
        path.parent.mkdir()
        soundfile.write(path, rng.normal(size=44_100).astype(np.float32) * 0.1, 44_100)
        file = mutagen.File(path)
        file["title"], file["artist"] = title, "A Band With Quite A Long Name Indeed, Really"
        file.save()
    (folder / "cover.jpg").write_bytes(b"not music")
    return folder


def predict(*arguments: str | Path, tiny: Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ``genrescope predict`` without worker processes, which would take most of the time."""
    return run("predict", *arguments, "--bundle", tiny, "--workers", "0", **more)


def sound(path: Path, *, title: str = "", artist: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).normal(size=44_100).astype(np.float32) * 0.1
    plain = path.parent / "plain.wav"
    soundfile.write(plain, noise, 44_100)
    if title or artist:
        file = mutagen.File(plain)
        file.add_tags()
        file.tags.add(TIT2(encoding=3, text=title))
        file.tags.add(TPE1(encoding=3, text=artist))
        file.save()
    os.replace(plain, path)
    return path


# --- what a program reads --------------------------------------------------


def test_json_of_real_music(tiny: Path, data_dir: Path) -> None:
    audio = data_dir / "audio"
    done = run("predict", audio / "fma_clips", audio / "songs", "--json", "--bundle", tiny)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    whole = json.loads(done.stdout)
    assert set(whole) == {"predictions", "errors"}
    assert whole["errors"] == []
    assert len(whole["predictions"]) == 12
    for entry in whole["predictions"]:
        assert set(entry["probabilities"]) == set(GENRES)
        assert abs(sum(entry["probabilities"].values()) - 1) < 1e-6
        assert entry["best"] == next(iter(entry["probabilities"]))
        assert entry["genre"] == (entry["best"] if entry["confidence"] >= 0.5 else None)
        assert Path(entry["path"]).exists()
        assert entry["title"]
        assert [top["genre"] for top in entry["top"]] == list(entry["probabilities"])[:3]
        assert "timeline" not in entry
    assert any(entry["genre"] is None for entry in whole["predictions"])


def test_json_lines_are_the_same_objects(tiny: Path, noises: Path) -> None:
    paths = [noises / "a", "nowhere.mp3", noises / "b" / "two.flac"]
    as_one = json.loads(run("predict", *paths, "--json", "--bundle", tiny).stdout)
    done = predict(*paths, "--jsonl", tiny=tiny)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert same(lines, [as_one["predictions"][0], as_one["errors"][0], as_one["predictions"][1]])
    assert set(lines[1]) == {"path", "error", "message"}
    assert lines[1]["error"] == "AudioNotFoundError"


@posix
def test_json_lines_come_while_the_rest_is_at_work(tiny: Path, tmp_path: Path) -> None:
    for i in range(60):
        shutil.copyfile(sound(tmp_path / "in" / "0.wav"), tmp_path / f"{i}.wav")
    with subprocess.Popen(
        [*COMMAND, "predict", str(tmp_path), "--jsonl", "--bundle", str(tiny), "-j", "1"],
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert process.poll() is None  # not at the end, all at once
        assert json.loads(first)["best"] in GENRES
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(timeout=60) == 130


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


def test_csv_is_safe_in_a_spreadsheet(tiny: Path, tmp_path: Path) -> None:
    sound(tmp_path / "=1+1.wav", title='=HYPERLINK("http://x")', artist="@SUM(A1)")
    sound(tmp_path / "b.wav", title="-2+3", artist='A "quoted", comma')
    done = subprocess.run(
        [*COMMAND, "predict", "=1+1.wav", "b.wav", "--csv", "--bundle", str(tiny)],
        cwd=tmp_path,
        capture_output=True,
        env=environment(),
        check=True,
    )
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


@posix
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_table_fits_the_terminal(tiny: Path, data_dir: Path, width: int) -> None:
    audio = data_dir / "audio"
    code, output = on_terminal(
        *("predict", audio / "fma_clips", "nowhere.mp3", "--bundle", tiny, "-j", "0"),
        width=width,
        NO_COLOR="1",
    )
    assert code == 1
    shown = output.split("\x1b[2K")[-1]  # what is left when the progress bar has gone
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output if "Track" not in shown else shown)
    lines = [line.split("\r")[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    assert all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    for title in ("Food", "This World", "Freeway", "13 Monsters", "Feasting on Ener"):
        assert title in text
    assert "1 of 9 files could not be recognised" in text
    assert "8 tracks in" in text


@posix
def test_colours_on_a_terminal_only_where_wanted(tiny: Path, noises: Path) -> None:
    _, coloured = on_terminal("predict", noises, "--bundle", tiny, "-j", "0", width=100)
    assert re.search(r"\x1b\[[0-9;]*38;", coloured)
    _, plain = on_terminal("predict", noises, "--bundle", tiny, "-j", "0", width=100, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*[34]8?;", plain)


@posix
def test_lines_on_a_terminal_are_not_mixed_with_a_progress_bar(tiny: Path, noises: Path) -> None:
    code, output = on_terminal("predict", noises, "--jsonl", "--bundle", tiny, "-j", "0", width=80)
    assert code == 0
    assert [json.loads(line)["title"] for line in output.splitlines()] == ["One", "Two"]


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


@posix
def test_a_list_may_grow_by_and_by(tiny: Path, noises: Path) -> None:
    """A program can write one name, read its answer, and go on to the next."""
    with subprocess.Popen(
        [*COMMAND, "predict", "-", "--jsonl", "--bundle", str(tiny), "-j", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name, title in (("a/one.flac", "One"), ("b/two.flac", "Two")):
            process.stdin.write(f"{noises / name}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["title"] == title
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(timeout=60) == 0


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


def test_a_folder_full_of_broken_files(tiny: Path, fma_clips: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    expected = make_broken_folder(folder, fma_clips[0])
    try:
        done = run("predict", folder, "--json", "--bundle", tiny, timeout=280)
    finally:
        for path in folder.iterdir():
            if not path.is_symlink():
                path.chmod(0o600)
    assert done.returncode == 1
    whole = json.loads(done.stdout)
    errors = {Path(entry["path"]).name: entry for entry in whole["errors"]}
    recognised = {Path(entry["path"]).name for entry in whole["predictions"]}
    assert len(errors) >= 30
    assert {name: entry["error"] for name, entry in errors.items()} == {
        name: error.__name__ for name, error in expected.items() if error is not None
    }
    assert recognised == {name for name, error in expected.items() if error is None}
    # Each says which file, and its own reason.
    for name, entry in errors.items():
        assert printable(name).encode("utf-8", "replace").decode() in printable(entry["message"])
    assert b"Traceback" not in done.stderr
    assert b"could not be recognised" in done.stderr


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
    done = run("predict", *arguments)
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
    for module in (render, sinks):
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
