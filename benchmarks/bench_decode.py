"""Decoding and resampling, against ``librosa.load`` and the bare ``soundfile.read``.

The clip is a real one (30 s, 44.1 kHz stereo mp3) where the shared data is, otherwise noise
that was encoded for the purpose. Times are CPU milliseconds, medians of calls that take turns,
so that whatever else the machine does hits everyone alike.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 15


def median_ms(functions: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median CPU time of each function in milliseconds; they are called in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():  # imports, caches
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(time.process_time() - start)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}


def real_clip() -> Path | None:
    """A 30-s clip of the shared data, where that is."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GENRESCOPE_DATA", default)) / "audio" / "fma_clips"
    return next(iter(sorted(folder.glob("*.mp3"))), None)


def _noise() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(rng.standard_normal((30 * 44_100, 2)) / 8, -1, 1).astype(np.float32)


def _write(path: Path, y: np.ndarray) -> Path:
    import soundfile

    if path.suffix != ".m4a":
        with soundfile.SoundFile(path, "w", 44_100, 2) as out:
            for i in range(0, len(y), 4096):
                out.write(y[i : i + 4096])
        return path
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44_100)
        stream.layout = "stereo"
        for i in range(0, len(y), 4096):
            piece = np.ascontiguousarray(y[i : i + 4096].T)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44_100, i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def run(*, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Compare, format by format.

    Returns
    -------
    list of dict
        Columns: what is read, CPU milliseconds of genrescope, librosa and soundfile, and how
        many times genrescope's time librosa takes, and genrescope takes of soundfile's.
    """
    import soundfile

    from genrescope.audio.decode import read_audio

    try:
        import librosa
    except ImportError:
        librosa = None

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = real_clip()
        y = _noise() if clip is None else soundfile.read(clip, dtype="float32")[0]
        mp3 = clip or _write(folder / "clip.mp3", y)
        files = {".mp3": mp3}
        for suffix in (".flac", ".ogg", ".wav", ".m4a"):
            files[suffix] = _write(folder / f"clip{suffix}", y)
        cases: list[tuple[str, dict[str, Any]]] = [
            (".mp3", {}),
            (".mp3", {"sr": 22_050}),
            (".mp3", {"offset": 20.0, "duration": 5.0}),
            *((suffix, {"sr": 22_050}) for suffix in (".flac", ".ogg", ".wav", ".m4a")),
        ]
        rows = []
        for suffix, how in cases:
            path = files[suffix]
            functions: dict[str, Callable[[], object]] = {
                "genrescope": lambda path=path, how=how: read_audio(path, **how)
            }
            if suffix != ".m4a":  # which neither of the others reads by itself
                if librosa is not None:
                    options = {"sr": None, **how}
                    functions["librosa"] = lambda path=path, options=options: librosa.load(
                        path, **options
                    )
                if not how:
                    functions["soundfile"] = lambda path=path: soundfile.read(path, dtype="float32")
            times = median_ms(functions, rounds=rounds)
            ours, theirs = times["genrescope"], times.get("librosa")
            bare = times.get("soundfile")
            what = ", ".join(f"{key}={value:g}" for key, value in how.items()) or "as it is"
            rows.append(
                {
                    "30 s of": suffix[1:],
                    "read": what,
                    "ours ms": ours,
                    "librosa ms": theirs,
                    "soundfile ms": bare,
                    "librosa / ours": theirs and theirs / ours,
                    "ours / soundfile": bare and ours / bare,
                }
            )
    return rows


if __name__ == "__main__":
    from benchmarks.__main__ import show

    show("decode", run())
