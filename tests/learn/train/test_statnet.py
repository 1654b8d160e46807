"""The scaling in front of the network on statistics, and its weights as they ship."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrescope.learn.train.statnet import CLIP, StatNet, fit_front_scale, folded_weights


def correlated(n: int, d: int, *, seed: int = 0) -> np.ndarray:
    """Rows with a few strong directions, columns of very different size."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 6)) * [9.0, 5.0, 3.0, 2.0, 1.0, 0.5]
    rows = hidden @ rng.normal(size=(6, d)) + 0.3 * rng.normal(size=(n, d))
    return (rows * np.geomspace(1e-3, 1e3, d) + np.linspace(-50, 50, d)).astype(np.float32)


# --- the front scale -------------------------------------------------------


def test_columns_are_standardised_by_the_rows_that_were_given() -> None:
    x = correlated(500, 30)
    scale = fit_front_scale(x, n_components=10)
    np.testing.assert_allclose(scale.mean, x.mean(axis=0, dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(scale.scale, 1 / x.std(axis=0, dtype=np.float64), rtol=1e-4)


def test_components_are_principal_axes_half_way_to_white() -> None:
    x = correlated(600, 40)
    scale = fit_front_scale(x, n_components=40)
    z = np.clip((x - scale.mean) * scale.scale, -CLIP, CLIP).astype(np.float64)
    variances = np.sort(np.linalg.eigvalsh(z.T @ z / len(z)))[::-1]
    out = scale(x).astype(np.float64)
    moments = out.T @ out / len(out)
    # Uncorrelated, loudest first, each with the square root of its variance ...
    kept = variances > 1e-3
    ratio = np.diag(moments)[kept] / np.sqrt(variances[kept])
    np.testing.assert_allclose(ratio, ratio[0], rtol=5e-3)
    size = np.sqrt(np.diag(moments))
    correlation = moments / np.outer(size, size)
    assert np.abs(correlation - np.eye(40)).max() < 0.02
    # ... and of about unit size.
    assert np.diag(moments).mean() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("n", [400, 60])  # more rows than columns, and fewer
def test_components_are_the_loudest_and_have_a_fixed_sign(n: int) -> None:
    x = correlated(n, 120)
    few, many = (fit_front_scale(x, n_components=k) for k in (3, 50))
    assert few(x).shape == (n, 3)
    ratio = few.projection / many.projection[:, :3]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=0.02)
    largest = np.abs(many.projection).argmax(axis=0)
    assert (many.projection[largest, np.arange(50)] > 0).all()


def test_fewer_rows_than_columns_give_the_same_axes() -> None:
    x = correlated(90, 100)
    wide = fit_front_scale(x, n_components=6)
    # Columns that say nothing do not change what the others say, but the way it is computed.
    tall = fit_front_scale(x[:, :80], n_components=6)
    same = fit_front_scale(np.pad(x[:, :80], ((0, 0), (0, 20))), n_components=6)
    np.testing.assert_allclose(same.projection[:80], tall.projection, atol=2e-3)
    np.testing.assert_array_equal(same.projection[80:], 0.0)
    assert wide.projection.shape == (100, 6)


def test_never_more_components_than_rows() -> None:
    x = correlated(12, 30)
    assert fit_front_scale(x, n_components=400)(x).shape == (12, 12)


def test_constant_columns_are_switched_off() -> None:
    x = correlated(300, 20)
    x[:, 4] = 7.0
    x[:, 9] = 1e4 + np.linspace(0.0, 1e-3, 300)  # constant but for rounding
    x[:, 12] = 0.0
    scale = fit_front_scale(x, n_components=20)
    assert np.flatnonzero(scale.scale == 0).tolist() == [4, 9, 12]
    other = x.copy()
    other[:, [4, 9, 12]] = [[-3.0, 2e6, 1e9]]
    np.testing.assert_array_equal(scale(other), scale(x))


def test_one_odd_value_does_not_drown_the_others() -> None:
    x = correlated(300, 20)
    scale = fit_front_scale(x, n_components=20)
    odd, worse = x[:1].copy(), x[:1].copy()
    odd[0, 3], worse[0, 3] = scale.mean[3] + [100 / scale.scale[3], 1e9 / scale.scale[3]]
    np.testing.assert_allclose(scale(odd), scale(worse), atol=1e-4)
    assert np.abs(scale(worse)).max() < 100


def test_the_projection_survives_float16() -> None:
    scale = fit_front_scale(correlated(300, 50), n_components=20)
    assert scale.projection.dtype == np.float32
    stored = scale.projection.astype(np.float16)
    np.testing.assert_array_equal(stored.astype(np.float32), scale.projection)
    assert (scale.projection != 0).mean() > 0.99


# --- the network -----------------------------------------------------------


def gelu(x: np.ndarray) -> np.ndarray:
    erf = torch.special.erf(torch.as_tensor(x / np.sqrt(2.0))).numpy()
    answer: np.ndarray = 0.5 * x * (1.0 + erf)
    return answer


def lived_in(net: torch.nn.Module, *inputs: torch.Tensor) -> None:
    """Give the batch norms of a network gains and a history, and set it to answering."""
    generator = torch.Generator().manual_seed(0)
    net.train()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm1d):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.uniform_(-0.5, 0.5, generator=generator)
        for _ in range(5):
            net(*inputs)
    net.eval()


def test_folded_weights_answer_as_the_network() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 30) * 2 + 1
    net = StatNet(30, n_genres=5, n_teacher=7, width=48)
    lived_in(net, x)
    with torch.no_grad():
        logits, teacher = net(x)
    assert teacher.shape == (64, 7)

    w = folded_weights(net)
    assert all(value.dtype == np.float32 for value in w.values())
    first = gelu(x.numpy() @ w["first.weight"] + w["first.bias"])
    hidden = first + gelu(first @ w["block.weight"] + w["block.bias"])
    answer = hidden @ w["genre.weight"] + w["genre.bias"]
    np.testing.assert_allclose(answer, logits.numpy(), rtol=1e-4, atol=1e-4)
    assert np.ptp(answer, axis=0).min() > 0.1


def test_the_teacher_head_does_not_ship() -> None:
    with_teacher = StatNet(30, n_genres=5, n_teacher=7, width=48)
    without = StatNet(30, n_genres=5, n_teacher=0, width=48)
    assert without(torch.zeros(2, 30))[1] is None
    shapes = [
        {k: v.shape for k, v in folded_weights(net).items()} for net in (with_teacher, without)
    ]
    assert shapes[0] == shapes[1]


def test_dropout_is_off_when_it_answers() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 30)
    net = StatNet(30, n_genres=5, n_teacher=0, width=48)
    net.train()
    assert not torch.equal(net(x)[0], net(x)[0])
    net.eval()
    assert torch.equal(net(x)[0], net(x)[0])
