"""The network that reads the mel frames themselves.

Where the network on statistics is told how often and how much, this one sees what follows what: a
few convolutions over time on the sparse frames, a few on the dense MFCC sequence, and pooling that
forgets when it happened. The two err on different tracks, which is why both ship.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.statistics import N_MFCC
from genrescope.errors import MissingExtraError
from genrescope.learn.train.statnet import affine, fold, to_numpy

try:
    import torch
    from torch import nn
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="train", package="torch") from error

__all__ = ["FrameNet", "augment_frames", "folded_frame_weights", "split_row"]

FloatArray = npt.NDArray[np.float32]

_EQ_DB = 2.2  # of a smooth random equaliser
_SHIFT = 2  # bands: about a third of a tone in the middle of the scale
_BAND_MASK = 14  # bands, at most
_TIME_MASK = 18  # frames, at most
_DENSE_OFFSET = 0.15  # standard deviations


class _Pool(nn.Module):
    """[batch, channels, time] to mean, maximum and spread over time."""

    def forward(self, h: Any) -> Any:
        mean = h.mean(dim=2)
        spread = torch.sqrt(((h - mean[:, :, None]) ** 2).mean(dim=2) + 1e-5)
        return torch.cat([mean, h.amax(dim=2), spread], dim=1)


def _layer(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2), nn.BatchNorm1d(n_out), nn.GELU()
    )


class FrameNet(nn.Module):
    """Convolutions over time on mel frames and on dense MFCC.

    Parameters
    ----------
    n_genres : int
        Size of the output that stays.
    n_teacher : int
        Size of the embedding to imitate; 0 for none.
    width, dense_width, hidden : int
        Channels of the two branches and units of the layer that joins them.

    Notes
    -----
    ``forward`` maps frames [batch, bands, time] in dB and dense [batch, 20, time] to logits
    [batch, n_genres] and teacher [batch, n_teacher].
    """

    def __init__(
        self,
        *,
        n_genres: int,
        n_teacher: int,
        width: int = 160,
        dense_width: int = 64,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        bands = frames.READ_BANDS
        self.norm_frames = nn.BatchNorm1d(bands)
        self.norm_dense = nn.BatchNorm1d(N_MFCC)
        self.frames = nn.Sequential(
            _layer(bands, width, 3),
            nn.Dropout(0.1),
            _layer(width, width, 1),
            _layer(width, width, 3),
        )
        self.dense = nn.Sequential(
            _layer(N_MFCC, dense_width, 5),
            nn.MaxPool1d(2),
            _layer(dense_width, dense_width, 5),
            nn.MaxPool1d(2),
            _layer(dense_width, dense_width, 5),
        )
        self.pool = _Pool()
        pooled = 3 * (width + dense_width)
        self.join = nn.Sequential(
            nn.BatchNorm1d(pooled),
            nn.Dropout(0.4),
            nn.Linear(pooled, hidden),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Dropout(0.4),
        )
        self.genre = nn.Linear(hidden, n_genres)
        self.teacher = nn.Linear(hidden, n_teacher) if n_teacher else None

    def forward(self, x: Any, dense: Any) -> tuple[Any, Any]:
        h = torch.cat(
            [
                self.pool(self.frames(self.norm_frames(x))),
                self.pool(self.dense(self.norm_dense(dense))),
            ],
            dim=1,
        )
        h = self.join(h)
        return self.genre(h), None if self.teacher is None else self.teacher(h)


def folded_frame_weights(net: FrameNet) -> dict[str, FloatArray]:
    """What is needed at prediction time, every batch norm folded away.

    Parameters
    ----------
    net : FrameNet
        A trained network.

    Returns
    -------
    dict of np.ndarray [float32]
        ``frames.K.weight`` and ``dense.K.weight`` [out, in, kernel] and their biases for K = 0, 1,
        2; ``frames.gain``, ``frames.offset`` (of the input, per band), the same for ``dense``;
        ``join.weight`` [pooled, hidden], ``genre.weight`` [hidden, n_genres] and biases.
    """
    out: dict[str, FloatArray] = {}
    for name, branch, norm in (
        ("frames", net.frames, net.norm_frames),
        ("dense", net.dense, net.norm_dense),
    ):
        out[f"{name}.gain"], out[f"{name}.offset"] = affine(norm)
        layers = [part for part in branch if isinstance(part, nn.Sequential)]
        for k, layer in enumerate(layers):
            out[f"{name}.{k}.weight"], out[f"{name}.{k}.bias"] = fold(layer[0], layer[1])
    gain, offset = affine(net.join[0])
    weight, bias = fold(net.join[2], net.join[3])
    out["join.weight"] = (weight * gain[None, :]).T
    out["join.bias"] = bias + weight @ offset
    out["genre.weight"] = to_numpy(net.genre.weight).T
    out["genre.bias"] = to_numpy(net.genre.bias)
    return out


def split_row(rows: Any) -> tuple[Any, Any]:
    """Frames [n, bands, 128] and dense part [n, 20, 130] of feature rows [n, N_FEATURES]."""
    first, second = frames.N_STATISTICS, frames.N_STATISTICS + frames.READ_BANDS * frames.N_FRAMES
    x = rows[:, first:second].reshape(-1, frames.READ_BANDS, frames.N_FRAMES)
    dense = rows[:, second:].reshape(-1, N_MFCC, frames.DENSE_FRAMES)
    return x, dense


def augment_frames(x: Any, dense: Any, *, rng: np.random.Generator) -> tuple[Any, Any]:
    """Another performance of the same clips, for training.

    A random equaliser and a shift by a band or two (mastering, pitch), half of the frames (in a
    row), a mask over bands and one over time (SpecAugment, Park et al. 2019), and a constant added
    to the dense coefficients.

    Parameters
    ----------
    x : torch.Tensor [shape=(n, bands, 128)]
        Frames in dB.
    dense : torch.Tensor [shape=(n, 20, 130)]
        Dense MFCC sequences.
    rng : np.random.Generator
        Where the choices are drawn from.

    Returns
    -------
    x : torch.Tensor [shape=(n, bands, 64)]
    dense : torch.Tensor [shape=(n, 20, 130)]
    """
    n, bands, time = x.shape
    order = np.arange(1, 5)
    curves = np.cos(np.pi * order[:, None] * np.linspace(0.0, 1.0, bands)[None, :])
    gains = rng.normal(scale=_EQ_DB, size=(n, len(order))) @ curves
    start = int(rng.integers(0, time // 2 + 1))
    x = x[:, :, start : start + time // 2]
    x = x + torch.as_tensor(gains[:, :, None], dtype=x.dtype, device=x.device)
    x = torch.roll(x, int(rng.integers(-_SHIFT, _SHIFT + 1)), dims=1)
    quiet = -frames.FLOOR_DB / 2
    low, height = int(rng.integers(0, bands - _BAND_MASK)), int(rng.integers(0, _BAND_MASK))
    x[:, low : low + height] = quiet
    begin, length = int(rng.integers(0, time // 2 - _TIME_MASK)), int(rng.integers(0, _TIME_MASK))
    x[:, :, begin : begin + length] = quiet
    spread = dense.std(dim=(0, 2), keepdim=True)
    offset = rng.normal(scale=_DENSE_OFFSET, size=(n, dense.shape[1], 1))
    return x, dense + spread * torch.as_tensor(offset, dtype=x.dtype, device=x.device)
