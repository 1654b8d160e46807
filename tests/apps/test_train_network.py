"""``genrescope train NETWORK`` and ``genrescope runs``, as a user calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from genrescope.learn.bundle import Bundle
from genrescope.learn.deep.architectures import ARCHITECTURES
from genrescope.learn.deep.loop import CHECKPOINT
from genrescope.learn.deep.state import read_tensors
from tests.apps.command import COMMAND, environment, handed_on
from tests.apps.test_imports import HEAVY, loaded
from tests.apps.test_train import in_process
from tests.learn.small_data import make_prepared

SHORT = ("--folds", "2", "--batch", "8", "--set", "held_out=0.3", "--device", "cpu")
SHORT = (*SHORT, "--threads", "1", "--with", "widths=4x8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prepared(tmp_path_factory.mktemp("cli") / "data", n_artists=24, tracks_each=2)


def test_help_loads_nothing_heavy() -> None:
    found = loaded(
        "import io, contextlib\n"
        "from genrescope.apps.cli.main import app\n"
        "text = io.StringIO()\n"
        "def told(*a):\n"
        "    try:\n"
        "        with contextlib.redirect_stdout(text): app([*a, '--help'])\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "told('train', 'cs464-cnn'); told('train'); told('runs')\n"
        "words = ' '.join(text.getvalue().split())\n"
        "for key in ('--preset', 'goes on', 'torchrun', 'vit-tiny'): assert key in words, words"
    )
    assert not found & HEAVY


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet"], "no such command"),
        (["compact-cnn"], "--data"),
        (["compact-cnn", "--data", "x"], "--out"),
        (["compact-cnn", "--data", "x", "--out", "y", "--folds", "1"], "--folds"),
        (["compact-cnn", "--data", "x", "--out", "y", "--fold", "5"], "there is no fold 5"),
        (["compact-cnn", "--data", "x", "--out", "y", "--preset", "p"], "there is no preset 'p'"),
        (["compact-cnn", "--data", "x", "--out", "y", "--set", "ema"], "NAME=VALUE"),
        (["compact-cnn", "--data", "x", "--out", "y", "--with", "k=1"], "has no option 'k'"),
        (["compact-cnn", "--data", "nowhere", "--out", "y"], "nowhere: no such folder"),
        (["compact-cnn", "--data", "x", "--out", "y", "--device", "wax"], "device 'wax'"),
    ],
)
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = in_process(monkeypatch, capsys, "train", *arguments)
    assert code == 2
    assert said in err
    assert not out
    assert not list(tmp_path.iterdir())


def test_the_numbers_reach_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.learn.deep import experiment as module

    def call(*more: str) -> dict[str, Any]:
        words = ("train", *more, "--data", "d", "--out", "o")
        return handed_on(monkeypatch, module, "train_network", *words)

    for architecture in ARCHITECTURES:
        plain = call(architecture.key)
        assert plain["plan"].architecture == architecture
        assert plain["plan"].command == f"genrescope train {architecture.key}"
    assert plain["plan"].chosen == (0, 1, 2, 3, 4)
    assert (plain["plan"].export, plain["device"], plain["threads"]) == (True, "auto", None)

    other = call(
        *("vit-tiny", "--with", "patch=128x2", "--with", "overlap=0x0", "--preset", "cs464-sgd"),
        *("--seed", "3", "--folds", "4", "--fold", "2", "--fold", "1", "--epochs", "7"),
        *("--batch", "16", "--lr", "0.01", "--set", "momentum=0", "--precision", "bf16"),
        *("--no-export", "--tensorboard", "--checkpoint-every", "1", "--threads", "2"),
    )
    plan = other["plan"]
    assert plan.architecture.options["patch"] == (128, 2)
    assert (plan.settings.optimiser, plan.settings.epochs, plan.settings.batch) == ("sgd", 7, 16)
    assert (plan.settings.learning_rate, plan.settings.momentum) == (0.01, 0.0)
    assert (plan.seed, plan.folds, plan.chosen) == (3, 4, (1, 2))
    assert (plan.precision, plan.export, plan.tensorboard, plan.every) == ("bf16", False, True, 1)
    assert other["threads"] == 2
    assert plan.command == (
        "genrescope train vit-tiny --preset cs464-sgd --seed 3 --folds 4 --epochs 7 --batch 16 "
        "--lr 0.01 --fold 2 --fold 1 --with patch=128x2 --with overlap=0x0 --set momentum=0"
    )


# --- progress --------------------------------------------------------------


def events() -> list[tuple[str, dict[str, Any]]]:
    head = {"model": "m", "device": "cpu", "precision": "fp32", "tracks": 9, "epochs": 2}
    told: list[tuple[str, dict[str, Any]]] = [
        ("start", {**head, "parts": ["fold-0", "fold-1", "all"]}),
        ("kept", {"part": "fold-0"}),
    ]
    row = {"loss": 1.5, "held_out_log_loss": 1.25, "held_out_accuracy": 0.5, "epochs": 2}
    for part in ("fold-1", "all"):
        told += [("epoch", {"part": part, "epoch": k, **row}) for k in (1, 2)]
        end = {"part": part, "accuracy": 0.5, "best_epoch": 2, "seconds": 3.0}
        told += [("fold", end)] * (part != "all")
    return [*told, ("note", {"text": "no figure"}), ("done", {})]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    from genrescope.apps.cli import train_network as module

    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(module, "animated", lambda stream: terminal)
    monkeypatch.setattr(module, "_LINE_EVERY", 0.0)
    with module._progress() as report:
        for event, details in events():
            report(event, details)
    out, err = capsys.readouterr()
    assert not out
    assert ("100 %" in err) == terminal
    assert "fold-0: kept from before" in err
    assert "fold-1: accuracy 0.500, epoch 2 is kept, 3 s" in err
    assert "no figure" in err
    if not terminal:
        assert "all epoch 2/2: loss 1.500, held out 1.250, accuracy 0.500" in err.splitlines()
        assert "\x1b" not in err


# --- kill -9 ---------------------------------------------------------------


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    run = ("--data", data, "--out", out, "--epochs", "5", "--checkpoint-every", "0", *SHORT)
    return subprocess.Popen(
        [*COMMAND, "train", "compact-cnn", *map(str, run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS="1"),
    )


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_the_same(data: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    process = start(data, whole)
    for part in ("fold-0", "all"):
        killed = start(data, out)
        deadline = time.monotonic() + 120
        while killed.poll() is None and time.monotonic() < deadline:
            if (out / part / CHECKPOINT).exists():
                break
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        assert (out / part / CHECKPOINT).exists()
        assert not (out / "scores.json").exists()
    last = start(data, out)
    for each in (process, last):
        said, progress = each.communicate(timeout=280)
        assert each.returncode == 0, progress
        assert "Accuracy" in said
        assert f"--bundle {whole if each is process else out}" in said
    assert "fold-1: kept from before" in progress

    for part in ("fold-0", "fold-1", "all"):
        one, other = (read_tensors(f / part / "weights.safetensors")[0] for f in (whole, out))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        assert not (out / part / CHECKPOINT).exists()
    found = [json.loads((folder / "scores.json").read_text()) for folder in (whole, out)]
    assert found[0]["scores"] == found[1]["scores"]
    graphs = [(folder / "bundle" / "model.onnx").read_bytes() for folder in (whole, out)]
    assert graphs[0] == graphs[1]
    assert (
        Bundle.load(out / "bundle").card["metrics"] == Bundle.load(whole / "bundle").card["metrics"]
    )


# --- runs ------------------------------------------------------------------


def test_runs_in_a_table_and_as_json(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    data: Path,
) -> None:
    monkeypatch.setenv("COLUMNS", "170")
    for seed in (0, 1):
        run = ("--data", data, "--out", tmp_path / f"r{seed}", "--seed", str(seed), "--epochs", "1")
        assert in_process(monkeypatch, capsys, "train", "compact-cnn", *run, *SHORT)[0] == 0
        if seed == 0:
            code, out, err = in_process(
                monkeypatch, capsys, "train", "compact-cnn", *run, *SHORT, "--seed", "9"
            )
            assert code == 2
            assert "holds another run (it has seed 0, not 9)" in err
    code, out, _ = in_process(monkeypatch, capsys, "runs", "--json", tmp_path)
    compared = json.loads(out)
    # After one epoch they may have learnt nothing, and then say so.
    assert all(run["state"].startswith("done") for run in compared["runs"])
    assert sorted(run["seed"] for run in compared["runs"]) == [0, 1]
    code, out, _ = in_process(monkeypatch, capsys, "runs", tmp_path)
    assert code == 0
    assert out.count("2/2") == 2
    assert f"{compared['runs'][0]['scores']['accuracy']:.3f}" in out
    assert f"{compared['runs'][1]['to_best']['difference']:+.3f}" in out
    assert "Mean over seeds" in out
    code, _, err = in_process(monkeypatch, capsys, "runs", data)
    assert code == 2
    assert "no run is here" in err


def test_predict_and_evaluate_take_the_bundle(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    data: Path,
) -> None:
    run = ("--data", data, "--out", tmp_path / "r", "--epochs", "1", "--fold", "0")
    assert in_process(monkeypatch, capsys, "train", "compact-cnn", *run, *SHORT)[0] == 0
    bundle = tmp_path / "r" / "bundle"
    result = tmp_path / "scores.json"
    code, _, err = in_process(
        monkeypatch, capsys, "evaluate", "--data", data, "--bundle", bundle, "--json", result
    )
    assert code == 0, err
    scores = json.loads(result.read_text())
    assert "accuracy" in json.dumps(scores)
    from genrescope import Recogniser

    samples = torch.sin(torch.arange(44_100 * 4) * 0.05).numpy()
    prediction = Recogniser.load(bundle).predict(samples, sr=44_100)
    assert prediction.best in Bundle.load(bundle).genres
