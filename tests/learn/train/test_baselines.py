"""What the recogniser is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.learn.train.baselines import BASELINES, stock_svc
from tests.learn.small_data import GENRES, make_prepared


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder: Path = tmp_path_factory.mktemp("prepared")
    return load_prepared(make_prepared(folder, n_artists=24, tracks_each=3))


def inputs(tracks: PreparedData, source: str) -> np.ndarray:
    if source == "vggish":
        assert tracks.vggish is not None
        return tracks.vggish
    rows = frames.describe_prepared(tracks.mel, tracks.mfcc_3s)
    return rows[:, : frames.N_STATISTICS]


@pytest.mark.parametrize("key", BASELINES)
@pytest.mark.parametrize("genres", [GENRES, GENRES[:2]])
def test_each_knows_new_artists(tracks: PreparedData, key: str, genres: tuple[str, ...]) -> None:
    name, function, source = BASELINES[key]
    assert name
    kept = np.isin(tracks.genre_top, genres)
    x, y = inputs(tracks, source)[kept], np.searchsorted(genres, tracks.genre_top[kept])
    new = np.isin(tracks.artist_id[kept], [str(k) for k in range(1, 9)])
    scores = function(x[~new], y[~new], x[new], n_genres=len(genres))
    assert scores.shape == (new.sum(), len(genres))
    assert (scores.argmax(axis=1) == y[new]).mean() > 0.8


@pytest.mark.parametrize("key", BASELINES)
def test_a_genre_that_was_not_there_is_never_the_answer(tracks: PreparedData, key: str) -> None:
    _, function, source = BASELINES[key]
    x, y = inputs(tracks, source), np.searchsorted(GENRES, tracks.genre_top)
    known = y != 2
    scores = function(x[known], y[known], x, n_genres=len(GENRES))
    assert scores.shape == (len(x), len(GENRES))
    assert np.isfinite(scores).all()
    assert not (scores.argmax(axis=1) == 2).any()


def test_the_stock_classifier_reads_the_140_mfcc_statistics_alone(tracks: PreparedData) -> None:
    """The figure it stands for was measured on these, so that they are what it must get."""
    x, y = inputs(tracks, "statistics"), np.searchsorted(GENRES, tracks.genre_top)
    mine = np.flatnonzero([n.startswith("mfcc.mfcc_") for n in frames.STATISTIC_NAMES])
    assert len(mine) == 140
    other = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    other[:, mine] = x[:, mine]
    plain, blind = (stock_svc(rows, y, rows, n_genres=len(GENRES)) for rows in (x, other))
    np.testing.assert_allclose(plain, blind, atol=1e-5)
