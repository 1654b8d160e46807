"""The analysis: textbook statistics, artists as the unit of doubt, and sentences that hold."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from genrescope.errors import DataError
from genrescope.explain.analysis.effects import FeatureEffect, Labels, feature_effects
from genrescope.explain.analysis.table import analyse, spearman
from genrescope.explain.analysis.words import describe
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.paired import holm

GENRES = ("Folk", "Hip-Hop", "Rock")


def table(
    n: int = 600, *, artists: int = 120, seed: int = 0, known_artists: bool = True, d: int = 6
) -> TabularData:
    """Column 0 tells genres apart, column 1 nearly repeats it, column 2 belongs to the artist."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, artists, n)
    y = (who % len(GENRES)).astype(np.int64)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[:, 0] += y * 1.5
    x[:, 1] = x[:, 0] + 0.01 * rng.normal(size=n)
    x[:, 2] = rng.normal(size=artists)[who] + 0.05 * rng.normal(size=n)
    x[y == 1, 5] = np.where(rng.random((y == 1).sum()) < 0.6, np.nan, x[y == 1, 5])
    names = np.array([f"a{i}" for i in who])
    return TabularData(
        "made",
        x,
        ("speechiness", "copy", "studio", *(f"noise.{i}" for i in range(3, d))),
        ("a", "a", "b", *("c" for _ in range(3, d))),
        y,
        GENRES,
        groups=names if known_artists else np.array([str(i) for i in range(n)]),
        group_name="artist" if known_artists else "track",
        track_id=np.array([str(i) for i in range(n)]),
        title=np.array([f"t{i}" for i in range(n)]),
        artist=names if known_artists else np.full(n, ""),
        extras={
            "listens": np.exp(rng.normal(6, 1.5, n)).round() * (rng.random(n) > 0.01),
            "year": rng.integers(1990, 2017, n).astype(float),
        },
    )


def by_name(effects: tuple[FeatureEffect, ...]) -> dict[str, FeatureEffect]:
    return {e.feature: e for e in effects}


def effect_of(x: Any, y: Any, units: Any, **options: Any) -> tuple[FeatureEffect, ...]:
    names = tuple(str(j) for j in range(x.shape[1]))
    labels = Labels(y, tuple(f"g{i}" for i in range(int(y.max()) + 1)), units)
    found = by_name(feature_effects(x, labels, names=names, families=names, **options))
    return tuple(found[name] for name in names)


# --- the statistics --------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([1, 3, 1000]))
@settings(max_examples=40, deadline=None)
def test_kruskal_is_that_of_scipy(seed: int, k: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2 * k + 2, 80))
    y = rng.permutation(np.arange(n) % (k + 1)).astype(np.int64)
    x = np.round(rng.random((n, 1)) * levels)
    x[rng.random(n) < 0.1] = np.nan
    (e,) = effect_of(x, y, np.arange(n), n_boot=0)
    known = np.isfinite(x[:, 0])
    parts = [x[known & (y == g), 0] for g in np.unique(y[known])]
    if len(parts) < 2 or len(np.unique(x[known])) < 2:
        assert np.isnan(e.h)
        return
    wanted = stats.kruskal(*parts)
    assert e.h == pytest.approx(wanted.statistic, rel=1e-9, abs=1e-9)
    assert e.p == pytest.approx(wanted.pvalue, rel=1e-6)
    assert e.epsilon_squared == pytest.approx(e.h / (known.sum() - 1))


@given(st.integers(0, 2**32 - 1), st.floats(-1e4, 1e4))
@settings(max_examples=40, deadline=None)
def test_eta_squared_is_the_share_of_variance_between_genres(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 60)
    x = rng.normal(size=(60, 1)) + y[:, None] * rng.random() + shift
    x[rng.random(60) < 0.2] = np.nan
    (e,) = effect_of(x, y, rng.integers(0, 15, 60) * 3 + y, n_boot=0)
    v, g = x[np.isfinite(x[:, 0]), 0], y[np.isfinite(x[:, 0])]
    between = sum((g == i).sum() * (v[g == i].mean() - v.mean()) ** 2 for i in np.unique(g))
    assert e.eta_squared == pytest.approx(between / ((v - v.mean()) ** 2).sum(), abs=1e-9)
    assert (e.n, e.n_missing) == (len(v), 60 - len(v))


def test_holm_is_that_of_the_definition() -> None:
    p = np.array([0.001, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.004, np.nan, 0.06, 0.06, 0.015])


def test_intervals_cover_the_true_effect_only_when_artists_are_resampled() -> None:
    rng = np.random.default_rng(3)
    artists, each, d = 150, 6, 300
    y = np.repeat(np.arange(artists) % 3, each)
    units = np.repeat(np.arange(artists), each)
    x = (
        np.array([0.0, 0.6, 1.2])[y][:, None]
        + rng.normal(size=(artists, d))[units]
        + 0.5 * rng.normal(size=(len(y), d))
    )
    true = 0.24 / (0.24 + 1.25)  # variance of the three means, of artists and of tracks

    def covered(units: Any) -> float:
        found = effect_of(x, y, units, n_boot=300)
        return float(np.mean([e.eta_low <= true <= e.eta_high for e in found]))

    assert covered(units) > 0.88
    assert covered(np.arange(len(y))) < 0.75


def test_a_feature_of_the_artist_is_no_finding_by_artist() -> None:
    """By track, what belongs to artists looks like the genre; by artist it does not."""
    wrong_by_track = wrong_by_artist = 0
    for seed in range(20):
        e = by_name(analyse(table(artists=30, seed=seed)).effects)["studio"]
        wrong_by_track += e.p < 0.01
        wrong_by_artist += e.artist_p < 0.01
    assert wrong_by_track >= 15
    assert wrong_by_artist <= 2


def test_artist_figures_are_those_of_artist_means() -> None:
    data = table()
    found = by_name(analyse(data).effects)["speechiness"]
    names = np.unique(data.groups)
    means = np.array([data.x[data.groups == a, 0].mean() for a in names])
    genre = np.array([data.y[data.groups == a][0] for a in names])
    wanted = stats.kruskal(*(means[genre == g] for g in range(3)))
    assert found.artist_p == pytest.approx(wanted.pvalue, rel=1e-4)
    assert found.n_artists == len(names)


# --- the analysis of a table -----------------------------------------------


def test_ranks_effects_and_counts() -> None:
    data = table()
    a = analyse(data)
    assert {a.effects[0].feature, a.effects[1].feature} == {"speechiness", "copy"}
    sizes = [e.eta_squared for e in a.effects]
    assert sizes == sorted(sizes, reverse=True)
    assert a.effects[0].eta_low <= sizes[0] <= a.effects[0].eta_high
    assert sum(a.balance.values()) == a.n == 600
    assert a.group_effects["a"].max == sizes[0]
    assert next(iter(a.group_effects)) == "a"
    top = a.largest_groups["Folk"]
    assert top.n == max(np.unique(data.groups[data.y == 0], return_counts=True)[1])
    assert {e.feature for e in a.extra_effects} == {"listens", "year"}
    json.dumps(a.to_dict(), allow_nan=False)


def test_same_every_time() -> None:
    assert analyse(table()).to_dict() == analyse(table()).to_dict()


def test_says_that_missing_depends_on_genre() -> None:
    a = analyse(table())
    gone = a.missing["noise.5"]
    (pattern,) = a.missing_patterns
    assert pattern.n == gone == int(np.isnan(table().x[:, 5]).sum())
    assert pattern.by_genre["Hip-Hop"] > 0.4
    assert pattern.by_genre["Rock"] == 0
    assert any("noise.5 is missing depends on the genre" in s for s in a.sentences)


def test_without_artists_no_fair_p_is_claimed() -> None:
    a = analyse(table(known_artists=False))
    assert not a.largest_groups
    assert np.isnan(a.effects[0].artist_p)
    assert a.to_dict()["effects"][0]["artist_p"] is None
    assert any("does not say which tracks share an artist" in s for s in a.sentences)


def test_sentences_give_the_figures() -> None:
    a = analyse(table())
    best = a.effects[0]
    line = next(s for s in a.sentences if "tells genres apart best" in s)
    assert f"{best.eta_squared:.2f} ({best.eta_low:.2f} to {best.eta_high:.2f})" in line
    assert "highest for Rock" in line
    assert "lowest for Folk" in line
    assert "order is not certain" in " ".join(a.sentences)
    assert describe(a) == a.sentences


def test_groups_of_other_kinds_are_named_in_the_plural() -> None:
    a = analyse(dataclasses.replace(table(), group_name="artist or run of ids"))
    text = " ".join(a.sentences)
    assert "artists or runs of ids" in text
    assert "idss" not in text


def test_years_are_years_and_medians_of_a_handful_no_finding() -> None:
    data = table()
    year = data.extras["year"].copy()
    year[data.y == 0] = np.nan
    year[np.flatnonzero(data.y == 0)[:5]] = 1900.0
    a = analyse(dataclasses.replace(data, extras={"year": year}))
    line = next(s for s in a.sentences if s.startswith("Year"))
    assert "1900" not in line
    assert "(20" in line or "(19" in line


def test_distributions_of_features_that_differ() -> None:
    data = table(d=20)
    a = analyse(data, n_distributions=4)
    shown = [q.feature for q in a.distributions]
    assert shown[0] in {"speechiness", "copy"}
    assert len({"speechiness", "copy"} & set(shown)) == 1  # not both: they are near-copies
    assert len(shown) == 4 + 2
    assert len(analyse(table()).distributions) == 6 + 2  # few features: each is shown


def test_densities() -> None:
    found = {q.feature: q for q in analyse(table(n=2000)).distributions}
    for q in found.values():
        assert list(q.median.values()) == sorted(q.median.values())
        assert list(q.density) == list(q.median)
        axis = np.log10(q.grid) if q.log else q.grid
        for genre, curve in q.density.items():
            assert np.trapezoid(curve, axis) == pytest.approx(1.0, abs=0.06)
            low, high = q.quartiles[genre]
            assert low <= q.median[genre] <= high
    assert found["listens"].log
    assert "values of 0" in found["listens"].note
    assert not found["year"].log
    q = found["speechiness"]
    own = table(n=2000).x[table(n=2000).y == 2, 0]
    wanted = stats.gaussian_kde(own, "silverman")(q.grid)
    assert np.abs(q.density["Rock"] - wanted).max() < 0.15 * wanted.max()


def test_shares_do_not_leak_beyond_their_ends() -> None:
    data = table(n=900)
    data.x[:, 3] = np.random.default_rng(0).random(900).astype(np.float32)
    q = next(q for q in analyse(data).distributions if q.feature == "noise.3")
    assert q.grid[0] >= 0
    assert q.grid[-1] <= 1
    for curve in q.density.values():  # uniform up to the edge
        assert curve[0] == pytest.approx(1.0, abs=0.35)
        assert curve[-1] == pytest.approx(1.0, abs=0.35)


def test_a_genre_of_two_tracks_and_a_feature_with_one_value() -> None:
    data = table(n=60)
    data.y[:] = np.where(np.arange(60) < 2, 2, np.arange(60) % 2)
    data.x[1:, 3] = np.nan
    a = analyse(data)
    assert a.balance["Rock"] == 2
    assert np.isnan(by_name(a.effects)["noise.3"].eta_squared)
    assert a.effects[-1].feature == "noise.3"
    assert (a.distributions[0].density["Rock"] == 0).all()
    json.dumps(a.to_dict(), allow_nan=False)


def test_correlation_is_spearman_on_common_rows() -> None:
    x = table().x
    found = spearman(x)
    for i in range(6):
        for j in range(i):
            both = np.isfinite(x[:, i]) & np.isfinite(x[:, j])
            wanted = stats.spearmanr(x[both, i], x[both, j]).statistic
            assert found[i, j] == pytest.approx(wanted, abs=1e-6)
    c = analyse(table()).correlation
    at = c.features.index("speechiness")
    assert abs(at - c.features.index("copy")) == 1  # alike, so neighbours
    np.testing.assert_allclose(np.diag(c.matrix), 1.0)


def test_refuses_an_empty_table() -> None:
    with pytest.raises(DataError, match="0 tracks"):
        analyse(table().where(np.zeros(600, dtype=bool)))


@pytest.mark.data
def test_echonest_energy_leads(data_dir: Path) -> None:
    from genrescope.learn.lab.datasets import load_dataset

    data = load_dataset("fma-echonest", data_dir / "fma")
    started = time.process_time()
    a = analyse(data)
    assert time.process_time() - started < 5
    assert a.effects[0].feature == "energy"
    assert 0.25 < a.effects[0].eta_low < a.effects[0].eta_high < 0.36
    speech = by_name(a.effects)["speechiness"].medians
    assert max(speech, key=lambda g: speech[g] if a.balance[g] >= 50 else 0) == "Hip-Hop"
    unit = {q.feature: q.unit for q in a.distributions}
    assert unit["tempo"] == "BPM"
