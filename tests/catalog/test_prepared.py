"""Prepared features: joined by id, checked, never by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.catalog.prepared import load_prepared
from genrescope.errors import DataError

IDS = np.array([7, 3, 12], dtype=np.int32)


def arrays(ids: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Rows that know their track: every value derives from the id."""
    n = len(ids)
    mel = np.broadcast_to(ids[:, None, None].astype(np.uint8), (n, 128, 128))
    mfcc = np.broadcast_to(ids[:, None, None].astype(np.float16), (n, 130, 20))
    vggish = np.broadcast_to(ids[:, None].astype(np.float32), (n, 128))
    return {
        "small_mel_frames.npz": {"track_id": ids, "mel": mel},
        "small_mfcc.npz": {"track_id": ids, "mfcc_3s": mfcc},
        "small_vggish.npz": {"track_id": ids, "vggish": vggish},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small_tracks.csv").write_text(
        "track_id,title,genre_top,subgenres,artist_id,artist_name\n"
        '7,"a, b",Rock,Rock|Punk,1,Ann\n3,,Pop,,2,Bob\n12,c,Folk,,1,Ann\n'
    )
    for file, content in arrays(IDS).items():
        np.savez(tmp_path / file, **content)
    return tmp_path


def rewrite(folder: Path, file: str, **change: Any) -> None:
    with np.load(folder / file) as archive:
        content = {**archive, **change}
    np.savez(folder / file, **{k: v for k, v in content.items() if v is not None})


def test_columns_in_the_order_of_the_table(folder: Path) -> None:
    data = load_prepared(folder)
    assert len(data) == 3
    assert data.track_id.tolist() == [7, 3, 12]
    assert data.genre_top.tolist() == ["Rock", "Pop", "Folk"]
    assert data.artist_id.tolist() == ["1", "2", "1"]
    assert data.title.tolist() == ["a, b", "", "c"]
    assert data.subgenres is not None
    assert data.subgenres.tolist() == [("Rock", "Punk"), (), ()]
    assert (data.mel.shape, data.mel.dtype) == ((3, 128, 128), np.uint8)
    assert (data.mfcc_3s.shape, data.mfcc_3s.dtype) == ((3, 130, 20), np.float16)
    assert data.vggish is not None
    assert data.vggish.dtype == np.float32


def test_rows_are_joined_by_id(folder: Path) -> None:
    rng = np.random.default_rng(0)
    more = rng.permutation(np.array([1, 3, 5, 7, 12, 99], dtype=np.int32))
    for file, content in arrays(more).items():
        np.savez(folder / file, **content)
        data = load_prepared(folder)
        np.testing.assert_array_equal(data.mel[:, 0, 0], data.track_id)
        np.testing.assert_array_equal(data.mfcc_3s[:, 0, 0], data.track_id)
        np.testing.assert_array_equal(data.vggish[:, 0], data.track_id)  # type: ignore[index]


def test_vggish_may_be_absent(folder: Path) -> None:
    (folder / "small_vggish.npz").unlink()
    data = load_prepared(folder)
    assert data.vggish is None
    assert data.where(data.genre_top == "Pop").vggish is None


def test_where(folder: Path) -> None:
    data = load_prepared(folder)
    ann = data.where(data.artist_id == "1")
    assert ann.track_id.tolist() == [7, 12]
    assert ann.mel[:, 0, 0].tolist() == [7, 12]
    assert ann.subgenres is not None
    assert ann.subgenres.tolist() == [("Rock", "Punk"), ()]
    with pytest.raises(DataError, match="the mask is"):
        data.where(np.array([True]))


def test_a_table_without_artists_is_enough(folder: Path) -> None:
    (folder / "small_tracks.csv").write_text("track_id,genre_top\n3,Pop\n")
    data = load_prepared(folder)
    assert data.artist_id.tolist() == data.title.tolist() == [""]
    assert data.subgenres is None
    assert data.mel[0, 0, 0] == 3


@pytest.mark.parametrize("file", ["small_tracks.csv", "small_mel_frames.npz", "small_mfcc.npz"])
def test_a_missing_file_is_named_with_the_layout(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(DataError, match=rf"{file} not found; .*small_vggish.npz \(optional\)"):
        load_prepared(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_prepared(tmp_path / "none")


def test_missing_rows_are_counted(folder: Path) -> None:
    for ids in (IDS[:1], np.array([], dtype=np.int32)):
        np.savez(folder / "small_mfcc.npz", **arrays(ids)["small_mfcc.npz"])
        with pytest.raises(DataError, match=f"{3 - len(ids)} of 3 tracks .* no row here"):
            load_prepared(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mel": np.zeros((3, 64, 128), np.uint8)}, r"uint8 \(3, 64, 128\).*expected"),
        ({"mel": np.zeros((3, 128, 128), np.float32)}, "float32"),
        ({"mel": np.zeros((2, 128, 128), np.uint8)}, "beside 3 ids"),
        ({"mel": None}, "needs the arrays track_id and mel"),
        ({"track_id": None}, "needs the arrays track_id and mel"),
        ({"track_id": IDS.astype(float)}, "expected integers"),
        ({"track_id": np.array([7, 3, 3])}, "1 track ids occur twice .first: 3"),
        ({"mel": np.array([{}, {}, {}])}, "not a readable"),
    ],
)
def test_arrays_that_are_not_as_they_should_be(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    rewrite(folder, "small_mel_frames.npz", **change)
    with pytest.raises(DataError, match=message):
        load_prepared(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_a_damaged_archive(folder: Path, content: bytes) -> None:
    (folder / "small_mel_frames.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        load_prepared(folder)


def test_a_cut_archive(folder: Path) -> None:
    path = folder / "small_mel_frames.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        load_prepared(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track_id,genre_top\n", "no tracks"),
        ("track_id,genre\n7,Rock\n", "no column 'genre_top'"),
        ("track_id,genre_top\n7,Rock\nx,Pop\n", r"row 2 \(line 3\): track_id: 'x'"),
        ("track_id,genre_top\n7,Rock\n7,Pop\n", "already in row 1"),
    ],
)
def test_a_broken_table(folder: Path, text: str, message: str) -> None:
    (folder / "small_tracks.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_prepared(folder)


@pytest.mark.data
def test_the_real_folder(data_dir: Path) -> None:
    data = load_prepared(data_dir / "fma")
    assert len(data) == len(set(data.track_id)) == 7115
    assert data.mel.shape == (7115, 128, 128)
    assert data.vggish is not None
    # Each clip is scaled by its own extremes over the whole clip, stored to 7 bits.
    assert np.median(data.mel.max(axis=(1, 2))) > 230
    assert len(np.unique(data.mel[:50])) <= 129
    assert set(data.genre_top[np.isin(data.track_id, [2, 5])]) == {"Hip-Hop"}
