"""Extraction on a local Dask cluster against one process, and with workers killed all the time.

What is compared: ``features extract`` of the same clips with ``--workers 1`` (one process that
decodes, beside the one that writes the store) and with ``--cluster local:2`` (two workers of Dask,
each with a process that decodes and the commit of its own batches). The clips are of 30 s, the real
ones where the shared data is, otherwise noise. Both count from the first batch that is committed,
so that the start of processes is left out: that is a constant, and shown on its own. Turns are
taken, and the best of each counts.

The overhead a track is what the way through Dask costs beside the work: clips of half a second,
with and without a cluster, one process that decodes in each case, by the clock.

Run with ``--kill`` for the 2,000 clips with a worker killed every 3 s, and the audit after it::

    python -m benchmarks.bench_scale --kill --clips 2000 --every 3
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from genrescope.audio.scale import Cluster, Engine, Threads
from genrescope.audio.scale.extract import extract_scaled
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue, find_tracks
from genrescope.audio.store.verify import verify
from genrescope.audio.store.write import Extraction, extract

__all__ = ["run"]

CLIPS = 192
ROUNDS = 3
BATCH = 16
FEW = 4  # tracks a batch where a worker lives for seconds
SHORT = 1500  # clips for the overhead


def run(*, clips: int = CLIPS, rounds: int = ROUNDS, short: int = SHORT) -> list[dict[str, Any]]:
    """Measure.

    Returns
    -------
    list of dict
        What was measured, tracks a second or ms, the ratio, and what is wanted.
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        return [*_ratio(here, clips, rounds), *_overhead(here, short, rounds)]


def _ratio(here: Path, clips: int, rounds: int) -> list[dict[str, Any]]:
    catalogue = find_tracks(make_clips(here / "clips", clips))
    best = {"inline, 1 process": 0.0, "threads, 2 processes": 0.0, "cluster local:2": 0.0}
    with Cluster.local(2) as cluster:
        for turn in range(rounds):
            out = here / f"ratio{turn}"
            for name, engine in zip(best, (None, Threads(2), cluster), strict=True):
                rate = _rate(catalogue, out, engine)
                best[name] = max(best[name], rate)
                shutil.rmtree(out)
    one = best["inline, 1 process"]
    return [
        {
            "what": f"tracks of 30 s extracted, {name}",
            "a second": rate,
            "ratio": rate / one,
            "wanted": "at least 1.7" if name.startswith("cluster") else None,
        }
        for name, rate in best.items()
    ]


def _rate(catalogue: Catalogue, out: Path, engine: Engine | None) -> float:
    """Tracks a second, from the first batch on."""
    told: list[tuple[float, int]] = []

    def report(done: int, total: int, failed: int) -> None:
        if engine is not None or done % BATCH == 0:
            told.append((time.perf_counter(), done))

    how = Extraction(batch=BATCH)
    if engine is None:
        extract(catalogue, out, how=how, workers=1, report=report)
    else:
        extract_scaled(catalogue, out, engine=engine, how=how, partitions=1, report=report)
    # The first batches of two workers end together; what is on its way at the end is not half done.
    (began, first), (ended, last) = told[1], told[-1]
    return (last - first) / (ended - began)


def _overhead(here: Path, clips: int, rounds: int) -> list[dict[str, Any]]:
    catalogue = find_tracks(make_clips(here / "short", clips, seconds=0.5))
    how = Extraction(Recipe(("mel",), seconds=1.0))
    took = {"inline": float("inf"), "cluster": float("inf")}
    with Cluster.local(1) as cluster:
        # The processes that decode are there from the first time on.
        extract_scaled(catalogue.taken(range(8)), here / "warm", engine=cluster, how=how)
        for turn in range(rounds):
            for name in took:
                out, began = here / f"{name}{turn}", time.perf_counter()
                if name == "inline":
                    extract(catalogue, out, how=how, workers=1)
                else:
                    extract_scaled(catalogue, out, engine=cluster, how=how)
                took[name] = min(took[name], time.perf_counter() - began)
    ms = {name: 1000 * seconds / clips for name, seconds in took.items()}
    return [
        {"what": f"ms for each of {clips} tracks of 0.5 s, {name}", "ms": value}
        for name, value in ms.items()
    ] + [
        {
            "what": "overhead of the cluster, ms a track",
            "ms": ms["cluster"] - ms["inline"],
            "wanted": "under 2",
        }
    ]


def make_clips(folder: Path, count: int, *, seconds: float = 30.0) -> Path:
    """Clips of so many seconds: the real ones again and again where they are, or noise.

    Each is a file of its own with bytes of its own, and only a few of them are made: the rest are
    links, as the time goes into decoding and not into reading.
    """
    folder.mkdir()
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    real = Path(os.environ.get("GENRESCOPE_DATA", shared)) / "audio" / "fma_clips"
    models = sorted(real.glob("*.mp3")) if seconds == 30.0 else []
    if not models:
        rng = np.random.default_rng(0)
        for i in range(8):
            models.append(folder.parent / f"{folder.name} {i}.wav")
            noise = 0.1 * rng.normal(size=int(44_100 * seconds)).astype(np.float32)
            soundfile.write(models[-1], noise, 44_100)
    for i in range(count):
        model = models[i % len(models)]
        os.symlink(model, folder / f"{i:06d}{model.suffix}")
    return folder


# --- killed all the time -------------------------------------------------------


def kill(*, clips: int, every: float, seconds: float, out: Path) -> list[dict[str, Any]]:
    """Extract while a worker is killed again and again, and count what came out."""
    source = out / "clips"
    if not source.exists():
        out.mkdir(parents=True, exist_ok=True)
        make_clips(source, clips, seconds=seconds)
    store, over, killed = out / "store", threading.Event(), 0
    draw = random.Random(0)
    catalogue = find_tracks(source)
    with Cluster.local(2) as cluster:

        def kill_now_and_then() -> None:
            nonlocal killed
            while not over.wait(every):
                pids = sorted(cluster.client.run(os.getpid, on_error="ignore").values())
                if pids:
                    os.kill(draw.choice(pids), signal.SIGKILL)
                    killed += 1

        killer = threading.Thread(target=kill_now_and_then, daemon=True)
        killer.start()
        began = time.monotonic()
        try:
            done = extract_scaled(
                catalogue, store, engine=cluster, how=Extraction(batch=FEW), report=_say
            )
        finally:
            over.set()
            killer.join()
    found = FeatureStore.open(store)
    rows = Counter(id_ for part in found.journal.parts for id_ in part.ids)
    known = set(rows) | {failure.id for failure in found.quarantine}
    verdict = verify(store)
    return [
        {"what": "clips", "number": len(catalogue)},
        {"what": "workers killed", "number": killed},
        {"what": "seconds", "number": round(time.monotonic() - began)},
        {"what": "in the store", "number": len(found)},
        {"what": "in quarantine", "number": done.quarantined},
        {"what": "lost", "number": len(set(catalogue.ids) - known), "wanted": "0"},
        {"what": "twice", "number": sum(n > 1 for n in rows.values()), "wanted": "0"},
        {"what": "problems found by verify", "number": len(verdict.problems), "wanted": "0"},
    ]


def _say(done: int, total: int, failed: int) -> None:
    print(f"{done} of {total}, {failed} failed", file=sys.stderr)


def main() -> None:
    """``python -m benchmarks.bench_scale``."""
    from benchmarks.__main__ import show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", action="store_true", help="kill workers all the time")
    parser.add_argument("--clips", type=int, help="how many")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a clip, with --kill")
    parser.add_argument("--every", type=float, default=3.0, help="s between two kills")
    parser.add_argument("--out", type=Path, help="where to keep the store, with --kill")
    asked = parser.parse_args()
    if not asked.kill:
        show("scale", run(clips=asked.clips or CLIPS))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = kill(
            clips=asked.clips or 2000,
            every=asked.every,
            seconds=asked.seconds,
            out=asked.out or Path(folder),
        )
    show("workers killed", rows)


if __name__ == "__main__":
    main()
