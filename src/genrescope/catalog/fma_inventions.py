"""What stands in the tables of a simulated FMA archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.fma_load import KNOWN_BAD
from genrescope.catalog.genres import GenreTree

__all__ = [
    "GENRES_HEAD",
    "TRACKS_HEAD",
    "Artist",
    "Track",
    "echonest_head",
    "echonest_rows",
    "feature_rows",
    "features_head",
    "track_rows",
    "tracks",
]

_SMALL, _MEDIUM = 0.25, 0.45  # shares of tracks in small, and in small and medium
_NO_TOP = 0.92  # share of the others without a top-level genre
_NO_GENRE = 0.06  # share of those in training without any
_HELD_OUT = 0.1  # share of a genre's tracks in validation, and in test
_ECHONEST = 4  # one track of so many is in echonest.csv

# fmt: off
_ALBUM = ("comments", "date_created", "date_released", "engineer", "favorites", "id",
          "information", "listens", "producer", "tags", "title", "tracks", "type")
_ARTIST = ("active_year_begin", "active_year_end", "associated_labels", "bio", "comments",
           "date_created", "favorites", "id", "latitude", "location", "longitude", "members",
           "name", "related_projects", "tags", "website", "wikipedia_page")
_TRACK = ("bit_rate", "comments", "composer", "date_created", "date_recorded", "duration",
          "favorites", "genre_top", "genres", "genres_all", "information", "interest",
          "language_code", "license", "listens", "lyricist", "number", "publisher", "tags", "title")
_COLUMNS = [("album", c) for c in _ALBUM] + [("artist", c) for c in _ARTIST]
_COLUMNS += [("set", "split"), ("set", "subset")] + [("track", c) for c in _TRACK]
# fmt: on

TRACKS_HEAD: Sequence[Sequence[str]] = (
    ("", *(group for group, _ in _COLUMNS)),
    ("", *(name for _, name in _COLUMNS)),
    ("track_id", *("" for _ in _COLUMNS)),
)
GENRES_HEAD: Sequence[Sequence[str]] = (("genre_id", "#tracks", "parent", "title", "top_level"),)

# Descriptor -> bands, centre, spread, lowest, highest.
_INF = float("inf")
_DESCRIPTORS: tuple[tuple[str, int, float, float, float, float], ...] = (
    ("chroma_cens", 12, 0.25, 0.06, 0, 1),
    ("chroma_cqt", 12, 0.45, 0.09, 0, 1),
    ("chroma_stft", 12, 0.4, 0.09, 0, 1),
    ("mfcc", 20, 0, 12, -_INF, _INF),
    ("rmse", 1, 4, 1.5, 0, _INF),
    ("spectral_bandwidth", 1, 1500, 300, 0, _INF),
    ("spectral_centroid", 1, 1300, 400, 0, _INF),
    ("spectral_contrast", 7, 20, 2, 0, _INF),
    ("spectral_rolloff", 1, 2500, 900, 0, _INF),
    ("tonnetz", 6, 0, 0.04, -1, 1),
    ("zcr", 1, 0.05, 0.02, 0, 1),
)
_STATISTICS = ("kurtosis", "max", "mean", "median", "min", "skew", "std")
_SOCIAL = ("discovery", "familiarity", "hotttnesss")
_AUDIO = (
    *("acousticness", "danceability", "energy", "instrumentalness"),
    *("liveness", "speechiness", "tempo", "valence"),
)

# fmt: off
_WORDS = (
    "Night", "Food", "River", "Static", "Café", "Electric", "Hollow", "Green", "Ghost", "Paper",
    "Über", "Machine", "Salt", "Low", "Street", "Winter", "Copper", "Échos", "Signal", "Garden",
    "Blind", "Lantern", "Sister", "Motor", "Quiet", "Dust", "Ocean", "Señor",
)
# fmt: on
# Titles that readers of tables have stumbled over.
_TRAPS = ("NULL", "NA", "nan", 'Say "when", then', "12", "True", "(untitled)", "[demo]")
_LICENSES = (
    "Attribution-NonCommercial-ShareAlike 3.0 International",
    "Attribution-Noncommercial-No Derivative Works 2.0 UK: England ",
    "Attribution",
)
_BIO = (
    '<p>{name} is an act that <a href="http://example.org/{id}">nobody</a> heard of,\n'
    'not "really".</p>\r\n\r\n<ul><li>It was made up</li></ul>'
)


@dataclass(frozen=True)
class Artist:
    """An artist who plays one genre."""

    id: int
    name: str
    split: str


@dataclass(frozen=True)
class Track:
    """One track; `genre` is what it sounds like, whether or not the table says so."""

    id: int
    artist: Artist
    album: int
    number: int
    genre: str
    genre_top: str
    genres: tuple[int, ...]
    genres_all: tuple[int, ...]
    subset: str
    title: str
    rank: float  # of its popularity, 0 to 1
    seconds: int
    created: datetime


def tracks(n: int, genres: Sequence[str], rng: np.random.Generator) -> list[Track]:
    """`n` tracks, the same number of each genre (but for a rest), by id."""
    bad = set(KNOWN_BAD)
    ids: list[int] = []
    last = 0
    while len(ids) < n:
        last += int(rng.integers(1, 4))
        if last not in bad:
            ids.append(last)
    # Which artist and genre has which id: artists' tracks are not all in a row.
    order = rng.permutation(n)
    made: list[Track] = []
    artist_id = 0
    for place, genre in enumerate(genres):
        mine = [ids[at] for at in order[place :: len(genres)]]
        # As FMA's small, the smaller subsets are balanced.
        where = dict(zip(mine, (rng.permutation(len(mine)) + 0.5) / len(mine), strict=True))
        for artist, some in _artists(mine, artist_id, rng):
            artist_id = artist.id
            for at, id_ in enumerate(some):
                subset = np.searchsorted((_SMALL, _MEDIUM), where[id_])
                name = ("small", "medium", "large")[int(subset)]
                made.append(_track(id_, artist, at, name, genre, genres, rng))
    return sorted(made, key=lambda track: track.id)


def _artists(
    ids: Sequence[int], last: int, rng: np.random.Generator
) -> Iterator[tuple[Artist, Sequence[int]]]:
    """Artists with a few tracks each; test and validation get theirs first."""
    most = max(2, min(8, len(ids) // 5))
    at, held = 0, {"test": 0, "validation": 0}
    while at < len(ids):
        last += 1
        size = int(rng.integers(1, most + 1))
        some = ids[at : at + size]
        split = next((s for s, k in held.items() if k < _HELD_OUT * len(ids)), "training")
        if len(ids) < 3:
            split = "training"
        if split in held:
            held[split] += len(some)
        name = " ".join(_WORDS[k] for k in rng.integers(0, len(_WORDS), 2))
        # Two artists may have one name, as in life.
        yield Artist(last, f"The {name}" if rng.random() < 0.5 else name, split), some
        at += size


def _track(
    id_: int,
    artist: Artist,
    at: int,
    subset: str,
    genre: str,
    genres: Sequence[str],
    rng: np.random.Generator,
) -> Track:
    tree = GenreTree.fma()
    own = (genre, *tree.children(genre))
    named = [own[int(rng.integers(0, len(own)))]]
    top = genre
    if subset == "large" and rng.random() < _NO_TOP:
        top = ""  # of two roots: FMA names a top-level genre only where there is one
        others = [g for g in tree.top_level if g != genre]
        close = [g for g in genres if g != genre] or others
        named.append(close[int(rng.integers(0, len(close)))])
        if artist.split == "training" and rng.random() < _NO_GENRE:
            named = []
    every = list(dict.fromkeys(name for leaf in named for name in reversed(tree.path(leaf))))
    if rng.random() < 0.04:
        title = _TRAPS[int(rng.integers(0, len(_TRAPS)))]
    else:
        title = " ".join(_WORDS[k] for k in rng.integers(0, len(_WORDS), int(rng.integers(1, 4))))
    return Track(
        id=id_,
        artist=artist,
        album=3 * artist.id + at // 4,
        number=at % 4 + 1,
        genre=genre,
        genre_top=top,
        genres=tuple(tree.id(name) for name in named),
        genres_all=tuple(tree.id(name) for name in every),
        subset=subset,
        title=title,
        rank=float(rng.random()),
        seconds=int(rng.integers(60, 400)),
        created=datetime(2008, 11, 26) + timedelta(seconds=int(rng.integers(0, 250_000_000))),
    )


def track_rows(rows: Sequence[Track]) -> Iterator[Sequence[object]]:
    """The cells of tracks.csv."""
    for row in rows:
        artist, single = row.artist, row.id % 29 == 0
        listens = int(10 ** (1 + 4 * row.rank))
        cells: dict[tuple[str, str], object] = {
            ("album", "comments"): -1 if single else 0,
            ("album", "date_created"): "" if single else row.created,
            ("album", "date_released"): ""
            if row.id % 7 == 0
            else row.created.replace(hour=0, minute=0, second=0),
            ("album", "favorites"): -1 if single else int(9 * row.rank),
            ("album", "id"): -1 if single else row.album,
            ("album", "information"): "<p></p>" if row.id % 3 else "",
            ("album", "listens"): -1 if single else 4 * listens,
            ("album", "tags"): "[]",
            ("album", "title"): "" if single else f"Album {row.album}, part 1",
            ("album", "tracks"): -1 if single else 4,
            ("album", "type"): "" if single else "Album",
            ("artist", "active_year_begin"): "2006-01-01 00:00:00" if artist.id % 3 else "",
            ("artist", "bio"): _BIO.format(name=artist.name, id=artist.id) if artist.id % 5 else "",
            ("artist", "comments"): 0,
            ("artist", "date_created"): "2008-11-26 01:42:32",
            ("artist", "favorites"): artist.id % 20,
            ("artist", "id"): artist.id,
            ("artist", "latitude"): 40.0583238 if artist.id % 4 else "",
            ("artist", "longitude"): -74.4056612 if artist.id % 4 else "",
            ("artist", "location"): "Nowhere, NJ" if artist.id % 4 else "",
            ("artist", "name"): artist.name,
            ("artist", "tags"): str([artist.name.lower(), "it's made up"]),
            ("set", "split"): artist.split,
            ("set", "subset"): row.subset,
            ("track", "bit_rate"): (320000, 256000, 192000)[row.id % 3],
            ("track", "comments"): 0,
            ("track", "date_created"): row.created,
            ("track", "date_recorded"): "" if row.id % 4 else "2008-11-26 00:00:00",
            ("track", "duration"): row.seconds,
            ("track", "favorites"): int(20 * row.rank),
            ("track", "genre_top"): row.genre_top,
            ("track", "genres"): list(row.genres),
            ("track", "genres_all"): list(row.genres_all),
            ("track", "interest"): 3 * listens,
            ("track", "language_code"): "en",
            ("track", "license"): _LICENSES[artist.id % len(_LICENSES)],
            ("track", "listens"): listens,
            ("track", "number"): row.number,
            ("track", "tags"): "[]",
            ("track", "title"): row.title,
        }
        yield row.id, *(cells.get(column, "") for column in _COLUMNS)


def features_head() -> Sequence[Sequence[str]]:
    """The header rows of features.csv: 518 columns in FMA's order."""
    columns = [
        (name, statistic, f"{band + 1:02d}")
        for name, bands, *_ in _DESCRIPTORS
        for statistic in _STATISTICS
        for band in range(bands)
    ]
    levels = zip(("feature", "statistics", "number"), zip(*columns, strict=True), strict=True)
    return [*([head, *cells] for head, cells in levels), ["track_id", *("" for _ in columns)]]


def feature_rows(
    rows: Sequence[Track], genres: Sequence[str], seed: int
) -> Iterator[Sequence[object]]:
    """The cells of features.csv, drawn around a point of the genre and one of the artist."""
    centres = np.random.default_rng([seed, 1])
    bands = sum(d[1] for d in _DESCRIPTORS)
    of_genre = {genre: centres.normal(0, 1, (2, bands)) for genre in genres}
    for row in rows:
        artist = np.random.default_rng([seed, 2, row.artist.id]).normal(0, 0.7, (2, bands))
        own = np.random.default_rng([seed, 3, row.id]).normal(0, 1, (5, bands))
        yield row.id, *_statistics(of_genre[row.genre] + artist + own[:2], own[2:])


def _statistics(level: NDArray[np.float64], extra: NDArray[np.float64]) -> Iterator[str]:
    at = 0
    for _, bands, centre, spread, low, high in _DESCRIPTORS:
        some = slice(at, at + bands)
        at += bands
        mean = np.clip(centre + spread * level[0, some], low + spread / 9, high - spread / 9)
        std = spread * np.exp(0.3 * level[1, some])
        lowest = np.maximum(mean - std * (1.5 + np.abs(extra[0, some])), low)
        highest = np.minimum(mean + std * (1.5 + np.abs(extra[1, some])), high)
        median = np.clip(mean + 0.1 * std * extra[2, some], lowest, highest)
        skew = extra[1, some] - extra[0, some]
        values: dict[str, Any] = {
            **{"kurtosis": skew**2 - 1, "max": highest, "mean": mean, "median": median},
            **{"min": lowest, "skew": skew, "std": std},
        }
        for statistic in _STATISTICS:
            yield from map("{:.10e}".format, values[statistic].tolist())


def echonest_head() -> Sequence[Sequence[str]]:
    """The header rows of echonest.csv: 249 columns."""
    metadata = ("album_date", "album_name", "artist_latitude", "artist_location")
    columns = [
        *(("audio_features", name) for name in _AUDIO),
        *(("metadata", name) for name in (*metadata, "artist_longitude", "artist_name", "release")),
        *(("ranks", f"artist_{name}_rank") for name in _SOCIAL),
        *(("ranks", f"song_{name}_rank") for name in ("currency", "hotttnesss")),
        *(("social_features", f"artist_{name}") for name in _SOCIAL),
        *(("social_features", f"song_{name}") for name in ("currency", "hotttnesss")),
        *(("temporal_features", f"{at:03d}") for at in range(224)),
    ]
    groups, names = zip(*columns, strict=True)
    return [
        ["", *("echonest" for _ in columns)],
        ["", *groups],
        ["", *names],
        ["track_id", *("" for _ in columns)],
    ]


def echonest_rows(
    rows: Sequence[Track], genres: Sequence[str], seed: int
) -> Iterator[Sequence[object]]:
    """The cells of echonest.csv: every fourth track, with missing cells."""
    centres = np.random.default_rng([seed, 4])
    of_genre = {genre: centres.normal(0, 1, len(_AUDIO)) for genre in genres}
    for row in rows[::_ECHONEST]:
        rng = np.random.default_rng([seed, 5, row.id])
        level = of_genre[row.genre] + rng.normal(0, 0.8, len(_AUDIO))
        audio: list[object] = [round(float(x), 10) for x in 1 / (1 + np.exp(-level))]
        audio[_AUDIO.index("tempo")] = round(float(120 + 20 * level[_AUDIO.index("tempo")]), 3)
        named = [row.created.date(), f"Album {row.album}", "", "", "", row.artist.name, ""]
        ranks = ["" if row.id % 3 else int(rng.integers(1, 9999)) for _ in range(5)]
        social = [round(float(x), 10) for x in rng.random(5)]
        temporal = [round(float(x), 6) for x in rng.normal(0, 1, 224)]
        yield row.id, *audio, *named, *ranks, *social, *temporal
