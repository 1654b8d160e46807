"""Text as numbers: a hash that never changes, n-grams, and masked genre words."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.genre_aliases import ALIASES
from genrescope.catalog.genres import GenreTree
from genrescope.errors import BundleError, DataError
from genrescope.learn.parts.text_features import (
    TextSettings,
    count_rows,
    mask_genre_words,
    ngrams,
    sparse_rows,
)

SMALL = TextSettings(bits=10)


def test_columns_never_change() -> None:
    """A bundle is of no use once the columns move: these numbers may not be edited."""
    two = TextSettings(bits=12, characters=(2, 2), words=0, marks=False)
    # Case folding writes ss for ß.
    names = ("c: g", "c:gr", "c:rö", "c:ös", "c:ss", "c:se", "c:e ")
    assert set(ngrams("Größe", two)) == set(names)
    found = np.flatnonzero(count_rows(["Größe"], two)[0]).tolist()
    assert found == sorted(zlib.crc32(name.encode("utf-8")) % 4096 for name in names)
    assert np.flatnonzero(count_rows(["Food"], TextSettings(bits=12))[0]).tolist() == [
        *(51, 649, 948, 1101, 1290, 1438, 1887, 1912, 2387),
        *(2524, 2582, 2715, 2938, 3094, 3185, 3702, 3965),
    ]


@given(st.lists(st.text(), max_size=4))
def test_sparse_and_dense_agree(texts: list[str]) -> None:
    data, indices, indptr = sparse_rows(texts, SMALL)
    dense = count_rows(texts, SMALL)
    assert dense.shape == (len(texts), 1024)
    assert dense.dtype == np.float32
    for i in range(len(texts)):
        row = np.zeros(1024)
        row[indices[indptr[i] : indptr[i + 1]]] = data[indptr[i] : indptr[i + 1]]
        np.testing.assert_array_equal(row, dense[i])
        assert (np.diff(indices[indptr[i] : indptr[i + 1]]) > 0).all()


def test_what_is_counted() -> None:
    plain = TextSettings(characters=(3, 3), words=2, marks=False, mask=0)
    assert set(ngrams("Ab CD", plain)) == {
        *("c: ab", "c:ab ", "c: cd", "c:cd "),
        *("w:ab", "w:cd", "w:ab cd"),
    }
    marks = set(ngrams("LOUD 99!", TextSettings(words=0))) - set(
        ngrams("LOUD 99!", TextSettings(words=0, marks=False))
    )
    assert {"m:upper", "m:digit", "m:!", "m:words=2", "m:first=loud", "m:last=99!"} <= marks
    assert any(name.startswith("m:block=") for name in ngrams("Ночь", SMALL))
    assert not ngrams("", SMALL)
    assert not ngrams("Techno", SMALL)  # nothing is left to count
    assert ngrams("x" * 10_000, SMALL) == ngrams("x" * 4000, SMALL)


def test_every_genre_and_alias_is_masked() -> None:
    names = [*GenreTree.fma().titles, *(name for alias in ALIASES.values() for name in alias)]
    for name in names:
        rest = mask_genre_words(f"alpha {name} beta")
        assert [word for word in rest.split() if word.isalnum()] == ["alpha", "beta"], name


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("HIP HOP is dead", "is dead"),
        ("hiphop", ""),
        ("Rock'n'Roll Suicide", "Suicide"),
        ("Technology of tears", "Technology of tears"),
        ("A new space in time", "A new space in time"),
        ("Post-Punk-Girl", "-Girl"),
        ("Bluesy, jazzy & funky", ", &"),
        ("métal", ""),
        ("population", "population"),
    ],
)
def test_masking(text: str, rest: str) -> None:
    assert mask_genre_words(text) == rest


@given(st.text())
def test_masking_only_takes_away(text: str) -> None:
    masked = mask_genre_words(text)
    assert len(masked) <= len(text)
    assert masked == " ".join(masked.split())


def test_settings_travel() -> None:
    settings = TextSettings(bits=13, characters=(1, 5), words=0, marks=False, mask=0)
    assert TextSettings.from_dict(settings.to_dict()) == settings
    said = settings.to_dict()
    with pytest.raises(BundleError, match="hashed by 'murmur'"):
        TextSettings.from_dict({**said, "hash": "murmur"})
    with pytest.raises(BundleError, match="cannot be used"):
        TextSettings.from_dict({**said, "mask": 7})
    with pytest.raises(BundleError, match="cannot be used"):
        TextSettings.from_dict({"hash": "crc32"})
    with pytest.raises(DataError, match="bits are 4 to 20"):
        TextSettings(bits=30)
