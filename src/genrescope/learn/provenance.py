"""What a run and its numbers come from: versions, and settings that can be compared."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["flat", "versions"]


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # or a source tree that is not installed
            continue
    return found


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one, its keys joined by points.

    Examples
    --------
    >>> flat({"net": {"width": 384}, "seed": 0})
    {'net.width': 384, 'seed': 0}
    """
    if not isinstance(value, Mapping):
        return {prefix.rstrip("."): value}
    return {
        key: item
        for name, part in value.items()
        for key, item in flat(part, f"{prefix}{name}.").items()
    }
