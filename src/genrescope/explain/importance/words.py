"""What the importance of features lets one conclude, and what not, in sentences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genrescope.explain.analysis.densities import label_of
from genrescope.explain.analysis.effects import ranks
from genrescope.explain.importance.types import Importance
from genrescope.explain.words import listed, plural

__all__ = ["conclude", "misleads"]

_CLEAR = 0.5  # |direction| from which "high values speak for" is said


def misleads(mean: NDArray[np.float64], *, noise: float) -> str:
    """The warning that goes with impurity.

    Parameters
    ----------
    mean : np.ndarray [shape=(d,), float64]
        Impurity importance of the features.
    noise : float
        That of a column of random numbers.

    Returns
    -------
    str
    """
    below = int((mean <= noise).sum())
    return (
        "Impurity is counted on the training tracks. It favours features with many different "
        "values, gives random numbers a share too "
        f"({noise:.4f} here; {below} of {len(mean)} features get no more), and divides what "
        "correlated features know among them. Believe permutation on held-out tracks where the "
        "two differ."
    )


def conclude(
    found: tuple[Importance, Importance, Importance],
    accuracy: dict[str, float],
    *,
    group_name: str,
) -> tuple[str, ...]:
    """The findings, one a sentence or two.

    Parameters
    ----------
    found : tuple of Importance
        Impurity, permutation, SHAP.
    accuracy : dict of model -> float
        On held-out tracks.
    group_name : str
        What a group is: "artist".

    Returns
    -------
    tuple of str
    """
    impurity, permutation, shap = found
    known = " and ".join(f"{name} is right for {share:.1%}" for name, share in accuracy.items())
    out = [
        f"Explained are models that are often wrong: on the held-out tracks of one fold {known}. "
        "Importance says what these models use, not what makes a genre, and nothing about causes."
    ]
    out += _families(permutation)
    out += _singles(permutation)
    out += _compared(impurity, permutation)
    out += _directions(shap)
    out.append(
        f"Intervals resample whole {plural(group_name)} of held-out tracks; they do not cover what "
        "another draw of training tracks or another model would change."
    )
    return tuple(out)


def _families(permutation: Importance) -> list[str]:
    by = permutation.accuracy_by_group or {}
    if len(by) < 2:
        return []
    names = list(by)
    called = {n: label_of(n) if n in permutation.features else n for n in names}
    sure = [name for name in names if by[name][1] > 0]
    if not sure:
        return ["Shuffling any one family of features costs no accuracy that can be measured."]
    parts = []
    for name in sure[:3]:
        mean, low, high = (100 * v for v in by[name])
        parts.append(f"{called[name]} {mean:.1f} points of accuracy ({low:.1f} to {high:.1f})")
    words = f"Shuffled as a whole on held-out tracks, these cost most: {listed(parts, most=4)}."
    rest = [name for name in names if name not in sure]
    if rest:
        words += f" No measurable loss: {listed([called[name] for name in rest], most=4)}."
    return [words]


def _singles(permutation: Importance) -> list[str]:
    d = len(permutation.features)
    sure = int((permutation.low > 0).sum())
    order = np.argsort(-permutation.mean, kind="stable")
    first = int(order[0])
    words = (
        f"Of {d} single features, {sure} raise the log-loss when shuffled (interval above 0), "
        f"{label_of(permutation.features[first])} most "
        f"({permutation.mean[first]:.3f}, {permutation.low[first]:.3f} to "
        f"{permutation.high[first]:.3f})."
    )
    if sure < d / 2 or permutation.mean[first] < 0.05:
        words += " Where features are correlated, the others stand in for the shuffled one."
    if sure > 1:
        by_chance = round(0.025 * d)
        if by_chance:
            words += f" About {by_chance} of {d} intervals would lie above 0 by chance."
    return [words]


def _compared(impurity: Importance, permutation: Importance) -> list[str]:
    noise = impurity.noise or 0.0
    d = len(impurity.features)
    above = impurity.mean > noise
    useless = above & (permutation.low <= 0)
    words = (
        f"By impurity {int(above.sum())} of {d} features do better than random numbers; for "
        f"{int(useless.sum())} of these, shuffling costs nothing that can be measured on held-out "
        "tracks."
    )
    if d >= 5:
        a, b = (ranks(one.mean)[0] for one in (impurity, permutation))
        if a.std() > 0 and b.std() > 0:
            words += (
                f" The two orders agree with a rank correlation of {np.corrcoef(a, b)[0, 1]:.2f}."
            )
    return [words]


def _directions(shap: Importance) -> list[str]:
    """For a few genres, the feature that moves them most and in which direction."""
    if not shap.per_genre or not shap.direction:
        return []
    found = []
    for genre, size in shap.per_genre.items():
        j = int(np.abs(size).argmax())
        way = float(shap.direction[genre][j])
        if abs(size[j]) <= 0 or abs(way) < _CLEAR:
            continue
        value = "high" if way > 0 else "low"
        found.append((abs(float(size[j])), f"{value} {shap.features[j]} for {genre}"))
    found.sort(key=lambda item: -item[0])
    j = int(shap.mean.argmax())
    words = (
        f"In {shap.model}, {label_of(shap.features[j])} moves answers most: "
        f"{shap.mean[j]:.3f} log-odds on average ({shap.low[j]:.3f} to {shap.high[j]:.3f})."
    )
    if found:
        strongest = [text for _, text in found[:3]]
        words += f" What speaks for a genre most: {listed(strongest, most=4)}."
    return [words]
