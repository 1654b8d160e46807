"""What the page *Track* shows of a sound; everything here runs in a process that may be lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import AudioTooShortError, DataError

if TYPE_CHECKING:
    from genrescope.audio.decode import AudioFile
    from genrescope.learn.prediction import Moment
    from genrescope.learn.recogniser import Recogniser

__all__ = ["BANDS", "COLUMNS", "Look", "explained", "look", "playable", "slices", "transcode"]

COLUMNS = 1200  # of a picture: more than a screen shows, few enough to send
BANDS = 115  # mel bands up to 15 kHz, as the recogniser has them
TOP_HZ = 15_000.0
_RANGE_DB = 72.0
_SR = 44_100  # Hz
_FFT = 2048
_FRAMES = 4  # spectra a column, at most
_BLOCK = 30.0  # s read at once
_MARGIN = 0.1  # s more at both ends, so that no spectrum meets the edge of a block
_HEARD_WHOLE = 60.0  # s; a track that is shorter is heard in slices for its timeline
_SLICE, _STEP = 10.0, 5.0  # s

#: Containers and codecs (as libsndfile names them) that browsers play, and their media types.
_PLAYED = {
    "MP3/MPEG_LAYER_III": "audio/mpeg",
    "OGG/VORBIS": "audio/ogg",
    "OGG/OPUS": "audio/ogg",
    "FLAC/PCM_16": "audio/flac",
    "FLAC/PCM_24": "audio/flac",
    "WAV/PCM_16": "audio/wav",
    "WAV/PCM_24": "audio/wav",
    "WAV/PCM_U8": "audio/wav",
    "WAV/FLOAT": "audio/wav",
}


@dataclass(frozen=True, eq=False)
class Look:
    """A sound, or a piece of it, as a picture.

    Attributes
    ----------
    duration : float
        Of the whole sound, in seconds.
    start, stop : float
        Of the piece, in seconds from the start of the sound.
    peaks : np.ndarray [shape=(2, columns), int8]
        Lowest and highest sample of each column; 127 is full scale.
    mel : np.ndarray [shape=(115, columns), uint8]
        Mel bands up to 15 kHz, the lowest first: 255 is the loudest, 0 is 72 dB below or less.
    format : str
        Container and codec of the file.
    sr, channels : int
        Of the file.
    """

    duration: float
    start: float
    stop: float
    peaks: npt.NDArray[np.int8]
    mel: npt.NDArray[np.uint8]
    format: str
    sr: int
    channels: int


def playable(form: str) -> str | None:
    """The media type of a format that every browser plays; None for any other.

    Examples
    --------
    >>> playable("MP3/MPEG_LAYER_III"), playable("AIFF/PCM_16")
    ('audio/mpeg', None)
    """
    return _PLAYED.get(form)


def look(path: Path, *, start: float = 0.0, stop: float | None = None) -> Look:
    """Make a picture of a sound.

    Parameters
    ----------
    path : Path
        The file.
    start, stop : float
        The piece, in seconds; all of it by default.

    Returns
    -------
    Look

    Raises
    ------
    AudioError
        Whatever is wrong with the file.
    DataError
        If the piece is not in the sound.
    """
    from genrescope.audio.decode import open_audio

    with open_audio(path) as audio:
        if not audio.exact:
            audio.measure()
        duration = audio.duration
        end = duration if stop is None else min(stop, duration)
        if not 0 <= start < end:
            raise DataError(f"there is nothing from {start:g} to {end:g} s in {duration:.1f} s")
        if end - start < 2 / audio.sr:
            raise AudioTooShortError(f"{path}: too short to be drawn")
        peaks, mel = _columns(audio, start, end)
        return Look(
            duration, start, end, peaks, mel, audio.format, int(audio.sr), int(audio.channels)
        )


def _columns(
    audio: AudioFile, start: float, stop: float
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint8]]:
    from genrescope.audio.mel import mel_filterbank, power_frames, power_to_db

    columns = max(1, min(COLUMNS, int((stop - start) * _SR / 64)))
    width = (stop - start) / columns  # s
    each = max(1, min(_FRAMES, round(width * _SR / (_FFT / 4))))
    bank = mel_filterbank(_SR, n_fft=_FFT, n_mels=128)[:BANDS]
    peaks = np.zeros((2, columns), np.float32)
    power = np.zeros((BANDS, columns), np.float32)
    a_block = max(1, int(_BLOCK / width))
    for first in range(0, columns, a_block):
        last = min(columns, first + a_block)
        begin = start + first * width
        lead = min(begin, _MARGIN)
        y = audio.read(
            offset=begin - lead, duration=(last - first) * width + lead + _MARGIN, sr=_SR
        )
        if not len(y):
            break
        edges = np.round((lead + np.arange(last - first + 1) * width) * _SR).astype(np.int64)
        edges = np.minimum(edges, len(y) - 1)
        for n, (low, high) in enumerate(pairwise(edges)):
            part = y[low : max(high, low + 1)]
            peaks[:, first + n] = part.min(), part.max()
        places = (np.arange((last - first) * each) + 0.5) * width / each + lead
        centres = np.minimum(np.round(places * _SR).astype(np.int64), len(y) - 1)
        bands = bank @ power_frames(np.ascontiguousarray(y, np.float32), centres, n_fft=_FFT).T
        power[:, first:last] = bands.reshape(BANDS, last - first, each).mean(axis=2)
    db = power_to_db(power)
    level = np.clip((db - db.max() + _RANGE_DB) / _RANGE_DB, 0.0, 1.0)
    return (
        np.clip(np.round(peaks * 127), -127, 127).astype(np.int8),
        np.round(level * 255).astype(np.uint8),
    )


def slices(recogniser: Recogniser, path: Path) -> tuple[Moment, ...]:
    """The genre over time of a sound that is short: in overlapping slices of 10 s.

    A recogniser hears 30 s at a time. A longer track has several such windows; for a clip of 30 s
    each slice is heard by itself instead.

    Parameters
    ----------
    recogniser : Recogniser
        Who is asked.
    path : Path
        A sound of a minute or less.

    Returns
    -------
    tuple of Moment
        By start; empty for sound that is too short or too long for this.
    """
    from genrescope.audio.decode import read_audio
    from genrescope.errors import AudioError
    from genrescope.learn.prediction import Moment

    y, sr = read_audio(path, duration=_HEARD_WHOLE + 1)
    seconds = len(y) / sr
    if seconds > _HEARD_WHOLE or seconds < _SLICE + _STEP - 0.1:
        return ()
    found = []
    for n in range(1 + math.floor((seconds - _SLICE + 0.1) / _STEP)):
        part = y[int(n * _STEP * sr) : int((n * _STEP + _SLICE) * sr)]
        try:
            heard = recogniser.predict(part, sr=sr)
        except AudioError:  # a slice of silence
            continue
        found.append(Moment(n * _STEP, n * _STEP + len(part) / sr, heard.probabilities))
    return tuple(found)


def transcode(path: Path, *, out: Path) -> str:
    """Write a sound again as one that every browser plays.

    Parameters
    ----------
    path : Path
        The file.
    out : Path
        Written block by block: MP3 where libsndfile can, else 16-bit wav.

    Returns
    -------
    str
        The media type.
    """
    import soundfile

    from genrescope.audio.decode import open_audio

    mp3 = soundfile.check_format("MP3", "MPEG_LAYER_III")
    form, subtype = ("MP3", "MPEG_LAYER_III") if mp3 else ("WAV", "PCM_16")
    with open_audio(path) as audio:
        mono = audio.channels != 2
        with soundfile.SoundFile(
            out, "w", samplerate=_SR, channels=1 if mono else 2, format=form, subtype=subtype
        ) as file:
            place = 0.0
            while len(y := audio.read(offset=place, duration=_BLOCK, sr=_SR, mono=mono)):
                file.write(np.clip(y, -1.0, 1.0))
                place += _BLOCK
    return "audio/mpeg" if mp3 else "audio/wav"


def explained(
    recogniser: Recogniser, path: Path, *, genre: str | None, at: float | None
) -> tuple[dict[str, Any], bytes, str]:
    """What spoke for a genre, in numbers and words, and the sound of it.

    Parameters
    ----------
    recogniser : Recogniser
        Who is asked.
    path : Path
        The file.
    genre : str or None
        Which genre; the most probable one where it is None.
    at : float or None
        A moment of the window that is explained, in seconds.

    Returns
    -------
    told : dict of str to Any
        As :meth:`genrescope.explain.why.reasons.Why.to_dict`, and sentences.
    sound : bytes
        The window with only what spoke for the genre.
    media_type : str
        Of that sound.
    """
    from genrescope.explain.signal.excerpt import encode_sound
    from genrescope.explain.why.reasons import explain_track, sounds_of
    from genrescope.explain.why.words import in_short, is_it_true

    why = explain_track(recogniser, path, genre=genre, at=at)
    sound = encode_sound(sounds_of(why))
    told = why.to_dict()
    told |= {"in_short": list(in_short(why)), "is_it_true": list(is_it_true(why))}
    del told["network"]
    return told, sound.data, sound.media_type
