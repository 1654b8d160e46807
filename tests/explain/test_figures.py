"""Figures, their ink, and the colours of genres."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.genres import GENRE_COLOURS
from genrescope.explain import figures, figures_models
from genrescope.explain.colours import SHAPES, colours_of, shapes_of
from genrescope.explain.ink import ACCENT, GRID, INK, PAPER, QUIET, Drawing, label, style, themed
from genrescope.explain.report.result import LabResult
from tests.explain.lab_sample import lab_result, made_up

HOSTILE = ("<script>alert(1)</script>", "a\"b'c", "$x_1$ & $", "\x00\x1b[31m red", "日本の音楽",
           "x" * 300)  # fmt: skip


@pytest.fixture(scope="module")
def result() -> LabResult:
    return lab_result(made_up(n=200, missing=True))


def drawn(result: LabResult, name: str) -> Drawing | None:
    """One figure by its name, as the report draws it."""
    found, best, data = result.analysis, result.best, result.data
    assert best is not None
    assert best.scores is not None
    assert result.confusion is not None
    assert result.explanations is not None
    with style():
        match name:
            case "balance":
                return figures.balance(found)
            case "missing":
                return figures.missing(found)
            case "distributions":
                return figures.distributions(found.distributions[:2], key="d")
            case "effects":
                return figures.effects(found.effects)
            case "groups":
                return figures.group_bars(found.group_effects)
            case "correlation":
                return figures.correlation(found.correlation.features, found.correlation.matrix)
            case "map 2-D" | "map 3-D":
                one = result.maps[int(name == "map 3-D")]
                return figures.map_figure(one, y=data.y, genres=data.genres)
            case "variance":
                return figures.explained_variance(result.maps[0].explained)
            case "accuracies":
                return figures_models.accuracies(result.leaderboard, chance=result.chance)
            case "cost":
                return figures_models.cost(result.leaderboard)
            case "reliability":
                return figures_models.reliability(best.scores, name="Best")
            case "per genre":
                return figures_models.per_genre(best.scores)
            case "gains":
                return figures_models.gains(result.gains)
            case "confusion":
                return figures_models.confusion_matrix(result.confusion)
            case "importance":
                return figures_models.importance(result.importances)
            case "families":
                return figures_models.importance_by_group(result.importances)
            case "speaks for":
                return figures_models.speaks_for(result.importances["shap"])
            case _:
                return figures_models.track(result.explanations.tracks[0], key="t")


EVERY = ("balance", "missing", "distributions", "effects", "groups", "correlation", "map 2-D",
         "map 3-D", "variance", "accuracies", "cost", "reliability", "per genre", "gains",
         "confusion", "importance", "families", "speaks for", "track")  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_a_clean_file_and_follows_the_theme(result: LabResult, name: str) -> None:
    drawing = drawn(result, name)
    assert drawing is not None
    ET.fromstring(drawing.svg)
    assert drawing.png.startswith(b"\x89PNG")
    assert "mathdefault" not in drawing.svg
    for place in re.findall(r'(?:href|src)="([^"]*)"', drawing.svg):
        assert place.startswith(("#", "data:")), place
    ids = re.findall(r' id="([^"]+)"', drawing.svg)
    assert all(found.startswith(drawing.key + "-") for found in ids)
    page = themed(drawing, alt='what "it" <is>')
    assert 'aria-label="what &quot;it&quot; &lt;is&gt;"' in page
    assert not re.search("|".join(f": {c}" for c in (INK, QUIET, GRID, PAPER, ACCENT)), page)
    assert "var(--ink)" in page
    assert "<style" not in page


def test_the_same_figure_is_the_same_bytes(result: LabResult) -> None:
    for name in ("effects", "map 2-D"):
        first, again = drawn(result, name), drawn(result, name)
        assert first == again


def test_no_ink_is_the_colour_of_a_genre() -> None:
    assert not {INK, QUIET, GRID, PAPER, ACCENT} & set(GENRE_COLOURS.values())


def test_names_from_a_table_are_text_and_nothing_else() -> None:
    data = made_up(n=120, genres=HOSTILE, n_features=6, features=HOSTILE)
    result = lab_result(data)
    for name in ("balance", "distributions", "effects", "correlation", "map 2-D", "confusion"):
        drawing = drawn(result, name)
        assert drawing is not None
        texts = [element.text or "" for element in ET.fromstring(drawing.svg).iter()]
        assert "script" not in {e.tag.rpartition("}")[2] for e in ET.fromstring(drawing.svg).iter()}
        assert any("<script>alert(1)" in text for text in texts), name
        assert any("$x_1$ & $" in text for text in texts), name


def test_where_there_is_nothing_there_is_no_figure(result: LabResult) -> None:
    with style():
        assert figures.missing(replace(result.analysis, missing={})) is None
        assert figures.group_bars({}) is None
        assert figures.correlation(("one",), np.ones((1, 1))) is None
        assert figures.explained_variance(()) is None
        assert figures_models.gains(()) is None
        assert figures_models.importance({}) is None
        assert figures_models.speaks_for(result.importances["impurity"]) is None


def test_what_was_not_fitted_is_drawn_as_rings(result: LabResult) -> None:
    some = drawn(result, "map 2-D")
    with style():
        none = figures.map_figure(
            replace(result.maps[0], fitted_on=np.ones(len(result.data), bool)),
            y=result.data.y,
            genres=result.data.genres,
        )
    assert some is not None
    assert "placed afterwards" in some.svg
    assert "placed afterwards" not in none.svg


@given(st.text(max_size=60), st.integers(2, 50))
def test_a_label_is_one_short_printable_line(text: str, width: int) -> None:
    short = label(text, width=width)
    assert len(short) <= width
    assert short.isprintable()


def test_genres_keep_their_colours_everywhere() -> None:
    assert colours_of(["Rock", "Folk"])["Rock"] == GENRE_COLOURS["Rock"]
    assert colours_of(["rock", "x"])["rock"] == GENRE_COLOURS["Rock"]
    for few in (["a", "b"], ["1", "2"], [f"label {i}" for i in range(8)]):
        assert set(colours_of(few).values()) <= set(list(GENRE_COLOURS.values())[:8])


@given(st.lists(st.text(max_size=8), unique=True, max_size=16), st.randoms())
def test_colours_differ_and_do_not_hang_on_the_order(labels: list[str], random: object) -> None:
    found = colours_of(labels)
    mixed = list(labels)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert colours_of(mixed) == found
    assert len(set(found.values())) == len(labels)


def test_many_labels_differ_in_shape_too() -> None:
    few, many = [f"{i}" for i in range(8)], [f"{i:02d}" for i in range(40)]
    assert set(shapes_of(few).values()) == {"circle"}
    shapes = shapes_of(many)
    assert set(shapes.values()) == set(SHAPES)
    assert all(shapes[a] != shapes[b] for a, b in itertools.pairwise(many) if b != "16")
    assert len(colours_of(many)) == 40
