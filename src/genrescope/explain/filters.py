"""What the filters of a network look for: pictures that excite them, made and found.

A picture of noise is changed until a filter is excited as much as can be (activation maximisation,
Erhan et al. 2009). Left alone this ends in patterns that no sound has. So the gradient's high
frequencies are damped, the picture is moved about, blurred a little, and held smooth by its total
variation (Mordvintsev et al. 2015, Mahendran and Vedaldi 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import hz_to_mel, mel_to_hz
from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.trained import convolutions

try:
    import torch
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("drawing filters", extra="deep", package="torch") from error

if TYPE_CHECKING:
    from genrescope.catalog.prepared import PreparedData

__all__ = ["Clip", "Excited", "FilterImages", "excite", "exciting_clips", "layer_of"]

FloatArray = npt.NDArray[np.float32]

_LOW, _HIGH = -1.65, 2.59  # of a network's input: 72 dB below the loudest, and the loudest
_BATCH = 64
_CONTEXT = (40, 24)  # bands and frames of a piece of a clip, at least: 3 x 3 say nothing alone


@dataclass(frozen=True)
class Excited:
    """How a picture is sought.

    Attributes
    ----------
    steps : int
        Of gradient ascent (Adam).
    learning_rate : float
        Of each step, in units of the input (one is 17 dB).
    jitter : int
        The picture is moved by up to so many bands and frames before each step, but no more than
        an eighth of what the filter sees.
    blur : float
        Standard deviation, in pixels, of a blur every four steps.
    smooth : float
        Weight of the total variation.
    decay : float
        A frequency f of the gradient, 0 to 0.5 per pixel, is divided by 1 + (f / 0.05) ** decay.
    seed : int
        Of the first noise and the moves.
    """

    steps: int = 96
    learning_rate: float = 0.06
    jitter: int = 4
    blur: float = 0.5
    smooth: float = 0.15
    decay: float = 1.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FilterImages:
    """Pictures that excite the filters of a layer.

    Attributes
    ----------
    layer : int
        Which convolution it is, from 1.
    name : str
        Its name in the network.
    filters : tuple of int
        Which filters, from 0.
    images : np.ndarray [shape=(filters, bands, frames), float32]
        In the units of the input; the part that the filter in the middle of its map sees.
    before, after : np.ndarray [shape=(filters,), float64]
        How much the filter is excited by the first noise, and by the picture.
    bands : (int, int)
        First band of the picture, and the one after its last.
    total_bands : int
        Of the input.
    """

    layer: int
    name: str
    filters: tuple[int, ...]
    images: FloatArray
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    bands: tuple[int, int]
    total_bands: int

    @property
    def hertz(self) -> tuple[float, float]:
        """Lowest and highest frequency of the pictures, where the input is mel up to 22,050 Hz."""
        edges = mel_to_hz(np.linspace(0.0, hz_to_mel(22_050.0), self.total_bands + 2))
        return float(edges[self.bands[0]]), float(edges[self.bands[1] + 1])


def _no_piece() -> FloatArray:
    return np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class Clip:
    """A real clip that excites a filter.

    Attributes
    ----------
    track_id : int
    title, genre : str
    excitement : float
        The highest value of the filter anywhere in the clip.
    at : float
        Where in the clip that is: a share of its time, 0 to 1.
    frames, bands : (int, int)
        What the filter sees there: the first one, and the one after the last. At an edge it sees
        beyond the clip: below 0, or past the end.
    piece : np.ndarray [shape=(bands, frames), float32]
        The clip there, in dB below its loudest: what the filter sees and, where that is little,
        what is around it.
    corner : (int, int)
        First band and first frame of the piece.
    """

    track_id: int
    title: str
    genre: str
    excitement: float
    at: float
    frames: tuple[int, int] = (0, 0)
    bands: tuple[int, int] = (0, 0)
    piece: FloatArray = field(default_factory=_no_piece, repr=False, compare=False)
    corner: tuple[int, int] = (0, 0)


def layer_of(net: Any, number: int) -> tuple[str, Any]:
    """Name and module of a convolution, counted from 1.

    Raises
    ------
    DataError
        If there is none of that number.
    """
    layers = convolutions(net)
    if not 1 <= number <= len(layers):
        raise DataError(f"there is no layer {number}; the convolutions are 1 to {len(layers)}")
    return layers[number - 1]


def excite(
    net: Any,
    input_shape: tuple[int, int, int],
    *,
    layer: int = 1,
    filters: Sequence[int] | None = None,
    how: Excited | None = None,
) -> FilterImages:
    """Make pictures that excite the filters of a layer.

    Parameters
    ----------
    net : torch.nn.Module
        That takes [batch, channels, bands, frames]; it is put into evaluation mode.
    input_shape : (int, int, int)
        Channels, bands and frames.
    layer : int
        Which convolution, from 1.
    filters : sequence of int, optional
        Which filters, from 0. Default: all of the layer.
    how : Excited, optional
        How the pictures are sought.

    Returns
    -------
    FilterImages

    Raises
    ------
    DataError
        If there is no such layer or filter.
    """
    how = how or Excited()
    name, module = layer_of(net, layer)
    chosen = tuple(range(module.out_channels)) if filters is None else tuple(filters)
    wrong = [one for one in chosen if not 0 <= one < module.out_channels]
    if wrong or not chosen:
        raise DataError(
            f"layer {layer} has the filters 0 to {module.out_channels - 1}; "
            f"{wrong[0] if wrong else 'none'} was asked for"
        )
    net.eval()
    channels, height, width = input_shape
    generator = torch.Generator().manual_seed(how.seed)
    noise = 0.1 * torch.randn((1, 1, height, width), generator=generator)
    x = noise.repeat(len(chosen), 1, 1, 1).requires_grad_(True)
    rows, places = torch.arange(len(chosen)), torch.tensor(chosen)
    optimiser = torch.optim.Adam([x], lr=how.learning_rate)
    damp = _damping(height, width, how.decay)
    top, bottom, left, right = _field(net, module, input_shape)
    jitter = min(how.jitter, (bottom - top) // 8, (right - left) // 8)

    def excitement(picture: Any) -> Any:
        """Of each filter [n], where its map is in the middle; all channels get the picture."""
        found = _activations(net, module, picture.expand(-1, channels, -1, -1))
        one = found[rows, places]
        return one[:, one.shape[1] // 2, one.shape[2] // 2]

    with torch.no_grad():
        before = excitement(x).double().numpy()
    for step in range(how.steps):
        moves = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        optimiser.zero_grad()
        moved = torch.roll(x, moves, dims=(2, 3))
        loss = -excitement(moved).sum() + how.smooth * _variation(x)
        loss.backward()
        with torch.no_grad():
            gradient = torch.fft.irfft2(torch.fft.rfft2(x.grad) * damp, s=(height, width))
            # Each filter at its own scale, so that loud ones do not learn faster.
            x.grad = gradient / (gradient.flatten(1).norm(dim=1)[:, None, None, None] + 1e-12)
        optimiser.step()
        with torch.no_grad():
            if how.blur and step % 4 == 3 and step < how.steps - 1:
                x.copy_(_blurred(x, how.blur))
            x.clamp_(_LOW, _HIGH)
    with torch.no_grad():
        after = excitement(x).double().numpy()
    return FilterImages(
        layer=layer,
        name=name,
        filters=chosen,
        images=x.detach()[:, 0, top:bottom, left:right].numpy().copy(),
        before=before,
        after=after,
        bands=(top, bottom),
        total_bands=height,
    )


def exciting_clips(
    net: Any,
    data: PreparedData,
    *,
    layer: int = 1,
    filters: Sequence[int] | None = None,
    most: int = 3,
) -> dict[int, tuple[Clip, ...]]:
    """The real clips that excite each filter most.

    Parameters
    ----------
    net : torch.nn.Module
        That reads prepared frames [batch, 1, 128, 128].
    data : PreparedData
        The clips.
    layer, filters
        As of :func:`excite`.
    most : int
        How many for each filter.

    Returns
    -------
    dict of int to tuple of Clip
        By filter, the most exciting first. Clips without sound are left out: below their loudest
        is nothing, so they are at the top of the scale everywhere.

    Raises
    ------
    DataError
        If there is no such layer.
    """
    from genrescope.learn.deep.data import decibels, picture

    _, module = layer_of(net, layer)
    chosen = tuple(range(module.out_channels)) if filters is None else tuple(filters)
    highest, where = [], []
    net.eval()
    with torch.no_grad():
        for first in range(0, len(data), _BATCH):
            mel = torch.from_numpy(np.ascontiguousarray(data.mel[first : first + _BATCH]))
            found = _activations(net, module, picture(decibels(mel)))[:, list(chosen)]
            value, place = found.flatten(2).max(dim=2)
            highest.append(value.numpy())
            where.append(place.numpy())
    values, places = np.concatenate(highest), np.concatenate(where)
    values[data.mel.max(axis=(1, 2)) == data.mel.min(axis=(1, 2))] = -np.inf
    height, width = found.shape[2:]
    seen = _Seen(_field(net, module, (1, *data.mel.shape[1:])), (height, width), data.mel.shape[1:])
    out = {}
    for column, one in enumerate(chosen):
        best = np.argsort(-values[:, column], kind="stable")[:most].tolist()
        mel = torch.from_numpy(np.ascontiguousarray(data.mel[best]))
        db = decibels(mel).numpy()
        clips = []
        for row, picture_db in zip(best, db, strict=True):
            up, along = divmod(int(places[row, column]), width)
            bands, frames = seen.by(up, along)
            piece, corner = _cut(picture_db, bands, frames)
            clips.append(
                Clip(
                    track_id=int(data.track_id[row]),
                    title=str(data.title[row]),
                    genre=str(data.genre_top[row]),
                    excitement=float(values[row, column]),
                    at=along / max(1, width - 1),
                    frames=frames,
                    bands=bands,
                    piece=piece,
                    corner=corner,
                )
            )
        out[one] = tuple(clips)
    return out


@dataclass(frozen=True)
class _Seen:
    """What each place of a map sees of the input, from what the middle one sees."""

    box: tuple[int, int, int, int]
    map_size: tuple[int, int]
    input_size: tuple[int, ...]

    def by(self, up: int, along: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """First band and the one after the last, and the same of frames."""
        top, bottom, left, right = self.box
        down = (up - self.map_size[0] // 2) * round(self.input_size[0] / self.map_size[0])
        over = (along - self.map_size[1] // 2) * round(self.input_size[1] / self.map_size[1])
        return (top + down, bottom + down), (left + over, right + over)


def _cut(
    db: FloatArray, bands: tuple[int, int], frames: tuple[int, int]
) -> tuple[FloatArray, tuple[int, int]]:
    """A piece of a clip around what is seen, moved where it would leave it; and its corner."""
    spans = []
    for (first, last), least, size in zip((bands, frames), _CONTEXT, db.shape, strict=True):
        wide = min(size, max(least, last - first))
        start = min(max(0, (first + last - wide) // 2), size - wide)
        spans.append((start, start + wide))
    (low, high), (left, right) = spans
    return db[low:high, left:right].copy(), (low, left)


class _Reached(Exception):
    """The layer has answered: what follows it is not needed."""


def _activations(net: Any, module: Any, x: Any) -> Any:
    """What a layer gives for an input, before any non-linearity."""
    kept: list[Any] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(output)
        raise _Reached

    handle = module.register_forward_hook(keep)
    try:
        net(x)
    except _Reached:
        pass
    finally:
        handle.remove()
    return kept[0]


def _field(net: Any, module: Any, shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The part of the input that the middle of a layer's map depends on: edges of a box."""
    generator = torch.Generator().manual_seed(0)
    # Max pooling passes on one gradient of four, another one for other noise.
    x = torch.randn((8, *shape), generator=generator).requires_grad_(True)
    found = _activations(net, module, x)
    middle = found[:, :, found.shape[2] // 2, found.shape[3] // 2]
    seen = torch.autograd.grad((middle**2).sum(), x)[0].abs().sum(dim=(0, 1)) > 0
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    if not len(rows):
        return 0, shape[1], 0, shape[2]
    edges = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    top, bottom, left, right = (int(edge) for edge in edges)
    return top, bottom, left, right


def _damping(height: int, width: int, decay: float) -> Any:
    """What each frequency of a gradient is weighted by [height, width // 2 + 1]."""
    down = torch.fft.fftfreq(height)[:, None]
    across = torch.fft.rfftfreq(width)[None]
    return 1.0 / (1.0 + (torch.sqrt(down**2 + across**2) / 0.05) ** decay) if decay else 1.0


def _variation(x: Any) -> Any:
    return (x.diff(dim=2).abs().mean(dim=(1, 2, 3)) + x.diff(dim=3).abs().mean(dim=(1, 2, 3))).sum()


def _blurred(x: Any, sigma: float) -> Any:
    reach = max(1, round(3 * sigma))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(x, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(
        functional.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :]
    )
