"""What the shipped recogniser can do beside hearing eight genres: its parts, and their scores.

Made after the recogniser itself, from its answers on artists that it had not met: the part "text"
weighs titles and names beside the sound, "tree" names sub-genres, "familiar" tells what is
no music, "known" finds tracks that sound alike. Each is trained where the data allows it, and
left out where not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.errors import TrainingError
from genrescope.learn.card_parts import decisions, score_row
from genrescope.learn.evaluate import score
from genrescope.learn.paired import difference_to_dict, paired_difference
from genrescope.learn.parts import familiarity, fusion, known
from genrescope.learn.parts.about import About
from genrescope.learn.parts.base import NewPart
from genrescope.learn.parts.company import COMPANY, company
from genrescope.learn.train.familiarity import familiar_part
from genrescope.learn.train.fusion import FusionRecipe, FusionTracks, stack, text_part
from genrescope.learn.train.hierarchy import TreeData, tree_part
from genrescope.learn.train.known import known_of_run
from genrescope.learn.train.recipe import Run

__all__ = ["Companions", "train_companions"]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_MIN_TRACKS = 500  # below, three in a hundred are a handful


@dataclass
class Companions:
    """Parts of a bundle, and what its card says of them.

    Attributes
    ----------
    parts : dict of str to NewPart
        By name.
    rows : list of dict
        For the card's table of scores.
    metrics : dict
        Under the name of each part: how well it does on artists it had not met.
    company : dict or None
        The card's section on tracks of one artist judged together.
    """

    parts: dict[str, NewPart] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    company: dict[str, Any] | None = None


def train_companions(
    run: Run, views: list[FloatArray], log_p: Floats, shipped: Floats
) -> Companions:
    """Train the parts.

    Parameters
    ----------
    run : Run
        Whose data and folds are used.
    views : list of np.ndarray [shape=(n, n_features), float32]
        Of :meth:`Run.features`.
    log_p : np.ndarray [shape=(n, n_genres), float64]
        The recogniser's answers out of fold, at any temperature.
    shipped : np.ndarray [shape=(n, n_genres), float64]
        The same, calibrated.

    Returns
    -------
    Companions
    """
    found = Companions()
    statistics = [view[:, : frames.N_STATISTICS].astype(np.float32) for view in views]
    single = _text(run, log_p, shipped, found)
    _together(run, single, found)
    _tree(run, statistics[0], shipped, found)
    _familiar(run, statistics, found)
    if (made := known_of_run(run, statistics[0])) is not None:
        found.parts[known.PART_NAME], found.metrics[known.PART_NAME] = made
    for name, new in found.parts.items():
        run.report("part", name=name, bytes=len(new.graph))
    return found


def _text(run: Run, log_p: Floats, shipped: Floats, found: Companions) -> Floats:
    """The part for text; gives the best answers for single tracks, out of fold."""
    data = run.data
    names = data.artist_name if data.artist_name is not None else np.full(len(data), "")
    abouts = [
        About(title=title or None, artist=artist or None)
        for title, artist in zip(data.title.tolist(), names.tolist(), strict=True)
    ]
    recipe = FusionRecipe(
        target_accuracy=run.recipe.target_accuracy, conformal_level=run.recipe.conformal_level
    )
    try:
        tracks = FusionTracks(
            abouts=abouts,
            y=run.y,
            folds=run.folds,
            log_p=log_p,
            genres=tuple(run.genres),
            artists=data.artist_id,
        )
        trained = text_part(tracks, recipe=recipe)
    except TrainingError as error:
        run.report("note", text=f"no part for text: {error}")
        return shipped
    found.parts[fusion.PART_NAME] = trained.part
    scored = {" + ".join(k): p for k, p in trained.by_combination.items()}
    metrics: dict[str, Any] = {}
    for words, p in {"everything known": trained.probabilities, **scored}.items():
        rows = np.isfinite(p).all(axis=1)
        scores = score(run.y[rows], p[rows], genres=run.genres, groups=data.artist_id[rows], seed=0)
        gap = paired_difference(run.y[rows], p[rows], shipped[rows], data.artist_id[rows])
        metrics[words] = {
            **score_row(words, scores),
            "tracks": int(rows.sum()),
            "minus_sound": difference_to_dict(gap),
        }
    found.metrics[fusion.PART_NAME] = metrics
    whole = {k: v for k, v in metrics["everything known"].items() if k != "tracks"}
    found.rows.append({**whole, "name": "genrescope, with title and artist"})
    return trained.probabilities


def _together(run: Run, single: Floats, found: Companions) -> None:
    """How much the artist's other tracks count, from artists that the recogniser had not met."""
    artists = run.data.artist_id
    others, count = company(single, artists.tolist())
    some = count > 0
    if len(np.unique(run.folds[some])) < run.recipe.folds:
        return
    own = np.log(np.maximum(single, 1e-12))
    rest = {"own": own[some], COMPANY: others[some]}
    fitted, pooled = stack(rest, run.y[some], run.folds[some])
    p = single.copy()
    p[some] = pooled
    sections = decisions(
        p,
        run.y,
        folds=run.folds,
        artists=artists,
        target_accuracy=run.recipe.target_accuracy,
        conformal_level=run.recipe.conformal_level,
    )
    threshold = sections["abstention"]["threshold"]
    found.company = {
        "weight": fitted.weights[COMPANY],
        "temperature": fitted.temperature,
        "threshold": threshold,
        "quantile": sections["conformal"]["quantile"],
        **sections,
    }
    scores = score(
        run.y, p, genres=run.genres, groups=artists, threshold=threshold, seed=run.recipe.seed
    )
    found.rows.append(score_row("genrescope, all tracks of an artist together", scores))


def _familiar(run: Run, statistics: list[FloatArray], found: Companions) -> None:
    if len(run.y) < _MIN_TRACKS:
        run.report(
            "note",
            text=f"no part for what is no music: {len(run.y)} tracks are too few to say what is "
            f"usual, {_MIN_TRACKS} are needed",
        )
        return
    part, report = familiar_part(
        statistics[0],
        run.data.artist_id,
        run.folds,
        seed=run.recipe.seed,
        limited=statistics[1] if len(statistics) > 1 else None,
    )
    found.parts[familiarity.PART_NAME] = part
    found.metrics[familiarity.PART_NAME] = report


def _tree(run: Run, statistics: FloatArray, shipped: Floats, found: Companions) -> None:
    listed = run.data.subgenres
    if listed is None or not any(len(names) > 1 for names in listed):
        run.report("note", text="no track has a sub-genre: no part for the tree")
        return
    data = TreeData(
        statistics=statistics,
        subgenres=listed.tolist(),
        y_top=run.y,
        genres=run.genres,
        artists=run.data.artist_id,
        folds=run.folds,
        top=shipped,
        teacher=run.data.vggish,
    )
    try:
        part, report = tree_part(data, seed=run.recipe.seed)
    except TrainingError as error:
        run.report("note", text=f"no part for the tree: {error}")
        return
    found.parts["tree"] = part
    found.metrics["tree"] = report
