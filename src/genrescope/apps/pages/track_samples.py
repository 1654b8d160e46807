"""Sounds to try the page *Track* with: clips of the archive that are here already, or our own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from genrescope.apps.clips import CLIPS, cache_folder
from genrescope.apps.pieces import PIECES, write_pieces

__all__ = ["Sample", "samples"]


@dataclass(frozen=True)
class Sample:
    """A sound to try.

    Attributes
    ----------
    key : str
        What the page calls it.
    label : str
        What a person reads: title and artist of a clip.
    note : str
        The genre that the archive gives it; empty for our own.
    path : Path
        The file; one of our own is made when it is first needed.
    track_id : int or None
        Its number in the archive.
    """

    key: str
    label: str
    note: str
    path: Path
    track_id: int | None = None

    def ready(self) -> Path:
        """The file, which is there now."""
        if self.track_id is None and not self.path.exists():
            write_pieces(self.path.parent)
        return self.path


def samples() -> tuple[Sample, ...]:
    """Clips of the archive, where ``genrescope demo`` has fetched them, and pieces of our own.

    Nothing is fetched here: the pages work without a network.

    Returns
    -------
    tuple of Sample
        Clips first.
    """
    folder = cache_folder() / "fma"
    clips = [
        Sample(
            str(clip.track_id),
            _label(folder / clip.file),
            clip.genre,
            folder / clip.file,
            clip.track_id,
        )
        for clip in CLIPS
        if (folder / clip.file).is_file()
    ]
    own = Path(tempfile.gettempdir()) / "genrescope-pieces"
    pieces = [Sample(name.replace(" ", "-"), name, "", own / f"{name}.wav") for name in PIECES]
    return (*clips, *pieces)


@lru_cache(maxsize=64)
def _label(path: Path) -> str:
    from genrescope.catalog.tags import read_tags

    tags = read_tags(path)
    return ", ".join(part for part in (tags.title, tags.artist) if part) or path.name
