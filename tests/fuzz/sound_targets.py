"""Sound and the tags in it."""

from __future__ import annotations

import atexit
import functools
import os
from typing import Any

from tests.fuzz.common import Target, put, workspace


def _mpeg(data: bytes) -> None:
    from genrescope.audio.mpeg import FrameView, after_tags, scan_frames

    path = put(data, "a.mp3")
    fd = os.open(path, os.O_RDONLY)
    try:
        after_tags(fd)
        scan = scan_frames(fd, len(data))
        if scan is None:
            return
        assert 0 <= scan.n_samples <= len(data) * 8 * 1152
        assert all(0 <= a <= b <= len(data) for a, b in scan.segments)
        view = FrameView(fd, scan)
        whole = view.read(1 << 30)
        assert view.tell() == len(whole) == view.seek(0, os.SEEK_END)
        view.seek(len(whole) // 2)
        assert view.read(100) == whole[len(whole) // 2 :][:100]
    finally:
        os.close(fd)


@functools.cache
def _sounds() -> list[bytes]:
    from tests.audio.sounds import encode, encode_av, id3, music

    y = music(0.4, 44_100)
    made = [
        encode(y, 44_100, format="MP3", subtype="MPEG_LAYER_III"),
        encode(y, 44_100),
        encode(y[:4000], 44_100, format="FLAC"),
        encode(y[:4000], 44_100, format="OGG", subtype="VORBIS"),
        encode(y[:4000], 44_100, format="AIFF"),
        encode(y[:4000], 44_100, format="AU", subtype="ULAW"),
        encode_av(y, 44_100, codec="aac", format="ipod"),
        encode_av(y, 44_100, codec="wmav2", format="asf"),
        encode_av(y, 44_100, codec="aac", format="matroska"),
        encode_av(y[:4000], 44_100, codec="wavpack", format="wv"),
    ]
    return [*made, id3(b"picture") + made[0], b"garbage" * 9 + made[0], made[0][:700]]


_SUFFIXES = ("", ".mp3", ".wav", ".flac", ".ogg", ".m4a", ".wma", ".aiff")


def _decode(data: bytes) -> None:
    from genrescope.audio.decode import open_audio

    suffix = _SUFFIXES[data[0] % len(_SUFFIXES)] if data else ""
    with open_audio(put(data[1:], f"a{suffix}")) as audio:
        first = audio.read(duration=2.0)
        assert first.ndim == 1
        assert len(first) <= 2.0 * audio.sr
        audio.read(offset=min(1e6, audio.duration / 2), duration=0.1, mono=False)
        assert audio.duration >= 0


def _decode_seeds() -> list[bytes]:
    places = (1, 2, 3, 4, 7, 0, 5, 6, 0, 0, 1, 1, 1)
    return [bytes([place]) + data for place, data in zip(places, _sounds(), strict=True)]


_SOUND_WORDS = (
    b"ID3\x03\0\0\0\0", b"ID3\x04\0\x10\0\0", b"TAG", b"APETAGEX", b"Xing", b"Info", b"LAME",
    b"\xff\xfb\x90\x44", b"\xff\xf3\x40\xc0", b"\xff\xfd\xa0\x00", b"RIFF", b"fmt ", b"data",
    b"fLaC", b"OggS", b"ftypM4A ", b"moov", b"\xff\xff\xff\xff",
)  # fmt: skip


def _tags(data: bytes) -> None:
    from genrescope.catalog.tags import read_tags

    tags = read_tags(put(data, "a"))
    for text in (tags.title, tags.artist, tags.album, tags.date, *tags.genres):
        assert text is None or 0 < len(text) <= 500
    assert len(tags.genres) <= 100


@functools.cache
def _tagged() -> list[bytes]:
    import mutagen
    from mutagen.id3 import ID3, TCON, TIT2, TPE1

    out = []
    for at, data in enumerate(_sounds()[:9]):
        path = put(data, f"t{at}")
        if at == 0:
            tags = ID3()
            for frame in (TIT2(text="Title"), TPE1(text=["One", "Two"]), TCON(text=["(17)Pop"])):
                tags.add(frame)
            tags.save(path)
        else:
            file = mutagen.File(path, easy=True)
            if file is None:
                continue
            try:
                if file.tags is None:
                    file.add_tags()
                keys = {7: ("Title", "WM/Genre")}.get(at, ("title", "genre"))
                file[keys[0]] = ["Title"]
                file[keys[1]] = ["Rock", "Pop; Folk"]
                file.save()
            except Exception:  # a container that this key does not suit
                continue
        out.append(path.read_bytes())
    return out


def _genres(data: bytes) -> None:
    from genrescope.catalog.genres import GenreTree, split_genres

    text = data.decode("utf-8", "surrogateescape")
    names = split_genres(text)
    assert all(name == name.strip() and name for name in names)
    assert len({name.casefold() for name in names}) == len(names)
    tree = GenreTree.fma()
    for name in (text[:200], *names[:3]):
        if name in tree:
            assert tree.top(name) in tree.top_level
            assert tree.canonical(tree.canonical(name)) == tree.canonical(name)
    from genrescope.errors import UnknownGenreError

    message = ""
    try:
        tree.canonical(text)
    except UnknownGenreError as error:
        message = str(error)
    assert len(message) < 2000, "a message as long as the tag"


def _genre_seeds() -> list[bytes]:
    texts = (
        "Rock; Old-Time / Historic/Pop", "(17)(21)", "(RX)(4)Eurodisco", "R&B/Soul", "Hip-Hop, Rap",
        "Électronique|Trance\0House", "17", "((Foo)", "Big Band/Swing,Jazz", "١٢", "ﬁ Ǆ ẞ", "",
    )  # fmt: skip
    return [text.encode() for text in texts]


@functools.cache
def _tagger() -> Any:
    from genrescope.apps.journal import Journal
    from genrescope.apps.tagger import Tagger

    journal = Journal.open(workspace() / "journal.sqlite3")
    atexit.register(journal.close)
    return Tagger(journal, command="fuzz", bundle="none")


def _genre_field(data: bytes) -> None:
    """What is written is read back; what is refused is as it was."""
    from genrescope.catalog.genre_tags import read_genre_field
    from genrescope.errors import TagError

    folder = workspace() / "tagged"
    folder.mkdir(exist_ok=True)
    path = folder / "a"
    path.write_bytes(data)
    try:
        _tagger().write(path, ("Rock", "Jazz"))
    except TagError:
        assert path.read_bytes() == data, "refused, and changed all the same"
        raise
    finally:
        assert [entry.name for entry in folder.iterdir()] == ["a"], "something is left"
    after = read_genre_field(path).values
    assert after in (("Rock", "Jazz"), ("Rock",)), after


TARGETS = (
    Target("genres", "split_genres, GenreTree", _genres, _genre_seeds,
           (b"/", b",", b";", b"|", b"(17)", b"(RX)", b"Old-Time / Historic", b"R&B/", b"&")),
    Target("tags", "read_tags", _tags, _tagged, _SOUND_WORDS, 1 << 15),
    Target("mpeg", "frame headers of mp3", _mpeg, _sounds, _SOUND_WORDS, 1 << 15),
    Target("decode", "the dispatcher of decoders", _decode, _decode_seeds, _SOUND_WORDS, 1 << 15),
    Target("genre-field", "tags, written and read again", _genre_field, _tagged, _SOUND_WORDS,
           1 << 15),
)  # fmt: skip
