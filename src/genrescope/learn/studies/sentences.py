"""Text by a pretrained sentence encoder, for comparison with hashed n-grams.

An encoder is named by its repository and a revision, which has to be a commit: a name alone may
mean other weights tomorrow. Weights are read from safetensors only, and no code of the repository
is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.errors import DataError, MissingExtraError
from genrescope.learn.parts.about import About

__all__ = ["SentenceEncoder", "sentences_out_of_fold"]


@dataclass(frozen=True, eq=False)
class SentenceEncoder:
    """Turns texts into vectors; use :meth:`load`.

    Attributes
    ----------
    name, revision : str
        Which encoder it is, for the record of a study.
    """

    name: str
    revision: str
    _tokenizer: Any = field(repr=False)
    _model: Any = field(repr=False)

    @classmethod
    def load(cls, name: str, *, revision: str | None = None) -> SentenceEncoder:
        """Load an encoder from the Hugging Face Hub, or from a folder.

        Parameters
        ----------
        name : str
            Such as ``"sentence-transformers/all-MiniLM-L6-v2"``, or a folder that holds a model
            and its tokenizer.
        revision : str, optional
            The commit, 40 hexadecimal digits; needed unless `name` is a folder.

        Raises
        ------
        DataError
            If the revision is no commit, or there is no such encoder with safetensors weights.
        MissingExtraError
            If transformers or torch are not installed.
        """
        local = Path(name).is_dir()
        if not local and re.fullmatch(r"[0-9a-f]{40}", revision or "") is None:
            raise DataError(
                f"{name}: its revision is {revision!r}; give the commit that is meant, 40 "
                "hexadecimal digits, so that the numbers stay what they are"
            )
        try:
            import torch  # noqa: F401 - what transformers computes with
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            package = "torch" if error.name == "torch" else "transformers"
            raise MissingExtraError(
                "a sentence encoder", extra="encoders", package=package
            ) from error
        pinned: dict[str, Any] = {} if local else {"revision": revision}
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **pinned)
            model = AutoModel.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, **pinned
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{name}: cannot be loaded as a sentence encoder ({reason})") from error
        return cls(name, revision or "folder", tokenizer, model.eval())

    def encode(self, texts: Sequence[str], *, batch: int = 64) -> npt.NDArray[np.float32]:
        """Mean of the last layer over the tokens of each text, of length 1.

        Parameters
        ----------
        texts : sequence of n str
            Cut after 128 tokens.
        batch : int
            How many at a time.

        Returns
        -------
        np.ndarray [shape=(n, width), float32]
            A row of zeros where a text is blank.
        """
        import torch

        width = int(self._model.config.hidden_size)
        out = np.zeros((len(texts), width), dtype=np.float32)
        said = [i for i, text in enumerate(texts) if text.strip()]
        for first in range(0, len(said), batch):
            rows = said[first : first + batch]
            tokens = self._tokenizer(
                [texts[i] for i in rows],
                padding=True,
                truncation=True,
                max_length=128,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None].to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            out[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return out


def sentences_out_of_fold(
    encoder: SentenceEncoder,
    abouts: Sequence[About],
    y: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    *,
    n_genres: int,
    source: str = "title",
) -> npt.NDArray[np.float64]:
    """Log-probabilities from a text source by a logistic regression on its vectors, out of fold.

    Parameters
    ----------
    encoder : SentenceEncoder
        What reads.
    abouts : sequence of n About
        What is known of the tracks; genre words are not masked.
    y, folds : np.ndarray [shape=(n,), int64]
        True genres, and folds by artist.
    n_genres : int
        How many there are.
    source : str
        Which text.

    Returns
    -------
    np.ndarray [shape=(n, n_genres), float64]
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:  # pragma: no cover - the tests have it
        raise MissingExtraError("training", extra="train", package="scikit-learn") from error
    rows = encoder.encode([about.text(source) or "" for about in abouts])
    log_p = np.full((len(y), n_genres), -30.0)
    for k in np.unique(folds):
        train = folds != k
        model = LogisticRegression(C=10.0, max_iter=500).fit(rows[train], y[train])
        log_p[np.ix_(~train, model.classes_)] = model.predict_log_proba(rows[~train])
    return np.asarray(np.maximum(log_p, -30.0), dtype=np.float64)
