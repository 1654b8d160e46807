"""The picture of the house and its table of packages, from the imports between modules."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Protocol

ROOMS = {
    "catalog": "which tracks there are",
    "audio": "from sound to numbers",
    "learn": "from numbers to a recogniser",
    "explain": "figures and reasons",
    "apps": "people and other programs",
}

_COLUMN, _GAP, _EDGE = 176, 28, 20  # pixels
_TOP, _FLOOR = 76, 12
_SMALLEST = 34  # pixels of a box's height
_PER_LINE = 0.024  # pixels a line of code
_LEVEL = 26  # pixels between two arrows
_STYLE = """
  .paper { fill: #ffffff } .ink { fill: #1b1f24 } .soft { fill: #57606a }
  .box { fill: #e7eef7; stroke: #7b93b0 } .loose { fill: #f4f5f7; stroke: #a3abb5 }
  .arrow { fill: none; stroke: #57606a } .tip { fill: #57606a }
  text { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 12px }
  .room { font-size: 16px; font-weight: 600 } .small { font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14181d } .ink { fill: #e8ebef } .soft { fill: #a7b0bb }
    .box { fill: #23364d; stroke: #6f8fb5 } .loose { fill: #222830; stroke: #6b7580 }
    .arrow { stroke: #a7b0bb } .tip { fill: #a7b0bb }
  }
"""


class Sized(Protocol):
    """A module: where it is and how many lines of code it has."""

    @property
    def path(self) -> str: ...
    @property
    def code(self) -> int: ...


def place_of(module: str, packages: Iterable[str]) -> str | None:
    """The box a module is in: ``learn/lab``, or ``learn`` for one directly in its room."""
    parts = module.split(".")[1:]
    if not parts or parts[0] not in ROOMS:
        return None
    inner = "/".join(parts[:2])
    return inner if inner in packages else parts[0]


def packages_of(modules: Iterable[Sized]) -> dict[str, tuple[int, int]]:
    """Modules and lines of code of every box, rooms from left to right."""
    count: Counter[str] = Counter()
    code: Counter[str] = Counter()
    for module in modules:
        parts = Path(module.path).parts[2:]
        if not module.path.startswith("src/genrescope/") or parts[0] not in ROOMS:
            continue
        place = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
        count[place] += Path(module.path).name != "__init__.py" or module.code > 0
        code[place] += module.code
    ordered = sorted(count, key=lambda place: (list(ROOMS).index(place.split("/")[0]), place))
    return {place: (count[place], code[place]) for place in ordered}


def between(edges: dict[str, set[str]], packages: Iterable[str]) -> dict[str, Counter[str]]:
    """How many imports go from box to box."""
    known = set(packages)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for module, imported in edges.items():
        for other in imported:
            here, there = place_of(module, known), place_of(other, known)
            if here and there and here != there:
                found[here][there] += 1
    return found


def package_table(modules: Iterable[Sized], edges: dict[str, set[str]]) -> str:
    """A table in Markdown: every package, its size, and what it imports from."""
    packages = packages_of(modules)
    arrows = between(edges, packages)
    lines = ["| package | modules | lines of code | imports from |", "|---|---:|---:|---|"]
    for place, (count, code) in packages.items():
        to = ", ".join(f"`{other}`" for other in packages if arrows[place][other])
        lines.append(f"| `{place}` | {count} | {code:,} | {to} |")
    return "\n".join(lines)


def draw(modules: Iterable[Sized], edges: dict[str, set[str]]) -> str:
    """The picture as SVG.

    Rooms stand from left to right, their packages as boxes whose heights follow their code;
    an arrow from room to room carries the number of imports.
    """
    packages = packages_of(modules)
    rooms = list(ROOMS)
    left = {room: _EDGE + at * (_COLUMN + _GAP) for at, room in enumerate(rooms)}
    body, floor = [], 0.0
    for room in rooms:
        parts, bottom = _room(room, packages, left[room])
        body += parts
        floor = max(floor, bottom)
    arrows = between(edges, packages)
    weights: Counter[tuple[str, str]] = Counter()
    for here, others in arrows.items():
        for there, count in others.items():
            if here.split("/")[0] != there.split("/")[0]:
                weights[here.split("/")[0], there.split("/")[0]] += count
    lines, height = _arrows(weights, left, floor + _FLOOR)
    width = 2 * _EDGE + len(rooms) * _COLUMN + (len(rooms) - 1) * _GAP
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {width} {height:.0f}">',
            "<title>Rooms, packages and imports of genrescope</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height:.0f}"/>',
            *body,
            *lines,
            "</svg>\n",
        ]
    )


def _room(room: str, packages: dict[str, tuple[int, int]], x: int) -> tuple[list[str], float]:
    inside = {place: size for place, size in packages.items() if place.split("/")[0] == room}
    total = sum(code for _, code in inside.values())
    out = [
        f'<text class="ink room" x="{x}" y="30">{room}</text>',
        f'<text class="soft" x="{x}" y="47">{escape(ROOMS[room])}</text>',
        f'<text class="soft small" x="{x}" y="63">{total:,} lines of code</text>',
    ]
    y = float(_TOP)
    for place, (count, code) in inside.items():
        high = max(_SMALLEST, code * _PER_LINE)
        name = place.partition("/")[2] or "modules of its own"
        kind = "box" if "/" in place else "loose"
        out += [
            f'<g data-box="{place}"><rect class="{kind}" x="{x}" y="{y:.0f}" width="{_COLUMN}" '
            f'height="{high:.0f}" rx="4"/>',
            f'<text class="ink" x="{x + 9}" y="{y + 15:.0f}">{name}</text>',
            f'<text class="soft small" x="{x + 9}" y="{y + 29:.0f}">'
            f"{count} modules, {code:,} lines</text></g>",
        ]
        y += high + 6
    return out, y


def _arrows(
    weights: Counter[tuple[str, str]], left: dict[str, int], top: float
) -> tuple[list[str], float]:
    """Brackets under the rooms, the shortest ways first; each level holds what does not cross."""
    rooms = list(left)
    levels: list[list[tuple[int, int]]] = []
    out: list[str] = []
    ordered = sorted(
        weights, key=lambda pair: (abs(rooms.index(pair[0]) - rooms.index(pair[1])), pair)
    )
    for here, there in ordered:
        start, end = sorted((rooms.index(here), rooms.index(there)))
        at = next(
            (n for n, level in enumerate(levels) if all(end <= a or start >= b for a, b in level)),
            len(levels),
        )
        if at == len(levels):
            levels.append([])
        levels[at].append((start, end))
        y = top + 14 + at * _LEVEL
        middle = _COLUMN / 2
        # Each leaves its room left of the middle and arrives right of it, so that two never meet.
        x1, x2 = left[here] + middle - 14, left[there] + middle + 14
        forward = 1 if x2 > x1 else -1
        out.append(
            f'<g data-arrow="{here} {there}">'
            f'<path class="arrow" d="M{x1} {y} H{x2 - 6 * forward}"/>'
            f'<circle class="tip" cx="{x1}" cy="{y}" r="2.5"/>'
            f'<path class="tip" d="M{x2} {y} l{-8 * forward} -4 v8 z"/>'
            f'<text class="ink small" x="{(x1 + x2) / 2}" y="{y - 4}" text-anchor="middle">'
            f"{here} imports {there}: {weights[here, there]}</text></g>"
        )
    return out, top + 14 + len(levels) * _LEVEL + 6
