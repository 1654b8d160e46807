"""The page that says why, the sound of what spoke for a genre, and the words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from genrescope.errors import DataError
from genrescope.explain.why.figures import overlay
from genrescope.explain.why.listening import best_cells, masked
from genrescope.explain.why.page import write_why
from genrescope.explain.why.reasons import Why, explain_track, shuffled, sounds_of
from genrescope.explain.why.words import in_short, is_it_true
from genrescope.learn.recogniser import Recogniser
from tests.explain.browser import opened
from tests.explain.tracks import progression

SR = 22_050


@pytest.fixture(scope="module")
def why(tmp_path_factory: pytest.TempPathFactory) -> Why:
    path = tmp_path_factory.mktemp("why") / "so <b>ng.wav"
    sf.write(path, np.resize(progression(), 6 * SR), SR)
    return explain_track(Recogniser.load(), path, draws=60)


def test_the_best_genre_is_explained_unless_another_is_named(why: Why) -> None:
    assert why.genre == why.verdict.best
    assert why.probability == pytest.approx(why.verdict.probabilities[why.genre], abs=0.02)
    assert why.occlusion.cells.shape == why.heard.shape == why.kept.shape
    other = explain_track(Recogniser.load(), why.excerpt.path, genre="Folk", draws=20)
    assert other.genre == "Folk"
    with pytest.raises(DataError, match="does not know 'Polka'"):
        explain_track(Recogniser.load(), why.excerpt.path, genre="Polka")


def test_a_shuffled_recogniser_answers_otherwise(why: Why) -> None:
    bundle = Recogniser.load().bundle
    other = shuffled(bundle)
    assert other is not None
    row = why.heard.rows(np.ones((1, *why.heard.shape), bool))[:, None]
    assert np.abs(bundle.run(row)[0] - other.run(row)[0]).max() > 0.1
    assert why.chance is not None
    assert abs(why.chance) < 0.9


def test_a_sound_of_which_all_is_kept_is_the_same() -> None:
    y = np.random.default_rng(0).normal(scale=0.1, size=(30_011, 2)).astype(np.float32)
    edges = {"band_edges": np.array([0.0, 1000, 15_000]), "time_edges": np.array([0.0, 0.3, 0.7])}
    whole = masked(y, np.ones((2, 2), bool), sr=44_100, **edges)
    np.testing.assert_allclose(whole, y, atol=1e-5)


def test_only_what_is_kept_is_heard() -> None:
    t = np.arange(44_100 * 2) / 44_100
    low, high = np.sin(2 * np.pi * 200 * t), np.sin(2 * np.pi * 5000 * t)
    y = (0.3 * (low + high)).astype(np.float32)[:, None]
    edges = {"band_edges": np.array([0.0, 1000, 15_000]), "time_edges": np.array([0.0, 1.0, 2.0])}
    kept = np.array([[True, False], [False, True]])  # low first, high then
    out = masked(y, kept, sr=44_100, **edges)[:, 0]
    for part, tone in ((slice(4410, 30_000), low), (slice(60_000, 84_000), high)):
        np.testing.assert_allclose(out[part], 0.3 * tone[part], atol=0.01)


def test_best_cells_hold_the_share_and_none_that_speaks_against() -> None:
    cells = np.random.default_rng(1).normal(size=(6, 9))
    best = best_cells(cells, share=0.8)
    total = cells[cells > 0].sum()
    assert cells[best].sum() >= 0.8 * total
    assert cells[best].min() > 0
    assert cells[best].sum() - cells[best].min() < 0.8 * total
    assert not best_cells(-np.ones((2, 2))).any()


def test_what_spoke_for_is_blue_and_what_spoke_against_is_orange() -> None:
    colours = overlay(np.full((2, 4), 0.5), np.array([[1.0, -1.0]]))
    assert (colours[:, :2, 2] > colours[:, :2, 0]).all()
    assert (colours[:, 2:, 0] > colours[:, 2:, 2]).all()


def test_the_sound_is_shorter_in_energy_but_not_in_time(why: Why) -> None:
    left = sounds_of(why)
    assert left.played.shape == why.excerpt.played.shape
    assert np.abs(left.played).max() <= 1.0
    assert (left.played**2).sum() < (why.excerpt.played**2).sum()


def test_the_page_holds_everything(why: Why, tmp_path: Path) -> None:
    paths = write_why(why, tmp_path / "page", command="genrescope explain song.wav")
    page = paths.index.read_text("utf-8")
    assert page.count("<audio") == 2
    assert page.count("<svg") == 3
    assert "so <b>ng" not in page
    assert "genrescope explain song.wav" in page
    facts = json.loads(paths.facts.read_text("utf-8"))
    assert facts["genre"] == why.genre
    assert np.shape(facts["occlusion"]["cells"]) == why.heard.shape
    assert {path.suffix for path in paths.figures} == {".svg", ".png"}
    for sentence in (*in_short(why), *is_it_true(why)):
        assert sentence.endswith(".")
        assert not re.search(r"nan|  ", sentence)
    assert "by its sound" not in in_short(why)[0]
    titled = replace(why, verdict=replace(why.verdict, sources=("sound", "title", "artist")))
    assert "by its sound, without title and artist" in in_short(titled)[0]
    again = write_why(why, tmp_path / "page", sound=False)  # over its own
    assert "<audio" not in again.index.read_text("utf-8")


def test_the_page_works_in_a_browser(why: Why, tmp_path: Path) -> None:
    paths = write_why(why, tmp_path / "page")
    with opened(paths.index, width=390, theme="dark") as seen:
        assert seen.page.evaluate("document.body.dataset.ready") == "true"
        assert seen.overflow <= 0
        seen.page.click("#fig-map .pane")
        assert seen.page.evaluate("document.querySelector('audio').currentTime") > 0
        assert not seen.errors
        assert not [r for r in seen.requests if not r.startswith(("file:", "data:"))]


def test_a_page_of_somebody_else_stays(why: Why, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(DataError, match="not a page of this command"):
        write_why(why, tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_recogniser_in_its_run_is_looked_into(why: Why, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from genrescope.explain.why.network import maps_of, run_of
    from genrescope.learn.deep.architectures import FRAMES_SHAPE, build, find
    from genrescope.learn.deep.state import write_tensors

    torch.manual_seed(0)
    genres = list(why.verdict.probabilities)
    for name in ("naive-cnn", "frame-net"):
        run = tmp_path / name
        (run / "bundle").mkdir(parents=True)
        assert run_of(run / "bundle") is None
        record = {"kind": "network", "model": name, "options": {}, "genres": genres}
        (run / "run.json").write_text(json.dumps(record))
        net = build(find(name).at(FRAMES_SHAPE), n_genres=len(genres))
        write_tensors(run / "fold-0" / "weights.safetensors", net.state_dict(), {})
        assert run_of(run / "bundle") == run
        found = maps_of(run, why.heard, why.genre, steps=32)
        assert found.integrated.shape == why.heard.db.shape
        assert (found.cam is None) == (name == "frame-net")
        paths = write_why(replace(why, network=found), tmp_path / f"{name}-page", sound=False)
        assert "Inside the network" in paths.index.read_text("utf-8")
        facts = json.loads(paths.facts.read_text("utf-8"))
        assert facts["network"]["network"].startswith(name)
