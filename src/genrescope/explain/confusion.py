"""Which genres a model takes for which, and the tracks on which it is most sure and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.resampling import check_predictions

try:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the order of genres", extra="lab", package="scipy") from error

__all__ = ["ConfusedPair", "Confusion", "Example", "confusion", "similarity_order", "wilson_low"]

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Example:
    """A track that was taken for another genre.

    Attributes
    ----------
    track_id : str
        Its number; "row 17" where the table has none.
    title : str
        Its title; the number where it has none.
    artist : str
        Empty where not known.
    probability : float
        Of the genre that it was taken for.
    probability_of_true : float
        Of its own genre.
    """

    track_id: str
    title: str
    artist: str
    probability: float
    probability_of_true: float


@dataclass(frozen=True)
class ConfusedPair:
    """Tracks of one genre that were taken for another.

    Attributes
    ----------
    true, taken_for : str
        Genres.
    n : int
        Such tracks.
    n_true : int
        Scored tracks of the genre ``true``.
    share : float
        n / n_true.
    examples : tuple of Example
        Those with the highest probability of ``taken_for``, at most one of each artist.
    """

    true: str
    taken_for: str
    n: int
    n_true: int
    share: float
    examples: tuple[Example, ...] = ()

    @property
    def sentence(self) -> str:
        """The pair in words."""
        were = "was" if self.n == 1 else "were"
        text = (
            f"Of {self.n_true:,} {self.true} track{'s' * (self.n_true != 1)}, {self.n:,} "
            f"({100 * self.share:.0f} %) {were} taken for {self.taken_for}"
        )
        if not self.examples:
            return text + "."
        surest = self.examples[0]
        by = f" by {surest.artist}" if surest.artist else ""
        title = f"“{surest.title}”" if surest.title != surest.track_id else f"track {surest.title}"
        return (
            f"{text}; the surest of these is {title}{by} ({self.taken_for} "
            f"{100 * surest.probability:.0f} %, {self.true} "
            f"{100 * surest.probability_of_true:.0f} %)."
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it and the sentence, JSON-clean."""
        return {
            **asdict(self),
            "examples": [asdict(example) for example in self.examples],
            "sentence": self.sentence,
        }


@dataclass(frozen=True, eq=False)
class Confusion:
    """What a model answered for which genre.

    Attributes
    ----------
    model : str
        Its name.
    key : str
        Its key.
    genres : tuple of k str
        Ordered so that genres that are taken for each other are neighbours.
    counts : np.ndarray [shape=(k, k), int64]
        Tracks; rows are the true genres, columns the answers, both in the order of ``genres``.
    shares : np.ndarray [shape=(k, k), float64]
        The same as shares of the true genre: rows add up to 1, or are NaN without tracks.
    pairs : tuple of ConfusedPair
        The most confused first: by the share that is at least certain (lower end of Wilson's
        95 % interval), so that one track of a genre of two does not lead the list.
    order_note : str
        How the genres were ordered, in a sentence.
    """

    model: str
    key: str
    genres: tuple[str, ...]
    counts: NDArray[np.int64]
    shares: NDArray[np.float64]
    pairs: tuple[ConfusedPair, ...]
    order_note: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for ``json.dumps(..., allow_nan=False)``."""
        return {
            "model": self.model,
            "key": self.key,
            "genres": list(self.genres),
            "counts": self.counts.tolist(),
            "shares": [
                [None if np.isnan(share) else share for share in row]
                for row in self.shares.tolist()
            ],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "order_note": self.order_note,
        }


def confusion(
    data: TabularData, protocol: Protocol, run: ModelRun, *, n_pairs: int = 10, n_examples: int = 3
) -> Confusion:
    """Count what a model takes for what.

    Parameters
    ----------
    data : TabularData
        The table.
    protocol : Protocol
        Which rows were scored.
    run : ModelRun
        The model and its answers.
    n_pairs : int >= 0
        Most confused pairs to list; fewer where fewer are confused.
    n_examples : int >= 0
        Tracks to show for each.

    Returns
    -------
    Confusion

    Raises
    ------
    DataError
        A model that failed, or probabilities that do not fit the scored rows.
    """
    if run.probabilities is None:
        raise DataError(f"{run.key} gave no answers: {run.failure}; choose another model")
    rows, k = protocol.scored, len(data.genres)
    y, p = check_predictions(data.y[rows], run.probabilities, k=k)
    said = p.argmax(axis=1)
    counts = np.bincount(y * k + said, minlength=k * k).reshape(k, k).astype(np.int64)
    support = counts.sum(axis=1)
    low = wilson_low(counts, support[:, None])
    found = [(i, j) for i in range(k) for j in range(k) if i != j and counts[i, j]]
    found.sort(
        key=lambda ij: (
            -round(float(low[ij]), 12),
            -counts[ij],
            data.genres[ij[0]],
            data.genres[ij[1]],
        )
    )
    pairs = tuple(
        ConfusedPair(
            true=data.genres[i],
            taken_for=data.genres[j],
            n=int(counts[i, j]),
            n_true=int(support[i]),
            share=float(counts[i, j] / support[i]),
            examples=_examples(
                data, rows, p, where=(y == i) & (said == j), pair=(i, j), n=n_examples
            ),
        )
        for i, j in found[:n_pairs]
    )
    order = similarity_order(counts, data.genres)
    ordered = counts[np.ix_(order, order)]
    with np.errstate(invalid="ignore"):
        shares = ordered / ordered.sum(axis=1, keepdims=True)
    return Confusion(
        model=run.name,
        key=run.key,
        genres=tuple(data.genres[i] for i in order),
        counts=ordered,
        shares=shares,
        pairs=pairs,
        order_note=(
            "Genres are ordered so that those taken for each other stand side by side: average "
            "linkage of the mean share of confusion both ways, with optimal leaf order."
            if k > 2
            else "With two genres there is only one order."
        ),
    )


def similarity_order(counts: NDArray[np.int64], genres: Sequence[str]) -> list[int]:
    """Order genres so that those taken for each other are neighbours.

    Hierarchical clustering (average linkage) of the share of confusion, the mean of both
    directions, then the leaf order in which neighbours are nearest (Bar-Joseph et al. 2001). Of an
    order and its mirror image, the one that begins with the earlier name.

    Parameters
    ----------
    counts : np.ndarray [shape=(k, k), int64]
        Rows are the true genres, columns the answers.
    genres : sequence of k str
        Names.

    Returns
    -------
    list of k int
        Positions in ``genres``; the same genres in the same order whatever order they came in.

    Examples
    --------
    >>> similarity_order(np.array([[8, 0, 2], [0, 9, 1], [3, 0, 7]]), ["Folk", "Metal", "Pop"])
    [0, 2, 1]
    """
    # Rows are read in the order of the names, so that ties do not depend on where they stood.
    by_name = sorted(range(len(genres)), key=lambda i: genres[i])
    if len(by_name) < 3:
        return by_name
    table = counts[np.ix_(by_name, by_name)].astype(np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    closeness = (shares + shares.T) / 2
    np.fill_diagonal(closeness, 0)
    distance = closeness.max() - closeness
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    leaves = [by_name[i] for i in leaves_list(tree)]
    return leaves if genres[leaves[0]] <= genres[leaves[-1]] else leaves[::-1]


def wilson_low(hits: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower end of Wilson's 95 % interval of a share; 0 where there are no hits.

    Parameters
    ----------
    hits, total : np.ndarray [shapes that fit together, int64]
        Counts.

    Returns
    -------
    np.ndarray [shape of ``hits``, float64]

    Examples
    --------
    >>> wilson_low(np.array([1, 100]), np.array([2, 200])).round(3).tolist()
    [0.095, 0.431]
    """
    n = np.maximum(total, 1).astype(np.float64)
    share = hits / n
    middle = share + _Z**2 / (2 * n)
    reach = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low = (middle - reach) / (1 + _Z**2 / n)
    return np.where(hits > 0, np.maximum(low, 0.0), 0.0)


def _examples(
    data: TabularData,
    rows: NDArray[np.intp],
    p: NDArray[np.float64],
    *,
    where: NDArray[np.bool_],
    pair: tuple[int, int],
    n: int,
) -> tuple[Example, ...]:
    """The surest wrong answers among the scored rows ``where``, one of each artist."""
    true, taken_for = pair
    wrong = np.flatnonzero(where)
    ids = data.track_id[rows[wrong]]
    # The surest first; equals by what is left for their own genre, then by id.
    wrong = wrong[np.lexsort((ids, p[wrong, true], -p[wrong, taken_for]))]
    examples: list[Example] = []
    seen: set[str] = set()
    for i in wrong.tolist():
        if len(examples) == n:
            break
        row = rows[i]
        # A group may be a number and an artist have two of them, so both must be new.
        who = {f"group {data.groups[row]}", f"artist {data.artist[row]}"} - {"artist "}
        if who & seen:
            continue
        seen |= who
        track = str(data.track_id[row]) or f"row {row}"
        examples.append(
            Example(
                track_id=track,
                title=str(data.title[row]).strip() or track,
                artist=str(data.artist[row]).strip(),
                probability=float(p[i, taken_for]),
                probability_of_true=float(p[i, true]),
            )
        )
    return tuple(examples)
