"""All networks by name: what they are, how they are built, what is in them.

Reading the list costs nothing: torch is imported when a network is built.

>>> find("cs464-cnn").input_shape
(3, 128, 1292)
>>> find("cs464-cnn@1x128x128").input_shape
(1, 128, 128)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from genrescope.errors import TrainingError

__all__ = [
    "ARCHITECTURES",
    "DENSE_SHAPE",
    "FRAMES_SHAPE",
    "Architecture",
    "LayerRow",
    "build",
    "count_parameters",
    "find",
    "parse_options",
    "summarise",
]

# Written out, because the command line reads this list and should not wait for numpy.
#: Prepared mel frames as a network sees them: channels, bands, frames.
FRAMES_SHAPE = (1, 128, 128)
#: The dense MFCC sequence, for networks that hear it, too: coefficients, frames.
DENSE_SHAPE = (20, 130)
N_GENRES = 8  # of FMA-small, and of the study


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes
    ----------
    key : str
        Its name on the command line.
    title, description : str
        What it is, in a few words and in a sentence.
    module, factory : str
        Where the class is.
    input_shape : (int, int, int)
        Channels, bands and frames of one input.
    options : mapping
        What can be chosen about it, with the values it has.
    settings : mapping
        What of the training's settings suits it better than the usual value.
    hears_dense : bool
        Whether a second input, the MFCC of the first 3 s, goes in.
    any_length : bool
        Whether any number of frames goes in, so that training may show parts.
    """

    key: str
    title: str
    description: str
    module: str
    factory: str
    input_shape: tuple[int, int, int] = FRAMES_SHAPE
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    hears_dense: bool = False
    any_length: bool = False

    @property
    def name(self) -> str:
        """The key, and the size of the input where it is not the usual one."""
        usual = _BY_KEY[self.key].input_shape
        size = "x".join(map(str, self.input_shape))
        return self.key if self.input_shape == usual else f"{self.key}@{size}"

    def at(self, input_shape: tuple[int, int, int]) -> Architecture:
        """The same network for inputs of another size."""
        return replace(self, input_shape=input_shape)

    def having(self, options: Mapping[str, Any]) -> Architecture:
        """The same network with other options, which are checked.

        Raises
        ------
        TrainingError
            If it has no such option, or the value is of another kind.
        """
        return replace(self, options={**self.options, **parse_options(self, options)})


_VIT = ("genrescope.learn.deep.vit", "VisionTransformer")
_STUDY_VIT = {"width": 1024, "depth": 6, "heads": 16, "mlp": 2048}
_PATCHES = {"patch": (16, 16), "overlap": (0, 0), "dropout": 0.1}

#: Every network, in the order in which they are listed.
ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        key="cs464-cnn",
        title="the study's CNN",
        description="Seven 3 x 3 convolutions and two linear layers, exactly as the 2022 study "
        "had them.",
        module="genrescope.learn.deep.convnet",
        factory="StudyCNN",
        input_shape=(3, 128, 1292),
        options={"init": "he"},
        settings={"learning_rate": 5e-4},
    ),
    Architecture(
        key="naive-cnn",
        title="its naive sister",
        description="Three convolutions and one linear layer: small enough to draw whole.",
        module="genrescope.learn.deep.convnet",
        factory="NaiveCNN",
        options={"init": "he"},
    ),
    Architecture(
        key="cs464-vit",
        title="the study's ViT",
        description="A Vision Transformer of the study's size: width 1,024, depth 6, 16 heads.",
        module=_VIT[0],
        factory=_VIT[1],
        input_shape=(3, 128, 1292),
        options={**_STUDY_VIT, **_PATCHES},
        settings={"learning_rate": 2e-4, "warm_up": 10.0},
    ),
    Architecture(
        key="vit-tiny",
        title="a tiny ViT",
        description="A Vision Transformer of width 192, depth 6, 3 heads, patches of 16 x 16 that "
        "overlap by 6.",
        module=_VIT[0],
        factory=_VIT[1],
        options={
            **{"width": 192, "depth": 6, "heads": 3, "mlp": 384},
            **_PATCHES,
            "overlap": (6, 6),
        },
        settings={"learning_rate": 5e-4, "warm_up": 10.0},
    ),
    Architecture(
        key="vit-small",
        title="a small ViT",
        description="A Vision Transformer of width 384, depth 8, 6 heads, patches of 16 x 16 that "
        "overlap by 6.",
        module=_VIT[0],
        factory=_VIT[1],
        options={
            **{"width": 384, "depth": 8, "heads": 6, "mlp": 768},
            **_PATCHES,
            "overlap": (6, 6),
        },
        settings={"learning_rate": 3e-4, "warm_up": 10.0},
    ),
    Architecture(
        key="compact-cnn",
        title="a compact residual CNN",
        description="Residual blocks, one weighing of the bands, pooling over all time: made for "
        "little data.",
        module="genrescope.learn.deep.convnet",
        factory="CompactCNN",
        options={"widths": (16, 32, 64), "bands_each": 2, "pooling": "mean-max", "dropout": 0.3},
        settings={"learning_rate": 3e-3},
        any_length=True,
    ),
    Architecture(
        key="frame-net",
        title="the frame network of the shipped recogniser",
        description="Convolutions over time on the frames and on 3 s of dense MFCC, as in the "
        "recogniser that ships.",
        module="genrescope.learn.deep.nets",
        factory="FrameClassifier",
        options={"width": 160, "dense_width": 64, "hidden": 256},
        settings={"learning_rate": 3e-3, "crop": 0.5},
        hears_dense=True,
        any_length=True,
    ),
)

_BY_KEY = {architecture.key: architecture for architecture in ARCHITECTURES}


def find(name: str, options: Mapping[str, Any] | None = None) -> Architecture:
    """The network of that name.

    Parameters
    ----------
    name : str
        A key, or a key and the size of the input: ``cs464-cnn@1x128x128``.
    options : mapping, optional
        What to choose otherwise, see :func:`parse_options`.

    Returns
    -------
    Architecture

    Raises
    ------
    TrainingError
        If there is none of that name, or the size cannot be read.
    """
    key, _, size = name.partition("@")
    if key not in _BY_KEY:
        raise TrainingError(f"there is no network {key!r}; choose one of {', '.join(_BY_KEY)}")
    found = _BY_KEY[key]
    if "@" in name:
        match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})x([1-9]\d{0,4})", size)
        if match is None:
            raise TrainingError(
                f"{name!r}: {size!r} is no size of an input; "
                f"write channels, bands and frames as in {key}@1x128x128"
            )
        found = found.at((int(match[1]), int(match[2]), int(match[3])))
    return found.having(options or {})


def parse_options(architecture: Architecture, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in the types that the network takes.

    Parameters
    ----------
    architecture : Architecture
        Whose options they are.
    options : mapping
        Values, or their text: whole numbers of a list are joined by x, as in ``16x16``.

    Returns
    -------
    dict

    Raises
    ------
    TrainingError
        If there is no such option, or the text cannot be read.

    Examples
    --------
    >>> parse_options(find("vit-tiny"), {"patch": "128x2", "dropout": "0.2"})
    {'patch': (128, 2), 'dropout': 0.2}
    """
    return {name: _option(architecture, name, value) for name, value in options.items()}


def _option(architecture: Architecture, name: str, value: Any) -> Any:
    if name not in architecture.options:
        known = ", ".join(f"{k}={_text(v)}" for k, v in architecture.options.items()) or "none"
        raise TrainingError(f"{architecture.key} has no option {name!r}; its options are {known}")
    usual = architecture.options[name]
    if isinstance(value, list):
        value = tuple(value)
    if not isinstance(value, str):
        return value
    try:
        if not isinstance(usual, tuple):
            return type(usual)(value)
        numbers = tuple(int(part) for part in value.split("x"))
        if name != "widths" and len(numbers) != len(usual):
            raise ValueError("another number of values")
    except ValueError as error:
        raise TrainingError(
            f"option {name} of {architecture.key} is {value!r}, which cannot be read; "
            f"write it as in {name}={_text(usual)}"
        ) from error
    return numbers


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def build(architecture: Architecture, *, n_genres: int = N_GENRES) -> Any:
    """A new network with random weights, drawn from torch's global generator.

    Parameters
    ----------
    architecture : Architecture
        From :func:`find`.
    n_genres : int
        Size of the output.

    Returns
    -------
    torch.nn.Module
        Takes float32 [batch, channels, bands, frames], and [batch, 20, 130] beside it where
        ``hears_dense``; gives logits [batch, n_genres].

    Raises
    ------
    TrainingError
        If the input or the options do not fit.
    MissingExtraError
        If torch is not installed.
    """
    factory = getattr(import_module(architecture.module), architecture.factory)
    return factory(
        input_shape=architecture.input_shape, n_genres=n_genres, **dict(architecture.options)
    )


def count_parameters(net: Any) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


@dataclass(frozen=True)
class LayerRow:
    """One layer: its place in the network, its kind, what comes out, how much it learns.

    ``shape`` is without the batch; None for parameters that belong to no layer.
    """

    path: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int


def summarise(architecture: Architecture, *, n_genres: int = N_GENRES) -> tuple[LayerRow, ...]:
    """Every layer in the order in which it is used.

    Nothing is computed and no memory is taken: torch's "meta" device only follows the shapes.

    Parameters
    ----------
    architecture : Architecture
        From :func:`find`.
    n_genres : int
        Size of the output.

    Returns
    -------
    tuple of LayerRow

    Raises
    ------
    TrainingError, MissingExtraError
        As :func:`build`.
    """
    net = _on_meta(architecture, n_genres)
    import torch

    rows: list[LayerRow] = []
    names = {module: name for name, module in net.named_modules()}

    def after(module: Any, _: Any, output: Any) -> None:
        own = sum(p.numel() for p in module.parameters(recurse=False))
        rows.append(LayerRow(names[module], type(module).__name__, tuple(output.shape[1:]), own))

    for name, module in net.named_modules():
        own = list(module.parameters(recurse=False))
        if not list(module.children()):
            module.register_forward_hook(after)
        elif own:
            rows.append(LayerRow(name, "Parameter", None, sum(p.numel() for p in own)))
    inputs = [torch.empty(2, *architecture.input_shape, device="meta")]
    if architecture.hears_dense:
        inputs.append(torch.empty(2, *DENSE_SHAPE, device="meta"))
    with torch.no_grad():
        net.eval()(*inputs)
    return tuple(rows)


def _on_meta(architecture: Architecture, n_genres: int) -> Any:
    # Through build, so that a missing torch is said in our words first.
    import_module(architecture.module)
    import torch

    with torch.device("meta"):
        return build(architecture, n_genres=n_genres)
