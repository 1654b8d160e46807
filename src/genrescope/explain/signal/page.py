"""A page about one track, or two side by side: pictures, sentences, and the sound itself.

The page needs nothing but itself: figures are drawings inside it, and the sound is in it, too. A
line moves through every picture with a time axis while the sound plays, and a click on one seeks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.colours import colours_of
from genrescope.explain.ink import WIDTH, style, themed
from genrescope.explain.page import render
from genrescope.explain.page_files import PagePaths, write_page
from genrescope.explain.signal import figures
from genrescope.explain.signal.canvas import Pane, Picture
from genrescope.explain.signal.compare import between, measures_of, what_differs
from genrescope.explain.signal.excerpt import SR, encode_sound
from genrescope.explain.signal.measures import HOP, N_FFT, N_MFCC
from genrescope.explain.signal.pipeline import filter_bank, pipeline
from genrescope.explain.signal.words import (
    READING,
    decibels,
    excerpt_in_words,
    hertz,
    key_in_words,
    onsets_in_words,
    seen,
    share,
    tempo_in_words,
)

try:
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the page", extra="lab", package="jinja2") from error

if TYPE_CHECKING:
    from genrescope.explain.signal.figures import Scales
    from genrescope.explain.signal.measures import TrackSignal
    from genrescope.learn.prediction import Prediction

__all__ = ["KIND", "facts_of", "write_look"]

KIND = "genrescope look"  # of the facts beside the page

_HALF = 4.7  # inches: one of two pictures side by side
_LETTERS = "AB"

_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sound", "The sound", ("waveform", "spectrum")),
    ("spectrogram", "Time and frequency", ("stft-linear", "stft-log")),
    ("mel", "The way to the mel spectrogram", ("pipeline", "mel-filters", "mel-spectrogram")),
    ("notes", "Colour and notes", ("mfcc", "chroma")),
    ("rhythm", "Rhythm", ("onsets", "tempogram")),
)
_DRAW: dict[str, Callable[..., Picture | None]] = {
    "waveform": figures.waveform,
    "spectrum": figures.spectrum,
    "stft-linear": figures.stft_linear,
    "stft-log": figures.stft_log,
    "mel-spectrogram": figures.mel_spectrograms,
    "mfcc": figures.mfcc,
    "chroma": figures.chroma,
    "onsets": figures.onsets,
    "tempogram": figures.tempogram,
}


@dataclass(frozen=True)
class _Plate:
    """One drawing on the page."""

    key: str
    letter: str
    svg: Markup
    width: float
    panes: tuple[Pane, ...]


@dataclass(frozen=True)
class _Figure:
    """A numbered figure: a drawing, or one for each track."""

    key: str
    number: int
    title: str
    reading: str
    seen: tuple[tuple[str, str], ...]
    between: str
    plates: tuple[_Plate, ...]


def facts_of(signal: TrackSignal) -> tuple[tuple[str, str], ...]:
    """The main facts of a track: names and values, for a summary."""
    level, tone = signal.level, signal.tone
    return (
        ("excerpt", excerpt_in_words(signal)),
        ("level", f"peaks at {decibels(level.peak_db)}, averages {decibels(level.rms_db)}"),
        ("spectrum", f"nine tenths of the energy below {hertz(tone.ninety_hz)}"),
        ("bass", f"{share(tone.bass)} of the energy below 150 Hz"),
        ("notes", key_in_words(signal)),
        ("tempo", tempo_in_words(signal)),
        ("onsets", onsets_in_words(signal)),
    )


def write_look(
    signals: Sequence[TrackSignal],
    out: Path,
    *,
    verdicts: Sequence[Prediction | None] = (),
    command: str = "",
    sound: bool = True,
) -> PagePaths:
    """Write the page and the files beside it.

    Each file takes the place of its predecessor once it is whole. Figures of an earlier page in
    the same folder that this one does not have are removed.

    Parameters
    ----------
    signals : sequence of TrackSignal
        One track, or two to be compared.
    out : Path
        Folder, made where it is missing.
    verdicts : sequence of Prediction or None
        What a recogniser says of each, if it was asked.
    command : str
        What a reader types to repeat it.
    sound : bool
        Whether the excerpts can be heard on the page.

    Returns
    -------
    PagePaths

    Raises
    ------
    DataError
        If there are no tracks or more than two, if `out` holds a page that is not of this kind,
        or if the disk refuses.
    """
    if not 1 <= len(signals) <= len(_LETTERS):
        raise DataError(f"{len(signals)} tracks are given; a page shows one, or two side by side")
    said = tuple(verdicts) or (None,) * len(signals)
    with style():
        drawn = list(_figures(signals))
    facts = {
        "tracks": [
            {**signal.to_dict(), "recognised": _verdict(verdict)}
            for signal, verdict in zip(signals, said, strict=True)
        ]
    }
    page = _render(signals, [figure for figure, _ in drawn], said, command=command, sound=sound)
    drawings = [picture.drawing for _, pictures in drawn for picture in pictures]
    return write_page(out, page, drawings, kind=KIND, facts=facts)


def _figures(signals: Sequence[TrackSignal]) -> Iterator[tuple[_Figure, list[Picture]]]:
    """Every figure of the page, in order, with its drawings."""
    scales = figures.scales_of(signals)
    pair = len(signals) == 2
    measures = measures_of(*signals) if pair else ()
    number = 0
    for _, _, keys in _SECTIONS:
        for key in keys:
            pictures = list(_pictures(key, signals, scales))
            if not pictures:
                continue
            number += 1
            title, reading = READING[key]
            words = tuple(
                (_LETTERS[track] if pair else "", seen(key, signal))
                for track, signal in enumerate(signals)
            )
            plates = []
            for place, (letter, picture) in enumerate(pictures):
                told = words[_LETTERS.index(letter)][1] if letter else words[0][1]
                whose = f" {letter}, {signals[place].excerpt.name}." if letter else ""
                alt = f"{title}.{whose} {told}"
                plates.append(
                    _Plate(
                        key=picture.drawing.key,
                        letter=letter,
                        svg=Markup(themed(picture.drawing, alt=alt)),  # noqa: S704 - escaped
                        width=picture.drawing.width,
                        panes=picture.panes,
                    )
                )
            differ = between(measures, key) if pair else ""
            made = _Figure(key, number, title, reading, words, differ, tuple(plates))
            yield made, [picture for _, picture in pictures]


def _pictures(
    key: str, signals: Sequence[TrackSignal], scales: Scales
) -> Iterator[tuple[str, Picture]]:
    """The drawings of a figure, with the letters of their tracks."""
    if key == "mel-filters":
        yield "", filter_bank(key=key)
        return
    pair = len(signals) == 2
    for track, signal in enumerate(signals):
        letter = _LETTERS[track] if pair else ""
        name = f"{key}-{letter.lower()}" if pair else key
        draw = (
            partial(pipeline, signal, scales)
            if key == "pipeline"
            else partial(_DRAW[key], signal, scales, width=_HALF if pair else WIDTH)
        )
        picture = draw(key=name, track=track)
        if picture is not None:
            yield letter, picture


def _render(
    signals: Sequence[TrackSignal],
    drawn: Sequence[_Figure],
    verdicts: Sequence[Prediction | None],
    *,
    command: str,
    sound: bool,
) -> str:
    by_key = {figure.key: figure for figure in drawn}
    sections = [
        (id_, title, [by_key[key] for key in keys if key in by_key])
        for id_, title, keys in _SECTIONS
    ]
    pair = len(signals) == 2
    measures = measures_of(*signals) if pair else ()
    names = [signal.excerpt.title for signal in signals]
    shown = [(id_, title, found) for id_, title, found in sections if found]
    chapters = [("differences", "What differs")] if pair else []
    chapters += [(id_, title) for id_, title, _ in shown]
    return render(
        "look.html",
        styles=("report.css", "look.css"),
        script="look.js",
        kind=f"look{' pair' if pair else ''}{' heard' if sound else ''}",
        title=f"{names[0]} and {names[1]}" if pair else names[0],
        pair=pair,
        tracks=[
            _track(place, signal, verdict, sound=sound, pair=pair)
            for place, (signal, verdict) in enumerate(zip(signals, verdicts, strict=True))
        ],
        sections=shown,
        chapters=[*chapters, ("how", "How it was computed")],
        measures=measures,
        differs=what_differs(measures),
        heard=sound,
        command=command,
        computed=_computed(),
    )


def _track(
    place: int, signal: TrackSignal, verdict: Prediction | None, *, sound: bool, pair: bool
) -> dict[str, Any]:
    """What the template says of a track beside its figures."""
    piece = signal.excerpt
    tempo = tempo_in_words(signal)
    told = [
        seen("waveform", signal),
        seen("stft-log", signal),
        seen("chroma", signal),
        f"{tempo[0].upper()}{tempo[1:]}.",
    ]
    return {
        "letter": _LETTERS[place] if pair else "",
        "title": piece.title,
        "artist": piece.artist,
        "excerpt": excerpt_in_words(signal),
        "file": f"{piece.path.name}: {piece.format}, {piece.sr:,} Hz, "
        + {1: "mono", 2: "stereo"}.get(piece.channels, f"{piece.channels} channels"),
        "source": encode_sound(piece).uri if sound else "",
        "start": round(signal.start, 3),
        "stop": round(signal.stop, 3),
        "told": told,
        "verdict": _shown(verdict),
    }


def _shown(verdict: Prediction | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    best = verdict.top(3)
    colours = colours_of([genre for genre, _ in best])
    return {
        "genre": verdict.genre or "",
        "best": [(genre, share(p), colours[genre]) for genre, p in best],
    }


def _verdict(verdict: Prediction | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "genre": verdict.genre,
        "best": verdict.best,
        "sure": verdict.sure,
        "probabilities": {g: round(float(p), 4) for g, p in verdict.probabilities.items()},
    }


def _computed() -> tuple[str, ...]:
    """How the numbers were made."""
    return (
        f"Analysed are the mean of the channels at {SR:,} Hz; what is above {SR // 2:,} Hz is not "
        "shown. What you hear is the file's own sound, in stereo where it is.",
        f"Windows (Hann) have {N_FFT:,} samples, {1000 * N_FFT / SR:.0f} ms, and follow each other "
        f"every {HOP} samples, {1000 * HOP / SR:.0f} ms; a frequency of the spectrum is "
        f"{SR / N_FFT:.1f} Hz wide.",
        "Mel bands are those of Slaney (1998), each of unit area; everything more than 80 dB below "
        f"the loudest is cut. MFCC are the first {N_MFCC} coefficients of the orthonormal cosine "
        "transform of 128 bands.",
        "Chroma sums a constant-Q transform of seven octaves from C1, of which only notes count "
        "that are louder than both neighbours: the filters are a semitone and a half wide. Keys "
        "are compared by the profiles of Krumhansl and Kessler (1982).",
        "Onset strength, tempogram and beats are librosa's. The tempo is the one at which the "
        "onsets agree best with themselves one to eight beats later.",
        "Held notes and drum hits are told apart by medians along and across time "
        "(FitzGerald 2010).",
    )
