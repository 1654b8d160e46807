"""The feature store: extraction on two processes against one, and random batches for training.

Extraction is of the real clips (30 s, 44.1 kHz) where the shared data is, otherwise of noise, each
eight times, all three features. The rate counts from the first tracks that are done, so that the
start of the processes is left out. Turns are taken, and the best of each counts: other programs
make a rate smaller, never larger. Where two processes do not get two cores for themselves the rates
say little; the CPU time a track, of all processes together, is then what to look at. Batches are of
64 images of 128 x 1292, drawn at random from a store of 1,024 that is in memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from genrescope.audio.store import FeatureStore
from genrescope.audio.store.extract import Extracted, Job
from genrescope.audio.store.journal import Journal
from genrescope.audio.store.parts import PARTS
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import find_tracks
from genrescope.audio.store.write import Extraction, Summary, _Filling, _settle, extract

__all__ = ["run"]

COPIES = 8  # of each clip
IMAGES = 1024
BATCH = 64
ROUNDS = 3


def run(
    *, copies: int = COPIES, images: int = IMAGES, rounds: int = ROUNDS
) -> list[dict[str, Any]]:
    """Measure.

    Returns
    -------
    list of dict
        What was measured, how many a second, and the ratio: of two processes to one, or to the
        2,000 images a second that are wanted.
    """
    with tempfile.TemporaryDirectory() as folder:
        return [*_extraction(Path(folder), copies, rounds), *_batches(Path(folder), images)]


def _extraction(folder: Path, copies: int, rounds: int) -> list[dict[str, Any]]:
    library = folder / "library"
    library.mkdir()
    for i, clip in enumerate(_clips(folder)):
        for copy in range(copies):
            shutil.copy(clip, library / f"{i}-{copy}{clip.suffix}")
    tracks = len(list(library.iterdir()))
    best: dict[int, float] = {}
    least: dict[int, float] = {}
    for turn in range(rounds):
        for workers in (1, 2):
            before = _cpu()
            rate = _rate(library, folder / f"{turn}-{workers}", workers)
            ms = 1000 * (_cpu() - before) / tracks
            best[workers] = max(best.get(workers, 0.0), rate)
            least[workers] = min(least.get(workers, ms), ms)
    return [
        {
            "what": f"tracks extracted, {workers} process{'es' if workers > 1 else ''}",
            "a second": rate,
            "ratio": rate / best[1],
            "wanted": None if workers == 1 else 1.8,
            "CPU ms each": least[workers],
        }
        for workers, rate in best.items()
    ]


def _cpu() -> float:
    """CPU seconds of this process, and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _rate(library: Path, out: Path, workers: int) -> float:
    times: list[float] = []
    extract(
        find_tracks(library),
        out,
        how=Extraction(batch=16),
        workers=workers,
        report=lambda done, total, failed: times.append(time.perf_counter()),
    )
    skipped = 4
    return (len(times) - skipped) / (times[-1] - times[skipped - 1])


def _clips(folder: Path) -> list[Path]:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("GENRESCOPE_DATA", default)) / "audio" / "fma_clips"
    if clips := sorted(data.glob("*.mp3")):
        return clips
    y = np.random.default_rng(0).normal(size=(30 * 44_100, 2)).astype(np.float32) / 8
    soundfile.write(folder / "noise.mp3", y, 44_100, format="MP3")
    return [folder / "noise.mp3"]


def _batches(folder: Path, images: int) -> list[dict[str, Any]]:
    rows = []
    for dtype in ("uint8", "float16"):
        store = _made_up(folder / dtype, Recipe(("mel",), dtype=dtype), images)
        store.mel()  # warm
        rng = np.random.default_rng(0)
        done, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < 3.0:
            store.mel(rng.integers(len(store), size=BATCH))
            done += BATCH
        rate = done / passed
        rows.append(
            {
                "what": f"{dtype} images read, batches of {BATCH}",
                "a second": rate,
                "ratio": rate / 2000,
                "wanted": 1.0,
            }
        )
    return rows


def _made_up(path: Path, recipe: Recipe, images: int) -> FeatureStore:
    """A store of random images, in parts as they are written."""
    (path / PARTS).mkdir(parents=True)
    _settle(path, recipe)
    filling = _Filling(path, recipe, Journal(path), Summary())
    shape, kind = recipe.arrays["mel"]
    rng = np.random.default_rng(0)
    facts = {
        "sr": 44_100,
        "seconds": 30.0,
        "mel_frames": shape[1],
        "level_db": 0.0,
        "dense_frames": 0,
        "title": "",
        "artist": "",
        "genres": (),
    }
    for i in range(images):
        image = rng.integers(0, 256, shape, dtype=np.uint8).astype(kind)
        made = Extracted((0, 0, 0), f"{i:064d}", {"mel": image}, None, facts)
        filling.take(Job(str(i), f"/nowhere/{i}.mp3"), made)
        if i % 128 == 127 or i == images - 1:
            filling.commit()
    return FeatureStore.open(path)
