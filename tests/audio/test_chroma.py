"""Pitch classes are librosa's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genrescope.audio import chroma

librosa = pytest.importorskip("librosa", reason="librosa is the reference")

NOTES = np.random.default_rng(0).gamma(0.5, size=(84, 200)).astype(np.float32)
NOTES[:, 50:60] = 0


@pytest.mark.parametrize("bins", [12, 24, 36])
def test_octaves_are_summed(bins: int) -> None:
    theirs = librosa.feature.chroma_cqt(C=NOTES, bins_per_octave=bins, norm=None)
    np.testing.assert_allclose(chroma.chroma_of_notes(NOTES, bins_per_octave=bins), theirs, 1e-5)


@pytest.mark.parametrize("bins", [10, 0, -12, 6, 18])
def test_bins_must_make_an_octave(bins: int) -> None:
    with pytest.raises(ValueError) as error:
        chroma.chroma_of_notes(NOTES, bins_per_octave=bins)
    assert str(error.value) == f"bins_per_octave is {bins}; give a multiple of 12"


@pytest.mark.parametrize("count", [1, 30, 200])
def test_cens(count: int) -> None:
    some = NOTES[:, :count]
    theirs = librosa.feature.chroma_cens(C=some, bins_per_octave=12)
    np.testing.assert_allclose(
        chroma.chroma_cens(chroma.chroma_of_notes(some)), theirs, rtol=1e-5, atol=1e-7
    )


def test_what_is_made_of_notes_is_float32() -> None:
    classes = chroma.chroma_of_notes(NOTES)
    assert classes.dtype == chroma.chroma_cens(classes).dtype == np.float32
    assert chroma.normalise(classes, order=2).dtype == np.float32
    assert chroma.chroma_filters(22_050, n_fft=512).dtype == np.float32
    assert chroma.tonnetz(classes).dtype == np.float64


def test_tonnetz() -> None:
    classes = NOTES[:12]
    theirs = librosa.feature.tonnetz(chroma=classes)
    np.testing.assert_allclose(chroma.tonnetz(classes), theirs, atol=1e-7)


@pytest.mark.parametrize(("sr", "n_fft"), [(22_050, 2048), (44_100, 1024)])
@pytest.mark.parametrize("tuning", [0.0, 0.31, -0.5])
def test_filters(sr: int, n_fft: int, tuning: float) -> None:
    ours = chroma.chroma_filters(sr, n_fft=n_fft, tuning=tuning)
    theirs = librosa.filters.chroma(sr=sr, n_fft=n_fft, tuning=tuning)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert not ours.flags.writeable


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 9)),
        elements=st.floats(-100, 100, width=32),
    ),
    st.sampled_from([1, 2, np.inf]),
)
def test_norms(x: np.ndarray, order: float) -> None:
    theirs = librosa.util.normalize(x, norm=order, axis=0)
    np.testing.assert_allclose(chroma.normalise(x, order=order), theirs, rtol=1e-6, atol=1e-12)
