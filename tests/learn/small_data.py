"""A prepared folder of synthetic tracks, in the layout of the real one, small enough to train on.

Every genre has a spectrum and a tempo of its own, every artist a colour of its own on top of it, so
that both what is common to a genre and what gives an artist away can be learnt. No artist works in
two genres.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.mel import mfcc_matrix

#: Genres of the synthetic tracks, in alphabetical order.
GENRES = ("Folk", "Hip-Hop", "Pop", "Rock")

FIRST_ID = 1_000
_BANDS = 128
_FRAMES = 128
_DENSE = 130
_TEACHER = 128


def make_prepared(
    folder: Path,
    *,
    n_artists: int = 40,
    tracks_each: int = 3,
    genres: tuple[str, ...] = GENRES,
    genre_db: float = 6.0,
    artist_db: float = 2.0,
    teacher: bool = True,
    seed: int = 0,
) -> Path:
    """Write a prepared folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    n_artists, tracks_each : int
        How many artists, and tracks of each.
    genres : tuple of str
        Genres; artists take turns.
    genre_db, artist_db : float
        How far, in dB, the spectra of genres and of artists are apart. With ``genre_db=0`` the
        sound says nothing about the genre, only about the artist.
    teacher : bool
        Whether there is a ``small_vggish.npz``.
    seed : int
        Of everything.

    Returns
    -------
    Path
        The folder.
    """
    rng = np.random.default_rng(seed)
    artist = np.repeat(np.arange(n_artists), tracks_each)
    genre = artist % len(genres)
    n = len(artist)
    track_id = FIRST_ID + rng.permutation(5 * n)[:n]

    shape = _curves(rng, len(genres), genre_db)[genre] + _curves(rng, n_artists, artist_db)[artist]
    shape += _curves(rng, n, 0.7)
    period = np.where(genre_db > 0, 3.0 + 2.0 * genre, 5.0)[:, None] + rng.normal(0, 0.2, (n, 1))
    # Two in three frames are loud and one is quiet, at the pace of the genre.
    sparse = _sequence(rng, shape, 2.0 * _beat(period, _FRAMES, rng), noise_db=3.0)
    dense = _sequence(rng, shape, 2.0 * _beat(4.0 * period, _DENSE, rng), noise_db=2.0)

    folder.mkdir(parents=True, exist_ok=True)
    loudest = sparse.max(axis=(1, 2), keepdims=True)
    levels = np.clip((sparse - loudest + 80.0) * (255.0 / 80.0), 0.0, 255.0).astype(np.uint8)
    levels |= (levels > 0).astype(np.uint8)  # seven bits, as in the real data
    # The arrays are in another order than the table: rows belong together by their id.
    order = rng.permutation(n)
    ids = track_id[order].astype(np.int32)
    np.savez(folder / "small_mel_frames.npz", track_id=ids, mel=levels[order])
    mfcc = (mfcc_matrix(20, _BANDS) @ dense.astype(np.float32)).transpose(0, 2, 1)
    np.savez(folder / "small_mfcc.npz", track_id=ids, mfcc_3s=mfcc[order].astype(np.float16))
    if teacher:
        heard = rng.normal(size=(len(genres), _TEACHER))[genre] * (0.5 if genre_db > 0 else 0.0)
        heard += rng.normal(size=(n_artists, _TEACHER))[artist] * 0.3
        heard += rng.normal(size=(n, _TEACHER)) * 0.3
        np.savez(folder / "small_vggish.npz", track_id=ids, vggish=heard[order].astype(np.float32))
    with (folder / "small_tracks.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["track_id", "title", "genre_top", "subgenres", "artist_id", "artist_name"])
        for i in range(n):
            name = genres[genre[i]]
            writer.writerow(
                [track_id[i], f"Piece {i}", name, name, artist[i] + 1, f"Artist {artist[i]}"]
            )
    return folder


def edit_tracks(folder: Path, **columns: dict[int, str]) -> None:
    """Rewrite cells of the table: ``edit_tracks(folder, genre_top={row: value, ...})``."""
    path = folder / "small_tracks.csv"
    with path.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for column, cells in columns.items():
        for row, value in cells.items():
            rows[row][column] = value
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _curves(rng: np.random.Generator, n: int, db: float) -> npt.NDArray[np.float64]:
    """Smooth random curves over the bands [n, bands], in dB."""
    order = np.arange(1, 9)
    waves = np.cos(np.pi * order[:, None] * np.linspace(0.0, 1.0, _BANDS)[None, :])
    curves: npt.NDArray[np.float64] = db * (rng.normal(size=(n, len(order))) @ waves) / 2.0
    return curves


def _beat(
    period: npt.NDArray[np.float64], frames: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """A wave over time [n, frames] with a period in frames and a phase by chance."""
    phase = rng.uniform(size=(len(period), 1))
    beat: npt.NDArray[np.float64] = np.sin(2.0 * np.pi * (np.arange(frames) / period + phase))
    return beat


def _sequence(
    rng: np.random.Generator,
    shape: npt.NDArray[np.float64],
    beat: npt.NDArray[np.float64],
    *,
    noise_db: float,
) -> npt.NDArray[np.float64]:
    """Mel frames in dB [n, bands, frames]: a falling spectrum, its shape, the beat, noise."""
    fall = -np.linspace(0.0, 25.0, _BANDS)[None, :, None]
    noise = rng.normal(scale=noise_db, size=(*shape.shape, beat.shape[1]))
    frames: npt.NDArray[np.float64] = fall + shape[:, :, None] + beat[:, None, :] + noise
    return frames
