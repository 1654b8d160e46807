"""The study of sources: every row is there, early and late, and written whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.errors import DataError
from genrescope.learn.parts.company import company, pool_company
from genrescope.learn.studies.early_fusion import EarlySettings, early_out_of_fold
from genrescope.learn.studies.metadata import metadata_study, study_markdown, write_study
from genrescope.learn.train.fusion import FusionTracks
from tests.learn.parts.test_fusion import SMALL, tracks_of

TINY = EarlySettings(components=6, width=16, epochs=15, batch=32)


@pytest.fixture(scope="module")
def made() -> tuple[FusionTracks, np.ndarray]:
    tracks = tracks_of(300)
    rng = np.random.default_rng(5)
    sound = (
        np.exp(tracks.log_p) @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(300, 10))
    ).astype(np.float32)
    return tracks, sound


def test_study(made: tuple[FusionTracks, np.ndarray], tmp_path: Path) -> None:
    tracks, sound = made
    rows = metadata_study(tracks, sound=sound, recipe=SMALL, early=TINY, n_boot=20)
    by_name = {(row.name, row.masked): row for row in rows}
    assert rows[0].name == "sound alone"
    for masked in (True, False):
        for name in ("title", "sound + title", "title + artist", "sound + what is known"):
            assert (name, masked) in by_name
    gain = by_name["sound + title", True].difference
    assert gain is not None
    assert gain.difference > 0
    assert gain.low < gain.difference < gain.high
    assert by_name["title", True].difference is None
    early = by_name["one network on sound + title + artist", True]
    bare = by_name["one small network on sound", True]
    assert early.kind == "early"
    assert early.scores.accuracy > bare.scores.accuracy
    friends = by_name["sound, + the artist's other tracks", True]
    assert friends.scores.accuracy > rows[0].scores.accuracy + 0.05
    written = write_study(tmp_path / "d" / "study.md", rows)
    text = written.read_text()
    assert text == study_markdown(rows)
    assert len(text.splitlines()) == len(rows) + 2
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_early_fusion_answers_without_text(made: tuple[FusionTracks, np.ndarray]) -> None:
    tracks, sound = made
    y = tracks.y
    found = early_out_of_fold(sound, tracks, sources=("title", "numbers"), settings=TINY)
    again = early_out_of_fold(sound, tracks, sources=("title", "numbers"), settings=TINY)
    for name in ("all", "sound"):
        np.testing.assert_allclose(np.exp(found[name]).sum(1), 1, atol=1e-5)
        np.testing.assert_array_equal(found[name], again[name])
        assert (found[name].argmax(1) == y).mean() > 0.4
    assert (found["all"].argmax(1) == y).mean() > (found["sound"].argmax(1) == y).mean()
    with pytest.raises(DataError, match="one row a track"):
        early_out_of_fold(sound[1:], tracks)


def test_company() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.5, 0.5], [0.7, 0.3]])
    names = ["A", "a", "A", None, ""]
    log_p, others = company(p, names)
    assert others.tolist() == [2, 2, 2, 0, 0]
    np.testing.assert_allclose(log_p[0], np.log([0.2, 0.8]))
    assert not log_p[3].any()
    pooled = pool_company(p, names, weight=2.0)
    assert pooled[0].argmax() == 1  # outvoted
    np.testing.assert_array_equal(pooled[3:], p[3:])
    np.testing.assert_allclose(pool_company(p, names, weight=0.0), p)
    assert company(np.zeros((0, 2)), [])[0].shape == (0, 2)
    with pytest.raises(DataError, match="there are 1 artists"):
        company(p, ["a"])
    with pytest.raises(DataError, match="0 or more"):
        pool_company(p, names, weight=-1.0)
