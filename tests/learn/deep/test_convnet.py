"""The convolutional networks: every layer of the study's, and what the compact one is for."""

from __future__ import annotations

import pytest
import torch

from genrescope.errors import TrainingError
from genrescope.learn.deep.architectures import build, count_parameters, find, summarise
from genrescope.learn.deep.convnet import CompactCNN, StudyCNN, TimePool

pytestmark = pytest.mark.usefixtures("one_thread")

# What the study printed: layer, output shape, parameters.
STUDY = [
    ("Conv2d", (4, 128, 1292), 112),
    ("ReLU", (4, 128, 1292), 0),
    ("Conv2d", (8, 128, 1292), 296),
    ("ReLU", (8, 128, 1292), 0),
    ("MaxPool2d", (8, 64, 646), 0),
    ("Conv2d", (16, 64, 646), 1_168),
    ("ReLU", (16, 64, 646), 0),
    ("MaxPool2d", (16, 32, 323), 0),
    ("Conv2d", (32, 32, 323), 4_640),
    ("ReLU", (32, 32, 323), 0),
    ("MaxPool2d", (32, 16, 161), 0),
    ("Conv2d", (64, 16, 161), 18_496),
    ("ReLU", (64, 16, 161), 0),
    ("MaxPool2d", (64, 8, 80), 0),
    ("Conv2d", (128, 8, 80), 73_856),
    ("ReLU", (128, 8, 80), 0),
    ("MaxPool2d", (128, 4, 40), 0),
    ("Conv2d", (256, 4, 40), 295_168),
    ("ReLU", (256, 4, 40), 0),
    ("MaxPool2d", (256, 2, 20), 0),
    ("Flatten", (10_240,), 0),
    ("Linear", (5_120,), 52_433_920),
    ("ReLU", (5_120,), 0),
    ("Linear", (8,), 40_968),
]


def test_the_study_s_network_is_the_study_s() -> None:
    rows = summarise(find("cs464-cnn"))
    assert [(row.kind, row.shape, row.parameters) for row in rows] == STUDY
    assert sum(row.parameters for row in rows) == 52_868_624


def test_on_other_inputs_only_the_flattened_length_changes() -> None:
    rows = summarise(find("cs464-cnn@1x128x128"))
    assert [row.kind for row in rows] == [kind for kind, _, _ in STUDY]
    changed = [
        (mine.parameters, theirs[2])
        for mine, theirs in zip(rows, STUDY, strict=True)
        if mine.parameters != theirs[2]
    ]
    assert changed == [(40, 112), (1_024 * 5_120 + 5_120, 52_433_920)]
    assert sum(row.parameters for row in rows) == 5_682_632
    net = build(find("cs464-cnn@1x64x64"), n_genres=3)
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 3)


def test_an_input_that_is_too_small_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"63 x 200 is pooled away.*64 x 64"):
        StudyCNN(input_shape=(1, 63, 200), n_genres=8)
    with pytest.raises(TrainingError, match="at least 64 x 64"):
        build(find("naive-cnn@1x128x63"))
    with pytest.raises(TrainingError, match="at least 16 bands"):
        CompactCNN(input_shape=(1, 15, 128), n_genres=8)


def test_the_naive_sister() -> None:
    rows = summarise(find("naive-cnn"))
    assert [(row.kind, row.shape, row.parameters) for row in rows if row.parameters] == [
        ("Conv2d", (8, 128, 128), 80),
        ("Conv2d", (16, 32, 32), 1_168),
        ("Conv2d", (32, 8, 8), 4_640),
        ("Linear", (8,), 1_032),
    ]


def test_the_compact_one_has_fifty_times_fewer_parameters() -> None:
    architecture = find("compact-cnn")
    rows = summarise(architecture)
    shapes = [row.shape for row in rows if row.path.endswith(".second")]
    assert shapes == [(16, 32, 128), (32, 16, 64), (64, 8, 32)]
    total = sum(row.parameters for row in rows)
    assert total == count_parameters(build(architecture)) == 81_080
    assert 50 * total < sum(row.parameters for row in summarise(find("cs464-cnn@1x128x128")))


def test_the_compact_one_takes_any_number_of_frames() -> None:
    net = build(find("compact-cnn"), n_genres=4).eval()
    for frames in (5, 64, 128, 1292):
        assert net(torch.randn(2, 1, 128, frames)).shape == (2, 4)
    stereo = build(find("compact-cnn@2x40x64")).eval()
    assert stereo(torch.randn(2, 2, 40, 64)).shape == (2, 8)


def test_the_compact_one_does_not_care_for_the_level_of_a_band() -> None:
    """Each band is standardised by itself, so what it learns does not hang on the scale."""
    torch.manual_seed(0)
    net = build(find("compact-cnn"))
    x = torch.randn(16, 1, 128, 32)
    scaled = x * torch.linspace(0.5, 3, 128)[None, None, :, None] + torch.randn(128)[:, None]
    torch.manual_seed(1)
    plain = net(x)
    torch.manual_seed(1)
    torch.testing.assert_close(net(scaled), plain, atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize("kind", ["mean-max", "attention"])
def test_pooling_forgets_when_it_happened(kind: str) -> None:
    torch.manual_seed(0)
    pool = TimePool(6, kind=kind)
    h = torch.randn(3, 6, 20)
    order = torch.randperm(20)
    torch.testing.assert_close(pool(h), pool(h[:, :, order]))
    assert pool(h).shape == (3, 12)
    if kind == "mean-max":
        torch.testing.assert_close(pool(h)[:, :6], h.mean(dim=2))
        torch.testing.assert_close(pool(h)[:, 6:], h.amax(dim=2))
    else:
        assert not torch.allclose(pool(h)[:, :6], h.mean(dim=2), atol=1e-3)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(TrainingError, match="mean-max or attention"):
        TimePool(4, kind="median")


@pytest.mark.parametrize("name", ["cs464-cnn@1x64x64", "naive-cnn@1x64x64", "compact-cnn@1x64x64"])
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    net = build(find(name), n_genres=4)
    net(torch.randn(4, 1, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def spread(net: torch.nn.Module, x: torch.Tensor) -> float:
    """How far apart the answers on different tracks are."""
    with torch.no_grad():
        return float(net(x).std(dim=0).mean())


def test_what_tells_tracks_apart_reaches_the_answer() -> None:
    """Torch's own first weights lose it on the way, and the network then learns a constant."""
    x = torch.randn(8, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    found = {}
    for init in ("he", "glorot", "torch"):
        torch.manual_seed(0)
        found[init] = spread(build(find("cs464-cnn@1x128x128", {"init": init})), x)
    assert found["torch"] < found["glorot"] < found["he"]
    assert found["torch"] < 0.01 < 0.1 < found["he"]
    with pytest.raises(TrainingError, match="choose he, glorot or torch"):
        build(find("naive-cnn", {"init": "zeros"}))
