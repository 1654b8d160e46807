"""How one member is trained: seeds, artists that are held out, early stopping, what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch
from torch import nn

from genrescope.audio import frames
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import SplitError, TrainingError
from genrescope.learn.train.export import Ensemble, build_graph
from genrescope.learn.train.statnet import FrontScale, fit_front_scale
from genrescope.learn.train.training import (
    FRAME_SETTINGS,
    FrameLearner,
    Goal,
    NetSettings,
    StatLearner,
    TreeSettings,
    TreeTracks,
    pick_device,
    soft_targets,
    train_net,
    train_trees,
)
from tests.learn.small_data import GENRES, make_prepared
from tests.learn.train.test_export import answer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SMALL = NetSettings(width=64, epochs=8, batch=16, held_out=0.15)


class Tracks:
    """Feature rows of synthetic tracks, with genres, artists and a teacher's embedding."""

    def __init__(self, folder: Path) -> None:
        data = load_prepared(make_prepared(folder, n_artists=40, tracks_each=3))
        self.x = frames.describe_prepared(data.mel, data.mfcc_3s)
        self.statistics = self.x[:, : frames.N_STATISTICS]
        self.y = np.unique(data.genre_top, return_inverse=True)[1].astype(np.int64)
        self.artists = data.artist_id
        # Eight artists that nobody learns from.
        self.new = np.isin(self.artists, [str(k) for k in range(33, 41)])
        assert data.vggish is not None
        self.embedding = data.vggish
        self.scale: FrontScale = fit_front_scale(self.statistics[~self.new], n_components=60)
        self.z = self.scale(self.statistics)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Tracks:
    return Tracks(tmp_path_factory.mktemp("prepared"))


def train_statistics(
    tracks: Tracks,
    *,
    seed: int = 0,
    settings: NetSettings = SMALL,
    embedding: bool = True,
    artists: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    known = ~tracks.new
    learner = StatLearner(tracks.z[known][:, None], settings=settings, device=CPU)
    goal = goal_of(tracks, known, embedding=tracks.embedding[known] if embedding else None)
    if artists is not None:
        goal = replace(goal, artists=artists)
    return train_net(learner, goal, settings=settings, seed=seed, device=CPU)


def goal_of(tracks: Tracks, rows: Any = slice(None), *, embedding: Any = None) -> Goal:
    """Labels of some tracks, and an embedding to imitate."""
    targets = soft_targets(tracks.y[rows], None, n_genres=len(GENRES))
    return Goal(targets, tracks.y[rows], tracks.artists[rows], embedding)


def train_frames(tracks: Tracks, *, seed: int = 0, epochs: int = 1) -> dict[str, np.ndarray]:
    known = ~tracks.new
    return train_net(
        FrameLearner([tracks.x[known]], device=CPU),
        goal_of(tracks, known, embedding=tracks.embedding[known]),
        settings=replace(FRAME_SETTINGS, epochs=epochs, batch=16, held_out=0.1),
        seed=seed,
        device=CPU,
    )


# --- devices and targets ---------------------------------------------------


def test_the_device_is_a_gpu_only_where_there_is_one() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gramophone", "", "cuda:4096", "cpu:x", "meta"])
def test_a_device_that_cannot_be_used(name: str) -> None:
    with pytest.raises(TrainingError, match="cannot be used") as caught:
        pick_device(name)
    assert repr(name) in str(caught.value)
    assert "choose auto, cpu" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_soft_targets() -> None:
    y = np.array([0, 2, 1])
    hard = soft_targets(y, None, n_genres=3)
    np.testing.assert_allclose(hard.sum(axis=1), 1.0, rtol=1e-6)
    assert hard.argmax(axis=1).tolist() == y.tolist()
    assert hard.min() == pytest.approx(0.05 / 3)

    teacher = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0], [0.6, 0.4, 0.0]], dtype=np.float32)
    soft = soft_targets(y, teacher, n_genres=3, share=0.7)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(soft, 0.3 * hard + 0.7 * teacher, rtol=1e-5)
    np.testing.assert_allclose(soft_targets(y, teacher, n_genres=3, share=0.0), hard)


# --- seeds -----------------------------------------------------------------


@pytest.mark.parametrize("train", [train_statistics, train_frames])
def test_a_seed_decides_every_bit(
    tracks: Tracks, train: Callable[..., dict[str, np.ndarray]]
) -> None:
    torch.manual_seed(123)  # what happened before does not matter
    first = train(tracks, seed=5)
    torch.rand(10)
    again, other = train(tracks, seed=5), train(tracks, seed=6)
    assert first.keys() == again.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
        assert np.isfinite(value).all()
    assert all((first[key] != other[key]).any() for key in first if "weight" in key)


# --- artists that are held out ---------------------------------------------


class Watching(StatLearner):
    """Takes down which rows are learnt from and which are looked at, and in which view."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.learnt: list[int] = []
        self.held: set[int] = set()
        self.views: list[int] = []

    def sample(self, rows: Any, views: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        self.learnt += rows.tolist()
        self.views += views.tolist()
        return super().sample(rows, views, rng)

    def inputs(self, rows: Any) -> tuple[Any, ...]:
        self.held |= set(rows.tolist())
        return super().inputs(rows)


def watched(tracks: Tracks, *, seed: int, n_views: int = 1, **changes: Any) -> Watching:
    settings = replace(SMALL, epochs=3, **changes)
    views = np.repeat(tracks.z[:, None], n_views, axis=1)
    learner = Watching(views, settings=settings, device=CPU)
    train_net(
        learner,
        goal_of(tracks),
        settings=settings,
        seed=seed,
        device=CPU,
    )
    return learner


def test_early_stopping_looks_at_artists_that_are_not_learnt_from(tracks: Tracks) -> None:
    held = []
    for seed in range(3):
        told = watched(tracks, seed=seed, batch=2)
        assert set(told.learnt) | told.held == set(range(len(tracks.y)))
        learnt_artists = set(tracks.artists[sorted(set(told.learnt))])
        held_artists = set(tracks.artists[sorted(told.held)])
        assert not learnt_artists & held_artists
        assert 0.08 < len(told.held) / len(tracks.y) < 0.25
        assert len(set(tracks.y[sorted(told.held)])) == len(GENRES)
        held.append(frozenset(held_artists))
    assert len(set(held)) > 1  # every member has its own


def test_views_are_drawn_by_their_shares(tracks: Tracks) -> None:
    told = watched(tracks, seed=0, n_views=3, clean_share=0.6)
    counts = np.bincount(told.views, minlength=3) / len(told.views)
    assert counts[0] == pytest.approx(0.6, abs=0.08)
    assert counts[1] == pytest.approx(0.2, abs=0.08)
    assert counts[2] == pytest.approx(0.2, abs=0.08)
    assert set(watched(tracks, seed=0, n_views=1, clean_share=0.0).views) == {0}


def test_one_artist_cannot_be_split(tracks: Tracks) -> None:
    alone = np.zeros(int((~tracks.new).sum()), dtype=int)
    with pytest.raises(SplitError, match="holding out"):
        train_statistics(tracks, artists=alone)


# --- early stopping --------------------------------------------------------


class Scripted:
    """A learner whose held-out log-loss follows a script; its weights tell the epoch."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2))

        def forward(self, logits: Any) -> tuple[Any, Any]:
            return logits + 0.0 * self.bias, None

    def __init__(self, y: np.ndarray, losses: list[float]) -> None:
        self.y, self.losses, self.epoch = y, losses, 0

    n_views = 1

    def build(self, *, n_genres: int, n_teacher: int) -> Any:
        assert (n_genres, n_teacher) == (2, 0)
        return self.Net()

    def sample(self, rows: Any, views: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        return (torch.zeros(len(rows), 2),)

    def inputs(self, rows: Any) -> tuple[Any, ...]:
        right = np.exp(-self.losses[self.epoch])
        p = np.where(np.eye(2)[self.y[rows]] == 1, right, 1 - right)
        self.epoch += 1
        return (torch.as_tensor(np.log(p)),)

    def weights(self, net: Any) -> dict[str, np.ndarray]:
        return {"epoch": np.array([self.epoch], dtype=np.float32)}


def scripted(losses: list[float], **changes: Any) -> tuple[int, list[dict[str, float]]]:
    """The epoch that was kept, and what was told."""
    y = np.tile([0, 1], 20)
    told: list[dict[str, float]] = []
    kept = train_net(
        Scripted(y, losses),
        Goal(soft_targets(y, None, n_genres=2), y, np.repeat(np.arange(20), 2)),
        settings=replace(SMALL, epochs=len(losses), **changes),
        seed=0,
        device=CPU,
        on_epoch=told.append,
    )
    return int(kept["epoch"][0]), told


def test_the_best_epoch_is_kept_and_patience_ends_it() -> None:
    losses = [1.0, 0.6, 0.7, 0.5, 0.55, 0.65, 0.52, 0.4, 0.1]
    kept, told = scripted(losses, patience=3)
    assert kept == 4
    assert len(told) == 7  # three without a lower one, the better ones after them unseen
    np.testing.assert_allclose([epoch["held_out_log_loss"] for epoch in told], losses[:7])
    assert [epoch["epoch"] for epoch in told] == list(range(1, 8))
    assert all(epoch["epochs"] == len(losses) for epoch in told)
    assert told[3]["held_out_accuracy"] == 1.0
    assert told[0]["held_out_accuracy"] == 0.0


def test_without_a_reason_to_stop_all_epochs_run() -> None:
    kept, told = scripted([0.9, 0.8, 0.7, 0.6, 0.5], patience=1)
    assert (kept, len(told)) == (5, 5)
    kept, told = scripted([0.5, 0.6, 0.7, 0.8], patience=10)
    assert (kept, len(told)) == (1, 4)


# --- what goes wrong -------------------------------------------------------


def test_a_loss_that_is_not_finite(tracks: Tracks) -> None:
    with pytest.raises(TrainingError, match=r"the loss became nan in epoch \d+") as caught:
        train_statistics(tracks, settings=replace(SMALL, learning_rate=1e30))
    assert "are kept" in str(caught.value)
    assert "learning rate" in str(caught.value)


def test_values_that_are_not_finite_in_what_is_held_out(tracks: Tracks) -> None:
    """The loss on the other tracks is fine, so nothing else would notice."""
    told = watched(tracks, seed=0)
    z = tracks.z.copy()
    z[sorted(told.held)[0]] = np.nan
    with pytest.raises(TrainingError, match="held-out"):
        train_net(
            StatLearner(z[:, None], settings=SMALL, device=CPU),
            goal_of(tracks),
            settings=SMALL,
            seed=0,
            device=CPU,
        )


# --- what is learnt --------------------------------------------------------


def accuracy_on_new_artists(tracks: Tracks, **members: Any) -> float:
    ensemble = Ensemble(scale=tracks.scale, **members)
    graph = build_graph(ensemble, temperature=1.0, n_genres=len(GENRES), name="test")
    pooled, _ = answer(graph, tracks.x[tracks.new][:, None])
    return float((pooled.argmax(axis=1) == tracks.y[tracks.new]).mean())


@pytest.mark.parametrize("embedding", [True, False])
def test_a_network_on_statistics_knows_new_artists(tracks: Tracks, embedding: bool) -> None:
    weights = train_statistics(tracks, settings=replace(SMALL, epochs=20), embedding=embedding)
    assert not any("teacher" in key for key in weights)
    assert accuracy_on_new_artists(tracks, nets=[weights]) > 0.85


def test_a_network_on_frames_knows_new_artists(tracks: Tracks) -> None:
    assert accuracy_on_new_artists(tracks, frame_nets=[train_frames(tracks, epochs=8)]) > 0.7


class Remembering(StatLearner):
    """Keeps the last network whose weights were asked for."""

    net: Any = None

    def weights(self, net: Any) -> dict[str, np.ndarray]:
        self.net = net
        return super().weights(net)


@pytest.mark.parametrize(("weight", "low", "high"), [(2.0, 0.4, 1.0), (0.0, -0.2, 0.2)])
def test_the_embedding_is_imitated(tracks: Tracks, weight: float, low: float, high: float) -> None:
    known = ~tracks.new
    settings = replace(SMALL, epochs=20, teacher_weight=weight)
    learner = Remembering(tracks.z[known][:, None], settings=settings, device=CPU)
    train_net(
        learner,
        goal_of(tracks, known, embedding=tracks.embedding[known]),
        settings=settings,
        seed=0,
        device=CPU,
    )
    with torch.no_grad():
        _, imitation = learner.net.eval()(torch.as_tensor(tracks.z[tracks.new]))
    pairs = (imitation.numpy(), tracks.embedding[tracks.new])
    one, two = ((part - part.mean(axis=0)).ravel() for part in pairs)
    assert low < np.corrcoef(one, two)[0, 1] < high


# --- trees -----------------------------------------------------------------

FEW = TreeSettings(rounds=12, held_out=0.15, feature_share=0.3, patience=4)


def grow(tracks: Tracks, **changes: Any) -> Any:
    known = ~tracks.new
    learnt = TreeTracks(tracks.statistics[known], tracks.y[known], tracks.artists[known])
    arguments: dict[str, Any] = {"n_genres": len(GENRES), "settings": FEW, "seed": 0, **changes}
    return train_trees(learnt, **arguments)


def test_trees_know_new_artists_and_obey_their_seed(tracks: Tracks) -> None:
    first, again, other = grow(tracks), grow(tracks), grow(tracks, seed=1)
    assert first.model_to_string() == again.model_to_string()
    assert first.model_to_string() != other.model_to_string()
    assert accuracy_on_new_artists(tracks, trees=first) > 0.85


def test_trees_stop_early_on_artists_of_their_own(
    tracks: Tracks, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets: list[tuple[np.ndarray, np.ndarray]] = []
    dataset = lightgbm.Dataset

    def watching(x: np.ndarray, y: np.ndarray, **kwargs: Any) -> Any:
        sets.append((x, y))
        return dataset(x, y, **kwargs)

    monkeypatch.setattr(lightgbm, "Dataset", watching)
    # The first column tells the artist, the second whether a row is a band-limited view.
    x = tracks.statistics.copy()
    x[:, 0], x[:, 1] = tracks.artists.astype(float), 0.0
    extra = x.copy()
    extra[:, 1] = 1.0
    learnt = TreeTracks(x, tracks.y, tracks.artists, extra)
    train_trees(learnt, n_genres=len(GENRES), settings=FEW, seed=0)
    (learnt, learnt_y), (held, held_y) = sets
    assert not set(learnt[:, 0]) & set(held[:, 0])
    assert set(learnt[:, 0]) | set(held[:, 0]) == set(x[:, 0])
    assert (len(learnt_y), len(held_y)) == (len(learnt), len(held))
    # Both views are learnt, and the stop is decided on tracks as they are.
    assert learnt[:, 1].mean() == 0.5
    assert len(learnt) + 2 * len(held) == 2 * len(x)
    assert not held[:, 1].any()
    # Labels go with their rows.
    label = dict(zip(tracks.artists.astype(float), tracks.y, strict=True))
    assert [label[artist] for artist in learnt[:, 0]] == learnt_y.tolist()


def test_trees_stop_when_new_artists_are_not_helped(tracks: Tracks) -> None:
    noise = np.random.default_rng(0).permutation(tracks.y[~tracks.new])
    known = ~tracks.new
    grown = train_trees(
        TreeTracks(tracks.statistics[known], noise, tracks.artists[known]),
        n_genres=len(GENRES),
        settings=replace(FEW, rounds=200),
        seed=0,
    )
    assert grown.best_iteration < 100
    assert grown.current_iteration() < 100
