"""Why a recogniser gives a track a genre: what of the sound spoke for it and what against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.audio.frames import WINDOW_SECONDS
from genrescope.errors import DataError
from genrescope.explain.signal.excerpt import PLAYED_HZ, Excerpt, read_excerpt
from genrescope.explain.why.hearing import Heard, hear, score_of
from genrescope.explain.why.listening import best_cells, masked
from genrescope.explain.why.saliency import (
    Deletion,
    Floats,
    Occlusion,
    deletion,
    occlude,
    rank_correlation,
)

if TYPE_CHECKING:
    from genrescope.explain.why.network import NetworkMaps
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.prediction import Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Why", "explain_track", "shuffled", "sounds_of"]


@dataclass(frozen=True, eq=False)
class Why:
    """Why one window of a track sounds like a genre to a recogniser.

    Attributes
    ----------
    excerpt : Excerpt
        The window.
    verdict : Prediction
        What the recogniser says of the whole track.
    genre : str
        The genre that is explained.
    probability : float
        Of that genre, in this window.
    heard : Heard
        The window as the recogniser hears it.
    occlusion : Occlusion
        What each part is worth.
    deletion : Deletion
        Whether that is true.
    kept : np.ndarray [shape=(bands, times), bool]
        The cells that speak most for the genre.
    alone : float
        Probability of the genre where only those are left.
    chance : float or None
        Rank correlation with the map of the same recogniser whose weights were shuffled; None
        where that could not be asked.
    bundle : str
        Name and version of the recogniser.
    network : NetworkMaps or None
        Maps from inside the network, where the recogniser lies in the run that it came from and
        torch is installed.
    """

    excerpt: Excerpt
    verdict: Prediction
    genre: str
    probability: float
    heard: Heard
    occlusion: Occlusion
    deletion: Deletion
    kept: npt.NDArray[np.bool_]
    alone: float
    chance: float | None
    bundle: str
    network: NetworkMaps | None = None

    def to_dict(self) -> dict[str, Any]:
        """The numbers, fit for JSON."""
        piece = self.excerpt
        return {
            "title": piece.title,
            "artist": piece.artist,
            "start": round(piece.start, 3),
            "seconds": round(self.heard.seconds, 3),
            "recogniser": self.bundle,
            "genre": self.genre,
            "probability_in_window": round(self.probability, 4),
            "probabilities": {g: round(p, 4) for g, p in self.verdict.probabilities.items()},
            "band_edges_hz": np.round(self.heard.band_edges, 1).tolist(),
            "time_edges_s": np.round(piece.start + self.heard.time_edges, 3).tolist(),
            "occlusion": self.occlusion.to_dict(),
            "deletion": self.deletion.to_dict(),
            "kept": self.kept.astype(int).tolist(),
            "probability_of_kept": round(self.alone, 4),
            "correlation_with_shuffled": None if self.chance is None else round(self.chance, 4),
            "network": None if self.network is None else self.network.to_dict(),
        }


def explain_track(
    recogniser: Recogniser,
    path: Path,
    *,
    genre: str | None = None,
    at: float | None = None,
    draws: int = 600,
    seed: int = 0,
) -> Why:
    """Find out what of a track speaks for a genre.

    Parameters
    ----------
    recogniser : Recogniser
        Who is asked.
    path : Path
        The track.
    genre : str, optional
        Default: the one that the recogniser finds most probable.
    at : float, optional
        A moment of the 30-s window that is explained, in seconds. Default: the window of the
        track that sounds most like the genre.
    draws, seed : int
        As of :func:`genrescope.explain.why.saliency.occlude`.

    Returns
    -------
    Why

    Raises
    ------
    AudioError
        Whatever is wrong with the file.
    DataError
        If the recogniser does not know the genre, or `at` is outside the track.
    """
    from genrescope.audio.decode import open_audio

    bundle = recogniser.bundle
    if bundle.card["front_end"]["name"] != "frames":
        raise DataError(
            f"{bundle.name} hears with {bundle.card['front_end']['name']}, whose rows cannot be "
            "hidden piece by piece; explain with a bundle on frames, such as the default one"
        )
    if genre is not None and genre not in bundle.genres:
        raise DataError(
            f"{bundle.name} does not know {genre!r}; it knows {', '.join(bundle.genres)}"
        )
    verdict = recogniser.predict(path)
    asked = verdict.best if genre is None else genre
    if at is None:
        best = max(verdict.timeline, key=lambda moment: moment.probabilities[asked])
        at = (best.start + best.end) / 2
    excerpt = read_excerpt(path, seconds=WINDOW_SECONDS, at=at)
    with open_audio(path) as audio:
        y = audio.read(offset=excerpt.start, duration=WINDOW_SECONDS)
        heard = hear(y, sr=audio.sr)
    score = score_of(heard, bundle, asked)
    found = occlude(score, heard.shape, draws=draws, seed=seed)
    kept = best_cells(found.cells)
    return Why(
        excerpt=excerpt,
        verdict=verdict,
        genre=asked,
        probability=_probability(found.whole),
        heard=heard,
        occlusion=found,
        deletion=deletion(score, found.cells, seed=seed),
        kept=kept,
        alone=_probability(float(score(kept[None])[0])),
        chance=_chance(bundle, heard, asked, found.cells, draws=draws, seed=seed),
        bundle=bundle.name,
        network=_inside(bundle, heard, asked, seed=seed),
    )


def sounds_of(why: Why) -> Excerpt:
    """The excerpt with only what spoke for the genre, a little quieter where it would clip."""
    played = masked(
        why.excerpt.played,
        why.kept,
        sr=PLAYED_HZ,
        band_edges=why.heard.band_edges,
        time_edges=why.heard.time_edges,
    )
    peak = float(np.abs(played).max(initial=0.0))
    return replace(why.excerpt, played=played / max(1.0, peak))


def shuffled(bundle: Bundle, *, seed: int = 0) -> Bundle | None:
    """The same recogniser with the numbers of each large weight in another order.

    Parameters
    ----------
    bundle : Bundle
        Whose graph is taken.
    seed : int
        Of the order.

    Returns
    -------
    Bundle or None
        None where the package onnx, which can change graphs, is not installed.
    """
    from genrescope.learn.bundle import GRAPH_FILE
    from genrescope.learn.bundle import Bundle as Made

    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load_model_from_string((bundle.folder / GRAPH_FILE).read_bytes())
    rng = np.random.default_rng(seed)
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and values.size > 1:
            mixed = rng.permutation(values.ravel()).reshape(values.shape)
            weight.CopyFrom(onnx.numpy_helper.from_array(mixed, weight.name))
    return Made(folder=bundle.folder, card=bundle.card, graph=model.SerializeToString())


def _inside(bundle: Bundle, heard: Heard, genre: str, *, seed: int) -> NetworkMaps | None:
    """Maps from inside the network, where there is one at hand."""
    from genrescope.errors import MissingExtraError

    try:
        from genrescope.explain.why.network import maps_of, run_of
    except MissingExtraError:
        return None
    run = run_of(bundle.folder)
    return None if run is None else maps_of(run, heard, genre, seed=seed)


def _chance(
    bundle: Bundle, heard: Heard, genre: str, cells: Floats, *, draws: int, seed: int
) -> float | None:
    """How alike the map is to that of a recogniser that has forgotten everything."""
    from genrescope.errors import BundleError

    other = shuffled(bundle, seed=seed)
    if other is None:
        return None
    try:
        found = occlude(score_of(heard, other, genre), heard.shape, draws=draws, seed=seed + 1)
    except (BundleError, DataError):  # a graph whose shuffled weights make no numbers
        return None
    correlation = rank_correlation(cells, found.cells)
    return None if np.isnan(correlation) else correlation


def _probability(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))
