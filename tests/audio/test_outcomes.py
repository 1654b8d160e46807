"""What is told of an item that a worker process lost, or gave back."""

from __future__ import annotations

import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from genrescope.audio.outcomes import (
    crashed,
    not_started,
    out_of_memory,
    received,
    too_slow,
    unexpected,
)
from genrescope.errors import (
    AudioError,
    DecoderCrashError,
    DecoderMemoryError,
    DecoderTimeoutError,
)

NOT_AFFECTED = "The other items are not affected; please report it."


class Unreadable:
    """A result that can be sent, and not be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("no number",))


def test_a_result_is_given_as_it_was_sent() -> None:
    assert received("a.mp3", "result", pickle.dumps({"genre": "Rock"})) == {"genre": "Rock"}
    assert received("a.mp3", "result", pickle.dumps(None)) is None


def test_an_exception_in_a_worker_becomes_an_error_that_names_the_item() -> None:
    error = received("a.mp3", "exception", pickle.dumps("KeyError: 'x'"))
    assert type(error) is AudioError
    assert str(error) == f"a.mp3: unexpected KeyError: 'x'. {NOT_AFFECTED}"


def test_a_worker_without_memory_becomes_an_error_of_memory() -> None:
    error = received("a.mp3", "memory", pickle.dumps(None))
    assert type(error) is DecoderMemoryError
    assert str(error) == str(out_of_memory("a.mp3"))


def test_a_result_that_cannot_be_read_says_why() -> None:
    error = received("a.mp3", "result", pickle.dumps(Unreadable()))
    assert type(error) is AudioError
    assert str(error).startswith("a.mp3: unexpected ValueError in its result: invalid literal")
    assert str(error).endswith(NOT_AFFECTED)


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("a.mp3", "a.mp3"),
        (b"a.mp3", "a.mp3"),
        (Path("music", "a.mp3"), str(Path("music", "a.mp3"))),
        ((3, "a"), "(3, 'a')"),
        pytest.param(
            b"caf\xe9.mp3",
            "caf?.mp3",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="names there are text"),
        ),
    ],
)
def test_an_item_is_named_so_that_it_can_be_printed(item: Any, name: str) -> None:
    assert str(unexpected(item, "x")) == f"{name}: unexpected x. {NOT_AFFECTED}"


def test_too_little_memory_says_the_ways_out() -> None:
    error = out_of_memory("a.mp3")
    assert type(error) is DecoderMemoryError
    assert str(error) == (
        "a.mp3: decoding needed more memory than allowed. Allow more, or convert the file to flac "
        "with another program."
    )


def test_workers_that_do_not_start_say_the_ways_out() -> None:
    error = not_started("a.mp3")
    assert type(error) is DecoderCrashError
    assert str(error) == (
        "a.mp3: worker processes cannot be started or do not survive; at least one must run. Free "
        "memory or processes, or use workers=0 to do without."
    )


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (None, "died"),
        (0, "ended itself with status 0"),
        (1, "ended itself with status 1"),
        (-int(signal.SIGTERM), "was killed by SIGTERM"),
        (-200, "was killed by signal 200"),
        pytest.param(
            -9,
            "was killed by SIGKILL (the system may have run out of memory)",
            marks=pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX kills by it"),
        ),
    ],
)
def test_a_crash_says_how_the_process_ended(code: int | None, how: str) -> None:
    error = crashed("a.mp3", code)
    assert type(error) is DecoderCrashError
    assert str(error) == (
        f"a.mp3: the process that decoded it {how}; only this file is lost. It is probably "
        "damaged: convert it to flac with another program, or leave it out."
    )


def test_a_system_without_sigkill_has_crashes_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGKILL", raising=False)
    assert "was killed by SIG" in str(crashed("a.mp3", -int(signal.SIGTERM)))


def test_a_timeout_says_the_time_that_was_allowed() -> None:
    error = too_slow("a.mp3", 2.5)
    assert type(error) is DecoderTimeoutError
    assert str(error) == (
        "a.mp3: decoding took longer than 2.5 s, the time allowed, and was stopped. Allow more "
        "time if the file is very long; otherwise convert it to flac with another program."
    )
    assert "longer than 120 s" in str(too_slow("a.mp3", 120.0))
