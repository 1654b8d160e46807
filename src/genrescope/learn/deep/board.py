"""TensorBoard event files, for those who ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrescope.errors import TrainingError

__all__ = ["Board", "require_board"]

_SCALARS = {
    "learning_rate": "training/learning rate",
    "loss": "training/loss",
    "held_out_log_loss": "held-out artists/log-loss",
    "held_out_accuracy": "held-out artists/accuracy",
}


def require_board() -> Any:
    """The class that writes event files.

    Raises
    ------
    TrainingError
        If the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "event files need the package tensorboard, which is not installed; "
            "run: pip install tensorboard, or leave --tensorboard out"
        ) from error
    return SummaryWriter


class Board:
    """Writes the history of each part of a run below ``tensorboard`` in its folder.

    Parameters
    ----------
    folder : Path
        Of the run.

    Raises
    ------
    TrainingError
        If the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = require_board()
        self._folder = folder
        self._part = ""
        self._open: Any = None

    def add(self, part: str, row: Mapping[str, float]) -> None:
        """Add an epoch of a part; it can be seen at once.

        What a killed run wrote of this epoch or later is hidden, so that nothing shows twice.
        """
        epoch = int(row["epoch"])
        if part != self._part:
            self.close()
            self._part = part
            target = self._folder / "tensorboard" / part
            self._open = self._writer(log_dir=str(target), purge_step=epoch)
        for key, name in _SCALARS.items():
            self._open.add_scalar(name, row[key], epoch)
        self._open.flush()

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open.close()
        self._open, self._part = None, ""
