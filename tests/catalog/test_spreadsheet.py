"""Cells that a spreadsheet would run."""

from __future__ import annotations

import pytest

from genrescope.catalog.spreadsheet import guarded, guarded_path


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-ness", "'-ness"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r\n=1", "'\r\n=1"),
        ("  =1", "'  =1"),
        ("＝1+1", "'＝1+1"),
        ("a;=1+1", "a;'=1+1"),
        ("a; b;\t@x;-", "a; b;'\t@x;'-"),
    ],
)
def test_what_would_be_a_formula_is_guarded(cell: str, expected: str) -> None:
    assert guarded(cell) == expected
    assert guarded(expected) == expected


@pytest.mark.parametrize("cell", ["", "A-ha", "1+1", "x = y", "Rock; Pop", "'=1", "a;b", "?!"])
def test_everything_else_stays(cell: str) -> None:
    assert guarded(cell) == cell


def test_a_path_can_still_be_opened() -> None:
    assert guarded_path("=1.mp3") == "./=1.mp3"
    assert guarded_path(" -.mp3") == "./ -.mp3"
    for path in ("a/=1.mp3", "/=1.mp3", "'-.mp3", "a;=1.mp3"):
        assert guarded_path(path) == path
