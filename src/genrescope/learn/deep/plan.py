"""What a run is about: network, settings, folds, precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.deep.architectures import Architecture
from genrescope.learn.deep.settings import TrainSettings

try:
    import torch
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="deep", package="torch") from error

__all__ = ["Plan", "pick_precision"]


@dataclass(frozen=True)
class Plan:
    """What a run is about.

    Attributes
    ----------
    architecture : Architecture
        The network; the input becomes that of prepared frames.
    settings : TrainSettings
        How it is trained.
    preset : str
        Where the settings come from, for the record.
    seed : int
        Of weights, order, variation, and the artists that choose the best epoch.
    folds : int
        Into how many parts the artists are dealt.
    only : tuple of int
        The folds that are trained now; empty for all of them.
    export : bool
        Whether a bundle is written: of a network trained on all tracks where all folds are done,
        else of the first fold's.
    precision : str
        "auto", "fp32", "bf16" or "fp16".
    every : float
        Seconds between two states on disk.
    tensorboard : bool
        Whether event files are written.
    command : str
        How it was called, for the card.
    """

    architecture: Architecture
    settings: TrainSettings
    preset: str = "modern"
    seed: int = 0
    folds: int = 5
    only: tuple[int, ...] = ()
    export: bool = True
    precision: str = "auto"
    every: float = 20.0
    tensorboard: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        wrong = [k for k in self.only if not 0 <= k < self.folds]
        if wrong:
            raise TrainingError(
                f"there is no fold {wrong[0]}: {self.folds} folds are 0 to {self.folds - 1}"
            )

    @property
    def chosen(self) -> tuple[int, ...]:
        """The folds that are trained now."""
        return tuple(sorted(set(self.only))) or tuple(range(self.folds))


def pick_precision(name: str, device: Any) -> str:
    """The precision of that name on a device.

    Parameters
    ----------
    name : str
        "auto" takes bf16 where a CUDA device has it, else fp32.
    device : torch.device
        Where it computes.

    Returns
    -------
    str
        "fp32", "bf16" or "fp16".

    Raises
    ------
    TrainingError
        If there is no such precision, or the device cannot.
    """
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return "bf16" if fast else "fp32"
    if name not in ("fp32", "bf16", "fp16"):
        raise TrainingError(f"precision is {name!r}; choose auto, fp32, bf16 or fp16")
    if name == "fp16" and device.type != "cuda":
        raise TrainingError(
            f"fp16 needs a CUDA device, and this is {device.type}; choose bf16 or fp32"
        )
    return name
