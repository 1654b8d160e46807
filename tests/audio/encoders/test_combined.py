"""Several encoders as one front end: whose columns are where, and what the card says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genrescope.audio.encoders.base import FloatArray, WindowEncoder
from genrescope.audio.encoders.combined import Combined
from genrescope.errors import DataError


class Counting(WindowEncoder):
    """Rows of one number, which says how long the window is in seconds."""

    def __init__(self, name: str, n_features: int, licence: str) -> None:
        self.name, self.n_features, self.licence = name, n_features, licence
        self.version = 4

    def parameters(self) -> dict[str, Any]:
        return {"of": self.name}

    def encode(self, windows: Sequence[FloatArray], *, sr: int) -> FloatArray:
        rows = [np.full(self.n_features, len(y) / sr * self.n_features) for y in windows]
        return np.stack(rows).astype(np.float32)


@pytest.fixture
def both() -> Combined:
    return Combined([Counting("b", 2, "MIT"), Counting("a", 3, "CC0-1.0")])


def test_columns_follow_the_order_of_the_names(both: Combined) -> None:
    assert both.n_features == 5
    assert both.columns == {"b": slice(0, 2), "a": slice(2, 5)}
    rows = both.encode([np.zeros(50, np.float32), np.zeros(100, np.float32)], sr=100)
    assert rows.tolist() == [[1.0, 1.0, 1.5, 1.5, 1.5], [2.0, 2.0, 3.0, 3.0, 3.0]]


def test_a_card_lists_every_encoder_with_all_that_decides_its_numbers(both: Combined) -> None:
    assert both.licence == "b: MIT; a: CC0-1.0"
    listed = [
        {"name": "b", "version": 4, "n_features": 2, "licence": "MIT", "parameters": {"of": "b"}},
        {
            "name": "a", "version": 4, "n_features": 3, "licence": "CC0-1.0",
            "parameters": {"of": "a"},
        },
    ]  # fmt: skip
    assert both.parameters() == {"encoders": listed}
    assert both.card_section() == {
        "name": "encoders",
        "version": 1,
        "n_features": 5,
        "parameters": {"encoders": listed},
    }


def test_none_or_the_same_twice_is_refused() -> None:
    with pytest.raises(DataError) as refused:
        Combined([])
    assert str(refused.value) == "no encoder was named; name at least one, such as frames"
    with pytest.raises(DataError) as refused:
        Combined([Counting(name, 1, "MIT") for name in "cbcab"])
    assert str(refused.value) == "encoder b is named twice; name each once"
