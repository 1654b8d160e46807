"""Fuzzing of everything that reads what strangers made: the long run.

    python -m benchmarks.fuzz --executions 1000000
    python -m benchmarks.fuzz --targets card,graph --seconds 60

Each target (see ``tests/fuzz/targets.py``) runs in a process of its own, with 2 GiB of memory and
ten seconds an input, by coverage where atheris is installed (``pip install atheris``), else by
chance. A process that dies, as decoders in C may, is started again; in the program itself they die
in a worker. What is found is written to ``runs/fuzz/TARGET/finds``, each input beside what it
raised; copy an input into ``tests/fuzz/regressions/TARGET`` once it is mended.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import mmap
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.loop import Judge, run_random, vary
from tests.fuzz.targets import FOLDER, TARGETS

MEMORY = 2 << 30  # bytes
SHM = "/dev/shm"  # in memory
_NOTED = 2.0  # s between two notes of how far it is
_RESTARTS = 200
_ROOM = 1 << 20  # bytes of the note of the input that is being run


@dataclass
class Outcome:
    """What became of one target."""

    name: str
    runs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    coverage: int | None = None
    finds: dict[str, str] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)

    def row(self) -> str:
        """For the table."""
        died = ", ".join(f"{how} {count}" for how, count in self.deaths.items()) or "0"
        return (
            f"| {self.name} | {TARGETS[self.name].about} | {self.runs:,} | {self.refused:,} "
            f"| {len(self.finds)} | {died} | {self.slowest:.2f} s "
            f"| {'' if self.coverage is None else f'{self.coverage:,}'} | {self.seconds:.0f} s |"
        )


HEAD = (
    "| Target | What it reads | Executions | Refused | Finds | Processes lost | Slowest "
    "| Edges reached | Time |\n| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz what reads strangers' input.")
    parser.add_argument("--executions", type=int, default=1_000_000, help="over all targets")
    parser.add_argument("--targets", default=",".join(TARGETS), help="names, with commas")
    parser.add_argument("--seconds", type=float, default=1e9, help="at most, a target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "atheris", "random"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    engine = given.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "random"
    if given.one:
        child(given.one, engine=engine, given=given)
        return 0
    names = given.targets.split(",")
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    share = -(-given.executions // len(names))
    print(f"{engine}, {share:,} executions a target\n\n{HEAD}", flush=True)
    outcomes = []
    for name in names:
        outcomes.append(supervise(name, engine=engine, executions=share, given=given))
        print(outcomes[-1].row(), flush=True)
    total = sum(outcome.runs for outcome in outcomes)
    finds = {f"{o.name}: {what}": path for o in outcomes for what, path in o.finds.items()}
    print(f"\n{total:,} executions, {len(finds)} finds")
    for what, path in finds.items():
        print(f"- {what} ({path})")
    return 1 if finds else 0


def supervise(name: str, *, engine: str, executions: int, given: argparse.Namespace) -> Outcome:
    """Run one target to its end, through as many processes as that takes."""
    folder = given.out / name
    folder.mkdir(parents=True, exist_ok=True)
    whole = Outcome(name)
    started = time.monotonic()
    for attempt in range(_RESTARTS):
        left = given.seconds - (time.monotonic() - started)
        if whole.runs >= executions or left <= 0:
            break
        note = folder / "note.json"
        note.unlink(missing_ok=True)
        with (
            (folder / "log.txt").open("wb") as log,
            tempfile.TemporaryDirectory(
                prefix="genrescope-fuzz-", dir=SHM if os.access(SHM, os.W_OK) else None
            ) as work,
        ):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "benchmarks.fuzz", "--one", name),
                    *("--engine", engine, "--executions", str(executions - whole.runs)),
                    *("--seconds", str(left), "--seed", str(given.seed + attempt)),
                    *("--out", str(given.out)),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, FOLDER: work, "TMPDIR": work},
                check=False,
            )
        _add(whole, note, folder / "log.txt")
        if done.returncode != 0:
            _bury(whole, folder, done.returncode)
    whole.seconds = time.monotonic() - started
    return whole


def _add(whole: Outcome, note: Path, log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        said = json.loads(note.read_text())
        whole.runs += said["runs"]
        whole.refused += said["refused"]
        whole.slowest = max(whole.slowest, said["slowest"])
        whole.finds |= said["finds"]
    reached = re.findall(rb"#\d+\s.*cov: (\d+)", log.read_bytes())
    if reached:
        whole.coverage = max(int(reached[-1]), whole.coverage or 0)


def _bury(whole: Outcome, folder: Path, code: int) -> None:
    """Note a process that died: only in the decoders of others may it."""
    how = f"signal {-code}" if code < 0 else f"status {code}"
    whole.deaths[how] = whole.deaths.get(how, 0) + 1
    with contextlib.suppress(FileNotFoundError):
        last = (folder / "last").read_bytes()
        data = last[4 : 4 + int.from_bytes(last[:4], "little")]
        path = _keep(folder, data, (folder / "log.txt").read_text(errors="replace")[-4000:])
        if whole.name not in ("decode", "tags"):
            whole.finds[f"the process died: {how}"] = str(path)


def _keep(folder: Path, data: bytes, trace: str) -> Path:
    finds = folder / "finds"
    finds.mkdir(exist_ok=True)
    path = finds / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(trace, encoding="utf-8", errors="replace")
    return path


def child(name: str, *, engine: str, given: argparse.Namespace) -> None:
    """Run one target in this process, until it is done or dies."""
    from genrescope.audio.isolation import limit_memory

    folder = given.out / name
    judge = Judge(TARGETS[name])
    with (folder / "last").open("w+b") as file:
        file.truncate(_ROOM)
        last = mmap.mmap(file.fileno(), _ROOM)
    paths: dict[str, str] = {}
    noted = 0.0

    def note() -> None:
        nonlocal noted
        noted = time.monotonic()
        for what, find in judge.finds.items():
            if what not in paths:
                paths[what] = str(_keep(folder, find.data, find.trace))
        said = {
            "runs": judge.runs,
            "refused": judge.refused,
            "slowest": judge.slowest,
            "finds": paths,
        }
        (folder / "note.part").write_text(json.dumps(said))
        (folder / "note.part").replace(folder / "note.json")

    def one(data: bytes) -> None:
        last[: 4 + len(data[: _ROOM - 4])] = len(data).to_bytes(4, "little") + data[: _ROOM - 4]
        known = len(judge.finds)
        judge(data)
        late = time.monotonic() - noted > _NOTED
        if late or len(judge.finds) > known or judge.runs >= given.executions:
            note()

    with _instrumented(engine):
        seeds = judge.target.seeds()
        for data in seeds:  # what is imported on first use is imported now
            with contextlib.suppress(Exception):
                judge.target.run(data)
    regressions = Path(__file__).parents[1] / "tests" / "fuzz" / "regressions" / name
    seeds += [path.read_bytes() for path in sorted(regressions.glob("*"))]
    limit_memory(MEMORY)
    if engine == "atheris":
        by_coverage(judge, one, seeds=seeds, folder=folder, given=given)
    run_random(judge, executions=given.executions, seed=given.seed, seconds=given.seconds,
               corpus=seeds, call=one)  # fmt: skip
    note()


def _instrumented(engine: str) -> contextlib.AbstractContextManager[object]:
    """Where our modules are imported so that atheris sees which lines run."""
    if engine != "atheris":
        return contextlib.nullcontext()
    import atheris

    return atheris.instrument_imports(include=["genrescope"])


def by_coverage(
    judge: Judge,
    one: Callable[[bytes], None],
    *,
    seeds: list[bytes],
    folder: Path,
    given: argparse.Namespace,
) -> None:
    """Hand over to libFuzzer, which ends the process."""
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for data in seeds:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    target = judge.target
    words = folder / "words"
    words.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in w) + '"\n' for w in target.words if w)
    )

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        if not target.json and rng.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return vary(rng, target, data, seeds)[:max_size]

    options = [
        *(f"-runs={given.executions}", f"-seed={given.seed}", f"-max_len={target.max_len}"),
        *(f"-max_total_time={int(min(given.seconds, 1e8)) or 1}", "-timeout=0"),
        *("-rss_limit_mb=4096", f"-artifact_prefix={folder}/", "-detect_leaks=0"),
        *([f"-dict={words}"] if target.words else []),
    ]
    atheris.Setup(["fuzz", *options, str(corpus)], one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
