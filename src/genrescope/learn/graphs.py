"""ONNX graphs on disk: read under a limit, compared with what is said of them, opened.

A bundle comes from anywhere. So no runtime sees its graph before the bytes, the tensors and their
types are what the card says, and the operators are those of the standard
(:mod:`genrescope.audio.encoders.onnx_check`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrescope.audio.encoders.onnx_check import check_graph
from genrescope.errors import BundleError, DataError, MissingExtraError

__all__ = [
    "check_digest",
    "check_said",
    "describe_graph",
    "one_line",
    "open_session",
    "parse_object",
    "read_limited",
]

MAX_GRAPH = 512 * 2**20  # bytes
_MAX_DIGITS = 100  # of an integer; a float holds it, and no seed has more
_MAX_DEPTH = 50  # objects and lists in one another


def read_limited(path: Path, *, limit: int = MAX_GRAPH) -> bytes:
    """The bytes of a regular file; BundleError where it cannot be read or exceeds `limit`."""
    try:
        # A pipe among the files of a bundle would be waited for, for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BundleError(f"{path}: is no regular file; get the bundle again")
            data = file.read(limit + 1)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror or error}); "
            "a bundle is a folder with its card and all the files that the card names"
        ) from error
    if len(data) > limit:
        raise BundleError(f"{path}: is larger than {limit:,} bytes; this is no genrescope bundle")
    return data


def parse_object(data: bytes, *, where: str) -> dict[str, Any]:
    """JSON text as a dictionary.

    Raises
    ------
    BundleError
        If it is none, is nested deeply, or holds NaN or what no float holds.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    def integer(text: str) -> int:
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"{text[:20]}... has {len(text)} digits")
        return int(text)

    def real(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise ValueError(f"{text[:20]} is too large")
        return value

    try:
        card = json.loads(
            data.decode("utf-8"), parse_constant=refuse, parse_int=integer, parse_float=real
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: is not JSON ({one_line(error)}); get the bundle again"
        ) from error
    if not isinstance(card, dict):
        raise BundleError(f"{where}: holds no JSON object; get the bundle again")
    # Python gives up somewhere beyond; everything that walks through a card should not.
    level: list[Any] = [card]
    for _ in range(_MAX_DEPTH):
        inside = [held.values() if isinstance(held, dict) else held for held in level]
        level = [value for held in inside for value in held if isinstance(value, dict | list)]
        if not level:
            return card
    raise BundleError(f"{where}: is nested more than {_MAX_DEPTH} deep; get the bundle again")


def check_digest(data: bytes, said: Mapping[str, Any], *, where: str) -> None:
    """Compare length and SHA-256 with what the card says; BundleError where they differ."""
    if len(data) != said["bytes"]:
        raise BundleError(
            f"{where}: has {len(data):,} bytes, the card says {said['bytes']:,}; "
            "get the bundle again"
        )
    found = hashlib.sha256(data).hexdigest()
    if found != said["sha256"]:
        raise BundleError(
            f"{where}: SHA-256 is {found}, the card says {said['sha256']}; "
            "the file was changed: get the bundle again"
        )


def check_said(
    graph: bytes,
    *,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    where: str,
) -> None:
    """Look through a graph without a runtime; parameters and errors as of :func:`open_session`."""
    try:
        told = check_graph(graph)
    except DataError as error:
        raise BundleError(f"{where}: {error}; get the bundle again, or another") from error
    _compare(told.inputs, inputs, "input", where)
    _compare(told.outputs, outputs, "output", where)


def open_session(
    graph: bytes,
    *,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    where: str,
) -> Any:
    """An onnxruntime session on one thread, if the graph may be run and has these tensors.

    Parameters
    ----------
    graph : bytes
        A serialised model.
    inputs, outputs : sequence of mapping
        What is said of its tensors: ``name`` and ``shape``, free sizes by name.
    where : str
        For messages.

    Returns
    -------
    onnxruntime.InferenceSession

    Raises
    ------
    BundleError
        If it cannot be opened, has other tensors, or is refused by
        :func:`~genrescope.audio.encoders.onnx_check.check_graph`.
    """
    check_said(graph, inputs=inputs, outputs=outputs, where=where)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The graph is small: one thread is quickest, and leaves the cores to the decoders.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise BundleError(
            f"{where}: the graph cannot be opened ({one_line(error)}); get the bundle again"
        ) from error
    # Again, as the runtime reads it.
    _compare(session.get_inputs(), inputs, "input", where)
    _compare(session.get_outputs(), outputs, "output", where)
    return session


def _compare(found: Any, said: Sequence[Mapping[str, Any]], kind: str, where: str) -> None:
    """Compare the tensors of a graph with those on its card: names, type, fixed sizes."""
    tensors = {tensor.name: tensor for tensor in found}
    names = {tensor["name"] for tensor in said}
    if set(tensors) != names:
        raise BundleError(
            f"{where}: the graph has the {kind}s {sorted(tensors)}, the card says {sorted(names)}"
        )
    for tensor in said:
        real = tensors[tensor["name"]]
        if real.type != "tensor(float)":
            raise BundleError(
                f"{where}: {kind} {real.name} of the graph is {real.type}, expected tensor(float)"
            )
        fixed = [size if isinstance(size, int) else None for size in real.shape]
        expected = [size if isinstance(size, int) else None for size in tensor["shape"]]
        if fixed != expected:
            raise BundleError(
                f"{where}: {kind} {real.name} of the graph has the shape {list(real.shape)}, "
                f"the card says {tensor['shape']}"
            )


def describe_graph(graph: bytes, *, file: str) -> dict[str, Any]:
    """What a card says of a serialised model that will be in a file of that name.

    Parameters
    ----------
    graph : bytes
        A model that holds its own weights.
    file : str
        A name without a folder.

    Returns
    -------
    dict
        ``file``, ``sha256``, ``bytes``, ``opset``, ``inputs`` and ``outputs``.

    Raises
    ------
    BundleError
        If it is no valid model, or keeps weights elsewhere.
    MissingExtraError
        If the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("writing a bundle", extra="deep", package="onnx") from error
    try:
        model = onnx.load_model_from_string(graph)
        onnx.checker.check_model(model)
    except Exception as error:
        raise BundleError(f"the graph is no valid ONNX model ({one_line(error)})") from error
    if any(onnx.external_data_helper.uses_external_data(t) for t in model.graph.initializer):
        raise BundleError("the graph keeps weights in another file; they have to be inside it")
    return {
        "file": file,
        "sha256": hashlib.sha256(graph).hexdigest(),
        "bytes": len(graph),
        "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "inputs": [_describe_tensor(tensor) for tensor in model.graph.input],
        "outputs": [_describe_tensor(tensor) for tensor in model.graph.output],
    }


def _describe_tensor(tensor: Any) -> dict[str, Any]:
    dimensions = tensor.type.tensor_type.shape.dim
    shape = [
        d.dim_value if d.HasField("dim_value") else d.dim_param or f"free{i}"
        for i, d in enumerate(dimensions)
    ]
    return {"name": tensor.name, "shape": shape}


def one_line(error: BaseException) -> str:
    """What an error says, in one line of 200 characters at most."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
