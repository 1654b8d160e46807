"""Grad-CAM, integrated gradients, and whether they tell of the network at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genrescope.errors import DataError
from genrescope.explain.why.gradients import (
    calm,
    cells_of,
    grad_cam,
    integrated_gradients,
    randomised,
    score_of_picture,
)
from genrescope.explain.why.saliency import deletion, occlude, rank_correlation
from genrescope.learn.deep.architectures import build, find

NETS = ("naive-cnn@1x64x64", "compact-cnn@1x64x64", "cs464-cnn@1x64x64")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)
    x[0, 40:48, 16:24] += 4.0  # an event
    return x


def _net(name: str) -> Any:
    torch.manual_seed(0)
    return build(find(name), n_genres=4).eval()


class _Loud(nn.Module):
    """Genre 1 is how loud it is around the event, through one convolution; genre 0 is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.zero_()
            self.conv.weight[0, 0, 1, 1] = 1.0

    def forward(self, x: Any) -> Any:
        h = torch.relu(self.conv(x) - 2.0)[:, 0].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(h), h], dim=1)


@pytest.mark.parametrize("name", NETS)
def test_integrated_gradients_add_up(name: str, picture: np.ndarray) -> None:
    net = _net(name)
    found = integrated_gradients(net, picture, 2, steps=256)
    with torch.no_grad():
        logits = net(torch.from_numpy(np.stack([calm(picture), picture]))).double().numpy()
    odds = logits[:, 2] - np.log(np.exp(np.delete(logits, 2, axis=1)).sum(axis=1))
    assert found.difference == pytest.approx(odds[1] - odds[0], abs=1e-4)
    assert found.missing < 0.02 * max(1.0, abs(found.difference))
    # More steps, closer.
    assert found.missing <= integrated_gradients(net, picture, 2, steps=2).missing + 1e-3


def test_what_does_not_differ_from_the_baseline_adds_nothing(picture: np.ndarray) -> None:
    found = integrated_gradients(_net(NETS[0]), picture, 0, baseline=picture.copy())
    assert found.difference == 0
    assert not found.values.any()


@pytest.mark.parametrize("name", NETS)
def test_grad_cam_is_a_map_of_the_whole_picture(name: str, picture: np.ndarray) -> None:
    maps = [grad_cam(_net(name), picture, genre, layer=2) for genre in range(4)]
    assert all(one.shape == (64, 64) and one.min() >= 0 and one.max() <= 1 for one in maps)
    assert sum(one.max() == 1 for one in maps) >= 2
    assert (maps[0] != maps[1]).any()
    assert grad_cam(_net(name), picture, 0).shape == (64, 64)


def test_both_find_the_event(picture: np.ndarray) -> None:
    inside = np.zeros((64, 64), bool)
    inside[40:48, 16:24] = True
    net = _Loud()
    added = integrated_gradients(net, picture, 1).values
    assert added[inside].sum() > 0.75 * added.sum()  # in a 64th of the picture
    cam = grad_cam(net, picture, 1)
    assert cam[inside].mean() > 5 * cam[~inside].mean()


def test_a_true_map_beats_chance_in_deletion(picture: np.ndarray) -> None:
    net, shape = _net(NETS[0]), (8, 8)
    score = score_of_picture(net, picture, 1, shape)
    for cells in (
        cells_of(integrated_gradients(net, picture, 1).values, shape),
        occlude(score, shape, draws=400).cells,
    ):
        assert deletion(score, cells).better
    assert score(np.ones((1, *shape), bool)).shape == (1,)


@pytest.mark.parametrize("name", NETS[:2])
def test_randomised_weights_change_the_map(name: str, picture: np.ndarray) -> None:
    net = _net(name)
    other = randomised(net)
    for first, second in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(
            first.detach().flatten().sort().values, second.detach().flatten().sort().values
        )
    maps = [integrated_gradients(one, picture, 1).values for one in (net, net, other)]
    assert rank_correlation(maps[0], maps[1]) == 1
    assert abs(rank_correlation(maps[0], maps[2])) < 0.5


def test_cells_keep_the_sum() -> None:
    values = np.random.default_rng(0).normal(size=(64, 50))
    cells = cells_of(values, (16, 15))
    assert cells.shape == (16, 15)
    assert cells.sum() == pytest.approx(values.sum())
    assert cells[0, 0] == pytest.approx(values[:4, :4].sum())


def test_what_cannot_be_is_refused(picture: np.ndarray) -> None:
    net = _net(NETS[0])
    with pytest.raises(DataError, match="no genre 9"):
        grad_cam(net, picture, 9)
    with pytest.raises(DataError, match="no layer 7"):
        grad_cam(net, picture, 0, layer=7)
    with pytest.raises(DataError, match="1 step or more"):
        integrated_gradients(net, picture, 0, steps=0)
    with pytest.raises(DataError, match="same shape"):
        integrated_gradients(net, picture, 0, baseline=np.zeros((1, 2, 2), np.float32))
