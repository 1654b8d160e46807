"""What stands below the table: sub-genres, plausible genres, reasons."""

from __future__ import annotations

import dataclasses

import pytest

from genrescope.apps.cli.details import Details, describe
from genrescope.learn.prediction import Branch, Moment, Prediction

PREDICTION = Prediction.from_probabilities(
    {"Rock": 0.5, "Folk": 0.3, "Pop": 0.2},
    threshold=0.4,
    quantile=0.75,
    title="Freeway",
    artist="Kurt Vile",
    duration=30.0,
    timeline=(Moment(0.0, 30.0, {"Rock": 0.5, "Folk": 0.3, "Pop": 0.2}),),
    branches=(Branch(("Rock", "Punk", "Hardcore"), 0.41), Branch(("Rock", "Lo-Fi"), 0.3)),
)


def lines(prediction: Prediction, details: Details) -> list[str]:
    return [line.plain for line in describe(prediction, details, width=80, top=3, plain=False)]


def test_sub_genres_stand_with_what_they_are_part_of() -> None:
    assert lines(PREDICTION, Details(tree=True)) == [
        " Freeway · Kurt Vile",
        "  Rock > Punk > Hardcore  41%",
        "  Rock > Lo-Fi  30%",
    ]


def test_that_there_is_no_sub_genre_is_said() -> None:
    without = dataclasses.replace(PREDICTION, branches=())
    assert "no sub-genre" in lines(without, Details(tree=True))[1]


def test_a_set_holds_the_plausible_genres_only() -> None:
    assert lines(PREDICTION, Details(sets=True))[1] == "  one of: Rock 50%, Folk 30%"


def test_the_reason_for_not_sure_is_named() -> None:
    doubted = Prediction.from_probabilities(
        {"Rock": 0.9, "Folk": 0.1}, threshold=0.4, doubt="too little sound (1.0 s)"
    )
    assert doubted.genre is None
    assert lines(doubted, Details(sets=True))[-1] == "  not sure: too little sound (1.0 s)"


def test_the_timeline_comes_first_and_names_the_track_once() -> None:
    found = lines(PREDICTION, Details(timeline=True, tree=True, sets=True))
    assert found[0].startswith(" Freeway · Kurt Vile  0:30")
    assert sum("Freeway" in line for line in found) == 1
    assert found[-1].startswith("  one of")


@pytest.mark.parametrize("one", ["timeline", "tree", "sets"])
def test_details_are_wanted_when_one_is(one: str) -> None:
    assert not Details()
    assert Details(**{one: True})
