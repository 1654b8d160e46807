"""Statistics of the prepared mel frames of FMA-small, computed once."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames, mel, statistics
from genrescope.catalog.prepared import load_prepared
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError

__all__ = ["family", "feature_name", "frame_table"]

FloatArray = npt.NDArray[np.float32]

_FILES = ("small_mel_frames.npz", "small_mfcc.npz", "small_tracks.csv")
_BATCH = 256  # tracks

# Statistics of a band -> what they tell of it.
_BANDS = {
    "level": ("mean", "p05", "p25", "p50", "p75", "p95"),
    "spread": ("std",),
    "movement": ("step_mean", "step_std", "jump_mean"),
    "tones": ("tonal_mean", "tonal_std"),
    "strokes": ("stroke_mean", "stroke_max"),
}
_OF_BAND = {statistic: f"band {what}" for what, of in _BANDS.items() for statistic in of}


def frame_table(folder: Path, *, cache: Path | None = None) -> FloatArray:
    """The statistics of all tracks of a prepared folder.

    Parameters
    ----------
    folder : Path
        See :func:`genrescope.catalog.prepared.load_prepared`.
    cache : Path, optional
        A folder to keep them in. They are computed anew where the files, or the code that
        computes them, are no longer the same.

    Returns
    -------
    np.ndarray [shape=(n, N_STATISTICS), float32]
        Rows in the order of ``small_tracks.csv``, columns in that of
        :data:`genrescope.audio.frames.STATISTIC_NAMES`.

    Raises
    ------
    DataError
        If the folder is not prepared, or the cache cannot be written.
    """
    if cache is None:
        return _computed(folder)
    path = cache / f"fma-small-statistics-{_key(folder)[:20]}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            x: FloatArray = stored["x"]
        if x.ndim == 2 and x.shape[1] == frames.N_STATISTICS and x.dtype == np.float32:
            return x
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or cut short
    x = _computed(folder)
    with atomic(path) as part, part.open("wb") as file:
        np.savez(file, x=x)
    return x


def feature_name(statistic: str) -> str:
    """The name of a statistic without what it says twice.

    >>> feature_name("mfcc.mfcc_mean.3"), feature_name("band.std.17")
    ('mfcc_mean.3', 'band.std.17')
    """
    head, _, rest = statistic.partition(".")
    return rest if head in ("mfcc", "shape") and rest.startswith(f"{head}_") else statistic


def family(statistic: str) -> str:
    """What a statistic is about: one of thirteen families.

    >>> family("band.p05.3"), family("mfcc.lag4.2"), family("dense.beat12.onset")
    ('band level', 'mfcc over time', 'rhythm')
    """
    head, what, _ = statistic.split(".", 2) if statistic.count(".") > 1 else (statistic, "", "")
    if head == "band":
        return _OF_BAND[what]
    if head == "shape":
        return "spectral shape"
    prefix = "mfcc" if head == "mfcc" else "dense mfcc"
    if head == "dense" and what.startswith(("novelty", "beat")):
        return "rhythm"
    if what.startswith("mfcc_"):
        return prefix
    return f"{prefix} together" if what == "correlation" else f"{prefix} over time"


def _computed(folder: Path) -> FloatArray:
    data = load_prepared(folder)
    out = np.empty((len(data), frames.N_STATISTICS), dtype=np.float32)
    for first in range(0, len(data), _BATCH):  # the frames themselves would take half a gigabyte
        part = slice(first, first + _BATCH)
        rows = frames.describe_prepared(data.mel[part], data.mfcc_3s[part])
        out[part] = rows[:, : frames.N_STATISTICS]
    return out


def _key(folder: Path) -> str:
    """SHA-256 of what goes in and of what is done to it (half a second for the real files)."""
    digest = hashlib.sha256(json.dumps(frames.FRONT_END, sort_keys=True).encode())
    for module in (frames, mel, statistics):
        digest.update(Path(str(module.__file__)).read_bytes())
    for name in _FILES:
        try:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(
                f"{folder / name}: cannot be read: {error.strerror or error}; a prepared folder "
                f"holds {', '.join(_FILES)}"
            ) from error
    return digest.hexdigest()
