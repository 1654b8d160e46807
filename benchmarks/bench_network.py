"""The study's CNN at full size: our inference and training step against plain PyTorch.

52,868,624 parameters, batches of 16 inputs of 3 x 128 x 1,292, one CPU thread. Plain is what a
tutorial writes, in eager float32 and torch's usual memory format: for inference ``net.eval()`` and
``net(x)`` under ``torch.no_grad()``; for training ``zero_grad()``, ``cross_entropy``,
``backward()`` and ``torch.optim.Adam(net.parameters()).step()``. Ours is what the commands run:
the graph that the export writes, in ONNX Runtime; and the step of ``genrescope train`` with the
preset cs464-adam.

CPU milliseconds, medians of calls in a row, as over a folder of clips. Both take turns, and of
their medians the best counts, because other programs on the machine make them larger, never
smaller. "off by" is the largest difference of a logit, and of the losses of the first steps, both
as shares of the largest. bf16 rounds otherwise, so it is shown apart and nothing is wanted of it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["run"]

NETWORK = "cs464-cnn"
BATCH = 16
STEPS = 3  # whose losses are compared


def run(
    *,
    network: str = NETWORK,
    batch: int = BATCH,
    repeats: int = 3,
    turns: int = 5,
) -> list[dict[str, Any]]:
    """Measure.

    Parameters
    ----------
    network : str
        Its name, and the size of its input where that is not the usual.
    batch : int
        Inputs at a time.
    repeats, turns : int
        So many medians, each of so many calls.

    Returns
    -------
    list of dict
        What was measured: CPU milliseconds a clip of plain torch and of ours, how many times ours
        plain takes, what is wanted, and how far apart the results are.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_inference(network, batch, repeats, turns), *_training(network, batch, repeats)]
    finally:
        torch.set_num_threads(threads)


def _inference(network: str, batch: int, repeats: int, turns: int) -> dict[str, Any]:
    import onnxruntime
    import torch

    from genrescope.learn.deep.architectures import find
    from genrescope.learn.deep.export import plain_graph

    net, x, _ = _made(network, batch)
    net.eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        plain_graph(net, find(network)), options, providers=["CPUExecutionProvider"]
    )
    frames = x.numpy()

    def plain() -> Any:
        with torch.no_grad():
            return net(x).numpy()

    def ours() -> Any:
        return session.run(None, {"frames": frames})[0]

    expected = plain()
    off = float(np.abs(ours() - expected).max() / np.abs(expected).max())
    times = _best_medians({"plain": plain, "ours": ours}, repeats=repeats, turns=turns)
    return _row("inference", times["plain"], times["ours"], batch, wanted=5.0, off=off)


def _training(network: str, batch: int, repeats: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        steps = {
            "plain": _plain_step(network, batch),
            "ours": _our_step(network, batch, Path(folder) / "fp32", "fp32"),
            "bf16": _our_step(network, batch, Path(folder) / "bf16", "bf16"),
        }
        losses = {name: [step() for _ in range(STEPS)] for name, step in steps.items()}
        times = _best_medians(steps, repeats=repeats, turns=3)
    rows = []
    for name, title, wanted in (
        ("ours", "training step", 1.2),
        ("bf16", "training step in bf16", None),
    ):
        away = np.abs(np.subtract(losses[name], losses["plain"])).max() / max(losses["plain"])
        rows.append(_row(title, times["plain"], times[name], batch, wanted=wanted, off=away))
    return rows


def _made(network: str, batch: int) -> tuple[Any, Any, Any]:
    """A network, inputs and genres, the same each time."""
    import torch

    from genrescope.learn.deep.architectures import build, find

    torch.manual_seed(0)
    architecture = find(network)
    net = build(architecture)
    return net, torch.randn(batch, *architecture.input_shape), torch.arange(batch) % 8


def _plain_step(network: str, batch: int) -> Callable[[], float]:
    import torch
    from torch.nn.functional import cross_entropy

    net, x, y = _made(network, batch)
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step() -> float:
        optimiser.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def _our_step(network: str, batch: int, folder: Path, precision: str) -> Callable[[], float]:
    import torch

    from genrescope.learn.deep.architectures import find
    from genrescope.learn.deep.loop import Job, _Training
    from genrescope.learn.deep.parallel import World
    from genrescope.learn.deep.settings import settings_for

    net, x, y = _made(network, batch)
    rows = np.arange(batch)
    job = Job(
        rows=rows,
        held=rows,
        y=y.numpy(),
        n_genres=8,
        settings=settings_for(find(network), preset="cs464-adam", batch=batch),
        seed=0,
        part=0,
        folder=folder,
        precision=precision,
    )
    training = _Training(net, _Ready(x, y), job, World(0, 1, torch.device("cpu")))
    training.net.train()

    def step() -> float:
        return float(training._step(torch.from_numpy(rows)))

    return step


class _Ready:
    """A feed of inputs that are made already: what is measured is the step."""

    def __init__(self, x: Any, y: Any) -> None:
        self._x, self.y = x, y

    def varied(self, rows: Any, how: Any, *, generator: Any) -> tuple[Any, ...]:
        return (self._x,)


def _best_medians(
    functions: dict[str, Callable[[], object]], *, repeats: int, turns: int
) -> dict[str, float]:
    """CPU milliseconds of a call: the least of so many medians, each of calls in a row.

    Each begins with a call that is not counted, so that none finds the caches full of another's.
    """
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            times = []
            for _ in range(1 + turns):
                began = time.process_time()
                function()
                times.append(1000 * (time.process_time() - began))
            best[name] = min(best[name], statistics.median(times[1:]))
    return best


def _row(
    what: str, plain: float, ours: float, batch: int, *, wanted: float | None, off: float
) -> dict[str, Any]:
    return {
        "what": what,
        "plain ms a clip": plain / batch,
        "ours ms a clip": ours / batch,
        "plain / ours": plain / ours,
        "wanted": wanted,
        "off by, per million": 1e6 * off,
    }


if __name__ == "__main__":
    from benchmarks.__main__ import show

    show("network", run())
