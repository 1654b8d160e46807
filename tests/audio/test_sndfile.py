"""Decoding by libsndfile: what a file says of itself, its samples, and what is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from genrescope.audio import sndfile
from genrescope.audio.sndfile import SndfileSource
from genrescope.audio.source import SourceEmptyError, SourceError
from tests.audio.sounds import SR, encode, id3, mp3_frames, music

Opener = Callable[..., SndfileSource]
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III"}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Sources of bytes, closed at the end with their descriptors."""
    sources: list[SndfileSource] = []
    descriptors: list[int] = []

    def open_(data: bytes, *, mpeg: bool = False) -> SndfileSource:
        path = tmp_path / "a.bin"
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        descriptors.append(fd)
        os.lseek(fd, len(data) // 2, os.SEEK_SET)  # where it stands does not matter
        sources.append(SndfileSource(fd, str(path), size=len(data), mpeg=mpeg))
        return sources[-1]

    yield open_
    for source in sources:
        source.close()
        source.close()  # twice does no harm
    for fd in descriptors:  # a source leaves it open
        os.close(fd)


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Of an mp3 of 4 s at a constant bit rate, the information frame first."""
    return list(mp3_frames(encode(music(4.0), SR, **MP3, bitrate_mode="CONSTANT")))


@pytest.mark.parametrize(
    ("format_", "subtype", "named", "exact", "step"),
    [
        ("WAV", "PCM_16", "WAV/PCM_16", True, 2**-15),
        ("AIFF", "PCM_24", "AIFF/PCM_24", True, 2**-23),
        ("FLAC", "PCM_24", "FLAC/PCM_24", False, 2**-23),
        ("OGG", "VORBIS", "OGG/VORBIS", False, 0.4),
        ("MP3", "MPEG_LAYER_III", "MP3/MPEG_LAYER_III", False, 0.4),
    ],
)
def test_what_a_file_says_of_itself(
    opened: Opener, format_: str, subtype: str, named: str, exact: bool, step: float
) -> None:
    y = music(1.0)
    source = opened(encode(y, SR, format=format_, subtype=subtype))
    assert source.name == "libsndfile"
    assert source.format == named
    assert (source.sr, source.channels) == (SR, 2)
    assert source.n_samples == SR
    assert source.exact is exact
    got = source.read(0, 9 * SR)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, y, atol=step)


@pytest.mark.parametrize(
    ("format_", "subtype", "sr"),
    [
        ("WAV", "PCM_16", SR),
        ("WAV", "GSM610", 8_000),
        ("OGG", "VORBIS", SR),
        ("OGG", "OPUS", 48_000),
    ],
)
def test_samples_stand_where_they_are_asked_for(
    opened: Opener, format_: str, subtype: str, sr: int
) -> None:
    y = music(12.0 if subtype == "GSM610" else 3.0, sr)
    y = y[:, :1] if subtype == "GSM610" else y
    data = encode(y, sr, format=format_, subtype=subtype)
    source = opened(data)
    whole = source.read(0, 99 * sr)
    assert len(whole) == source.n_samples
    for start, n in (
        (len(whole) - 5, 5), (0, 10), (10, 5000), (70_000, 100), (65_536, 1), (65_537, 7),
        (3, 50), (66_000, 9000), (len(whole) - 1, 1),
    ):  # fmt: skip
        got = source.read(start, start + n)
        assert got.shape == (n, y.shape[1]), start
        np.testing.assert_allclose(got, whole[start : start + n], atol=2e-7, err_msg=str(start))
    assert source.read(5, 5).shape == (0, y.shape[1])
    past = source.read(len(whole), len(whole) + 9)
    assert past.shape == (0, y.shape[1])
    assert past.dtype == np.float32
    assert len(source.read(len(whole) - 2, len(whole) + 9)) == 2


def test_what_is_refused_says_why(opened: Opener) -> None:
    flac = encode(music(0.5), SR, format="FLAC")
    cases: list[tuple[bytes, type[SourceError], str]] = [
        (b"text " * 99, SourceError, "Format not recognised"),
        (encode(music(0.1)[:0], SR), SourceEmptyError, "its header does not say how long it is"),
        (
            flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:],
            SourceError,
            "its header does not say how long it is",
        ),
    ]
    for data, kind, message in cases:
        with pytest.raises(SourceError) as error:
            opened(data)
        assert (type(error.value), str(error.value)) == (kind, message)


def test_damage_in_the_middle_is_an_error_and_not_silence(opened: Opener) -> None:
    y = music(4.0)
    flac = encode(y, SR, format="FLAC")
    middle = len(flac) // 2
    source = opened(flac[:middle] + np.random.default_rng(0).bytes(3000) + flac[middle + 3000 :])
    assert len(source.read(0, SR)) == SR
    with pytest.raises(SourceError) as error:
        source.read(0, 4 * SR)
    assert str(error.value)
    assert not str(error.value).endswith(".")


# --- MPEG -------------------------------------------------------------------------------


def claiming(info: bytes, n_frames: int) -> bytes:
    at = max(info.find(b"Xing"), info.find(b"Info")) + 8
    return info[:at] + struct.pack(">I", n_frames) + info[at + 4 :]


def test_an_honest_mp3_is_as_long_as_its_header_says(opened: Opener, frames: list[bytes]) -> None:
    source = opened(b"".join(frames), mpeg=True)
    assert source.exact
    assert source.n_samples == 4 * SR
    assert len(source.read(0, 9 * SR)) == 4 * SR


@pytest.mark.parametrize("claimed", [3, 20, 10**6])
def test_a_claim_of_frames_is_replaced_by_the_truth(
    opened: Opener, frames: list[bytes], claimed: int
) -> None:
    want = opened(b"".join(frames), mpeg=True).read(0, 9 * SR)
    source = opened(claiming(frames[0], claimed) + b"".join(frames[1:]), mpeg=True)
    assert source.exact
    assert source.n_samples == pytest.approx(4 * SR, abs=1152)
    got = source.read(0, 9 * SR)
    assert len(got) == source.n_samples
    n = min(len(got), len(want))
    np.testing.assert_array_equal(got[:n], want[:n])


def test_frames_without_information_are_all_read(opened: Opener, frames: list[bytes]) -> None:
    source = opened(b"".join(frames[1:]), mpeg=True)
    assert source.exact
    assert len(source.read(0, 9 * SR)) == source.n_samples
    assert source.n_samples == pytest.approx(1152 * (len(frames) - 1), abs=1152)
    # A first frame that is larger than the rest makes libsndfile guess too few of them.
    loud = music(4.0)
    loud[SR:] *= 1e-3
    varying = list(
        mp3_frames(encode(loud, SR, **MP3, bitrate_mode="VARIABLE", compression_level=0.1))
    )[1:]
    largest = max(range(30), key=lambda k: len(varying[k]))
    data = b"".join(varying[largest:])
    assert opened(data).n_samples < 0.8 * 1152 * (len(varying) - largest)  # type: ignore[operator]
    source = opened(data, mpeg=True)
    assert source.n_samples == pytest.approx(1152 * (len(varying) - largest), abs=1152)
    assert len(source.read(0, 9 * SR)) == source.n_samples


@pytest.mark.parametrize("before", [b"", id3(b"\xff\xfb" * 900), b"\0\x11\xff\xfb" * 800])
@pytest.mark.parametrize("after", [b"", b"TAG".ljust(128), b"\0" * 999])
def test_what_surrounds_the_frames_is_not_decoded(
    opened: Opener, frames: list[bytes], before: bytes, after: bytes
) -> None:
    want = opened(b"".join(frames), mpeg=True).read(0, 9 * SR)
    source = opened(before + b"".join(frames) + after, mpeg=True)
    assert source.n_samples == 4 * SR
    np.testing.assert_array_equal(source.read(0, 9 * SR), want)


def test_places_in_an_mp3_are_those_of_the_whole(opened: Opener) -> None:
    """At 32 kbit/s, where a frame leans on many before it."""
    data = encode(music(6.0), SR, **MP3, bitrate_mode="CONSTANT", compression_level=0.99)
    source = opened(data, mpeg=True)
    whole = source.read(0, 9 * SR)
    for start in (5 * SR, 18_432, 18_433, 3 * SR, 1, 2 * SR + 77):
        got = source.read(start, start + 999)
        np.testing.assert_allclose(got, whole[start : start + 999], atol=2e-7, err_msg=str(start))


def test_a_file_that_is_no_mpeg_is_opened_as_what_it_is(opened: Opener) -> None:
    source = opened(encode(music(0.5), SR), mpeg=True)
    assert source.format == "WAV/PCM_16"
    assert source.exact
    assert source.n_samples == SR // 2


def test_where_descriptors_mean_nothing_the_name_is_opened(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = music(0.5)
    data = encode(y, SR)
    made: list[object] = []
    really = soundfile.SoundFile

    def spy(where: object, **how: object) -> soundfile.SoundFile:
        made.append(where)
        return really(where, **how)

    monkeypatch.setattr(soundfile, "SoundFile", spy)
    monkeypatch.setattr(sndfile, "os", SimpleNamespace(name="nt"))
    source = opened(data)
    np.testing.assert_allclose(source.read(0, SR), y, atol=2**-15)
    assert [Path(str(where)).name for where in made] == ["a.bin"]
