"""Prepared tracks as they would have sounded through a narrower channel.

A file at 16 kHz, an old MP3 at 64 kbit/s, a track recorded from the radio: all of them lack the top
of the spectrum that the training clips have, and a recogniser that never met such a file reads the
hole as a genre. So part of what it is trained on has its top cut off, here, on the prepared data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.mel import hz_to_mel, mel_to_hz, mfcc_matrix
from genrescope.audio.statistics import N_MFCC

__all__ = ["band_limited", "draw_cutoffs"]

FloatArray = npt.NDArray[np.float32]

LOWEST_HZ = 3_500.0  # telephone speech
HIGHEST_HZ = 14_000.0
_TILT_DB = 0.7  # spread of a smooth equaliser curve: mastering differs between releases
# The loudest band stands out from the smooth spectrum that 20 coefficients describe; measured on
# real clips, where this halves the error against really filtering the sound.
_PEAK_ABOVE_SMOOTH_DB = 9.0
_BATCH = 128


def _centres(top_hz: float) -> npt.NDArray[np.float64]:
    edges = np.linspace(0.0, float(hz_to_mel(top_hz)), frames.N_BANDS + 2)
    return np.asarray(mel_to_hz(edges[1:-1]))


_FRAME_HZ = _centres(frames.REFERENCE_HZ / 2)
_DENSE_HZ = _centres(frames.DENSE_HZ / 2)


def draw_cutoffs(n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Cut-off frequencies, uniform on a logarithmic scale.

    Parameters
    ----------
    n : int
        How many.
    rng : np.random.Generator
        Where they are drawn from.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        Hz, between 3.5 and 14 kHz.
    """
    return np.exp(rng.uniform(np.log(LOWEST_HZ), np.log(HIGHEST_HZ), size=n))


def band_limited(
    mel: npt.NDArray[np.uint8],
    mfcc_3s: npt.NDArray[np.floating[Any]],
    *,
    cutoff_hz: npt.NDArray[np.float64],
    rng: np.random.Generator | None = None,
) -> FloatArray:
    """Feature rows of prepared tracks without what is above a cut-off.

    The mel frames lose their bands above it. Of the dense MFCC sequence only 20 coefficients are
    there, so the cut is made on the smooth spectrum that they stand for.

    Parameters
    ----------
    mel : np.ndarray [shape=(n, 128, 128), uint8]
        Mel frames.
    mfcc_3s : np.ndarray [shape=(n, 130, 20), floating]
        Dense MFCC sequences.
    cutoff_hz : np.ndarray [shape=(n,), float64]
        One cut-off a track, in Hz.
    rng : np.random.Generator, optional
        If given, every track also passes a gentle random equaliser drawn from it.

    Returns
    -------
    np.ndarray [shape=(n, N_FEATURES), float32]
        Like :func:`genrescope.audio.frames.describe_prepared`.
    """
    parts = [np.empty((0, frames.N_FEATURES), dtype=np.float32)]
    for first in range(0, len(mel), _BATCH):
        part = slice(first, first + _BATCH)
        frame_eq, dense_eq = _equalisers(len(mel[part]), rng)
        cut = cutoff_hz[part, None, None]
        db = mel[part].astype(np.float32) * np.float32(frames.RANGE_DB / 255.0)
        db += frame_eq[:, :, None]
        db = np.where(_FRAME_HZ[None, :, None] > cut, np.float32(-frames.RANGE_DB), db)
        dense = mfcc_3s[part].astype(np.float32).transpose(0, 2, 1)
        basis = mfcc_matrix(N_MFCC, frames.N_BANDS)
        smooth = basis.T @ dense + dense_eq[:, :, None]
        peak = smooth.max(axis=(1, 2), keepdims=True) + np.float32(_PEAK_ABOVE_SMOOTH_DB)
        floor = peak - np.float32(frames.RANGE_DB)
        smooth = np.where(_DENSE_HZ[None, :, None] > cut, floor, smooth)
        parts.append(frames.describe_decibels(db, np.ascontiguousarray(basis @ smooth)))
    return np.concatenate(parts)


def _equalisers(n: int, rng: np.random.Generator | None) -> tuple[FloatArray, FloatArray]:
    """Smooth random gain curves in dB on the bands of the frames and of the dense part."""
    if rng is None:
        flat = np.zeros((n, frames.N_BANDS), dtype=np.float32)
        return flat, flat
    order = np.arange(1, 6)
    weights = rng.normal(scale=_TILT_DB, size=(n, len(order))) / np.sqrt(order)
    top = float(hz_to_mel(frames.TOP_HZ))

    def curve(hz: npt.NDArray[np.float64]) -> FloatArray:
        position = np.minimum(hz_to_mel(hz) / top, 1.0)
        gains = weights @ np.cos(np.pi * order[:, None] * position[None, :])
        return np.asarray(gains, dtype=np.float32)

    return curve(_FRAME_HZ), curve(_DENSE_HZ)
