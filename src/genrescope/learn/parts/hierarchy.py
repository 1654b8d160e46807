"""Sub-genres: probabilities that respect the tree, and a set of genres that agree with each other.

A graph says, for each sub-genre, how probable it is *given* what it is part of. The probability of
a sub-genre is the product of these down its path, times that of its top-level genre, which the main
recogniser gives. A factor is never more than 1, so no sub-genre is more probable than what it is
part of, whatever the graph says.

Siblings do not exclude each other (a track may be both Punk and Indie-Rock), so those of one parent
need not add up to it, and may add up to more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import BundleError, DataError
from genrescope.learn.parts.base import Part
from genrescope.learn.prediction import Branch

__all__ = ["VERSION", "SubTree", "TreeAnswer", "TreeHead"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
TreePath = tuple[str, ...]

VERSION = 1  # of the settings of the part


class SubTree:
    """The part of a genre tree that is answered for: top-level genres and sub-genres below.

    Parameters
    ----------
    genres : sequence of k str
        Top-level genres, in the order of the recogniser.
    nodes : iterable of m tuple of str
        Paths of sub-genres from the top, each of two names or more.

    Attributes
    ----------
    genres : tuple of str
    nodes : tuple of tuple of str
        Sorted, what is above before what is below.
    paths : tuple of k + m tuple of str
        The top-level genres, then the nodes.

    Raises
    ------
    DataError
        If a path occurs twice, is too short, or what it is part of is missing.

    Examples
    --------
    >>> tree = SubTree(["Folk", "Rock"], [("Rock", "Punk", "Hardcore"), ("Rock", "Punk")])
    >>> tree.nodes
    (('Rock', 'Punk'), ('Rock', 'Punk', 'Hardcore'))
    >>> tree.join(np.array([[0.2, 0.8]]), np.array([[0.5, 0.5]])).round(2).tolist()
    [[0.2, 0.8, 0.4, 0.2]]
    """

    def __init__(self, genres: Sequence[str], nodes: Iterable[Sequence[str]]) -> None:
        self.genres: tuple[str, ...] = tuple(genres)
        self.nodes: tuple[TreePath, ...] = tuple(
            sorted((tuple(node) for node in nodes), key=lambda path: (len(path), path))
        )
        self.paths: tuple[TreePath, ...] = (*((genre,) for genre in self.genres), *self.nodes)
        self.column = {path: place for place, path in enumerate(self.paths)}
        if len(self.column) != len(self.paths):
            twice = next(path for path in self.paths if self.paths.count(path) > 1)
            raise DataError(f"{' > '.join(twice)} is given twice; give every genre once")
        for node in self.nodes:
            if len(node) < 2:
                raise DataError(f"the sub-genre {node!r} is part of nothing; give its whole path")
            if node[:-1] not in self.column:
                raise DataError(
                    f"{' > '.join(node)} is given and {' > '.join(node[:-1])} is not; "
                    "give all that a sub-genre is part of"
                )
        #: Column of what each node is part of, among `paths`.
        self.parents = np.array([self.column[node[:-1]] for node in self.nodes], dtype=np.int64)

    def join(self, top: Floats, conditional: Floats) -> Floats:
        """Probabilities of all paths.

        Parameters
        ----------
        top : np.ndarray [shape=(n, k), float64]
            Of the top-level genres.
        conditional : np.ndarray [shape=(n, m), float64]
            Of each node, given that what it is part of fits; in [0, 1].

        Returns
        -------
        np.ndarray [shape=(n, k + m), float64]
            No column above that of its parent.
        """
        out = np.hstack([top, np.empty_like(conditional)])
        for place, parent in enumerate(self.parents.tolist()):
            # Rounding is monotone, so x * c <= x for c <= 1 in floating point as well.
            out[:, len(self.genres) + place] = out[:, parent] * conditional[:, place]
        return out

    def closed(self, chosen: Bools) -> Bools:
        """The same sets [n, k + m] with all that their members are part of."""
        out = np.array(chosen, dtype=bool)
        first = len(self.genres)
        for place in range(len(self.nodes) - 1, -1, -1):
            out[:, self.parents[place]] |= out[:, first + place]
        return out

    def choose(self, probabilities: Floats, thresholds: Floats) -> Bools:
        """The consistent set of every track.

        Parameters
        ----------
        probabilities : np.ndarray [shape=(n, k + m), float64]
            From :meth:`join`.
        thresholds : np.ndarray [shape=(m,), float64]
            A sub-genre is taken from here on.

        Returns
        -------
        np.ndarray [shape=(n, k + m), bool]
            The most probable top-level genre, the sub-genres that reach their threshold, and all
            that these are part of.
        """
        first = len(self.genres)
        chosen = np.zeros(probabilities.shape, dtype=bool)
        chosen[np.arange(len(chosen)), probabilities[:, :first].argmax(axis=1)] = True
        chosen[:, first:] = probabilities[:, first:] >= thresholds
        return self.closed(chosen)


@dataclass(frozen=True)
class TreeAnswer:
    """Which genres of the tree fit one track.

    Attributes
    ----------
    probabilities : dict of tuple of str to float
        Every genre by its path, high to low; none above what it is part of.
    chosen : tuple of tuple of str
        Genres that fit, high to low; with each, all that it is part of.

    Examples
    --------
    >>> answer = TreeAnswer({("Rock",): 0.7, ("Rock", "Punk"): 0.41}, (("Rock",), ("Rock", "Punk")))
    >>> print(answer)
    Rock > Punk (41 %)
    """

    probabilities: dict[TreePath, float]
    chosen: tuple[TreePath, ...]

    def paths(self) -> tuple[Branch, ...]:
        """The chosen genres that no other chosen one is more precise than, high to low."""
        above = {path[:length] for path in self.chosen for length in range(1, len(path))}
        return tuple(
            Branch(path, self.probabilities[path]) for path in self.chosen if path not in above
        )

    def __str__(self) -> str:
        return ", ".join(f"{branch} ({100 * branch.probability:.0f} %)" for branch in self.paths())


class TreeHead:
    """Answers for sub-genres, from the part "tree" of a bundle.

    Parameters
    ----------
    part : Part
        The graph, and on its settings nodes, thresholds and genres.
    genres : sequence of k str
        Of the main recogniser, in its order.

    Raises
    ------
    BundleError
        If the settings do not fit the genres, or are of another version.
    """

    def __init__(self, part: Part, genres: Sequence[str]) -> None:
        said: Mapping[str, Any] = part.settings
        if said.get("version") != VERSION:
            raise BundleError(
                f"the part {part.name} is of version {said.get('version')!r}, this genrescope "
                f"reads version {VERSION}; update genrescope, or get another bundle"
            )
        try:
            self.tree = SubTree(genres, [tuple(map(str, node)) for node in said["nodes"]])
            self.thresholds: Floats = np.asarray(said["thresholds"], dtype=np.float64)
            self.n_statistics = int(said["n_statistics"])
            listed = [list(node) for node in said["nodes"]]
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise BundleError(
                f"the settings of the part {part.name} cannot be used ({error}); "
                "get the bundle again"
            ) from error
        if listed != [list(node) for node in self.tree.nodes]:
            raise BundleError(
                f"the nodes of the part {part.name} are not in their order; get the bundle again"
            )
        good = np.isfinite(self.thresholds) & (self.thresholds >= 0) & (self.thresholds <= 1)
        if self.thresholds.shape != (len(self.tree.nodes),) or not good.all():
            raise BundleError(
                f"the part {part.name} has the thresholds {said['thresholds']!r}; it needs one in "
                f"[0, 1] for each of its {len(self.tree.nodes)} nodes: get the bundle again"
            )
        self._part = part

    def describe(self, features: npt.NDArray[np.floating[Any]], top: npt.ArrayLike) -> TreeAnswer:
        """The sub-genres of one track.

        Parameters
        ----------
        features : np.ndarray [shape=(windows, n_features), float32]
            Of :mod:`genrescope.audio.frames`; the first columns, the statistics, are read.
        top : array_like [shape=(k,), float]
            Probabilities of the main recogniser for the track.

        Returns
        -------
        TreeAnswer

        Raises
        ------
        DataError
            If shapes do not fit, or a value is not finite or no probability.
        BundleError
            If the graph cannot be run, or gives other sub-genres than the settings name.
        """
        rows = np.asarray(features)
        if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < self.n_statistics:
            raise DataError(
                f"features have the shape {rows.shape}; sub-genres need [windows, n_features] "
                f"with {self.n_statistics} columns or more"
            )
        p = np.asarray(top, dtype=np.float64)
        k = len(self.tree.genres)
        if p.shape != (k,) or not (np.isfinite(p) & (p >= 0) & (p <= 1 + 1e-6)).all():
            raise DataError(
                f"top is {p.tolist()!r}; it needs {k} probabilities, one for each genre"
            )
        logits = self._part.run({"statistics": rows[:, : self.n_statistics]})["logits"]
        if logits.shape != (len(rows), len(self.tree.nodes)):
            raise BundleError(
                f"the graph of the part {self._part.name} gives {logits.shape[-1]} sub-genres, its "
                f"settings name {len(self.tree.nodes)}; get the bundle again"
            )
        conditional = sigmoid(logits.astype(np.float64).mean(axis=0))
        joint = self.tree.join(p[np.newaxis], conditional[np.newaxis])
        chosen = self.tree.choose(joint, self.thresholds)[0]
        # Stable, so that of two equal ones the one above stays first.
        order = np.argsort(-joint[0], kind="stable").tolist()
        paths = self.tree.paths
        return TreeAnswer(
            probabilities={paths[place]: float(joint[0, place]) for place in order},
            chosen=tuple(paths[place] for place in order if chosen[place]),
        )


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    out: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return out
