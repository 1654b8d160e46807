"""The tables of a report: as files for other programs, and as text for the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrescope.catalog.spreadsheet import guarded
from genrescope.errors import MissingExtraError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("writing tables", extra="lab", package="pyarrow") from error

from genrescope.explain.plain import plain, text_of

if TYPE_CHECKING:
    from genrescope.explain.report.result import LabResult

__all__ = ["FileTable", "csv_bytes", "file_tables", "parquet_bytes"]


@dataclass(frozen=True)
class FileTable:
    """A table as a file: numbers in full, of Python's own types; None where there is none.

    Attributes
    ----------
    key : str
        Its name, fit for a file.
    columns : tuple of str
        Names; units are part of them.
    rows : tuple of tuple
        As many cells as columns each.
    """

    key: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def csv_bytes(table: FileTable) -> bytes:
    """A table as CSV in UTF-8.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, as spreadsheets
    write it themselves; numbers stay what they are.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_harmless(name) for name in table.columns])
    for row in table.rows:
        writer.writerow(["" if cell is None else _harmless(cell) for cell in row])
    return out.getvalue().encode("utf-8", "replace")


def parquet_bytes(table: FileTable) -> bytes:
    """A table as Parquet: one type a column, null where there is no value."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    arrays = [_array(list(column)) for column in columns]
    names = _unique([text_of(name) for name in table.columns])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, names=names), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def file_tables(result: LabResult) -> Iterator[FileTable]:
    """Every table of a report that is not empty.

    Parameters
    ----------
    result : LabResult
        What there is to tell.

    Yields
    ------
    FileTable
    """
    made = (
        *_of_analysis(result),
        *_of_maps(result),
        *_of_models(result),
        *_of_confusion(result),
        *_of_explanations(result),
    )
    for table in made:
        if table.rows:
            rows = tuple(tuple(plain(cell) for cell in row) for row in table.rows)
            yield FileTable(table.key, table.columns, rows)


def _of_analysis(result: LabResult) -> Iterator[FileTable]:
    found = result.analysis
    yield FileTable(
        "class_balance",
        ("genre", "tracks", "groups"),
        tuple((g, n, found.groups_per_genre.get(g)) for g, n in found.balance.items()),
    )
    yield FileTable(
        "missing_values",
        ("feature", "missing", "share"),
        tuple((f, n, n / found.n) for f, n in found.missing.items()),
    )
    yield FileTable(
        "effects",
        ("rank", "feature", "group", "eta_squared", "eta_low", "eta_high", "epsilon_squared",
         "kruskal_wallis_h", "p", "p_adjusted", "n", "n_missing"),
        tuple(
            (rank, e.feature, e.group, e.eta_squared, e.eta_low, e.eta_high, e.epsilon_squared,
             e.h, e.p, e.p_adjusted, e.n, e.n_missing)
            for rank, e in enumerate(found.effects, start=1)
        ),
    )  # fmt: skip
    yield FileTable(
        "medians",
        ("feature", "genre", "median"),
        tuple((e.feature, g, m) for e in found.effects for g, m in e.medians.items()),
    )
    yield FileTable(
        "distributions",
        ("feature", "unit", "genre", "n", "median", "quartile_1", "quartile_3"),
        tuple(
            (d.feature, d.unit, g, d.n.get(g), d.median.get(g), *d.quartiles.get(g, (None, None)))
            for d in found.distributions
            for g in d.density
        ),
    )
    names = found.correlation.features
    yield FileTable(
        "correlation",
        ("feature", *names),
        tuple((n, *row) for n, row in zip(names, found.correlation.matrix, strict=True)),
    )


def _of_maps(result: LabResult) -> Iterator[FileTable]:
    measures = ("trustworthiness", "continuity", "knn_accuracy", "knn_accuracy_features", "k",
                "chance", "n_rows", "n_votes")  # fmt: skip
    rows = []
    for one in result.maps:
        for where, quality in (("fitted", one.quality), ("held out", one.quality_held_out)):
            if quality is not None:
                figures = [getattr(quality, name) for name in measures]
                rows.append((one.method, one.dims, where, *figures, one.seconds))
    yield FileTable("maps", ("method", "dims", "rows", *measures, "cpu_s"), tuple(rows))
    data = result.data
    columns = ["track_id", "title", "artist", "genre"]
    cells: list[Any] = [data.track_id, data.title, data.artist, [data.genres[i] for i in data.y]]
    for one in result.maps:
        stem = f"{one.method.lower().replace('-', '')}_{one.dims}d"
        columns += [f"{stem}_{axis}" for axis in "xyz"[: one.dims]]
        cells += list(np.asarray(one.positions, np.float64).round(4).T)
        columns.append(f"{stem}_fitted")
        cells.append(one.fitted_on)
    if result.maps:
        yield FileTable("map_positions", tuple(columns), tuple(zip(*cells, strict=True)))


def _of_models(result: LabResult) -> Iterator[FileTable]:
    columns, rows = result.leaderboard.table()
    yield FileTable("leaderboard", tuple(columns), tuple(rows))
    best = result.best
    if best is not None and best.scores is not None:
        measures = ("precision", "recall", "f1", "support")
        yield FileTable(
            "best_by_genre",
            ("model", "genre", *measures),
            tuple(
                (best.run.name, genre, *(row.get(m) for m in measures))
                for genre, row in best.scores.per_genre.items()
            ),
        )
        bins = best.scores.reliability
        yield FileTable(
            "reliability",
            ("low", "high", "n", "confidence", "accuracy"),
            tuple(
                tuple(b[c] for c in ("low", "high", "n", "confidence", "accuracy")) for b in bins
            ),
        )
        yield _predictions(result)
    yield FileTable(
        "ensembles",
        ("key", "ensemble", "best_member", "members", "accuracy", "accuracy_of_best_member",
         "gain", "gain_low", "gain_high", "significant"),
        tuple(
            (g.key, g.name, g.best_name, " ".join(g.members), g.gain.a, g.gain.b,
             g.gain.difference, g.gain.low, g.gain.high, g.gain.significant)
            for g in result.gains
        ),
    )  # fmt: skip
    if result.reference is not None:
        yield FileTable(
            "reference",
            ("model", "published_accuracy", "published_macro_f1", "measured_accuracy",
             "measured_macro_f1", "note"),
            tuple(
                (row.name, row.accuracy, row.macro_f1, *_measured(result, row.name), row.note)
                for row in result.reference.rows
            ),
        )  # fmt: skip


def _predictions(result: LabResult) -> FileTable:
    data, best = result.data, result.best
    scored = np.flatnonzero(result.protocol.fold >= 0)
    rows: list[tuple[Any, ...]] = []
    if best is not None and best.run.probabilities is not None:
        p = best.run.probabilities
        answer = p.argmax(axis=1)
        rows = [
            (data.track_id[i], data.title[i], data.artist[i], data.genres[data.y[i]],
             data.genres[answer[at]], float(p[at, answer[at]]), int(result.protocol.fold[i]))
            for at, i in enumerate(scored)
        ]  # fmt: skip
    columns = ("track_id", "title", "artist", "genre", "predicted", "probability", "fold")
    return FileTable("predictions_of_best", columns, tuple(rows))


def _measured(result: LabResult, name: str) -> tuple[float | None, float | None]:
    """Accuracy and macro-F1 of the model of that name here, if it ran."""
    for row in result.leaderboard.rows:
        if row.run.name == name and row.scores is not None:
            return row.scores.accuracy, row.scores.macro_f1
    return None, None


def _of_confusion(result: LabResult) -> Iterator[FileTable]:
    found = result.confusion
    if found is None:
        return
    yield FileTable(
        "confusion",
        ("true", *found.genres),
        tuple((g, *row) for g, row in zip(found.genres, found.counts, strict=True)),
    )
    yield FileTable(
        "confused_pairs",
        ("true", "taken_for", "n", "share", "example_track_id", "example_title",
         "example_artist", "probability", "probability_of_true"),
        tuple(
            (pair.true, pair.taken_for, pair.n, pair.share, e.track_id, e.title, e.artist,
             e.probability, e.probability_of_true)
            for pair in found.pairs
            for e in pair.examples
        ),
    )  # fmt: skip


def _of_explanations(result: LabResult) -> Iterator[FileTable]:
    kinds = result.importances
    yield FileTable(
        "importance",
        ("kind", "model", "feature", "mean", "low", "high", "unit"),
        tuple(
            (one.kind, one.model, one.features[i], one.mean[i], one.low[i], one.high[i], one.unit)
            for one in kinds.values()
            for i in np.argsort(-np.nan_to_num(one.mean), kind="stable")
        ),
    )
    yield FileTable(
        "importance_by_group",
        ("kind", "model", "group", "mean", "low", "high", "unit"),
        tuple(
            (one.kind, one.model, group, *ends, one.unit)
            for one in kinds.values()
            for group, ends in one.by_group.items()
        ),
    )
    yield FileTable(
        "importance_by_genre",
        ("kind", "model", "genre", "feature", "mean"),
        tuple(
            (one.kind, one.model, genre, feature, value)
            for one in kinds.values()
            for genre, values in (one.per_genre or {}).items()
            for feature, value in zip(one.features, values, strict=True)
        ),
    )
    tracks = () if result.explanations is None else result.explanations.tracks
    yield FileTable(
        "explained_tracks",
        ("track_id", "title", "artist", "true_genre", "genre", "probability", "base_log_odds",
         "feature", "value", "contribution_log_odds"),
        tuple(
            (t.track_id, t.title, t.artist, t.true_genre, t.genre, t.probability, t.base,
             t.features[i], t.values[i], t.contributions[i])
            for t in tracks
            for i in np.argsort(-np.abs(t.contributions), kind="stable")
        ),
    )  # fmt: skip


def _array(cells: list[Any]) -> Any:
    there = [c for c in cells if c is not None]
    if all(isinstance(c, bool) for c in there) and there:
        return pa.array(cells, pa.bool_())
    if all(isinstance(c, int) and not isinstance(c, bool) for c in there) and there:
        return pa.array(cells, pa.int64())
    if all(isinstance(c, int | float) and not isinstance(c, bool) for c in there) and there:
        return pa.array([None if c is None else float(c) for c in cells], pa.float64())
    return pa.array([None if c is None else str(c) for c in cells], pa.string())


def _unique(names: Sequence[str]) -> list[str]:
    """Names of columns, each once: a second one of a name is numbered."""
    found: dict[str, None] = {}
    for name in names:
        new, n = name, 2
        while new in found:
            new, n = f"{name}.{n}", n + 1
        found[new] = None
    return list(found)


def _harmless(cell: Any) -> Any:
    return guarded(cell) if isinstance(cell, str) else cell
