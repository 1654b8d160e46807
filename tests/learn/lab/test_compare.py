"""Protocols, and models fitted side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from genrescope.errors import DataError, SplitError
from genrescope.learn.lab.classic import ClassifierSpec
from genrescope.learn.lab.compare import ModelRun, make_protocol, run_models
from genrescope.learn.lab.presets import classifiers
from genrescope.learn.lab.results import FoldResult, ResultCache, content_key
from genrescope.learn.lab.tabular import TabularData

GENRES = ("Folk", "Pop", "Rock")
BAD = "tests.learn.models_that_fail"


def table(n: int = 90, *, split: bool = False, seed: int = 0, artists: int = 30) -> TabularData:
    rng = np.random.default_rng(seed)
    artist = np.arange(n) % artists
    y = artist % 3
    x = rng.normal(size=(n, 4)) + 3.0 * np.eye(3, 4)[y]
    names = np.array([f"artist {a}" for a in artist])
    parts = None
    if split:
        # The last artists are the test, as in FMA: nobody is on both sides.
        parts = np.array(["training", "validation", "test"])[np.digitize(artist, [18, 24])]
    ids = np.array([str(i) for i in range(n)])
    return TabularData(
        name="small",
        x=x.astype(np.float32),
        features=("a", "b", "c", "d"),
        feature_groups=("low", "low", "high", "high"),
        y=y.astype(np.int64),
        genres=GENRES,
        groups=names,
        group_name="artist",
        track_id=ids,
        title=ids,
        artist=names,
        split=parts,
    )


def bad(name: str, **params: Any) -> ClassifierSpec:
    key = name.lower()
    return ClassifierSpec(key, name, "linear", f"{BAD}:{name}", params=params, scaler="none")


def by_key(runs: tuple[ModelRun, ...]) -> dict[str, ModelRun]:
    return {run.key: run for run in runs}


# --- protocols -------------------------------------------------------------


def test_folds_keep_artists_together_and_score_every_row_once() -> None:
    data = table()
    protocol = make_protocol(data, n_folds=4, seed=1)
    assert protocol.n_folds == 4
    seen = []
    for train, test in protocol.parts():
        assert not set(data.groups[train]) & set(data.groups[test])
        assert len(train) + len(test) == len(data)
        seen += test.tolist()
    assert sorted(seen) == list(range(len(data)))
    assert "No artist is in two folds (30 artists)" in protocol.description


def test_random_folds_are_loudly_described() -> None:
    data = table()
    protocol = make_protocol(data, kind="random")
    assert any(set(data.groups[train]) & set(data.groups[test]) for train, test in protocol.parts())
    assert protocol.description.startswith("RANDOM FOLDS")
    assert "do not compare them" in protocol.description


def test_the_official_split_trains_on_training_and_scores_test() -> None:
    data = table(split=True)
    assert data.split is not None
    protocol = make_protocol(data, kind="official")
    ((train, test),) = protocol.parts()
    assert set(data.split[train]) == {"training"}
    assert set(data.split[test]) == {"test"}
    assert protocol.calibration is not None
    assert set(data.split[protocol.calibration]) == {"validation"}
    np.testing.assert_array_equal(protocol.scored, test)
    assert "both sides" not in protocol.description


def test_without_test_rows_validation_is_scored() -> None:
    data = table(split=True)
    data = data.where(data.split != "test")
    assert data.split is not None
    protocol = make_protocol(data, kind="official")
    assert set(data.split[protocol.scored]) == {"validation"}
    assert "no test tracks here" in protocol.description


def test_an_artist_on_both_sides_of_the_official_split_is_said() -> None:
    data = table(split=True)
    groups = data.groups.copy()
    groups[np.flatnonzero(data.split == "test")[0]] = groups[0]
    protocol = make_protocol(replace(data, groups=groups), kind="official")
    assert "1 artist is on both sides" in protocol.description


def test_splits_that_cannot_be_made_say_why() -> None:
    with pytest.raises(SplitError, match="small has no official split; use kind 'folds'"):
        make_protocol(table(), kind="official")
    with pytest.raises(SplitError, match="kind is 'loo'; choose one of folds, official, random"):
        make_protocol(table(), kind="loo")
    data = table(split=True)
    with pytest.raises(SplitError, match="'test': 0, 'training': 0"):
        make_protocol(data.where(data.split == "validation"), kind="official")


# --- runs ------------------------------------------------------------------


@pytest.mark.parametrize("key", ["gaussian_nb", "ridge"])
def test_an_official_split_answers_for_validation_too(key: str) -> None:
    data = table(split=True)
    protocol = make_protocol(data, kind="official")
    assert protocol.calibration is not None
    (run,) = run_models(data, protocol, classifiers(only=[key]), jobs=0)
    assert run.probabilities is not None
    assert run.validation is not None
    assert len(run.validation) == protocol.calibration.sum()
    np.testing.assert_allclose(run.validation.sum(axis=1), 1)
    right = run.validation.argmax(axis=1) == data.y[protocol.calibration]
    assert right.mean() > 1.5 / len(data.genres)


def test_probabilities_are_of_held_out_rows_and_add_up_to_one() -> None:
    data = table()
    protocol = make_protocol(data, n_folds=3)
    specs = classifiers(only=["gaussian_nb", "ridge", "nearest_centroid"])
    runs = by_key(run_models(data, protocol, specs, jobs=0))
    for run in runs.values():
        assert run.probabilities is not None
        assert run.probabilities.shape == (90, 3)
        np.testing.assert_allclose(run.probabilities.sum(axis=1), 1)
        assert (run.probabilities.argmax(axis=1) == data.y).mean() > 0.8
        assert run.fit_seconds > 0
        assert run.predict_seconds > 0
        assert not run.cached
    assert runs["gaussian_nb"].calibrated == "as it comes"
    assert runs["ridge"].calibrated == "temperature"


def test_labels_of_scored_rows_do_not_reach_their_own_answers() -> None:
    """Changed labels of one fold must leave the answers for that fold as they are."""
    data = table()
    protocol = make_protocol(data, n_folds=3)
    own = protocol.fold == 1
    y = data.y.copy()
    y[own] = (y[own] + 1) % 3
    specs = classifiers(only=["gaussian_nb", "ridge"])
    before = run_models(data, protocol, specs, jobs=0)
    after = run_models(replace(data, y=y), protocol, specs, jobs=0)
    for a, b in zip(before, after, strict=True):
        assert a.probabilities is not None
        assert b.probabilities is not None
        # Temperatures come from the other folds, whose models have learnt from this one: of a
        # model with a temperature, the order is what must stay.
        if a.calibrated == "temperature":
            np.testing.assert_array_equal(
                a.probabilities[own].argsort(axis=1), b.probabilities[own].argsort(axis=1)
            )
        else:
            np.testing.assert_array_equal(a.probabilities[own], b.probabilities[own])
        assert (a.probabilities[~own] != b.probabilities[~own]).any()


def test_a_genre_that_a_fold_lacks_gets_nothing_there() -> None:
    data = table()
    rock = np.flatnonzero(data.y == 2)
    groups = data.groups.copy()
    groups[rock] = "one band"  # so all of Rock is in one fold
    data = replace(data, groups=groups)
    protocol = make_protocol(data, n_folds=3)
    for run in run_models(
        data, protocol, classifiers(only=["gaussian_nb", "ridge", "svc"]), jobs=0
    ):
        assert run.failure == ""
        assert run.probabilities is not None
        np.testing.assert_array_equal(run.probabilities[rock, 2], 0)
        np.testing.assert_allclose(run.probabilities.sum(axis=1), 1)


def test_two_genres_have_two_columns() -> None:
    data = table()
    data = data.where(data.y < 2)
    data = replace(data, genres=("Folk", "Pop"))
    protocol = make_protocol(data, n_folds=3)
    for run in run_models(
        data, protocol, classifiers(only=["ridge", "svc", "kernel_ridge"]), jobs=0
    ):
        assert run.probabilities is not None
        assert run.probabilities.shape == (60, 2)
        assert (run.probabilities.argmax(axis=1) == data.y).mean() > 0.8


@pytest.mark.parametrize("leave_out", ["", "test"])
def test_the_official_split_is_scored_with_temperatures_of_other_rows(leave_out: str) -> None:
    data = table(180, split=True)
    data = data.where(data.split != leave_out)
    protocol = make_protocol(data, kind="official")
    (run,) = run_models(data, protocol, classifiers(only=["ridge"]), jobs=0)
    assert run.probabilities is not None
    assert len(run.probabilities) == len(protocol.scored)
    assert (run.probabilities.argmax(axis=1) == data.y[protocol.scored]).mean() > 0.8
    # Ridge regresses 0 and 1: without a temperature no answer would be sure.
    assert run.probabilities.max() > 0.8


@pytest.mark.slow
def test_failures_are_rows_with_a_reason_and_the_others_go_on() -> None:
    data = table()
    protocol = make_protocol(data, n_folds=2)
    specs = (
        *classifiers(only=["gaussian_nb"]),
        *(bad(name) for name in ("Raises", "Sleeps", "Dies", "Gorges", "Nan")),
        ClassifierSpec("absent", "Absent", "linear", "a_package_not_there:X"),
    )
    heard = []
    runs = by_key(
        run_models(
            data,
            protocol,
            specs,
            jobs=2,
            seconds_per_model=12,
            memory=3 << 30,
            report=lambda event, info: heard.append((event, info.get("key"))),
        )
    )
    good = runs.pop("gaussian_nb")
    assert good.failure == ""
    assert good.probabilities is not None
    assert all(run.probabilities is None for run in runs.values())
    reasons = {key: run.failure for key, run in runs.items()}
    assert "ValueError: x has 4 columns and that is odd" in reasons["raises"]
    assert "took longer than 6 s" in reasons["sleeps"]
    assert "killed by SIGKILL" in reasons["dies"]
    if sys.platform.startswith("linux"):
        assert "memory" in reasons["gorges"].lower()
    assert "not finite" in reasons["nan"]
    assert 'pip install "genrescope[lab]"' in reasons["absent"]
    assert {key for event, key in heard if event == "failed"} == set(reasons)


def test_a_model_that_would_not_fit_into_memory_is_not_started(tmp_path: Path) -> None:
    data = table()
    marks = tmp_path / "marks"
    spec = replace(bad("Counts", path=str(marks)), bytes_per_row_pair=1e9)
    (run,) = run_models(data, make_protocol(data), [spec], memory=1 << 30)
    assert "it needs about" in run.failure
    assert "1 GiB are allowed" in run.failure
    assert not marks.exists()


@pytest.mark.slow
def test_workers_and_this_process_give_the_same_numbers() -> None:
    data = table()
    protocol = make_protocol(data, n_folds=2)
    specs = classifiers(only=["mlp", "svc", "random_forest", "lightgbm", "kernel_ridge"])
    here = run_models(data, protocol, specs, jobs=0)
    there = run_models(data, protocol, specs, jobs=2)
    for a, b in zip(here, there, strict=True):
        assert a.probabilities is not None
        assert b.probabilities is not None
        np.testing.assert_array_equal(a.probabilities, b.probabilities)


def test_what_makes_no_sense_is_refused() -> None:
    data = table()
    protocol = make_protocol(data)
    (spec,) = classifiers(only=["ridge"])
    with pytest.raises(DataError, match="ridge are given twice"):
        run_models(data, protocol, [spec, spec])
    with pytest.raises(DataError, match="the protocol is of 90 rows and small has 80"):
        run_models(data.where(np.arange(90) < 80), protocol, [spec])
    with pytest.raises(DataError, match="-1 workers"):
        run_models(data, protocol, [spec], jobs=-1)


# --- what is kept ----------------------------------------------------------


def test_only_what_changed_is_fitted_again(tmp_path: Path) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=3)
    marks = tmp_path / "marks"
    first, second = (
        bad("Counts", path=str(marks)),
        replace(bad("Counts", path=str(marks), flavour=1), key="other"),
    )

    def fits(*specs: ClassifierSpec, on: TabularData = data, **more: Any) -> list[str]:
        marks.unlink(missing_ok=True)
        runs = run_models(on, protocol, specs, cache=tmp_path / "kept", jobs=0, **more)
        done = marks.read_text().split() if marks.exists() else []
        assert [run.cached for run in runs] == [
            str(spec.params.get("flavour", 0)) not in done for spec in specs
        ]
        return sorted(done)

    assert fits(first, second) == ["0"] * 3 + ["1"] * 3
    assert fits(first, second) == []
    changed = replace(second, params={**second.params, "flavour": 2})
    assert fits(first, changed) == ["2"] * 3
    assert fits(first, second, seed=1) == ["0"] * 3 + ["1"] * 3
    x = data.x.copy()
    x[0, 0] += 1
    assert fits(first, on=replace(data, x=x)) == ["0"] * 3
    assert fits(first, on=replace(data, name="called otherwise")) == []


def test_kept_answers_are_the_answers(tmp_path: Path) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=3)
    specs = classifiers(only=["ridge", "decision_tree"])
    new = run_models(data, protocol, specs, cache=tmp_path, jobs=0)
    old = run_models(data, protocol, specs, cache=tmp_path, jobs=0)
    for a, b in zip(new, old, strict=True):
        assert b.cached
        assert not a.cached
        assert a.probabilities is not None
        assert b.probabilities is not None
        np.testing.assert_array_equal(a.probabilities, b.probabilities)
        assert (a.fit_seconds, a.notes) == (b.fit_seconds, b.notes)


def test_damaged_files_are_computed_again(tmp_path: Path) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=3)
    specs = classifiers(only=["ridge"])
    (new,) = run_models(data, protocol, specs, cache=tmp_path, jobs=0)
    files = sorted(tmp_path.glob("??/*.npz"))
    assert len(files) == 3
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:-200])
    whole = bytearray(files[2].read_bytes())
    whole[len(whole) // 4] ^= 0xFF
    files[2].write_bytes(bytes(whole))
    (again,) = run_models(data, protocol, specs, cache=tmp_path, jobs=0)
    assert not again.cached
    assert new.probabilities is not None
    assert again.probabilities is not None
    np.testing.assert_array_equal(new.probabilities, again.probabilities)


def test_failures_are_not_kept(tmp_path: Path) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=2)
    for _ in range(2):
        (run,) = run_models(data, protocol, [bad("Raises")], cache=tmp_path, jobs=0)
        assert not run.cached
        assert run.failure
    assert not list(tmp_path.glob("??/*.npz"))


def test_the_name_of_an_answer_follows_all_that_it_depends_on() -> None:
    rows = {"train": np.array([0, 1]), "apply": np.array([2])}
    base = content_key({"a": 1}, table="t", rows=rows, seed=0)
    assert base == content_key({"a": 1}, table="t", rows=dict(reversed(rows.items())), seed=0)
    others = [
        content_key({"a": 2}, table="t", rows=rows, seed=0),
        content_key({"a": 1}, table="u", rows=rows, seed=0),
        content_key({"a": 1}, table="t", rows=rows, seed=1),
        content_key({"a": 1}, table="t", rows={**rows, "train": np.array([0, 3])}, seed=0),
    ]
    assert len({base, *others}) == 5


def test_a_cache_gives_back_what_it_was_given(tmp_path: Path) -> None:
    kept = ResultCache(tmp_path)
    values = np.array([[0.5, np.nan]], np.float32)
    kept.save("ab", FoldResult(values, 1.5, 0.5, notes=("stopped before it converged",)))
    back = kept.load("ab", shape=(1, 2))
    assert back is not None
    np.testing.assert_array_equal(back.values, values)
    assert (back.fit_seconds, back.notes) == (1.5, ("stopped before it converged",))
    assert kept.load("ab", shape=(2, 2)) is None
    assert kept.load("cd", shape=(1, 2)) is None
    assert ResultCache(None).load("ab", shape=(1, 2)) is None


_INTERRUPTED = """
import sys
from dataclasses import replace
from pathlib import Path
from genrescope.learn.lab.compare import make_protocol, run_models
from tests.learn.lab.test_compare import bad, table
from genrescope.learn.lab.presets import classifiers
data = table()
specs = (replace(classifiers(only=["gaussian_nb"])[0], cost=9), bad("Sleeps"))
def report(event, info):
    print(event, info.get("key"), flush=True)
run_models(data, make_protocol(data, n_folds=2), specs, cache=Path(sys.argv[1]), jobs=2,
           report=report)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_stops_at_once_and_keeps_what_is_done(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    done = 0
    for line in process.stdout:
        done += line.startswith("fit gaussian_nb")
        if done == 2:
            break
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    assert time.monotonic() - started < 15
    assert len(list(tmp_path.glob("??/*.npz"))) == 2
    assert not multiprocessing.active_children()
