"""The command ``train default``: it says what it does, and survives being killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from genrescope.learn.bundle import Bundle
from genrescope.learn.train.recipe import Recipe
from tests.apps.command import COMMAND, environment, handed_on
from tests.apps.test_imports import HEAVY, loaded
from tests.learn.small_data import GENRES, make_prepared

#: The shipped recipe, but for what takes long.
SHORT = ("--folds", "2", "--epochs", "1", "--rounds", "4", "--threads", "1", "--device", "cpu")


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, without a process of its own."""
    from genrescope.apps.cli.main import main

    monkeypatch.setattr(sys, "argv", ["genrescope", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


# --- usage -----------------------------------------------------------------


def test_help_loads_nothing_heavy_and_says_how_to_go_on() -> None:
    found = loaded(
        "import io, contextlib\n"
        "from genrescope.apps.cli.main import app\n"
        "text = io.StringIO()\n"
        "try:\n"
        "    with contextlib.redirect_stdout(text): app(['train', 'default', '--help'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "words = ' '.join(text.getvalue().split())\n"
        "assert '--data' in words and '--out' in words, words\n"
        "assert 'goes on' in words, words"
    )
    assert "typer" in found
    assert not found & HEAVY


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--data"),
        (["--data", "x"], "--out"),
        (["--data", "x", "--out", "y", "--folds", "1"], "--folds"),
        (["--data", "x", "--out", "y", "--epochs", "0"], "--epochs"),
        (["--data", "x", "--out", "y", "--seed", "-1"], "--seed"),
    ],
)
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    code, out, err = in_process(monkeypatch, capsys, "train", "default", *arguments)
    assert code == 2
    assert said in err
    assert not out


def test_wrong_data_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def told(data: Path, *more: str) -> str:
        code, out, err = in_process(
            monkeypatch, capsys, "train", "default", "--data", data, "--out", tmp_path / "o", *more
        )
        assert code == 2
        assert not out
        assert err.startswith("genrescope: ")
        assert err.count("\n") == 1
        assert not (tmp_path / "o").exists()
        return err

    nowhere = told(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'}: no such folder" in nowhere
    assert "small_tracks.csv" in nowhere
    (tmp_path / "empty").mkdir()
    assert "small_mel_frames.npz" in told(tmp_path / "empty")

    data = make_prepared(tmp_path / "data", n_artists=8, tracks_each=1)
    (data / "small_mfcc.npz").unlink()
    assert "small_mfcc.npz not found" in told(data)
    make_prepared(data, n_artists=8, tracks_each=1)
    (data / "small_mel_frames.npz").write_bytes(b"PK")
    assert "not a readable .npz" in told(data)
    make_prepared(data, n_artists=3, tracks_each=1)
    assert "fewer folds" in told(data, "--folds", "5")
    assert "gramophone" in told(data, "--device", "gramophone")


def test_the_numbers_reach_the_recipe_and_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from genrescope.learn.train import default as module

    def call(*more: str) -> dict[str, Any]:
        words = ("train", "default", "--data", "d", "--out", "o", *more)
        return handed_on(monkeypatch, module, "train_default", *words)

    plain = call()
    assert plain["recipe"] == Recipe()
    assert plain["command"] == "genrescope train default"
    assert (plain["data"], plain["out"]) == (Path("d"), Path("o"))
    assert plain["baselines"]
    assert plain["threads"] == (os.cpu_count() or 1)

    other = call(
        *("--seed", "3", "--folds", "4", "--epochs", "7", "--rounds", "9", "--threads", "1"),
        *("--no-baselines", "--device", "cpu"),
    )
    recipe = other["recipe"]
    assert (recipe.seed, recipe.folds) == (3, 4)
    assert recipe.net.epochs == recipe.frame_net.epochs == 7
    assert recipe.trees.rounds == 9
    assert recipe.frame_net.batch == Recipe().frame_net.batch
    assert other["command"].endswith("default --seed 3 --folds 4 --epochs 7 --rounds 9")
    assert (other["threads"], other["device"], other["baselines"]) == (1, "cpu", False)


# --- progress --------------------------------------------------------------


def events(recipe: Recipe) -> list[tuple[str, dict[str, Any]]]:
    """What a run tells, in short."""
    told: list[tuple[str, dict[str, Any]]] = [("step", {"name": "features/view-0", "seconds": 1.0})]
    for part in [*(f"fold-{k}" for k in range(recipe.folds)), "all"]:
        told += [
            ("step", {"name": f"{part}/{step}", "seconds": 1.0}) for step in ("scale", "teacher")
        ]
        for k in range(recipe.nets):
            told.append(("step", {"name": f"{part}/net-{k}", "seconds": 1.0}))
        for k in range(recipe.frame_nets):
            epoch = {"part": part, "member": f"frames-{k}", "epoch": 3, "epochs": 10}
            told.append(("epoch", {**epoch, "held_out_log_loss": 1.234}))
            told.append(("step", {"name": f"{part}/frames-{k}", "seconds": 1.0}))
        told.append(("step", {"name": f"{part}/trees", "seconds": 1.0}))
        if part != "all":
            told.append(("step", {"name": f"{part}/answers", "seconds": 9.0}))
            told.append(("fold", {"name": part, "accuracy": 0.5}))
    return told


@pytest.mark.parametrize("killed", [False, True])
def test_the_bar_ends_at_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], killed: bool
) -> None:
    """On a terminal; a run that goes on counts what was kept, too."""
    from genrescope.apps.cli import train as module

    monkeypatch.setattr(module, "animated", lambda stream: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    recipe = Recipe(folds=2)
    told = events(recipe)
    if killed:  # the first fold was finished, so its members are not even looked at
        told = [
            ("kept", {"name": "fold-0/answers"}),
            *(event for event in told if not event[1].get("name", "").startswith("fold-0")),
        ]
    with module._progress(recipe) as report:
        for event, details in told:
            report(event, details)
    out, err = capsys.readouterr()
    assert not out
    assert "100 %" in err
    assert "all/trees" in err


def test_without_a_terminal_there_is_a_line_for_each_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrescope.apps.cli.train import _progress

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    recipe = Recipe(folds=2)
    with _progress(recipe) as report:
        for event, details in events(recipe):
            report(event, details)
        report("kept", {"name": "fold-9/answers"})
    out, err = capsys.readouterr()
    assert not out
    lines = err.splitlines()
    assert lines[0] == "features/view-0: 1.0 s"
    assert "fold-1: accuracy 0.500" in lines
    assert lines[-1] == "fold-9/answers: kept from before"
    assert len(lines) == 1 + sum(event != "epoch" for event, _ in events(recipe))


# --- kill -9 ---------------------------------------------------------------


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "train", "default", "--data", data, "--out", out, *SHORT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS="1"),
    )


def log_of(out: Path) -> list[list[dict[str, Any]]]:
    """What was logged by each process that worked in the folder."""
    runs: list[list[dict[str, Any]]] = []
    path = out / "log.jsonl"
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:  # being written, or cut off by the kill
            continue
        if line["event"] == "start":
            runs.append([])
        runs[-1].append(line)
    return runs


def kill_after(process: subprocess.Popen[str], out: Path, *, run: int, step: str) -> None:
    """SIGKILL as soon as a step, or an epoch of a member, appears in the log."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        told = log_of(out)[run:]
        if told and any(
            step in (line.get("name"), f"{line.get('part')}/{line.get('member')}")
            for line in told[0]
        ):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    data = make_prepared(tmp_path / "data", n_artists=48, tracks_each=1, genres=GENRES[:2])
    whole, out = tmp_path / "whole", tmp_path / "killed"

    process = start(data, whole)
    said, progress = process.communicate()
    assert process.returncode == 0, progress
    assert "Accuracy" in said
    assert f"use it with --bundle {whole / 'bundle'}" in said
    lines = progress.splitlines()
    for step in ("features/view-0", "fold-0/net-0", "fold-1/answers", "all/trees"):
        assert sum(line.startswith(f"{step}: ") for line in lines) == 1
    assert sum(": accuracy " in line for line in lines) == 2
    assert "\x1b" not in said + progress

    # In the middle of a network, then while all tracks are learnt from.
    for run, step in enumerate(("fold-0/frames-0", "all/scale")):
        kill_after(start(data, out), out, run=run, step=step)
        assert not (out / "bundle" / "card.json").exists()
        if run == 1:
            # What a kill in the middle of writing leaves behind.
            for part in ("fold-1", "all"):
                for name in ("net-0.npz", "net-1.npz", "frames-0.npz", "trees.txt", "answers.npz"):
                    (out / part / f".{name}.part").write_bytes(b"PK\x03\x04 half a file")
            (out / ".run.json.part").write_text('{"recipe": {')
            (out / "bundle").mkdir()
            (out / "bundle" / ".model.onnx.1.part").write_bytes(b"\x08\x08")
    process = start(data, out)
    said, progress = process.communicate()
    assert process.returncode == 0, progress
    assert "fold-0/answers: kept from before" in progress.splitlines()

    graphs = [(folder / "bundle" / "model.onnx").read_bytes() for folder in (whole, out)]
    assert hashlib.sha256(graphs[0]).digest() == hashlib.sha256(graphs[1]).digest()
    cards = [Bundle.load(folder / "bundle").card for folder in (whole, out)]
    for section in ("metrics", "calibration", "abstention", "conformal", "training", "graph"):
        assert cards[0][section] == cards[1][section], section

    # No step was done twice, and what was done before is said to be kept.
    runs = log_of(out)
    assert len(runs) == 3
    assert [line["event"] for line in runs[-1]][-1] == "done"
    steps = Counter(
        line["name"]
        for run in runs
        for line in run
        if line["event"] == "step" and not line["name"].startswith("features/")
    )
    assert set(steps.values()) == {1}
    once = {
        line["name"]
        for line in log_of(whole)[0]
        if line["event"] == "step" and not line["name"].startswith("features/")
    }
    kept = {line["name"] for run in runs for line in run if line["event"] == "kept"}
    assert once <= set(steps) | kept
    assert {"fold-0/scale", "fold-0/net-0", "fold-0/answers", "all/scale"} <= kept
