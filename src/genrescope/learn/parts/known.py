"""Known tracks that sound like a track, and where it lies among them on a map in 3-D.

A bundle can have a part, "known": the tracks that the recogniser learnt from, each as a point on a
sphere in some dozens of dimensions and as a point on a map in three. Two tracks are alike as far as
the angle between them is small. The axes are those along which tracks of one artist differ little
and tracks of different artists, or genres, differ much; see
:mod:`genrescope.learn.train.known`. A track that is new is placed where its nearest known tracks
lie. Only numpy and onnxruntime are needed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.errors import BundleError, DataError
from genrescope.learn.parts.base import Part

__all__ = [
    "ALIKE",
    "PART_NAME",
    "KnownTracks",
    "Neighbour",
    "Placed",
    "Tracks",
    "alike",
    "place_among",
]

FloatArray = npt.NDArray[np.float32]

PART_NAME = "known"
VERSION = 1

#: How alike two tracks are, in words: from this percentile on (see :class:`Neighbour`).
ALIKE: tuple[tuple[float, str], ...] = (
    (75.0, "very much alike"),
    (25.0, "alike"),
    (5.0, "somewhat alike"),
    (0.0, "hardly alike"),
)

PLACE_BETWEEN = 20  # known tracks that draw a new one
SHARPNESS = 8.0  # how much more the nearest of them draw
_STEPS = 15  # towards the median
_MOST_TEXT = 64 * 2**20  # bytes; a damaged or hostile bundle must not fill the memory


class Neighbour(NamedTuple):
    """A known track that sounds like another.

    Attributes
    ----------
    title, artist, genre : str
        As the archive has them; the first two are empty where it does not say.
    track_id : int
        Its number in the archive.
    similarity : float
        Cosine of the angle between the two: 1 is the same sound to this recogniser, 0 is two
        tracks at random.
    percentile : float
        How many of a hundred nearest tracks, of music by artists that it had not met, are less
        near than this.
    """

    title: str
    artist: str
    genre: str
    track_id: int
    similarity: float
    percentile: float

    @property
    def words(self) -> str:
        """How alike, in words."""
        return alike(self.percentile)

    def to_dict(self) -> dict[str, Any]:
        """All of it, in types that JSON has."""
        return {
            "title": self.title,
            "artist": self.artist,
            "genre": self.genre,
            "track_id": self.track_id,
            "similarity": round(self.similarity, 4),
            "percentile": round(self.percentile, 1),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Neighbour:
        """What :meth:`to_dict` told; KeyError, TypeError or ValueError where it is not that."""
        return cls(
            title=str(told["title"]),
            artist=str(told["artist"]),
            genre=str(told["genre"]),
            track_id=int(told["track_id"]),
            similarity=float(told["similarity"]),
            percentile=float(told["percentile"]),
        )

    def __str__(self) -> str:
        return f"{self.artist or 'unknown artist'}: {self.title or 'untitled'} ({self.genre})"


class Placed(NamedTuple):
    """A track among the known ones.

    Attributes
    ----------
    similar : tuple of Neighbour
        The nearest first.
    position : tuple of three float
        On the map, each from about -1 to 1.
    """

    similar: tuple[Neighbour, ...]
    position: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Tracks:
    """The known tracks; n of them.

    Attributes
    ----------
    titles, artists, genres : tuple of n str
    track_ids : np.ndarray [shape=(n,), int64]
    positions : np.ndarray [shape=(n, 3), float32]
        On the map, each from -1 to 1.
    """

    titles: tuple[str, ...]
    artists: tuple[str, ...]
    genres: tuple[str, ...]
    track_ids: npt.NDArray[np.int64]
    positions: FloatArray

    def __len__(self) -> int:
        return len(self.titles)


class KnownTracks:
    """The part "known" of a bundle, ready for use. Safe to share between threads.

    Parameters
    ----------
    part : Part
        As :func:`genrescope.learn.train.known.known_part` makes it.

    Raises
    ------
    BundleError
        If it lacks something, does not fit together, or reads other statistics.

    Examples
    --------
    >>> from genrescope.audio import frames
    >>> from genrescope.learn.bundle import Bundle
    >>> part = Bundle.load().parts.get("known")
    >>> if part is not None:  # doctest: +SKIP
    ...     known = KnownTracks(part)
    ...     similar, position = known.look(frames.describe_file("song.mp3").features)
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        said: Mapping[str, Any] = part.settings
        try:
            version, self._n = int(said["version"]), int(said["n_statistics"])
            self._nearness = np.array([float(v) for v in said["nearness"]])
            self.credit = str(said["credit"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"the part {part.name} has no valid setting {error}; get the bundle again, "
                "or train it again"
            ) from error
        if version != VERSION or self._n != frames.N_STATISTICS:
            raise BundleError(
                f"the part {part.name} is of version {version} and reads {self._n} statistics, "
                f"this genrescope knows version {VERSION} and makes {frames.N_STATISTICS}; "
                "train the bundle again"
            )
        if len(self._nearness) < 2 or np.any(np.diff(self._nearness) < 0):
            raise BundleError(
                f"the part {part.name} has a scale of nearness that does not rise; "
                "get the bundle again"
            )
        # What never changes comes out of the graph beside what is asked.
        held = part.run({"statistics": np.zeros((1, self._n), dtype=np.float32)})
        try:
            references, positions = held["references"], held["positions"]
            text = _text(held["text"], where=part.name)
        except KeyError as error:
            raise BundleError(
                f"the part {part.name} gives no {error}; get the bundle again"
            ) from error
        self._references = _unit(references)
        self.tracks = _tracks(text, positions, where=part.name)
        if len(references) != len(self.tracks) or len(references) < 2:
            raise BundleError(
                f"the part {part.name} has {len(references)} vectors for {len(self.tracks)} "
                "tracks; get the bundle again"
            )
        self._row = {int(one): row for row, one in enumerate(self.tracks.track_ids.tolist())}

    def look(self, features: npt.ArrayLike, k: int = 5) -> Placed:
        """Find the known tracks that sound most like a track, and place it on the map.

        Parameters
        ----------
        features : array-like [shape=(windows, n_features), float32]
            Rows of :mod:`genrescope.audio.frames`; only the statistics, which come first, are read.
        k : int > 0
            How many known tracks.

        Returns
        -------
        Placed

        Raises
        ------
        DataError
            If the rows are too short, there are none, they hold NaN or infinity, or `k` is below 1.
        """
        likeness = self._likeness(features)
        return Placed(self._nearest(likeness, k), self._between(likeness))

    def near(self, features: npt.ArrayLike, k: int = 5) -> tuple[Neighbour, ...]:
        """The known tracks that sound most like a track; as :meth:`look`."""
        return self._nearest(self._likeness(features), k)

    def place(self, features: npt.ArrayLike) -> tuple[float, float, float]:
        """Where a track lies on the map; as :meth:`look`."""
        return self._between(self._likeness(features))

    def near_known(self, track_id: int, k: int = 5) -> tuple[Neighbour, ...]:
        """The other known tracks that sound most like one of them.

        Raises
        ------
        DataError
            If there is no such track, or `k` is below 1.
        """
        row = self._row.get(track_id)
        if row is None:
            raise DataError(
                f"{track_id} is none of the {len(self.tracks)} known tracks; "
                "their numbers are in tracks.track_ids"
            )
        likeness = self._references @ self._references[row]
        likeness[row] = -np.inf
        return self._nearest(likeness, min(k, len(likeness) - 1))

    def _likeness(self, features: npt.ArrayLike) -> FloatArray:
        rows = np.asarray(features, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < self._n:
            raise DataError(
                f"features have shape {list(rows.shape)}, expected [windows, {self._n} or more]; "
                "give the rows of genrescope.audio.frames"
            )
        found = self._part.run({"statistics": rows[:, : self._n]})["embedding"]
        likeness: FloatArray = self._references @ _unit(found.mean(axis=0, keepdims=True))[0]
        return likeness

    def _nearest(self, likeness: FloatArray, k: int) -> tuple[Neighbour, ...]:
        if k < 1:
            raise DataError(f"k is {k}, expected 1 or more known tracks")
        k = min(k, len(likeness))
        some = np.argpartition(-likeness, k - 1)[:k]
        # Ties by place in the list, so that an answer is the same on every machine.
        order = some[np.lexsort((some, -likeness[some]))]
        marks = np.linspace(0.0, 100.0, len(self._nearness))
        at = np.interp(likeness[order], self._nearness, marks)
        tracks = self.tracks
        return tuple(
            Neighbour(
                title=tracks.titles[i],
                artist=tracks.artists[i],
                genre=tracks.genres[i],
                track_id=int(tracks.track_ids[i]),
                similarity=float(min(likeness[i], 1.0)),
                percentile=float(percentile),
            )
            for i, percentile in zip(order.tolist(), at.tolist(), strict=True)
        )

    def _between(self, likeness: FloatArray) -> tuple[float, float, float]:
        x, y, z = place_among(likeness[None], self.tracks.positions)[0].tolist()
        return (x, y, z)

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"KnownTracks({len(self.tracks)} tracks, {self._part!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (KnownTracks, (self._part,))


def alike(percentile: float) -> str:
    """How alike two tracks are, in words.

    Parameters
    ----------
    percentile : float
        As of :class:`Neighbour`.

    Examples
    --------
    >>> alike(90.0), alike(30.0), alike(1.0)
    ('very much alike', 'alike', 'hardly alike')
    """
    return next((words for least, words in ALIKE if percentile >= least), ALIKE[-1][1])


def place_among(likeness: FloatArray, positions: FloatArray) -> FloatArray:
    """Where tracks lie on a map, from how like they are to the tracks on it.

    Each goes to the weighted geometric median of its nearest tracks. A mean would do where they lie
    together; where they lie in two places it would be in neither.

    Parameters
    ----------
    likeness : np.ndarray [shape=(m, n), float32]
        Cosines; minus infinity for tracks that have no say.
    positions : np.ndarray [shape=(n, 3), float32]
        Of the n tracks.

    Returns
    -------
    np.ndarray [shape=(m, 3), float32]

    References
    ----------
    Weiszfeld (1937), Sur le point pour lequel la somme des distances de n points donnes est
    minimum.
    """
    k = min(PLACE_BETWEEN, likeness.shape[1])
    near = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
    how = np.take_along_axis(likeness, near, axis=1).astype(np.float64)
    weight = np.exp(SHARPNESS * (how - how.max(axis=1, keepdims=True)))
    there = positions[near].astype(np.float64)
    pull = weight
    for _ in range(_STEPS + 1):
        at = (pull[..., None] * there).sum(axis=1) / pull.sum(axis=1)[:, None]
        away = np.linalg.norm(there - at[:, None], axis=2)
        pull = weight / np.maximum(away, 1e-4)
    return np.asarray(at, dtype=np.float32)


def pack_text(
    titles: list[str], artists: list[str], genres: list[str], track_ids: list[int]
) -> bytes:
    """What is written of the known tracks, as compressed JSON; every list has one entry a track."""
    names, kinds = sorted(set(artists)), sorted(set(genres))
    who, what = ({name: i for i, name in enumerate(listed)} for listed in (names, kinds))
    told = {
        "titles": titles,
        "names": names,
        "genres": kinds,
        "artist": [who[name] for name in artists],
        "genre": [what[name] for name in genres],
        "track_id": track_ids,
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode(), 9)


def _text(values: FloatArray, *, where: str) -> dict[str, Any]:
    reader = zlib.decompressobj()
    try:
        packed = values.ravel().astype(np.uint8).tobytes()
        data = reader.decompress(packed, _MOST_TEXT)
        told = json.loads(data.decode("utf-8")) if reader.eof else None
    except (zlib.error, ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise BundleError(
            f"the part {where} has no readable list of its tracks; get the bundle again"
        )
    return told


def _tracks(told: Mapping[str, Any], positions: FloatArray, *, where: str) -> Tracks:
    try:
        names, kinds = [[str(one) for one in told[key]] for key in ("names", "genres")]
        artist, genre, ids = [
            np.array(told[key], dtype=np.int64) for key in ("artist", "genre", "track_id")
        ]
        titles = tuple(str(title) for title in told["titles"])
        if min(artist.min(), genre.min()) < 0:
            raise ValueError("a number below 0")
        tracks = Tracks(
            titles=titles,
            artists=tuple(names[i] for i in artist.tolist()),
            genres=tuple(kinds[i] for i in genre.tolist()),
            track_ids=ids,
            positions=positions,
        )
        if {len(artist), len(genre), len(ids), len(positions)} != {len(titles)}:
            raise ValueError("lists of different lengths")
        if positions.shape[1:] != (3,):
            raise ValueError(f"positions of the shape {positions.shape}")
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(
            f"the part {where} has a list of tracks that does not fit together ({error}); "
            "get the bundle again"
        ) from error
    return tracks


def _unit(vectors: FloatArray) -> FloatArray:
    """Vectors of length 1 in the same directions."""
    length = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    found: FloatArray = vectors / np.maximum(length, np.float32(1e-9))
    return found
