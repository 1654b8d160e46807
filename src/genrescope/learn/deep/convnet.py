"""Convolutional networks that read a mel spectrogram as a picture.

Three of them. The study's, layer for layer as the 2022 study built it: it keeps where in the
picture something was and so needs 52.9 million weights. A small one of the same kind, to draw on a
blackboard. And a compact one made for little data: residual blocks, then each band range keeps its
own say while time is pooled away, because a genre does not depend on when something happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genrescope.errors import MissingExtraError, TrainingError

try:
    import torch
    from torch import nn
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("networks", extra="deep", package="torch") from error

__all__ = ["STUDY_CHANNELS", "CompactCNN", "NaiveCNN", "StudyCNN", "TimePool"]

#: Filters of the seven blocks of the study's network.
STUDY_CHANNELS = (4, 8, 16, 32, 64, 128, 256)
_STUDY_HIDDEN = 5_120
_NAIVE_CHANNELS = (8, 16, 32)
_NAIVE_POOL = 4


class StudyCNN(nn.Sequential):
    """The network of the 2022 study.

    Seven 3 x 3 convolutions with ReLU, from the second on followed by 2 x 2 max pooling, then two
    linear layers. For pictures of another size only the length of the flattened picture changes.

    Parameters
    ----------
    input_shape : (int, int, int)
        Channels, bands and frames; the study's were 3, 128 and 1,292. At least 64 x 64.
    n_genres : int
        Size of the output.
    init : str
        First weights: "he" (He et al. 2015), "glorot" (Glorot and Bengio 2010), or "torch" for
        torch's own. Nine plain layers of torch's own shrink what tells two tracks apart a
        thousandfold, and Adam at 1e-3 then ends at a constant answer. Which ones the study had is
        not known.
    """

    def __init__(
        self, *, input_shape: tuple[int, int, int], n_genres: int, init: str = "he"
    ) -> None:
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        for block, filters in enumerate(STUDY_CHANNELS):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            if block:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels = filters
        _check_left(height, width, input_shape, least=2 ** (len(STUDY_CHANNELS) - 1))
        layers += [
            nn.Flatten(),
            nn.Linear(channels * height * width, _STUDY_HIDDEN),
            nn.ReLU(),
            nn.Linear(_STUDY_HIDDEN, n_genres),
        ]
        super().__init__(*layers)
        _draw_weights(self, init)


class NaiveCNN(nn.Sequential):
    """The smallest network of the study's kind, for teaching: every filter can be drawn.

    Three 3 x 3 convolutions with ReLU and 4 x 4 max pooling, then one linear layer.

    Parameters
    ----------
    input_shape : (int, int, int)
        Channels, bands and frames; at least 64 x 64.
    n_genres : int
        Size of the output.
    init : str
        First weights, as of :class:`StudyCNN`.
    """

    def __init__(
        self, *, input_shape: tuple[int, int, int], n_genres: int, init: str = "he"
    ) -> None:
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        for filters in _NAIVE_CHANNELS:
            layers += [
                nn.Conv2d(channels, filters, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(_NAIVE_POOL),
            ]
            height, width = height // _NAIVE_POOL, width // _NAIVE_POOL
            channels = filters
        _check_left(height, width, input_shape, least=_NAIVE_POOL ** len(_NAIVE_CHANNELS))
        layers += [nn.Flatten(), nn.Linear(channels * height * width, n_genres)]
        super().__init__(*layers)
        _draw_weights(self, init)


def _draw_weights(net: nn.Module, init: str) -> None:
    if init not in ("he", "glorot", "torch"):
        raise TrainingError(f"init is {init!r}; choose he, glorot or torch")
    for layer in net.modules():
        if init == "torch" or not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if init == "he":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _check_left(height: int, width: int, shape: tuple[int, int, int], *, least: int) -> None:
    if not height or not width:
        raise TrainingError(
            f"an input of {shape[1]} x {shape[2]} is pooled away to nothing; "
            f"give at least {least} x {least}"
        )


class _Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm beside a short cut (He et al. 2016)."""

    def __init__(self, n_in: int, n_out: int, *, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.norm_first = nn.BatchNorm2d(n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm_second = nn.BatchNorm2d(n_out)
        self.activation = nn.ReLU()
        self.short: nn.Module = nn.Identity()
        if n_in != n_out or stride != (1, 1):
            # Averaging first: a stride alone would look at one value in four.
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride != (1, 1) else nn.Identity()
            self.short = nn.Sequential(
                pool, nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Any) -> Any:
        h = self.activation(self.norm_first(self.first(x)))
        return self.activation(self.norm_second(self.second(h)) + self.short(x))


class TimePool(nn.Module):
    """[batch, channels, time] to what was there on average and at most, whenever it was.

    Parameters
    ----------
    channels : int
        Of the input.
    kind : str
        "mean-max" gives both beside each other; "attention" gives a mean and a spread in which
        the network itself says which moments count (Okabe et al. 2018).
    """

    def __init__(self, channels: int, *, kind: str = "mean-max") -> None:
        super().__init__()
        if kind not in ("mean-max", "attention"):
            raise TrainingError(f"pooling is {kind!r}; choose mean-max or attention")
        self.score = nn.Conv1d(channels, 1, 1) if kind == "attention" else None

    def forward(self, h: Any) -> Any:
        if self.score is None:
            return torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1)
        weight = torch.softmax(self.score(h).float(), dim=2)
        mean = (weight * h).sum(dim=2)
        spread = (weight * (h - mean[:, :, None]) ** 2).sum(dim=2)
        return torch.cat([mean, torch.sqrt(spread + 1e-5)], dim=1)


class CompactCNN(nn.Module):
    """A residual network for little data, with pooling over all time.

    Every band is standardised by itself, residual blocks halve the bands (and from the second
    block on the frames), a convolution as high as what is left of the bands weighs them, and what
    remains is pooled over time. Any number of frames goes in.

    Parameters
    ----------
    input_shape : (int, int, int)
        Channels, bands and frames.
    n_genres : int
        Size of the output.
    widths : sequence of int
        Channels of the residual blocks, each of half the height of the one before.
    bands_each : int
        How many weightings of the bands each channel has.
    pooling : str
        "mean-max" or "attention", see :class:`TimePool`.
    dropout : float
        Before the last layer.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        n_genres: int,
        widths: Sequence[int] = (16, 32, 64),
        bands_each: int = 2,
        pooling: str = "mean-max",
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        channels, bands, _ = input_shape
        if bands < 2 ** (len(widths) + 1):
            raise TrainingError(
                f"an input of {bands} bands is too low for {len(widths)} blocks; "
                f"give at least {2 ** (len(widths) + 1)} bands"
            )
        self.norm = nn.BatchNorm1d(channels * bands)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], (5, 3), stride=(2, 1), padding=(2, 1), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        height = -(-bands // 2)
        blocks: list[nn.Module] = []
        n_in = widths[0]
        for place, width in enumerate(widths):
            blocks.append(_Residual(n_in, width, stride=(2, 2) if place else (2, 1)))
            n_in, height = width, -(-height // 2)
        self.blocks = nn.Sequential(*blocks)
        pooled = n_in * bands_each
        self.bands = nn.Sequential(
            nn.Conv2d(n_in, pooled, (height, 1), groups=n_in, bias=False),
            nn.BatchNorm2d(pooled),
            nn.ReLU(),
        )
        self.pool = TimePool(pooled, kind=pooling)
        self.drop = nn.Dropout(dropout)
        self.genre = nn.Linear(2 * pooled, n_genres)

    def forward(self, x: Any) -> Any:
        # Channels and bands as one axis, so that each band has a mean and a spread of its own.
        h = self.norm(x.flatten(1, 2)).unflatten(1, x.shape[1:3])
        h = self.bands(self.blocks(self.stem(h)))
        return self.genre(self.drop(self.pool(h.squeeze(2))))
