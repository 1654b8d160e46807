"""Tables with a name: where their rows, groups and facts come from."""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.audio import frames
from genrescope.catalog import fma
from genrescope.catalog.fma_simulate import simulate
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import DataError, TableError
from genrescope.learn.lab import fma_frames
from genrescope.learn.lab.datasets import DATASETS, ECHONEST_AUDIO, load_dataset
from genrescope.learn.lab.id_runs import id_runs, measure_runs
from genrescope.learn.lab.tabular import TabularData
from tests.learn.small_data import GENRES, edit_tracks, make_prepared


def note(data: TabularData, *words: str) -> str:
    """The one note with all these words in it."""
    found = [n for n in data.notes if all(word in n for word in words)]
    assert len(found) == 1, (words, data.notes)
    return found[0]


def write(path: Path, head: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


# --- statistics of mel frames ----------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_prepared(tmp_path_factory.mktemp("small"), n_artists=12, tracks_each=2)
    ids = load_prepared(folder).track_id.tolist()
    write(
        folder / "rock_hiphop_tracks.csv",
        ["track_id", "date_created", "duration", "genre_top", "genres", "listens", "title"],
        [[one, "11/26/2008 1:48", 168, "Rock", "[12]", 100 + one, "x"] for one in ids[:5]]
        + [[1, "1/2/2009 0:00", 60, "Rock", "[12]", -1, "not in the table"]],
    )
    return folder


def test_the_140_mfcc_statistics_are_those_of_the_frames(small: Path) -> None:
    data = load_dataset("fma-small-mfcc", small)
    stored = load_prepared(small)
    rows = frames.describe_prepared(stored.mel, stored.mfcc_3s)
    at = frames.STATISTIC_NAMES.index("mfcc.mfcc_skew.7")
    assert data.x.shape == (24, 140)
    assert np.array_equal(data.x[:, data.features.index("mfcc_skew.7")], rows[:, at])
    assert data.feature_groups[data.features.index("mfcc_skew.7")] == "mfcc skew"
    assert len(set(data.feature_groups)) == 7
    assert data.track_id.tolist() == stored.track_id.astype(str).tolist()
    assert data.groups.tolist() == stored.artist_id.tolist()
    assert [data.genres[k] for k in data.y] == stored.genre_top.tolist()
    assert data.genres == GENRES
    assert data.group_name == "artist"
    assert data.title.tolist() == stored.title.tolist()
    assert data.artist[0].startswith("Artist")
    assert "CC BY 4.0" in data.source
    assert "artist chose" in data.source
    assert "below 15 kHz" in note(data, "140 features")


def test_facts_are_joined_by_id(small: Path) -> None:
    data = load_dataset("fma-small-mfcc", small)
    ids = data.track_id.astype(float)
    assert np.array_equal(data.extras["listens"][:5], 100 + ids[:5])
    assert np.isnan(data.extras["listens"][5:]).all()
    assert data.extras["year_added"][:5].tolist() == [2008.0] * 5
    assert data.extras["duration"][0] == 168
    assert "5 of 24 tracks" in note(data, "Listens")


def test_all_statistics_come_in_families(small: Path) -> None:
    data = load_dataset("fma-small-mel", small)
    assert 2500 < len(data.features) < frames.N_STATISTICS
    assert "constant" in note(data, "left out")
    assert len(set(data.feature_groups)) == 13
    rhythm = load_dataset("fma-small-mel", small, groups=["rhythm", "mfcc_mean"])
    assert set(rhythm.feature_groups) == {"rhythm", "mfcc"}
    assert 60 < len(rhythm.features) <= 76 + 20
    with pytest.raises(DataError, match=r"'tempo' is no group of features.*rhythm"):
        load_dataset("fma-small-mel", small, groups=["tempo"])


def test_every_statistic_has_a_family_and_a_name_of_its_own() -> None:
    names = [fma_frames.feature_name(one) for one in frames.STATISTIC_NAMES]
    assert len(set(names)) == frames.N_STATISTICS
    assert len({fma_frames.family(one) for one in frames.STATISTIC_NAMES}) == 13


def test_statistics_are_computed_once(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = frames.describe_prepared
    monkeypatch.setattr(frames, "describe_prepared", lambda *args: calls.append(1) or real(*args))
    first = load_dataset("fma-small-mel", small, cache=tmp_path / "cache")
    assert len(calls) == 1
    again = load_dataset("fma-small-mel", small, cache=tmp_path / "cache")
    load_dataset("fma-small-mfcc", small, cache=tmp_path / "cache")
    assert len(calls) == 1
    assert again.fingerprint == first.fingerprint
    (stored,) = (tmp_path / "cache").iterdir()
    stored.write_bytes(stored.read_bytes()[:1000])  # a copy that was cut short
    assert load_dataset("fma-small-mel", small, cache=tmp_path / "cache").fingerprint == (
        first.fingerprint
    )
    assert len(calls) == 2


def test_what_was_kept_is_not_used_for_other_tracks(tmp_path: Path) -> None:
    folder = make_prepared(tmp_path / "data", n_artists=12, tracks_each=2)
    load_dataset("fma-small-mfcc", folder, cache=tmp_path / "cache")
    lines = (folder / "small_tracks.csv").read_text().splitlines()
    (folder / "small_tracks.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    turned = load_dataset("fma-small-mfcc", folder, cache=tmp_path / "cache")
    assert turned.fingerprint == load_dataset("fma-small-mfcc", folder).fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_small_tracks_without_artist_or_genre_are_said(tmp_path: Path) -> None:
    folder = make_prepared(tmp_path, n_artists=12, tracks_each=2)
    edit_tracks(folder, artist_id={0: "", 1: ""}, genre_top={5: ""})
    data = load_dataset("fma-small-mfcc", folder)
    assert len(data) == 23
    assert data.groups[0] != data.groups[1]
    assert note(data, "no artist")
    assert note(data, "no genre")


# --- Echonest, and runs of ids ---------------------------------------------


@pytest.fixture
def echonest(tmp_path: Path) -> Path:
    """Albums of four tracks, twenty ids apart; 240 is by the artist of 200."""
    rng = np.random.default_rng(0)
    ids = [album + k for album in range(100, 300, 20) for k in range(4)]
    write(
        tmp_path / "echonest_audio_features.csv",
        ["track_id", *ECHONEST_AUDIO],
        [[one, *rng.random(8).round(4)] for one in [*ids, 999]],
    )
    write(
        tmp_path / "genre_top.csv",
        ["track_id", "genre_top", "subgenres"],
        [[one, ("Rock", "Folk")[(one // 20) % 2], ""] for one in reversed(ids)],
    )
    write(
        tmp_path / "small_tracks.csv",
        ["track_id", "title", "genre_top", "subgenres", "artist_id", "artist_name"],
        [[200, "A", "Rock", "", 7, "Seven"], [240, "B", "Rock", "", 7, "Seven"]],
    )
    return tmp_path


def test_echonest_rows_have_a_genre_and_a_run_of_ids(echonest: Path) -> None:
    data = load_dataset("fma-echonest", echonest)
    assert data.x.shape == (40, 8)
    assert data.features == ECHONEST_AUDIO
    assert data.genres == ("Folk", "Rock")
    assert Counter(Counter(data.groups.tolist()).values()) == {4: 8, 8: 1}
    place = {one: at for at, one in enumerate(data.track_id.tolist())}
    assert data.groups[place["203"]] == data.groups[place["241"]] == "artist 7"
    assert data.groups[place["101"]] == "ids 100-103"
    assert data.artist[place["240"]] == "Seven"
    assert data.title[place["240"]] == "B"
    assert data.group_name == "likely artist"
    assert "known for 2 of 40 tracks" in note(data, "album by album")
    assert "Echonest" in data.source
    assert "1 of 41 rows has no genre and is left out." in data.notes


def test_echonest_needs_its_files(echonest: Path) -> None:
    (echonest / "genre_top.csv").unlink()
    with pytest.raises(DataError, match=r"genre_top\.csv: not there"):
        load_dataset("fma-echonest", echonest)


def test_neighbours_who_are_known_to_differ_are_apart() -> None:
    ids = np.array([9, 1, 2, 3, 4, 30])
    assert id_runs(ids, {}).tolist() == ["ids 1-9"] * 5 + ["ids 30-30"]
    assert id_runs(ids, {2: "a", 3: "b"}).tolist() == [
        *("artist b", "artist a", "artist a", "artist b", "artist b"),
        "ids 30-30",
    ]
    # A track that is not in the table tells as well, and so does an artist far away.
    assert id_runs(ids, {1: "a", 20: "a", 30: "a"}).tolist() == ["artist a"] * 6


def test_how_well_runs_stand_in_for_artists_is_measured() -> None:
    ids = np.array([1, 2, 3, 50, 51])
    facts = measure_runs(ids, {1: "a", 2: "a", 50: "a", 3: "b", 51: "c", 60: "d"})
    assert (facts.known, facts.neighbours, facts.together) == (5, 4, 3)
    assert facts.same == 1 / 4  # 1-2 are one artist; 2-3, 50-51 and 51-60 are not
    assert facts.torn == 1.0  # 50 is far from 1 and 2, so that none is with all the others


@settings(max_examples=100, deadline=None)
@given(
    ids=st.sets(st.integers(0, 200), min_size=1, max_size=30),
    artists=st.dictionaries(st.integers(0, 200), st.sampled_from("abc"), max_size=15),
)
def test_runs_never_tear_a_known_artist_apart(ids: set[int], artists: dict[int, str]) -> None:
    track_id = np.array(sorted(ids))
    groups = dict(zip(track_id.tolist(), id_runs(track_id, artists).tolist(), strict=True))
    for artist in "abc":
        assert len({groups[one] for one in ids if artists.get(one) == artist}) <= 1
    for a, b in itertools.pairwise(track_id):
        if b - a > 10 and not artists:
            assert groups[a] != groups[b]
        elif b - a <= 10 and not any(a <= one <= b for one in artists):
            assert groups[a] == groups[b]
    backwards = id_runs(track_id[::-1], artists)[::-1]
    assert backwards.tolist() == [groups[one] for one in track_id.tolist()]


# --- FMA as prepared -------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fma")
    simulate(folder, tracks=240, genres=4, audio=None)
    fma.prepare(folder / "fma_metadata")
    return folder


def test_fma_has_518_descriptors_the_official_split_and_artists(prepared: Path) -> None:
    data = load_dataset("fma", prepared)
    tracks = fma.load_tracks(prepared)
    top = dict(zip(tracks["track_id"].tolist(), tracks["genre_top"].tolist(), strict=True))
    assert data.name == "fma-all-features"
    assert data.simulated
    assert "fma simulate" in data.source
    assert len(data.features) == 518
    assert set(data.feature_groups) == {
        *("chroma_cens", "chroma_cqt", "chroma_stft", "mfcc", "rmse", "spectral_bandwidth"),
        *("spectral_centroid", "spectral_contrast", "spectral_rolloff", "tonnetz", "zcr"),
    }
    assert [data.genres[k] for k in data.y] == [top[int(one)] for one in data.track_id]
    assert len(data) == sum(1 for genre in top.values() if genre)
    assert note(data, "have no genre")
    assert data.split is not None
    assert set(data.split) == {"training", "validation", "test"}
    assert data.group_name == "artist"
    by_artist = {}
    for group, part in zip(data.groups, data.split, strict=True):
        assert by_artist.setdefault(group, part) == part
    assert {"listens", "duration", "favorites", "interest", "year_added"} <= set(data.extras)
    features = fma.load_features(prepared, track_id=data.track_id.astype(np.int64))
    assert np.array_equal(data.x, features.values)


def test_fma_subsets_and_groups_of_descriptors(prepared: Path) -> None:
    data = load_dataset("fma", prepared, subset="small", groups=["mfcc", "chroma_cens_mean"])
    assert data.name == "fma-small-mfcc-chroma_cens_mean"
    assert len(data.features) == 140 + 12
    tracks = fma.load_tracks(prepared, subset="small")
    wanted = {
        one for one, genre in zip(tracks["track_id"], tracks["genre_top"], strict=True) if genre
    }
    assert set(data.track_id.astype(int)) == wanted
    with pytest.raises(DataError, match=r"'mfc' is no group.*tonnetz"):
        load_dataset("fma", prepared, groups=["mfc"])
    with pytest.raises(TableError, match="'tiny'"):
        load_dataset("fma", prepared, subset="tiny")


def test_fma_has_what_echonest_heard(prepared: Path) -> None:
    data = load_dataset("fma", prepared, table="echonest")
    assert data.features == ECHONEST_AUDIO
    assert 20 < len(data) < 60
    assert "of 240 tracks" in note(data, "are not in echonest.csv and are left out")
    more = load_dataset("fma", prepared, table="echonest", groups=["temporal", "ranks"])
    assert set(more.feature_groups) == {"temporal", "ranks"}
    assert note(more, "values", "are missing")
    with pytest.raises(DataError, match="'lyrics'; it must be features or echonest"):
        load_dataset("fma", prepared, table="lyrics")


def test_tracks_that_are_known_to_be_bad_are_left_out(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = fma.load_tracks(prepared)
    bad = [int(one) for one in tracks["track_id"][tracks["genre_top"] != ""][:2]]
    problem = ["almost no audio" if one in bad else "" for one in tracks["track_id"]]
    marked = tracks.with_column("problem", problem)
    before = load_dataset("fma", prepared, groups=["zcr"])
    monkeypatch.setattr(fma, "load_tracks", lambda *args, **kwargs: marked)
    data = load_dataset("fma", prepared, groups=["zcr"])
    assert len(data) == len(before) - 2
    assert not {str(one) for one in bad} & set(data.track_id)
    said = note(data, "known to be bad", "almost no audio (2)")
    assert all(str(one) in said for one in bad)


def test_fma_that_is_not_prepared_says_how(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="genrescope fma prepare"):
        load_dataset("fma", tmp_path)


# --- names -----------------------------------------------------------------


def test_an_unknown_name_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("fma-small-mfc", tmp_path)
    assert all(name in str(caught.value) for name in DATASETS)
    assert "did you mean fma-small-mfcc?" in str(caught.value)


@pytest.mark.parametrize("name", DATASETS)
def test_each_says_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(name, tmp_path / "no")
    with pytest.raises(DataError, match=r"not there|not found|cannot be read|prepare"):
        load_dataset(name, tmp_path)
    assert DATASETS[name]
    if name != "fma":
        with pytest.raises(DataError, match="has no subset"):
            load_dataset(name, tmp_path, subset="small")


# --- the real data ---------------------------------------------------------


@pytest.mark.data
def test_the_real_echonest_table(data_dir: Path) -> None:
    data = load_dataset("fma-echonest", data_dir / "fma")
    assert data.x.shape == (9158, 8)
    assert len(data.genres) == 12
    assert not np.isnan(data.x).any()
    sizes = Counter(data.groups.tolist())
    assert 900 < len(sizes) < 1200
    assert max(sizes.values()) < 0.05 * len(data)
    rock = data.y == data.genres.index("Rock")
    assert np.isfinite(data.extras["listens"][rock]).all()
    assert not data.simulated


@pytest.mark.data
def test_the_real_tracks_of_fma_small(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rows; the statistics themselves take half a minute and are not computed here."""
    real = data_dir / "fma"
    monkeypatch.setattr(
        fma_frames,
        "_computed",
        lambda folder: (
            np.random.default_rng(0).normal(size=(7115, frames.N_STATISTICS)).astype(np.float32)
        ),
    )
    data = load_dataset("fma-small-mfcc", real, cache=tmp_path)
    assert data.x.shape == (7115, 140)
    assert len(data.genres) == 8
    assert len(set(data.groups)) == 2104
    assert np.isfinite(data.extras["listens"]).sum() > 1700
    assert os.listdir(tmp_path)
