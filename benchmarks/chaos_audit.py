"""The audit at the end of :mod:`benchmarks.chaos`: what is there against what must be there."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chaos_actors import STORES, Sample, Server, extraction, same_answer
from benchmarks.chaos_faults import Chaos
from benchmarks.chaos_world import Facts, World, facts_of
from genrescope.apps.heard import Heard
from genrescope.apps.journal import Entry, Journal, digest_of
from genrescope.apps.undoing import undo_all
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.verify import verify
from genrescope.errors import GenrescopeError, JournalError
from genrescope.learn.recogniser import Recogniser

__all__ = ["Audit", "Trend", "audit", "files_wrong", "rows_wrong", "trend_of"]

GROWTH = 1.1  # memory of the last quarter / of the second, at most
FEW = 8  # open files more
SETTLED = 40  # samples, from which a trend is judged


@dataclass(frozen=True)
class Trend:
    """How a server grew over a run; of its main process.

    Attributes
    ----------
    early, late : float
        Median memory in the second and in the last quarter, in MB.
    slope : float
        Of memory over the last three quarters, in MB an hour.
    files_early, files_late : float
        The same of open files.
    """

    early: float
    late: float
    slope: float
    files_early: float
    files_late: float

    @property
    def flat(self) -> bool:
        return self.late <= GROWTH * self.early and self.files_late <= self.files_early + FEW


@dataclass
class Audit:
    """What was looked at."""

    files: int = 0
    changed: int = 0
    rows: int = 0
    features: int = 0
    identical: int = 0
    remembered: int = 0
    restored: int = 0


def trend_of(samples: Sequence[Sample]) -> Trend | None:
    """The trend of a run; None where it was too short to have one."""
    if len(samples) < SETTLED:
        return None
    at = np.array([s.at for s in samples])
    memory = np.array([s.memory for s in samples]) / 2**20
    files = np.array([s.files for s in samples], dtype=np.float64)
    quarters = np.searchsorted(at, at[0] + (at[-1] - at[0]) * np.array([0.25, 0.5, 0.75]))
    second, last = slice(quarters[0], quarters[1]), slice(quarters[2], None)
    hours = (at[quarters[0] :] - at[0]) / 3600
    slope = float(np.polyfit(hours, memory[quarters[0] :], 1)[0])
    return Trend(
        float(np.median(memory[second])),
        float(np.median(memory[last])),
        slope,
        float(np.median(files[second])),
        float(np.median(files[last])),
    )


def audit(chaos: Chaos) -> Audit:
    """Look at everything, in quiet; what is wrong is found on `chaos`.

    Each kind of command runs once more undisturbed, as its user would do it, and ends with no
    complaint. Then files, journal, stores, memory and folders are compared with what they were
    made from, and at last every change is taken back.
    """
    found, world, rng = Audit(), chaos.world, random.Random(0)
    for kind in STORES:
        chaos.run(*extraction(chaos, kind), "--retry", rng=rng, quiet=True)
        _stores(chaos, kind, found)
    server = Server(chaos, rng)  # the next one cleans up after those that were killed
    if not server.ready(hurry=False):
        chaos.find("the service does not start again")
    server.stop()
    with Journal.open(world.journal) as journal:
        names = {world.music / name: name for name in world.facts}
        rows = {path: list(journal.entries(path=path)) for path in names}
        chaos.findings += files_wrong(world, rows)
        chaos.findings += rows_wrong(list(journal.entries()))
        found.files = len(names)
        found.rows = sum(len(some) for some in rows.values())
        found.changed = sum(
            path.exists() and digest_of(path) != world.facts[name].digest
            for path, name in names.items()
        )
        chaos.findings += _open_rows(world.journal)
        _remembered(chaos, found)
        with contextlib.suppress(JournalError):  # nothing was written
            for undone in undo_all(journal, world.music):
                if undone.state not in ("restored", "as before"):
                    chaos.find(f"{undone.state}: {undone.message}")
        for path, name in names.items():
            same = path.exists() and digest_of(path) == world.facts[name].digest
            found.restored += same
            if not same:
                chaos.find(f"{name}: is not what it was once everything was taken back")
    chaos.findings += _left_over(world)
    return found


def files_wrong(world: World, rows: dict[Path, list[Entry]]) -> Iterator[str]:
    """Files that are not what they were with the genres of their last row; files too many.

    Parameters
    ----------
    world : World
        With what the files were.
    rows : dict of Path to list of Entry
        The journal's rows of each file, the latest first.
    """
    for path in sorted(world.music.rglob("*")):
        if path.is_file() and path.relative_to(world.music).as_posix() not in world.facts:
            yield f"{path.relative_to(world.music)}: was not there before"
    for name, before in world.facts.items():
        path = world.music / name
        if not path.exists():
            yield f"{name}: is lost"
            continue
        yield from _file_wrong(name, before, facts_of(path), rows.get(path, []))


def _file_wrong(name: str, before: Facts, now: Facts, rows: list[Entry]) -> Iterator[str]:
    if now.sound != before.sound:
        yield f"{name}: holds other sound"
    if now.others != before.others:
        yield f"{name}: holds other tags beside the genre"
    done = [row for row in rows if row.state != "left"]
    if any(row.state != "written" for row in done):
        yield f"{name}: rows are {sorted({row.state for row in done})}"
    digest = done[0].plan.digest_after if done else before.digest
    genres = done[0].new if done else before.genres
    if now.genres != genres:
        yield f"{name}: has the genres {now.genres}, its last row says {genres}"
    if now.digest != digest:
        yield f"{name}: its bytes are not those of its last row"
    for later, earlier in itertools.pairwise(done):
        if later.plan.digest_before != earlier.plan.digest_after:
            yield f"{name}: a change between rows {earlier.id} and {later.id} is in no row"
    if done and done[-1].plan.digest_before != before.digest:
        yield f"{name}: its first row does not begin with what it was"


def rows_wrong(rows: Sequence[Entry]) -> Iterator[str]:
    """Rows that say of others what those do not say of themselves."""
    known = {row.id: row for row in rows}
    for row in rows:
        if row.undone_by in (None, row.id):  # itself: its file had the old genres already
            continue
        taker = known.get(row.undone_by or 0)
        if taker is None or taker.state != "written" or taker.plan.undoes != row.id:
            yield f"row {row.id}: is taken back by row {row.undone_by}, which did not"


def _open_rows(journal: Path) -> list[str]:
    db = sqlite3.connect(journal)
    try:
        (whole,) = db.execute("PRAGMA integrity_check").fetchone()
        query = "SELECT state, count(*) FROM entries WHERE state IN ('begun', 'planned', 'unclear')"
        unclear = db.execute(f"{query} GROUP BY state").fetchall()
    finally:
        db.close()
    wrong = [f"{count} rows of the journal are {state}" for state, count in unclear]
    return wrong if whole == "ok" else [*wrong, f"the journal is damaged: {whole}"]


def _stores(chaos: Chaos, kind: str, found: Audit) -> None:
    """A store after its last, undisturbed extraction: whole, complete, and as in quiet."""
    world, store = chaos.world, chaos.world.disk / f"store {kind}"
    try:
        opened = FeatureStore.open(store)
        verdict = verify(store, recompute=len(opened), workers=1)
    except GenrescopeError as error:
        chaos.find(f"store {kind}: {error}")
        return
    found.features += verdict.recomputed
    found.identical += verdict.identical
    for problem in verdict.problems:
        chaos.find(f"store {kind}: {problem}")
    for text in verdict.notes:
        if "not read any more" not in text:  # rows of files that were tagged since
            chaos.find(f"store {kind}: {text}")
    ids = opened.ids.tolist()
    refused = {failure.id for failure in opened.quarantine}
    if sorted([*ids, *refused]) != sorted(world.facts):
        chaos.find(f"store {kind}: lost or twice: {set(world.facts) ^ {*ids, *refused}}")
    wrong = refused ^ (world.facts.keys() - world.answers.keys())
    if wrong:
        chaos.find(f"store {kind}: quarantine is wrong about {sorted(wrong)}")


def _remembered(chaos: Chaos, found: Audit) -> None:
    """What the memory says of a file is what is heard in it."""
    recogniser = Recogniser.load()
    with Heard.open(chaos.world.heard) as heard:
        for name, wanted in chaos.world.answers.items():
            known = heard.recall(recogniser, chaos.world.music / name)
            if known is None:
                continue
            found.remembered += 1
            if not same_answer(known.to_dict(), wanted):
                chaos.find(f"{name}: is remembered otherwise than it is heard")


def _left_over(world: World) -> Iterator[str]:
    """Files that nobody asked for."""
    state = {"journal.sqlite3", "heard.sqlite3"}
    for path in sorted(world.journal.parent.iterdir()):
        if path.name.removesuffix("-wal").removesuffix("-shm") not in state:
            yield f"left over: {path.relative_to(world.disk)}"
    for path in sorted(world.temporary.rglob("*")):
        if path.name == ".ses":  # ONNX Runtime's own, the same one each time
            continue
        yield f"left over: {path.relative_to(world.disk)}"
    known = {"music", "state", "tmp", *(f"store {kind}" for kind in STORES)}
    for path in sorted(world.disk.iterdir()):
        if path.name not in known:
            yield f"left over: {path.name}"
