"""Making the part of known tracks: axes, map and figures on artists that were held out."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from genrescope.errors import DataError, TrainingError
from genrescope.learn.parts.base import Part
from genrescope.learn.parts.known import KnownTracks
from genrescope.learn.train.known import known_of_run, known_part
from genrescope.learn.train.known_scores import measure, own_places, report
from genrescope.learn.train.known_space import KnownData, KnownSettings, draw_map, fit_space
from tests.learn.known_world import make_known


@pytest.fixture(scope="module")
def data() -> KnownData:
    return make_known()


@pytest.fixture(scope="module")
def made(data: KnownData) -> tuple[Any, dict[str, Any]]:
    return known_part(data)


def test_its_figures_are_far_above_chance(made: tuple[Any, dict[str, Any]]) -> None:
    told = made[1]
    json.dumps(told)
    assert (told["tracks"], told["artists"]) == (192, 48)
    assert told["same_genre_chance"] == pytest.approx(0.25)
    for key in ("same_genre_5", "same_genre_5_map"):
        assert told[key]["low"] <= told[key]["share"] <= told[key]["high"]
        assert told[key]["share"] > 0.6
    assert told["vote_25"] > 0.7
    artist = told["same_artist_5"]
    assert artist["chance"] == pytest.approx(3 / 191)
    assert artist["most_possible"] == pytest.approx(3 / 5)
    assert artist["share"] > 10 * artist["chance"]
    assert told["own_place"]["median"] < 0.3


def test_the_same_data_give_the_same_part(
    data: KnownData, made: tuple[Any, dict[str, Any]]
) -> None:
    again, told = known_part(data)
    assert again.graph == made[0].graph
    assert again.settings == made[0].settings
    assert told == made[1]


def test_another_artists_tracks_say_nothing_about_noise() -> None:
    """Where artists have no sound of their own, their tracks are not found."""
    data = make_known(artist=0.0)
    shuffled = dataclasses.replace(
        data, statistics=np.random.default_rng(0).permutation(data.statistics)
    )
    settings = KnownSettings(teacher_weight=0.0)
    seen = measure(
        shuffled,
        lambda rows: fit_space(shuffled, rows, settings=settings)(shuffled.statistics),
        with_map=False,
    )
    told = report(shuffled, seen)
    assert told["same_artist_5"]["share"] < 0.06  # by chance 0.016
    assert told["same_genre_5"]["share"] < 0.35  # by chance 0.25
    assert told["own_place"] is None


def test_nothing_of_held_out_tracks_is_looked_at(data: KnownData) -> None:
    rest = data.folds != 0
    odd = dataclasses.replace(
        data,
        statistics=np.where(rest[:, None], data.statistics, 1e3).astype(np.float32),
        y=np.where(rest, data.y, 0),
        artists=np.where(rest, data.artists, "one"),
        teacher=np.where(rest[:, None], data.teacher, -9).astype(np.float32),
    )
    settings = KnownSettings()
    for ours, theirs in zip(
        dataclasses.astuple(fit_space(data, rest, settings=settings)),
        dataclasses.astuple(fit_space(odd, rest, settings=settings)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_the_same_artist_is_no_neighbour_in_the_genres(data: KnownData) -> None:
    """Directions that tell only the artist say nothing about genres of others."""
    rng = np.random.default_rng(0)
    codes = np.unique(data.artists, return_inverse=True)[1]
    vectors = rng.normal(size=(48, 30))[codes] + 0.01 * rng.normal(size=(192, 30))
    alone = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    told = report(data, measure(data, lambda rows: alone, with_map=False))
    assert told["same_artist_5"]["share"] == pytest.approx(0.6)  # all that there are
    assert told["same_genre_5"]["share"] < 0.4


def test_axes_are_left_out_by_weight_or_for_want_of_a_teacher(data: KnownData) -> None:
    everything = np.ones(len(data.y), dtype=bool)
    for settings, axes in (
        (KnownSettings(artist_weight=0, teacher_weight=0), 3),
        (KnownSettings(genre_weight=0, artist_weight=0), 16),
        (KnownSettings(), 48),
    ):
        assert fit_space(data, everything, settings=settings).matrix.shape[1] == axes
    without = dataclasses.replace(data, teacher=None)
    only = KnownSettings(genre_weight=0, artist_weight=0)
    with pytest.raises(TrainingError, match="nothing says what is alike"):
        fit_space(without, everything, settings=only)


def test_what_ships_is_what_was_fitted(data: KnownData, made: tuple[Any, dict[str, Any]]) -> None:
    """Eight bits a number and half precision cost next to nothing."""
    everything = np.ones(len(data.y), dtype=bool)
    exact = fit_space(data, everything, settings=KnownSettings())(data.statistics)
    known = KnownTracks(Part.of("known", made[0]))
    cosines = (exact * known._references).sum(axis=1)
    assert cosines.min() > 0.999
    np.testing.assert_array_equal(known.tracks.positions, draw_map(exact))


def test_own_places_are_far_where_the_map_is_drawn_by_lot(data: KnownData) -> None:
    everything = np.ones(len(data.y), dtype=bool)
    directions = fit_space(data, everything, settings=KnownSettings())(data.statistics)
    there = draw_map(directions)
    lot = np.random.default_rng(0).permutation(there)
    assert np.median(own_places(directions, there)) < 0.3
    assert np.median(own_places(directions, lot)) > 0.5


def test_lists_of_other_lengths_are_refused(data: KnownData) -> None:
    with pytest.raises(DataError, match="192 tracks and 3 titles"):
        dataclasses.replace(data, titles=["a", "b", "c"])


def of_run(data: KnownData) -> Any:
    """What is read of a training run."""
    told: list[str] = []
    prepared = SimpleNamespace(
        artist_id=data.artists,
        artist_name=None,
        title=np.array(data.titles),
        track_id=data.track_ids,
        vggish=data.teacher,
    )
    return SimpleNamespace(
        data=prepared,
        y=data.y,
        genres=list(data.genres),
        folds=data.folds,
        recipe=SimpleNamespace(seed=0),
        report=lambda event, **more: told.append(more["text"]),
        told=told,
    )


def test_a_run_makes_it_without_artists_names(data: KnownData) -> None:
    run = of_run(data)
    made = known_of_run(run, data.statistics)
    assert made is not None
    known = KnownTracks(Part.of("known", made[0]))
    assert set(known.tracks.artists) == {""}
    assert str(known.near_known(1000, k=1)[0]).startswith("unknown artist: ")
    assert "Free Music Archive" not in known.credit  # these are not its tracks
    assert run.told == []


def test_a_run_of_few_tracks_goes_without() -> None:
    run = of_run(make_known(n_artists=12))
    assert known_of_run(run, make_known(n_artists=12).statistics) is None
    assert "48 tracks in 3 folds" in run.told[0]


@pytest.mark.data
def test_the_recogniser_that_ships_finds_its_own_clips(fma_clips: list[Any]) -> None:
    from genrescope.audio import frames
    from genrescope.learn.bundle import Bundle

    part = Bundle.load().parts.get("known")
    if part is None:
        pytest.skip("the bundle that ships was trained without known tracks")
    known = KnownTracks(part)
    for path in fma_clips:
        placed = known.look(frames.describe_file(path).features)
        assert placed.similar[0].track_id == int(path.stem)
        assert all(-1.1 < value < 1.1 for value in placed.position)
    assert "CC BY 4.0" in known.credit
