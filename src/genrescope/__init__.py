"""genrescope: the genre of music from its sound.

>>> from genrescope import Recogniser
>>> prediction = Recogniser.load().predict("song.mp3")
>>> prediction.top(2)  # doctest: +ELLIPSIS
[('...', 0...), ('...', 0...)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genrescope.audio.decode import read_audio
    from genrescope.learn.recogniser import FailedPrediction, Prediction, Recogniser

__version__ = "0.1.0"

__all__ = ["FailedPrediction", "Prediction", "Recogniser", "__version__", "read_audio"]

# Names resolve on first use, so that `import genrescope` costs nothing.
_WHERE = {
    "FailedPrediction": "genrescope.learn.recogniser",
    "Prediction": "genrescope.learn.recogniser",
    "Recogniser": "genrescope.learn.recogniser",
    "read_audio": "genrescope.audio.decode",
}

if not TYPE_CHECKING:  # a checker of types would take every misspelt name for one that is here

    def __getattr__(name: str) -> object:
        if name in _WHERE:
            import importlib

            return getattr(importlib.import_module(_WHERE[name]), name)
        raise AttributeError(f"module 'genrescope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
