"""Cut-offs on a training run: the answers are its own, out of fold, and a cut is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from genrescope.errors import TrainingError
from genrescope.learn.bundle import Bundle
from genrescope.learn.studies.robustness_folds import cutoff_effects
from genrescope.learn.train.default import train_default
from tests.learn.small_data import make_prepared
from tests.learn.train.test_recipe import QUICK

pytestmark = pytest.mark.usefixtures("one_thread")

ARTISTS = 24
RECIPE = replace(
    QUICK, net=replace(QUICK.net, epochs=6), frame_net=replace(QUICK.frame_net, epochs=2)
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    make_prepared(folder / "data", n_artists=ARTISTS, tracks_each=2)
    train_default(folder / "data", folder / "out", recipe=RECIPE, baselines=False)
    return folder


def test_the_answers_are_those_of_the_run(trained: Path) -> None:
    found = {e.name: e for e in cutoff_effects(trained / "out", trained / "data")}
    nothing = found["cutoff-16000"]
    assert nothing.same == 1.0
    assert nothing.distance < 1e-3
    assert nothing.n == nothing.n_labelled == 2 * ARTISTS
    assert found["cutoff-4000"].distance > 10 * nothing.distance
    assert found["cutoff-4000"].distance > found["cutoff-11025"].distance
    on_card = Bundle.load(trained / "out" / "bundle").card["metrics"]["scores"]["accuracy"]
    assert nothing.accuracy_before == pytest.approx(on_card)


def test_a_run_on_other_data_is_refused(trained: Path, tmp_path: Path) -> None:
    make_prepared(tmp_path / "other", n_artists=ARTISTS, tracks_each=2, seed=5)
    with pytest.raises(TrainingError, match="trained on"):
        cutoff_effects(trained / "out", tmp_path / "other")
    with pytest.raises(TrainingError, match="no finished training run"):
        cutoff_effects(tmp_path, trained / "data")
