"""The page *Model*: every number on it is one of the card."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from genrescope.learn.bundle import Bundle

pytest.importorskip("nicegui", reason="the extra serve is not installed")

from genrescope.apps.pages.model import content
from genrescope.apps.pages.model_figures import confusion_table, reliability_figure


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return dict(Bundle.load().card)


def test_the_page_shows_the_figures_of_the_card(
    server: Callable[..., str], visit: Callable[..., Any], card: dict[str, Any]
) -> None:
    seen = visit(server())
    page = seen.go("/model")
    page.wait_for_selector(".confusion")
    scores = card["metrics"]["scores"]
    assert card["name"] in page.text_content("h1")
    text = page.text_content(".model")
    assert f"{100 * scores['accuracy']:.1f}" in text
    assert card["licence"] in text
    assert card["training"]["licence"] in text
    rows = page.locator(".scores tbody tr")
    assert rows.count() == len(card["metrics"]["table"])
    low, high = card["metrics"]["table"][0]["intervals"]["accuracy"]
    assert f"{low:.3f} to {high:.3f}" in rows.nth(0).text_content()

    names = page.eval_on_selector_all(
        ".confusion tbody th", "all => all.map(one => one.textContent)"
    )
    recall = {name: scores["per_genre"][name]["recall"] for name in scores["genres"]}
    assert names == sorted(recall, key=lambda name: -recall[name])
    right = page.eval_on_selector_all(".confusion td.right", "all => all.map(o => o.textContent)")
    assert right == [f"{100 * recall[name]:.0f}" for name in names]
    assert page.locator(".reliability circle").count() == len(scores["reliability"])
    for word in ("Title and artist", "Sub-genres", "What is no music", "together"):
        assert word in text


def test_the_confusion_matrix_is_read_on_a_narrow_screen(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    seen = visit(server(), width=400, theme="dark")
    page = seen.go("/model")
    page.wait_for_selector(".confusion")
    width = page.evaluate(
        "(() => { const t = document.querySelector('.confusion');"
        "return t.scrollWidth - t.parentElement.clientWidth; })()"
    )
    assert width <= 0
    sizes = page.eval_on_selector_all(
        ".confusion td.right", "all => all.map(o => parseFloat(getComputedStyle(o).fontSize))"
    )
    assert min(sizes) >= 12


def test_ink_is_readable_on_every_cell(
    server: Callable[..., str], visit: Callable[..., Any]
) -> None:
    measure = """() => { const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const light = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour;
            pen.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => {
                v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        return Math.min(...[...document.querySelectorAll('.confusion tbody td')].map((cell) => {
            const style = getComputedStyle(cell);
            const [a, b] = [light(style.color), light(style.backgroundColor)];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })); }"""  # noqa: E501
    for theme in ("light", "dark"):
        page = visit(server(), theme=theme).go("/model")
        page.wait_for_selector(".confusion")
        assert page.evaluate(measure) >= 4.5  # WCAG 2.2, AA


def test_rows_are_shares_of_the_true_genre() -> None:
    made = confusion_table({"genres": ["Folk", "Rock"], "confusion": [[1, 3], [0, 10]]})
    cells = re.findall(r">(\d+)</td>", made)
    assert cells == ["100", "0", "75", "25"]  # Rock first: it is known best
    assert "Folk taken for Rock: 3 of 4 tracks" in made


def test_what_the_card_lacks_is_said_and_not_invented(card: dict[str, Any]) -> None:
    bare = copy.deepcopy(card)
    bare["metrics"]["scores"]["reliability"] = []
    bare["metrics"].pop("parts")
    bare.pop("company")
    bare["abstention"]["threshold"] = None
    made = content(bare)
    assert "The card has no reliability diagram" in made
    assert '<svg class="reliability"' not in made
    assert "What its other parts add" not in made
    assert "never sure" in made


def test_markup_on_a_card_stays_text(card: dict[str, Any]) -> None:
    bad = copy.deepcopy(card)
    evil = "<img src=x onerror=alert(1)>"
    for key in ("name", "version", "description", "licence", "created"):
        bad[key] = evil
    bad["training"]["data"] = bad["training"]["licence"] = bad["metrics"]["protocol"] = evil
    bad["metrics"]["table"][0]["name"] = evil
    made = content(bad)
    assert "<img" not in made
    assert made.count("&lt;img") >= 8


def test_points_lie_where_they_should() -> None:
    made = reliability_figure(
        [
            {"low": 0.0, "high": 0.5, "n": 10, "confidence": 0.25, "accuracy": 0.5},
            {"low": 0.5, "high": 1.0, "n": 40, "confidence": 0.75, "accuracy": 0.5},
        ]
    )
    (x1, y1, r1), (x2, y2, r2) = [
        tuple(map(float, found))
        for found in re.findall(r'class="point" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', made)
    ]
    assert x2 - x1 == pytest.approx(150)
    assert y1 == y2
    assert r2 > r1
    assert "says 25\u00a0%, is right 50\u00a0%" in made
