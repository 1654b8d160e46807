"""t-SNE (van der Maaten & Hinton 2008) that keeps its map, so that new tracks can be placed on it.

openTSNE does the work. Neighbours are exact here, so that a seed gives the same map every time.
In 2-D the repulsion of many rows is interpolated on a grid, else it comes from a Barnes-Hut tree.
New rows are always placed with the tree: openTSNE's grid knows no 3-D, and in 2-D the tree places
them better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import MissingExtraError
from genrescope.explain.maps.quality import nearest

try:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn
    from openTSNE.tsne import PartialTSNEEmbedding
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the laboratory", extra="lab", package="openTSNE") from error

__all__ = ["FEWEST_ROWS", "ROWS_WANTED", "fit", "perplexity_for", "place", "settings_for"]

FEWEST_ROWS = 10
_PERPLEXITY = 30.0
ROWS_WANTED = 91  # for the perplexity above: three times as many neighbours have a say
_EXAGGERATION = 12.0  # of the attraction, while the map takes shape
# While it does, and after. Twice as many, as is usual, take twice as long and were not seen to
# gain trustworthiness.
_STEPS = (100, 250)
_GRID_FROM = 3_000  # rows; with fewer, the tree is faster also in 2-D
_THETA = 0.8  # of the Barnes-Hut tree; 0.5 takes twice as long and gains 0.001 of trustworthiness
_START = 1e-4  # spread of the first axis at the start
_CHUNK = 20_000  # rows placed at once, so that memory is bounded
# Rows are placed with a gentler step: those that are there do not give way.
_PLACING: dict[str, Any] = {
    "n_iter": 100,
    "learning_rate": 0.1,
    "exaggeration": 1.5,
    "momentum": 0.8,
    "max_grad_norm": 0.25,
}
_PLACE_BETWEEN = 25  # a row starts at the median of so many neighbours

Floats = NDArray[np.float64]


def perplexity_for(n: int) -> float:
    """About how many neighbours a row has: 30, less where there are fewer than 91 rows.

    Parameters
    ----------
    n : int
        Rows to fit.

    Examples
    --------
    >>> perplexity_for(5000), perplexity_for(31)
    (30.0, 10.0)
    """
    return min(_PERPLEXITY, (n - 1) / 3)


def settings_for(n: int, *, dims: int) -> dict[str, Any]:
    """How :func:`fit` would fit `n` rows, fit for JSON."""
    tree = dims == 3 or n < _GRID_FROM
    return {
        "perplexity": round(perplexity_for(n), 2),
        "early_exaggeration": _EXAGGERATION,
        "early_exaggeration_iterations": _STEPS[0],
        "iterations": _STEPS[1],
        "initialisation": "PCA",
        "repulsion": "Barnes-Hut" if tree else "interpolation",
        **({"theta": _THETA} if tree else {}),
        "placing": {"repulsion": "Barnes-Hut", "theta": _THETA, **_PLACING},
    }


def fit(x: NDArray[np.floating[Any]], *, dims: int, seed: int = 0) -> Floats:
    """Draw a map.

    Parameters
    ----------
    x : np.ndarray [shape=(n, d)]
        Principal components, the strongest first; at least :data:`FEWEST_ROWS` rows.
    dims : 2 or 3
        Of the map.
    seed : int
        Of the jitter that keeps equal rows from staying on one spot.

    Returns
    -------
    np.ndarray [shape=(n, dims), float64]
        Positions, the middle of their range at 0.
    """
    perplexity = perplexity_for(len(x))
    neighbours, distances = nearest(x, k=int(3 * perplexity))
    affinities = PrecomputedAffinities(
        joint_probabilities_nn(neighbours, distances, [perplexity]), normalize=False
    )
    start = np.zeros((len(x), dims))
    start[:, : x.shape[1]] = x[:, :dims]
    start *= _START / max(float(start[:, 0].std()), np.finfo(np.float64).tiny)
    start += np.random.default_rng(seed).normal(scale=_START / 100, size=start.shape)
    embedding = _on(start, affinities, method="bh" if dims == 3 or len(x) < _GRID_FROM else "fft")
    steps = {"momentum": 0.8, "inplace": True}
    embedding.optimize(_STEPS[0], exaggeration=_EXAGGERATION, **steps)
    embedding.optimize(_STEPS[1], **steps)
    positions: Floats = np.array(embedding, dtype=np.float64)
    positions -= (positions.max(axis=0) + positions.min(axis=0)) / 2
    return positions


def place(
    new: NDArray[np.floating[Any]],
    x: NDArray[np.floating[Any]],
    positions: NDArray[np.floating[Any]],
) -> Floats:
    """Place rows on a map that is there; each for itself, and nothing that is there moves.

    Parameters
    ----------
    new : np.ndarray [shape=(m, d)]
        Rows to place.
    x : np.ndarray [shape=(n, d)]
        Rows of the map.
    positions : np.ndarray [shape=(n, dims)]
        Where they lie.

    Returns
    -------
    np.ndarray [shape=(m, dims), float64]
    """
    perplexity = perplexity_for(len(x) + 1)
    k = max(int(3 * perplexity), min(_PLACE_BETWEEN, len(x)))
    there = positions.astype(np.float64)
    none = PrecomputedAffinities(np.eye(len(x), k=1))
    reference = _on(there, none, method="bh")
    placed = [np.empty((0, there.shape[1]))]
    for at in range(0, len(new), _CHUNK):
        neighbours, distances = nearest(new[at : at + _CHUNK], x, k=k)
        near = slice(0, int(3 * perplexity))
        partial = PartialTSNEEmbedding(
            np.median(there[neighbours[:, :_PLACE_BETWEEN]], axis=1),
            reference,
            joint_probabilities_nn(
                neighbours[:, near],
                distances[:, near],
                [perplexity],
                symmetrize=False,
                normalization="point-wise",
                n_reference_samples=len(x),
            ),
            negative_gradient_method="bh",
            theta=_THETA,
            dof=1,
            n_jobs=1,
        )
        partial.optimize(inplace=True, **_PLACING)
        placed.append(np.array(partial, dtype=np.float64))
    return np.concatenate(placed)


def _on(positions: Floats, affinities: Any, *, method: str) -> Any:
    # One thread: sums in another order lead to another map.
    return TSNEEmbedding(
        positions, affinities, negative_gradient_method=method, theta=_THETA, dof=1, n_jobs=1
    )
