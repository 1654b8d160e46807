"""What the rules say, to the word: bounds, reasons, and what becomes of odd values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genrescope.apps.genre_names import GenreNames
from genrescope.apps.genre_policy import (
    ACTIONS,
    EXISTING,
    Policy,
    Proposal,
    mentions,
    propose,
    says_nothing,
    stays,
)
from genrescope.errors import DataError
from genrescope.learn.prediction import Branch, Prediction


def heard(shares: dict[str, float] | None = None, **rest: object) -> Prediction:
    shares = shares or {"Rock": 0.8, "Folk": 0.2}
    return Prediction.from_probabilities(shares, threshold=0.5, path=Path("a.mp3"), **rest)


def test_a_policy_at_its_bounds() -> None:
    for least in (0, 0.0, 1, 1.0, None):
        assert Policy(min_confidence=least).min_confidence == least
    for wrong in (1.01, -0.01, float("nan")):
        with pytest.raises(DataError) as caught:
            Policy(min_confidence=wrong)
        assert str(caught.value) == (
            f"min_confidence is {wrong}; a probability lies between 0 and 1"
        )
    with pytest.raises(DataError) as caught:
        Policy(existing="merge")  # type: ignore[arg-type]
    assert str(caught.value) == "existing is 'merge'; give one of keep, replace, add"


def test_what_a_policy_is_by_default() -> None:
    plain = Policy()
    assert (plain.existing, plain.min_confidence, plain.subgenres) == ("keep", None, False)
    assert (plain.names, plain.keep_genres, plain.never) == (None, (), ())
    assert EXISTING == ("keep", "replace", "add")
    assert ACTIONS == ("write", "same", "keep", "protected", "not sure", "unwanted")


def test_a_proposal_as_plain_values() -> None:
    track = heard({"Rock": 2 / 3, "Folk": 1 / 3})
    proposal = propose(track, ["Other"], Policy())
    assert proposal == Proposal(
        Path("a.mp3"), ("Other",), ("Rock",), "write", "", track.confidence, track
    )
    assert json.loads(json.dumps(proposal.to_dict())) == {
        "path": "a.mp3",
        "action": "write",
        "now": ["Other"],
        "proposed": ["Rock"],
        "why": "",
        "genre": "Rock",
        "best": "Rock",
        "confidence": 0.66666667,
    }
    unsure = propose(heard({"Rock": 0.4, "Folk": 0.35, "Pop": 0.25}), [], Policy())
    said = unsure.to_dict()
    assert (said["genre"], said["best"], said["confidence"]) == (None, "Rock", 0.4)
    assert not unsure.writes
    unheard = stays(["Pop"], Policy())
    assert unheard is not None
    assert unheard.to_dict() == {
        "path": None, "action": "keep", "now": ["Pop"], "proposed": ["Pop"],
        "why": "it has a genre", "genre": None, "best": None, "confidence": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("now", "existing", "action", "why"),
    [
        (["Polka"], "keep", "keep", "it has a genre"),
        (["Polka", "Jazz"], "keep", "keep", "it has genres"),
        (["Polka; Jazz"], "keep", "keep", "it has genres"),
        (["rock"], "keep", "same", "it has this genre"),
        (["rock", "Jazz"], "keep", "keep", "it has genres"),
        (["rock", "Jazz"], "add", "same", "it has this genre"),
        (["rock", "Jazz"], "replace", "write", ""),
        (["Other", "rock"], "replace", "same", "it has this genre"),
        (["COMEDY"], "replace", "protected", "COMEDY is never touched"),
        (["Jazz; comedy"], "add", "protected", "comedy is never touched"),
    ],
)
def test_why_in_words(now: list[str], existing: str, action: str, why: str) -> None:
    policy = Policy(existing=existing, keep_genres=("Comedy",))  # type: ignore[arg-type]
    proposal = propose(heard(), now, policy)
    assert (proposal.action, proposal.why) == (action, why)
    assert proposal.path == Path("a.mp3")
    unheard = stays(now, policy, path=Path("b.mp3"))
    if action in ("keep", "protected"):
        assert unheard == Proposal(Path("b.mp3"), tuple(now), tuple(now), action, why, None)  # type: ignore[arg-type]
    elif action == "write":
        assert unheard is None


def test_two_genres_that_are_there_already() -> None:
    track = heard(branches=(Branch(("Rock", "Punk"), 0.6),))
    policy = Policy(existing="replace", subgenres=True)
    proposal = propose(track, ["punk", "ROCK"], policy)
    assert (proposal.action, proposal.why) == ("same", "it has these genres")
    assert propose(track, ["punk"], policy).proposed == ("Rock", "Punk")
    assert propose(track, ["punk", "rock", "x"], policy).proposed == ("Rock", "Punk")


def test_an_answer_that_is_not_good_enough_does_not_agree_with_the_file() -> None:
    policy = Policy(existing="replace", min_confidence=0.9)
    proposal = propose(heard(), ["Rock"], policy)
    assert (proposal.action, proposal.why) == ("not sure", "below 90%")
    exact = propose(heard(), ["Rock"], Policy(existing="replace", min_confidence=0.8))
    assert exact.action == "same"
    kept = propose(heard(), ["Rock"], Policy(min_confidence=0.9))
    assert (kept.action, kept.why) == ("keep", "it has a genre")


def test_a_branch_at_the_least_confidence_is_written() -> None:
    track = heard(branches=(Branch(("Rock", "Punk"), 0.6), Branch(("Rock", "Metal"), 0.7)))
    for least, expected in (
        (0.6, ("Rock", "Punk")),
        (0.61, ("Rock", "Metal")),
        (0.71, ("Rock",)),
        (None, ("Rock", "Punk")),
    ):
        policy = Policy(subgenres=True, min_confidence=least)
        assert propose(track, [], policy).proposed == expected
    elsewhere = heard(branches=(Branch(("Folk", "Freak-Folk"), 0.9),))
    assert propose(elsewhere, [], Policy(subgenres=True)).proposed == ("Rock",)


def test_a_genre_without_a_name_of_ones_own_is_told() -> None:
    names = GenreNames({"Rock": (), "Punk": ()})
    track = heard(branches=(Branch(("Rock", "Punk"), 0.6),))
    proposal = propose(track, [], Policy(names=names, subgenres=True))
    assert (proposal.action, proposal.why) == ("unwanted", "your names have none for Rock")
    assert proposal.proposed == ()
    held = propose(track, ["Jazz"], Policy(names=names, existing="add"))
    assert (held.action, held.proposed) == ("unwanted", ("Jazz",))


def test_names_that_differ_in_case_alone_are_written_once() -> None:
    names = GenreNames({"Rock": ("Loud", "LOUD", "Guitar")})
    assert propose(heard(), [], Policy(names=names)).proposed == ("Loud", "Guitar")
    added = propose(heard(), ["loud"], Policy(names=names, existing="add"))
    assert added.proposed == ("loud", "Guitar")


def test_genres_of_ones_own_spelling_are_compared_by_it() -> None:
    names = GenreNames({"Hip-Hop": ("Hip Hop",)})
    track = heard({"Hip-Hop": 0.9, "Rock": 0.1})
    for now, action in (("HIP HOP", "same"), ("Hip-Hop", "write"), ("Rap", "write")):
        proposal = propose(track, [now], Policy(names=names, existing="replace"))
        assert proposal.action == action, now
    others = GenreNames({"Rock": ("R",)})  # says nothing of this one
    assert propose(track, ["hiphop"], Policy(names=others, existing="replace")).action == "same"


@pytest.mark.parametrize(
    "word",
    [
        "other",
        "others",
        "unknown",
        "undefined",
        "unspecified",
        "unclassifiable",
        "unclassified",
        "uncategorized",
        "uncategorised",
        "misc",
        "miscellaneous",
        "none",
        "no",
        "genre",
        "genres",
        "n",
        "a",
        "na",
        "not",
        "available",
        "set",
        "12",
        "255",
    ],
)
def test_words_that_say_nothing(word: str) -> None:
    assert says_nothing(word)
    assert says_nothing(f"<{word.upper()}>")
    assert not says_nothing(f"{word} rock")
    assert propose(heard(), [word], Policy()).action == "write"


def test_numbers_of_genres_are_those_of_id3() -> None:
    assert mentions(["(17)"], ["Rock"]) == "(17)"
    assert mentions(["17"], ["Rock"]) == "17"
    assert mentions([" 17 "], ["rock"]) == " 17 "
    assert mentions(["Xyzzy", "xyzzy 2"], ["XYZZY-2"]) == "xyzzy 2"
    assert mentions([], ["Rock"]) == mentions(["Rock"], []) == ""
    assert mentions(["Pop", "Rock"], ["Rock", "Pop"]) == "Pop"
