"""Features of many tracks on disk, to learn from.

A store is a folder that :func:`genrescope.audio.store.write.extract` filled, or one of partitions,
at any URL, that :func:`genrescope.audio.scale.extract.extract_scaled` did. The former holds::

    store.json             what it holds and by which parameters
    manifest.jsonl         what is committed: parts, checksums, tracks
    catalogue.json         what the source says of the tracks
    quarantine.csv         tracks that could not be read, and why
    parts/000000.mel.npy   128 tracks each: mel, frames, mfcc, descriptors

Reading needs no lock: parts never change, and what is added meanwhile is not seen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.store.description import DESCRIPTION, PARTITIONED, open_description
from genrescope.audio.store.journal import Failure, Journal, Row
from genrescope.audio.store.partitions import read_all, read_catalogues
from genrescope.audio.store.parts import (
    PARTS,
    descriptor_dataset,
    part_file,
    read_array,
    read_descriptors,
)
from genrescope.audio.store.place import Place, is_url
from genrescope.audio.store.recipe import Recipe, to_decibels
from genrescope.audio.store.sources import Catalogue
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.errors import DataError

__all__ = ["DescriptorTable", "FeatureStore", "load_frames"]

Indices = Sequence[int] | npt.NDArray[np.integer[Any]] | slice | None


@dataclass(frozen=True, eq=False)
class DescriptorTable:
    """Descriptors of tracks.

    Attributes
    ----------
    ids : np.ndarray [shape=(n,), str]
    names : tuple of 518 str
        As in FMA's features.csv; see :data:`genrescope.audio.descriptors.DESCRIPTOR_NAMES`.
    values : np.ndarray [shape=(n, 518), float32]
    """

    ids: npt.NDArray[np.str_]
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


class FeatureStore:
    """A feature store, to be read; made by :meth:`open`.

    Attributes
    ----------
    path : Path
        Its folder; of a store at a URL, that as a path, to be shown.
    place : Place
        The same, to be read from.
    recipe : Recipe
        What it holds.
    front_ends : dict of str to dict
        Name, version, parameters and hash of what computed each feature.
    rows : list of Row
        What is known of each track's file, in the order of `ids`.
    quarantine : list of Failure
        Tracks that could not be read, by id.

    Examples
    --------
    >>> store = FeatureStore.open("features")  # doctest: +SKIP
    >>> store.mel([0, 5, 9]).shape  # doctest: +SKIP
    (3, 128, 1292)
    """

    def __init__(
        self, place: Place, said: dict[str, Any], journal: Journal, *, path: Path | None = None
    ) -> None:
        self.place = place
        self.path = path or Path(place.url)
        self.partitions = int(said["partitions"]) if said["version"] == PARTITIONED else 0
        self.recipe = Recipe.from_dict(said)
        self.front_ends: dict[str, dict[str, Any]] = said["front_ends"]
        self.made_with: dict[str, str] = said["made_with"]
        self.journal = journal
        places = sorted((place, id_) for id_, place in journal.places.items())
        self.rows: list[Row] = [journal.rows[id_] for _, id_ in places]
        self._part = np.array([part for (part, _), _ in places], dtype=np.int64)
        self._at = np.array([at for (_, at), _ in places], dtype=np.int64)
        self.quarantine: list[Failure] = [journal.failures[i] for i in sorted(journal.failures)]

    @classmethod
    def open(cls, path: str | PathLike[str]) -> FeatureStore:
        """Open a store as it is now.

        Parameters
        ----------
        path : path or str
            Its folder, or the URL of a store of partitions.

        Returns
        -------
        FeatureStore

        Raises
        ------
        DataError
            If there is none, or it is damaged.
        """
        place, said = open_description(path)
        folder = Path(path)
        try:
            if said["version"] == PARTITIONED:
                shown = None if is_url(path) else folder
                return cls(place, said, read_all(place, int(said["partitions"])), path=shown)
            if place.local is None:
                raise DataError(
                    f"{place}: a store of one folder; copy it to a disk, or extract into a store "
                    "of partitions, which can be at a URL"
                )
            return cls(place, said, Journal.read(place.local), path=folder)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{folder}: store.json or manifest.jsonl is not as it was written "
                f"({type(error).__name__}: {error}); copy the store again"
            ) from error

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        what = ", ".join(self.recipe.what)
        return f"<FeatureStore {str(self.path)!r}: {len(self)} tracks; {what}>"

    @cached_property
    def ids(self) -> npt.NDArray[np.str_]:
        """Names of the tracks [shape=(n,), str], in the order of all that this gives out."""
        return np.array([row.id for row in self.rows], dtype=np.str_)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What the source says of the tracks, those among them that are not in the store."""
        if self.partitions:
            found = read_catalogues(self.place, self.partitions)
        else:
            found = Catalogue.read(self.path)
        return found or Catalogue((), (), {}, "folder")

    @property
    def columns(self) -> tuple[str, ...]:
        """What the source says of the tracks: names for :meth:`column`."""
        return tuple(self.catalogue.columns)

    def column(self, name: str) -> list[Any]:
        """What the source says of each track, such as its ``genre_top``; None: not known.

        Raises
        ------
        DataError
            If the source has no such column.
        """
        if name not in self.catalogue.columns:
            raise DataError(
                f"{self.path}: its source has no column {name!r}; it has: "
                f"{', '.join(self.columns) or 'none'}"
            )
        known = dict(zip(self.catalogue.ids, self.catalogue.columns[name], strict=True))
        return [known.get(row.id) for row in self.rows]

    def texts(self, name: str) -> npt.NDArray[np.str_]:
        """A column as text [shape=(n,), str]; empty where there is none."""
        cells = self.column(name) if name in self.columns else [None] * len(self)
        return np.array(["" if cell is None else str(cell) for cell in cells], dtype=np.str_)

    # --- features --------------------------------------------------------------

    def mel(self, indices: Indices = None) -> npt.NDArray[Any]:
        """Mel spectrograms as they are stored.

        Parameters
        ----------
        indices : sequence of int, slice or None
            Positions in `ids`, in any order; None is all.

        Returns
        -------
        np.ndarray [shape=(n, 128, frames), uint8 or float16]
            Bands (row 0 the lowest) by frames of 23.2 ms. Decibels below the loudest value of
            the excerpt: float16 from -80 to 0; uint8 from 0 (-80 dB) to 255 (0 dB). Tracks
            shorter than the recipe are filled up with -80 dB; ``rows[i].mel_frames`` says where
            the sound ends.

        Raises
        ------
        DataError
            If the store has no mel spectrograms, or a file is damaged.
        IndexError
            If there is no such position.
        """
        return self._rows_of("mel", "mel", indices)

    def decibels(self, indices: Indices = None) -> npt.NDArray[np.float32]:
        """The same as :meth:`mel` in dB below the loudest [shape=(n, 128, frames), float32]."""
        return to_decibels(self.mel(indices))

    def frames(
        self, indices: Indices = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
        """What the shipped recogniser reads, as FMA-small was prepared.

        Returns
        -------
        mel : np.ndarray [shape=(n, 128, 128), uint8]
        mfcc_3s : np.ndarray [shape=(n, 130, 20), float16]
            See :class:`genrescope.catalog.prepared.PreparedData`.
        """
        mel = self._rows_of("frames", "frames", indices)
        return mel, self._rows_of("frames", "mfcc", indices)

    def frame_features(self, indices: Indices = None) -> npt.NDArray[np.float32]:
        """The recogniser's feature rows [shape=(n, 20192), float32].

        Those of :func:`genrescope.audio.frames.describe_file` for the first 30 s of each track.
        """
        chosen = self._chosen(indices)
        mel, mfcc = self.frames(chosen)
        out = np.empty((len(chosen), frames.N_FEATURES), np.float32)
        lengths = np.array([self.rows[i].dense_frames for i in chosen.tolist()], dtype=np.int64)
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            if length == frames.DENSE_FRAMES:
                out[rows] = frames.describe_prepared(mel[rows], mfcc[rows])
                continue
            # What was repeated to fill the array is not heard twice.
            dense = mfcc[rows, :length].astype(np.float32).transpose(0, 2, 1)
            db = mel[rows].astype(np.float32) * np.float32(frames.RANGE_DB / 255.0)
            out[rows] = frames.describe_decibels(db, np.ascontiguousarray(dense))
        return out

    def descriptors(self, indices: Indices = None) -> DescriptorTable:
        """The 518 descriptors of tracks.

        Parameters
        ----------
        indices : sequence of int, slice or None
            As in :meth:`mel`.

        Returns
        -------
        DescriptorTable

        Raises
        ------
        DataError
            If the store has none, or a file is damaged.
        MissingExtraError
            If pyarrow is not installed.
        """
        self._require("descriptors")
        chosen = self._chosen(indices)
        values = np.empty((len(chosen), len(DESCRIPTOR_NAMES)), np.float32)
        part, at = self._part[chosen], self._at[chosen]
        for number in np.unique(part).tolist():
            rows = np.flatnonzero(part == number)
            values[rows] = read_descriptors(self.place, self.file(number, "descriptors"))[at[rows]]
        return DescriptorTable(self.ids[chosen], DESCRIPTOR_NAMES, values)

    def dataset(self) -> Any:
        """The descriptors of all tracks as one pyarrow dataset, to be read in pieces.

        Returns
        -------
        pyarrow.dataset.Dataset
            Columns ``id`` and the 518 descriptors; of a store of partitions also ``partition``,
            by which whole files are left out. It is over the files of the store: only parts of
            which rows were replaced since are read now, without those.

        Raises
        ------
        DataError
            If the store has no descriptors, or a file is damaged.
        MissingExtraError
            If pyarrow is not installed.

        Examples
        --------
        >>> store = FeatureStore.open("features")  # doctest: +SKIP
        >>> store.dataset().to_table(columns=["id", "mfcc_mean_01"])  # doctest: +SKIP
        """
        self._require("descriptors")
        live = np.bincount(self._part, minlength=len(self.journal.parts)).tolist()
        whole, mixed = [], []
        for part in self.journal.parts:
            if part.ids and live[part.number]:
                file = self.file(part.number, "descriptors")
                if live[part.number] == len(part.ids):
                    whole.append(file)
                else:
                    mixed.append((file, self._at[self._part == part.number].tolist()))
        return descriptor_dataset(self.place, whole, mixed, partitioned=self.partitions > 0)

    def prepared(self, indices: Indices = None) -> PreparedData:
        """The frames as training and evaluation take them.

        Returns
        -------
        PreparedData
            ``track_id`` is the id where all ids are numbers, otherwise the position in the store.
            ``artist_id`` is what the source says, or else the artist in the file's tags.

        Raises
        ------
        DataError
            If the store has no frames.
        """
        chosen = self._chosen(indices)
        mel, mfcc = self.frames(chosen)
        ids = self.ids
        numbers = len(ids) and all(id_.isascii() and id_.isdigit() for id_ in ids.tolist())
        track_id = ids.astype(np.int64) if numbers else np.arange(len(ids), dtype=np.int64)
        artist = self._first("artist_id", "artist_name", "artist", tag="artist")
        return PreparedData(
            track_id=track_id[chosen],
            mel=mel,
            mfcc_3s=mfcc,
            vggish=None,
            genre_top=self.texts("genre_top")[chosen],
            artist_id=artist[chosen],
            title=self._first("title", tag="title")[chosen],
        )

    def describe(self) -> dict[str, Any]:
        """What is in the store, as plain values for JSON."""
        catalogue, said = self.catalogue, self.recipe.to_dict()
        known = set(self.journal.rows) | set(self.journal.failures)
        rows = sum(len(part.ids) for part in self.journal.parts)
        files = [file for part in self.journal.parts for file in part.files.values()]
        shapes = {
            name: {"shape": [len(self), *shape], "dtype": str(kind)}
            for name, (shape, kind) in self.recipe.arrays.items()
        }
        if "descriptors" in self.recipe.what:
            shapes["descriptors"] = {
                "shape": [len(self), len(DESCRIPTOR_NAMES)],
                "dtype": "float32",
            }
        return {
            "store": self.place.url if self.partitions else str(self.path),
            "source": catalogue.kind,
            "simulated": catalogue.simulated,
            "tracks": len(self),
            "quarantined": dict(Counter(failure.error for failure in self.quarantine)),
            "not_extracted": sum(id_ not in known for id_ in catalogue.ids),
            "replaced_rows": rows - len(self),
            "parts": len(self.journal.parts),
            "bytes": sum(size for size, _ in files),
            "seconds": round(sum(row.seconds for row in self.rows), 1),
            "arrays": shapes,
            "genres": dict(sorted(Counter(self.texts("genre_top").tolist()).items()))
            if "genre_top" in self.columns
            else {},
            "columns": list(self.columns),
            "recipe": {name: said[name] for name in ("what", "seconds", "dtype")},
            "front_ends": json.loads(json.dumps(self.front_ends)),
            "made_with": dict(self.made_with),
        }

    # --- files -----------------------------------------------------------------

    def _first(self, *names: str, tag: str) -> npt.NDArray[np.str_]:
        """The first of some columns that says anything, and the tags where none does."""
        columns = [self.texts(name).tolist() for name in names if name in self.columns]
        columns.append([getattr(row, tag) for row in self.rows])
        cells = [next((text for text in row if text), "") for row in zip(*columns, strict=True)]
        return np.array(cells, dtype=np.str_)

    def _require(self, kind: str) -> None:
        if kind not in self.recipe.what:
            raise DataError(
                f"{self.path}: holds {', '.join(self.recipe.what)} and no {kind}; extract it into "
                f"another store with --what {kind}"
            )

    def _chosen(self, indices: Indices) -> npt.NDArray[np.int64]:
        n = len(self)
        if indices is None or isinstance(indices, slice):
            return np.arange(n)[indices or slice(None)]
        chosen = np.asarray(indices)
        if chosen.size == 0:
            return np.empty(0, np.int64)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise DataError(
                f"the indices are {chosen.dtype} {chosen.shape}; give whole numbers in a row, "
                f"0 to {n - 1}"
            )
        if chosen.min() < -n or chosen.max() >= n:
            wrong = int(chosen.max() if chosen.max() >= n else chosen.min())
            raise IndexError(f"there is no track {wrong}; the store has {n}, from 0 to {n - 1}")
        return np.where(chosen < 0, chosen + n, chosen).astype(np.int64)

    def _rows_of(self, kind: str, name: str, indices: Indices) -> npt.NDArray[Any]:
        self._require(kind)
        chosen = self._chosen(indices)
        shape, dtype = self.recipe.arrays[name]
        out = np.empty((len(chosen), *shape), dtype)
        part, at = self._part[chosen], self._at[chosen]
        # In the order of the disk, whatever the order asked for.
        order = np.lexsort((at, part))
        for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1) if len(order) else ():
            number = int(part[rows[0]])
            read_array(
                self.place,
                self.file(number, name),
                rows=len(self.journal.parts[number].ids),
                at=at[rows].tolist(),
                into=[out[i] for i in rows.tolist()],
            )
        return out

    def file(self, number: int, name: str) -> str:
        """The file that holds an array of a part, below the store."""
        file = self.journal.parts[number].file(name) or part_file(number, name)
        return file if self.partitions else f"{PARTS}/{file}"


def load_frames(folder: str | PathLike[str]) -> PreparedData:
    """Mel frames to train on or to score: of a feature store, or of a prepared folder.

    Parameters
    ----------
    folder : path
        A store that holds frames, or what :mod:`genrescope.catalog.prepared` describes.

    Returns
    -------
    PreparedData

    Raises
    ------
    DataError
        If it is neither, or the store has no frames.
    """
    if is_url(folder) or (Path(folder) / DESCRIPTION).exists():
        return FeatureStore.open(folder).prepared()
    return load_prepared(folder)
