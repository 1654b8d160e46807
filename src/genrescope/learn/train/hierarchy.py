"""Train the part of a bundle that answers for sub-genres.

One small network on the frame statistics says how probable each sub-genre is given what it is part
of, and is asked about a sub-genre only on tracks that have what it is part of. It also learns the
top-level genres and, where there is one, a teacher's embedding; both heads are thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.catalog.genres import GenreTree
from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.parts.base import NewPart, Part
from genrescope.learn.parts.hierarchy import VERSION, SubTree, sigmoid
from genrescope.learn.train.export import add_scale
from genrescope.learn.train.graph import GraphBuilder
from genrescope.learn.train.hierarchy_scores import TreeScores, TreeTruth, score_tree
from genrescope.learn.train.hierarchy_thresholds import choose_thresholds, decide
from genrescope.learn.train.statnet import FrontScale, fit_front_scale, fold, to_numpy

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("training", extra="train", package="torch") from error

__all__ = [
    "CrossFit",
    "HierarchySettings",
    "Scaled",
    "TreeData",
    "build_tree_graph",
    "cross_fit",
    "find_nodes",
    "scale_folds",
    "tree_part",
    "truth_table",
]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_BETA = 0.4  # mixup (Zhang et al. 2018)


@dataclass(frozen=True)
class HierarchySettings:
    """Every number of the sub-genres.

    Attributes
    ----------
    least_artists : int
        A sub-genre with fewer artists is not answered for.
    shrinkage : float
        Tracks. A sub-genre with as many lies half-way between its own best threshold and the
        common one; a rarer one nearer to the common one.
    components, width, epochs, batch : int
        Of the network and its training.
    """

    least_artists: int = 10
    shrinkage: float = 300.0
    components: int = 400
    width: int = 64
    epochs: int = 25
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    noise: float = 0.3  # standard deviation on inputs of about unit size
    dropout_in: float = 0.2
    dropout: float = 0.3
    top_weight: float = 1.0  # of the top-level genres' log-loss
    teacher_weight: float = 4.0  # of the embedding's mean squared error


@dataclass(frozen=True, eq=False)
class TreeData:
    """What the sub-genres are learnt from; n tracks.

    Attributes
    ----------
    statistics : np.ndarray [shape=(n, n_statistics), float32]
        The first columns of :mod:`genrescope.audio.frames` rows.
    subgenres : sequence of n sequence of str
        Every genre of a track, at any depth, its top-level genre or not.
    y_top : np.ndarray [shape=(n,), int]
        Its top-level genre as a position in `genres`.
    genres : sequence of k str
        As the main recogniser has them.
    artists : np.ndarray [shape=(n,), str]
    folds : np.ndarray [shape=(n,), int]
        No artist in two.
    top : np.ndarray [shape=(n, k), float64]
        Calibrated out-of-fold probabilities of the main recogniser, on the same folds.
    teacher : np.ndarray [shape=(n, d), float32], optional
        A teacher's embedding.
    taxonomy : GenreTree
        Where a genre stands.
    """

    statistics: FloatArray
    subgenres: Sequence[Sequence[str]]
    y_top: npt.NDArray[np.int64]
    genres: Sequence[str]
    artists: npt.NDArray[Any]
    folds: npt.NDArray[np.int64]
    top: Floats
    teacher: FloatArray | None = None
    taxonomy: GenreTree = field(default_factory=GenreTree.fma)

    def __post_init__(self) -> None:
        n, k = len(self.y_top), len(self.genres)
        sizes = {
            "statistics": len(self.statistics),
            "subgenres": len(self.subgenres),
            "artists": len(self.artists),
            "folds": len(self.folds),
            "top": len(self.top),
            "teacher": n if self.teacher is None else len(self.teacher),
        }
        wrong = [f"{size} {name}" for name, size in sizes.items() if size != n]
        if wrong:
            raise TrainingError(f"there are {n} tracks and {', '.join(wrong)}; give one a track")
        if self.top.shape != (n, k):
            raise TrainingError(f"top has the shape {self.top.shape}; expected ({n}, {k})")


@dataclass(frozen=True, eq=False)
class Scaled:
    """Inputs of one training part.

    Attributes
    ----------
    train : np.ndarray [shape=(n,), bool]
    scale : FrontScale
        Fitted on these tracks.
    """

    train: Bools
    scale: FrontScale


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Answers for tracks whose artists the network had not met.

    Attributes
    ----------
    nodes : np.ndarray [shape=(n, m), float64]
        Of every sub-genre: given what it is part of, or by itself, as the network was asked.
    top : np.ndarray [shape=(n, k), float64]
        The same network's top-level genres.
    """

    nodes: Floats
    top: Floats


def find_nodes(data: TreeData, *, least: int) -> tuple[SubTree, dict[tuple[str, ...], int]]:
    """The sub-genres that enough artists have, and how many artists each has.

    Sub-genres of a top-level genre that is not among ``data.genres`` are left out.
    """
    owners: dict[tuple[str, ...], set[str]] = {}
    for names, artist in zip(data.subgenres, data.artists.tolist(), strict=True):
        for path in _paths(names, data.taxonomy):
            owners.setdefault(path, set()).add(str(artist))
    known = {(genre,) for genre in data.genres}
    counts = {
        path: len(who)
        for path, who in sorted(owners.items())
        if len(path) > 1 and len(who) >= least and path[:1] in known
    }
    if not counts:
        raise TrainingError(
            f"no sub-genre has {least} artists or more; lower least_artists, or train without "
            "sub-genres"
        )
    return SubTree(data.genres, counts), counts


def truth_table(data: TreeData, tree: SubTree) -> Bools:
    """Which of ``tree.paths`` each track has [n, k + m]: named ones, and what they are part of."""
    truth = np.zeros((len(data.y_top), len(tree.paths)), dtype=bool)
    truth[np.arange(len(truth)), data.y_top] = True
    for row, names in enumerate(data.subgenres):
        for path in _paths(names, data.taxonomy):
            if path in tree.column:
                truth[row, tree.column[path]] = True
    return truth


def scale_folds(data: TreeData, *, settings: HierarchySettings) -> dict[int, Scaled]:
    """The scaling of every fold, fitted without it."""
    return {
        k: Scaled(data.folds != k, _scale(data, data.folds != k, settings))
        for k in np.unique(data.folds).tolist()
    }


def cross_fit(
    data: TreeData,
    tree: SubTree,
    parts: dict[int, Scaled],
    *,
    settings: HierarchySettings,
    seed: int,
    conditional: bool = True,
) -> CrossFit:
    """Train without each fold, and answer for it through the graph that would ship.

    Parameters
    ----------
    data : TreeData
        What is learnt from.
    tree : SubTree
        Of :func:`find_nodes`.
    parts : dict of int to Scaled
        Of :func:`scale_folds`.
    settings : HierarchySettings
        Every number.
    seed : int
        Weights, batches and noise.
    conditional : bool
        False asks about every sub-genre on every track: the flat network to compare with.

    Returns
    -------
    CrossFit
    """
    nodes = np.zeros((len(data.y_top), len(tree.nodes)))
    top = np.zeros((len(data.y_top), len(tree.genres)))
    for k, part in parts.items():
        weights = _fit(data, tree, part, settings=settings, seed=seed, conditional=conditional)
        graph = build_tree_graph(part.scale, weights, with_top=True)
        rows = ~part.train
        out = Part.of("tree", NewPart(graph, {})).run({"statistics": data.statistics[rows]})
        nodes[rows] = sigmoid(out["logits"].astype(np.float64))
        raised = np.exp(out["top"].astype(np.float64))
        top[data.folds == k] = raised / raised.sum(axis=1, keepdims=True)
    return CrossFit(nodes, top)


def tree_part(
    data: TreeData, *, settings: HierarchySettings | None = None, seed: int = 0
) -> tuple[NewPart, dict[str, Any]]:
    """The part "tree" of a bundle, and how good it is on artists that it had not met.

    Parameters
    ----------
    data : TreeData
        What is learnt from, with the main recogniser's out-of-fold answers.
    settings : HierarchySettings, optional
        Every number; the default is what ships.
    seed : int
        The same seed, data and number of threads give the same part.

    Returns
    -------
    part : NewPart
        For :class:`genrescope.learn.parts.hierarchy.TreeHead`.
    scores : dict
        JSON-clean: :meth:`TreeScores.to_dict`, and under "nodes" one line for each sub-genre.

    Raises
    ------
    TrainingError
        If no sub-genre has enough artists, or the loss is not finite.
    """
    settings = settings or HierarchySettings()
    tree, artists = find_nodes(data, least=settings.least_artists)
    truth = truth_table(data, tree)
    first = len(tree.genres)
    answers = cross_fit(
        data, tree, scale_folds(data, settings=settings), settings=settings, seed=seed
    )
    joint = tree.join(data.top, answers.nodes)
    chosen = decide(joint, truth, data.folds, tree=tree, shrinkage=settings.shrinkage)
    scores: TreeScores = score_tree(TreeTruth(truth, tree, data.artists), chosen, joint)
    thresholds = choose_thresholds(joint[:, first:], truth[:, first:], shrinkage=settings.shrinkage)
    everything = np.ones(len(data.y_top), dtype=bool)
    whole = Scaled(everything, _scale(data, everything, settings))
    weights = _fit(data, tree, whole, settings=settings, seed=seed, conditional=True)
    lines = []
    for place, node in enumerate(tree.nodes):
        real, said = truth[:, first + place], chosen[:, first + place]
        lines.append(
            {
                "path": list(node),
                "artists": artists[node],
                "tracks": int(real.sum()),
                "taken": int(said.sum()),
                "f1": float(2 * (real & said).sum() / (real.sum() + said.sum())),
            }
        )
    part = NewPart(
        graph=build_tree_graph(whole.scale, weights),
        settings={
            "version": VERSION,
            "n_statistics": int(data.statistics.shape[1]),
            "nodes": [list(node) for node in tree.nodes],
            "thresholds": [round(float(value), 6) for value in thresholds],
            "least_artists": settings.least_artists,
        },
    )
    return part, {**scores.to_dict(), "nodes": lines}


def build_tree_graph(
    scale: FrontScale, weights: dict[str, FloatArray], *, with_top: bool = False
) -> bytes:
    """The graph of a network: statistics to logits of the sub-genres.

    Parameters
    ----------
    scale : FrontScale
        Its projection and the first layer become one matrix.
    weights : dict of np.ndarray
        ``first``, ``nodes`` and ``top``, each with ``.weight`` and ``.bias``.
    with_top : bool
        Also give the network's own logits of the top-level genres, "top".

    Returns
    -------
    bytes
        A serialised ONNX model: ``statistics`` float32 [windows, n_statistics] to ``logits``
        [windows, m]. Weights are stored in float16.
    """
    g = GraphBuilder()
    g.gelu_constants()
    joined = FrontScale(scale.mean, scale.scale, scale.projection @ weights["first.weight"])
    z = add_scale(g, "statistics", joined)
    shifted = g.node("Add", [z, g.constant("first.bias", weights["first.bias"])], "first")
    hidden = g.gelu(shifted, "hidden")
    heads = {"logits": "nodes", **({"top": "top"} if with_top else {})}
    outputs: dict[str, list[Any]] = {}
    for output, head in heads.items():
        matrix = g.half(f"{head}.weight", weights[f"{head}.weight"])
        product = g.node("MatMul", [hidden, matrix], f"{head}.product")
        bias = g.constant(f"{head}.bias", weights[f"{head}.bias"])
        g.node("Add", [product, bias], output)
        outputs[output] = ["windows", len(weights[f"{head}.bias"])]
    return g.serialise(
        "subgenres", inputs={"statistics": ["windows", len(scale.mean)]}, outputs=outputs
    )


class _TreeNet(nn.Module):
    """One hidden layer under three heads."""

    def __init__(
        self, n_in: int, *, sizes: tuple[int, int, int], settings: HierarchySettings
    ) -> None:
        super().__init__()
        nodes, top, teacher = sizes
        self.drop_in = nn.Dropout(settings.dropout_in)
        self.first = nn.Linear(n_in, settings.width)
        self.norm = nn.BatchNorm1d(settings.width)
        self.drop = nn.Dropout(settings.dropout)
        self.nodes = nn.Linear(settings.width, nodes)
        self.top = nn.Linear(settings.width, top)
        self.teacher = nn.Linear(settings.width, teacher) if teacher else None

    def forward(self, x: Any) -> tuple[Any, Any, Any]:
        h = self.drop(functional.gelu(self.norm(self.first(self.drop_in(x)))))
        return self.nodes(h), self.top(h), None if self.teacher is None else self.teacher(h)


def _fit(
    data: TreeData,
    tree: SubTree,
    part: Scaled,
    *,
    settings: HierarchySettings,
    seed: int,
    conditional: bool,
) -> dict[str, FloatArray]:
    """Train on one part; weights with batch norm folded in, matrices applied from the right."""
    rows = part.train
    truth = truth_table(data, tree)[rows]
    first, n = len(tree.genres), int(rows.sum())
    asked = truth[:, tree.parents] if conditional else np.ones_like(truth[:, first:])
    x = torch.as_tensor(part.scale(data.statistics[rows]))
    wanted, mask = (
        torch.as_tensor(values.astype(np.float32)) for values in (truth[:, first:], asked)
    )
    top = functional.one_hot(torch.as_tensor(data.y_top[rows]), first).float()
    goal = None if data.teacher is None else torch.as_tensor(_standard(data.teacher[rows]))

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sizes = (len(tree.nodes), first, 0 if goal is None else int(goal.shape[1]))
    net = _TreeNet(x.shape[1], sizes=sizes, settings=settings)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    batch = min(settings.batch, n)
    steps = n // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * steps
    )
    net.train()
    for epoch in range(settings.epochs):
        order = rng.permutation(n)
        for step in range(steps):
            i = order[step * batch : (step + 1) * batch]
            j = i[rng.permutation(batch)]
            mix = float(rng.beta(_BETA, _BETA))
            mixed = mix * x[i] + (1 - mix) * x[j]
            nodes, genre, imitation = net(mixed + settings.noise * torch.randn(mixed.shape))
            loss: Any = 0.0
            for part_of, who in ((mix, i), (1 - mix, j)):
                each = functional.binary_cross_entropy_with_logits(
                    nodes, wanted[who], reduction="none"
                )
                told = -(top[who] * functional.log_softmax(genre, dim=1)).sum(1).mean()
                loss = loss + part_of * (
                    (each * mask[who]).sum() / batch + settings.top_weight * told
                )
            if goal is not None:
                ideal = mix * goal[i] + (1 - mix) * goal[j]
                loss = loss + settings.teacher_weight * functional.mse_loss(imitation, ideal)
            if not bool(torch.isfinite(loss)):
                raise TrainingError(
                    f"the loss of the sub-genres became {float(loss)} in epoch {epoch + 1}; "
                    "lower the learning rate, or look for odd values in the data"
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    weight, bias = fold(net.first, net.norm)
    out = {"first.weight": weight.T, "first.bias": bias}
    for name, layer in (("nodes", net.nodes), ("top", net.top)):
        out[f"{name}.weight"] = to_numpy(layer.weight).T
        out[f"{name}.bias"] = to_numpy(layer.bias)
    return out


def _paths(names: Sequence[str], taxonomy: GenreTree) -> set[tuple[str, ...]]:
    """The paths of all named genres and of all that they are part of."""
    whole = [taxonomy.path(name) for name in names]
    return {path[:length] for path in whole for length in range(1, len(path) + 1)}


def _scale(data: TreeData, rows: Bools, settings: HierarchySettings) -> FrontScale:
    return fit_front_scale(data.statistics[rows], n_components=settings.components)


def _standard(x: FloatArray) -> FloatArray:
    spread = np.maximum(x.std(axis=0, dtype=np.float64), 1e-6)
    out: FloatArray = ((x - x.mean(axis=0, dtype=np.float64)) / spread).astype(np.float32)
    return out
