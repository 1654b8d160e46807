"""The parts of the shipped recogniser: trained where the data allows, left out where not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from genrescope.learn.bundle import Bundle
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.parts.base import Part
from genrescope.learn.recogniser import Recogniser
from genrescope.learn.train import companions
from genrescope.learn.train import familiarity as familiarity_training
from genrescope.learn.train.recipe import Run
from tests.learn.small_data import make_prepared
from tests.learn.train.test_recipe import QUICK

pytestmark = pytest.mark.usefixtures("one_thread")


def train(folder: Path) -> tuple[companions.Companions, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    run = Run(
        folder / "out",
        recipe=QUICK,
        data=folder / "data",
        report=lambda event, details: told.append({"event": event, **details}),
    )
    rng = np.random.default_rng(0)
    log_p = 2.0 * np.eye(len(run.genres))[run.y] + rng.normal(size=(len(run.y), len(run.genres)))
    shipped = cross_cooled(log_p, run.y, run.folds)[0]
    return companions.train_companions(run, run.features(), log_p, shipped), told


def test_tables_that_say_nothing_give_no_parts_and_say_why(tmp_path: Path) -> None:
    make_prepared(tmp_path / "data", n_artists=24, tracks_each=2)
    found, told = train(tmp_path)
    assert found.parts == {}
    notes = " ".join(one["text"] for one in told if one["event"] == "note")
    for words in ("no part for text", "no part for the tree", "too few"):
        assert words in notes


def test_what_is_no_music_is_learnt_where_there_is_enough_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_prepared(tmp_path / "data", n_artists=24, tracks_each=2)
    monkeypatch.setattr(companions, "_MIN_TRACKS", 10)
    quick = partial(familiarity_training.make_sounds, each=1, seconds=4.0)
    monkeypatch.setattr(familiarity_training, "make_sounds", quick)
    found, told = train(tmp_path)
    assert set(found.parts) == set(found.metrics) == {"familiar"}
    assert Part.of("familiar", found.parts["familiar"]).n_bytes == told[-1]["bytes"]


def test_the_shipped_bundle_has_all_parts_and_uses_them() -> None:
    bundle = Bundle.load()
    assert set(bundle.parts) == {"text", "tree", "familiar", "known"}
    metrics = bundle.card["metrics"]["parts"]
    assert metrics["text"]["everything known"]["accuracy"] >= 0.59
    assert metrics["tree"]["above_parent"] == 0
    assert metrics["known"]["same_genre_5"]["share"] > 0.45
    files = [path for path in bundle.folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    hum = 0.3 * np.sin(2 * np.pi * 50 * np.arange(30 * 22_050) / 22_050).astype(np.float32)
    heard = Recogniser(bundle).predict(hum, sr=22_050)
    assert heard.genre is None
    assert heard.confidence > 0.58  # probable, and yet not sure
    assert heard.reason == "nothing above 4.2 kHz"
    assert heard.branches
    assert len(heard.similar) == 5
    assert heard.position is not None
