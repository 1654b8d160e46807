"""Genre names in beets' spelling, and the genre of an album."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("beets")

from beets.ui import UserError

from beetsplug.genrescope.albums import of_album
from beetsplug.genrescope.names import _ELSEWHERE, Names, lastgenre_file
from genrescope.catalog.genres import GenreTree
from genrescope.learn.prediction import Branch, Prediction


def names(**changes: object) -> Names:
    options = {"whitelist": None, "tree": None, "own": {}, "title_case": True, **changes}
    return Names.read(**options)  # type: ignore[arg-type]


def beets_lists(**changes: object) -> Names:
    return names(
        whitelist=lastgenre_file("genres.txt"),
        tree=lastgenre_file("genres-tree.yaml"),
        **changes,
    )


def test_without_lists_names_are_ours() -> None:
    assert names().of(["Hip-Hop", "hip-hop", "Soul-RnB"]) == (["Hip-Hop", "Soul-RnB"], [])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Hip-Hop", "Hip Hop"),  # by an alias of beets
        ("IDM", "IDM"),  # its own capitals
        ("International", "World Music"),
        ("Punk", "Punk Rock"),
        ("Electroacoustic", "Electronic"),  # in the tree, and only what is above is on the list
        ("Skweee", "Electronica"),
    ],
)
def test_names_are_spelt_as_beets_spells_them(ours: str, theirs: str) -> None:
    assert beets_lists().of([ours]) == ([theirs], [])


def test_what_the_whitelist_does_not_know_is_dropped_and_told() -> None:
    assert beets_lists().of(["Instrumental", "Rock"]) == (["Rock"], ["Instrumental"])


def test_without_title_case() -> None:
    assert beets_lists(title_case=False).of(["Hip-Hop"]) == (["hip hop"], [])


def test_every_name_that_is_translated_is_in_beets_lists() -> None:
    lists = beets_lists()
    assert lists.whitelist is not None
    assert lists.tree is not None
    known = lists.whitelist | set(lists.tree)
    titles = set(GenreTree.fma().titles)
    assert set(_ELSEWHERE) <= titles
    assert [ours for ours, theirs in _ELSEWHERE.items() if not known & set(theirs)] == []


def test_own_lists(tmp_path: Path) -> None:
    whitelist, tree = tmp_path / "list.txt", tmp_path / "tree.yaml"
    whitelist.write_text("# mine\nguitars\n", encoding="utf-8")
    tree.write_text("- Guitars:\n    - Rock:\n        - punk rock\n", encoding="utf-8")
    found = names(whitelist=whitelist, tree=tree, own={"folk": ["Folk"]})
    assert found.of(["Punk", "Rock", "Folk", "Pop"]) == (["Guitars", "Folk"], ["Pop"])


@pytest.mark.parametrize("text", ["a: [", "", "[]"])
def test_a_tree_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"genrescope: canonical: .*tree\.yaml"):
        names(tree=path)


def rock(share: float, *, doubt: str = "", branches: tuple[Branch, ...] = ()) -> Prediction:
    return Prediction.from_probabilities(
        {"Rock": share, "Folk": 1 - share}, threshold=0.5, doubt=doubt, branches=branches
    )


def test_an_album_is_the_mean_of_its_tracks() -> None:
    found = of_album([rock(0.9), rock(0.8), rock(0.1)])
    assert found is not None
    assert (found.genre, round(found.confidence, 3)) == ("Rock", 0.6)


def test_an_album_without_a_genre_that_half_of_it_has() -> None:
    one = {"Rock": 0.4, "Folk": 0.3, "Pop": 0.3}
    found = of_album([Prediction.from_probabilities(one, threshold=0.1)] * 3)
    assert found is not None
    assert found.genre is None


def test_what_is_no_music_does_not_count() -> None:
    found = of_album([rock(0.9), rock(0.1, doubt="it is speech"), rock(0.1, doubt="it is speech")])
    assert found is not None
    assert found.genre == "Rock"
    assert of_album([rock(0.9, doubt="it is speech")]) is None


def test_subgenres_of_an_album_are_those_of_half_of_it() -> None:
    punk, surf = Branch(("Rock", "Punk"), 0.6), Branch(("Rock", "Surf"), 0.9)
    tracks = [rock(0.9, branches=(surf, punk)), rock(0.9, branches=(punk,)), rock(0.9)]
    found = of_album(tracks)
    assert found is not None
    assert [(one.path, round(one.probability, 2)) for one in found.branches] == [
        (("Rock", "Punk"), 0.4)
    ]
