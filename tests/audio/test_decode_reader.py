"""An open audio file: what it says of itself, its windows, and the words of its errors."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soxr

from genrescope.audio import decode, sndfile
from genrescope.audio.decode import AudioInfo, audio_info, open_audio, read_audio
from genrescope.audio.source import SourceError
from genrescope.errors import (
    AudioCorruptError,
    AudioEmptyError,
    AudioError,
    AudioNotFiniteError,
    AudioUnsupportedError,
)
from tests.audio.sounds import SR, encode, encode_av, id3, mp3_frames, music

MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III"}


def written(folder: Path, data: bytes, name: str = "a.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def claiming(flac: bytes, n_samples: int) -> bytes:
    """The same flac, its header promising so many samples."""
    head = bytes([flac[21] & 0xF0 | n_samples >> 32])
    return flac[:21] + head + struct.pack(">I", n_samples & 0xFFFFFFFF) + flac[26:]


def with_frames(mp3: bytes, claimed: int) -> bytes:
    at = max(mp3.find(b"Xing"), mp3.find(b"Info")) + 8
    return mp3[:at] + struct.pack(">I", claimed) + mp3[at + 4 :]


# --- what it says of itself -------------------------------------------------------------


def test_info_is_what_the_open_file_says(tmp_path: Path) -> None:
    path = written(tmp_path, encode(music(0.5), SR))
    assert audio_info(path) == AudioInfo(
        path=str(path),
        sr=SR,
        channels=2,
        n_samples=SR // 2,
        duration=0.5,
        exact=True,
        format="WAV/PCM_16",
        decoder="libsndfile",
    )
    with open_audio(path) as audio:
        assert (audio.path, audio.sr, audio.channels) == (str(path), SR, 2)
        assert (audio.n_samples, audio.duration, audio.exact) == (SR // 2, 0.5, True)
        assert (audio.format, audio.decoder) == ("WAV/PCM_16", "libsndfile")
        assert repr(audio) == f"<AudioFile {str(path)!r}: 0.5 s, 44100 Hz>"


def test_a_length_that_is_a_claim_is_shown_as_one(tmp_path: Path) -> None:
    path = written(tmp_path, encode(music(1.0), SR, format="FLAC"))
    with open_audio(path) as audio:
        assert not audio.exact
        assert repr(audio) == f"<AudioFile {str(path)!r}: about 1.0 s, 44100 Hz>"
        audio.read()
        assert audio.exact
        assert repr(audio) == f"<AudioFile {str(path)!r}: 1.0 s, 44100 Hz>"


def test_measuring_decodes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, claiming(encode(music(1.0), SR, format="FLAC"), 3 * SR))
    with open_audio(path) as audio:
        assert audio.n_samples == 3 * SR
        assert audio.measure() == SR
        monkeypatch.setattr(decode.AudioFile, "_decode", lambda *_: pytest.fail("again"))
        assert audio.measure() == SR
        assert audio.n_samples == SR
        assert audio.duration == 1.0
        assert audio.exact


@pytest.mark.parametrize("believed", [True, False])
def test_a_claim_of_less_than_200_bit_a_second_is_not_believed(
    tmp_path: Path, believed: bool
) -> None:
    flac = encode(music(1.0), SR, format="FLAC")
    most = len(flac) * 8 * SR // 200
    path = written(tmp_path, claiming(flac, most - 1 if believed else most + SR))
    info = audio_info(path)
    assert info.n_samples == (most - 1 if believed else SR)
    assert info.exact is not believed


# --- windows ----------------------------------------------------------------------------


def test_a_place_is_rounded_down_to_a_sample(tmp_path: Path) -> None:
    y = music(1.0)[:, 0]
    path = written(tmp_path, encode(y, SR, subtype="FLOAT"))
    for offset, duration, first, last in (
        (0.0, None, 0, SR),
        (100.9 / SR, 10.9 / SR, 100, 110),
        (0.5, 0.25, SR // 2, SR * 3 // 4),
        (0.9, 5.0, int(0.9 * SR), SR),
        (0.0, float("inf"), 0, SR),
        (0.5, float("inf"), SR // 2, SR),
        (0.0, 0.9 / SR, 0, 0),
        (0.0, 0.0, 0, 0),
        (1.0, 1.0, 0, 0),
        (5.0, None, 0, 0),
    ):
        got, sr = read_audio(path, offset=offset, duration=duration)
        assert sr == SR
        np.testing.assert_array_equal(got, y[first:last], err_msg=f"{offset} {duration}")
        assert got.dtype == np.float32


def test_what_is_empty_has_the_shape_of_what_was_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, encode(music(0.5), SR))
    with open_audio(path) as audio:
        assert audio.read(offset=9.0).shape == (0,)
        assert audio.read(offset=9.0, mono=False).shape == (0, 2)
        assert audio.read(duration=0.0, mono=False).shape == (0, 2)
        assert audio.read(offset=9.0, sr=8_000).dtype == np.float32


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_mono_is_the_mean_of_the_channels(tmp_path: Path, channels: int) -> None:
    y = np.random.default_rng(channels).uniform(-1, 1, (500, channels)).astype(np.float32)
    path = written(tmp_path, encode(y, SR, subtype="FLOAT"))
    np.testing.assert_allclose(read_audio(path)[0], y.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(read_audio(path, mono=False)[0], y)


@pytest.mark.parametrize("mono", [True, False])
@pytest.mark.parametrize("sr", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("n", [1, 999, 22_051])
def test_another_rate_has_the_length_rounded_up(
    tmp_path: Path, sr: int, n: int, mono: bool
) -> None:
    y = music(1.0)[:n]
    path = written(tmp_path, encode(y, SR, subtype="FLOAT"))
    got, got_sr = read_audio(path, sr=sr, mono=mono)
    assert got_sr == sr
    assert got.dtype == np.float32
    assert got.shape == (-(-n * sr // SR), 2)[: 1 if mono else 2]
    want = y.mean(axis=1) if mono else y
    if sr != SR:
        want = soxr.resample(want, SR, sr, quality="HQ")
    np.testing.assert_allclose(got[: len(want)], want[: len(got)], atol=1e-6)
    assert not got[len(want) :].any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"offset": -0.1}, "offset is -0.1; it counts seconds from the start, 0 or more"),
        ({"offset": np.inf}, "offset is inf; it counts seconds from the start, 0 or more"),
        ({"duration": -2.0}, "duration is -2.0; give seconds, 0 or more, or None for all"),
        ({"duration": np.nan}, "duration is nan; give seconds, 0 or more, or None for all"),
        ({"sr": 0}, "sr is 0; give a rate in Hz, or None for the file's own"),
        ({"sr": -1}, "sr is -1; give a rate in Hz, or None for the file's own"),
    ],
    ids=str,
)
def test_senseless_arguments_say_what_makes_sense(
    tmp_path: Path, how: dict[str, float], message: str
) -> None:
    path = written(tmp_path, encode(music(0.1), SR))
    with pytest.raises(ValueError) as error:
        read_audio(path, **how)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_the_lowest_rate_in_hz_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, encode(music(2.0, 1_000), 1_000))
    assert read_audio(path, sr=1)[0].shape == (2,)


@pytest.mark.parametrize("size", [4096, 5000])
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_blocks_make_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, kind: str
) -> None:
    y = music(1.0)[: 3 * 4096]  # ends where a block does
    data = encode(y, SR, format=kind.upper(), subtype="PCM_16")
    monkeypatch.setattr(decode, "_BLOCK", 2 * size)
    with open_audio(written(tmp_path, data)) as audio:
        np.testing.assert_allclose(audio.read(mono=False), y, atol=2**-15)
        for start in (0, 1, 4095, 4097, 12_287):
            got = audio.read(offset=(start + 0.5) / SR, duration=(size + 1.5) / SR, mono=False)
            np.testing.assert_allclose(got, y[start : start + size + 1], atol=2**-15)


def test_no_block_is_larger_than_the_memory_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_BLOCK", 10_000)
    asked: list[int] = []
    really = decode.AudioFile._decode

    def spy(self: decode.AudioFile, start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return really(self, start, stop)

    monkeypatch.setattr(decode.AudioFile, "_decode", spy)
    for channels, most in ((1, 10_000), (2, 5_000), (6, 4_096)):
        asked.clear()
        read_audio(written(tmp_path, encode(np.tile(music(0.5), 3)[:, :channels], SR)))
        assert max(asked) == most


# --- damage -----------------------------------------------------------------------------


def test_what_libsndfile_gives_up_ffmpeg_goes_on_with(tmp_path: Path) -> None:
    y = music(4.0)
    flac = encode(y, SR, format="FLAC")
    middle = len(flac) // 2
    noise = np.random.default_rng(0).bytes(3000)
    path = written(tmp_path, flac[:middle] + noise + flac[middle + 3000 :])
    with open_audio(path) as audio:
        assert audio.decoder == "libsndfile"
        np.testing.assert_allclose(audio.read(duration=1.0, mono=False), y[:SR], atol=2**-15)
        got = audio.read(mono=False)
        assert audio.decoder == "ffmpeg"
        assert audio.format == "flac/flac"
        assert audio.exact
        assert audio.n_samples == len(got)
        assert SR < len(got) < 4 * SR
        np.testing.assert_allclose(got[:SR], y[:SR], atol=2**-15)
        np.testing.assert_allclose(got[-SR:], y[-SR:], atol=2**-15)


CORRUPT = (
    "it begins like audio but cannot be decoded ({}). It may be damaged or incomplete: "
    "copy or download it again."
)


class Failing:
    """A second decoder that is not what the first one was."""

    name, format, n_samples, exact = "ffmpeg", "a/b", None, False

    def __init__(self, sr: int, channels: int) -> None:
        self.sr, self.channels = sr, channels
        self.closed = False

    def read(self, start: int, stop: int) -> np.ndarray:
        raise SourceError("no more")

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("sr", "channels", "reason"),
    [(48_000, 2, "torn"), (SR, 1, "torn"), (SR, 2, "no more")],
)
def test_a_second_decoder_must_agree_with_the_first_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: int, channels: int, reason: str
) -> None:
    second = Failing(sr, channels)

    def torn(*_: object) -> np.ndarray:
        raise SourceError("torn")

    path = written(tmp_path, encode(music(0.2), SR))
    with open_audio(path) as audio:
        monkeypatch.setattr(sndfile.SndfileSource, "read", torn)
        monkeypatch.setattr(decode, "_open_ffmpeg", lambda *_: second)
        with pytest.raises(AudioCorruptError) as error:
            audio.read()
    assert str(error.value) == f"{path}: " + CORRUPT.format(reason)
    assert second.closed


def test_a_suffix_tells_of_frames_behind_garbage(tmp_path: Path) -> None:
    frames = list(mp3_frames(encode(music(2.0), SR, **MP3)))[1:]
    data = b"\0\x11\xff\xfb" * 800 + b"".join(frames)
    for name in ("a.mp3", "a.MP3", "a.mp2", "a.mpga"):
        info = audio_info(written(tmp_path, data, name))
        assert info.exact, name
        assert info.n_samples == pytest.approx(1152 * len(frames), abs=1152)


@pytest.mark.parametrize("tag", [b"", id3(b"x" * 99)])
def test_frames_are_counted_whatever_the_name(tmp_path: Path, tag: bytes) -> None:
    mp3 = encode(music(2.0), SR, **MP3)
    at = mp3.index(b"\xff\xfb")
    info = audio_info(written(tmp_path, tag + with_frames(mp3[at:], 10**6)))
    assert info.exact
    assert info.duration == pytest.approx(2.0, abs=0.1)


def refusal(folder: Path, data: bytes, kind: type[AudioError], **how: float) -> str:
    """What is said of such a file, after its name."""
    path = written(folder, data)
    with pytest.raises(AudioError) as error:
        read_audio(path, **how)  # type: ignore[arg-type]
    assert type(error.value) is kind
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


EMPTY = (
    "the file holds no samples; only files with sound can be read. "
    "Check that the recording or download was completed."
)


@pytest.mark.parametrize("kind", ["wav", "ogg", "tags", "two tags", "long tag"])
def test_a_file_without_sound_is_empty(tmp_path: Path, kind: str) -> None:
    data = {
        "wav": encode(music(0.1)[:0], SR),
        "ogg": encode(music(0.1)[:0], SR, format="OGG", subtype="VORBIS"),
        "tags": id3(b"x" * 99),
        "two tags": id3(b"x" * 99) + id3(b"y"),
        "long tag": b"ID3\3\0\0\0\0\x7f\0" + b"x" * 50,  # longer than the file
    }[kind]
    assert refusal(tmp_path, data, AudioEmptyError) == EMPTY


def test_sound_behind_a_tag_is_read_where_only_ffmpeg_knows_it(tmp_path: Path) -> None:
    data = id3(b"x" * 99) + encode_av(music(1.0), SR, codec="aac", format="adts")
    info = audio_info(written(tmp_path, data, "a.aac"))
    assert (info.decoder, info.format) == ("ffmpeg", "aac/aac")
    assert info.duration == pytest.approx(1.0, abs=0.1)


def test_a_flac_whose_sound_is_missing_is_empty_or_corrupt_and_told(tmp_path: Path) -> None:
    flac = encode(music(1.0), SR, format="FLAC")
    head = flac.index(b"\xff\xf8") if b"\xff\xf8" in flac else 42
    path = written(tmp_path, claiming(flac[:head], 0))
    with pytest.raises((AudioEmptyError, AudioCorruptError)) as error:
        read_audio(path)
    assert str(error.value).startswith(f"{path}: ")


def test_what_is_no_audio_says_what_both_decoders_said(tmp_path: Path) -> None:
    for data in (b"text " * 99, b"<!DOCTYPE html>" * 99, b"ID"):
        assert refusal(tmp_path, data, AudioUnsupportedError) == (
            "not audio, or in a format that neither libsndfile nor FFmpeg reads "
            "(libsndfile: Format not recognised; ffmpeg: Invalid data found when processing "
            "input). Check that it is an audio file, or convert it to flac."
        )


@pytest.mark.parametrize(
    "head",
    [
        *(b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"\x30\x26\xb2\x75", b"caff"),
        *(b".snd", b"wvpk", b"MAC ", b"TTA1", b"MPCK", b"MP+", b"DSD ", b"\x1a\x45\xdf\xa3"),
        *(b"riff", b"\0\0\0\x20ftypM4A ", b"\xff\xfb\x90\0", b"\xff\xf3\x90\0"),
    ],
)
def test_what_begins_like_audio_is_damaged(tmp_path: Path, head: bytes) -> None:
    told = refusal(tmp_path, head + b"\x01\x9a\x02" * 400, AudioCorruptError)
    assert told.startswith("it begins like audio but cannot be decoded (libsndfile: ")
    assert "; ffmpeg: " in told
    assert told.endswith("). It may be damaged or incomplete: copy or download it again.")


@pytest.mark.parametrize(
    "head", [b"\xff\xe1", b"\xff\xf9", b"\xfe\xfb", b"\xff\x1b", b"RIF", b"ftyp"]
)
def test_what_only_resembles_audio_is_none(tmp_path: Path, head: bytes) -> None:
    """A byte order mark, for one: the layer bits of a frame are never 0."""
    refusal(tmp_path, head + b"\x9a\x02\0" * 400, AudioUnsupportedError)


def test_rates_outside_what_can_be_resampled_are_told(tmp_path: Path) -> None:
    wav = encode(music(0.1), SR)
    for rate in (999, 3_000_001):
        data = wav[:24] + struct.pack("<I", rate) + wav[28:]
        assert refusal(tmp_path, data, AudioUnsupportedError) == (
            f"its sampling rate is {rate} Hz; rates from 1000 to 3000000 Hz are read. "
            "Export the file again at 44100 Hz."
        )
    for rate in (1000, 3_000_000):
        data = wav[:24] + struct.pack("<I", rate) + wav[28:]
        assert audio_info(written(tmp_path, data)).sr == rate


def test_samples_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    y = music(0.5)
    y[7, 1] = np.nan
    assert refusal(tmp_path, encode(y, SR, subtype="FLOAT"), AudioNotFiniteError) == (
        "NaN or infinite samples; only finite ones mean sound. "
        "Export the file again from where it was made."
    )
    path = written(tmp_path, encode(y, SR, subtype="FLOAT"))
    with pytest.raises(AudioNotFiniteError):
        read_audio(path, mono=False)
    assert len(read_audio(path, offset=0.1)[0]) > 0


def test_a_failing_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(decode, "read_at", fail)
    assert refusal(tmp_path, encode(music(0.1), SR), AudioCorruptError) == (
        "the system cannot read it (Input/output error)."
    )


def test_what_fails_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors cannot be counted here")
    wav = encode(music(0.1), SR)
    cases = {
        b"text " * 99: AudioUnsupportedError,
        wav[:24] + struct.pack("<I", 7_000_000) + wav[28:]: AudioUnsupportedError,
        encode(music(0.1)[:0], SR): AudioEmptyError,
    }
    read_audio(written(tmp_path, wav))
    before = len(os.listdir("/proc/self/fd"))
    for data, kind in cases.items():
        refusal(tmp_path, data, kind)
    with open_audio(written(tmp_path, wav)) as audio:
        audio.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_samples_of_ffmpeg_are_cut_where_asked(tmp_path: Path) -> None:
    y = music(1.0)
    path = written(tmp_path, encode_av(y, SR, codec="alac", format="ipod"))
    with open_audio(path) as audio:
        assert audio.decoder == "ffmpeg"
        assert audio.format == "mov/alac"
        got = audio.read(offset=100.5 / SR, duration=50.5 / SR, mono=False)
        np.testing.assert_allclose(got, y[100:150], atol=2**-15)
