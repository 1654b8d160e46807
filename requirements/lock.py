"""Write requirements/lock-PYTHON.txt: the versions that this environment has, as constraints.

``python requirements/lock.py`` is run where `make test` has just passed: what is locked is what was
tested. Names and versions only; a version that differs by a local label (``2.13.0+cpu``) is locked
without it, since every build of that version will do.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tomllib
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).resolve().parent
EXTRAS = ("dev", "docs")


def wanted() -> dict[str, str]:
    """What genrescope and its tests need here, and what that needs in turn: name to version."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(line) for line in project["dependencies"]]
    asked += [Requirement(line) for name in EXTRAS if name in extras for line in extras[name]]
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while asked:
        one = asked.pop()
        name = canonicalize_name(one.name)
        for extra in ("", *one.extras):
            if one.marker is not None and not one.marker.evaluate(
                {**default_environment(), "extra": extra}
            ):
                continue
            if name == project["name"]:
                asked += [Requirement(line) for more in one.extras for line in extras[more]]
                break
            if (name, frozenset(one.extras)) in seen:
                break
            seen.add((name, frozenset(one.extras)))
            try:
                there = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                break  # an extra of theirs that is not asked for, or a marker of another system
            found[name] = Version(there.version).public
            for line in there.requires or ():
                need = Requirement(line)
                context = [{**default_environment(), "extra": e} for e in ("", *one.extras)]
                if need.marker is None or any(need.marker.evaluate(c) for c in context):
                    need.marker = None
                    asked.append(need)
            break
    return found


def main() -> None:
    """Write the lock of this version of Python."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    target = HERE / f"lock-{python}.txt"
    head = (
        "# The versions that the demonstration and the tests ran with, as constraints; made by "
        "`make lock`.\n"
        f"# Python {python}, {platform.system()}, {platform.machine()}\n"
    )
    lines = (f"{name}=={version}\n" for name, version in sorted(wanted().items()))
    target.write_text(head + "".join(lines), encoding="utf-8", newline="\n")
    print(f"{target.name} is written")


if __name__ == "__main__":
    main()
