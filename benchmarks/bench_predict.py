"""What recognising costs beyond decoding, and what a second worker brings."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["run"]

REPEATS = 7
CLIPS = 200  # for the workers

# One core, so that CPU time is what a single thread needs.
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}


def run(*, clips: list[Path] | None = None, bundle: str = "default") -> list[dict[str, Any]]:
    """Measure.

    Parameters
    ----------
    clips : list of Path, optional
        mp3 files of 30 s at 44.1 kHz; default the FMA clips of the data folder.
    bundle : str
        The recogniser.

    Returns
    -------
    list of dict
        For each figure: name, value, unit, target, and what else was measured.
    """
    paths = clips or sorted(_data().glob("audio/fma_clips/*.mp3"))
    if not paths:
        raise SystemExit(f"{_data()}: no clips there; set GENRESCOPE_DATA to the data folder")
    cost = _in_one_thread("cost", bundle, paths)
    workers = _in_one_thread("workers", bundle, paths)
    beyond = [a - b for a, b in zip(cost["predict"], cost["read"], strict=True)]
    ratio = [a / b for a, b in zip(cost["predict"], cost["read"], strict=True)]
    return [
        {
            "name": "predict of a 30-s mp3 / soundfile.read of it, CPU time",
            "value": statistics.median(ratio),
            "unit": "ratio",
            "target": "at most 1.5",
            "range": [min(ratio), max(ratio)],
            "clips": len(paths),
        },
        {
            "name": "CPU time of predict beyond soundfile.read",
            "value": 1000 * statistics.median(beyond),
            "unit": "ms",
            "target": "below 25",
            "range": [1000 * min(beyond), 1000 * max(beyond)],
            "read_ms": 1000 * statistics.median(cost["read"]),
        },
        {
            "name": f"two workers / one worker, {CLIPS} clips, speed with start-up",
            "value": workers["one"] / workers["two"],
            "unit": "ratio",
            "target": "at least 1.8",
            "one_s": workers["one"],
            "two_s": workers["two"],
            "cores": os.cpu_count(),
        },
    ]


def _data() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("GENRESCOPE_DATA", default))


def _in_one_thread(what: str, bundle: str, paths: list[Path]) -> dict[str, Any]:
    """Measure in a process of its own: libraries read their number of threads at import."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_predict", what, bundle, *map(str, paths)],
        env={**os.environ, **ONE_THREAD},
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _cost(bundle: str, paths: list[Path]) -> dict[str, list[float]]:
    """CPU seconds a clip, the least of some repeats, which are taken in turns."""
    import soundfile

    from genrescope import Recogniser

    recogniser = Recogniser.load(bundle)
    recogniser.predict(paths[0])  # imports, tables, the graph
    result: dict[str, list[float]] = {"predict": [], "read": []}
    for path in paths:
        best = {"predict": float("inf"), "read": float("inf")}
        for _ in range(REPEATS):
            for name, work in (
                ("read", lambda: soundfile.read(path, dtype="float32")),  # noqa: B023
                ("predict", lambda: recogniser.predict(path)),  # noqa: B023
            ):
                start = time.process_time()
                work()
                best[name] = min(best[name], time.process_time() - start)
        for name, seconds in best.items():
            result[name].append(seconds)
    return result


def _workers(bundle: str, paths: list[Path]) -> dict[str, float]:
    """Wall seconds with one worker and with two, start of the workers included."""
    from genrescope import Prediction, Recogniser

    recogniser = Recogniser.load(bundle)
    recogniser.predict(paths[0])
    best = {"one": float("inf"), "two": float("inf")}
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for i in range(CLIPS):
            copies.append(Path(folder) / f"{i:03d}.mp3")
            copies[-1].write_bytes(paths[i % len(paths)].read_bytes())
        for _ in range(2):
            for name, count in (("one", 1), ("two", 2)):
                start = time.perf_counter()
                results = list(recogniser.predict_many(copies, workers=count))
                best[name] = min(best[name], time.perf_counter() - start)
                if not all(isinstance(result, Prediction) for result in results):
                    raise SystemExit("not every clip was recognised")
    return best


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure = {"cost": _cost, "workers": _workers}[sys.argv[1]]
        print(json.dumps(measure(sys.argv[2], [Path(path) for path in sys.argv[3:]])))
    else:
        for row in run(bundle=sys.argv[1] if len(sys.argv) > 1 else "default"):
            print(json.dumps(row))
