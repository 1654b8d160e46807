"""Files in every container that genres are written into, with other tags and a cover."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import mutagen
import mutagen.id3
import numpy as np
from mutagen.apev2 import APEv2
from mutagen.flac import Picture
from mutagen.mp4 import MP4Cover

from genrescope.catalog.genre_tags import Scan
from tests.audio.sounds import SR, encode, encode_av, music

__all__ = [
    "COVER",
    "FORMATS",
    "ape_tag",
    "dump",
    "frame",
    "id3",
    "make",
    "mp4",
    "native",
    "others",
    "pcm",
    "plain",
    "put_back",
    "scan",
    "tag",
    "v1_tag",
]

COVER = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


@functools.cache
def _y() -> np.ndarray:
    return music(1.5)


def _fake(magic: bytes) -> bytes:
    """What no encoder here makes: the head of such a file, and noise."""
    noise = np.random.default_rng(3).integers(0, 250, 40_000, dtype=np.uint8).tobytes()
    return magic + noise


def mp4(flags: str) -> bytes:
    """AAC in MP4, written with these flags of FFmpeg's."""
    with tempfile.TemporaryDirectory() as folder:  # what moves its front needs to read itself
        path = Path(folder) / "a.mp4"
        _encode_mp4(path, flags)
        return path.read_bytes()


def _encode_mp4(path: Path, flags: str) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": flags}) as out:
        stream = out.add_stream("aac", rate=SR)
        stream.layout = "stereo"
        sound = np.ascontiguousarray(_y().T)
        for i in range(0, sound.shape[1], 1024):
            piece = np.ascontiguousarray(sound[:, i : i + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SR, i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


FORMATS: dict[str, Callable[[], bytes]] = {
    "mp3": lambda: encode(_y(), SR, format="MP3", subtype="MPEG_LAYER_III"),
    "flac": lambda: encode(_y(), SR, format="FLAC"),
    "ogg": lambda: encode(_y(), SR, format="OGG", subtype="VORBIS"),
    "opus": lambda: encode_av(_y(), 48_000, codec="libopus", format="ogg"),
    "oga": lambda: encode_av(_y(), SR, codec="flac", format="ogg"),
    "m4a": lambda: encode_av(_y(), SR, codec="aac", format="ipod"),
    "alac": lambda: encode_av(_y(), SR, codec="alac", format="ipod"),
    "front": lambda: mp4("faststart"),
    "wma": lambda: encode_av(_y(), SR, codec="wmav2", format="asf"),
    "wv": lambda: encode_av(_y(), SR, codec="wavpack", format="wv"),
    "tta": lambda: encode_av(_y(), SR, codec="tta", format="tta"),
    "wav": lambda: encode(_y(), SR, format="WAV"),
    "aiff": lambda: encode(_y(), SR, format="AIFF"),
    "mpc": lambda: _fake(b"MP+\x07" + bytes(20)),
    "ape": lambda: _fake(b"MAC \x96\x0f\0\0"),
}


@functools.cache
def plain(kind: str) -> bytes:
    """The bytes of a file without any tags of ours."""
    return FORMATS[kind]()


def make(folder: Path, kind: str, *, tagged: bool = True) -> Path:
    """A new file of that kind, with title, artist, cover and more, and without a genre."""
    ending = {"alac": "m4a", "front": "m4a"}.get(kind, kind)
    path = folder / f"{kind}.{ending}"
    path.write_bytes(plain(kind))
    if tagged:
        tag(path, kind)
    return path


def tag(path: Path, kind: str) -> None:
    """Give it tags by mutagen, with things in them that programs stumble over."""
    if kind in ("mpc", "ape", "wv"):
        ape = APEv2()
        ape["Title"], ape["Artist"] = "A title", ["One", "Two"]
        ape["Cover Art (Front)"] = b"cover.png\0" + COVER
        ape.save(path)
        return
    if kind in ("mp3", "wav", "aiff", "tta"):
        opened = mutagen.File(path)
        if opened.tags is None:
            opened.add_tags()
        _id3(opened.tags)
        opened.save()
        return
    opened = mutagen.File(path)
    if kind in ("m4a", "alac", "front"):
        opened["\xa9nam"], opened["\xa9ART"] = ["A title"], ["One", "Two"]
        opened["covr"] = [MP4Cover(COVER, MP4Cover.FORMAT_PNG)]
        opened["trkn"], opened["----:com.apple.iTunes:X"] = [(3, 9)], [b"free form"]
    elif kind == "wma":
        opened["Title"], opened["Author"] = "A title", ["One", "Two"]
        opened["WM/AlbumTitle"], opened["X/Free"] = "Älbum", [b"bytes", 7]
    else:
        opened["title"], opened["artist"] = "A title", ["One", "Two"]
        opened["X-FREE"] = "Ä free form"
        picture = Picture()
        picture.data, picture.mime, picture.type = COVER, "image/png", 3
        if kind == "flac":
            opened.add_picture(picture)
        else:
            import base64

            opened["metadata_block_picture"] = base64.b64encode(picture.write()).decode()
    opened.save()


def _id3(tags: Any) -> None:
    i = mutagen.id3
    for frame in (
        i.TIT2(encoding=3, text="A title"),
        i.TPE1(encoding=1, text=["One", "Two"]),
        i.TDRC(encoding=0, text="2009-05-07T11:12:13"),
        i.TXXX(encoding=3, desc="free", text="form Ä"),
        i.COMM(encoding=1, lang="deu", desc="d", text="ein Wort"),
        i.APIC(encoding=0, mime="image/png", type=3, desc="", data=COVER),
        i.PRIV(owner="me", data=b"\xff\x00\xff\xe0"),
        i.TSOP(encoding=3, text="One, sorted"),
    ):
        tags.add(frame)


def dump(path: Path) -> dict[str, list[str]]:
    """All that mutagen reads in a file, genres too."""
    opened = mutagen.File(path)
    found: dict[str, list[str]] = {}
    tags = opened.tags
    if tags is None:
        return found
    pairs = tags.items() if hasattr(tags, "items") else list(tags)
    for key, value in pairs:
        found[key] = [repr(v) for v in value] if isinstance(value, list) else [repr(value)]
    for picture in getattr(opened, "pictures", []):
        found.setdefault("pictures", []).append(repr(picture.write()))
    return found


def others(path: Path) -> dict[str, list[str]]:
    """The same without genres."""
    genre = {"tcon", "genre", "\xa9gen", "wm/genre"}
    return {key: value for key, value in dump(path).items() if key.lower() not in genre}


def ape_tag(**items: Any) -> bytes:
    """An APEv2 tag as bytes."""
    buffer = io.BytesIO(b"x")
    tags = APEv2()
    for key, value in items.items():
        tags[key] = value
    tags.save(buffer)
    return buffer.getvalue()[1:]


def v1_tag(*, title: str = "", genre: int = 255) -> bytes:
    """An ID3v1 tag as bytes."""
    return struct.pack("3s30s30s30s4s30sB", b"TAG", title.encode(), b"", b"", b"", b"", genre)


def scan(path: Path) -> Scan:
    return Scan(io.BytesIO(path.read_bytes()), path.name)


def put_back(path: Path, kept: dict) -> bytes:
    """What the file is once its genres are put back."""
    out = io.BytesIO()
    scan(path).rewrite(out, kept=kept)
    return out.getvalue()


def pcm(path: Path) -> str:
    """Every decoded sample."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            digest.update(np.ascontiguousarray(frame.to_ndarray()).tobytes())
    return digest.hexdigest()


def native(path: Path) -> list[str]:
    """The genres as mutagen reads them, each value for itself."""
    tags = mutagen.File(path).tags
    key = next(k for k in ("TCON", "genre", "\xa9gen", "WM/Genre", "Genre") if k in tags)
    value = tags[key]
    return [str(v) for v in (value.text if key == "TCON" else value)]


def frame(name: bytes, content: bytes, *, version: int = 4, flags: int = 0) -> bytes:
    size = (
        bytes(len(content) >> s & 0x7F for s in (21, 14, 7, 0))
        if version == 4
        else struct.pack(">I", len(content))
    )
    return name + size + struct.pack(">H", flags) + content


def id3(
    *frames: bytes, version: int = 4, flags: int = 0, room: int = 0, extended: bytes = b""
) -> bytes:
    body = extended + b"".join(frames) + bytes(room)
    size = bytes(len(body) >> s & 0x7F for s in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, flags]) + size + body
