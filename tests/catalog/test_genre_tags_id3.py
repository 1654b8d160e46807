"""ID3: the version, the order and the bytes of every other frame are kept."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import mutagen
import mutagen.id3
import pytest
from mutagen.id3 import ID3

from genrescope.catalog.containers.ape import ApeTag
from genrescope.catalog.containers.id3 import Id3Tag
from genrescope.catalog.genre_tags import (
    GenreField,
    Scan,
    read_genre_field,
    write_genre_field,
)
from genrescope.errors import TagError
from tests.catalog.tagged import (
    COVER,
    ape_tag,
    dump,
    frame,
    id3,
    make,
    others,
    plain,
    put_back,
    scan,
    v1_tag,
)

GENRES = ("Rock", "Pop / Ä", "日本")


def mp3(tmp_path: Path, *, front: bytes = b"", back: bytes = b"") -> Path:
    path = tmp_path / "a.mp3"
    path.write_bytes(front + plain("mp3") + back)
    return path


def raw_frames(path: Path) -> list[bytes]:
    return Id3Tag.parse(path.read_bytes()).frames


STRANGE = (
    frame(b"TIT2", b"\3A title"),
    frame(b"XNEW", b"nobody knows this one"),
    frame(b"TPE1", b"\3junk\xff\xfe"),
    frame(b"TALB", struct.pack(">I", 8) + b"\x78\x9c\x03\0\0\0\0\1", flags=0x09),
    frame(b"PRIV", b"owner\0\xff\0\xff\xe0"),
    frame(b"TCON", b"\0" + b"(17)Rock & Roll"),
    frame(b"APIC", b"\0image/png\0\3\0" + COVER),
    frame(b"TIT2", b"\3a second title"),
)


def test_every_other_frame_keeps_its_bytes_and_its_place(tmp_path: Path) -> None:
    path = mp3(tmp_path, front=id3(*STRANGE, room=64))
    original, before = path.read_bytes(), scan(path)
    assert before.field == GenreField("ID3v2.4", ("Rock", "Rock & Roll"))
    write_genre_field(path, ["Folk"])
    frames = raw_frames(path)
    assert [f for f in frames if f[:4] != b"TCON"] == [f for f in STRANGE if f[:4] != b"TCON"]
    assert frames[5][:4] == b"TCON"
    assert len(path.read_bytes()) == len(original)  # the free bytes gave what was needed
    assert put_back(path, before.kept) == original


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(
    "values", [("Rock", "Punk"), ("Älter",), ("日本", "Folk"), ("(Neo) Soul", "Rock")]
)
def test_the_version_is_kept(version: int, values: tuple[str, ...], tmp_path: Path) -> None:
    if version == 2:
        tit = b"TT2" + struct.pack(">I", 8)[1:] + b"\0A title"
        front = id3(tit, b"TCO" + struct.pack(">I", 5)[1:] + b"\0(17)", version=2, room=9)
    else:
        date = b"TDRC" if version == 4 else b"TYER"
        front = id3(
            frame(date, b"\0002009", version=version),
            frame(b"TCON", b"\0(17)", version=version),
            frame(b"TIT2", b"\0A title", version=version),
            version=version,
        )
    path = mp3(tmp_path, front=front)
    original, before = path.read_bytes(), scan(path)
    assert before.field == GenreField(f"ID3v2.{version}", ("Rock",))
    write_genre_field(path, values)
    assert path.read_bytes()[3] == version
    assert read_genre_field(path).values == values
    assert ID3(path)["TCON"].genres == list(values)
    assert [f for f in raw_frames(path) if f[:3] != b"TCO"] == [
        f for f in Id3Tag.parse(original).frames if f[:3] != b"TCO"
    ]
    assert put_back(path, before.kept) == original


def test_a_number_comes_back_into_another_version(tmp_path: Path) -> None:
    """What "(12)" meant is put back, where the tag was turned into another version since."""
    path = mp3(tmp_path, front=id3(b"TCO\0\0\x05\0(12)", version=2))
    kept = scan(path).kept
    write_genre_field(path, ["Rock"], id3_version=3)
    assert path.read_bytes()[3] == 3
    back = Scan(io.BytesIO(put_back(path, kept)), "it.mp3").field
    assert back == GenreField("ID3v2.3", ("Other",))


def test_several_genres_in_2_3_stand_between_nul(tmp_path: Path) -> None:
    path = mp3(tmp_path, front=id3(frame(b"TIT2", b"\0T", version=3), version=3))
    write_genre_field(path, ["Rock", "R&B/Soul"])
    assert raw_frames(path)[1][10:] == b"\0Rock\0R&B/Soul"
    write_genre_field(path, ["Rock", "日本"])
    assert raw_frames(path)[1][10:] == b"\1\xff\xfe" + "Rock\0日本".encode("utf-16-le")


def test_versions_can_be_forced_where_nothing_is_lost(tmp_path: Path) -> None:
    old = id3(
        frame(b"TYER", b"\0002009", version=3),
        frame(b"TDAT", b"\0000705", version=3),
        frame(b"APIC", b"\0image/png\0\3\0" + COVER, version=3),
        version=3,
    )
    path = mp3(tmp_path, front=old)
    before = others(path)
    write_genre_field(path, ["Rock"], id3_version=4)
    assert path.read_bytes()[3] == 4
    assert others(path) == before
    assert raw_frames(path)[0][:4] == b"TDRC" or b"TDRC" in path.read_bytes()
    write_genre_field(path, ["Rock", "Pop"], id3_version=3)
    assert path.read_bytes()[3] == 3
    assert others(path) == before
    assert read_genre_field(path) == GenreField("ID3v2.3", ("Rock", "Pop"))


def test_a_version_that_would_lose_a_frame_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, "mp3")  # has TSOP, which 2.3 does not know
    original = path.read_bytes()
    with pytest.raises(TagError, match="TSOP"):
        write_genre_field(path, ["Rock"], id3_version=3)
    assert path.read_bytes() == original


@pytest.mark.parametrize("kind", ["mp3", "wav", "aiff", "tta"])
def test_a_new_tag_has_the_version_asked_for(kind: str, tmp_path: Path) -> None:
    path = make(tmp_path, kind, tagged=False)
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Rock", "日本"], id3_version=3)
    assert read_genre_field(path) == GenreField("ID3v2.3", ("Rock", "日本"))
    assert mutagen.File(path).tags.version == (2, 3, 0)
    assert put_back(path, before.kept) == original


def test_synchronisation_bytes_come_and_go_as_a_whole(tmp_path: Path) -> None:
    def unsync(data: bytes) -> bytes:
        out = bytearray()
        for i, byte in enumerate(data):
            out.append(byte)
            nxt = data[i + 1] if i + 1 < len(data) else 0
            if byte == 0xFF and (nxt >= 0xE0 or nxt == 0):
                out.append(0)
        return bytes(out)

    frames = (
        frame(b"PRIV", b"o\0\xff\xe0\xff\0\0\xff\xff", version=3),
        frame(b"TCON", b"\1\xff\xfeR\0", version=3),
    )
    path = mp3(tmp_path, front=id3(unsync(b"".join(frames)), version=3, flags=0x80, room=3))
    original, before = path.read_bytes(), scan(path)
    assert before.field.values == ("R",)
    write_genre_field(path, ["日本", "Folk"])
    assert raw_frames(path)[0] == frames[0]
    assert ID3(path)["TCON"].genres == ["日本", "Folk"]
    assert ID3(path).getall("PRIV")[0].data == b"\xff\xe0\xff\0\0\xff\xff"
    assert put_back(path, before.kept) == original


def test_extended_headers_footers_and_old_itunes(tmp_path: Path) -> None:
    title, genre = frame(b"TIT2", b"\0T", version=3), frame(b"TCON", b"\0Pop", version=3)
    import zlib

    check = struct.pack(">I", zlib.crc32(title + genre))
    extended = struct.pack(">IHI", 10, 0x8000, 20) + check
    path = mp3(tmp_path, front=id3(title, genre, version=3, flags=0x40, extended=extended, room=20))
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Longer than before"])
    tag = Id3Tag.parse(path.read_bytes())
    assert tag.extended[6:10] == struct.pack(">I", tag.room)
    assert tag.extended[10:] == struct.pack(">I", zlib.crc32(b"".join(tag.frames)))
    assert put_back(path, before.kept) == original

    front = id3(frame(b"TIT2", b"\0T"), flags=0x10)
    path = mp3(tmp_path, front=front + b"3DI" + front[3:10])
    original, before = path.read_bytes(), scan(path)
    sound = before.audio_digest()
    write_genre_field(path, ["Rock"])
    assert scan(path).audio_digest() == sound
    assert put_back(path, before.kept) == original

    plain_size = b"TALB" + struct.pack(">IH", 300, 0) + b"\0" + b"x" * 299
    path = mp3(tmp_path, front=id3(plain_size, frame(b"TCON", b"\0Pop")))
    assert read_genre_field(path).values == ("Pop",)
    write_genre_field(path, ["Rock"])
    assert raw_frames(path)[0] == plain_size


def test_other_tags_of_an_mp3_have_their_genre_written_along(tmp_path: Path) -> None:
    lyrics = b"LYRICSBEGININD0000200ETT00003abc"
    lyrics += f"{len(lyrics):06d}LYRICS200".encode()
    back = ape_tag(Genre="Blues", Title="T", Xx=b"\0\xff") + lyrics + v1_tag(title="T", genre=0)
    path = mp3(tmp_path, front=id3(frame(b"TCON", b"\0Blues")), back=back)
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Nu-Something", "Rock"])
    data = path.read_bytes()
    assert data[-1] == 17
    assert data[-128:-1] == original[-128:-1]
    assert lyrics in data
    assert mutagen.File(path).tags["TCON"].genres == ["Nu-Something", "Rock"]
    end = data.index(lyrics)
    size = ApeTag.size_before(data[:end][-32:])
    assert ApeTag.parse(data[end - size : end]).values == ("Nu-Something", "Rock")
    assert put_back(path, before.kept) == original


def test_an_ape_tag_without_genre_is_not_given_one(tmp_path: Path) -> None:
    gain = ape_tag(Replaygain_Track_Gain="-3 dB")
    path = mp3(tmp_path, back=gain)
    write_genre_field(path, ["Rock"])
    assert read_genre_field(path) == GenreField("ID3v2.4", ("Rock",))
    assert path.read_bytes().endswith(gain)


def test_an_mp3_that_is_named_by_ape_alone_stays_so(tmp_path: Path) -> None:
    """A new ID3 tag in front would hide title and artist from many programs."""
    path = mp3(tmp_path, back=ape_tag(title="T", artist="A"))
    original, before = path.read_bytes(), scan(path)
    write_genre_field(path, ["Rock"])
    assert read_genre_field(path) == GenreField("APEv2", ("Rock",))
    assert path.read_bytes()[:3] != b"ID3"
    assert put_back(path, before.kept) == original


def test_a_new_tag_repeats_what_id3v1_says(tmp_path: Path) -> None:
    path = mp3(tmp_path, back=v1_tag(title="From the end", genre=17))
    original, before = path.read_bytes(), scan(path)
    assert before.field == GenreField("ID3v1", ("Rock",))
    known = others(path)
    write_genre_field(path, ["Folk", "Pop"])
    assert ID3(path, load_v1=False)["TIT2"].text == ["From the end"]
    assert others(path) == known
    assert scan(path).others_digest() == before.others_digest()
    assert path.read_bytes()[-1] == 80
    assert put_back(path, before.kept) == original


def test_what_a_user_adds_to_a_new_tag_stays_when_the_genre_goes(tmp_path: Path) -> None:
    path = make(tmp_path, "mp3", tagged=False)
    before = scan(path)
    write_genre_field(path, ["Rock"])
    tags = ID3(path)
    tags.add(mutagen.id3.TIT2(encoding=3, text="mine"))
    tags.save(path)
    path.write_bytes(put_back(path, before.kept))
    assert dump(path).keys() == {"TIT2"}
