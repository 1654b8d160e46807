"""Maps from inside a network, for a recogniser that was exported from a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.errors import DataError, MissingExtraError
from genrescope.explain.trained import load_trained
from genrescope.explain.why.gradients import (
    cells_of,
    grad_cam,
    integrated_gradients,
    randomised,
    score_of_picture,
)
from genrescope.explain.why.hearing import Heard
from genrescope.explain.why.saliency import Deletion, Floats, deletion, rank_correlation
from genrescope.learn.deep.data import picture

try:
    import torch
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("gradients", extra="deep", package="torch") from error

__all__ = ["NetworkMaps", "maps_of", "run_of"]


@dataclass(frozen=True, eq=False)
class NetworkMaps:
    """What counted, by the gradients of the network itself.

    Attributes
    ----------
    network : str
        Its name.
    cam : np.ndarray [shape=(115, 128), float64] or None
        Grad-CAM, 0 to 1; None where the network has no two-dimensional convolution.
    integrated : np.ndarray [shape=(115, 128), float64]
        Integrated gradients, in log-odds.
    difference, missing : float
        What those should add up to, and how far they are from it.
    chance_cam, chance : float
        Rank correlation of each map with that of the same network with shuffled weights.
    deletion : Deletion
        Whether the integrated gradients are true.
    """

    network: str
    cam: Floats | None
    integrated: Floats
    difference: float
    missing: float
    chance_cam: float
    chance: float
    deletion: Deletion

    def to_dict(self) -> dict[str, Any]:
        """The numbers, fit for JSON."""

        def number(value: float) -> float | None:
            return round(value, 4) if np.isfinite(value) else None

        return {
            "network": self.network,
            "difference": number(self.difference),
            "missing": number(self.missing),
            "grad_cam_with_shuffled": number(self.chance_cam),
            "integrated_with_shuffled": number(self.chance),
            "deletion": self.deletion.to_dict(),
        }


def run_of(bundle: Path) -> Path | None:
    """The run that a bundle was exported from, where it still lies in it."""
    for folder in (bundle, bundle.parent):
        try:
            record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and record.get("kind") == "network":
            return folder
    return None


def maps_of(run: Path, heard: Heard, genre: str, *, seed: int = 0, steps: int = 64) -> NetworkMaps:
    """Look into the network of a run while it listens.

    Parameters
    ----------
    run : Path
        The run's folder.
    heard : Heard
        A window of sound.
    genre : str
        The genre that is explained.
    seed : int
        Of the shuffled weights and the random orders.
    steps : int
        Of the integrated gradients.

    Returns
    -------
    NetworkMaps

    Raises
    ------
    DataError
        If the run is not one of a network, or it does not know the genre.
    """
    trained = load_trained(run)
    if genre not in trained.genres:
        raise DataError(f"{run}: does not know {genre!r}; it knows {', '.join(trained.genres)}")
    place = trained.genres.index(genre)
    x = picture(torch.from_numpy(np.ascontiguousarray(heard.db))[None])[0].numpy()
    hears_dense = trained.architecture.hears_dense
    others = (torch.from_numpy(heard.dense.copy())[None],) if hears_dense else ()
    bands = len(heard.db)
    other = randomised(trained.net, seed=seed)
    found = integrated_gradients(trained.net, x, place, steps=steps, others=others)
    shuffled = integrated_gradients(other, x, place, steps=16, others=others)
    cams = []
    for net in (trained.net, other):
        try:
            cams.append(grad_cam(net, x, place, others=others)[:bands])
        except DataError:  # no two-dimensional convolution
            break
    score = score_of_picture(trained.net, x, place, heard.shape, others=others)
    return NetworkMaps(
        network=trained.architecture.name,
        cam=cams[0] if cams else None,
        integrated=found.values[:bands],
        difference=found.difference,
        missing=found.missing,
        chance_cam=rank_correlation(*cams) if cams else float("nan"),
        chance=rank_correlation(found.values, shuffled.values),
        deletion=deletion(score, cells_of(found.values, heard.shape), seed=seed),
    )
