"""Early fusion: one network on the sound, the text and the numbers of a track at once.

For comparison with late fusion (:mod:`genrescope.learn.train.fusion`). Sources are dropped at
random in training, so that the network answers without them, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.parts.about import About
from genrescope.learn.parts.fusion import NumberScale
from genrescope.learn.parts.text_features import TextSettings, sparse_rows
from genrescope.learn.train.fusion import FusionRecipe, FusionTracks
from genrescope.learn.train.statnet import fit_front_scale

__all__ = ["EarlySettings", "early_out_of_fold"]

FloatArray = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EarlySettings:
    """Every number of the network.

    Attributes
    ----------
    components : int
        Principal components of the sound, and (half as many) of each text.
    width : int
        Hidden units.
    epochs, batch : int
        Of training.
    learning_rate, weight_decay, dropout : float
        Of training.
    drop_source : float
        How often a source is withheld in training.
    """

    components: int = 256
    width: int = 256
    epochs: int = 12
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.4
    drop_source: float = 0.25


def early_out_of_fold(
    sound: FloatArray,
    tracks: FusionTracks,
    *,
    sources: Sequence[str] = ("title", "artist"),
    settings: EarlySettings | None = None,
    seed: int = 0,
) -> dict[str, Floats]:
    """Log-probabilities of one network on all sources, out of fold.

    Parameters
    ----------
    sound : np.ndarray [shape=(n, d), float32]
        Statistics of the sound.
    tracks : FusionTracks
        Genres, folds by artist, and what else is known.
    sources : sequence of str
        What is read beside the sound; none gives the same network on sound alone.
    settings : EarlySettings, optional
        Every number.
    seed : int
        Of the weights and the order of tracks.

    Returns
    -------
    dict of str to np.ndarray [shape=(n, k), float64]
        "all": with everything that is known; "sound": of the same network, the rest withheld.

    Raises
    ------
    MissingExtraError
        If torch or scikit-learn are not installed.
    DataError
        If `sound` has another length.
    """
    y, folds, n_genres = tracks.y, tracks.folds, len(tracks.genres)
    if len(sound) != len(y):
        raise DataError(f"{len(sound)} rows of sound and {len(y)} tracks; give one row a track")
    chosen = settings or EarlySettings()
    out = {name: np.zeros((len(y), n_genres)) for name in ("all", "sound")}
    for k in np.unique(folds):
        train = folds != k
        blocks = [_sound_block(sound, train, chosen)]
        blocks += [_block(name, tracks.abouts, train, chosen, seed) for name in sources]
        answers = _train(blocks, y, train, n_genres=n_genres, settings=chosen, seed=seed)
        for name, values in answers.items():
            out[name][~train] = values
    return out


def _sound_block(sound: FloatArray, train: npt.NDArray[np.bool_], s: EarlySettings) -> FloatArray:
    components = min(s.components, int(train.sum()) - 1, sound.shape[1])
    return fit_front_scale(sound[train], n_components=components)(sound).astype(np.float32)


def _block(
    name: str,
    abouts: Sequence[About],
    train: npt.NDArray[np.bool_],
    s: EarlySettings,
    seed: int,
) -> FloatArray:
    """Numbers, or the principal directions of a text, each of unit spread; 0 where not known."""
    if name == "numbers":
        values = np.stack([about.numbers() for about in abouts])
        return NumberScale.fit(values[train])(values)
    try:
        from scipy import sparse
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfTransformer
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="scikit-learn") from error
    text: TextSettings = FusionRecipe().text
    data, indices, indptr = sparse_rows([about.text(name) or "" for about in abouts], text)
    rows = sparse.csr_matrix((data, indices, indptr), shape=(len(abouts), text.columns))
    scaled = TfidfTransformer(sublinear_tf=True).fit(rows[train]).transform(rows)
    few = min(s.components // 2, int(train.sum()) - 1)
    svd = TruncatedSVD(few, random_state=seed).fit(scaled[train])
    block = svd.transform(scaled)
    block /= np.maximum(block[train].std(axis=0), 1e-6)
    return np.asarray(np.clip(block, -5, 5), dtype=np.float32)


def _train(
    blocks: Sequence[FloatArray],
    y: IntArray,
    train: npt.NDArray[np.bool_],
    *,
    n_genres: int,
    settings: EarlySettings,
    seed: int,
) -> dict[str, Floats]:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("early fusion", extra="deep", package="torch") from error
    generator = torch.Generator().manual_seed(seed)
    s, width = settings, sum(block.shape[1] for block in blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(
            torch.nn.Dropout(s.dropout / 2),
            torch.nn.Linear(width, s.width),
            torch.nn.GELU(),
            torch.nn.Dropout(s.dropout),
            torch.nn.Linear(s.width, n_genres),
        )
        own = [torch.from_numpy(block[train]) for block in blocks]
        truth = torch.from_numpy(y[train])
        optimiser = torch.optim.AdamW(
            net.parameters(), s.learning_rate, weight_decay=s.weight_decay
        )
        steps = s.epochs * -(-len(truth) // s.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, s.learning_rate, total_steps=steps
        )
        for _ in range(s.epochs):
            for rows in torch.split(torch.randperm(len(truth), generator=generator), s.batch):
                kept: list[Any] = [own[0][rows]]
                for block in own[1:]:
                    keep = torch.rand((len(rows), 1), generator=generator) >= s.drop_source
                    kept.append(block[rows] * keep)
                loss = torch.nn.functional.cross_entropy(
                    net(torch.cat(kept, 1)), truth[rows], label_smoothing=0.05
                )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
    net.eval()
    held = [torch.from_numpy(block[~train]) for block in blocks]
    with torch.no_grad():
        full = net(torch.cat(held, 1)).log_softmax(1)
        bare = net(torch.cat([held[0], *(0 * block for block in held[1:])], 1)).log_softmax(1)
    return {"all": full.numpy().astype(np.float64), "sound": bare.numpy().astype(np.float64)}
