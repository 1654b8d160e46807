"""Pictures that excite the filters of a network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from genrescope.catalog.genres import GENRE_COLOURS
from genrescope.catalog.prepared import PreparedData
from genrescope.errors import DataError
from genrescope.explain.filter_figures import write_filters
from genrescope.explain.filters import Excited, excite, exciting_clips
from genrescope.explain.trained import load_trained
from genrescope.learn.deep.architectures import build, find
from genrescope.learn.deep.state import write_tensors
from tests.apps.command import run as command

SHAPE = (1, 64, 64)
QUICK = Excited(steps=24)


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    made: torch.nn.Module = build(find("naive-cnn@1x64x64"), n_genres=3).eval()
    return made


def test_every_filter_is_excited_more_by_its_own_picture(net: torch.nn.Module) -> None:
    found = excite(net, SHAPE, layer=2, how=QUICK)
    assert found.filters == tuple(range(16))
    assert (found.after > found.before + 0.5).all()
    # 3 x 3 after pooling by 4, of 3 x 3: 3 * 4 + 2 bands and frames.
    assert found.images.shape == (16, 14, 14)


def test_a_picture_of_the_first_layer_is_what_its_filter_looks_for(net: torch.nn.Module) -> None:
    found = excite(net, SHAPE, layer=1, how=Excited(steps=60, smooth=0, blur=0, decay=0, jitter=0))
    assert found.images.shape == (8, 3, 3)
    weights = net.get_parameter("0.weight").detach().numpy()[:, 0]
    telling = np.abs(weights) > 0.05
    assert (np.sign(found.images) == np.sign(weights))[telling].all()


def test_regularisation_makes_it_smooth(net: torch.nn.Module) -> None:
    rough = excite(net, SHAPE, layer=3, how=Excited(steps=24, smooth=0, blur=0, decay=0, jitter=0))
    smooth = excite(net, SHAPE, layer=3, how=QUICK)

    def edges(images: np.ndarray) -> float:
        """How much neighbours differ, of how much all differs."""
        return float(np.mean(np.abs(np.diff(images, axis=1)).mean((1, 2)) / images.std((1, 2))))

    assert edges(smooth.images) < 0.6 * edges(rough.images)


def test_it_repeats_itself_and_takes_only_what_is_asked_for(net: torch.nn.Module) -> None:
    first, second = (excite(net, SHAPE, layer=2, filters=[3, 5], how=QUICK) for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    assert first.filters == (3, 5)
    other = excite(net, SHAPE, layer=2, filters=[3, 5], how=Excited(steps=24, seed=1))
    assert (other.images != first.images).any()


@pytest.mark.parametrize(
    ("layer", "filters", "says"),
    [(4, None, "convolutions are 1 to 3"), (0, None, "no layer 0"), (1, [8], "0 to 7; 8 was"),
     (1, [], "none was asked for")],
)  # fmt: skip
def test_what_is_not_there_is_refused(
    net: torch.nn.Module, layer: int, filters: list[int] | None, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        excite(net, SHAPE, layer=layer, filters=filters)


def test_networks_without_convolutions_are_refused() -> None:
    with pytest.raises(DataError, match="no two-dimensional convolution"):
        excite(torch.nn.Linear(2, 2), SHAPE)


def _clips(n: int = 6) -> PreparedData:
    rng = np.random.default_rng(0)
    mel = rng.integers(0, 120, (n, 128, 128)).astype(np.uint8)
    mel[4, 60:64, 96:100] = 255  # loud, late
    return PreparedData(
        track_id=np.arange(n),
        mel=mel,
        mfcc_3s=np.zeros((n, 130, 20), np.float16),
        vggish=None,
        genre_top=np.array(["Rock"] * n),
        artist_id=np.array(["1"] * n),
        title=np.array([f"song {k}" for k in range(n)]),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    record = {"kind": "network", "model": "naive-cnn", "options": {}, "genres": ["Folk", "Rock"]}
    (folder / "run.json").write_text(json.dumps(record))
    torch.manual_seed(1)
    weights = build(find("naive-cnn"), n_genres=2).state_dict()
    weights["0.weight"][0] = 1.0  # the first filter hears how loud it is
    (folder / "fold-0").mkdir()
    write_tensors(folder / "fold-0" / "weights.safetensors", weights, {})
    return folder


def test_the_clip_that_excites_most_is_found(trained: Path) -> None:
    made = load_trained(trained)
    assert (made.part, made.genres) == ("fold-0", ("Folk", "Rock"))
    found = exciting_clips(made.net, _clips(), layer=1, filters=[0], most=2)
    assert found[0][0].track_id == 4
    assert found[0][0].title == "song 4"
    assert found[0][0].at == pytest.approx(97.5 / 127, abs=0.02)
    assert found[0][0].excitement > found[0][1].excitement


def test_the_piece_is_what_the_filter_sees_and_what_is_around(trained: Path) -> None:
    made = load_trained(trained)
    clip = exciting_clips(made.net, _clips(), layer=1, filters=[0], most=1)[0][0]
    # 3 x 3 inside the loud patch, which is 4 bands from 60 on and 4 frames from 96 on.
    assert 60 <= clip.bands[0] < clip.bands[1] <= 64
    assert 96 <= clip.frames[0] < clip.frames[1] <= 100
    assert clip.bands[1] - clip.bands[0] == clip.frames[1] - clip.frames[0] == 3
    assert clip.piece.shape == (40, 24)
    loud = np.argwhere(clip.piece == 0) + clip.corner
    assert loud.min(axis=0).tolist() == [60, 96]
    assert loud.max(axis=0).tolist() == [63, 99]


def test_a_piece_at_the_edge_stays_inside_the_clip(trained: Path) -> None:
    data = _clips()
    data.mel[4] = 10
    data.mel[4, :3, 125:] = 255
    clip = exciting_clips(load_trained(trained).net, data, layer=1, filters=[0], most=1)[0][0]
    assert clip.track_id == 4
    assert clip.corner == (0, 104)
    assert (clip.piece[:3, -3:] == 0).all()


def test_clips_without_sound_excite_nothing(trained: Path) -> None:
    data = _clips()
    data.mel[2] = 0
    found = exciting_clips(load_trained(trained).net, data, layer=1, filters=[0], most=5)
    assert {clip.track_id for clip in found[0]} == {0, 1, 3, 4, 5}


def test_grid_and_facts_are_written(trained: Path, tmp_path: Path) -> None:
    made = load_trained(trained)
    found = excite(made.net, made.architecture.input_shape, layer=1, how=Excited(steps=4))
    clips = exciting_clips(made.net, _clips(), layer=1)
    paths = write_filters(found, tmp_path, clips=clips, frame_seconds=0.234)
    assert [path.name for path in paths] == [
        *(f"filters-layer-1.{e}" for e in ("svg", "png", "json")),
        *(f"filters-layer-1-clips.{e}" for e in ("svg", "png")),
    ]
    pieces = paths[3].read_text("utf-8")
    assert pieces.count("<image") == 8 * 4  # each filter, and three clips beside it
    assert GENRE_COLOURS["Rock"] in pieces
    svg = paths[0].read_text("utf-8")
    assert "filter 8" in svg
    assert "song 4 (Rock)" in svg
    facts = json.loads(paths[2].read_text("utf-8"))
    assert len(facts["filters"]) == 8
    assert facts["hertz"][0] < facts["hertz"][1]


def test_the_command_draws(trained: Path, tmp_path: Path) -> None:
    done = command(
        "model", "filters", trained, "--layer", "1", "--steps", "2", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [Path(line).name for line in done.stdout.decode().splitlines()] == [
        f"filters-layer-1.{ending}" for ending in ("svg", "png", "json")
    ]


@pytest.mark.parametrize(("part", "says"), [("all", "done are fold-0"), ("fold-3", "fold-3 has")])
def test_parts_that_are_not_done_are_refused(trained: Path, part: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_trained(trained, part=part)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no run of a network"):
        load_trained(tmp_path)
