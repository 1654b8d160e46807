"""Encoders by name: from a window of sound to numbers that a head can be trained on.

>>> encoder = get_encoder("frames")
>>> described = encoder.describe_file("song.mp3")
>>> described.features.shape == (2, encoder.n_features)  # 45 s are two windows
True

``frames`` is ours and always there. Others are fetched, on request only, by
``genrescope encoders install``; a missing one is an error that says so.
"""

from genrescope.audio.encoders.base import Encoder, FrontEnd, WindowEncoder, mean_and_spread
from genrescope.audio.encoders.combined import Combined
from genrescope.audio.encoders.registry import combine, find_front_end, get_encoder
from genrescope.audio.encoders.tags import TrackTags, describe_tags

__all__ = [
    "Combined",
    "Encoder",
    "FrontEnd",
    "TrackTags",
    "WindowEncoder",
    "combine",
    "describe_tags",
    "find_front_end",
    "get_encoder",
    "mean_and_spread",
]
