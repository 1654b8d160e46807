"""Sound and what is written about a track, put together; each of them may be missing.

The part "text" of a bundle turns each source (title, artist, ...) into log-probabilities. They are
stacked on those of the sound: a weighted sum, divided by a temperature. Weights, temperature,
threshold of "not sure" and conformal quantile are those of the very combination of sources that is
known, all fitted on artists that no model had met. Where nothing is known but the sound, the answer
is exactly that of the sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import BundleError, DataError
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.parts.about import NUMBERS, TEXT_SOURCES, About
from genrescope.learn.parts.text_features import TextSettings, count_rows, ngrams
from genrescope.learn.prediction import Prediction

if TYPE_CHECKING:
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.parts.base import Part

__all__ = [
    "PART_NAME",
    "SOUND",
    "Combination",
    "MetadataHead",
    "NumberScale",
    "predict_table",
]

Floats = npt.NDArray[np.float64]

#: Of the part in a bundle, and of the kind and version of its settings.
PART_NAME = "text"
KIND, VERSION = "metadata", 1

SOUND = "sound"
_FLOOR = 1e-12  # of probabilities, before the logarithm
_LEAST_NUMBERS = 30  # tracks for which a number has to be known, to be read at all
_BATCH = 128  # rows that are laid out at a time


@dataclass(frozen=True)
class Combination:
    """How the sources of one combination are put together.

    Attributes
    ----------
    weights : dict of str to float
        Source -> what its log-probabilities are multiplied by; the first source has 1.
    temperature : float
        What their sum is divided by.
    threshold : float or None
        An answer is sure where its highest probability reaches this; None is never sure.
    quantile : float
        Of the conformal score ``1 - probability``.
    """

    weights: dict[str, float]
    temperature: float
    threshold: float | None
    quantile: float

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, sound first."""
        return tuple(self.weights)

    def fuse(self, log_p: Mapping[str, npt.ArrayLike]) -> Floats:
        """Probabilities from the log-probabilities [n, k] of every source."""
        total = sum(
            weight * np.asarray(log_p[name], dtype=np.float64)
            for name, weight in self.weights.items()
        )
        return apply_temperature(np.asarray(total), self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """For the card."""
        return {
            "sources": list(self.sources),
            "weights": dict(self.weights),
            "temperature": self.temperature,
            "threshold": self.threshold,
            "quantile": self.quantile,
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Combination:
        """From a card; ValueError, KeyError or TypeError where it cannot be."""
        weights = {str(name): float(said["weights"][name]) for name in said["sources"]}
        threshold = None if said["threshold"] is None else float(said["threshold"])
        made = cls(weights, float(said["temperature"]), threshold, float(said["quantile"]))
        numbers = [*weights.values(), made.temperature, made.quantile, made.threshold or 0.0]
        if not weights or not all(map(math.isfinite, numbers)) or made.temperature <= 0:
            raise ValueError(f"the combination {' + '.join(weights)} has impossible numbers")
        if not (0 <= made.quantile <= 1 and 0 <= (made.threshold or 0.0) <= 1):
            raise ValueError(f"the combination {' + '.join(weights)} has no shares")
        return made


@dataclass(frozen=True)
class NumberScale:
    """How numbers become inputs: standardised, with their squares, and whether they are known.

    Attributes
    ----------
    mean, scale : tuple of float
        Of the training tracks for which they are known, in the order of
        :data:`genrescope.learn.parts.about.NUMBERS`. A scale of 0 stands for a number that was
        hardly ever known in training, and is not read.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, values: Floats) -> NumberScale:
        """From numbers [n, len(NUMBERS)], NaN where not known."""
        mean, scale = [], []
        for column in values.T:
            known = column[np.isfinite(column)]
            enough = len(known) >= _LEAST_NUMBERS
            mean.append(float(known.mean()) if enough else 0.0)
            scale.append(max(float(known.std()), 1e-6) if enough else 0.0)
        return cls(tuple(mean), tuple(scale))

    def known(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which numbers [n, len(NUMBERS)] are known, and read."""
        read = np.array(self.scale) > 0
        known: npt.NDArray[np.bool_] = np.isfinite(np.asarray(values, dtype=np.float64)) & read
        return known

    def __call__(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Inputs [n, 3 * len(NUMBERS)]; what is not known is 0, and said to be."""
        given = np.asarray(values, dtype=np.float64)
        known = self.known(given)
        z = np.where(known, given - np.array(self.mean), 0.0) / np.maximum(self.scale, 1e-6)
        z = np.clip(z, -4.0, 4.0)  # a year 1200, or a track of a day
        return np.concatenate([z, z * z - known, known], axis=1).astype(np.float32)


class MetadataHead:
    """Answers from what is known about a track, beside its sound or without it.

    Parameters
    ----------
    part : Part
        The part "text" of a bundle.
    genres : sequence of str
        Of the bundle, in its order.

    Attributes
    ----------
    sources : tuple of str
        What it can read: some of "title", "artist", "album", "tags", "biography", "numbers".

    Raises
    ------
    BundleError
        If the part is of another kind or version, or for other genres.
    """

    def __init__(self, part: Part, genres: Sequence[str]) -> None:
        self.part = part
        self.genres = tuple(genres)
        said = part.settings
        try:
            if (said["kind"], said["version"]) != (KIND, VERSION):
                raise ValueError(
                    f"it is {said['kind']} version {said['version']}, this genrescope reads "
                    f"{KIND} version {VERSION}"
                )
            if tuple(said["genres"]) != self.genres:
                raise ValueError("it is for other genres than the bundle")
            self.sources: tuple[str, ...] = tuple(said["sources"])
            unknown = set(self.sources) - {*TEXT_SOURCES, "numbers"}
            if unknown or not self.sources:
                raise ValueError(f"it reads {', '.join(sorted(unknown)) or 'nothing'}")
            self._text = TextSettings.from_dict(said["text"])
            self._prior = np.asarray(said["prior"], dtype=np.float64)
            if self._prior.shape != (len(self.genres),) or not 0.99 < self._prior.sum() < 1.01:
                raise ValueError("its prior does not fit the genres")
            self._scale: NumberScale | None = None
            if "numbers" in self.sources:
                if tuple(said["numbers"]["names"]) != NUMBERS:
                    raise ValueError("it reads other numbers")
                self._scale = NumberScale(
                    tuple(map(float, said["numbers"]["mean"])),
                    tuple(map(float, said["numbers"]["scale"])),
                )
            found = [Combination.from_dict(each) for each in said["combinations"]]
        except BundleError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"the part {part.name} cannot be used ({error}); get the bundle again, or the "
                "version of genrescope that it was made with"
            ) from error
        self._combinations = {combination.sources: combination for combination in found}

    def known(self, about: About) -> tuple[str, ...]:
        """Which of its sources say something about a track."""
        return tuple(name for name in self.sources if self._says(name, about))

    def fuse(self, sound: npt.ArrayLike | None, about: About) -> tuple[Floats, tuple[str, ...]]:
        """The answer for one track, and what it rests on.

        Parameters
        ----------
        sound : array-like [shape=(k,)] or None
            Calibrated probabilities of the sound; None where there is no sound.
        about : About
            What is known besides.

        Returns
        -------
        probabilities : np.ndarray [shape=(k,), float64]
            They sum to 1. Exactly `sound` where nothing else is known; the shares of the genres
            in training where nothing at all is.
        sources : tuple of str
            Such as ``("sound", "title")``; empty where nothing is known.

        Raises
        ------
        DataError
            If `sound` is not k probabilities.
        """
        rows = None if sound is None else np.asarray(sound, dtype=np.float64)[np.newaxis]
        probabilities, sources = self.fuse_many(rows, [about])
        return probabilities[0], sources[0]

    def fuse_many(
        self, sound: npt.ArrayLike | None, abouts: Iterable[About]
    ) -> tuple[Floats, list[tuple[str, ...]]]:
        """As :meth:`fuse`, for n tracks: `sound` is [n, k] or None for all of them."""
        tracks = list(abouts)
        n, k = len(tracks), len(self.genres)
        heard = None if sound is None else self._checked(sound, (n, k))
        plans = [self._plan(about, with_sound=heard is not None) for about in tracks]
        out = np.tile(self._prior, (n, 1)) if heard is None else heard.copy()
        for first in range(0, n, _BATCH):
            groups: dict[tuple[str, ...], tuple[Combination, list[int]]] = {}
            for i, plan in enumerate(plans[first : first + _BATCH], start=first):
                if plan is not None:
                    groups.setdefault(plan.sources, (plan, []))[1].append(i)
            for plan, rows in groups.values():
                log_p = self._run([tracks[i] for i in rows])
                if heard is not None:
                    log_p[SOUND] = np.log(np.maximum(heard[rows], _FLOOR))
                out[rows] = plan.fuse(log_p)
        alone = () if heard is None else (SOUND,)
        return out, [alone if plan is None else plan.sources for plan in plans]

    def decision(self, sources: Iterable[str]) -> tuple[float | None, float]:
        """Threshold of "not sure" and conformal quantile for what an answer rests on.

        Parameters
        ----------
        sources : iterable of str
            As :meth:`fuse` gave them, in any order.

        Returns
        -------
        threshold : float or None
            None is never sure.
        quantile : float
            1 makes every genre plausible.

        Raises
        ------
        DataError
            If no such combination was fitted. Sound alone is one only where training was told of
            it; the card of the bundle has its own "abstention" and "conformal".
        """
        wanted = frozenset(sources)
        if not wanted:
            return None, 1.0
        for combination in self._combinations.values():
            if frozenset(combination.sources) == wanted:
                return combination.threshold, combination.quantile
        known = "; ".join(" + ".join(names) for names in self._combinations)
        raise DataError(
            f"no decision was fitted for {' + '.join(sorted(wanted))}; there are those for {known}"
        )

    def _plan(self, about: About, *, with_sound: bool) -> Combination | None:
        """The fitted combination with most of what is known; None for the sound (or nothing)."""
        known = self.known(about)
        first = (SOUND,) if with_sound else ()
        for size in range(len(known), 0, -1):
            for chosen in combinations(known, size):
                if found := self._combinations.get((*first, *chosen)):
                    return found
        return None

    def _says(self, source: str, about: About) -> bool:
        if source == "numbers":
            return self._scale is not None and bool(self._scale.known(about.numbers()).any())
        text = about.text(source)
        # "Techno" says nothing any more once genre words are masked.
        return text is not None and bool(ngrams(text, self._text))

    def _run(self, abouts: list[About]) -> dict[str, Floats]:
        inputs: dict[str, npt.NDArray[np.float32]] = {}
        for name in self.sources:
            if name == "numbers":
                scale = self._scale
                if scale is not None:
                    inputs[name] = scale([about.numbers() for about in abouts])
            else:
                texts = [about.text(name) or "" for about in abouts]
                inputs[name] = count_rows(texts, self._text)
        outputs = self.part.run(inputs)
        shape = (len(abouts), len(self.genres))
        found = {}
        for name in self.sources:
            values = outputs.get(f"{name}_log_p")
            if values is None or values.shape != shape:
                raise BundleError(
                    f"the part {self.part.name} gave no answer of the shape {shape} for {name}; "
                    "get the bundle again"
                )
            found[name] = values.astype(np.float64)
        return found

    def _checked(self, sound: npt.ArrayLike, shape: tuple[int, int]) -> Floats:
        p = np.asarray(sound, dtype=np.float64)
        right = p.shape == shape and np.isfinite(p).all() and (p >= 0).all()
        if not right or (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
            raise DataError(
                f"the sound's answer has the shape {p.shape}; expected {shape[1]} probabilities a "
                f"track that sum to 1, for {shape[0]} tracks"
            )
        return p

    def __repr__(self) -> str:
        return f"MetadataHead({', '.join(self.sources)}; {len(self.genres)} genres)"


def predict_table(rows: Iterable[Mapping[str, Any] | About], bundle: Bundle) -> list[Prediction]:
    """Answers for tracks that there is no sound of.

    Each says by its ``sources`` that it rests on words alone. Such answers are weak, and their
    thresholds know it: most are "not sure".

    Parameters
    ----------
    rows : iterable of mapping or About
        Rows of a table, see :meth:`genrescope.learn.parts.about.About.from_row`.
    bundle : Bundle
        One with a part "text".

    Returns
    -------
    list of Prediction
        One a row, in their order.

    Raises
    ------
    BundleError
        If the bundle cannot read metadata.
    """
    if PART_NAME not in bundle.parts:
        raise BundleError(
            f"{bundle.name}: was trained on sound alone, so it says nothing about tracks without "
            'sound; use a bundle with a part "text", such as the default one'
        )
    head = MetadataHead(bundle.parts[PART_NAME], bundle.genres)
    abouts = [row if isinstance(row, About) else About.from_row(row) for row in rows]
    probabilities, sources = head.fuse_many(None, abouts)
    answers = []
    for about, row, used in zip(abouts, probabilities, sources, strict=True):
        threshold, quantile = head.decision(used)
        doubt = "" if used else "nothing that is known of it says anything"
        answers.append(
            Prediction.from_probabilities(
                dict(zip(head.genres, row.tolist(), strict=True)),
                threshold=threshold,
                quantile=quantile,
                doubt=doubt,
                duration=about.duration or 0.0,
                title=about.title,
                artist=about.artist,
                sources=used,
            )
        )
    return answers
