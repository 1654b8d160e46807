"""How long the rows of a table are held before its columns get their widths."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from genrescope.apps.cli import tag_table
from genrescope.apps.cli.render import Patience
from genrescope.apps.genre_policy import Proposal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_waits_from_the_first_row_on(clock: list[float]) -> None:
    patience = Patience()
    clock[0] += 60  # a library was heard before there was a row
    assert not patience.ends(1)
    clock[0] += 4
    assert not patience.ends(2)
    clock[0] += 2
    assert patience.ends(3)


def test_one_row_waits_for_a_second(clock: list[float]) -> None:
    patience = Patience()
    assert not patience.ends(1)
    clock[0] += 60
    assert not patience.ends(1)
    assert patience.ends(2)


def test_a_page_of_rows_is_enough(clock: list[float]) -> None:
    assert Patience().ends(24)


def test_rows_that_come_at_once_get_the_same_widths_however_long_they_took(
    clock: list[float],
) -> None:
    """What is printed depends on what was found, not on how fast the machine is."""
    rows = [proposal("Food.flac"), proposal("Dracula Mountain.flac"), proposal("A" * 48 + ".flac")]
    printed = []
    for seconds in (0.1, 60.0):
        out = Console(file=io.StringIO(), width=92, force_terminal=True, color_system=None)
        sink = tag_table.make_sink("table", io.StringIO(), base=Path("library"), live=out)
        clock[0] += seconds
        for row in rows:
            sink.proposal(row, written=False)
        sink.close(run=None)
        printed.append(out.file.getvalue())  # type: ignore[attr-defined]
    assert printed[0] == printed[1]
    assert "A" * 48 in printed[0]


def proposal(name: str) -> Proposal:
    return Proposal(
        path=Path("library") / name,
        now=(),
        proposed=(),
        action="keep",
        why="it has a genre",
        confidence=None,
    )
