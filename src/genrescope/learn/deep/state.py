"""The state of a training on disk: one file of tensors and JSON, whole or not there at all.

Safetensors, never a pickle. All chance is drawn from (seed, part, epoch, step, process), so no
generator has to be kept: one that goes on draws what it would have drawn anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.catalog.storage import atomic
from genrescope.errors import MissingExtraError, TrainingError

try:
    import torch
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="deep", package="torch") from error
try:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors
    from safetensors.torch import save as save_tensors
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("training", extra="deep", package="safetensors") from error

__all__ = [
    "pack",
    "read_optimiser",
    "read_tensors",
    "step_seed",
    "unpack",
    "write_optimiser",
    "write_tensors",
]

Tensors = dict[str, Any]

_INFO = "genrescope"  # the key of the JSON in the header


def step_seed(*place: int) -> int:
    """A seed for one place in a training; other places get unrelated ones.

    Parameters
    ----------
    *place : int
        Seed, part, epoch, step, process.

    Returns
    -------
    int
        63 bits.
    """
    words = np.random.SeedSequence(list(place)).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def pack(tensors: Mapping[str, Any], info: Mapping[str, Any]) -> bytes:
    """Tensors of any device, and what else there is to know of them, as bytes."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = json.dumps(info, allow_nan=False)
    packed: bytes = save_tensors(plain, metadata={_INFO: header})
    return packed


def unpack(data: bytes, *, where: str) -> tuple[Tensors, dict[str, Any]]:
    """What :func:`pack` made, on the CPU.

    Raises
    ------
    TrainingError
        If it is something else; ``where`` names it.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        info = json.loads(header["__metadata__"][_INFO])
        return load_tensors(data), info
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{where}: holds no state of a training ({error}); "
            "delete it, and this part begins again"
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Write tensors and JSON to a file that replaces an older one as a whole."""
    packed = pack(tensors, info)
    with atomic(path) as fresh:
        fresh.write_bytes(packed)


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises
    ------
    TrainingError
        If it cannot be read or is something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror or error})") from error
    return unpack(data, where=str(path))


def write_optimiser(optimiser: Any) -> Tensors:
    """The state of an optimiser as tensors by name."""
    found = {}
    for group, settings in enumerate(optimiser.param_groups):
        for place, parameter in enumerate(settings["params"]):
            for key, value in optimiser.state.get(parameter, {}).items():
                if value is not None:
                    found[f"optimiser.{group}.{place}.{key}"] = torch.as_tensor(value)
    return found


def read_optimiser(optimiser: Any, tensors: Mapping[str, Any]) -> None:
    """Put back what :func:`write_optimiser` took.

    What is as large as its parameter goes to where the parameter is, in the same order in memory;
    a count of steps stays on the CPU unless the optimiser is a fused one.
    """
    for name, value in tensors.items():
        if not name.startswith("optimiser."):
            continue
        _, group, place, key = name.split(".", 3)
        settings = optimiser.param_groups[int(group)]
        parameter = settings["params"][int(place)]
        state = optimiser.state[parameter]
        if value.shape == parameter.shape:
            state[key] = torch.empty_like(parameter).copy_(value)
        else:
            state[key] = value.to(parameter.device) if settings.get("fused") else value.clone()
