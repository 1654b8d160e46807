"""Extraction that some files do not survive, as a decoder's own bugs would have it."""

from __future__ import annotations

import os
import time

from genrescope.audio.store.extract import Extracted, Job, extract_file
from genrescope.audio.store.recipe import Recipe

__all__ = ["extract_or_die"]


def extract_or_die(job: Job, *, recipe: Recipe) -> Extracted:
    """As :func:`extract_file`, but for the files 2.wav, which crashes, and 4.wav, which hangs."""
    if job.id == "2.wav":
        os.abort()
    if job.id == "4.wav":
        time.sleep(600)
    return extract_file(job, recipe=recipe)
