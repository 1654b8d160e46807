"""The training of one network on one part of the tracks, which can be killed at any moment.

Everything that chance decides in a step follows from its place: seed, part, epoch, step, process.
The state that is written is that between two steps. So a training that was killed goes on from the
last state with the very numbers that it would have had.
"""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.calibrate import apply_temperature, fit_temperature
from genrescope.learn.deep.data import Feed
from genrescope.learn.deep.parallel import World
from genrescope.learn.deep.settings import TrainSettings
from genrescope.learn.deep.state import (
    read_optimiser,
    step_seed,
    unpack,
    write_optimiser,
    write_tensors,
)

try:
    import torch
    from torch.nn import functional
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="deep", package="torch") from error

__all__ = ["CHECKPOINT", "LAST_GOOD", "WEIGHTS", "Job", "Trained", "logits_of", "train_part"]

IntArray = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

WEIGHTS = "weights.safetensors"
CHECKPOINT = "checkpoint.safetensors"
LAST_GOOD = "last-good.safetensors"
HISTORY = ("epoch", "learning_rate", "loss", "held_out_log_loss", "held_out_accuracy", "seconds")

_WATCH_EVERY = 25  # steps on a device where looking at the loss means waiting for it
_PREDICT_BATCH = 512


@dataclass(frozen=True, eq=False)
class Job:
    """What one training is about.

    Attributes
    ----------
    rows, held : np.ndarray [int64]
        Tracks to learn from, and those by which the best epoch is chosen; no artist in both.
    y : np.ndarray [shape=(n,), int64]
        Genres of all tracks.
    n_genres : int
        How many there are.
    settings : TrainSettings
        All numbers.
    seed, part : int
        Of all chance; parts of one run have seeds of their own.
    folder : Path
        Where state and weights are written.
    precision : str
        "fp32", "bf16" or "fp16".
    every : float
        Seconds between two states on disk; 0 writes one after each step.
    """

    rows: IntArray
    held: IntArray
    y: IntArray
    n_genres: int
    settings: TrainSettings
    seed: int
    part: int
    folder: Path
    precision: str = "fp32"
    every: float = 20.0


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of a training.

    Attributes
    ----------
    tensors : dict of str to torch.Tensor
        The weights of the best epoch, on the CPU.
    temperature : float
        That makes its answers on the held-out artists most likely.
    best_epoch : int
        From 1.
    history : list of dict
        One row an epoch, with the keys of :data:`HISTORY`.
    seconds : float
        That the training took, over all processes that worked at it.
    """

    tensors: Mapping[str, Any]
    temperature: float
    best_epoch: int
    history: list[dict[str, float]]
    seconds: float


def train_part(
    net: Any,
    feed: Feed,
    job: Job,
    *,
    world: World,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Trained:
    """Train a network, or go on where a killed training of the same job stopped.

    Parameters
    ----------
    net : torch.nn.Module
        New, on the device, the same in every process.
    feed : Feed
        The tracks.
    job : Job
        What to do.
    world : World
        Who takes part.
    on_epoch : callable, optional
        Told the row of the history, in the leading process.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingError
        If the loss is not finite; the best weights so far are in ``last-good.safetensors``.
    """
    done = job.folder / WEIGHTS
    if world.told([float(done.exists())]) == [1.0]:
        return _read_trained(world.shared(done.read_bytes() if world.leads else None), done)
    with _repeatable(world.device):
        trained = _Training(net, feed, job, world).run(on_epoch)
    if world.leads:
        write_tensors(
            done,
            trained.tensors,
            {
                "temperature": trained.temperature,
                "best_epoch": trained.best_epoch,
                "history": trained.history,
                "seconds": trained.seconds,
            },
        )
        (job.folder / CHECKPOINT).unlink(missing_ok=True)
    world.wait()
    return trained


def _read_trained(data: bytes | None, path: Path) -> Trained:
    tensors, info = unpack(data or b"", where=str(path))
    return Trained(tensors=tensors, **info)


def logits_of(net: Any, feed: Feed, rows: IntArray, *, precision: str = "fp32") -> Floats:
    """What a network says of tracks as they are.

    Parameters
    ----------
    net : torch.nn.Module
        On the device of the feed; it is put into evaluation mode.
    feed : Feed
        The tracks.
    rows : np.ndarray [shape=(n,), int64]
        Which of them.
    precision : str
        As of a job.

    Returns
    -------
    np.ndarray [shape=(n, n_genres), float64]
        Logits.
    """
    net.eval()
    parts = []
    with torch.no_grad(), _autocast(feed.device, precision):
        for part in np.array_split(rows, max(1, -(-len(rows) // _PREDICT_BATCH))):
            inputs = feed.clean(torch.from_numpy(part).to(feed.device))
            parts.append(net(*inputs).float().cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


def _autocast(device: Any, precision: str) -> Any:
    if precision == "fp32":
        return nullcontext()
    kind = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=kind)


@contextmanager
def _repeatable(device: Any) -> Iterator[None]:
    """Sums in the same order each time, and the caller's generators as they were."""
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # costs a kernel a tensor
        torch.backends.cudnn.benchmark = False
        with (
            torch.random.fork_rng(devices=[device]),
            sdpa_kernel(SDPBackend.MATH),  # the fused ones add up in any order
            warnings.catch_warnings(),
        ):
            # Pooling windows that do not overlap add nothing up, so their order cannot matter.
            warnings.filterwarnings("ignore", message=".*does not have a deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        memory.fill_uninitialized_memory = filling


@dataclass
class _Progress:
    """Where a training is: what a state on disk holds beside tensors."""

    epoch: int = 0  # from 0
    step: int = 0  # of this epoch, the next to be made
    loss: float = 0.0  # sum over the steps of this epoch
    best_loss: float = math.inf
    best_epoch: int = 0
    temperature: float = 1.0
    waited: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        found = dict(vars(self))
        if math.isinf(self.best_loss):  # which JSON has no word for
            found["best_loss"] = None
        return found

    @classmethod
    def of(cls, info: dict[str, Any]) -> _Progress:
        best = info["best_loss"]
        return cls(**{**info, "best_loss": math.inf if best is None else best})


class _Training:
    """The objects of one training while it runs."""

    def __init__(self, net: Any, feed: Feed, job: Job, world: World) -> None:
        s = job.settings
        self.job, self.feed, self.world, self.settings = job, feed, world, s
        self.net = net.to(world.device, memory_format=torch.channels_last)
        self.batch = min(s.batch, len(job.rows)) // world.size
        if self.batch < 1 or self.batch * world.size < 2:
            raise TrainingError(
                f"{len(job.rows)} tracks in batches of {s.batch} are too few for {world.size} "
                "process(es); start fewer, or give more tracks"
            )
        self.steps = len(job.rows) // (self.batch * world.size)
        # One pass over weights and moments: on CPUs, too, they are what takes the time of a step.
        self.optimiser = _optimiser(self.net, s, fused=world.device.type in ("cpu", "cuda"))
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=job.precision == "fp16")
        self.kept = copy.deepcopy(self.net) if s.ema else self.net
        self._pairs = _floating(self.kept), _floating(self.net)
        self.best: dict[str, Any] = {}
        self.now = _Progress()
        self._generator = torch.Generator(device=world.device)
        self._written = self._since = time.perf_counter()
        self._resume()
        self.wrapped = world.wrap(self.net)

    # --- one epoch after another ---

    def run(self, on_epoch: Callable[[dict[str, float]], None] | None) -> Trained:
        s, now = self.settings, self.now
        while now.epoch < s.epochs and not (s.patience and now.waited >= s.patience):
            self._epoch()
            row = self._look()
            if on_epoch is not None and self.world.leads:
                on_epoch(row)
            self._write(due=self.job.every == 0)
        return Trained(
            tensors={name: value.cpu() for name, value in self.best.items()},
            temperature=now.temperature,
            best_epoch=now.best_epoch,
            history=now.history,
            seconds=now.seconds,
        )

    def _epoch(self) -> None:
        job, now, world = self.job, self.now, self.world
        rng = np.random.default_rng(step_seed(job.seed, job.part, now.epoch))
        order = torch.from_numpy(rng.permutation(job.rows)).to(world.device)
        total = torch.tensor(now.loss, dtype=torch.float64, device=_home(world.device))
        self.net.train()
        every = 1 if world.device.type == "cpu" else _WATCH_EVERY
        while now.step < self.steps:
            first = (now.step * world.size + world.rank) * self.batch
            loss = self._step(order[first : first + self.batch])
            total += world.mean(loss).to(total)
            now.step += 1
            if now.step % every == 0 or now.step == self.steps:
                now.loss = float(total)
                self._must_be_finite("loss", now.loss)
                if now.step < self.steps:
                    self._write()

    def _step(self, rows: Any) -> Any:
        s, job, now = self.settings, self.job, self.now
        seed = step_seed(job.seed, job.part, now.epoch, now.step, self.world.rank)
        torch.manual_seed(seed)  # of dropout
        self._generator.manual_seed(seed)
        inputs = self.feed.varied(rows, s.augmentation, generator=self._generator)
        target = _smooth(self.feed.y[rows], job.n_genres, s.label_smoothing)
        if s.augmentation.mixup:
            share = float(np.random.default_rng(seed).beta(*2 * (s.augmentation.mixup,)))
            other = torch.randperm(
                len(rows), generator=self._generator, device=self._generator.device
            )
            inputs = tuple(torch.lerp(part[other], part, share) for part in inputs)
            target = torch.lerp(target[other], target, share)
        rate = s.rate(now.epoch * self.steps + now.step, steps=self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with _autocast(self.world.device, job.precision):
            logits = self.wrapped(*inputs)
        loss = -(target * functional.log_softmax(logits.float(), dim=1)).sum(1).mean()
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if s.clip:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), s.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if s.ema:
            self._average(now.epoch * self.steps + now.step)
        return loss.detach()

    def _average(self, step: int) -> None:
        # Short at first, or the mean would remember the random weights it began with.
        share = min(self.settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(*self._pairs, 1.0 - share)

    def _look(self) -> dict[str, float]:
        """End an epoch: measure on what is held out, keep the best, add to the history."""
        now, job = self.now, self.job
        found = [0.0, 0.0, 1.0]
        if self.world.leads:
            logits = logits_of(self.kept, self.feed, job.held, precision=job.precision)
            found = _measure(logits, job.y[job.held])
        loss, accuracy, temperature = self.world.told(found)
        self._must_be_finite("held-out log-loss", loss)
        if loss < now.best_loss:
            self.best = {k: v.detach().clone() for k, v in self.kept.state_dict().items()}
            now.best_loss, now.best_epoch = loss, now.epoch + 1
            now.temperature, now.waited = temperature, 0
        else:
            now.waited += 1
        self._count_time()
        last = (now.epoch + 1) * self.steps - 1
        values = (
            now.epoch + 1,
            self.settings.rate(last, steps=self.steps),
            now.loss / self.steps,
            loss,
            accuracy,
            round(now.seconds, 3),
        )
        now.history.append(dict(zip(HISTORY, values, strict=True)))
        now.epoch, now.step, now.loss = now.epoch + 1, 0, 0.0
        return now.history[-1]

    # --- what is on disk ---

    def _count_time(self) -> None:
        at = time.perf_counter()
        self.now.seconds += at - self._since
        self._since = at

    def _write(self, *, due: bool = False) -> None:
        at = time.perf_counter()
        if not self.world.leads or not (due or at - self._written >= self.job.every):
            return
        self._count_time()
        self.now.scaler = self.scaler.state_dict()
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        if self.settings.ema:
            tensors |= {f"kept.{k}": v for k, v in self.kept.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= write_optimiser(self.optimiser)
        write_tensors(self.job.folder / CHECKPOINT, tensors, self.now.to_dict())
        self._written = time.perf_counter()

    def _resume(self) -> None:
        path = self.job.folder / CHECKPOINT
        data = self.world.shared(path.read_bytes() if self.world.leads and path.exists() else None)
        if data is None:
            return
        tensors, info = unpack(data, where=str(path))

        def part(prefix: str) -> dict[str, Any]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        try:
            self.now = _Progress.of(info)
            self.net.load_state_dict(part("net."))
            if self.settings.ema:
                self.kept.load_state_dict(part("kept."))
            read_optimiser(self.optimiser, tensors)
            self.scaler.load_state_dict(self.now.scaler)
        except (RuntimeError, TypeError, KeyError, IndexError) as error:
            raise TrainingError(
                f"{path}: does not fit this training ({str(error).splitlines()[0]}); "
                "delete it, and this part begins again"
            ) from error
        self.best = {k: v.to(self.world.device) for k, v in part("best.").items()}

    def _must_be_finite(self, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        now = self.now
        kept = "no epoch was finished before"
        if self.best and self.world.leads:
            path = self.job.folder / LAST_GOOD
            info = {"best_epoch": now.best_epoch, "history": now.history}
            write_tensors(path, self.best, {**info, "temperature": now.temperature})
        if self.best:
            kept = f"the weights of epoch {now.best_epoch} are kept in {LAST_GOOD}"
        raise TrainingError(
            f"{self.job.folder}: the {name} became {value} in epoch {now.epoch + 1}, step "
            f"{now.step} of {self.steps}; {kept}. Give a lower --lr and a new --out"
            + (", or --precision fp32" if self.job.precision != "fp32" else "")
        )


def _home(device: Any) -> Any:
    """Where sums in float64 are kept: beside the network, if it can."""
    return torch.device("cpu") if device.type == "mps" else device


def _optimiser(net: Any, s: TrainSettings, *, fused: bool) -> Any:
    large = [p for p in net.parameters() if p.requires_grad and p.ndim >= 2]
    small = [p for p in net.parameters() if p.requires_grad and p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": large}, {"params": small, "weight_decay": 0.0}]
    more: dict[str, Any] = {"lr": s.learning_rate, "weight_decay": s.weight_decay, "fused": fused}
    if s.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=s.momentum, **more)
    kind = torch.optim.AdamW if s.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, **more)


def _floating(net: Any) -> list[Any]:
    return [value for value in net.state_dict().values() if value.is_floating_point()]


def _smooth(y: Any, n_genres: int, share: float) -> Any:
    hard = functional.one_hot(y, n_genres).float()
    return hard * (1.0 - share) + share / n_genres


def _measure(logits: Floats, y: IntArray) -> list[float]:
    """Log-loss at the best temperature, accuracy, and that temperature.

    Networks grow too sure long before they stop to learn, and the temperature is set right in the
    end: so the best epoch is the one that is best with it.
    """
    if not np.isfinite(logits).all():
        return [math.nan, 0.0, 1.0]
    temperature = fit_temperature(logits, y)
    p = apply_temperature(logits, temperature)[np.arange(len(y)), y]
    loss = -float(np.log(np.maximum(p, 1e-12)).mean())
    return [loss, float((logits.argmax(axis=1) == y).mean()), temperature]
