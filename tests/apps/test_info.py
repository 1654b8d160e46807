"""``genrescope info``: the card, for people and as JSON."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.apps.command import here, on_terminal
from tests.learn.tinybundle import GENRES, make_bundle, make_card


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    card = make_card(n_features=12)
    training = {
        **card["training"],
        "data": "Two songs that someone sang in a kitchen",
        "licence": "CC0-1.0",
    }
    make_bundle(folder, n_features=12, training=training)
    return folder


def test_a_person_reads_what_matters(tiny: Path) -> None:
    done = here("info", "--bundle", tiny)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for words in (
        "tiny 1",
        "it recognises nothing",
        "Two songs that someone sang in a kitchen: 2 tracks by 1 artist (CC0-1.0)",
        "front end frames 1, 12 numbers a window",
        "the best genre has 50% or more: 40% of tracks, of which 75% are right",
        "3.0 genres on average, which hold the right one for 90% of tracks",
        str(tiny),
    ):
        assert words in re.sub(r"\s+", " ", text)
    assert all(genre in text for genre in GENRES)
    assert re.search(r"tiny +0\.500 +0\.480", text)
    assert re.search(r"Accuracy +0\.500 +0\.400", text)
    assert "\x1b" not in text


def test_json_is_the_card(tiny: Path) -> None:
    done = here("info", "--json", "--bundle", tiny)
    assert json.loads(done.stdout) == json.loads((tiny / "card.json").read_text("utf-8"))


def test_never_sure_is_said(tmp_path: Path) -> None:
    abstention = {**make_card(n_features=12)["abstention"], "threshold": None, "coverage": None}
    make_bundle(tmp_path, abstention=abstention)
    text = here("info", "--bundle", tmp_path).stdout.decode()
    assert "never: no threshold reached the accuracy that was asked for" in text


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_it_fits_the_terminal(tiny: Path, width: int) -> None:
    code, output = on_terminal("info", "--bundle", tiny, width=width)
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    # A path may be longer than any terminal is wide.
    lines = [line for line in plain.splitlines() if "/" not in line]
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_no_bundle_there(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    done = here("info", "--bundle", tmp_path / place)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().startswith(f"genrescope: {tmp_path / place}: ")
    assert b"a bundle is a folder with card.json" in done.stderr
