"""The folder of a page: the page, its figures, and a file that says what belongs to it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrescope import __version__
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError
from genrescope.explain.ink import Drawing

__all__ = [
    "PagePaths",
    "check_folder",
    "figure_files",
    "is_ours",
    "read_facts",
    "write_file",
    "write_page",
]

_FACTS = "facts.json"


@dataclass(frozen=True)
class PagePaths:
    """Where a page lies: itself, its numbers as JSON, and its figures as SVG and PNG."""

    index: Path
    facts: Path
    figures: tuple[Path, ...]


def check_folder(out: Path, *, kind: str) -> tuple[str, ...]:
    """Refuse a place where a page would not be written, before anything is computed.

    Parameters
    ----------
    out : Path
        Folder of the page; it need not be there.
    kind : str
        What its facts begin their format with, such as ``"genrescope look"``.

    Returns
    -------
    tuple of str
        Files there that an earlier page of this kind wrote.

    Raises
    ------
    DataError
        If `out` is a file, or a folder with a page that is not of this kind.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; give a folder, which is made if it is missing")
    known = read_facts(out / _FACTS)
    if str(known.get("format", "")).startswith(kind):
        names = known.get("files")
        return tuple(filter(is_ours, names)) if isinstance(names, list) else ()
    if (out / "index.html").exists():
        raise DataError(
            f"{out}: holds an index.html that is not a page of this command; give another folder "
            "with --out"
        )
    return ()


def write_page(
    out: Path, page: str, drawings: Iterable[Drawing], *, kind: str, facts: Mapping[str, Any]
) -> PagePaths:
    """Write a page, its figures, and its numbers.

    Each file takes the place of its predecessor once it is whole. Figures of an earlier page in
    the same folder that this one does not have are removed.

    Parameters
    ----------
    out : Path
        Folder, made where it is missing.
    page : str
        HTML.
    drawings : iterable of Drawing
        Its figures.
    kind : str
        As of :func:`check_folder`.
    facts : mapping
        Its numbers, fit for JSON.

    Returns
    -------
    PagePaths

    Raises
    ------
    DataError
        If `out` holds a page that is not of this kind, or the disk refuses.
    """
    before = check_folder(out, kind=kind)
    contents: dict[str, bytes] = {}
    for drawing in drawings:
        contents |= figure_files(drawing)
    contents["index.html"] = page.encode("utf-8")
    about = {"format": f"{kind} 1", "version": __version__, "files": sorted(contents), **facts}
    for name, content in contents.items():
        write_file(out / name, content)
    text = json.dumps(about, indent=1, allow_nan=False, ensure_ascii=False)
    write_file(out / _FACTS, text.encode("utf-8"))
    for name in before:
        if name not in contents:
            (out / name).unlink(missing_ok=True)
    return PagePaths(
        index=out / "index.html",
        facts=out / _FACTS,
        figures=tuple(out / name for name in contents if name.startswith("figures/")),
    )


def figure_files(drawing: Drawing) -> dict[str, bytes]:
    """A drawing as SVG and as PNG, by the names of the files."""
    name = f"figures/{drawing.key}"
    return {f"{name}.svg": drawing.svg.encode("utf-8"), f"{name}.png": drawing.png}


def is_ours(name: object, folders: Collection[str] = ("figures",)) -> bool:
    """Whether a name is one that a page writes: nothing outside its folder is touched.

    >>> is_ours("figures/mel-filters.svg"), is_ours("../index.html"), is_ours("figures/.x")
    (True, False, False)
    """
    if not isinstance(name, str):
        return False
    folder, _, file = name.rpartition("/")
    plain = file.replace("-", "").replace("_", "").replace(".", "").isalnum()
    return plain and not file.startswith(".") and (not folder or folder in folders)


def read_facts(path: Path) -> dict[str, Any]:
    """What an earlier page says of itself; empty where there is none that can be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as part:
        part.write_bytes(content)
