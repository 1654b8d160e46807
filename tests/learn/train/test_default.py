"""The whole recipe on small data: the bundle it writes, and that its figures are honest."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import TrainingError
from genrescope.learn.bundle import Bundle, write_bundle
from genrescope.learn.calibrate import (
    abstention_threshold,
    conformal_quantile,
    fit_temperature,
    prediction_set,
)
from genrescope.learn.card import check_card
from genrescope.learn.evaluate import score
from genrescope.learn.train.default import train_default
from genrescope.learn.train.recipe import Run, train_members
from tests.learn.small_data import GENRES, edit_tracks, make_prepared
from tests.learn.train.test_recipe import QUICK

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = replace(
    QUICK,
    target_accuracy=0.9,
    conformal_level=0.8,
    net=replace(QUICK.net, epochs=10),
    frame_net=replace(QUICK.frame_net, epochs=3),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    """A folder with ``data`` and the run ``out``, and the bundle."""
    folder = tmp_path_factory.mktemp("trained")
    make_prepared(folder / "data", n_artists=28, tracks_each=3)
    edit_tracks(folder / "data", genre_top={0: ""})
    told: list[str] = []
    bundle = train_default(
        folder / "data",
        folder / "out",
        recipe=RECIPE,
        command="genrescope train default --epochs 10",
        report=lambda event, details: told.append(event),
    )
    assert set(told) == {"start", "step", "epoch", "fold", "note", "done"}
    return folder, bundle


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# --- the card --------------------------------------------------------------


def test_the_bundle_loads_and_knows_what_it_was_trained_on(
    trained: tuple[Path, Bundle],
) -> None:
    folder, bundle = trained
    assert bundle.folder == folder / "out" / "bundle"
    card = Bundle.load(bundle.folder).card
    check_card(card, where="card")
    assert card["genres"] == list(GENRES)
    assert card["front_end"] == json.loads(json.dumps(frames.FRONT_END))
    data = load_prepared(folder / "data")
    training = card["training"]
    assert training["tracks"] == 83  # the one without a genre was not learnt
    assert training["artists"] == 28
    assert sorted(training["track_ids"]) == sorted(data.track_id[data.genre_top != ""].tolist())
    assert training["command"] == "genrescope train default --epochs 10"
    assert training["recipe"]["net"]["epochs"] == 10
    assert training["seed"] == 0
    assert {"numpy", "torch", "lightgbm", "scikit-learn"} <= set(training["packages"])
    assert training["teacher"].startswith("VGGish")
    assert "FMA" not in training["data"]  # these tracks are not the archive's
    assert card["licence"] == "not stated"


def test_it_answers_and_is_small(trained: tuple[Path, Bundle]) -> None:
    folder, bundle = trained
    data = load_prepared(folder / "data")
    rows = frames.describe_prepared(data.mel, data.mfcc_3s)
    pooled, windows = bundle.run(rows[:, None])
    right = np.array(bundle.genres)[pooled.argmax(axis=1)] == data.genre_top
    assert right.mean() > 0.9
    np.testing.assert_allclose(windows[:, 0], pooled, atol=1e-5)
    files = [path for path in bundle.folder.iterdir() if path.is_file()]
    assert {path.name for path in files} == {"card.json", "model.onnx"}
    assert sum(path.stat().st_size for path in files) < 2 * 2**20


def test_the_figures_are_those_of_the_kept_answers(trained: tuple[Path, Bundle]) -> None:
    """All on the card can be had again from the answers on the folds."""
    folder, bundle = trained
    card, out = bundle.card, folder / "out"
    run = Run(out, recipe=RECIPE, data=folder / "data")
    assert card["training"]["recipe"] == json.loads(json.dumps(asdict(RECIPE)))

    logits = np.zeros((len(run.y), len(GENRES)))
    for k in range(2):
        with np.load(out / f"fold-{k}" / "answers.npz") as stored:
            assert set(stored.files) == {"all", "nets", "frames", "trees"}
            logits[run.folds == k] = stored["all"]
    cooled = np.zeros_like(logits)
    temperatures = [fit_temperature(logits[run.folds != k], run.y[run.folds != k]) for k in (0, 1)]
    for k in (0, 1):
        z = np.exp(logits[run.folds == k] / temperatures[k])
        cooled[run.folds == k] = z / z.sum(axis=1, keepdims=True)
    calibration = card["calibration"]
    np.testing.assert_allclose(calibration["temperatures_by_fold"], temperatures, rtol=1e-6)
    assert calibration["temperature"] == pytest.approx(fit_temperature(logits, run.y))

    abstention, conformal = card["abstention"], card["conformal"]
    scores = score(
        run.y,
        cooled,
        genres=run.genres,
        groups=run.data.artist_id,
        threshold=abstention["threshold"],
    ).to_dict()
    told = card["metrics"]["scores"]
    for key in ("accuracy", "macro_f1", "log_loss", "ece", "top3", "n", "coverage"):
        assert told[key] == pytest.approx(scores[key], abs=1e-6)
    assert told["intervals"]["accuracy"] == pytest.approx(scores["intervals"]["accuracy"])
    assert calibration["ece"] == told["ece"]
    assert told["accuracy"] > 0.6

    # What "sure" and "plausible" give, each fold by limits that had not seen it.
    sure, plausible = np.zeros(len(run.y), dtype=bool), np.zeros_like(cooled, dtype=bool)
    for k in (0, 1):
        held, rest = run.folds == k, run.folds != k
        artists = run.data.artist_id[rest]
        found = abstention_threshold(cooled[rest], run.y[rest], target_accuracy=0.9, groups=artists)
        if found.threshold is not None:
            sure[held] = cooled[held].max(axis=1) >= found.threshold
        limit = conformal_quantile(cooled[rest], run.y[rest], level=0.8, groups=artists)
        plausible[held] = prediction_set(cooled[held], limit)
    right = cooled.argmax(axis=1) == run.y
    assert abstention["target_accuracy"] == 0.9
    assert abstention["coverage"] == pytest.approx(sure.mean())
    assert abstention["accuracy_when_sure"] == (
        pytest.approx(right[sure].mean()) if sure.any() else None
    )
    assert conformal["level"] == 0.8
    assert conformal["coverage"] == pytest.approx(plausible[np.arange(len(right)), run.y].mean())
    assert conformal["mean_set_size"] == pytest.approx(plausible.sum(axis=1).mean())
    assert conformal["coverage"] > 0.7
    everything: dict[str, Any] = {"target_accuracy": 0.9, "groups": run.data.artist_id}
    limits = (
        abstention_threshold(cooled, run.y, **everything).threshold,
        conformal_quantile(cooled, run.y, level=0.8, groups=run.data.artist_id),
    )
    assert (abstention["threshold"], conformal["quantile"]) == pytest.approx(limits)


def test_the_graph_is_that_of_all_tracks_with_the_temperature_of_the_card(
    trained: tuple[Path, Bundle],
) -> None:
    folder, bundle = trained
    run = Run(folder / "out", recipe=RECIPE, data=folder / "data")
    members = train_members(run, "all", np.ones(len(run.y), dtype=bool), run.features())
    temperature = bundle.card["calibration"]["temperature"]
    assert temperature != 1.0
    graph = members.graph(RECIPE, n_genres=len(GENRES), temperature=temperature)
    assert graph == (bundle.folder / "model.onnx").read_bytes()


def test_the_table_compares_kinds_and_baselines(trained: tuple[Path, Bundle]) -> None:
    _, bundle = trained
    table = bundle.card["metrics"]["table"]
    names = [row["name"] for row in table]
    assert names[0] == "genrescope, as shipped"
    assert len(set(names)) == len(names) == 8
    for words in (
        "of an artist together",
        "statistics alone",
        "frames alone",
        "trees alone",
        "SVC",
        "ridge",
        "VGGish",
    ):
        assert sum(words in name for name in names) == 1
    assert table[0]["accuracy"] == bundle.card["metrics"]["scores"]["accuracy"]
    for row in table:
        low, high = row["intervals"]["accuracy"]
        assert low <= row["accuracy"] <= high


# --- going on --------------------------------------------------------------


def test_a_run_that_was_done_is_not_done_again(trained: tuple[Path, Bundle]) -> None:
    folder, bundle = trained
    out = shutil.copytree(folder / "out", folder / "again")
    before = len(log_of(out))
    again = train_default(folder / "data", out, recipe=RECIPE, command="genrescope train default")
    assert (again.folder / "model.onnx").read_bytes() == (bundle.folder / "model.onnx").read_bytes()
    assert again.card["metrics"] == bundle.card["metrics"]
    log = log_of(out)[before:]
    done = {line["name"] for line in log if line["event"] == "step"}
    assert done == {"features/view-0", "features/view-1"}
    kept = [line["name"] for line in log if line["event"] == "kept"]
    assert {"fold-0/answers", "fold-1/answers", "all/net-0", "all/trees"} <= set(kept)


def test_a_device_is_refused_before_anything_is_done(
    trained: tuple[Path, Bundle], tmp_path: Path
) -> None:
    folder, _ = trained
    with pytest.raises(TrainingError, match="gramophone"):
        train_default(folder / "data", tmp_path / "out", recipe=QUICK, device="gramophone")
    assert not (tmp_path / "out").exists()


# --- honest figures --------------------------------------------------------


def test_without_a_teacher(tmp_path: Path) -> None:
    """Two genres and no small_vggish.npz; one kind of network; no baselines."""
    data = make_prepared(
        tmp_path / "data", n_artists=20, tracks_each=3, genres=GENRES[:2], teacher=False
    )
    bundle = train_default(
        data, tmp_path / "out", recipe=replace(QUICK, frame_nets=0), baselines=False
    )
    card = Bundle.load(tmp_path / "out" / "bundle").card
    assert card["training"]["teacher"] == "none"
    assert [row["name"] for row in card["metrics"]["table"]] == [
        "genrescope, as shipped",
        "genrescope, all tracks of an artist together",
        "Networks on statistics alone",
        "Boosted trees alone",
    ]
    assert not list((tmp_path / "out").glob("*/teacher.npz"))
    assert bundle.genres == GENRES[:2]
    assert card["metrics"]["scores"]["accuracy"] > 0.7


def test_figures_come_from_artists_that_were_not_met(tmp_path: Path) -> None:
    """Genres by chance, artists that can be told apart: what is learnt by heart is no use."""
    data = make_prepared(
        tmp_path / "data", n_artists=40, tracks_each=3, genre_db=0.0, artist_db=8.0
    )
    recipe = replace(
        QUICK,
        frame_nets=0,
        net=replace(QUICK.net, epochs=20, patience=100),
        trees=replace(QUICK.trees, rounds=30, patience=100),
    )
    bundle = train_default(data, tmp_path / "out", recipe=recipe)
    prepared = load_prepared(data)
    pooled, _ = bundle.run(frames.describe_prepared(prepared.mel, prepared.mfcc_3s)[:, None])
    met = np.array(bundle.genres)[pooled.argmax(axis=1)] == prepared.genre_top
    # Early stopping, on new artists, does not let it learn all of them by heart.
    assert met.mean() > 0.5
    for row in bundle.card["metrics"]["table"]:
        assert row["accuracy"] < 0.4, row["name"]
    scores = bundle.card["metrics"]["scores"]
    assert scores["intervals"]["accuracy"][0] < 0.3
    assert scores["log_loss"] > 1.3  # log 4 is 1.386
    # It says so: it is sure of hardly anything, and many genres are plausible.
    abstention = bundle.card["abstention"]
    assert abstention["threshold"] is None or abstention["coverage"] < 0.1
    assert bundle.card["conformal"]["mean_set_size"] > 2.5


def test_a_graph_that_knows_nothing_is_not_passed_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the export went wrong, the answers on the folds would not show it."""
    from genrescope.learn.train import default as module

    data = make_prepared(tmp_path / "data", n_artists=24, tracks_each=2)

    def turned(folder: Path, **made: Any) -> Bundle:
        bundle = write_bundle(folder, **made)
        run = bundle.run
        monkeypatch.setattr(
            bundle, "run", lambda x: tuple(np.roll(part, 1, axis=-1) for part in run(x))
        )
        return bundle

    monkeypatch.setattr(module, "write_bundle", turned)
    with pytest.raises(TrainingError, match="near chance"):
        train_default(data, tmp_path / "out", recipe=replace(QUICK, frame_nets=0), baselines=False)
