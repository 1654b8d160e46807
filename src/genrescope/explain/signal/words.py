"""What the pictures of a track show, in sentences: how to read them, and what is to be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrescope.explain.signal.excerpt import SR
from genrescope.explain.signal.measures import FEW_MELS, N_FFT
from genrescope.explain.signal.pipeline import SINGLE_BANDS, band_edges, followed_band
from genrescope.explain.signal.pitch import NOTES, note_name
from genrescope.explain.words import listed

if TYPE_CHECKING:
    from genrescope.explain.signal.measures import TrackSignal

__all__ = [
    "READING",
    "decibels",
    "excerpt_in_words",
    "hertz",
    "key_in_words",
    "onsets_in_words",
    "seen",
    "share",
    "tempo_in_words",
]

_FITS = 0.7  # correlation with a key profile; music of one key reaches 0.8 and more
_BETTER = 0.05
_SQUASHED, _OPEN = 11.0, 18.0  # dB between average and peak
_DARK, _BRIGHT = 120.0, 75.0  # coefficient 1 of the MFCC
_HELD, _STRUCK = 0.75, 0.5  # share of energy in held notes

#: Figure -> its title, and how to read it.
READING: dict[str, tuple[str, str]] = {
    "waveform": (
        "Waveform",
        "The sound itself: pale, how far it swings; dark, its average level. A swing of 1 is the "
        "most that a file can hold.",
    ),
    "spectrum": (
        "Spectrum of one moment",
        "The frequencies that sound together, as strong as the curve is high; 0 dB is a tone of "
        "full scale. The long window tells close notes apart, the short one is sure about when.",
    ),
    "stft-linear": (
        "Spectrogram, linear frequency",
        f"Such a spectrum every 23 ms, through windows of {N_FFT / SR * 1000:.0f} ms, from left to "
        "right; bright is loud. Every kilohertz is as high as the next: overtones of one note "
        "stand at equal distances.",
    ),
    "stft-log": (
        "Spectrogram, logarithmic frequency",
        "The same numbers with every octave as high as the next, as on a piano: a melody keeps its "
        "shape wherever it is played.",
    ),
    "pipeline": (
        "From the waveform to the mel spectrogram",
        "The sound (1) is cut into windows that fade in and out (2); each gives a power spectrum "
        "(3), which the triangles of the filter bank (4) add up to one energy a band (5); in "
        "decibels (6) it becomes one column of the mel spectrogram (7).",
    ),
    "mel-filters": (
        "Mel filter bank",
        "Triangles that are equally wide on the mel scale: narrow where the ear tells pitches "
        "apart, broad above. Each has the same area, so broad ones are low. The three below are "
        f"bands {SINGLE_BANDS[0]}, {SINGLE_BANDS[1]} and {SINGLE_BANDS[2]} of 128, with a point "
        "for each frequency of the spectrum that they weigh.",
    ),
    "mel-spectrogram": (
        "Mel spectrogram",
        "What a network sees of the music: 128 mel bands over time, in dB below the loudest. In "
        "10 bands the notes are gone, but their balance is left.",
    ),
    "mfcc": (
        "MFCC: the colour of the sound in 20 numbers",
        "Waves of one, two, three and more half periods that add up to each column of the mel "
        "spectrogram (its cosine transform). The tilt is high where low notes outweigh high ones.",
    ),
    "chroma": (
        "Chroma",
        "Which of the twelve notes sound, whatever their octave; the strongest of each moment is "
        "1. A level line is a note that is held, several at once are a chord.",
    ),
    "onsets": (
        "Onset strength and beats",
        "How much louder the bands become from one column to the next, on average; points are "
        "onsets, where something begins, and the ticks on top are the beats that fit them best.",
    ),
    "tempogram": (
        "Tempogram",
        "How alike the onsets of 9 seconds are to themselves one beat later, for every tempo: a "
        "steady pulse draws bright level lines, at its tempo and at simple fractions of it.",
    ),
}


def seen(key: str, signal: TrackSignal) -> str:
    """What a figure shows of this track, in a sentence.

    Parameters
    ----------
    key : str
        One of :data:`READING`.
    signal : TrackSignal
        The track.

    Returns
    -------
    str
        It begins with a capital letter and ends with a full stop.
    """
    return _SEEN[key](signal)


def excerpt_in_words(signal: TrackSignal) -> str:
    """Which piece of the track it is."""
    piece = signal.excerpt
    if piece.chosen == "whole":
        return f"the whole track, {piece.seconds:.1f} s"
    why = "the loudest part" if piece.chosen == "loudest" else "around the moment asked for"
    ends = (signal.start, signal.stop, piece.track_seconds)
    if piece.track_seconds < 60:
        start, stop, length = (f"{end:.1f}" for end in ends)
        return f"{start} to {stop} s of {length} s, {why}"
    start, stop, length = (_clock(end) for end in ends)
    return f"{start} to {stop} of {length}, {why}"


def tempo_in_words(signal: TrackSignal) -> str:
    """The tempo, and how steady it is."""
    rhythm = signal.rhythm
    if rhythm.pulse == "short":
        return "too short to show a tempo"
    if not rhythm.heard:
        return "no steady pulse"
    bpm = f"about {rhythm.tempo:.0f}\u00a0BPM"
    if rhythm.tempo >= 140:
        bpm += f" (or {rhythm.tempo / 2:.0f}, counting every second beat)"
    elif rhythm.tempo <= 70:
        bpm += f" (or {rhythm.tempo * 2:.0f}, counting twice as fast)"
    if rhythm.pulse == "weak":
        return f"{bpm}, but the pulse is weak"
    if rhythm.presence >= 0.9:
        return f"{bpm}, steady"
    if rhythm.presence >= 0.6:
        return f"{bpm}, steady most of the time"
    return f"{bpm}, but not steady"


def onsets_in_words(signal: TrackSignal) -> str:
    """Onsets a second."""
    return f"{len(signal.rhythm.onsets) / signal.excerpt.seconds:.1f} a second"


def key_in_words(signal: TrackSignal) -> str:
    """Which key the notes fit."""
    pitch = signal.pitch
    if pitch is None:
        return "no notes were found"
    if pitch.fit < _FITS:
        return "no key fits well"
    if pitch.margin < _BETTER:
        return f"{pitch.key} and {pitch.second} fit equally well"
    return f"{pitch.key} fits best"


def decibels(value: float) -> str:
    """A level with a true minus sign.

    >>> decibels(-3.25), decibels(0.04)
    ('−3.2\\xa0dB', '0.0\\xa0dB')
    """
    text = f"{value:.1f}"
    return ("0.0" if text == "-0.0" else text.replace("-", "−")) + "\u00a0dB"


def hertz(value: float) -> str:
    """A frequency in about three digits.

    >>> hertz(62.4), hertz(1182.65), hertz(11025)
    ('62\\xa0Hz', '1,180\\xa0Hz', '11,000\\xa0Hz')
    """
    return f"{float(f'{value:.3g}'):,.0f}\u00a0Hz"


def share(value: float) -> str:
    """A share in percent.

    >>> share(0.004), share(0.416)
    ('less than 1\\xa0%', '42\\xa0%')
    """
    return "less than 1\u00a0%" if value < 0.005 else f"{100 * value:.0f}\u00a0%"


def _clock(seconds: float) -> str:
    whole = int(seconds + 0.5)
    return f"{whole // 60}:{whole % 60:02d}"


def _waveform(signal: TrackSignal) -> str:
    level = signal.level
    meaning = ""
    if level.crest_db < _SQUASHED:
        meaning = ", little room: it is loud all the time"
    elif level.crest_db > _OPEN:
        meaning = ", much room between soft and loud"
    text = (
        f"It peaks at {decibels(level.peak_db)} of full scale and averages "
        f"{decibels(level.rms_db)}; the peaks stand {level.crest_db:.0f} dB above the "
        f"average{meaning}; it is loudest at {level.loudest:.1f} s"
    )
    if level.clipped >= 1e-4:
        text += f"; {1000 * level.clipped:.1f} samples in 1,000 touch full scale"
    return text + "."


def _spectrum(signal: TrackSignal) -> str:
    frame = signal.frame
    strong = sorted(frame.peaks, key=lambda p: -p.db)[:3]
    names = [f"{p.hz:,.0f}\u00a0Hz ({note_name(p.hz)})" for p in sorted(strong, key=lambda p: p.hz)]
    at = f"At {frame.at:.1f} s"
    if not names:
        return f"{at} no partial stands out: noise, or a drum."
    if len(frame.peaks) == 1:
        return f"{at} there is a single tone, at {names[0]}."
    text = f"{at} the strongest partials lie at {listed(names)}"
    if frame.fundamental is not None:
        return (
            f"{text}; most are multiples of {frame.fundamental:,.0f} Hz, the overtones of one "
            f"{note_name(frame.fundamental)}."
        )
    return f"{text}; they are not multiples of one frequency, so several sounds are mixed."


def _linear(signal: TrackSignal) -> str:
    tone = signal.tone
    lowest = 100 * tone.ninety_hz / (SR / 2)
    text = (
        f"Nine tenths of the energy lie below {hertz(tone.ninety_hz)}, in the lowest "
        f"{max(1.0, lowest):.0f} % of this picture"
    )
    if tone.falls_hz < 0.85 * SR / 2:
        return f"{text}; above {hertz(tone.falls_hz)} there is next to nothing."
    return f"{text}; what is above gives the sound its brightness."


def _log(signal: TrackSignal) -> str:
    tone = signal.tone
    text = f"Half of the energy lies below {hertz(tone.half_hz)} ({note_name(tone.half_hz)})"
    return f"{text}; the bass below 150 Hz has {share(tone.bass)} of it."


def _pipeline(signal: TrackSignal) -> str:
    band = followed_band(signal)
    low, _, high = band_edges(band + 1)
    return (
        f"Follow the orange: at {signal.frame.at:.1f} s band {band + 1}, from {low:,.0f} to "
        f"{high:,.0f} Hz, has the most energy, and becomes the square in the last picture."
    )


def _filters(signal: TrackSignal) -> str:
    shares = signal.few_shares
    best = int(shares.argmax())
    low, _, high = band_edges(best + 1, FEW_MELS)
    return (
        f"Of the ten bands, number {best + 1} ({low:,.0f} to {high:,.0f} Hz) gets the most of "
        f"this track, {share(float(shares[best]))} of the energy; the upper five together get "
        f"{share(float(shares[5:].sum()))}."
    )


def _mel(signal: TrackSignal) -> str:
    held = signal.tone.held
    part = f"{share(held)} of the energy"
    if held >= _HELD:
        return f"Level lines prevail, held notes: they have {part}; upright ones are drum hits."
    if held <= _STRUCK:
        return f"Upright lines prevail, drum hits and consonants: held notes have only {part}."
    return f"Level lines (held notes) have {part}, upright ones (drum hits, consonants) the rest."


def _mfcc(signal: TrackSignal) -> str:
    tilt = signal.mfcc[1]
    mean, spread = float(tilt.mean()), float(tilt.std())
    colour = "a sound neither dark nor bright"
    if mean >= _DARK:
        colour = "a dark sound"
    elif mean <= _BRIGHT:
        colour = "a bright sound"
    change = "hardly changes" if spread <= 15 else "changes a little"
    if spread > 30:
        change = "changes all the time"
    average = f"{mean:.0f}".replace("-", "−")
    return f"The tilt averages {average}, {colour}, and {change} (by {spread:.0f} as a rule)."


def _chroma(signal: TrackSignal) -> str:
    pitch = signal.pitch
    if pitch is None:
        return "No notes were found."
    top = pitch.strongest()
    total = float(sum(pitch.shares[NOTES.index(name)] for name in top))
    sound = "sounds" if len(top) == 1 else "sound"
    text = (
        f"{listed(top)} {sound} most, with {share(total)} of the strength; {key_in_words(signal)}"
    )
    cents = pitch.tuning_cents
    if abs(cents) >= 10:
        side = "above" if cents > 0 else "below"
        text += f"; it is tuned {abs(cents):.0f} cents {side} A = 440 Hz"
    return text + "."


def _onsets(signal: TrackSignal) -> str:
    rhythm = signal.rhythm
    text = f"There are {len(rhythm.onsets)} onsets, {onsets_in_words(signal)}"
    if len(rhythm.beats) > 1:
        gap = (rhythm.beats[-1] - rhythm.beats[0]) / (len(rhythm.beats) - 1)
        return f"{text}, and {len(rhythm.beats)} beats, {gap:.2f} s apart."
    if rhythm.pulse == "short":
        return f"{text}; it is too short to find beats."
    return f"{text}; they have no common pulse, so no beats are drawn."


def _tempogram(signal: TrackSignal) -> str:
    text = tempo_in_words(signal)
    text = text[0].upper() + text[1:]
    if signal.rhythm.pulse == "short":
        return f"{text}."
    if not signal.rhythm.heard:
        return f"{text}: no level line goes through the picture."
    return f"{text}: the dashed line."


_SEEN = {
    "waveform": _waveform,
    "spectrum": _spectrum,
    "stft-linear": _linear,
    "stft-log": _log,
    "pipeline": _pipeline,
    "mel-filters": _filters,
    "mel-spectrogram": _mel,
    "mfcc": _mfcc,
    "chroma": _chroma,
    "onsets": _onsets,
    "tempogram": _tempogram,
}
