"""Extraction on three hosts, made of network namespaces, while what joins them fails.

``sudo python -m benchmarks.study_hosts --clips 300`` (Linux; needs the right to make namespaces).

Host A has the scheduler and the command, B and C a worker each, which is started again where it
ends, as a service manager would. They reach each other through a bridge only. While
the command runs, the cable of a host is pulled for a while, again and again, and the worker of B is
halted nine tenths of the time, so that it is ten times slower. One file is no sound. Afterwards the
store is looked through: every clip once, the one file in quarantine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench_scale import make_clips
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.sources import find_tracks
from genrescope.audio.store.verify import verify

HOSTS = ("a", "b", "c")
_BRIDGE = "gsbridge"
_PORT = 8786
_OUT_FOR = 8.0  # s that a cable stays pulled
_BEAT = 1.0  # s; a slowed worker runs for a tenth of it


def address(host: str) -> str:
    """Of a host, on the bridge."""
    return f"10.77.0.{HOSTS.index(host) + 1}"


def ip(*words: str) -> None:
    """The command ``ip``; says what it refused."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Three hosts and what joins them; nothing of it stays."""
    try:
        ip("link", "add", _BRIDGE, "type", "bridge")
        ip("link", "set", _BRIDGE, "up")
        for host in HOSTS:
            ip("netns", "add", f"gs-{host}")
            ip("link", "add", f"gs{host}", "type", "veth", "peer", "name", "eth0",
               "netns", f"gs-{host}")  # fmt: skip
            ip("link", "set", f"gs{host}", "master", _BRIDGE, "up")
            for words in (
                ("addr", "add", f"{address(host)}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", f"gs-{host}", *words)
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", f"gs-{host}"], capture_output=True)
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True)


def start(host: str, *words: str) -> subprocess.Popen[bytes]:
    """A process on a host, the first of a group of its own."""
    return subprocess.Popen(
        ["ip", "netns", "exec", f"gs-{host}", sys.executable, "-m", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Troubles:
    """What goes wrong while the command runs, in threads."""

    def __init__(self, *, every: float, seed: int) -> None:
        self._over = threading.Event()
        self._every, self._draw = every, random.Random(seed)
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self.pulled = self.restarted = 0
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._keep, self._pull, self._slow)
        ]

    def __enter__(self) -> Troubles:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        for process in self._workers.values():
            end(process)

    def _keep(self) -> None:
        """Workers run; one that ended is started again."""
        while not self._over.is_set():
            for host in HOSTS[1:]:
                old = self._workers.get(host)
                if old is None or old.poll() is not None:
                    if old is not None:
                        end(old)
                        self.restarted += 1
                    self._workers[host] = start(
                        host, "distributed.cli.dask_worker", f"tcp://{address('a')}:{_PORT}",
                        "--nthreads", "1", "--host", address(host), "--no-dashboard",
                    )  # fmt: skip
            self._over.wait(1.0)

    def _pull(self) -> None:
        while not self._over.wait(self._every):
            host = self._draw.choice(HOSTS[1:])
            ip("link", "set", f"gs{host}", "down")
            self.pulled += 1
            self._over.wait(_OUT_FOR)
            ip("link", "set", f"gs{host}", "up")

    def _slow(self) -> None:
        while not self._over.is_set():
            process = self._workers.get("b")
            for sign, share in ((signal.SIGSTOP, 0.9), (signal.SIGCONT, 0.1)):
                if process is not None and process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, sign)
                self._over.wait(share * _BEAT)


def study(out: Path, *, clips: int, seconds: float, every: float, seed: int) -> dict[str, Any]:
    """Extract on the three hosts, and look through what came out."""
    source, store = out / "clips", out / "store"
    make_clips(source, clips, seconds=seconds)
    (source / "broken.wav").write_bytes(b"RIFF no sound at all")
    catalogue = find_tracks(source)
    with network():
        scheduler = start("a", "distributed.cli.dask_scheduler", "--host", address("a"),
                          "--port", str(_PORT), "--no-dashboard")  # fmt: skip
        began, tries = time.monotonic(), 0
        try:
            with Troubles(every=every, seed=seed) as troubles:
                while tries < 20:
                    tries += 1
                    command = start(
                        "a", "genrescope", "features", "extract", str(source), "--what", "mel",
                        "--out", str(store), "--scheduler", f"tcp://{address('a')}:{_PORT}",
                    )  # fmt: skip
                    if command.wait() in (0, 1):
                        break
                took = time.monotonic() - began
        finally:
            end(scheduler)
    found = FeatureStore.open(store)
    rows = Counter(id_ for part in found.journal.parts for id_ in part.ids)
    known = set(rows) | {failure.id for failure in found.quarantine}
    return {
        "clips": len(catalogue),
        "hosts": len(HOSTS),
        "seconds": round(took),
        "cables pulled": troubles.pulled,
        "workers started again": troubles.restarted,
        "times that the command was given": tries,
        "in the store": len(found),
        "in quarantine": len(found.quarantine),
        "lost": len(set(catalogue.ids) - known),
        "twice": sum(count > 1 for count in rows.values()),
        "problems found by verify": len(verify(store).problems),
    }


def main() -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_hosts")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a clip")
    parser.add_argument("--every", type=float, default=10.0, help="s between pulled cables")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = study(
            Path(folder),
            clips=given.clips,
            seconds=given.seconds,
            every=given.every,
            seed=given.seed,
        )
    print(json.dumps(found, indent=2))
    wrong = found["lost"] + found["twice"] + found["problems found by verify"]
    return 1 if wrong or found["in quarantine"] != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
