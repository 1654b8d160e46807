"""Train one member of the recogniser: a network, or an ensemble of trees.

Both stop early on artists of their own that are held out of the training part, so the validation
fold is looked at by nobody before it is scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from genrescope.catalog.splits import holdout
from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.train.framenet import (
    FrameNet,
    augment_frames,
    folded_frame_weights,
    split_row,
)
from genrescope.learn.train.statnet import StatNet, folded_weights

try:
    import torch
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="train", package="torch") from error

__all__ = [
    "FRAME_SETTINGS",
    "FrameLearner",
    "Goal",
    "NetSettings",
    "StatLearner",
    "TreeSettings",
    "TreeTracks",
    "pick_device",
    "soft_targets",
    "train_net",
    "train_trees",
]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NetSettings:
    """How a network is trained; see :func:`train_net`."""

    width: int = 384
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    noise: float = 0.3  # standard deviation on inputs of about unit size
    clean_share: float = 0.75  # of the samples that are not band-limited
    teacher_weight: float = 2.0  # of the embedding's mean squared error
    held_out: float = 0.06  # share of training tracks, in whole artists, for early stopping
    patience: int = 10  # epochs without a lower log-loss
    mixup: float = 0.4  # both shapes of the beta distribution (Zhang et al. 2018); 0 mixes nothing


#: For the network on frames: smaller batches, a higher rate, its noise is the augmentation.
FRAME_SETTINGS = NetSettings(batch=64, learning_rate=3e-3, noise=0.0, clean_share=0.7)


@dataclass(frozen=True)
class TreeSettings:
    """How the trees are grown; see :func:`train_trees`."""

    rounds: int = 300
    leaves: int = 10
    learning_rate: float = 0.09
    feature_share: float = 0.06
    row_share: float = 0.8
    held_out: float = 0.06
    patience: int = 25  # rounds


def pick_device(name: str = "auto") -> Any:
    """The torch device of that name.

    Parameters
    ----------
    name : str
        "auto" takes a GPU where torch sees one, else the CPU; other names are torch's.

    Returns
    -------
    torch.device

    Raises
    ------
    TrainingError
        If torch does not know or have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]}); "
            "choose auto, cpu, or one that torch lists"
        ) from error
    return device


def soft_targets(
    y: IntArray, teacher: FloatArray | None, *, n_genres: int, share: float = 0.7
) -> FloatArray:
    """Labels softened by a teacher's opinion.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), int]
        Genres.
    teacher : np.ndarray [shape=(n, n_genres), float32] or None
        Probabilities of a teacher that had not seen these artists.
    n_genres : int
        Number of classes.
    share : float
        How much the teacher counts (Hinton et al. 2015); the rest is the smoothed label.

    Returns
    -------
    np.ndarray [shape=(n, n_genres), float32]
        Rows sum to 1.
    """
    hard = np.eye(n_genres, dtype=np.float32)[y] * np.float32(0.95) + np.float32(0.05 / n_genres)
    if teacher is None:
        return hard
    return ((1.0 - share) * hard + share * teacher).astype(np.float32)


class Learner(Protocol):
    """One kind of network: how it is built, fed and written down."""

    @property
    def n_views(self) -> int:
        """Views that it has of each track; 0 is the track as it is."""
        ...

    def build(self, *, n_genres: int, n_teacher: int) -> Any:
        """A new network; its forward gives logits and the imitated embedding."""
        ...

    def sample(self, rows: IntArray, views: IntArray, rng: np.random.Generator) -> tuple[Any, ...]:
        """Inputs for training: these rows, each in that view, with noise."""
        ...

    def inputs(self, rows: IntArray) -> tuple[Any, ...]:
        """Inputs of these rows as they are."""
        ...

    def weights(self, net: Any) -> dict[str, FloatArray]:
        """What the graph needs."""
        ...


class StatLearner:
    """Feeds a :class:`~genrescope.learn.train.statnet.StatNet`.

    Parameters
    ----------
    views : np.ndarray [shape=(n, n_views, n_in), float32]
        Scaled statistics; view 0 is the track as it is, the others are band-limited.
    settings : NetSettings
        Width and noise.
    device : torch.device
        Where the network is.
    """

    def __init__(self, views: FloatArray, *, settings: NetSettings, device: Any) -> None:
        self._views = views
        self._settings, self._device = settings, device

    @property
    def n_views(self) -> int:
        return int(self._views.shape[1])

    def build(self, *, n_genres: int, n_teacher: int) -> Any:
        return StatNet(
            self._views.shape[2],
            n_genres=n_genres,
            n_teacher=n_teacher,
            width=self._settings.width,
        )

    def sample(self, rows: IntArray, views: IntArray, rng: np.random.Generator) -> tuple[Any, ...]:
        x = self._views[rows, views]
        x = x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(self._settings.noise)
        return (torch.as_tensor(x, device=self._device),)

    def inputs(self, rows: IntArray) -> tuple[Any, ...]:
        return (torch.as_tensor(self._views[rows, 0], device=self._device),)

    def weights(self, net: Any) -> dict[str, FloatArray]:
        return folded_weights(net)


class FrameLearner:
    """Feeds a :class:`~genrescope.learn.train.framenet.FrameNet`.

    Parameters
    ----------
    views : list of np.ndarray [shape=(n, N_FEATURES), floating]
        Feature rows as they are, then band-limited.
    device : torch.device
        Where the network is.
    """

    def __init__(self, views: list[npt.NDArray[Any]], *, device: Any) -> None:
        self._views, self._device = views, device

    @property
    def n_views(self) -> int:
        return len(self._views)

    def build(self, *, n_genres: int, n_teacher: int) -> Any:
        return FrameNet(n_genres=n_genres, n_teacher=n_teacher)

    def _tensors(self, rows: npt.NDArray[Any]) -> tuple[Any, Any]:
        x, dense = split_row(rows.astype(np.float32))
        return torch.as_tensor(x, device=self._device), torch.as_tensor(dense, device=self._device)

    def sample(self, rows: IntArray, views: IntArray, rng: np.random.Generator) -> tuple[Any, ...]:
        picked = np.stack(
            [self._views[v][r] for r, v in zip(rows.tolist(), views.tolist(), strict=True)]
        )
        return augment_frames(*self._tensors(picked), rng=rng)

    def inputs(self, rows: IntArray) -> tuple[Any, ...]:
        return self._tensors(self._views[0][rows])

    def weights(self, net: Any) -> dict[str, FloatArray]:
        return folded_frame_weights(net)


@dataclass(frozen=True, eq=False)
class Goal:
    """What a network is to answer for each track.

    Attributes
    ----------
    targets : np.ndarray [shape=(n, n_genres), float32]
        Soft labels.
    y : np.ndarray [shape=(n,), int]
        Genres, for early stopping.
    artists : np.ndarray [shape=(n,)]
        Who recorded what.
    embedding : np.ndarray [shape=(n, n_teacher), float32] or None
        A teacher's embedding to imitate, standardised.
    """

    targets: FloatArray
    y: IntArray
    artists: npt.NDArray[Any]
    embedding: FloatArray | None = None


def train_net(
    learner: Learner,
    goal: Goal,
    *,
    settings: NetSettings,
    seed: int,
    device: Any,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, FloatArray]:
    """Train a network with soft labels, mixup, and a teacher's embedding to imitate.

    Parameters
    ----------
    learner : Learner
        Builds and feeds the network.
    goal : Goal
        What it is to answer.
    settings : NetSettings
        All numbers.
    seed : int
        Weights, batches, noise and the artists that are held out.
    device : torch.device
        Where to train.
    on_epoch : callable, optional
        Told epoch, loss, and the held-out log-loss and accuracy.

    Returns
    -------
    dict of np.ndarray
        Weights of the epoch with the lowest held-out log-loss, as the learner writes them.

    Raises
    ------
    TrainingError
        If the loss, of what is learnt or of what is held out, is not finite.
    """
    y, targets, embedding = goal.y, goal.targets, goal.embedding
    inner = holdout(y, goal.artists, fraction=settings.held_out, seed=seed)
    rows, held = np.flatnonzero(~inner), np.flatnonzero(inner)
    t = torch.as_tensor(targets, device=device)
    e = None if embedding is None else torch.as_tensor(embedding, device=device)

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = learner.build(
        n_genres=targets.shape[1], n_teacher=0 if embedding is None else embedding.shape[1]
    ).to(device)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    batch = min(settings.batch, len(rows))
    steps = len(rows) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * steps
    )
    best: dict[str, FloatArray] = {}
    best_loss, waited = math.inf, 0
    for epoch in range(settings.epochs):
        net.train()
        order = rng.permutation(rows)
        total = 0.0
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            which = rng.integers(1, max(2, learner.n_views), size=batch) % learner.n_views
            which[rng.random(batch) < settings.clean_share] = 0
            shuffled = rng.permutation(batch)
            mix = float(rng.beta(settings.mixup, settings.mixup)) if settings.mixup else 1.0
            inputs = [
                mix * part + (1 - mix) * part[torch.as_tensor(shuffled, device=device)]
                for part in learner.sample(pick, which, rng)
            ]
            logits, imitation = net(*inputs)
            other = pick[shuffled]
            wanted = mix * t[pick] + (1 - mix) * t[other]
            loss: Any = -(wanted * functional.log_softmax(logits, dim=1)).sum(1).mean()
            if e is not None:
                heard = mix * e[pick] + (1 - mix) * e[other]
                loss = loss + settings.teacher_weight * functional.mse_loss(imitation, heard)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        held_loss, held_accuracy = _held_out(net, learner, held, y)
        for name, value in (("loss", total), ("held-out log-loss", held_loss)):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name} became {value} in epoch {epoch + 1}; members that were finished "
                    "are kept: lower the learning rate, or look for odd values in the data"
                )
        if on_epoch is not None:
            on_epoch(
                {
                    "epoch": epoch + 1,
                    "epochs": settings.epochs,
                    "loss": total / steps,
                    "held_out_log_loss": held_loss,
                    "held_out_accuracy": held_accuracy,
                }
            )
        if held_loss < best_loss:
            best, best_loss, waited = learner.weights(net), held_loss, 0
        else:
            waited += 1
            if waited >= settings.patience:
                break
    return best


def _held_out(net: Any, learner: Learner, held: IntArray, y: IntArray) -> tuple[float, float]:
    """Log-loss and accuracy on held-out rows."""
    net.eval()
    with torch.no_grad():
        parts = [
            functional.log_softmax(net(*learner.inputs(rows))[0], dim=1).cpu().numpy()
            for rows in np.array_split(held, max(1, len(held) // 256))
        ]
    log_p = np.concatenate(parts)
    loss = -float(log_p[np.arange(len(held)), y[held]].mean())
    return loss, float((log_p.argmax(axis=1) == y[held]).mean())


@dataclass(frozen=True, eq=False)
class TreeTracks:
    """What trees are grown on.

    Attributes
    ----------
    x : np.ndarray [shape=(n, n_features), float32]
        Features, not scaled.
    y : np.ndarray [shape=(n,), int]
        Genres.
    artists : np.ndarray [shape=(n,)]
        Who recorded what, for early stopping on artists that are held out.
    extra : np.ndarray [shape=(n, n_features), float32], optional
        The same tracks band-limited, learnt beside `x`.
    """

    x: FloatArray
    y: IntArray
    artists: npt.NDArray[Any]
    extra: FloatArray | None = None


def train_trees(
    tracks: TreeTracks,
    *,
    n_genres: int,
    settings: TreeSettings,
    seed: int,
    threads: int = 1,
) -> Any:
    """Grow gradient-boosted trees (LightGBM).

    Parameters
    ----------
    tracks : TreeTracks
        What is learnt from.
    n_genres : int
        Number of classes.
    settings : TreeSettings
        All numbers.
    seed : int
        Sampling and the artists that are held out.
    threads : int
        Processor threads.

    Returns
    -------
    lightgbm.Booster
    """
    try:
        import lightgbm
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="lightgbm") from error
    x, y, extra = tracks.x, tracks.y, tracks.extra
    inner = holdout(y, tracks.artists, fraction=settings.held_out, seed=seed)
    rows = x[~inner] if extra is None else np.concatenate([x[~inner], extra[~inner]])
    labels = y[~inner] if extra is None else np.tile(y[~inner], 2)
    data = lightgbm.Dataset(rows, labels, params={"verbose": -1})
    held = lightgbm.Dataset(x[inner], y[inner], reference=data)
    return lightgbm.train(
        {
            "objective": "multiclass",
            "num_class": n_genres,
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "feature_fraction": settings.feature_share,
            "bagging_fraction": settings.row_share,
            "bagging_freq": 1,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": threads,
            "verbose": -1,
        },
        data,
        num_boost_round=settings.rounds,
        valid_sets=[held],
        callbacks=[lightgbm.early_stopping(settings.patience, verbose=False)],
    )
