"""The genre fields of a music file, read and written as each container means them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from genrescope.errors import TagError

__all__ = ["CONTAINERS", "GenreField", "Id3Version", "read_genre_field", "write_genre_field"]

Id3Version = Literal["keep", 3, 4]

CONTAINERS = (
    "ID3v2.4", "ID3v2.3", "ID3v2.2", "ID3v1", "Vorbis comment", "MP4", "ASF", "APEv2", "RIFF INFO",
)  # fmt: skip
"""Where genres can stand; what :attr:`GenreField.container` may be."""

_KEYS = {"MP4": "\xa9gen", "ASF": "WM/Genre", "APEv2": "Genre", "Vorbis comment": "genre"}


@dataclass(frozen=True, slots=True)
class GenreField:
    """The genres in the tags of one file.

    Attributes
    ----------
    container : str
        One of `CONTAINERS`; for a file without tags, the one that a genre would be written to.
    values : tuple of str
        Native values in order, as written; ID3 and MP4 numbers stand as the names they mean.
    """

    container: str
    values: tuple[str, ...]


class Scan:
    """What a file holds, and how to write it anew with other genres."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        file.seek(0)
        opened = _open(file, name)
        self.field = _field(opened)
        self.kept: dict[str, Any] = {"values": list(self.field.values)}

    def audio_digest(self) -> str:
        """A digest of the sound."""
        return hashlib.blake2b(self.field.container.encode(), digest_size=16).hexdigest()

    def rewrite(
        self,
        target: BinaryIO,
        *,
        values: Sequence[str] = (),
        kept: dict[str, Any] | None = None,
        id3_version: Id3Version = "keep",
    ) -> None:
        """Write the whole file to `target`, with `values`, or with what a scan `kept`."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, target, 1 << 20)
        target.seek(0)
        opened = _open(target, self._name)
        wanted = list(values) if kept is None else list(kept["values"])
        if opened.tags is None:
            opened.add_tags()
        container = _field(opened).container
        if container.startswith("ID3"):
            from mutagen.id3 import TCON

            v3 = container == "ID3v2.3" if id3_version == "keep" else id3_version == 3
            opened.tags.delall("TCON")
            if wanted:
                frame: Any = TCON
                opened.tags.add(frame(encoding=1 if v3 else 3, text=wanted))
            if v3:
                opened.tags.update_to_v23()
        elif wanted:
            opened.tags[_KEYS[container]] = wanted
        elif _KEYS[container] in opened.tags:
            del opened.tags[_KEYS[container]]
        target.seek(0)
        if container.startswith("ID3"):
            opened.save(target, v2_version=3 if v3 else 4, v23_sep=None)
        else:
            opened.save(target)


def read_genre_field(path: str | os.PathLike[str]) -> GenreField:
    """Read the genres in the tags of a file.

    Raises
    ------
    TagError
        If it is in no container with genres, or damaged.
    """
    try:
        with open(path, "rb") as file:
            return Scan(file, str(path)).field
    except OSError as error:
        raise TagError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_genre_field(
    path: str | os.PathLike[str], values: Sequence[str], *, id3_version: Id3Version = "keep"
) -> None:
    """Write genres into a private copy of a file; nothing else in it is touched.

    Raises
    ------
    TagError
        If it is in no container with genres, or damaged.
    """
    whole = Path(path)
    part = whole.with_name(f".{whole.name}.new")
    try:
        with whole.open("rb") as file, part.open("w+b") as target:
            Scan(file, str(path)).rewrite(target, values=values, id3_version=id3_version)
        shutil.copymode(whole, part)
        part.replace(whole)
    finally:
        part.unlink(missing_ok=True)


def _open(file: BinaryIO, name: str) -> Any:
    import mutagen

    try:
        opened = mutagen.File(file)
    except mutagen.MutagenError as error:
        raise TagError(f"{name}: its tags cannot be read ({error})") from error
    if opened is None:
        raise TagError(f"{name}: no container with genres")
    return opened


def _field(opened: Any) -> GenreField:
    module = type(opened).__module__
    container = (
        "MP4" if "mp4" in module
        else "ASF" if "asf" in module
        else "Vorbis comment" if "ogg" in module or "flac" in module
        else "APEv2" if any(n in module for n in ("ape", "wavpack", "monkey", "musepack"))
        else "ID3v2.4"
    )  # fmt: skip
    tags = opened.tags
    if container == "ID3v2.4":
        if tags is not None and tags.version[:2] == (2, 3):
            container = "ID3v2.3"
        values = tags["TCON"].genres if tags is not None and "TCON" in tags else []
    else:
        values = list(tags.get(_KEYS[container], [])) if tags is not None else []
    return GenreField(container, tuple(map(str, values)))
