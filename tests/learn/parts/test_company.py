"""Tracks of one artist, judged together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.errors import BundleError
from genrescope.learn.bundle import Bundle
from genrescope.learn.parts.company import COMPANY, Company
from genrescope.learn.prediction import LOW_CONFIDENCE, Branch, Prediction

RULE = Company(weight=3.0, temperature=1.0, threshold=0.6, quantile=0.5)


def track(artist: str | None, rock: float, **rest: object) -> Prediction:
    return Prediction.from_probabilities(
        {"Rock": rock, "Folk": 1 - rock}, threshold=0.95, artist=artist, **rest
    )


def test_the_others_of_an_artist_win_over_one_odd_track() -> None:
    tracks = [track("Ann", 0.9), track("ann", 0.9), track("Ann", 0.4), track("Bob", 0.4)]
    judged = RULE.answer(tracks)
    assert [one.best for one in judged] == ["Rock", "Rock", "Rock", "Folk"]
    assert judged[2].sure
    assert judged[2].sources == ("sound", COMPANY)
    assert judged[2].plausible == ("Rock",)
    assert judged[3] is tracks[3]  # alone


def test_tracks_without_an_artist_keep_to_themselves() -> None:
    tracks = [track(None, 0.9), track(None, 0.2), track("", 0.9)]
    assert RULE.answer(tracks) == tracks


def test_what_is_no_music_stays_in_doubt() -> None:
    hum = track("Ann", 0.9, doubt="nothing above 4.2 kHz")
    judged = RULE.answer([hum, track("Ann", 0.9)])
    assert not judged[0].sure
    assert judged[0].reason == "nothing above 4.2 kHz"
    assert judged[1].sure
    assert track("Ann", 0.9).reason == LOW_CONFIDENCE  # which is no doubt for ever


def test_sub_genres_follow_what_they_are_part_of() -> None:
    punk = track("Ann", 0.5, branches=(Branch(("Rock", "Punk"), 0.4),), title="x", duration=3.0)
    judged = RULE.answer([punk, track("Ann", 0.9)])[0]
    assert judged.branches[0].probability == pytest.approx(0.8 * judged.probabilities["Rock"])
    assert (judged.title, judged.duration) == ("x", 3.0)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.floats(0.0, 1.0)), max_size=8))
def test_answers_stay_probabilities_in_their_order(rows: list[tuple[str | None, float]]) -> None:
    tracks = [track(artist, rock, title=str(i)) for i, (artist, rock) in enumerate(rows)]
    judged = RULE.answer(tracks)
    assert [one.title for one in judged] == [one.title for one in tracks]
    for one in judged:
        assert sum(one.probabilities.values()) == pytest.approx(1.0)
        assert one.sure == (one.confidence >= (0.6 if COMPANY in one.sources else 0.95))


def test_a_bundle_that_was_never_asked_says_so() -> None:
    with pytest.raises(BundleError, match="never asked"):
        Company.of_card({})


@pytest.mark.parametrize(
    "wrong", [{}, {"weight": -1}, {"temperature": 0}, {"quantile": 2}, {"threshold": "x"}]
)
def test_a_card_that_says_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    said = {"weight": 1.0, "temperature": 1.0, "threshold": None, "quantile": 0.9, **wrong}
    with pytest.raises(BundleError, match="company"):
        Company.of_card({"company": said if wrong else {}})


def test_the_shipped_bundle_gains_much_from_company() -> None:
    card = Bundle.load().card
    assert Company.of_card(card).weight > 1
    rows = {row["name"]: row["accuracy"] for row in card["metrics"]["table"]}
    gain = rows["genrescope, all tracks of an artist together"] - rows["genrescope, as shipped"]
    assert 0.05 < gain < 0.15
    assert json.loads(json.dumps(card["company"])) == card["company"]
    assert np.isfinite(card["company"]["temperature"])
