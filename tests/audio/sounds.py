"""Sound to decode, as samples and as the bytes of files in many formats."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import av
import numpy as np
import soundfile

__all__ = ["SR", "encode", "encode_av", "id3", "mp3_frames", "music"]

SR = 44_100  # Hz


def music(seconds: float = 8.0, sr: int = SR) -> np.ndarray:
    """Stereo sound that changes all the time, so that no two places are alike."""
    t = np.arange(int(seconds * sr)) / sr
    rng = np.random.default_rng(7)
    left = 0.4 * np.sin(2 * np.pi * (200 + 90 * t) * t) + 0.1 * rng.standard_normal(len(t))
    right = 0.4 * np.sin(2 * np.pi * (900 - 40 * t) * t) * np.sin(3 * t)
    return np.stack([left, right], axis=1).astype(np.float32)


def encode(
    y: np.ndarray,
    sr: int,
    *,
    format: str = "WAV",
    subtype: str = "PCM_16",
    **options: object,
) -> bytes:
    """Samples [n] or [n, channels] as the bytes of a file, by libsndfile."""
    buffer = io.BytesIO()
    channels = 1 if y.ndim == 1 else y.shape[1]
    with soundfile.SoundFile(
        buffer, "w", sr, channels, format=format, subtype=subtype, **options
    ) as f:
        for i in range(0, len(y), 4096):  # its Vorbis encoder crashes on larger pieces
            f.write(y[i : i + 4096])
    return buffer.getvalue()


def encode_av(
    y: np.ndarray,
    sr: int,
    *,
    codec: str,
    format: str,
    layout: str = "stereo",
    options: dict[str, str] | None = None,
) -> bytes:
    """Samples [n, channels] as the bytes of a file, by FFmpeg."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format) as out:
        stream = out.add_stream(codec, rate=sr, options=options or {})
        stream.layout = layout
        stream.bit_rate = 128_000
        to_codec = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=sr)
        for i in range(0, len(y), 4096):
            piece = np.ascontiguousarray(y[i : i + 4096], dtype=np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
            frame.sample_rate, frame.pts = sr, i
            for converted in to_codec.resample(frame):
                out.mux(stream.encode(converted))
        for converted in to_codec.resample(None):
            out.mux(stream.encode(converted))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def id3(content: bytes, frame: bytes = b"APIC") -> bytes:
    """An ID3v2.3 tag with one frame."""
    body = frame + struct.pack(">IH", len(content), 0) + content
    n = len(body)
    return b"ID3\x03\0\0" + bytes((n >> shift) & 0x7F for shift in (21, 14, 7, 0)) + body


def mp3_frames(data: bytes) -> Iterator[bytes]:
    """The frames of an MPEG-1 layer III stream at 44.1 kHz, tags left out."""
    kbits = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    pos = 0
    if data.startswith(b"ID3"):
        pos = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
    while pos + 4 <= len(data) and data[pos] == 0xFF and data[pos + 1] & 0xFE == 0xFA:
        size = 144_000 * kbits[data[pos + 2] >> 4] // 44_100 + (data[pos + 2] >> 1 & 1)
        yield data[pos : pos + size]
        pos += size
