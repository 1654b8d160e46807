"""The axes on which tracks that sound alike lie close, and the map in three dimensions.

Three projections of the same statistics are put side by side. One has the axes along which genres
lie apart (LDA). One has those along which artists do: tracks of one artist mostly sound alike,
which is the only sign of likeness that needs nobody's opinion. One predicts a teacher's embedding,
where there is a teacher (ridge regression). The sum is linear, so that it is one matrix, and fitted
in closed form. Its principal axes are kept, and each track becomes a direction in them. The map is
a t-SNE of these directions.

References
----------
Park, Lee, Park, Ha, Nam (2018), Representation learning of music using artist labels.
van der Maaten, Hinton (2008), Visualizing data using t-SNE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError, MissingExtraError, TrainingError
from genrescope.learn.train.statnet import CLIP, FrontScale, fit_front_scale

try:
    from sklearn.manifold import TSNE
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError(
        "training the map of known tracks", extra="train", package="scikit-learn"
    ) from error

__all__ = ["KnownData", "KnownSettings", "Space", "draw_map", "fit_space"]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_EARLY, _STEPS, _THETA, _PERPLEXITY = 12.0, 350, 0.8, 30.0


@dataclass(frozen=True)
class KnownSettings:
    """Every number of the axes.

    Attributes
    ----------
    components : int
        Principal components of the statistics that the three projections start from.
    artist_axes, teacher_axes : int
        Of these projections; there is one axis fewer than genres of the first.
    genre_weight, artist_weight, teacher_weight : float
        Length of each beside the others; 0 leaves it out.
    axes : int
        Of what is kept.
    shrinkage : float
        Of the covariance within genres and artists, towards a sphere.
    ridge : float
        Of the regression on the teacher.
    """

    components: int = 400
    artist_axes: int = 64
    teacher_axes: int = 32
    genre_weight: float = 0.7
    artist_weight: float = 1.0
    teacher_weight: float = 1.0
    axes: int = 48
    shrinkage: float = 0.1
    ridge: float = 0.05


@dataclass(frozen=True, eq=False)
class KnownData:
    """The tracks that will be known; n of them.

    Attributes
    ----------
    statistics : np.ndarray [shape=(n, n_statistics), float32]
        The first columns of :mod:`genrescope.audio.frames` rows.
    y : np.ndarray [shape=(n,), int]
        Genre of each as a position in `genres`.
    genres : sequence of str
    artists : np.ndarray [shape=(n,), str]
        Who made them; names may be shared, these are not.
    folds : np.ndarray [shape=(n,), int]
        No artist in two.
    track_ids : np.ndarray [shape=(n,), int]
    titles, names : sequence of n str
        What people read; empty where it is not known.
    teacher : np.ndarray [shape=(n, d), float32], optional
        A teacher's embedding.
    fma : bool
        Whether titles and names are those of the Free Music Archive, which is credited then.
    """

    statistics: FloatArray
    y: Ints
    genres: Sequence[str]
    artists: npt.NDArray[Any]
    folds: Ints
    track_ids: Ints
    titles: Sequence[str]
    names: Sequence[str]
    teacher: FloatArray | None = None
    fma: bool = False

    def __post_init__(self) -> None:
        n = len(self.y)
        sizes = {
            "statistics": len(self.statistics),
            "artists": len(self.artists),
            "folds": len(self.folds),
            "track_ids": len(self.track_ids),
            "titles": len(self.titles),
            "names": len(self.names),
            "teacher": n if self.teacher is None else len(self.teacher),
        }
        wrong = [f"{size} {name}" for name, size in sizes.items() if size != n]
        if wrong:
            raise DataError(f"there are {n} tracks and {', '.join(wrong)}; give one a track")


@dataclass(frozen=True, eq=False)
class Space:
    """The axes: standardise, clip, project.

    Attributes
    ----------
    mean, scale : np.ndarray [shape=(n_statistics,), float32]
    matrix : np.ndarray [shape=(n_statistics, axes), float32]
        In float16 precision already, as it is shipped.
    offset : np.ndarray [shape=(axes,), float32]
        Where the middle of the training tracks is.
    """

    mean: FloatArray
    scale: FloatArray
    matrix: FloatArray
    offset: FloatArray

    def __call__(self, statistics: FloatArray) -> FloatArray:
        """Directions [n, axes], each of length 1."""
        z = np.clip((statistics - self.mean) * self.scale, -CLIP, CLIP)
        found = z @ self.matrix - self.offset
        size = np.sqrt((found * found).sum(axis=1, keepdims=True))
        out: FloatArray = (found / np.maximum(size, 1e-9)).astype(np.float32)
        return out


def fit_space(
    data: KnownData, rows: Bools, *, settings: KnownSettings, front: FrontScale | None = None
) -> Space:
    """Fit the axes on some of the tracks.

    Parameters
    ----------
    data : KnownData
        What is known of all tracks.
    rows : np.ndarray [shape=(n,), bool]
        Tracks to fit on; nothing of the others is looked at.
    settings : KnownSettings
        Every number.
    front : FrontScale, optional
        Fitted on these tracks already, with as many components.

    Returns
    -------
    Space

    Raises
    ------
    TrainingError
        If nothing says what is alike.
    """
    x = data.statistics[rows]
    front = front or fit_front_scale(x, n_components=settings.components)
    z = front(x).astype(np.float64)
    z -= z.mean(axis=0)
    parts: list[tuple[float, Floats]] = []
    if settings.genre_weight:
        genres = len(np.unique(data.y[rows]))
        parts.append(
            (settings.genre_weight, _apart(z, data.y[rows], genres - 1, settings.shrinkage))
        )
    artists = np.unique(data.artists[rows], return_inverse=True)[1]
    if settings.artist_weight and len(artists) > artists.max() + 1:  # some have several tracks
        most = min(settings.artist_axes, int(artists.max()))
        parts.append((settings.artist_weight, _apart(z, artists, most, settings.shrinkage)))
    if settings.teacher_weight and data.teacher is not None:
        parts.append((settings.teacher_weight, _taught(z, data.teacher[rows], settings)))
    weighed = [
        weight * w / np.sqrt(((z @ w) ** 2).sum(axis=1).mean()) for weight, w in parts if w.size
    ]
    if not weighed:
        raise TrainingError(
            "there is one genre, no artist with two tracks and no teacher: nothing says what is "
            "alike; add genres or artists"
        )
    joined = np.concatenate(weighed, axis=1)
    out = z @ joined
    variances, turn = np.linalg.eigh(out.T @ out)
    best = turn[:, np.argsort(variances)[::-1][: settings.axes]]
    matrix = front.projection.astype(np.float64) @ (joined @ best)
    matrix *= np.sign(matrix[np.abs(matrix).argmax(axis=0), range(matrix.shape[1])])
    # Directions are all that counts: the largest weight is 1, well inside of float16.
    matrix /= np.abs(matrix).max()
    stored = matrix.astype(np.float16).astype(np.float32)
    middle = np.clip((x - front.mean) * front.scale, -CLIP, CLIP).mean(axis=0, dtype=np.float64)
    offset = (middle @ stored).astype(np.float32)
    return Space(front.mean, front.scale, stored, offset)


def _apart(z: Floats, labels: Ints, axes: int, shrinkage: float) -> Floats:
    """Directions along which labels differ most, each with variance 1 within the labels."""
    counts = np.bincount(labels)
    means = np.zeros((len(counts), z.shape[1]))
    np.add.at(means, labels, z)
    means /= np.maximum(counts, 1)[:, None]
    inner = z - means[labels]
    within = inner.T @ inner / max(1, len(z) - int((counts > 0).sum()))
    size = float(np.trace(within)) / len(within)
    within = (1 - shrinkage) * within + shrinkage * max(size, 1e-9) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(np.maximum(values, 1e-12))
    spread = z @ whiten
    strength, turn = np.linalg.eigh(spread.T @ spread / len(z))
    best = np.argsort(strength)[::-1][: max(0, min(axes, len(strength)))]
    return np.asarray(whiten @ turn[:, best])


def _taught(z: Floats, teacher: FloatArray, settings: KnownSettings) -> Floats:
    """Ridge regression on the principal components of a teacher's embedding."""
    wanted = teacher.astype(np.float64)
    wanted = (wanted - wanted.mean(axis=0)) / np.maximum(wanted.std(axis=0), 1e-6)
    variances, axes = np.linalg.eigh(wanted.T @ wanted)
    wanted = wanted @ axes[:, np.argsort(variances)[::-1][: settings.teacher_axes]]
    square = z.T @ z + settings.ridge * len(z) * np.eye(z.shape[1])
    return np.asarray(np.linalg.solve(square, z.T @ wanted))


def draw_map(directions: FloatArray, *, seed: int = 0) -> FloatArray:
    """A map in three dimensions.

    Parameters
    ----------
    directions : np.ndarray [shape=(n, axes), float32]
        Of length 1, the strongest axis first.
    seed : int
        Of the jitter that keeps equal tracks from staying on one spot.

    Returns
    -------
    np.ndarray [shape=(n, 3), float32]
        From -1 to 1, the middle of all tracks at 0; in float16 precision, as it is shipped.
    """
    n = len(directions)
    start = np.zeros((n, 3))
    width = min(3, directions.shape[1])
    start[:, :width] = directions[:, :width]
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-9)
    start += np.random.default_rng(seed).normal(scale=1e-6, size=start.shape)
    model = TSNE(
        n_components=3,
        perplexity=min(_PERPLEXITY, (n - 1) / 3),
        early_exaggeration=_EARLY,
        max_iter=_STEPS,
        init=start.astype(np.float32),
        angle=_THETA,
        random_state=seed,
        n_jobs=1,  # sums in another order lead to another map
    )
    positions = model.fit_transform(directions)
    positions = positions - positions.mean(axis=0)
    positions /= np.abs(positions).max()
    out: FloatArray = positions.astype(np.float16).astype(np.float32)
    return out
