"""What a track costs, and what that comes to for a million and a hundred million of them.

Clips of 30 s are decoded, made into features and recognised in this process, one after the other on
one thread, and the CPU seconds of each step are counted, as are the bytes that are read of a track
and written of it. The store of so many made-up rows (names, numbers and checksums of real shape,
and no sound) is then filled batch by batch, to see what a batch, a scan on resume and the reading
of one row take as it grows. From these the sizes follow by multiplication; every assumption is in
the table. Decoding and features cost by the clip, so the kind of the files matters: give yours with
``--audio``.

    python -m benchmarks.study_cost
    python -m benchmarks.study_cost --audio ~/Music --rows 100,1000,10000,100000 --page
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_scale import make_clips
from genrescope.audio.decode import open_audio
from genrescope.audio.scale.batch import write_parts
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.description import describe_new
from genrescope.audio.store.extract import Extracted, extract_samples
from genrescope.audio.store.journal import Row, write_line
from genrescope.audio.store.partitions import Partition, partitions_for
from genrescope.audio.store.place import Place
from genrescope.audio.store.recipe import Recipe
from genrescope.catalog.folders import find_audio
from genrescope.learn.recogniser import Recogniser

__all__ = ["cost", "draw_growth", "growth", "sizes"]

TRACKS = 24
ROWS = (100, 1_000, 10_000)
SIZES = (1_000_000, 100_000_000)
CORES = 64  # of a cluster, for the hours
GETS = 3_500  # requests a second that an object store answers below one prefix (Amazon's figure)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
FIGURE = PAGE.parent / "figures" / "store-growth.svg"
_BATCH = 128


def cost(audio: Path, *, tracks: int = TRACKS) -> dict[str, float]:
    """CPU seconds and bytes of a track, on average."""
    files = [path for path, _ in zip(find_audio(audio), range(tracks), strict=False)]
    recipe = Recipe()
    recogniser = Recogniser.load(workers=0)
    spent = dict.fromkeys(("decode", "mel and frames", "518 descriptors", "recognise"), 0.0)
    _warm(files[0], recogniser)
    two, one = Recipe(("mel", "frames")), Recipe(("descriptors",))
    for path in files:
        y, sr = _timed(spent, "decode", _decode, path)
        _timed(spent, "mel and frames", extract_samples, y, sr=sr, recipe=two)
        _timed(spent, "518 descriptors", extract_samples, y, sr=sr, recipe=one)
        _timed(spent, "recognise", recogniser.predict, y, sr=sr)
    n = len(files)
    return {
        **{name: seconds / n for name, seconds in spent.items()},
        "bytes in": sum(path.stat().st_size for path in files) / n,
        "bytes out": float(recipe.row_bytes),
        "bytes of an answer": float(len(str(recogniser.predict(files[0]).to_dict()))),
    }


def _warm(path: Path, recogniser: Recogniser) -> None:
    y, sr = _decode(path)
    extract_samples(y, sr=sr, recipe=Recipe())
    recogniser.predict(y, sr=sr)


def _decode(path: Path) -> tuple[Any, int]:
    with open_audio(path) as audio:
        return audio.read(duration=30.0), audio.sr


def _timed(
    spent: dict[str, float], name: str, work: Callable[..., Any], *given: Any, **more: Any
) -> Any:
    began = time.process_time()
    result = work(*given, **more)
    spent[name] += time.process_time() - began
    return result


# --- the store as it grows -----------------------------------------------------


def growth(folder: Path, *, rows: tuple[int, ...] = ROWS) -> list[dict[str, Any]]:
    """What a store of made-up rows takes at several sizes.

    One partition is filled by one batch after the other, as by many runs of one batch each: the
    worst case for the manifest.
    """
    place, recipe = Place(folder), Recipe(("frames",))
    place.write("store.json", _json(describe_new(recipe, version=2) | {"partitions": 1}))
    partition, rng = Partition(place, 0), np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 9, shape).astype(kind)
        for name, (shape, kind) in recipe.arrays.items()
    }
    found, there, took = [], 0, []
    for wanted in rows:
        took.clear()
        while there < wanted:
            n = min(_BATCH, wanted - there)
            lines = [_row(there + i) for i in range(n)]
            results = [Extracted((0, 0, 0), "", arrays)] * n
            began = time.perf_counter()
            key = f"{there + 1:06d}-000000-ab12"
            files = write_parts(partition, key, recipe, lines, results)
            partition.commit(key, write_line(key, files=files, rows=lines))
            partition.put_together()
            took.append(time.perf_counter() - began)
            there += n
        began = time.process_time()
        partition.journal()
        scan = time.process_time() - began
        store = FeatureStore.open(folder)
        reads = []
        for i in rng.integers(0, there, 500).tolist():
            began = time.perf_counter()
            store.frames([i])
            reads.append(time.perf_counter() - began)
        found.append(
            {
                "rows": there,
                "ms a batch appended": 1000 * float(np.median(took)),
                "files of the manifest": len(place.names(f"{partition.folder}/manifest")),
                "us a row scanned": 1e6 * scan / there,
                "ms a row read at random": 1000 * float(np.median(reads)),
            }
        )
    return found


def _row(number: int) -> Row:
    digest = f"{number:064x}"
    path = f"/music/{number // 1000:03d}/{number:06d}.mp3"
    return Row(
        f"{number:09d}", path, 960_000, 1, 1, digest, 44_100, 30.0, 0, 0.0, 130,
        f"Title of track {number}", "An artist", ("Rock",),
    )  # fmt: skip


def _json(said: dict[str, Any]) -> bytes:
    import json

    return json.dumps(said).encode()


def draw_growth(grown: list[dict[str, Any]], path: Path) -> None:
    """Draw :func:`growth`: a panel for each figure, and the logarithm that fits it best."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "genrescope"  # the same bytes for the same figures
    import matplotlib.pyplot as plt

    panels = {
        "ms a batch appended": "append: ms a batch of 128",
        "us a row scanned": "resume scan: µs a row",
        "ms a row read at random": "random read: ms a row",
    }
    rows = np.array([row["rows"] for row in grown], dtype=float)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        values = np.array([row[name] for row in grown], dtype=float)
        slope, start = np.polyfit(np.log10(rows), values, 1)
        line = np.geomspace(rows.min(), rows.max(), 50)
        fit = f"{start:.2g} {'+' if slope >= 0 else '-'} {abs(slope):.2g} log10 n"
        axis.plot(line, start + slope * np.log10(line), "--", color="#767676", label=fit)
        axis.plot(rows, values, "o-", color="#0072b2", markersize=7, linewidth=2)
        axis.set_xscale("log")
        axis.set_ylim(0, 1.4 * max(values.max(), 1e-9))
        axis.set_title(title, fontsize=12)
        axis.set_xlabel("rows already there", fontsize=11)
        axis.tick_params(labelsize=10)
        axis.grid(color="#dddddd", linewidth=0.7)
        axis.legend(fontsize=10, loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


# --- what follows ----------------------------------------------------------------


def sizes(of: dict[str, float], grown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What so many tracks take."""
    extraction = of["decode"] + of["mel and frames"] + of["518 descriptors"]
    recognition = of["decode"] + of["recognise"]
    found = []
    for tracks in SIZES:
        partitions = partitions_for(tracks)
        found.append(
            {
                "tracks": f"{tracks:,}",
                "core-hours, features": tracks * extraction / 3600,
                "core-hours, recognise": tracks * recognition / 3600,
                f"hours, features, {CORES} cores": tracks * extraction / 3600 / CORES,
                "TB read": tracks * of["bytes in"] / 1e12,
                "TB written": tracks * of["bytes out"] / 1e12,
                "partitions": partitions,
                "parts": -(-tracks // _BATCH) * 4,
                "manifest, GB": tracks * _LINE_BYTES / 1e9,
                "core-hours to scan it": tracks * grown[-1]["us a row scanned"] / 1e6 / 3600,
                "MB/s read, all cores": CORES / extraction * of["bytes in"] / 1e6,
                "cores that saturate 1 prefix": GETS * extraction,
            }
        )
    return found


_LINE_BYTES = (
    len(write_line("000001-000000-ab12", files={}, rows=[_row(i) for i in range(128)])) // 128
)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " ---: |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """``python -m benchmarks.study_cost``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", type=Path, help="a folder of your files")
    parser.add_argument("--tracks", type=int, default=TRACKS, help="that are measured")
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="sizes of the store")
    parser.add_argument("--page", action="store_true", help="write docs/scale.md's figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        audio = asked.audio or make_clips(Path(folder) / "clips", asked.tracks)
        of = cost(audio, tracks=asked.tracks)
        grown = growth(Path(folder) / "store", rows=tuple(map(int, asked.rows.split(","))))
    each = [{"of a track": name, "CPU s, or bytes": value} for name, value in of.items()]
    plan = [
        {"": name, **{f"{row['tracks']} tracks": row[name] for row in sizes(of, grown)}}
        for name in sizes(of, grown)[0]
        if name != "tracks"
    ]
    text = "\n\n".join(_table(rows) for rows in (each, grown, plan))
    print(text)
    if asked.page:
        page = PAGE.read_text(encoding="utf-8")
        start, end = "<!-- cost -->\n", "<!-- /cost -->"
        head, _, rest = page.partition(start)
        tail = rest.partition(end)[2]
        command = f"study_cost --tracks {asked.tracks} --rows {asked.rows} --page"
        note = f"By `python -m benchmarks.{command}`."
        draw_growth(grown, FIGURE)
        note += (
            "\n\n![Append, resume scan and random read against the rows that are there](figures/"
        )
        note += FIGURE.name + ")"
        PAGE.write_text(f"{head}{start}\n{note}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
