"""The lowest versions that pyproject.toml allows, as constraints.

``python requirements/lowest.py`` writes them to requirements/lowest.txt; ``--check`` says whether
they are as they must be.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
TARGET = HERE / "lowest.txt"
_TOOLS = {"dev", "docs"}  # whatever version of these does the work will do
_HEAD = (
    "# The lowest versions that pyproject.toml allows; made by `python requirements/lowest.py`.\n"
)


def lowest() -> str:
    """The constraints, a line a package."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = dict(project["optional-dependencies"])
    for name in _TOOLS & extras.keys():
        del extras[name]
    lines: dict[str, str] = {}
    for line in (*project["dependencies"], *(one for group in extras.values() for one in group)):
        asked = Requirement(line)
        if asked.name == project["name"]:
            continue
        bounds = [one.version for one in asked.specifier if one.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"{line}: give one lower bound")
        marker = f" ; {asked.marker}" if asked.marker else ""
        told = f"{asked.name.lower()}=={bounds[0]}{marker}"
        if lines.setdefault(asked.name.lower(), told) != told:
            raise ValueError(f"{line}: elsewhere it is {lines[asked.name.lower()]}; one bound each")
    return _HEAD + "".join(f"{lines[name]}\n" for name in sorted(lines))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text("utf-8") != lowest())
    TARGET.write_text(lowest(), encoding="utf-8", newline="\n")
