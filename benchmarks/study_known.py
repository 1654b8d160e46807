"""Measure how alike the known tracks are that are called alike, as docs/results/map.md.

``python -m benchmarks.study_known --data ../shared/data --run runs/default``

Reads the out-of-fold answers of a run of ``genrescope train default``, for comparison. Eight
minutes of processor time on one thread, half of it for the maps of the folds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

# Before NumPy is imported: the figures depend on the number of threads in their last digits.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

_COMMAND = "python -m benchmarks.study_known --data ../shared/data --run runs/default"
_SHIPPED = "as shipped"

_HEAD = """# Known tracks that sound alike: the figures

```console
$ {command}
```

FMA-small, {tracks:,} tracks of {artists:,} artists, five folds by artist. Axes and map are made
without the artists that are looked at. "Same genre": share of the five nearest tracks by other
artists that have the track's genre (chance {chance:.3f}). "Vote": accuracy of the vote of the 25
nearest. "Same artist": share of the five nearest of all other tracks that are by the same artist,
for the {several:,} tracks whose artist has others (chance {artist_chance:.4f}; {most:.2f} at most,
since many artists have fewer than five others). 95 % intervals by artist. What it means is said in
[Tracks that sound alike](../map.md).

## Which axes

While this was made, 26 sets of axes were compared on these folds, four of them from a small
network, and eight ways to place a track on one fold. What ships is not the best in any column: it
is linear, small, and near the best in all. Several others are within the intervals.

| axes | same genre | vote | same artist |
|---|---|---|---|
"""


def main(arguments: list[str] | None = None) -> int:
    """Fit, score, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_known")
    parser.add_argument("--data", type=Path, required=True, help="folder with fma/ and audio/")
    parser.add_argument("--run", type=Path, required=True, help="folder of `train default`")
    parser.add_argument("--out", type=Path, default=Path("docs/results/map.md"))
    given = parser.parse_args(arguments)

    from genrescope.catalog.storage import atomic

    page = _study(given.data, given.run)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(given.out) as part:
        part.write_text(page, encoding="utf-8")
    return 0


def _study(data_folder: Path, run: Path) -> str:
    import numpy as np

    from genrescope.catalog.prepared import load_prepared
    from genrescope.learn.studies.hierarchy import read_answers, read_tree_data
    from genrescope.learn.train.known import known_part
    from genrescope.learn.train.known_scores import measure, report
    from genrescope.learn.train.known_space import KnownData, KnownSettings, fit_space
    from genrescope.learn.train.statnet import fit_front_scale

    read = read_tree_data(data_folder / "fma", run)
    prepared = load_prepared(data_folder / "fma")
    prepared = prepared.where(prepared.genre_top != "")
    names = prepared.artist_name
    data = KnownData(
        statistics=read.statistics,
        y=read.y_top,
        genres=read.genres,
        artists=read.artists,
        folds=read.folds,
        track_ids=prepared.track_id,
        titles=prepared.title.tolist(),
        names=[""] * len(prepared) if names is None else names.tolist(),
        teacher=read.teacher,
        fma=True,
    )
    log_p, _ = read_answers(run, read.y_top, read.artists)
    fronts = {
        fold: fit_front_scale(data.statistics[data.folds != fold], n_components=400)
        for fold in np.unique(data.folds).tolist()
    }

    def fold_of(rows: Any) -> int:
        return int(data.folds[~rows][0])

    def fitted(**settings: Any) -> Any:
        def directions(rows: Any) -> Any:
            front = fronts[fold_of(rows)]
            space = fit_space(data, rows, settings=KnownSettings(**settings), front=front)
            return space(data.statistics)

        return directions

    def principal(rows: Any) -> Any:
        z = fronts[fold_of(rows)](data.statistics)[:, :48]
        return _unit(z - z[rows].mean(axis=0))

    def answers(rows: Any) -> Any:
        return _unit(log_p - log_p.mean(axis=1, keepdims=True))

    def teacher(rows: Any) -> Any:
        assert data.teacher is not None
        return _unit(
            (data.teacher - data.teacher[rows].mean(axis=0)) / data.teacher[rows].std(axis=0)
        )

    variants: dict[str, Any] = {
        "48 principal axes of the statistics": principal,
        "genres alone (7 axes)": fitted(artist_weight=0.0, teacher_weight=0.0),
        "artists alone (48)": fitted(genre_weight=0.0, teacher_weight=0.0),
        "teacher alone (32)": fitted(genre_weight=0.0, artist_weight=0.0),
        "genres and artists (48)": fitted(teacher_weight=0.0),
        "all three (32)": fitted(axes=32),
        "the recogniser's own answers (8)": answers,
    }
    if data.teacher is not None:
        variants["VGGish itself, which is not there in use (128)"] = teacher
    rows: list[str] = []
    for name, directions in variants.items():
        rows.append(_row(name, report(data, measure(data, directions, with_map=False))))
    started = time.process_time()
    new, told = known_part(data)
    took = time.process_time() - started
    rows.append(_row(f"**all three (48), {_SHIPPED}**", told))
    rows.append(
        f"| the same, on the map in 3-D | {_share(told['same_genre_5_map'])} "
        f"| {told['vote_25_map']:.3f} | |"
    )
    right = float((log_p.argmax(axis=1) == data.y).mean())
    rows.append(f"| the recogniser's first answer, for comparison | | {right:.3f} | |")
    artist = told["same_artist_5"]
    head = _HEAD.format(
        command=_COMMAND,
        tracks=told["tracks"],
        artists=told["artists"],
        chance=told["same_genre_chance"],
        several=artist["tracks"],
        artist_chance=artist["chance"],
        most=artist["most_possible"],
    )
    stability = _stability(data, new, data_folder)
    return (
        head
        + "\n".join(rows)
        + f"\n\nOne of the artist's other tracks is among the five for {artist['found_any']:.1%} "
        "of these tracks.\n"
        + _words(told)
        + stability
        + f"\nThe part has {len(new.graph):,} bytes and took {took:.0f} s of processor time.\n"
    )


def _words(told: dict[str, Any]) -> str:
    lines = [f"| {words} | {share:.3f} |" for words, share in told["same_genre_by_words"].items()]
    return (
        "\n## What the words are worth\n\nThe nearest tracks of held-out artists, by how near they "
        "are among such: the nearest quarter, the next half, the next fifth, the rest.\n\n"
        "| said to be | same genre |\n|---|---|\n" + "\n".join(lines) + "\n"
    )


def _stability(data: Any, new: Any, folder: Path) -> str:
    """How far a track moves when it is heard otherwise."""
    import numpy as np

    from genrescope.audio import frames
    from genrescope.audio.decode import read_audio
    from genrescope.catalog.prepared import load_prepared
    from genrescope.learn.parts.base import Part
    from genrescope.learn.parts.known import PART_NAME, KnownTracks
    from genrescope.learn.train.augment import band_limited, draw_cutoffs
    from genrescope.learn.train.known_scores import own_places

    known = KnownTracks(Part.of(PART_NAME, new))
    positions = known.tracks.positions
    rng = np.random.default_rng(0)
    typical = float(
        np.median(np.linalg.norm(positions - positions[rng.permutation(len(positions))], axis=1))
    )
    own = own_places(known._references, positions)
    lines = [f"| a known track, placed by the others | {_moved(own)} | |"]

    prepared = load_prepared(folder / "fma")
    some = np.zeros(len(prepared), dtype=bool)
    some[rng.permutation(len(prepared))[:1000]] = True
    part = prepared.where(some)
    cut = band_limited(part.mel, part.mfcc_3s, cutoff_hz=draw_cutoffs(len(part), rng), rng=rng)
    there = {int(one): row for row, one in enumerate(known.tracks.track_ids.tolist())}
    found = [known.look(row[None], k=1) for row in cut]
    mine = [there[int(one)] for one in part.track_id.tolist()]
    moved = [
        float(np.linalg.norm(np.array(one.position) - positions[row])) / typical
        for one, row in zip(found, mine, strict=True)
    ]
    same = np.mean(
        [one.similar[0].track_id == int(t) for one, t in zip(found, part.track_id, strict=True)]
    )
    lines.append(
        f"| a known track with its top cut off (1,000) | {_moved(np.array(moved))} | "
        f"finds itself first: {same:.1%} |"
    )

    files = [
        *sorted((folder / "audio" / "fma_clips").glob("*.mp3")),
        *sorted((folder / "audio" / "songs").glob("*.mp3")),
    ]
    halves, shared = [], []
    for path in files:
        y, sr = read_audio(path)
        first, second = (
            known.look(frames.describe_samples(part, sr=sr).features, k=10)
            for part in (y[: len(y) // 2], y[len(y) // 2 :])
        )
        gap = np.array(first.position) - np.array(second.position)
        halves.append(float(np.linalg.norm(gap)) / typical)
        ids = [{one.track_id for one in side.similar} for side in (first, second)]
        shared.append(len(ids[0] & ids[1]) / 10)
    lines.append(
        f"| the two halves of a real file ({len(files)}) | {_moved(np.array(halves))} | "
        f"of the ten nearest, shared: {np.mean(shared):.0%} |"
    )
    x = data.statistics[:5]
    started = time.perf_counter()
    for _ in range(100):
        known.look(x)
    each = (time.perf_counter() - started) / 100
    return (
        "\n## How steady a place is\n\nDistances on the map, in typical (median) distances between "
        "two tracks.\n\n| | median, nine in ten below | |\n|---|---|---|\n"
        + "\n".join(lines)
        + f"\n\nFinding and placing one track of five windows takes {1000 * each:.1f} ms on the "
        "machine that wrote this.\n"
    )


def _moved(values: Any) -> str:
    import numpy as np

    return f"{np.median(values):.2f}, {np.quantile(values, 0.9):.2f}"


def _row(name: str, told: dict[str, Any]) -> str:
    return (
        f"| {name} | {_share(told['same_genre_5'])} | {told['vote_25']:.3f} "
        f"| {_share(told['same_artist_5'])} |"
    )


def _share(told: dict[str, Any]) -> str:
    return f"{told['share']:.3f} [{told['low']:.3f}, {told['high']:.3f}]"


def _unit(x: Any) -> Any:
    import numpy as np

    length = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    return (x / length).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
