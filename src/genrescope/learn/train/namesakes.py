"""Artists that go by several ids: their names give away what folds by id keep apart.

"Madoka" and "Madoka Ogitani", or one band that was entered twice, may lie in different folds. A
model that reads names then answers from memory. On FMA-small 5 % of the tracks are of such artists,
and for them names seem to add ten times what they add for the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["namesakes"]

_SHORTEST = 5  # letters of a name that is looked for inside others
_MOST_WORDS = 12


def namesakes(names: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Groups of names that are equal, or of which one stands in the other as whole words.

    Parameters
    ----------
    names : sequence of n str or None
        Of the artists of n tracks.

    Returns
    -------
    np.ndarray [shape=(n,), int64]
        Equal for tracks whose artists may be the same. None is alone each time.

    Examples
    --------
    >>> namesakes(["Madoka", "MADOKA Ogitani", "Kurt Vile", None, None]).tolist()
    [0, 0, 1, 2, 3]
    """
    keys = [_words(name) if name else () for name in names]
    parent: dict[tuple[str, ...], tuple[str, ...]] = {key: key for key in keys if key}

    def root(key: tuple[str, ...]) -> tuple[str, ...]:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for key in list(parent):
        words = key[:_MOST_WORDS]
        for first in range(len(words)):
            for last in range(first + 1, len(words) + 1):
                inside = words[first:last]
                if inside != key and inside in parent and sum(map(len, inside)) >= _SHORTEST:
                    parent[root(inside)] = root(key)
    numbers: dict[object, int] = {}
    return np.array(
        [numbers.setdefault(root(key) if key else i, len(numbers)) for i, key in enumerate(keys)],
        dtype=np.int64,
    )


def _words(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", name.casefold())
    return tuple(re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c))))
