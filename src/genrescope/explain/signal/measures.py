"""What can be measured in a piece of a track: level, spectrum, mel bands, pitch and rhythm.

Decibels of spectra are relative to a sine of full scale: a sine that swings from -1 to 1 reads
0 dB at its frequency. So two tracks can be drawn to one scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import mel_bands, mel_filterbank, mfcc_matrix, power_frames, power_to_db
from genrescope.audio.spectral import centroid_and_bandwidth
from genrescope.audio.stft import magnitude_spectrogram
from genrescope.audio.tuning import estimate_tuning
from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.signal.excerpt import SR, Excerpt
from genrescope.explain.signal.pitch import NOTES, Pitch, chroma_of, note_name, notes_of, pitch_of
from genrescope.explain.signal.rhythm import RANGE_DB, Rhythm, rhythm_of

try:
    from scipy.ndimage import median_filter
    from scipy.signal import find_peaks
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("looking at a track", extra="lab", package="scipy") from error

__all__ = [
    "FEW_MELS",
    "HOP",
    "LONG_FFT",
    "N_FFT",
    "N_MELS",
    "N_MFCC",
    "Frame",
    "Level",
    "Peak",
    "Tone",
    "TrackSignal",
    "analyse_excerpt",
]

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

N_FFT = 2048  # samples: 93 ms
HOP = 512  # samples: 23 ms
LONG_FFT = 8192  # samples: 372 ms, to tell neighbouring partials apart
N_MELS = 128
FEW_MELS = 10
N_MFCC = 20

_FLOOR_DB = -120.0
_FULL_SCALE = N_FFT / 4  # magnitude of a full-scale sine: half the sum of a Hann window
_CLIPPED = 0.999
_BASS_HZ = 150.0
_PEAKS = 8
_PEAK_RANGE_DB = 45.0  # below the strongest
_PEAK_OVER_DB = 10.0  # above the valleys beside it
_HARMONIC = 0.06  # a partial may be so far from a multiple, in multiples
_PARTIALS = 10  # by chance, higher multiples fit too often
_LOUD_SHARE = 0.3  # of the frames, the loudest: a moment to look at is one of them
_HEARD_HZ = 20.0  # below, there is only offset and rumble


@dataclass(frozen=True)
class Level:
    """How loud it is.

    Attributes
    ----------
    peak_db, rms_db : float
        Largest sample, and root of the mean power, in dB of full scale.
    range_db : float
        From the level exceeded 95 % of the time to the one exceeded 5 % of it, in dB, in
        steps of 0.4 s.
    loudest : float
        Middle of the loudest 0.4 s, in seconds of the track.
    clipped : float
        Share of samples at full scale.
    """

    peak_db: float
    rms_db: float
    range_db: float
    loudest: float
    clipped: float

    @property
    def crest_db(self) -> float:
        """From the average level to the peak."""
        return self.peak_db - self.rms_db


@dataclass(frozen=True)
class Peak:
    """A partial: a narrow peak of a spectrum, in Hz and dB of a full-scale sine."""

    hz: float
    db: float


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment.

    Attributes
    ----------
    at : float
        Its middle, in seconds of the track.
    index : int
        The frame of the spectrograms that is nearest.
    db : np.ndarray [shape=(1 + N_FFT // 2,), float32]
        Spectrum through a window of 93 ms.
    long_db : np.ndarray [shape=(1 + LONG_FFT // 2,), float32]
        Spectrum through a window of 372 ms.
    peaks : tuple of Peak
        The strongest partials in the long window, by frequency.
    fundamental : float or None
        Hz of the partial that most others are multiples of, if one is.
    """

    at: float
    index: int
    db: FloatArray
    long_db: FloatArray
    peaks: tuple[Peak, ...]
    fundamental: float | None


@dataclass(frozen=True)
class Tone:
    """Where the energy lies.

    Attributes
    ----------
    half_hz, ninety_hz : float
        Half, and nine tenths, of the energy lie below.
    bass : float
        Share of the energy below 150 Hz.
    centroid_hz : float
        Median over time of the mean frequency (by magnitude): how bright it sounds.
    falls_hz : float
        Highest frequency whose level over time is less than 60 dB below the highest one.
    held : float
        Share of the mel energy in lines along time (held notes), not across it (drum hits).
    """

    half_hz: float
    ninety_hz: float
    bass: float
    centroid_hz: float
    falls_hz: float
    held: float


@dataclass(frozen=True, eq=False)
class TrackSignal:
    """All that is drawn of a piece of a track.

    Spectrograms have frequency in rows from low to high and time in columns, column `t` at
    ``t * HOP / SR`` seconds of the excerpt.

    Attributes
    ----------
    excerpt : Excerpt
        The piece.
    level, frame, tone, pitch, rhythm
        What was measured; `pitch` is None where the piece is too short for it.
    stft_db : np.ndarray [shape=(1 + N_FFT // 2, t), float32]
        dB of a full-scale sine.
    mel_power : np.ndarray [shape=(N_MELS, t), float32]
        In units of the power of a full-scale sine, per Hz.
    mel_db : np.ndarray [shape=(N_MELS, t), float32]
        The same in dB, down to 80 dB below its loudest value.
    few_db : np.ndarray [shape=(FEW_MELS, t), float32]
        As `mel_db`, in ten bands.
    few_shares : np.ndarray [shape=(FEW_MELS,), float64]
        Of the energy in the ten bands; they sum to 1.
    mfcc : np.ndarray [shape=(N_MFCC, t), float32]
        Cepstral coefficients of `mel_db`.
    chroma : np.ndarray [shape=(12, t), float32] or None
        Pitch classes from C, the strongest of each frame 1.
    """

    excerpt: Excerpt
    level: Level
    frame: Frame
    tone: Tone
    pitch: Pitch | None
    rhythm: Rhythm
    stft_db: FloatArray
    mel_power: FloatArray
    mel_db: FloatArray
    few_db: FloatArray
    few_shares: DoubleArray
    mfcc: FloatArray
    chroma: FloatArray | None

    @property
    def start(self) -> float:
        """Where the excerpt begins, in seconds of the track."""
        return self.excerpt.start

    @property
    def stop(self) -> float:
        """Where it ends, in seconds of the track."""
        return self.excerpt.start + self.excerpt.seconds

    def to_dict(self) -> dict[str, Any]:
        """The measured numbers, fit for JSON."""
        level, tone, rhythm, pitch = self.level, self.tone, self.rhythm, self.pitch
        return {
            "title": self.excerpt.title,
            "artist": self.excerpt.artist,
            "file": self.excerpt.path.name,
            "start": round(self.start, 3),
            "seconds": round(self.excerpt.seconds, 3),
            "track_seconds": round(self.excerpt.track_seconds, 3),
            "chosen": self.excerpt.chosen,
            "level": {
                "peak_db": _number(level.peak_db),
                "rms_db": _number(level.rms_db),
                "crest_db": _number(level.crest_db),
                "range_db": _number(level.range_db),
                "loudest": _number(level.loudest),
                "clipped": level.clipped,
            },
            "frame": {
                "at": _number(self.frame.at),
                "peaks": [
                    {"hz": _number(p.hz), "note": note_name(p.hz), "db": _number(p.db)}
                    for p in self.frame.peaks
                ],
                "fundamental_hz": _number(self.frame.fundamental),
            },
            "tone": {
                "half_hz": _number(tone.half_hz),
                "ninety_hz": _number(tone.ninety_hz),
                "bass": _number(tone.bass),
                "centroid_hz": _number(tone.centroid_hz),
                "falls_hz": _number(tone.falls_hz),
                "held": _number(tone.held),
            },
            "pitch": None
            if pitch is None
            else {
                "shares": {n: _number(s) for n, s in zip(NOTES, pitch.shares, strict=True)},
                "tuning_cents": _number(pitch.tuning_cents),
                "key": pitch.key,
                "fit": _number(pitch.fit),
                "second": pitch.second,
                "margin": _number(pitch.margin),
            },
            "rhythm": {
                "tempo_bpm": _number(rhythm.tempo) if rhythm.heard else None,
                "pulse": rhythm.pulse,
                "agreement": _number(rhythm.agreement),
                "presence": _number(rhythm.presence),
                "onsets": len(rhythm.onsets),
                "beats": [round(float(b) + self.start, 3) for b in rhythm.beats],
            },
            "mfcc_mean": [_number(value) for value in self.mfcc.mean(axis=1)],
        }


def analyse_excerpt(excerpt: Excerpt, *, at: float | None = None) -> TrackSignal:
    """Measure a piece of a track.

    Parameters
    ----------
    excerpt : Excerpt
        As :func:`~genrescope.explain.signal.excerpt.read_excerpt` gives it.
    at : float, optional
        The moment whose spectrum is wanted, in seconds of the track; default a loud one
        with clear tones.

    Returns
    -------
    TrackSignal

    Raises
    ------
    DataError
        If `at` lies outside the excerpt.
    MissingExtraError
        If librosa is not installed.
    """
    y = excerpt.y
    if at is not None and not 0 <= at - excerpt.start <= excerpt.seconds:
        raise DataError(
            f"at is {at:g} s; the excerpt goes from {excerpt.start:.1f} to "
            f"{excerpt.start + excerpt.seconds:.1f} s"
        )
    magnitudes = magnitude_spectrogram(y, n_fft=N_FFT, hop_length=HOP)
    tuning = estimate_tuning(magnitudes, sr=SR)
    magnitudes /= np.float32(_FULL_SCALE)
    power = np.square(magnitudes).T
    mel_power = mel_bands(power, sr=SR, n_fft=N_FFT, n_mels=N_MELS).T
    few_power = mel_bands(power, sr=SR, n_fft=N_FFT, n_mels=FEW_MELS).T
    # Unit area divides by the width; the share of the energy has it back.
    widths = 1.0 / mel_filterbank(SR, n_fft=N_FFT, n_mels=FEW_MELS).max(axis=1)
    few_energy = few_power.sum(axis=1, dtype=np.float64) * widths
    mel_db = _cut(power_to_db(mel_power, floor=1e-20))
    stft_db = np.maximum(power_to_db(power.T, floor=1e-12), np.float32(_FLOOR_DB))
    index = _telling(power)
    if at is not None:
        index = min(round((at - excerpt.start) * SR / HOP), stft_db.shape[1] - 1)
    notes = notes_of(y, sr=SR, tuning=tuning, hop_length=HOP)
    return TrackSignal(
        excerpt=excerpt,
        level=_level(excerpt),
        frame=_frame(excerpt, index, at),
        tone=_tone(magnitudes, mel_power),
        pitch=None if notes is None else pitch_of(notes, tuning=tuning),
        rhythm=rhythm_of(mel_power, sr=SR, n_fft=N_FFT, hop_length=HOP),
        stft_db=stft_db,
        mel_power=mel_power,
        mel_db=mel_db,
        few_db=_cut(power_to_db(few_power, floor=1e-20)),
        few_shares=few_energy / (few_energy.sum() or 1.0),
        mfcc=mfcc_matrix(N_MFCC, N_MELS) @ mel_db,
        chroma=None if notes is None else chroma_of(notes),
    )


def _cut(db: FloatArray) -> FloatArray:
    cut: FloatArray = np.maximum(db, db.max() - np.float32(RANGE_DB))
    return cut


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _decibels(amplitude: float) -> float:
    return 20.0 * math.log10(max(amplitude, 1e-10))


def _level(excerpt: Excerpt) -> Level:
    """Of the sound as it is played: halving the rate lowers peaks."""
    y = excerpt.played
    size = round(0.4 * SR)
    whole = excerpt.y[: max(1, len(excerpt.y) // size) * size]
    blocks = np.array_split(whole.astype(np.float64), max(1, len(whole) // size))
    rms = np.array([math.sqrt(float(np.mean(b**2))) for b in blocks])
    db = 20.0 * np.log10(np.maximum(rms, 1e-6))
    loudest = int(rms.argmax())
    return Level(
        peak_db=_decibels(float(np.abs(y).max())),
        rms_db=_decibels(math.sqrt(float(np.mean(np.square(y, dtype=np.float64))))),
        range_db=float(np.percentile(db, 95) - np.percentile(db, 5)),
        loudest=excerpt.start + (loudest + 0.5) * len(whole) / len(blocks) / SR,
        clipped=float((np.abs(y) >= _CLIPPED).mean()),
    )


def _tone(magnitudes: FloatArray, mel_power: FloatArray) -> Tone:
    energy = np.square(magnitudes.astype(np.float64)).sum(axis=1)
    hz = np.arange(len(energy)) * SR / N_FFT
    energy[hz < _HEARD_HZ] = 0.0
    rising = np.cumsum(energy) / (energy.sum() or 1.0)
    loud = np.flatnonzero(energy >= energy.max() * 1e-6)
    heard = np.where(hz < _HEARD_HZ, np.float32(0), magnitudes.T)
    centroid, _ = centroid_and_bandwidth(heard, sr=SR, n_fft=N_FFT)
    sounding = centroid[centroid > 0]
    return Tone(
        half_hz=float(np.interp(0.5, rising, hz)),
        ninety_hz=float(np.interp(0.9, rising, hz)),
        bass=float(np.interp(_BASS_HZ, hz, rising)),
        centroid_hz=float(np.median(sounding)) if len(sounding) else 0.0,
        falls_hz=float(hz[loud[-1]]) if len(loud) else 0.0,
        held=_held(mel_power),
    )


def _held(mel_power: FloatArray) -> float:
    """Median filters along and across time (FitzGerald 2010) share the energy between them."""
    size = np.sqrt(mel_power)
    along = median_filter(size, size=(1, 17), mode="nearest").astype(np.float64) ** 2
    across = median_filter(size, size=(17, 1), mode="nearest").astype(np.float64) ** 2
    mask = along / np.maximum(along + across, 1e-30)
    energy = mel_power.astype(np.float64)
    return float((mask * energy).sum() / (energy.sum() or 1.0))


def _frame(excerpt: Excerpt, index: int, at: float | None) -> Frame:
    moment = index * HOP / SR if at is None else at - excerpt.start
    centre = np.array([round(moment * SR)], dtype=np.int64)

    def spectrum(n_fft: int) -> FloatArray:
        power = power_frames(excerpt.y, centre, n_fft=n_fft)[0] / np.float32((n_fft / 4) ** 2)
        return np.maximum(power_to_db(power, floor=1e-12), np.float32(_FLOOR_DB))

    long_db = spectrum(LONG_FFT)
    peaks = _peaks(long_db)
    return Frame(
        at=excerpt.start + moment,
        index=index,
        db=spectrum(N_FFT),
        long_db=long_db,
        peaks=peaks,
        fundamental=_fundamental(peaks),
    )


def _peaks(db: FloatArray) -> tuple[Peak, ...]:
    """The strongest narrow peaks, placed between the bins by a parabola."""
    level = db.astype(np.float64)
    level[: math.ceil(_HEARD_HZ * LONG_FFT / SR)] = _FLOOR_DB
    at, _ = find_peaks(level, height=level.max() - _PEAK_RANGE_DB, prominence=_PEAK_OVER_DB)
    kept = []
    for k in at[np.argsort(-level[at], kind="stable")][:_PEAKS].tolist():
        before, top, after = level[k - 1 : k + 2]
        shift = 0.5 * (before - after) / (before - 2 * top + after)
        db_there = top - 0.25 * (before - after) * shift
        kept.append(Peak(float((k + shift) * SR / LONG_FFT), float(db_there)))
    return tuple(sorted(kept, key=lambda peak: peak.hz))


def _fundamental(peaks: tuple[Peak, ...]) -> float | None:
    """The peak that at least two thirds of the others, and three of them, are multiples of."""
    best: tuple[int, float] | None = None
    for one in peaks[: len(peaks) // 2 + 1]:
        ratios = [p.hz / one.hz for p in peaks if p.hz > one.hz * 1.5]
        fits = sum(r <= _PARTIALS and abs(r - round(r)) <= _HARMONIC for r in ratios)
        if fits >= max(3, 2 / 3 * (len(peaks) - 1)) and (best is None or fits > best[0]):
            best = (fits, one.hz)
    return None if best is None else best[1]


def _telling(power: FloatArray) -> int:
    """A loud frame [t, bins] with clear tones: of the loudest, the one that is least like noise."""
    energy = power.sum(axis=1)
    loud = np.flatnonzero(energy >= np.quantile(energy, 1 - _LOUD_SHARE))
    band = slice(round(100 * N_FFT / SR), round(5000 * N_FFT / SR))
    part = np.maximum(power[loud, band].astype(np.float64), 1e-20)
    flatness = np.log(part).mean(axis=1) - np.log(part.mean(axis=1))
    return int(loud[int(flatness.argmin())])
