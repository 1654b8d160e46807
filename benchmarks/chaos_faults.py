"""Commands of :mod:`benchmarks.chaos` in processes of their own, and what befalls them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos_world import World

__all__ = ["Chaos", "Ended", "family", "fill_disk", "has_ended", "read_text"]

SITE = Path(__file__).parent / "chaos_site"
HANGS = 240.0  # s after which a command is said to hang
ORPHANS = 30.0  # s that what a killed command started may take to end
CALM = (0, 1, 2, 130)  # exit codes that commands promise


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    code : int
        As of `subprocess`: negative for a signal.
    disturbed : bool
        Whether it was killed or interrupted.
    out : str
        What it printed.
    """

    code: int
    disturbed: bool
    out: str


class Chaos:
    """What all who take part share: the world, the dice, the notes.

    Parameters
    ----------
    world : World
    seed : int
        Of all dice; what happens between processes is not in its hands.
    until : float
        When to stop, on the monotonic clock.
    """

    def __init__(self, world: World, *, seed: int, until: float) -> None:
        self.world, self.seed, self.until = world, seed, until
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._log = (world.notes / "log.txt").open("a", encoding="utf-8", buffering=1)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def note(self, text: str, *, count: str = "") -> None:
        """Put a line into the log, and count what it tells of."""
        with self._lock:
            if count:
                self.counts[count] += 1
            self._log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def find(self, text: str) -> None:
        """Something is wrong."""
        with self._lock:
            self.findings.append(text)
            self._log.write(f"{time.strftime('%H:%M:%S')} WRONG: {text}\n")

    def environment(self, rng: random.Random) -> dict[str, str]:
        """What a command is told: its files on the small disk, and a bad day in three of four."""
        bad = [word for word in ("clock", "disk") if rng.random() < 0.5]
        for word in bad:
            self.note(f"a bad {word} for the next", count=f"commands with a bad {word}")
        plain = {key: v for key, v in os.environ.items() if not key.startswith("GENRESCOPE_")}
        return {
            **plain,
            "PYTHONPATH": f"{SITE}:{Path(__file__).resolve().parents[1]}",
            "GENRESCOPE_CHAOS": ",".join(["poison", *bad]),
            "GENRESCOPE_CHAOS_SEED": str(rng.randrange(2**32)),
            "GENRESCOPE_JOURNAL": str(self.world.journal),
            "GENRESCOPE_HEARD": str(self.world.heard),
            "TMPDIR": str(self.world.temporary),
            "OMP_NUM_THREADS": "1",
        }

    def start(
        self, *arguments: str | Path, rng: random.Random, quiet: bool = False
    ) -> tuple[subprocess.Popen[bytes], Path, Path]:
        """Start ``genrescope ARGUMENTS`` in a session of its own; gives where it prints to."""
        number = next(self._numbers)
        out, err = (self.world.notes / f"{number:06d}.{name}" for name in ("out", "err"))
        env = self.environment(rng)
        if quiet:
            env |= {"GENRESCOPE_CHAOS": "poison"}
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "genrescope", *map(os.fspath, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=env,
                start_new_session=True,
            )
        self.note(f"{number:06d} begins: {' '.join(map(str, arguments))}", count="commands")
        return process, out, err

    def run(self, *arguments: str | Path, rng: random.Random, quiet: bool = False) -> Ended:
        """Run a command to its end, which may be a violent one."""
        process, out, err = self.start(*arguments, rng=rng, quiet=quiet)
        ending = "" if quiet else self._disturb(process, rng)
        try:
            code = process.wait(HANGS)
        except subprocess.TimeoutExpired:
            self.find(f"hangs: {out.stem} {' '.join(map(str, arguments))}")
            os.killpg(process.pid, signal.SIGKILL)
            ending, code = "hung", process.wait()
        said = read_text(err)
        self.note(f"{out.stem} ends with {code} {ending}: {said.strip()[-300:]!r}")
        if not ending:
            name = f"{out.stem} {' '.join(map(str, arguments[:2]))}"
            if code not in CALM:
                self.find(f"{name}: exit code {code}: {said.strip()[-600:]}")
            if "Traceback" in said or "please report" in said:
                self.find(f"{name}: {said.strip()[-1200:]}")
        if not has_ended(process.pid, ORPHANS):
            self.find(f"{out.stem}: what it started lives on {ORPHANS:.0f} s after its end")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        printed = read_text(out)
        for path in (out, err):  # hours of them would fill the disk that may not
            path.unlink()
        return Ended(code, bool(ending), printed)

    def _disturb(self, process: subprocess.Popen[bytes], rng: random.Random) -> str:
        """Pause it, take its disk, kill it, or none of these; gives how it was ended."""
        kind = rng.choice(["kill", "kill", "kill group", "interrupt", "", "", ""])
        moment = time.monotonic() + rng.uniform(0.0, rng.choice([1.5, 4.0, 12.0]))
        pauses = rng.choice([0, 0, 1, 3])
        if not self.world.small and rng.random() < 0.3:
            with contextlib.suppress(ProcessLookupError):
                limits = (1 << 18, resource.RLIM_INFINITY)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
                self.note("its files may not be larger than 256 kB", count="disks full")
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(min(0.3, max(0.0, moment - time.monotonic())))
            if pauses and rng.random() < 0.3:
                pauses -= 1
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGSTOP)
                    self.counts["pauses"] += 1
                    time.sleep(rng.uniform(0.05, 1.5))
                    os.killpg(process.pid, signal.SIGCONT)
        if not kind or process.poll() is not None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            if kind == "kill":
                process.kill()
            else:
                number = signal.SIGINT if kind == "interrupt" else signal.SIGKILL
                os.killpg(process.pid, number)
        self.counts["interrupts" if kind == "interrupt" else "kills"] += 1
        return kind


def fill_disk(chaos: Chaos, rng: random.Random) -> None:
    """Fill the disk for a moment, again and again."""
    ballast = chaos.world.disk / "ballast"
    while not chaos.over:
        _sleep(chaos, rng.uniform(4.0, 15.0))
        if chaos.over:
            return
        left = rng.choice([0, 0, 4096, 65_536, 1 << 20])
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * (1 << 16))
        with contextlib.suppress(OSError):
            os.truncate(ballast, max(0, ballast.stat().st_size - left))
        chaos.note(f"the disk has {left} bytes left", count="disks full")
        _sleep(chaos, rng.uniform(0.3, 3.0))
        ballast.unlink()
        chaos.note("the disk has room again")


def _sleep(chaos: Chaos, seconds: float) -> None:
    end = min(time.monotonic() + seconds, chaos.until + 0.1)
    while time.monotonic() < end:
        time.sleep(min(0.2, max(0.0, end - time.monotonic())))


def family(pid: int) -> list[int]:
    """The processes of a session that live, zombies aside."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path(f"/proc/{entry}/stat").read_text("utf-8", "replace")
            cells = stat.rpartition(")")[2].split()
            if int(cells[3]) == pid and cells[0] != "Z":
                found.append(int(entry))
    return found


def has_ended(pid: int, seconds: float) -> bool:
    """Whether all of a session ends in time."""
    end = time.monotonic() + seconds
    while family(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def read_text(path: Path) -> str:
    """What was printed."""
    return path.read_bytes().decode("utf-8", "replace")


def lines(text: str) -> Sequence[str]:
    """Whole lines; what a kill cut off is left out."""
    return text[: text.rfind("\n") + 1].splitlines()
