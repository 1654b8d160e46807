"""Train the networks side by side and write what came of it, as docs/results/networks.md.

``python -m benchmarks.study_networks --data ../shared/data/fma --runs runs/networks --docs docs``

Every network learns from the same tracks and is judged on the same unseen artists, by the command
that everybody has (``genrescope train``). What is done is not done again, and what was killed goes
on. Each training has one thread and is charged the processor time that it took, so a busy machine
makes no network look slow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.networks_plan import ENTRIES, FOLDS, Entry, folder_of

COST = "cost.json"
_COMMAND = (
    "python -m benchmarks.study_networks --data ../shared/data/fma --runs runs/networks --docs docs"
)

_charging = threading.Lock()


def train(entry: Entry, seed: int, *, data: Path, runs: Path) -> None:
    """One training, or what is left of it."""
    out = folder_of(runs, entry, seed)
    if (out / "scores.json").exists():
        return
    command = [
        *(sys.executable, "-m", "genrescope", "train", entry.network, "--data", str(data)),
        *("--out", str(out), "--seed", str(seed), "--threads", "1", "--no-export"),
        *(part for k in FOLDS for part in ("--fold", str(k))),
        *entry.arguments,
    ]
    print(out.name, "starts", flush=True)
    process = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    _charge(out, usage)
    print(out.name, "done" if status == 0 else said[-2000:], flush=True)


def _charge(out: Path, usage: resource.struct_rusage) -> None:
    """Add what a process took: a training that went on in a second one has two."""
    with _charging:
        path = out / COST
        before = json.loads(path.read_text())["cpu_seconds"] if path.exists() else 0.0
        total = before + usage.ru_utime + usage.ru_stime
        if out.is_dir():
            path.write_text(json.dumps({"cpu_seconds": round(total, 1)}) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Train all, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_networks")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--docs", type=Path, help="write the page into this folder")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, a thread each")
    given = parser.parse_args(arguments)
    given.runs.mkdir(parents=True, exist_ok=True)
    wanted = sorted(
        ((entry, seed) for entry in ENTRIES for seed in entry.seeds), key=lambda item: item[1]
    )
    with ThreadPoolExecutor(given.jobs) as pool:
        for item in [
            pool.submit(train, entry, seed, data=given.data, runs=given.runs)
            for entry, seed in wanted
        ]:
            item.result()
    if given.docs is not None:
        from benchmarks.networks_page import write_page

        write_page(given.data, given.runs, given.docs, _COMMAND)
    return 0


if __name__ == "__main__":
    sys.exit(main())
