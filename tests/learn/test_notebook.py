"""What predictions and tables show of themselves in a notebook."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from genrescope.catalog.genres import GENRE_COLOURS
from genrescope.learn.evaluate import Scores, score
from genrescope.learn.lab.compare import ModelRun
from genrescope.learn.lab.leaderboard import Leaderboard, LeaderRow
from genrescope.learn.notebook import prediction_html
from genrescope.learn.prediction import Moment, Prediction

EVIL = "<script>alert('x')</script>\"&"


class _Checked(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def prediction(**more: object) -> Prediction:
    return Prediction.from_probabilities(
        {"Rock": 0.2, "Folk": 0.75, "Skiffle": 0.05}, threshold=0.5, quantile=0.85, **more
    )


def scores(genres: tuple[str, ...] = ("Folk", "Rock")) -> Scores:
    y = np.array([0, 1, 0, 1])
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    return score(y, p, genres=genres, groups=np.array(["a", "b", "c", "d"]), n_boot=20)


def test_a_prediction_shows_its_answer_and_every_genre_in_its_colour() -> None:
    html = prediction()._repr_html_()
    assert html == prediction_html(prediction())
    page = _Checked(html)
    assert "Folk (75 %)" in page.text
    assert page.tags.count("tr") == 3
    for genre, share in (("Folk", "75.0"), ("Rock", "20.0")):
        assert f"background:{GENRE_COLOURS[genre]};height:.8em;width:{share}%" in html
    assert page.text.count("plausible") == 2


def test_a_prediction_that_is_not_sure_says_so() -> None:
    unsure = Prediction.from_probabilities({"Rock": 0.6, "Folk": 0.4}, threshold=0.7)
    assert "not sure (best guess Rock, 60 %)" in _Checked(prediction_html(unsure)).text


def test_the_time_of_a_track_is_a_strip() -> None:
    moments = (Moment(0, 30, {"Folk": 0.9}), Moment(30, 60, {"Rock": 0.8}))
    html = prediction_html(prediction(timeline=moments))
    _Checked(html)
    assert "0 to 30 s: Folk" in html
    assert f"background:{GENRE_COLOURS['Rock']};flex:30.00" in html
    assert "flex" not in prediction_html(prediction(timeline=moments[:1]))


@pytest.mark.parametrize(
    "more",
    [{"title": EVIL}, {"title": "x", "artist": EVIL}, {"path": Path(EVIL.replace("/", ""))}],
)
def test_names_are_escaped(more: dict[str, object]) -> None:
    page = _Checked(prediction_html(prediction(**more)))
    assert "script" not in page.tags
    assert "alert('x')" in page.text


def test_genres_are_escaped() -> None:
    odd = Prediction.from_probabilities(
        {EVIL: 0.9, "Folk": 0.1},
        threshold=0.5,
        timeline=(Moment(0, 1, {EVIL: 1.0}), Moment(1, 2, {EVIL: 1.0})),
    )
    html = prediction_html(odd)
    assert "script" not in _Checked(html).tags
    assert "<script" not in html
    assert "script" not in _Checked(scores((EVIL, "Rock"))._repr_html_()).tags


def test_scores_show_figures_intervals_and_genres() -> None:
    page = _Checked(scores()._repr_html_())
    assert "4 tracks, 4 artists" in page.text
    assert "Accuracy0.750" in page.text
    assert re.search(r"\d\.\d{3} – \d\.\d{3}", page.text)
    assert GENRE_COLOURS["Folk"] in scores()._repr_html_()


def test_a_leaderboard_shows_its_rows_and_failures() -> None:
    rest = ("kernel", {}, None, "as it comes", 0.0, 0.0)
    good, bad = ModelRun("svc", "SVC", *rest), ModelRun("bad", EVIL, *rest, failure="no <memory>")
    board = Leaderboard(
        rows=(LeaderRow(good, scores=scores(), best=True), LeaderRow(bad)),
        best="svc",
        selection=None,
        n=4,
        n_genres=2,
        resampled="artist",
        notes=("Mind the <gap>.",),
    )
    html = board._repr_html_()
    page = _Checked(html)
    assert "script" not in page.tags
    assert "1SVC0.750" in page.text
    assert "no <memory>" in page.text
    assert "Mind the <gap>." in page.text


def test_a_figure_shows_itself() -> None:
    pytest.importorskip("matplotlib")
    from genrescope.explain.ink import Drawing

    html = Drawing("a-key", "<svg>é</svg>", b"", 300.0, 200.0)._repr_html_()
    found = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert found is not None
    assert base64.b64decode(found[1]).decode() == "<svg>é</svg>"
    assert 'width="300"' in html
