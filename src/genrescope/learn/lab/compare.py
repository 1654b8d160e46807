"""Many classifiers on one table: fitted side by side, within limits, and kept by content.

Every model is fitted once a fold, in processes of its own, one thread each. A model that fails,
takes too long or needs too much memory is a run with its reason; the others go on. What has been
answered is kept (:mod:`genrescope.learn.lab.results`), so a run that was stopped goes on where it
was, and a change to one model fits that model.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.splits import holdout
from genrescope.catalog.storage import atomic
from genrescope.errors import DataError, SplitError
from genrescope.learn.calibrate import apply_temperature, fit_temperature
from genrescope.learn.lab.protocol import Protocol, make_protocol
from genrescope.learn.lab.results import FoldResult, ResultCache, content_key
from genrescope.learn.lab.tabular import TabularData

if TYPE_CHECKING:
    from genrescope.audio.scale import Cluster
    from genrescope.learn.lab.classic import ClassifierSpec

__all__ = ["ModelRun", "Protocol", "make_protocol", "run_models"]

Report = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, eq=False)
class ModelRun:
    """One classifier, trained and applied as a protocol says.

    Attributes
    ----------
    key, name, family, settings
        As in :class:`genrescope.learn.lab.classic.ClassifierSpec`.
    probabilities : np.ndarray [shape=(n_scored, k), float64] or None
        Of the rows ``protocol.scored``, each adding up to 1; None where the model failed.
    calibrated : str
        Where the probabilities come from: "as it comes" (the classifier's own), "temperature"
        (softmax of decision values, its temperature fitted on other rows) or "votes".
    fit_seconds, predict_seconds : float
        CPU seconds, added up over folds.
    failure : str
        Why there are no probabilities, in a sentence; empty where there are.
    cached : bool
        Whether nothing had to be fitted.
    members : tuple of str
        Keys of the models that an ensemble is made of.
    notes : tuple of str
        What the fit complained about, such as a lack of convergence.
    validation : np.ndarray [shape=(n_validation, k), float64] or None
        Of the rows ``protocol.calibration``, where an official split has some: what ensembles
        are fitted on.
    """

    key: str
    name: str
    family: str
    settings: dict[str, Any]
    probabilities: NDArray[np.float64] | None
    calibrated: str
    fit_seconds: float
    predict_seconds: float
    failure: str = ""
    cached: bool = False
    members: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    validation: NDArray[np.float64] | None = None


def run_models(
    data: TabularData,
    protocol: Protocol,
    specs: Sequence[ClassifierSpec],
    *,
    cache: Path | None = None,
    jobs: int | None = None,
    seconds_per_model: float = 900.0,
    memory: int | None = None,
    seed: int = 0,
    report: Report | None = None,
    cluster: Cluster | None = None,
) -> tuple[ModelRun, ...]:
    """Fit and apply every model as the protocol says.

    Parameters
    ----------
    data : TabularData
        The table.
    protocol : Protocol
        Who is trained on and who is scored; of this table.
    specs : sequence of ClassifierSpec
        The models; no key twice.
    cache : Path, optional
        Folder where answers are kept; without one, nothing is.
    jobs : int >= 0, optional
        Models that are fitted side by side, each in a process; default one a core. 0 fits in
        this process, without any limit of time or memory. The answers are the same.
    seconds_per_model : float > 0
        What a model may take by the clock, over all folds; each fold has its share of it.
    memory : int, optional
        Bytes that all models together may take at one time; default two thirds of what is free.
    seed : int
        Of the models.
    report : callable, optional
        Told an event and what belongs to it: "plan" (fits, kept), "fit" (key, name, fold,
        seconds, done, of), "failed" (key, name, reason).
    cluster : Cluster, optional
        Where models are fitted in place of here; `jobs` and `memory` then say nothing.

    Returns
    -------
    tuple of ModelRun
        In the order of `specs`.

    Raises
    ------
    DataError
        If a key occurs twice, or the protocol is of another table.
    """
    work = _Work(data, protocol, tuple(specs), ResultCache(cache), seed=seed, report=report)
    work.collect()
    work.tell("plan", fits=len(work.missing), kept=len(work.found))
    if work.missing:
        from genrescope.learn.lab.jobs import run_here, run_jobs

        with _table(data, cache) as table:
            tasks = work.tasks(table, seconds=seconds_per_model / protocol.n_folds)
            if cluster is not None:
                from genrescope.learn.lab.scale_jobs import run_on_cluster

                answers = run_on_cluster(tasks, wanted=work.wanted, cluster=cluster)
            elif jobs == 0:
                answers = run_here(tasks, wanted=work.wanted)
            else:
                answers = run_jobs(tasks, wanted=work.wanted, workers=jobs, memory=memory)
            for (key, fold), result in answers:
                work.keep(key, fold, result)
    return tuple(work.run_of(spec) for spec in specs)


@dataclass(eq=False)
class _Work:
    """The state of one call of :func:`run_models`."""

    data: TabularData
    protocol: Protocol
    specs: tuple[ClassifierSpec, ...]
    cache: ResultCache
    seed: int
    report: Report | None
    found: dict[tuple[str, int], FoldResult] = field(default_factory=dict)
    missing: dict[tuple[str, int], str] = field(default_factory=dict)  # -> name in the cache
    failed: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)  # models of which something was fitted
    fits: int = 0

    def __post_init__(self) -> None:
        twice = [key for key, n in Counter(spec.key for spec in self.specs).items() if n > 1]
        if twice:
            raise DataError(f"the models {', '.join(twice)} are given twice; keys must differ")
        if len(self.protocol.fold) != len(self.data):
            raise DataError(
                f"the protocol is of {len(self.protocol.fold)} rows and {self.data.name} has "
                f"{len(self.data)}; make it from this table"
            )
        if self.protocol.calibration is None:
            self._extra = np.zeros(0, dtype=np.intp)
        else:
            self._extra = np.flatnonzero(self.protocol.calibration)
        self._parts = list(self.protocol.parts())
        families = np.unique(np.array(self.data.feature_groups, dtype=str), return_inverse=True)[1]
        self._families = tuple(families.tolist())

    def tell(self, event: str, **info: Any) -> None:
        if self.report is not None:
            self.report(event, info)

    def applied(self, fold: int) -> NDArray[np.intp]:
        """Rows that a model answers for: those of the fold, then those for calibration."""
        return np.concatenate([self._parts[fold][1], self._extra])

    def collect(self) -> None:
        """Look up what is known already."""
        k = len(self.data.genres)
        for spec in self.specs:
            content = spec.content()
            if spec.takes_families:
                content["families"] = list(self._families)
            for fold, (train, _) in enumerate(self._parts):
                applied = self.applied(fold)
                name = content_key(
                    content,
                    table=self.data.fingerprint,
                    rows={"train": train, "apply": applied},
                    seed=self.seed,
                )
                kept = self.cache.load(name, shape=(len(applied), k))
                if kept is None:
                    self.missing[spec.key, fold] = name
                else:
                    self.found[spec.key, fold] = kept

    def tasks(self, table: Path, *, seconds: float) -> list[Any]:
        """What is to be computed, the longest first."""
        from genrescope.learn.lab.compare_worker import Job
        from genrescope.learn.lab.jobs import Task

        groups = np.unique(self.data.groups, return_inverse=True)[1].astype(np.int64)
        missing = bool(np.isnan(self.data.x).any())
        n_features, k = self.data.x.shape[1], len(self.data.genres)
        tasks = []
        for spec in sorted(self.specs, key=lambda spec: -spec.cost):
            for fold, (train, _) in enumerate(self._parts):
                if (spec.key, fold) not in self.missing:
                    continue
                job = Job(
                    spec=spec,
                    table=table,
                    y=self.data.y,
                    groups=groups,
                    train=train,
                    apply=self.applied(fold),
                    n_classes=k,
                    families=self._families,
                    missing=missing,
                    seed=self.seed,
                )
                estimate = spec.memory(len(train), n_features, k)
                tasks.append(Task((spec.key, fold), job, seconds=seconds, memory=estimate))
        return tasks

    def wanted(self, number: tuple[str, int]) -> bool:
        """Whether an answer is still of use: not where another fold has failed."""
        return number[0] not in self.failed

    def keep(self, key: str, fold: int, result: FoldResult) -> None:
        """Note an answer down."""
        self.found[key, fold] = result
        self.new.add(key)
        self.fits += 1
        name = next(spec.name for spec in self.specs if spec.key == key)
        if result.failure:
            if key not in self.failed:
                self.tell("failed", key=key, name=name, reason=result.failure)
            self.failed.add(key)
        self.cache.save(self.missing[key, fold], result)
        seconds = result.fit_seconds + result.predict_seconds
        of = len(self.missing)
        self.tell("fit", key=key, name=name, fold=fold, seconds=seconds, done=self.fits, of=of)

    def run_of(self, spec: ClassifierSpec) -> ModelRun:
        """A model's answers to all folds, put together."""
        results = [
            (fold, self.found[spec.key, fold])
            for fold in range(self.protocol.n_folds)
            if (spec.key, fold) in self.found
        ]
        failure = ""
        for fold, result in results:
            if result.failure and not failure:
                where = f"fold {fold + 1} of {self.protocol.n_folds}: "
                failure = (where if self.protocol.n_folds > 1 else "") + result.failure
        probabilities = validation = None
        if not failure:
            answers = self._probabilities(spec, [result for _, result in results])
            probabilities = answers[self.protocol.scored]
            validation = answers[self._extra] if len(self._extra) else None
        counts = Counter(note for _, result in results for note in result.notes)
        several = self.protocol.n_folds > 1
        return ModelRun(
            key=spec.key,
            name=spec.name,
            family=spec.family,
            settings=spec.settings,
            probabilities=probabilities,
            calibrated="temperature" if _by_temperature(spec) else "as it comes",
            fit_seconds=sum(result.fit_seconds for _, result in results),
            predict_seconds=sum(result.predict_seconds for _, result in results),
            failure=failure,
            cached=spec.key not in self.new,
            notes=tuple(
                f"{note} ({n} of {self.protocol.n_folds} folds)" if several else note
                for note, n in sorted(counts.items())
            ),
            validation=validation,
        )

    def _probabilities(
        self, spec: ClassifierSpec, results: list[FoldResult]
    ) -> NDArray[np.float64]:
        """Probabilities [shape=(n, k)] of the rows that were answered for."""
        k = len(self.data.genres)
        values = np.full((len(self.data), k), np.nan)
        for fold, result in enumerate(results):
            values[self.applied(fold)] = result.values
        if not _by_temperature(spec):
            return _shares(np.nan_to_num(values))
        out = np.zeros_like(values)
        for apply, fit in self._temperature_parts():
            usable = fit & ~np.isnan(values[np.arange(len(values)), self.data.y])
            temperature = fit_temperature(_filled(values[usable]), self.data.y[usable])
            p = apply_temperature(_filled(values[apply]), temperature)
            out[apply] = np.where(np.isnan(values[apply]), 0.0, p)
        return _shares(out)

    def _temperature_parts(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Rows that get a temperature, and rows that it is fitted on: never the same if scored."""
        fold = self.protocol.fold
        if self.protocol.n_folds > 1:
            for number in range(self.protocol.n_folds):
                yield fold == number, (fold >= 0) & (fold != number)
            return
        if len(self._extra):
            held = np.asarray(self.protocol.calibration)
            # On the rows it was fitted on, one number for a thousand tracks does no harm.
            yield (fold >= 0) | held, held
            return
        # No rows are set aside: each half of the scored groups serves the other.
        rows = self.protocol.scored
        side = np.zeros(len(fold), bool)
        try:
            side[rows] = holdout(
                self.data.y[rows], self.data.groups[rows], fraction=0.5, seed=self.protocol.seed
            )
        except SplitError:  # one group
            side[rows[::2]] = True
        yield (fold >= 0) & side, (fold >= 0) & ~side
        yield (fold >= 0) & ~side, (fold >= 0) & side


def _by_temperature(spec: ClassifierSpec) -> bool:
    return spec.scores == "decision_function"


def _shares(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that add up to 1; equal shares where a row has nothing."""
    total = p.sum(axis=1, keepdims=True)
    safe = np.where(total > 0, total, 1.0)
    return np.asarray(np.where(total > 0, p / safe, 1.0 / p.shape[1]))


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decision values with something low in the columns of genres that were not trained on."""
    low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
    return np.where(np.isnan(values), (low - 3 * (high - low))[:, None], values)


@contextmanager
def _table(data: TabularData, cache: Path | None) -> Iterator[Path]:
    """The features as a file that all workers map into memory."""
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="genrescope-") as folder:
            path = Path(folder) / "x.npy"
            np.save(path, data.x)
            yield path
        return
    path = cache / "tables" / f"{data.fingerprint}.npy"
    if not path.exists():
        with atomic(path) as part, part.open("wb") as file:
            np.save(file, data.x)
    yield path
