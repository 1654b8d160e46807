"""The list of networks: one contract for all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from genrescope.audio import frames
from genrescope.audio.statistics import N_MFCC
from genrescope.errors import TrainingError
from genrescope.learn.deep.architectures import (
    ARCHITECTURES,
    DENSE_SHAPE,
    FRAMES_SHAPE,
    Architecture,
    build,
    count_parameters,
    find,
    parse_options,
    summarise,
)

pytestmark = pytest.mark.usefixtures("one_thread")

ON_FRAMES = [architecture.at(FRAMES_SHAPE) for architecture in ARCHITECTURES]


def by_name(architecture: Architecture) -> str:
    return architecture.name


def inputs(architecture: Architecture, n: int = 2) -> list[torch.Tensor]:
    made = [torch.randn(n, *architecture.input_shape)]
    return [*made, torch.randn(n, *DENSE_SHAPE)] if architecture.hears_dense else made


@pytest.mark.parametrize("architecture", ON_FRAMES, ids=by_name)
def test_each_reads_mel_frames(architecture: Architecture) -> None:
    if architecture.key == "cs464-vit":
        architecture = architecture.having({"width": 64, "depth": 2, "heads": 4, "mlp": 64})
    torch.manual_seed(0)
    net = build(architecture, n_genres=5)
    assert net(*inputs(architecture)).shape == (2, 5)
    rows = summarise(architecture, n_genres=5)
    assert sum(row.parameters for row in rows) == count_parameters(net)
    assert all(row.shape is None or min(row.shape) > 0 for row in rows)
    if architecture.any_length:
        x, *more = inputs(architecture)
        assert net(x[..., :64], *more).shape == (2, 5)


@pytest.mark.parametrize("key", ["naive-cnn", "vit-tiny", "compact-cnn", "frame-net"])
def test_the_first_weights_come_from_the_seed(key: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in build(find(key)).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_names() -> None:
    assert len({architecture.key for architecture in ARCHITECTURES}) == len(ARCHITECTURES)
    for architecture in ARCHITECTURES:
        assert find(architecture.key) == architecture
        assert architecture.name == architecture.key
    small = find("cs464-cnn@1x128x128")
    assert small.name == "cs464-cnn@1x128x128"
    assert find(small.name) == small
    assert find("cs464-cnn@3x128x1292").name == "cs464-cnn"


@pytest.mark.parametrize("name", ["", "resnet", "cs464-cnn@", "cs464-cnn@128x128", "vit-tiny@axb"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(TrainingError) as caught:
        find(name)
    assert "choose one of" in str(caught.value) or "@1x128x128" in str(caught.value)


def test_options_are_read_and_checked() -> None:
    vit = find("vit-tiny", {"patch": "128x2", "overlap": "0x1", "depth": "2", "dropout": "0"})
    assert vit.options["patch"] == (128, 2)
    assert vit.options["depth"] == 2
    assert vit.options["dropout"] == 0.0
    assert vit.options["width"] == 192
    assert parse_options(find("compact-cnn"), {"widths": "8x16"}) == {"widths": (8, 16)}
    assert parse_options(find("compact-cnn"), {"widths": [8, 16]}) == {"widths": (8, 16)}
    for name, options in (
        ("vit-tiny", {"patch": "16"}),
        ("vit-tiny", {"depth": "many"}),
        ("vit-tiny", {"colour": "red"}),
        ("cs464-cnn", {"hidden": "3"}),
    ):
        with pytest.raises(TrainingError, match=r"cannot be read|has no option"):
            find(name, options)


def test_the_inputs_are_those_of_the_front_end() -> None:
    assert FRAMES_SHAPE == (1, frames.N_BANDS, frames.N_FRAMES)
    assert DENSE_SHAPE == (N_MFCC, frames.DENSE_FRAMES)


def test_the_list_costs_nothing() -> None:
    code = (
        "import sys, genrescope.learn.deep.architectures\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
