"""Extract, recognise, tag, take back and serve at once while everything goes wrong; then audit.

    python -m benchmarks.chaos --minutes 2
    python -m benchmarks.chaos ../shared/data/audio/fma_clips --hours 4 \
        --markdown docs/reliability.md

Real commands, each a process of its own, work on one folder of music in loops: ``features
extract`` into two stores, ``predict --jsonl``, ``tag --write`` and ``undo`` (two of these side by
side), ``serve`` that is killed, and one ``serve`` that stays all the time and is sent files. Music,
stores, journal and temporary files are on a small disk (a tmpfs, where it may be mounted; elsewhere
some commands may write no file above 256 kB). Meanwhile

- processes are killed (SIGKILL, alone or with all that they started) or interrupted, at random;
- the disk is filled to the last byte, and emptied again;
- the time of day jumps, by years too, in half of the commands (see chaos_site/sitecustomize.py);
- files take long to be opened and synced in half of them, and whole commands are paused (SIGSTOP)
  for up to 1.5 s, which stands for a disk that does not answer;
- some files are broken, and one ends every process that decodes it.

At the end comes the audit of :mod:`benchmarks.chaos_audit`. Exit code 1: it found something, which
is printed; the log and what the last commands printed are kept then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos_actors import LOOPS, Sample, Server, use
from benchmarks.chaos_audit import Audit, Trend, audit, trend_of
from benchmarks.chaos_faults import Chaos, fill_disk
from benchmarks.chaos_world import ROOM, World, make_world, size_of, small_disk
from benchmarks.reliability_page import write_section

COUNTED = (
    "commands", "kills", "interrupts", "pauses", "services killed", "workers killed",
    "disks full", "commands with a bad clock", "commands with a bad disk", "commands twice at once",
    "predictions compared", "whole folders recognised", "whole stores", "uploads",
    "uploads that hung up",
)  # fmt: skip


def run(
    folder: Path, *, clips: Path | None, files: int, seconds: float, seed: int
) -> tuple[Chaos, Audit, Trend | None]:
    """Let everything go wrong for a while, and look at what is left.

    Parameters
    ----------
    folder : Path
        To work in; empty.
    clips : Path or None
        Real music to copy from.
    files : int
        In the music.
    seconds : float
        Until the audit.
    seed : int
        Of all dice.
    """
    with small_disk(folder / "disk", size_of(clips, files) + ROOM) as small:
        world = World(folder / "disk", folder / "notes", small)
        make_world(world, clips=clips, files=files)
        chaos = Chaos(world, seed=seed, until=time.monotonic() + seconds)
        samples: list[Sample] = []
        server = Server(chaos, random.Random(f"{seed} server"))
        if not server.ready():
            chaos.find("the service does not start")
        loops: dict[str, Callable[[Chaos, random.Random], None]] = dict(LOOPS)
        loops["use"] = lambda chaos, rng: use(chaos, rng, server, samples)
        if small:
            loops["fill"] = fill_disk
        threads = [
            threading.Thread(target=_guarded, args=(name, loop, chaos), name=name)
            for name, loop in loops.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.stop()
        chaos.note("quiet")
        return chaos, audit(chaos), trend_of(samples)


def _guarded(name: str, loop: Callable[[Chaos, random.Random], None], chaos: Chaos) -> None:
    try:
        loop(chaos, random.Random(f"{chaos.seed} {name}"))
    except Exception:  # noqa: BLE001 (whatever it is, it is told)
        chaos.find(f"the loop {name} broke: {traceback.format_exc()}")


def main() -> None:
    """Run it, print what was done and found, and write the section of the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", nargs="?", type=Path, help="folder of mp3 files to copy from")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--hours", type=float, default=0.0, help="in place of --minutes")
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="page to put the section on")
    given = parser.parse_args()
    seconds = 3600 * given.hours or 60 * given.minutes
    folder = Path(tempfile.mkdtemp(prefix="genrescope-chaos-"))
    chaos, found, trend = run(
        folder, clips=given.clips, files=given.files, seconds=seconds, seed=given.seed
    )
    problems = [*chaos.findings]
    if trend is not None and not trend.flat:
        problems.append(f"the service grows: {trend}")
    body = _section(chaos, found, trend, problems, _called(given))
    print(body)
    for problem in problems:
        print(f"WRONG: {problem}")
    if given.markdown:
        write_section(given.markdown, "chaos", body)
    if problems:
        print(f"{folder / 'notes' / 'log.txt'} says what was done")
        sys.exit(1)
    shutil.rmtree(folder)


def _called(given: argparse.Namespace) -> str:
    words = ["python -m benchmarks.chaos", *([str(given.clips)] if given.clips else [])]
    words.append(f"--hours {given.hours:g}" if given.hours else f"--minutes {given.minutes:g}")
    words += [f"--{name} {getattr(given, name)}" for name in ("files", "seed")]
    return " ".join([*words, "--markdown docs/reliability.md"])


def _section(
    chaos: Chaos, found: Audit, trend: Trend | None, problems: list[str], called: str
) -> str:
    counts = dict(chaos.counts)
    rows = [(name, f"{counts.get(name, 0):,}") for name in COUNTED]
    rows += [(name, f"{n:,}") for name, n in sorted(counts.items()) if name not in COUNTED]
    rows += [
        ("**audit**", ""),
        ("files compared", f"{found.files:,}"),
        ("... of them with other genres than at first", f"{found.changed:,}"),
        ("journal rows compared", f"{found.rows:,}"),
        ("stored features extracted again", f"{found.features:,}"),
        ("... the same to the bit", f"{found.identical:,}"),
        ("remembered predictions compared", f"{found.remembered:,}"),
        ("originals again, byte by byte, once all was taken back", f"{found.restored:,}"),
        ("**wrong**", f"**{len(problems)}**"),
    ]
    if trend is not None:
        rows += [
            ("memory of the service, second and last quarter",
             f"{trend.early:.1f} MB, {trend.late:.1f} MB"),
            ("... its slope", f"{trend.slope:+.1f} MB an hour"),
            ("its open files, second and last quarter",
             f"{trend.files_early:.0f}, {trend.files_late:.0f}"),
        ]  # fmt: skip
    disk = "a tmpfs" if chaos.world.small else "no disk of its own, but files of at most 256 kB"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""`{called}`

Commands extracted, recognised, tagged, took back and served the same folder at once, on {disk},
and were killed, paused, and given full and slow disks and jumping clocks at random
(`benchmarks/chaos.py` says how). Then every file, journal row, stored feature and remembered
prediction was compared with what it has to be.

| | |
|---|---:|
{table}
"""


if __name__ == "__main__":
    main()
