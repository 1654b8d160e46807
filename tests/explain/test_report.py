"""The page of the laboratory, its files, and the page in a browser."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from genrescope.explain.report.files import FileTable, csv_bytes, parquet_bytes
from genrescope.explain.report.interactive import script_json
from genrescope.explain.report.result import LabResult
from genrescope.explain.report.writing import ReportPaths, write_report
from tests.explain.browser import WITHOUT_WEBGL, opened
from tests.explain.lab_sample import FMA, lab_result, made_up, without_models

SECTIONS = ("data", "analysis", "manifolds", "classifiers", "ensembles", "confusion",
            "explanations", "limits", "repeat")  # fmt: skip
BAD = "</script><script>window.stolen = 1</script>"


class Elements(HTMLParser):
    """Start tags with their attributes, and what is in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def hostile() -> LabResult:
    """A table whose every name tries to be something else."""
    genres = (BAD, "=cmd|'/C calc'!A0", 'a"onload="x', "<img src=x onerror=alert(1)>", *FMA[:4])
    data = made_up(n=160, genres=genres, n_features=6,
                   features=(BAD, "+1", "-2", "@x", "{{ 7 * 7 }}", "<b>"))  # fmt: skip
    data.title[:] = "=1+1<x>"
    data.artist[:8] = "<i>"
    object.__setattr__(data, "name", BAD)
    object.__setattr__(data, "notes", (BAD,))
    made = lab_result(data, command=f"genrescope lab '{BAD}'")
    return replace(made, maps=made.maps[:2])


def light(**changes: Any) -> LabResult:
    """A run with little to draw."""
    return lab_result(made_up(n=100, n_features=4, **changes), maps=(), explanations=None)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank sheets for figures, where it does not matter what is on them."""
    from matplotlib.figure import Figure

    def savefig(figure: Figure, file: Any, *, format: str, **options: Any) -> None:
        file.write("<svg xmlns='http://www.w3.org/2000/svg'></svg>" if format == "svg" else b"PNG")

    monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture(scope="module")
def result() -> LabResult:
    return lab_result(made_up(n=240, n_features=8, missing=True))


@pytest.fixture(scope="module")
def report(result: LabResult, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write_report(result, tmp_path_factory.mktemp("report"), key="one")


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write_report(hostile(), tmp_path_factory.mktemp("hostile"))


def test_the_page_has_its_sections_figures_and_tables(report: ReportPaths) -> None:
    text = report.index.read_text()
    at = [text.index(f'<section id="{name}"') for name in SECTIONS]
    assert at == sorted(at)
    page = Elements(text)
    captions = re.findall(r"<b>(Figure|Table) (\d+)\.</b>", text)
    for kind in ("Figure", "Table"):
        numbers = [int(n) for name, n in captions if name == kind]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 10
    links = {a["href"] for tag, a in page.tags if tag == "a" and a.get("href")}
    beside = {str(link) for link in links if not str(link).startswith("#")}
    assert beside
    for link in beside:
        assert (report.index.parent / link).is_file(), link
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in SECTIONS} <= links
    svgs = [a for tag, a in page.tags if tag == "svg"]
    assert len(svgs) == len(report.figures) // 2
    assert all(a.get("aria-label") for a in svgs)
    assert all(a.get("scope") for tag, a in page.tags if tag == "th")


def test_the_page_says_what_was_found_and_what_was_not(report: ReportPaths) -> None:
    text = " ".join(report.index.read_text().split()).replace("\N{NO-BREAK SPACE}", " ")
    for said in (
        "The best of 8 classifiers, KernelRidge, names the genre rightly for",
        "of tracks of artists it had not heard",
        "Nothing leaks",
        "failed: Its covariance matrix is singular.",
        "2 tracks were left out, because they have no sound.",
        "not on record",
        "0.34",
        "Such scores are too high for music by anyone else.",
        "genrescope lab made-up --out report --reference cs464",
    ):
        assert said in text, said
    assert "SIMULATED" not in text


def test_the_page_needs_nothing_else(report: ReportPaths) -> None:
    page = Elements(report.index.read_text())
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            value = attributes.get(name)
            if value is not None:
                assert not re.match(r"(?:[a-z]+:)?//", value), (tag, value)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    allowed = set(re.findall(r"'sha256-([^']+)'", str(policy)))
    run = [s for s in page.scripts if not s.startswith("{")]
    assert allowed == {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in run}
    assert "default-src 'none'" in str(policy)
    assert report.index.stat().st_size < 9e6


def test_all_numbers_are_in_the_results(report: ReportPaths, result: LabResult) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    known = json.loads(report.results.read_text(), parse_constant=refuse)
    assert known["data"]["fingerprint"] == result.data.fingerprint
    assert known["best"] == result.leaderboard.best
    assert len(known["leaderboard"]["rows"]) == 8
    assert known["confusion"]["genres"]
    assert known["reference"]["rows"][0]["macro_f1"] == 0.34


def test_every_table_is_there_twice(report: ReportPaths, result: LabResult) -> None:
    kinds = {path.suffix for path in report.tables}
    assert kinds == {".csv", ".parquet"}
    for path in report.tables:
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                head, *rows = csv.reader(file)
            table = pq.read_table(path.with_suffix(".parquet"))
            assert table.num_rows == len(rows) > 0, path
            assert table.num_columns == len(head)
    board = pq.read_table(next(p for p in report.tables if p.name == "leaderboard.parquet"))
    best = result.best
    assert best is not None
    assert best.scores is not None
    assert board["accuracy"][0].as_py() == best.scores.accuracy
    predictions = pq.read_table(
        next(p for p in report.tables if p.name == "predictions_of_best.parquet")
    )
    pairs = zip(*(predictions[c].to_pylist() for c in ("genre", "predicted")), strict=True)
    right = sum(genre == answer for genre, answer in pairs)
    assert right / len(predictions) == pytest.approx(best.scores.accuracy)


def test_a_cell_is_no_formula() -> None:
    table = FileTable("t", ("=a", "b"), (("=1+1", -2.5), ("@x", None), ("-", 3.0), ("a=b", 1.0)))
    head, *rows = csv.reader(csv_bytes(table).decode().splitlines())
    assert head == ["'=a", "b"]
    assert rows == [["'=1+1", "-2.5"], ["'@x", ""], ["'-", "3.0"], ["a=b", "1.0"]]
    assert parquet_bytes(table).startswith(b"PAR1")


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_is_there_is_known_by_its_key(tmp_path: Path) -> None:
    result = light()
    first = write_report(result, tmp_path, key="k")
    assert not first.unchanged
    assert not list(tmp_path.rglob(".*"))
    again = ReportPaths.unchanged_in(tmp_path, key="k")
    assert again is not None
    assert again.unchanged
    assert (again.index, set(again.figures), set(again.tables)) == (
        first.index, set(first.figures), set(first.tables),
    )  # fmt: skip
    assert ReportPaths.unchanged_in(tmp_path, key="other") is None
    assert ReportPaths.unchanged_in(tmp_path / "nowhere", key="k") is None
    page = first.index.read_bytes()
    (tmp_path / "figures" / "my own.svg").write_text("mine")
    first.index.write_text("changed")
    assert ReportPaths.unchanged_in(tmp_path, key="k") is None
    # The same result gives the same page; another one takes away what it does not have.
    write_report(result, tmp_path, key="k")
    assert first.index.read_bytes() == page
    second = write_report(without_models(result), tmp_path, key="l")
    assert set(tmp_path.rglob("*.png")) == {p for p in second.figures if p.suffix == ".png"}
    assert (tmp_path / "figures" / "my own.svg").read_text() == "mine"
    text = second.index.read_text()
    assert "No classifier gave answers" in text
    assert "It was stopped after 900 s." in text


def test_results_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious").write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    for name in ("../precious", str(tmp_path / "precious"), "figures/../../precious"):
        (out / "results.json").write_text(json.dumps({"key": "k", "files": {name: digest}}))
        assert ReportPaths.unchanged_in(out, key="k") is None


def test_json_cannot_end_a_script() -> None:
    text = script_json({"a": BAD, "b": "\u2028<!--"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"a": BAD, "b": "\u2028<!--"}


def test_names_stay_names(hostile_report: ReportPaths) -> None:
    page = Elements(hostile_report.index.read_text())
    assert len(page.scripts) == 4
    assert not [t for t, a in page.tags if t == "img" or any(k.startswith("on") for k in a)]
    for path in hostile_report.tables:
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                for row in csv.reader(file):
                    for cell in row:
                        assert not cell.startswith(("=", "@")), path
                        assert not re.match(r"[+-](?![\d.])", cell), path


@pytest.mark.usefixtures("undrawn")
def test_made_up_data_say_so_everywhere(tmp_path: Path) -> None:
    text = write_report(light(simulated=True), tmp_path).index.read_text()
    assert 'class="banner"' in text
    for caption in re.findall(r"<b>(?:Figure|Table) \d+\.</b>(.{20})", text):
        assert "SIMULATED DATA" in caption
    assert "Anything about music." in text


@pytest.mark.usefixtures("undrawn")
def test_a_random_split_is_no_quiet_matter(tmp_path: Path) -> None:
    data = made_up(n=100, n_features=4)
    made = lab_result(data, kind="random", maps=(), explanations=None)
    text = write_report(made, tmp_path).index.read_text()
    assert re.search(r'class="alert">\s*<p>RANDOM FOLDS', text)
    assert "Leak audit: leaks" in text
    assert "How well this works on new artists." in text


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (360, "dark")])
def test_every_figure_draws_in_a_browser(report: ReportPaths, width: int, theme: str) -> None:
    with opened(report.index, width=width, theme=theme) as seen:
        seen.look_at_everything()
        state = seen.state
        assert state["figures"] == len(report.figures) // 2
        assert state["drawn"] == state["figures"]
        assert state["errors"] == []
        assert seen.overflow <= 0
        named = "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
        buttons = seen.page.evaluate(named)
        assert buttons
        assert not re.search("share|cloud|edit", " ".join(buttons), re.IGNORECASE)
        ground = "getComputedStyle(document.body).backgroundColor"
        before = seen.page.evaluate(ground)
        assert (before == "rgb(255, 255, 255)") == (theme == "light")
        seen.page.click("#theme")
        seen.page.wait_for_timeout(300)
        assert seen.page.evaluate(ground) != before
        ink = "getComputedStyle(document.querySelector('#fig-class-balance text')).fill"
        assert (seen.page.evaluate(ink) == "rgb(27, 28, 30)") == (theme == "dark")
        assert seen.overflow <= 0
        assert seen.errors == []
        assert seen.requests == [report.index.as_uri()]


def test_the_table_sorts_and_names_are_safe_in_a_browser(hostile_report: ReportPaths) -> None:
    with opened(hostile_report.index) as seen:
        seen.look_at_everything()
        rows = "#tab-leaderboard tbody th[scope=row]"
        first = seen.page.inner_text(rows)
        seen.page.click("#tab-leaderboard thead th:nth-child(4) button")  # highest accuracy first
        assert seen.page.inner_text(rows) == first
        seen.page.click("#tab-leaderboard thead th:nth-child(4) button")
        assert seen.page.inner_text(rows) != first
        head = seen.page.query_selector("#tab-leaderboard thead th:nth-child(4)")
        assert head.get_attribute("aria-sort") == "ascending"
        last = seen.page.query_selector_all("#tab-leaderboard tbody tr")[-1]
        assert "failed" in last.inner_text()  # what has no figure stays at the end
        assert seen.page.evaluate("window.stolen") is None
        assert seen.state["errors"] == []
        assert seen.errors == []


def test_without_webgl_the_page_says_so(report: ReportPaths) -> None:
    with opened(report.index, script=WITHOUT_WEBGL) as seen:
        seen.look_at_everything()
        seen.page.click("#tab-of-map-pca-3d")
        figure = seen.page.query_selector("#fig-map-pca-3d")
        assert "no WebGL" in figure.inner_text()
        assert figure.query_selector(".static svg").is_visible()
        assert seen.state["errors"] == []
        seen.page.click("#tab-of-map-pca-2d")
        seen.page.wait_for_selector("#fig-map-pca-2d.live .plot svg")
