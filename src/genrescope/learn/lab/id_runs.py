"""Who made a track, as far as its number tells.

FMA numbers tracks as they are uploaded, album by album. Where a table names no artists, a run of
neighbouring ids is the best stand-in there is: it keeps an album together, and cannot know of the
artist's other albums.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GAP", "RunFacts", "id_runs", "measure_runs"]

GAP = 10  # ids; beyond it, neighbours are seldom by one artist (see measure_runs)


@dataclass(frozen=True)
class RunFacts:
    """How well runs of ids stand in for artists, on the tracks whose artist is known.

    Attributes
    ----------
    known : int
        Tracks of the table whose artist is known.
    neighbours : int
        Pairs of neighbours in the list of known tracks that are at most the gap apart.
    same : float
        Share of those that are by one artist.
    together : int
        Tracks of the table whose artist is known and has others in it.
    torn : float
        Share of those that would not be in one run with all the others, had nobody known.
    """

    known: int
    neighbours: int
    same: float
    together: int
    torn: float


def id_runs(
    track_id: NDArray[np.int64], artist_of: Mapping[int, str], *, gap: int = GAP
) -> NDArray[np.str_]:
    """Groups of tracks that are probably by one artist.

    Neighbours at most `gap` ids apart are together, unless both are known to be by different
    artists; so are all runs in which a known artist has a track. A run whose neighbours are not
    known may hold several artists, which costs less than tearing one artist apart.

    Parameters
    ----------
    track_id : np.ndarray [shape=(n,), int64]
        The tracks, in any order, each once.
    artist_of : mapping of int to str
        Artists of some tracks, of the table or not.
    gap : int >= 1
        How far apart, in ids.

    Returns
    -------
    np.ndarray [shape=(n,), str]
        The name of each track's group: ``artist 54``, or ``ids 1032-1040``.
    """
    every = np.unique(np.concatenate([track_id, np.array(list(artist_of), dtype=np.int64)]))
    artists = [artist_of.get(one) for one in every.tolist()]
    starts = np.diff(every, prepend=every[:1] - gap - 1) > gap
    for at in range(1, len(every)):
        before, here = artists[at - 1], artists[at]
        starts[at] |= before is not None and here is not None and before != here
    run = np.cumsum(starts) - 1
    parent = list(range(int(run[-1]) + 1))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    first: dict[str, int] = {}
    for artist, one in zip(artists, run.tolist(), strict=True):
        if artist is not None:
            a, b = root(one), root(first.setdefault(artist, one))
            parent[max(a, b)] = min(a, b)
    roots = np.array([root(one) for one in run.tolist()])
    known: dict[int, str] = {}
    for artist, one in zip(artists, roots.tolist(), strict=True):
        if artist is not None:
            known.setdefault(one, artist)
    mine = roots[np.searchsorted(every, track_id)]
    names = {}
    for one in np.unique(mine).tolist():
        ids = track_id[mine == one]
        names[one] = f"artist {known[one]}" if one in known else f"ids {ids.min()}-{ids.max()}"
    return np.array([names[one] for one in mine.tolist()], dtype=np.str_)


def measure_runs(
    track_id: NDArray[np.int64], artist_of: Mapping[int, str], *, gap: int = GAP
) -> RunFacts:
    """See :class:`RunFacts`; arguments as in :func:`id_runs`."""
    known = np.array(sorted(artist_of), dtype=np.int64)
    near = np.flatnonzero(np.diff(known) <= gap)
    same = [artist_of[known[at]] == artist_of[known[at + 1]] for at in near.tolist()]
    runs = id_runs(track_id, {}, gap=gap)
    by_artist: dict[str, list[str]] = defaultdict(list)
    for one, run in zip(track_id.tolist(), runs.tolist(), strict=True):
        if one in artist_of:
            by_artist[artist_of[one]].append(run)
    several = [Counter(found) for found in by_artist.values() if len(found) > 1]
    together = sum(found.total() for found in several)
    torn = sum(found.total() for found in several if len(found) > 1)
    return RunFacts(
        known=sum(len(found) for found in by_artist.values()),
        neighbours=len(near),
        same=float(np.mean(same)) if same else float("nan"),
        together=together,
        torn=torn / together if together else float("nan"),
    )
