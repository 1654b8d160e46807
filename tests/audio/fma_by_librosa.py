"""The descriptors of FMA by librosa, call for call as FMA's features.py makes them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

__all__ = ["ORDER", "series", "statistics"]

ORDER = (
    *("chroma_cens", "chroma_cqt", "chroma_stft", "mfcc", "rmse", "spectral_bandwidth"),
    *("spectral_centroid", "spectral_contrast", "spectral_rolloff", "tonnetz", "zcr"),
)


def series(x: np.ndarray, sr: int, *, convention: str = "fma") -> dict[str, np.ndarray]:
    """Every descriptor over time.

    The script was written for librosa 0.5, in which a chroma had as many bins an octave as pitch
    classes unless told otherwise, and ``rmse`` was the root of the mean of S**2.
    """
    import librosa

    feature: Any = librosa.feature
    octave = {"bins_per_octave": 12} if convention == "fma" else {}
    out = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # silence has no pitch
        out["zcr"] = feature.zero_crossing_rate(x, frame_length=2048, hop_length=512)
        cqt = np.abs(
            librosa.cqt(x, sr=sr, hop_length=512, bins_per_octave=12, n_bins=7 * 12, tuning=None)
        )
        out["chroma_cqt"] = feature.chroma_cqt(C=cqt, n_chroma=12, n_octaves=7, **octave)
        out["chroma_cens"] = feature.chroma_cens(C=cqt, n_chroma=12, n_octaves=7, **octave)
        out["tonnetz"] = feature.tonnetz(chroma=out["chroma_cens"])
        stft = np.abs(librosa.stft(x, n_fft=2048, hop_length=512))
        out["chroma_stft"] = feature.chroma_stft(S=stft**2, n_chroma=12)
    if convention == "fma":
        out["rmse"] = np.sqrt(np.mean(stft**2, axis=0, keepdims=True))
    else:
        out["rmse"] = feature.rms(S=stft)
    out["spectral_centroid"] = feature.spectral_centroid(S=stft)
    out["spectral_bandwidth"] = feature.spectral_bandwidth(S=stft)
    out["spectral_contrast"] = feature.spectral_contrast(S=stft, n_bands=6)
    out["spectral_rolloff"] = feature.spectral_rolloff(S=stft)
    mel = feature.melspectrogram(sr=sr, S=stft**2)
    out["mfcc"] = feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=20)
    return {name: out[name] for name in ORDER}


def statistics(values: np.ndarray) -> np.ndarray:
    """[rows, t] -> [7, rows], in the order of features.csv."""
    from scipy import stats

    return np.stack(
        [
            stats.kurtosis(values, axis=1),
            np.max(values, axis=1),
            np.mean(values, axis=1),
            np.median(values, axis=1),
            np.min(values, axis=1),
            stats.skew(values, axis=1),
            np.std(values, axis=1),
        ]
    )
