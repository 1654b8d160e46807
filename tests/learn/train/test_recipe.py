"""The folder of a run, and that a part of it looks at nothing but its own tracks."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.errors import DataError, SplitError, TrainingError
from genrescope.learn.train.recipe import Recipe, Run, atomic, train_members
from genrescope.learn.train.training import FRAME_SETTINGS, NetSettings, TreeSettings
from tests.learn.small_data import GENRES, edit_tracks, make_prepared

pytestmark = pytest.mark.usefixtures("one_thread")

#: The whole recipe in seconds: two folds, few members, epochs and rounds.
QUICK = Recipe(
    folds=2,
    nets=1,
    frame_nets=1,
    components=60,
    limited_views=1,
    net=NetSettings(width=64, epochs=4, batch=16, held_out=0.15),
    frame_net=replace(FRAME_SETTINGS, epochs=1, batch=16, held_out=0.15),
    trees=TreeSettings(rounds=4, held_out=0.15, feature_share=0.1),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "prepared"
    return make_prepared(folder, n_artists=24, tracks_each=3)


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def open_run(folder: Path, data: Path, **changes: Any) -> Run:
    return Run(folder, recipe=replace(QUICK, **changes), data=data)


# --- what is in it ---------------------------------------------------------


def test_folds_are_by_artist_and_hold_every_genre(prepared: Path, tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", prepared, folds=3)
    assert run.genres == list(GENRES)
    assert [run.genres[k] for k in run.y] == run.data.genre_top.tolist()
    parts = dict(run.parts())
    assert list(parts) == ["fold-0", "fold-1", "fold-2", "all"]
    assert parts.pop("all").all()
    held = np.stack([~train for train in parts.values()])
    assert (held.sum(axis=0) == 1).all()  # every track is held out once
    for train in parts.values():
        assert not set(run.data.artist_id[train]) & set(run.data.artist_id[~train])
        assert set(run.y[train]) == set(run.y[~train]) == set(range(len(GENRES)))


def test_tracks_without_genre_are_left_out(data: Path, tmp_path: Path) -> None:
    edit_tracks(data, genre_top={0: "", 5: "", 71: ""}, artist_id={5: ""})
    run = open_run(tmp_path / "run", data)
    assert len(run.y) == len(run.data) == len(run.folds) == 69
    assert "" not in run.genres
    assert len(run.features()[0]) == 69


def test_tracks_without_artist_are_an_error(data: Path, tmp_path: Path) -> None:
    edit_tracks(data, artist_id={3: "", 4: ""})
    with pytest.raises(DataError, match="2 of 72 tracks have no artist_id") as caught:
        open_run(tmp_path / "run", data)
    assert "fill the column" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_views_are_the_tracks_and_narrower_ones(prepared: Path, tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", prepared, limited_views=2)
    views = run.features()
    assert [view.shape for view in views] == [(72, frames.N_FEATURES)] * 3
    np.testing.assert_array_equal(
        views[0], frames.describe_prepared(run.data.mel, run.data.mfcc_3s)
    )
    level = [view[:, : frames.READ_BANDS].mean() for view in views]  # mean of every band
    assert level[1] < level[0] - 5
    assert level[2] < level[0] - 5
    assert np.abs(views[1] - views[2]).max() > 1
    for view, again in zip(views, run.features(), strict=True):
        np.testing.assert_array_equal(view, again)
    other = open_run(tmp_path / "other", prepared, limited_views=1, seed=1).features()
    assert np.abs(views[1] - other[1]).max() > 1


@pytest.mark.parametrize(
    ("file", "name"), [("small_mfcc.npz", "mfcc_3s"), ("small_vggish.npz", "vggish")]
)
def test_values_that_are_not_finite_are_named(
    data: Path, tmp_path: Path, file: str, name: str
) -> None:
    with np.load(data / file) as archive:
        content = dict(archive)
    content[name][7].flat[5] = np.inf
    content[name][9].flat[5] = np.nan
    np.savez(data / file, **content)
    wrong = content["track_id"][[7, 9]].tolist()
    with pytest.raises(DataError, match=f"2 of 72 tracks have NaN or infinity in {name}") as error:
        open_run(tmp_path / "run", data)
    assert any(f"first: {track}" in str(error.value) for track in wrong)


# --- one folder, one run ---------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "its recipe has seed 0, not 1"),
        ({"folds": 3}, "its recipe has folds 2, not 3"),
        ({"net": replace(QUICK.net, epochs=9)}, "its recipe has net.epochs 4, not 9"),
        ({"tree_weight": 1.5}, "its recipe has tree_weight 0.5, not 1.5"),
    ],
)
def test_another_recipe_is_refused(
    prepared: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    folder = tmp_path / "run"
    open_run(folder, prepared)
    record = (folder / "run.json").read_bytes()
    with pytest.raises(TrainingError) as caught:
        open_run(folder, prepared, **changes)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "--out" in str(caught.value)
    assert "data" not in str(caught.value).split(";")[0]
    assert (folder / "run.json").read_bytes() == record
    open_run(folder, prepared)  # the same run goes on


def edit_title(data: Path) -> None:
    edit_tracks(data, title={0: "Another"})


def edit_genre(data: Path) -> None:
    edit_tracks(data, genre_top={0: GENRES[1]})


def edit_artist(data: Path) -> None:
    edit_tracks(data, artist_id={0: "99"})


def edit_track(data: Path) -> None:
    with (data / "small_tracks.csv").open() as file:
        lines = file.readlines()
    (data / "small_tracks.csv").write_text("".join(lines[:-1]))


def edit_sound(data: Path) -> None:
    with np.load(data / "small_mel_frames.npz") as archive:
        content = dict(archive)
    content["mel"][0, 0, 0] ^= 1
    np.savez(data / "small_mel_frames.npz", **content)


def edit_teacher(data: Path) -> None:
    (data / "small_vggish.npz").unlink()


@pytest.mark.parametrize(
    "edit", [edit_genre, edit_artist, edit_track, edit_sound, edit_teacher, edit_title]
)
def test_other_data_is_refused(data: Path, tmp_path: Path, edit: Any) -> None:
    folder = tmp_path / "run"
    open_run(folder, data)
    edit(data)
    if edit is edit_title:  # a title is not learnt from
        open_run(folder, data)
        return
    with pytest.raises(TrainingError, match="its data is other data") as caught:
        open_run(folder, data)
    assert "recipe" not in str(caught.value)


def test_the_same_data_in_another_place_is_the_same(
    prepared: Path, data: Path, tmp_path: Path
) -> None:
    open_run(tmp_path / "run", prepared)
    open_run(tmp_path / "run", data)


def test_a_run_that_cannot_begin_does_not_take_the_folder(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="fewer folds"):
        open_run(tmp_path / "run", prepared, folds=25)
    open_run(tmp_path / "run", prepared, folds=2)


def test_a_folder_that_cannot_be_one(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"file cannot be made .*--out"):
        open_run(tmp_path / "file", prepared)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"recipe": ')
    with pytest.raises(TrainingError, match=r"run\.json: cannot be read"):
        open_run(tmp_path / "run", prepared)
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(TrainingError, match="holds another run"):
        open_run(tmp_path / "run", prepared)


# --- steps -----------------------------------------------------------------


def test_a_step_is_made_once_and_kept(prepared: Path, tmp_path: Path) -> None:
    told: list[tuple[str, Any]] = []
    run = Run(tmp_path / "run", recipe=QUICK, data=prepared, report=lambda *what: told.append(what))
    made = run.arrays("part/step", lambda: {"x": np.arange(3), "y": np.eye(2, dtype=np.float16)})

    def never() -> dict[str, np.ndarray]:
        raise AssertionError("made again")

    kept = run.arrays("part/step", never)
    assert kept.keys() == made.keys()
    for key, value in made.items():
        np.testing.assert_array_equal(kept[key], value)
        assert kept[key].dtype == value.dtype
    assert [event for event, _ in told] == ["step", "kept"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in log] == ["step", "kept"]
    assert {line["name"] for line in log} == {"part/step"}


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    with atomic(target) as part:
        part.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with suppress(RuntimeError), atomic(target) as part:
        part.write_text("two, of which ha")
        raise RuntimeError
    assert target.read_text() == "one"
    with atomic(target) as part:
        part.write_text("two")
    assert target.read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


# --- what a part looks at --------------------------------------------------


def graph_of(
    folder: Path, data: Path, *, spoil: np.ndarray | None = None, **changes: Any
) -> tuple[bytes, Run]:
    """The graph of the first fold; ``spoil`` marks rows whose every number is made wrong."""
    run = open_run(folder, data, **changes)
    name, train = run.parts()[0]
    views = run.features()
    if spoil is not None:
        rng = np.random.default_rng(0)
        for view in views:
            view[spoil] = rng.normal(scale=1e3, size=(spoil.sum(), frames.N_FEATURES))
        run.y = np.where(spoil, 0, run.y)
        assert run.data.vggish is not None
        run.data.vggish[spoil] = 1e3
        run.data.artist_id[spoil] = "nobody"
    members = train_members(run, name, train, views)
    return members.graph(run.recipe, n_genres=len(run.genres)), run


def test_nothing_of_the_tracks_that_are_held_out_is_looked_at(
    prepared: Path, tmp_path: Path
) -> None:
    graph, run = graph_of(tmp_path / "plain", prepared)
    held = run.folds == 0
    spoilt, _ = graph_of(tmp_path / "spoilt", prepared, spoil=held)
    assert spoilt == graph
    one_known = np.flatnonzero(~held)[:1]
    learnt, _ = graph_of(
        tmp_path / "learnt", prepared, spoil=np.isin(np.arange(len(held)), one_known)
    )
    assert learnt != graph


def test_members_differ_and_are_read_back_as_they_were(prepared: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"nets": 2, "frame_nets": 0}
    graph, run = graph_of(tmp_path / "run", prepared, **settings)
    again, _ = graph_of(tmp_path / "run", prepared, **settings)  # all of it from disk
    assert again == graph
    members = train_members(run, "fold-0", run.folds != 0, run.features())
    assert len(members.nets) == 2
    assert members.frame_nets == ()
    one, two = members.nets
    assert all((one[key] != two[key]).any() for key in one if "weight" in key)


def test_the_teacher_changes_what_is_learnt_and_answers_for_new_artists(
    data: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"frame_nets": 0}
    graph, run = graph_of(tmp_path / "with", data, **settings)
    with np.load(tmp_path / "with" / "fold-0" / "teacher.npz") as stored:
        opinion = stored["probabilities"]
    y = run.y[run.folds != 0]
    np.testing.assert_allclose(opinion.sum(axis=1), 1.0, atol=1e-4)
    assert (opinion.argmax(axis=1) == y).mean() > 0.6
    # Its opinion of a track is that of a teacher who had not met the artist: an embedding that
    # tells artists apart and nothing else must not give the genre away.
    assert run.data.vggish is not None
    rng = np.random.default_rng(0)
    codes = np.unique(run.data.artist_id, return_inverse=True)[1]
    run.data.vggish[:] = rng.normal(size=(codes.max() + 1, 128))[codes]
    run.folder = tmp_path / "artists"
    run.folder.mkdir()
    train_members(run, "fold-0", run.folds != 0, run.features())
    with np.load(tmp_path / "artists" / "fold-0" / "teacher.npz") as stored:
        blind = stored["probabilities"]
    assert (blind.argmax(axis=1) == y).mean() < 0.5

    edit_teacher(data)
    without, run = graph_of(tmp_path / "without", data, **settings)
    assert run.data.vggish is None
    assert without != graph
