"""What the recogniser does with what it does not know: the page docs/not-sure.md.

    python -m benchmarks.study_unknown --data ../shared/data --run runs/default

reads the out-of-fold answers of a training run, fits the part "familiar" on the same tracks where
the bundle has none, makes sound that is not music, and asks. Speech needs the program espeak-ng and
is left out, and said to be, where it is not installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.unknown_page import write_page
from genrescope.audio import frames
from genrescope.audio.decode import open_audio
from genrescope.catalog.not_music import KINDS, make_not_music
from genrescope.catalog.prepared import load_prepared
from genrescope.catalog.speech import STORIES, VOICES, has_speech, speak
from genrescope.catalog.splits import group_folds
from genrescope.errors import AudioError
from genrescope.learn.bundle import Bundle
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.parts.base import Part
from genrescope.learn.parts.familiarity import Familiarity, heard_to_hz
from genrescope.learn.train.augment import band_limited, draw_cutoffs
from genrescope.learn.train.familiarity import LEAST_HZ, familiar_part, held_out, make_sounds

LENGTHS = (20.0, 10.0, 5.0, 3.0, 2.0, 1.0, 0.5)  # s
CUTS = (8_000.0, 5_500.0, 4_000.0, 3_500.0, 2_000.0)  # Hz


@dataclass
class Tally:
    """How one kind of sound was answered, sound by sound."""

    confident: list[bool] = field(default_factory=list)  # without the part "familiar"
    familiar: list[bool] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def row(self) -> tuple[int, float, float, float]:
        """How many, not sure before, unfamiliar, not sure in all."""
        sure, known = np.array(self.confident), np.array(self.familiar)
        return (
            len(sure),
            float((~sure).mean()),
            float((~known).mean()),
            float((~(sure & known)).mean()),
        )


@dataclass
class Listener:
    """A bundle and its judge."""

    bundle: Bundle
    judge: Familiarity

    def ask(self, tally: Tally, make: Callable[[], frames.TrackFeatures]) -> None:
        """Recognise one sound."""
        try:
            found = make()
        except AudioError as error:  # nothing to hear: no answer
            tally.confident.append(False)
            tally.familiar.append(False)
            tally.reasons.append(type(error).__name__)
            return
        p = self.bundle.run(found.features[None])[0][0]
        one = self.judge.judge(found.features, seconds=found.window)
        tally.confident.append(bool(p.max() >= (self.bundle.card["abstention"]["threshold"] or 2)))
        tally.familiar.append(one.familiar)
        tally.reasons.append(one.reason)


def non_music(listener: Listener, *, each: int) -> dict[str, Tally]:
    """Every made-up kind, silence and speech, of seeds that training does not use."""
    tallies: dict[str, Tally] = {}
    silence = tallies["silence"] = Tally()
    for seconds in (1.0, 10.0, 30.0):
        y = np.zeros(int(seconds * 44_100), dtype=np.float32)
        listener.ask(silence, lambda y=y: frames.describe_samples(y, sr=44_100))
    for kind in KINDS:
        tally = tallies[kind] = Tally()
        for seed in range(each):
            y = make_not_music(kind, seed=seed)
            listener.ask(tally, lambda y=y: frames.describe_samples(y, sr=44_100))
    if has_speech():
        tally = tallies["speech (espeak-ng)"] = Tally()
        rng = np.random.default_rng(0)
        for language in STORIES:
            for number, voice in enumerate(VOICES):
                y, sr = speak(language, voice=voice, seed=number)
                if number % 2:  # every second one in a room that is not silent
                    y = y + np.float32(10 ** rng.uniform(-4, -2.3)) * rng.standard_normal(
                        len(y), dtype=np.float32
                    )
                listener.ask(tally, lambda y=y, sr=sr: frames.describe_samples(y, sr=sr))
    return tallies


def music(listener: Listener, audio: Path) -> dict[str, Tally]:
    """Real clips and songs as they are, and as they might reach us."""
    import soxr

    tallies: dict[str, Tally] = {}
    files = [*sorted((audio / "fma_clips").glob("*.mp3")), *sorted((audio / "songs").glob("*.mp3"))]
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            with open_audio(path) as opened:
                sr = opened.sr
                y = opened.read(offset=max(0.0, opened.duration / 2 - 15), duration=30.0)
            ways: dict[str, tuple[NDArray[np.float32], int] | Path] = {
                "whole files": path,
                "30 s": (y, sr),
                "as mp3, 64 kbit/s": _mp3(y, sr, 64_000, Path(folder)),
                "as mp3, 32 kbit/s": _mp3(y, sr, 32_000, Path(folder)),
                "at 16 kHz": (soxr.resample(y, sr, 16_000), 16_000),
                "at 8 kHz": (soxr.resample(y, sr, 8_000), 8_000),
                "at 8 kHz, then 44.1 kHz": (
                    soxr.resample(soxr.resample(y, sr, 8_000), 8_000, 44_100),
                    44_100,
                ),
                **{f"the first {s:g} s": (y[: int(s * sr)], sr) for s in (10.0, 5.0, 3.0, 1.0)},
            }
            for name, way in ways.items():
                tally = tallies.setdefault(name, Tally())
                if isinstance(way, Path):
                    listener.ask(tally, lambda way=way: frames.describe_file(way))
                else:
                    listener.ask(tally, lambda way=way: frames.describe_samples(way[0], sr=way[1]))
    tally = tallies["GTZAN snippets, 2 to 3 s"] = Tally()
    for path in sorted((audio / "gtzan_snippets").glob("*.opus"))[::4]:
        listener.ask(tally, lambda path=path: frames.describe_file(path))
    return tallies


def _mp3(y: NDArray[np.float32], sr: int, rate: int, folder: Path) -> Path:
    import av

    path = folder / f"{len(list(folder.iterdir()))}.mp3"
    with av.open(str(path), "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=sr)
        stream.layout, stream.bit_rate = "mono", rate
        frame = av.AudioFrame.from_ndarray(y[None], format="fltp", layout="mono")
        frame.sample_rate = sr
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (block := fifo.read(1152, True)) is not None:
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    return path


def shortened(data: Any, y: NDArray[Any], folds: NDArray[Any], run: Path, cool: float) -> list[Any]:
    """Fold 0 by members that had not met it, cut short in time and in frequency.

    A shorter piece repeats the frames of its start, and its dense part, as the front end does.
    """
    import lightgbm

    from genrescope.learn.train.default import _log_probabilities
    from genrescope.learn.train.recipe import Members, Recipe
    from genrescope.learn.train.statnet import FrontScale

    def stored(path: Path) -> dict[str, NDArray[np.float32]]:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key].astype(np.float32) for key in arrays.files}

    fold = run / "fold-0"
    members = Members(
        scale=FrontScale(**stored(fold / "scale.npz")),
        nets=tuple(stored(p) for p in sorted(fold.glob("net-*.npz"))),
        frame_nets=tuple(stored(p) for p in sorted(fold.glob("frames-*.npz"))),
        trees=lightgbm.Booster(model_file=str(fold / "trees.txt")),
    )
    graph = members.graph(Recipe(), n_genres=int(y.max()) + 1)
    rows = np.flatnonzero(folds == 0)
    mel, dense = data.mel[rows], data.mfcc_3s[rows]
    found = []

    def add(name: str, x: NDArray[np.float32]) -> None:
        p = apply_temperature(_log_probabilities(graph, x), cool)
        found.append(
            (name, p.max(axis=1), p.argmax(axis=1) == y[rows], x[:, : frames.N_STATISTICS])
        )

    add("30 s", frames.describe_prepared(mel, dense))
    for seconds in LENGTHS:
        kept = np.arange(128) % max(1, round(seconds / 30 * 128))
        steps = min(130, 1 + int(seconds * 22_050) // 512)
        parts = []
        for at in range(0, len(rows), 256):
            db = mel[at : at + 256].astype(np.float32)[:, :, kept] * np.float32(80 / 255)
            short = dense[at : at + 256].astype(np.float32).transpose(0, 2, 1)[:, :, :steps]
            if seconds < 1.6:
                short = np.take(short, np.arange(130) % steps, axis=2)
            parts.append(frames.describe_decibels(db, np.ascontiguousarray(short)))
        add(f"{seconds:g} s", np.concatenate(parts))
    for hz in CUTS:
        add(
            f"nothing above {hz / 1000:g} kHz",
            band_limited(mel, dense, cutoff_hz=np.full(len(rows), hz)),
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_unknown")
    parser.add_argument("--data", type=Path, required=True, help="folder with fma and audio")
    parser.add_argument("--run", type=Path, required=True, help="of genrescope train default")
    parser.add_argument("--bundle", type=Path, help="default: the bundle of the run")
    parser.add_argument("--out", type=Path, default=Path("docs/not-sure.md"))
    parser.add_argument("--each", type=int, default=10, help="sounds of each kind")
    given = parser.parse_args(arguments)

    data = load_prepared(given.data / "fma")
    data = data.where(data.genre_top != "")
    genres, y = np.unique(data.genre_top, return_inverse=True)
    folds = group_folds(y, data.artist_id, n_folds=5, seed=0)
    answers: dict[str, NDArray[np.float64]] = {}
    for k in range(5):
        for key, name in (("all", "answers"), ("scores", "baseline-vggish")):
            path = given.run / f"fold-{k}" / f"{name}.npz"
            if path.exists():
                with np.load(path, allow_pickle=False) as stored:
                    answers.setdefault(name, np.zeros((len(y), len(genres))))[folds == k] = stored[
                        key
                    ]
    p, temperatures = cross_cooled(answers["answers"], y, folds)
    teacher = answers.get("baseline-vggish")

    print("what is familiar ...", flush=True)
    x = frames.describe_prepared(data.mel, data.mfcc_3s)[:, : frames.N_STATISTICS]
    rng = np.random.default_rng([0, 1])
    cutoffs = draw_cutoffs(len(data), rng)
    limited = band_limited(data.mel, data.mfcc_3s, cutoff_hz=cutoffs, rng=rng)
    limited = np.ascontiguousarray(limited[:, : frames.N_STATISTICS])
    made = make_sounds(seed=0)
    new, report = familiar_part(x, data.artist_id, folds, limited=limited, made=made)
    scores = held_out(x, folds, limited=limited, made=made)
    bundle = Bundle.load(given.bundle or given.run / "bundle")
    own = bundle.parts.get("familiar")
    listener = Listener(bundle, Familiarity(own or Part.of("familiar", new)))

    print("sound that is not music ...", flush=True)
    others = non_music(listener, each=given.each)
    print("music ...", flush=True)
    real = music(listener, given.data / "audio")
    print("short music ...", flush=True)
    cut = shortened(data, y, folds, given.run, temperatures[0])
    judged = []
    for name, confidence, right, rows in cut:
        known = np.array([listener.judge.judge(row[None]).score <= 1 for row in rows])
        judged.append((name, confidence, right, known))
    write_page(
        given.out,
        genres=[str(g) for g in genres],
        y=y,
        p=p,
        folds=folds,
        artists=data.artist_id,
        teacher=None if teacher is None else cross_cooled(teacher, y, folds)[0],
        threshold=float(bundle.card["abstention"]["threshold"]),
        scores=scores,
        dull=heard_to_hz(x) <= LEAST_HZ,
        report=report,
        others=others,
        real=real,
        cut=judged,
        part_bytes=len(new.graph),
    )
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
