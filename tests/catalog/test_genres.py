"""The genre tree, other names for genres, tags with several genres, and the colours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.genre_aliases import ALIASES, ID3V1
from genrescope.catalog.genres import GENRE_COLOURS, Genre, GenreTree, split_genres
from genrescope.catalog.table import TrackTable
from genrescope.errors import TableError, UnknownGenreError

TREE = GenreTree.fma()
FMA_SMALL = [
    *("Hip-Hop", "Pop", "Folk", "Experimental"),
    *("Rock", "International", "Electronic", "Instrumental"),
]

# --- the tree ----------------------------------------------------------------


def test_the_tree_of_fma() -> None:
    assert len(TREE) == len(TREE.titles) == 163
    assert len(TREE.top_level) == 16
    assert set(FMA_SMALL) < set(TREE.top_level)
    assert {TREE.top(title) for title in TREE.titles} == set(TREE.top_level)
    assert GenreTree.fma() is TREE


def test_paths_and_children() -> None:
    assert TREE.path("Chiptune") == ("Electronic", "Chip Music", "Chiptune")
    assert TREE.path("Rock") == ("Rock",)
    assert TREE.children("Hip-Hop")[:3] == ("Abstract Hip-Hop", "Alternative Hip-Hop", "Breakbeat")
    assert TREE.children("Fado") == ()
    for title in TREE.titles:
        assert all(TREE.path(child) == (*TREE.path(title), child) for child in TREE.children(title))
    below = sum(len(TREE.children(title)) for title in TREE.titles)
    assert below + len(TREE.top_level) == 163


@pytest.mark.parametrize(
    ("genres", "message"),
    [
        ([Genre(1, 2, "a"), Genre(2, 1, "b")], "no cycle"),
        ([Genre(1, 1, "a")], "no cycle"),
        ([Genre(1, 9, "a")], "parent 9, which is no genre"),
        ([Genre(1, 0, "a"), Genre(1, 0, "b")], "id 1 occurs twice"),
        ([Genre(1, 0, "Hip-Hop"), Genre(2, 0, "hip hop")], "one title"),
        ([Genre(1, 0, " - ")], "it needs one"),
    ],
)
def test_trees_that_are_none(genres: list[Genre], message: str) -> None:
    with pytest.raises(TableError, match=message):
        GenreTree(genres)


def test_aliases_must_be_unambiguous() -> None:
    genres = [Genre(1, 0, "Soul"), Genre(2, 0, "Funk")]
    with pytest.raises(TableError, match="means both Soul and Funk"):
        GenreTree(genres, aliases={"Soul": ["Groove"], "Funk": ["groove!"]})
    with pytest.raises(TableError, match="which is no title"):
        GenreTree(genres, aliases={"Soule": ["x"]})


# --- names -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Hip Hop", "Hip-Hop"),
        ("hip-hop", "Hip-Hop"),
        ("HIPHOP", "Hip-Hop"),
        ("Hop", "Hip-Hop"),
        ("hip\u2010hop", "Hip-Hop"),
        ("Rap", "Rap"),
        ("R&B", "Soul-RnB"),
        ("RnB", "Soul-RnB"),
        ("R and B", "Soul-RnB"),
        ("Soul/R&B", "Soul-RnB"),
        ("soul rnb", "Soul-RnB"),
        ("Electronica", "Electronic"),
        ("Old Time", "Old-Time / Historic"),
        ("old-time/historic", "Old-Time / Historic"),
        ("World", "International"),
        ("Drum and Bass", "Drum & Bass"),
        ("drum'n'bass", "Drum & Bass"),
        ("MUSIQUE CONCRÈTE", "Musique Concrete"),
        ("  Rock\t", "Rock"),
        (21, "Hip-Hop"),
        (np.int64(21), "Hip-Hop"),
        ("21", "Hip-Hop"),
        ("(17)", "Rock"),
        ("(17)Rock", "Rock"),
        ("(17)Shoegaze", "Shoegaze"),
        ("(4)Eurodisco", "Disco"),
        ("(7)", "Hip-Hop"),
    ],
)
def test_canonical(name: str | int, title: str) -> None:
    assert TREE.canonical(name) == title
    assert name in TREE


@pytest.mark.parametrize(
    ("name", "top"),
    [
        ("blues", "Blues"),
        ("classical", "Classical"),
        ("country", "Country"),
        ("disco", "Soul-RnB"),
        ("hiphop", "Hip-Hop"),
        ("jazz", "Jazz"),
        ("metal", "Rock"),
        ("pop", "Pop"),
        ("reggae", "International"),
        ("rock", "Rock"),
    ],
)
def test_the_genres_of_gtzan_roll_up(name: str, top: str) -> None:
    assert TREE.top(name) == top


def test_rap_rolls_up_to_hip_hop() -> None:
    assert TREE.top("Gangsta Rap") == "Hip-Hop"
    assert TREE.id("Rap") == 539


@pytest.mark.parametrize("title", TREE.titles)
def test_titles_ids_and_spellings_of_every_genre(title: str) -> None:
    assert TREE.canonical(title) == title
    assert TREE.canonical(TREE.id(title)) == title
    assert TREE.canonical(title.upper().replace(" ", "_")) == title
    assert TREE.canonical(title.replace("&", "and").replace("-", " ")) == title
    assert split_genres(title) == (title,)


def test_every_alias_leads_to_its_title_and_stays_whole() -> None:
    for title, names in ALIASES.items():
        for name in names:
            assert TREE.canonical(name) == title
            assert split_genres(name) == (name,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Rokc", "did you mean Rock"),
        ("elektronic", "did you mean Electronic"),
        ("xyzzy", "the top-level genres are Blues, Classical"),
        ("", "no genre, alias or genre id"),
        ("ヒップホップ", "no genre"),
        (99999, "no FMA genre id"),
        ("0", "no FMA genre id"),
        (-21, "no FMA genre id"),
        ("(99)", "0 to 79"),
        ("(11)", "ID3v1's 'Oldies', which has no counterpart"),
        ("(CR)", "'Cover'"),
        (None, "give its name"),
        (True, "give its name"),
        (21.0, "give its name"),
    ],
)
def test_unknown_names(name: object, message: str) -> None:
    with pytest.raises(UnknownGenreError, match=message.replace("(", r"\(")) as caught:
        TREE.canonical(name)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)
    assert name not in TREE


def test_id3v1_has_its_80_genres_in_order() -> None:
    mutagen = pytest.importorskip("mutagen.id3")
    theirs = mutagen.TCON.GENRES[:80]
    assert len(ID3V1) == 80

    def letters(name: str) -> str:
        return "".join(c for c in name.casefold() if c.isalnum())

    # mutagen spells some names out ("Gangsta Rap", "Alt. Rock"); the first letters agree.
    assert [letters(n)[:3] for n in ID3V1] == [letters(n)[:3] for n in theirs]


def test_id3v1_numbers_mean_their_names_where_there_is_a_counterpart() -> None:
    known = {n: TREE.canonical(f"({i})") for i, n in enumerate(ID3V1) if f"({i})" in TREE}
    assert known["Rock & Roll"] == "Rock"
    assert known["Jazz+Funk"] == "Jazz"
    assert all(title == TREE.canonical(name) for name, title in known.items())
    assert not known.keys() & {"Other", "Oldies", "Vocal", "Top 40", "Retro", "Pop-Folk"}
    assert len(known) >= 50


@given(st.text(max_size=30))
def test_any_text_is_a_genre_or_an_unknown_genre(name: str) -> None:
    try:
        title = TREE.canonical(name)
    except UnknownGenreError:
        return
    assert title in TREE.titles


# --- several genres in one tag -----------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Rock", ("Rock",)),
        ("Rock; Pop", ("Rock", "Pop")),
        ("Rock/Pop", ("Rock", "Pop")),
        ("Rock, Pop", ("Rock", "Pop")),
        ("Hip-Hop\0Jazz", ("Hip-Hop", "Jazz")),
        ("Avant-Garde|Old-Time / Historic", ("Avant-Garde", "Old-Time / Historic")),
        ("Old-Time / Historic", ("Old-Time / Historic",)),
        ("old-time/historic/Rock", ("old-time/historic", "Rock")),
        ("R&B/Soul", ("R&B/Soul",)),
        ("Rock / Pop / Soul/R&B", ("Rock", "Pop", "Soul/R&B")),
        ("Folk, World, & Country, Rock", ("Folk, World, & Country", "Rock")),
        ("Hip-Hop/Rap/Rock", ("Hip-Hop/Rap", "Rock")),
        ("Rock; Pop; rock;; Jazz", ("Rock", "Pop", "Jazz")),
        ("(17)(21)", ("(17)", "(21)")),
        ("(17)Rock", ("(17)Rock",)),
        ("(51)(4)Eurodisco", ("(51)", "(4)Eurodisco")),
        ("", ()),
        (" ; / ,\0", ()),
    ],
)
def test_split_genres(text: str, names: tuple[str, ...]) -> None:
    assert split_genres(text) == names


@given(st.lists(st.sampled_from(TREE.titles), max_size=6, unique=True), st.sampled_from(";|\0\n"))
def test_titles_joined_by_a_hard_separator_come_back(titles: list[str], mark: str) -> None:
    assert split_genres(mark.join(titles)) == tuple(titles)


@given(st.text(alphabet="Rock/Pop,;|()17& \0", max_size=40))
def test_split_genres_loses_no_letter(text: str) -> None:
    names = split_genres(text)
    assert all(name == name.strip() != "" for name in names)
    letters = set("".join(names).casefold())
    assert {c for c in text.casefold() if c.isalnum()} <= letters


@pytest.mark.data
def test_every_genre_of_the_real_tables_is_known(data_dir) -> None:  # type: ignore[no-untyped-def]
    table = TrackTable.load(data_dir / "fma" / "genre_top.csv")
    names = set(table["genre_top"]) | {g for genres in table["subgenres"] for g in genres}
    assert len(names) > 100
    assert {name: TREE.canonical(name) for name in names} == {name: name for name in names}


# --- colours -----------------------------------------------------------------

_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
_VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    xyz = _TO_XYZ @ np.clip(rgb, 0, 1) / _TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def delta_e(one: np.ndarray, two: np.ndarray) -> float:
    """CIEDE2000 (Sharma, Wu and Dalal 2005)."""
    chroma = (np.hypot(*one[1:]) + np.hypot(*two[1:])) / 2
    g = 1 + 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    c1, c2 = np.hypot(one[1] * g, one[2]), np.hypot(two[1] * g, two[2])
    h1 = np.degrees(np.arctan2(one[2], one[1] * g)) % 360
    h2 = np.degrees(np.arctan2(two[2], two[1] * g)) % 360
    dh = (h2 - h1 + 180) % 360 - 180
    mean_h = (h1 + dh / 2) % 360
    mean_l, mean_c = (one[0] + two[0]) / 2, (c1 + c2) / 2
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    light, c, h = (
        (two[0] - one[0]) / s_l,
        (c2 - c1) / (1 + 0.045 * mean_c),
        d_h / (1 + 0.015 * mean_c * t),
    )
    turn = np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2)))
    r_t = -np.sin(turn) * 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    return float(np.sqrt(light**2 + c**2 + h**2 + r_t * c * h))


def test_delta_e_agrees_with_published_pairs() -> None:
    # Rows 1, 7 and 17 of the test data of Sharma et al.
    for one, two, expected in [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ]:
        assert delta_e(np.array(one), np.array(two)) == pytest.approx(expected, abs=1e-4)


def closest(genres: list[str], vision: str) -> float:
    seen = [lab(_VISION[vision] @ linear(GENRE_COLOURS[g])) for g in genres]
    return min(delta_e(a, b) for a, b in itertools.combinations(seen, 2))


def test_there_is_one_colour_for_each_top_level_genre() -> None:
    assert sorted(GENRE_COLOURS) == list(TREE.top_level)
    assert len(set(GENRE_COLOURS.values())) == 16


@pytest.mark.parametrize("vision", _VISION)
def test_colours_differ_for_every_eye(vision: str) -> None:
    assert closest(FMA_SMALL, vision) > (24 if vision == "normal" else 14)
    assert closest(list(GENRE_COLOURS), vision) > 8


@pytest.mark.parametrize("genre", TREE.top_level)
def test_colours_are_readable_on_white_and_on_dark(genre: str) -> None:
    luminance = _TO_XYZ[1] @ linear(GENRE_COLOURS[genre])
    dark = _TO_XYZ[1] @ linear("#121212")
    assert 1.05 / (luminance + 0.05) >= 3.0
    assert (luminance + 0.05) / (dark + 0.05) >= 3.0
