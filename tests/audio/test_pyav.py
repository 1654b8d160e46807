"""Decoding by FFmpeg's libraries: what a file says of itself, its samples, and what is refused."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from genrescope.audio import pyav
from genrescope.audio.pyav import FfmpegSource
from genrescope.audio.source import SourceEmptyError, SourceError, SourceForeignError
from tests.audio.sounds import SR, encode, encode_av, music

Opener = Callable[[bytes], FfmpegSource]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.bin"


@pytest.fixture
def opened(path: Path) -> Iterator[Opener]:
    """Sources of bytes, closed at the end with their descriptors."""
    sources: list[FfmpegSource] = []
    descriptors: list[int] = []

    def open_(data: bytes) -> FfmpegSource:
        path.write_bytes(data)
        descriptors.append(os.open(path, os.O_RDONLY))
        sources.append(FfmpegSource(descriptors[-1]))
        return sources[-1]

    yield open_
    for source in sources:
        source.close()
    for fd in descriptors:  # a source leaves it open
        os.close(fd)


@pytest.mark.parametrize(
    ("codec", "format_", "named", "n_samples"),
    [
        ("alac", "ipod", "mov/alac", 2 * SR),
        ("flac", "matroska", "matroska/flac", 2 * SR),
        ("pcm_s16le", "nut", "nut/pcm_s16le", None),
        ("pcm_s16le", "caf", "caf/pcm_s16le", 2 * SR),
    ],
)
def test_what_a_file_says_of_itself(
    opened: Opener, codec: str, format_: str, named: str, n_samples: int | None
) -> None:
    y = music(2.0)
    source = opened(encode_av(y, SR, codec=codec, format=format_))
    assert source.name == "ffmpeg"
    assert source.format == named
    assert (source.sr, source.channels) == (SR, 2)
    assert not source.exact
    if n_samples is not None:
        assert isinstance(source.n_samples, int)
        assert source.n_samples == pytest.approx(n_samples, abs=SR / 500)  # milliseconds, some
    got = source.read(0, 3 * SR)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[: len(y)], y, atol=2**-15)
    assert not got[len(y) :].any()


def test_a_stream_without_length_says_none(opened: Opener) -> None:
    flac = encode(music(1.0), SR, format="FLAC")
    source = opened(flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:])
    assert source.n_samples is None
    assert len(source.read(0, 2 * SR)) == SR


@pytest.mark.parametrize(
    ("codec", "step"),
    [
        ("pcm_u8", 2**-7),
        ("pcm_s16le", 2**-15),
        ("pcm_s24le", 2**-23),
        ("pcm_s32le", 2**-24),
        ("pcm_s64le", 2**-24),
        ("pcm_f32le", 0),
        ("pcm_f64le", 0),
    ],
)
def test_every_depth_has_its_full_scale_and_its_zero(
    opened: Opener, codec: str, step: float
) -> None:
    y = music(0.2)
    y[:4] = [[-1.0, 0.0], [0.5, -0.5], [0.0, 0.25], [-0.25, -1.0]]
    got = opened(encode_av(y, SR, codec=codec, format="nut")).read(0, len(y))
    np.testing.assert_allclose(got, y, rtol=0, atol=step)
    np.testing.assert_allclose(got[:4], y[:4], rtol=0, atol=step / 2**6)


@pytest.mark.parametrize(("codec", "format_"), [("alac", "ipod"), ("flac", "matroska")])
def test_samples_stand_where_they_are_asked_for(opened: Opener, codec: str, format_: str) -> None:
    y = music(6.0)
    source = opened(encode_av(y, SR, codec=codec, format=format_))
    near, far = SR // 2, 5 * SR
    for start, n in (
        (0, 10), (10, 5000), (near, 100), (near, 100), (far, 100), (far + 300, 9000), (3, 50),
        (far - 1, 7), (SR, 1), (2 * SR + 1, 3), (4 * SR + 2, 5), (0, 1), (len(y) - 1, 1),
    ):  # fmt: skip
        got = source.read(start, start + n)
        assert got.shape == (n, 2), start
        np.testing.assert_allclose(got, y[start : start + n], atol=2**-15, err_msg=str(start))
    assert source.read(5, 5).shape == (0, 2)
    past = source.read(99 * SR, 100 * SR)
    assert past.shape == (0, 2)
    assert past.dtype == np.float32


def test_far_places_of_exact_containers_are_reached_without_decoding_all(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = np.tile(music(2.0), (20, 1))
    made = []
    really = FfmpegSource._samples

    def spy(self: FfmpegSource, frame: av.AudioFrame) -> np.ndarray:
        made.append(frame.samples)
        return really(self, frame)

    monkeypatch.setattr(FfmpegSource, "_samples", spy)
    source = opened(encode_av(y, SR, codec="alac", format="ipod"))
    for start in (30 * SR, 10 * SR, 39 * SR):
        made.clear()
        np.testing.assert_allclose(
            source.read(start, start + 500), y[start : start + 500], atol=2**-15
        )
        assert 500 <= sum(made) < 2 * SR
    # The next second is decoded on, not sought.
    made.clear()
    source.read(39 * SR + 500, 39 * SR + SR // 2)
    assert sum(made) < SR


@pytest.mark.parametrize("at", [0, 17, 10_000])
def test_where_the_descriptor_stands_does_not_matter(path: Path, at: int) -> None:
    y = music(0.5)
    path.write_bytes(encode_av(y, SR, codec="flac", format="matroska"))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.lseek(fd, at, os.SEEK_SET)
        source = FfmpegSource(fd)
        assert len(source.read(0, SR)) == len(y)
        source.close()
        source.close()  # twice does no harm
        os.fstat(fd)  # still the caller's
    finally:
        os.close(fd)


def test_where_ffmpeg_takes_no_descriptors_python_reads(
    opened: Opener, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyav, "os", SimpleNamespace(name="nt"))
    y = music(6.0)
    source = opened(encode_av(y, SR, codec="alac", format="ipod"))
    for start in (5 * SR, 0, 3 * SR):
        got = source.read(start, start + 500)
        np.testing.assert_allclose(got, y[start : start + 500], atol=2**-15)
    source.close()
    with path.open("rb") as file:
        file.seek(9)
        FfmpegSource(file.fileno()).close()
        assert not file.closed
        file.seek(0)  # still the caller's


@pytest.mark.parametrize("name", ["posix", "nt"])
def test_a_playlist_is_no_audio(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "good.wav").write_bytes(encode(music(0.5), SR))
    if name == "nt":
        monkeypatch.setattr(pyav, "os", SimpleNamespace(name="nt"))
    with pytest.raises(SourceError):
        opened(b"ffconcat version 1.0\nfile 'good.wav'\n")
    with pytest.raises(SourceError):
        opened(f"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/{tmp_path}/good.wav\n".encode())


def test_words_in_no_encoding_do_not_hide_the_sound(opened: Opener) -> None:
    data = encode_av(music(0.5), SR, codec="flac", format="matroska")
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as given, av.open(buffer, "w", format="matroska") as out:
        out.metadata["title"] = "caf@"
        stream = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    data = buffer.getvalue()
    assert b"caf@" in data
    assert len(opened(data.replace(b"caf@", b"caf\xe9")).read(0, SR)) == SR // 2


def video() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def test_what_is_refused_says_why(opened: Opener) -> None:
    wav = encode(music(0.5), SR)
    asf = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    cases: list[tuple[bytes, type[SourceError], str]] = [
        (video(), SourceForeignError, "it holds video, no audio"),
        (b";FFMETADATA1\ntitle=a\n", SourceForeignError, "it holds nothing, no audio"),
        (b"text " * 999, SourceError, "Invalid data found when processing input"),
        (wav[:20] + b"\x34\x12" + wav[22:], SourceError, "no decoder for what it holds"),
        (asf + bytes(5000), SourceError, "Invalid data found when processing input"),
        (encode(music(0.1)[:0], SR), SourceEmptyError, "no frame of it could be decoded"),
    ]
    for data, kind, message in cases:
        with pytest.raises(SourceError) as error:
            opened(data)
        assert (type(error.value), str(error.value)) == (kind, message)


def test_a_stream_of_damaged_packets_is_damaged_and_not_empty(opened: Opener) -> None:
    m4a = encode_av(music(0.5), SR, codec="alac", format="ipod")
    first, last = m4a.index(b"mdat") + 4, m4a.index(b"moov") - 4
    assert last - first > 1000
    with pytest.raises(SourceError, match="no frame of it could be decoded") as error:
        opened(m4a[:first] + b"\xff" * (last - first) + m4a[last:])
    assert type(error.value) is SourceError


def test_damaged_packets_are_skipped(opened: Opener) -> None:
    y = music(4.0)
    data = encode_av(y, SR, codec="aac", format="adts", options={"aac_pns": "0"})
    middle = len(data) // 2
    source = opened(data[:middle] + b"\x55" * 3000 + data[middle + 3000 :])
    got = source.read(0, 9 * SR)
    assert 3 * SR < len(got) <= 4 * SR + 4096
    whole = opened(data).read(0, 9 * SR)
    np.testing.assert_array_equal(got[:SR], whole[:SR])
    np.testing.assert_allclose(got[-SR:], whole[-SR:], atol=1e-6)


def test_a_broadcast_that_changes_its_channels_keeps_the_first_ones(opened: Opener) -> None:
    y = music(1.0)
    y[:, 1] = 0
    stereo = encode_av(y, SR, codec="mp2", format="mp2")
    mono = encode_av(y[:, :1], SR, codec="mp2", format="mp2", layout="mono")
    alone = opened(mono).read(0, 9 * SR)
    assert alone.shape[1] == 1
    source = opened(stereo + mono)
    first, both = opened(stereo).read(0, 9 * SR), source.read(0, 9 * SR)
    assert source.channels == both.shape[1] == 2
    assert len(both) == len(first) + len(alone)
    np.testing.assert_array_equal(both[len(first) :, 0], both[len(first) :, 1])
    np.testing.assert_allclose(both[len(first) + 4096 :, :1], alone[4096:], atol=1e-4)
    # And the other way round, the mean of both is what is kept.
    turned = opened(mono + stereo).read(0, 9 * SR)
    mean = first.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(turned[len(alone) + 4096 :], mean[4096:], atol=1e-4)


def test_frames_of_another_rate_are_left_out(opened: Opener) -> None:
    y = music(1.0)
    first = encode_av(y, SR, codec="ac3", format="ac3")
    other = encode_av(y, 48_000, codec="ac3", format="ac3")
    assert len(opened(first + other).read(0, 9 * SR)) == len(opened(first).read(0, 9 * SR))
