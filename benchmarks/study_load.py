"""The service under load: many uploads at once, every answer checked.

    python -m benchmarks.study_load ../shared/data/audio/fma_clips --seconds 60 \
        --markdown docs/reliability.md

starts the real server (``genrescope serve``), has 100 clients upload clips for a minute, each the
next as soon as it has its answer, and compares every answer with ``Recogniser.predict`` on the same
file. A client that is told 429 comes again after as long as it is told. Meanwhile another process
asks for /healthz ten times a second, and the memory of the server and its workers is noted. What
``Recogniser.predict_many`` does a second with as many workers is measured before and after, in the
same run.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.reliability_page import write_section

CLIENTS = 100
TOLERANCE = 1e-5
FLAT = 1.1  # memory of the last quarter / memory of the second quarter
SHARE = 0.9  # of the speed of predict_many
HEALTH_MS = 50.0
_PROBES = 10.0  # a second


@dataclass
class Tally:
    """What the clients saw."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # of each request that was answered
    late: list[float] = field(default_factory=list)  # when each answer came


# --- the server -------------------------------------------------------------------------------


@contextmanager
def running_server(*options: str) -> Iterator[tuple[int, int]]:
    """``genrescope serve`` on a free port, ready; gives the port and the process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "genrescope", "serve", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next((line for line in process.stderr if "serves at" in line), "")
        found = re.search(r":(\d+) ", line)
        if found is None:
            raise SystemExit(f"the server did not start: {line}")
        port = int(found[1])
        log = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while ask(port, "/readyz") != 200:
            if time.monotonic() > until:
                raise SystemExit("the server did not become ready")
            time.sleep(0.2)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.wait(10)


def ask(port: int, path: str) -> int:
    """The status of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def memory(pid: int) -> int:
    """Bytes that a process and its children hold in memory (shared pages counted once each)."""
    total, family = 0, {pid}
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
            except OSError:
                continue
            parent = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
            held = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
            if parent and held:
                found[int(entry.name)] = (int(parent[1]), int(held[1]) * 1024)
    grown = True
    while grown:
        more = {one for one, (parent, _) in found.items() if parent in family} - family
        family |= more
        grown = bool(more)
    for one in family:
        total += found.get(one, (0, 0))[1]
    return total


def probe(port: int, seconds: float) -> None:
    """Ask for /healthz for a while, and print how long each took (ms)."""
    took = []
    until = time.monotonic() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        response.read()
        took.append(1000 * (time.perf_counter() - started))
        if response.status != 200:
            raise SystemExit(f"/healthz answered {response.status}")
        time.sleep(1 / _PROBES)
    print(json.dumps(took))


# --- the clients ------------------------------------------------------------------------------


def upload(clip: Path) -> bytes:
    """A whole request with one file in a form."""
    edge = "----genrescope-load"
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{clip.name}"\r\n'
        "Content-Type: audio/mpeg\r\n\r\n"
    ).encode()
    body = head + clip.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    return (
        "POST /v1/recognise HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={edge}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return int(status.split()[1]), headers, body


async def client(
    port: int, requests: list[tuple[str, bytes, Any]], first: int, until: float, tally: Tally
) -> None:
    """One client: the next upload as soon as the last is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for name, request, expected in islice(cycle(requests), first, None):
        if time.monotonic() > until:
            break
        while True:
            started = time.monotonic()
            writer.write(request)
            await writer.drain()
            status, headers, body = await answer(reader)
            tally.statuses[status] = tally.statuses.get(status, 0) + 1
            if status != 429:
                break
            await asyncio.sleep(int(headers["retry-after"]))
        tally.seconds.append(time.monotonic() - started)
        tally.late.append(time.monotonic())
        check(name, status, body, expected, tally)
    writer.close()


def check(name: str, status: int, body: bytes, expected: dict[str, Any], tally: Tally) -> None:
    """Compare an answer with what the recogniser said."""
    told = json.loads(body)
    if status != 200:
        tally.wrong.append(f"{name}: {status} {told.get('detail')}")
        return
    got = told["results"][0]["prediction"]
    same = (
        got is not None
        and got["path"] == name
        and got["genre"] == expected["genre"]
        and got["title"] == expected["title"]
        and got["probabilities"].keys() == expected["probabilities"].keys()
        and all(
            abs(got["probabilities"][genre] - p) <= TOLERANCE
            for genre, p in expected["probabilities"].items()
        )
    )
    if same:
        tally.right += 1
    else:
        tally.wrong.append(f"{name}: {json.dumps(got)[:200]}")


async def load(
    port: int, pid: int, requests: list[Any], *, clients: int, seconds: float
) -> tuple[Tally, list[int], float]:
    """Let the clients loose; gives what they saw, the memory over time, and answers a second."""
    tally, held = Tally(), []
    start = time.monotonic()
    crowd = [
        asyncio.create_task(client(port, requests, i, start + seconds, tally))
        for i in range(clients)
    ]
    while not all(task.done() for task in crowd):
        held.append(memory(pid))
        await asyncio.wait(crowd, timeout=1.0)
    for task in crowd:
        task.result()
    # From the first answer to the end of the time: as a batch is measured, too.
    within = [at for at in tally.late if at <= start + seconds]
    rate = (len(within) - 1) / (within[-1] - within[0]) if len(within) > 1 else 0.0
    return tally, held, rate


def batch_rate(clips: list[Path], *, workers: int, seconds: float) -> float:
    """Files a second of ``predict_many``, from its first answer on."""
    from genrescope import Recogniser
    from genrescope.learn.prediction import FailedPrediction

    recogniser = Recogniser.load()
    results = recogniser.predict_many(cycle(clips), workers=workers, ordered=False)
    next(results)
    start, count = time.monotonic(), 0
    for result in results:
        if isinstance(result, FailedPrediction):
            raise SystemExit(str(result))
        count += 1
        if time.monotonic() - start > seconds:
            break
    took = time.monotonic() - start
    results.close()
    return count / took


# --- the study --------------------------------------------------------------------------------


def run(clips: list[Path], *, clients: int, seconds: float, workers: int) -> dict[str, Any]:
    """Measure all of it."""
    from genrescope import Recogniser

    recogniser = Recogniser.load()
    requests = [(c.name, upload(c), recogniser.predict(c).to_dict()) for c in clips]
    before = batch_rate(clips, workers=workers, seconds=seconds / 4)
    with running_server("--workers", str(workers)) as (port, pid):
        prober = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.study_load", "--probe", str(port), str(seconds)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
            text=True,
        )
        tally, held, rate = asyncio.run(load(port, pid, requests, clients=clients, seconds=seconds))
        health = json.loads(prober.communicate(timeout=120)[0])
    after = batch_rate(clips, workers=workers, seconds=seconds / 4)
    quarter = max(1, len(held) // 4)
    return {
        "clips": len(clips),
        "clients": clients,
        "seconds": seconds,
        "workers": workers,
        "cores": len(os.sched_getaffinity(0)),
        "right": tally.right,
        "wrong": tally.wrong,
        "statuses": dict(sorted(tally.statuses.items())),
        "rate": rate,
        "batch_before": before,
        "batch_after": after,
        "share": rate / statistics.mean((before, after)),
        "request_s": quantiles(tally.seconds),
        "health_ms": quantiles(health),
        "memory_mb": [round(one / 2**20) for one in held],
        "memory_ratio": statistics.median(held[-quarter:])
        / statistics.median(held[quarter : 2 * quarter] or held),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95 % and the most."""
    ordered = sorted(values)
    return {
        "median": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What was asked, what was measured, the aim, and whether it was reached."""
    errors = sum(count for status, count in found["statuses"].items() if status >= 500)
    busy = found["statuses"].get(429, 0)
    held = found["memory_mb"]
    return [
        ("answers that differ from `Recogniser.predict`", f"{len(found['wrong'])} of "
         f"{found['right'] + len(found['wrong']):,}", "0", not found["wrong"]),
        ("server errors (5xx)", str(errors), "0", errors == 0),
        ("told to come again (429)", f"{busy:,}", "", True),
        ("files a second", f"{found['rate']:.1f}", "", True),
        ("files a second of `predict_many`, before and after",
         f"{found['batch_before']:.1f}, {found['batch_after']:.1f}", "", True),
        ("share of that speed", f"{found['share']:.0%}", f"at least {SHARE:.0%}",
         found["share"] >= SHARE),
        ("/healthz meanwhile, median and 95 %", f"{found['health_ms']['median']:.1f} ms, "
         f"{found['health_ms']['p95']:.1f} ms", f"95 % under {HEALTH_MS:.0f} ms",
         found["health_ms"]["p95"] < HEALTH_MS),
        ("a request, median and 95 %", f"{found['request_s']['median']:.2f} s, "
         f"{found['request_s']['p95']:.2f} s", "", True),
        ("memory of server and workers, least and most after the first quarter",
         f"{min(held[len(held) // 4 :])} MB, {max(held[len(held) // 4 :])} MB", "", True),
        ("memory, last quarter / second quarter", f"{found['memory_ratio']:.2f}",
         f"at most {FLAT}", found["memory_ratio"] <= FLAT),
    ]  # fmt: skip


def section(found: dict[str, Any], command: str) -> str:
    """Markdown for the page."""
    rows = [
        f"| {what} | {value} | {aim}{'' if reached else ' (missed)'} |"
        for what, value, aim, reached in verdicts(found)
    ]
    return "\n".join(
        [
            "```console",
            f"$ {command}",
            "```",
            "",
            f"{found['clients']} clients upload {found['clips']} real 30-s clips in turns for "
            f"{found['seconds']:.0f} s to `genrescope serve --workers {found['workers']}` on "
            f"loopback; clients, server and workers share {found['cores']} cores. A client told "
            "429 comes again after as long as `Retry-After` says. `predict_many` has as many "
            "workers, no network, and the cores for itself.",
            "",
            "| | measured | aim |",
            "|---|---|---|",
            *rows,
        ]
    )


def main() -> int:
    """Run it from the command line."""
    if sys.argv[1:2] == ["--probe"]:
        probe(int(sys.argv[2]), float(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_load", description=__doc__)
    parser.add_argument("clips", type=Path, help="a folder of mp3 clips")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="write the section there")
    given = parser.parse_args()
    clips = sorted(given.clips.glob("*.mp3"))
    if not clips:
        parser.error(f"{given.clips}: no mp3 files")
    found = run(clips, clients=given.clients, seconds=given.seconds, workers=given.workers)
    for what, value, aim, reached in verdicts(found):
        print(f"{what:70} {value:24} {aim:20} {'' if reached else 'MISSED'}")
    for line in found["wrong"][:10]:
        print(line, file=sys.stderr)
    if given.markdown:
        command = shlex.join(["python", "-m", "benchmarks.study_load", *sys.argv[1:]])
        write_section(given.markdown, "load", section(found, command))
    return 0 if all(reached for *_, reached in verdicts(found)) else 1


if __name__ == "__main__":
    sys.exit(main())
