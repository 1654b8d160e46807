"""Genres are exchanged, and nothing else: in every container, to the byte."""

from __future__ import annotations

import io
import os
import random
import signal
import struct
from pathlib import Path

import av
import mutagen
import mutagen.id3
import numpy as np
import pytest
from mutagen.ogg import OggPage

from genrescope.catalog.genre_tags import (
    CONTAINERS,
    GenreField,
    Scan,
    read_genre_field,
    write_genre_field,
)
from genrescope.errors import TagError
from tests.audio.sounds import music
from tests.catalog.tagged import (
    FORMATS,
    frame,
    id3,
    make,
    mp4,
    native,
    others,
    pcm,
    plain,
    put_back,
    scan,
    tag,
    v1_tag,
)

GENRES = ("Rock", "Pop / Ä", "日本")
FAKES = ("mpc", "ape")  # no decoder would take what we can make of these


# --- every container -------------------------------------------------------------------


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("kind", FORMATS)
def test_genres_alone_are_exchanged_and_put_back(kind: str, tagged: bool, tmp_path: Path) -> None:
    path = make(tmp_path, kind, tagged=tagged)
    original, before = path.read_bytes(), scan(path)
    assert before.field.values == ()
    assert before.field.container in CONTAINERS
    sound, rest = before.audio_digest(), before.others_digest()
    known = None if kind == "mpc" else (others(path), None if kind in FAKES else pcm(path))
    for values in (GENRES, ("x" * 3000,), ("Rock",), ()):
        write_genre_field(path, values)
        after = scan(path)
        assert after.field.values == values
        assert after.audio_digest() == sound
        assert after.others_digest() == rest
        if known:
            assert others(path) == known[0]
            assert known[1] is None or pcm(path) == known[1]
            if values:
                assert native(path) == list(values)
    assert put_back(path, before.kept) == original


@pytest.mark.parametrize("kind", FORMATS)
def test_an_old_genre_is_put_back_as_it_was_spelled(kind: str, tmp_path: Path) -> None:
    path = make(tmp_path, kind)
    write_genre_field(path, ["Rock;Pop", "Jazz"])
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Folk"])
    assert read_genre_field(path) == GenreField(before.field.container, ("Folk",))
    assert put_back(path, before.kept) == original


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_damaged_is_refused_or_comes_out_right(kind: str, tmp_path: Path) -> None:
    """Bytes flipped and files cut: a TagError, or a file whose other content is the same."""
    good = make(tmp_path, kind).read_bytes()
    rng = random.Random(kind)
    refused = 0
    for n in range(60):
        data = bytearray(good)
        if n % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(n % 3):
            data[rng.randrange(min(len(data), 4000))] = rng.choice((0, 1, 127, 255))
        try:
            before = Scan(io.BytesIO(bytes(data)), "it.bin")
            out = io.BytesIO()
            before.rewrite(out, values=GENRES)
            after = Scan(out, "it.bin")
        except TagError:
            refused += 1
            continue
        if after.field.values == GENRES:  # whoever writes into a library checks this
            assert after.audio_digest() == before.audio_digest()
    assert refused < 60 or good.startswith(b"OggS")  # whose pages have checksums


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", "empty"),
        (b"no music at all, but a text", "no music"),
        (b"\x1aE\xdf\xa3" + bytes(40), "Matroska"),
        (b"RF64" + bytes(40), "RF64"),
        (b"\xff\xf1" + bytes(2000), "raw AAC"),
        (b"\xff\xf1" + b"\xff\xfb\x90\x00".ljust(417, b"\0") * 20, "raw AAC"),  # looks like mp3
        (b"\0\0\x01\xba!" + b"\xff\xfb\x90\x00".ljust(417, b"\0") * 20, "program stream"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(40), "larger than the file"),
        (b"OggS" + bytes(10), "too early"),
    ],
)
def test_what_has_no_genres_says_so(head: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(head)
    with pytest.raises(TagError, match=says):
        read_genre_field(path)
    with pytest.raises(TagError, match=r"some\.file"):
        write_genre_field(path, ["Rock"])
    assert [p.name for p in tmp_path.iterdir()] == ["some.file"]
    assert path.read_bytes() == head


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.mp3"
    os.mkfifo(path)
    signal.alarm(20)  # ends the tests rather than waiting for ever
    try:
        with pytest.raises(TagError, match="only regular files"):
            read_genre_field(path)
        with pytest.raises(TagError, match="only regular files"):
            write_genre_field(path, ["Rock"])
    finally:
        signal.alarm(0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TagError, match="--null"):
        read_genre_field("a.mp3\0b.mp3\0")
    with pytest.raises(TagError, match="cannot be read"):
        read_genre_field(tmp_path / "none.mp3")


# --- the others --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "oga"])
def test_keys_and_order_of_comments_are_kept(kind: str, tmp_path: Path) -> None:
    path = make(tmp_path, kind, tagged=False)
    opened = mutagen.File(path)
    opened.tags.clear()
    for pair in (
        ("TITLE", "T"),
        ("Genre", "Rock;Pop"),
        ("X", "1"),
        ("gEnRe", "Jazz"),
        ("X", "0"),
        ("GENRE", ""),
    ):
        opened.tags.append(pair)
    opened.save()
    original, before = path.read_bytes(), scan(path)
    assert before.field.values == ("Rock;Pop", "Jazz")
    write_genre_field(path, ["Folk", "Pop"])
    assert list(mutagen.File(path).tags) == [
        ("TITLE", "T"),
        ("Genre", "Folk"),
        ("Genre", "Pop"),
        ("X", "1"),
        ("X", "0"),
    ]
    assert put_back(path, before.kept) == original


def test_a_new_key_is_written_as_the_others_are(tmp_path: Path) -> None:
    for key, expected in (("TITLE", "GENRE"), ("title", "genre")):
        path = make(tmp_path, "flac", tagged=False)
        opened = mutagen.File(path)
        opened.tags[:] = [(key, "T")]
        opened.save()
        write_genre_field(path, ["Rock"])
        assert list(mutagen.File(path).tags) == [(key, "T"), (expected, "Rock")]


def test_free_bytes_of_flac_give_and_take(tmp_path: Path) -> None:
    path = make(tmp_path, "flac")
    size = path.stat().st_size
    write_genre_field(path, ["Rock", "Pop"])
    assert path.stat().st_size == size
    write_genre_field(path, ["x" * 400])
    assert path.stat().st_size == size


def test_flac_without_comments_gets_them_and_loses_them(tmp_path: Path) -> None:
    data = plain("flac")
    head, at, blocks = data[:4], 4, []
    while True:
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        blocks.append((data[at] & 0x7F, data[at + 4 : at + 4 + size]))
        last, at = data[at] & 0x80, at + 4 + size
        if last:
            break
    info = next(content for kind, content in blocks if kind == 0)
    path = tmp_path / "bare.flac"
    path.write_bytes(head + b"\x80" + len(info).to_bytes(3, "big") + info + data[at:])
    original, before = path.read_bytes(), scan(path)
    rest = before.others_digest()
    write_genre_field(path, ["Rock"])
    assert scan(path).others_digest() == rest
    assert native(path) == ["Rock"]
    assert put_back(path, before.kept) == original


def test_many_pages_of_comments_renumber_the_pages_of_sound(tmp_path: Path) -> None:
    path = make(tmp_path, "opus")
    original, before, sound = path.read_bytes(), scan(path), pcm(path)
    write_genre_field(path, [f"{n} " + "g" * 490 for n in range(300)])
    with path.open("rb") as file:
        pages = []
        while file.tell() < path.stat().st_size:
            start = file.tell()
            page = OggPage(file)
            pages.append(page.sequence)
            end = file.tell()
            file.seek(start)
            assert page.write() == file.read(end - start)  # the checksum is right
    assert pages == list(range(len(pages)))
    assert len(pages) > len(before.kept["pages"]) + 2
    assert pcm(path) == sound
    assert put_back(path, before.kept) == original


def test_chained_and_multiplexed_ogg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chained.ogg"
    path.write_bytes(plain("ogg") + plain("opus"))
    with pytest.raises(TagError, match="several streams"):
        write_genre_field(path, ["Rock"])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as out:
        streams = [out.add_stream("libopus", rate=48_000) for _ in range(2)]
        for stream in streams:
            stream.layout = "mono"
        y = music(0.5, 48_000)[:, 0]
        for stream in streams:
            for i in range(0, len(y) - 960, 960):
                piece = np.ascontiguousarray(y[i : i + 960]).reshape(1, -1)
                sound = av.AudioFrame.from_ndarray(piece, format="flt", layout="mono")
                sound.sample_rate, sound.pts = 48_000, i
                out.mux(stream.encode(sound))
        for stream in streams:
            out.mux(stream.encode(None))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(TagError, match="several streams"):
        write_genre_field(path, ["Rock"])


def mp4_atom(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


@pytest.mark.parametrize("kind", ["m4a", "front"])
def test_the_old_number_of_mp4_is_read_and_comes_back(kind: str, tmp_path: Path) -> None:
    path = make(tmp_path, kind)
    write_genre_field(path, ["placeholder"])
    data = path.read_bytes()
    old = mp4_atom(b"\xa9gen", mp4_atom(b"data", struct.pack(">2I", 1, 0) + b"placeholder"))
    number = mp4_atom(b"gnre", mp4_atom(b"data", struct.pack(">2IH", 0, 0, 18)))
    filler = mp4_atom(b"Xfil", bytes(len(old) - len(number) - 8))
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, number + filler))
    original, before, sound = path.read_bytes(), scan(path), pcm(path)
    assert before.field == GenreField("MP4", ("Rock",))
    write_genre_field(path, ["Folk", "Pop" * 500])
    assert b"gnre" not in path.read_bytes()
    assert native(path) == ["Folk", "Pop" * 500]
    assert pcm(path) == sound
    assert put_back(path, before.kept) == original


def test_mp4_without_any_list_of_tags(tmp_path: Path) -> None:
    """Offsets move along, and the list goes again with the genre."""
    path = make(tmp_path, "front", tagged=False)
    data = bytearray(path.read_bytes())
    at = data.index(b"udta") - 4
    data[at + 4 : at + 8] = b"Xold"  # unknown, so that there is none
    path.write_bytes(bytes(data))
    original, before, sound = path.read_bytes(), scan(path), pcm(path)
    assert before.kept["missing"] == ["udta", "meta", "ilst"]
    rest = before.others_digest()
    write_genre_field(path, ["Rock"])
    after = scan(path)
    assert after.others_digest() == rest
    assert (native(path), pcm(path)) == (["Rock"], sound)
    assert put_back(path, before.kept) == original


def test_fragmented_mp4_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "live.m4a"
    path.write_bytes(mp4("frag_keyframe+empty_moov"))
    original = path.read_bytes()
    with pytest.raises(TagError, match=r"fragmented.*ffmpeg"):
        write_genre_field(path, ["Rock"])
    assert path.read_bytes() == original


def test_asf_says_how_large_it_is(tmp_path: Path) -> None:
    path = make(tmp_path, "wma", tagged=False)
    write_genre_field(path, ["Rock", "Pop" * 2000])
    data = path.read_bytes()
    at = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    assert struct.unpack_from("<Q", data, at + 40)[0] == len(data)


def wav_with(*chunks: bytes) -> bytes:
    body = plain("wav")[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def test_the_genre_among_the_facts_of_a_wav(tmp_path: Path) -> None:
    facts = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"A name\0") + chunk(b"IGNR", b"Jazz\0"))
    path = tmp_path / "facts.wav"
    path.write_bytes(wav_with(facts, chunk(b"odd ", b"abc")) + b"behind the end")
    original, before = path.read_bytes(), scan(path)
    assert before.field == GenreField("RIFF INFO", ("Jazz",))
    write_genre_field(path, ["Rock", "Pop"])
    data = path.read_bytes()
    assert read_genre_field(path) == GenreField("ID3v2.4", ("Rock", "Pop"))
    assert chunk(b"IGNR", b"Rock; Pop\0") in data
    assert chunk(b"INAM", b"A name\0") in data
    assert data.endswith(b"behind the end")
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8 - len(b"behind the end")
    assert native(path) == ["Rock", "Pop"]
    assert put_back(path, before.kept) == original


def test_a_last_chunk_of_odd_size_without_its_even_byte(tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    body = plain("wav")[12:] + b"odd " + struct.pack("<I", 3) + b"abc"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Rock"])
    assert native(path) == ["Rock"]
    assert put_back(path, before.kept) == original


def test_ape_keeps_its_keys_flags_and_order(tmp_path: Path) -> None:
    def item(key: bytes, value: bytes, flags: int = 0) -> bytes:
        return struct.pack("<2I", len(value), flags) + key + b"\0" + value

    items = [item(b"Title", b"T", 1), item(b"GENRE", b"Rock;Pop"), item(b"Bin", b"\0\xff", 2)]
    body = b"".join(items)
    footer = struct.pack("<4I", 2000, len(body) + 32, 3, 0) + bytes(8)
    path = tmp_path / "a.wv"
    path.write_bytes(plain("wv") + body + b"APETAGEX" + footer + v1_tag(genre=17))
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Folk", "Pop"])
    data = path.read_bytes()
    assert items[0] + item(b"GENRE", b"Folk\0Pop") + items[2] + b"APETAGEX" in data
    assert data[-1] == 80
    assert put_back(path, before.kept) == original


def test_tags_in_front_of_flac_are_left_alone(tmp_path: Path) -> None:
    front = id3(frame(b"TCON", b"\0Old"))
    path = tmp_path / "a.flac"
    path.write_bytes(front + plain("flac"))
    tag(path, "flac")
    assert path.read_bytes().startswith(front)
    write_genre_field(path, ["Rock"])
    assert read_genre_field(path) == GenreField("Vorbis comment", ("Rock",))
    assert path.read_bytes().startswith(front)
