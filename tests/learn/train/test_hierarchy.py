"""Training the sub-genres, and comparing them with a flat answer, on a tree that is not FMA's."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from benchmarks import study_subgenres as command

from genrescope.catalog.genres import Genre, GenreTree
from genrescope.catalog.splits import group_folds
from genrescope.errors import DataError, TrainingError
from genrescope.learn.parts.base import Part
from genrescope.learn.parts.hierarchy import TreeHead
from genrescope.learn.studies.hierarchy import page, read_tree_data, study_subgenres
from genrescope.learn.train.hierarchy import (
    HierarchySettings,
    TreeData,
    find_nodes,
    tree_part,
    truth_table,
)
from genrescope.learn.train.hierarchy_thresholds import choose_thresholds, decide

TAXONOMY = GenreTree(
    [
        Genre(1, 0, "Dance"),
        Genre(2, 1, "Waltz"),
        Genre(3, 1, "Tango"),
        Genre(4, 2, "Viennese"),
        Genre(5, 0, "March"),
        Genre(6, 0, "Song"),
        Genre(7, 6, "Ballad"),
        Genre(8, 6, "Rare"),
    ]
)
GENRES = ["Dance", "March", "Song"]
SMALL = HierarchySettings(
    least_artists=4,
    components=12,
    width=12,
    epochs=10,
    batch=32,
    learning_rate=1e-2,
    noise=0.0,
    dropout_in=0.0,
    dropout=0.1,
    teacher_weight=0.1,
)


@pytest.fixture(scope="module")
def data() -> TreeData:
    """Three tops; a statistic says which sub-genre, another one whether it is Viennese."""
    rng = np.random.default_rng(0)
    n = 360
    y = np.arange(n) % 3
    artists = np.array([f"artist {i // 6}" for i in range(n)])
    x = rng.normal(size=(n, 12)).astype(np.float32)
    x[np.arange(n), y] += 1.0
    names = []
    for i in range(n):
        if y[i] == 0:
            own = ["Waltz"] if x[i, 4] > 0 else ["Tango"]
            own += ["Viennese"] if x[i, 4] > 0.8 else []
            own += ["Tango"] if x[i, 5] > 1.5 else []
        elif y[i] == 2:
            own = ["Ballad"] if x[i, 6] > 0 else []
            own += ["Rare"] if i in (2, 5) else []
        else:
            own = []
        names.append((GENRES[y[i]], *own))
    x[:, 4:7] *= 2.0
    right = np.eye(3)[y]
    top = 0.7 * right + 0.1
    return TreeData(
        statistics=x,
        subgenres=names,
        y_top=y,
        genres=GENRES,
        artists=artists,
        folds=group_folds(y, artists, n_folds=3, seed=0),
        top=top,
        teacher=rng.normal(size=(n, 5)).astype(np.float32),
        taxonomy=TAXONOMY,
    )


@pytest.fixture(scope="module")
def trained(data):
    return tree_part(data, settings=SMALL)


def test_rare_ones_are_left_out_and_what_is_above_is_filled_in(data):
    tree, artists = find_nodes(data, least=4)
    assert tree.nodes == (
        ("Dance", "Tango"),
        ("Dance", "Waltz"),
        ("Song", "Ballad"),
        ("Dance", "Waltz", "Viennese"),
    )
    assert artists["Dance", "Waltz"] >= artists["Dance", "Waltz", "Viennese"] >= 4
    truth = truth_table(data, tree)
    assert (truth[:, 0] == (data.y_top == 0)).all()
    viennese = np.array(["Viennese" in names for names in data.subgenres])
    assert truth[viennese][:, tree.column["Dance", "Waltz"]].all()
    with pytest.raises(TrainingError, match="least_artists"):
        find_nodes(data, least=999)


def test_it_learns_what_can_be_learnt(trained):
    _, scores = trained
    assert scores["micro_f1"] > 0.66  # 0.62 where all of a top are taken
    assert scores["above_parent"] == 0
    assert scores["intervals"]["micro_f1"][0] < scores["micro_f1"]
    assert {tuple(node["path"]) for node in scores["nodes"]} >= {("Dance", "Waltz", "Viennese")}
    json.dumps(scores, allow_nan=False)


def test_the_part_answers_as_it_was_scored(data, trained):
    new, _ = trained
    json.dumps(new.settings, allow_nan=False)
    head = TreeHead(Part.of("tree", new), GENRES)
    clear = np.flatnonzero((data.y_top == 0) & (data.statistics[:, 4] > 2.4))
    said = [head.describe(data.statistics[[i]], data.top[i]) for i in clear]
    hits = [("Dance", "Waltz") in answer.chosen for answer in said]
    assert np.mean(hits) > 0.9
    for answer in said:
        assert all(p <= answer.probabilities[q[:-1] or q] for q, p in answer.probabilities.items())


def test_the_same_seed_gives_the_same_part(data):
    few = dataclasses.replace(SMALL, epochs=1)
    first, again, other = (tree_part(data, settings=few, seed=seed)[0] for seed in (0, 0, 1))
    assert first.graph == again.graph
    assert first.settings == again.settings
    assert first.graph != other.graph


def test_without_a_teacher_and_with_labels_of_other_tops(data):
    names = [(*own, "Ballad") if i % 9 == 0 else own for i, own in enumerate(data.subgenres)]
    other = dataclasses.replace(data, teacher=None, subgenres=names)
    tree, _ = find_nodes(other, least=4)
    assert truth_table(other, tree)[0, tree.column["Song",]], "a track may have two tops"
    part, scores = tree_part(other, settings=dataclasses.replace(SMALL, epochs=3))
    assert 0 <= scores["micro_f1"] <= 1
    assert "top" not in Part.of("tree", part).run({"statistics": data.statistics[:1]})


def test_lengths_that_differ_are_refused(data):
    with pytest.raises(TrainingError, match="359 artists"):
        dataclasses.replace(data, artists=data.artists[1:])
    with pytest.raises(TrainingError, match="top has the shape"):
        dataclasses.replace(data, top=data.top[:, :2])


def test_thresholds_find_the_best_common_one_and_rare_genres_stay_near_it():
    rng = np.random.default_rng(0)
    p = rng.random((4000, 3))
    truth = rng.random((4000, 3)) < p * [1.0, 1.0, 0.01]
    none = choose_thresholds(p[:, :2], truth[:, :2], shrinkage=1e12)
    grid = np.linspace(0.05, 0.95, 181)
    f1 = [2 * (truth & (p >= t))[:, :2].sum() for t in grid]
    f1 = [a / (truth[:, :2].sum() + (p[:, :2] >= t).sum()) for a, t in zip(f1, grid, strict=True)]
    assert none == pytest.approx([none[0]] * 2)
    assert none[0] == pytest.approx(grid[int(np.argmax(f1))], abs=0.03)
    own, shrunk = (choose_thresholds(p, truth, shrinkage=s) for s in (0.0, 1e4))
    assert abs(shrunk[2] - none[0]) < abs(own[2] - none[0])
    assert choose_thresholds(p, np.zeros_like(truth), shrinkage=1.0).tolist() == [1.0] * 3


def test_thresholds_of_a_fold_do_not_look_at_it(data):
    tree, _ = find_nodes(data, least=4)
    truth = truth_table(data, tree)
    rng = np.random.default_rng(1)
    p = tree.join(data.top, rng.random((len(truth), len(tree.nodes))))
    before = decide(p, truth, data.folds, tree=tree, shrinkage=10.0)
    changed = truth.copy()
    changed[data.folds == 0] = ~changed[data.folds == 0]
    after = decide(p, changed, data.folds, tree=tree, shrinkage=10.0)
    assert (before[data.folds == 0] == after[data.folds == 0]).all()
    assert (before != after).any()


def test_the_study_compares_and_tells(data):
    study = study_subgenres(data, settings=dataclasses.replace(SMALL, epochs=4), n_boot=50)
    assert [row.key for row in study.rows][-1] == "tree"
    by_key = {row.key: row for row in study.rows}
    assert by_key["tree"].scores.above_parent == 0
    assert by_key["flat-logistic"].scores.above_parent > 0
    for row in study.rows[:-1]:
        gap = by_key["tree"].scores.values["micro_f1"] - row.scores.values["micro_f1"]
        assert row.behind["micro_f1"][0] == pytest.approx(gap)
    assert (study.n_left_out, study.labels_left_out, study.outside) == (1, 2, 0)
    text = page(study, command="the command")
    assert "Dance > Waltz > Viennese" in text
    assert "the command" in text
    assert f"{by_key['tree'].scores.values['micro_f1']:.3f}" in text


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(DataError, match="0 files"):
        read_tree_data(tmp_path, tmp_path)


@pytest.mark.data
def test_the_real_labels_stay_within_their_top(data_dir):
    """What the page says of several genres rests on this."""
    from genrescope.catalog.table import TrackTable

    taxonomy = GenreTree.fma()
    table = TrackTable.from_csv(
        data_dir / "fma" / "small_tracks.csv", required=("track_id", "genre_top")
    )
    outside = [
        name
        for top, names in zip(table["genre_top"], table["subgenres"], strict=True)
        for name in names or ()
        if taxonomy.top(name) != top
    ]
    assert outside == []
    assert len(table) > 7000


def test_the_command_asks_for_what_it_needs(capsys):
    with pytest.raises(SystemExit):
        command.main([])
    assert "--run" in capsys.readouterr().err
