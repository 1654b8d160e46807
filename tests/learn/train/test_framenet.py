"""The network on frames: what it is given, how that is varied, and its weights as they ship."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrescope.audio import frames
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.learn.train.framenet import (
    FrameNet,
    augment_frames,
    folded_frame_weights,
    split_row,
)
from tests.learn.small_data import make_prepared
from tests.learn.train.test_statnet import gelu, lived_in

BANDS = frames.READ_BANDS


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("prepared")
    return load_prepared(make_prepared(folder, n_artists=8, tracks_each=2))


@pytest.fixture(scope="module")
def sequences(tracks: PreparedData) -> tuple[torch.Tensor, torch.Tensor]:
    x, dense = split_row(frames.describe_prepared(tracks.mel, tracks.mfcc_3s))
    return torch.as_tensor(x), torch.as_tensor(dense)


def test_a_row_holds_the_frames_and_the_dense_sequence(tracks: PreparedData) -> None:
    rows = frames.describe_prepared(tracks.mel, tracks.mfcc_3s)
    x, dense = split_row(rows)
    assert x.shape == (len(tracks), BANDS, 128)
    assert dense.shape == (len(tracks), 20, 130)
    db = tracks.mel[:, :BANDS].astype(np.float32) * (80.0 / 255.0)
    db -= db.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(x, np.maximum(db, -frames.FLOOR_DB), atol=1e-4)
    mfcc = tracks.mfcc_3s.astype(np.float32).transpose(0, 2, 1)
    np.testing.assert_allclose(dense[:, 1:], mfcc[:, 1:], atol=1e-4)
    np.testing.assert_allclose(
        dense[:, 0], mfcc[:, 0] - mfcc[:, 0].mean(axis=1, keepdims=True), atol=1e-3
    )


def test_augmentation_is_seeded_and_leaves_its_input_alone(
    sequences: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, dense = (part.clone() for part in sequences)
    one, again, other = (
        augment_frames(x, dense, rng=np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(x, sequences[0])
    assert torch.equal(dense, sequences[1])
    assert one[0].shape == (len(x), BANDS, 64)
    assert one[1].shape == dense.shape
    assert one[0].dtype == one[1].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_augmentation_varies_everything_it_promises() -> None:
    """On frames that tell where they come from: 1000 times the band plus the moment."""
    n, quiet = 3, -frames.FLOOR_DB / 2
    source = 1000.0 * np.arange(BANDS)[:, None] + np.arange(frames.N_FRAMES)[None, :]
    x = torch.as_tensor(source, dtype=torch.float32).expand(n, -1, -1)
    dense = torch.randn(n, 20, 130, generator=torch.Generator().manual_seed(0))
    starts, shifts = set(), set()
    masked_bands: list[int] = []
    masked_times: list[int] = []
    gains = []
    for seed in range(60):
        answer, moved = augment_frames(x, dense, rng=np.random.default_rng(seed))
        out = answer.numpy()
        # One mask over bands and one over time, the same for the whole batch.
        masked = out == quiet
        bands, times = masked[0].all(axis=1), masked[0].all(axis=0)
        np.testing.assert_array_equal(
            masked, np.broadcast_to(bands[:, None] | times[None, :], out.shape)
        )
        for mask, widths in ((bands, masked_bands), (times, masked_times)):
            assert np.abs(np.diff(mask.astype(int))).sum() <= 2  # in one piece
            widths.append(int(mask.sum()))
        # What is left says which band and which moment it was.
        kept, moments = np.flatnonzero(~bands), np.flatnonzero(~times)
        left = out[:, kept][:, :, moments]
        np.testing.assert_allclose(
            left - left[:, :, :1],
            np.broadcast_to(moments - moments[0], left.shape),
            atol=0.05,
        )
        was = np.round((left[:, :, 0] - 64) / 1000)
        shift = np.unique((kept - was) % BANDS)
        assert len(shift) == 1
        shifts.add(int((shift[0] + BANDS // 2) % BANDS) - BANDS // 2)
        start_and_gain = left[:, :, 0] - 1000 * was - moments[0]
        starts.add(round(float(np.median(start_and_gain))))
        gains.append((start_and_gain - start_and_gain.mean(axis=1, keepdims=True)).std())
        # The dense part: a constant for every coefficient of every track.
        offset = (moved - dense).numpy()
        assert offset.std(axis=2).max() < 1e-5
        assert 0.05 < offset[:, :, 0].std() < 0.3
    assert shifts == {-2, -1, 0, 1, 2}
    assert min(starts) < 10
    assert max(starts) > 54
    assert min(masked_bands) == min(masked_times) == 0
    assert 10 <= max(masked_bands) <= 14
    assert 14 <= max(masked_times) <= 18
    assert 1.0 < np.mean(gains) < 5.0


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[n, in, time] with [out, in, kernel], zeros beyond the ends."""
    kernel = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (kernel // 2, kernel // 2)))
    views = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=2)
    return np.asarray(np.einsum("nitk,oik->not", views, weight) + bias[:, None])


def test_folded_weights_answer_as_the_network(
    sequences: tuple[torch.Tensor, torch.Tensor],
) -> None:
    torch.manual_seed(0)
    net = FrameNet(n_genres=5, n_teacher=7, width=24, dense_width=12, hidden=32)
    lived_in(net, *sequences)
    with torch.no_grad():
        logits, teacher = net(*sequences)
    assert teacher.shape == (len(logits), 7)

    w = folded_frame_weights(net)
    assert all(value.dtype == np.float32 for value in w.values())
    assert not any("teacher" in key for key in w)
    pooled = []
    for name, sequence in zip(("frames", "dense"), sequences, strict=True):
        h = sequence.numpy() * w[f"{name}.gain"][:, None] + w[f"{name}.offset"][:, None]
        for k in range(3):
            h = gelu(convolve(h, w[f"{name}.{k}.weight"], w[f"{name}.{k}.bias"]))
            if name == "dense" and k < 2:
                h = h[:, :, : h.shape[2] // 2 * 2].reshape(*h.shape[:2], -1, 2).max(axis=3)
        pooled += [h.mean(axis=2), h.max(axis=2), np.sqrt(h.var(axis=2) + 1e-5)]
    hidden = gelu(np.concatenate(pooled, axis=1) @ w["join.weight"] + w["join.bias"])
    answer = hidden @ w["genre.weight"] + w["genre.bias"]
    np.testing.assert_allclose(answer, logits.numpy(), atol=1e-4)
    assert np.ptp(answer, axis=0).min() > 0.05


def test_it_does_not_ask_when_something_happened() -> None:
    torch.manual_seed(0)
    net = FrameNet(n_genres=5, n_teacher=0, width=24, dense_width=12, hidden=32)
    x, dense = torch.randn(4, BANDS, 128), torch.randn(4, 20, 130)
    lived_in(net, x, dense)
    with torch.no_grad():
        logits, teacher = net(x, dense)
        turned, _ = net(x.roll(40, dims=2), dense)
        shuffled, _ = net(x[:, torch.randperm(BANDS)], dense)
    assert teacher is None
    away = (shuffled - logits).abs().mean()
    assert (turned - logits).abs().mean() < 0.2 * away
