"""Make the part "known" of a bundle: tracks that a recogniser learnt from, to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import TrainingError
from genrescope.learn.card_parts import is_fma_small
from genrescope.learn.parts.base import NewPart
from genrescope.learn.parts.known import VERSION, pack_text
from genrescope.learn.train.graph import GraphBuilder
from genrescope.learn.train.known_scores import measure, own_places, report
from genrescope.learn.train.known_space import KnownData, KnownSettings, Space, draw_map, fit_space
from genrescope.learn.train.statnet import CLIP

if TYPE_CHECKING:
    from genrescope.learn.train.recipe import Run

__all__ = ["FEWEST", "known_of_run", "known_part"]

FloatArray = npt.NDArray[np.float32]

FEWEST = 100  # tracks; with fewer there is no map worth the name

_CREDIT = (
    "titles, artists and genres: metadata of the Free Music Archive (Defferrard et al., FMA: a "
    "dataset for music analysis, ISMIR 2017), CC BY 4.0"
)


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
    names = data.artist_name if data.artist_name is not None else np.full(len(run.y), "")
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
        For :class:`genrescope.learn.parts.known.KnownTracks`.
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
    seen = measure(
        data,
        lambda rows: fit_space(data, rows, settings=settings)(data.statistics),
        seed=seed,
    )
    everything = np.ones(n, dtype=bool)
    space = fit_space(data, everything, settings=settings)
    directions = space(data.statistics)
    positions = draw_map(directions, seed=seed)
    metrics = report(data, seen, own=own_places(directions, positions), seed=seed)
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


def _graph(space: Space, directions: FloatArray, positions: FloatArray, text: bytes) -> bytes:
    """The projection, and beside it everything that is held of the known tracks."""
    g = GraphBuilder()
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
    for name, value in constants.items():
        g.constant(name, np.asarray(value))
    g.node("Sub", ["statistics", "mean"], "centred")
    g.node("Mul", ["centred", "scale"], "scaled")
    g.node("Clip", ["scaled", "low", "high"], "z")
    g.node("Cast", ["matrix.f16"], "matrix", to=1)
    g.node("MatMul", ["z", "matrix"], "along")
    g.node("Sub", ["along", "offset"], "embedding")
    g.node("Cast", ["references.i8"], "references.steps", to=1)
    g.node("Mul", ["references.steps", "references.size"], "references")
    g.node("Cast", ["positions.f16"], "positions", to=1)
    g.node("Cast", ["text.u8"], "text", to=1)
    n, axes = directions.shape
    return g.serialise(
        "genrescope-known",
        inputs={"statistics": ["windows", len(space.mean)]},
        outputs={
            "embedding": ["windows", axes],
            "references": [n, axes],
            "positions": [n, 3],
            "text": [len(text)],
        },
    )
