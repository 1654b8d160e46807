"""One process or several, on one machine or several: what torch's launcher started.

``torchrun --nproc-per-node 2 -m genrescope train ...`` sets the environment that is read here. One
process alone needs nothing, and goes through the same code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.train.training import pick_device

try:
    import torch
    from torch import distributed
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="deep", package="torch") from error

__all__ = ["World", "join_world"]


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes
    ----------
    rank, size : int
        Which of them this is, and how many there are.
    device : torch.device
        Where this one computes.
    """

    rank: int
    size: int
    device: Any

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def wrap(self, net: Any) -> Any:
        """The network with gradients that are averaged over the processes."""
        if self.size == 1:
            return net
        from torch.nn.parallel import DistributedDataParallel

        index = self.device.index
        return DistributedDataParallel(net, device_ids=None if index is None else [index])

    def mean(self, value: Any) -> Any:
        """The mean of a tensor over the processes."""
        if self.size > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value = value / self.size
        return value

    def told(self, values: list[float]) -> list[float]:
        """Numbers that the first process says, to all of them."""
        if self.size == 1:
            return values
        said = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(said, src=0)
        return [float(value) for value in said.tolist()]

    def shared(self, data: bytes | None) -> bytes | None:
        """Bytes that the first process has, or None, to all of them."""
        if self.size == 1:
            return data
        (size,) = self.told([-1.0 if data is None else float(len(data))])
        if size < 0:
            return None
        if data is not None:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        else:
            buffer = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        distributed.broadcast(buffer, src=0)
        return buffer.cpu().numpy().tobytes() if data is None else data

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """The world that torch's launcher made, or a world of one.

    Parameters
    ----------
    device : str
        "auto" takes a GPU where torch sees one; of several processes each takes its own.

    Yields
    ------
    World

    Raises
    ------
    TrainingError
        If the device cannot be used, or there are more processes on this machine than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        if device == "auto" and not torch.cuda.is_available() and torch.backends.mps.is_available():
            device = "mps"
        yield World(rank=0, size=1, device=pick_device(device))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    place = pick_device(device)
    if place.type == "cuda":
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"process {local} of this machine finds {torch.cuda.device_count()} GPU(s); "
                "start one process a GPU with torchrun --nproc-per-node"
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    # What torch imports at its first step holds the group if there is one then, and so keeps the
    # threads of Gloo alive after it; a process that ends while one of them tidies up aborts.
    import_module("torch._dynamo")
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank=rank, size=size, device=place)
    finally:
        distributed.destroy_process_group()
