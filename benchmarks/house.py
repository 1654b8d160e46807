"""The house as it stands: lines by room, long modules, many arguments, cycles, duplicated blocks.

``python -m benchmarks.house`` measures the working tree, ``--revision deaa346`` that of a commit
(taken out by ``git archive``), and ``--page`` writes docs/architecture.md's tables between their
markers and draws docs/figures/architecture.svg. What is drawn comes from the imports as grimp sees
them, so the picture cannot say what the code does not.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import json
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.house_picture import draw, package_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "figures" / "architecture.svg"
ROOMS = ("catalog", "audio", "learn", "explain", "apps")
BEFORE = "deaa346"
LONGEST = 500  # lines of a module
MOST_ARGUMENTS = 6
SHORTEST_BLOCK = 6  # lines that two modules share
_SILENT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)


@dataclass(frozen=True)
class Module:
    """A file: all its lines, and those that hold code."""

    path: str
    lines: int
    code: int  # without blank lines, comments and docstrings
    wide: tuple[str, ...]  # functions of more arguments than MOST_ARGUMENTS

    @property
    def area(self) -> str:
        """The room, or what lies beside the rooms."""
        top, *rest = Path(self.path).parts
        if top != "src":
            return top
        if rest[0] != "genrescope":
            return rest[0]
        return rest[1] if rest[1] in ROOMS else "package"


def read_module(path: Path, *, root: Path) -> Module:
    """Count a file's lines and the arguments of its functions."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    silent = set(_docstring_lines(tree))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SILENT:
            code.update(range(token.start[0], token.end[0] + 1))
    name = path.relative_to(root).as_posix()
    wide = _wide(tree, commands=name.startswith("src/genrescope/apps/cli/"))
    return Module(name, len(text.splitlines()), len(code - silent), tuple(wide))


def _docstring_lines(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if first is not None and ast.get_docstring(node, clean=False) is not None:
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def _wide(tree: ast.AST, *, commands: bool) -> Iterator[str]:
    """Functions of too many arguments, but for commands, of which each argument is an option."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            commands and not node.name.startswith("_")
        ):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(one.arg not in {"self", "cls"} for one in given)
        if count > MOST_ARGUMENTS:
            yield f"{node.name} ({count})"


def read_tree(root: Path) -> list[Module]:
    """Every module of src, tests and benchmarks."""
    files = [
        p for top in ("src", "tests", "benchmarks") for p in sorted((root / top).rglob("*.py"))
    ]
    return [read_module(path, root=root) for path in files]


def imports(root: Path, *, typing: bool = False) -> dict[str, set[str]]:
    """Which module of the package imports which, by name.

    Parameters
    ----------
    root : Path
        A checkout.
    typing : bool
        Also count imports under ``TYPE_CHECKING``, which run nothing.

    Returns
    -------
    dict of str to set of str
        ``genrescope.learn.bundle`` to what it imports.
    """
    import grimp

    sys.path.insert(0, str(root / "src"))
    try:
        graph = grimp.build_graph(
            "genrescope", cache_dir=None, exclude_type_checking_imports=not typing
        )
    finally:
        sys.path.remove(str(root / "src"))
    return {m: set(graph.find_modules_directly_imported_by(m)) for m in sorted(graph.modules)}


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another (strongly connected components, Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                found.append(sorted(group))

    for name in edges:
        if name not in index:
            visit(name)
    return sorted(found)


def duplicates(root: Path) -> list[tuple[int, list[str]]]:
    """Blocks of src that stand in two places: as many equal lines as there are, and where.

    Imports, signatures, docstrings, comments and lines of brackets alone are not compared.
    """
    lines = {
        path.relative_to(root / "src").as_posix(): _compared(path.read_text(encoding="utf-8"))
        for path in sorted((root / "src").rglob("*.py"))
    }
    starts: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for name, found in lines.items():
        texts = [text for _, text in found]
        for at in range(len(texts) - SHORTEST_BLOCK + 1):
            starts.setdefault(tuple(texts[at : at + SHORTEST_BLOCK]), []).append((name, at))
    # A block goes on as long as both of its places do; each step of it is found on its own.
    pairs = {
        pair
        for places in starts.values()
        for pair in itertools.combinations(places, 2)
        if pair[0][0] != pair[1][0] or pair[1][1] - pair[0][1] >= SHORTEST_BLOCK
    }
    blocks = []
    for (one, i), (two, j) in sorted(pairs):
        if ((one, i - 1), (two, j - 1)) in pairs:
            continue
        count = SHORTEST_BLOCK
        while ((one, i + 1), (two, j + 1)) in pairs:
            i, j, count = i + 1, j + 1, count + 1
        first = SHORTEST_BLOCK - count
        where = [f"{one}:{lines[one][i + first][0]}", f"{two}:{lines[two][j + first][0]}"]
        blocks.append((count, where))
    return sorted(blocks, reverse=True)


def _compared(text: str) -> list[tuple[int, str]]:
    """The lines of a module that are compared with others', numbered, without space around them."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            left_out.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code = (line.partition("  # ")[0].strip() for line in text.split("\n"))
    return [
        (at, line)
        for at, line in enumerate(code, 1)
        if at not in left_out and not line.startswith("#") and any(map(str.isalnum, line))
    ]


def measure(root: Path) -> dict[str, Any]:
    """All figures of a checkout, ready for JSON."""
    modules = read_tree(root)
    areas = {}
    for area in ("package", *ROOMS, "beetsplug", "tests", "benchmarks"):
        here = [m for m in modules if m.area == area]
        areas[area] = {
            "modules": len(here),
            "lines": sum(m.lines for m in here),
            "code": sum(m.code for m in here),
        }
    source = [m for m in modules if m.path.startswith("src/")]
    return {
        "areas": areas,
        "long": [f"{m.path} ({m.lines})" for m in modules if m.lines > LONGEST],
        "wide": [f"{m.path}: {name}" for m in source for name in m.wide],
        "cycles": cycles(imports(root)),
        "typing_cycles": cycles(imports(root, typing=True)),
        "duplicates": duplicates(root),
    }


def measure_revision(revision: str) -> dict[str, Any]:
    """Measure a commit in a folder of its own, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["git", "archive", revision, "src", "tests", "benchmarks"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        # This process may have imported the package already, and grimp would look at that one.
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.house", "--root", folder, "--json"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def summary(found: dict[str, Any]) -> dict[str, str]:
    """One line a figure, for a table."""
    areas = found["areas"]
    source = [area for area in areas if area not in {"tests", "benchmarks"}]
    total = {key: sum(areas[area][key] for area in source) for key in ("modules", "lines", "code")}
    rows = {f"`{area}`": _size(areas[area]) for area in areas if area in source}
    rows["src"] = _size(total)
    rows |= {area: _size(areas[area]) for area in ("tests", "benchmarks")}
    kept = [one for one in found["long"] if one.startswith("src/")]
    rows[f"modules of src past {LONGEST} lines"] = str(len(kept))
    rows[f"functions of src past {MOST_ARGUMENTS} arguments"] = str(len(found["wide"]))
    rows["import cycles"] = str(len(found["cycles"]))
    rows["import cycles, with imports for types"] = str(len(found["typing_cycles"]))
    blocks = found["duplicates"]
    lines = sum(count * (len(places) - 1) for count, places in blocks)
    rows[f"blocks of {SHORTEST_BLOCK} lines or more that stand twice"] = (
        f"{len(blocks)} ({lines} lines)"
    )
    return rows


def _size(area: dict[str, int]) -> str:
    return f"{area['code']:,} of {area['lines']:,} in {area['modules']}"


def before_and_after(before: dict[str, Any], after: dict[str, Any]) -> str:
    """A table in Markdown: code lines of all lines in modules, then what is to be small."""
    old, new = summary(before), summary(after)
    lines = [f"| | before (`{BEFORE}`) | after |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| {name} | {old[name]} | {new[name]} |" for name in new)])


def replace_between(text: str, name: str, body: str) -> str:
    """The page with what stands between ``<!-- name -->`` and ``<!-- end name -->`` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    head, _, rest = text.partition(start)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{start} ... {end} does not stand on the page; put both lines there")
    return f"{head}{start}\n{body}\n{end}{tail}"


def write_page(tables: dict[str, str], picture: str) -> None:
    """Write the tables between their markers, and the picture beside the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, body in tables.items():
        text = replace_between(text, name, body)
    PAGE.write_text(text, encoding="utf-8")
    PICTURE.write_text(picture, encoding="utf-8")


def show(found: dict[str, Any]) -> Iterable[str]:
    """The figures and what is behind each, for the terminal."""
    for name, value in summary(found).items():
        yield f"{name:<55} {value}"
    for name in ("long", "wide", "cycles", "typing_cycles", "duplicates"):
        yield f"\n{name}:"
        yield from (
            f"  {one if isinstance(one, str) else ' '.join(map(str, one))}" for one in found[name]
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and show or write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description=__doc__)
    parser.add_argument("--revision", help="measure this commit instead of the working tree")
    parser.add_argument("--root", type=Path, default=ROOT, help="a checkout")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--picture", action="store_true", help="write the table of packages and the picture only"
    )
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} and the picture")
    given = parser.parse_args(arguments)
    if given.picture or given.page:
        modules, edges = read_tree(ROOT), imports(ROOT)
        tables = {"packages": package_table(modules, edges)}
        if given.page:
            tables["house"] = before_and_after(measure_revision(BEFORE), measure(ROOT))
        write_page(tables, draw(modules, edges))
        return
    found = measure_revision(given.revision) if given.revision else measure(given.root)
    print(json.dumps(found, indent=1) if given.json else "\n".join(show(found)))


if __name__ == "__main__":
    main()
