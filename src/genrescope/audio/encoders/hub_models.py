"""Encoders that need torch: AST, MERT and LAION-CLAP from the Hugging Face Hub, and PaSST.

``hf:OWNER/REPOSITORY@COMMIT`` is a model of the hub at one commit (or a tag, which is resolved to
its commit when it is installed). A branch is refused, since what is on it changes. Only
``safetensors`` files are read and no program from the hub is run. ``passt`` is what the package
``hear21passt`` builds. Both are fetched by ``genrescope encoders install`` alone; later use reads
the files in the cache, whose hashes were noted down and are compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import math
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genrescope.audio.encoders.base import FloatArray, WindowEncoder, mean_and_spread, resample
from genrescope.audio.encoders.cache import ABOUT, encoder_folder, new_folder
from genrescope.errors import (
    AudioNotFiniteError,
    ChecksumError,
    DataError,
    DownloadError,
    GenrescopeError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from genrescope.audio.encoders.hub_networks import Forward

__all__ = ["FAMILIES", "Family", "HubEncoder", "install", "load"]

VERSION = 1  # of how sound is cut, given to the models and pooled
EXTRA = "encoders"

_NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w.-]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WANTED = ["config.json", "preprocessor_config.json", "*.safetensors", "LICENSE*", "README.md"]
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"


class Family(NamedTuple):
    """A kind of model, and how to use it.

    Attributes
    ----------
    example : str
        What to ask for; COMMIT stands for one that the user chooses.
    about, licence : str
        What it is, and the licence of those weights.
    size : int or None
        Bytes to fetch, roughly.
    seconds : float
        Of sound that the model takes at once.
    types : tuple of str
        The ``model_type`` in ``config.json``.
    width : str
        Which key of ``config.json`` says how many numbers it gives.
    """

    example: str
    about: str
    licence: str
    size: int | None
    seconds: float
    types: tuple[str, ...]
    width: str


FAMILIES = {
    "ast": Family(
        "hf:MIT/ast-finetuned-audioset-10-10-0.4593@COMMIT",
        "Audio Spectrogram Transformer, 768 numbers every 10 s, from AudioSet",
        "BSD-3-Clause",
        346_000_000,
        10.0,
        ("audio-spectrogram-transformer",),
        "hidden_size",
    ),
    "mert": Family(
        "hf:m-a-p/MERT-v1-95M@COMMIT",
        "MERT, 768 numbers every 5 s, from 20,000 hours of music",
        "CC BY-NC 4.0",
        378_000_000,
        5.0,
        ("mert_model", "hubert"),
        "hidden_size",
    ),
    "clap": Family(
        "hf:laion/larger_clap_music@COMMIT",
        "LAION-CLAP, 512 numbers every 10 s, from music and its descriptions",
        "Apache-2.0",
        776_000_000,
        10.0,
        ("clap",),
        "projection_dim",
    ),
    "passt": Family(
        "passt",
        "PaSST, 768 numbers every 10 s, from AudioSet",
        "Apache-2.0",
        341_000_000,
        10.0,
        ("passt",),
        "hidden_size",
    ),
}


class HubEncoder(WindowEncoder):
    """A model in the cache, run by torch.

    A window is cut into pieces as long as the model takes; a rest is left out, and a window that
    is shorter is repeated.

    Parameters
    ----------
    name : str
        As it was installed.
    folder : Path
        Where it is.

    Raises
    ------
    DataError
        If its files are damaged or of a kind that is not known.
    MissingExtraError
        If torch or the library of the model is not there.
    """

    def __init__(self, name: str, *, folder: Path) -> None:
        said = _read_json(folder / ABOUT)
        config = _read_json(folder / _CONFIG)
        kind = _kind(config, where=f"encoder {name}")
        family = FAMILIES[kind]
        libraries = ("torch", "safetensors", "hear21passt" if kind == "passt" else "transformers")
        for package in libraries:
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(f"encoder {name}", extra=EXTRA, package=package)
        self.name = name
        self.version = VERSION
        self.licence = str(said.get("licence", "unknown"))
        self.kind = kind
        self.folder = folder
        self.size = _count(config, family.width, where=str(folder / _CONFIG))
        self.n_features = 2 * self.size
        self.sample_rate = 32_000
        if kind != "passt":
            prepared = _read_json(folder / _PREPROCESSOR)
            self.sample_rate = _count(prepared, "sampling_rate", where=str(folder / _PREPROCESSOR))
        self._about = said
        self._forward: Forward | None = None
        self._lock = threading.Lock()

    def parameters(self) -> dict[str, Any]:
        """See :meth:`WindowEncoder.parameters`."""
        return {
            "source": dict(self._about.get("source", {})),
            "kind": self.kind,
            "files": dict(self._about.get("files", {})),
            "sample_rate": self.sample_rate,
            "resampling": "soxr HQ",
            "piece_seconds": FAMILIES[self.kind].seconds,
            "pooling": "mean and standard deviation over pieces",
        }

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        """See :meth:`WindowEncoder.encode`."""
        forward = self._open()
        rows = []
        for y in windows:
            pieces = self._pieces(resample(y, sr, self.sample_rate))
            try:
                found = forward(pieces)
            except Exception as error:
                raise DataError(
                    f"encoder {self.name}: could not be run ({_one_line(error)}); install "
                    "another version of its library"
                ) from error
            if found.ndim != 2 or found.shape[1] != self.size or not np.isfinite(found).all():
                raise AudioNotFiniteError(
                    f"encoder {self.name}: gave {list(found.shape)} numbers, or some that are not "
                    f"finite, expected [pieces, {self.size}]; install it again"
                )
            rows.append(mean_and_spread(found))
        return np.stack(rows)

    def _pieces(self, y: FloatArray) -> FloatArray:
        length = int(FAMILIES[self.kind].seconds * self.sample_rate)
        if len(y) < length:
            y = np.tile(y, math.ceil(length / len(y)))[:length]
        count = len(y) // length
        return np.ascontiguousarray(y[: count * length].reshape(count, length))

    def _open(self) -> Forward:
        with self._lock:
            if self._forward is None:
                from genrescope.audio.encoders.hub_networks import BUILDERS

                _check_files(self.folder, self._about.get("files"), name=self.name)
                try:
                    self._forward = BUILDERS[self.kind](self.folder, self.sample_rate)
                except GenrescopeError:
                    raise
                except Exception as error:
                    raise DataError(
                        f"encoder {self.name}: cannot be opened ({_one_line(error)}); install it "
                        "again, or another version of its library"
                    ) from error
            return self._forward

    def __getstate__(self) -> dict[str, Any]:
        # The network is large; it is read again where the encoder arrives.
        return {**self.__dict__, "_forward": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def load(name: str) -> HubEncoder:
    """An installed encoder; never fetches anything.

    Parameters
    ----------
    name : str
        ``hf:OWNER/REPOSITORY@COMMIT`` or ``passt``.

    Returns
    -------
    HubEncoder

    Raises
    ------
    DataError
        If the name is not of that form, or it is not installed.
    MissingExtraError
        If its library is not there.
    """
    if name != "passt":
        _parse(name)
    folder = encoder_folder(name)
    if not (folder / ABOUT).is_file():
        raise DataError(
            f"encoder {name}: is not installed; run: genrescope encoders install {name}"
        )
    return HubEncoder(name, folder=folder)


def install(name: str) -> Path:
    """Fetch a model into the cache.

    Parameters
    ----------
    name : str
        ``hf:OWNER/REPOSITORY@COMMIT`` or ``passt``.

    Returns
    -------
    Path
        Its folder.

    Raises
    ------
    DataError
        If the name is not of that form, or the model is of a kind that is not known.
    DownloadError
        If it cannot be fetched.
    MissingExtraError
        If the library that fetches it is not there.
    """
    return _install_passt(name) if name == "passt" else _install_from_hub(name)


# --- the hub ---------------------------------------------------------------


def _parse(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(
            f"encoder {name}: expected hf:OWNER/REPOSITORY@COMMIT, with the 40 hexadecimal digits "
            "of a commit or the name of a tag"
        )
    revision = match["revision"]
    if revision in ("main", "master", "COMMIT"):
        raise DataError(
            f"encoder {name}: {revision} is no commit, and what is there changes; name one by its "
            "40 hexadecimal digits, as the hub shows it under Files and versions"
        )
    return match["repository"], revision


def _install_from_hub(name: str) -> Path:
    repository, revision = _parse(name)
    hub = _library("huggingface_hub", name)
    api = hub.HfApi()
    with _fetching(name):
        commit = _commit(api, repository, revision, name=name)
        info = api.model_info(repository, revision=commit)
    card = getattr(info, "card_data", None)
    licence = (card.get("license") if card is not None else None) or "unknown"
    folder = encoder_folder(name)
    with new_folder(folder) as part:
        with _fetching(name):
            hub.snapshot_download(
                repository, revision=commit, local_dir=str(part), allow_patterns=_WANTED
            )
        shutil.rmtree(part / ".cache", ignore_errors=True)  # what the library notes for itself
        kind = _kind(_read_json(part / _CONFIG), where=f"encoder {name}")
        if not any(part.glob("*.safetensors")):
            raise DataError(
                f"encoder {name}: has no safetensors file, and others can hold programs; "
                "choose a commit that has one"
            )
        source = {"repository": repository, "commit": commit}
        _describe(part, name, about=FAMILIES[kind].about, licence=licence, source=source)
    return folder


@contextlib.contextmanager
def _fetching(name: str) -> Iterator[None]:
    """Whatever goes wrong on the way to the hub, told as one error."""
    try:
        yield
    except GenrescopeError:
        raise
    except Exception as error:
        raise DownloadError(
            f"encoder {name}: could not be fetched ({_one_line(error)}); look at the name and at "
            "the network"
        ) from error


def _commit(api: Any, repository: str, revision: str, *, name: str) -> str:
    """The commit of a revision, which is one or the name of a tag."""
    if _COMMIT.fullmatch(revision):
        return revision
    for tag in api.list_repo_refs(repository).tags:
        if tag.name == revision:
            return str(tag.target_commit)
    raise DataError(
        f"encoder {name}: {revision} is neither a commit of 40 hexadecimal digits nor a tag there"
    )


def _describe(
    folder: Path, name: str, *, about: str, licence: str, source: Mapping[str, str]
) -> None:
    """Note down what was fetched: ``encoder.json``."""
    files = {
        path.name: _digest(path)
        for path in sorted(folder.iterdir())
        if path.suffix == ".safetensors" or path.name in (_CONFIG, _PREPROCESSOR)
    }
    said = {
        "name": name,
        "about": about,
        "licence": licence,
        "source": dict(source),
        "files": files,
    }
    (folder / ABOUT).write_text(json.dumps(said, indent=2) + "\n", "utf-8")


def _install_passt(name: str) -> Path:
    package = _library("hear21passt", name)
    _library("safetensors", name)
    from safetensors.torch import save_file

    from genrescope.audio.encoders.hub_networks import PASST_ARCH, PASST_WEIGHTS, passt_network

    try:
        weights = passt_network(pretrained=True).state_dict()
    except Exception as error:
        raise DownloadError(
            f"encoder {name}: hear21passt could not fetch it ({_one_line(error)}); "
            "look at the network"
        ) from error
    folder = encoder_folder(name)
    family = FAMILIES["passt"]
    config = {"model_type": "passt", "arch": PASST_ARCH, "hidden_size": 768}
    with new_folder(folder) as part:
        plain = {key: value.clone().contiguous() for key, value in weights.items()}
        save_file(plain, str(part / PASST_WEIGHTS))
        (part / _CONFIG).write_text(json.dumps(config) + "\n", "utf-8")
        version = str(getattr(package, "__version__", "0.0.26"))
        source = {"package": f"hear21passt {version}", "arch": PASST_ARCH}
        _describe(part, name, about=family.about, licence=family.licence, source=source)
    return folder


# --- files -----------------------------------------------------------------


def _library(package: str, name: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(f"encoder {name}", extra=EXTRA, package=package) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({_one_line(error)}); install the encoder again"
        ) from error
    if not isinstance(said, dict):
        raise DataError(f"{path}: holds no JSON object; install the encoder again")
    return said


def _kind(config: Mapping[str, Any], *, where: str) -> str:
    for kind, family in FAMILIES.items():
        if config.get("model_type") in family.types:
            return kind
    known = ", ".join(kind for family in FAMILIES.values() for kind in family.types)
    raise DataError(
        f"{where}: is a model of the type {config.get('model_type')}, known are {known}; "
        "export it as ONNX and use onnx:PATH"
    )


def _count(said: Mapping[str, Any], key: str, *, where: str) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"{where}: key {key} is {value!r}, expected an integer, 1 or more")
    return value


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_files(folder: Path, files: Any, *, name: str) -> None:
    if not isinstance(files, Mapping) or not files:
        raise DataError(f"encoder {name}: its files were not noted down; install it again")
    for file, expected in files.items():
        path = folder / Path(file).name
        if not path.is_file() or _digest(path) != expected:
            raise ChecksumError(
                f"{path}: is not the file that was installed; install the encoder again"
            )


def _one_line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:197] + "..."
