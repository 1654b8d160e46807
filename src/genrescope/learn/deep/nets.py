"""The frame network of the shipped recogniser, fed as the other networks are."""

from __future__ import annotations

from typing import Any

from genrescope.audio import frames
from genrescope.errors import MissingExtraError, TrainingError

try:
    from torch import nn
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("networks", extra="deep", package="torch") from error

from genrescope.learn.train.framenet import FrameNet

__all__ = ["FrameClassifier"]


class FrameClassifier(nn.Module):
    """A :class:`~genrescope.learn.train.framenet.FrameNet` that takes a picture and the dense MFCC.

    Parameters
    ----------
    input_shape : (int, int, int)
        1 channel, at least 115 bands, any number of frames; bands above 15 kHz are not read.
    n_genres : int
        Size of the output.
    width, dense_width, hidden : int
        As of the network.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        n_genres: int,
        width: int = 160,
        dense_width: int = 64,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        if input_shape[0] != 1 or input_shape[1] < frames.READ_BANDS:
            raise TrainingError(
                f"the frame network cannot read {input_shape[0]} x {input_shape[1]} bands; "
                f"give 1 channel and at least {frames.READ_BANDS} bands"
            )
        self.net = FrameNet(
            n_genres=n_genres, n_teacher=0, width=width, dense_width=dense_width, hidden=hidden
        )

    def forward(self, x: Any, dense: Any) -> Any:
        return self.net(x[:, 0, : frames.READ_BANDS], dense)[0]
