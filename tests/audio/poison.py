"""Files that end the process that reads them, and a note of each time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from genrescope.audio.store.extract import Extracted, Job, extract_file
from genrescope.audio.store.recipe import Recipe

__all__ = ["KILLS_READER", "KILLS_WORKER", "extract_or_be_killed", "times_read"]

KILLS_READER = "poison"  # in the name of a file: ends the process that decodes it
KILLS_WORKER = "venom"  # ends the worker of the cluster that has it decoded


def extract_or_be_killed(job: Job, *, recipe: Recipe) -> Extracted:
    """As :func:`extract_file`, with a line in ``NAME.read`` beside the file for each time."""
    if KILLS_READER in job.id or KILLS_WORKER in job.id:
        with open(f"{job.path}.read", "a", encoding="ascii") as notes:
            notes.write("x")
    if KILLS_WORKER in job.id:
        os.kill(os.getppid(), signal.SIGKILL)
    if KILLS_READER in job.id or KILLS_WORKER in job.id:
        os.kill(os.getpid(), signal.SIGKILL)
    return extract_file(job, recipe=recipe)


def times_read(path: Path) -> int:
    """How often a process tried a file that kills."""
    return len(Path(f"{path}.read").read_text(encoding="ascii"))
