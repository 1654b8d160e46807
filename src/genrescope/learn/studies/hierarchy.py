"""What the tree adds to sub-genres: compared with asking about each by itself.

Everyone is given the same statistics, folds and way to choose thresholds, and the same top-level
genre beside the sub-genres. The rows in between take one ingredient away at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.catalog.prepared import load_prepared
from genrescope.catalog.splits import group_folds
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.parts.hierarchy import SubTree, sigmoid
from genrescope.learn.train.hierarchy import (
    HierarchySettings,
    Scaled,
    TreeData,
    cross_fit,
    find_nodes,
    scale_folds,
    truth_table,
)
from genrescope.learn.train.hierarchy_scores import (
    TREE_METRICS,
    TreeScores,
    TreeTruth,
    compare_trees,
    score_tree,
)
from genrescope.learn.train.hierarchy_thresholds import decide

try:
    import torch
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="train", package="torch") from error

__all__ = [
    "PENALTIES",
    "Row",
    "Study",
    "read_answers",
    "read_tree_data",
    "study_subgenres",
    "write_page",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Of the flat logistic regressions: the best of them stands for all, which flatters it.
PENALTIES = (100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Row:
    """One way to answer for sub-genres.

    Attributes
    ----------
    key, label : str
        Its name, short and for people.
    scores : TreeScores
        Out of fold.
    behind : dict of str to (difference, low, high)
        What ships minus this, for every figure; empty for what ships.
    """

    key: str
    label: str
    scores: TreeScores
    behind: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Study:
    """All rows, what ships last, and what the figures were made on.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the table.
    per_node : tuple of dict
        For each sub-genre: path, artists, tracks, and the F1 of what ships.
    settings : HierarchySettings
        Of the networks.
    n_tracks, n_artists : int
        In all.
    n_left_out, labels_left_out : int
        Sub-genres with too few artists, and how many labels they are.
    several : float
        Share of tracks with two sub-genres or more, of which neither is part of the other.
    outside : int
        Tracks with a label outside their top-level genre.
    """

    rows: tuple[Row, ...]
    per_node: tuple[dict[str, Any], ...]
    settings: HierarchySettings
    n_tracks: int
    n_artists: int
    n_left_out: int
    labels_left_out: int
    several: float
    outside: int


def read_tree_data(folder: Path, run: Path) -> TreeData:
    """Prepared data, and the out-of-fold answers of a run of the main recogniser.

    Parameters
    ----------
    folder : Path
        See :func:`genrescope.catalog.prepared.load_prepared`; the table has ``subgenres``.
    run : Path
        Of ``genrescope train default``, made with its own folds and seed; the answers in its
        ``fold-*/answers.npz`` are read.

    Returns
    -------
    TreeData

    Raises
    ------
    DataError
        If a file is missing, or does not fit the data.
    """
    _answered(run)
    data = load_prepared(folder)
    if data.subgenres is None:
        raise DataError(f"{folder}: small_tracks.csv has no column subgenres; add it")
    data = data.where(data.genre_top != "")
    names, y = np.unique(data.genre_top, return_inverse=True)
    artists = data.artist_id
    logits, folds = read_answers(run, y.astype(np.int64), artists)
    kept = data.subgenres
    return TreeData(
        statistics=_statistics(data.mel, data.mfcc_3s),
        subgenres=[()] * len(y) if kept is None else kept.tolist(),
        y_top=y.astype(np.int64),
        genres=[str(name) for name in names],
        artists=artists,
        folds=folds,
        top=cross_cooled(logits, y.astype(np.int64), folds)[0],
        teacher=data.vggish,
    )


def read_answers(
    run: Path, y: npt.NDArray[np.int64], artists: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The out-of-fold answers of a run of the main recogniser, before any temperature.

    Parameters
    ----------
    run : Path
        Of ``genrescope train default``, made with its own folds and seed.
    y : np.ndarray [shape=(n,), int64]
        The genres of its tracks, in the order of the prepared data.
    artists : np.ndarray [shape=(n,), str]
        Their artists.

    Returns
    -------
    log_p : np.ndarray [shape=(n, n_genres), float64]
        Log-probabilities.
    folds : np.ndarray [shape=(n,), int64]

    Raises
    ------
    DataError
        If the run is not finished, or made from other data.
    """
    found = _answered(run)
    n_genres = len(np.unique(y))
    folds = group_folds(y, artists, n_folds=len(found), seed=0)
    logits = np.zeros((len(y), n_genres))
    for k, path in enumerate(found):
        try:
            with np.load(path, allow_pickle=False) as stored:
                answers = stored["all"]
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); train again") from error
        if answers.shape != (int((folds == k).sum()), n_genres):
            raise DataError(
                f"{path}: answers have the shape {answers.shape}, the fold has "
                f"{int((folds == k).sum())} tracks and {n_genres} genres; give a run on this data"
            )
        logits[folds == k] = answers
    return logits, folds


def _answered(run: Path) -> list[Path]:
    found = sorted(run.glob("fold-*/answers.npz"))
    if len(found) < 2:
        raise DataError(
            f"{run}: {len(found)} files fold-*/answers.npz; give the folder of a finished "
            "`genrescope train default`"
        )
    return found


def study_subgenres(
    data: TreeData,
    *,
    settings: HierarchySettings | None = None,
    seed: int = 0,
    n_boot: int = 1000,
) -> Study:
    """Train all, score all.

    Parameters
    ----------
    data : TreeData
        What is learnt from and scored on, by its folds.
    settings : HierarchySettings, optional
        Of the networks, flat or not.
    seed : int
        Of training and resampling.
    n_boot : int
        Resamples of artists.

    Returns
    -------
    Study
    """
    settings = settings or HierarchySettings()
    tree, artists = find_nodes(data, least=settings.least_artists)
    truth = truth_table(data, tree)
    first = len(tree.genres)
    parts = scale_folds(data, settings=settings)
    answers: dict[str, tuple[str, Floats]] = {}

    def flat(nodes: Floats) -> Floats:
        return np.hstack([data.top, nodes])

    linear = [flat(_logistic(data, truth[:, first:], parts, penalty=c)) for c in PENALTIES]
    sets = [decide(p, truth, data.folds, tree=tree, shrinkage=settings.shrinkage) for p in linear]
    micro = [
        score_tree(TreeTruth(truth, tree, None), chosen, p, n_boot=0).values["micro_f1"]
        for chosen, p in zip(sets, linear, strict=True)
    ]
    answers["flat-logistic"] = ("flat: logistic regressions", linear[int(np.argmax(micro))])
    alone = replace(settings, top_weight=0.0, teacher_weight=0.0)
    for key, label, chosen_settings in (
        ("flat-alone", "flat: a network, sub-genres alone", alone),
        ("flat-network", "flat: the same network, all that it is taught", settings),
    ):
        fitted = cross_fit(
            data, tree, parts, settings=chosen_settings, seed=seed, conditional=False
        )
        answers[key] = (label, flat(fitted.nodes))
    frequency = _frequencies(data, truth, tree)
    answers["frequency"] = (
        "tree without sound below the top: recogniser x how frequent",
        tree.join(data.top, frequency),
    )
    fitted = cross_fit(data, tree, parts, settings=settings, seed=seed)
    answers["own-top"] = (
        "tree, top-level genres by the same network",
        tree.join(fitted.top, fitted.nodes),
    )
    answers["tree"] = (
        "**tree, top-level genres by the recogniser (ships)**",
        tree.join(data.top, fitted.nodes),
    )
    chosen_by = {
        key: decide(p, truth, data.folds, tree=tree, shrinkage=settings.shrinkage)
        for key, (_, p) in answers.items()
    }
    had = TreeTruth(truth, tree, data.artists)
    ships = (chosen_by["tree"], answers["tree"][1])
    rows = tuple(
        Row(
            key,
            label,
            score_tree(had, chosen_by[key], p, n_boot=n_boot, seed=seed),
            {}
            if key == "tree"
            else compare_trees(had, ships, (chosen_by[key], p), n_boot=n_boot, seed=seed),
        )
        for key, (label, p) in answers.items()
    )
    said = chosen_by["tree"]
    per_node = []
    for place, node in enumerate(tree.nodes, start=first):
        real, taken = truth[:, place], said[:, place]
        both = 2 * int((real & taken).sum())
        per_node.append(
            {
                "path": " > ".join(node),
                "artists": artists[node],
                "tracks": int(real.sum()),
                "f1": both / int(real.sum() + taken.sum()),
            }
        )
    return Study(
        rows=rows,
        per_node=tuple(per_node),
        settings=settings,
        n_tracks=len(truth),
        n_artists=len(np.unique(data.artists)),
        **_about_labels(data, tree),
    )


def write_page(path: Path, study: Study, *, command: str) -> None:
    """Write what was measured as Markdown."""
    with atomic(path) as part:
        part.write_text(page(study, command=command), encoding="utf-8")


def page(study: Study, *, command: str) -> str:
    """The study in words and tables."""
    settings, nodes = study.settings, len(study.per_node)
    resampled = study.rows[-1].scores
    lines = [
        "# Sub-genres",
        "",
        f"{study.n_tracks:,} tracks of {study.n_artists:,} artists, {nodes} sub-genres that "
        f"{settings.least_artists} artists or more have. The other {study.n_left_out} "
        f"({study.labels_left_out:,} labels) are never answered and not scored. Folds share no "
        "artist. Thresholds of a fold are chosen on the answers for the other folds. 95 % "
        f"intervals resample whole artists ({resampled.n_boot:,} times).",
        "",
        "**What several genres means.** "
        + (
            "No track has a label outside its top-level genre: the table holds only tracks whose "
            "labels are all of one. "
            if study.outside == 0
            else f"{study.outside:,} tracks have a label outside their top-level genre. "
        )
        + f"{100 * study.several:.0f} % have two sub-genres or more side by side. So the "
        "top-level genres share one probability, sub-genres of one parent do not exclude each "
        "other, and a close call between two top-level genres can name sub-genres of both.",
        "",
        "| how | micro-F1 | macro-F1 | hierarchical precision, recall, F1 | ranking precision "
        "| child above parent |",
        "|---|---|---|---|---|---|",
    ]
    for row in study.rows:
        v, i = row.scores.values, row.scores.intervals
        hierarchical = ", ".join(
            f"{v[f'hierarchical_{what}']:.3f}" for what in ("precision", "recall", "f1")
        )
        lines.append(
            f"| {row.label} | {v['micro_f1']:.3f}{_between(i['micro_f1'])} "
            f"| {v['macro_f1']:.3f}{_between(i['macro_f1'])} "
            f"| {hierarchical}{_between(i['hierarchical_f1'])} "
            f"| {v['lrap']:.3f}{_between(i['lrap'])} "
            f"| {100 * row.scores.above_parent:.0f} % of tracks |"
        )
    lines += [
        "",
        "What ships minus each of the others, in points, on the same resamples:",
        "",
        "| ships minus | " + " | ".join(_SHORT[name] for name in TREE_METRICS) + " |",
        "|---" * (len(TREE_METRICS) + 1) + "|",
    ]
    for row in study.rows[:-1]:
        cells = [
            f"{100 * d:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            for d, low, high in (row.behind[name] for name in TREE_METRICS)
        ]
        lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
    lines += ["", *_NOTES, "", "## Every sub-genre", ""]
    lines += ["| sub-genre | artists | tracks | F1 |", "|---|---|---|---|"]
    lines += [
        f"| {node['path']} | {node['artists']} | {node['tracks']} | {node['f1']:.2f} |"
        for node in sorted(study.per_node, key=lambda node: str(node["path"]))
    ]
    return "\n".join([*lines, "", f"Made by `{command}`.", ""])


_SHORT = {
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "hierarchical_precision": "h. precision",
    "hierarchical_recall": "h. recall",
    "hierarchical_f1": "h. F1",
    "lrap": "ranking precision",
}

_NOTES = (
    "Micro-F1, macro-F1 and ranking precision are over sub-genres alone. The hierarchical figures "
    "(Kiritchenko et al. 2005) count top-level genres too; every row is given the recogniser's "
    "most probable one, except the row with its own. Sets are closed upwards in every row: what "
    "is above a chosen sub-genre is chosen. The last column holds a "
    "flat sub-genre, too, against the recogniser's top-level genre. The penalty of the flat "
    "logistic regressions is the "
    f"best of {len(PENALTIES)} on these very folds, which flatters them.",
    "",
    "The recogniser is an ensemble that read more than the statistics, so the gap to the flat rows "
    "is not all due to the tree: the row with the network's own top-level genres is what the tree "
    "does by itself. The answers for the other folds, on which thresholds are chosen, come from "
    "networks that had learnt from the fold that is scored; this is the same for every row.",
    "",
    "Some 20 networks and regressions, and some 25 ways to blend their answers and to choose "
    "thresholds, were tried on these very folds, nearly all with one seed, and of those that fit "
    "into a part the one with the best micro-F1 ships: expect its lead to be a little smaller "
    "elsewhere. Weaker on micro-F1: a wider network, longer training, less dropout, a teacher that "
    "counts less or more, its soft labels for the sub-genres. No better than noise: an average "
    "with conditional logistic regressions, a blend with the flat answers, artists that count "
    "alike, a sharper or blunter top-level answer. Thresholds that maximise each genre's own F1 "
    "raise macro-F1 and cost micro-F1.",
)


def _between(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f" ({pair[0]:.3f}-{pair[1]:.3f})"


def _statistics(mel: Any, mfcc: Any) -> npt.NDArray[np.float32]:
    out = np.empty((len(mel), frames.N_STATISTICS), dtype=np.float32)
    for start in range(0, len(mel), 256):  # whole rows of all tracks would take half a gigabyte
        rows = slice(start, start + 256)
        out[rows] = frames.describe_prepared(mel[rows], mfcc[rows])[:, : frames.N_STATISTICS]
    return out


def _logistic(data: TreeData, wanted: Bools, parts: dict[int, Scaled], *, penalty: float) -> Floats:
    """One logistic regression for each sub-genre, by itself; out of fold [n, m]."""
    out = np.zeros(wanted.shape)
    for part in parts.values():
        x = torch.as_tensor(part.scale(data.statistics[part.train]))
        t = torch.as_tensor(wanted[part.train].astype(np.float32))
        weight = torch.zeros(x.shape[1], t.shape[1], requires_grad=True)
        bias = torch.zeros(t.shape[1], requires_grad=True)
        optimiser: Any = torch.optim.LBFGS(
            [weight, bias], max_iter=80, history_size=10, line_search_fn="strong_wolfe"
        )

        def loss(
            x: Any = x, t: Any = t, weight: Any = weight, bias: Any = bias, by: Any = optimiser
        ) -> Any:
            by.zero_grad()
            each = functional.binary_cross_entropy_with_logits(
                x @ weight + bias, t, reduction="sum"
            )
            total = each + penalty / 2 * (weight**2).sum()
            total.backward()
            return total

        optimiser.step(loss)
        rest = torch.as_tensor(part.scale(data.statistics[~part.train]))
        with torch.no_grad():
            out[~part.train] = sigmoid((rest @ weight + bias).numpy().astype(np.float64))
    return out


def _frequencies(data: TreeData, truth: Bools, tree: SubTree) -> Floats:
    """How frequent each sub-genre is within what it is part of, on the other folds [n, m]."""
    out = np.zeros((len(truth), len(tree.nodes)))
    for k in np.unique(data.folds).tolist():
        rest = truth[data.folds != k]
        own = rest[:, len(tree.genres) :].sum(axis=0)
        out[data.folds == k] = own / np.maximum(rest[:, tree.parents].sum(axis=0), 1)
    return out


def _about_labels(data: TreeData, tree: SubTree) -> dict[str, Any]:
    left_out: dict[tuple[str, ...], int] = {}
    several = outside = 0
    for names, y in zip(data.subgenres, data.y_top.tolist(), strict=True):
        own = {data.taxonomy.path(name) for name in names}
        every = {path[:size] for path in own for size in range(1, len(path) + 1)}
        outside += any(path[0] != data.genres[y] for path in every)
        below = {path for path in every if len(path) > 1}
        tips = [p for p in below if not any(q[: len(p)] == p and q != p for q in below)]
        several += len(tips) > 1
        for path in below:
            if path not in tree.column:
                left_out[path] = left_out.get(path, 0) + 1
    return {
        "n_left_out": len(left_out),
        "labels_left_out": sum(left_out.values()),
        "several": several / len(data.y_top),
        "outside": outside,
    }
