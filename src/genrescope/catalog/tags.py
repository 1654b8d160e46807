"""What a music file says about itself: title, artist, genres, album and date from its tags."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from genrescope.catalog.genres import split_genres

__all__ = ["Tags", "read_tags"]

# One name, many spellings: ID3 (mp3, wav, aiff), Vorbis comments and APEv2 (flac, ogg,
# opus, wv), MP4 (m4a), ASF (wma). Vorbis and APEv2 look keys up without case.
_TITLE = ("TIT2", "title", "\xa9nam", "Title")
_ARTIST = ("TPE1", "artist", "\xa9ART", "Author", "TPE2", "albumartist", "aART")
_GENRE = ("TCON", "genre", "\xa9gen", "WM/Genre")
_ALBUM = ("TALB", "album", "\xa9alb", "WM/AlbumTitle")
# The first release where it is named, else the date of this edition.
_DATE = (
    "TDOR",
    "TORY",
    "originaldate",
    "originalyear",
    "TDRC",
    "TYER",
    "date",
    "year",
    "\xa9day",
    "WM/OriginalReleaseYear",
    "WM/Year",
)

_MAX_LENGTH = 500  # characters; tags hold whole web pages now and then
_MAX_GENRES = 100


@dataclass(frozen=True, slots=True)
class Tags:
    """Title, artist, genres, album and date, as far as the file names them.

    Attributes
    ----------
    title, artist : str or None
        As written; several artists are joined by commas.
    genres : tuple of str
        Every genre, in order, once; 100 at most.
    album, date : str or None
        As written; the date of the first release where the file has it.
    """

    title: str | None = None
    artist: str | None = None
    genres: tuple[str, ...] = ()
    album: str | None = None
    date: str | None = None


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read the tags of a music file.

    Parameters
    ----------
    path : path-like
        A file in any format that mutagen knows.

    Returns
    -------
    Tags
        Empty where the file has no tags, or broken ones: whatever stands in a tag, it
        is no reason to give up on the sound.
    """
    try:
        import mutagen

        file = mutagen.File(os.fspath(path))
        tags = None if file is None else file.tags
        if not tags:
            return Tags()
        return Tags(
            title=_joined(_values(tags, _TITLE)),
            artist=_joined(_values(tags, _ARTIST)),
            genres=_genres(_values(tags, _GENRE)),
            album=_joined(_values(tags, _ALBUM)),
            date=_joined(_values(tags, _DATE)[:1]),
        )
    except Exception:  # noqa: BLE001 - a parser fed with broken bytes may raise anything
        return Tags()


def _values(tags: Any, keys: Iterable[str]) -> list[str]:
    for key in keys:
        try:
            value = tags[key]
        except (KeyError, ValueError):  # a Vorbis comment refuses keys that are not ASCII
            continue
        if hasattr(value, "genres"):  # ID3: numbers such as "(17)" become names
            value = value.genres
        elif hasattr(value, "text"):
            value = value.text
        items = [value] if isinstance(value, str) else list(value)
        texts = [str(item) for item in items]
        if any(text.strip(" \0") for text in texts):
            return texts
    return []


def _genres(values: Iterable[str]) -> tuple[str, ...]:
    """Every genre once; players write several values, or one with marks between."""
    found: dict[str, str] = {}
    for name in (name for value in values for name in split_genres(value)):
        found.setdefault(name.casefold(), name[:_MAX_LENGTH])
    return tuple(found.values())[:_MAX_GENRES]


def _joined(values: Iterable[str]) -> str | None:
    parts = [" ".join(part.split()) for value in values for part in value.split("\0")]
    text = ", ".join(dict.fromkeys(part for part in parts if part))
    return text[:_MAX_LENGTH] or None
