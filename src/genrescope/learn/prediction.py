"""What a recogniser says about one track."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from genrescope.errors import DataError
from genrescope.learn.calibrate import prediction_set
from genrescope.learn.parts.known import Neighbour

__all__ = ["Branch", "FailedPrediction", "Moment", "Prediction", "ranked"]

#: The usual reason for "not sure".
LOW_CONFIDENCE = "no genre is probable enough"


class Moment(NamedTuple):
    """One window of a track, and what was recognised in it.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the track.
    probabilities : dict of str to float
        For this window alone, high to low; they sum to 1.
    """

    start: float
    end: float
    probabilities: dict[str, float]

    @property
    def best(self) -> str:
        """The most probable genre of this window."""
        return next(iter(self.probabilities))


class Branch(NamedTuple):
    """A genre of the tree with all that it is part of, from the top.

    Attributes
    ----------
    path : tuple of str
        Such as ``("Rock", "Punk")``.
    probability : float
        That the last of them fits; never more than that of the one above it.
    """

    path: tuple[str, ...]
    probability: float

    def __str__(self) -> str:
        return " > ".join(self.path)


@dataclass(frozen=True)
class Prediction:
    """What was recognised in one track.

    Attributes
    ----------
    path : Path or None
        The file; None where samples were given.
    genre : str or None
        The genre, or None where the recogniser is not sure enough to say one.
    best : str
        The most probable genre, sure or not.
    probabilities : dict of str to float
        Every genre, high to low; they sum to 1.
    confidence : float
        The highest probability.
    sure : bool
        Whether `confidence` reaches the threshold on the card of the bundle, and the sound is
        like music that it has learnt from.
    reason : str
        Why it is not sure, in words; empty where it is.
    plausible : tuple of str
        The conformal set: as many genres, high to low, as it takes to hold the right one
        at the level that the card names (nine times in ten, say). Never empty.
    duration : float
        Of the whole track, in seconds.
    title, artist : str or None
        From the tags of the file.
    tagged_genres : tuple of str
        The genres that the tags name; they play no part in the recognition.
    timeline : tuple of Moment
        One for each window that was heard, by start.
    sources : tuple of str
        What the answer rests on: "sound", "title", ...
    branches : tuple of Branch
        Genres of the tree that fit, each as precise as it can be said; high to low. Empty where
        the bundle knows no sub-genres.
    similar : tuple of Neighbour
        Known tracks that sound most like it, the nearest first. Empty where the bundle keeps none.
    position : tuple of three float, or None
        Where it lies on the map of known tracks, each from about -1 to 1.

    Examples
    --------
    >>> prediction = Prediction.from_probabilities(
    ...     {"Rock": 0.3, "Folk": 0.6, "Pop": 0.1}, threshold=0.5, quantile=0.75
    ... )
    >>> prediction.genre, prediction.plausible
    ('Folk', ('Folk', 'Rock'))
    >>> prediction.top(2)
    [('Folk', 0.6), ('Rock', 0.3)]
    >>> print(prediction)
    Folk (60 %)
    >>> print(Prediction.from_probabilities({"Rock": 0.4, "Folk": 0.6}, threshold=0.7))
    not sure (best guess Folk, 60 %)
    """

    path: Path | None
    genre: str | None
    best: str
    probabilities: dict[str, float]
    confidence: float
    sure: bool
    plausible: tuple[str, ...]
    duration: float = 0.0
    title: str | None = None
    artist: str | None = None
    tagged_genres: tuple[str, ...] = ()
    timeline: tuple[Moment, ...] = field(default=(), repr=False)
    reason: str = ""
    sources: tuple[str, ...] = ("sound",)
    branches: tuple[Branch, ...] = ()
    similar: tuple[Neighbour, ...] = ()
    position: tuple[float, float, float] | None = None

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Mapping[str, float],
        *,
        threshold: float | None,
        quantile: float = 1.0,
        doubt: str = "",
        **rest: Any,
    ) -> Prediction:
        """Decide, from probabilities, on a genre and on what is plausible.

        Parameters
        ----------
        probabilities : mapping of str to float
            For every genre, in any order; they sum to 1.
        threshold : float or None
            Sure where the highest probability reaches this; None is never sure.
        quantile : float
            Of the conformal score ``1 - probability``; 1 makes every genre plausible.
        doubt : str
            Why it cannot be sure, whatever the probabilities are.
        **rest
            The other attributes.

        Returns
        -------
        Prediction
        """
        ordered = ranked(list(probabilities), list(probabilities.values()))
        best, confidence = next(iter(ordered.items()))
        likely = threshold is not None and confidence >= threshold
        sure = likely and not doubt
        in_set = prediction_set(list(ordered.values()), quantile)
        return cls(
            path=rest.pop("path", None),
            genre=best if sure else None,
            best=best,
            probabilities=ordered,
            confidence=confidence,
            sure=sure,
            reason=doubt or ("" if likely else LOW_CONFIDENCE),
            plausible=tuple(name for name, kept in zip(ordered, in_set, strict=True) if kept),
            **rest,
        )

    @property
    def doubt(self) -> str:
        """Why it is not sure whatever the probabilities are; empty where there is no such doubt."""
        return "" if self.reason == LOW_CONFIDENCE else self.reason

    def top(self, k: int = 3) -> list[tuple[str, float]]:
        """The `k` most probable genres with their probabilities, high to low."""
        if k < 1:
            raise DataError(f"k is {k}, expected 1 or more genres")
        return list(self.probabilities.items())[:k]

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has; probabilities to eight digits."""
        return {
            "path": None if self.path is None else str(self.path),
            "genre": self.genre,
            "best": self.best,
            "confidence": round(self.confidence, 8),
            "sure": self.sure,
            "reason": self.reason,
            "plausible": list(self.plausible),
            "probabilities": _rounded(self.probabilities),
            "duration": round(self.duration, 3),
            "title": self.title,
            "artist": self.artist,
            "tagged_genres": list(self.tagged_genres),
            "sources": list(self.sources),
            "branches": [
                {"path": list(branch.path), "probability": round(branch.probability, 8)}
                for branch in self.branches
            ],
            "similar": [one.to_dict() for one in self.similar],
            "position": None if self.position is None else [round(v, 5) for v in self.position],
            "timeline": [
                {
                    "start": round(moment.start, 3),
                    "end": round(moment.end, 3),
                    "best": moment.best,
                    "probabilities": _rounded(moment.probabilities),
                }
                for moment in self.timeline
            ],
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Prediction:
        """What :meth:`to_dict` told, as a prediction again.

        Parameters
        ----------
        told : mapping
            As of :meth:`to_dict`, perhaps by way of JSON.

        Returns
        -------
        Prediction

        Raises
        ------
        DataError
            If something is missing or of another type.
        """
        try:
            return cls(
                path=None if told["path"] is None else Path(told["path"]),
                genre=told["genre"],
                best=str(told["best"]),
                probabilities={str(k): float(v) for k, v in told["probabilities"].items()},
                confidence=float(told["confidence"]),
                sure=bool(told["sure"]),
                plausible=tuple(told["plausible"]),
                duration=float(told["duration"]),
                title=told["title"],
                artist=told["artist"],
                tagged_genres=tuple(told["tagged_genres"]),
                timeline=tuple(
                    Moment(float(one["start"]), float(one["end"]), dict(one["probabilities"]))
                    for one in told["timeline"]
                ),
                reason=str(told["reason"]),
                sources=tuple(told["sources"]),
                branches=tuple(
                    Branch(tuple(one["path"]), float(one["probability"]))
                    for one in told["branches"]
                ),
                similar=tuple(Neighbour.from_dict(one) for one in told["similar"]),
                position=None if told["position"] is None else _three(told["position"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"this is not what Prediction.to_dict gives ({type(error).__name__}: {error}); "
                "recognise the track again"
            ) from error

    def _repr_html_(self) -> str:
        from genrescope.learn.notebook import prediction_html

        return prediction_html(self)

    def __str__(self) -> str:
        share = f"{self.confidence:.0%}".replace("%", " %")
        return (
            f"{self.best} ({share})" if self.sure else f"not sure (best guess {self.best}, {share})"
        )


@dataclass(frozen=True)
class FailedPrediction:
    """A file that could not be recognised, and why.

    Attributes
    ----------
    path : Path
        The file.
    error : str
        Name of the error class, such as ``"AudioCorruptError"``; see
        :mod:`genrescope.errors`.
    message : str
        What is wrong, and the way out.
    """

    path: Path
    error: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """The three attributes, as strings."""
        return {"path": str(self.path), "error": self.error, "message": self.message}

    def __str__(self) -> str:
        return f"{self.error}: {self.message}"


def ranked(genres: Iterable[str], probabilities: Iterable[float]) -> dict[str, float]:
    """Genres and probabilities as a dictionary, high to low; ties by name."""
    pairs = zip(genres, probabilities, strict=True)
    return {name: float(p) for name, p in sorted(pairs, key=lambda pair: (-pair[1], pair[0]))}


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: round(p, 8) for name, p in probabilities.items()}
