"""Maps: drawn on training rows, measured, kept, and open to new tracks."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import trustworthiness

from genrescope.catalog.splits import group_folds
from genrescope.errors import DataError
from genrescope.explain.maps import drawn as maps
from genrescope.explain.maps import making as manifold
from genrescope.explain.maps import tsne
from genrescope.explain.maps.drawn import Map
from genrescope.explain.maps.making import discriminant_axes, left_out, make_maps, place
from genrescope.explain.maps.quality import map_quality, nearest, sample
from genrescope.learn.lab.tabular import TabularData


def made_up(
    n: int = 240, d: int = 12, *, k: int = 4, apart: float = 2.0, missing: float = 0.02
) -> TabularData:
    """Genres as clouds in `d` features; four tracks an artist, and artists resemble themselves."""
    rng = np.random.default_rng(5)
    artist = np.arange(n) // 4
    y = (artist % k).astype(np.int64)
    centres = apart * rng.normal(size=(k, d))
    x = centres[y] + rng.normal(size=(n, d)) + rng.normal(size=(n // 4 + 1, d))[artist]
    x = x * np.geomspace(0.01, 100, d) + 7
    x[rng.random(x.shape) < missing] = np.nan
    names = np.array([f"t{row}" for row in range(n)])
    return TabularData(
        name="made-up",
        x=x.astype(np.float32),
        features=tuple(f"f.{column}" for column in range(d)),
        feature_groups=("f",) * d,
        y=y,
        genres=tuple("ABCDEFGH"[:k]),
        groups=np.array([f"a{one}" for one in artist]),
        group_name="artist",
        track_id=names,
        title=names,
        artist=names,
    )


@pytest.fixture(scope="module")
def table() -> TabularData:
    return made_up()


@pytest.fixture(scope="module")
def train(table: TabularData) -> np.ndarray:
    return np.arange(len(table)) % 20 >= 4  # whole artists


@pytest.fixture(scope="module")
def six(table: TabularData, train: np.ndarray) -> dict[tuple[str, int], Map]:
    return {(one.method, one.dims): one for one in make_maps(table, train=train)}


def test_six_maps_of_all_tracks(
    table: TabularData, train: np.ndarray, six: dict[tuple[str, int], Map]
) -> None:
    assert list(six) == [(m, d) for m in ("PCA", "LDA", "t-SNE") for d in (2, 3)]
    for (method, dims), one in six.items():
        assert one.positions.shape == (len(table), dims)
        assert one.positions.dtype == np.float32
        assert np.isfinite(one.positions).all()
        assert (one.fitted_on == train).all()
        assert one.projected
        assert len(one.axis_labels) == dims
        assert (one.quality.n_rows, one.quality.k) == (train.sum(), 15)
        assert one.quality_held_out is not None
        assert one.quality_held_out.n_rows == (~train).sum()
        assert one.quality.chance == pytest.approx(0.25, abs=0.01)
        # The clouds are far apart: a map that loses them is broken.
        assert one.quality_held_out.knn_accuracy > 0.8, method
        assert one.quality_held_out.trustworthiness > 0.8, method
        json.dumps(one.to_dict(), allow_nan=False)


def test_the_map_shows_nothing_of_held_out_rows(table: TabularData, train: np.ndarray) -> None:
    """Rows outside training can be anything: the map of the training rows stays the same."""
    x = table.x.copy()
    x[~train] = np.nan_to_num(x[~train][::-1]) * 50
    other = replace(table, x=x, y=np.where(train, table.y, 0))
    for one, two in zip(
        make_maps(table, train=train, dims=(2,)), make_maps(other, train=train, dims=(2,)),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one.positions[train], two.positions[train])
        assert one.quality == two.quality


def test_lda_is_said_to_be_supervised(six: dict[tuple[str, int], Map]) -> None:
    assert "genres of the rows that the map was fitted on" in six["LDA", 2].note
    assert "no part" in six["PCA", 2].note
    assert "no part" in six["t-SNE", 2].note


def test_the_same_seed_gives_the_same_map(
    table: TabularData, train: np.ndarray, six: dict[tuple[str, int], Map]
) -> None:
    again = make_maps(table, train=train, methods=("t-SNE",))
    for one in again:
        np.testing.assert_array_equal(one.positions, six["t-SNE", one.dims].positions)


def test_pca_is_scikit_learns(
    table: TabularData, train: np.ndarray, six: dict[tuple[str, int], Map]
) -> None:
    x = np.where(np.isnan(table.x), np.nanmedian(table.x[train], axis=0), table.x).astype(float)
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    wanted = PCA(3).fit(x[train])
    found = six["PCA", 3]
    np.testing.assert_allclose(np.abs(found.positions), np.abs(wanted.transform(x)), atol=1e-3)
    assert found.explained[:3] == pytest.approx(wanted.explained_variance_ratio_.tolist(), 1e-3)
    assert sum(found.explained) == pytest.approx(1.0)  # 12 features: all are told
    assert found.axis_labels[0].startswith(f"PC1 ({found.explained[0] * 100:.1f} % of")
    name, r = found.axis_features[0][0]
    column = x[train, table.features.index(name)]
    assert np.corrcoef(column, found.positions[train, 0])[0, 1] == pytest.approx(r, abs=1e-3)


def test_discriminant_axes_are_those_of_lda_where_nothing_needs_shrinking() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 4_000)
    x = rng.normal(size=(4, 6))[y] + rng.normal(size=(4_000, 6)) @ rng.normal(size=(6, 6))
    ours = discriminant_axes(x, y)
    theirs = LinearDiscriminantAnalysis(solver="svd").fit(x, y)
    assert ours.shrinkage < 0.01
    assert ours.explained_variance_ratio_ == pytest.approx(
        theirs.explained_variance_ratio_.tolist(), abs=0.01
    )
    for axis in range(3):
        at = (x @ ours.matrix)[:, axis], theirs.transform(x)[:, axis]
        assert abs(np.corrcoef(*at)[0, 1]) > 0.999


def test_discriminant_axes_of_copied_features() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 4
    x = np.repeat(rng.normal(size=(60, 1)) + y[:, None], 5, axis=1)
    x[:, 4] = 0.0
    found = discriminant_axes(x, y)
    assert found.matrix.shape == (5, 3)
    assert np.isfinite(found.matrix).all()
    assert found.explained_variance_ratio_[0] == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["PCA", "LDA", "t-SNE"])
@pytest.mark.parametrize("dims", [2, 3])
def test_placing_on_a_map(
    table: TabularData, train: np.ndarray, six: dict[tuple[str, int], Map], method: str, dims: int
) -> None:
    one = six[method, dims]
    before = one.positions.copy()
    placed = place(one, table.x[~train])
    np.testing.assert_allclose(placed, one.positions[~train], atol=1e-4)
    # Each for itself: alone, or in another order.
    np.testing.assert_allclose(place(one, table.x[~train][[3]]), placed[[3]], atol=1e-4)
    np.testing.assert_allclose(place(one, table.x[~train][::-1]), placed[::-1], atol=1e-4)
    np.testing.assert_array_equal(one.positions, before)
    assert place(one, table.x[:0]).shape == (0, dims)
    # Near the tracks of its genre.
    nearby = nearest(placed, before[train], k=5)[0]
    votes = np.array([np.bincount(row).argmax() for row in table.y[train][nearby]])
    assert (votes == table.y[~train]).mean() > 0.8


def test_placing_a_track_of_the_map_finds_its_place(
    table: TabularData, train: np.ndarray, six: dict[tuple[str, int], Map]
) -> None:
    for dims in (2, 3):
        one = six["t-SNE", dims]
        there = one.positions[train]
        off = np.linalg.norm(place(one, table.x[train]) - there, axis=1)
        assert np.median(off) < 0.15 * np.linalg.norm(there.std(axis=0))


def test_placing_rows_of_another_table(six: dict[tuple[str, int], Map]) -> None:
    with pytest.raises(DataError, match=r"made of 12 features: give \[tracks, 12\]"):
        place(six["PCA", 2], np.zeros((3, 11)))


def test_everything_in_training(table: TabularData) -> None:
    (one,) = make_maps(table, train=np.ones(len(table), dtype=bool), methods=("t-SNE",), dims=(2,))
    assert not one.projected
    assert one.quality_held_out is None
    assert "placed" not in one.note


def test_cache(
    table: TabularData, train: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_maps(table, train=train, cache=tmp_path / "new" / "folder", dims=(2,))
    assert not any(one.cached for one in first)
    monkeypatch.setattr(manifold, "_Maker", None)  # nothing may be computed
    second = make_maps(table, train=train, cache=tmp_path / "new" / "folder", dims=(2,))
    for one, two in zip(first, second, strict=True):
        assert two.cached
        assert two.to_dict() == one.to_dict()
        assert two.axis_features == one.axis_features
        np.testing.assert_array_equal(two.positions, one.positions)
        np.testing.assert_array_equal(two.fitted_on, one.fitted_on)
        np.testing.assert_array_equal(place(two, table.x[:9]), place(one, table.x[:9]))


def test_the_cache_knows_what_a_map_depends_on(
    table: TabularData, train: np.ndarray, tmp_path: Path
) -> None:
    def cached(data: TabularData, train: np.ndarray, *, seed: int = 0) -> bool:
        asked = {"methods": ("PCA",), "dims": (2,), "cache": tmp_path}
        return make_maps(data, train=train, seed=seed, **asked)[0].cached

    assert not cached(table, train)
    assert cached(table, train)
    other = train.copy()
    other[0] = not other[0]
    x = table.x.copy()
    x[0, 0] = 1
    assert not cached(table, other)
    assert not cached(replace(table, x=x), train)
    assert not cached(replace(table, groups=table.groups[::-1].copy()), train)
    assert not cached(table, train, seed=1)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_damaged_cache(
    table: TabularData, train: np.ndarray, tmp_path: Path, damage: bytes | None
) -> None:
    asked = {"train": train, "methods": ("PCA",), "dims": (2,), "cache": tmp_path}
    (one,) = make_maps(table, **asked)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    (two,) = make_maps(table, **asked)
    assert not two.cached
    np.testing.assert_array_equal(two.positions, one.positions)
    assert make_maps(table, **asked)[0].cached


def test_maps_that_a_table_is_too_small_for() -> None:
    table = made_up(80, 2, k=2)
    train = np.arange(80) < 60
    found = make_maps(table, train=train)
    assert [(one.method, one.dims) for one in found] == [("PCA", 2), ("t-SNE", 2)]
    told = left_out(table, train=train)
    assert len(told) == 4
    assert told[0] == (
        "There is no PCA map in 3-D: it takes at least 3 features, and the table has 2."
    )
    assert "LDA has one axis fewer than there are genres, and the training rows have 2" in told[1]
    few = np.arange(80) < 9
    assert make_maps(table, train=few) == ()
    assert "at least 10 training rows, and there are 9" in left_out(table, train=few)[0]


def test_few_rows_lower_the_perplexity() -> None:
    table = made_up(40)
    one, two = make_maps(table, train=np.arange(40) < 28, methods=("t-SNE",))
    assert one.settings["perplexity"] == two.settings["perplexity"] == 9.0
    assert "lowered to 9.0, because there are only 28 rows" in one.note
    assert one.quality.k == 13  # under half of the rows


def test_many_rows_are_sampled(
    table: TabularData, train: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(manifold._FIT_ROWS, "t-SNE", 100)
    monkeypatch.setattr(manifold, "_QUALITY_ROWS", 60)
    pca, one = make_maps(table, train=train, methods=("PCA", "t-SNE"), dims=(2,))
    assert one.fitted_on.sum() == 100
    assert not (one.fitted_on & ~train).any()
    assert "Fitted on a sample of 100 of the 192 training rows" in one.note
    assert (one.quality.n_rows, one.quality.n_among) == (60, 100)
    assert pca.fitted_on.sum() == 192
    assert one.quality.knn_accuracy_features == pca.quality.knn_accuracy_features
    assert one.quality_held_out is not None
    assert one.quality_held_out.knn_accuracy > 0.8


def test_odd_tables() -> None:
    """Equal rows, an infinite value, a column without training values, a genre of one track."""
    table = made_up(60, 6)
    x, y = table.x.copy(), table.y.copy()
    x[:30] = x[0]
    x[31, 2] = np.inf
    x[:50, 5] = np.nan
    y[40] = 3
    y[(y == 3) & (np.arange(60) != 40)] = 2
    odd = replace(table, x=x, y=y)
    found = make_maps(odd, train=np.arange(60) < 50)
    assert len(found) == 6
    for one in found:
        assert np.isfinite(one.positions).all()
        json.dumps(one.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"methods": ("UMAP",)}, "method is 'UMAP'; maps are made for PCA, LDA, t-SNE"),
        ({"dims": (4,)}, "dims is 4; maps are made for 2, 3"),
        ({"train": np.arange(5)}, r"train is int64\[5\]; it says of each of the 240 rows"),
    ],
)
def test_what_cannot_be_asked(
    table: TabularData, train: np.ndarray, asked: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_maps(table, **{"train": train, **asked})


# --- quality ---------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 60), st.integers(0, 2**20), st.integers(1, 5))
def test_trustworthiness_is_scikit_learns(n: int, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, at = rng.normal(size=(n, 5)) + 100, rng.normal(size=(n, 2))
    rows = np.arange(n)
    k = min(k, (n - 1) // 2)
    found = map_quality(
        x, {"map": at}, y=rows % 2, groups=rows.astype(str), rows=rows, among=rows, k=k
    )["map"]
    if k < n / 2:
        assert found.trustworthiness == pytest.approx(trustworthiness(x, at, n_neighbors=k))
        assert found.continuity == pytest.approx(trustworthiness(at, x, n_neighbors=k))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 5))
    rows = np.arange(90)
    asked = {"y": rows % 3, "groups": (rows // 3).astype(str), "rows": rows, "among": rows}
    whole = map_quality(x, {"a": x[:, :2], "b": x}, **asked)
    monkeypatch.setattr("genrescope.explain.maps.quality._CELLS", 700)
    parts = map_quality(x, {"a": x[:, :2], "b": x}, **asked)
    assert whole == parts
    assert whole["b"].trustworthiness == whole["b"].continuity == 1.0
    assert whole["b"].knn_accuracy == whole["b"].knn_accuracy_features


def test_votes_leave_out_tracks_of_the_same_artist() -> None:
    """Artists are clouds of their own, genres mean nothing: only the artist gives them away."""
    rng = np.random.default_rng(1)
    artist = np.arange(400) // 8
    y = rng.permutation(np.arange(50) % 2)[artist]
    x = 5 * rng.normal(size=(50, 3))[artist] + 0.1 * rng.normal(size=(400, 3))
    rows = np.arange(400)

    def accuracy(groups: np.ndarray) -> float | None:
        asked = {"y": y, "groups": groups, "rows": rows, "among": rows, "k": 5}
        return map_quality(x, {"map": x}, **asked)["map"].knn_accuracy

    assert accuracy(rows.astype(str)) > 0.95
    assert accuracy(artist.astype(str)) < 0.7


def test_vote_against_a_plain_count() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(70, 2))
    y, groups = rng.integers(0, 3, 70), rng.integers(0, 12, 70)
    rows = np.arange(70)
    right = 0
    for row in rows:
        distance = np.linalg.norm(x - x[row], axis=1)
        others = [o for o in np.argsort(distance) if groups[o] != groups[row]][:7]
        votes = np.bincount(y[others], minlength=3)
        tied = np.flatnonzero(votes == votes.max())
        places = [np.flatnonzero(y[others] == genre).sum() for genre in tied]
        right += tied[np.argmin(places)] == y[row]
    found = map_quality(x, {"m": x}, y=y, groups=groups, rows=rows, among=rows, k=7)["m"]
    assert found.knn_accuracy == pytest.approx(right / 70)
    assert found.n_votes == 70


def test_quality_without_a_stranger() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    rows = np.arange(20)
    found = map_quality(
        x, {"m": x[:, :2]}, y=rows % 2, groups=np.full(20, "one"), rows=rows, among=rows
    )["m"]
    assert found.knn_accuracy is None
    assert found.n_votes == 0
    assert found.trustworthiness is not None


def test_quality_of_what_cannot_be_measured() -> None:
    x = np.zeros((6, 2))
    asked = {"y": np.zeros(6, dtype=int), "groups": np.arange(6)}
    with pytest.raises(DataError, match="at least 1 among 3"):
        map_quality(x, {"m": x}, **asked, rows=np.arange(2), among=np.arange(2))
    with pytest.raises(DataError, match="2 of 3 rows are among those looked among"):
        map_quality(x, {"m": x}, **asked, rows=np.arange(3), among=np.arange(1, 6))


@given(st.integers(0, 40), st.integers(0, 50), st.integers(0, 9))
def test_smaller_samples_are_part_of_larger(n: int, most: int, seed: int) -> None:
    rows = np.arange(n) * 2
    one, two = (sample(rows, most=size, seed=seed) for size in (most, most + 3))
    assert len(one) == min(n, most)
    assert set(one) <= set(two) <= set(rows)
    assert (np.diff(one) > 0).all()


def test_perplexity_fits_the_rows() -> None:
    for n in range(tsne.FEWEST_ROWS, 120):
        assert int(3 * tsne.perplexity_for(n)) <= n - 1
    assert tsne.perplexity_for(tsne.ROWS_WANTED) == 30.0
    assert maps.CLIP > 5


@pytest.mark.parametrize("n", [200, 3_000])
def test_many_and_few_rows_are_drawn_alike(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tree and on the grid: the clouds come apart, the middle is at 0."""
    monkeypatch.setattr(tsne, "_GRID_FROM", 150 if n == 200 else 3_001)
    monkeypatch.setattr(tsne, "_STEPS", (50, 50))
    cloud = np.arange(n) % 3
    x = np.random.default_rng(0).normal(size=(n, 4)) + 8 * np.eye(4)[cloud]
    at = tsne.fit(x, dims=2)
    assert at.max(axis=0) + at.min(axis=0) == pytest.approx([0, 0])
    near = nearest(at, k=3)[0]
    assert (cloud[near] == cloud[:, None]).mean() > 0.99


@pytest.mark.data
def test_real_tracks(data_dir: Path) -> None:
    """t-SNE keeps more of the neighbours than PCA, and placed tracks fare like those it drew."""
    with (data_dir / "fma" / "small_tracks.csv").open(encoding="utf-8", newline="") as file:
        tracks = {row["track_id"]: row for row in csv.DictReader(file)}
    with np.load(data_dir / "fma" / "small_mfcc.npz") as stored:
        ids, x = stored["track_id"][::6], stored["mfcc_mean_std"][::6]
    rows = [tracks[str(one)] for one in ids]
    genres, y = np.unique([row["genre_top"] for row in rows], return_inverse=True)
    artists = np.array([row["artist_id"] for row in rows])
    data = replace(
        made_up(len(x), x.shape[1]), x=x, y=y, genres=tuple(genres.tolist()), groups=artists
    )
    train = group_folds(y, artists, n_folds=4, seed=0) != 0
    pca, drawn = make_maps(data, train=train, methods=("PCA", "t-SNE"), dims=(2,))
    assert drawn.quality.trustworthiness > pca.quality.trustworthiness + 0.02
    assert drawn.quality_held_out.trustworthiness > 0.8
    assert drawn.quality_held_out.knn_accuracy > 1.6 * drawn.quality.chance
