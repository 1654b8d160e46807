"""A trained network as the graph of a bundle.

The graph takes the feature rows of the shipped front end, of which it reads the frames (and the
dense sequence where the network hears it), and answers as every bundle does.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from genrescope.audio import frames
from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.architectures import DENSE_SHAPE, Architecture
from genrescope.learn.deep.data import picture
from genrescope.learn.export import OPSET

try:
    import torch
    from torch import nn
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("exporting", extra="deep", package="torch") from error

from genrescope.learn.framenet import split_row

__all__ = ["network_graph", "plain_graph"]

_HALF_FROM = 1_024  # numbers in a weight; smaller ones stay in float32


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
        A serialised ONNX model, as :func:`genrescope.learn.export.build_graph` makes it: input
        ``features`` float32 [batch, windows, n_features], outputs ``probabilities``
        [batch, n_genres] and ``window_probabilities`` [batch, windows, n_genres]. Large weights
        are in float16.

    Raises
    ------
    TrainingError
        If torch cannot write the graph, or the graph does not answer as the network does.
    """
    answer = _Answer(net, dense=architecture.hears_dense, temperature=temperature)
    example = _example()
    traced = _traced(
        answer,
        {"features": example},
        {"probabilities": ("batch",), "window_probabilities": ("batch", "windows")},
        free={"features": ("batch", "windows")},
        name=architecture.name,
    )
    with torch.no_grad():
        expected = answer(example)[1].numpy()
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
    return _traced(net, inputs, {"logits": ("batch",)}, free=free, name=architecture.name)


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
