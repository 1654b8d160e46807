"""Features that were computed earlier: FMA-small as mel frames and MFCC.

A prepared folder holds ``small_tracks.csv`` (track_id, title, genre_top, subgenres,
artist_id, artist_name), ``small_mel_frames.npz``, ``small_mfcc.npz`` and, for training only,
``small_vggish.npz``. Each file carries its own ``track_id``; rows are joined by it, never by
their position.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.table import TrackTable
from genrescope.errors import DataError, TableError

__all__ = ["PreparedData", "load_prepared"]

TRACKS = "small_tracks.csv"
# file, array, shape of one row, dtype, needed
_ARRAYS: tuple[tuple[str, str, tuple[int, ...], type[np.generic], bool], ...] = (
    ("small_mel_frames.npz", "mel", (128, 128), np.uint8, True),
    ("small_mfcc.npz", "mfcc_3s", (130, 20), np.float16, True),
    ("small_vggish.npz", "vggish", (128,), np.float32, False),
)


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Tracks of a prepared folder, in the order of its table.

    Attributes
    ----------
    track_id : np.ndarray [shape=(n,), int64]
    mel : np.ndarray [shape=(n, 128, 128), uint8]
        128 frames spread over the first 30 s of the clip; axis 1 is the mel band, lowest
        first, axis 2 the time. 0 to 255 between the clip's own minimum and maximum in dB.
    mfcc_3s : np.ndarray [shape=(n, 130, 20), float16]
        The first 130 frames (3 s at 22,050 Hz, hop 512) of 20 MFCC; zeros where missing.
    vggish : np.ndarray [shape=(n, 128), float32] or None
        Mean VGGish embedding, a teacher in training; None where the folder has none.
    genre_top, artist_id, title : np.ndarray [shape=(n,), str]
        As the table has them; empty where it does not say.
    artist_name : np.ndarray [shape=(n,), str] or None
        As the table has it; None where there is no such column.
    subgenres : np.ndarray [shape=(n,), object] or None
        Every genre of a track, a tuple of names; None where there is no such column.
    """

    track_id: NDArray[np.int64]
    mel: NDArray[np.uint8]
    mfcc_3s: NDArray[np.float16]
    vggish: NDArray[np.float32] | None
    genre_top: NDArray[np.str_]
    artist_id: NDArray[np.str_]
    title: NDArray[np.str_]
    artist_name: NDArray[np.str_] | None = None
    subgenres: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.track_id)

    def where(self, mask: NDArray[np.bool_]) -> PreparedData:
        """The tracks for which `mask` [shape=(n,), bool] is true, in the same order."""
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise DataError(f"the mask is {mask.dtype} {mask.shape}; expected bool ({len(self)},)")
        return PreparedData(
            track_id=self.track_id[mask],
            mel=self.mel[mask],
            mfcc_3s=self.mfcc_3s[mask],
            vggish=None if self.vggish is None else self.vggish[mask],
            genre_top=self.genre_top[mask],
            artist_id=self.artist_id[mask],
            title=self.title[mask],
            artist_name=None if self.artist_name is None else self.artist_name[mask],
            subgenres=None if self.subgenres is None else self.subgenres[mask],
        )


def load_prepared(directory: str | PathLike[str]) -> PreparedData:
    """Load a prepared folder; see the head of this module for its layout.

    Parameters
    ----------
    directory : path
        Folder with ``small_tracks.csv``, ``small_mel_frames.npz`` and ``small_mfcc.npz``;
        ``small_vggish.npz`` is optional. The arrays may hold more tracks than the table.

    Returns
    -------
    PreparedData

    Raises
    ------
    DataError
        If a file is missing or damaged, an array has another shape or type, an id occurs
        twice, or tracks of the table have no features (the message says how many).
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a prepared folder holds {_layout()}")
    missing = [n for n in (TRACKS, *(a[0] for a in _ARRAYS if a[4])) if not (folder / n).exists()]
    if missing:
        raise DataError(
            f"{folder}: {', '.join(missing)} not found; a prepared folder holds {_layout()}"
        )
    tracks = _read_tracks(folder / TRACKS)
    track_id: NDArray[np.int64] = tracks["track_id"]

    loaded: dict[str, NDArray[np.generic] | None] = {}
    for file, name, shape, dtype, needed in _ARRAYS:
        path = folder / file
        if not needed and not path.exists():
            loaded[name] = None
            continue
        loaded[name] = _joined(path, name, shape=shape, dtype=dtype, wanted=track_id)
    return PreparedData(
        track_id=track_id,
        genre_top=_strings(tracks, "genre_top"),
        artist_id=_strings(tracks, "artist_id"),
        title=_strings(tracks, "title"),
        artist_name=_strings(tracks, "artist_name") if "artist_name" in tracks else None,
        subgenres=_tuples(tracks["subgenres"]) if "subgenres" in tracks else None,
        **loaded,  # type: ignore[arg-type]  # shapes and types were checked by _joined
    )


def _layout() -> str:
    return ", ".join([TRACKS, *(a[0] + ("" if a[4] else " (optional)") for a in _ARRAYS)])


def _read_tracks(path: Path) -> TrackTable:
    try:
        tracks = TrackTable.from_csv(path, required=("track_id", "genre_top"), keep_unknown=True)
    except TableError as error:
        raise DataError(str(error)) from error
    if len(tracks) == 0:
        raise DataError(f"{path}: has a header and no tracks")
    return tracks


def _strings(tracks: TrackTable, column: str) -> NDArray[np.str_]:
    if column not in tracks:
        return np.zeros(len(tracks), dtype="U1")
    return tracks[column].astype(np.str_)


def _tuples(cells: NDArray[np.generic]) -> NDArray[np.object_]:
    found = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells.tolist()):
        found[place] = tuple(cell or ())
    return found


def _joined(
    path: Path,
    name: str,
    *,
    shape: tuple[int, ...],
    dtype: type[np.generic],
    wanted: NDArray[np.int64],
) -> NDArray[np.generic]:
    """Rows of one array in the order of `wanted`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            ids, values = archive["track_id"], archive[name]
    except KeyError as error:
        raise DataError(f"{path}: {error}; it needs the arrays track_id and {name}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz file ({error}); fetch it again") from error
    if values.shape[1:] != shape or values.dtype != dtype or ids.shape != values.shape[:1]:
        raise DataError(
            f"{path}: {name} is {values.dtype} {values.shape} beside {ids.size} ids; expected "
            f"{np.dtype(dtype)} (n, {', '.join(map(str, shape))}) with one id a row"
        )
    if ids.dtype.kind not in "iu":
        raise DataError(f"{path}: track_id is {ids.dtype}; expected integers")
    if len(ids) == len(wanted) and np.array_equal(ids, wanted):
        return np.asarray(values)
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise DataError(
            f"{path}: {len(np.unique(twice))} track ids occur twice (first: {twice[0]}); "
            "each track needs exactly one row"
        )
    at = np.minimum(np.searchsorted(ordered, wanted), max(len(ids) - 1, 0))
    found = ordered[at] == wanted if len(ids) else np.zeros(len(wanted), dtype=bool)
    if not found.all():
        raise DataError(
            f"{path}: {int((~found).sum())} of {len(wanted)} tracks in {TRACKS} have no row here "
            f"(first: {wanted[~found][0]}); drop them from the table or add their features"
        )
    return np.asarray(values[order[at]])
