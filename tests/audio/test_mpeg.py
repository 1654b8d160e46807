"""Counting MPEG frames, and the clean stream that is made of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio.mpeg import FrameView, MpegScan, scan_frames
from tests.audio.sounds import encode, encode_av, id3, mp3_frames


@contextmanager
def scanned(path: Path, data: bytes) -> Iterator[tuple[int, MpegScan | None]]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd, scan_frames(fd, len(data))
    finally:
        os.close(fd)


def test_real_files_hold_what_their_headers_claim(
    tmp_path: Path, fma_clips: list[Path], songs: list[Path]
) -> None:
    for path in [*fma_clips, *songs]:
        with scanned(tmp_path / "a.mp3", path.read_bytes()) as (_, scan):
            assert scan is not None
            assert scan.clean
            assert scan.honest
            assert scan.sr == soundfile.info(path).samplerate
            y, _ = soundfile.read(path)
            assert scan.n_samples == len(y)


@pytest.mark.parametrize("sr", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate(tmp_path: Path, sr: int, channels: int) -> None:
    y = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * sr, channels)).astype(np.float32)
    data = encode(y, sr, format="MP3", subtype="MPEG_LAYER_III")
    with scanned(tmp_path / "a.mp3", data) as (fd, scan):
        assert scan is not None
        assert scan.sr == sr
        assert scan.samples_per_frame == (1152 if sr >= 32_000 else 576)
        assert scan.claimed in (None, scan.frames)
        got, got_sr = soundfile.read(FrameView(fd, scan), dtype="float32")
        want, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        assert got_sr == sr
        if scan.claimed is None:  # the header that is made up for it counts the decoder's delay
            want = want[529:]
        assert len(got) == len(want)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_layer_2(tmp_path: Path) -> None:
    y = np.random.default_rng(0).uniform(-0.5, 0.5, (44_100, 2)).astype(np.float32)
    data = encode_av(y, 44_100, codec="mp2", format="mp2")
    with scanned(tmp_path / "a.mp2", data) as (fd, scan):
        assert scan is not None
        assert scan.n_samples == 1152 * round(len(data) / (144 * 128_000 / 44_100))
        assert scan.truthful_info() == b""
        assert len(soundfile.read(FrameView(fd, scan))[0]) == scan.n_samples


def test_tags_and_garbage_are_told_from_frames(tmp_path: Path, fma_clips: list[Path]) -> None:
    frames = list(mp3_frames(fma_clips[0].read_bytes()))
    info, sound = frames[0], frames[1:400]
    head = id3(b"\xff\xfb" * 5000)  # looks like frames, and is none
    junk = b"\xff\xfb\x90\x00no frame" * 300
    data = b"".join([head, b"??", info, *sound[:200], b"\0", junk, *sound[200:], b"TAG", junk])
    with scanned(tmp_path / "a.mp3", data) as (_, scan):
        assert scan is not None
        assert scan.frames == 399
        assert scan.claimed > 1000  # type: ignore[operator]
        assert not scan.clean
        assert not scan.honest
        assert len(scan.segments) == 2
        held = b"".join(data[first:last] for first, last in scan.segments)
        assert held == b"".join(sound)
        assert data[scan.begin :].startswith(info)


def test_a_last_frame_that_is_cut_is_not_counted(tmp_path: Path, fma_clips: list[Path]) -> None:
    frames = list(mp3_frames(fma_clips[0].read_bytes()))[1:20]
    for missing in (1, 5, len(frames[-1]) - 3):
        with scanned(tmp_path / "a.mp3", b"".join(frames)[:-missing]) as (_, scan):
            assert scan is not None
            assert scan.frames == 18
            assert scan.segments == ((0, sum(map(len, frames[:-1]))),)


def test_other_files_have_no_frames(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).bytes(300_000)
    wav = encode(np.zeros(1000, np.float32), 8000)
    for data in (b"", b"\xff", b"text" * 1000, noise, b"\xff" * 5000, wav, id3(noise)):
        with scanned(tmp_path / "a.mp3", data) as (_, scan):
            assert scan is None


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_view_reads_like_a_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    first = data.draw(st.binary(min_size=1, max_size=40))
    parts = data.draw(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), max_size=4))
    content = bytes(range(120))
    scan = MpegScan(44_100, 1152, 1, None, 0, tuple((a, a + n) for a, n in parts), b"", b"\0" * 4)
    want = io.BytesIO(first + b"".join(content[a : a + n] for a, n in parts))
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        view = FrameView(fd, scan, prefix=first)
        for _ in range(10):
            if data.draw(st.booleans()):
                where = data.draw(st.integers(0, 150))
                assert view.seek(where) == want.seek(where)
            n = data.draw(st.integers(0, 80))
            assert view.read(n) == want.read(n)
            assert view.tell() == want.tell()
        assert view.seek(0, os.SEEK_END) == want.seek(0, os.SEEK_END)
    finally:
        os.close(fd)
