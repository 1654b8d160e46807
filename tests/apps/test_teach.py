"""``genrescope teach`` on the command line."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from typer.testing import CliRunner

from genrescope.apps.cli.main import app
from genrescope.errors import DataError, TableError
from tests.learn.teach_tracks import write_collection

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    music = write_collection(folder / "music")
    arguments = [
        "teach", str(music), "--out", str(folder / "mine"),
        "--encoder", "frames", "--folds", "4", "--workers", "0",
    ]  # fmt: skip
    return folder, arguments, RUNNER.invoke(app, arguments, catch_exceptions=False)


def test_it_says_what_came_out_and_where_it_is(run):
    folder, _, result = run
    assert result.exit_code == 0
    assert "24 tracks; hearing them with frames" in result.stderr
    for words in ("Accuracy", "Groups: the folder", "tracks, accuracy went from", "--bundle"):
        assert words in result.stdout
    assert (folder / "mine" / "model.onnx").exists()
    assert (folder / "mine" / "index.html").exists()


def test_the_bundle_predicts(run):
    folder, *_ = run
    track = folder / "music" / "Drums" / "Drums 1" / "0.wav"
    result = RUNNER.invoke(app, ["predict", str(track), "--bundle", str(folder / "mine"), "--json"])
    assert result.exit_code == 0, result.output
    assert "Drums" in json.dumps(json.loads(result.stdout))


def test_again_and_without_a_page(run):
    folder, arguments, _ = run
    page, aside = folder / "mine" / "index.html", folder / "index.html"
    page.rename(aside)
    result = RUNNER.invoke(app, [*arguments, "--no-page"], catch_exceptions=False)
    assert "24 were heard before" in result.stderr
    assert not page.exists()
    aside.rename(page)


def test_mistakes_are_told(run, tmp_path):
    folder, *_ = run
    music = str(folder / "music")
    with pytest.raises(TableError, match="does not exist"):
        RUNNER.invoke(
            app, ["teach", "nowhere", "--out", str(tmp_path / "a")], catch_exceptions=False
        )
    with pytest.raises(DataError, match="encoders list"):
        RUNNER.invoke(
            app,
            ["teach", music, "--out", str(tmp_path / "b"), "--encoder", "ears"],
            catch_exceptions=False,
        )
