"""The genre fields of a music file, read and written as each container means them.

Several genres are several values, never one text with marks between: ID3 (mp3, aiff, wav, tta) in
one ``TCON`` frame, Vorbis comments (flac, ogg, opus, spx) under a key each, MP4 in one ``©gen``
atom, ASF (wma) as ``WM/Genre`` attributes, APEv2 (wv, ape, mpc, tak, ofr) in one item. Nothing else
is touched: a file is not written from what a parser understood of it, but byte ranges are
exchanged, so that a frame nobody knows, the order of comments and a picture stay what they are.
What was there can be put back to the byte. The modules of ``catalog/containers`` say what each
container does in its special cases.

Raw AAC, AC-3, AU, CAF, Matroska, W64, RF64 and DSD files are refused: they have no genre field, or
none that is agreed upon.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from genrescope.catalog.containers.base import Id3Version, Kept, Layout, apply_patches
from genrescope.errors import TagError

__all__ = [
    "CONTAINERS",
    "GenreField",
    "Id3Version",
    "Scan",
    "read_genre_field",
    "write_genre_field",
]

CONTAINERS = (
    "ID3v2.4", "ID3v2.3", "ID3v2.2", "ID3v1", "Vorbis comment", "MP4", "ASF", "APEv2", "RIFF INFO",
)  # fmt: skip
"""Where genres can stand; what :attr:`GenreField.container` may be."""

_T = TypeVar("_T")

_CHUNK = 1 << 20
_GENRE_KEYS = ("tcon", "genre", "\xa9gen", "wm/genre")
_ENCODING = re.compile(r"encoding=<Encoding\.\w+: \d+>, ")  # as mutagen shows a frame
_APE_FAMILY = (b"wvpk", b"MAC ", b"MPCK", b"MP+", b"tBaK", b"OFR ")
_REFUSED = {
    b"\x1aE\xdf\xa3": "Matroska",
    b"caff": "CAF",
    b".snd": "AU",
    b"RF64": "RF64",
    b"BW64": "BW64",
    b"riff": "W64",
    b"DSD ": "DSF",
    b"FRM8": "DSDIFF",
    b"\x0bw": "AC-3",
    b"\x00\x00\x01\xba": "an MPEG program stream",
}


@dataclass(frozen=True, slots=True)
class GenreField:
    """The genres in the tags of one file.

    Attributes
    ----------
    container : str
        One of `CONTAINERS`; for a file without genres, the one they would be written to.
    values : tuple of str
        Native values in order, as written; ID3 and MP4 numbers stand as the names they mean. One
        text with marks in it is one value (:func:`~genrescope.catalog.genres.split_genres`).
    """

    container: str
    values: tuple[str, ...]


class Scan:
    """What a file holds, and how to write it anew with other genres.

    Parameters
    ----------
    file : BinaryIO
        An open file.
    name : str
        Its name, for messages.

    Attributes
    ----------
    field : GenreField
        The genres.
    kept : dict
        What puts the genre fields back to the byte; JSON.

    Raises
    ------
    TagError
        If the file is in no container with genres, or damaged.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._layout = self._told(lambda: _layout(file))
        self.field = GenreField(self._layout.container, self._layout.values)
        self.kept: Kept = self._layout.kept
        self._opened: Any = None

    def audio_digest(self) -> str:
        """A digest of the sound alone, as hex digits; no tag changes it."""
        digest = hashlib.blake2b(digest_size=16)
        for start, end in self._layout.sound():
            self._file.seek(start)
            while start < end:
                data = self._file.read(min(_CHUNK, end - start))
                if not data:
                    break
                digest.update(data)
                start += len(data)
        return digest.hexdigest()

    def others_digest(self) -> str:
        """A digest of all that is neither genre nor sound: other tags, pictures, headers."""
        digest = hashlib.blake2b(digest_size=16)
        for piece in self._layout.others():
            digest.update(struct.pack("<Q", len(piece)) + piece)
        return digest.hexdigest()

    def as_read(self, like: Scan | None = None) -> dict[str, str] | None:
        """All tags but genres as mutagen understands them, which has no part in the writing.

        Parameters
        ----------
        like : Scan, optional
            Take the file for what this one was taken for.

        Returns
        -------
        dict or None
            Key to a digest of the value; None where mutagen cannot read the file.
        """
        import mutagen

        try:
            self._file.seek(0)
            if like is None or like._opened is None:
                self._opened = mutagen.File(self._file)
            else:
                self._opened = like._opened(self._file)
        except Exception:  # noqa: BLE001 - a parser fed with broken bytes may raise anything
            return None
        opened, self._opened = self._opened, type(self._opened)
        if opened is None:
            return None
        found: dict[str, str] = {}
        tags = opened.tags
        for key in () if tags is None else dict.fromkeys(tags.keys()):
            if key.lower() not in _GENRE_KEYS:
                # The letters that a text is written in differ between versions of ID3.
                found[key] = _short(_ENCODING.sub("", repr(tags[key])))
        for n, picture in enumerate(getattr(opened, "pictures", ())):
            found[f"picture {n}"] = _short(repr(picture.write()))
        return found

    @property
    def id3_version(self) -> int | None:
        """Of the ID3v2 tag, 2, 3 or 4; None in other containers."""
        version: int | None = self.kept.get("id3", {}).get("version")
        return version

    def rewrite(
        self,
        target: BinaryIO,
        *,
        values: Sequence[str] = (),
        kept: Kept | None = None,
        id3_version: Id3Version = "keep",
    ) -> None:
        """Write the whole file to an empty one, with other genres.

        Parameters
        ----------
        target : BinaryIO
            Where to.
        values : sequence of str
            The genres; none removes the field.
        kept : dict, optional
            What an earlier scan kept: the fields are put back as they were then. Where the file is
            in another container by now, `values` are written.
        id3_version : {"keep", 3, 4}
            Of an ID3 tag.
        """

        def write() -> None:
            layout = self._layout
            if kept is not None and kept.get("kind") == self.kept["kind"]:
                patches = layout.patches_back(kept)
            else:
                patches = layout.patches(values, id3_version)
            apply_patches(self._file, patches, target)

        self._told(write)

    def _told(self, work: Callable[[], _T]) -> _T:
        """Messages of the containers lack the path."""
        try:
            return work()
        except TagError as error:
            raise TagError(f"{self._name}: {error}") from error
        except (struct.error, IndexError, ValueError) as error:
            raise TagError(f"{self._name}: it is damaged ({error})") from error


def read_genre_field(path: str | os.PathLike[str]) -> GenreField:
    """Read the genres in the tags of a file.

    Raises
    ------
    TagError
        If the file cannot be read, is in no container with genres, or damaged.

    Examples
    --------
    >>> read_genre_field("song.flac")  # doctest: +SKIP
    GenreField(container='Vorbis comment', values=('Rock', 'Punk'))
    """
    try:
        with _opened(path) as file:
            return Scan(file, os.fspath(path)).field
    except OSError as error:
        raise TagError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_genre_field(
    path: str | os.PathLike[str], values: Sequence[str], *, id3_version: Id3Version = "keep"
) -> None:
    """Write genres into a private copy of a file; nothing else in it is touched.

    There is no journal and no check of what was written: for files of a library, use
    :class:`genrescope.apps.tagger.Tagger`.

    Raises
    ------
    TagError
        If the file cannot be written, is in no container with genres, or damaged; it is as it was.
    """
    whole = Path(path)
    part = whole.with_name(f".genrescope-{os.getpid()}.part")
    try:
        with _opened(whole) as file, part.open("x+b") as target:
            Scan(file, os.fspath(path)).rewrite(target, values=values, id3_version=id3_version)
        shutil.copymode(whole, part)
        part.replace(whole)
    except OSError as error:
        raise TagError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file; a pipe that nobody writes to would be waited for."""
    if "\0" in os.fspath(path):
        raise TagError(
            f"{os.fspath(path)!r}: no file name holds a NUL; a list of names with NUL between them "
            "is read with --null"
        )
    no_wait = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_wait))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise TagError(f"{path}: is a pipe, socket or device; only regular files have tags")
    return file


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _layout(file: BinaryIO) -> Layout:
    from genrescope.catalog.containers.id3 import Id3Tag

    file.seek(0)
    head = file.read(16)
    skipped = Id3Tag.size_at(head[:10])
    file.seek(skipped)
    first = file.read(16)
    kind, layout = _known(file, head, first)
    layout.kept["kind"] = kind
    return layout


def _known(file: BinaryIO, head: bytes, first: bytes) -> tuple[str, Layout]:
    if first[:4] == b"fLaC":
        from genrescope.catalog.containers.vorbis import Flac

        return "flac", Flac(file)
    if head[:4] == b"OggS":
        from genrescope.catalog.containers.ogg import Ogg

        return "ogg", Ogg(file)
    if head[4:8] == b"ftyp":
        from genrescope.catalog.containers.mp4 import Mp4

        return "mp4", Mp4(file)
    if (head[:4], head[8:12]) == (b"RIFF", b"WAVE") or (
        head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")
    ):
        from genrescope.catalog.containers.chunks import Chunks

        return "chunks", Chunks(file)
    from genrescope.catalog.containers.asf import HEADER, Asf

    if head == HEADER:
        return "asf", Asf(file)
    from genrescope.catalog.containers.framed import Framed

    if first.startswith(_APE_FAMILY):
        return "framed", Framed(file, has_id3=False)
    for magic, name in _REFUSED.items():
        if first.startswith(magic):
            raise TagError(f"{name} has no genre field that programs agree upon")
    # Before MPEG, whose syncword it shares: among its frames, two that look like mp3 are found.
    if first[:1] == b"\xff" and first[1:2] and first[1] & 0xF6 == 0xF0:
        raise TagError("raw AAC has no tags; put it into MP4: ffmpeg -i FILE.aac -c copy FILE.m4a")
    if first[:3] == b"TTA" or _is_mpeg(file):
        return "framed", Framed(file, has_id3=True)
    if not head:
        raise TagError("the file is empty")
    raise TagError("it is no music in a container with tags that is known here")


def _is_mpeg(file: BinaryIO) -> bool:
    from mutagen import MutagenError
    from mutagen.mp3 import MPEGInfo

    file.seek(0)
    try:
        MPEGInfo(file)
    except MutagenError:
        return False
    return True
