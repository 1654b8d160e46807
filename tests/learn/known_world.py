"""A small world of known tracks: genres and artists have a sound of their own."""

from __future__ import annotations

import numpy as np

from genrescope.audio import frames
from genrescope.catalog.splits import group_folds
from genrescope.learn.train.known_space import KnownData

GENRES = ("Folk", "Hip-Hop", "Pop", "Rock")


def make_known(
    *, n_artists: int = 48, tracks_each: int = 4, artist: float = 1.0, seed: int = 0
) -> KnownData:
    """Known tracks whose statistics are genre plus artist plus noise, in few directions of many."""
    rng = np.random.default_rng(seed)
    n = n_artists * tracks_each
    who = np.repeat(np.arange(n_artists), tracks_each)
    y = who % len(GENRES)
    space = rng.normal(size=(40, frames.N_STATISTICS))
    hidden = 2.0 * rng.normal(size=(len(GENRES), 40))[y]
    hidden += artist * rng.normal(size=(n_artists, 40))[who]
    hidden += rng.normal(size=(n, 40))
    x = 7.0 + hidden @ space + rng.normal(size=(n, frames.N_STATISTICS))
    artists = np.array([f"a{one}" for one in who])
    return KnownData(
        statistics=x.astype(np.float32),
        y=y.astype(np.int64),
        genres=GENRES,
        artists=artists,
        folds=group_folds(y, artists, n_folds=3, seed=0),
        track_ids=1_000 + np.arange(n),
        titles=[f"Söng <b>{i}</b>" for i in range(n)],
        names=[f"Artist {one}" for one in who],
        teacher=(hidden @ rng.normal(size=(40, 16))).astype(np.float32),
    )
