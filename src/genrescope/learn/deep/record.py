"""The folder of a run: what it is about, what happened, and that nobody else's is in it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genrescope import __version__
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError, TrainingError
from genrescope.learn.provenance import flat, versions

__all__ = ["PACKAGES", "RECORD", "Folder", "git_revision"]

Report = Callable[[str, Mapping[str, Any]], None]

RECORD = "run.json"
LOG = "log.jsonl"
PACKAGES = ("numpy", "torch", "safetensors", "onnx", "onnxruntime")


class Folder:
    """A folder that belongs to one run.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    identity : mapping
        All that the numbers depend on, fit for JSON; another run has another.
    notes : mapping
        What else is worth knowing, such as the device; a run may go on with others.
    report : callable, optional
        Told what happens, ``report(event, details)``.

    Raises
    ------
    TrainingError
        If the folder holds another run, or cannot be written to.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: Mapping[str, Any],
        notes: Mapping[str, Any] | None = None,
        report: Report | None = None,
    ) -> None:
        self.path, self._report = path, report
        now = json.loads(json.dumps(identity))
        record = path / RECORD
        if record.exists():
            changed = _differences(read_record(path), now)
            if changed:
                raise TrainingError(
                    f"{path} holds another run ({'; '.join(changed)}); give a new folder with "
                    "--out, or the settings and data of that run"
                )
            return
        full = {
            **now,
            **(notes or {}),
            "genrescope": __version__,
            "git": git_revision(),
            "packages": versions(PACKAGES),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        try:
            with atomic(record) as fresh:
                fresh.write_text(json.dumps(full, indent=2) + "\n")
        except (OSError, DataError) as error:
            raise TrainingError(
                f"{path} cannot be written to ({error}); a run needs a folder of its own: give "
                "another with --out"
            ) from error

    def report(self, event: str, **details: Any) -> None:
        """Tell the caller and the log."""
        line = {"time": round(time.time(), 3), "event": event, **details}
        with (self.path / LOG).open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self._report is not None:
            self._report(event, details)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a file of the run, whole or not at all."""
        with atomic(self.path / name) as fresh:
            fresh.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """What a run is about.

    Raises
    ------
    TrainingError
        If there is none, or it cannot be read.
    """
    try:
        found = json.loads((path / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path / RECORD}: cannot be read ({error}); give a new folder with --out"
        ) from error
    if not isinstance(found, dict):
        raise TrainingError(f"{path / RECORD}: holds no run; give a new folder with --out")
    return found


def git_revision(of: Path | None = None) -> dict[str, Any] | None:
    """The git revision of this code.

    Parameters
    ----------
    of : Path, optional
        A file; by default one of the package.

    Returns
    -------
    dict or None
        ``revision`` and whether tracked files were ``changed`` since; None where the file is not
        under git, as in an installed package.
    """
    file = (of or Path(__file__)).resolve()

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(file.parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # not the repository around a venv
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/")
        return {"revision": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What another run was about, in words."""
    if before.get("kind") != now["kind"]:
        return ["it was made by another command"]
    found = []
    if before.get("data_sha256") != now["data_sha256"]:
        found.append("its data is other data")
    old, new = flat({k: before.get(k) for k in now}), flat(now)
    found += [
        f"it has {key} {old.get(key)}, not {new.get(key)}"
        for key in sorted({*old, *new})
        if key != "data_sha256" and old.get(key) != new.get(key)
    ]
    return found
