"""Any audio file to float32 samples, whole or in exact slices.

libsndfile decodes what it knows, FFmpeg's libraries (PyAV) the rest, and soxr resamples, so
that the samples are those of ``librosa.load``. No length in a header is believed where it
can be checked, no name is guessed from, and nothing but a regular file is opened. A decoder
may still crash, or take for ever: :func:`genrescope.audio.workers.map_isolated` runs it
where it can do no harm.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from genrescope.audio.files import not_opened, open_regular, printable
from genrescope.audio.mpeg import after_tags, read_at
from genrescope.audio.source import (
    Source,
    SourceEmptyError,
    SourceError,
    SourceForeignError,
)
from genrescope.catalog.folders import AUDIO_SUFFIXES
from genrescope.errors import (
    AudioCorruptError,
    AudioEmptyError,
    AudioNotFiniteError,
    AudioUnsupportedError,
)

__all__ = ["AUDIO_SUFFIXES", "AudioFile", "AudioInfo", "audio_info", "open_audio", "read_audio"]

Samples: TypeAlias = npt.NDArray[np.float32]

_BLOCK = 1 << 23  # samples (of all channels) decoded at a time: 32 MiB
_RATES = (1_000, 3_000_000)  # Hz; outside, resampling turns a small file into terabytes
_MIN_BIT_RATE = 200  # bit/s; a header that claims more seconds for so few bytes is wrong

# How a file begins that means to be audio: damaged, if no decoder reads it.
_MAGIC = (
    b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"\x30\x26\xb2\x75", b"caff",
    b"riff", b".snd", b"wvpk", b"MAC ", b"TTA1", b"MPCK", b"MP+", b"DSD ", b"\x1a\x45\xdf\xa3",
)  # fmt: skip


@dataclass(frozen=True)
class AudioInfo:
    """What is known of an audio file without decoding it (or after, if it says no length).

    Attributes
    ----------
    path : str
        Where it is.
    sr : int
        Sampling rate in Hz.
    channels : int
        Number of channels.
    n_samples : int
        Samples per channel.
    duration : float
        Length in seconds.
    exact : bool
        Whether `n_samples` and `duration` follow from the bytes that are there. Otherwise
        they are what a header claims, or a guess from the bit rate.
    format : str
        Container and codec, as the decoder calls them.
    decoder : str
        "libsndfile" or "ffmpeg".
    """

    path: str
    sr: int
    channels: int
    n_samples: int
    duration: float
    exact: bool
    format: str
    decoder: str


class AudioFile:
    """An open audio file, read window by window; made by :func:`open_audio`.

    Attributes
    ----------
    path : str
        Where it is.
    sr, channels : int
        Sampling rate in Hz and number of channels.
    """

    def __init__(self, path: str, fd: int, size: int) -> None:
        self.path = path
        self._fd, self._size = fd, size
        self._source: Source = _open_source(path, fd, size)
        self.sr: int = self._source.sr
        self.channels: int = self._source.channels
        self._n = self._source.n_samples
        self._exact = self._source.exact
        if not self._exact and self._n and self._n / self.sr > size * 8 / _MIN_BIT_RATE:
            self._n = None  # to be counted, should someone ask

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        about = "" if self._exact else "about "
        return f"<AudioFile {printable(self.path)!r}: {about}{self.duration:.1f} s, {self.sr} Hz>"

    @property
    def n_samples(self) -> int:
        """Samples per channel, as far as is known; see `exact`."""
        return self._n if self._n is not None else self.measure()

    @property
    def duration(self) -> float:
        """Length in seconds, as far as is known; see `exact`."""
        return self.n_samples / self.sr

    @property
    def exact(self) -> bool:
        """Whether `n_samples` is certain: counted, or followed from the bytes that are there."""
        return self._exact

    @property
    def format(self) -> str:
        """Container and codec, as the decoder calls them."""
        return self._source.format

    @property
    def decoder(self) -> str:
        """The library that decodes: "libsndfile" or "ffmpeg"."""
        return self._source.name

    def measure(self) -> int:
        """Count the samples by decoding to the end, keeping none of them.

        For the caller who spread windows over a `duration` that was not `exact`, and found
        that some of them are empty.

        Returns
        -------
        int
            Samples per channel; `n_samples` says the same from now on, and is `exact`.
        """
        if not self._exact or self._n is None:
            for _ in self._blocks(0, None):
                pass
            self._exact = True
        return self._n or 0

    def read(
        self,
        *,
        offset: float = 0.0,
        duration: float | None = None,
        sr: int | None = None,
        mono: bool = True,
    ) -> Samples:
        """Samples from a place in the file.

        Parameters
        ----------
        offset : float >= 0
            Where to begin, in seconds. Reached by seeking; the samples are the ones that a
            full decode has there (noise that an AAC decoder makes up itself excepted).
        duration : float >= 0 or None
            How much to read, in seconds; None is everything that follows.
        sr : int > 0 or None
            Resample to this rate (soxr, HQ); None keeps the file's own.
        mono : bool
            Average the channels.

        Returns
        -------
        np.ndarray [shape=(n,) or, with ``mono=False``, (n, channels), float32]
            Samples, full scale 1.0. Shorter than asked for where the file ends, and empty
            where `offset` lies past its end.

        Raises
        ------
        AudioEmptyError
            If there is nothing to read even at the start of the file.
        AudioNotFiniteError
            If a sample read is NaN or infinite.
        AudioCorruptError
            If what is there cannot be decoded.
        """
        if not (math.isfinite(offset) and offset >= 0):
            raise ValueError(f"offset is {offset}; it counts seconds from the start, 0 or more")
        if duration is not None and not duration >= 0:
            raise ValueError(f"duration is {duration}; give seconds, 0 or more, or None for all")
        if sr is not None and sr <= 0:
            raise ValueError(f"sr is {sr}; give a rate in Hz, or None for the file's own")
        start = int(offset * self.sr)
        stop = None
        if duration is not None and math.isfinite(duration):
            stop = start + int(duration * self.sr)
        parts = []
        for block in self._blocks(start, stop):
            part = _mix(block) if mono else block
            if not np.isfinite(part).all():
                raise AudioNotFiniteError(
                    f"{printable(self.path)}: NaN or infinite samples; only finite ones mean "
                    "sound. Export the file again from where it was made."
                )
            parts.append(part)
        if not parts:
            if start == 0 and stop != 0:
                raise _empty(self.path)
            return np.empty((0,) if mono else (0, self.channels), np.float32)
        y = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return y if sr is None or sr == self.sr else _resample(y, self.sr, sr)

    def _blocks(self, start: int, stop: int | None) -> Iterator[Samples]:
        """Decoded blocks of [n, channels] from `start` on, and what they say of the end."""
        size = max(4096, _BLOCK // self.channels)
        pos = start
        while stop is None or pos < stop:
            goal = pos + size if stop is None else min(pos + size, stop)
            if self._exact and self._n is not None:
                goal = min(goal, self._n)
                if goal <= pos:
                    return
            block = self._decode(pos, goal)
            pos += len(block)
            if len(block):
                yield block
            if pos < goal:
                if len(block) or pos == 0 or pos == self._n:
                    self._n, self._exact = pos, True
                return

    def _decode(self, start: int, stop: int) -> Samples:
        try:
            return self._source.read(start, stop)
        except SourceError as error:
            if self._source.name != "libsndfile":
                raise _corrupt(self.path, str(error)) from error
            # FFmpeg skips damage that makes libsndfile give up.
            self._source.close()
            self._source = _open_ffmpeg(self.path, self._fd, error)
            if (self._source.sr, self._source.channels) != (self.sr, self.channels):
                raise _corrupt(self.path, str(error)) from error
            self._exact = False
        return self._decode(start, stop)

    def close(self) -> None:
        """Free the decoder and the file; calling it again does nothing."""
        if self._fd >= 0:
            self._source.close()
            os.close(self._fd)
            self._fd = -1


def open_audio(path: str | os.PathLike[str]) -> AudioFile:
    """Open an audio file to read windows from it.

    Parameters
    ----------
    path : str or os.PathLike
        The file: any format of libsndfile or FFmpeg, any name that the system allows.

    Returns
    -------
    AudioFile
        To be used in a ``with`` statement, or closed.

    Raises
    ------
    AudioNotFoundError, AudioIsDirectoryError, AudioPermissionError
        If there is no such file, or it may not be read.
    AudioUnsupportedError
        If it is not a regular file, not audio, or in a format that nothing here reads.
    AudioCorruptError
        If it began as audio but cannot be decoded.
    AudioEmptyError
        If it has no bytes or no samples.

    Examples
    --------
    >>> with open_audio("mix.mp3") as audio:
    ...     windows = [audio.read(offset=t, duration=30.0) for t in (0.0, 600.0)]
    """
    name = os.fsdecode(path)
    fd, size = open_regular(name)
    try:
        audio = AudioFile(name, fd, size)
    except BaseException:
        os.close(fd)
        raise
    low, high = _RATES
    if not low <= audio.sr <= high:
        audio.close()
        raise AudioUnsupportedError(
            f"{printable(name)}: its sampling rate is {audio.sr} Hz; rates from {low} to {high} Hz "
            "are read. Export the file again at 44100 Hz."
        )
    if audio.exact and audio.n_samples == 0:
        audio.close()
        raise _empty(name)
    return audio


def read_audio(
    path: str | os.PathLike[str],
    *,
    sr: int | None = None,
    offset: float = 0.0,
    duration: float | None = None,
    mono: bool = True,
) -> tuple[Samples, int]:
    """Decode an audio file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    sr : int > 0 or None
        Resample to this rate in Hz (soxr, HQ); None keeps the file's own.
    offset : float >= 0
        Where to begin, in seconds.
    duration : float >= 0 or None
        How much to read, in seconds; None is everything that follows.
    mono : bool
        Average the channels.

    Returns
    -------
    y : np.ndarray [shape=(n,) or, with ``mono=False``, (n, channels), float32]
        Samples, full scale 1.0: those of ``librosa.load`` (transposed, with ``mono=False``).
    sr : int
        Their rate in Hz.

    Raises
    ------
    AudioError
        One of its children for whatever is wrong with the file; see :func:`open_audio`
        and :meth:`AudioFile.read`.

    Examples
    --------
    >>> y, sr = read_audio("song.mp3", sr=22050, duration=30.0)
    """
    with open_audio(path) as audio:
        y = audio.read(offset=offset, duration=duration, sr=sr, mono=mono)
        return y, sr or audio.sr


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Rate, channels, length and format of an audio file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    AudioInfo

    Raises
    ------
    AudioError
        As :func:`open_audio` does.
    """
    with open_audio(path) as audio:
        return AudioInfo(
            path=audio.path,
            sr=audio.sr,
            channels=audio.channels,
            n_samples=audio.n_samples,
            duration=audio.duration,
            exact=audio.exact,
            format=audio.format,
            decoder=audio.decoder,
        )


def _open_source(path: str, fd: int, size: int) -> Source:
    """The first decoder that takes the file."""
    from genrescope.audio.sndfile import SndfileSource

    try:
        head = read_at(fd, 16, 0)
    except OSError as error:
        raise not_opened(path, error) from error
    # By suffix too: garbage before the first frame hides what the file is.
    suffix = os.path.splitext(path)[1].lower()
    mpeg = _looks_mpeg(head) or suffix in (".mp3", ".mp2", ".mpga")
    try:
        return SndfileSource(fd, path, size=size, mpeg=mpeg)
    except SourceError as error:
        if head.startswith(b"ID3") and after_tags(fd) >= size:
            raise _empty(path) from error
        return _open_ffmpeg(path, fd, error)


def _open_ffmpeg(path: str, fd: int, refusal: SourceError) -> Source:
    from genrescope.audio.pyav import FfmpegSource

    try:
        return FfmpegSource(fd)
    except SourceError as error:
        reason = f"libsndfile: {refusal}; ffmpeg: {error}"
        head = read_at(fd, 16, 0)
        known = head.startswith(_MAGIC) or head[4:8] == b"ftyp" or _looks_mpeg(head)
        if isinstance(error, SourceForeignError) or not known:
            raise AudioUnsupportedError(
                f"{printable(path)}: not audio, or in a format that neither libsndfile nor FFmpeg "
                f"reads ({reason}). Check that it is an audio file, or convert it to flac."
            ) from error
        if isinstance(refusal, SourceEmptyError) or isinstance(error, SourceEmptyError):
            raise _empty(path) from error
        raise _corrupt(path, reason) from error


def _looks_mpeg(head: bytes) -> bool:
    sync = len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
    return sync or head.startswith(b"ID3")


def _corrupt(path: str, reason: str) -> AudioCorruptError:
    return AudioCorruptError(
        f"{printable(path)}: it begins like audio but cannot be decoded ({reason}). It may be "
        "damaged or incomplete: copy or download it again."
    )


def _empty(path: str) -> AudioEmptyError:
    return AudioEmptyError(
        f"{printable(path)}: the file holds no samples; only files with sound can be read. "
        "Check that the recording or download was completed."
    )


def _mix(block: Samples) -> Samples:
    """Mean of the channels of [n, channels], as np.mean has it, some twenty times faster."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    total: Samples = block[:, 0] + block[:, 1]
    for channel in range(2, channels):
        total += block[:, channel]
    total *= np.float32(1 / channels)
    return total


def _resample(y: Samples, old: int, new: int) -> Samples:
    """Samples at another rate, as many as the length of `y` makes, rounded up."""
    import soxr

    n = math.ceil(len(y) * (new / old))
    out: Samples = soxr.resample(y, old, new, quality="HQ")
    if len(out) >= n:
        return out[:n]
    return np.concatenate([out, np.zeros((n - len(out), *out.shape[1:]), np.float32)])
