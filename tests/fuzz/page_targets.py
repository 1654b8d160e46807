"""Titles, artists and genres on pages: they stay text, whatever is in them."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

from tests.fuzz.common import Target

_QUIET = ("plain words", "someone", "a genre", "b genre")


class _Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, its scripts, its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))
        self._inside = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((f"{tag}/", tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("a comment", ()))

    def handle_decl(self, decl: str) -> None:
        self.elements.append((f"!{decl}", ()))

    def unknown_decl(self, data: str) -> None:
        self.elements.append(("a declaration", ()))

    def handle_pi(self, data: str) -> None:
        self.elements.append(("an instruction", ()))


def _pages(data: bytes) -> None:
    """Lines are a title, an artist and two genres; each page is built as it is with quiet ones."""
    lines = data.decode("utf-8", "replace").split("\n")
    said = [line or quiet for line, quiet in zip(lines, _QUIET, strict=False)]
    title, artist, one, other = (*said, *_QUIET[len(said) :])
    if one == other:
        other += "2"
    for name, build in _BUILD.items():
        page = _Page(build(title, artist, one, other))
        quiet = _quiet(name)
        assert page.elements == quiet.elements, f"{name}: markup out of a title or genre"
        assert len(page.scripts) == len(quiet.scripts)
        for script, before in zip(page.scripts, quiet.scripts, strict=True):
            if script != before:  # data, and no program
                assert json.loads(script) == {"titles": [title, artist], "genres": [one, other]}
        if "\r" not in title and "\0" not in title:  # which HTML itself reads as something else
            assert any(title in text for text in page.texts), f"{name}: the title is not there"


@functools.cache
def _quiet(name: str) -> _Page:
    return _Page(_BUILD[name](*_QUIET))


@functools.cache
def _signal() -> Any:
    from genrescope.explain.signal.measures import analyse_excerpt
    from tests.explain.tracks import clicks, excerpt_of

    return analyse_excerpt(excerpt_of(clicks(120, 4), title="quiet"))


def _look(title: str, artist: str, one: str, other: str) -> str:
    from genrescope.explain.signal.page import _render
    from genrescope.learn.prediction import Prediction

    signal = replace(_signal(), excerpt=replace(_signal().excerpt, title=title, artist=artist))
    verdict = Prediction.from_probabilities({one: 0.7, other: 0.3}, threshold=0.5)
    return _render([signal], [], [verdict], command=title, sound=False)


def _explain(title: str, artist: str, one: str, other: str) -> str:
    from genrescope.explain.page import render

    pane = {"track": title, "start": 0, "stop": 1, "left": 0, "top": 0, "width": 9, "height": 9}
    figure = {
        "key": "map", "number": 1, "title": f"What spoke for {one}", "reading": title,
        "seen": (artist,), "svg": title, "width": 9, "panes": [pane],
    }  # fmt: skip
    return render(
        "explain.html",
        styles=("report.css", "look.css"),
        script="look.js",
        kind="look",
        title=f"Why {one}? {title}",
        genre=one,
        track=title,
        artist=artist,
        window=title,
        best=[(one, "70 %", "#000000"), (other, "30 %", "#ffffff")],
        told=[one, title],
        figures=[figure],
        chapters=[("map", one), ("how", title)],
        decks=[{"letter": "A", "title": one, "source": title, "start": 0, "stop": 1}],
        heard=True,
        command=title,
        computed=[title],
    )


def _teach(title: str, artist: str, one: str, other: str) -> str:
    from genrescope.explain.page import render

    row = {
        "place": 1, "name": title, "folder": artist, "given": one, "suggested": other,
        "p_given": "1 %", "p_suggested": "99 %", "group": artist, "given_colour": "#000000",
        "suggested_colour": "#ffffff", "source": "",
    }  # fmt: skip
    return render(
        "teach.html",
        styles=("report.css", "look.css", "teach.css"),
        kind="look taught",
        title=f"{title}: 2 genres",
        heading=title,
        subtitle=artist,
        told=[one, other],
        notes=[title],
        table=[(title, one, other)],
        figures=[],
        chapters=[("scores", title)],
        rows=[row],
        hidden=1,
        heard=False,
        seconds="10",
        doubtful_share="1 %",
        refused=[(title, one, artist)],
        n_refused=1,
        computed=[title],
        command=title,
    )


def _report(title: str, artist: str, one: str, other: str) -> str:
    from markupsafe import Markup

    from genrescope.explain.page import render
    from genrescope.explain.report.composer import (
        Block,
        Column,
        Composer,
        Section,
        Table,
        genre_cell,
    )
    from genrescope.explain.report.interactive import script_json

    table = Table(
        "scores", title, [Column(one, help=other)], [[genre_cell(one, "#000000")]], file="scores"
    )
    section = Section("data", one)
    section.text(title)
    section.heading(one)
    section.list([title, artist], title=other)
    section.note(title, title=one)
    section.blocks.append(Block("code", (title,)))
    section.add(Composer(simulated=False).table(table))
    payload = script_json({"titles": [title, artist], "genres": [one, other]})
    about = SimpleNamespace(name=title, simulated=False, fingerprint="0" * 64)
    return render(
        "report.html",
        script="report.js",
        plotly="0;",
        result=SimpleNamespace(data=about),
        title=title,
        subtitle=artist,
        finding=one,
        sections=[section],
        chapters=[("data", one)],
        payload=Markup(payload),
        computed=[],
        command=title,
    )


@functools.cache
def _card() -> dict[str, Any]:
    from importlib import resources

    shipped = resources.files("genrescope.bundles") / "default" / "card.json"
    card: dict[str, Any] = json.loads(shipped.read_bytes())
    return card


def _model(title: str, artist: str, one: str, other: str) -> str:
    """The pages of the service: of the model, and what the others are told."""
    from genrescope.apps.pages.model import content
    from genrescope.apps.pages.theme import genre_styles, mark

    card = {**_card(), "name": title, "description": title, "licence": artist}
    genres = [one, other]
    return f"<style>{genre_styles(genres)}</style>{mark(one, genres)}{content(card)}"


_BUILD = {
    "look": _look, "explain": _explain, "teach": _teach, "report": _report, "model": _model
}  # fmt: skip


def _page_seeds() -> list[bytes]:
    return [
        "\n".join(lines).encode()
        for lines in (
            ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "Rock", "Pop"),
            ("]]><!-- --><![CDATA[", '"onmouseover="x', "</style><b>", "a'b"),
            ("&lt;b&gt; &#60;i&#62; &amp;", "{{ 7 * 7 }} {% raw %}", "</title>", "</textarea>"),
            ("\u2028\u2029\ud7ff\ufeff", "javascript:alert(1)", "R&B", "\u202etext"),
            ("<!doctype x>", "<?php ?>", "</svg>", "<math><mtext>"),
        )
    ]


_PAGE_WORDS = (
    b"<", b">", b"&", b'"', b"'", b"</", b"</script>", b"<script>", b"<!--", b"-->", b"]]>", b"{{",
    b"}}", b"{%", b"</style>", b"</title>", b"</svg>", b"onerror=", b"&lt;", b"&#x3c;", b"\n",
    b"=", b"/", b"\\u003c", b"\xe2\x80\xa8", b"`",
)  # fmt: skip

TARGETS = (Target("pages", "titles and genres on pages", _pages, _page_seeds, _PAGE_WORDS, 2000),)
