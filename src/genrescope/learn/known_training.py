"""Make the part "known" of a bundle: axes on which tracks that sound alike lie close, and a map.

Three projections of the same statistics are put side by side. One has the axes along which genres
lie apart (LDA). One has those along which artists do: tracks of one artist mostly sound alike,
which is the only sign of likeness that needs nobody's opinion. One predicts a teacher's embedding,
where there is a teacher (ridge regression). The sum is linear, so that it is one matrix, and fitted
in closed form. Its principal axes are kept, and each track becomes a direction in them.

The map is a t-SNE of these directions in three dimensions. Everything is measured on artists that
the axes and the map were made without.

References
----------
Park, Lee, Park, Ha, Nam (2018), Representation learning of music using artist labels.
van der Maaten, Hinton (2008), Visualizing data using t-SNE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError, MissingExtraError, TrainingError
from genrescope.learn.card_parts import is_fma_small
from genrescope.learn.known import ALIKE, VERSION, pack_text, place_among
from genrescope.learn.parts import NewPart
from genrescope.learn.resampling import artist_units, interval, resamples, sum_by_unit
from genrescope.learn.statnet import CLIP, fit_front_scale

try:
    import onnx
    from sklearn.manifold import TSNE
except ImportError as error:  # pragma: no cover - the tests have them
    raise MissingExtraError(
        "training the map of known tracks", extra="train", package="scikit-learn and onnx"
    ) from error

if TYPE_CHECKING:
    from genrescope.learn.recipe import Run

__all__ = [
    "FEWEST",
    "KnownData",
    "KnownSettings",
    "Space",
    "draw_map",
    "fit_space",
    "known_of_run",
    "known_part",
    "measure",
]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FEWEST = 100  # tracks; with fewer there is no map worth the name

_NEAR = 5
_VOTERS = 25
_OPSET, _IR_VERSION = 17, 8
_EARLY, _STEPS, _THETA, _PERPLEXITY = 12.0, 350, 0.8, 30.0
_CREDIT = (
    "titles, artists and genres: metadata of the Free Music Archive (Defferrard et al., FMA: a "
    "dataset for music analysis, ISMIR 2017), CC BY 4.0"
)


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


def fit_space(data: KnownData, rows: Bools, *, settings: KnownSettings) -> Space:
    """Fit the axes on some of the tracks.

    Parameters
    ----------
    data : KnownData
        What is known of all tracks.
    rows : np.ndarray [shape=(n,), bool]
        Tracks to fit on; nothing of the others is looked at.
    settings : KnownSettings
        Every number.

    Returns
    -------
    Space
    """
    x = data.statistics[rows]
    front = fit_front_scale(x, n_components=settings.components)
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


@dataclass(frozen=True, eq=False)
class Measured:
    """What was seen of tracks whose artists the axes and the map were made without.

    Attributes
    ----------
    same_genre : np.ndarray [shape=(n, 5), bool]
        Of the nearest tracks by other artists.
    likeness : np.ndarray [shape=(n, 5), float64]
        Of these.
    voted : np.ndarray [shape=(n,), bool]
        Whether the 25 nearest voted for the right genre.
    same_genre_map : np.ndarray [shape=(n, 5), bool]
        Of the nearest on the map, where there is one.
    voted_map : np.ndarray [shape=(n,), bool]
    same_artist : np.ndarray [shape=(n, 5), bool]
        Of the nearest of all other tracks, the artist's own among them.
    """

    same_genre: Bools
    likeness: Floats
    voted: Bools
    same_genre_map: Bools
    voted_map: Bools
    same_artist: Bools


def measure(
    data: KnownData, *, settings: KnownSettings, seed: int = 0, with_map: bool = True
) -> Measured:
    """Fit axes and map without each fold, and look at the tracks of that fold.

    Parameters
    ----------
    data : KnownData
        Tracks and folds.
    settings : KnownSettings
        Every number.
    seed : int
        Of the maps.
    with_map : bool
        False leaves out the maps, which take most of the time.

    Returns
    -------
    Measured
    """
    n = len(data.y)
    near = min(_NEAR, n - 1)
    same_genre, same_map, same_artist = (np.zeros((n, near), dtype=bool) for _ in range(3))
    voted, voted_map = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    likeness = np.zeros((n, near))
    for fold in np.unique(data.folds).tolist():
        rest, mine = data.folds != fold, data.folds == fold
        space = fit_space(data, rest, settings=settings)
        directions = space(data.statistics)
        cosines = directions[mine] @ directions[rest].T
        y, asked = data.y[rest], data.y[mine]
        order = _first(-cosines, _VOTERS)
        likeness[mine] = np.take_along_axis(cosines, order[:, :near], axis=1)
        same_genre[mine] = y[order[:, :near]] == asked[:, None]
        voted[mine] = _vote(y[order], len(data.genres)) == asked
        everybody = directions[mine] @ directions.T
        everybody[np.arange(len(asked)), np.flatnonzero(mine)] = -np.inf
        found = _first(-everybody, near)
        same_artist[mine] = data.artists[found] == data.artists[mine][:, None]
        if with_map:
            there = draw_map(directions[rest], seed=seed)
            placed = place_among(cosines, there)
            order = _first(_squares(placed, there), _VOTERS)
            same_map[mine] = y[order[:, :near]] == asked[:, None]
            voted_map[mine] = _vote(y[order], len(data.genres)) == asked
    return Measured(same_genre, likeness, voted, same_map, voted_map, same_artist)


def known_of_run(run: Run, statistics: FloatArray) -> tuple[NewPart, dict[str, Any]] | None:
    """The part "known" of the recogniser that a run trains.

    Parameters
    ----------
    run : Run
        Whose tracks will be known, and whose folds are used.
    statistics : np.ndarray [shape=(n, n_statistics), float32]
        Of these tracks, as they are.

    Returns
    -------
    (NewPart, dict) or None
        As :func:`known_part`; None where it cannot be made, which is reported.
    """
    data = run.data
    names = data.artist_name if data.artist_name is not None else np.full(len(data), "")
    try:
        return known_part(
            KnownData(
                statistics=statistics,
                y=run.y,
                genres=run.genres,
                artists=data.artist_id,
                folds=run.folds,
                track_ids=data.track_id,
                titles=data.title.tolist(),
                names=names.tolist(),
                teacher=data.vggish,
                fma=is_fma_small(data.track_id),
            ),
            seed=run.recipe.seed,
        )
    except TrainingError as error:
        run.report("note", text=f"no map of known tracks: {error}")
        return None


def known_part(
    data: KnownData, *, settings: KnownSettings | None = None, seed: int = 0
) -> tuple[NewPart, dict[str, Any]]:
    """The part "known" of a bundle, and how good it is on artists that it was made without.

    Parameters
    ----------
    data : KnownData
        The tracks that will be known.
    settings : KnownSettings, optional
        Every number; the default is what ships.
    seed : int
        The same seed and data give the same part.

    Returns
    -------
    part : NewPart
        For :class:`genrescope.learn.known.KnownTracks`.
    metrics : dict
        JSON-clean: shares of neighbours of the same genre and of the same artist, with what chance
        would give, and how near a track comes to its own place when it is placed as if it were new.

    Raises
    ------
    TrainingError
        If there are fewer than :data:`FEWEST` tracks, or nothing says what is alike.
    """
    n = len(data.y)
    if n < FEWEST or len(np.unique(data.folds)) < 2:
        raise TrainingError(
            f"there are {n} tracks in {len(np.unique(data.folds))} folds; a map needs {FEWEST} "
            "tracks and two folds"
        )
    settings = settings or KnownSettings()
    seen = measure(data, settings=settings, seed=seed)
    everything = np.ones(n, dtype=bool)
    space = fit_space(data, everything, settings=settings)
    directions = space(data.statistics)
    positions = draw_map(directions, seed=seed)
    metrics = _report(data, seen, _own_places(directions, positions), seed=seed)
    nearness = np.quantile(seen.likeness, np.linspace(0.0, 1.0, 21))
    text = pack_text(
        [str(title) for title in data.titles],
        [str(name) for name in data.names],
        [data.genres[code] for code in data.y.tolist()],
        [int(one) for one in data.track_ids.tolist()],
    )
    new = NewPart(
        graph=_graph(space, directions, positions, text),
        settings={
            "version": VERSION,
            "n_statistics": int(data.statistics.shape[1]),
            "tracks": n,
            "nearness": [round(float(value), 4) for value in nearness],
            "credit": _CREDIT if data.fma else "titles and artists: of who trained it",
            "method": (
                f"{space.matrix.shape[1]} linear axes on which genres and artists lie apart"
                + (", and that predict a teacher's embedding" if data.teacher is not None else "")
                + "; the map is a t-SNE of the directions on them"
            ),
            "seed": seed,
        },
    )
    return new, metrics


def _report(data: KnownData, seen: Measured, own: Floats, *, seed: int) -> dict[str, Any]:
    units, n_artists, _ = artist_units(data.artists, n=len(data.y))
    counts = np.bincount(units)[units]
    several = counts > 1
    share = np.bincount(data.y, minlength=len(data.genres)) / len(data.y)
    bands, upper = {}, np.inf
    marks = np.quantile(seen.likeness, [least / 100 for least, _ in ALIKE])
    for (_, words), least in zip(ALIKE, marks.tolist(), strict=True):
        there = (seen.likeness >= least) & (seen.likeness < upper)
        bands[words] = float(seen.same_genre[there].mean()) if there.any() else None
        upper = least

    def agreement(same: Bools, rows: Bools | slice = slice(None)) -> dict[str, Any]:
        per_track, point = same[rows].mean(axis=1), float(same[rows].mean())
        _, codes = np.unique(units[rows], return_inverse=True)
        table = sum_by_unit(np.stack([per_track, np.ones(len(per_track))], axis=1), codes)
        draws = []
        for drawn in resamples(len(table), n_boot=1000, seed=seed):
            total = drawn @ table
            draws.append(total[:, 0] / total[:, 1])
        low, high = interval(draws, point=point) or (point, point)
        return {"share": point, "low": low, "high": high}

    artists = {
        "tracks": int(several.sum()),
        **(agreement(seen.same_artist, several) if several.any() else {}),
        "found_any": float(seen.same_artist[several].any(axis=1).mean()) if several.any() else None,
        "chance": float(((counts - 1) / (len(data.y) - 1))[several].mean())
        if several.any()
        else None,
        "most_possible": float((np.minimum(counts - 1, _NEAR) / _NEAR)[several].mean())
        if several.any()
        else None,
    }
    return {
        "tracks": len(data.y),
        "artists": n_artists,
        "same_genre_5": agreement(seen.same_genre),
        "same_genre_5_map": agreement(seen.same_genre_map),
        "same_genre_chance": float((share**2).sum()),
        "vote_25": float(seen.voted.mean()),
        "vote_25_map": float(seen.voted_map.mean()),
        "same_genre_by_words": bands,
        "same_artist_5": artists,
        "own_place": {
            "median": float(np.median(own)),
            "p90": float(np.quantile(own, 0.9)),
            "unit": "typical distance between two tracks on the map",
        },
        "protocol": (
            "every fold once; axes and map were made without its artists, none of whom is among "
            "the neighbours; same artist: neighbours among all tracks"
        ),
    }


def _own_places(directions: FloatArray, positions: FloatArray) -> Floats:
    """How far each track lies from its place when it is placed by the others, relative."""
    away = np.empty(len(directions))
    for rows in np.array_split(np.arange(len(directions)), max(1, len(directions) // 1000)):
        cosines = directions[rows] @ directions.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        placed = place_among(cosines, positions)
        away[rows] = np.linalg.norm(placed - positions[rows], axis=1)
    other = np.random.default_rng(0).permutation(len(positions))
    typical = float(np.median(np.linalg.norm(positions - positions[other], axis=1)))
    return np.asarray(away / max(typical, 1e-9))


def _first(values: npt.NDArray[Any], k: int) -> Ints:
    """Columns of the `k` smallest values of each row, in order."""
    k = min(k, values.shape[1])
    some = np.argpartition(values, k - 1, axis=1)[:, :k]
    inner = np.argsort(np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, inner, axis=1).astype(np.int64)


def _vote(labels: Ints, n: int) -> Ints:
    """The most frequent label of each row; of several, the one whose first voter is nearest."""
    votes = np.zeros((len(labels), n))
    rows = np.arange(len(labels))[:, None]
    np.add.at(votes, (rows, labels), 1.0 - 1e-6 * np.arange(labels.shape[1]))
    return np.asarray(votes.argmax(axis=1), dtype=np.int64)


def _squares(a: FloatArray, b: FloatArray) -> Floats:
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, dtype=np.float64)


def _graph(space: Space, directions: FloatArray, positions: FloatArray, text: bytes) -> bytes:
    """The projection, and beside it everything that is held of the known tracks."""
    make, tensor = onnx.helper, onnx.numpy_helper.from_array
    size = np.abs(directions).max(axis=0) / 127
    size = np.maximum(size, 1e-9).astype(np.float32)
    constants = {
        "mean": space.mean,
        "scale": space.scale,
        "low": np.float32(-CLIP),
        "high": np.float32(CLIP),
        "matrix.f16": space.matrix.astype(np.float16),
        "offset": space.offset,
        "references.i8": np.round(directions / size).astype(np.int8),
        "references.size": size,
        "positions.f16": positions.astype(np.float16),
        "text.u8": np.frombuffer(text, dtype=np.uint8),
    }
    nodes = [
        make.make_node("Sub", ["statistics", "mean"], ["centred"]),
        make.make_node("Mul", ["centred", "scale"], ["scaled"]),
        make.make_node("Clip", ["scaled", "low", "high"], ["z"]),
        make.make_node("Cast", ["matrix.f16"], ["matrix"], to=1),
        make.make_node("MatMul", ["z", "matrix"], ["along"]),
        make.make_node("Sub", ["along", "offset"], ["embedding"]),
        make.make_node("Cast", ["references.i8"], ["references.steps"], to=1),
        make.make_node("Mul", ["references.steps", "references.size"], ["references"]),
        make.make_node("Cast", ["positions.f16"], ["positions"], to=1),
        make.make_node("Cast", ["text.u8"], ["text"], to=1),
    ]

    def row(name: str, shape: list[Any]) -> Any:
        return make.make_tensor_value_info(name, 1, shape)  # 1: float32

    n, axes = directions.shape
    graph = make.make_graph(
        nodes,
        "genrescope-known",
        [row("statistics", ["windows", len(space.mean)])],
        [
            row("embedding", ["windows", axes]),
            row("references", [n, axes]),
            row("positions", [n, 3]),
            row("text", [len(text)]),
        ],
        [tensor(np.asarray(value), name) for name, value in constants.items()],
    )
    model = make.make_model(
        graph,
        producer_name="genrescope",
        opset_imports=[make.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
