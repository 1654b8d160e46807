"""The licences of what genrescope needs, from what is installed: ``python -m benchmarks.licences``.

Writes the table between the two marks of docs/licences.md.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
_MARKS = ("<!-- dependencies -->", "<!-- /dependencies -->")
_TOOLS = {"dev", "docs"}  # nothing of these is needed to use it


def needed() -> dict[str, set[str]]:
    """Direct dependencies, each with the extras that ask for it; "core" is none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, set[str]] = {}
    for group, lines in groups.items():
        for line in lines:
            name = Requirement(line).name
            if group not in _TOOLS and name != project["name"]:
                found.setdefault(name, set()).add(group)
    return found


def licence_of(name: str) -> str:
    """What a package says of its licence; empty where it is not installed."""
    try:
        told = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    classes = [
        line.rpartition(" :: ")[2]
        for line in told.get_all("Classifier") or ()
        if line.startswith("License :: OSI Approved :: ")
    ]
    plain = (told.get("License") or "").strip()
    short = plain if plain and "\n" not in plain and len(plain) < 60 else ""
    return told.get("License-Expression") or short or ", ".join(classes) or "see its files"


def table(before: str) -> str:
    """The table; what is not installed here keeps the line that it had."""
    lines = ["| package | for | licence |", "|---|---|---|"]
    for name, groups in sorted(needed().items(), key=lambda one: one[0].casefold()):
        old = re.search(rf"^\| {re.escape(name)} \|.*\| (.+) \|$", before, flags=re.MULTILINE)
        licence = licence_of(name) or (old[1] if old else "not installed where this was made")
        lines.append(f"| {name} | {', '.join(sorted(groups))} | {licence} |")
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    text = PAGE.read_text("utf-8")
    head, rest = text.split(_MARKS[0])
    old, tail = rest.split(_MARKS[1])
    new = f"{head}{_MARKS[0]}\n{table(old)}\n{_MARKS[1]}{tail}"
    PAGE.write_text(new, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
