"""Recognition on a cluster gives what it gives here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrescope.audio.scale import Cluster, Lost, Threads
from genrescope.audio.scale.work import release
from genrescope.learn.prediction import FailedPrediction
from genrescope.learn.recogniser import Recogniser
from genrescope.learn.scale import predict_scaled
from tests.audio.stores import write_tone
from tests.same import same_answer

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tracks")
    for i in range(20):
        write_tone(folder / f"{i:02d}.wav", seed=i, seconds=0.8)
    (folder / "07.wav").write_bytes(b"no sound")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load(workers=0)


@pytest.fixture(scope="module")
def expected(recogniser: Recogniser, tracks: list[Path]) -> list[dict[str, object]]:
    return [result.to_dict() for result in recogniser.predict_many(tracks)]


def _pausing(tracks: list[Path]) -> Iterator[Path | None]:
    for track in tracks:
        yield None
        yield track


def test_a_cluster_gives_the_same_answers_in_the_same_order(
    recogniser: Recogniser, tracks: list[Path], expected: list[dict[str, object]]
) -> None:
    with Cluster.local(1) as engine:
        found = [
            result.to_dict()
            for result in predict_scaled(recogniser, _pausing(tracks), engine=engine)
        ]
    assert len(found) == len(expected)
    assert all(map(same_answer, found, expected))


class Backwards:
    """Gives batches out in the wrong order, and none that holds one of the tracks."""

    slots = slots_each = 1

    def __init__(self, poison: Path) -> None:
        self.poison = poison

    def run(self, fn, batches, *, split=None, shared=None):  # type: ignore[no-untyped-def]
        waiting, done = list(batches), []
        while waiting:
            batch = waiting.pop()
            if self.poison not in batch.paths:
                done.append((batch, fn(batch, shared)))
            elif pieces := list(split(batch)):
                waiting += pieces
            else:
                done.append((batch, Lost("the workers that did it died, 4 in a row")))
        yield from reversed(done)


def test_the_order_is_kept_and_a_file_that_ends_workers_is_found(
    recogniser: Recogniser, tracks: list[Path], expected: list[dict[str, object]]
) -> None:
    poison = tracks[3]
    engine = Backwards(poison)
    results = list(predict_scaled(recogniser, tracks, engine=engine))
    release()
    assert [result.path for result in results] == tracks
    assert isinstance(results[3], FailedPrediction)
    assert "4 in a row" in results[3].message
    found = [result.to_dict() for result in (*results[:3], *results[4:])]
    assert all(map(same_answer, found, expected[:3] + expected[4:]))


def test_paths_are_those_of_the_one_who_asks(
    recogniser: Recogniser, tracks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tracks[0].parent)
    (result,) = predict_scaled(recogniser, ["00.wav"], engine=Threads(1))
    assert os.fspath(result.path or "") == "00.wav"
