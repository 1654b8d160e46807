"""The page of the laboratory: one HTML file that needs nothing else, and files beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.errors import MissingExtraError
from genrescope.explain.ink import style
from genrescope.explain.page import render
from genrescope.explain.page_files import figure_files, is_ours, read_facts, write_file
from genrescope.explain.plain import plain
from genrescope.explain.report.closing import finding, limits_section, repeat_section, subtitle
from genrescope.explain.report.composer import Composer, Section
from genrescope.explain.report.data_sections import analysis_section, data_section
from genrescope.explain.report.files import FileTable, csv_bytes, file_tables, parquet_bytes
from genrescope.explain.report.interactive import payload, plotly_script, script_json
from genrescope.explain.report.map_sections import maps_section
from genrescope.explain.report.model_sections import (
    classifiers_section,
    confusion_section,
    ensembles_section,
    explanations_section,
)

try:
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the report", extra="lab", package="jinja2") from error

if TYPE_CHECKING:
    from genrescope.explain.maps.drawn import Map
    from genrescope.explain.report.result import LabResult

__all__ = ["ReportPaths", "write_report"]

_FORMAT = 1  # of results.json
_FOLDERS = ("figures", "tables")


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies.

    Attributes
    ----------
    index, results : Path
        The page, and all numbers as JSON.
    figures, tables : tuple of Path
        SVG and PNG; CSV and Parquet.
    unchanged : bool
        Whether it was there already and nothing had to be written.
    """

    index: Path
    results: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    unchanged: bool = False

    @classmethod
    def unchanged_in(cls, out: Path, *, key: str) -> ReportPaths | None:
        """The report in a folder, if it was made under `key` and every file is as it was written.

        Parameters
        ----------
        out : Path
            Folder of the report.
        key : str
            What it was made from, as given to :func:`write_report`.
        """
        known = read_facts(out / "results.json")
        files = known.get("files")
        if not key or known.get("key") != key or not isinstance(files, dict):
            return None
        for name, digest in files.items():
            if not is_ours(name, _FOLDERS):
                return None
            try:
                found = hashlib.sha256((out / name).read_bytes()).hexdigest()
            except OSError:
                return None
            if found != digest:
                return None
        return replace(_paths(out, files), unchanged=True)


def write_report(result: LabResult, out: Path, *, key: str = "") -> ReportPaths:
    """Write the page and the files beside it.

    Each file takes the place of its predecessor once it is whole. Figures and tables of an
    earlier report in the same folder that this one does not have are removed; files that no
    report wrote are left alone.

    Parameters
    ----------
    result : LabResult
        What there is to tell.
    out : Path
        Folder, made where it is missing.
    key : str
        What the report was made from; see :meth:`ReportPaths.unchanged_in`.

    Returns
    -------
    ReportPaths

    Raises
    ------
    DataError
        If the disk refuses.
    """
    page = Composer(simulated=result.data.simulated)
    with style():
        sections = [
            data_section(result, page),
            analysis_section(result, page),
            maps_section(result, page),
            classifiers_section(result, page),
            ensembles_section(result, page),
            confusion_section(result, page),
            explanations_section(result, page),
            limits_section(result),
            repeat_section(result, page),
        ]
    tables = list(file_tables(result))
    contents: dict[str, bytes] = {}
    for drawing in page.drawings:
        contents.update(figure_files(drawing))
    for table in tables:
        contents.update(_table_files(table))
    contents["index.html"] = _render(result, sections).encode("utf-8")
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    before = read_facts(out / "results.json").get("files")
    for name, content in contents.items():
        write_file(out / name, content)
    results = {"format": _FORMAT, "key": key, **_numbers(result), "files": files}
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    write_file(out / "results.json", text.encode("utf-8"))
    for name in before if isinstance(before, dict) else ():
        if name not in files and is_ours(name, _FOLDERS):
            (out / name).unlink(missing_ok=True)
    return _paths(out, files)


def _render(result: LabResult, sections: list[Section]) -> str:
    numbers = script_json(payload(result))
    return render(
        "report.html",
        script="report.js",
        plotly=plotly_script(),
        version=result.versions.get("genrescope", ""),
        result=result,
        title=f"Telling genres apart: {result.data.name}",
        subtitle=subtitle(result),
        finding=finding(result),
        sections=sections,
        chapters=[(section.id, section.title.split(":")[0]) for section in sections],
        payload=Markup(numbers),  # noqa: S704 - no character of it is markup
    )


def _numbers(result: LabResult) -> dict[str, Any]:
    """All numbers of a report; what there is for each track is in the tables."""
    data = result.data
    explained = result.explanations
    best = result.best
    return {
        "data": {
            "name": data.name,
            "source": data.source,
            "simulated": data.simulated,
            "fingerprint": data.fingerprint,
            "n": len(data),
            "features": list(data.features),
            "feature_groups": list(data.feature_groups),
            "genres": list(data.genres),
            "group": data.group_name,
            "notes": list(result.notes),
        },
        "protocol": {
            "kind": result.protocol.kind,
            "n_folds": result.protocol.n_folds,
            "seed": result.protocol.seed,
            "description": result.protocol.description,
            "scored": int((result.protocol.fold >= 0).sum()),
            "chance": result.chance,
        },
        "finding": finding(result),
        "audit": plain(result.audit),
        "analysis": plain(result.analysis),
        "maps": [_map_numbers(one) for one in result.maps],
        "leaderboard": plain(result.leaderboard),
        "best": None if best is None else best.run.key,
        "ensembles": [plain(gain) for gain in result.gains],
        "confusion": plain(result.confusion),
        "explanations": plain(explained),
        "reference": plain(result.reference),
        "command": result.command,
        "seconds": round(result.seconds, 3),
        "versions": dict(result.versions),
    }


def _map_numbers(one: Map) -> dict[str, Any]:
    """A map without what there is for each track."""
    known: dict[str, Any] = plain(one)
    return {name: value for name, value in known.items() if name not in ("positions", "fitted_on")}


def _table_files(table: FileTable) -> dict[str, bytes]:
    return {
        f"tables/{table.key}.csv": csv_bytes(table),
        f"tables/{table.key}.parquet": parquet_bytes(table),
    }


def _paths(out: Path, files: Mapping[str, str]) -> ReportPaths:
    return ReportPaths(
        index=out / "index.html",
        results=out / "results.json",
        figures=tuple(out / name for name in files if name.startswith("figures/")),
        tables=tuple(out / name for name in files if name.startswith("tables/")),
    )
