"""What is proposed for the genre field of a file, rule by rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.apps.genre_names import GenreNames, names_template
from genrescope.apps.genre_policy import ACTIONS, Policy, mentions, propose, says_nothing, stays
from genrescope.errors import DataError
from genrescope.learn.prediction import Branch, Prediction

EVERY = ("keep", "replace", "add")


def heard(
    best: str = "Rock", share: float = 0.8, *, branches: tuple[Branch, ...] = (), **rest: object
) -> Prediction:
    others = [genre for genre in ("Folk", "Rock", "Pop") if genre != best][:2]
    return Prediction.from_probabilities(
        {best: share, **dict.fromkeys(others, (1 - share) / 2)},
        threshold=0.5,
        branches=branches,
        path=Path("a.mp3"),
        **rest,
    )


# --- what there is ---------------------------------------------------------


@pytest.mark.parametrize("existing", EVERY)
@pytest.mark.parametrize("now", [(), ("",), (" ",), ("Other",), ("Unknown", "Misc"), ("12",)])
def test_a_field_that_says_nothing_is_filled(existing: str, now: tuple[str, ...]) -> None:
    proposal = propose(heard(), now, Policy(existing=existing))
    assert (proposal.action, proposal.proposed, proposal.why) == ("write", ("Rock",), "")
    assert proposal.writes
    assert proposal.now == now
    assert proposal.confidence == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("existing", "action", "proposed"),
    [
        ("keep", "keep", ("Polka",)),
        ("replace", "write", ("Rock",)),
        ("add", "write", ("Polka", "Rock")),
    ],
)
def test_existing(existing: str, action: str, proposed: tuple[str, ...]) -> None:
    proposal = propose(heard(), ["Polka"], Policy(existing=existing))
    assert (proposal.action, proposal.proposed) == (action, proposed)


@pytest.mark.parametrize("existing", EVERY)
@pytest.mark.parametrize("now", ["Hip-Hop", "hip hop", "HIPHOP", "Rap/Hip-Hop", "Hip-Hop & Rap"])
def test_the_same_genre_in_another_spelling_is_not_rewritten(existing: str, now: str) -> None:
    proposal = propose(heard("Hip-Hop"), [now], Policy(existing=existing))
    assert (proposal.action, proposal.proposed) == ("same", (now,))


def test_replacing_several_by_one_is_a_change() -> None:
    assert propose(heard(), ["Rock", "Pop"], Policy(existing="replace")).proposed == ("Rock",)


def test_one_value_that_holds_several_is_taken_apart_when_ours_are_added() -> None:
    proposal = propose(heard(), ["Pop; Other/Disco"], Policy(existing="add"))
    assert proposal.proposed == ("Pop", "Disco", "Rock")
    assert propose(heard(), ["Pop; rock"], Policy(existing="add")).action == "same"


def test_two_genres_of_a_taught_recogniser_are_two_though_a_tree_takes_them_together() -> None:
    taught = Prediction.from_probabilities({"Electronic": 0.9, "Trance": 0.1}, threshold=0.5)
    replace = Policy(existing="replace")
    assert propose(taught, ["Trance"], replace).proposed == ("Electronic",)
    plain = Prediction.from_probabilities({"Electronic": 0.9, "Rock": 0.1}, threshold=0.5)
    assert propose(plain, ["Trance"], replace).action == "same"


# --- what is not written ---------------------------------------------------


@pytest.mark.parametrize("existing", EVERY)
def test_not_sure_writes_nothing(existing: str) -> None:
    policy = Policy(existing=existing, min_confidence=0.1)
    unlikely = propose(heard(share=0.4), [], policy)
    assert (unlikely.action, unlikely.proposed) == ("not sure", ())
    assert unlikely.why == "no genre is probable enough"
    strange = propose(heard(doubt="it sounds like speech"), [], policy)
    assert (strange.action, strange.why) == ("not sure", "it sounds like speech")


def test_min_confidence() -> None:
    assert propose(heard(share=0.8), [], Policy(min_confidence=0.8)).action == "write"
    below = propose(heard(share=0.8), [], Policy(min_confidence=0.85))
    assert (below.action, below.why) == ("not sure", "below 85%")


@pytest.mark.parametrize("existing", EVERY)
def test_genres_that_are_never_touched(existing: str) -> None:
    policy = Policy(existing=existing, keep_genres=("audiobook", "Xmas"))
    for now in (["Audio-Book"], ["Pop", "Christmas"], ["Pop; AudioBook"]):
        proposal = propose(heard(), now, policy)
        assert (proposal.action, proposal.proposed) == ("protected", tuple(now))
        assert "is never touched" in proposal.why
    assert propose(heard(), ["Book"], policy).action != "protected"


def test_what_is_settled_without_hearing_is_what_hearing_would_settle() -> None:
    policy = Policy(keep_genres=("Comedy",))
    for now in ([], ["Other"], ["Comedy"], ["Pop"], ["Pop", "Jazz"]):
        settled = stays(now, policy, path=Path("a.mp3"))
        proposal = propose(heard(), now, policy)
        if settled is None:
            assert proposal.action == "write"
        else:
            assert (settled.action, settled.why, settled.proposed) == (
                proposal.action,
                proposal.why,
                proposal.proposed,
            )
            assert settled.confidence is None
    assert stays(["Pop"], Policy(existing="replace")) is None
    assert stays(["Pop"], Policy(existing="add")) is None


# --- sub-genres ------------------------------------------------------------

BRANCHES = (
    Branch(("Folk", "Freak-Folk"), 0.7),
    Branch(("Rock", "Punk", "Hardcore"), 0.6),
    Branch(("Rock", "Garage"), 0.5),
)


def test_parent_and_child_are_values_and_other_branches_are_left_out() -> None:
    track = heard(branches=BRANCHES)
    assert propose(track, [], Policy()).proposed == ("Rock",)
    assert propose(track, [], Policy(subgenres=True)).proposed == ("Rock", "Punk", "Hardcore")
    sure = Policy(subgenres=True, min_confidence=0.65)
    assert propose(track, [], sure).proposed == ("Rock",)
    added = propose(track, ["punk", "Live"], Policy(subgenres=True, existing="add"))
    assert added.proposed == ("punk", "Live", "Rock", "Hardcore")


# --- names -----------------------------------------------------------------


def test_own_names() -> None:
    names = GenreNames({"Rock": ("Guitar", "Loud"), "Folk": (), "Punk": ()})
    policy = Policy(names=names, existing="replace")
    assert propose(heard(), [], policy).proposed == ("Guitar", "Loud")
    unwanted = propose(heard("Folk"), ["Pop"], policy)
    assert (unwanted.action, unwanted.proposed) == ("unwanted", ("Pop",))
    assert "Folk" in unwanted.why
    deep = Policy(names=names, subgenres=True)
    assert propose(heard(branches=BRANCHES), [], deep).proposed == ("Guitar", "Loud", "Hardcore")


def test_an_own_spelling_replaces_another_one() -> None:
    policy = Policy(names=GenreNames({"Hip-Hop": ("Hip Hop",)}), existing="replace")
    assert propose(heard("Hip-Hop"), ["Hip-Hop"], policy).proposed == ("Hip Hop",)
    assert propose(heard("Hip-Hop"), ["hip hop"], policy).action == "same"


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_file_of_names(tmp_path: Path) -> None:
    file = write(
        tmp_path / "names.toml",
        '\ufeffnever-touch = ["Audiobook"]\n[names]\n"hip hop" = "Rap"\n'
        'Electronic = ["Electronica", "Dance"]\nPop = []\n',
    )
    names = GenreNames.read(file)
    assert names.of("Hip-Hop") == ("Rap",)
    assert names.of("Electronic") == ("Electronica", "Dance")
    assert names.of("Pop") == ()
    assert names.of("Rock") == ("Rock",)
    assert Policy(names=names, keep_genres=("Comedy",)).never == ("Comedy", "Audiobook")
    assert propose(heard(), ["audiobook"], Policy(names=names)).action == "protected"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[names]\nRock = "R"\nRokc = "x"\n', r"line 3: 'Rokc' is no genre .*did you mean Rock"),
        ('[names]\nXyzzy = "x"\n', r"line 2: 'Xyzzy' is no genre .*those are"),
        ('[names]\nRock = "R"\n"rock music" = "x"\n', r"line 3: 'rock music' is no genre"),
        ('[names]\nRock = "R"\nROCK = "x"\n', r"line 3: Rock is given twice"),
        ("[names]\nRock = 3\n", r"line 2: Rock is 3; give a name in"),
        ('[names]\nRock = ["a", 1]\n', r"line 2: Rock is \['a', 1\]"),
        ('[names]\nRock = "a\\u0007b"\n', "cannot be printed"),
        ('[name]\nRock = "x"\n', r"line 1: has the key 'name'; .*\[names\]"),
        ('names = "x"\n', r"line 1: names is no table"),
        ("never-touch = 1\n", r"line 1: never-touch is 1"),
        ("[names]\nRock = R\n", r"is no TOML .*line 2.*--names-template"),
    ],
)
def test_a_file_of_names_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        GenreNames.read(write(tmp_path / "names.toml", text), genres=("Rock", "Folk"))
    assert "names.toml" in str(error.value)


def test_a_file_of_names_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        GenreNames.read(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'[names]\nRock = "\xe9"\n')
    with pytest.raises(DataError, match="no UTF-8"):
        GenreNames.read(tmp_path / "latin.toml")
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 21)
    with pytest.raises(DataError, match="larger than"):
        GenreNames.read(tmp_path / "large.toml")


def test_the_template_changes_nothing(tmp_path: Path) -> None:
    text = names_template(["Rock", "Hip-Hop"], ["Punk", 'Odd "one"'])
    file = write(tmp_path / "names.toml", text)
    names = GenreNames.read(file, genres=["Rock", "Hip-Hop", "Punk", 'Odd "one"'])
    for genre in ("Rock", "Hip-Hop", "Punk", 'Odd "one"'):
        assert names.of(genre) == (genre,)
    assert names.never == ()


# --- all of it -------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"existing": "merge"}, {"min_confidence": 70}])
def test_a_policy_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=str(next(iter(wrong.values())))):
        Policy(**wrong)


def test_what_says_nothing() -> None:
    for text in ("Other - misc", "<unknown>", "(12)", "n/a", "No Genre", "Unknown genre", "???"):
        assert says_nothing(text), text
    for text in ("Rock", "Other People's Music", "No Wave", "Genre Bending", "音楽", "A"):
        assert says_nothing(text) == (text == "A"), text
    assert mentions(["Pop", "RAP"], ["hip hop", "rap"]) == "RAP"
    assert mentions(["Pop"], ["Rock"]) == ""


@given(
    now=st.lists(st.text(max_size=12), max_size=3),
    existing=st.sampled_from(EVERY),
    share=st.floats(0.5, 1),
    subgenres=st.booleans(),
)
def test_whatever_stands_there(
    now: list[str], existing: str, share: float, subgenres: bool
) -> None:
    policy = Policy(existing=existing, subgenres=subgenres)
    proposal = propose(heard(share=share, branches=BRANCHES), now, policy)
    assert proposal.action in ACTIONS
    assert proposal.writes == (proposal.proposed != proposal.now) or proposal.why == ""
    assert bool(proposal.why) != proposal.writes
    if proposal.writes:
        # Done twice is done once.
        again = propose(heard(share=share, branches=BRANCHES), proposal.proposed, policy)
        assert not again.writes
    told = proposal.to_dict()
    assert told["now"] == now
    assert told["action"] == proposal.action
