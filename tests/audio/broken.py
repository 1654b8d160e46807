"""A folder with every kind of damaged or odd audio file, and some good ones."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import av
import mutagen.mp4
import numpy as np
import soundfile

from genrescope.errors import (
    AudioCorruptError,
    AudioEmptyError,
    AudioError,
    AudioNotFiniteError,
    AudioNotFoundError,
    AudioPermissionError,
    AudioSilentError,
    AudioTooShortError,
    AudioUnsupportedError,
)
from tests.audio.sounds import encode, encode_av, id3, mp3_frames

__all__ = ["make_broken_folder"]

SECONDS = 6


def _with_cover(m4a: bytes, picture: bytes) -> bytes:
    buffer = io.BytesIO(m4a)
    tagged = mutagen.mp4.MP4(buffer)
    tagged["covr"] = [mutagen.mp4.MP4Cover(picture, mutagen.mp4.MP4Cover.FORMAT_JPEG)]
    buffer.seek(0)
    tagged.save(buffer)
    return buffer.getvalue()


def _video_only() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for i in range(10):
            image = np.full((32, 32, 3), i * 20, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _with_xing_frames(data: bytes, n_frames: int) -> bytes:
    """An mp3 whose information frame claims another number of frames."""
    at = max(data.find(b"Xing", 0, 4096), data.find(b"Info", 0, 4096))
    return _patched(data, at + 8, struct.pack(">I", n_frames))


def _vbr_without_xing(y: np.ndarray, sr: int) -> bytes:
    """Variable bit rate, nothing to say so, and a first frame that is larger than the rest."""
    quiet = y.copy()
    quiet[sr:] *= 1e-3
    data = encode(
        quiet,
        sr,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.2,
    )
    frames = list(mp3_frames(data))[1:]
    largest = max(range(len(frames)), key=lambda i: len(frames[i]))
    return b"".join(frames[largest:])


def _flac_length(data: bytes, n: int) -> bytes:
    """A flac whose header claims `n` samples."""
    return _patched(
        data, 21, bytes([data[21] & 0xF0 | n >> 32]) + struct.pack(">I", n & 0xFFFFFFFF)
    )


def make_broken_folder(  # a list of kinds, not a program
    folder: Path, good_clip: Path
) -> dict[str, type[AudioError] | None]:
    """Fill a folder with files for a recogniser to trip over.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    good_clip : Path
        A real mp3, stereo, 44.1 kHz, at least 6 s long.

    Returns
    -------
    dict
        For each name in the folder, the class of the error that ``genrescope predict`` reports
        for it, or None where it recognises the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, type[AudioError] | None] = {}

    def add(name: str | bytes, data: bytes, error: type[AudioError] | None) -> None:
        name = os.fsdecode(name)
        (folder / name).write_bytes(data)
        expected[name] = error

    def link(name: str, target: str, error: type[AudioError]) -> None:
        (folder / name).symlink_to(target)
        expected[name] = error

    whole = good_clip.read_bytes()
    y, sr = soundfile.read(good_clip, frames=SECONDS * 44_100, dtype="float32")
    frames = list(mp3_frames(whole))[: SECONDS * 44_100 // 1152]
    clip = b"".join(frames[1:])  # without the information frame
    with_info = _with_xing_frames(b"".join(frames), len(frames) - 1)
    wav, flac = encode(y, sr), encode(y, sr, format="FLAC")
    ogg = encode(y, sr, format="OGG", subtype="VORBIS")
    m4a = encode_av(y, sr, codec="aac", format="ipod")
    noise = np.random.default_rng(0).bytes(50_000)
    data_at = wav.index(b"data")

    _add_foreign(add, noise)

    # Audio without sound.
    add("no bytes.mp3", b"", AudioEmptyError)
    add("tags only.mp3", id3(b"\0" * 500), AudioEmptyError)
    add("no samples.wav", encode(y[:0], sr), AudioEmptyError)
    add("no samples.ogg", encode(y[:0], sr, format="OGG", subtype="VORBIS"), AudioEmptyError)
    add("no frames.flac", _flac_length(flac[:42], 0), AudioEmptyError)
    add("silence.wav", encode(np.zeros((3 * sr, 2), np.float32), sr), AudioSilentError)
    add(
        "silence.mp3",
        encode(np.zeros(3 * sr, np.float32), sr, format="MP3", subtype="MPEG_LAYER_III"),
        AudioSilentError,
    )
    add("fifth of a second.wav", encode(y[: sr // 5], sr), AudioTooShortError)
    add(
        "fifth of a second.mp3",
        encode(y[: sr // 5], sr, format="MP3", subtype="MPEG_LAYER_III"),
        AudioTooShortError,
    )
    for name, value in (("nan", np.nan), ("infinite", -np.inf)):
        wrong = y.copy()
        wrong[len(y) // 2] = value
        add(f"{name}.wav", encode(wrong, sr, subtype="FLOAT"), AudioNotFiniteError)

    # Audio that cannot be made out any more.
    add("header cut.wav", wav[:20], AudioCorruptError)
    add("header cut.flac", flac[:30], AudioCorruptError)
    add("header cut.mp3", with_info[:700], AudioCorruptError)
    add("index lost.m4a", m4a[: len(m4a) // 2], AudioCorruptError)
    add("garbage after RIFF.wav", b"RIFF" + noise, AudioCorruptError)
    add("garbage after OggS.ogg", b"OggS" + noise, AudioCorruptError)
    asf = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    add("garbage after header.wma", asf + noise, AudioCorruptError)
    add("no channels.wav", _patched(wav, 22, b"\0\0"), AudioCorruptError)
    add("rate 0.wav", _patched(wav, 24, bytes(4)), AudioCorruptError)
    add("rate 1.wav", _patched(wav, 24, struct.pack("<I", 1)), AudioUnsupportedError)

    # Files that are none, or not for everyone.
    if hasattr(os, "symlink") and os.name == "posix":
        link("dead link.mp3", "nowhere.mp3", AudioNotFoundError)
        link("circle.mp3", "circle.mp3", AudioNotFoundError)
    add("forbidden.mp3", clip, AudioPermissionError)
    (folder / "forbidden.mp3").chmod(0)
    if os.access(folder / "forbidden.mp3", os.R_OK):  # root may read everything
        (folder / "forbidden.mp3").unlink()
        del expected["forbidden.mp3"]

    # Odd, damaged, lying, and yet there is sound in them.
    add("cut.mp3", with_info[: len(with_info) // 2], None)
    add("cut.wav", wav[: len(wav) // 2 + 1], None)
    add("cut.flac", flac[: len(flac) // 2], None)
    add("cut.ogg", ogg[: len(ogg) // 2], None)
    add("garbage first.mp3", b"\0\x11\xff\xfb" * 800 + clip, None)
    add("garbage between.mp3", b"".join([*frames[:100], noise[:5000], *frames[100:]]), None)
    add("garbage between.flac", _patched(flac, len(flac) // 2, noise[:3000]), None)
    add("claims too many.mp3", _with_xing_frames(with_info, 10**6), None)
    add("claims too few.mp3", _with_xing_frames(with_info, 3), None)
    add("claims 18 days.flac", _flac_length(flac, 2**36 - 1), None)
    add("claims nothing.flac", _flac_length(flac, 0), None)
    add("variable without header.mp3", _vbr_without_xing(y, sr), None)
    add("glued.mp3", with_info + id3(noise[:300]) + with_info, None)
    add("cover art.mp3", id3(b"image/jpeg\0\3\0" + b"\xff\xd8" + noise * 6) + with_info, None)
    add("two tags.mp3", id3(b"\0" * 99, b"TIT2") + id3(b"\0" * 9, b"TALB") + with_info, None)
    ape = b"APETAGEX" + struct.pack("<IIII8x", 2000, 32, 0, 0)
    add("old tags.mp3", clip + noise[:32] + ape + b"TAG" + b"x" * 125, None)
    add("cover art.m4a", _with_cover(m4a, b"\xff\xd8" + noise), None)
    add("streamed.wav", _patched(_patched(wav, 4, b"\xff" * 4), data_at + 4, b"\xff" * 4), None)
    add("never finished.wav", _patched(_patched(wav, 4, bytes(4)), data_at + 4, bytes(4)), None)
    add("really a flac.mp3", flac, None)
    add("really an mp3.wav", clip, None)
    add("LOUD.MP3", clip, None)
    add("🎵 naïve – 音楽 𝄞.mp3", clip, None)
    if os.name == "posix" and os.uname().sysname == "Linux":
        add(b"caf\xe9 \xff.mp3", clip, None)

    _add_formats(add, y, sr)
    return expected


_Add = Callable[[str | bytes, bytes, type[AudioError] | None], None]


def _add_foreign(add: _Add, noise: bytes) -> None:
    """Files of other kinds under names of music."""
    page = b"<!DOCTYPE html><html><title>404 Not Found</title></html>\n"
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"
    midi = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", 4)
    foreign = {
        "text.mp3": b"This is not a song.\n" * 500,
        "web page.flac": page * 20,
        "noise.mp3": noise,
        "zeros.wav": bytes(50_000),
        "picture.m4a": b"\x89PNG\r\n\x1a\n" + noise,
        "archive.ogg": b"PK\x03\x04" + noise,
        "program.wma": b"\x7fELF\x02\x01\x01" + noise,
        "playlist.mp3": playlist,
        "references.m4a": b"ffconcat version 1.0\nfile 'good.mp3'\n",
        "notes.mp3": midi + b"\0\xff\x2f\0",
        "video.m4a": _video_only(),
    }
    for name, data in foreign.items():
        add(name, data, AudioUnsupportedError)


def _add_formats(add: _Add, y: np.ndarray, sr: int) -> None:
    """Good files of every usual format, rate, depth and number of channels."""
    good = {
        "good.wav": ("WAV", "PCM_16", y, sr),
        "good.flac": ("FLAC", "PCM_16", y, sr),
        "good.aiff": ("AIFF", "PCM_16", y, sr),
        "good.ogg": ("OGG", "VORBIS", y, sr),
        "good.opus": ("OGG", "OPUS", y, 48_000),
        "good.mp3": ("MP3", "MPEG_LAYER_III", y, sr),
        "half rate.mp3": ("MP3", "MPEG_LAYER_III", y[:, 0], 22_050),
        "8 bit 8 kHz mono.wav": ("WAV", "PCM_U8", y[:, 0], 8_000),
        "24 bit 96 kHz.flac": ("FLAC", "PCM_24", y, 96_000),
        "32 bit 192 kHz.wav": ("WAV", "PCM_32", np.tile(y, (2, 1)), 192_000),
        "float64.wav": ("WAV", "DOUBLE", y, sr),
        "six channels.wav": ("WAV", "PCM_16", np.tile(y, (1, 3)), sr),
        "telephone.wav": ("WAV", "GSM610", y[:, 0], 8_000),
    }
    for name, (format_, subtype, samples, rate) in good.items():
        add(name, encode(samples, rate, format=format_, subtype=subtype), None)
    for name, codec, format_ in (
        ("good.m4a", "aac", "ipod"),
        ("lossless.m4a", "alac", "ipod"),
        ("good.aac", "aac", "adts"),
        ("good.wma", "wmav2", "asf"),
        ("good.mka", "flac", "matroska"),
    ):
        add(name, encode_av(y, sr, codec=codec, format=format_), None)
