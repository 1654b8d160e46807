"""The 518 descriptors and the mel spectrogram, against librosa.

On the real clips (30 s, 44.1 kHz) where the shared data is, otherwise on noise. librosa is called
as FMA's script calls it. Times are CPU milliseconds on one core, of a process of its own, medians
of calls that take turns; both have their filters cached. A row a clip, and the medians over clips.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_decode import median_ms

__all__ = ["run"]

ROUNDS = 5

# One core, so that CPU time is what a single thread needs.
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "NUMBA")}


def run(*, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure.

    Returns
    -------
    list of dict
        A clip each, and the medians: milliseconds of genrescope and librosa, how many times
        genrescope's time librosa takes, and how far apart the results are.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GENRESCOPE_DATA", default)) / "audio" / "fma_clips"
    clips = [str(path) for path in sorted(folder.glob("*.mp3"))] or ["noise"]
    # Libraries read their number of threads at import.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_descriptors", str(rounds), *clips],
        env={**os.environ, **ONE_THREAD},
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    middle = {
        key: statistics.median(row[key] for row in rows)
        for key, value in rows[0].items()
        if isinstance(value, float)
    }
    return [*rows, {"30 s of": "median", **middle}]


def _measure(name: str, rounds: int) -> dict[str, Any]:
    import librosa
    from tests.audio import fma_by_librosa

    from genrescope.audio.decode import read_audio
    from genrescope.audio.descriptors import fma_descriptors
    from genrescope.audio.mel import mel_spectrogram, power_to_db

    if name == "noise":
        y = np.random.default_rng(0).normal(size=30 * 44_100).astype(np.float32) / 8
        sr = 44_100
    else:
        y, sr = read_audio(name)

    def ours() -> np.ndarray:
        return fma_descriptors(y, sr=sr)

    def theirs() -> np.ndarray:
        series = fma_by_librosa.series(y, sr)
        return np.concatenate([fma_by_librosa.statistics(s).ravel() for s in series.values()])

    def our_mel() -> np.ndarray:
        return mel_spectrogram(y, sr=sr)

    def their_mel() -> np.ndarray:
        return librosa.feature.melspectrogram(y=y, sr=sr)

    both = {"ours": ours, "theirs": theirs, "our mel": our_mel, "their mel": their_mel}
    times = median_ms(both, rounds=rounds)
    exact = theirs()
    away = np.abs(ours() - exact) / np.maximum(np.abs(exact), 1e-9)
    db = power_to_db(their_mel())
    heard = db > db.max() - 80
    return {
        "30 s of": Path(name).name,
        "ours ms": times["ours"],
        "librosa ms": times["theirs"],
        "librosa / ours": times["theirs"] / times["ours"],
        "off by, per 1000": 1000 * float(away.max()),
        "mel ours ms": times["our mel"],
        "mel librosa ms": times["their mel"],
        "mel librosa / ours": times["their mel"] / times["our mel"],
        "mel off by mdB": 1000 * float(np.abs(power_to_db(our_mel()) - db)[heard].max()),
    }


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps([_measure(name, int(sys.argv[1])) for name in sys.argv[2:]]))
    else:
        from benchmarks.__main__ import show

        show("descriptors", run())
