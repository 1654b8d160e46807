"""genrescope predict --together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genrescope.apps.cli.main import app
from genrescope.learn.parts.company import COMPANY


@pytest.mark.data
def test_two_tracks_of_one_artist_have_a_say_in_each_other(fma_clips: list[Path]) -> None:
    names = ("000002", "000005", "000010")  # two by AWOL, one by another
    chosen = [str(path) for path in fma_clips if path.stem in names]
    assert len(chosen) == 3, fma_clips
    run = CliRunner().invoke(app, ["predict", *chosen, "--json", "--together", "-j", "0"])
    assert run.exit_code == 0, run.output
    found = {Path(one["path"]).stem: one for one in json.loads(run.stdout)["predictions"]}
    assert [COMPANY in found[name]["sources"] for name in names] == [True, True, False]
    assert found["000002"]["best"] == "Hip-Hop"


@pytest.mark.parametrize("option", ["--together", "--timeline", "--tree", "--no-metadata"])
def test_what_a_table_cannot_give_is_said(tmp_path: Path, option: str) -> None:
    (tmp_path / "t.csv").write_text("title\nFood\n")
    run = CliRunner().invoke(app, ["predict", "--table", str(tmp_path / "t.csv"), option])
    assert run.exit_code == 2
    assert option in run.output


def test_a_table_without_sound_is_answered_and_marked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("title,artist\nFood,AWOL\n,\n")
    run = CliRunner().invoke(app, ["predict", "--table", str(tmp_path / "t.csv"), "--json"])
    assert run.exit_code == 0, run.output
    known, empty = json.loads(run.stdout)["predictions"]
    assert known["sources"] == ["title", "artist"]
    assert (known["genre"], empty["genre"], empty["sources"]) == (None, None, [])
    assert empty["reason"]
