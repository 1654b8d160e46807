"""Train one member of the recogniser: a network, or an ensemble of trees.

Both stop early on artists of their own that are held out of the training part, so the validation
fold is looked at by nobody before it is scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.catalog.splits import holdout
from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.framenet import FrameNet, folded_weights

try:
    import torch
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="train", package="torch") from error

__all__ = ["NetSettings", "TreeSettings", "pick_device", "soft_targets", "train_net", "train_trees"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_BETA = 0.4  # mixup (Zhang et al. 2018)


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
        torch.zeros(1, device=device)
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


def train_net(
    views: FloatArray,
    targets: FloatArray,
    embedding: FloatArray | None,
    *,
    y: IntArray,
    artists: npt.NDArray[Any],
    settings: NetSettings,
    seed: int,
    device: Any = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> tuple[dict[str, FloatArray], list[dict[str, float]]]:
    """Train a :class:`~genrescope.learn.framenet.FrameNet`.

    Parameters
    ----------
    views : np.ndarray [shape=(n, n_views, n_in), float32]
        Scaled features; view 0 is the track as it is, the others are band-limited.
    targets : np.ndarray [shape=(n, n_genres), float32]
        Soft labels.
    embedding : np.ndarray [shape=(n, n_teacher), float32] or None
        A teacher's embedding, standardised.
    y : np.ndarray [shape=(n,), int]
        Genres, for early stopping.
    artists : np.ndarray [shape=(n,)]
        Who recorded what.
    settings : NetSettings
        All numbers.
    seed : int
        Weights, batches, noise and the artists that are held out.
    device : torch.device, optional
        Default: the CPU.
    on_epoch : callable, optional
        Told epoch, loss, and the held-out log-loss and accuracy.

    Returns
    -------
    weights : dict of np.ndarray
        Of the epoch with the lowest held-out log-loss; see
        :func:`~genrescope.learn.framenet.folded_weights`.
    history : list of dict
        What ``on_epoch`` was told.

    Raises
    ------
    TrainingError
        If the loss is not finite.
    """
    device = torch.device("cpu") if device is None else device
    inner = holdout(y, artists, fraction=settings.held_out, seed=seed)
    rows = np.flatnonzero(~inner)
    x = torch.as_tensor(views[rows], device=device)
    t = torch.as_tensor(targets[rows], device=device)
    e = None if embedding is None else torch.as_tensor(embedding[rows], device=device)
    x_inner = torch.as_tensor(views[inner, 0], device=device)
    y_inner = torch.as_tensor(y[inner], device=device)

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = FrameNet(
        views.shape[2],
        n_genres=targets.shape[1],
        n_teacher=0 if embedding is None else embedding.shape[1],
        width=settings.width,
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
    history: list[dict[str, float]] = []
    for epoch in range(settings.epochs):
        net.train()
        order = rng.permutation(len(rows))
        total = 0.0
        for step in range(steps):
            pick = torch.as_tensor(order[step * batch : (step + 1) * batch], device=device)
            which = rng.integers(1, max(2, views.shape[1]), size=batch) % views.shape[1]
            which[rng.random(batch) < settings.clean_share] = 0
            other = torch.as_tensor(rng.permutation(batch), device=device)
            mix = float(rng.beta(_BETA, _BETA))
            inputs = x[pick, torch.as_tensor(which, device=device)]
            inputs = mix * inputs + (1 - mix) * inputs[other]
            noise = rng.standard_normal(inputs.shape, dtype=np.float32) * settings.noise
            logits, imitation = net(inputs + torch.as_tensor(noise, device=device))
            wanted = mix * t[pick] + (1 - mix) * t[pick[other]]
            loss = -(wanted * functional.log_softmax(logits, dim=1)).sum(1).mean()
            if e is not None:
                goal = mix * e[pick] + (1 - mix) * e[pick[other]]
                loss = loss + settings.teacher_weight * functional.mse_loss(imitation, goal)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss became {total} in epoch {epoch + 1}; members that were finished are "
                "kept: lower the learning rate, or look for odd values in the data"
            )
        net.eval()
        with torch.no_grad():
            logits, _ = net(x_inner)
            inner_loss = float(functional.cross_entropy(logits, y_inner))
            inner_accuracy = float((logits.argmax(1) == y_inner).float().mean())
        told = {
            "epoch": epoch + 1,
            "loss": total / steps,
            "held_out_log_loss": inner_loss,
            "held_out_accuracy": inner_accuracy,
        }
        history.append(told)
        if on_epoch is not None:
            on_epoch(told)
        if inner_loss < best_loss:
            best, best_loss, waited = folded_weights(net), inner_loss, 0
        else:
            waited += 1
            if waited >= settings.patience:
                break
    return best, history


def train_trees(
    x: FloatArray,
    y: IntArray,
    *,
    artists: npt.NDArray[Any],
    n_genres: int,
    settings: TreeSettings,
    seed: int,
    threads: int = 1,
    extra: FloatArray | None = None,
) -> Any:
    """Grow gradient-boosted trees (LightGBM).

    Parameters
    ----------
    x : np.ndarray [shape=(n, n_features), float32]
        Features, not scaled.
    y : np.ndarray [shape=(n,), int]
        Genres.
    artists : np.ndarray [shape=(n,)]
        Who recorded what, for early stopping on artists that are held out.
    n_genres : int
        Number of classes.
    settings : TreeSettings
        All numbers.
    seed : int
        Sampling and the artists that are held out.
    threads : int
        Processor threads.
    extra : np.ndarray [shape=(n, n_features), float32], optional
        The same tracks band-limited, learnt beside ``x``.

    Returns
    -------
    lightgbm.Booster
    """
    try:
        import lightgbm
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="lightgbm") from error
    inner = holdout(y, artists, fraction=settings.held_out, seed=seed)
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
