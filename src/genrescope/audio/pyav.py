"""Decoding by FFmpeg's libraries (PyAV): m4a, wma and whatever libsndfile refuses."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from genrescope.audio.source import SourceEmptyError, SourceError, SourceForeignError

__all__ = ["FfmpegSource"]

_PREROLL = 1.0  # seconds decoded before a wanted position: overlaps, bit reservoirs, SBR
_WORTH_SEEKING = 2.0  # seconds; nearer positions are reached by decoding on

# Only containers whose timestamps count samples can be cut exactly after a seek. Others have
# milliseconds (wma, mka, webm) or a guess from the bit rate (aac), so they are decoded on to
# the wanted position, several hundred times faster than they play.
_EXACT_SEEK = "mov,mp4"

# By sample format: type, full scale, and the value that stands for zero.
_FORMATS: dict[str, tuple[str, float, float]] = {
    "u8": ("u1", 2.0**7, 128.0),
    "s16": ("i2", 2.0**15, 0.0),
    "s32": ("i4", 2.0**31, 0.0),
    "s64": ("i8", 2.0**63, 0.0),
    "flt": ("f4", 1.0, 0.0),
    "dbl": ("f8", 1.0, 0.0),
}


class FfmpegSource:
    """One open file, decoded by FFmpeg's libraries (a :class:`~genrescope.audio.source.Source`).

    Parameters
    ----------
    fd : int
        Descriptor of the file; it stays the caller's to close.

    Raises
    ------
    SourceError
        If the file is not audio in a format that is known, or holds no decodable frame.
    """

    name = "ffmpeg"

    def __init__(self, fd: int) -> None:
        import av
        from av.audio.plane import AudioPlane

        self._av: Any = av
        self._plane: Any = AudioPlane
        self._fd = fd
        self._container: Any = None
        self._try_open()

    def _try_open(self) -> None:
        try:
            self._open()
        except BaseException as error:
            self.close()
            if isinstance(error, EOFError):
                raise SourceEmptyError("it ends where the sound should begin") from error
            # FFmpeg's MemoryError is among its own: a damaged size, more likely than not.
            if isinstance(error, self._av.error.FFmpegError | OSError | ValueError):
                raise SourceError(_reason(error)) from error
            raise

    def _open(self) -> None:
        # The name of a descriptor tells FFmpeg nothing, so that only the content decides what
        # the file is; and a playlist inside may open neither other files nor addresses.
        options = {"protocol_whitelist": "fd"}
        where: Any = "fd:"
        if os.name == "posix":
            os.lseek(self._fd, 0, os.SEEK_SET)
            options["fd"] = str(self._fd)
        else:  # through Python: were the name given, "file" would have to be allowed to all
            where = io.FileIO(self._fd, closefd=False)
            where.seek(0)
        try:
            self._container = self._av.open(where, options=options, metadata_errors="replace")
        except TypeError:  # PyAV 19 reads any bytes as metadata, unasked
            self._container = self._av.open(where, options=options)
        streams = self._container.streams
        stream = streams.best("audio") or next(iter(streams.audio), None)
        if stream is None:
            kinds = sorted({one.type for one in streams}) or ["nothing"]
            raise SourceForeignError(f"it holds {' and '.join(kinds)}, no audio")
        if stream.codec_context is None:
            raise ValueError("no decoder for what it holds")
        self._stream = stream
        stream.codec_context.thread_count = 1
        self._packets = 0
        self._frames = self._decode()
        self._pos = 0  # position of the first sample of _held
        first = next(self._frames, None)
        if first is None:
            kind = ValueError if self._packets else SourceEmptyError
            raise kind("no frame of it could be decoded")
        # What the first frame says, not the header: HE-AAC doubles the rate of its core.
        self.sr, self.channels = first.sample_rate, first.layout.nb_channels
        self._origin = first.pts or 0
        self._tick = first.time_base
        self.format = f"{self._container.format.name.split(',')[0]}/{stream.codec_context.name}"
        self._seekable = (
            self._container.format.name.startswith(_EXACT_SEEK)
            and first.pts is not None
            and (self._tick * self.sr).numerator == 1
        )
        self.n_samples = self._length()
        self.exact = False
        self._held = self._samples(first)

    def _length(self) -> int | None:
        if self._stream.duration is not None:
            return int(self._stream.duration * self._stream.time_base * self.sr)
        if self._container.duration is not None:
            return int(self._container.duration * self.sr // self._av.time_base)
        return None

    def _decode(self) -> Iterator[Any]:
        """Every frame that can be decoded from here on; damaged packets are skipped."""
        error = self._av.error
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, error.FFmpegError, OSError, EOFError):
                return
            self._packets += packet.size > 0
            try:
                yield from packet.decode()
            except (error.FFmpegError, ValueError, EOFError):
                continue

    def _samples(self, frame: Any) -> np.ndarray:
        """A frame as float32 [n, channels], full scale 1.0."""
        channels, count = frame.layout.nb_channels, frame.samples
        kind, scale, zero = _FORMATS[frame.format.name.removesuffix("p")]
        # Neither to_ndarray() nor frame.planes, which look for planes past the last one, and crash
        # or refuse, where there are eight channels or more.
        if frame.format.is_planar:
            planes = [self._plane(frame, place) for place in range(channels)]
            data = np.stack([np.frombuffer(p, kind, count) for p in planes], axis=1)
        else:
            data = np.frombuffer(self._plane(frame, 0), kind, count * channels).reshape(
                -1, channels
            )
        if kind[0] != "f":
            # float32 holds 16 bits exactly; more bits are rounded once, at the end.
            data = data.astype(np.float64 if data.dtype.itemsize > 2 else np.float32)
            data = (data - zero) / scale
        if channels != self.channels:  # a broadcast may change its mind half way through
            data = np.repeat(data.mean(axis=1, keepdims=True), self.channels, axis=1)
        return data.astype(np.float32, copy=False)

    def _next(self) -> bool:
        """Replace _held by the next frame."""
        self._pos += len(self._held)
        self._held = self._held[:0]
        for frame in self._frames:
            if frame.sample_rate == self.sr and frame.samples:
                self._held = self._samples(frame)
                return True
        return False

    def _seek(self, start: int) -> bool:
        """Go to a frame that begins at or before `start`, or say that this did not work."""
        target = max(0, start - int(_PREROLL * self.sr))
        try:
            self._container.seek(
                self._origin + int(target / (self._tick * self.sr)), stream=self._stream
            )
            self._stream.codec_context.flush_buffers()
            self._frames = self._decode()
            for frame in self._frames:
                if frame.sample_rate == self.sr and frame.samples and frame.pts is not None:
                    self._held = self._samples(frame)
                    self._pos = round((frame.pts - self._origin) * self._tick * self.sr)
                    return self._pos <= start
        except (self._av.error.FFmpegError, OSError):
            return False
        return False

    def _rewind(self) -> None:
        self.close()
        self._try_open()

    def read(self, start: int, stop: int) -> np.ndarray:
        """See :meth:`genrescope.audio.source.Source.read`."""
        ahead = start - self._pos
        if ahead < 0 or (self._seekable and ahead > _WORTH_SEEKING * self.sr):
            if not self._seekable or start <= _PREROLL * self.sr:
                self._rewind()
            elif not self._seek(start):
                self._rewind()
                self._seekable = False
        parts: list[np.ndarray] = []
        while self._pos < stop:
            end = self._pos + len(self._held)
            if end > start:
                parts.append(self._held[max(0, start - self._pos) : stop - self._pos])
            if end >= stop or not self._next():
                break
        if not parts:
            return np.empty((0, self.channels), np.float32)
        return np.concatenate(parts)

    def close(self) -> None:
        """See :meth:`genrescope.audio.source.Source.close`."""
        if self._container is not None:
            self._container.close()
            self._container = None


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
