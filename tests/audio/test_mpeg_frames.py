"""MPEG frames made by hand: every kind of header, and what lies between, before and after them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrescope.audio.mpeg import FrameView, MpegScan, after_tags, read_at, scan_frames
from tests.audio.sounds import id3

# ISO/IEC 11172-3 and 13818-3: kbit/s of the indices 1 to 14.
KBITS = {
    ("1", 1): [32 * k for k in range(1, 15)],
    ("1", 2): [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    ("1", 3): [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    ("2", 1): [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    ("2", 2): [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ("2", 3): [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
}
VERSION_BITS = {"1": 3, "2": 2, "2.5": 0}
HALVED = {"1": 1, "2": 2, "2.5": 4}
MEGABYTE = 1 << 20


def frame(
    *,
    version: str = "1",
    layer: int = 3,
    bit_rate: int = 9,
    rate: int = 0,
    padding: int = 0,
    private: int = 0,
    unprotected: int = 1,
    mono: bool = False,
) -> bytes:
    """A whole frame by the standard's formulas, its content zeros."""
    sr = (44_100, 48_000, 32_000)[rate] // HALVED[version]
    bits = 1000 * KBITS[version[0], layer][bit_rate - 1]
    if layer == 1:
        size = 4 * (12 * bits // sr + padding)
    else:
        size = (72 if layer == 3 and version != "1" else 144) * bits // sr + padding
    header = bytes(
        (
            0xFF,
            0xE0 | VERSION_BITS[version] << 3 | (4 - layer) << 1 | unprotected,
            bit_rate << 4 | rate << 2 | padding << 1 | private,
            0xC0 if mono else 0x44,
        )
    )
    return header.ljust(size, b"\0")


def information(
    first: bytes,
    claimed: int | None,
    *,
    n_bytes: int | None = None,
    toc: bool = False,
    quality: bool = False,
    delay: int | None = None,
    padding: int = 0,
    name: bytes = b"Xing",
) -> bytes:
    """An information frame like `first`, with the fields that are given."""
    mono, mpeg_1 = first[3] >> 6 == 3, first[1] >> 3 & 3 == 3
    side = (17 if mono else 32) if mpeg_1 else (9 if mono else 17)
    flags = (claimed is not None) | (n_bytes is not None) << 1 | toc << 2 | quality << 3
    body = name + struct.pack(">I", flags)
    body += b"" if claimed is None else struct.pack(">I", claimed)
    body += b"" if n_bytes is None else struct.pack(">I", n_bytes)
    body += bytes(range(100)) * toc + b"\0\0\0\7" * quality
    if delay is not None:
        body += b"LAME3.100".ljust(21, b"\1") + (delay << 12 | padding).to_bytes(3, "big")
    return (first[:4] + bytes(side) + body).ljust(len(first), b"\0")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "a.mp3"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    yield path, fd
    os.close(fd)


def scan(file: tuple[Path, int], *parts: bytes) -> MpegScan | None:
    data = b"".join(parts)
    file[0].write_bytes(data)
    return scan_frames(file[1], len(data))


def found(file: tuple[Path, int], *parts: bytes) -> MpegScan:
    scanned = scan(file, *parts)
    assert scanned is not None
    return scanned


@pytest.mark.parametrize("version", ["1", "2", "2.5"])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_every_header_has_the_size_of_the_standard(
    file: tuple[Path, int], version: str, layer: int
) -> None:
    for rate in range(3):
        sr = (44_100, 48_000, 32_000)[rate] // HALVED[version]
        frames = [
            frame(version=version, layer=layer, rate=rate, bit_rate=bit_rate, padding=padding,
                  private=private, unprotected=unprotected)
            for bit_rate in range(1, 15)
            for padding in (0, 1)
            for private, unprotected in ((0, 1), (1, 0), (1, 1), (0, 0))
        ]  # fmt: skip
        scanned = found(file, *frames)
        assert scanned.sr == sr
        per_frame = {1: 384, 2: 1152, 3: 1152 if version == "1" else 576}[layer]
        assert scanned.samples_per_frame == per_frame
        assert scanned.frames == len(frames)
        assert scanned.n_samples == len(frames) * per_frame
        assert scanned.segments == ((0, sum(map(len, frames))),)
        assert scanned.first == frames[0][:4]
        assert (scanned.claimed, scanned.trimmed, scanned.info, scanned.begin) == (None, 0, b"", 0)
        assert scanned.clean
        assert scanned.honest


@pytest.mark.parametrize(
    ("at", "clear", "put"),
    [
        (0, 0xFF, 0xFE),  # the first eight bits of the sync
        (1, 0x20, 0x00),  # the last three
        (1, 0x18, 0x08),  # a version that is reserved
        (1, 0x06, 0x00),  # a layer that is reserved
        (2, 0x0C, 0x0C),  # a rate that is reserved
        (2, 0xF0, 0x00),  # a bit rate that is free, whose size is not known
        (2, 0xF0, 0xF0),  # one that is forbidden
    ],
)
def test_headers_that_the_standard_reserves_are_none(
    file: tuple[Path, int], at: int, clear: int, put: int
) -> None:
    wrong = bytearray(frame())
    wrong[at] = wrong[at] & ~clear | put
    assert scan(file, bytes(wrong) * 20) is None


def test_frames_of_another_rate_or_layer_are_not_of_the_stream(file: tuple[Path, int]) -> None:
    some = frame() * 10
    for other in (frame(rate=1), frame(layer=2), frame(version="2")):
        scanned = found(file, some, other * 10, some)
        assert scanned.frames == 20
        assert scanned.segments == (
            (0, len(some)),
            (len(some + other * 10), len(some + other * 10 + some)),
        )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("tail", [b"", b"x", b"xyz", b"TAG".ljust(128), b"APETAGEX".ljust(99)])
def test_a_few_frames_are_enough_at_the_end(
    file: tuple[Path, int], count: int, tail: bytes
) -> None:
    scanned = found(file, frame() * count, tail)
    assert scanned.frames == count
    assert scanned.segments == ((0, count * len(frame())),)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_frames_before_something_else_are_chance(
    file: tuple[Path, int], count: int
) -> None:
    assert scan(file, frame() * count, b"\0" * 5000) is None
    assert found(file, frame() * 3, b"\0" * 5000).frames == 3


def test_a_frame_that_the_file_cuts_is_not_one(file: tuple[Path, int]) -> None:
    for missing in (1, 2, 3, 4, 400):
        assert scan(file, frame()[:-missing]) is None
        scanned = found(file, frame() * 3, frame()[:-missing])
        assert scanned.frames == 3
        assert scanned.segments == ((0, 3 * len(frame())),)


@pytest.mark.parametrize("before", [1, 7, 65_533, 65_534, 65_535, 65_536, 65_537, 131_073, 900_000])
@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_frames_are_found_after_garbage(file: tuple[Path, int], before: int, byte: bytes) -> None:
    if byte == b"\xff" and before > 70_000:
        before = 70_000  # each of them could begin a frame
    scanned = found(file, byte * before, frame() * 4)
    assert scanned.begin == before
    assert scanned.frames == 4


@pytest.mark.parametrize("offset", [65_500, 65_533, 65_534, 65_535, 65_536, 65_537])
def test_frames_are_found_after_garbage_between(file: tuple[Path, int], offset: int) -> None:
    some = frame() * 5
    garbage = b"\xff\0" * (offset // 2) + b"\0" * (offset % 2)
    scanned = found(file, some, garbage, some)
    assert scanned.frames == 10
    assert scanned.segments == (
        (0, len(some)),
        (len(some) + offset, 2 * len(some) + offset),
    )


def test_garbage_is_searched_for_a_megabyte(file: tuple[Path, int]) -> None:
    some = frame() * 5
    assert found(file, bytes(MEGABYTE - 70_000), some).begin == MEGABYTE - 70_000
    assert scan(file, bytes(MEGABYTE + 70_000), some) is None
    # A tag is no garbage, however large its picture.
    assert found(file, id3(bytes(MEGABYTE + 70_000)), some).frames == 5
    assert found(file, some, bytes(MEGABYTE - 70_000), some).frames == 10
    assert found(file, some, bytes(MEGABYTE + 70_000), some).frames == 5
    assert found(file, some, id3(bytes(MEGABYTE + 70_000)), some).frames == 10


def test_all_garbage_between_frames_counts_towards_the_megabyte(file: tuple[Path, int]) -> None:
    some, gap = frame() * 5, bytes(400_000)
    scanned = found(file, *(some + gap for _ in range(5)))
    assert scanned.frames == 15
    assert len(scanned.segments) == 3


def test_one_frame_between_garbage_is_chance(file: tuple[Path, int]) -> None:
    some = frame() * 5
    scanned = found(file, some, bytes(99), frame(), bytes(99), some)
    assert scanned.frames == 10
    start = len(some) + 198 + len(frame())
    assert scanned.segments == ((0, len(some)), (start, start + len(some)))


def test_frames_that_end_a_damaged_file_count_when_they_are_two(file: tuple[Path, int]) -> None:
    some = frame() * 5
    assert found(file, some, bytes(99), frame()).frames == 5
    assert found(file, some, bytes(99), frame() * 2).frames == 7
    assert found(file, some, bytes(99), frame() * 2, b"TAG".ljust(128)).frames == 7
    assert found(file, some, b"TAG".ljust(128)).segments == ((0, len(some)),)


def test_a_long_file_is_walked_in_pieces(file: tuple[Path, int]) -> None:
    """The frames stand in every way across the ends of the pieces."""
    frames = [frame(bit_rate=1 + k % 14, padding=k // 14 % 2) for k in range(2_000)]
    scanned = found(file, *frames)
    assert scanned.frames == 2_000
    assert scanned.segments == ((0, sum(map(len, frames))),)


# --- tags -------------------------------------------------------------------------------


def test_tags_end_where_they_say(file: tuple[Path, int]) -> None:
    path, fd = file
    large = id3(bytes(3 << 14))
    for data, end in (
        (b"", 0),
        (b"ID3\3\0\0\0\0", 0),  # cut
        (b"ID4\3\0\0\0\0\0\5" + bytes(99), 0),
        (b"ID3\3\0\0\0\0\0\5" + bytes(99), 15),
        (b"ID3\4\0\x10\0\0\0\5" + bytes(99), 25),  # with a footer
        (b"ID3\3\0\0\0\0\1\0" + bytes(99), 138),
        (b"ID3\3\0\0\0\1\0\0" + bytes(99), 16_394),
        (b"ID3\3\0\0\1\0\0\0" + bytes(99), 2_097_162),
        (b"ID3\3\0\0\x7f\x7f\x7f\x7f" + bytes(99), (1 << 28) + 9),
        (b"ID3\3\0\0\x80\0\0\5" + bytes(99), 0),  # no length of a tag has such a byte
        (b"ID3\3\0\0\0\0\0\x80" + bytes(99), 0),
        (large + id3(b"x") + bytes(99), len(large + id3(b"x"))),
    ):
        path.write_bytes(data)
        assert after_tags(fd) == end
        path.write_bytes(b"12345" + data)
        assert after_tags(fd, 5) == 5 + end


def test_tags_without_end_are_given_up(file: tuple[Path, int]) -> None:
    file[0].write_bytes(id3(b"x") * 9)
    assert after_tags(file[1]) == 8 * len(id3(b"x"))


def test_reading_at_a_place_leaves_the_rest(file: tuple[Path, int]) -> None:
    file[0].write_bytes(b"0123456789")
    assert read_at(file[1], 3, 2) == b"234"
    assert read_at(file[1], 99, 8) == b"89"
    assert read_at(file[1], 1, 10) == b""


# --- information frames -----------------------------------------------------------------

KINDS = [
    frame(),
    frame(mono=True),
    frame(version="2"),
    frame(version="2", mono=True),
    frame(version="2.5", rate=2, mono=True),
]


@pytest.mark.parametrize("first", KINDS, ids=range(5))
@pytest.mark.parametrize("name", [b"Xing", b"Info"])
def test_what_an_information_frame_claims(
    file: tuple[Path, int], first: bytes, name: bytes
) -> None:
    info = information(first, 4, name=name)
    per_frame = 1152 if first[1] >> 3 & 3 == 3 else 576
    scanned = found(file, b"xx", info, first * 4)
    assert scanned.frames == 4
    assert scanned.claimed == 4
    assert scanned.trimmed == 529
    assert scanned.n_samples == 4 * per_frame - 529
    assert scanned.info == info
    assert scanned.first == first[:4]
    assert scanned.begin == 2
    assert scanned.segments == ((2 + len(info), 2 + len(info) + 4 * len(first)),)


@pytest.mark.parametrize("claimed", [None, 4])
@pytest.mark.parametrize("n_bytes", [None, 99])
@pytest.mark.parametrize("toc", [False, True])
@pytest.mark.parametrize("quality", [False, True])
def test_the_delay_stands_after_the_fields_that_are_there(
    file: tuple[Path, int], claimed: int | None, n_bytes: int | None, toc: bool, quality: bool
) -> None:
    info = information(frame(), claimed, n_bytes=n_bytes, toc=toc, quality=quality, delay=0x5A7)
    scanned = found(file, info, frame() * 4)
    assert scanned.trimmed == 529 + 0x5A7
    assert scanned.claimed == claimed
    assert scanned.n_samples == 4 * 1152 - 529 - 0x5A7


def test_a_frame_too_small_for_information_is_sound(file: tuple[Path, int]) -> None:
    small = frame(version="2", bit_rate=1)  # 26 bytes; its information would end behind it
    info = small[:21] + b"Xing\0"
    scanned = found(file, info, small * 4)
    assert scanned.trimmed == 0
    assert scanned.frames == 5


def test_other_layers_have_no_information(file: tuple[Path, int]) -> None:
    first = frame(layer=2)
    scanned = found(file, information(first, 4), first * 4)
    assert scanned.claimed is None
    assert scanned.frames == 5
    assert scanned.truthful_info() == b""


def test_information_without_sound(file: tuple[Path, int]) -> None:
    scanned = found(file, information(frame(), 1000))
    assert scanned.frames == 0
    assert scanned.n_samples == 0
    assert scanned.first == frame()[:4]


@pytest.mark.parametrize(
    ("claimed", "honest"), [(7, False), (8, True), (9, True), (10, True), (11, False)]
)
def test_a_claim_may_be_off_by_one(file: tuple[Path, int], claimed: int, honest: bool) -> None:
    scanned = found(file, information(frame(), claimed), frame() * 9)
    assert scanned.honest == honest


def test_the_truth_replaces_frames_and_bytes_and_keeps_the_rest(file: tuple[Path, int]) -> None:
    how = {"toc": True, "quality": True, "delay": 576}
    info = information(frame(), 3, n_bytes=17, padding=0xABC, **how)
    scanned = found(file, info, frame() * 5, bytes(99), frame() * 4)
    told = scanned.truthful_info()
    assert told == information(frame(), 9, n_bytes=10 * len(frame()), padding=0xABC, **how)
    # Without the field of bytes nothing is written in its place.
    info = information(frame(), 3, padding=0xABC, **how)
    scanned = found(file, info, frame() * 9)
    assert scanned.truthful_info() == information(frame(), 9, padding=0xABC, **how)


@pytest.mark.parametrize(("claimed", "kept"), [(9, 0xABC), (10, 0)])
def test_padding_goes_with_the_frames_that_are_missing(
    file: tuple[Path, int], claimed: int, kept: int
) -> None:
    scanned = found(file, information(frame(), claimed, delay=0x123, padding=0xABC), frame() * 9)
    told = scanned.truthful_info()
    assert told == information(frame(), 9, delay=0x123, padding=kept)


def test_information_without_a_delay_has_no_padding_to_lose(file: tuple[Path, int]) -> None:
    scanned = found(file, information(frame(), 20), frame() * 9)
    assert scanned.truthful_info() == information(frame(), 9)


@pytest.mark.parametrize(
    "first", [*KINDS, frame(unprotected=0, padding=1, private=1)], ids=range(6)
)
def test_information_is_made_where_there_is_none(file: tuple[Path, int], first: bytes) -> None:
    made = found(file, first * 6).truthful_info()
    scanned = found(file, made, first * 6)
    assert scanned.info == made  # the frame is as long as its header says
    assert scanned.claimed == 6
    assert scanned.frames == 6
    assert scanned.trimmed == 529
    assert made[3] == first[3]
    assert made[1] & 1  # without a checksum, which nobody has computed
    at = made.index(b"Xing")
    assert made[at + 4 : at + 12] == struct.pack(">II", 1, 6)
    assert not any(made[4:at] + made[at + 12 :])
    # And it is the smallest that has room.
    assert at + 12 <= len(made) < 250


def test_information_is_made_where_it_claims_nothing(file: tuple[Path, int]) -> None:
    scanned = found(file, information(frame(), None), frame() * 6)
    again = found(file, scanned.truthful_info(), frame() * 6)
    assert again.claimed == 6


# --- the view ---------------------------------------------------------------------------


@pytest.fixture
def view(file: tuple[Path, int]) -> FrameView:
    file[0].write_bytes(bytes(range(100)))
    scanned = MpegScan(44_100, 1152, 2, None, 0, ((10, 15), (50, 53)), b"", b"\0" * 4)
    return FrameView(file[1], scanned, prefix=b"pre")


def test_a_view_is_moved_in_like_a_file(view: FrameView) -> None:
    assert view.seek(2) == view.tell() == 2
    assert view.seek(3, os.SEEK_CUR) == view.tell() == 5
    assert view.seek(-4, os.SEEK_END) == view.tell() == 7
    assert view.seek(-99, os.SEEK_CUR) == view.tell() == 0
    assert view.read(99) == b"pre" + bytes([10, 11, 12, 13, 14, 50, 51, 52])
    assert view.tell() == 11
    assert view.read(1) == b""
    assert view.seek(20) == 20
    assert view.read(5) == b""


def test_a_view_fills_a_buffer_across_what_lies_between(view: FrameView) -> None:
    buffer = bytearray(b"." * 6)
    view.seek(1)
    assert view.readinto(memoryview(buffer)) == 6
    assert buffer == b"re" + bytes([10, 11, 12, 13])
    assert view.readinto(memoryview(buffer)) == 4
    assert buffer == bytes([14, 50, 51, 52, 12, 13])
    assert view.readinto(memoryview(buffer)) == 0


def test_a_view_of_a_file_that_shrank_ends_early(file: tuple[Path, int], view: FrameView) -> None:
    os.truncate(file[0], 51)
    assert view.read(99) == b"pre" + bytes([10, 11, 12, 13, 14, 50])
    os.truncate(file[0], 0)
    view.seek(3)
    assert view.read(99) == b""


def test_a_view_of_a_file_that_cannot_be_read_ends(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)  # reading a directory fails
    try:
        scanned = MpegScan(44_100, 1152, 2, None, 0, ((10, 15),), b"", b"\0" * 4)
        assert FrameView(fd, scanned, prefix=b"pre").read(99) == b"pre"
    finally:
        os.close(fd)
