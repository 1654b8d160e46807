"""What is known about a track besides its sound, from file tags and from tables.

Everything is optional. What cannot be understood counts as not known: a broken cell is no reason
to give up on a track. Genre tags are left out on purpose; they would be the answer, not a reason.
"""

from __future__ import annotations

import csv
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.catalog.tags import Tags
from genrescope.errors import DataError

__all__ = [
    "ECHONEST",
    "NUMBERS",
    "TEXT_SOURCES",
    "About",
    "fma_abouts",
    "read_about_table",
    "table_abouts",
]

#: The sources that are text.
TEXT_SOURCES = ("title", "artist", "album", "tags", "biography")

#: What The Echo Nest's service (closed in 2016) measured; it is known for a part of FMA.
ECHONEST = (
    "acousticness",
    "danceability",
    "energy",
    "instrumentalness",
    "liveness",
    "speechiness",
    "tempo",
    "valence",
)

#: The numbers of the source "numbers": year, seconds (as logarithm), and those of Echonest.
NUMBERS = ("year", "log_duration", *ECHONEST)

_MAX_LENGTH = 4000  # characters
_YEARS = (1000, 2999)
_SECONDS = (0.1, 7 * 24 * 3600.0)
# What programs write where nothing is known.
_PLACEHOLDERS = {
    "title": r"(?:audio ?)?(?:track|piste|titel|spur)[ _]*\d*|unknown(?: title)?",
    "artist": r"unknown(?: artist)?|various(?: artists)?|v\.? ?a\.?",
    "album": r"unknown(?: album)?",
}
# Field -> names of columns, the first that says something counts. Dots, blanks and letter case
# do not matter.
_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "title": ("title", "track_title", "track", "song", "name"),
        "artist": ("artist", "artist_name", "artists", "track_artist"),
        "album": ("album", "album_title", "album_name", "release"),
        "date": (
            "original_date",
            "original_year",
            "originaldate",
            "date",
            "year",
            "date_recorded",
            "date_released",
            "album_date_released",
            "release_date",
        ),
        "duration": ("duration", "length", "seconds", "track_duration"),
        "tags": ("tags", "track_tags", "keywords"),
        "biography": ("biography", "bio", "artist_bio", "artist_biography"),
    }
)


@dataclass(frozen=True)
class About:
    """A track, as far as it is known without hearing it.

    Attributes
    ----------
    title, artist, album : str or None
        As written; "Track 01" and "Unknown artist" count as not known.
    date : str, int or None
        A date or a year in any usual writing; only the year is used.
    duration : float or None
        Of the whole track, in seconds.
    tags : str, sequence of str, or None
        Free tags of listeners or of the artist. The genre tag of a file does not belong here.
    biography : str or None
        Of the artist; HTML is taken out.
    echonest : mapping of str to float, or None
        Some or all of :data:`ECHONEST`.

    Examples
    --------
    >>> about = About(title="  Food ", artist="", date="2008-11-26")
    >>> about.title, about.artist, about.year, about.known
    ('Food', None, 2008, ('title', 'numbers'))
    >>> About().known
    ()
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    date: str | int | None = None
    duration: float | None = None
    tags: str | Sequence[str] | None = None
    biography: str | None = None
    echonest: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name in ("title", "artist", "album", "biography"):
            text = _text(getattr(self, name))
            if text and re.fullmatch(_PLACEHOLDERS.get(name, "(?!)"), text, flags=re.IGNORECASE):
                text = None
            object.__setattr__(self, name, text)
        object.__setattr__(self, "date", _text(self.date))
        object.__setattr__(self, "duration", _within(self.duration, *_SECONDS))
        object.__setattr__(self, "tags", _tags(self.tags))
        given = self.echonest if isinstance(self.echonest, Mapping) else {}
        limits = {"tempo": (1.0, 1000.0)}
        found = {
            name: value
            for name in ECHONEST
            if (value := _within(given.get(name), *limits.get(name, (-0.01, 1.01)))) is not None
        }
        object.__setattr__(self, "echonest", found or None)

    @property
    def year(self) -> int | None:
        """The year of the date, where it has one."""
        found = re.search(r"(?<!\d)\d{4}(?!\d)", str(self.date or ""))
        if found is None:  # FMA's flat tables write 11/26/08
            found = re.search(r"(?<=/)\d{2}(?=$| )", str(self.date or ""))
            if found is None:
                return None
            short = int(found[0])
            return short + (2000 if short < 70 else 1900)
        year = int(found[0])
        return year if _YEARS[0] <= year <= _YEARS[1] else None

    @property
    def known(self) -> tuple[str, ...]:
        """The sources of which something is known, in the order of :data:`TEXT_SOURCES`."""
        found = [name for name in TEXT_SOURCES if self.text(name) is not None]
        return (*found, "numbers") if np.isfinite(self.numbers()).any() else tuple(found)

    def text(self, source: str) -> str | None:
        """What a source of :data:`TEXT_SOURCES` says."""
        value = getattr(self, source)
        return " ; ".join(value) if isinstance(value, tuple) else value

    def numbers(self) -> npt.NDArray[np.float64]:
        """The numbers in the order of :data:`NUMBERS`; NaN where not known."""
        year, duration, echonest = self.year, self.duration, self.echonest or {}
        return np.array(
            [
                math.nan if year is None else year,
                math.nan if duration is None else math.log(duration),
                *(echonest.get(name, math.nan) for name in ECHONEST),
            ]
        )

    @classmethod
    def from_tags(cls, tags: Tags, *, duration: float | None = None) -> About:
        """From the tags of a file. Its genres are not taken."""
        return cls(
            title=tags.title,
            artist=tags.artist,
            album=tags.album,
            date=tags.date,
            duration=duration,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> About:
        """From the row of a table, whose columns may have any of the usual names.

        Parameters
        ----------
        row : mapping of str to anything
            Columns that are not known are left alone; so are cells that make no sense.

        Examples
        --------
        >>> About.from_row({"Track.Title": "Food", "artist name": "AWOL", "tempo": "165.9"}).known
        ('title', 'artist', 'numbers')
        """
        cells = {_column(name): value for name, value in row.items() if isinstance(name, str)}
        fields: dict[str, Any] = {}
        for field, names in _COLUMNS.items():
            given = (cells[name] for name in names if name in cells)
            fields[field] = next((value for value in given if _says_something(value)), None)
        fields["duration"] = _seconds(fields["duration"])
        echonest = {name: _number(cells.get(name)) for name in ECHONEST}
        fields["echonest"] = {n: v for n, v in echonest.items() if v is not None}
        return cls(**fields)


def read_about_table(path: str | PathLike[str]) -> list[tuple[dict[str, str], About]]:
    """Every row of a CSV table, and what it says about its track.

    Parameters
    ----------
    path : path-like
        In UTF-8, its first row the names of the columns. Separated by commas, semicolons or tabs.

    Returns
    -------
    list of (dict, About)
        The cells as written, by column; one a row.

    Raises
    ------
    DataError
        If it cannot be read, has no rows, or no column that says something about a track.
    """
    place = Path(path)
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            mark = max(",;\t", key=head.count)
            file.seek(0)
            rows = [
                {name: cell for name, cell in row.items() if isinstance(name, str)}
                for row in csv.DictReader(file, delimiter=mark)
            ]
            rows = [{n: "" if c is None else c for n, c in row.items()} for row in rows]
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place}: is no CSV table in UTF-8 ({error})") from error
    if not rows:
        raise DataError(f"{place}: has no rows; it needs a row of column names, then one a track")
    wanted = {name for names in _COLUMNS.values() for name in names} | set(ECHONEST)
    if not wanted & {_column(name) for name in rows[0]}:
        raise DataError(
            f"{place}: has the columns {', '.join(rows[0])}; none says anything about a track. "
            "Name them title, artist, album, date, duration, tags or biography"
        )
    return [(row, About.from_row(row)) for row in rows]


def table_abouts(
    path: str | PathLike[str],
    track_id: npt.ArrayLike,
    *,
    echonest: str | PathLike[str] | None = None,
) -> list[About]:
    """What a table with a column ``track_id`` says about given tracks.

    Parameters
    ----------
    path : path-like
        Such as ``small_tracks.csv`` of a prepared folder.
    track_id : array-like [shape=(n,), int]
        The tracks, in the order that is wanted.
    echonest : path-like, optional
        A second table with Echonest's numbers; a track that it does not have has none.

    Returns
    -------
    list of n About

    Raises
    ------
    DataError
        If a table cannot be read or has no ``track_id``, or `path` lacks one of the tracks.
    """
    rows = _by_id(path)
    numbers = {} if echonest is None else _by_id(echonest)
    wanted = [str(track) for track in np.asarray(track_id).tolist()]
    lost = [track for track in wanted if track not in rows]
    if lost:
        raise DataError(
            f"{path}: has no row for {len(lost)} of {len(wanted)} tracks (first: {lost[0]})"
        )
    return [About.from_row({**numbers.get(track, {}), **rows[track]}) for track in wanted]


def fma_abouts(directory: str | PathLike[str], track_id: npt.ArrayLike) -> list[About]:
    """What the tables that ``genrescope fma prepare`` makes say about given tracks.

    Titles, names of artists and albums, dates, durations, the tags of the track, the biography of
    the artist, and Echonest's numbers where ``echonest.csv`` was prepared. Durations that are known
    to be wrong are left out. FMA's tags are written by its curators and often name the genre.

    Parameters
    ----------
    directory : path-like
        A prepared folder, or one that holds it.
    track_id : array-like [shape=(n,), int]
        The tracks, in the order that is wanted.

    Returns
    -------
    list of n About

    Raises
    ------
    DataError
        If the folder is not prepared, or lacks one of the tracks.
    MissingExtraError
        If pyarrow is not installed.
    """
    from genrescope.catalog.fma_load import KNOWN_BAD
    from genrescope.catalog.fma_prepare import find_prepared, is_simulated, read_stamp, table_file
    from genrescope.catalog.fma_tables import import_pyarrow

    parquet = import_pyarrow().parquet
    folder = find_prepared(directory)
    file = parquet.ParquetFile(table_file(folder, "tracks"))
    wanted = ("title", "artist_name", "album_title", "date_recorded", "album_date_released")
    columns = [
        name
        for name in (*wanted, "duration", "tags", "artist_bio")
        if name in file.schema_arrow.names
    ]
    table = file.read(columns=["track_id", *columns])
    place = {track: row for row, track in enumerate(table["track_id"].to_pylist())}
    ids = [int(track) for track in np.asarray(track_id).tolist()]
    lost = [track for track in ids if track not in place]
    if lost:
        raise DataError(f"{folder}: lacks {len(lost)} of {len(ids)} tracks (first: {lost[0]})")
    chosen = table.take([place[track] for track in ids])
    rows: list[dict[str, Any]] = chosen.to_pylist()
    if "echonest" in read_stamp(folder)["tables"]:
        numbers = parquet.ParquetFile(table_file(folder, "echonest"))
        names = [name for name in numbers.schema_arrow.names if name in ECHONEST]
        known = {r.pop("track_id"): r for r in numbers.read(["track_id", *names]).to_pylist()}
        rows = [{**row, **known.get(row["track_id"], {})} for row in rows]
    if not is_simulated(folder):
        for row in rows:
            if "duration" in KNOWN_BAD.get(row["track_id"], ""):
                row["duration"] = None
    return [About.from_row(row) for row in rows]


def _by_id(path: str | PathLike[str]) -> dict[str, dict[str, str]]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no CSV table in UTF-8 ({error})") from error
    if not rows or "track_id" not in rows[0]:
        raise DataError(f"{path}: needs a column track_id, and rows")
    return {row["track_id"].strip(): row for row in rows if row["track_id"]}


def _column(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().casefold()).strip("_")


def _says_something(value: object) -> bool:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return False
    return str(value).strip() not in ("", "[]")


def _text(value: object) -> str | None:
    if not _says_something(value):
        return None
    text = str(value)[: 4 * _MAX_LENGTH].replace("\0", " ")
    if "<" in text or "&" in text:
        text = html.unescape(re.sub(r"<[^<>]{0,400}>", " ", text))
    return " ".join(text.split())[:_MAX_LENGTH] or None


def _tags(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str):
        listed = re.fullmatch(r"\s*\[(.*)\]\s*", value, flags=re.DOTALL)
        parts: Iterable[object] = re.split(r"[,;|]", (listed[1] if listed else value))
        parts = [str(part).strip(" '\"") for part in parts]
    elif isinstance(value, Sequence | np.ndarray) and not isinstance(value, bytes):
        parts = list(value)
    else:
        return None
    found = [text for part in parts if (text := _text(part)) is not None]
    return tuple(dict.fromkeys(found)) or None


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _within(value: object, low: float, high: float) -> float | None:
    number = _number(value)
    return number if number is not None and low <= number <= high else None


def _seconds(value: object) -> float | None:
    """Seconds, from a number or from "3:45" and "1:02:03"."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d+(:[0-5]?\d){1,2}(\.\d+)?\s*", value):
        total = 0.0
        for part in value.split(":"):
            total = total * 60 + float(part)
        return total
    return _number(value)
