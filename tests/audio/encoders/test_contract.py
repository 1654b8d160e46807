"""What every encoder keeps to, whatever it is made of."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescope.audio import frames
from genrescope.audio.encoders import Encoder
from genrescope.audio.encoders.install import known_encoders
from genrescope.audio.encoders.registry import BUILT_IN
from genrescope.errors import AudioSilentError, AudioTooShortError, DataError

SR = 16_000


def sound(seconds: float, sr: int = SR) -> np.ndarray:
    """Tones that move, over noise: no two places are alike."""
    t = np.arange(int(seconds * sr)) / sr
    noise = np.random.default_rng(3).normal(size=len(t))
    return (0.3 * np.sin(2 * np.pi * (300 + 20 * t) * t) + 0.05 * noise).astype(np.float32)


def test_a_row_each_window(encoder: Encoder) -> None:
    y = sound(65)
    described = encoder.describe_samples(y, sr=SR)
    assert described.features.shape == (2, encoder.n_features)
    assert described.features.dtype == np.float32
    assert np.isfinite(described.features).all()
    assert described.features.std() > 0
    # The same windows as the front end that bundles have read from the beginning.
    usual = frames.describe_samples(y, sr=SR)
    np.testing.assert_array_equal(described.offsets, usual.offsets)
    assert (described.duration, described.window) == (usual.duration, usual.window)


def test_the_same_again_and_one_by_one(encoder: Encoder) -> None:
    y = sound(65)
    both = encoder.describe_samples(y, sr=SR)
    again = encoder.describe_samples(y, sr=SR)
    np.testing.assert_array_equal(both.features, again.features)
    for row, offset in zip(both.features, both.offsets, strict=True):
        start = round(offset * SR)
        window = y[start : start + 30 * SR]
        np.testing.assert_allclose(encoder.encode([window], sr=SR)[0], row, rtol=0, atol=1e-5)
    assert np.abs(both.features[0] - both.features[1]).max() > 1e-6


def test_short_sound_is_described_or_refused(encoder: Encoder) -> None:
    described = encoder.describe_samples(sound(1), sr=SR)
    assert described.features.shape == (1, encoder.n_features)
    assert np.isfinite(described.features).all()
    with pytest.raises(AudioTooShortError, match=r"at least 0\.5 s"):
        encoder.describe_samples(sound(0.2), sr=SR)
    with pytest.raises(AudioSilentError):
        encoder.describe_samples(np.zeros(2 * SR, np.float32), sr=SR)
    with pytest.raises(DataError, match="at least 1 window"):
        encoder.describe_samples(sound(2), sr=SR, n_windows=0)


@pytest.mark.parametrize("sr", [8_000, 22_050, 48_000])
def test_other_rates(encoder: Encoder, sr: int) -> None:
    described = encoder.describe_samples(sound(4, sr), sr=sr)
    assert described.features.shape == (1, encoder.n_features)
    assert np.isfinite(described.features).all()


def test_channels_and_files(encoder: Encoder, tmp_path: Path) -> None:
    y = sound(6)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([y, y], axis=1), SR, subtype="FLOAT")
    mono = encoder.describe_samples(y, sr=SR).features
    stereo = encoder.describe_samples(np.stack([y, y]), sr=SR).features
    np.testing.assert_allclose(stereo, mono, rtol=0, atol=1e-5)
    np.testing.assert_allclose(encoder.describe_file(path).features, mono, rtol=0, atol=1e-5)


def test_what_the_card_says(encoder: Encoder) -> None:
    said = encoder.parameters()
    assert said
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.parameters() == said
    y = sound(2)
    np.testing.assert_array_equal(
        copy.describe_samples(y, sr=SR).features, encoder.describe_samples(y, sr=SR).features
    )
    assert encoder.licence
    assert isinstance(encoder.version, str | int)


def test_what_is_built_in_is_listed_and_says_what_it_is() -> None:
    listed = {known.name: known for known in known_encoders()}
    for name in BUILT_IN:
        assert listed[name].installed
        assert not listed[name].about.startswith(";")
