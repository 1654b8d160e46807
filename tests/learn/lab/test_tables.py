"""Tables of any origin: what is read, what is left out, and what is said of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.errors import DataError, TableError
from genrescope.learn.lab.cleaning import RawTable, clean, families
from genrescope.learn.lab.tables import load_table
from genrescope.learn.lab.tabular import TabularData

GENRES = ("Folk", "Jazz", "Rock")
N = 60


def write(path: Path, columns: dict[str, Sequence[object]], *, mark: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=mark)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def usual(n: int = N) -> dict[str, Sequence[object]]:
    """A well-behaved table: an id, a genre, an artist of three tracks each, two features."""
    rng = np.random.default_rng(0)
    return {
        "track_id": [100 + 7 * k for k in range(n)],
        "genre": [GENRES[k % 3] for k in range(n)],
        "artist": [f"Artist {k % (n // 3)}" for k in range(n)],
        "tempo": [f"{v:.3f}" for v in rng.normal(120, 20, n)],
        "loudness": [f"{v:.3f}" for v in rng.normal(-9, 3, n)],
    }


def load(path: Path, cells: dict[str, Sequence[object]], **kwargs: object) -> TabularData:
    return load_table(write(path / "songs.csv", cells), **kwargs)  # type: ignore[arg-type]


def note(data: TabularData, *words: str) -> str:
    """The one note with all these words in it."""
    found = [n for n in data.notes if all(word in n for word in words)]
    assert len(found) == 1, (words, data.notes)
    return found[0]


# --- a plain table ---------------------------------------------------------


def test_a_plain_table_is_taken_as_it_is(tmp_path: Path) -> None:
    data = load(tmp_path, usual())
    assert data.name == "songs"
    assert data.features == ("tempo", "loudness")
    assert data.x.dtype == np.float32
    assert data.x[0, 0] == np.float32(usual()["tempo"][0])
    assert data.genres == GENRES
    assert [data.genres[k] for k in data.y[:4]] == ["Folk", "Jazz", "Rock", "Folk"]
    assert data.group_name == "artist"
    assert data.groups[0] == data.artist[0] == "Artist 0"
    assert data.track_id[:2].tolist() == ["100", "107"]
    assert data.split is None
    assert not data.simulated
    assert "songs.csv" in data.source
    assert data.notes == (
        "By their names, the genre is read from genre and the group is read from artist.",
    )


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    columns = usual()
    data = load(tmp_path, columns)
    typed = pa.table(
        {
            "track_id": pa.array(columns["track_id"]),
            "genre": pa.array(columns["genre"]).dictionary_encode(),
            "artist": pa.array(columns["artist"], pa.large_string()),
            "tempo": pa.array([float(str(v)) for v in columns["tempo"]], pa.float32()),
            "loudness": pa.array([float(str(v)) for v in columns["loudness"]]),
            "tags": pa.array([["a"]] * N),
            "__index_level_0__": pa.array(range(N)),
        }
    )
    pa.parquet.write_table(typed, tmp_path / "songs.parquet")
    again = load_table(tmp_path / "songs.parquet")
    assert again.fingerprint == data.fingerprint
    assert again.track_id.tolist() == data.track_id.tolist()
    assert note(again, "neither numbers nor text").endswith("tags.")


def test_the_same_file_gives_the_same_table(tmp_path: Path) -> None:
    first, second = (load(tmp_path, usual()) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.notes == second.notes


# --- what is left out, and said --------------------------------------------


def test_missing_cells_of_every_spelling_stay_missing(tmp_path: Path) -> None:
    columns = usual()
    signs = ["", "NA", "NaN", "null", "?", "n/a", "None", "-"]
    columns["tempo"] = [*signs, *columns["tempo"][len(signs) :]]
    data = load(tmp_path, columns)
    assert np.isnan(data.x[: len(signs), 0]).all()
    assert np.isfinite(data.x[len(signs) :]).all()
    said = note(data, "missing")
    assert "8 of 120 values (6.7 %)" in said
    assert "tempo (8)" in said


def test_columns_that_are_no_features_are_named(tmp_path: Path) -> None:
    columns = usual() | {
        "mood": ["sad", "glad", "odd"] * (N // 3),
        "hollow": ["", "NA"] * (N // 2),
        "constant": [5] * N,
        "nearly": ["7", ""] * (N // 2),
        "released": [f"2019-03-{1 + k % 28:02d}" for k in range(N)],
        "row": range(N),
        "counter": range(1, N + 1),
        "album_id": [k // 4 for k in range(N)],
        "again": usual()["tempo"],
    }
    data = load(tmp_path, columns)
    assert data.features == ("tempo", "loudness")
    assert note(data, "holds text").endswith("mood.")
    assert note(data, "1 column is empty").endswith("hollow.")
    assert note(data, "constant").endswith(
        "2 features are constant and left out: constant and nearly."
    )
    assert "released" in note(data, "holds dates")
    assert data.extras["released (year)"].tolist() == [2019.0] * N
    assert "row, counter and album_id" in note(data, "name or number rows")
    assert "again (of tempo)" in note(data, "is the copy of another")


def test_a_column_that_repeats_the_genre_is_no_feature(tmp_path: Path) -> None:
    """It would give every model the answer."""
    columns = usual() | {
        "code": [(3, 1, 2)[k % 3] for k in range(N)],
        "subgenre": [10 * (k % 3) + k % 2 for k in range(N)],
        "live": [k % 2 for k in range(N)],
    }
    columns["genre"] = ["folk ", *columns["genre"][1:]]
    data = load(tmp_path, columns)
    assert data.features == ("tempo", "loudness", "live")
    assert "code and subgenre" in note(data, "repeat the genre in other words")
    assert load(tmp_path, columns, columns=["code", "tempo"]).features == ("tempo", "code")


def test_yes_and_no_are_one_and_zero(tmp_path: Path) -> None:
    data = load(tmp_path, usual() | {"live": ["yes", "no", "NO", ""] * (N // 4)})
    live = data.x[:, data.features.index("live")]
    assert live[:3].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(live[3])
    assert "live" in note(data, "Yes and no")


def test_infinite_values_become_missing(tmp_path: Path) -> None:
    columns = usual()
    columns["tempo"] = ["inf", "-inf", "1e300", *columns["tempo"][3:]]
    data = load(tmp_path, columns)
    assert np.isnan(data.x[:3, 0]).all()
    assert "3 infinite values are taken for missing, in tempo" in note(data, "infinite")


def test_a_genre_with_one_row_is_left_out(tmp_path: Path) -> None:
    columns = usual()
    columns["genre"] = ["Polka", *columns["genre"][1:]]
    data = load(tmp_path, columns)
    assert data.genres == GENRES
    assert len(data) == N - 1
    assert "Polka (1)" in note(data, "both trained on and scored")
    assert load(tmp_path, columns, min_per_genre=20).genres == ("Jazz", "Rock")


def test_what_is_constant_only_after_rows_went_goes_too(tmp_path: Path) -> None:
    columns = usual()
    columns["genre"] = ["Polka", *columns["genre"][1:]]
    data = load(tmp_path, columns | {"only_polka": [1, *[0] * (N - 1)]})
    assert "only_polka" not in data.features
    assert "only_polka" in note(data, "constant")


def test_rows_without_genre_or_feature_are_left_out(tmp_path: Path) -> None:
    columns = usual()
    columns["genre"] = ["", "NA", *columns["genre"][2:]]
    for name in ("tempo", "loudness"):
        columns[name] = [*columns[name][:-1], "?"]
    data = load(tmp_path, columns)
    assert len(data) == N - 3
    assert "2 of 60 rows have no genre and are left out." in data.notes
    assert "1 of 60 rows has no value in any feature and is left out." in data.notes


def test_spellings_of_one_genre_are_one(tmp_path: Path) -> None:
    columns = usual()
    columns["genre"] = ["folk", " Folk ", "ROCK", *columns["genre"][3:]]
    data = load(tmp_path, columns)
    assert data.genres == GENRES
    assert "folk" in note(data, "The genre Folk is also written")


# --- artists ---------------------------------------------------------------


def test_rows_without_artist_are_each_a_group(tmp_path: Path) -> None:
    columns = usual()
    columns["artist"] = ["", "?", *columns["artist"][2:]]
    data = load(tmp_path, columns)
    assert len({*data.groups[:2], *data.groups[2:]}) == 2 + N // 3
    assert "2 of 60 rows have no artist" in note(data, "no artist")


def test_without_artists_it_is_said_loudly(tmp_path: Path) -> None:
    columns = {name: cells for name, cells in usual().items() if name != "artist"}
    data = load(tmp_path, columns)
    assert data.group_name == "track"
    assert len(set(data.groups)) == N
    assert "every score here too high" in note(data, "does not say who made the tracks")
    assert load(tmp_path, usual(), group="").group_name == "track"


def test_a_genre_of_one_artist_is_kept_and_said(tmp_path: Path) -> None:
    columns = usual()
    columns["artist"] = [
        "Solo" if genre == "Jazz" else artist
        for genre, artist in zip(columns["genre"], columns["artist"], strict=True)
    ]
    data = load(tmp_path, columns)
    assert "Jazz" in data.genres
    assert "Jazz (20 rows)" in note(data, "its scores say nothing")


def test_another_group_can_be_named(tmp_path: Path) -> None:
    data = load(tmp_path, usual() | {"album_id": [k // 4 for k in range(N)]}, group="album_id")
    assert data.group_name == "album"
    assert len(set(data.groups)) == 15


def test_a_split_that_leaks_is_said(tmp_path: Path) -> None:
    parts = ["train", "valid", "test"]
    data = load(tmp_path, usual() | {"split": [parts[k % 3] for k in range(N)]})
    assert data.split is not None
    assert data.split[:3].tolist() == ["training", "validation", "test"]
    assert "The split leaks" in note(data, "too high")
    apart = [parts[(k % 20) % 3] for k in range(N)]
    data = load(tmp_path, usual() | {"split": apart}, split="split")
    assert not [n for n in data.notes if "leak" in n]


def test_a_split_column_that_is_none_is_no_split(tmp_path: Path) -> None:
    columns = usual() | {"split": ["left", "right"] * (N // 2)}
    assert load(tmp_path, columns).split is None
    with pytest.raises(DataError, match=r"holds 'left'|'(left|right)' is no split"):
        load(tmp_path, columns, split="split")


# --- two files -------------------------------------------------------------


def two_files(tmp_path: Path) -> tuple[Path, Path]:
    """Features of all tracks, genres of most, in another order and with padded ids."""
    columns = usual()
    features = write(tmp_path / "f.csv", {n: columns[n] for n in ("track_id", "tempo", "loudness")})
    kept = list(range(N))[:2:-1]
    labels = {n: [columns[n][k] for k in kept] for n in ("track_id", "genre", "artist")}
    labels["track_id"] = [f"{int(str(k)):06d}" for k in labels["track_id"]]
    labels["listens"] = [k * k for k in kept]
    return features, write(tmp_path / "l.csv", labels, mark=";")


def test_two_files_are_joined_by_the_column_they_share(tmp_path: Path) -> None:
    features, labels = two_files(tmp_path)
    data = load_table(features, labels=labels)
    whole = load(tmp_path, usual())
    assert len(data) == N - 3
    assert "57 rows are in both files; 3 rows of features have no label" in note(data, "joined by")
    same = [whole.track_id.tolist().index(one.lstrip("0")) for one in data.track_id]
    assert np.array_equal(data.x, whole.x[same])
    assert np.array_equal(data.y, whole.y[same])
    assert data.groups.tolist() == whole.groups[same].tolist()
    assert data.features == ("tempo", "loudness")
    assert data.extras["listens"].tolist() == [float(k * k) for k in same]


def test_files_that_cannot_be_joined(tmp_path: Path) -> None:
    features, labels = two_files(tmp_path)
    columns = usual()
    with pytest.raises(DataError, match=r"no column 'trackid' to join by .*'track_id'"):
        load_table(features, labels=labels, id_column="trackid")
    other = write(tmp_path / "o.csv", {"song": ["a", "b"], "genre": ["Rock", "Folk"]})
    with pytest.raises(DataError, match=r"share no column.*id_column"):
        load_table(features, labels=other)
    apart = write(tmp_path / "a.csv", {"track_id": ["x", "y"], "genre": ["Rock", "Folk"]})
    with pytest.raises(DataError, match="no value of 'track_id' in common"):
        load_table(features, labels=apart)
    columns["track_id"] = [columns["track_id"][1], *columns["track_id"][1:]]
    twice = write(tmp_path / "t.csv", columns)
    with pytest.raises(DataError, match=r"'107'.*each track needs one row"):
        load_table(features, labels=twice)
    with pytest.raises(DataError, match="1 values of track_id occur more than once"):
        load_table(twice)


# --- what was asked for ----------------------------------------------------


def test_features_are_chosen_by_name_pattern_or_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    extra = {f"mfcc_{what}_{k}": rng.normal(size=N) for what in ("mean", "std") for k in range(3)}
    columns = usual() | extra
    assert len(load(tmp_path, columns, columns=["mfcc"]).features) == 6
    assert load(tmp_path, columns, columns=["mfcc_m*_1", "tempo"]).features == (
        "tempo",
        "mfcc_mean_1",
    )
    data = load(tmp_path, columns | {"listens": rng.normal(size=N)}, columns=["mfcc_std"])
    assert data.feature_groups == ("mfcc",) * 3
    assert "listens" in data.extras
    with pytest.raises(DataError, match=r"'chroma'.*its columns are"):
        load(tmp_path, columns, columns=["chroma"])
    with pytest.raises(DataError, match="artist is the genre, group"):
        load(tmp_path, columns, columns=["artist"])
    with pytest.raises(DataError, match="'mood' holds text"):
        load(tmp_path, columns | {"mood": ["a", "b"] * (N // 2)}, columns=["mood"])


def test_families_are_few() -> None:
    fma = [
        f"{d}_{s}_{k:02d}"
        for d in ("mfcc", "chroma_cens", "chroma_stft")
        for s in ("mean", "std")
        for k in (1, 2)
    ]
    assert set(families(fma)) == {"mfcc", "chroma_cens", "chroma_stft"}
    assert families(["tempo", "valence"]) == ("tempo", "valence")
    many = [f"f{chr(97 + k)}x" for k in range(26)] + ["mfcc1", "mfcc2"]
    assert set(families(many)) == {"mfcc", "other"}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"label": "gendre"}, "no column 'gendre'.*did you mean 'genre'"),
        ({"genre": None}, {}, "none of its columns has a usual name for the genre"),
        ({}, {"label": "tempo"}, "holds measured numbers"),
        ({"genre": ["Rock"] * N}, {}, r"1 genres have 2 rows.*Rock \(60\)"),
        ({"genre": [f"g{k}" for k in range(N)]}, {}, "0 genres have 2 rows"),
        ({"genre": [""] * N}, {}, "holds nothing"),
        ({"tempo": ["1"] * N, "loudness": None}, {}, "no feature is left.*constant: tempo"),
        ({"tempo": ["x"] * N, "loudness": None}, {}, "no feature is left.*text: tempo"),
        ({}, {"min_per_genre": 1}, "min_per_genre is 1"),
        ({}, {"group": "composer"}, "no column 'composer' for the group"),
    ],
)
def test_errors_name_the_way_out(
    tmp_path: Path,
    change: dict[str, list[object] | None],
    arguments: dict[str, object],
    message: str,
) -> None:
    columns = {n: c for n, c in {**usual(), **change}.items() if c is not None}
    with pytest.raises(DataError, match=message):
        load(tmp_path, columns, **arguments)


# --- reading and cleaning --------------------------------------------------


def test_a_few_cells_that_are_no_numbers_are_missing_and_said(tmp_path: Path) -> None:
    columns = usual()
    columns["tempo"] = ["error", "12 bpm", *columns["tempo"][2:]]
    data = load(tmp_path, columns)
    assert np.isnan(data.x[:2, 0]).all()
    assert "2 of 60 cells ('error' and '12 bpm')" in note(data, "tempo is a number but for")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read: No such file"):
        load_table(tmp_path / "no.csv")


def test_artists_called_null_are_shown_as_they_are(tmp_path: Path) -> None:
    columns = usual() | {"title": ["NA", *[f"T{k}" for k in range(1, N)]]}
    data = load(tmp_path, columns)
    assert data.title[0] == "NA"


cell = st.sampled_from([0.0, -0.0, 1.0, 2.5, np.nan, np.inf, -np.inf])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(1, 12), d=st.integers(1, 5))
def test_a_clean_table_keeps_its_word(data: st.DataObject, n: int, d: int) -> None:
    """No column is empty, constant or the copy of another; every genre has two rows."""
    x = np.array(
        data.draw(st.lists(st.lists(cell, min_size=d, max_size=d), min_size=n, max_size=n))
    )
    label = np.array(
        data.draw(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=n, max_size=n))
    )
    groups = np.array(data.draw(st.lists(st.sampled_from(["", "g", "h"]), min_size=n, max_size=n)))
    names = [f"f{k}" for k in range(d)]
    table = RawTable(
        "t", x.astype(np.float32), names, names, label, groups, "artist", np.arange(n).astype(str)
    )
    before = table.x.copy()
    try:
        made = clean(table)
    except DataError:
        return
    finally:
        assert np.array_equal(table.x, before, equal_nan=True)
    assert not np.isinf(made.x).any()
    assert (~np.isnan(made.x)).any(axis=1).all()
    for column in made.x.T:
        assert len(np.unique(column[~np.isnan(column)])) > 1
    assert len({(column + 0.0).tobytes() for column in made.x.T}) == len(made.features)
    assert len(made.genres) >= 2
    assert np.bincount(made.y, minlength=len(made.genres)).min() >= 2
    rows = made.track_id.astype(int)
    assert [made.genres[k] for k in made.y] == label[rows].tolist()
    known = groups[rows] != ""
    if made.group_name == "artist":
        assert made.groups[known].tolist() == groups[rows][known].tolist()
    assert len(set(made.groups[~known])) == (~known).sum()
