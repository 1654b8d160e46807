"""Tagging: files a second with every safety, against mutagen's own save in place, and memory.

Files are copies of the real 30-s clips, each with a title of its own, so that each is heard for
itself, and without a genre. Commands run as a user runs them, start included, on as many processes
as there are cores. mutagen's save in place, the comparator, is what most taggers do: it is not
synced to the disk, not noted down, and a kill may leave half a file. The order is always the same,
and the files are in the cache of the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["run"]

FILES = 1_000
TARGET = 15  # files a second
PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


def run(*, files: int = FILES) -> list[dict[str, Any]]:
    """Measure.

    Parameters
    ----------
    files : int
        How many are tagged.

    Returns
    -------
    list of dict
        What was done, files a second, CPU time, seconds, and the most memory that it had.
    """
    data = Path(os.environ.get("GENRESCOPE_DATA", PAGE.parents[2] / "shared" / "data"))
    clips = sorted(data.glob("audio/fma_clips/*.mp3"))
    if not clips:
        raise SystemExit(f"{data}: no clips there; set GENRESCOPE_DATA to the data folder")
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), clips, files)


def _measure(folder: Path, clips: list[Path], files: int) -> list[dict[str, Any]]:
    environment = {
        **os.environ,
        "GENRESCOPE_HEARD": str(folder / "heard.sqlite3"),
        "GENRESCOPE_JOURNAL": str(folder / "journal.sqlite3"),
    }
    os.environ.update(environment)
    music = folder / "music"
    part = folder / "part"  # a tenth as many, for the growth of memory
    paths = _copies(music, clips, files)
    few = _copies(part, clips, max(files // 10, 1))
    rows = []

    def command(name: str, *arguments: str, of: int = files, **more: Any) -> float:
        seconds, cpu, memory = _timed(*arguments, environment=environment)
        row = {"name": name, "files/s": of / seconds, "CPU ms a file": 1e3 * cpu / of}
        row |= {"s": seconds, "MB": memory, **more}
        rows.append(row)
        return memory

    target = f"at least {TARGET} files/s"
    write = ("tag", str(music), "--write", "--jsonl")
    command("tag --write: heard and written", *write, target=target)
    tagged = sum(bool(_genres(path)) for path in paths)
    rows[0]["tagged"] = tagged
    command("undo --last", "undo", "--last", "--json")
    most = command("tag: looked at, all known", "tag", str(music), "--jsonl")
    command("tag --write: all known, written", *write, target=target)
    _timed("tag", str(part), "--jsonl", environment=environment)
    least = command(
        "the same as before, a tenth of the files", "tag", str(part), "--jsonl", of=len(few)
    )
    rows.append(
        {"name": "memory for each file more", "kB": 1e3 * (most - least) / (files - len(few))}
    )
    safe = _rate(paths, _tagger(folder))
    rows.append({"name": "Tagger.write alone", "files/s": safe, "target": target})
    unsafe = _rate(paths, _in_place)
    rows.append({"name": "mutagen, in place", "files/s": unsafe, "ratio": safe / unsafe})
    return rows


def _copies(folder: Path, clips: list[Path], files: int) -> list[Path]:
    import mutagen

    folder.mkdir()
    paths = []
    for i in range(files):
        path = folder / f"{i:05d}.mp3"
        shutil.copyfile(clips[i % len(clips)], path)
        file = mutagen.File(path, easy=True)
        file.pop("genre", None)
        file["title"] = f"{folder.name} {i}"
        # Copies of one clip by one artist, since those of several are not sure of any genre.
        file["artist"] = f"{folder.name} {i % len(clips)} {i // (10 * len(clips))}"
        file.save()
        paths.append(path)
    return paths


def _timed(*arguments: str, environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and the most memory (MB) that the command or a process of it had."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "genrescope", *arguments],
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"genrescope {' '.join(arguments)} ended with {process.returncode}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def _rate(paths: list[Path], write: Callable[[Path, str], object]) -> float:
    """Files a second; every one gets another genre than it has."""
    started = time.perf_counter()
    for path in paths:
        write(path, "Jazz" if _genres(path) != ("Jazz",) else "Blues")
    return len(paths) / (time.perf_counter() - started)


def _tagger(folder: Path) -> Callable[[Path, str], object]:
    from genrescope.apps.journal import Journal
    from genrescope.apps.tagger import Tagger

    tagger = Tagger(Journal.open(folder / "other.sqlite3"), command="bench_tag", bundle="none")
    return lambda path, genre: tagger.write(path, [genre])


def _in_place(path: Path, genre: str) -> None:
    import mutagen

    file = mutagen.File(path, easy=True)
    file["genre"] = genre
    file.save()


def _genres(path: Path) -> tuple[str, ...]:
    from genrescope.catalog.genre_tags import read_genre_field

    return read_genre_field(path).values


def section(rows: list[dict[str, Any]], *, files: int) -> str:
    """The rows as a section of the page on reliability."""
    lines = [
        "```console",
        "$ python -m benchmarks.bench_tag",
        "```",
        "",
        f"{files:,} copies of real 30-s clips (mp3), on {os.cpu_count()} cores; "
        "commands with their start.",
        "",
        "| | files/s | CPU, ms a file | most memory, MB |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "files/s" in row:
            cpu, memory = (f"{row[k]:.0f}" if k in row else "–" for k in ("CPU ms a file", "MB"))
            lines.append(f"| {row['name']} | {row['files/s']:.0f} | {cpu} | {memory} |")
    (growth,) = (row["kB"] for row in rows if "kB" in row)
    (ratio,) = (row["ratio"] for row in rows if "ratio" in row)
    return "\n".join(
        [
            *lines,
            "",
            f"Each file more costs {growth:.1f} kB of memory. With the copy, the check of it, two "
            f"syncs and the journal, a file is written at {ratio:.2f} times the rate of a save in "
            "place.",
        ]
    )


if __name__ == "__main__":
    from benchmarks.__main__ import show
    from benchmarks.reliability_page import write_section

    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    found = run(files=count)
    show("tag", found)
    if count >= FILES:
        write_section(PAGE, "tags", section(found, files=count))
