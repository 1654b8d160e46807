"""The manual builds without a network, and what it tells people to type is what there is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.explain.browser import opened

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))


# What is built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual as `make docs` builds it."""
    pytest.importorskip("material", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("manual") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return out


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_open_from_the_disk_alone(site: Path, width: int, theme: str) -> None:
    with opened(site / "index.html", width=width, theme=theme) as seen:
        for page in (
            "index",
            "reference/recogniser",
            "reference/learn",
            "results/fma-small-mfcc-study",
            "explain",
            "how-to/players",
        ):
            seen.page.goto((site / f"{page}.html").as_uri())
            assert seen.overflow <= 0, page
            scheme = seen.page.get_attribute("body", "data-md-color-scheme")
            assert scheme == {"light": "default", "dark": "slate"}[theme]
        assert not seen.errors
        assert all(request.startswith("file://") for request in seen.requests)


def test_search_works_from_the_disk(site: Path) -> None:
    with opened(site / "how-to" / "players.html", width=1600) as seen:
        seen.page.click(".md-search__input")
        seen.page.keyboard.type("read_audio", delay=20)
        wanted = ".md-search-result__item a[href*='.read_audio']"
        seen.page.wait_for_selector(wanted, state="attached", timeout=20_000)
        found = seen.page.get_attribute(wanted, "href")
        seen.page.goto(seen.page.evaluate("href => new URL(href, location).href", found))
        assert "read_audio" in seen.page.inner_text("article")
        assert not seen.errors
        assert all(request.startswith("file://") for request in seen.requests)


def test_nothing_in_the_pages_asks_another_host(site: Path) -> None:
    asks = re.compile(r"""(?:<script[^>]+src|<link[^>]+href|<img[^>]+src)=["']?(?:https?:)?//""")
    for page in site.rglob("*.html"):
        assert not asks.search(page.read_text(encoding="utf-8")), page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(['\"]?|@import ['\"])(?:https?:)?//", text), sheet


def test_the_reference_is_tables_with_links(site: Path) -> None:
    page = (site / "reference" / "recogniser.html").read_text(encoding="utf-8")
    for word in ("Parameters:", "Returns:", "Raises:", "Yields:"):
        assert word in page
    for name in ("load", "predict", "predict_many", "together"):
        assert f'id="genrescope.Recogniser.{name}"' in page
    assert re.search(r'href="errors.html#genrescope.errors.AudioError"', page)
    for page in (site / "reference").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r":(?:func|class|meth|mod|data|attr):", text), page.name
        assert "<autoref" not in text


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    import genrescope

    page = (site / "reference" / "recogniser.html").read_text(encoding="utf-8")
    for name in set(genrescope.__all__) - {"__version__"}:
        assert f'id="genrescope.{name}"' in page


def test_docstrings_keep_to_numpydoc() -> None:
    hook = pytest.importorskip("numpydoc.hooks.validate_docstrings", reason="no numpydoc")
    checks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]
    assert len(checks["checks"]) >= 15
    files = [str(path) for path in (ROOT / "src" / "genrescope").rglob("*.py")]
    done = subprocess.run(
        [sys.executable, "-m", "numpydoc", "lint", "--config", str(ROOT), *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert hook
    assert done.returncode == 0, done.stdout + done.stderr


# What it says of the recogniser


def test_the_landing_page_says_what_the_card_says() -> None:
    from genrescope.learn.bundle import Bundle

    card = Bundle.load("default").card
    scores, table = card["metrics"]["scores"], card["metrics"]["table"]
    rows = {row["name"]: row for row in table}
    low, high = scores["intervals"]["accuracy"]
    ranked = sorted(scores["per_genre"], key=lambda genre: -scores["per_genre"][genre]["f1"])
    text = " ".join((DOCS / "index.md").read_text(encoding="utf-8").split())
    for figure in (
        f"{card['training']['tracks']:,} tracks by {card['training']['artists']:,} artists",
        f"by sound alone | **{scores['accuracy']:.1%}** ({low:.1%} to {high:.1%}) |",
        "title and artist read too | "
        f"{rows['genrescope, with title and artist']['accuracy']:.1%} |",
        "judged together | "
        f"{rows['genrescope, all tracks of an artist together']['accuracy']:.1%} |",
        f"among the first three | {scores['top3']:.1%} |",
        f"it is sure of | {card['abstention']['coverage']:.0%} |",
        f"right where it is sure | **{card['abstention']['accuracy_when_sure']:.0%}**",
        f"(calibration error {scores['ece']:.3f})",
        f"Best is {ranked[0]} (F1 {scores['per_genre'][ranked[0]]['f1']:.2f})",
        f"worst is {ranked[-1]} (F1 {scores['per_genre'][ranked[-1]]['f1']:.2f})",
        ", ".join(card["genres"]),
    ):
        assert figure in text, figure


@pytest.mark.data
def test_the_landing_page_shows_what_comes_out(fma_clips: list[Path], songs: list[Path]) -> None:
    from genrescope import Prediction, Recogniser

    page = (DOCS / "index.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n\$ genrescope predict.*?\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    shown = block[1].splitlines()
    names = {"000002", "000010", "001040", "001083", "SvitanyaSzerelem"}
    paths = [path for path in [*fma_clips, *songs] if path.stem in names]
    for answer in Recogniser.load().predict_many(paths, workers=0):
        assert isinstance(answer, Prediction)
        (line,) = (line for line in shown if line.strip().startswith(f"{answer.title} "))
        assert f" {answer.genre or 'not sure'} " in line
        assert answer.best in line
        assert line.endswith(" >99%" if answer.confidence > 0.995 else f"{answer.confidence:4.0%}")


# What it tells people to type


def _blocks(page: Path, *kinds: str) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for kind, block in re.findall(
        r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE
    ):
        if kind in kinds:
            yield block


def _lines(page: Path) -> Iterator[str]:
    """Each command line of a page, as a shell would be given it."""
    for block in _blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.lstrip().startswith("$ "):
                yield line.lstrip()[2:]
    for block in _blocks(page, "sh", "bash"):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


def _words(line: str) -> list[list[str]]:
    """The commands of a line, taken apart at pipes and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    commands: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("|&;"):
            commands.append([])
        elif set(word) <= set("<>"):
            next(words)
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


def _ours(words: list[str]) -> list[str] | None:
    """What follows `genrescope`, where a command is ours."""
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    if words[:1] in (["nice"], ["systemd-run"], ["py"], ["python"], ["time"], ["taskset"]):
        if "genrescope" not in words or words[1:3] == ["-m", "pip"]:
            return None
        words = words[words.index("genrescope") :]
    if words and (words[0] == "genrescope" or words[0].endswith("bin/genrescope")):
        return words[1:]
    return None


def _check(words: list[str], *, whole: bool) -> None:
    """Options, their values, and how many arguments there are, by the command line itself."""
    import click
    from typer.main import get_command

    from genrescope.apps.cli.main import app

    command: Any = get_command(app)
    context = click.Context(command, info_name="genrescope")
    rest = list(words)
    while hasattr(command, "get_command") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        child = command.get_command(context, name)
        assert child is not None, f"there is no command {name!r}"
        context = child.context_class(child, info_name=name, parent=context)
        command = child
    given, left, _ = command.make_parser(context).parse_args(rest)
    assert not left, f"nothing takes {left}"
    if not whole or "--help" in rest or "-h" in rest:
        return
    for option in command.params:
        value = given.get(option.name)
        if isinstance(value, str) and "Path" not in repr(option.type_descriptor):
            option.process_value(context, value)
        elif option.required:
            missing = value is None or "UNSET" in repr(value)
            assert not missing, f"{option.opts[-1]} is missing"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_taken_by_the_command_line(page: Path) -> None:
    for line in _lines(page):
        for words in _words(line):
            ours = _ours(words)
            if ours is None:
                continue
            try:
                _check(ours, whole=True)
            except Exception as error:
                if "--jsn" not in line:  # a mistake that a page shows the answer to
                    pytest.fail(f"{page.name}: {line}\n{error}")
    prose = re.sub(r"^ *`{3}.*?^ *`{3}", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for line in re.findall(r"`genrescope ([^`]+)`", prose):
        if re.search(r"[|<>{}]|\.\.\.|…|\b[A-Z]{4,}\b", line):
            continue
        try:
            _check(shlex.split(" ".join(line.split())), whole=False)
        except Exception as error:
            pytest.fail(f"{page.name}: genrescope {line}\n{error}")


def test_other_commands_are_there() -> None:
    """Extras that pip is given, modules that Python is, targets that make is."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(extras["optional-dependencies"])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    seen = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for names in re.findall(r"(?:genrescope|[\"'` ]\.)\[([\w,]+)\]", text):
            assert set(names.split(",")) <= known, f"{page.name}: {names}"
            seen += 1
        for module in re.findall(r"python -m (benchmarks[\w.]*)", text):
            assert importlib.util.find_spec(module) is not None, f"{page.name}: {module}"
        for target in re.findall(r"(?:`|\$ )make ([a-z]+)", text):
            assert target in targets, f"{page.name}: make {target}"
    assert seen > 20


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_compiles_and_its_imports_are_there(page: Path) -> None:
    for block in _blocks(page, "python", "py"):
        tree = ast.parse(textwrap.dedent(block), filename=page.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wanted = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted = [(node.module, alias.name) for alias in node.names]
            else:
                continue
            for module, name in wanted:
                ours = module.split(".")[0] == "genrescope"
                if not ours and importlib.util.find_spec(module.split(".")[0]) is None:
                    continue  # of a program that need not be here
                found = importlib.import_module(module)
                assert name is None or hasattr(found, name), f"{page.name}: {module}.{name}"


def test_links_of_all_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


# What is run


@pytest.fixture
def library(tmp_path: Path, fma_clips: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a little music in it, and a journal of its own."""
    music = tmp_path / "Music"
    music.mkdir()
    for clip in fma_clips[3:6]:
        shutil.copyfile(clip, music / clip.name)
    for name in ("HEARD", "JOURNAL"):
        monkeypatch.setenv(f"GENRESCOPE_{name}", str(tmp_path / f"{name.lower()}.sqlite3"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.data
def test_what_the_pages_on_tags_tell_is_done(library: Path) -> None:
    """Every command on filling gaps, names and taking back, one after the other."""
    from typer.testing import CliRunner

    from genrescope.apps.cli.main import app

    def run(line: str) -> str:
        (words,) = _words(line)
        done = CliRunner().invoke(app, [os.path.expanduser(word) for word in words[1:]])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        return done.output

    music = library / "Music"
    (music / "Miles Davis").mkdir()
    shutil.copyfile(music / "001039.mp3", music / "Miles Davis" / "a.mp3")
    before = {path: path.read_bytes() for path in music.rglob("*.mp3")}
    for line in _lines(DOCS / "how-to" / "fill-gaps.md"):
        run(line)
    assert {path for path in before if path.read_bytes() != before[path]} == {
        music / "001039.mp3",
        music / "Miles Davis" / "a.mp3",
    }
    names = next(_blocks(DOCS / "how-to" / "own-names.md", "toml"))
    for line in _lines(DOCS / "how-to" / "own-names.md"):
        output = run(line)
        if "--names-template" in line:
            assert "[names]" in output
            (library / "names.toml").write_text(names)
    listed, last, numbered, folder, everything = _lines(DOCS / "how-to" / "take-back.md")
    assert "stands" in run(listed)
    assert "12" in numbered
    run(folder)
    run(last)
    assert {path: path.read_bytes() for path in before} == before
    run(numbered.replace("12", "3"))  # which took back what the first had written elsewhere
    assert {path: path.read_bytes() for path in before} != before
    run(everything)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.data
def test_the_python_of_the_how_to_pages_runs(
    library: Path, fma_clips: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(fma_clips[0], "song.mp3")
    Path("broken.mp3").write_text("not music")
    for name in ("broken-files", "notebook", "windows-macos"):
        for block in _blocks(DOCS / "how-to" / f"{name}.md", "python"):
            kept = block.replace(".load()", ".load(workers=0)")
            exec(compile(kept, f"{name}.md", "exec"), {"__name__": "__main__"})
    assert "skipped broken.mp3" in capsys.readouterr().out


@pytest.mark.data
def test_the_web_application_of_the_how_to_page_answers(fma_clips: list[Path]) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from fastapi.testclient import TestClient

    (block,) = _blocks(DOCS / "how-to" / "web-app.md", "python")
    told: dict[str, Any] = {"__name__": "web_app"}
    exec(compile(block.replace("workers=1", "workers=0"), "web-app.md", "exec"), told)
    client = TestClient(told["app"])
    answer = client.post("/genre", files={"file": ("a.mp3", fma_clips[0].read_bytes())})
    assert answer.json()["genre"] == "Hip-Hop"
    assert client.post("/genre", files={"file": ("a.mp3", b"not music")}).status_code == 422
