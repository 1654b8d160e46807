"""What the explanation of models comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.plain import fields_of

__all__ = ["Explanations", "Importance", "TrackExplanation"]

Floats = NDArray[np.float64]
Ends = tuple[float, float, float]  # mean, low, high


@dataclass(frozen=True, eq=False)
class Importance:
    """How much a model uses each feature; of the model, not of the music.

    Attributes
    ----------
    kind : {"impurity", "permutation", "shap"}
    model : str
        Its name in its own library.
    features : tuple of d str
        In the order of the table.
    mean, low, high : np.ndarray [shape=(d,), float64]
        The importance and the ends of its spread.
    spread_of : str
        What ``low`` and ``high`` are about.
    unit : str
        Of ``mean``.
    by_group : dict of family -> (mean, low, high)
        The same of whole families, the most important first.
    per_genre : dict of genre -> np.ndarray [shape=(d,), float64], or None
        For "shap": mean absolute contribution to the genre, with the sign of ``direction``.
    warning : str
        Where the figures mislead.
    seconds : float
        CPU time, the training of the model included.
    noise : float or None
        For "impurity": what a column of random numbers gets. A feature below says nothing.
    accuracy, accuracy_low, accuracy_high : np.ndarray [shape=(d,), float64], or None
        For "permutation": the same as loss of accuracy, 0.01 being one point.
    accuracy_by_group : dict of family -> (mean, low, high), or None
    direction : dict of genre -> np.ndarray [shape=(d,), float64], or None
        For "shap": correlation between the rank of the feature and its contribution to the genre.
        Near 1: high values speak for the genre; near -1: low values do; near 0: neither.
    n : int
        Tracks it was measured on.
    """

    kind: str
    model: str
    features: tuple[str, ...]
    mean: Floats
    low: Floats
    high: Floats
    spread_of: str
    unit: str
    by_group: dict[str, Ends]
    per_genre: dict[str, Floats] | None
    warning: str
    seconds: float
    noise: float | None = None
    accuracy: Floats | None = None
    accuracy_low: Floats | None = None
    accuracy_high: Floats | None = None
    accuracy_by_group: dict[str, Ends] | None = None
    direction: dict[str, Floats] | None = None
    n: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names; NaN becomes None."""
        return fields_of(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Importance:
        """The inverse of :meth:`to_dict`."""
        made = dict(stored)
        made["features"] = tuple(made["features"])
        for name in ("mean", "low", "high", "accuracy", "accuracy_low", "accuracy_high"):
            if made[name] is not None:
                made[name] = np.array(made[name], dtype=np.float64)
        for name in ("per_genre", "direction"):
            if made[name] is not None:
                made[name] = {g: np.array(v, dtype=np.float64) for g, v in made[name].items()}
        for name in ("by_group", "accuracy_by_group"):
            if made[name] is not None:
                made[name] = {
                    family: tuple(np.nan if v is None else v for v in ends)
                    for family, ends in made[name].items()
                }
        return cls(**made)


@dataclass(frozen=True, eq=False)
class TrackExplanation:
    """What each feature added to the answer for one track.

    Attributes
    ----------
    track_id, title, artist, true_genre : str
        The track.
    genre : str
        What the model takes it for.
    probability : float
        Of ``genre``.
    base : float
        What the model expects of any track, before it has looked.
    features : tuple of d str
    values : np.ndarray [shape=(d,), float64]
        Of this track; NaN where missing.
    contributions : np.ndarray [shape=(d,), float64]
        ``base`` and these add up to ``scores[genre]``.
    scores : dict of genre -> float
        Log-odds of each genre against the (geometric) mean genre; their softmax is the
        probabilities.
    why : str
        Why this track is shown.
    held_out : bool
        Whether the model was trained without the track's artist. If not, it is too sure.
    """

    track_id: str
    title: str
    artist: str
    true_genre: str
    genre: str
    probability: float
    base: float
    features: tuple[str, ...]
    values: Floats
    contributions: Floats
    scores: dict[str, float]
    why: str = ""
    held_out: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names; NaN becomes None."""
        return fields_of(self)


@dataclass(frozen=True, eq=False)
class Explanations:
    """What :func:`~genrescope.explain.importance.models.explain_models` found.

    Attributes
    ----------
    impurity, permutation, shap : Importance
    tracks : tuple of TrackExplanation
    sentences : tuple of str
        What can be concluded, and what not.
    accuracy : dict of model -> float
        On the held-out tracks of the first fold: how much the explained models know.
    cached : bool
        Whether the figures were read from the cache.
    """

    impurity: Importance
    permutation: Importance
    shap: Importance
    tracks: tuple[TrackExplanation, ...]
    sentences: tuple[str, ...]
    accuracy: dict[str, float]
    cached: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The attributes under their names, fit for ``json.dumps(..., allow_nan=False)``."""
        return fields_of(self)
