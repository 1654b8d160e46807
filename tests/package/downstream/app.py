"""A program that uses genrescope, as its types must allow it; checked, and run, by the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genrescope import FailedPrediction, Prediction, Recogniser, __version__, read_audio
from genrescope.errors import AudioError, GenrescopeError


def described(prediction: Prediction) -> str:
    genre: str | None = prediction.genre
    if genre is None:
        return f"not sure: {prediction.reason}"
    share: float = prediction.probabilities[genre]
    second, other = prediction.top(2)[1]
    return f"{genre} {share:.2f}, then {second} {other:.2f}; {len(prediction.timeline)} windows"


def recognised(recogniser: Recogniser, paths: Iterable[Path]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for answer in recogniser.predict_many(paths, workers=0):
        if isinstance(answer, FailedPrediction):
            found[answer.path] = f"{answer.error}: {answer.message}"
        elif answer.path is not None:
            found[answer.path] = described(answer)
    return found


def louder(path: Path) -> npt.NDArray[np.float32]:
    samples, rate = read_audio(path, sr=22_050, duration=10.0)
    assert rate == 22_050
    peak: np.float32 = np.abs(samples).max()
    return samples / peak


def main(paths: list[Path]) -> int:
    recogniser = Recogniser.load(workers=1)
    print(__version__, *recogniser.genres)
    for path, words in recognised(recogniser, paths).items():
        print(path, words)
    try:
        print(recogniser.predict(louder(paths[0]), sr=22_050).best)
    except AudioError as error:
        print(error)
        return 1
    except GenrescopeError:
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
