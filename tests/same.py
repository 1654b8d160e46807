"""Answers that differ by rounding only: processes place arrays, and so sum them, differently."""

from __future__ import annotations

from typing import Any

__all__ = ["same", "same_answer"]


def same(a: Any, b: Any, *, within: float = 1e-5) -> bool:
    """Whether two JSON-like values are equal, numbers within a tolerance."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], within=within) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(same(x, y, within=within) for x, y in pairs)
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= within
    return bool(a == b)


def same_answer(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two predictions, as ``to_dict`` tells them, are the same but for rounding."""
    if "similar" not in a or "similar" not in b:  # one that failed
        return same(a, b)
    coarse = ("similar", "position")  # told to fewer digits, the last of which may differ
    return (
        same(*({key: one[key] for key in one if key not in coarse} for one in (a, b)))
        and [one["track_id"] for one in a["similar"]] == [one["track_id"] for one in b["similar"]]
        and same(a["position"], b["position"], within=1e-3)
    )
