"""The same sound gives the same answer, wherever and however it is heard."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import soundfile

from genrescope import Recogniser
from genrescope.apps.heard import Heard
from genrescope.audio import frames
from genrescope.audio.scale import Cluster, Engine, Threads
from genrescope.learn.prediction import FailedPrediction, Prediction
from genrescope.learn.scale import predict_scaled
from tests.same import same

WITHIN = 1e-5
CLIPS = {"short.wav": 3.0, "stereo.flac": 7.5, "long.mp3": 62.0}  # s; the last has several windows

Way = Callable[[list[Path], Path], list[Prediction]]


def _write(path: Path, *, seconds: float, seed: int) -> None:
    """A melody over noise with a beat, at 44.1 kHz; stereo where the name says so."""
    rng = np.random.default_rng(seed)
    sr = 44_100
    t = np.arange(int(seconds * sr)) / sr
    notes = rng.choice([220.0, 261.6, 329.6, 392.0, 440.0], size=int(seconds * 4) + 1)
    y = 0.3 * np.sin(2 * np.pi * np.cumsum(notes[(t * 4).astype(int)]) / sr)
    y += 0.1 * rng.normal(size=len(t)) * (t * 2 % 1 < 0.1)
    both = np.stack([y, 0.5 * np.roll(y, 400)], axis=1)
    soundfile.write(path, (both if path.stem == "stereo" else y).astype(np.float32), sr)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("same")
    for seed, (name, seconds) in enumerate(CLIPS.items()):
        _write(folder / name, seconds=seconds, seed=seed)
    return [folder / name for name in CLIPS]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load()


@pytest.fixture(scope="module")
def expected(clips: list[Path], recogniser: Recogniser) -> list[Prediction]:
    """What is said here, file by file."""
    found = [recogniser.predict(clip) for clip in clips]
    assert len({one.probabilities[one.best] for one in found}) == len(clips)
    assert max(len(one.timeline) for one in found) > 1
    return found


def _told(results: Any) -> list[Prediction]:
    found = list(results)
    assert not [one for one in found if isinstance(one, FailedPrediction)], found
    return found


def _check(found: list[Prediction], expected: list[Prediction], *, names: bool = True) -> None:
    """All that was said, the names of the files aside where they did not travel."""
    for one, other in zip(found, expected, strict=True):
        got, want = (
            (one if names else replace(one, path=None)).to_dict(),
            (other if names else replace(other, path=None)).to_dict(),
        )
        assert got["genre"] == want["genre"]
        assert got["probabilities"].keys() == want["probabilities"].keys()
        assert len(got["timeline"]) == len(want["timeline"]) > 0
        for key in got.keys() | want.keys():
            assert same(got[key], want[key], within=WITHIN), (key, got[key], want[key])


def test_again_in_this_process(clips: list[Path], expected: list[Prediction]) -> None:
    other = Recogniser.load()
    _check([other.predict(clip) for clip in reversed(clips)], expected[::-1])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_worker_processes(
    workers: int, clips: list[Path], recogniser: Recogniser, expected: list[Prediction]
) -> None:
    _check(_told(recogniser.predict_many(clips, workers=workers)), expected)


def test_batches_as_a_cluster_gets_them(
    clips: list[Path], recogniser: Recogniser, expected: list[Prediction]
) -> None:
    _check(_scaled(clips, recogniser, Threads(2)), expected)


@pytest.mark.slow
def test_a_cluster(clips: list[Path], recogniser: Recogniser, expected: list[Prediction]) -> None:
    pytest.importorskip("distributed")
    with Cluster.local(2) as cluster:
        _check(_scaled(clips * 3, recogniser, cluster), expected * 3)


def _scaled(clips: list[Path], recogniser: Recogniser, engine: Engine) -> list[Prediction]:
    return _told(predict_scaled(recogniser, clips, engine=engine))


def test_the_service(clips: list[Path], expected: list[Prediction]) -> None:
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package)
    serving = importlib.import_module("tests.apps.service.serving").serving
    with serving() as server, server.client() as client:
        found = [_sent(client, clip) for clip in clips]
    _check(found, expected, names=False)


def _sent(client: httpx.Client, clip: Path) -> Prediction:
    answer = client.post(
        "/v1/recognise", params={"timeline": True}, files={"file": (clip.name, clip.read_bytes())}
    )
    assert answer.status_code == 200, answer.text
    return Prediction.from_dict(answer.json()["results"][0]["prediction"])


def test_the_memory_of_what_was_heard(
    clips: list[Path], recogniser: Recogniser, expected: list[Prediction], tmp_path: Path
) -> None:
    for _ in range(2):  # heard, then remembered by another
        with Heard.open(tmp_path / "heard.sqlite3") as heard:
            _check(_told(heard.recognise(recogniser, clips, workers=0)), expected)
    with Heard.open(tmp_path / "heard.sqlite3") as heard:
        recalled = [heard.recall(recogniser, clip) for clip in clips]
    _check([one for one in recalled if one is not None], expected)


def _samples(clip: Path) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    y, sr = soundfile.read(clip, dtype="float32", always_2d=True)
    yield y.T, sr  # channels first, as librosa has them
    yield y.mean(axis=1), sr


def test_samples_in_place_of_a_file(
    clips: list[Path], recogniser: Recogniser, expected: list[Prediction]
) -> None:
    for clip, want in zip(clips, expected, strict=True):
        for y, sr in _samples(clip):
            _check([recogniser.predict(y, sr=sr)], [want], names=False)


def test_the_graph_without_us(
    clips: list[Path], recogniser: Recogniser, expected: list[Prediction]
) -> None:
    """The features of a file, in the exported graph, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(str(recogniser.bundle.folder / "model.onnx"))
    for clip, want in zip(clips, expected, strict=True):
        assert want.sources == ("sound",)
        features = frames.describe_file(clip, n_windows=recogniser.n_windows).features
        pooled, windows = session.run(
            ["probabilities", "window_probabilities"], {"features": features[np.newaxis]}
        )
        genres = recogniser.genres
        wanted = [want.probabilities[genre] for genre in genres]
        np.testing.assert_allclose(pooled[0], wanted, rtol=0, atol=WITHIN)
        for row, moment in zip(windows[0], want.timeline, strict=True):
            wanted = [moment.probabilities[genre] for genre in genres]
            np.testing.assert_allclose(row, wanted, rtol=0, atol=WITHIN)
