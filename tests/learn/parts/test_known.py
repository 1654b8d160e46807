"""Known tracks that sound alike: answers, words, places, and damaged parts."""

from __future__ import annotations

import dataclasses
import json
import pickle
import zlib
from typing import Any

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.errors import BundleError, DataError
from genrescope.learn.parts import known as module
from genrescope.learn.parts.base import NewPart, Part
from genrescope.learn.parts.known import KnownTracks, Neighbour, alike, place_among
from genrescope.learn.train.known import known_part
from genrescope.learn.train.known_space import KnownData
from tests.learn.known_world import make_known


@pytest.fixture(scope="module")
def data() -> KnownData:
    return make_known()


@pytest.fixture(scope="module")
def new(data: KnownData) -> NewPart:
    return known_part(data)[0]


@pytest.fixture(scope="module")
def known(new: NewPart) -> KnownTracks:
    return KnownTracks(Part.of("known", new))


def row(data: KnownData, i: int) -> np.ndarray:
    """A track as a recogniser describes it, with what comes after the statistics."""
    rest = np.zeros(frames.N_FEATURES - frames.N_STATISTICS, dtype=np.float32)
    return np.concatenate([data.statistics[i], rest])[None]


def test_a_known_track_finds_itself_and_then_its_artist(
    data: KnownData, known: KnownTracks
) -> None:
    hits = []
    for i in range(0, len(data.y), 7):
        found = known.near(row(data, i), k=4)
        assert found[0].track_id == data.track_ids[i]
        assert found[0].similarity > 0.99
        assert found[0].percentile == 100
        assert [one.similarity for one in found] == sorted(
            (one.similarity for one in found), reverse=True
        )
        hits += [one.artist == data.names[i] for one in found[1:]]
    assert np.mean(hits) > 0.6  # by chance 3 of 191


def test_it_says_title_artist_genre_and_number(data: KnownData, known: KnownTracks) -> None:
    first = known.near(row(data, 5), k=1)[0]
    assert (first.title, first.artist, first.genre) == (
        "Söng <b>5</b>",
        "Artist 1",
        data.genres[data.y[5]],
    )
    assert first.words == "very much alike"
    assert Neighbour.from_dict(json.loads(json.dumps(first.to_dict()))).title == first.title
    assert str(first) == f"Artist 1: Söng <b>5</b> ({first.genre})"


def test_a_track_is_placed_where_it_lies(data: KnownData, known: KnownTracks) -> None:
    away = [
        np.linalg.norm(np.array(known.place(row(data, i))) - known.tracks.positions[i])
        for i in range(0, len(data.y), 5)
    ]
    typical = np.median(
        np.linalg.norm(known.tracks.positions - known.tracks.positions[::-1], axis=1)
    )
    assert np.median(away) < 0.2 * typical


def test_windows_are_heard_together(data: KnownData, known: KnownTracks) -> None:
    both = np.concatenate([row(data, 0), row(data, 1)])
    assert {one.track_id for one in known.near(both, k=2)} == {1000, 1001}  # one artist's
    placed = known.look(both, k=3)
    assert placed.position == known.place(both)
    assert placed.similar == known.near(both, k=3)


def test_the_neighbours_of_a_known_track_leave_it_out(known: KnownTracks) -> None:
    found = known.near_known(1004, k=3)
    assert len(found) == 3
    assert 1004 not in {one.track_id for one in found}
    assert len(known.near_known(1004, k=10_000)) == len(known) - 1
    with pytest.raises(DataError, match="none of the 192 known tracks"):
        known.near_known(5)


def test_a_worker_gets_it_by_pickle(data: KnownData, known: KnownTracks) -> None:
    again = pickle.loads(pickle.dumps(known))
    assert again.near(row(data, 3)) == known.near(row(data, 3))
    assert again.place(row(data, 3)) == known.place(row(data, 3))


@pytest.mark.parametrize("k", [0, -1])
def test_less_than_one_neighbour_is_refused(data: KnownData, known: KnownTracks, k: int) -> None:
    with pytest.raises(DataError, match="expected 1 or more"):
        known.near(row(data, 0), k=k)


def test_features_of_other_shapes_are_refused(data: KnownData, known: KnownTracks) -> None:
    for wrong in (np.zeros((0, frames.N_FEATURES)), np.zeros((1, 7)), data.statistics[0]):
        with pytest.raises(DataError, match=r"expected \[windows"):
            known.look(wrong)
    bad = row(data, 0)
    bad[0, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        known.look(bad)


def test_words_follow_the_percentile() -> None:
    said = [alike(value) for value in (100, 75, 74.9, 25, 24.9, 5, 4.9, 0)]
    assert said == [
        *("very much alike", "very much alike", "alike", "alike"),
        *("somewhat alike", "somewhat alike", "hardly alike", "hardly alike"),
    ]


def test_a_track_between_two_places_goes_to_one_of_them() -> None:
    positions = np.array([[-1.0, 0, 0]] * 12 + [[1.0, 0, 0]] * 8, dtype=np.float32)
    at = place_among(np.full((1, 20), 0.8, dtype=np.float32), positions)[0]
    np.testing.assert_allclose(at, [-1, 0, 0], atol=0.02)  # a mean would say -0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"n_statistics": 7}, "reads 7 statistics"),
        ({"nearness": [0.5]}, "does not rise"),
        ({"nearness": [0.5, 0.1]}, "does not rise"),
        ({"nearness": "high"}, "no valid setting"),
        ({"credit": None, "nearness": None}, "no valid setting"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    new: NewPart, change: dict[str, Any], message: str
) -> None:
    other = dataclasses.replace(new, settings={**new.settings, **change})
    with pytest.raises(BundleError, match=message):
        KnownTracks(Part.of("known", other))


class Answering:
    """A part that gives what it is told to give."""

    name = "known"

    def __init__(self, new: NewPart, **changed: Any) -> None:
        self.settings = new.settings
        self._held = Part.of("known", new).run(
            {"statistics": np.zeros((1, frames.N_STATISTICS), np.float32)}
        )
        for name, value in changed.items():
            if value is None:
                del self._held[name]
            else:
                self._held[name] = value

    def run(self, _: Any) -> dict[str, np.ndarray]:
        return self._held


def packed(told: Any) -> np.ndarray:
    data = zlib.compress(json.dumps(told).encode())
    return np.frombuffer(data, dtype=np.uint8).astype(np.float32)


def listed(n: int = 192, **changed: Any) -> dict[str, Any]:
    return {
        "titles": ["t"] * n,
        "names": ["a"],
        "genres": ["Rock"],
        "artist": [0] * n,
        "genre": [0] * n,
        "track_id": list(range(n)),
        **changed,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"text": None},
        {"references": None},
        {"text": np.arange(20, dtype=np.float32)},
        {"text": packed([1, 2])},
        {"text": packed(listed(artist=[7] * 192))},
        {"text": packed(listed(artist=[-1] * 192))},
        {"text": packed(listed(track_id=[1]))},
        {"text": packed(listed(genre="Rock"))},
        {"text": packed(listed(n=3))},
        {"text": packed({"titles": []})},
        {"positions": np.zeros((192, 2), dtype=np.float32)},
        {"references": np.zeros((5, 4), dtype=np.float32)},
    ],
)
def test_a_damaged_list_of_tracks_is_refused(new: NewPart, changed: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="get the bundle again"):
        KnownTracks(Answering(new, **changed))  # type: ignore[arg-type]


def test_text_that_would_fill_the_memory_is_refused(
    new: NewPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_TEXT", 1_000)
    with pytest.raises(BundleError, match="no readable list"):
        KnownTracks(Part.of("known", new))
