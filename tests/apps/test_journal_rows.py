"""Rows of the journal: what is planned comes back as it was, column by column."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from genrescope.apps.journal_rows import (
    COLUMNS,
    Entry,
    Planned,
    cells_of,
    date_of,
    entry_of,
    place_of,
)
from genrescope.apps.safe_write import FileIdentity

PLAN = Planned(
    container="ID3v2.4",
    old=("Ä", "b;c"),
    new=(),
    kept={"raw": ["00ff"], "at": 3},
    before=FileIdentity(1, 2**64 - 1, 3, 4),
    after=FileIdentity(5, 6, 7, 8),
    digest_before="aa",
    digest_after="bb",
    sound="cc",
    kept_times=True,
    undoes=17,
)


def row(plan: Planned, **changes: object) -> list[object]:
    """A row as SQLite gives it back."""
    head = {"id": 4, "run": 2, "path": b"/m/\xff.mp3", "at": 1.5, "state": "written"}
    cells = {**head, **cells_of(plan), "undone_by": None, **changes}
    return [cells[name] for name in COLUMNS.split(", ")]


def test_a_plan_comes_back_as_it_was() -> None:
    entry = entry_of(row(PLAN))
    assert entry == Entry(
        id=4,
        run=2,
        path=Path(os.fsdecode(b"/m/\xff.mp3")),
        when=datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        state="written",
        plan=PLAN,
        undone_by=None,
    )
    assert (entry.old, entry.new, entry.identity) == (PLAN.old, PLAN.new, PLAN.after)
    plain = Planned("", (), (), {}, PLAN.before, PLAN.after, "", "", "")
    assert entry_of(row(plain)).plan == plain
    assert (plain.kept_times, plain.undoes) == (False, None)


def test_the_columns_of_a_plan_are_those_of_the_table() -> None:
    cells = cells_of(PLAN)
    assert set(cells) - set(COLUMNS.split(", ")) == {"place"}
    assert cells["place"] == place_of(PLAN.after) == "5:6"
    assert cells["before"] == f"[1, {2**64 - 1}, 3, 4]"


def test_a_row_that_was_only_begun_has_no_identities() -> None:
    entry = entry_of(row(PLAN, before="[]", after="[]", old="[]", new="[]", kept="{}"))
    assert entry.plan.before == entry.plan.after == FileIdentity(0, 0, 0, 0)
    assert (entry.old, entry.new, entry.plan.kept) == ((), (), {})


@pytest.mark.parametrize("state", ["begun", "planned", "written", "left", "unclear"])
def test_what_is_in_force(state: str) -> None:
    assert entry_of(row(PLAN, state=state)).in_force == (state in ("written", "unclear"))
    assert not entry_of(row(PLAN, state=state, undone_by=9)).in_force


def test_times_are_in_utc() -> None:
    assert date_of(86_400).isoformat() == "1970-01-02T00:00:00+00:00"
