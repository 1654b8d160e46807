"""Several processes train one network, as torch's launcher starts them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from genrescope.learn.deep.loop import CHECKPOINT
from genrescope.learn.deep.state import read_tensors
from tests.apps.command import COMMAND, environment
from tests.learn.small_data import make_prepared

SHORT = ("--folds", "2", "--fold", "0", "--set", "held_out=0.3")
SHORT = (*SHORT, "--no-export", "--device", "cpu", "--threads", "1")


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start(command: list[str], *arguments: str | Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(OMP_NUM_THREADS="1", **env),
    )


def start_two(*arguments: str | Path) -> list[subprocess.Popen[str]]:
    """Two processes that know each other, without the launcher: so that both can be killed."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    return [
        start(COMMAND, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
        for rank in range(2)
    ]


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prepared(tmp_path_factory.mktemp("two") / "data", n_artists=24, tracks_each=2)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_tensors(out / "fold-0" / "weights.safetensors")[0]


@pytest.mark.slow
def test_two_processes_share_a_batch(data: Path, tmp_path: Path) -> None:
    """Without chance in it, two halves of a batch give the gradient of the whole."""
    plain = ("naive-cnn", "--data", data, "--preset", "cs464-sgd", "--epochs", "2", "--batch", "6")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += [f"--master-port={free_port()}", "-m", "genrescope"]
    both = (
        start(torchrun, *plain, "--out", tmp_path / "two", *SHORT),
        start(COMMAND, *plain, "--out", tmp_path / "one", *SHORT),
    )
    said, _ = map(finish, both)
    assert said.count("Balanced accuracy") == 1  # one of them speaks
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-6, rtol=1e-4)
    histories = [
        read_tensors(tmp_path / name / "fold-0" / "weights.safetensors")[1]["history"]
        for name in ("one", "two")
    ]
    for alone, shared in zip(*histories, strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on(data: Path, tmp_path: Path) -> None:
    run = ("compact-cnn", "--with", "widths=4x8", "--data", data, "--epochs", "4", "--batch", "4")
    run = (*run, *SHORT, "--checkpoint-every", "0")
    for process in start_two(*run, "--out", tmp_path / "whole"):
        finish(process)

    out = tmp_path / "killed"
    processes = start_two(*run, "--out", out)
    deadline = time.monotonic() + 120
    while processes[0].poll() is None and time.monotonic() < deadline:
        if (out / "fold-0" / CHECKPOINT).exists():
            break
        time.sleep(0.002)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate()
    assert (out / "fold-0" / CHECKPOINT).exists()
    assert not (out / "fold-0" / "weights.safetensors").exists()

    for process in start_two(*run, "--out", out):
        finish(process)
    whole, killed = weights(tmp_path / "whole"), weights(out)
    assert whole.keys() == killed.keys()
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


# What is left of the threads of Gloo once the processes have parted.
THREADS = """
import os
import torch
from genrescope.learn.deep.parallel import join_world

def step(world):
    net = world.wrap(torch.nn.Linear(3, 2))
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.ones(4, 3)).sum().backward()
    optimiser.step()

with join_world("cpu") as world:
    step(world)
    world.wait()
names = [open(f"/proc/self/task/{n}/comm").read().strip() for n in os.listdir("/proc/self/task")]
print([name for name in names if "gloo" in name])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the names of threads are read from /proc")
def test_no_thread_of_the_group_outlives_it() -> None:
    """One that still tidies up while Python ends aborts the process."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", THREADS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(OMP_NUM_THREADS="1", RANK=str(n), LOCAL_RANK=str(n), **meeting),
        )
        for n in range(2)
    ]
    assert [finish(process) for process in processes] == ["[]\n", "[]\n"]
