"""A whole run: folds, scores, record, curves, bundle, and that nobody is known twice."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrescope.audio import frames
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import TrainingError
from genrescope.learn.bundle import Bundle
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.deep import experiment
from genrescope.learn.deep.architectures import build, find
from genrescope.learn.deep.board import Board
from genrescope.learn.deep.curves import read_curves
from genrescope.learn.deep.data import Feed, FrameData
from genrescope.learn.deep.experiment import train_network
from genrescope.learn.deep.loop import logits_of
from genrescope.learn.deep.plan import Plan, pick_precision
from genrescope.learn.deep.record import Folder, git_revision
from genrescope.learn.deep.runs import compare_runs, find_runs, over_seeds, read_run
from genrescope.learn.deep.settings import settings_for
from genrescope.learn.deep.state import read_tensors
from tests.learn.small_data import edit_tracks, make_prepared

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = find("compact-cnn", {"widths": (4, 8), "bands_each": 1})
CPU = torch.device("cpu")


def plan_of(**changes: Any) -> Plan:
    numbers = {"epochs": 3, "batch": 8, "held_out": 0.3, **changes.pop("settings", {})}
    usual: dict[str, Any] = {"architecture": TINY, "folds": 2, "command": "genrescope train x"}
    return Plan(settings=settings_for(TINY, **numbers), **{**usual, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prepared(tmp_path_factory.mktemp("all") / "data", n_artists=32, tracks_each=2)


@pytest.fixture(scope="module")
def told() -> list[tuple[str, Any]]:
    return []


@pytest.fixture(scope="module")
def done(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    found = train_network(
        folder,
        out,
        plan=plan_of(),
        device="cpu",
        threads=1,
        report=lambda event, details: told.append((event, dict(details))),
    )
    assert found is not None
    return out, found


def test_every_track_is_scored_by_a_network_that_had_not_met_its_artist(
    folder: Path, done: tuple[Path, dict[str, Any]]
) -> None:
    out, found = done
    data = FrameData.load(folder)
    seen: list[int] = []
    feed = Feed(data, device=CPU, dense=False)
    for k in (0, 1):
        with np.load(out / f"fold-{k}" / "answers.npz", allow_pickle=False) as answers:
            rows = np.flatnonzero(np.isin(data.track_id, answers["track_id"]))
            assert answers["track_id"].tolist() == data.track_id[rows].tolist()
            assert answers["y"].tolist() == data.y[rows].tolist()
            others = np.setdiff1d(np.arange(len(data)), rows)
            assert not set(data.artist[rows]) & set(data.artist[others])
            # They are the answers of the weights that were kept.
            net = build(TINY, n_genres=4)
            net.load_state_dict(read_tensors(out / f"fold-{k}" / "weights.safetensors")[0])
            np.testing.assert_allclose(
                answers["logits"], logits_of(net, feed, rows), atol=1e-4, rtol=1e-4
            )
            seen += rows.tolist()
    assert sorted(seen) == list(range(len(data)))
    assert found["folds_scored"] == [0, 1]
    assert found["scores"]["n"] == len(data)
    assert found["scores"]["n_artists"] == 32
    assert found["scores"]["intervals"]["accuracy"] is not None
    assert np.mean(found["accuracy_by_fold"]) == pytest.approx(found["scores"]["accuracy"], abs=0.1)
    assert json.loads((out / "scores.json").read_text()) == found


def test_the_record_says_what_was_done(folder: Path, done: tuple[Path, dict[str, Any]]) -> None:
    record = json.loads((done[0] / "run.json").read_text())
    assert record["model"] == "compact-cnn"
    assert record["options"]["widths"] == [4, 8]
    assert record["settings"]["augmentation"]["mixup"] == 0.3
    assert record["data_sha256"] == FrameData.load(folder).sha256
    assert torch.__version__.startswith(record["packages"]["torch"].split("+")[0])
    assert (record["seed"], record["precision"], record["processes"]) == (0, "fp32", 1)
    assert record["parameters"] == done[1]["parameters"]
    assert set(record) >= {"git", "genrescope", "started", "device", "command"}


def test_what_happens_is_told(
    done: tuple[Path, dict[str, Any]], told: list[tuple[str, Any]]
) -> None:
    events = [event for event, _ in told if event != "note"]
    assert events == [
        "start",
        *["epoch"] * 3,
        "fold",
        *["epoch"] * 3,
        "fold",
        *["epoch"] * 3,
        "done",
    ]
    assert told[0][1]["parts"] == ["fold-0", "fold-1", "all"]
    lines = (done[0] / "log.jsonl").read_text().splitlines()
    logged = [json.loads(line)["event"] for line in lines[: len(told)]]
    assert logged == [event for event, _ in told]


def test_the_curves(done: tuple[Path, dict[str, Any]]) -> None:
    out, _ = done
    curves = read_curves(out / "curves.csv")
    assert list(curves) == ["fold-0", "fold-1", "all"]
    assert [row["epoch"] for row in curves["fold-1"]] == [1, 2, 3]
    assert curves["all"] == read_tensors(out / "all" / "weights.safetensors")[1]["history"]
    with (out / "curves.csv").open() as file:
        assert next(csv.reader(file))[0] == "part"
    svg = (out / "curves.svg").read_text()
    assert svg.lstrip().startswith("<?xml")
    for words in ("fold-0", "held-out artists", "epoch", "compact-cnn"):
        assert words in svg
    assert "<dc:date>" not in svg
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_bundle_is_the_network_on_all_tracks(
    folder: Path, done: tuple[Path, dict[str, Any]]
) -> None:
    out, found = done
    bundle = Bundle.load(out / "bundle")
    prepared = load_prepared(folder)
    rows = frames.describe_prepared(prepared.mel, prepared.mfcc_3s)
    answers, _ = bundle.run(rows[:, None])
    net = build(TINY, n_genres=4)
    net.load_state_dict(read_tensors(out / "all" / "weights.safetensors")[0])
    data = FrameData.load(folder)
    logits = logits_of(net, Feed(data, device=CPU, dense=False), np.arange(len(data)))
    card = bundle.card
    expected = apply_temperature(logits, card["calibration"]["temperature"])
    np.testing.assert_allclose(answers, expected, atol=5e-3)
    assert card["training"]["tracks"] == len(data)
    assert card["training"]["command"] == "genrescope train x"
    assert card["training"]["recipe"]["epochs"] == 3
    assert card["metrics"]["scores"] == found["scores"]
    assert card["metrics"]["table"][0]["accuracy"] == found["scores"]["accuracy"]


def test_a_run_that_is_done_is_only_read(
    folder: Path, done: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = done
    before = {p: p.read_bytes() for p in out.rglob("*.safetensors")}
    monkeypatch.setattr(experiment, "logits_of", None)
    again = train_network(folder, out, plan=plan_of(), device="cpu", threads=1)
    assert again == found
    assert {p: p.read_bytes() for p in out.rglob("*.safetensors")} == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "it has seed 0, not 1"),
        ({"settings": {"epochs": 4}}, "it has settings.epochs 3, not 4"),
        ({"settings": {"mixup": 0.0}}, "settings.augmentation.mixup 0.3, not 0.0"),
        ({"architecture": find("naive-cnn")}, "it has model compact-cnn, not naive-cnn"),
        ({"precision": "bf16"}, "it has precision fp32, not bf16"),
    ],
)
def test_another_run_is_refused(
    folder: Path, done: tuple[Path, dict[str, Any]], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        train_network(folder, done[0], plan=plan_of(**changes), device="cpu")
    assert said in str(caught.value)
    assert "--out" in str(caught.value)


def test_other_data_is_refused(tmp_path: Path, done: tuple[Path, dict[str, Any]]) -> None:
    other = make_prepared(tmp_path / "data", n_artists=32, tracks_each=2)
    edit_tracks(other, genre_top={0: "Rock", 1: "Rock"})
    with pytest.raises(TrainingError, match="its data is other data"):
        train_network(other, done[0], plan=plan_of(), device="cpu")


def test_single_folds_and_then_the_others(folder: Path, tmp_path: Path) -> None:
    """One fold gives scores and a bundle; the same folder takes the rest later."""
    short = plan_of(settings={"epochs": 1}, only=(1,))
    first = train_network(folder, tmp_path / "run", plan=short, device="cpu", threads=1)
    assert first is not None
    assert first["folds_scored"] == [1]
    assert 20 < first["scores"]["n"] < 44
    card = Bundle.load(tmp_path / "run" / "bundle").card
    assert card["training"]["tracks"] == 64 - first["scores"]["n"]
    learnt = set(card["training"]["track_ids"])
    with np.load(tmp_path / "run" / "fold-1" / "answers.npz", allow_pickle=False) as answers:
        assert not learnt & set(answers["track_id"].tolist())
    rest = replace(short, only=(0,), export=False)
    both = train_network(folder, tmp_path / "run", plan=rest, device="cpu", threads=1)
    assert both is not None
    assert both["folds_scored"] == [0, 1]
    assert list(read_curves(tmp_path / "run" / "curves.csv")) == ["fold-0", "fold-1"]
    assert Bundle.load(tmp_path / "run" / "bundle").card == card
    with pytest.raises(TrainingError, match="there is no fold 2: 2 folds are 0 to 1"):
        plan_of(only=(2,))


def test_a_network_that_cannot_be_built_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    wrong = find("vit-tiny", {"width": 100})
    with pytest.raises(TrainingError, match="cannot be shared"):
        train_network(folder, tmp_path / "out", plan=plan_of(architecture=wrong), device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_network_that_learnt_nothing_does_not_pass_for_a_bad_one(
    tmp_path: Path,
) -> None:
    """A constant answer scores as chance does; the run says that it failed to train."""
    told: list[str] = []

    def report(event: str, details: Any) -> None:
        if event == "note":
            told.append(details["text"])

    for name, db, rate, epochs in (("deaf", 0.0, 1e-7, 1), ("hears", 9.0, 1e-2, 12)):
        data = make_prepared(
            tmp_path / name, n_artists=32, tracks_each=2, genre_db=db, artist_db=0.5
        )
        settings = {"epochs": epochs, "learning_rate": rate, "ema": 0.0, "mixup": 0.0}
        plan = plan_of(settings=settings, only=(0,), export=False)
        out = tmp_path / f"run-{name}"
        found = train_network(data, out, plan=plan, device="cpu", threads=1, report=report)
        assert found is not None
        assert found["folds_that_learnt_nothing"] == ([0] if name == "deaf" else [])
        said = "done, but 1 of 1 fold(s) learnt nothing" if name == "deaf" else "done"
        assert read_run(out).state == said
    assert len(told) == 1
    assert "fold-0 learnt nothing" in told[0]


def test_precision_follows_the_device() -> None:
    assert pick_precision("auto", CPU) == "fp32"
    assert pick_precision("bf16", CPU) == "bf16"
    with pytest.raises(TrainingError, match="fp16 needs a CUDA device"):
        pick_precision("fp16", CPU)
    with pytest.raises(TrainingError, match="choose auto, fp32, bf16 or fp16"):
        pick_precision("fp8", CPU)


def test_bf16_trains(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(settings={"epochs": 1}, only=(0,), export=False, precision="bf16")
    found = train_network(folder, tmp_path, plan=plan, device="cpu", threads=1)
    assert found is not None
    assert np.isfinite(found["scores"]["log_loss"])
    tensors, _ = read_tensors(tmp_path / "fold-0" / "weights.safetensors")
    assert tensors["genre.weight"].dtype == torch.float32


# --- record, board ---------------------------------------------------------


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    identity = {"kind": "network", "seed": 0}
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written to"):
        Folder(tmp_path / "file", identity=identity)
    for text, said in (("{", "cannot be read"), ("[]", "holds no run")):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(TrainingError, match=said):
            Folder(tmp_path, identity=identity)
    (tmp_path / "run.json").write_text('{"recipe": {}}')
    with pytest.raises(TrainingError, match="made by another command"):
        Folder(tmp_path, identity=identity)


def test_the_revision_is_of_this_code_or_none(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("")
    assert git_revision(tmp_path / "file.py") is None
    found = git_revision()
    if found is not None:
        assert len(found["revision"]) == 40


def test_event_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to TensorBoard, by a stand-in for its writer."""
    written: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, *, log_dir: str, purge_step: int) -> None:
            self.part = Path(log_dir).name
            written.append(("open", self.part, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append(("flush", self.part))

        def close(self) -> None:
            written.append(("close", self.part))

    monkeypatch.setattr("genrescope.learn.deep.board.require_board", lambda: Writer)
    board = Board(tmp_path)
    row = {"loss": 1.0, "learning_rate": 0.1, "held_out_log_loss": 2.0, "held_out_accuracy": 0.5}
    board.add("fold-0", {"epoch": 3, **row})  # goes on after a kill
    board.add("fold-0", {"epoch": 4, **row})
    board.add("all", {"epoch": 1, **row})
    board.close()
    assert [w for w in written if w[0] in ("open", "close")] == [
        ("open", "fold-0", 3),
        ("close", "fold-0"),
        ("open", "all", 1),
        ("close", "all"),
    ]
    assert ("held-out artists/accuracy", 0.5, 4) in written
    assert written.count(("flush", "fold-0")) == 2


def test_real_event_files_or_the_way_to_them(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(settings={"epochs": 1}, only=(0,), export=False, tensorboard=True)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(TrainingError, match="pip install tensorboard"):
            train_network(folder, tmp_path / "run", plan=plan, device="cpu")
        assert not (tmp_path / "run").exists()
        return
    train_network(folder, tmp_path / "run", plan=plan, device="cpu", threads=1)
    assert list((tmp_path / "run" / "tensorboard" / "fold-0").glob("events.out.tfevents.*"))


# --- comparison ------------------------------------------------------------


@pytest.fixture(scope="module")
def several(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("several")
    for seed in (0, 1):
        plan = plan_of(settings={"epochs": 1}, seed=seed, export=False)
        train_network(folder, root / f"tiny-{seed}", plan=plan, device="cpu", threads=1)
    plan = plan_of(settings={"epochs": 8}, only=(0,), export=False)
    train_network(folder, root / "long", plan=plan, device="cpu", threads=1)
    begun = root / "deeper" / "begun"
    Folder(begun, identity=json.loads((root / "long" / "run.json").read_text()))
    (begun / "log.jsonl").write_text(
        '{"event": "epoch", "part": "fold-0", "epoch": 3, "epochs": 8}\n{"event": "ep'
    )
    return root


def test_runs_are_found_below(several: Path, tmp_path: Path) -> None:
    from genrescope.errors import DataError

    names = [folder.name for folder in find_runs([several, several / "long"])]
    assert names == ["long", "tiny-0", "tiny-1", "begun"]
    with pytest.raises(DataError, match=r"no run is here .*--out"):
        find_runs([tmp_path])


def test_runs_side_by_side(several: Path) -> None:
    rows = [read_run(folder) for folder in find_runs([several])]
    compared = compare_runs(rows)
    done = [run for run in compared["runs"] if run["scores"] is not None]
    figures = [run["scores"]["accuracy"] for run in done]
    assert figures == sorted(figures, reverse=True)
    assert compared["runs"][-1]["state"] == "fold-0, epoch 3 of 8"
    assert done[0]["to_best"] is None
    for run in done[1:]:
        difference = run["to_best"]
        assert difference["n"] in (64, len(np.load(several / "long/fold-0/answers.npz")["y"]))
        assert difference["interval"][0] <= difference["difference"] <= difference["interval"][1]
    json.dumps(compared, allow_nan=False)

    seeds = {(row.model, row.seeds): row for row in over_seeds(rows)}
    both = seeds["compact-cnn", (0, 1)]
    values = [read_run(several / f"tiny-{k}").scores["accuracy"] for k in (0, 1)]
    assert both.mean["accuracy"] == pytest.approx(np.mean(values))
    assert both.spread["accuracy"] == pytest.approx(np.std(values, ddof=1))
    assert ("compact-cnn", (0,)) in seeds  # more epochs are another run
