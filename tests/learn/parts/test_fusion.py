"""Sound and metadata together: training, the part, any subset of sources, no sound at all."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from genrescope.catalog.splits import group_folds
from genrescope.errors import BundleError, DataError, TrainingError
from genrescope.learn.bundle import write_bundle
from genrescope.learn.parts.about import NUMBERS, About, table_abouts
from genrescope.learn.parts.base import NewPart, Part
from genrescope.learn.parts.fusion import Combination, MetadataHead, NumberScale, predict_table
from genrescope.learn.parts.text_features import TextSettings, count_rows, sparse_rows
from genrescope.learn.train.fusion import (
    FusionRecipe,
    FusionTracks,
    FusionTraining,
    answer_out_of_fold,
    stack,
    text_part,
)
from genrescope.learn.train.fusion_graph import LinearSource, build_text_graph
from genrescope.learn.train.namesakes import namesakes
from tests.learn.tinybundle import make_card, make_graph

GENRES = ("Folk", "Hip-Hop", "Rock")
WORDS = (("river", "lament", "hills"), ("skit", "cypher", "flow"), ("riot", "engine", "teeth"))
SMALL = FusionRecipe(
    sources=("title", "artist", "numbers"), text=TextSettings(bits=9), target_accuracy=0.6
)


def world(n: int = 420, seed: int = 0) -> tuple[list[About], np.ndarray, np.ndarray, np.ndarray]:
    """Tracks whose titles, artists, numbers and sound each tell a part of the genre."""
    rng = np.random.default_rng(seed)
    artist = np.repeat(np.arange(n // 3), 3)
    y = rng.integers(0, 3, n // 3)[artist]
    abouts = []
    for i in range(n):
        told = y[i] if rng.random() < 0.7 else rng.integers(3)
        title = " ".join(rng.choice(WORDS[told], 2)) if rng.random() < 0.9 else None
        name = f"{('Old', 'MC', 'The')[y[i]]} {artist[i] * 7919 % 100_000:05d}"
        tempo = 80 + 20 * y[i] + 15 * rng.normal() if rng.random() < 0.6 else None
        echonest = None if tempo is None else {"tempo": tempo}
        abouts.append(About(title=title, artist=name, echonest=echonest))
    logits = rng.normal(size=(n, 3)) + 1.2 * np.eye(3)[y]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return abouts, y, artist, log_p


def tracks_of(n: int = 420, **changes: Any) -> FusionTracks:
    abouts, y, artist, log_p = world(n)
    folds = group_folds(y, artist, n_folds=3)
    said = {"abouts": abouts, "y": y, "folds": folds, "log_p": log_p, "genres": GENRES}
    return FusionTracks(**{**said, "artists": artist.astype(str), **changes})


@pytest.fixture(scope="module")
def trained() -> FusionTraining:
    return text_part(tracks_of(), recipe=SMALL)


@pytest.fixture(scope="module")
def head(trained: FusionTraining) -> MetadataHead:
    return MetadataHead(Part.of("text", trained.part), GENRES)


def accuracy(p: np.ndarray, y: np.ndarray) -> float:
    ok = np.isfinite(p[:, 0])
    return float((p[ok].argmax(1) == y[ok]).mean())


# --- training --------------------------------------------------------------


def test_every_source_helps_on_unseen_artists(trained: FusionTraining) -> None:
    _, y, _, _ = world()
    alone = accuracy(trained.sound, y)
    for source in ("title", "artist", "numbers"):
        p = trained.by_combination["sound", source]
        ok = np.isfinite(p[:, 0])
        assert accuracy(p, y) > accuracy(trained.sound[ok], y[ok]) + 0.03
        assert accuracy(trained.by_combination[(source,)], y) > 0.45
    assert accuracy(trained.probabilities, y) > alone + 0.1
    np.testing.assert_allclose(trained.probabilities.sum(1), 1)
    known = np.isfinite(trained.by_combination["sound", "title"][:, 0])
    assert known.sum() == trained.answers["title"].known.sum() < len(y)


def test_the_part_is_the_same_every_time(trained: FusionTraining) -> None:
    again = text_part(tracks_of(), recipe=SMALL)
    assert again.part.graph == trained.part.graph
    assert again.part.settings == trained.part.settings


def test_only_the_temperature_of_the_sound_may_differ(trained: FusionTraining) -> None:
    hot = text_part(tracks_of(log_p=2 * tracks_of().log_p), recipe=SMALL)
    np.testing.assert_allclose(hot.probabilities, trained.probabilities, atol=2e-3)


def test_a_source_of_noise_gets_no_weight() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    good = np.log(np.clip(np.eye(3)[y] * 0.6 + 0.2 * rng.dirichlet(np.ones(3), 600) + 0.05, 0, 1))
    noise = np.log(rng.dirichlet(np.ones(3), 600) + 1e-6)
    combination, p = stack({"sound": good, "title": noise}, y, np.arange(600) % 4)
    assert combination.weights["title"] < 0.05
    assert p.shape == (600, 3)


def test_namesakes_teach_nothing() -> None:
    """One artist under two ids, in two folds: the name must not be learnt by heart."""
    rng = np.random.default_rng(1)
    n = 400
    names = [f"{''.join(rng.choice(list('abcdefghij'), 9))}" for _ in range(n // 2)]
    abouts = [About(artist=name) for name in names] + [
        About(artist=f"{name} and friends") for name in names
    ]
    y = np.tile(rng.integers(0, 3, n // 2), 2)
    tracks = FusionTracks(
        abouts=abouts,
        y=y,
        folds=np.repeat([0, 1], n // 2),
        log_p=np.zeros((n, 3)),
        genres=GENRES,
        artists=np.arange(n).astype(str),
    )
    answers = answer_out_of_fold("artist", tracks, recipe=SMALL)
    # Nothing is left to learn from, since every artist has a namesake in the other fold.
    assert answers is None
    half = [*abouts[: n // 2], *(About(artist=f"x{i} y") for i in range(n // 2))]
    answers = answer_out_of_fold("artist", replace(tracks, abouts=half), recipe=SMALL)
    assert answers is not None


def test_who_is_a_namesake() -> None:
    found = namesakes(["A Band", "Kurt Vile", "KURT VÍLE & the Violators", "A Band Apart", "Vile"])
    assert found.tolist() == [0, 1, 1, 0, 2]
    assert namesakes(["The", "The Beginning"]).tolist() == [0, 1]  # three letters tell nothing


def test_what_cannot_be_trained() -> None:
    with pytest.raises(TrainingError, match="nothing to learn from"):
        text_part(tracks_of(60, abouts=[About()] * 60))
    with pytest.raises(DataError, match="they have to fit"):
        tracks_of(60, abouts=[About()] * 59)
    with pytest.raises(DataError, match="in two folds"):
        tracks_of(60, folds=np.arange(60) % 3)


def test_graph_and_model_agree() -> None:
    rng = np.random.default_rng(0)
    text = TextSettings(bits=8)
    titles = ["Food", "", "Ночь 2", "a b c d"]
    idf = (1 + rng.random(256)).astype(np.float32)
    source = LinearSource(idf, rng.normal(size=(256, 3)).astype(np.float32), rng.normal(size=3))
    plain = LinearSource(None, rng.normal(size=(4, 3)).astype(np.float32), np.zeros(3))
    graph = build_text_graph({"title": source, "numbers": plain})
    numbers = rng.normal(size=(4, 4)).astype(np.float32)
    out = Part.of("text", NewPart(graph, {})).run(
        {"title": count_rows(titles, text), "numbers": numbers}
    )
    rows = sparse.csr_matrix(sparse_rows(titles, text), shape=(4, 256))
    np.testing.assert_allclose(out["title_log_p"], source.log_probabilities(rows), atol=5e-3)
    expected = plain.log_probabilities(sparse.csr_matrix(numbers))
    np.testing.assert_allclose(out["numbers_log_p"], expected, atol=5e-3)


def test_numbers_that_are_missing() -> None:
    values = np.full((61, len(NUMBERS)), np.nan)
    values[:60, 0] = np.tile([1990, 2010], 30)
    values[0, 1] = 5.0  # known of one track only: not read
    scale = NumberScale.fit(values)
    rows = scale(values)
    assert rows.shape == (61, 3 * len(NUMBERS))
    np.testing.assert_allclose(rows[[0, 1, 60], 0], [-1, 1, 0])
    np.testing.assert_allclose(rows[[0, 1, 60], 2 * len(NUMBERS)], [1, 1, 0])
    assert not rows[60].any()
    assert scale.known(values).sum() == 60
    assert np.isfinite(scale(np.full((1, len(NUMBERS)), 1e300))).all()


# --- prediction ------------------------------------------------------------

texts = st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["riot engine", "Techno", "MC"]))
sounds = st.one_of(
    st.none(),
    st.lists(st.floats(0, 1), min_size=3, max_size=3)
    .filter(lambda p: sum(p) > 0.01)
    .map(lambda p: np.array(p) / sum(p)),
)


@settings(max_examples=150, deadline=None)
@given(
    sounds,
    st.builds(
        About,
        title=texts,
        artist=texts,
        album=texts,
        date=texts,
        duration=st.one_of(st.none(), st.floats()),
        tags=texts,
        biography=texts,
        echonest=st.one_of(st.none(), st.just({"tempo": 120.0})),
    ),
)
def test_any_subset_of_sources_answers(
    head: MetadataHead, sound: np.ndarray | None, about: About
) -> None:
    p, sources = head.fuse(sound, about)
    assert p.shape == (3,)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert p.sum() == pytest.approx(1)
    assert ("sound" in sources) == (sound is not None)
    assert set(sources) - {"sound"} == set(head.known(about))
    if sources == ("sound",):
        np.testing.assert_array_equal(p, sound)
    else:
        threshold, quantile = head.decision(sources)
        assert threshold is None or 0 <= threshold <= 1
        assert 0 <= quantile <= 1


def test_text_moves_the_answer(head: MetadataHead) -> None:
    even = np.full(3, 1 / 3)
    p, sources = head.fuse(even, About(title="riot engine", artist="The 00001"))
    assert sources == ("sound", "title", "artist")
    assert p.argmax() == 2
    alone, sources = head.fuse(None, About(title="skit cypher"))
    assert sources == ("title",)
    assert alone.argmax() == 1
    nothing, sources = head.fuse(None, About(title="Techno"))
    assert sources == ()
    np.testing.assert_allclose(nothing, head.part.settings["prior"])
    assert head.decision(()) == (None, 1.0)


def test_many_are_the_same_as_one_by_one(head: MetadataHead) -> None:
    abouts, _, _, log_p = world(300, seed=3)
    together, sources = head.fuse_many(np.exp(log_p), abouts)
    for i in (0, 1, 127, 128, 299):
        p, used = head.fuse(np.exp(log_p[i]), abouts[i])
        np.testing.assert_allclose(p, together[i], atol=1e-6)
        assert used == sources[i]


def test_fitted_weights_are_those_of_prediction(
    trained: FusionTraining, head: MetadataHead
) -> None:
    """What ships, asked about its own training tracks, is near what out-of-fold weights gave."""
    abouts, y, _, _ = world()
    p, _ = head.fuse_many(trained.sound, abouts)
    assert accuracy(p, y) >= accuracy(trained.probabilities, y) - 0.02


def test_combinations_that_were_not_fitted_fall_back(trained: FusionTraining) -> None:
    said = dict(trained.part.settings)
    said["combinations"] = [
        c for c in said["combinations"] if len(c["sources"]) == 2 and "sound" in c["sources"]
    ]
    head = MetadataHead(Part.of("text", NewPart(trained.part.graph, said)), GENRES)
    about = About(title="riot engine", artist="The 1")
    assert head.fuse(np.full(3, 1 / 3), about)[1] == ("sound", "title")
    assert head.fuse(None, about)[1] == ()
    with pytest.raises(DataError, match="no decision was fitted for title"):
        head.decision(("title",))


def test_wrong_sounds_are_refused(head: MetadataHead) -> None:
    for sound in ([0.5, 0.5], [0.5, 0.5, 0.5], [np.nan, 0.5, 0.5], [-0.5, 0.5, 1.0]):
        with pytest.raises(DataError, match="expected 3 probabilities"):
            head.fuse(sound, About(title="x"))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"version": 2},
        {"genres": ["a", "b", "c"]},
        {"sources": []},
        {"sources": ["smell"]},
        {"prior": [1.0]},
        {"numbers": {"names": ["x"], "mean": [0], "scale": [1]}},
        {"combinations": [{"sources": ["title"]}]},
        {"text": {}},
    ],
)
def test_wrong_parts_are_refused(trained: FusionTraining, change: dict) -> None:
    part = Part.of("text", NewPart(trained.part.graph, {**trained.part.settings, **change}))
    with pytest.raises(BundleError):
        MetadataHead(part, GENRES)


@pytest.mark.parametrize(
    "change", [{"temperature": 0}, {"temperature": float("nan")}, {"quantile": 2}]
)
def test_impossible_numbers(change: dict) -> None:
    good = Combination({"sound": 1.0, "title": 0.5}, 1.0, 0.5, 0.9)
    assert Combination.from_dict(good.to_dict()) == good
    with pytest.raises(ValueError):
        Combination.from_dict({**good.to_dict(), **change})


# --- tables without sound --------------------------------------------------


def test_tables_without_sound(tmp_path: Path, trained: FusionTraining) -> None:
    card = make_card(n_features=4, genres=GENRES)
    graph = make_graph(n_features=4, n_genres=3)
    bundle = write_bundle(tmp_path / "b", graph=graph, card=card, parts={"text": trained.part})
    rows = [
        {"Title": "riot engine", "artist_name": "The 1", "duration": "3:00"},
        {"title": "", "artist": None},
        About(title="skit cypher"),
    ]
    rock, nothing, hiphop = predict_table(rows, bundle)
    assert (rock.best, rock.sources, rock.duration) == ("Rock", ("title", "artist"), 180.0)
    assert (rock.title, rock.artist, rock.timeline) == ("riot engine", "The 1", ())
    assert hiphop.best == "Hip-Hop"
    assert nothing.sources == ()
    assert not nothing.sure
    assert len(nothing.plausible) == 3
    assert pickle.loads(pickle.dumps(rock)) == rock
    bare = write_bundle(tmp_path / "c", graph=graph, card=card)
    with pytest.raises(BundleError, match="trained on sound alone"):
        predict_table(rows, bare)


# --- real titles -----------------------------------------------------------


@pytest.mark.data
def test_real_titles_help(data_dir: Path) -> None:
    """Titles of real artists that were not met say something of the genre, genre words masked."""
    import csv

    table = data_dir / "fma" / "small_tracks.csv"
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::2]
    abouts = table_abouts(table, [int(row["track_id"]) for row in rows])
    genres, y = np.unique([row["genre_top"] for row in rows], return_inverse=True)
    artists = np.array([row["artist_id"] for row in rows])
    folds = group_folds(y, artists, n_folds=3)
    recipe = FusionRecipe(text=TextSettings(bits=12))
    tracks = FusionTracks(
        abouts=abouts,
        y=y,
        folds=folds,
        log_p=np.zeros((len(y), len(genres))),
        genres=tuple(genres.tolist()),
        artists=artists,
    )
    found = answer_out_of_fold("title", tracks, recipe=recipe)
    assert found is not None
    assert found.known.mean() > 0.98
    assert (found.log_p.argmax(1) == y).mean() > 0.2  # chance is 0.125
