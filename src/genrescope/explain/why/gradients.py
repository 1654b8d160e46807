"""What of a picture counts for a genre, asked of the network itself: two maps from gradients.

Grad-CAM (Selvaraju et al. 2017) weighs the maps of a convolution by what they mean for the genre:
it is coarse, and says where. Integrated gradients (Sundararajan et al. 2017) adds up the gradient
on the way from a picture without events to this one: its values add up to the difference that the
picture makes, which :attr:`Integrated.missing` measures.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.trained import convolutions
from genrescope.explain.why.saliency import Floats, Score

try:
    import torch
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("gradients", extra="deep", package="torch") from error

__all__ = [
    "Integrated",
    "calm",
    "cells_of",
    "grad_cam",
    "integrated_gradients",
    "randomised",
    "score_of_picture",
]

FloatArray = npt.NDArray[np.float32]

_BATCH = 32


@dataclass(frozen=True, eq=False)
class Integrated:
    """Integrated gradients of a picture.

    Attributes
    ----------
    values : np.ndarray [shape=(bands, frames), float64]
        What each value adds to the log-odds of the genre.
    difference : float
        Log-odds of the picture less those of the baseline.
    """

    values: Floats
    difference: float

    @property
    def missing(self) -> float:
        """How far the values are from adding up to the difference (0 with endless steps)."""
        return abs(float(self.values.sum()) - self.difference)


def calm(x: FloatArray) -> FloatArray:
    """A picture [..., bands, frames] without events: each band at its mean over time."""
    mean: FloatArray = np.broadcast_to(x.mean(axis=-1, keepdims=True), x.shape).copy()
    return mean


def grad_cam(
    net: Any, x: FloatArray, genre: int, *, layer: int | None = None, others: tuple[Any, ...] = ()
) -> Floats:
    """Where a convolution saw what speaks for a genre.

    Parameters
    ----------
    net : torch.nn.Module
        A convolutional network; it is put into evaluation mode.
    x : np.ndarray [shape=(channels, bands, frames), float32]
        Its input.
    genre : int
        Place of the genre in its answer.
    layer : int, optional
        Which convolution, from 1. Default: the last whose map has two dimensions.
    others : tuple of torch.Tensor
        What else goes in, with a batch of 1.

    Returns
    -------
    np.ndarray [shape=(bands, frames), float64]
        0 and above; 1 where most.

    Raises
    ------
    DataError
        If there is no such convolution or genre.
    """
    net.eval()
    layers = convolutions(net)
    if layer is not None and not 1 <= layer <= len(layers):
        raise DataError(f"there is no layer {layer}; the convolutions are 1 to {len(layers)}")
    maps: dict[int, Any] = {}

    def keeper(place: int) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            maps[place] = output

        return keep

    handles = [part.register_forward_hook(keeper(n)) for n, (_, part) in enumerate(layers)]
    try:
        odds = _log_odds(net(torch.from_numpy(x)[None].requires_grad_(True), *others), genre)[0]
    finally:
        for handle in handles:
            handle.remove()
    flat = [n for n, found in maps.items() if min(found.shape[2:]) > 1]
    place = layer - 1 if layer is not None else (flat[-1] if flat else len(layers) - 1)
    found = maps[place]
    gradient = torch.autograd.grad(odds, found)[0]
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    coarse = torch.relu((weights * found).sum(dim=1, keepdim=True)).detach()
    fine = functional.interpolate(coarse, size=x.shape[1:], mode="bilinear", align_corners=False)
    values: Floats = fine[0, 0].double().numpy()
    top = float(values.max())
    return values / top if top else values


def integrated_gradients(
    net: Any,
    x: FloatArray,
    genre: int,
    *,
    baseline: FloatArray | None = None,
    steps: int = 64,
    others: tuple[Any, ...] = (),
) -> Integrated:
    """What each value of a picture adds to the log-odds of a genre.

    Parameters
    ----------
    net, x, genre, others
        As of :func:`grad_cam`; any network whose answer can be differentiated.
    baseline : np.ndarray [shape=(channels, bands, frames), float32], optional
        Where the way begins. Default: :func:`calm` of the picture.
    steps : int
        Of the way; more come closer to adding up.

    Returns
    -------
    Integrated

    Raises
    ------
    DataError
        If `steps` is below 1, the baseline has another shape, or there is no such genre.
    """
    start = calm(x) if baseline is None else baseline
    if steps < 1 or start.shape != x.shape:
        raise DataError(
            f"{steps} steps from a baseline of {list(start.shape)} to {list(x.shape)}; give 1 step "
            "or more, and a baseline of the same shape"
        )
    net.eval()
    here, there = torch.from_numpy(start), torch.from_numpy(x)
    total = torch.zeros(x.shape, dtype=torch.float64)
    middles = (torch.arange(steps) + 0.5) / steps
    for first in range(0, steps, _BATCH):
        part = middles[first : first + _BATCH, None, None, None]
        way = (here + part * (there - here)).requires_grad_(True)
        odds = _log_odds(net(way, *(_repeated(o, len(way)) for o in others)), genre)
        total += torch.autograd.grad(odds.sum(), way)[0].double().sum(dim=0)
    values = (total / steps * (there - here).double()).sum(dim=0)
    with torch.no_grad():
        ends = torch.stack([here, there])
        odds = _log_odds(net(ends, *(_repeated(o, 2) for o in others)), genre).double()
    return Integrated(values.numpy(), float(odds[1] - odds[0]))


def randomised(net: Any, *, seed: int = 0) -> Any:
    """A copy of a network whose weights are in a random order: it has forgotten what it learnt.

    A map that looks the same for both tells of the picture, not of the network (Adebayo et al.
    2018). Each weight keeps its values, so that the answers stay in range.
    """
    other = deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            mixed = weight.flatten()[torch.randperm(weight.numel(), generator=generator)]
            weight.copy_(mixed.reshape(weight.shape))
    return other.eval()


def score_of_picture(
    net: Any, x: FloatArray, genre: int, shape: tuple[int, int], *, others: tuple[Any, ...] = ()
) -> Score:
    """The log-odds of a genre as a function of the cells of a picture that are kept.

    Parameters
    ----------
    net, x, genre, others
        As of :func:`grad_cam`; any network.
    shape : (int, int)
        Bands and times of the grid of cells. What is hidden is as :func:`calm` has it.

    Returns
    -------
    callable
        See :data:`genrescope.explain.why.saliency.Score`.
    """
    net.eval()
    here, there = torch.from_numpy(calm(x)), torch.from_numpy(x)
    rows = np.arange(x.shape[1]) * shape[0] // x.shape[1]
    columns = np.arange(x.shape[2]) * shape[1] // x.shape[2]

    def score(kept: npt.NDArray[np.bool_]) -> Floats:
        mask = torch.from_numpy(kept[:, rows][:, :, columns])[:, None]
        with torch.no_grad():
            answer = net(torch.where(mask, there, here), *(_repeated(o, len(kept)) for o in others))
            odds: Floats = _log_odds(answer, genre).double().numpy()
        return odds

    return score


def cells_of(values: Floats, shape: tuple[int, int]) -> Floats:
    """A map of every value as one of cells: their sums [bands, times]."""
    rows = np.arange(values.shape[0]) * shape[0] // values.shape[0]
    columns = np.arange(values.shape[1]) * shape[1] // values.shape[1]
    cells = np.zeros(shape)
    np.add.at(cells, (rows[:, None], columns[None, :]), values)
    return cells


def _log_odds(logits: Any, genre: int) -> Any:
    """Of one genre against all others [n]."""
    if not 0 <= genre < logits.shape[1]:
        raise DataError(f"there is no genre {genre}; the network knows 0 to {logits.shape[1] - 1}")
    others = torch.cat([logits[:, :genre], logits[:, genre + 1 :]], dim=1)
    return logits[:, genre] - torch.logsumexp(others, dim=1)


def _repeated(other: Any, n: int) -> Any:
    return other.expand(n, *other.shape[1:])
