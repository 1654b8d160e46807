"""What happens to music on its way to a listener: other codecs, rates, levels, keys, excerpts.

Each perturbation takes sound and gives sound; none of them knows what is done with it. Codecs
really encode and decode, with the encoders of FFmpeg's libraries (LAME, libopus) and the decoders
that read any other file here. Only the core packages are needed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import AudioTooShortError, DataError

__all__ = [
    "PERTURBATIONS",
    "Perturbation",
    "Sound",
    "choose",
    "faded",
    "level",
    "low_passed",
    "noisy",
    "part_of",
    "reencoded",
    "resampled",
    "shifted",
    "stretched",
]

FloatArray = npt.NDArray[np.float32]

# The rates that the encoders take, in Hz.
_LAME_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATE = 48_000
_PIECE = 4_096  # samples given to an encoder or a filter at a time
_FULL_SCALE = 32_767  # of 16 bits
_FADE_SECONDS = 5.0
_SHORT_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples and their rate.

    Attributes
    ----------
    samples : np.ndarray [shape=(n, channels), float32]
        Full scale 1.0.
    sr : int
        Sampling rate in Hz.
    """

    samples: FloatArray
    sr: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise DataError(
                f"samples are {self.samples.dtype} {list(self.samples.shape)}, expected float32 "
                "[n, channels]; read_audio(..., mono=False) gives them so"
            )
        if not len(self.samples):
            raise AudioTooShortError("0 samples; there is nothing to change in no sound")

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.sr

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[1])


@dataclass(frozen=True)
class Perturbation:
    """One thing that can happen to a sound.

    Attributes
    ----------
    name : str
        For the command line.
    label : str
        For people.
    kind : str
        What it belongs to: "codec", "rate", "level", "channels", "place", "tempo and key",
        "noise".
    change : callable (Sound, numpy.random.Generator) -> Sound
        What it does.
    elsewhere : bool
        True where it is no change of the sound, but another place in the same song: the caller,
        who has the song, provides it.
    """

    name: str
    label: str
    kind: str
    change: Callable[[Sound, np.random.Generator], Sound]
    elsewhere: bool = False

    def __call__(self, sound: Sound, *, seed: int = 0) -> Sound:
        """Change a sound; whatever is random in it follows from the seed."""
        return self.change(sound, np.random.default_rng(seed))


# --- codecs and rates ------------------------------------------------------


def reencoded(sound: Sound, *, codec: str, bit_rate: int) -> Sound:
    """Encoded with loss, and decoded again as any file is.

    Parameters
    ----------
    sound : Sound
        Its rate is kept where the codec has it; more than two channels become one.
    codec : {"mp3", "opus"}
        MP3 by LAME at a constant bit rate, with the low-pass that LAME chooses for it; Opus
        at 48 kHz.
    bit_rate : int
        In bit/s.

    Returns
    -------
    Sound
        May be some milliseconds longer: encoders pad.

    Raises
    ------
    DataError
        If there is no such codec.
    """
    from genrescope.audio.decode import read_audio

    if codec not in ("mp3", "opus"):
        raise DataError(f"codec is {codec!r}, expected mp3 or opus")
    few = sound if sound.channels <= 2 else mixed(sound)
    if codec == "opus":
        data = _encode(resampled(few, sr=_OPUS_RATE), "libopus", "ogg", bit_rate)
    else:
        rate = few.sr if few.sr in _LAME_RATES else 44_100
        data = _encode(resampled(few, sr=rate), "libmp3lame", "mp3", bit_rate)
    with tempfile.TemporaryDirectory(prefix="genrescope-") as folder:
        path = Path(folder) / f"sound.{codec}"
        path.write_bytes(data)
        y, sr = read_audio(path, mono=False)
    return Sound(np.asarray(y, dtype=np.float32), sr)


def _encode(sound: Sound, codec: str, container: str, bit_rate: int) -> bytes:
    import av

    layout = _layout(sound)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=sound.sr)
        stream.layout = layout
        stream.bit_rate = bit_rate
        to_codec = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=sound.sr
        )
        for frame in _frames(sound):
            for converted in to_codec.resample(frame):
                out.mux(stream.encode(converted))
        for converted in to_codec.resample(None):
            out.mux(stream.encode(converted))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _layout(sound: Sound) -> str:
    return "mono" if sound.channels == 1 else "stereo"


def _frames(sound: Sound) -> Any:
    """Frames of FFmpeg, with what is too loud for full scale clipped as a file would."""
    import av

    for start in range(0, len(sound.samples), _PIECE):
        piece = np.clip(sound.samples[start : start + _PIECE], -1.0, 1.0)
        packed = np.ascontiguousarray(piece).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=_layout(sound))
        frame.sample_rate, frame.pts = sound.sr, start
        yield frame


def resampled(sound: Sound, *, sr: int) -> Sound:
    """At another sampling rate (soxr, HQ)."""
    if sr == sound.sr:
        return sound
    import soxr

    return Sound(np.asarray(soxr.resample(sound.samples, sound.sr, sr), dtype=np.float32), sr)


def low_passed(sound: Sound, *, hz: float) -> Sound:
    """Without anything above a frequency, and with everything below it untouched.

    What a codec's cut-off does, and nothing else that a codec does.
    """
    n = len(sound.samples)
    size = 1 << (n - 1).bit_length()  # some lengths make a Fourier transform slow
    spectrum = np.fft.rfft(sound.samples, size, axis=0)
    spectrum[np.fft.rfftfreq(size, 1 / sound.sr) > hz] = 0
    samples = np.fft.irfft(spectrum, size, axis=0)[:n]
    return Sound(samples.astype(np.float32), sound.sr)


# --- level, channels, noise ------------------------------------------------


def level(sound: Sound, *, db: float) -> Sound:
    """Louder or softer, as a 16-bit file keeps it: rounded, and clipped at full scale."""
    steps = np.round(sound.samples * np.float32(10 ** (db / 20) * _FULL_SCALE))
    return Sound(
        (np.clip(steps, -_FULL_SCALE - 1, _FULL_SCALE) / _FULL_SCALE).astype(np.float32), sound.sr
    )


def mixed(sound: Sound) -> Sound:
    """All channels mixed to one."""
    return Sound(sound.samples.mean(axis=1, keepdims=True, dtype=np.float32), sound.sr)


def one_channel(sound: Sound) -> Sound:
    """The first channel alone (left)."""
    return Sound(np.ascontiguousarray(sound.samples[:, :1]), sound.sr)


def noisy(sound: Sound, rng: np.random.Generator, *, snr_db: float) -> Sound:
    """With white noise so many dB below the mean power of the sound; the same in all channels."""
    power = float(np.mean(np.square(sound.samples, dtype=np.float64)))
    noise = rng.normal(scale=np.sqrt(power * 10 ** (-snr_db / 10)), size=(len(sound.samples), 1))
    return Sound((sound.samples + noise).astype(np.float32), sound.sr)


def faded(sound: Sound, *, seconds: float = _FADE_SECONDS) -> Sound:
    """Faded in and out, linearly; a sound of less than three such fades by a third each."""
    n = len(sound.samples)
    size = max(1, min(round(seconds * sound.sr), n // 3))
    ramp = np.linspace(0.0, 1.0, size, dtype=np.float32)[:, None]
    samples = sound.samples.copy()
    samples[:size] *= ramp
    samples[n - size :] *= ramp[::-1]
    return Sound(samples, sound.sr)


# --- place, tempo, key -----------------------------------------------------


def part_of(sound: Sound, *, seconds: float) -> Sound:
    """The middle of it; all of it where it is no longer than that."""
    n = min(len(sound.samples), round(seconds * sound.sr))
    start = (len(sound.samples) - n) // 2
    return Sound(np.ascontiguousarray(sound.samples[start : start + n]), sound.sr)


def stretched(sound: Sound, *, speed: float) -> Sound:
    """Faster or slower at the same pitch (FFmpeg's atempo: overlapped waveforms).

    Parameters
    ----------
    sound : Sound
        With one or two channels; more become one.
    speed : float
        1.05 is 5 % faster, and as much shorter; 0.5 to 2.

    Returns
    -------
    Sound
    """
    import av.filter

    if not 0.5 <= speed <= 2:
        raise DataError(f"speed is {speed}, expected 0.5 (half) to 2 (double)")
    few = sound if sound.channels <= 2 else mixed(sound)
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=few.sr, format="flt", layout=_layout(few), time_base=_time_base(few.sr)
    )
    tempo = graph.add("atempo", f"{speed:.9f}")
    sink = graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    parts: list[FloatArray] = []

    def take() -> None:
        while True:
            try:
                frame: Any = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            parts.append(frame.to_ndarray().reshape(-1, few.channels))

    for frame in _frames(few):
        graph.push(frame)
        take()
    graph.push(None)
    take()
    if not parts:
        raise AudioTooShortError(f"{sound.seconds:.3f} s of sound is too little to stretch")
    return Sound(np.concatenate(parts).astype(np.float32), few.sr)


def _time_base(sr: int) -> Any:
    from fractions import Fraction

    return Fraction(1, sr)


def shifted(sound: Sound, *, semitones: float) -> Sound:
    """In another key at the same tempo: played faster, then stretched back to its length."""
    import soxr

    ratio = 2.0 ** (semitones / 12)
    faster = soxr.resample(sound.samples, sound.sr * ratio, sound.sr)
    return stretched(Sound(np.asarray(faster, dtype=np.float32), sound.sr), speed=1 / ratio)


# --- all of them -----------------------------------------------------------


def _plain(change: Callable[..., Sound], **settings: Any) -> Callable[..., Sound]:
    return partial(_apply, change=change, settings=settings)


def _apply(
    sound: Sound,
    rng: np.random.Generator,
    *,
    change: Callable[..., Sound],
    settings: dict[str, Any],
) -> Sound:
    return change(sound, **settings)


def _same(sound: Sound) -> Sound:
    return sound


def _all() -> dict[str, Perturbation]:
    def codec(name: str, kbit: int) -> Callable[..., Sound]:
        return _plain(reencoded, codec=name, bit_rate=1_000 * kbit)

    entries = [
        *(
            Perturbation(f"mp3-{k}", f"MP3, {k} kbit/s", "codec", codec("mp3", k))
            for k in (320, 128, 64, 32)
        ),
        Perturbation("opus-24", "Opus, 24 kbit/s", "codec", codec("opus", 24)),
        Perturbation(
            "lowpass-16k", "nothing above 16 kHz", "codec", _plain(low_passed, hz=16_000.0)
        ),
        *(
            Perturbation(f"rate-{name}", f"{text} kHz", "rate", _plain(resampled, sr=sr))
            for name, text, sr in (
                ("22k", "sampled at 22.05", 22_050),
                ("16k", "sampled at 16", 16_000),
                ("8k", "sampled at 8", 8_000),
            )
        ),
        Perturbation("minus-20db", "20 dB softer, 16 bit", "level", _plain(level, db=-20.0)),
        Perturbation("plus-6db", "6 dB louder, clipped", "level", _plain(level, db=6.0)),
        Perturbation("mono", "mixed to mono", "channels", _plain(mixed)),
        Perturbation("left", "left channel alone", "channels", _plain(one_channel)),
        Perturbation(
            "ten-seconds",
            "10 s from its middle",
            "place",
            _plain(part_of, seconds=_SHORT_SECONDS),
        ),
        Perturbation(
            "elsewhere", "another 30 s of the song", "place", _plain(_same), elsewhere=True
        ),
        Perturbation("key-up", "1 semitone higher", "tempo and key", _plain(shifted, semitones=1)),
        Perturbation(
            "key-down", "1 semitone lower", "tempo and key", _plain(shifted, semitones=-1)
        ),
        Perturbation("faster", "5 % faster", "tempo and key", _plain(stretched, speed=1.05)),
        Perturbation("slower", "5 % slower", "tempo and key", _plain(stretched, speed=0.95)),
        Perturbation("noise", "white noise, 30 dB below", "noise", partial(noisy, snr_db=30.0)),
        Perturbation("fade", "faded in and out over 5 s", "level", _plain(faded)),
    ]
    return {entry.name: entry for entry in entries}


#: Every perturbation by its name.
PERTURBATIONS: dict[str, Perturbation] = _all()


def choose(names: Sequence[str] = ()) -> tuple[Perturbation, ...]:
    """Perturbations by name; all of them where no name is given.

    Raises
    ------
    DataError
        If a name is none of them.

    Examples
    --------
    >>> [each.label for each in choose(["mp3-128", "mono"])]
    ['MP3, 128 kbit/s', 'mixed to mono']
    """
    unknown = [name for name in names if name not in PERTURBATIONS]
    if unknown:
        raise DataError(f"{unknown[0]!r} is no perturbation; there are {', '.join(PERTURBATIONS)}")
    return tuple(PERTURBATIONS[name] for name in names or PERTURBATIONS)
