"""A network that a run trained, to be looked into."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.deep.architectures import FRAMES_SHAPE, Architecture, build, find

try:
    import torch
    from torch import nn
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("looking into a network", extra="deep", package="torch") from error

from genrescope.learn.deep.state import read_tensors

__all__ = ["TrainedNet", "convolutions", "load_trained"]

_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class TrainedNet:
    """A network with its weights.

    Attributes
    ----------
    net : torch.nn.Module
        On the CPU, in evaluation mode.
    architecture : Architecture
        What it is.
    genres : tuple of str
        Of its answers, in order.
    part : str
        What of the run it is: "fold-0", ..., or "all".
    """

    net: Any
    architecture: Architecture
    genres: tuple[str, ...]
    part: str


def load_trained(run: Path, *, part: str | None = None) -> TrainedNet:
    """Read a network from the folder of a run.

    Parameters
    ----------
    run : Path
        What was given to ``genrescope train`` with --out.
    part : str, optional
        "all" or "fold-K". Default: the one trained on all tracks, else the first fold.

    Returns
    -------
    TrainedNet

    Raises
    ------
    DataError
        If the folder is no run of a network, or that part is not done.
    TrainingError
        If the weights cannot be read.
    """
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        found = find(record["model"], record["options"]).at(FRAMES_SHAPE)
        genres = tuple(str(genre) for genre in record["genres"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{run}: is no run of a network ({error}); name the folder that was given to "
            "`genrescope train` with --out"
        ) from error
    done = sorted(path.parent.name for path in run.glob(f"*/{_WEIGHTS}"))
    if part is None:
        part = "all" if "all" in done or not done else done[0]
    if part not in done:
        raise DataError(
            f"{run}: {part} has no {_WEIGHTS}; "
            + (f"done are {', '.join(done)}" if done else "let the training finish a part first")
        )
    tensors, _ = read_tensors(run / part / _WEIGHTS)
    with torch.random.fork_rng(devices=[]):  # building draws weights, which nobody should notice
        net = build(found, n_genres=len(genres))
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"{run / part}: the weights do not fit {found.name}; the run was made by another "
            "version of genrescope: train it again"
        ) from error
    return TrainedNet(net.eval(), found, genres, part)


def convolutions(net: Any) -> list[tuple[str, Any]]:
    """The two-dimensional convolutions of a network, in order, with their names.

    Raises
    ------
    DataError
        If there is none.
    """
    layers = [(name, part) for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]
    if not layers:
        raise DataError(
            f"{type(net).__name__} has no two-dimensional convolution; choose a convolutional "
            "network such as cs464-cnn, naive-cnn or compact-cnn"
        )
    return layers
