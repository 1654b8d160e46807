"""How much disk the installed core takes, dependencies included."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

__all__ = ["installed_megabytes", "run"]

LIMIT_MB = 320.0


def installed_megabytes(root: str = "genrescope") -> dict[str, float]:
    """Megabytes of a package and of all that it needs without extras.

    Parameters
    ----------
    root : str
        Where to start.

    Returns
    -------
    dict of str to float
        Package -> megabytes (10^6 bytes) of its installed files, compiled bytecode included.
    """
    sizes: dict[str, float] = {}
    waiting = [root]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # needed on another system or Python only
        files = (file.locate() for file in found.files or [])
        sizes[name] = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        needs = [need for need in found.requires or [] if "extra ==" not in need]
        waiting += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs]
    return sizes


def run() -> list[dict[str, Any]]:
    """Measure what is installed here."""
    sizes = installed_megabytes()
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:4]
    return [
        {
            "name": "installed core, dependencies included",
            "value": sum(sizes.values()),
            "unit": "MB",
            "target": f"at most {LIMIT_MB:.0f}",
            "packages": len(sizes),
            "largest": ", ".join(f"{name} {size:.0f}" for name, size in largest),
        }
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
