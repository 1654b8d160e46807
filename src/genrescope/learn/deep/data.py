"""Mel frames as networks take them: whole on the device, a batch at a time, varied there.

All tracks fit: FMA-small is 116 MB as it is stored, one byte a value. So a step needs no loader, no
worker and no copy: rows are picked, turned into dB and varied where the network is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.store import load_frames
from genrescope.catalog.prepared import PreparedData
from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.deep.settings import Augmentation

try:
    import torch
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="deep", package="torch") from error

__all__ = ["Feed", "FrameData", "decibels", "picture", "vary"]

IntArray = npt.NDArray[np.int64]

# Mean and spread of all values of FMA-small in dB below the loudest: inputs of about unit size.
_MEAN_DB = -44.0
_SPREAD_DB = 17.0


@dataclass(frozen=True, eq=False)
class FrameData:
    """Labelled tracks to learn from.

    Attributes
    ----------
    track_id : np.ndarray [shape=(n,), int64]
    mel : np.ndarray [shape=(n, 128, 128), uint8]
        Bands by frames, as :func:`genrescope.catalog.prepared.load_prepared` gives them.
    mfcc : np.ndarray [shape=(n, 130, 20), float16]
        The dense sequence.
    y : np.ndarray [shape=(n,), int64]
        Positions in ``genres``.
    genres : tuple of str
        In alphabetical order.
    artist : np.ndarray [shape=(n,), str]
        Never empty.
    """

    track_id: IntArray
    mel: npt.NDArray[np.uint8]
    mfcc: npt.NDArray[np.float16]
    y: IntArray
    genres: tuple[str, ...]
    artist: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.y)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> FrameData:
        """Read a prepared folder or a feature store; tracks without a genre are left out.

        Parameters
        ----------
        folder : path
            See :func:`genrescope.audio.store.load_frames`.

        Returns
        -------
        FrameData

        Raises
        ------
        DataError
            If the folder is not as it should be, a track has no artist, or values are NaN.
        """
        return cls.of(load_frames(folder))

    @classmethod
    def of(cls, data: PreparedData) -> FrameData:
        """The labelled tracks of prepared data; errors as of :meth:`load`."""
        known = data.genre_top != ""
        if not known.all():
            data = data.where(known)
        if lost := int((data.artist_id == "").sum()):
            raise DataError(
                f"{lost} of {len(data)} tracks have no artist_id, so no split by artist can be "
                "made; fill the column in small_tracks.csv"
            )
        odd = ~np.isfinite(data.mfcc_3s.reshape(len(data), -1)).all(axis=1)
        if odd.any():
            raise DataError(
                f"{int(odd.sum())} of {len(data)} tracks have NaN or infinity in mfcc_3s (first: "
                f"{data.track_id[odd][0]}); drop them from small_tracks.csv, or prepare them again"
            )
        names, codes = np.unique(data.genre_top, return_inverse=True)
        if len(names) < 2:
            raise DataError(
                f"{len(data)} tracks of {len(names)} genre(s): there is nothing to tell apart; "
                "give tracks of two genres or more"
            )
        return cls(
            track_id=data.track_id,
            mel=data.mel,
            mfcc=data.mfcc_3s,
            y=codes.astype(np.int64),
            genres=tuple(str(name) for name in names),
            artist=data.artist_id,
        )

    @property
    def sha256(self) -> str:
        """Of all that is learnt from, in the order of the tracks."""
        digest = hashlib.sha256()
        for part in (self.track_id, self.mel, self.mfcc, self.y):
            digest.update(np.ascontiguousarray(part).data)
        digest.update("\n".join((*self.genres, *self.artist.tolist())).encode())
        return digest.hexdigest()


class Feed:
    """The tracks on a device.

    Parameters
    ----------
    data : FrameData
        All tracks.
    device : torch.device
        Where they go, whole.
    dense : bool
        Whether the network hears the dense sequence, too.
    """

    def __init__(self, data: FrameData, *, device: Any, dense: bool) -> None:
        self.device = device
        self._mel = torch.from_numpy(np.ascontiguousarray(data.mel)).to(device)
        self._dense: Any = None
        if dense:
            mfcc = np.ascontiguousarray(data.mfcc.transpose(0, 2, 1))
            level_free = torch.from_numpy(mfcc).to(device).float()
            # As the front end has it: without the mean of coefficient 0, which is the level.
            level_free[:, 0] -= level_free[:, 0].mean(dim=1, keepdim=True)
            self._dense = level_free
            self._spread = level_free.std(dim=(0, 2), keepdim=True)
        self.y = torch.from_numpy(data.y).to(device)

    def clean(self, rows: Any) -> tuple[Any, ...]:
        """Inputs of these rows (a tensor of positions) as they are."""
        x = picture(decibels(self._mel[rows]))
        return (x,) if self._dense is None else (x, self._dense[rows])

    def varied(self, rows: Any, how: Augmentation, *, generator: Any) -> tuple[Any, ...]:
        """Inputs of these rows, each varied in its own way drawn from a generator."""
        x = picture(vary(decibels(self._mel[rows]), how, generator=generator))
        if self._dense is None:
            return (x,)
        dense = self._dense[rows]
        if how.dense_offset:
            offset = torch.randn(
                (*dense.shape[:2], 1), generator=generator, device=self.device, dtype=dense.dtype
            )
            dense = dense + how.dense_offset * self._spread * offset
        return (x, dense)


def decibels(mel: Any) -> Any:
    """What the front end says of stored frames.

    Parameters
    ----------
    mel : torch.Tensor [shape=(n, 128, 128), uint8]
        As they are stored.

    Returns
    -------
    torch.Tensor [shape=(n, 115, 128), float32]
        Bands below 15 kHz in dB below the loudest of them, not below -72, as
        :func:`genrescope.audio.frames.describe_decibels` has them.
    """
    db = mel[:, : frames.READ_BANDS].float() * (frames.RANGE_DB / 255.0)
    return (db - db.amax(dim=(1, 2), keepdim=True)).clamp_min(-frames.FLOOR_DB)


def picture(db: Any) -> Any:
    """Frames in dB [n, 115, frames] as networks take them [n, 1, 128, frames].

    About zero mean and unit spread; the bands that are not read are as quiet as can be.
    """
    x = (db - _MEAN_DB) * (1.0 / _SPREAD_DB)
    quiet = (-frames.FLOOR_DB - _MEAN_DB) / _SPREAD_DB
    missing = frames.N_BANDS - frames.READ_BANDS
    return functional.pad(x, (0, 0, 0, missing), value=quiet)[:, None]


def vary(db: Any, how: Augmentation, *, generator: Any) -> Any:
    """Another performance of each clip.

    Parameters
    ----------
    db : torch.Tensor [shape=(n, bands, frames), float32]
        In dB.
    how : Augmentation
        What is varied; ``mixup`` and ``dense_offset`` are not done here.
    generator : torch.Generator
        On the device of ``db``.

    Returns
    -------
    torch.Tensor [shape=(n, bands, frames or fewer), float32]
        In dB; what is hidden is at the mean.
    """
    n, bands, time = db.shape
    device = db.device

    def uniform(*shape: int) -> Any:
        return torch.rand(shape, generator=generator, device=device)

    if share := 1.0 if how.crop < 1 else how.roll:  # a part may begin anywhere
        start = (uniform(n) * time).long() * (uniform(n) < share)
        at = (torch.arange(time, device=device)[None] + start[:, None]) % time
        db = db.gather(2, at[:, None, :].expand(-1, bands, -1))
    if how.crop < 1:
        db = db[:, :, : max(1, round(how.crop * time))]
        time = db.shape[2]
    if how.shift:
        by = (uniform(n) * (2 * how.shift + 1)).long() - how.shift
        at = (torch.arange(bands, device=device)[None] + by[:, None]).clamp(0, bands - 1)
        db = db.gather(1, at[:, :, None].expand(-1, -1, time))
    if how.equaliser_db:
        order = torch.arange(1, 5, device=device)[:, None]
        curves = torch.cos(torch.pi * order * torch.linspace(0, 1, bands, device=device)[None])
        gains = torch.randn((n, 4), generator=generator, device=device) @ curves
        db = db + how.equaliser_db * gains[:, :, None]
    hidden = torch.zeros((n, bands, time), dtype=torch.bool, device=device)
    for _ in range(how.band_masks):
        hidden |= _stripe(n, bands, how.band_mask, uniform)[:, :, None]
    for _ in range(how.time_masks):
        hidden |= _stripe(n, time, how.time_mask, uniform)[:, None, :]
    return db.masked_fill(hidden, _MEAN_DB) if how.band_masks or how.time_masks else db


def _stripe(n: int, size: int, most: int, uniform: Any) -> Any:
    """True in a stripe of 0 to ``most`` places in a row, somewhere in ``size`` [n, size]."""
    length = (uniform(n) * (min(most, size) + 1)).floor()
    start = (uniform(n) * (size - length + 1)).floor()
    at = torch.arange(size, device=length.device)[None]
    return (at >= start[:, None]) & (at < (start + length)[:, None])
