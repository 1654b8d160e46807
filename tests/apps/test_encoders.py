"""``genrescope encoders``, as a process."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescope.apps.cli.encoders import show_tags
from tests.apps.command import run
from tests.audio.encoders.conftest import make_graph, wheel  # noqa: F401

linux = pytest.mark.skipif(sys.platform != "linux", reason="the cache moves by XDG_CACHE_HOME")


@linux
def test_list_install_remove(wheel: Path, tmp_path: Path) -> None:  # noqa: F811
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    before = {
        entry["name"]: entry
        for entry in json.loads(run("encoders", "list", "--json", **cache).stdout)
    }
    assert before["frames"]["installed"]
    assert not before["musicnn"]["installed"]
    assert before["musicnn"]["licence"] == "ISC"
    assert before["musicnn"]["install"] == "genrescope encoders install musicnn"

    done = run("encoders", "install", "musicnn", "--from", wheel, **cache)
    assert done.returncode == 0, done.stderr
    assert b"musicnn is ready: 400 numbers a window, licence ISC" in done.stdout
    text = run("encoders", "list", **cache).stdout.decode()
    assert "musicnn  installed" in text
    assert "CC BY-NC 4.0" in text

    assert run("encoders", "remove", "musicnn", **cache).returncode == 0
    again = run("encoders", "remove", "musicnn", **cache)
    assert again.returncode == 2
    assert again.stderr.decode().startswith("genrescope: encoder musicnn: is not installed")


@linux
def test_a_wrong_file_and_a_wrong_name(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"wrong")
    done = run("encoders", "install", "musicnn", "--from", wrong, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert b"SHA-256 is" in done.stderr
    done = run("encoders", "install", "nothing", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert b"there is none of that name" in done.stderr


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    y = np.random.default_rng(0).normal(size=16_000).astype(np.float32) / 9
    soundfile.write(tmp_path / "song.wav", y, 8_000)
    return [tmp_path / "song.wav", tmp_path / "missing.wav"]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_tags_in_every_form(
    form: str, paths: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"onnx:{make_graph(tmp_path)}"
    assert show_tags(paths, encoder=name, form=form, top=1, workers=0) == 1
    out, err = capsys.readouterr()
    if form == "table":
        assert out.startswith(" song.wav  ")
        assert "missing.wav: there is no such file" in err
    elif form == "json":
        said = json.loads(out)
        assert len(said["tags"][0]["tags"]) == 1
        assert said["errors"][0]["error"] == "AudioNotFoundError"
    elif form == "jsonl":
        first, second = map(json.loads, out.splitlines())
        assert first["encoder"] == name
        assert "error" in second
    else:
        first, second = csv.DictReader(io.StringIO(out))
        assert 0 < float(first["loud"]) < 1
        assert second["error"].startswith("AudioNotFoundError")
    assert show_tags(paths[:1], encoder=name, form=form, top=1, workers=0) == 0
    assert show_tags([], encoder=name, form=form, top=1, workers=0) == 2
