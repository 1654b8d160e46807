"""What an encoder that was trained on tags hears in a track."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from genrescope.audio.encoders.graph import GraphEncoder, GraphTagger
from genrescope.audio.encoders.registry import get_encoder
from genrescope.errors import DataError, GenrescopeError

__all__ = ["TrackTags", "describe_tags"]


@dataclass(frozen=True)
class TrackTags:
    """The tags of one track.

    Attributes
    ----------
    path : Path
        The file.
    encoder : str
        What heard them.
    tags : dict of str to float
        Every tag that the encoder knows and how strongly it is heard, from 0 to 1, high to low.
        They are independent of each other: they do not sum to 1.
    duration : float
        Of the whole track, in seconds.
    """

    path: Path
    encoder: str
    tags: dict[str, float]
    duration: float

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` strongest, high to low."""
        if k < 1:
            raise DataError(f"k is {k}, expected 1 or more tags")
        return list(self.tags.items())[:k]

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has; tags to six digits."""
        return {
            "path": str(self.path),
            "encoder": self.encoder,
            "duration": round(self.duration, 3),
            "tags": {name: round(value, 6) for name, value in self.tags.items()},
        }


def describe_tags(
    paths: Iterable[str | os.PathLike[str] | None],
    encoder: str = "musicnn",
    *,
    n_windows: int | None = None,
    workers: int | None = None,
) -> Generator[tuple[Path, TrackTags | GenrescopeError], None, None]:
    """Hear the tags of files, several at a time.

    Parameters
    ----------
    paths : iterable of path-like or None
        Audio files; None stands for "nothing yet", in a list that still grows.
    encoder : str
        One that gives tags: ``musicnn``, or a graph of yours that declares some.
    n_windows : int > 0, optional
        At most so many windows of 30 s of each, averaged. Default: 5.
    workers : int, optional
        Processes that decode; 0 does everything here. Default: one a core.

    Yields
    ------
    path : Path
        In the order of `paths`.
    result : TrackTags or GenrescopeError
        The tags, or why there are none. No file stops the others.

    Raises
    ------
    DataError
        At once, if the encoder is not installed or gives no tags.
    """
    found = get_encoder(encoder)
    if not isinstance(found, GraphEncoder) or not found.tag_names:
        raise DataError(
            f"encoder {encoder}: it gives no tags; musicnn does, and so do graphs that declare some"
        )
    if n_windows is not None and n_windows < 1:
        raise DataError(f"n_windows is {n_windows}; at least 1 window must be looked at")
    return _describe_all(paths, found, n_windows=n_windows, workers=workers)


def _describe_all(
    paths: Iterable[str | os.PathLike[str] | None],
    encoder: GraphEncoder,
    *,
    n_windows: int | None,
    workers: int | None,
) -> Generator[tuple[Path, TrackTags | GenrescopeError], None, None]:
    from genrescope.audio.workers import map_isolated

    items = (None if path is None else Path(path) for path in paths)
    one = partial(_describe_one, encoder, n_windows)
    for path, result in map_isolated(one, items, workers=workers):
        if path is not None and result is not None:
            yield path, result


def _describe_one(
    encoder: GraphEncoder, n_windows: int | None, path: Path | None
) -> TrackTags | None:
    """What a worker does."""
    if path is None:
        return None
    described = GraphTagger(encoder).describe_file(path, n_windows=n_windows)
    values = described.features.mean(axis=0).tolist()
    pairs = sorted(zip(encoder.tag_names, values, strict=True), key=lambda pair: -pair[1])
    return TrackTags(path, encoder.name, dict(pairs), described.duration)
