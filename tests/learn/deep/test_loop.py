"""The training of one network: it learns, and being killed changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrescope.catalog.splits import holdout
from genrescope.errors import TrainingError
from genrescope.learn.deep import loop
from genrescope.learn.deep.architectures import build, find
from genrescope.learn.deep.data import Feed, FrameData
from genrescope.learn.deep.loop import CHECKPOINT, LAST_GOOD, WEIGHTS, Job, Trained, train_part
from genrescope.learn.deep.parallel import World
from genrescope.learn.deep.settings import settings_for
from genrescope.learn.deep.state import read_tensors
from tests.learn.small_data import make_prepared

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
ALONE = World(rank=0, size=1, device=CPU)
STEPS = 4  # of an epoch, in batches of 8
TINY = find("compact-cnn", {"widths": (4, 8), "bands_each": 1})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FrameData:
    folder = tmp_path_factory.mktemp("deep") / "prepared"
    return FrameData.load(make_prepared(folder, n_artists=20, tracks_each=2))


def job_of(data: FrameData, folder: Path, **changes: Any) -> Job:
    held = holdout(data.y, data.artist, fraction=0.25, seed=0)
    assert (~held).sum() // 8 == STEPS
    usual = {"epochs": 3, "batch": 8, "patience": 0}
    return Job(
        rows=np.flatnonzero(~held),
        held=np.flatnonzero(held),
        y=data.y,
        n_genres=len(data.genres),
        settings=settings_for(TINY, **{**usual, **changes}),
        seed=5,
        part=2,
        folder=folder,
        every=1e9,
    )


def train(data: FrameData, job: Job, **more: Any) -> Trained:
    torch.manual_seed(1)
    net = build(TINY, n_genres=len(data.genres))
    return train_part(net, Feed(data, device=CPU, dense=False), job, world=ALONE, **more)


def same(one: Trained, other: Trained) -> None:
    assert one.tensors.keys() == other.tensors.keys()
    for name, value in one.tensors.items():
        assert torch.equal(value, other.tensors[name]), name
    assert (one.best_epoch, one.temperature) == (other.best_epoch, other.temperature)
    rows = [[{**row, "seconds": 0} for row in trained.history] for trained in (one, other)]
    assert rows[0] == rows[1]


class Killed(BaseException):
    """What no handler catches, as nothing catches a kill -9."""


def kill_at(monkeypatch: pytest.MonkeyPatch, *, write: int) -> None:
    """The process dies while it writes its n-th state: the file before stays."""
    count = 0
    real = loop.write_tensors

    def dying(path: Path, *more: Any) -> None:
        nonlocal count
        count += 1
        if count > write:
            path.with_name(f".{path.name}.1.part").write_bytes(b"half a state")
            raise Killed
        real(path, *more)

    monkeypatch.setattr(loop, "write_tensors", dying)


# Dropout, mixup, masks, running means, momentum: all that has a state or draws a number.
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "sgd", "ema": 0.0, "mixup": 0.0, "schedule": "exponential", "clip": 0.0},
        {"optimiser": "adam", "crop": 0.5},
    ],
    ids=["modern", "sgd", "adam"],
)
def test_a_killed_training_ends_bit_for_bit_the_same(
    data: FrameData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    whole = train(data, job_of(data, tmp_path / "whole", **changes))
    assert len(whole.history) == 3
    # In the first epoch, at the end of one, in the middle of another; then killed once more.
    job = replace(job_of(data, tmp_path / "killed", **changes), every=0)
    for write in (1, STEPS - 1, 3):
        with monkeypatch.context() as patch:
            kill_at(patch, write=write)
            with pytest.raises(Killed):
                train(data, job)
        assert (tmp_path / "killed" / CHECKPOINT).exists()
        assert not (tmp_path / "killed" / WEIGHTS).exists()
    same(train(data, job), whole)
    # What is done is read, not done again; and the state is gone.
    assert not (tmp_path / "killed" / CHECKPOINT).exists()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_Training", None)
        same(train(data, job), whole)


def test_the_state_is_what_it_was_not_the_beginning(
    data: FrameData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that goes on does not silently begin again."""
    job = replace(job_of(data, tmp_path / "run"), every=0)
    with monkeypatch.context() as patch:
        kill_at(patch, write=STEPS + 2)
        with pytest.raises(Killed):
            train(data, job)
    _, info = read_tensors(tmp_path / "run" / CHECKPOINT)
    assert (info["epoch"], info["step"], len(info["history"])) == (1, 2, 1)
    seen: list[float] = []
    train(data, job, on_epoch=lambda row: seen.append(row["epoch"]))
    assert seen == [2, 3]


def test_the_seed_and_the_part_decide(data: FrameData, tmp_path: Path) -> None:
    one = train(data, job_of(data, tmp_path / "a", epochs=1))
    same(train(data, job_of(data, tmp_path / "b", epochs=1)), one)
    for name, change in (("c", {"seed": 6}), ("d", {"part": 3})):
        other = train(data, replace(job_of(data, tmp_path / name, epochs=1), **change))
        assert other.history[0]["loss"] != one.history[0]["loss"]


def test_the_callers_chance_is_left_alone(data: FrameData, tmp_path: Path) -> None:
    job = job_of(data, tmp_path, epochs=1)
    net = build(TINY, n_genres=len(data.genres))
    feed = Feed(data, device=CPU, dense=False)
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train_part(net, feed, job, world=ALONE)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_weights_and_moments_are_changed_in_one_pass(
    data: FrameData, tmp_path: Path, optimiser: str
) -> None:
    """On a CPU, too, where it takes a quarter of a step of the study's CNN away."""
    net = build(TINY, n_genres=len(data.genres))
    job = job_of(data, tmp_path, optimiser=optimiser)
    training = loop._Training(net, Feed(data, device=CPU, dense=False), job, ALONE)
    assert all(group["fused"] for group in training.optimiser.param_groups)


def test_it_learns(data: FrameData, tmp_path: Path) -> None:
    trained = train(data, job_of(data, tmp_path, epochs=14, batch=6, ema=0.9, mixup=0.0))
    first, best = trained.history[0], trained.history[trained.best_epoch - 1]
    assert best["held_out_log_loss"] < 0.6 < 1.2 < first["held_out_log_loss"]
    assert best["held_out_accuracy"] > 0.5
    lowest = min(row["held_out_log_loss"] for row in trained.history)
    assert best["held_out_log_loss"] == lowest


def test_it_stops_early(data: FrameData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 0.5, 0.6, 0.7, 0.1])
    monkeypatch.setattr(loop, "_measure", lambda *_: [next(losses), 0.5, 2.0])
    trained = train(data, job_of(data, tmp_path, epochs=9, patience=2))
    assert [row["held_out_log_loss"] for row in trained.history] == [1.0, 0.5, 0.6, 0.7]
    assert (trained.best_epoch, trained.temperature) == (2, 2.0)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(
    data: FrameData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    real, steps = loop._smooth, 0

    def poisoned(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return real(*arguments) * (math.inf if steps > (epoch - 1) * STEPS + 1 else 1.0)

    monkeypatch.setattr(loop, "_smooth", poisoned)
    with pytest.raises(TrainingError) as caught:
        train(data, job_of(data, tmp_path))
    said = str(caught.value)
    assert "the loss became " in said
    assert f"epoch {epoch}, step 2 of {STEPS}" in said
    assert "--lr" in said
    good = tmp_path / LAST_GOOD
    assert good.exists() == (epoch == 2)
    if epoch == 2:
        assert f"the weights of epoch 1 are kept in {LAST_GOOD}" in said
        tensors, info = read_tensors(good)
        assert info["best_epoch"] == 1
        assert all(torch.isfinite(value).all() for value in tensors.values())
        build(TINY, n_genres=4).load_state_dict(tensors)
    else:
        assert "no epoch was finished" in said
    assert not (tmp_path / WEIGHTS).exists()


def test_answers_that_are_not_finite_stop_it_too(
    data: FrameData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "logits_of", lambda *_, **__: np.full((8, 4), np.nan))
    with pytest.raises(TrainingError, match="held-out log-loss became nan in epoch 1"):
        train(data, job_of(data, tmp_path))


def test_a_state_that_is_none_is_named(data: FrameData, tmp_path: Path) -> None:
    job = job_of(data, tmp_path)
    state = tmp_path / CHECKPOINT
    for content in (b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"nonsense" * 20):
        state.write_bytes(content)
        with pytest.raises(TrainingError, match=rf"{CHECKPOINT}: .*delete it"):
            train(data, job)
    other = find("compact-cnn", {"widths": (4, 12), "bands_each": 1})
    with pytest.raises(TrainingError):
        train(data, job)
    state.unlink()
    net = build(other, n_genres=4)
    feed = Feed(data, device=CPU, dense=False)
    made = loop._Training(net, feed, job, ALONE)
    made._write(due=True)
    with pytest.raises(TrainingError, match="does not fit this training"):
        train(data, job)


def test_too_few_tracks(data: FrameData, tmp_path: Path) -> None:
    job = replace(job_of(data, tmp_path), rows=np.array([3]))
    with pytest.raises(TrainingError, match="1 tracks in batches of 8 are too few"):
        train(data, job)


def test_the_running_mean_is_what_is_kept(data: FrameData, tmp_path: Path) -> None:
    kept = train(data, job_of(data, tmp_path / "ema", epochs=1, ema=0.5)).tensors
    last = train(data, job_of(data, tmp_path / "none", epochs=1, ema=0.0)).tensors
    assert not torch.equal(kept["genre.weight"], last["genre.weight"])
    # Of three steps from the same start, half-way means stay nearer to the start.
    torch.manual_seed(1)
    start = build(TINY, n_genres=4).state_dict()["genre.weight"]
    assert (kept["genre.weight"] - start).norm() < (last["genre.weight"] - start).norm()
