"""Tags that an encoder hears: whose, how strong, in which order, and who gets none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from genrescope.audio import workers as audio_workers
from genrescope.audio.encoders import get_encoder
from genrescope.audio.encoders.graph import GraphEncoder, GraphTagger
from genrescope.audio.encoders.tags import TrackTags, describe_tags
from genrescope.errors import DataError
from tests.audio.encoders.conftest import make_graph
from tests.audio.encoders.test_contract import sound

SR = 8_000
HEARD = TrackTags(
    Path("a.mp3"), "musicnn", {"rock": 0.98765432, "pop": 0.5, "jazz": 0.25}, 61.23456
)


@pytest.fixture
def name(tmp_path: Path) -> str:
    return f"onnx:{make_graph(tmp_path)}"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.wav"
    soundfile.write(path, sound(65, SR), SR, subtype="FLOAT")
    return path


def test_the_strongest_tags_are_five_unless_said() -> None:
    many = TrackTags(Path("a.mp3"), "e", {f"tag {i}": 1 - i / 10 for i in range(8)}, 1.0)
    assert [name for name, _ in many.top()] == ["tag 0", "tag 1", "tag 2", "tag 3", "tag 4"]
    assert HEARD.top(1) == [("rock", 0.98765432)]
    assert len(HEARD.top(9)) == 3
    for k in (0, -1):
        with pytest.raises(DataError) as refused:
            HEARD.top(k)
        assert str(refused.value) == f"k is {k}, expected 1 or more tags"


def test_tags_as_json_has_them() -> None:
    assert HEARD.to_dict() == {
        "path": "a.mp3",
        "encoder": "musicnn",
        "duration": 61.235,
        "tags": {"rock": 0.987654, "pop": 0.5, "jazz": 0.25},
    }


def test_tags_of_a_track_are_the_mean_of_its_windows(name: str, song: Path) -> None:
    encoder = get_encoder(name)
    assert isinstance(encoder, GraphEncoder)
    rows = GraphTagger(encoder).describe_file(song).features
    assert len(rows) == 2
    ((path, heard),) = describe_tags([str(song)], name, workers=0)
    assert not isinstance(heard, Exception)
    assert path == heard.path == song
    assert (heard.encoder, heard.duration) == (name, 65.0)
    expected = dict(zip(("loud", "soft"), rows.mean(axis=0).tolist(), strict=True))
    assert heard.tags == pytest.approx(expected)
    assert list(heard.tags) == sorted(expected, key=lambda tag: -expected[tag])
    ((_, first),) = describe_tags([song], name, n_windows=1, workers=0)
    assert not isinstance(first, Exception)
    middle = GraphTagger(encoder).describe_file(song, n_windows=1).features[0].tolist()
    assert first.tags == pytest.approx(dict(zip(("loud", "soft"), middle, strict=True)))
    assert first.tags != pytest.approx(heard.tags, abs=1e-6)


def test_nothing_yet_is_passed_over(name: str, song: Path) -> None:
    results = list(describe_tags([None, song, None], name, workers=0))
    assert [path for path, _ in results] == [song]


@pytest.mark.parametrize("workers", [None, 3])
def test_as_many_processes_as_asked_for(
    name: str, song: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    asked: list[int | None] = []

    def map_here(fn: Any, items: Any, *, workers: int | None) -> Iterator[Any]:
        asked.append(workers)
        return ((item, fn(item)) for item in items)

    monkeypatch.setattr(audio_workers, "map_isolated", map_here)
    assert len(list(describe_tags([song], name, workers=workers))) == 1
    assert asked == [workers]


def test_musicnn_is_asked_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    with pytest.raises(DataError, match=r"^encoder musicnn: is not installed"):
        describe_tags([])


def test_what_gives_no_tags_is_refused_at_once(tmp_path: Path, name: str) -> None:
    silent = f"onnx:{make_graph(tmp_path, tags=None)}"
    for encoder in ("frames", silent):
        with pytest.raises(DataError) as refused:
            describe_tags([], encoder)
        assert str(refused.value) == (
            f"encoder {encoder}: it gives no tags; musicnn does, and so do graphs that declare some"
        )


def test_no_window_is_refused_at_once(name: str) -> None:
    for n_windows in (0, -1):
        with pytest.raises(DataError) as refused:
            describe_tags([], name, n_windows=n_windows)
        assert str(refused.value) == (
            f"n_windows is {n_windows}; at least 1 window must be looked at"
        )
    assert list(describe_tags([], name, n_windows=1, workers=0)) == []


def test_a_window_gives_the_mean_of_its_patches(name: str) -> None:
    encoder = get_encoder(name)
    assert isinstance(encoder, GraphEncoder)
    y = sound(1, SR)
    alone = [encoder.tag_windows([y[i : i + 2_000]], sr=SR)[0] for i in range(0, SR, 2_000)]
    np.testing.assert_allclose(
        encoder.tag_windows([y, y], sr=SR), [np.mean(alone, axis=0)] * 2, atol=1e-6
    )
