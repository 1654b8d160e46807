"""What networks are given: the front end's frames, and what is varied about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genrescope.audio import frames
from genrescope.catalog.prepared import load_prepared
from genrescope.errors import DataError
from genrescope.learn.deep.data import Feed, FrameData, decibels, picture, vary
from genrescope.learn.deep.settings import NO_AUGMENTATION, Augmentation
from genrescope.learn.train.framenet import split_row
from tests.learn.small_data import GENRES, edit_tracks, make_prepared

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prepared(tmp_path_factory.mktemp("data") / "prepared", n_artists=12, tracks_each=2)


@pytest.fixture(scope="module")
def data(folder: Path) -> FrameData:
    return FrameData.load(folder)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_networks_see_what_the_front_end_says(folder: Path, data: FrameData) -> None:
    """Trained on the very numbers that the bundle's graph is given."""
    prepared = load_prepared(folder)
    rows = torch.as_tensor(frames.describe_prepared(prepared.mel, prepared.mfcc_3s))
    db, dense = split_row(rows)
    torch.testing.assert_close(decibels(torch.as_tensor(data.mel)), db, atol=1e-4, rtol=0)
    x, heard = Feed(data, device=CPU, dense=True).clean(torch.arange(len(data)))
    torch.testing.assert_close(x, picture(db), atol=1e-5, rtol=0)
    torch.testing.assert_close(heard, dense, atol=1e-3, rtol=0)
    assert x.shape == (len(data), 1, 128, 128)
    assert (x[:, :, frames.READ_BANDS :] == x.min()).all()


def test_rows_are_picked(data: FrameData) -> None:
    feed = Feed(data, device=CPU, dense=False)
    (x,) = feed.clean(torch.tensor([5, 3]))
    (whole,) = feed.clean(torch.arange(len(data)))
    assert torch.equal(x, whole[[5, 3]])
    assert feed.y.tolist() == data.y.tolist()


def test_what_is_left_out_and_what_is_refused(tmp_path: Path) -> None:
    folder = make_prepared(tmp_path / "p", n_artists=8, tracks_each=1)
    edit_tracks(folder, genre_top={2: ""})
    data = FrameData.load(folder)
    assert len(data) == 7
    assert data.genres == GENRES
    edit_tracks(folder, artist_id={3: ""})
    with pytest.raises(DataError, match="1 of 7 tracks have no artist_id"):
        FrameData.load(folder)
    make_prepared(folder, n_artists=8, tracks_each=1, genres=GENRES[:1])
    with pytest.raises(DataError, match="nothing to tell apart"):
        FrameData.load(folder)


def test_the_hash_is_of_all_that_is_learnt_from(data: FrameData) -> None:
    assert len(data.sha256) == 64
    mel = data.mel.copy()
    mel[0, 0, 0] ^= 1
    artist = data.artist.copy()
    artist[0] = "x"
    changed = [
        replace(data, mel=mel),
        replace(data, artist=artist),
        replace(data, y=(data.y + 1) % 4),
        replace(data, mfcc=data.mfcc + np.float16(1)),
    ]
    assert len({data.sha256, *(other.sha256 for other in changed)}) == 5
    assert replace(data).sha256 == data.sha256


# --- variation -------------------------------------------------------------


def some(n: int = 6) -> torch.Tensor:
    return -72 * torch.rand((n, 115, 128), generator=seeded(0))


def only(**what: float) -> Augmentation:
    return replace(NO_AUGMENTATION, **what)


def test_nothing_is_varied_where_all_is_off() -> None:
    assert torch.equal(vary(some(), NO_AUGMENTATION, generator=seeded(1)), some())


def test_variation_follows_its_generator_and_leaves_its_input() -> None:
    x = some()
    one, again, other = (vary(x, Augmentation(), generator=seeded(k)) for k in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(x, some())


def test_each_track_begins_elsewhere() -> None:
    x, starts = some(), set()
    for track, rolled in zip(x, vary(x, only(roll=1.0), generator=seeded(2)), strict=True):
        found = [k for k in range(128) if torch.equal(torch.roll(track, -k, 1), rolled)]
        assert len(found) == 1
        starts.add(found[0])
    assert len(starts) > 3
    half = vary(some(200), only(roll=0.5), generator=seeded(2))
    kept = (half == some(200)).all(dim=(1, 2)).float().mean()
    assert 0.35 < kept < 0.65


def test_a_part_is_in_a_row_and_from_anywhere() -> None:
    x = some(40)
    parts = vary(x, only(crop=0.25), generator=seeded(2))
    assert parts.shape == (40, 115, 32)
    doubled = torch.cat([x, x], dim=2)
    starts = [
        next(k for k in range(128) if torch.equal(track[:, k : k + 32], part))
        for track, part in zip(doubled, parts, strict=True)
    ]
    assert len(set(starts)) > 20


def test_bands_are_shifted_and_the_edge_repeated() -> None:
    x = some(60)
    seen = set()
    for track, moved in zip(x, vary(x, only(shift=2), generator=seeded(5)), strict=True):
        for by in range(-2, 3):
            at = (torch.arange(115) + by).clamp(0, 114)
            if torch.equal(track[at], moved):
                seen.add(by)
                break
        else:
            raise AssertionError("no shift of -2 to 2 bands")
    assert seen == {-2, -1, 0, 1, 2}


def test_the_equaliser_is_smooth_and_the_same_at_all_times() -> None:
    gain = vary(some(300), only(equaliser_db=2.0), generator=seeded(6)) - some(300)
    torch.testing.assert_close(gain, gain[:, :, :1].expand_as(gain), atol=1e-4, rtol=0)
    assert 2.0 < gain[:, :, 0].std() < 4.0  # four curves of 2 dB
    assert gain[:, :, 0].diff(dim=1).abs().max() < 2.5
    assert not torch.allclose(gain[0], gain[1], atol=0.1)


@pytest.mark.parametrize("axis", ["band", "time"])
def test_stripes_are_hidden(axis: str) -> None:
    x = some(200)
    how = only(**{f"{axis}_masks": 1, f"{axis}_mask": 9})
    hidden = vary(x, how, generator=seeded(7)) != x
    lines = hidden.any(dim=2 if axis == "band" else 1)
    assert torch.equal(hidden, (lines[:, :, None] if axis == "band" else lines[:, None]) & hidden)
    sizes = lines.sum(dim=1)
    assert set(sizes.tolist()) == set(range(10))
    for line in lines:
        on = torch.nonzero(line)[:, 0]
        assert len(on) == 0 or int(on[-1] - on[0]) + 1 == len(on)  # in one piece
    assert lines.any(dim=0)[3:-3].all()  # anywhere


def test_the_dense_part_is_offset(data: FrameData) -> None:
    feed = Feed(data, device=CPU, dense=True)
    rows = torch.arange(len(data))
    clean = feed.clean(rows)[1]
    same = feed.varied(rows, NO_AUGMENTATION, generator=seeded(1))[1]
    assert torch.equal(same, clean)
    moved = feed.varied(rows, only(dense_offset=0.15), generator=seeded(1))[1] - clean
    torch.testing.assert_close(moved, moved[:, :, :1].expand_as(moved), atol=1e-3, rtol=0)
    spread = clean.std(dim=(0, 2))
    assert 0.1 < (moved[:, :, 0] / spread).std() < 0.2
