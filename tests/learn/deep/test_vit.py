"""The Vision Transformer: patches, position, sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genrescope.errors import TrainingError
from genrescope.learn.deep.architectures import build, count_parameters, find, summarise
from genrescope.learn.deep.vit import VisionTransformer

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {"width": 24, "depth": 2, "heads": 3, "mlp": 40, "dropout": 0.0}


def test_the_study_s_size() -> None:
    rows = summarise(find("cs464-vit"))
    kinds = [row.kind for row in rows]
    # 8 x 80 patches of 3 x 16 x 16, and one class token.
    assert rows[1].kind == "Conv2d"
    assert rows[1].shape == (1024, 8, 80)
    assert rows[1].parameters == 3 * 16 * 16 * 1024 + 1024
    assert rows[0].kind == "Parameter"
    assert rows[0].parameters == 1024 + (1 + 640) * 1024
    assert rows[2].shape == (641, 1024)
    # Six blocks: two norms, queries, keys and values, what joins them, and the perceptron.
    assert kinds.count("LayerNorm") == 2 * 6 + 1
    block = [row for row in rows if row.path.startswith("blocks.3.")]
    assert [(row.kind, row.shape, row.parameters) for row in block if row.parameters] == [
        ("LayerNorm", (641, 1024), 2_048),
        ("Linear", (641, 3072), 3_148_800),
        ("Linear", (641, 1024), 1_049_600),
        ("LayerNorm", (641, 1024), 2_048),
        ("Linear", (641, 2048), 2_099_200),
        ("Linear", (641, 1024), 2_098_176),
    ]
    assert rows[-1].parameters == 1024 * 8 + 8
    assert sum(row.parameters for row in rows) == 51_854_344


@pytest.mark.parametrize(
    ("name", "total", "tokens"), [("vit-tiny", 1_861_448, 145), ("vit-small", 9_629_576, 145)]
)
def test_the_sane_sizes(name: str, total: int, tokens: int) -> None:
    rows = summarise(find(name))
    assert sum(row.parameters for row in rows) == total
    assert {row.shape[0] for row in rows if row.kind == "LayerNorm" and row.shape} == {tokens}


@pytest.mark.parametrize(
    ("patch", "overlap", "grid"),
    [
        ((16, 16), (0, 0), (2, 3)),  # 40 bands, 50 frames: what fills no patch is left out
        ((16, 16), (6, 6), (3, 4)),
        ((40, 2), (0, 1), (1, 49)),  # as high as the picture: a patch is a moment
    ],
)
def test_patches(patch: tuple[int, int], overlap: tuple[int, int], grid: tuple[int, int]) -> None:
    net = VisionTransformer(
        input_shape=(1, 40, 50), n_genres=4, patch=patch, overlap=overlap, **SMALL
    )
    assert net.grid == grid
    assert net.position.shape == (1, 1 + grid[0] * grid[1], 24)
    assert net(torch.randn(3, 1, 40, 50)).shape == (3, 4)


def test_it_reads_each_patch_and_knows_where_it_is() -> None:
    torch.manual_seed(0)
    net = VisionTransformer(input_shape=(1, 8, 12), n_genres=4, patch=(4, 4), **SMALL).eval()
    x = torch.randn(1, 1, 8, 12)
    with torch.no_grad():
        plain = net(x)
        for row, column in ((0, 0), (1, 2)):
            changed = x.clone()
            changed[:, :, row * 4, column * 4] += 3
            assert not torch.allclose(net(changed), plain, atol=1e-5)
        rolled = net(torch.roll(x, 4, dims=3))
        assert not torch.allclose(rolled, plain, atol=1e-5)
        net.position.zero_()  # without positions the patches are a bag
        torch.testing.assert_close(net(torch.roll(x, 4, dims=3)), net(x))


def test_attention_is_what_it_is_called() -> None:
    torch.manual_seed(0)
    net = VisionTransformer(input_shape=(1, 8, 8), n_genres=4, patch=(4, 4), **SMALL).eval()
    attention = net.blocks[0].attention
    x = torch.randn(2, 5, 24)
    with torch.no_grad():
        q, k, v = (part.reshape(2, 5, 3, 8) for part in attention.qkv(x).split(24, dim=2))
        weight = torch.einsum("bihd,bjhd->bhij", q, k).div(8**0.5).softmax(dim=3)
        heard = torch.einsum("bhij,bjhd->bihd", weight, v).reshape(2, 5, 24)
        torch.testing.assert_close(attention(x), attention.out(heard))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch": (16, 16), "overlap": (16, 0)}, "smaller than the patch"),
        ({"patch": (256, 16)}, "do not fit into 128 x 128"),
        ({"width": 100}, "100 cannot be shared by 3 heads"),
    ],
)
def test_sizes_that_do_not_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        build(find("vit-tiny", options))


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    net = VisionTransformer(input_shape=(1, 16, 16), n_genres=4, patch=(8, 8), **SMALL)
    net(torch.randn(4, 1, 16, 16)).square().sum().backward()
    assert count_parameters(net) == sum(p.grad.numel() for p in net.parameters())
