"""What a store says of itself, in ``store.json``."""

from __future__ import annotations

import contextlib
import json
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any

from genrescope.audio.store.place import Place, is_url
from genrescope.audio.store.recipe import Recipe
from genrescope.catalog.fma_tables import import_pyarrow
from genrescope.errors import DataError, MissingExtraError

__all__ = [
    "DESCRIPTION",
    "PARTITIONED",
    "PLAIN",
    "check_description",
    "check_recipe",
    "describe_new",
    "open_description",
    "read_description",
]

DESCRIPTION = "store.json"
PLAIN = 1  # the version of a store that one process fills
PARTITIONED = 2  # of one that many machines fill; see partitions

_FORMAT = "genrescope feature store"


def open_description(where: str | PathLike[str]) -> tuple[Place, dict[str, Any]]:
    """A store and what it says of itself.

    Raises
    ------
    DataError
        If there is no store, or one of a later version.
    """
    place = Place(where)
    if place.local is not None:
        # The path as it was given is what people know.
        return place, read_description(Path(where) if not is_url(where) else place.local)
    try:
        said = json.loads(place.read(DESCRIPTION))
    except FileNotFoundError as error:
        raise DataError(
            f"{place}: no feature store; `genrescope features extract SOURCE --out {place}` makes "
            "one"
        ) from error
    except ValueError as error:
        raise DataError(f"{place}/{DESCRIPTION}: cannot be read ({error})") from error
    return place, check_description(said, where=str(place))


def read_description(folder: Path) -> dict[str, Any]:
    """What a store says of itself.

    Raises
    ------
    DataError
        If there is no store, or one of a later version.
    """
    path = folder / DESCRIPTION
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: no feature store; `genrescope features extract SOURCE --out {folder}` "
            "makes one"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy the store again") from error
    return check_description(said, where=str(path))


def check_description(said: Any, *, where: str) -> dict[str, Any]:
    """What a store says of itself, if it is a store that can be read here; else DataError."""
    if not isinstance(said, dict) or said.get("format") != _FORMAT:
        raise DataError(f"{where}: not the description of a feature store; give another folder")
    if said.get("version") not in (PLAIN, PARTITIONED):
        raise DataError(
            f"{where}: format {said.get('version')}; this version of genrescope reads {PLAIN} "
            f"and {PARTITIONED}. Extract into another folder"
        )
    return said


def check_recipe(recipe: Recipe) -> None:
    """Find out before the work whether it can be stored; MissingExtraError if not."""
    if "descriptors" in recipe.what:
        try:
            import_pyarrow()
        except MissingExtraError as error:
            raise MissingExtraError(
                "Storing descriptors (all but --what mel,frames)", extra="lab", package="pyarrow"
            ) from error


def describe_new(recipe: Recipe, *, version: int) -> dict[str, Any]:
    """What a new store says of itself."""
    return {
        "format": _FORMAT,
        "version": version,
        **recipe.to_dict(),
        "made_with": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in ("genrescope", "numpy", "soxr", "soundfile", "av"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # run from its source
            found[name] = metadata.version(name)
    return found
