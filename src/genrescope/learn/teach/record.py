"""The folder of a taught recogniser: whose it is, and what lies in it beside the bundle."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.audio.files import printable
from genrescope.catalog.spreadsheet import guarded, guarded_path
from genrescope.catalog.storage import atomic
from genrescope.errors import TrainingError

if TYPE_CHECKING:
    from genrescope.learn.teach.lesson import Taught

__all__ = ["claim", "record"]

_FORMAT = "genrescope teach 1"
_RECORD = "teach.json"


def claim(folder: Path) -> None:
    """Take a folder, unless something else is in it.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.

    Raises
    ------
    TrainingError
        If it is a file, or holds what is not of this kind.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: is a file; give a folder, which is made if it is missing")
    known = folder / _RECORD
    try:
        said = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    except (OSError, ValueError):
        said = {}
    others = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    if said.get("format") != _FORMAT and set(others) - {"features"}:
        raise TrainingError(
            f"{folder}: holds {printable(sorted(others)[0])}, which is not of this command; give "
            "a new folder with --out"
        )
    if not known.exists():
        with atomic(known) as part:
            part.write_text(json.dumps({"format": _FORMAT}) + "\n", encoding="utf-8")


def record(folder: Path, taught: Taught) -> None:
    """Write answers, doubtful labels, what was left out, and all figures, beside the bundle.

    Parameters
    ----------
    folder : Path
        Of the bundle.
    taught : Taught
        What was taught.

    Raises
    ------
    DataError
        If the disk refuses.
    """
    with atomic(folder / "answers.csv") as part, _open(part) as file:
        writer = csv.writer(file)
        writer.writerow(["path", "genre", "answer", "group", "fold", *taught.genres])
        for row, path in enumerate(taught.paths):
            best = taught.genres[int(taught.probabilities[row].argmax())]
            writer.writerow(
                [
                    path,
                    taught.genres[taught.y[row]],
                    best,
                    taught.grouping.groups[row],
                    taught.folds[row],
                    *(f"{value:.4f}" for value in taught.probabilities[row]),
                ]
            )
    with atomic(folder / "doubtful.csv") as part, _open(part) as file:
        writer = csv.writer(file)
        writer.writerow(["path", "genre", "sounds_like", "p_genre", "p_sounds_like"])
        for found in taught.mislabelled.doubtful:
            writer.writerow(
                [
                    guarded_path(taught.paths[found.row]),
                    guarded(taught.genres[found.given]),
                    guarded(taught.genres[found.suggested]),
                    f"{found.p_given:.4f}",
                    f"{found.p_suggested:.4f}",
                ]
            )
    quarantine = folder / "quarantine.csv"
    quarantine.unlink(missing_ok=True)
    if taught.refused:
        with atomic(quarantine) as part, _open(part) as file:
            writer = csv.writer(file)
            writer.writerow(["path", "kind", "reason"])
            writer.writerows(
                (guarded_path(r.path), r.kind, guarded(r.reason)) for r in taught.refused
            )
    said = {
        "format": _FORMAT,
        "tracks": len(taught.paths),
        "groups": taught.grouping.by,
        "scores": taught.scores.to_dict(),
        "alone": {name: scores.to_dict() for name, scores in taught.alone},
        "curve": None if taught.curve is None else taught.curve.to_dict(),
        "doubtful": len(taught.mislabelled.doubtful),
        "label_noise": taught.mislabelled.noise,
        "chosen": list(taught.chosen),
        "notes": list(taught.notes),
        "seconds": taught.seconds,
    }
    with atomic(folder / _RECORD) as part:
        part.write_text(
            json.dumps(said, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


def _open(path: Path) -> Any:
    # Names that are not UTF-8 come as surrogates and go back as the bytes they were.
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
