"""The metadata laboratory: one table in, one report out.

Everything that takes long is kept below the report in ``cache``, under a key made of what it was
computed from: the same command goes on where a killed one stopped, and computes again only what a
change concerns.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import genrescope
from genrescope.catalog.leaks import AuditReport, audit
from genrescope.catalog.storage import atomic
from genrescope.catalog.table import TrackTable
from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.analysis.table import analyse
from genrescope.explain.confusion import confusion
from genrescope.explain.importance.models import explain_models
from genrescope.explain.maps.making import left_out, make_maps
from genrescope.explain.report.reference import REFERENCES
from genrescope.explain.report.result import LabResult
from genrescope.explain.report.summary import summary
from genrescope.explain.report.writing import ReportPaths, write_report
from genrescope.learn.lab.compare import ModelRun, run_models
from genrescope.learn.lab.ensembles import ensemble_runs
from genrescope.learn.lab.gains import ensemble_gains
from genrescope.learn.lab.leaderboard import leaderboard
from genrescope.learn.lab.presets import classifiers
from genrescope.learn.lab.protocol import Protocol, make_protocol
from genrescope.learn.lab.tabular import TabularData

if TYPE_CHECKING:
    from genrescope.audio.scale import Cluster

try:
    from threadpoolctl import threadpool_limits
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the laboratory", extra="lab", package="threadpoolctl") from error

__all__ = ["LabSettings", "run_lab"]

Report = Callable[[str, Mapping[str, Any]], None]

_SUMMARY = "summary.md"
_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-learn-intelex",
    "lightgbm",
    "openTSNE",
    "shap",
    "matplotlib",
    "plotly",
)


@dataclass(frozen=True)
class LabSettings:
    """What a run of the laboratory does; other settings make another run.

    Attributes
    ----------
    preset : {"default", "cs464"}
        Settings of the classifiers: sensible ones, or those of the 2022 study.
    protocol : {"folds", "official", "random"}
        Who is trained on and who is scored: see
        :func:`~genrescope.learn.lab.compare.make_protocol`.
    folds : int >= 2
        Of the cross-validation.
    models : tuple of str
        Keys of classifiers; empty for all of the preset.
    reference : str
        A published table to show beside the measured one, or "".
    seconds_per_model : float > 0
        What one model may take by the clock, over all folds.
    seed : int >= 0
        Of folds, models, maps and resampling.
    """

    preset: str = "default"
    protocol: str = "folds"
    folds: int = 5
    models: tuple[str, ...] = ()
    reference: str = ""
    seconds_per_model: float = 900.0
    seed: int = 0


@dataclass
class _Clock:
    """Tells the caller what is going on, and how long it took."""

    report: Report
    began: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> None:
        self.report("stage", {"name": name, "seconds": self.seconds})

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


def run_lab(
    data: TabularData,
    out: Path,
    *,
    settings: LabSettings | None = None,
    command: str = "",
    jobs: int | None = None,
    report: Report | None = None,
    cluster: Cluster | None = None,
) -> ReportPaths:
    """Analyse a table, compare the classifiers on it, and write the report.

    Parameters
    ----------
    data : TabularData
        The table, from :mod:`genrescope.learn.lab.datasets` or :mod:`genrescope.learn.lab.tables`.
    out : Path
        Folder of the report: ``index.html``, ``figures``, ``tables``, ``results.json``,
        ``summary.md``, and what was computed in ``cache``.
    settings : LabSettings, optional
        What is done; the defaults where it is not given.
    command : str
        What a reader types to repeat the run.
    jobs : int, optional
        Models that are fitted side by side; by default one a processor core.
    report : callable, optional
        Told (event, facts): "stage" with the name of what begins, and the events of
        :func:`~genrescope.learn.lab.compare.run_models`.
    cluster : Cluster, optional
        Where models are fitted in place of here; its workers must see `out`.

    Returns
    -------
    ReportPaths
        Where things are; ``unchanged`` is true where nothing had to be done.

    Raises
    ------
    DataError
        For settings that name nothing, or where every model failed.
    SplitError
        If the table does not have the split that is asked for.
    """
    settings = settings or LabSettings()
    told = report or _silent
    clock = _Clock(told)
    reference = _reference(settings.reference)
    specs = classifiers(preset=settings.preset, only=settings.models or None)
    protocol = make_protocol(
        data, kind=settings.protocol, n_folds=settings.folds, seed=settings.seed
    )
    versions = _versions()
    key = _key(data, settings, versions=versions)
    if (done := ReportPaths.unchanged_in(out, key=key)) and (out / _SUMMARY).exists():
        return done
    cache = out / "cache"
    train = protocol.fold != 0 if protocol.n_folds > 1 else protocol.fold < 0

    # Models run in processes of their own; here threads would only wait for one another.
    with threadpool_limits(1):
        clock.stage("analysis")
        found = analyse(data, seed=settings.seed)
        clock.stage("classifiers")
        runs = run_models(
            data,
            protocol,
            specs,
            cache=cache / "models",
            jobs=jobs,
            seconds_per_model=settings.seconds_per_model,
            seed=settings.seed,
            report=told,
            cluster=cluster,
        )
        _require_one(runs)
        clock.stage("ensembles")
        mixed = ensemble_runs(data, protocol, runs, seed=settings.seed)
        board = leaderboard(data, protocol, runs, seed=settings.seed)
        best = next(run for run in runs if run.key == board.best)
        clock.stage("maps and explanations")
        with ThreadPoolExecutor(max_workers=min(2, jobs or os.cpu_count() or 1)) as pool:
            maps = pool.submit(
                make_maps, data, train=train, seed=settings.seed, cache=cache / "maps"
            )
            reasons = pool.submit(
                explain_models, data, protocol, seed=settings.seed, cache=cache / "explanations"
            )
            drawn, explained = maps.result(), reasons.result()
    clock.stage("report")
    result = LabResult(
        data=data,
        protocol=protocol,
        audit=_audit(data, protocol),
        analysis=found,
        maps=drawn,
        leaderboard=board,
        ensembles=mixed,
        gains=ensemble_gains(data, protocol, mixed, runs),
        confusion=confusion(data, protocol, best),
        explanations=explained,
        reference=reference,
        command=command,
        seconds=clock.seconds,
        versions=versions,
        notes=data.notes,
        maps_left_out=left_out(data, train=train),
    )
    paths = write_report(result, out, key=key)
    results = json.loads(paths.results.read_text(encoding="utf-8"))
    with atomic(out / _SUMMARY) as fresh:
        fresh.write_text(summary(results), encoding="utf-8")
    return paths


def _silent(event: str, facts: Mapping[str, Any]) -> None:
    """A report that nobody reads."""


def _reference(name: str) -> Any:
    if not name:
        return None
    if name not in REFERENCES:
        there = ", ".join(sorted(REFERENCES))
        raise DataError(f"{name!r} is no published table that we know; choose one of: {there}")
    return REFERENCES[name]


def _require_one(runs: Collection[ModelRun]) -> None:
    if not any(run.probabilities is not None for run in runs):
        reasons = "; ".join(f"{run.name}: {run.failure}" for run in runs)
        raise DataError(f"every model failed, so there is nothing to report ({reasons})")


def _audit(data: TabularData, protocol: Protocol) -> AuditReport | None:
    """The leak audit of the split that was used; None where there is no group to look at."""
    if data.group_name == "track":
        return None
    if protocol.n_folds > 1:
        part: NDArray[Any] = np.array([f"fold {fold}" for fold in protocol.fold], dtype=object)
    else:
        part = data.split if data.split is not None else np.array([], dtype=object)
    table = TrackTable(
        {
            "track_id": [str(track) for track in data.track_id],
            "title": data.title,
            "artist_id": data.groups,
            "artist_name": data.artist,
            "genre_top": [data.genres[label] for label in data.y],
            "split": part,
        },
        text=frozenset({"track_id", "split"}),
    )
    return audit(table)


def _versions() -> dict[str, str]:
    found = {"genrescope": genrescope.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _key(data: TabularData, settings: LabSettings, *, versions: Mapping[str, str]) -> str:
    """What a report was made from: data, settings, versions, and the code that made it."""
    digest = hashlib.sha256(data.fingerprint.encode())
    told = [asdict(settings), dict(versions), data.name, data.notes, data.source]
    digest.update(json.dumps(told, sort_keys=True).encode())
    for names in (data.track_id, data.title, data.artist):
        digest.update("\x1f".join(names.tolist()).encode("utf-8", "surrogatepass"))
    for name, column in sorted(data.extras.items()):
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    home = Path(genrescope.__file__).parent
    for room in ("catalog", "learn", "explain"):
        for path in sorted((home / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.read_bytes())
    return digest.hexdigest()
