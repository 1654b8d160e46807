"""Make the part "familiar" of a bundle: what music in training is like, and what it is not.

Two tests are fitted on the statistics of music that the recogniser learns from. The distance needs
nothing else. The border is a linear one (logistic regression on the principal axes) between that
music and made-up sound of :mod:`genrescope.catalog.not_music`; for how it does on kinds it has not
met, every kind is left out once, and every family of kinds once.

Both limits are set where a stated share of music by artists that were not looked at is on the
wrong side of one or the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.catalog.not_music import KINDS, make_not_music
from genrescope.errors import DataError, MissingExtraError, TrainingError
from genrescope.learn.parts.base import NewPart
from genrescope.learn.parts.familiarity import ASPECTS, TESTS, aspects, heard_to_hz
from genrescope.learn.resampling import artist_units, interval, resamples, sum_by_unit
from genrescope.learn.train.graph import GraphBuilder

try:
    from sklearn.linear_model import LogisticRegression
except ImportError as error:  # pragma: no cover - the tests have them
    raise MissingExtraError(
        "training what is familiar", extra="train", package="scikit-learn"
    ) from error

__all__ = [
    "LEAST_HZ",
    "LEAST_SECONDS",
    "MAX_FLAGGED",
    "Made",
    "familiar_part",
    "held_out",
    "make_sounds",
]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Tests = dict[str, Floats]

MAX_FLAGGED = 0.03  # of music by artists that were not looked at
# Below this, sure answers are right less often than the promised 75 %: 0.76 at 3 s, 0.74 at 2 s,
# 0.61 at 1 s (docs/not-sure.md).
LEAST_SECONDS = 3.0
# What ends here is a telephone or a very dark recording: of 7,115 tracks 0.8 % do, and sure
# answers on these were right half of the time.
LEAST_HZ = 4_200.0

CLIP = 6.0  # standard deviations
_COMPONENTS = 128
_DISTANCE_AXES = 16
_PENALTY = 1e-3  # scikit-learn's C
_MADE_SECONDS = 23.5  # 2 ** 20 samples at 44.1 kHz, so that the FFTs of the makers are quick
_MADE_EACH = 8
_TAIL = 0.005  # what is outside of it on either side is worth saying in words


@dataclass(frozen=True)
class Made:
    """Statistics of made-up sound that is not music.

    Attributes
    ----------
    statistics : np.ndarray [shape=(n, N_STATISTICS), float32]
    kinds : np.ndarray [shape=(n,), str]
        Of :data:`genrescope.catalog.not_music.KINDS`.
    """

    statistics: FloatArray
    kinds: npt.NDArray[np.str_]


def make_sounds(*, each: int = _MADE_EACH, seconds: float = _MADE_SECONDS, seed: int = 0) -> Made:
    """Make some sounds of every kind and describe them.

    Parameters
    ----------
    each : int > 0
        Sounds of each kind.
    seconds : float
        Length of each.
    seed : int
        The first sound of a kind has the seed ``1000 * (seed + 1)``, and so on from there.

    Returns
    -------
    Made
        Sounds in which there is nothing to hear are left out.
    """
    rows, kinds = [], []
    for kind in KINDS:
        for k in range(each):
            y = make_not_music(kind, seconds=seconds, seed=1000 * (seed + 1) + k)
            described = frames.describe_samples(y, sr=44_100)
            rows.append(described.features[0, : frames.N_STATISTICS])
            kinds.append(kind)
    return Made(np.stack(rows), np.array(kinds))


@dataclass(frozen=True)
class _Space:
    """Standardised and clipped statistics, and the principal axes of music in them."""

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray  # [statistics, components]
    variances: Floats  # [components]

    @classmethod
    def fit(cls, x: FloatArray, *, seed: int) -> _Space:
        mean = x.mean(axis=0, dtype=np.float64)
        spread = x.std(axis=0, dtype=np.float64)
        steady = spread <= 1e-5 * (1.0 + np.abs(mean))
        scale = np.where(steady, 0.0, 1.0 / np.where(steady, 1.0, spread))
        mean32, scale32 = mean.astype(np.float32), scale.astype(np.float32)
        z = np.clip((x - mean32) * scale32, -CLIP, CLIP)
        components = min(_COMPONENTS, min(z.shape) - 1)
        # Subspace iteration (Halko, Martinsson, Tropp 2011): the leading axes in a tenth of the
        # time that all of them take.
        rng = np.random.default_rng(seed)
        width = min(components + 32, min(z.shape))
        basis = rng.standard_normal((z.shape[1], width)).astype(np.float32)
        for _ in range(12):
            basis = np.linalg.qr(z.T @ (z @ basis) / np.float32(len(z)))[0]
        inner = (z @ basis).astype(np.float64)
        variances, turn = np.linalg.eigh(inner.T @ inner / len(z))
        order = np.argsort(variances)[::-1][:components]
        axes = basis @ turn[:, order].astype(np.float32)
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), range(components)])
        return cls(mean32, scale32, axes, np.maximum(variances[order], 1e-9))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Scores [n, components]."""
        z = np.clip((x - self.mean) * self.scale, -CLIP, CLIP)
        scores: FloatArray = z @ self.axes
        return scores

    @property
    def equal(self) -> Floats:
        """Factors that bring the components half-way to the same spread."""
        return np.asarray(self.variances**-0.25, dtype=np.float64)

    def distance(self, scores: FloatArray) -> Floats:
        """Logarithm of the Mahalanobis distance along the first axes."""
        k = min(_DISTANCE_AXES, len(self.variances))
        square = (scores[:, :k].astype(np.float64) ** 2 / self.variances[:k]).sum(axis=1)
        return np.asarray(0.5 * np.log(square + 1e-6))


@dataclass(frozen=True)
class _Border:
    """A linear border in the space; positive is not music."""

    weights: Floats  # [components], of plain scores
    bias: float

    @classmethod
    def fit(cls, space: _Space, music: FloatArray, other: FloatArray) -> _Border:
        x = np.concatenate([music, other]) * space.equal
        y = np.concatenate([np.zeros(len(music)), np.ones(len(other))])
        # However many sounds are made, they weigh half as much as the music.
        weight = np.where(y == 1, len(music) / len(other) / 2, 1.0)
        model = LogisticRegression(C=_PENALTY, max_iter=1000).fit(x, y, sample_weight=weight)
        return cls(model.coef_[0] * space.equal, float(model.intercept_[0]))

    def __call__(self, scores: FloatArray) -> Floats:
        return np.asarray(scores @ self.weights + self.bias, dtype=np.float64)


def familiar_part(
    statistics: FloatArray,
    artists: npt.ArrayLike,
    folds: npt.NDArray[np.int64],
    *,
    seed: int = 0,
    limited: FloatArray | None = None,
    made: Made | None = None,
) -> tuple[NewPart, dict[str, Any]]:
    """Fit the part on music in training.

    Parameters
    ----------
    statistics : np.ndarray [shape=(n, N_STATISTICS), float32]
        One row a track, the first columns of its features.
    artists : array-like [shape=(n,)]
        Of each track.
    folds : np.ndarray [shape=(n,), int]
        No artist in two; two folds at least.
    seed : int
        Of the made-up sounds and of the search for the axes.
    limited : np.ndarray [shape=(n, N_STATISTICS), float32], optional
        The same tracks with their top cut off
        (:func:`~genrescope.learn.train.augment.band_limited`), so that an old file counts as music,
        too.
    made : Made, optional
        Sound that is not music; by default :func:`make_sounds`, a minute of work.

    Returns
    -------
    part : NewPart
        With a graph from ``statistics`` [windows, N_STATISTICS] to ``distance`` and ``border``
        [windows], and all that :class:`genrescope.learn.parts.familiarity.Familiarity` needs.
    report : dict
        JSON-clean: the share of music that is flagged, with its interval by artist, and how much
        is caught of every kind and family that was left out.

    Raises
    ------
    DataError
        If shapes do not fit, or an artist is in two folds.
    TrainingError
        If the sounds made are not of two families at least.
    """
    x = np.asarray(statistics, dtype=np.float32)
    units, unit_count = _check(x, artists, folds, limited)
    sounds = make_sounds(seed=seed) if made is None else made
    families = np.array([KINDS[kind].family for kind in sounds.kinds.tolist()])
    if len(np.unique(families)) < 2:
        raise TrainingError("the sounds made are of one family; give two families at least")

    held, caught = _held_out(x, folds, sounds, families, limited=limited, seed=seed)
    limits = _limits(held, share=MAX_FLAGGED)
    flagged = np.any([held[test] > limits[test] for test in TESTS], axis=0)

    everything = np.ones(len(x), dtype=bool)
    music = _music(x, everything, limited)
    space = _Space.fit(music, seed=seed)
    border = _Border.fit(space, space(music), space(sounds.statistics))
    dull = heard_to_hz(x) <= LEAST_HZ
    usual = {
        name: [float(q) for q in np.quantile(values, [_TAIL, 1 - _TAIL])]
        for name, values in aspects(x).items()
        if name in ASPECTS
    }
    report = {
        "tracks": len(x),
        "artists": unit_count,
        "flagged": float(flagged.mean()),
        "flagged_interval": _share_interval(flagged, units, seed=seed),
        "flagged_or_dull": float((flagged | dull).mean()),
        "dull": float(dull.mean()),
        "caught_kind_left_out": caught["kind"],
        "caught_family_left_out": caught["family"],
        "made_each": int(np.unique(sounds.kinds, return_counts=True)[1].max()),
        "protocol": (
            "music: artists that were not looked at, every fold once; sounds: by a border that "
            "was fitted without their kind (family), limits from artists not looked at"
        ),
    }
    settings = {
        "n_statistics": int(x.shape[1]),
        "tests": {
            test: {"middle": float(np.median(held[test])), "limit": float(limits[test])}
            for test in TESTS
        },
        "usual": usual,
        "least_seconds": LEAST_SECONDS,
        "least_hz": LEAST_HZ,
        "flagged": report["flagged"],
        "kinds": list(dict.fromkeys(sounds.kinds.tolist())),
        "seed": seed,
        "method": (
            f"Mahalanobis distance along {_DISTANCE_AXES} principal axes of music, and a linear "
            f"border along {_COMPONENTS} to made-up sound that is not music"
        ),
    }
    return NewPart(graph=_graph(space, border), settings=settings), report


def held_out(
    statistics: FloatArray,
    folds: npt.NDArray[np.int64],
    *,
    seed: int = 0,
    limited: FloatArray | None = None,
    made: Made | None = None,
) -> Floats:
    """Scores of music by artists that were not looked at, as :func:`familiar_part` sets its limits.

    Parameters
    ----------
    statistics, folds, seed, limited, made
        As for :func:`familiar_part`.

    Returns
    -------
    np.ndarray [shape=(n,), float64]
        0 in the middle, 1 at the limit.
    """
    sounds = make_sounds(seed=seed) if made is None else made
    families = np.array([KINDS[kind].family for kind in sounds.kinds.tolist()])
    held, _ = _held_out(statistics, folds, sounds, families, limited=limited, seed=seed)
    limits = _limits(held, share=MAX_FLAGGED)
    scores = []
    for test in TESTS:
        middle = float(np.median(held[test]))
        scores.append((held[test] - middle) / (limits[test] - middle))
    return np.asarray(np.max(scores, axis=0))


def _music(x: FloatArray, rows: npt.NDArray[np.bool_], limited: FloatArray | None) -> FloatArray:
    if limited is None:
        return x[rows]
    return np.concatenate([x[rows], limited[rows].astype(np.float32)])


def _held_out(
    x: FloatArray,
    folds: npt.NDArray[np.int64],
    sounds: Made,
    families: npt.NDArray[np.str_],
    *,
    limited: FloatArray | None,
    seed: int,
) -> tuple[Tests, dict[str, dict[str, float]]]:
    """Both tests on each fold by what was fitted on the others, and what the first one catches."""
    held: Tests = {test: np.zeros(len(x)) for test in TESTS}
    caught: dict[str, dict[str, float]] = {}
    for fold in np.unique(folds).tolist():
        rest, mine = folds != fold, folds == fold
        music = _music(x, rest, limited)
        space = _Space.fit(music, seed=seed)
        known, other, scores = space(music), space(sounds.statistics), space(x[mine])
        held["distance"][mine] = space.distance(scores)
        held["border"][mine] = _Border.fit(space, known, other)(scores)
        if not caught:
            caught = _left_out(space, known, other, scores, sounds.kinds, families)
    return held, caught


def _check(
    x: FloatArray, artists: npt.ArrayLike, folds: npt.NDArray[np.int64], limited: FloatArray | None
) -> tuple[npt.NDArray[np.int64], int]:
    """Units of the bootstrap, and how many artists there are."""
    shape = (len(x), frames.N_STATISTICS)
    if x.shape != shape or (limited is not None and limited.shape != shape):
        raise DataError(
            f"statistics have shape {list(x.shape)}"
            + ("" if limited is None else f", limited ones {list(limited.shape)}")
            + f"; expected [tracks, {frames.N_STATISTICS}], both alike: the first columns of the "
            "rows of genrescope.audio.frames"
        )
    units, n_artists, _ = artist_units(artists, n=len(x))
    if np.shape(folds) != (len(x),) or len(np.unique(folds)) < 2:
        raise DataError(f"folds have shape {list(np.shape(folds))}; give two at least, one a track")
    pairs = np.unique(np.stack([units, np.asarray(folds)], axis=1), axis=0)
    if len(pairs) != len(np.unique(units)):
        raise DataError(
            "an artist is in two folds, so held-out music would not be new; make the folds with "
            "genrescope.catalog.splits.group_folds"
        )
    return units, n_artists


def _left_out(
    space: _Space,
    known: FloatArray,
    other: FloatArray,
    scores: FloatArray,
    kinds: npt.NDArray[np.str_],
    families: npt.NDArray[np.str_],
) -> dict[str, dict[str, float]]:
    """How much of each kind is caught without having been met, alone and with its family."""
    far = space.distance(scores)

    def share(left_out: npt.NDArray[np.bool_], asked: npt.NDArray[np.bool_]) -> float:
        border = _Border.fit(space, known, other[~left_out])
        limits = _limits({"distance": far, "border": border(scores)}, share=MAX_FLAGGED)
        found = space.distance(other[asked]) > limits["distance"]
        return float((found | (border(other[asked]) > limits["border"])).mean())

    names: list[str] = list(dict.fromkeys(kinds.tolist()))
    return {
        "kind": {name: share(kinds == name, kinds == name) for name in names},
        "family": {name: share(families == KINDS[name].family, kinds == name) for name in names},
    }


def _limits(values: Tests, *, share: float) -> dict[str, float]:
    """Limits that each leave out as much, and together at most this share of the rows."""
    ranks = {test: np.sort(v) for test, v in values.items()}
    n = len(next(iter(values.values())))

    def at(count: int) -> dict[str, float]:
        return {test: float(v[n - 1 - count]) for test, v in ranks.items()}

    # One more left out by each test never makes fewer of them together: halve the range.
    low, high = 0, max(1, n - 1)
    while high - low > 1:
        middle = (low + high) // 2
        limits = at(middle)
        together = np.any([values[test] > limits[test] for test in values], axis=0).mean()
        low, high = (middle, high) if together <= share else (low, middle)
    return at(low)


def _share_interval(
    flagged: npt.NDArray[np.bool_], units: npt.NDArray[np.int64], *, seed: int
) -> list[float]:
    table = sum_by_unit(np.stack([flagged, np.ones(len(flagged))], axis=1).astype(float), units)
    draws = []
    for weights in resamples(len(table), n_boot=1000, seed=seed):
        total = weights @ table
        draws.append(total[:, 0] / total[:, 1])
    point = float(flagged.mean())
    return list(interval(draws, point=point) or (point, point))


def _graph(space: _Space, border: _Border) -> bytes:
    """Both tests as an ONNX model; the axes of the distance in float16."""
    g = GraphBuilder()
    k = min(_DISTANCE_AXES, len(space.variances))
    whitened = (space.axes[:, :k] / np.sqrt(space.variances[:k])).astype(np.float16)
    # One weight a statistic: the axes are not needed for a linear border.
    line = (space.axes.astype(np.float64) @ border.weights).astype(np.float32)[:, None]
    constants = {
        "mean": space.mean,
        "scale": space.scale,
        "low": np.float32(-CLIP),
        "high": np.float32(CLIP),
        "axes.f16": whitened,
        "line": line,
        "bias": np.array([border.bias], dtype=np.float32),
        "tiny": np.array([1e-6], dtype=np.float32),
        "half": np.array([0.5], dtype=np.float32),
        "last": np.array([1], dtype=np.int64),
    }
    for name, value in constants.items():
        g.constant(name, np.asarray(value))
    g.node("Sub", ["statistics", "mean"], "centred")
    g.node("Mul", ["centred", "scale"], "scaled")
    g.node("Clip", ["scaled", "low", "high"], "z")
    g.node("Cast", ["axes.f16"], "axes", to=1)
    g.node("MatMul", ["z", "axes"], "scores")
    g.node("Mul", ["scores", "scores"], "squares")
    g.node("ReduceSum", ["squares", "last"], "square", keepdims=0)
    g.node("Add", ["square", "tiny"], "positive")
    g.node("Log", ["positive"], "log")
    g.node("Mul", ["log", "half"], "distance")
    g.node("MatMul", ["z", "line"], "along")
    g.node("Add", ["along", "bias"], "beyond")
    g.node("Squeeze", ["beyond", "last"], "border")
    return g.serialise(
        "genrescope-familiar",
        inputs={"statistics": ["windows", len(space.mean)]},
        outputs={test: ["windows"] for test in TESTS},
    )
