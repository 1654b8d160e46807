"""Which encoders there are, and what a card asks for.

Encoders are made by name: one of :data:`BUILT_IN`, or a name of a family, such as ``onnx:PATH``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genrescope.audio.encoders.base import Encoder, FrontEnd, WindowEncoder
from genrescope.audio.encoders.combined import COMBINED_NAME, COMBINED_VERSION, Combined
from genrescope.audio.encoders.frames_encoder import WholeFrames
from genrescope.errors import BundleError, DataError, GenrescopeError

__all__ = ["BUILT_IN", "combine", "find_built_in", "find_front_end", "get_encoder"]

#: Encoders that are always there, by name: where the class is, which is made without arguments. A
#: line here is all that a new one needs: it is then listed, found by its name, and held to
#: tests/audio/encoders/test_contract.py.
BUILT_IN: dict[str, str] = {
    "frames": "genrescope.audio.encoders.frames_encoder:FramesEncoder",
}


def find_built_in(name: str) -> type[WindowEncoder]:
    """The class of an encoder of :data:`BUILT_IN`."""
    module, _, attribute = BUILT_IN[name].partition(":")
    found: type[WindowEncoder] = getattr(importlib.import_module(module), attribute)
    return found


def _musicnn(name: str, sha256: str | None) -> Encoder:
    from genrescope.audio.encoders import musicnn

    if name not in musicnn.MODELS:
        raise DataError(f"encoder {name}: there is {', '.join(musicnn.MODELS)}; name one of them")
    return musicnn.load(name)


def _graph(name: str, sha256: str | None) -> Encoder:
    from genrescope.audio.encoders.graph import load_graph

    if not name.partition(":")[2]:
        raise DataError(f"encoder {name}: name the graph, as onnx:PATH")
    return load_graph(name, sha256=sha256)


def _hub(name: str, sha256: str | None) -> Encoder:
    from genrescope.audio.encoders import hub_models

    return hub_models.load(name)


#: What makes the encoders of a family, by what is before the colon of a name. The second argument
#: is the SHA-256 that a graph must have, where a card says it.
_FAMILIES: dict[str, Callable[[str, str | None], Encoder]] = {
    "musicnn": _musicnn,
    "onnx": _graph,
    "hf": _hub,
    "passt": _hub,
}


def get_encoder(name: str, *, sha256: str | None = None) -> Encoder:
    """Find an encoder.

    Parameters
    ----------
    name : str
        ``"frames"``, ``"musicnn"``, ``"musicnn:MTT"``, ``"onnx:PATH"``,
        ``"hf:OWNER/REPOSITORY@COMMIT"`` or ``"passt"``.
    sha256 : str, optional
        For ``onnx:PATH``: of the graph that is wanted. An installed copy of it will do.

    Returns
    -------
    Encoder
        Ready to describe sound. It may be pickled, so that workers can use it.

    Raises
    ------
    DataError
        If there is no such encoder, or it is not installed; the message says how to install it.
    MissingExtraError
        If it needs packages that the extra ``encoders`` brings.

    Examples
    --------
    >>> get_encoder("frames").n_features
    2872
    """
    if name in BUILT_IN:
        return find_built_in(name)()
    family = name.partition(":")[0]
    if family in BUILT_IN:
        raise DataError(f"encoder {name}: {family} has no variants; name it {family}")
    make = _FAMILIES.get(family)
    if make is None:
        raise DataError(
            f"encoder {name}: there is none of that name; `genrescope encoders list` names "
            f"those there are ({', '.join(sorted({*BUILT_IN, *_FAMILIES}))})"
        )
    return make(name, sha256)


def combine(names: Sequence[str]) -> Combined:
    """Several encoders side by side, as one front end that decodes once.

    Parameters
    ----------
    names : sequence of str
        As :func:`get_encoder` takes them, in the order of their columns.

    Returns
    -------
    Combined
        A front end; ``card_section()`` is what the card of a bundle says of it.

    Raises
    ------
    DataError
        If one is named twice or is not there.
    """
    return Combined([get_encoder(name) for name in names])


def find_front_end(card_section: Mapping[str, Any], *, where: str = "the bundle") -> FrontEnd:
    """Find what makes the rows that a bundle reads.

    Parameters
    ----------
    card_section : mapping
        What stands under ``front_end`` on the card of the bundle.
    where : str
        The bundle, for the message.

    Returns
    -------
    FrontEnd
        Whole rows of :mod:`genrescope.audio.frames` for the name ``frames``, the encoders
        that are listed for the name ``encoders``.

    Raises
    ------
    BundleError
        If this genrescope has no such front end, an encoder is not installed, or its numbers
        are not the ones that the bundle has learnt from.
    """
    if card_section["name"] != COMBINED_NAME:
        front_end: FrontEnd = WholeFrames()
        _compare(card_section, front_end.card_section(), subject="front end", where=where)
        return front_end
    if card_section["version"] != COMBINED_VERSION:
        raise _differs("front end", card_section, {"name": COMBINED_NAME, "version": 1}, where)
    listed = _listed(card_section, where)
    found = []
    for said in listed:
        try:
            encoder = get_encoder(said["name"], sha256=said["parameters"].get("graph_sha256"))
        except GenrescopeError as error:
            raise BundleError(f"{where}: needs the encoder {said['name']}; {error}") from error
        here = {
            "name": encoder.name,
            "version": encoder.version,
            "n_features": encoder.n_features,
            "parameters": encoder.parameters(),
        }
        _compare(said, here, subject="encoder", where=where)
        _compare_parameters(said, here, where)
        found.append(encoder)
    combined = Combined(found)
    _compare(card_section, combined.card_section(), subject="front end", where=where)
    return combined


def _listed(card_section: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    listed = card_section["parameters"].get("encoders")
    keys = ("name", "version", "n_features", "parameters")
    if (
        not isinstance(listed, list)
        or not listed
        or not all(
            isinstance(said, Mapping) and all(key in said for key in keys) for said in listed
        )
        or not all(
            isinstance(said["name"], str) and isinstance(said["parameters"], Mapping)
            for said in listed
        )
    ):
        raise BundleError(
            f"{where}: key front_end.parameters.encoders does not list encoders with "
            f"{', '.join(keys)}; the card was damaged: get the bundle again"
        )
    return listed


def _compare(
    needed: Mapping[str, Any], here: Mapping[str, Any], *, subject: str, where: str
) -> None:
    if any(needed[key] != here[key] for key in ("name", "version", "n_features")):
        raise _differs(subject, needed, here, where)


def _differs(
    subject: str, needed: Mapping[str, Any], here: Mapping[str, Any], where: str
) -> BundleError:
    wide = f" with {needed['n_features']} features" if "n_features" in needed else ""
    ours = f" with {here['n_features']}" if "n_features" in here else ""
    return BundleError(
        f"{where}: needs the {subject} {needed['name']} version {needed['version']}{wide}, "
        f"this genrescope has {here['name']} version {here['version']}{ours}; install the "
        "version of genrescope that the bundle was made with, or train it again"
    )


def _compare_parameters(needed: Mapping[str, Any], here: Mapping[str, Any], where: str) -> None:
    """Check that an encoder gives the numbers that a bundle was trained on."""
    for key, value in needed["parameters"].items():
        if here["parameters"].get(key) != value:
            raise BundleError(
                f"{where}: was trained on the encoder {needed['name']} with {key} = {value}, "
                f"the one here has {here['parameters'].get(key)}; install the same one, or "
                "train the bundle again"
            )
