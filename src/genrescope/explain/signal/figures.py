"""Pictures of a piece of a track over time, and the spectrum of a moment.

Call these functions inside :func:`~genrescope.explain.ink.style`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import hz_to_mel
from genrescope.errors import MissingExtraError
from genrescope.explain.ink import ACCENT, ALERT, INK, QUIET, WHITE, WIDTH
from genrescope.explain.signal.canvas import BRIGHT, Canvas, Picture, hertz, image
from genrescope.explain.signal.excerpt import SR
from genrescope.explain.signal.measures import HOP, LONG_FFT, N_FFT
from genrescope.explain.signal.pitch import NOTES, note_name
from genrescope.explain.signal.rhythm import RANGE_DB

try:
    from matplotlib import patheffects
    from matplotlib.ticker import FixedLocator
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("drawing", extra="lab", package="matplotlib") from error

if TYPE_CHECKING:
    from genrescope.explain.signal.measures import TrackSignal

__all__ = [
    "Scales",
    "chroma",
    "mel_spectrograms",
    "mfcc",
    "onsets",
    "scales_of",
    "spectrum",
    "stft_linear",
    "stft_log",
    "tempogram",
    "waveform",
]

FloatArray = npt.NDArray[np.float32]

LOW_HZ = 30.0  # where logarithmic axes begin
BPM = (30.0, 300.0)

_ROWS = 320
_ROUND_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
_LIKE = 0.8  # autocorrelation that is as bright as can be


@dataclass(frozen=True)
class Scales:
    """What pictures of several tracks share.

    Attributes
    ----------
    seconds : float
        Length of the time axis.
    amplitude : float
        Of the waveform.
    stft, spectrum, mel, few : tuple of float
        Lowest and highest value drawn, in dB.
    mfcc_level, mfcc_tilt, mfcc : tuple of float
        The same of coefficient 0, of coefficient 1, and of the others.
    onset : float
        Highest onset strength.
    """

    seconds: float
    amplitude: float
    stft: tuple[float, float]
    spectrum: tuple[float, float]
    mel: tuple[float, float]
    few: tuple[float, float]
    mfcc_level: tuple[float, float]
    mfcc_tilt: tuple[float, float]
    mfcc: tuple[float, float]
    onset: float


def scales_of(signals: Sequence[TrackSignal]) -> Scales:
    """Scales on which all of `signals` can be drawn."""
    stft = max(float(s.stft_db.max()) for s in signals)
    mel = max(float(s.mel_db.max()) for s in signals)
    few = max(float(s.few_db.max()) for s in signals)
    line = max(float(max(s.frame.db.max(), s.frame.long_db.max())) for s in signals)
    rest = [np.percentile(s.mfcc[2:], (0.5, 99.5)) for s in signals]
    return Scales(
        seconds=max(s.excerpt.seconds for s in signals),
        amplitude=max(1e-3, max(float(np.abs(s.excerpt.y).max()) for s in signals)) * 1.05,
        stft=(stft - RANGE_DB, stft),
        spectrum=(line - 85.0, line + 30.0),
        mel=(mel - RANGE_DB, mel),
        few=(few - RANGE_DB, few),
        mfcc_level=_ends([s.mfcc[0] for s in signals]),
        mfcc_tilt=_ends([s.mfcc[1] for s in signals]),
        mfcc=(min(float(r[0]) for r in rest), max(float(r[1]) for r in rest) + 1e-6),
        onset=max(1e-3, max(float(s.rhythm.strength.max(initial=0.0)) for s in signals)) * 1.12,
    )


def time_axis(axes: Any, signal: TrackSignal, scales: Scales, *, labelled: bool = True) -> None:
    """Seconds of the track, as many for every track."""
    axes.set_xlim(signal.start, signal.start + scales.seconds)
    if labelled:
        axes.set_xlabel("time (s)", labelpad=2)
    else:
        axes.set_xticklabels([])


def span(signal: TrackSignal, columns: int) -> tuple[float, float]:
    """Left and right edge of a picture with a column each hop: columns are centred."""
    step = HOP / SR
    return signal.start - step / 2, signal.start + (columns - 0.5) * step


def _limits(signal: TrackSignal, scales: Scales) -> dict[str, float]:
    return {"start": signal.start, "stop": signal.start + scales.seconds}


# --- the pictures -----------------------------------------------------------------------------


def waveform(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """Amplitude over time: what the sound reaches, and inside it the root of its mean power."""
    canvas = Canvas(width, [1.35])
    axes = canvas.axes[0]
    wave(axes, signal)
    axes.axvline(signal.frame.at, color=ALERT, lw=1.0)
    axes.annotate(
        "the moment below", (signal.frame.at, 1), (0, 3), xycoords=("data", "axes fraction"),
        textcoords="offset points", color=ALERT, fontsize=7, annotation_clip=False,
        ha="right" if signal.frame.at - signal.start > 0.75 * scales.seconds else "left",
    )  # fmt: skip
    axes.set_ylim(-scales.amplitude, scales.amplitude)
    axes.set_ylabel("amplitude")
    time_axis(axes, signal, scales)
    return canvas.done(key, timed=[axes], track=track, **_limits(signal, scales))


def wave(axes: Any, signal: TrackSignal, *, columns: int = 1000) -> None:
    """The outline of the sound, and its level inside."""
    y = signal.excerpt.y
    edges = np.linspace(0, len(y), min(columns, len(y)) + 1).astype(int)[:-1]
    at = signal.start + edges / SR
    low, high = np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)
    sizes = np.diff([*edges, len(y)])
    rms = np.sqrt(np.add.reduceat(np.square(y, dtype=np.float64), edges) / sizes)
    axes.fill_between(at, low, high, color=ACCENT, alpha=0.45, lw=0, step="post")
    axes.fill_between(at, -rms, rms, color=ACCENT, lw=0, step="post")


def spectrum(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """The spectrum of one moment through a short and a long window, with its partials."""
    frame = signal.frame
    canvas = Canvas(width, [2.3])
    axes = canvas.axes[0]
    for db, n_fft, colour, weight, text in (
        (frame.long_db, LONG_FFT, QUIET, 0.6, f"window of {LONG_FFT / SR * 1000:.0f} ms"),
        (frame.db, N_FFT, ACCENT, 1.5, f"window of {N_FFT / SR * 1000:.0f} ms"),
    ):
        hz = np.arange(1, len(db)) * SR / n_fft
        axes.plot(hz, db[1:], color=colour, lw=weight, label=text)
    taken: list[float] = []
    for peak in sorted(frame.peaks, key=lambda p: -p.db):
        axes.plot(peak.hz, peak.db, "o", color=ALERT, ms=3.5)
        place = np.log2(peak.hz)
        if any(abs(place - other) < 0.27 * 7.0 / width for other in taken):
            continue
        taken.append(float(place))
        clear = max(peak.db, float(frame.db[round(peak.hz * N_FFT / SR)]))
        axes.annotate(
            f"{peak.hz:.0f} Hz {note_name(peak.hz)}", (peak.hz, clear), (0, 5),
            textcoords="offset points", rotation=90, ha="center", va="bottom", fontsize=6.8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(LOW_HZ, SR / 2)
    axes.set_ylim(*scales.spectrum)
    log_ticks(axes.xaxis)
    axes.grid(axis="y")
    axes.set_xlabel("frequency (Hz)", labelpad=2)
    axes.set_ylabel("level (dB)")
    axes.legend(loc="lower left", fontsize=7, handlelength=1.4, borderaxespad=0.2)
    return canvas.done(key)


def log_ticks(axis: Any) -> None:
    """Round frequencies on a logarithmic axis."""
    axis.set_major_locator(FixedLocator(_ROUND_HZ))
    axis.set_major_formatter(lambda v, _: hertz(v))
    axis.set_minor_locator(FixedLocator([]))


def stft_linear(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """Spectrum over time, every Hz as high as the next."""
    db = signal.stft_db
    step = -(-len(db) // _ROWS)
    rows = np.maximum.reduceat(db, np.arange(0, len(db), step), axis=0)
    canvas = Canvas(width, [2.2])
    axes = canvas.axes[0]
    top = len(rows) * step * SR / N_FFT / 1000
    drawn = image(axes, rows, extent=(*span(signal, db.shape[1]), 0, top), limits=scales.stft)
    axes.set_ylim(0, SR / 2000)
    axes.set_ylabel("frequency (kHz)")
    time_axis(axes, signal, scales)
    canvas.bar(drawn, axes, "dB")
    return canvas.done(key, timed=[axes], track=track, **_limits(signal, scales))


def stft_log(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """Spectrum over time, every octave as high as the next."""
    db = signal.stft_db
    hz = np.geomspace(LOW_HZ, SR / 2, _ROWS)
    half = (hz[1] / hz[0]) ** 0.5
    low, high = hz / half * N_FFT / SR, hz * half * N_FFT / SR
    rows = np.empty((_ROWS, db.shape[1]), np.float32)
    for row, (first, last) in enumerate(zip(low, high, strict=True)):
        k, stop = int(np.ceil(first)), int(np.floor(last)) + 1
        if stop > k:
            rows[row] = db[k : min(stop, len(db))].max(axis=0)
        else:  # between two bins
            below = int(first)
            share = np.float32((first + last) / 2 - below)
            rows[row] = (1 - share) * db[below] + share * db[min(below + 1, len(db) - 1)]
    canvas = Canvas(width, [2.4])
    axes = canvas.axes[0]
    ends = np.log2([hz[0] / half, hz[-1] * half])
    drawn = image(axes, rows, extent=(*span(signal, db.shape[1]), *ends), limits=scales.stft)
    axes.set_yticks(np.log2(_ROUND_HZ), [hertz(t) for t in _ROUND_HZ])
    axes.set_ylim(np.log2(LOW_HZ), np.log2(SR / 2))
    axes.set_ylabel("frequency (Hz)")
    time_axis(axes, signal, scales)
    canvas.bar(drawn, axes, "dB")
    return canvas.done(key, timed=[axes], track=track, **_limits(signal, scales))


def mel_axis(axes: Any, n_mels: int) -> None:
    """Hz beside rows of mel bands."""
    ticks = (250, 500, 1000, 2000, 4000, 8000)[n_mels < 20 :]
    per_mel = (n_mels + 1) / float(hz_to_mel(SR / 2))
    axes.set_yticks([float(hz_to_mel(t)) * per_mel - 1 for t in ticks], [hertz(t) for t in ticks])
    axes.set_ylim(-0.5, n_mels - 0.5)


def mel_spectrograms(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """Mel spectrograms of 128 and of 10 bands."""
    canvas = Canvas(width, [2.1, 0.95])
    for axes, db, limits, last in zip(
        canvas.axes,
        (signal.mel_db, signal.few_db),
        (scales.mel, scales.few),
        (False, True),
        strict=True,
    ):
        # The loudest value is 0 dB: what a mel band of unit area measures has no better zero.
        drawn = image(
            axes, db - limits[1], extent=(*span(signal, db.shape[1]), -0.5, len(db) - 0.5),
            limits=(-RANGE_DB, 0.0),
        )  # fmt: skip
        mel_axis(axes, len(db))
        axes.set_title(f"{len(db)} bands")
        axes.set_ylabel("Hz, mel scale" if last else "frequency (Hz, mel scale)")
        time_axis(axes, signal, scales, labelled=last)
        canvas.bar(drawn, axes, "dB", ticks=[-80, -40, 0] if last else None)
    return canvas.done(key, timed=canvas.axes, track=track, **_limits(signal, scales))


def mfcc(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """Cepstral coefficients: level and tilt as lines, the others as a picture."""
    canvas = Canvas(width, [0.5, 0.5, 1.6])
    times = signal.start + np.arange(signal.mfcc.shape[1]) * HOP / SR
    lines = (
        ("coefficient 0: the level", scales.mfcc_level),
        ("coefficient 1: the tilt, high = dark", scales.mfcc_tilt),
    )
    for row, (axes, (title, limits)) in enumerate(zip(canvas.axes, lines, strict=False)):
        axes.plot(times, signal.mfcc[row], color=ACCENT, lw=0.8)
        axes.set_ylim(*limits)
        axes.set_title(title, fontsize=8)
        axes.locator_params(axis="y", nbins=3)
        time_axis(axes, signal, scales, labelled=False)
    rest = canvas.axes[2]
    part = signal.mfcc[2:]
    extent = (*span(signal, part.shape[1]), 1.5, len(part) + 1.5)
    drawn = image(rest, part, extent=extent, limits=scales.mfcc, colours=BRIGHT)
    rest.set_yticks([2, 5, 10, 15, 19])
    rest.set_ylim(1.5, len(part) + 1.5)
    rest.set_ylabel("coefficient")
    rest.set_title("coefficients 2 to 19: ever finer shape", fontsize=8)
    time_axis(rest, signal, scales)
    canvas.bar(drawn, rest, "value")
    return canvas.done(key, timed=canvas.axes, track=track, **_limits(signal, scales))


def _ends(rows: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    low, high = min(float(r.min()) for r in rows), max(float(r.max()) for r in rows)
    margin = max(1e-3, 0.06 * (high - low))
    return low - margin, high + margin


def chroma(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture | None:
    """Pitch classes over time; None where the piece is too short for them."""
    if signal.chroma is None:
        return None
    canvas = Canvas(width, [1.75])
    axes = canvas.axes[0]
    extent = (*span(signal, signal.chroma.shape[1]), -0.5, 11.5)
    drawn = image(axes, signal.chroma, extent=extent, limits=(0.0, 1.0), colours=BRIGHT)
    axes.set_yticks(range(12), NOTES, fontsize=7)
    axes.set_ylabel("pitch class")
    time_axis(axes, signal, scales)
    canvas.bar(drawn, axes, "share", ticks=[0, 0.5, 1])
    return canvas.done(key, timed=[axes], track=track, **_limits(signal, scales))


def onsets(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """Onset strength, with onsets as points and beats as ticks on top."""
    rhythm = signal.rhythm
    canvas = Canvas(width, [1.35])
    axes = canvas.axes[0]
    for beat in rhythm.beats:
        axes.axvline(signal.start + beat, ymin=0.88, color=ALERT, lw=1.1)
    times = signal.start + np.arange(len(rhythm.strength)) * HOP / SR
    axes.plot(times, rhythm.strength, color=ACCENT, lw=0.9)
    at = np.minimum(np.round(rhythm.onsets * SR / HOP).astype(int), len(times) - 1)
    axes.plot(times[at], rhythm.strength[at], "o", color=INK, ms=2.2)
    axes.set_ylim(0, scales.onset)
    axes.set_ylabel("rise (dB)")
    time_axis(axes, signal, scales)
    return canvas.done(key, timed=[axes], track=track, **_limits(signal, scales))


def tempogram(
    signal: TrackSignal, scales: Scales, *, key: str, track: int = 0, width: float = WIDTH
) -> Picture:
    """How alike the onsets are to themselves a beat later, for every tempo, over time."""
    rhythm = signal.rhythm
    canvas = Canvas(width, [1.9])
    axes = canvas.axes[0]
    bpm = np.geomspace(*BPM, 200)
    lags = 60.0 * SR / HOP / bpm
    below = np.minimum(lags.astype(int), len(rhythm.tempogram) - 2)
    share = (lags - below)[:, None].astype(np.float32)
    rows = (1 - share) * rhythm.tempogram[below] + share * rhythm.tempogram[below + 1]
    extent = (*span(signal, rows.shape[1]), *np.log2(BPM))
    drawn = image(axes, rows, extent=extent, limits=(0.0, _LIKE))
    ticks = [30, 45, 60, 90, 120, 180, 240]
    axes.set_yticks(np.log2(ticks), [str(t) for t in ticks])
    axes.set_ylim(*np.log2(BPM))
    axes.set_ylabel("tempo (BPM)")
    time_axis(axes, signal, scales)
    if rhythm.heard:
        place = np.log2(rhythm.tempo)
        axes.axhline(place, color=WHITE, lw=1.0, ls=(0, (4, 3)))
        axes.annotate(
            f"{rhythm.tempo:.0f} BPM", (0.008, place), (0, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", color=WHITE, fontsize=8, fontweight="bold",
            path_effects=[patheffects.withStroke(linewidth=2, foreground="black")],
        )  # fmt: skip
    canvas.bar(drawn, axes, "likeness", ticks=[0, 0.4, 0.8])
    return canvas.done(key, timed=[axes], track=track, **_limits(signal, scales))
