"""``genrescope model``: the list of networks and the table of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.apps.test_imports import HEAVY, loaded
from tests.apps.test_train import in_process


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *arguments: Done(*in_process(monkeypatch, capsys, *arguments))


def test_help_loads_nothing_heavy() -> None:
    found = loaded(
        "from genrescope.apps.cli.main import app\n"
        "try: app(['model', 'summary', '--help'])\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert not found & HEAVY


def test_the_study_s_table(run: Command) -> None:
    done = run("model", "summary", "cs464-cnn")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "Conv2d 4 x 128 x 1,292 112" in lines
    assert "MaxPool2d 256 x 2 x 20 0" in lines
    assert "Flatten 10,240 0" in lines
    assert "Linear 5,120 52,433,920" in lines
    assert "Linear 8 40,968" in lines
    assert "Total 52,868,624" in lines


def test_the_table_as_json_of_another_input(run: Command) -> None:
    done = run("model", "summary", "cs464-cnn@1x128x128", "--genres", "5", "--json")
    table = json.loads(done.stdout)
    assert table["name"] == "cs464-cnn@1x128x128"
    assert table["input"] == [1, 128, 128]
    assert table["layers"][0] == {
        "path": "0",
        "kind": "Conv2d",
        "shape": [4, 128, 128],
        "parameters": 40,
    }
    assert table["layers"][-1]["shape"] == [5]
    assert table["parameters"] == sum(layer["parameters"] for layer in table["layers"])


def test_the_list(run: Command) -> None:
    from genrescope.learn.deep.architectures import ARCHITECTURES

    shown = run("model", "list").stdout
    rows = json.loads(run("model", "list", "--json").stdout)
    assert [row["name"] for row in rows] == [architecture.key for architecture in ARCHITECTURES]
    for row in rows:
        assert row["name"] in shown
        assert f"{row['parameters']:,}" in shown
    study = rows[0]
    assert (study["parameters"], study["parameters_on_frames"]) == (52_868_624, 5_682_632)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nix"], "there is no network 'nix'"),
        (["vit-tiny", "--with", "patch=300x300"], "do not fit"),
        (["vit-tiny", "--with", "patch"], "NAME=VALUE"),
        (["cs464-cnn@128"], "no size of an input"),
    ],
)
def test_wrong_usage(run: Command, arguments: list[str], said: str) -> None:
    done = run("model", "summary", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not done.stdout
