"""A piece of a track to look at: which one, its samples for the eye, and its sound for a page."""

from __future__ import annotations

import base64
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.decode import AudioFile, open_audio
from genrescope.audio.files import printable
from genrescope.errors import AudioEmptyError, AudioSilentError, AudioTooShortError, DataError

__all__ = [
    "DEFAULT_SECONDS",
    "MAX_SECONDS",
    "MIN_SECONDS",
    "SR",
    "Excerpt",
    "Sound",
    "encode_sound",
    "read_excerpt",
]

FloatArray = npt.NDArray[np.float32]

SR = 22_050  # Hz, of the samples that are analysed
PLAYED_HZ = 44_100  # of the sound that a page plays
DEFAULT_SECONDS = 30.0
MIN_SECONDS = 0.5
MAX_SECONDS = 300.0  # a page with more sound than this is slow to open

_SILENCE = 1e-4  # peak amplitude: -80 dB of full scale
_BLOCK_SECONDS = 10.0  # read at once while the loudest part is looked for
_HEARD_WHOLE = 900.0  # s; a longer track is probed here and there
_PROBES = 120
_HARDLY = 0.5  # s; clips of 30 s have a few milliseconds more
_PIECE = 4096  # samples; libsndfile's Vorbis encoder crashes on much larger ones

# The first of these that libsndfile can write; browsers play them all. The MP3 has 112 kbit/s.
_FORMATS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("MP3", "MPEG_LAYER_III", "audio/mpeg", {"compression_level": 0.7, "bitrate_mode": "CONSTANT"}),
    ("OGG", "VORBIS", "audio/ogg", {"compression_level": 0.7}),
    ("FLAC", "PCM_16", "audio/flac", {}),
)


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A piece of a track, in memory.

    Attributes
    ----------
    path : Path
        The file.
    title, artist : str
        From its tags; the title is the file's name where they have none, the artist then empty.
    y : np.ndarray [shape=(n,), float32]
        Mono samples at :data:`SR`.
    played : np.ndarray [shape=(m, 1 or 2), float32]
        The same at 44,100 Hz for the ear.
    start : float
        Where the excerpt begins, in seconds from the start of the track.
    track_seconds : float
        Length of the whole track, as far as is known.
    chosen : {"whole", "loudest", "at"}
        Why this piece.
    sr, channels : int
        Of the file: rate in Hz, number of channels.
    format : str
        Of the file: container and codec.
    """

    path: Path
    title: str
    artist: str
    y: FloatArray
    played: FloatArray
    start: float
    track_seconds: float
    chosen: str
    sr: int
    channels: int
    format: str

    @property
    def seconds(self) -> float:
        """Length of the excerpt."""
        return len(self.y) / SR

    @property
    def name(self) -> str:
        """Title and artist in one."""
        return f"{self.title} ({self.artist})" if self.artist else self.title


@dataclass(frozen=True)
class Sound:
    """An encoded sound: its bytes, and their media type such as ``audio/mpeg``."""

    data: bytes
    media_type: str

    @property
    def uri(self) -> str:
        """The sound as an address that holds it, for a page that needs nothing else."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def read_excerpt(
    path: str | os.PathLike[str], *, seconds: float = DEFAULT_SECONDS, at: float | None = None
) -> Excerpt:
    """Read the piece of a track that is to be looked at.

    A track that is longer than `seconds` is cut: around `at` where that is given, else where it
    is loudest. No more than the excerpt is ever in memory.

    Parameters
    ----------
    path : path-like
        Any file that :func:`genrescope.audio.decode.open_audio` reads.
    seconds : float
        At most so much, 0.5 to 300.
    at : float, optional
        A moment that must be in the excerpt, in seconds from the start of the track.

    Returns
    -------
    Excerpt

    Raises
    ------
    AudioError
        Whatever is wrong with the file; also where the excerpt is shorter than half a second
        or holds nothing louder than -80 dB of full scale.
    DataError
        If `seconds` is out of range, or `at` lies outside the track.
    """
    from genrescope.catalog.tags import read_tags

    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise DataError(
            f"seconds is {seconds:g}; an excerpt has {MIN_SECONDS:g} to {MAX_SECONDS:g} seconds"
        )
    name = printable(os.fsdecode(path))
    with open_audio(path) as audio:
        # Headers exaggerate; the place of an excerpt must not depend on that.
        if not audio.exact:
            audio.measure()
        length = audio.duration
        if at is not None and not 0 <= at < length:
            raise DataError(
                f"{name}: there is no moment {at:g} s; the track has {length:.1f} s, give a "
                "number from 0 to below that"
            )
        start, chosen = _choose(audio, length=length, seconds=seconds, at=at)
        y = audio.read(offset=start, duration=seconds, sr=SR)
        played = audio.read(
            offset=start, duration=seconds, sr=PLAYED_HZ, mono=audio.channels > 2
        ).reshape(-1, 1 if audio.channels > 2 else audio.channels)
        sr, channels, form = audio.sr, audio.channels, audio.format
    if not len(y):
        raise AudioEmptyError(f"{name}: no samples, so there is nothing to look at")
    if len(y) < MIN_SECONDS * SR:
        raise AudioTooShortError(
            f"{name}: {len(y) / SR:.3f} s of sound, at least {MIN_SECONDS} s is needed "
            "to look at it"
        )
    if float(np.abs(y).max()) < _SILENCE:
        where = "" if chosen == "whole" else f" between {start:.1f} and {start + seconds:.1f} s"
        raise AudioSilentError(
            f"{name}: no sample{where} is louder than -80 dB of full scale; there is nothing to "
            "look at in silence" + ("; choose another moment with --at" if where else "")
        )
    tags = read_tags(path)
    return Excerpt(
        path=Path(path),
        title=tags.title or Path(name).name,
        artist=(tags.artist or "") if tags.title else "",
        y=y,
        played=np.clip(played, -1.0, 1.0),
        start=start,
        track_seconds=length,
        chosen=chosen,
        sr=sr,
        channels=channels,
        format=form,
    )


def encode_sound(excerpt: Excerpt) -> Sound:
    """Encode an excerpt, small enough to be put into a page.

    Parameters
    ----------
    excerpt : Excerpt
        Of any length.

    Returns
    -------
    Sound
        MP3 at 112 kbit/s; Vorbis or FLAC where the libsndfile at hand cannot write that.
    """
    import soundfile

    form, subtype, media_type, options = next(
        row for row in _FORMATS if soundfile.check_format(row[0], row[1])
    )
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=PLAYED_HZ,
        channels=excerpt.played.shape[1],
        format=form,
        subtype=subtype,
        **options,
    ) as file:
        for first in range(0, len(excerpt.played), _PIECE):
            file.write(excerpt.played[first : first + _PIECE])
    return Sound(buffer.getvalue(), media_type)


def _choose(
    audio: AudioFile, *, length: float, seconds: float, at: float | None
) -> tuple[float, str]:
    """Where an excerpt begins, and why there."""
    last = length - seconds
    if last <= _HARDLY:
        return 0.0, "whole"
    if at is not None:
        return min(max(at - seconds / 2, 0.0), last), "at"
    if length <= _HEARD_WHOLE:
        powers = _powers(audio, length)
        span = min(math.floor(seconds), len(powers)) or 1
        sums = np.convolve(powers, np.ones(span), mode="valid")
        return min(float(np.argmax(sums)), last), "loudest"
    probes = np.linspace(0.0, length - 1.0, _PROBES)
    levels = [_power(audio.read(offset=float(offset), duration=1.0)) for offset in probes]
    middle = float(probes[int(np.argmax(levels))]) + 0.5
    return min(max(middle - seconds / 2, 0.0), last), "loudest"


def _powers(audio: AudioFile, length: float) -> npt.NDArray[np.float64]:
    """Mean power of every whole second."""
    found: list[float] = []
    for block in range(math.ceil(length / _BLOCK_SECONDS)):
        y = audio.read(offset=block * _BLOCK_SECONDS, duration=_BLOCK_SECONDS)
        whole = len(y) // audio.sr
        found += [_power(y[s * audio.sr : (s + 1) * audio.sr]) for s in range(whole)]
    return np.asarray(found or [0.0])


def _power(y: FloatArray) -> float:
    return float(np.dot(y, y)) / len(y) if len(y) else 0.0
