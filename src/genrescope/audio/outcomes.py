"""What became of an item that went to a worker process: its result, or an error that says why.

For :mod:`genrescope.audio.workers` and :mod:`genrescope.audio.pool`.
"""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

from genrescope.audio.files import printable
from genrescope.errors import (
    AudioError,
    DecoderCrashError,
    DecoderMemoryError,
    DecoderTimeoutError,
)

__all__ = ["crashed", "not_started", "out_of_memory", "received", "too_slow", "unexpected"]


def received(item: Any, kind: str, payload: bytes) -> Any:
    try:
        result = pickle.loads(payload)  # noqa: S301 (a worker of ours made it)
    except Exception as error:  # noqa: BLE001 (whatever the result's own code raises)
        return unexpected(item, f"{type(error).__name__} in its result: {error}")
    if kind == "memory":
        return out_of_memory(item)
    return unexpected(item, result) if kind == "exception" else result


def _name(item: Any) -> str:
    text = os.fsdecode(item) if isinstance(item, str | bytes | os.PathLike) else repr(item)
    return printable(text)


def unexpected(item: Any, text: str) -> AudioError:
    return AudioError(
        f"{_name(item)}: unexpected {text}. The other items are not affected; please report it."
    )


def out_of_memory(item: Any) -> DecoderMemoryError:
    return DecoderMemoryError(
        f"{_name(item)}: decoding needed more memory than allowed. Allow more, or convert the "
        "file to flac with another program."
    )


def not_started(item: Any) -> DecoderCrashError:
    return DecoderCrashError(
        f"{_name(item)}: worker processes cannot be started or do not survive; at least one "
        "must run. Free memory or processes, or use workers=0 to do without."
    )


def crashed(item: Any, code: int | None) -> DecoderCrashError:
    if code is None:
        how = "died"
    elif code >= 0:
        how = f"ended itself with status {code}"
    else:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
        if -code == getattr(signal, "SIGKILL", None):
            how += " (the system may have run out of memory)"
    return DecoderCrashError(
        f"{_name(item)}: the process that decoded it {how}; only this file is lost. It is "
        "probably damaged: convert it to flac with another program, or leave it out."
    )


def too_slow(item: Any, seconds: float | None) -> DecoderTimeoutError:
    return DecoderTimeoutError(
        f"{_name(item)}: decoding took longer than {seconds:g} s, the time "
        "allowed, and was stopped. Allow more time if the file is very long; "
        "otherwise convert it to flac with another program."
    )
