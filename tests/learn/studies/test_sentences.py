"""Sentence encoders: loaded from a folder, with a tiny model of a real class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescope.errors import DataError
from genrescope.learn.parts.about import About
from genrescope.learn.studies.sentences import SentenceEncoder, sentences_out_of_fold


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "riot", "song"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_texts_become_vectors(tiny: Path) -> None:
    encoder = SentenceEncoder.load(str(tiny))
    rows = encoder.encode(["river song", "", "riot riot riot song", "river song"], batch=2)
    assert rows.shape == (4, 16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 1, 1], atol=1e-5)
    # Padding beside a longer text changes nothing.
    np.testing.assert_allclose(rows[0], rows[3], atol=1e-5)
    assert np.abs(rows[0] - rows[2]).max() > 0.01


def test_a_name_needs_a_commit(tmp_path: Path) -> None:
    for revision in (None, "main", "v1.0"):
        with pytest.raises(DataError, match="40 hexadecimal digits"):
            SentenceEncoder.load("sentence-transformers/all-MiniLM-L6-v2", revision=revision)
    pytest.importorskip("transformers")
    with pytest.raises(DataError, match="cannot be loaded"):
        SentenceEncoder.load(str(tmp_path))


def test_pickled_weights_are_refused(tiny: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import shutil

    folder = shutil.copytree(tiny, tmp_path / "pickled")
    weights = folder / "model.safetensors"
    weights.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be loaded"):
        SentenceEncoder.load(str(folder))


def test_vectors_tell_genres_apart(tiny: Path) -> None:
    encoder = SentenceEncoder.load(str(tiny))
    y = np.tile([0, 1], 30)
    abouts = [About(title=("river song", "riot riot")[genre]) for genre in y]
    log_p = sentences_out_of_fold(encoder, abouts, y, np.arange(60) // 20, n_genres=3)
    assert (log_p.argmax(1) == y).all()
    assert np.isfinite(log_p).all()
