"""How steady a recogniser is: what its answers do when the sound is changed and the music is not.

Every file is cut into clips. A clip is recognised as it is, then once after each perturbation of
:mod:`genrescope.audio.perturb`, and the two answers are compared. No labels are needed for that;
where there are some, the accuracy before and after is compared too. Clips of one song resemble
each other, so intervals resample whole artists, or whole files where no artist is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.perturb import PERTURBATIONS, Perturbation, Sound, choose
from genrescope.errors import AudioError, DataError, GenrescopeError
from genrescope.learn.resampling import LEVEL, artist_units, interval, resamples, sum_by_unit

if TYPE_CHECKING:
    from genrescope.learn.recogniser import Recogniser

__all__ = ["CLIP_SECONDS", "Clip", "Effect", "Heard", "Named", "compare", "cut", "effects", "hear"]

Floats = npt.NDArray[np.float64]

CLIP_SECONDS = 30.0
_LEAST_SECONDS = 25.0  # of a clip cut from a longer file; a shorter file is one clip
_N_BOOT = 1_000
_SEED = 0  # of the intervals
_TIMEOUT = 900.0  # s a clip; some twenty encodings


@dataclass(frozen=True)
class Clip:
    """A piece of a file.

    Attributes
    ----------
    path : Path
        The file.
    start, seconds : float
        Where the piece begins and how long it is.
    other : float or None
        Where another piece of the same file begins that shares nothing with this one.
    genre : str
        What it is, if known, else "".
    unit : str
        The artist, or the file where the artist is not known.
    """

    path: Path
    start: float
    seconds: float
    other: float | None = None
    genre: str = ""
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Heard:
    """Answers to one clip.

    Attributes
    ----------
    clip : Clip
        Which one.
    before : np.ndarray [shape=(k,), float64]
        Probabilities for the clip as it is.
    after : dict of str to np.ndarray [shape=(k,), float64]
        After each perturbation; one that could not be made, left nothing to recognise, or
        has nothing to change (mono in a mono file, say) is missing.
    failures : dict of str to str
        Why, for those.
    """

    clip: Clip
    before: Floats
    after: dict[str, Floats]
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """A change that was made elsewhere, as :class:`genrescope.audio.perturb.Perturbation` tells it.

    Attributes
    ----------
    name, label, kind : str
        For the command line, for people, and what it belongs to.
    """

    name: str
    label: str
    kind: str


@dataclass(frozen=True)
class Effect:
    """What one perturbation does to the answers.

    Attributes
    ----------
    name, label, kind : str
        Of the perturbation.
    n, n_units : int
        Clips, and the artists or files that they come from.
    same : float
        Share of clips whose most probable genre stays.
    same_interval : tuple of float or None
        95 % interval of it, resampling artists or files; None where there is only one. Where
        all clips agree, resampling knows no doubt, and the other end is the exact binomial one
        (one-sided) for that many artists or files.
    distance : float
        Mean total-variation distance of the probabilities: half the sum of absolute
        differences, 0 (nothing moved) to 1.
    n_sure : int
        Clips with a sure answer before.
    sure_kept : float
        Share of those that stay sure of the same genre; NaN where there are none.
    sure_turned : float
        Share of those that become sure of another genre.
    sure_before, sure_after : float
        Share of clips with a sure answer.
    n_labelled : int
        Clips whose genre is known.
    accuracy_before, accuracy_after : float
        On those; NaN where there are none.
    change_interval : tuple of float or None
        95 % interval of accuracy after minus before.
    """

    name: str
    label: str
    kind: str
    n: int
    n_units: int
    same: float
    same_interval: tuple[float, float] | None
    distance: float
    n_sure: int
    sure_kept: float
    sure_turned: float
    sure_before: float
    sure_after: float
    n_labelled: int
    accuracy_before: float
    accuracy_after: float
    change_interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """The attributes, in types that JSON has; what is not defined is null."""
        return {name: _json(value) for name, value in vars(self).items()}


def cut(
    paths: Sequence[Path],
    *,
    every: float = CLIP_SECONDS,
    genres: Sequence[str] = (),
    artists: Sequence[str] = (),
) -> tuple[list[Clip], list[tuple[Path, GenrescopeError]]]:
    """Cut files into clips of 30 s.

    Parameters
    ----------
    paths : sequence of Path
        Audio files. One of less than 25 s is one clip, shorter than the others.
    every : float
        Seconds from the start of a clip to the start of the next; less than 30 makes them
        overlap.
    genres, artists : sequence of str, optional
        One a file, "" where not known.

    Returns
    -------
    clips : list of Clip
    failures : list of (Path, GenrescopeError)
        Files that could not be opened.

    Raises
    ------
    DataError
        If `every` is not above 0.
    """
    from genrescope.audio.decode import audio_info

    if not every > 0:
        raise DataError(f"every is {every}; clips start some seconds apart, more than 0")
    clips: list[Clip] = []
    failures: list[tuple[Path, GenrescopeError]] = []
    for row, path in enumerate(paths):
        try:
            duration = audio_info(path).duration
        except GenrescopeError as error:
            failures.append((path, error))
            continue
        last = max(0.0, duration - _LEAST_SECONDS)
        clips += [
            Clip(
                path,
                start,
                min(CLIP_SECONDS, duration - start),
                _elsewhere(start, last),
                genre=genres[row] if genres else "",
                unit=(artists[row] if artists else "") or str(path),
            )
            for start in np.arange(0.0, last + 1e-9, every).tolist()
        ]
    return clips, failures


def _elsewhere(start: float, last: float) -> float | None:
    """The start of the piece after this one, else before it."""
    for other in (start + CLIP_SECONDS, start - CLIP_SECONDS):
        if 0 <= other <= last:
            return other
    return None


def hear(
    recogniser: Recogniser,
    clips: Iterable[Clip],
    *,
    perturbations: Sequence[Perturbation] = (),
    workers: int | None = None,
    seed: int = 0,
) -> Iterator[Heard | tuple[Clip, GenrescopeError]]:
    """Recognise clips, as they are and perturbed, in processes that may crash.

    Parameters
    ----------
    recogniser : Recogniser
        Whose answers are compared.
    clips : iterable of Clip
        From :func:`cut`.
    perturbations : sequence of Perturbation, optional
        Which; default all.
    workers : int, optional
        Processes; 0 does everything here. Default: one a core.
    seed : int
        Of the noise.

    Yields
    ------
    Heard, or (Clip, GenrescopeError) where the clip as it is could not be recognised
    """
    from genrescope.audio.workers import map_isolated

    names = tuple(each.name for each in perturbations or choose())
    work = partial(_hear, recogniser, names, seed)
    with closing(map_isolated(work, clips, workers=workers, timeout=_TIMEOUT)) as results:
        for clip, result in results:
            yield (clip, result) if isinstance(result, GenrescopeError) else result


def _hear(recogniser: Recogniser, names: tuple[str, ...], seed: int, clip: Clip) -> Heard:
    sound = _read(clip, clip.start)
    before = _answer(recogniser, sound)
    after: dict[str, Floats] = {}
    failures: dict[str, str] = {}
    for name in names:
        perturbation = PERTURBATIONS[name]
        try:
            if perturbation.elsewhere:
                if clip.other is not None:
                    after[name] = _answer(recogniser, _read(clip, clip.other))
                continue
            changed = perturbation(sound, seed=seed)
            if changed.sr != sound.sr or not np.array_equal(changed.samples, sound.samples):
                after[name] = _answer(recogniser, changed)
        except AudioError as error:
            failures[name] = str(error)
    return Heard(clip, before, after, failures)


def _read(clip: Clip, start: float) -> Sound:
    from genrescope.audio.decode import read_audio

    y, sr = read_audio(clip.path, offset=start, duration=clip.seconds, mono=False)
    return Sound(np.asarray(y, dtype=np.float32), sr)


def _answer(recogniser: Recogniser, sound: Sound) -> Floats:
    prediction = recogniser.predict(sound.samples.T, sr=sound.sr)
    return np.array([prediction.probabilities[genre] for genre in recogniser.genres])


def effects(
    heard: Sequence[Heard],
    *,
    genres: Sequence[str],
    threshold: float | None,
    perturbations: Sequence[Perturbation] = (),
) -> list[Effect]:
    """What each perturbation does, the most harmful first.

    Parameters
    ----------
    heard : sequence of Heard
        From :func:`hear`.
    genres : sequence of k str
        Of the probabilities.
    threshold : float or None
        Sure where the highest probability reaches it; None is never sure.
    perturbations : sequence of Perturbation, optional
        Which; default all.

    Returns
    -------
    list of Effect
        Fewest unchanged answers first, then the largest distance. A perturbation that no clip
        went through is left out.
    """
    place = {genre: i for i, genre in enumerate(genres)}
    found: list[Effect] = []
    for each in perturbations or choose():
        rows = [row for row in heard if each.name in row.after]
        if not rows:
            continue
        found.append(
            compare(
                np.stack([row.before for row in rows]),
                np.stack([row.after[each.name] for row in rows]),
                change=each,
                truth=np.array([place.get(row.clip.genre, -1) for row in rows]),
                units=np.array([row.clip.unit for row in rows]),
                threshold=threshold,
            )
        )
    return sorted(found, key=lambda effect: (round(effect.same, 9), -effect.distance))


def compare(
    before: Floats,
    after: Floats,
    *,
    change: Named | Perturbation,
    truth: npt.NDArray[np.integer[Any]] | None = None,
    units: npt.NDArray[Any] | None = None,
    threshold: float | None = None,
) -> Effect:
    """Compare answers to the same clips before and after a change.

    Parameters
    ----------
    before, after : np.ndarray [shape=(n, k), float64]
        Probabilities; rows sum to 1.
    change : Named or Perturbation
        What was done.
    truth : np.ndarray [shape=(n,), int], optional
        Positions of the true genres, -1 where not known.
    units : np.ndarray [shape=(n,)], optional
        Artists or files, which the intervals resample; by default the clips.
    threshold : float or None
        Sure where the highest probability reaches it.

    Returns
    -------
    Effect

    Raises
    ------
    DataError
        If there are no clips, or the shapes do not fit.
    """
    if before.ndim != 2 or before.shape != after.shape or not len(before):
        raise DataError(
            f"answers have the shapes {before.shape} and {after.shape}, expected twice "
            "(clips, genres) with one clip or more"
        )
    n = len(before)
    top, top_after = before.argmax(axis=1), after.argmax(axis=1)
    never = np.zeros(n, dtype=bool)
    sure = never if threshold is None else before.max(axis=1) >= threshold
    sure_after = never if threshold is None else after.max(axis=1) >= threshold
    stays = top == top_after
    known = never if truth is None else truth >= 0
    labels = np.full(n, -1) if truth is None else truth
    right, right_after = known & (top == labels), known & (top_after == labels)
    numbered, _, _ = artist_units(units, n=n)
    table = np.stack([np.ones(n), stays, known, right, right_after], axis=1).astype(np.float64)
    by_unit = sum_by_unit(table, numbered)
    draws: list[Floats] = []
    changes: list[Floats] = []
    if len(by_unit) > 1:
        for weights in resamples(len(by_unit), n_boot=_N_BOOT, seed=_SEED):
            total = weights @ by_unit
            draws.append(total[:, 1] / total[:, 0])
            with np.errstate(divide="ignore", invalid="ignore"):
                changes.append((total[:, 4] - total[:, 3]) / total[:, 2])
    accuracy = _share(right, known), _share(right_after, known)
    return Effect(
        name=change.name,
        label=change.label,
        kind=change.kind,
        n=n,
        n_units=len(by_unit),
        same=float(stays.mean()),
        same_interval=_bounds(draws, point=float(stays.mean()), n_units=len(by_unit)),
        distance=float(np.abs(before - after).sum(axis=1).mean() / 2),
        n_sure=int(sure.sum()),
        sure_kept=_share(stays & sure_after, sure),
        sure_turned=_share(~stays & sure_after, sure),
        sure_before=float(sure.mean()),
        sure_after=float(sure_after.mean()),
        n_labelled=int(known.sum()),
        accuracy_before=accuracy[0],
        accuracy_after=accuracy[1],
        change_interval=interval(changes, point=accuracy[1] - accuracy[0]),
    )


def _bounds(draws: list[Floats], *, point: float, n_units: int) -> tuple[float, float] | None:
    pair = interval(draws, point=point)
    if pair is None or 0 < point < 1:
        return pair
    # 0 of n units did otherwise: the share p for which that has a chance of 5 %.
    doubt = 1 - (1 - LEVEL) ** (1 / n_units)
    return (1 - doubt, 1.0) if point == 1 else (0.0, doubt)


def _share(what: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> float:
    return float(what[of].mean()) if of.any() else float("nan")


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return list(value) if isinstance(value, tuple) else value
