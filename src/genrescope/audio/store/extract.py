"""From one audio file to one row of a feature store; this runs in the workers.

A file is decoded once for all features, at its own rate, and only as much of it as they read. Its
SHA-256 is taken of all of it.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.decode import open_audio
from genrescope.audio.descriptors import fma_descriptors
from genrescope.audio.files import open_regular, printable
from genrescope.audio.mel import mel_spectrogram, mfcc_matrix, power_to_db
from genrescope.audio.statistics import N_MFCC
from genrescope.audio.store.recipe import (
    MEL_BANDS,
    MEL_HOP,
    MEL_HZ,
    MEL_N_FFT,
    RANGE_DB,
    Recipe,
    quantise,
)
from genrescope.audio.windows import MIN_SECONDS
from genrescope.catalog.tags import read_tags
from genrescope.errors import AudioError, AudioSilentError, AudioTooShortError

__all__ = ["Extracted", "Job", "extract_file", "extract_samples", "look"]

FloatArray = npt.NDArray[np.float32]

_SILENCE = 1e-4  # peak amplitude: -80 dB of full scale
_FEW = 1 + int(1.6 * MEL_HZ) // MEL_HOP  # frames; a shorter piece is repeated as sound


@dataclass(frozen=True)
class Job(os.PathLike[str]):
    """A file to be read.

    Attributes
    ----------
    id : str
        The track's name in the store.
    path : str
        The file.
    known : str
        SHA-256 of the file that the store has for this track, or empty; a file that is the same
        is not decoded.
    status : tuple of (int, int, int)
        What :func:`look` said of the file when it was put on the list; -1 where there was none.
    """

    id: str
    path: str
    known: str = ""
    status: tuple[int, int, int] = (-1, -1, -1)

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Extracted:
    """What came out of a file.

    Attributes
    ----------
    status : tuple of (int, int, int)
        Size, mtime and ctime in ns, from before it was read.
    sha256 : str
        Of all of it.
    arrays : dict of str to np.ndarray
        One row of each array of the recipe; empty if the file was known.
    descriptors : np.ndarray [shape=(518,), float32] or None
    facts : dict of str to Any
        The remaining fields of :class:`genrescope.audio.store.journal.Row`.
    """

    status: tuple[int, int, int]
    sha256: str
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    descriptors: FloatArray | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def look(path: str) -> tuple[int, int, int] | None:
    """Size, mtime and ctime (ns) of a file; None if it cannot be seen."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def extract_file(job: Job, *, recipe: Recipe) -> Extracted:
    """All features of one file.

    Parameters
    ----------
    job : Job
        The file.
    recipe : Recipe
        What to compute.

    Returns
    -------
    Extracted

    Raises
    ------
    AudioError
        Whatever is wrong with the file, each by its own class.
    """
    status, digest = _identity(job.path)
    if digest == job.known:
        return Extracted(status, digest)
    try:
        with open_audio(job.path) as audio:
            y = audio.read(duration=_longest(recipe))
            sr = audio.sr
        arrays, row, facts = extract_samples(y, sr=sr, recipe=recipe)
    except AudioError as error:
        if printable(job.path) in str(error):
            raise
        raise type(error)(f"{printable(job.path)}: {error}") from error
    tags = read_tags(job.path)
    if look(job.path) != status:
        raise AudioError(
            f"{printable(job.path)}: the file changed while it was read; run again when whoever "
            "writes to it is done"
        )
    facts |= {"title": tags.title or "", "artist": tags.artist or "", "genres": tags.genres}
    return Extracted(status, digest, arrays, row, facts)


def extract_samples(
    y: FloatArray, *, sr: int, recipe: Recipe
) -> tuple[dict[str, npt.NDArray[Any]], FloatArray | None, dict[str, Any]]:
    """All features of sound that is in memory.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), float32]
        Mono samples from the beginning of a track, in [-1, 1].
    sr : int > 0
        Their rate in Hz.
    recipe : Recipe
        What to compute.

    Returns
    -------
    arrays : dict of str to np.ndarray
        As :attr:`Recipe.arrays` names and shapes them.
    descriptors : np.ndarray [shape=(518,), float32] or None
    facts : dict
        sr, seconds, mel_frames, level_db and dense_frames; see
        :class:`genrescope.audio.store.journal.Row`.

    Raises
    ------
    AudioTooShortError
        If there is less than half a second.
    AudioSilentError
        If nothing is louder than -80 dB of full scale.
    AudioError
        What a front end refuses.
    """
    excerpt = y[: int(recipe.seconds * sr)]
    arrays: dict[str, npt.NDArray[Any]] = {}
    row: FloatArray | None = None
    facts: dict[str, Any] = {
        "sr": int(sr),
        "seconds": round(len(y) / sr, 6),
        "mel_frames": 0,
        "level_db": 0.0,
        "dense_frames": 0,
    }
    db = np.empty((0, 0), np.float32)
    if "mel" in recipe.what or "descriptors" in recipe.what:
        _require_sound(excerpt, sr)
    if "mel" in recipe.what:
        db = _mel_decibels(excerpt, sr)
        level = float(db.max())
        arrays["mel"] = _picture(db - np.float32(level), recipe)
        facts["mel_frames"] = min(db.shape[1], recipe.mel_frames)
        facts["level_db"] = round(level, 4)
    if "frames" in recipe.what:
        window = y[: int(frames.WINDOW_SECONDS * sr)]
        _require_sound(window, sr)
        arrays["frames"] = frames.mel_frames(window, sr=sr, exact=True)
        same = len(window) == len(excerpt) and "mel" in recipe.what
        dense = _dense_mfcc(window, sr, db if same else _mel_decibels(window, sr))
        facts["dense_frames"] = len(dense)
        # A piece shorter than 3 s is repeated, as the recogniser reads it.
        repeated = dense[np.arange(frames.DENSE_FRAMES) % len(dense)]
        arrays["mfcc"] = repeated.astype(np.float16)
    if "descriptors" in recipe.what:
        row = fma_descriptors(excerpt, sr=sr)
    return arrays, row, facts


def _longest(recipe: Recipe) -> float:
    of = [frames.WINDOW_SECONDS] if "frames" in recipe.what else []
    if {"mel", "descriptors"} & set(recipe.what):
        of.append(recipe.seconds)
    return max(of)


def _identity(path: str) -> tuple[tuple[int, int, int], str]:
    fd, _ = open_regular(path)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(file.fileno())
        try:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise AudioError(
                f"{printable(path)}: the system cannot read it ({error.strerror or error})."
            ) from error
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns), digest


def _require_sound(y: FloatArray, sr: int) -> None:
    if len(y) < MIN_SECONDS * sr:
        raise AudioTooShortError(
            f"{len(y) / sr:.3f} s of sound, at least {MIN_SECONDS} s is needed"
        )
    if max(float(y.max()), -float(y.min())) < _SILENCE:
        raise AudioSilentError(
            f"no sample of the first {len(y) / sr:.1f} s is louder than -80 dB of full scale; "
            "there is nothing to compute from silence"
        )


def _mel_decibels(y: FloatArray, sr: int) -> FloatArray:
    """Mel power in dB re 1, at 22,050 Hz [128, t]."""
    if sr != MEL_HZ:
        import soxr

        n = math.ceil(len(y) * (MEL_HZ / sr))
        resampled = soxr.resample(y, sr, MEL_HZ, quality="HQ")[:n]
        y = np.pad(resampled, (0, n - len(resampled)))
    return power_to_db(
        mel_spectrogram(y, sr=MEL_HZ, n_fft=MEL_N_FFT, hop_length=MEL_HOP, n_mels=MEL_BANDS)
    )


def _picture(db: FloatArray, recipe: Recipe) -> npt.NDArray[Any]:
    """Decibels below the loudest as they are stored, filled up or cut to the recipe's frames."""
    full = np.full((MEL_BANDS, recipe.mel_frames), -RANGE_DB, np.float32)
    n = min(db.shape[1], recipe.mel_frames)
    np.maximum(db[:, :n], np.float32(-RANGE_DB), out=full[:, :n])
    return quantise(full, dtype=recipe.dtype)


def _dense_mfcc(y: FloatArray, sr: int, db: FloatArray) -> FloatArray:
    """The first 3 s of MFCC [at most 130, 20], over the floor of the whole window."""
    if db.shape[1] < _FEW:
        return frames.dense_mfcc(y, sr=sr, peak_db=float(db.max())).T
    floor = np.float32(float(db.max()) - RANGE_DB)
    first = np.maximum(db[:, : frames.DENSE_FRAMES], floor)
    dense: FloatArray = (mfcc_matrix(N_MFCC, MEL_BANDS) @ first).T
    return dense
