"""A trained network as the graph of a bundle.

The graph takes the feature rows of the shipped front end, of which it reads the frames (and the
dense sequence where the network hears it), and answers as every bundle does.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from genrescope.audio import frames
from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.deep.architectures import DENSE_SHAPE, Architecture
from genrescope.learn.deep.data import picture
from genrescope.learn.train.graph import OPSET

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("exporting", extra="deep", package="torch") from error

from genrescope.learn.train.framenet import split_row

__all__ = ["network_graph", "pair_columns", "plain_graph"]

_HALF_FROM = 1_024  # numbers in a weight; smaller ones stay in float32
_VECTOR = 16  # numbers in a register of AVX-512, in which ONNX Runtime keeps channels side by side


class _Answer(nn.Module):
    """Feature rows [batch, windows, n] to the probabilities of track and windows."""

    def __init__(self, net: Any, *, dense: bool, temperature: float) -> None:
        super().__init__()
        self.net, self.dense, self.temperature = net, dense, temperature

    def forward(self, features: Any) -> tuple[Any, Any]:
        db, dense = split_row(features.reshape(-1, frames.N_FEATURES))
        x = picture(db)
        logits = self.net(x, dense) if self.dense else self.net(x)
        cool = torch.log_softmax(logits, dim=1) / self.temperature
        windows = cool.reshape(features.shape[0], features.shape[1], -1)
        return torch.softmax(windows.mean(dim=1), dim=1), torch.softmax(windows, dim=2)


def network_graph(
    net: Any, architecture: Architecture, *, temperature: float, n_genres: int
) -> bytes:
    """Build the graph of a trained network.

    Parameters
    ----------
    net : torch.nn.Module
        On any device.
    architecture : Architecture
        What it is; it must read prepared frames.
    temperature : float > 0
        The log-probabilities are divided by it.
    n_genres : int
        Number of classes.

    Returns
    -------
    bytes
        A serialised ONNX model, as :func:`genrescope.learn.train.export.build_graph` makes it:
        input ``features`` float32 [batch, windows, n_features], outputs ``probabilities``
        [batch, n_genres] and ``window_probabilities`` [batch, windows, n_genres]. Large weights
        are in float16.

    Raises
    ------
    TrainingError
        If torch cannot write the graph, or the graph does not answer as the network does.
    """
    paired = pair_columns(net.cpu())
    answer = _Answer(paired, dense=architecture.hears_dense, temperature=temperature)
    plain = _Answer(net.eval(), dense=architecture.hears_dense, temperature=temperature)
    example = _example()
    traced = _traced(
        answer,
        {"features": example},
        {"probabilities": ("batch",), "window_probabilities": ("batch", "windows")},
        free={"features": ("batch", "windows")},
        name=architecture.name,
    )
    with torch.no_grad():
        expected = plain(example)[1].numpy()
    graph = _finished(traced, n_genres)
    found = _run(graph, example.numpy())
    worst = float(np.abs(found - expected).max())
    if not worst <= 0.01:
        raise TrainingError(
            f"the graph of {architecture.name} answers otherwise than the network, by up to "
            f"{worst:.3f}; please report this"
        )
    return graph


def plain_graph(net: Any, architecture: Architecture) -> bytes:
    """A network of any input as a graph of its own, to run without torch or to time.

    Parameters
    ----------
    net : torch.nn.Module
        On any device; it is moved to the CPU.
    architecture : Architecture
        What it is.

    Returns
    -------
    bytes
        A serialised ONNX model in float32: input ``frames`` [batch, channels, bands, frames] (and
        ``dense`` [batch, 20, 130] where the network hears it), output ``logits``
        [batch, n_genres].

    Raises
    ------
    TrainingError
        If torch cannot write the graph.
    """
    inputs = {"frames": torch.zeros(2, *architecture.input_shape)}
    if architecture.hears_dense:
        inputs["dense"] = torch.zeros(2, *DENSE_SHAPE)
    free = dict.fromkeys(inputs, ("batch",))
    paired = pair_columns(net.cpu())
    return _traced(paired, inputs, {"logits": ("batch",)}, free=free, name=architecture.name)


class _Pairs(nn.Module):
    """Convolution, ReLU and 2 x 2 max pooling, with two columns as channels beside each other."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.filters = conv.out_channels
        self.conv: Any = nn.Conv2d(
            conv.in_channels, 2 * self.filters, (3, 4), stride=(1, 2), padding=1
        )
        with torch.no_grad():
            # An even column sees the first three of four columns, the odd one after it the rest.
            self.conv.weight.zero_()
            self.conv.weight[: self.filters, ..., :3] = conv.weight
            self.conv.weight[self.filters :, ..., 1:] = conv.weight
            self.conv.bias = nn.Parameter(conv.bias.repeat(2))

    def forward(self, x: Any) -> Any:
        rows: Any = functional.max_pool2d(functional.relu(self.conv(x)), (2, 1))
        return rows.unflatten(1, (2, self.filters)).amax(dim=1)


def pair_columns(net: Any) -> Any:
    """A copy of a network that answers the same and leaves less of a processor's vectors empty.

    ONNX Runtime computes sixteen channels at a time. A convolution of eight filters or fewer,
    over a large picture, therefore wastes half of the work and a copy of its output. Where 2 x 2
    max pooling follows, two columns are made at once, as channels, and pooled with each other.

    Parameters
    ----------
    net : torch.nn.Module
        On the CPU. Convolutions in an ``nn.Sequential`` are looked at: 3 x 3, with ReLU and
        ``MaxPool2d(2)`` after them.

    Returns
    -------
    torch.nn.Module
    """
    made = copy.deepcopy(net)
    for module in made.modules():
        if not isinstance(module, nn.Sequential):
            continue
        layers = list(module)
        for at, (conv, activation, pool) in enumerate(
            zip(layers, layers[1:], layers[2:], strict=False)
        ):
            if (
                _fills_half(conv)
                and isinstance(activation, nn.ReLU)
                and isinstance(pool, nn.MaxPool2d)
                and (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0)
                and not pool.ceil_mode
            ):
                module[at] = _Pairs(conv)
                module[at + 1] = module[at + 2] = nn.Identity()
    return made


def _fills_half(layer: Any) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and 2 * layer.out_channels <= _VECTOR
        and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
        and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
        and layer.bias is not None
    )


def _traced(
    module: Any,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, tuple[str, ...]],
    *,
    free: Mapping[str, tuple[str, ...]],
    name: str,
) -> bytes:
    """The ONNX model of a module; ``free`` and ``outputs`` name the first sizes, which vary."""
    module.cpu().eval()
    file: Any = io.BytesIO()  # which torch takes, whatever its types say
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that is to follow needs one more package and writes newer operators.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Constant folding")
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")
        try:
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={k: dict(enumerate(v)) for k, v in {**free, **outputs}.items()},
            )
        except (RuntimeError, TypeError) as error:
            raise TrainingError(
                f"{name} cannot be written as ONNX ({str(error).splitlines()[0]})"
            ) from error
    data: bytes = file.getvalue()
    return data


def _example() -> Any:
    """Feature rows [2, 3, n_features] of made-up frames, to trace and to compare."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((2, 3, frames.N_FEATURES), generator=generator) * 8
    first, last = frames.N_STATISTICS, frames.N_STATISTICS + frames.READ_BANDS * frames.N_FRAMES
    rows[..., first:last] = (rows[..., first:last] - 40).clamp(-frames.FLOOR_DB, 0)
    return rows


def _finished(graph: bytes, n_genres: int) -> bytes:
    """Name the sizes that are free, fix those that are not, and halve the large weights."""
    try:
        import onnx
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("exporting", extra="deep", package="onnx") from error
    model = onnx.load_model_from_string(graph)
    model.producer_name, model.producer_version = "genrescope", ""
    shapes: dict[str, list[str | int | None]] = {
        "probabilities": ["batch", n_genres],
        "window_probabilities": ["batch", "windows", n_genres],
    }
    for output in model.graph.output:
        replaced = onnx.helper.make_tensor_value_info(output.name, 1, shapes[output.name])
        output.CopyFrom(replaced)
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _HALF_FROM:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.f16"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.f16"], [name], to=1))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _run(graph: bytes, features: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session.run(["window_probabilities"], {"features": features})[0]
