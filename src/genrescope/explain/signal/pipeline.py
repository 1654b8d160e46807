"""How a mel spectrogram is made: the filter bank, and the whole way in one picture.

Call these functions inside :func:`~genrescope.explain.ink.style`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from genrescope.audio.mel import mel_filterbank, power_to_db
from genrescope.audio.stft import periodic_hann
from genrescope.explain.ink import ACCENT, ALERT, GRID, INK, QUIET, WHITE, WIDTH
from genrescope.explain.signal.canvas import Canvas, Picture, hertz, image, pane_of
from genrescope.explain.signal.excerpt import SR
from genrescope.explain.signal.figures import mel_axis, span, wave
from genrescope.explain.signal.measures import FEW_MELS, HOP, N_FFT, N_MELS
from genrescope.explain.signal.rhythm import RANGE_DB

if TYPE_CHECKING:
    from genrescope.explain.signal.figures import Scales
    from genrescope.explain.signal.measures import TrackSignal

__all__ = ["SINGLE_BANDS", "band_edges", "filter_bank", "followed_band", "pipeline"]

SINGLE_BANDS = (12, 64, 116)  # of 128, counted from 1: drawn one by one
_WEIGHTS = "weight × 1,000"


def band_edges(band: int, n_mels: int = N_MELS) -> tuple[float, float, float]:
    """Where a triangle begins, peaks and ends, in Hz; bands count from 1.

    >>> [round(hz) for hz in band_edges(10, 10)]
    [5908, 8071, 11025]
    """
    from genrescope.audio.mel import hz_to_mel, mel_to_hz

    step = float(hz_to_mel(SR / 2)) / (n_mels + 1)
    low, middle, high = mel_to_hz(np.array([band - 1, band, band + 1]) * step)
    return float(low), float(middle), float(high)


def followed_band(signal: TrackSignal) -> int:
    """The band (from 0) that the picture follows: the strongest one of the moment."""
    return int(_mel_of(signal).argmax())


def _mel_of(signal: TrackSignal) -> Any:
    return mel_filterbank(SR, n_fft=N_FFT, n_mels=N_MELS) @ 10.0 ** (signal.frame.db / 10.0)


def filter_bank(*, key: str, width: float = WIDTH) -> Picture:
    """The mel filter bank: 10 bands, 128 bands, and three triangles of the latter up close."""
    canvas = Canvas(width, [1.25, 1.25, 1.25], gap=0.72)
    hz = np.arange(1 + N_FFT // 2) * SR / N_FFT
    for axes, n_mels in zip(canvas.axes, (FEW_MELS, N_MELS), strict=False):
        bank = mel_filterbank(SR, n_fft=N_FFT, n_mels=n_mels) * 1000.0
        for band, row in enumerate(bank):
            used = np.flatnonzero(row)
            part = slice(max(0, int(used[0]) - 1), int(used[-1]) + 2)
            one = n_mels == N_MELS and band + 1 in SINGLE_BANDS
            colour = ALERT if one else ACCENT if band % 2 == 0 else QUIET
            weight = 1.6 if one else 1.2 if n_mels < 20 else 0.6
            axes.plot(hz[part], row[part], color=colour, lw=weight)
        axes.set_title(f"{n_mels} bands")
        axes.set_xlim(0, SR / 2)
        axes.set_ylim(0, None)
        axes.set_ylabel(_WEIGHTS)
        axes.xaxis.set_major_formatter(lambda v, _: hertz(v))
    canvas.axes[1].set_xlabel("frequency (Hz)", labelpad=2)
    box = canvas.axes[2].get_position()
    canvas.axes[2].remove()
    inner = box.width * width
    each = (inner - 2 * 0.45) / 3
    bank = mel_filterbank(SR, n_fft=N_FFT, n_mels=N_MELS) * 1000.0
    for place, band in enumerate(SINGLE_BANDS):
        left = box.x0 * width + place * (each + 0.45)
        axes = canvas.place(left, box.y0 * canvas.height, each, box.height * canvas.height)
        low, middle, high = band_edges(band)
        near = np.flatnonzero((hz >= low - 30) & (hz <= high + 30))
        peak = 2000.0 / (high - low)
        axes.fill_between([low, middle, high], [0, peak, 0], color=ALERT, alpha=0.18, lw=0)
        axes.plot([low, middle, high], [0, peak, 0], color=ALERT, lw=1.2)
        axes.vlines(hz[near], 0, bank[band - 1, near], color=INK, lw=0.8)
        axes.plot(hz[near], bank[band - 1, near], "o", color=INK, ms=2.4)
        axes.set_ylim(0, peak * 1.12)
        axes.set_title(f"band {band}: {low:,.0f} to {high:,.0f} Hz", fontsize=8)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("frequency (Hz)", labelpad=2)
        if place == 0:
            axes.set_ylabel(_WEIGHTS)
    return canvas.done(key)


def pipeline(signal: TrackSignal, scales: Scales, *, key: str, track: int = 0) -> Picture:
    """From the waveform to the mel spectrogram, in seven steps.

    One frame and, in the colour of warnings, one band of it are followed all the way.
    """
    canvas = Canvas(WIDTH, [6.6])
    canvas.axes.pop().remove()
    rows = (5.42, 2.98, 0.5)  # inches from the lower edge
    tall = 1.3
    band = followed_band(signal)
    top = _top_hz(band)
    first = canvas.place(0.62, rows[0], 3.3, tall)
    _step_wave(first, signal, scales)
    _step_frames(canvas.place(4.5, rows[0], 2.35, tall), signal)
    _step_spectrum(canvas.place(0.62, rows[1], 1.75, tall), signal, band, top)
    _step_bank(canvas.place(2.92, rows[1], 1.5, tall), band, top)
    _step_energies(canvas.place(5.3, rows[1], 1.55, tall), signal, band)
    _step_decibels(canvas.place(0.62, rows[2], 1.75, tall + 0.35), signal, scales, band)
    last = canvas.place(3.25, rows[2], 2.98, tall + 0.35)
    drawn = _step_mel(last, signal, scales, band)
    canvas.bar(drawn, last, "dB", ticks=[-80, -40, 0])
    _arrows(canvas, rows, tall)
    made = canvas.done(key)
    start, stop = signal.start, signal.start + scales.seconds
    panes = tuple(pane_of(axes, track=track, start=start, stop=stop) for axes in (first, last))
    return Picture(made.drawing, panes)


def _top_hz(band: int) -> float:
    """How far the spectrum is drawn: so far that the followed triangle can be seen."""
    return min(SR / 2, max(1000.0, 2.2 * band_edges(band + 1)[2]))


def _title(axes: Any, number: int, text: str) -> None:
    axes.set_title(f"{number}  {text}", fontsize=8.5)


def _step_wave(axes: Any, signal: TrackSignal, scales: Scales) -> None:
    _title(axes, 1, "waveform")
    wave(axes, signal, columns=600)
    axes.axvline(signal.frame.at, color=INK, lw=1.2)
    axes.set_ylim(-scales.amplitude, scales.amplitude)
    axes.set_xlim(signal.start, signal.start + scales.seconds)
    axes.set_xlabel("time (s)", labelpad=1)
    axes.set_ylabel("amplitude", labelpad=1)


def _step_frames(axes: Any, signal: TrackSignal) -> None:
    _title(axes, 2, "cut into overlapping windows")
    middle = round((signal.frame.at - signal.start) * SR)
    reach = N_FFT // 2 + 2 * HOP
    places = np.arange(middle - reach, middle + reach)
    inside = (places >= 0) & (places < len(signal.excerpt.y))
    y = np.zeros(len(places))
    y[inside] = signal.excerpt.y[places[inside]]
    at = (places - middle) / SR * 1000  # ms
    peak = float(np.abs(y).max()) or 1.0
    axes.plot(at, y / peak, color=QUIET, lw=0.4, alpha=0.7)
    hann = periodic_hann(N_FFT)
    for shift in (-2, -1, 1, 2):
        start = reach - N_FFT // 2 + shift * HOP
        axes.plot(at[start : start + N_FFT], 1.1 * hann, color=QUIET, lw=0.6, ls=(0, (3, 2)))
    start = reach - N_FFT // 2
    part = slice(start, start + N_FFT)
    axes.plot(at[part], y[part] / peak * hann, color=ACCENT, lw=0.6)
    axes.plot(at[part], 1.1 * hann, color=INK, lw=1.2)
    axes.set_xlim(at[0], at[-1])
    axes.set_ylim(-1.15, 1.25)
    axes.set_yticks([])
    axes.set_xlabel("ms from the middle of the frame", labelpad=1)


def _step_spectrum(axes: Any, signal: TrackSignal, band: int, top: float) -> None:
    _title(axes, 3, "power spectrum")
    power = 10.0 ** (signal.frame.db / 10.0)
    hz = np.arange(len(power)) * SR / N_FFT
    shown = hz <= top * 1.02
    peak = float(power[shown].max()) or 1.0
    low, _, high = band_edges(band + 1)
    axes.axvspan(low, high, color=ALERT, alpha=0.18, lw=0)
    axes.plot(hz[shown], power[shown] / peak, color=ACCENT, lw=1.1)
    axes.set_xlim(0, top)
    axes.set_ylim(0, 1.08)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("power (of its peak)", labelpad=1)
    _few_hertz(axes)


def _step_bank(axes: Any, band: int, top: float) -> None:
    _title(axes, 4, "mel filter bank")
    bank = mel_filterbank(SR, n_fft=N_FFT, n_mels=N_MELS)
    peak = float(bank[:, : round(top * N_FFT / SR)].max())
    for one in range(N_MELS):
        low, middle, high = band_edges(one + 1)
        if low > top or one == band:
            continue
        height = 2.0 / (high - low) / peak
        axes.plot([low, middle, high], [0, height, 0], color=QUIET, lw=0.4)
    low, middle, high = band_edges(band + 1)
    height = 2.0 / (high - low) / peak
    axes.fill_between([low, middle, high], [0, height, 0], color=ALERT, alpha=0.3, lw=0)
    axes.plot([low, middle, high], [0, height, 0], color=ALERT, lw=1.4)
    axes.set_xlim(0, top)
    axes.set_ylim(0, None)
    axes.set_yticks([])
    axes.set_ylabel("weight", labelpad=3)
    _few_hertz(axes)


def _few_hertz(axes: Any) -> None:
    axes.xaxis.set_major_formatter(lambda v, _: hertz(v))
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel("frequency (Hz)", labelpad=1)


def _bars(axes: Any, values: Any, band: int, *, bottom: float) -> None:
    axes.bar(np.arange(1, N_MELS + 1), values - bottom, width=1.0, bottom=bottom, color=ACCENT)
    axes.bar([band + 1], [values[band] - bottom], width=1.6, bottom=bottom, color=ALERT)
    axes.set_xlim(0, N_MELS + 1)
    axes.set_xticks([1, 32, 64, 96, 128])
    axes.set_xlabel("mel band", labelpad=1)


def _step_energies(axes: Any, signal: TrackSignal, band: int) -> None:
    _title(axes, 5, "a sum for each band")
    energies = _mel_of(signal)
    _bars(axes, energies / (float(energies.max()) or 1.0), band, bottom=0.0)
    axes.set_ylim(0, 1.08)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("energy (of its peak)", labelpad=1)


def _step_decibels(axes: Any, signal: TrackSignal, scales: Scales, band: int) -> None:
    _title(axes, 6, "in decibels")
    energies = np.asarray(_mel_of(signal), np.float32)
    db = np.maximum(power_to_db(energies, floor=1e-20) - scales.mel[1], -RANGE_DB)
    _bars(axes, db, band, bottom=-RANGE_DB)
    axes.set_ylim(-RANGE_DB, 4)
    axes.set_yticks([-80, -60, -40, -20, 0])
    axes.set_ylabel("level (dB)", labelpad=1)
    axes.grid(axis="y", color=GRID)


def _step_mel(axes: Any, signal: TrackSignal, scales: Scales, band: int) -> Any:
    _title(axes, 7, "a column for each frame: mel spectrogram")
    db = signal.mel_db - scales.mel[1]
    extent = (*span(signal, db.shape[1]), -0.5, N_MELS - 0.5)
    drawn = image(axes, db, extent=extent, limits=(-RANGE_DB, 0.0))
    mel_axis(axes, N_MELS)
    axes.set_ylabel("Hz, mel scale", labelpad=1)
    axes.axvline(signal.frame.at, color=WHITE, lw=0.9)
    axes.plot(
        signal.frame.at, band, "s", color=ALERT, ms=5.5, markeredgecolor=WHITE, mew=1.0
    )  # fmt: skip
    axes.set_xlim(signal.start, signal.start + scales.seconds)
    axes.set_xlabel("time (s)", labelpad=1)
    return drawn


def _arrows(canvas: Canvas, rows: tuple[float, float, float], tall: float) -> None:
    """From step to step; at the end of a line, down and back to the left."""
    w, h = canvas.width, canvas.height

    def arrow(*points: tuple[float, float]) -> None:
        for here, there in pairwise(points[:-1]):
            canvas.figure.add_artist(_line(here, there, w, h))
        canvas.figure.add_artist(_head(points[-2], points[-1], w, h))

    middle = [row + tall / 2 for row in rows]
    arrow((4.0, middle[0]), (4.4, middle[0]))
    arrow((2.43, middle[1]), (2.69, middle[1]))
    arrow((4.5, middle[1]), (4.76, middle[1]))
    arrow((2.43, middle[2] + 0.17), (2.69, middle[2] + 0.17))
    for above, below in ((rows[0], rows[1]), (rows[1], rows[2])):
        turn = (above - 0.42 + below + (tall if below != rows[2] else tall + 0.35) + 0.26) / 2
        goal = below + (tall if below != rows[2] else tall + 0.35) + 0.22
        arrow((5.9, above - 0.36), (5.9, turn), (1.5, turn), (1.5, goal))


def _line(here: tuple[float, float], there: tuple[float, float], w: float, h: float) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [here[0] / w, there[0] / w], [here[1] / h, there[1] / h], color=QUIET, lw=1.4,
        solid_capstyle="round",
    )  # fmt: skip


def _head(here: tuple[float, float], there: tuple[float, float], w: float, h: float) -> Any:
    from matplotlib.patches import FancyArrowPatch

    return FancyArrowPatch(
        (here[0] / w, here[1] / h),
        (there[0] / w, there[1] / h),
        arrowstyle="-|>,head_width=2.6,head_length=5",
        color=QUIET,
        lw=1.4,
        shrinkA=0,
        shrinkB=0,
        mutation_scale=1,
    )
