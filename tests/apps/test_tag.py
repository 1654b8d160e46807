"""``genrescope tag``: what it shows, what it writes, and what it leaves alone."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import pytest
from typer.testing import CliRunner, Result

from genrescope import Recogniser
from genrescope.apps.cli.main import app
from genrescope.apps.journal import Journal
from genrescope.catalog.genre_tags import read_genre_field, write_genre_field
from genrescope.learn.prediction import Prediction
from tests.apps.command import posix
from tests.apps.sounds import genres, noise
from tests.learn.tinybundle import GENRES

pytestmark = pytest.mark.usefixtures("own_state")


@pytest.fixture
def tag(sure: Path) -> Callable[..., Result]:
    def call(*arguments: object, code: int = 0) -> Result:
        done = CliRunner().invoke(
            app, ["tag", *map(str, arguments), "--bundle", str(sure), "--workers", "0"]
        )
        assert done.exit_code == code, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    return call


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_json(done: Result) -> dict[str, dict[str, Any]]:
    return {Path(one["path"]).stem: one for one in json.loads(done.stdout)["proposals"]}


UNTOUCHED = {"polka": ("Polka",), "book": ("Audiobook",)}


# --- looking ---------------------------------------------------------------


def test_looking_changes_nothing(tag: Callable[..., Result], music: Path, tmp_path: Path) -> None:
    before = contents(music)
    done = tag(music)
    assert contents(music) == before
    assert not (tmp_path / "state" / "journal.sqlite3").exists()
    rows = {line.split()[0].split("/")[-1]: line for line in done.stdout.splitlines()[2:]}
    assert set(rows) == {"none.flac", "other.flac", "polka.flac", "book.flac"}
    assert re.search(r"–  +>?\d+%  [A-Z]", rows["none.flac"])
    assert re.search(r"Other  +>?\d+%  [A-Z]", rows["other.flac"])
    assert rows["polka.flac"].endswith("it has a genre")
    assert "4 files: 2 would get a genre, 2 keep their genre." in done.stderr
    assert "Nothing was changed. To write this:" in done.stderr
    assert f"   genrescope tag {music} --workers 0 --bundle " in done.stderr
    assert done.stderr.rstrip().endswith("--write")


def test_the_line_that_is_shown_writes_what_was_shown(
    tag: Callable[..., Result], music: Path
) -> None:
    odd = music.rename(music.with_name('it\'s "mine"'))
    done = tag(odd, "--existing", "replace", "--never", "audio book", "--json")
    shown = {name: tuple(one["proposed"]) for name, one in as_json(done).items()}
    line = tag(odd, "--existing", "replace", "--never", "audio book").stderr.splitlines()[-1]
    assert "--existing replace" in line
    subprocess.run(
        ["bash", "-c", f'genrescope() {{ {sys.executable} -m genrescope "$@"; }}; {line}'],
        check=True,
        env={**os.environ},
        capture_output=True,
    )
    assert genres(odd) == shown
    assert shown["book"] == ("Audiobook",)
    assert shown["polka"] != ("Polka",)


def test_a_long_list_of_paths_is_not_repeated(tag: Callable[..., Result], music: Path) -> None:
    done = tag(*music.rglob("*.flac"), music)
    assert "the same command with --write" in done.stderr


def test_changes_only(tag: Callable[..., Result], music: Path) -> None:
    done = tag(music, "--changes", "--json")
    assert set(as_json(done)) == {"none", "other"}
    assert "polka" not in tag(music, "--changes").stdout


# --- writing ---------------------------------------------------------------


def test_writing_and_taking_back(tag: Callable[..., Result], music: Path) -> None:
    before = genres(music)
    proposed = as_json(tag(music, "--json"))
    done = tag(music, "--write")
    after = genres(music)
    assert after == {**{name: tuple(proposed[name]["proposed"]) for name in after}, **UNTOUCHED}
    assert set(after["none"]) <= set(GENRES)
    assert "2 got a genre" in done.stderr
    (run,) = re.findall(r"To take it back: genrescope undo (\d+)", done.stderr)
    with Journal.open() as journal:
        (summary,) = journal.runs()
        assert (summary.id, summary.files, summary.bundle) == (int(run), 2, "tiny 1")
        assert summary.command.startswith(f"genrescope tag {music} --write")
    again = tag(music, "--write")
    assert "Nothing was written." in again.stderr
    undone = CliRunner().invoke(app, ["undo", run])
    assert undone.exit_code == 0, undone.output
    assert genres(music) == before


def test_nothing_is_heard_twice(
    tag: Callable[..., Result], music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag(music)

    def refuse(*_: object) -> None:
        raise AssertionError("heard again")

    monkeypatch.setattr(Recogniser, "predict", refuse)
    tag(music, "--write")
    tag(music)


def test_what_keeps_its_genre_is_not_heard(
    tag: Callable[..., Result], music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    predict = Recogniser.predict

    def noted(self: Recogniser, path: Path) -> Prediction:
        names.append(path.stem)
        return predict(self, path)

    monkeypatch.setattr(Recogniser, "predict", noted)
    tag(music, "--alone")
    assert sorted(names) == ["none", "other"]
    tag(music, "--existing", "replace", "--never", "Audiobook")
    assert sorted(names) == ["none", "other", "polka"]


@pytest.mark.parametrize(("existing", "polka"), [("keep", 1), ("replace", 1), ("add", 2)])
def test_existing(tag: Callable[..., Result], music: Path, existing: str, polka: int) -> None:
    tag(music, "--write", "--existing", existing, "--never", "Audiobook", "--never", "Comedy")
    after = genres(music)
    assert len(after["polka"]) == polka
    assert ("Polka" in after["polka"]) == (existing != "replace")
    assert after["book"] == ("Audiobook",)
    assert "Other" not in after["other"]


def test_min_confidence(tag: Callable[..., Result], music: Path) -> None:
    found = as_json(tag(music, "--existing", "replace", "--json"))
    least = sorted(one["confidence"] for one in found.values())[2]
    assert found["none"]["action"] == "write"
    again = as_json(tag(music, "--existing", "replace", "--json", "--min-confidence", least))
    for name, one in again.items():
        assert one["action"] == ("write" if found[name]["confidence"] >= least else "not sure")
    assert {one["why"] for one in again.values()} == {"", f"below {least:.0%}"}


def test_own_names(tag: Callable[..., Result], music: Path, tmp_path: Path) -> None:
    template = CliRunner().invoke(app, ["tag", "--names-template"])
    assert template.exit_code == 0
    file = tmp_path / "names.toml"
    file.write_text(template.stdout, "utf-8")
    assert all(f'"{genre}" = "{genre}"' in template.stdout for genre in GENRES)
    heard = as_json(tag(music, "--json"))["none"]["proposed"][0]
    lines = [
        'never-touch = ["Polka"]\n[names]\n',
        *(f'"{genre}" = ["My {genre}", "Mine"]\n' for genre in GENRES),
    ]
    file.write_text("".join(lines), "utf-8")
    found = as_json(tag(music, "--names", file, "--existing", "replace", "--json"))
    assert found["none"]["proposed"] == [f"My {heard}", "Mine"]
    assert found["polka"]["action"] == "protected"
    file.write_text('[names]\n"Hip-Hup" = "x"\n')
    done = CliRunner().invoke(app, ["tag", str(music), "--names", str(file)])
    assert "line 2" in str(done.exception)
    assert "did you mean Hip-Hop" in str(done.exception)


@pytest.mark.data
def test_the_template_has_the_subgenres_and_is_accepted(
    fma_clips: list[Path], tmp_path: Path
) -> None:
    text = CliRunner().invoke(app, ["tag", "--names-template"]).stdout
    assert '"Punk" = "Punk"' in text
    (tmp_path / "names.toml").write_text(text, "utf-8")
    arguments = [str(fma_clips[0]), "--names", str(tmp_path / "names.toml"), "--json"]
    done = CliRunner().invoke(app, ["tag", *arguments])
    assert done.exit_code == 0, done.output


def test_times_are_kept_on_request(tag: Callable[..., Result], music: Path) -> None:
    track = music / "A" / "none.flac"
    os.utime(track, (1e9, 1e9))
    tag(track, "--write", "--keep-times")
    assert track.stat().st_mtime == 1e9
    write_genre_field(track, [])
    tag(track, "--write")
    assert track.stat().st_mtime != 1e9


@pytest.mark.data
@pytest.mark.parametrize(("option", "version"), [("3", (2, 3)), ("4", (2, 4)), ("keep", (2, 3))])
def test_id3_versions(
    fma_clips: list[Path], tmp_path: Path, option: str, version: tuple[int, int]
) -> None:
    clip = next(path for path in fma_clips if path.stem == "000002")
    copy = Path(shutil.copy(clip, tmp_path / "a.mp3"))
    copy.chmod(0o644)
    write_genre_field(copy, [], id3_version=3)
    done = CliRunner().invoke(app, ["tag", str(copy), "--write", "--id3", option, "-j", "0"])
    assert done.exit_code == 0, done.output
    tags = mutagen.File(copy).tags
    assert tags.version[:2] == version
    assert read_genre_field(copy).values == ("Hip-Hop",)


@posix
def test_hard_links(tag: Callable[..., Result], music: Path, tmp_path: Path) -> None:
    track = music / "A" / "none.flac"
    os.link(track, tmp_path / "link.flac")
    done = tag(track, "--write", code=1)
    assert "1 of 1 file could not be tagged:" in done.stderr
    assert genres(music)["none"] == ()
    tag(track, "--write", "--split-links")
    assert genres(music)["none"] != ()
    assert read_genre_field(tmp_path / "link.flac").values == ()


@pytest.mark.data
def test_subgenres_are_second_values(fma_clips: list[Path]) -> None:
    clip = next(path for path in fma_clips if path.stem == "000140")
    run = ["tag", str(clip), "--existing", "replace", "--subgenres", "--json", "-j", "0"]
    done = CliRunner().invoke(app, run)
    (one,) = json.loads(done.stdout)["proposals"]
    assert one["proposed"][0] == "Folk"
    assert len(one["proposed"]) == 2


def test_what_hears_is_chosen(
    tag: Callable[..., Result], music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    load = Recogniser.load

    def noted(bundle: str, **settings: Any) -> Recogniser:
        asked.append(settings)
        return load(bundle, **settings)

    monkeypatch.setattr(Recogniser, "load", noted)
    tag(music, "--windows", "2", "--no-metadata")
    assert asked == [{"n_windows": 2, "workers": 0, "metadata": False}]


# --- together and alone ----------------------------------------------------


@pytest.mark.data
def test_artists_are_judged_together_unless_alone(fma_clips: list[Path], tmp_path: Path) -> None:
    for name in ("000002", "000005", "000010"):
        clip = next(path for path in fma_clips if path.stem == name)
        copy = Path(shutil.copy(clip, tmp_path / clip.name))
        copy.chmod(0o644)
        if name != "000005":
            write_genre_field(copy, [])
    files = [str(path) for path in sorted(tmp_path.glob("*.mp3"))]
    shares = {}
    for option in ((), ("--together",), ("--alone",)):
        done = CliRunner().invoke(app, ["tag", *files, "--json", "-j", "0", *option])
        found = as_json(done)
        # The track that keeps its genre is heard for the sake of its artist's other one.
        assert found["000005"]["action"] == "keep"
        shares[option] = found["000002"]["confidence"]
    assert shares[()] == shares[("--together",)] > shares[("--alone",)]


def test_a_bundle_that_was_never_asked_judges_alone(
    tag: Callable[..., Result], music: Path
) -> None:
    tag(music)
    done = CliRunner().invoke(app, ["tag", str(music), "--together", "--bundle", "nowhere"])
    assert "nowhere" in str(done.exception)


# --- what a program reads --------------------------------------------------


def test_json_lines_and_csv_say_the_same(tag: Callable[..., Result], music: Path) -> None:
    broken = music / "broken.flac"
    broken.write_bytes(b"no music")
    whole = json.loads(tag(music, "--json", "--write", code=1).stdout)
    assert [Path(one["path"]).name for one in whole["errors"]] == ["broken.flac"]
    assert whole["run"] == 1
    assert {one["written"] for one in whole["proposals"] if one["action"] == "write"} == {True}
    CliRunner().invoke(app, ["undo", "--last"])
    lines = [json.loads(line) for line in tag(music, "--jsonl", code=1).stdout.splitlines()]
    assert len(lines) == 5
    assert {"path", "error", "message"} in [set(line) for line in lines]
    rows = list(csv.DictReader(io.StringIO(tag(music, "--csv", code=1).stdout)))
    assert len(rows) == 5
    for line in lines:
        row = next(row for row in rows if row["path"] == line["path"])
        if "error" in line:
            assert (row["error"], row["message"]) == (line["error"], line["message"])
            continue
        assert row["action"] == line["action"]
        assert row["proposed"] == "; ".join(line["proposed"])
        assert row["now"] == "; ".join(line["now"])
        assert row["written"] == "no"
        assert not line["written"]


# --- what goes wrong -------------------------------------------------------


def test_a_bad_file_stops_nothing(tag: Callable[..., Result], music: Path) -> None:
    (music / "A" / "broken.flac").write_bytes(b"no music")
    shutil.copy(music / "A" / "none.flac", music / "A" / "short.flac")
    cut = noise(music / "A" / "cut.flac", seed=5)
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 3] + bytes(len(data) * 2 // 3))
    done = tag(music, music / "nowhere.mp3", "--write", code=1)
    assert "could not be tagged:" in done.stderr
    for name in ("broken.flac", "nowhere.mp3"):
        assert name in done.stderr
    assert read_genre_field(music / "A" / "short.flac").values != ()


@posix
def test_a_file_that_may_not_be_written(tag: Callable[..., Result], music: Path) -> None:
    track = music / "A" / "none.flac"
    track.chmod(0o444)
    done = tag(music, "--write", code=1)
    assert "write-protected" in done.stderr
    assert genres(music)["none"] == ()
    assert genres(music)["other"] != ("Other",)


def test_genres_that_change_meanwhile_are_not_written_over(
    tag: Callable[..., Result], music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = Recogniser.predict

    def meanwhile(self: Recogniser, path: Path) -> Prediction:
        found = predict(self, path)
        if path.stem == "none":
            write_genre_field(path, ["By hand"])
        return found

    monkeypatch.setattr(Recogniser, "predict", meanwhile)
    done = tag(music, "--write", code=1)
    assert genres(music)["none"] == ("By hand",)
    assert "none.flac" in done.stderr
    assert genres(music)["other"] != ("Other",)


def test_no_journal_no_writing(
    tag: Callable[..., Result], music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENRESCOPE_JOURNAL", str(tmp_path / "file" / "journal"))
    before = contents(music)
    done = CliRunner().invoke(app, ["tag", str(music), "--write"])
    assert "without it nothing is written" in str(done.exception)
    assert contents(music) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give files or folders"),
        ([""], "one of the paths is empty"),
        (["a.mp3", "--json", "--csv"], "exclude each other"),
        (["a.mp3", "--null"], "give - as a path"),
        (["a.mp3", "--min-confidence", "70"], "less than or equal to 1"),
        (["a.mp3", "--existing", "merge"], "merge"),
        (["a.mp3", "--never", " "], "--never: is empty"),
        (["a.mp3", "--id3", "2"], "2"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["tag", *arguments])
    assert done.exit_code == 2
    assert words in re.sub(r"[\s│]+", " ", done.output)


def test_subgenres_of_a_bundle_without(sure: Path) -> None:
    done = CliRunner().invoke(app, ["tag", "a.mp3", "--subgenres", "--bundle", str(sure)])
    assert done.exit_code == 2
    assert "knows no sub-genres" in re.sub(r"[\s│]+", " ", done.output)


def test_nothing_to_do(tag: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no audio files in" in tag(tmp_path / "empty", code=2).stderr
    assert "no file matches this pattern" in tag(tmp_path / "*.mp3", code=2).stderr


# --- on a terminal ---------------------------------------------------------


def test_tags_cannot_steer_the_terminal(tag: Callable[..., Result], tmp_path: Path) -> None:
    noise(tmp_path / "in" / "a.flac", genre="\x1b[31mred\x07")
    for form in ((), ("--json",), ("--csv",)):
        out = tag(tmp_path / "in", *form).stdout
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)
