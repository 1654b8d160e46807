"""The network on statistics, and the scaling in front of it.

A small residual network on the principal components of the frame statistics. While it is trained a
second head predicts a teacher's embedding of the same clip; the head is thrown away afterwards and
what it taught stays in the layers below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import MissingExtraError

try:
    import torch
    from torch import nn
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="train", package="torch") from error

__all__ = [
    "FrontScale",
    "StatNet",
    "affine",
    "fit_front_scale",
    "fold",
    "folded_weights",
    "to_numpy",
]

FloatArray = npt.NDArray[np.float32]

CLIP = 6.0  # standard deviations: one odd statistic must not drown the others


@dataclass(frozen=True)
class FrontScale:
    """Standardise, clip, project.

    Attributes
    ----------
    mean, scale : np.ndarray [shape=(n_features,), float32]
        ``(x - mean) * scale`` has mean 0 and standard deviation 1 on the training tracks.
    projection : np.ndarray [shape=(n_features, n_components), float32]
        Principal axes, each divided by the fourth root of its variance: half-way between plain
        scores, where the loudest axes are everything, and whitened ones, where noise is.
    """

    mean: FloatArray
    scale: FloatArray
    projection: FloatArray

    def __call__(self, x: FloatArray) -> FloatArray:
        """Features [n, n_features] to network input [n, n_components]."""
        scaled = np.clip((x - self.mean) * self.scale, -CLIP, CLIP)
        out: FloatArray = scaled @ self.projection
        return out


def fit_front_scale(x: FloatArray, *, n_components: int) -> FrontScale:
    """Fit the scaling on training tracks.

    Parameters
    ----------
    x : np.ndarray [shape=(n, n_features), float32]
        Features of training tracks only.
    n_components : int > 0
        Principal components to keep, at most ``min(n, n_features)``.

    Returns
    -------
    FrontScale
        In float16 precision already, as it is shipped, so that what is trained on it is what
        runs.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    spread = x.std(axis=0, dtype=np.float64)
    # A statistic that hardly varies would be blown up to rounding noise: it is switched off.
    steady = spread <= 1e-5 * (1.0 + np.abs(mean))
    scale = np.where(steady, 0.0, 1.0 / np.where(steady, 1.0, spread))
    z = np.clip((x - mean) * scale, -CLIP, CLIP).astype(np.float32)
    if len(z) < z.shape[1]:  # the same axes, from the smaller side
        wide = z.astype(np.float64)
        variances, left = np.linalg.eigh(wide @ wide.T / len(z))
        axes = wide.T @ left / np.sqrt(len(z) * np.maximum(variances, 1e-9))
    else:
        variances, axes = np.linalg.eigh((z.T @ z) / np.float32(len(z)))
    order = np.argsort(variances)[::-1][: min(n_components, len(x))]
    kept = np.maximum(variances[order], 1e-6)
    projection = axes[:, order] / kept**0.25
    projection /= np.sqrt(np.sqrt(kept).mean())  # network inputs of about unit size
    # Eigenvectors come with either sign; fixing it keeps runs on other machines comparable.
    projection *= np.sign(projection[np.abs(projection).argmax(axis=0), range(len(order))])
    return FrontScale(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        projection=projection.astype(np.float16).astype(np.float32),
    )


class StatNet(nn.Module):
    """Residual perceptron with a teacher head.

    Parameters
    ----------
    n_in : int
        Components of the front scale.
    n_genres : int
        Size of the output that stays.
    n_teacher : int
        Size of the embedding to imitate; 0 for none.
    width : int
        Units of the hidden layers.
    dropout_in, dropout : float
        Dropout on the input and on the hidden layers.

    Notes
    -----
    ``forward`` maps [batch, n_in] to logits [batch, n_genres] and teacher [batch, n_teacher].
    """

    def __init__(
        self,
        n_in: int,
        *,
        n_genres: int,
        n_teacher: int,
        width: int = 384,
        dropout_in: float = 0.2,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.drop_in = nn.Dropout(dropout_in)
        self.first = nn.Linear(n_in, width)
        self.norm_first = nn.BatchNorm1d(width)
        self.block = nn.Linear(width, width)
        self.norm_block = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(dropout)
        self.genre = nn.Linear(width, n_genres)
        self.teacher = nn.Linear(width, n_teacher) if n_teacher else None
        self.activation = nn.GELU()

    def forward(self, x: Any) -> tuple[Any, Any]:
        h = self.drop(self.activation(self.norm_first(self.first(self.drop_in(x)))))
        h = h + self.drop(self.activation(self.norm_block(self.block(h))))
        return self.genre(h), None if self.teacher is None else self.teacher(h)


def folded_weights(net: StatNet) -> dict[str, FloatArray]:
    """What is needed at prediction time, batch norm folded into the layer before it.

    Parameters
    ----------
    net : StatNet
        A trained network.

    Returns
    -------
    dict of np.ndarray [float32]
        ``first.weight`` [n_in, width], ``first.bias``, ``block.weight`` [width, width],
        ``block.bias``, ``genre.weight`` [width, n_genres], ``genre.bias``; matrices are applied
        from the right.
    """
    first, first_bias = fold(net.first, net.norm_first)
    block, block_bias = fold(net.block, net.norm_block)
    return {
        "first.weight": first.T,
        "first.bias": first_bias,
        "block.weight": block.T,
        "block.bias": block_bias,
        "genre.weight": to_numpy(net.genre.weight).T,
        "genre.bias": to_numpy(net.genre.bias),
    }


def affine(norm: Any) -> tuple[FloatArray, FloatArray]:
    """Gain and offset that a trained batch norm applies to each channel."""
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return to_numpy(gain), to_numpy(norm.bias - norm.running_mean * gain)


def fold(layer: Any, norm: Any) -> tuple[FloatArray, FloatArray]:
    """Weight [n_out, ...] and bias [n_out] of a linear or convolutional layer and its norm."""
    gain, offset = affine(norm)
    weight = to_numpy(layer.weight)
    shaped = gain.reshape(-1, *[1] * (weight.ndim - 1))
    return weight * shaped, to_numpy(layer.bias) * gain + offset


def to_numpy(tensor: Any) -> FloatArray:
    """A tensor of any device as a float32 array."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
