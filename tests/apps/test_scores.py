"""Scores in a terminal: everything is there, at any width, with and without colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from genrescope.apps.cli.scores import format_scores, most_confused
from genrescope.learn.evaluate import Scores, score

GENRES = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop")


def some(genres: tuple[str, ...] = GENRES, n: int = 300, **kwargs: Any) -> Scores:
    rng = np.random.default_rng(0)
    y = rng.integers(0, len(genres) - 1, n)  # the last has no tracks
    z = rng.normal(size=(n, len(genres)))
    z[np.arange(n), y] += 1.5
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    kwargs = {"groups": rng.integers(0, 80, n), "threshold": 0.5, **kwargs}
    return score(y, p, genres=genres, **kwargs)


def shown(scores: Any, width: int, *, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=terminal,
        color_system="truecolor" if terminal else None,
        highlight=False,
    )
    console.print(format_scores(scores, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_it_fits(width: int) -> None:
    scores = some()
    text = shown(scores, width)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    for words in ("Accuracy", "Macro-F1", "Log-loss", "Calibration error", "by artist"):
        assert words in text
    low, high = scores.intervals["macro_f1"] or (0, 0)
    assert f"{scores.macro_f1:.3f}   {low:.3f} – {high:.3f}" in text
    for genre in GENRES:
        assert text.count(genre) >= 2  # in the table of genres and in the matrix
    assert "…" not in text


def test_genres_are_sorted_by_f1_and_the_matrix_is_not() -> None:
    scores = some()
    text = shown(scores, 100)
    table, matrix = text.split("Confusion")
    by_f1 = sorted(GENRES[:-1], key=lambda genre: -scores.per_genre[genre]["f1"])
    assert [line.split()[0] for line in table.splitlines() if line.strip().startswith(GENRES)] == [
        *by_f1,
        GENRES[-1],
    ]
    rows = [line.split() for line in matrix.splitlines() if line.strip().startswith(GENRES)]
    rows = [row for row in rows if len(row) == 9]
    assert [row[0] for row in rows] == list(GENRES)
    first = scores.confusion[0] / scores.confusion[0].sum()
    assert rows[0][1] == str(scores.confusion[0].sum())
    assert rows[0][2:] == [f"{100 * share:.0f}" for share in first]
    assert rows[-1][2:] == ["–"] * 7  # no tracks, no shares


def test_a_genre_that_is_never_right_comes_before_one_without_tracks() -> None:
    p = np.tile([0.2, 0.5, 0.3], (4, 1))
    table, _ = shown(score([1, 1, 2, 2], p, genres=["A", "B", "C"]), 100).split("Confusion")
    rows = [line.split()[0] for line in table.splitlines()[-5:] if line.strip()]
    assert rows == ["B", "C", "A"]


def test_notes_are_wrapped_not_cut() -> None:
    scores = some(groups=None)
    words = " ".join(shown(scores, 60).split())
    for note in scores.notes:
        assert note in words


def test_colour_on_a_terminal_and_none_in_a_pipe() -> None:
    plain, coloured = shown(some(), 100), shown(some(), 100, terminal=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert "48;2;" in coloured  # the shading


def test_what_is_not_there_is_not_shown() -> None:
    text = shown(some(threshold=None, groups=None), 120)
    assert "when sure" not in text
    assert "interval by track" in text
    assert "Artist-weighted accuracy       –   –" in text
    assert "No artists are known" in text
    assert "No tracks of Pop" in text


def test_a_matrix_that_is_too_wide_says_where_it_is() -> None:
    many = tuple(f"Genre {i:03d}" for i in range(60))
    text = shown(some(many, n=2000), 80)
    assert "confusion matrix of 60 genres is too wide" in text
    assert "--json" in text
    assert "too wide" not in shown(some(many, n=2000), 1000)


def test_headings_are_cut_only_while_they_differ() -> None:
    scores = some(("Alpha One", "Alpha Two", "Alpha Three"), n=40)
    assert "  Alpha On  Alpha Tw  Alpha Th" in shown(scores, 47)
    assert "too wide" in shown(scores, 46)


def test_scores_of_a_card() -> None:
    """A card keeps ``to_dict()``; an older or foreign one may lack parts."""
    scores = some()
    assert shown(scores.to_dict(), 100) == shown(scores, 100)
    bare = {"n": 10, "accuracy": 0.5, "macro_f1": None, "intervals": {"accuracy": [0.4, 0.6]}}
    text = shown(bare, 100)
    assert "0.500   0.400 – 0.600" in text
    assert "Confusion" not in text


def test_reliability_bins_are_joined_until_they_fit() -> None:
    scores = some()
    wide, narrow = shown(scores, 140), shown(scores, 60)

    def row(text: str) -> list[int]:
        line = next(line for line in text.splitlines() if line.startswith(" Tracks  "))
        return [int(word.replace(",", "")) for word in line.split()[1:]]

    assert len(row(wide)) == len(scores.reliability)
    assert len(row(narrow)) < len(row(wide))
    assert sum(row(narrow)) == sum(row(wide)) == scores.n


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown(some(("a\x1b[2J", "b", "c")), 100)


def test_most_confused() -> None:
    confusion = [[8, 2, 0], [5, 5, 0], [0, 0, 0]]
    assert most_confused(confusion, ["a", "b", "c"]) == [("b", "a", 0.5), ("a", "b", 0.2)]
    assert most_confused([[3, 0], [0, 1]], ["a", "b"]) == []
