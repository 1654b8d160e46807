"""Answers that respect the tree."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.errors import BundleError, DataError
from genrescope.learn.parts.hierarchy import SubTree, TreeAnswer, TreeHead, sigmoid

NODES = [("Rock", "Punk"), ("Rock", "Punk", "Hardcore"), ("Folk", "Psych-Folk"), ("Rock", "Metal")]
GENRES = ["Folk", "Pop", "Rock"]


class StandIn:
    """A part whose graph gives what it is told."""

    name = "tree"

    def __init__(self, logits, **changed):
        self.logits = np.asarray(logits, dtype=np.float32)
        self.seen = None
        nodes = [list(node) for node in SubTree(GENRES, NODES).nodes]
        self.settings = {
            "version": 1,
            "n_statistics": 3,
            "nodes": nodes,
            "thresholds": [0.3] * len(nodes),
            **changed,
        }

    def run(self, inputs):
        self.seen = inputs["statistics"]
        return {"logits": np.resize(self.logits, (len(self.seen), self.logits.shape[-1]))}


@st.composite
def trees(draw):
    """A tree of any shape, with a few tops."""
    k = draw(st.integers(1, 5))
    genres = [f"top {i}" for i in range(k)]
    paths = [(genre,) for genre in genres]
    for i in range(draw(st.integers(0, 12))):
        paths.append((*draw(st.sampled_from(paths)), f"node {i}"))
    return SubTree(genres, draw(st.permutations(paths[k:])))


@settings(max_examples=150, deadline=None)
@given(trees(), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 3.0, 300.0]))
def test_a_child_is_never_above_its_parent_and_sets_are_consistent(tree, seed, spread):
    rng = np.random.default_rng(seed)
    top = rng.dirichlet(np.full(len(tree.genres), 0.3), size=7)
    conditional = sigmoid(spread * rng.normal(size=(7, len(tree.nodes))))
    joint = tree.join(top, conditional)
    chosen = tree.choose(joint, rng.random(len(tree.nodes)) * 0.5)
    first = len(tree.genres)
    for place, parent in enumerate(tree.parents):
        assert (joint[:, first + place] <= joint[:, parent]).all()
        assert (chosen[:, parent] | ~chosen[:, first + place]).all()
    assert chosen[np.arange(7), top.argmax(axis=1)].all()


def test_a_probability_is_the_product_down_the_path():
    tree = SubTree(GENRES, NODES)
    joint = tree.join(np.array([[0.1, 0.2, 0.7]]), np.array([[0.5, 0.25, 0.4, 0.1]]))[0]
    found = dict(zip(tree.paths, joint, strict=True))
    assert found["Rock", "Punk"] == pytest.approx(0.7 * 0.4)
    assert found["Rock", "Punk", "Hardcore"] == pytest.approx(0.7 * 0.4 * 0.1)
    assert found["Folk", "Psych-Folk"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([("Rock", "Punk", "Hardcore")], "Rock > Punk is not"),
        ([("Rock", "Punk"), ("Rock", "Punk")], "twice"),
        ([("Jazz", "Bebop")], "Jazz is not"),
        ([("Rock",)], "twice|part of nothing"),
        ([("Polka",)], "part of nothing"),
    ],
)
def test_a_tree_with_holes_is_refused(nodes, says):
    with pytest.raises(DataError, match=says):
        SubTree(GENRES, nodes)


def test_describe_names_paths_with_probabilities():
    big = 20.0
    # Folk > Psych-Folk, Rock > Metal, Rock > Punk, Rock > Punk > Hardcore
    head = TreeHead(StandIn([[0.0, -big, big, 0.0]]), GENRES)
    answer = head.describe(np.zeros((2, 9), dtype=np.float32), [0.2, 0.1, 0.7])
    assert answer.chosen == (("Rock",), ("Rock", "Punk"), ("Rock", "Punk", "Hardcore"))
    assert str(answer) == "Rock > Punk > Hardcore (35 %)"
    assert [branch.path for branch in answer.paths()] == [("Rock", "Punk", "Hardcore")]
    assert list(answer.probabilities.values()) == sorted(answer.probabilities.values())[::-1]
    assert head._part.seen.shape == (2, 3), "only the statistics are read"


def test_without_a_probable_sub_genre_the_top_stays():
    head = TreeHead(StandIn([[-9.0] * 4]), GENRES)
    answer = head.describe(np.zeros((1, 3)), [0.2, 0.1, 0.7])
    assert answer.chosen == (("Rock",),)
    assert str(answer) == "Rock (70 %)"


def test_several_sub_genres_and_several_tops_may_fit():
    head = TreeHead(StandIn([[9.0, 9.0, 9.0, -9.0]]), GENRES)
    answer = head.describe(np.zeros((1, 3)), [0.45, 0.05, 0.5])
    assert {branch.path for branch in answer.paths()} == {
        ("Folk", "Psych-Folk"),
        ("Rock", "Metal"),
        ("Rock", "Punk"),
    }


def test_windows_are_pooled():
    part = StandIn([[0.0] * 4])
    part.run = lambda inputs: {
        "logits": np.array([[4.0, 0, 0, 0], [-4.0, 0, 0, 0]], dtype=np.float32)
    }
    answer = TreeHead(part, GENRES).describe(np.zeros((2, 3)), [1.0, 0.0, 0.0])
    assert answer.probabilities["Folk", "Psych-Folk"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"thresholds": [0.3]},
        {"thresholds": [0.3, 0.3, 0.3, float("nan")]},
        {"thresholds": [0.3, 0.3, 0.3, 2.0]},
        {"nodes": [["Jazz", "Bebop"]], "thresholds": [0.1]},
        {"nodes": 3},
        {"nodes": [["Rock", "Punk"], ["Folk", "Psych-Folk"]], "thresholds": [0.1, 0.1]},
    ],
)
def test_settings_that_do_not_fit_are_refused(changed):
    with pytest.raises(BundleError):
        TreeHead(StandIn([[0.0] * 4], **changed), GENRES)


@pytest.mark.parametrize(
    ("features", "top"),
    [
        (np.zeros((1, 2)), [0.2, 0.1, 0.7]),
        (np.zeros((0, 3)), [0.2, 0.1, 0.7]),
        (np.zeros(3), [0.2, 0.1, 0.7]),
        (np.zeros((1, 3)), [0.3, 0.7]),
        (np.zeros((1, 3)), [0.3, 0.7, float("nan")]),
        (np.zeros((1, 3)), [0.3, 0.7, 1.5]),
    ],
)
def test_inputs_that_do_not_fit_are_refused(features, top):
    with pytest.raises(DataError):
        TreeHead(StandIn([[0.0] * 4]), GENRES).describe(features, top)


def test_equal_probabilities_keep_what_is_above_first():
    answer = TreeHead(StandIn([[40.0] * 4]), GENRES).describe(np.zeros((1, 3)), [0.0, 0.0, 1.0])
    assert answer.chosen[0] == ("Rock",)
    assert isinstance(answer, TreeAnswer)


def test_answering_needs_no_training_package():
    code = (
        "import sys, genrescope.learn.parts.hierarchy\n"
        "print([m for m in ('torch', 'sklearn', 'scipy', 'onnx') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
