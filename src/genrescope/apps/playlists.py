"""Playlists by genre, as m3u8 files that any player opens.

A playlist is UTF-8 text. Paths are relative to the playlist, so that the folder can be moved or
carried to a player with the music, except where music and playlist lie on different drives. What a
line of text cannot hold (a line break or bytes that are no UTF-8 in a file name) is written as a
``file://`` address, which players know as well.

Files that this module did not write are never overwritten unless asked to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, TypeAlias
from urllib.parse import quote_from_bytes

import numpy as np
import numpy.typing as npt

from genrescope.catalog.storage import atomic
from genrescope.errors import DataError
from genrescope.learn.prediction import Prediction

__all__ = [
    "MARKER",
    "NOT_SURE",
    "By",
    "Playlist",
    "flowing_order",
    "gather",
    "is_ours",
    "playlist_text",
    "steps",
    "write_playlists",
]

By: TypeAlias = Literal["genre", "subgenre"]
Floats: TypeAlias = npt.NDArray[np.float64]

#: The second line of every playlist that is written here.
MARKER = "#GENRESCOPE-PLAYLIST:1"
#: The name of the playlist of tracks whose genre is not sure.
NOT_SURE = "Not sure"

_BLOCK = 1_000  # tracks within which an order is improved at once
_ROUNDS = 50  # of improvements, at most
_ENOUGH = 1e-9  # a shorter way is not worth a change
_WINDOWS_NAMES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST = 120  # characters of a file name
_LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True)
class Playlist:
    """Tracks under a name.

    Attributes
    ----------
    name : str
        Such as "Rock" or "Rock - Punk".
    tracks : tuple of Prediction
        In their order; all with a path.
    """

    name: str
    tracks: tuple[Prediction, ...]


def gather(
    predictions: Iterable[Prediction],
    *,
    by: By = "genre",
    min_confidence: float | None = None,
    unsure: bool = False,
    flow: bool = False,
) -> list[Playlist]:
    """Sort tracks into playlists.

    Parameters
    ----------
    predictions : iterable of Prediction
        Of files.
    by : {"genre", "subgenre"}
        By sub-genre, a track is in the list of each sub-genre that fits it, or, if none does, in
        that of its genre.
    min_confidence : float, optional
        A genre that is less probable counts as not sure; so does a sub-genre.
    unsure : bool
        Whether there is a list of the tracks whose genre is not sure.
    flow : bool
        Put like next to like (:func:`flowing_order`); else the order is that given.

    Returns
    -------
    list of Playlist
        By name; none is empty.
    """
    if by not in ("genre", "subgenre"):
        raise DataError(f"by is {by!r}; give genre or subgenre")
    least = min_confidence or 0.0
    if not 0 <= least <= 1:
        raise DataError(f"min_confidence is {least}; a probability lies between 0 and 1")
    found: dict[str, list[Prediction]] = {}
    for one in predictions:
        if one.path is None:
            continue
        if one.genre is None or one.confidence < least:
            if unsure:
                found.setdefault(NOT_SURE, []).append(one)
            continue
        names = [one.genre]
        if by == "subgenre":
            names = [
                " - ".join(branch.path)
                for branch in one.branches
                if branch.path[0] == one.genre
                and len(branch.path) > 1
                and branch.probability >= least
            ] or names
        for name in names:
            found.setdefault(name, []).append(one)
    lists = []
    for name in sorted(found, key=lambda name: (name == NOT_SURE, name.casefold())):
        tracks = found[name]
        order: Sequence[int] = range(len(tracks))
        if flow and len(tracks) > 2:
            genres = sorted(tracks[0].probabilities)
            p = np.array(
                [[one.probabilities.get(genre, 0.0) for genre in genres] for one in tracks]
            )
            order = flowing_order(p).tolist()
        lists.append(Playlist(name, tuple(tracks[place] for place in order)))
    return lists


# --- from like to like -----------------------------------------------------


def steps(probabilities: npt.ArrayLike) -> Floats:
    """Distance from each row to the next.

    Parameters
    ----------
    probabilities : array_like [shape=(n, k), float]
        Of the genres of tracks, in the order in which they are played.

    Returns
    -------
    np.ndarray [shape=(n - 1,), float64]
        Hellinger distances, from 0 (alike) to 1 (nothing in common).
    """
    roots = np.sqrt(np.asarray(probabilities, dtype=np.float64))
    found: Floats = np.linalg.norm(np.diff(roots, axis=0), axis=1) / np.sqrt(2)
    return found


def flowing_order(probabilities: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """An order of tracks in which each is followed by one that is like it.

    From the clearest track on, the nearest that is left comes next. Then stretches of at most 1,000
    tracks are turned round as long as that makes the way shorter (2-opt, Croes 1958). There is no
    chance in it: the same tracks give the same order.

    Parameters
    ----------
    probabilities : array_like [shape=(n, k), float]
        Of the genres of each track.

    Returns
    -------
    np.ndarray [shape=(n,), int64]
        Each row's number once.

    Raises
    ------
    DataError
        If there is no such table, or it holds what is no probability.

    Examples
    --------
    >>> flowing_order([[0.9, 0.1], [0.5, 0.5], [0.8, 0.2]]).tolist()
    [0, 2, 1]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not np.isfinite(p).all() or (p < 0).any():
        raise DataError(
            f"probabilities have the shape {p.shape}; an order needs a row of finite "
            "probabilities for each track"
        )
    n = len(p)
    if n < 3:
        return np.arange(n, dtype=np.int64)
    roots = np.sqrt(p)
    order = _nearest_first(roots)
    for shift in (0, _BLOCK // 2):  # the second time, across the borders of the first
        for start in range(shift, n, _BLOCK):
            block = order[max(0, start - 1) : start + _BLOCK + 1]
            if len(block) > 3:
                block[:] = _untangled(roots, block)
    return order


def _nearest_first(roots: Floats) -> npt.NDArray[np.int64]:
    """Rows, each followed by the nearest that is left."""
    n = len(roots)
    left = np.ascontiguousarray(roots.T, dtype=np.float32)
    numbers = np.arange(n)
    order = np.empty(n, dtype=np.int64)
    place = int(roots.max(axis=1).argmax())
    for count in range(n):
        order[count] = numbers[place]
        here = left[:, place].copy()
        last = n - count - 1
        left[:, place], numbers[place] = left[:, last], numbers[last]  # out of the way
        if last == 0:
            break
        # Of rows of one length, the nearest is the one with the largest product.
        products = here @ left[:, :last]
        near = np.flatnonzero(products == products.max())
        place = int(near[numbers[near].argmin()])
    return order


def _untangled(roots: Floats, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same rows; both ends stay, and no turning round of a stretch makes the way shorter."""
    order = order.copy()
    n = len(order)
    points = roots[order]
    square = (points**2).sum(axis=1)
    far = np.sqrt(np.maximum(square[:, None] + square - 2 * points @ points.T, 0.0))
    at = np.arange(n)  # which of the points stands where
    for _ in range(_ROUNDS):
        changed = False
        for i in range(n - 3):
            a, b = at[i], at[i + 1]
            c, d = at[i + 2 : n - 1], at[i + 3 : n]
            gain = far[a, b] + far[c, d] - far[a, c] - far[b, d]
            best = int(gain.argmax())
            if gain[best] > _ENOUGH:
                at[i + 1 : i + 3 + best] = at[i + 1 : i + 3 + best][::-1].copy()
                changed = True
        if not changed:
            break
    return order[at]


# --- files -----------------------------------------------------------------


def write_playlists(
    lists: Sequence[Playlist], folder: str | os.PathLike[str], *, force: bool = False
) -> list[Path]:
    """Write playlists into a folder, each ``NAME.m3u8``.

    Parameters
    ----------
    lists : sequence of Playlist
        With different names.
    folder : path-like
        Made if it is not there.
    force : bool
        Overwrite files that were not written here.

    Returns
    -------
    list of Path
        The files, in the order of `lists`.

    Raises
    ------
    DataError
        If one of the files is there and not ours, in which case nothing is written; or the disk
        refuses.
    """
    where = Path(folder)
    files: list[Path] = []
    taken: set[str] = set()
    for one in lists:
        stem = _file_stem(one.name)
        unique, number = stem, 2
        while unique.casefold() in taken:  # on some systems, names differ in more than case
            unique, number = f"{stem} {number}", number + 1
        taken.add(unique.casefold())
        files.append(where / f"{unique}.m3u8")
    foreign = (
        [] if force else [file for file in files if os.path.lexists(file) and not is_ours(file)]
    )
    if foreign:
        raise DataError(
            f"{foreign[0]}: is there, and genrescope did not write it; nothing was written. Choose "
            "another folder, or give --force to overwrite it"
        )
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{where}: cannot be made ({error.strerror or error}); choose another folder"
        ) from error
    for one, file in zip(lists, files, strict=True):
        text = playlist_text(one, where)
        with atomic(file) as part:
            part.write_text(text, "utf-8", newline="\n")
    return files


def is_ours(file: Path) -> bool:
    """Whether a file is a playlist that was written here."""
    try:
        with file.open("rb") as opened:
            head = opened.read(256).split(b"\n")
    except OSError:
        return False
    return MARKER.encode() in [line.strip() for line in head[:3]]


def playlist_text(playlist: Playlist, folder: Path) -> str:
    """A playlist as text.

    Parameters
    ----------
    playlist : Playlist
        Its tracks have paths.
    folder : Path
        That it will lie in.

    Returns
    -------
    str
        Lines that end in a line feed.
    """
    base = os.path.realpath(folder)  # ".." leads up from where the folder really is
    lines = ["#EXTM3U", MARKER, f"#PLAYLIST:{_one_line(playlist.name)}"]
    for track in playlist.tracks:
        if track.path is None:
            continue
        seconds = round(track.duration) if track.duration > 0 else -1
        lines.append(f"#EXTINF:{seconds},{_label(track)}")
        lines.append(_address(track.path, base))
    return "\n".join(lines) + "\n"


def _label(track: Prediction) -> str:
    title = track.title or (track.path.stem if track.path is not None else "")
    return _one_line(f"{track.artist} - {title}" if track.artist and track.title else title)


def _address(path: Path, base: str) -> str:
    """How a playlist in the folder `base` names a file."""
    whole = os.path.abspath(path)
    if _LINE_BREAKS.search(whole) or _broken(whole) or whole != whole.rstrip():
        drive = "/" if not whole.startswith("/") else ""  # file:///C:/...
        raw = os.fsencode(PurePath(whole).as_posix())
        return f"file://{drive}{quote_from_bytes(raw, safe='/:')}"
    try:
        near = os.path.relpath(whole, base)
    except ValueError:  # on another drive
        return whole
    # A name like "#1.mp3" would be a comment, and one like "http:x" an address.
    if re.match(r"[#\s]|[A-Za-z][A-Za-z0-9+.-]*:", near):
        near = os.path.join(os.curdir, near)
    return near


def _broken(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _one_line(text: str) -> str:
    clean = " ".join(_LINE_BREAKS.sub(" ", text).split())
    return clean.encode("utf-8", "replace").decode("utf-8")


def _file_stem(name: str) -> str:
    """A name that every system takes for a file."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "-", _one_line(name))[:_LONGEST].strip(" .")
    if not stem or _WINDOWS_NAMES.fullmatch(stem):
        # Only what stands before the first full stop counts there.
        head, dot, rest = stem.partition(".")
        stem = f"{head}_{dot}{rest}"
    return stem
