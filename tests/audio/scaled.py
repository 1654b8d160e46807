"""Stores of partitions for the tests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from genrescope.audio.scale.extract import extract_scaled
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue, find_tracks
from genrescope.audio.store.verify import verify
from genrescope.audio.store.write import Extraction, Report, Summary
from tests.audio.stores import write_tone

__all__ = ["MANY", "MEL", "audit", "make_many", "scaled"]

MEL = Recipe(("mel",), seconds=1.0)
MANY = 120


def make_many(folder: Path) -> Path:
    """Short tracks in three digits."""
    for i in range(MANY):
        write_tone(folder / f"{i:03d}.wav", seed=i, seconds=0.6)
    return folder


def scaled(
    source: Path | Catalogue,
    out: str | Path,
    engine: Any,
    *,
    partitions: int | None = 4,
    report: Report | None = None,
    **options: Any,
) -> Summary:
    """Extract 1 s of mel into four partitions."""
    catalogue = source if isinstance(source, Catalogue) else find_tracks(source)
    how = Extraction(**{"recipe": MEL, **options})
    return extract_scaled(
        catalogue, out, engine=engine, how=how, partitions=partitions, report=report
    )


def audit(out: str | Path, expected: int) -> FeatureStore:
    """Look that so many tracks are there, once each, and that the store is whole."""
    store = FeatureStore.open(out)
    assert not verify(out).problems
    rows = Counter(id_ for part in store.journal.parts for id_ in part.ids)
    assert len(store) == len(rows) == expected
    assert set(rows.values()) == {1}
    return store
