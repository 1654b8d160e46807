"""From a file or samples to a genre: the object that programs use.

>>> from genrescope import Recogniser
>>> recogniser = Recogniser.load()
>>> prediction = recogniser.predict("song.mp3")
>>> prediction.best in recogniser.genres
True
>>> prediction.genre == (prediction.best if prediction.sure else None)
True

Many files are recognised in worker processes that may die without taking anything with them;
the graph runs there too, so that only answers travel.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genrescope.catalog.tags import Tags, read_tags
from genrescope.errors import (
    AudioEmptyError,
    AudioNotFiniteError,
    DataError,
    GenrescopeError,
)
from genrescope.learn.bundle import DEFAULT_BUNDLE, Bundle
from genrescope.learn.parts.about import About
from genrescope.learn.parts.company import Company
from genrescope.learn.parts.familiarity import Familiarity
from genrescope.learn.parts.fusion import MetadataHead
from genrescope.learn.parts.hierarchy import TreeHead
from genrescope.learn.parts.known import KnownTracks
from genrescope.learn.prediction import Branch, FailedPrediction, Moment, Prediction, ranked

if TYPE_CHECKING:
    from genrescope.audio.frames import TrackFeatures

__all__ = ["FailedPrediction", "Moment", "Prediction", "Recogniser"]

_MAX_CHANNELS = 64  # more rows than this in a 2-D array are samples, not channels


class Recogniser:
    """Recognises genres with one bundle.

    Use :meth:`load`. Safe to share between threads.

    Parameters
    ----------
    bundle : Bundle
        What knows the genres.
    n_windows : int, optional
        How many windows of a long track are heard, spread evenly over it. More make the
        answer steadier and slower. Default: the one of the front end.
    workers : int, optional
        How many processes decode in :meth:`predict_many`. Default: one a core.
    metadata : bool
        Whether title, artist, album and date from the tags of a file have a say, where the
        bundle can read them. Tagged genres never have.

    Attributes
    ----------
    bundle : Bundle
        What knows the genres.
    known : KnownTracks or None
        The tracks that it knows, with their map; None where the bundle keeps none.

    Raises
    ------
    BundleError
        If the bundle needs a front end that this version of genrescope does not have, or an
        encoder that is not installed.
    DataError
        If `n_windows` is below 1 or `workers` below 0.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        n_windows: int | None = None,
        workers: int | None = None,
        metadata: bool = True,
    ) -> None:
        from genrescope.audio import frames
        from genrescope.audio.encoders import find_front_end

        self._front_end = find_front_end(bundle.card["front_end"], where=str(bundle.folder))
        self.bundle = bundle
        self.n_windows: int = frames.DEFAULT_WINDOWS if n_windows is None else n_windows
        self.workers = workers
        if self.n_windows < 1:
            raise DataError(f"n_windows is {n_windows}, expected 1 or more")
        if workers is not None and workers < 0:
            raise DataError(f"workers is {workers}, expected 0 (none beside this process) or more")
        self._threshold: float | None = bundle.card["abstention"]["threshold"]
        self._quantile: float = bundle.card["conformal"]["quantile"]
        parts = bundle.parts
        self._text = (
            MetadataHead(parts["text"], bundle.genres) if metadata and "text" in parts else None
        )
        self._tree = TreeHead(parts["tree"], bundle.genres) if "tree" in parts else None
        self._familiar = Familiarity(parts["familiar"]) if "familiar" in parts else None
        self.known: KnownTracks | None = KnownTracks(parts["known"]) if "known" in parts else None

    @classmethod
    def load(
        cls,
        bundle: str | os.PathLike[str] = DEFAULT_BUNDLE,
        *,
        n_windows: int | None = None,
        workers: int | None = None,
        metadata: bool = True,
    ) -> Recogniser:
        """Load a recogniser.

        Parameters
        ----------
        bundle : str or path-like
            ``"default"`` for the one that ships with genrescope, else a folder.
        n_windows, workers, metadata
            As for the class.

        Returns
        -------
        Recogniser

        Raises
        ------
        BundleError
            If the bundle is missing, damaged, or made for another version.
        """
        return cls(Bundle.load(bundle), n_windows=n_windows, workers=workers, metadata=metadata)

    @property
    def genres(self) -> tuple[str, ...]:
        """The genres that can be recognised."""
        return self.bundle.genres

    @property
    def knows_subgenres(self) -> bool:
        """Whether predictions have branches."""
        return self._tree is not None

    @property
    def card(self) -> dict[str, Any]:
        """What the bundle says about itself: data, scores, calibration, licence."""
        return self.bundle.card

    def predict(
        self, audio: str | os.PathLike[str] | npt.NDArray[Any], *, sr: float | None = None
    ) -> Prediction:
        """Recognise one file, or samples.

        The work is done in this process; :meth:`predict_many` shields you from decoders
        that crash.

        Parameters
        ----------
        audio : path-like, or np.ndarray [shape=(n,) or (channels, n)]
            A file of any format, or samples as librosa has them. Floats are taken as they
            are, int16, int32 and uint8 are scaled from their full range.
        sr : float, optional
            Sampling rate of the samples in Hz; needed with samples only.

        Returns
        -------
        Prediction

        Raises
        ------
        AudioError
            If the file cannot be read, or there is too little sound; the classes in
            :mod:`genrescope.errors` say which.
        DataError
            If the samples have a shape or type that cannot be sound, or `sr` is missing.
        """
        if isinstance(audio, np.ndarray):
            samples, rate = _mono(audio, sr)
            described = self._front_end.describe_samples(samples, sr=rate, n_windows=self.n_windows)
            return self._decide(described, Tags(), path=None)
        if not isinstance(audio, str | os.PathLike):
            raise DataError(
                f"audio is a {type(audio).__name__}, expected a path or a NumPy array of samples"
            )
        if sr is not None:
            raise DataError(f"sr is {sr}, but a file knows its own rate: leave sr out")
        path = Path(audio)
        described = self._front_end.describe_file(path, n_windows=self.n_windows)
        return self._decide(described, read_tags(path), path=path)

    def predict_many(
        self,
        paths: Iterable[str | os.PathLike[str] | None],
        *,
        workers: int | None = None,
        ordered: bool = True,
    ) -> Generator[Prediction | FailedPrediction, None, None]:
        """Recognise many files, several at a time.

        Parameters
        ----------
        paths : iterable of path-like
            Files; taken as they are needed, so a generator that never ends is fine. One
            that waits for its next path can yield None meanwhile, "nothing yet", so that
            results which are done come out.
        workers : int, optional
            Processes that decode: 0 does everything here, without protection from decoders
            that crash. Default: as given to :meth:`load`, else one a core.
        ordered : bool
            True gives the results in the order of `paths`, False as each is done.

        Yields
        ------
        Prediction or FailedPrediction
            One for each path. No file stops the others, whatever is in it.

        Raises
        ------
        DataError
            If `paths` is one path rather than several.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise DataError(f"paths is one path, {paths!r}: give a list, or call predict")
        count = self.workers if workers is None else workers
        return self._predict_many(paths, workers=count, ordered=ordered)

    def together(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Judge the tracks of each artist together.

        Most artists keep to few genres. So what the sound of an artist's other tracks says counts
        for each of them; no label enters. See :mod:`genrescope.learn.parts.company`.

        Parameters
        ----------
        predictions : sequence of Prediction
            Of this recogniser: a library, or a part of it. Artists are those of the tags.

        Returns
        -------
        list of Prediction
            In the same order; those of artists with one track are as they were.

        Raises
        ------
        BundleError
            If the bundle does not know how much other tracks count.
        """
        rule = Company.of_card(self.card, where=str(self.bundle.folder))
        return rule.answer(predictions)

    def _predict_many(
        self, paths: Iterable[str | os.PathLike[str] | None], *, workers: int | None, ordered: bool
    ) -> Generator[Prediction | FailedPrediction, None, None]:
        from genrescope.audio.workers import map_isolated

        results = map_isolated(
            partial(_predict_next, self),
            (None if path is None else Path(path) for path in paths),
            workers=workers,
            ordered=ordered,
        )
        # Closed at once when the caller stops early, so that no decoder goes on behind.
        with closing(results):
            for path, result in results:
                if path is None:
                    continue
                if isinstance(result, GenrescopeError):
                    yield FailedPrediction(path, type(result).__name__, str(result))
                elif result is not None:
                    yield result

    def _decide(self, described: TrackFeatures, tags: Tags, *, path: Path | None) -> Prediction:
        pooled, windows = self.bundle.run(described.features[np.newaxis])
        answer: npt.NDArray[np.float64] = pooled[0]
        sources: tuple[str, ...] = ("sound",)
        threshold, quantile = self._threshold, self._quantile
        if self._text is not None:
            about = About.from_tags(tags, duration=described.duration)
            answer, sources = self._text.fuse(answer, about)
            if sources != ("sound",):
                threshold, quantile = self._text.decision(sources)
        doubt = ""
        if self._familiar is not None:
            judged = self._familiar.judge(described.features, seconds=described.window)
            doubt = "" if judged.familiar else judged.reason
        branches: tuple[Branch, ...] = ()
        if self._tree is not None:
            branches = self._tree.describe(described.features, answer).paths()
        placed = None if self.known is None else self.known.look(described.features)
        timeline = tuple(
            Moment(
                float(start),
                min(float(start) + described.window, described.duration),
                ranked(self.genres, row),
            )
            for start, row in zip(described.offsets, windows[0], strict=True)
        )
        return Prediction.from_probabilities(
            dict(zip(self.genres, answer.tolist(), strict=True)),
            threshold=threshold,
            quantile=quantile,
            doubt=doubt,
            path=path,
            duration=float(described.duration),
            title=tags.title,
            artist=tags.artist,
            tagged_genres=tags.genres,
            timeline=timeline,
            sources=sources,
            branches=branches,
            similar=() if placed is None else placed.similar,
            position=None if placed is None else placed.position,
        )

    def __repr__(self) -> str:
        return f"Recogniser({self.bundle.name!r}, {len(self.genres)} genres)"


def _predict_next(recogniser: Recogniser, path: Path | None) -> Prediction | None:
    """What a worker does."""
    return None if path is None else recogniser.predict(path)


def _mono(samples: npt.NDArray[Any], sr: float | None) -> tuple[npt.NDArray[np.float32], int]:
    """Samples of any usual type and shape as mono float32, or an error that says why not."""
    if sr is None or not np.isfinite(sr) or round(sr) < 1:
        raise DataError(f"sr is {sr}; samples need their sampling rate, such as sr=44100")
    if samples.ndim not in (1, 2):
        raise DataError(f"samples have the shape {samples.shape}, expected (n,) or (channels, n)")
    if samples.ndim == 2 and samples.shape[0] > _MAX_CHANNELS:
        raise DataError(
            f"samples have the shape {samples.shape}, expected (channels, n); "
            "samples as soundfile reads them need a transpose: samples.T"
        )
    if samples.size == 0:
        raise AudioEmptyError("there are no samples; give a second or more of sound")
    y: npt.NDArray[Any]
    if samples.dtype == np.uint8:
        y = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype in (np.int16, np.int32):
        y = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    elif samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            y = samples.astype(np.float32)
    else:
        raise DataError(
            f"samples have the type {samples.dtype}, expected floats, int16, int32 or uint8"
        )
    if y.ndim == 2:
        y = y.mean(axis=0)
    if not np.isfinite(y).all():
        raise AudioNotFiniteError("samples hold NaN or infinity; replace them first")
    return np.ascontiguousarray(y, dtype=np.float32), round(sr)
