"""``genrescope audit``: exit codes, what it prints in a pipe and on a terminal, JSON."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from genrescope.apps.cli.audit import audit
from genrescope.catalog.splits import holdout
from genrescope.errors import GenrescopeError

HEADER = "track_id,title,genre_top,artist_id,artist_name,split\n"
CLEAN = (
    HEADER
    + "1,One,Rock,7,Ann,training\n2,Two,Pop,7,Ann,training\n"
    + "3,One,Rock,8,Bob,test\n4,Two,Pop,9,Cleo [x],test\n"
)


def run(*args: object) -> Result:
    app = typer.Typer()
    app.command()(audit)
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    path = tmp_path / "clean.csv"
    path.write_text(CLEAN)
    return path


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    path = tmp_path / "leaky.csv"
    path.write_text(CLEAN + "5,Five,Rock,7,Ann,test\n4,Other,Pop,9,Cleo [x],test\n")
    return path


def test_a_clean_table_exits_0(clean: Path) -> None:
    result = run(clean)
    assert result.exit_code == 0
    assert result.output.startswith(
        "clean.csv: 4 tracks, 3 artists (artist_id), 2 splits (split)\n"
    )
    assert result.output.endswith("CLEAN: no artist, track or title is in more than one split.\n")
    assert "LEAK" not in result.output
    assert "  Rock       1  50.0 %  1  50.0 %" in result.output


def test_a_leak_exits_1_and_says_who_and_where(leaky: Path) -> None:
    result = run(leaky)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    at = lines.index("LEAK: 1 artist is in more than one split")
    assert lines[at + 2].split()[:4] == ["7", "Ann", "2", "1"]
    assert 'training 1 "One"; test 5 "Five"' in lines[at + 2]
    at = lines.index("LEAK: 1 track id occurs more than once")
    assert lines[at + 2].split() == ["4", "-", "2"]
    assert lines[-1].startswith("LEAKS: 1 artist, 1 track id.")


def test_json_has_everything(leaky: Path) -> None:
    result = run(leaky, "--json", "--limit", 0)
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert report["table"] == str(leaky)
    assert report["clean"] is False
    assert [s["name"] for s in report["shared_groups"]] == ["Ann"]
    assert json.loads(run(leaky, "--json", "--split", "genre_top").output)["split"] == "genre_top"


def test_the_output_in_a_pipe_does_not_depend_on_the_width(
    leaky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = set()
    for columns in ("20", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("FORCE_COLOR", "1")
        outputs.add(run(leaky).output)
    assert len(outputs) == 1
    assert "\x1b" not in outputs.pop()


def test_limit_cuts_findings_and_says_so(tmp_path: Path) -> None:
    rows = [f"{i},t{i},Rock,a{i // 2},N{i // 2},{('training', 'test')[i % 2]}" for i in range(60)]
    path = tmp_path / "many.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    assert "... and 10 more; --limit 0 shows all" in run(path).output
    assert run(path, "--limit", 0).output.count("training ") >= 30
    assert "more;" not in run(path, "--limit", 0).output


def test_a_case_of_several_names_is_not_cut_in_two(tmp_path: Path) -> None:
    names = ["Zed", "Zed feat. A", "The Zed", "Yan", "YAN"]
    splits = ["training", "test", "test", "training", "test"]
    rows = [
        f"{i},t{i},Rock,{i},{n},{s}" for i, (n, s) in enumerate(zip(names, splits, strict=True))
    ]
    path = tmp_path / "names.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    result = run(path, "--limit", 1)
    assert result.exit_code == 0
    assert "WARNING: 2 names with more than one spelling" in result.output
    assert "The Zed" in result.output
    assert "YAN" not in result.output
    assert "... and 1 more" in result.output
    assert "(1 warning above)" in result.output


def test_a_table_without_split_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("track_id,artist_id,genre_top,fold\n1,a,Rock,0\n2,b,Rock,1\n3,a,Rock,1\n")
    result = run(path)
    assert isinstance(result.exception, GenrescopeError)
    assert "no column 'split'; its columns are: track_id, artist_id, genre_top, fold" in str(
        result.exception
    )
    assert "--folds 5" in str(result.exception)
    assert run(path, "--split", "fold").exit_code == 1
    folds = run(path, "--folds", 2)
    assert folds.exit_code == 0
    assert "2 splits (2 folds by artist_id)" in folds.output


def test_other_columns_and_dialects(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name;artist_name;genre;part\nx;Ann;Rock;A\ny;Ann;Pop;B\n")
    result = run(path, "--split", "part")
    assert result.exit_code == 1
    assert "(artist_name)" in result.output
    assert "Tracks by split and genre" in result.output
    assert run(path, "--split", "part", "--group", "name").exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--group", "artist"], r"leaky.csv: .*did you mean 'artist_id'"),
        (["--label", "mood"], "no column 'mood'"),
        (["--folds", 9], "9 folds need at least 9 different groups"),
    ],
)
def test_errors_of_the_table(leaky: Path, args: list[object], message: str) -> None:
    result = run(leaky, *args)
    assert isinstance(result.exception, GenrescopeError)
    with pytest.raises(GenrescopeError, match=message):
        raise result.exception


@pytest.mark.parametrize("args", [["--folds", 1], ["--folds", 2, "--split", "x"], ["--limit", -1]])
def test_wrong_usage_exits_2(leaky: Path, args: list[object]) -> None:
    assert run(leaky, *args).exit_code == 2


def test_ids_that_are_no_numbers_and_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        HEADER + 'a.1,"\x1b[31mred\nline",Rock,7,Ann,train\na.2,[bold]x,Rock,7,Ann,test\n'
    )
    result = run(path)
    assert result.exit_code == 1
    assert 'training a.1 " [31mred line"; test a.2 "[bold]x"' in result.output


def test_parquet(tmp_path: Path, leaky: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = list(csv.DictReader(leaky.open()))
    path = tmp_path / "leaky.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    of_csv = run(leaky).output.replace("leaky.csv", "")
    assert run(path).output.replace("leaky.parquet", "") == of_csv


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [60, 120])
def test_on_a_terminal_it_fits_the_width(tmp_path: Path, columns: int) -> None:
    import pty

    path = tmp_path / "t.csv"
    long = "A title that goes on and on " * 4
    path.write_text(HEADER + f"1,{long},Rock,7,Ann,training\n2,{long}x,Rock,7,Ann,test\n")
    code = "import typer, sys; from genrescope.apps.cli.audit import audit; typer.run(audit)"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=theirs,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        output = b""
        while chunk := _read(ours):
            output += chunk
    os.close(ours)
    assert process.returncode == 1
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode())
    assert text != output.decode(), "no colour on a terminal"
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    row = next(line for line in lines if " Ann " in line)
    assert row.split()[:5] == ["7", "Ann", "1", "1", "training"]
    assert row.rstrip().endswith("…")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""


@pytest.mark.data
def test_real_tracks_with_an_artist_moved_to_the_other_side(data_dir: Path, tmp_path: Path) -> None:
    with (data_dir / "fma" / "small_tracks.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    held = holdout([r["genre_top"] for r in rows], [r["artist_id"] for r in rows], fraction=0.1)
    split = np.where(held, "test", "training")

    def write(name: str) -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, [*rows[0], "split"])
            writer.writeheader()
            writer.writerows({**r, "split": s} for r, s in zip(rows, split, strict=True))
        return path

    good = run(write("good.csv"))
    assert good.exit_code == 0
    assert "Sun Sunych ft. Alex East Block" in good.output  # FMA has that artist under 4 ids

    moved = next(i for i, r in enumerate(rows) if r["artist_name"] == "AWOL")
    split[moved] = "training" if held[moved] else "test"
    bad = run(write("bad.csv"))
    assert bad.exit_code == 1
    assert "LEAK: 1 artist is in more than one split" in bad.output
    assert "AWOL" in bad.output
