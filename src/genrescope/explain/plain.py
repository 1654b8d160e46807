"""Results as JSON has them: what files and pages are written from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["fields_of", "plain", "text_of"]


def plain(value: Any) -> Any:
    """A value as JSON has it: no arrays, no tuples, None in the place of NaN and infinity.

    >>> plain({"a": np.float32("nan"), "b": (1, np.int64(2))})
    {'a': None, 'b': [1, 2]}
    """
    kind = type(value)  # the common ones first: tables have a million cells
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is str:
        return value if value.isascii() else text_of(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return text_of(str(value))
    if isinstance(value, float):
        return plain(float(value))
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {text_of(str(key)): plain(item) for key, item in value.items()}
    if callable(getattr(value, "to_dict", None)):
        return plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_of(value)
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return text_of(str(value))


def fields_of(value: DataclassInstance) -> dict[str, Any]:
    """The attributes of a dataclass under their names, each as :func:`plain` has it."""
    return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}


def text_of(text: str) -> str:
    """Text that every encoder takes: lone surrogates become question marks.

    >>> text_of("caf\\udce9")
    'caf?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")
