"""The same measure on thousands of labelled tracks: prepared frames without their top.

Prepared data holds no sound, so no codec can be tried on it. What codecs and low sampling rates do
most, they do by cutting off the top of the spectrum, and that can be done to frames
(:func:`genrescope.learn.train.augment.band_limited`). Each track is answered by the members of a
training run that had never met its artist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.audio import frames
from genrescope.catalog.prepared import PreparedData, load_prepared
from genrescope.catalog.splits import group_folds
from genrescope.errors import MissingExtraError, TrainingError
from genrescope.learn.bundle import Bundle
from genrescope.learn.calibrate import apply_temperature
from genrescope.learn.studies.robustness import Effect, Named, compare
from genrescope.learn.train.augment import band_limited

__all__ = ["CUTOFFS_HZ", "cutoff_effects"]

Floats = npt.NDArray[np.float64]

#: A brick wall at 16 kHz, and what sampling at 22.05, 16 and 8 kHz leaves.
CUTOFFS_HZ = (16_000.0, 11_025.0, 8_000.0, 4_000.0)
_AGREE = 0.02  # in log-probability; float16 weights and another runtime
_BATCH = 256


def cutoff_effects(
    run: Path,
    data: Path,
    *,
    cutoffs_hz: Sequence[float] = CUTOFFS_HZ,
) -> list[Effect]:
    """What a cut-off does to the out-of-fold answers of a training run.

    Parameters
    ----------
    run : Path
        Folder of a finished ``genrescope train default``.
    data : Path
        The prepared data that it was trained on.
    cutoffs_hz : sequence of float
        In Hz.

    Returns
    -------
    list of Effect
        One a cut-off, the most harmful first.

    Raises
    ------
    TrainingError
        If the folder holds no finished run, or one on other data.
    MissingExtraError
        If the packages for training are not installed.
    """
    try:
        record = json.loads((run / "run.json").read_text())["recipe"]
        bundle = Bundle.load(run / "bundle")
        temperatures = bundle.card["calibration"]["temperatures_by_fold"]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{run}: is no finished training run ({error}); give the folder that "
            "`genrescope train default --out` was given"
        ) from error
    prepared = load_prepared(data)
    prepared = prepared.where(prepared.genre_top != "")
    place = {genre: i for i, genre in enumerate(bundle.genres)}
    y = np.array([place.get(str(genre), -1) for genre in prepared.genre_top])
    folds = group_folds(y, prepared.artist_id, n_folds=record["folds"], seed=record["seed"])
    before = np.zeros((len(y), len(place)))
    after = {hz: np.zeros_like(before) for hz in cutoffs_hz}
    for k, temperature in enumerate(temperatures):
        rows = np.flatnonzero(folds == k)
        session = _open(_graph(run / f"fold-{k}", record, n_genres=len(place)))
        clean = _answer(session, _clean(prepared, rows))
        _check(run, k, clean)
        before[rows] = apply_temperature(clean, temperature)
        for hz in cutoffs_hz:
            limited = _answer(session, _limited(prepared, rows, hz))
            after[hz][rows] = apply_temperature(limited, temperature)
    found = [
        compare(
            before,
            after[hz],
            change=Named(f"cutoff-{hz:.0f}", f"nothing above {hz / 1000:g} kHz", "rate"),
            truth=y,
            units=prepared.artist_id,
            threshold=bundle.card["abstention"]["threshold"],
        )
        for hz in cutoffs_hz
    ]
    return sorted(found, key=lambda effect: (round(effect.same, 9), -effect.distance))


def _graph(folder: Path, record: dict[str, Any], *, n_genres: int) -> bytes:
    """The graph of the members of one fold, uncooled."""
    from genrescope.learn.train.export import Ensemble, build_graph
    from genrescope.learn.train.statnet import FrontScale

    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("answers out of fold", extra="train", package="lightgbm") from error
    try:
        ensemble = Ensemble(
            scale=FrontScale(**_read(folder / "scale.npz")),
            nets=[_read(folder / f"net-{i}.npz") for i in range(record["nets"])],
            frame_nets=[_read(folder / f"frames-{i}.npz") for i in range(record["frame_nets"])],
            trees=lightgbm.Booster(model_file=str(folder / "trees.txt")),
            frame_weight=record["frame_weight"],
            tree_weight=record["tree_weight"],
        )
        return build_graph(ensemble, temperature=1.0, n_genres=n_genres, name="fold")
    except (OSError, lightgbm.basic.LightGBMError) as error:
        raise TrainingError(
            f"{folder}: is not a whole fold ({error}); run `genrescope train default` again, "
            "it goes on where it stopped"
        ) from error


def _read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key].astype(np.float32) for key in stored.files}


def _open(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _batches(rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    yield from np.array_split(rows, max(1, -(-len(rows) // _BATCH)))


def _clean(data: PreparedData, rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.float32]]:
    for part in _batches(rows):
        yield frames.describe_prepared(data.mel[part], data.mfcc_3s[part])


def _limited(
    data: PreparedData, rows: npt.NDArray[np.intp], hz: float
) -> Iterator[npt.NDArray[np.float32]]:
    for part in _batches(rows):
        cutoffs = np.full(len(part), hz)
        yield band_limited(data.mel[part], data.mfcc_3s[part], cutoff_hz=cutoffs)


def _answer(session: Any, batches: Iterator[npt.NDArray[np.float32]]) -> Floats:
    """Log-probabilities [n, k]."""
    parts = [session.run(["probabilities"], {"features": x[:, None]})[0] for x in batches]
    return np.log(np.maximum(np.concatenate(parts).astype(np.float64), 1e-12))


def _check(run: Path, k: int, clean: Floats) -> None:
    """The members must say of unchanged tracks what they said in training."""
    try:
        with np.load(run / f"fold-{k}" / "answers.npz", allow_pickle=False) as stored:
            kept = stored["all"]
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{run}: fold {k} has no answers ({error}); train it again") from error
    if kept.shape != clean.shape or np.median(np.abs(kept - clean)) > _AGREE:
        raise TrainingError(
            f"{run}: the members of fold {k} do not give the answers that they gave in training; "
            "give the data that the run was trained on"
        )
