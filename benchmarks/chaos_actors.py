"""Who takes part in :mod:`benchmarks.chaos`: loops of real commands until the time is over."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.chaos_faults import Chaos, Ended, family, has_ended, lines, read_text
from genrescope.apps.journal import Journal
from genrescope.audio.store.verify import verify
from genrescope.errors import GenrescopeError

__all__ = ["LOOPS", "STORES", "Sample", "Server", "same_answer"]

WITHIN = 1e-5
STORES = {"plain": (), "parts": ("--partitions", "2")}
MAYBE = (429, 503, 507)  # busy, stopping, disk full


@dataclass(frozen=True)
class Sample:
    """The server at a moment: seconds, bytes of memory and open files of its main process."""

    at: float
    memory: int
    files: int


def extract(chaos: Chaos, rng: random.Random) -> None:
    """Extract into one store of two, now and then twice at once; a whole one begins anew."""
    while not chaos.over:
        kind = rng.choice(list(STORES))
        store = chaos.world.disk / f"store {kind}"
        arguments = extraction(chaos, kind)
        if rng.random() < 0.2:
            with _beside(chaos, rng, *arguments):
                ended = chaos.run(*arguments, rng=rng)
        else:
            ended = chaos.run(*arguments, rng=rng)
        if ended.code in (0, 1) and not ended.disturbed and rng.random() < 0.6:
            for problem in _problems(store):
                chaos.find(f"store {kind}: {problem}")
            shutil.rmtree(store)
            chaos.note(f"store {kind} was whole, and begins anew", count="whole stores")


def extraction(chaos: Chaos, kind: str) -> list[str | Path]:
    """The command that fills a store."""
    out = chaos.world.disk / f"store {kind}"
    options = ["--what", "mel,frames", "--seconds", "5", "--workers", "1", "--batch", "5"]
    return ["features", "extract", chaos.world.music, "--out", out, *options, *STORES[kind]]


def _problems(store: Path) -> tuple[str, ...]:
    try:
        return verify(store).problems
    except GenrescopeError as error:
        return (str(error),)


def predict(chaos: Chaos, rng: random.Random) -> None:
    """Recognise the whole folder, and compare each line."""
    world = chaos.world
    while not chaos.over:
        ended = chaos.run("predict", world.music, "--jsonl", "--workers", "1", rng=rng)
        told: Counter[str] = Counter()
        for line in lines(ended.out):
            said = json.loads(line)
            name = os.path.relpath(said["path"], world.music)
            told[name] += 1
            chaos.counts["predictions compared"] += 1
            wanted = world.answers.get(name)
            if wanted is None and "error" not in said:
                chaos.find(f"predict {name}: an answer, where there was none: {line[:200]}")
            elif wanted is not None and not same_answer(said, wanted):
                chaos.find(f"predict {name}: not as in quiet: {line[:300]}")
        _check_all(chaos, ended, told)


def _check_all(chaos: Chaos, ended: Ended, told: Counter[str]) -> None:
    for name, count in told.items():
        if count > 1:
            chaos.find(f"predict {name}: told {count} times")
    if not ended.disturbed and ended.code in (0, 1):
        chaos.counts["whole folders recognised"] += 1
        for name in chaos.world.facts.keys() - told.keys():
            chaos.find(f"predict {name}: not told of")


def same_answer(said: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether genre and probabilities are the same."""
    if said.get("genre", "none at all") != wanted["genre"]:
        return False
    got, want = said["probabilities"], wanted["probabilities"]
    return got.keys() == want.keys() and all(abs(got[k] - want[k]) <= WITHIN for k in want)


def write(chaos: Chaos, rng: random.Random) -> None:
    """Write genres, and take runs back; two of these loops run side by side."""
    world = chaos.world
    names = world.notes / f"names {threading.get_ident()}.toml"
    while not chaos.over:
        if rng.random() < 0.35:
            chaos.run("undo", *_what_to_undo(chaos, rng), rng=rng)
            continue
        value = rng.choice(['"Älter"', '["Rock", "日本"]', f'"{"x" * 190}"', '"Pop"'])
        genres = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental",
                  "International", "Pop", "Rock")  # fmt: skip
        names.write_text("[names]\n" + "".join(f'"{genre}" = {value}\n' for genre in genres))
        options: list[str | Path] = ["--min-confidence", "0", "--names", names, "--workers", "1"]
        options += ["--existing", rng.choice(["replace", "replace", "add", "keep"])]
        options += rng.choice([[], ["--keep-times"], ["--alone"], ["--subgenres"]])
        where = rng.choice([world.music, world.music, world.music / "b"])
        chaos.run("tag", where, "--write", "--jsonl", *options, rng=rng)
    names.unlink(missing_ok=True)


def _what_to_undo(chaos: Chaos, rng: random.Random) -> list[str]:
    kind = rng.choice(["last", "run", "path"])
    if kind == "run":
        with contextlib.suppress(GenrescopeError), Journal.open(chaos.world.journal) as journal:
            if runs := [run.id for run in journal.runs()]:
                return [str(rng.choice(runs[:6])), *rng.choice([[], ["--force"]])]
    if kind == "path":
        return [str(chaos.world.music / "b")]
    return ["--last"]


@contextlib.contextmanager
def _beside(chaos: Chaos, rng: random.Random, *arguments: str | Path) -> Any:
    """The same command a second time, at the same time."""
    other = threading.Thread(
        target=chaos.run, args=arguments, kwargs={"rng": random.Random(rng.random())}
    )
    other.start()
    chaos.counts["commands twice at once"] += 1
    try:
        yield
    finally:
        other.join()


# --- the service -----------------------------------------------------------------------------


class Server:
    """``genrescope serve`` as a process; what it prints goes into the notes."""

    def __init__(self, chaos: Chaos, rng: random.Random) -> None:
        self.chaos = chaos
        self.process, self.out, self.err = chaos.start(
            "serve", "--no-pages", "--port", "0", "--workers", "1",
            "--library", chaos.world.music, rng=rng,
        )  # fmt: skip
        self.port = 0
        self.hurt = 0.0  # when a worker was killed last

    def ready(self, *, hurry: bool = True) -> bool:
        """Wait until it answers; False where it ended or, in a hurry, the time is over."""
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            if hurry and self.chaos.over:
                break
            if found := re.search(r"serves at http://[^ :]+:(\d+)", read_text(self.err)):
                self.port = int(found[1])
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if self._ask("GET", "/readyz")[0] == 200:
                        return True
            time.sleep(0.1)
        return False

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            kind = {"Content-Type": "application/octet-stream"} if body is not None else {}
            connection.request(method, path, body, kind)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def upload(self, rng: random.Random) -> None:
        """Send a file, and compare the answer; now and then hang up in the middle."""
        world, chaos = self.chaos.world, self.chaos
        name = rng.choice(list(world.facts))
        body = (world.music / name).read_bytes()
        where = f"/v1/recognise?name={quote(Path(name).name)}"
        if rng.random() < 0.1:
            self._hang_up(where, body)
            return
        since = time.monotonic()
        status, told = self._ask("POST", where, body)
        chaos.counts["uploads"] += 1
        chaos.counts[f"uploads: {status}"] += 1
        if status in MAYBE:
            return
        wanted = world.answers.get(name)
        if wanted is None:
            if status not in (415, 422):
                chaos.find(f"upload of {name}: {status} {str(told)[:300]}")
        elif status == 422 and told["error"] == "DecoderCrashError" and self.hurt > since - 5:
            chaos.counts["uploads that lost their worker"] += 1
        elif status != 200:
            chaos.find(f"upload of {name}: {status} {str(told)[:300]}")
        elif not same_answer(told["results"][0]["prediction"], wanted):
            chaos.find(f"upload of {name}: not as in quiet: {str(told)[:300]}")

    def _hang_up(self, where: str, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            connection.putrequest("POST", where)
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Content-Length", str(len(body) + 1))
            connection.endheaders(body)
        finally:
            connection.close()
        self.chaos.counts["uploads that hung up"] += 1

    def sample(self) -> Sample:
        """Memory and open files of the process that stays."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        held = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        files = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return Sample(time.monotonic(), 1024 * int(held[1]) if held else 0, files)

    def hurt_worker(self, rng: random.Random) -> None:
        """Kill one of its workers."""
        if workers := [pid for pid in family(self.process.pid) if pid != self.process.pid]:
            self.hurt = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
            self.chaos.note("a worker of the service is killed", count="workers killed")
            self.hurt = time.monotonic()

    def stop(self) -> None:
        """End it as a system does, and look at what it said."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.chaos.find("the service does not stop")
            self.kill()
            return
        if code not in (0, -signal.SIGTERM):
            self.chaos.find(f"the service ends with {code}: {read_text(self.err)[-600:]}")
        if not has_ended(self.process.pid, 30):
            self.chaos.find("workers of the service live on after its end")
        self._look()

    def kill(self) -> None:
        """End it as nobody should; its workers have to end by themselves."""
        self.process.kill()
        self.process.wait()
        self.chaos.counts["kills"] += 1
        if not has_ended(self.process.pid, 30):
            self.chaos.find("workers of the service live on after it was killed")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _look(self) -> None:
        said = read_text(self.err)
        if at := said.find("Traceback") + 1:
            self.chaos.find(f"the service printed {said[at - 1 : at + 1500]}")


def serve(chaos: Chaos, rng: random.Random) -> None:
    """Services that are killed."""
    while not chaos.over:
        server = Server(chaos, rng)
        try:
            if rng.random() < 0.8 and server.ready():
                for _ in range(rng.randrange(1, 6)):
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        server.upload(rng)
            else:
                time.sleep(rng.uniform(0.0, 3.0))
        finally:
            server.kill()
            chaos.counts["services killed"] += 1
            for path in (server.out, server.err):
                path.unlink(missing_ok=True)
        end = time.monotonic() + rng.uniform(5.0, 30.0)
        while time.monotonic() < min(end, chaos.until):
            time.sleep(0.2)


def use(chaos: Chaos, rng: random.Random, server: Server, samples: list[Sample]) -> None:
    """Send files to the service that stays, which also loses workers now and then."""
    while not chaos.over:
        try:
            server.upload(rng)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if server.process.poll() is not None:
                said = read_text(server.err)[-600:]
                chaos.find(f"the service ended with {server.process.returncode}: {said}")
                return
            chaos.find(f"the service broke off: {error!r}")
        samples.append(server.sample())
        if rng.random() < 0.02:
            server.hurt_worker(rng)
        time.sleep(rng.uniform(0.0, 0.3))


LOOPS: dict[str, Callable[[Chaos, random.Random], None]] = {
    "extract": extract,
    "predict": predict,
    "write": write,
    "write too": write,
    "serve": serve,
}
