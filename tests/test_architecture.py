"""The page on the house and its picture follow from the imports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks import house
from benchmarks.house_picture import ROOMS, draw, package_table

pytest.importorskip("grimp")

REDRAW = "run python -m benchmarks.house --picture"
Edges = dict[str, set[str]]


@pytest.fixture(scope="module")
def modules() -> list[house.Module]:
    return house.read_tree(house.ROOT)


@pytest.fixture(scope="module")
def edges() -> Edges:
    return house.imports(house.ROOT)


def drawn(picture: str) -> tuple[list[str], list[str]]:
    """Boxes and arrows, without the numbers, which change at every line of code."""
    return re.findall(r'data-box="(.+?)"', picture), re.findall(r'data-arrow="(.+?)"', picture)


def told(table: str) -> list[tuple[str, str]]:
    """Packages and what they import from."""
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    return [(cells[1].strip(), cells[4].strip()) for cells in rows]


def test_the_picture_is_that_of_the_imports(modules: list[house.Module], edges: Edges) -> None:
    boxes, arrows = drawn(house.PICTURE.read_text(encoding="utf-8"))
    assert (boxes, arrows) == drawn(draw(modules, edges)), REDRAW
    assert {"learn", "learn/lab", "audio/encoders"} < set(boxes)
    rooms = list(ROOMS)
    for arrow in arrows:
        here, there = arrow.split()
        assert rooms.index(there) < rooms.index(here), f"{arrow}: a room imports leftwards only"


def test_the_table_is_that_of_the_imports(modules: list[house.Module], edges: Edges) -> None:
    text = house.PAGE.read_text(encoding="utf-8")
    table = text.partition("<!-- packages -->")[2].partition("<!-- end packages -->")[0]
    assert told(table) == told(package_table(modules, edges)), REDRAW


def test_every_path_on_the_page_exists() -> None:
    """A path or a bare name of the page is a file of the package, the tests or the benchmarks."""
    text = house.PAGE.read_text(encoding="utf-8")
    known = [
        "/" + path.relative_to(house.ROOT).as_posix()
        for top in ("src", "tests", "benchmarks")
        for path in (house.ROOT / top).rglob("*.py")
    ]
    named = set(re.findall(r"`(?:pytest )?([\w/]+\.py)`", text))
    assert len(named) > 40
    assert [one for one in sorted(named) if not any(k.endswith("/" + one) for k in known)] == []


def test_every_registry_on_the_page_is_there() -> None:
    from genrescope.audio.encoders.registry import BUILT_IN
    from genrescope.learn.deep.architectures import ARCHITECTURES
    from genrescope.learn.lab import presets
    from genrescope.learn.lab.datasets import TABLES
    from genrescope.learn.train.baselines import BASELINES

    text = house.PAGE.read_text(encoding="utf-8")
    assert all((BUILT_IN, ARCHITECTURES, presets._WINNERS, TABLES, BASELINES))
    for name in ("BUILT_IN", "ARCHITECTURES", "_WINNERS", "TABLES", "BASELINES"):
        assert f"`{name}`" in text


def test_no_module_imports_in_a_circle(edges: Edges) -> None:
    assert house.cycles(edges) == []


def test_circles_are_found() -> None:
    assert house.cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_lines_and_arguments_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "src" / "genrescope" / "learn" / "one.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        '"""Two\nlines."""\n\n# a comment\nx = """of\ncode"""\n\n\n'
        "def wide(self, a, b, c, *, d, e, f, g):\n    return a\n\n\n"
        "def command(a, b, c, d, e, f, g):\n    pass\n"
    )
    found = house.read_module(path, root=tmp_path)
    assert (found.area, found.lines, found.code) == ("learn", 14, 6)
    assert found.wide == ("wide (7)", "command (7)")
    command = tmp_path / "src" / "genrescope" / "apps" / "cli" / "one.py"
    command.parent.mkdir(parents=True)
    command.write_text(path.read_text())
    assert house.read_module(command, root=tmp_path).wide == ()
