"""What a model answered on a fold, kept by content.

An answer is filed under a hash of everything that it depends on: the rows, the split, the model
with its settings, the seed, and the versions of the libraries. Whoever asks for the same gets the
file; whoever changes one model gets that one computed.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.storage import atomic

__all__ = ["FoldResult", "ResultCache", "content_key", "library_versions"]

#: Counts up when the code that makes the answers changes what they are.
CODE_VERSION = 1

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "scikit-learn-intelex", "lightgbm")


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What a model answered on the rows of one fold.

    Attributes
    ----------
    values : np.ndarray [shape=(n, k), float32]
        Probabilities or decision values; NaN in the columns of classes that the training rows
        lack. Rows of the fold first, those for calibration after them. Empty after a failure.
    fit_seconds, predict_seconds : float
        CPU time.
    failure : str
        Why there are no values, in a sentence.
    notes : tuple of str
        What the fit complained about.
    """

    values: NDArray[np.float32]
    fit_seconds: float
    predict_seconds: float
    failure: str = ""
    notes: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of the libraries that the answers depend on; "" where one is not installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def content_key(
    content: Mapping[str, Any], *, table: str, rows: Mapping[str, NDArray[np.intp]], seed: int
) -> str:
    """The name under which an answer is filed.

    Parameters
    ----------
    content : mapping
        What the model is, JSON-able.
    table : str
        Fingerprint of the table.
    rows : mapping of str to np.ndarray
        Which rows are trained on, scored, and calibrated on.
    seed : int
        Of the model.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    head = {
        "code": CODE_VERSION,
        "libraries": library_versions(),
        "model": content,
        "table": table,
        "seed": seed,
    }
    digest.update(json.dumps(head, sort_keys=True).encode())
    for name in sorted(rows):
        digest.update(name.encode() + np.asarray(rows[name], dtype="<i8").tobytes())
    return digest.hexdigest()


class ResultCache:
    """A folder of answers. Files that are damaged count as not there.

    Parameters
    ----------
    folder : Path or None
        Made when something is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def load(self, key: str, *, shape: tuple[int, int]) -> FoldResult | None:
        """The answer filed under `key`, or None; `shape` is what its values must have."""
        if self.folder is None:
            return None
        try:
            with np.load(self._path(key), allow_pickle=False) as file:
                values = file["values"]
                told = json.loads(str(file["told"]))
            result = FoldResult(
                values=values,
                fit_seconds=float(told["fit_seconds"]),
                predict_seconds=float(told["predict_seconds"]),
                notes=tuple(map(str, told["notes"])),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return result if values.shape == shape and values.dtype == np.float32 else None

    def save(self, key: str, result: FoldResult) -> None:
        """File an answer, whole or not at all; a failure is not one, and is tried again."""
        if self.folder is None or result.failure:
            return
        told = {
            "fit_seconds": result.fit_seconds,
            "predict_seconds": result.predict_seconds,
            "notes": list(result.notes),
        }
        with atomic(self._path(key)) as part, part.open("wb") as file:
            np.savez(file, values=result.values, told=np.array(json.dumps(told)))

    def _path(self, key: str) -> Path:
        if self.folder is None:
            raise ValueError("this cache has no folder")
        return self.folder / key[:2] / f"{key}.npz"
