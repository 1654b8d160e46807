"""The page of a taught recogniser: whole, closed, and with sound as far as there is room."""

from __future__ import annotations

import re
import shutil

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from genrescope.explain.teach_page import write_teach_page
from genrescope.learn.teach.lesson import TeachSettings, teach
from tests.explain.browser import opened
from tests.learn.teach_tracks import write_collection


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    music = write_collection(folder / "music")
    # Two tracks in the wrong place, one of them with a name that wants to be markup.
    for at, name in enumerate(("<b>&odd.wav", "plain.wav")):
        shutil.move(music / "Hiss" / f"Hiss {at}" / "0.wav", music / "Bells" / f"Bells {at}" / name)
    (music / "Drums" / "Drums 1" / "broken.wav").write_bytes(b"no sound")
    settings = TeachSettings(encoders=("frames",), folds=4)
    return teach(music, folder / "mine", settings=settings, workers=0)


def test_it_shows_scores_confusion_curve_and_doubtful_tracks(taught, tmp_path):
    page = write_teach_page(taught, tmp_path, command="genrescope teach music").read_text()
    for key in ("confusion-matrix", "per-genre", "learning-curve", "doubtful", "refused", "how"):
        assert f'id="{key}"' in page
    assert f"{taught.scores.accuracy:.3f}" in page
    assert taught.curve.words.split("(")[0] in page
    assert "plain.wav" in page
    assert "&lt;b&gt;&amp;odd.wav" in page
    assert "<b>&odd" not in page
    assert "broken.wav" in page
    assert "genrescope teach music" in page
    assert "the folder, since no artists are known" in page


def test_sound_is_inside_up_to_the_limit(taught, tmp_path):
    n = len(taught.mislabelled.doubtful)
    assert n >= 2
    full = write_teach_page(taught, tmp_path / "full").read_text()
    assert full.count("<audio") == n
    sources = [len(s) for s in re.findall(r'src="(data:audio/[^"]+)"', full)]
    one = write_teach_page(taught, tmp_path / "one", limit=sources[0] + 10).read_text()
    assert one.count("<audio") == 1
    none = write_teach_page(taught, tmp_path / "none", sound=False).read_text()
    assert "<audio" not in none
    assert "plain.wav" in none
    assert "Listen (up to" not in none


def test_it_opens_in_a_browser_without_asking_for_anything(taught, tmp_path):
    index = write_teach_page(taught, tmp_path)
    with opened(index, width=420) as seen:
        assert seen.errors == []
        assert seen.requests == [index.as_uri()]
        assert seen.overflow <= 0
        seen.page.wait_for_function(
            "[...document.querySelectorAll('audio')].every(a => a.duration > 1)", timeout=10_000
        )
