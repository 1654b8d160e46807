"""Where tracks come from and what belongs together."""

from __future__ import annotations

import numpy as np
import pytest

from genrescope.catalog.table import TrackTable
from genrescope.errors import TableError
from genrescope.learn.teach.data import Heard, group_tracks, read_source


def table_of(n=8, **columns):
    text = [name for name in columns if name not in ("artist_id", "artist_name", "album_id")]
    genres = ["a", "b"] * (n // 2)
    paths = columns.pop("path", [f"/music/{g}/{row}.wav" for row, g in enumerate(genres)])
    return TrackTable({"path": paths, "genre_top": genres, **columns}, text=text)


def heard(n=8, artists=None, albums=None):
    return [
        Heard(np.zeros((1, 2), np.float32), (artists or [""] * n)[row], (albums or [""] * n)[row])
        for row in range(n)
    ]


def test_artists_of_the_table_come_first():
    artists = [str(row // 2) for row in range(8)]
    found = group_tracks(table_of(artist_name=artists), heard(artists=["x"] * 8))
    assert found.by == "the column artist_name"
    assert len(set(found.groups.tolist())) == 4


def test_then_artists_of_the_tags_whatever_their_case():
    found = group_tracks(table_of(), heard(artists=["X", "y", "x", "Y", "z", "w", "Z", ""]))
    assert "artist in the tags" in found.by
    assert "1 tracks without one" in found.by
    assert found.groups[0] == found.groups[2]
    assert len(set(found.groups.tolist())) == 5


def test_then_albums():
    found = group_tracks(table_of(), heard(albums=["p", "q", "p", "q", "r", "s", "r", "s"]))
    assert "album" in found.by


def test_a_tag_that_is_one_for_a_whole_genre_is_no_group():
    found = group_tracks(table_of(), heard(artists=["various", "x"] * 4))
    assert not found.known


def test_file_names_of_gtzan():
    names = ["blues.00010", "rock.00011", "blues.00019", "rock.00020"] * 1
    names += ["blues.00020", "rock.00029", "blues.00031", "rock.00010"]
    found = group_tracks(table_of(path=[f"/x/{n}.wav" for n in names]), heard())
    assert "GTZAN" in found.by
    assert found.groups[0] == found.groups[2] == "blues 1"
    assert found.groups[3] == found.groups[5] == "rock 2"


def test_a_block_column_must_hold_numbers():
    table = table_of(number=list("12345x78"))
    with pytest.raises(TableError, match="'x'"):
        group_tracks(table, heard(), asked="number//2")


def test_a_file_with_two_genres_and_one_without(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("path,genre\na.wav,Rock\na.wav,Rock\nb.wav,Pop\n")
    assert len(read_source(path)) == 2
    path.write_text("path,genre\na.wav,Rock\n./a.wav,Pop\n")
    with pytest.raises(TableError, match="as Rock and as Pop"):
        read_source(path)
    path.write_text("path,genre\na.wav,Rock\nb.wav,\n")
    with pytest.raises(TableError, match="row 2"):
        read_source(path)
    with pytest.raises(TableError, match="does not exist"):
        read_source(tmp_path / "nowhere")
