"""The company that a track keeps: what the sound of the artist's other tracks says.

Where a whole library or album is at hand, a track need not be judged alone. Its artist's name then
counts not for its letters but for which other tracks it joins. No label enters: only the answers
for the other tracks do. It holds as far as artists keep to one genre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import BundleError, DataError
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.prediction import Branch, Prediction

__all__ = ["COMPANY", "Company", "company", "pool_company"]

Floats = npt.NDArray[np.float64]

_FLOOR = 1e-12

#: What an answer rests on, beside the rest, where the artist's other tracks had a say.
COMPANY = "the artist's other tracks"


def company(
    probabilities: npt.ArrayLike, artists: Sequence[str | None]
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Mean log-probabilities of the other tracks of each track's artist.

    Parameters
    ----------
    probabilities : array-like [shape=(n, k), float]
        Answers for the tracks, one by one.
    artists : sequence of n str or None
        None and "" are tracks of no known artist, which have no company.

    Returns
    -------
    log_p : np.ndarray [shape=(n, k), float64]
        Rows of zeros where there are no others.
    others : np.ndarray [shape=(n,), int64]
        How many there are.

    Raises
    ------
    DataError
        If lengths differ.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) != len(artists):
        raise DataError(f"probabilities have the shape {p.shape}, there are {len(artists)} artists")
    keys = [str(name).casefold() if name else f"\0{i}" for i, name in enumerate(artists)]
    _, unit = np.unique(keys, return_inverse=True)
    log_p = np.log(np.maximum(p, _FLOOR))
    total = np.zeros((int(unit.max()) + 1 if len(unit) else 0, p.shape[1]))
    np.add.at(total, unit, log_p)
    others = np.bincount(unit)[unit] - 1 if len(unit) else unit
    mean = (total[unit] - log_p) / np.maximum(others, 1)[:, None]
    return np.where(others[:, None] > 0, mean, 0.0), others.astype(np.int64)


def pool_company(
    probabilities: npt.ArrayLike,
    artists: Sequence[str | None],
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
) -> Floats:
    """Each track's answer, with what the artist's other tracks say added to it.

    Parameters
    ----------
    probabilities, artists
        As for :func:`company`.
    weight : float >= 0
        Of the mean of the others, beside the track's own 1; 0 changes nothing.
    temperature : float > 0
        What the sum is divided by.

    Returns
    -------
    np.ndarray [shape=(n, k), float64]
        Exactly as given for tracks without company.

    Examples
    --------
    >>> pool_company([[0.6, 0.4], [0.1, 0.9], [0.6, 0.4]], ["a", "a", None]).round(2).tolist()
    [[0.14, 0.86], [0.14, 0.86], [0.6, 0.4]]
    """
    if weight < 0:
        raise DataError(f"weight is {weight}; it is 0 or more")
    p = np.asarray(probabilities, dtype=np.float64)
    log_p, others = company(p, artists)
    pooled = apply_temperature(np.log(np.maximum(p, _FLOOR)) + weight * log_p, temperature)
    return np.where(others[:, None] > 0, pooled, p)


# What a prediction keeps of its own, whatever the artist's other tracks say.
_OWN = frozenset(
    ("path", "duration", "title", "artist", "tagged_genres", "timeline", "similar", "position")
)


@dataclass(frozen=True)
class Company:
    """How much the artist's other tracks count in a recogniser, and when it is sure then.

    Attributes
    ----------
    weight, temperature : float
        See :func:`pool_company`.
    threshold : float or None
        An answer is sure where its highest probability reaches this; None is never sure.
    quantile : float
        Of the conformal score ``1 - probability``.
    """

    weight: float
    temperature: float
    threshold: float | None
    quantile: float

    @classmethod
    def of_card(cls, card: Mapping[str, Any], *, where: str = "the bundle") -> Company:
        """What a card says under "company".

        Raises
        ------
        BundleError
            If it says nothing, or what cannot be.
        """
        said = card.get("company")
        if said is None:
            raise BundleError(
                f"{where}: was never asked about several tracks of an artist together; use a "
                "bundle that was, such as the default one"
            )
        try:
            threshold = None if said["threshold"] is None else float(said["threshold"])
            found = cls(
                float(said["weight"]),
                float(said["temperature"]),
                threshold,
                float(said["quantile"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{where}: key company has no valid {error}; get the bundle again"
            ) from error
        shares = (found.quantile, 0.0 if found.threshold is None else found.threshold)
        if found.weight < 0 or found.temperature <= 0 or not all(0 <= v <= 1 for v in shares):
            raise BundleError(f"{where}: key company holds what cannot be; get the bundle again")
        return found

    def answer(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Judge tracks together, by the names of their artists.

        Parameters
        ----------
        predictions : sequence of n Prediction
            Each track by itself, all of one recogniser.

        Returns
        -------
        list of n Prediction
            In the same order. A track without a known artist, or the only one of its artist, keeps
            its answer; a doubt that is not about probabilities stays.
        """
        if not predictions:
            return []
        genres = sorted(predictions[0].probabilities)
        p = np.array([[one.probabilities[genre] for genre in genres] for one in predictions])
        artists = [one.artist for one in predictions]
        pooled = pool_company(p, artists, weight=self.weight, temperature=self.temperature)
        others = company(p, artists)[1]
        return [
            self._answer(one, dict(zip(genres, row.tolist(), strict=True))) if n else one
            for one, row, n in zip(predictions, pooled, others.tolist(), strict=True)
        ]

    def _answer(self, one: Prediction, probabilities: dict[str, float]) -> Prediction:
        kept = {
            field.name: getattr(one, field.name)
            for field in dataclasses.fields(one)
            if field.name in _OWN
        }
        branches = tuple(
            Branch(branch.path, branch.probability * probabilities[top] / one.probabilities[top])
            for branch in one.branches
            if one.probabilities[top := branch.path[0]] > 0
        )
        return Prediction.from_probabilities(
            probabilities,
            threshold=self.threshold,
            quantile=self.quantile,
            doubt=one.doubt,
            sources=(*one.sources, COMPANY),
            branches=tuple(sorted(branches, key=lambda branch: -branch.probability)),
            **kept,
        )
