"""Text as numbers: hashed n-grams of characters and words, the same at training and prediction.

A text becomes a row of counts. Each n-gram has a column, which is the CRC-32 (ISO 3309, the one of
zip files) of its kind and its UTF-8 bytes, modulo the number of columns. No vocabulary has to be
kept, and the hash is the same on every machine and in every run, unlike Python's own. Only numpy
and the standard library are needed.

Genre words in a text are a shortcut: "Techno no. 2" says what it is. They can be masked, so that
what is learnt is how people name music, not that they name its genre.

References
----------
Weinberger, Dasgupta, Langford, Smola, Attenberg (2009), Feature hashing for large scale multitask
learning.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genrescope.catalog.genre_aliases import ALIASES, ID3V1
from genrescope.catalog.genres import GenreTree
from genrescope.errors import BundleError, DataError

__all__ = [
    "MASK_VERSION",
    "TextSettings",
    "count_rows",
    "mask_genre_words",
    "ngrams",
    "sparse_rows",
]

#: Of the rules of :func:`mask_genre_words`; a bundle says which it was trained with.
MASK_VERSION = 1

_HASH = "crc32"
_MAX_LENGTH = 4000  # characters of a text that are read; a biography can be a book

# Words inside genre names that say nothing of genre by themselves. "Old Time" and "Easy Listening"
# are masked as a whole all the same, and so are those that are a title or an alias alone.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
        a abstract acid africa african age american and art asia asian band big bit
        black blue book boom boy breaks british central century chicago chill chip
        children christian classic clicks clip club composed conscious contemporary
        cool cult cuts dark death deep delta detroit double down dream early easy east
        eastern effects elevator era europe european far field film fire first free
        freak french friendly game global good grass hard harsh heavy holiday hop in
        india indian intelligent interview kid kids latin left liquid listening lo
        loud low middle mix modern music musical musik musique national native neo new
        nite north novelty o of old on original other out outlaw pacific post power
        progressive radio recording recordings retro rhythm roll romantic roots score
        side singer slow smooth soft song songs sound south southern space specific
        speech speed spoken stand street talk teen tempo the theater theatre time
        timey top trailer trap trip turkey underground vocal wave way weird west
        western wonky word words world
        """,
    )
)
# Genre words that are short or common, but hardly mean anything else in a title.
_ALWAYS = frozenset(("house", "dance", "drum", "rap", "pop", "dub", "ska", "rnb", "emo", "hip"))
_ENDINGS = ("", "s", "y", "es", "er", "ers", "in", "ing", "ed", "ish", "ic", "al", "ist")


@dataclass(frozen=True)
class TextSettings:
    """How a text becomes a row.

    Attributes
    ----------
    bits : int
        The row has 2 ** bits columns.
    characters : (int, int)
        Shortest and longest n-grams of characters, inside words with their borders.
    words : int
        Longest n-grams of words; 0 for none.
    marks : bool
        Whether length, letter case, digits, punctuation and script are counted, too.
    mask : int
        Version of the genre words that are masked, 0 for none.
    """

    bits: int = 15
    characters: tuple[int, int] = (2, 4)
    words: int = 1
    marks: bool = True
    mask: int = MASK_VERSION

    def __post_init__(self) -> None:
        first, last = self.characters
        if not (4 <= self.bits <= 20 and 1 <= first <= last <= 8 and 0 <= self.words <= 4):
            raise DataError(
                f"text settings are {asdict(self)}; bits are 4 to 20, n-grams of 1 to 8 characters "
                "and of up to 4 words"
            )
        if self.mask not in (0, MASK_VERSION):
            raise DataError(
                f"the mask of genre words has version {self.mask}, this genrescope knows 0 (none) "
                f"and {MASK_VERSION}"
            )

    @property
    def columns(self) -> int:
        """How many numbers a row has."""
        return 1 << self.bits

    def to_dict(self) -> dict[str, Any]:
        """For the card, the name of the hash included."""
        return {**asdict(self), "characters": list(self.characters), "hash": _HASH}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> TextSettings:
        """From a card.

        Raises
        ------
        BundleError
            If the card asks for a hash or a mask that this version does not have.
        """
        try:
            if said["hash"] != _HASH:
                raise BundleError(
                    f"the text part is hashed by {said['hash']!r}, this genrescope has {_HASH!r}; "
                    "install the version that the bundle was made with"
                )
            first, last = said["characters"]
            return cls(
                bits=int(said["bits"]),
                characters=(int(first), int(last)),
                words=int(said["words"]),
                marks=bool(said["marks"]),
                mask=int(said["mask"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(
                f"the settings of the text part cannot be used ({error}); get the bundle again"
            ) from error


def ngrams(text: str, settings: TextSettings) -> Counter[str]:
    """What is counted in a text, by name: ``c:`` characters, ``w:`` words, ``m:`` marks.

    Parameters
    ----------
    text : str
        Any text; beyond 4,000 characters it is not read.
    settings : TextSettings
        How it is read.

    Returns
    -------
    Counter of str

    Examples
    --------
    >>> found = ngrams("Go Go", TextSettings(characters=(2, 3), mask=0, marks=False))
    >>> sorted(found.items())
    [('c: g', 2), ('c: go', 2), ('c:go', 2), ('c:go ', 2), ('c:o ', 2), ('w:go', 2)]
    """
    written = " ".join(unicodedata.normalize("NFKC", text[:_MAX_LENGTH]).split())
    if settings.mask:
        written = mask_genre_words(written)
    folded = written.casefold()
    first, last = settings.characters
    found: Counter[str] = Counter()
    for word in folded.split():
        padded = f" {word} "
        for n in range(first, last + 1):
            # A word shorter than n is counted once, whole.
            for start in range(max(1, len(padded) - n + 1)):
                found["c:" + padded[start : start + n]] += 1
            if len(padded) <= n:
                break
    if settings.words:
        words = re.findall(r"\w+", folded)
        for n in range(1, settings.words + 1):
            for start in range(len(words) - n + 1):
                found["w:" + " ".join(words[start : start + n])] += 1
    if settings.marks:
        found.update(_marks(written))
    return found


def sparse_rows(
    texts: Iterable[str], settings: TextSettings
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Counts of many texts, as the three arrays of a compressed sparse row matrix.

    Parameters
    ----------
    texts : iterable of n str
        In the order of the rows.
    settings : TextSettings
        How they are read.

    Returns
    -------
    data : np.ndarray [shape=(m,), float32]
    indices : np.ndarray [shape=(m,), int32]
        Columns, ascending in each row.
    indptr : np.ndarray [shape=(n + 1,), int32]
    """
    data: list[int] = []
    indices: list[int] = []
    indptr = [0]
    last = settings.columns - 1
    for text in texts:
        row: Counter[int] = Counter()
        for name, count in ngrams(text, settings).items():
            row[_column(name) & last] += count
        for column in sorted(row):
            indices.append(column)
            data.append(row[column])
        indptr.append(len(indices))
    return np.array(data, np.float32), np.array(indices, np.int32), np.array(indptr, np.int32)


def count_rows(texts: Iterable[str], settings: TextSettings) -> npt.NDArray[np.float32]:
    """Counts of a few texts, as the text part of a bundle takes them.

    Parameters
    ----------
    texts : iterable of n str
        In the order of the rows.
    settings : TextSettings
        How they are read.

    Returns
    -------
    np.ndarray [shape=(n, settings.columns), float32]

    Examples
    --------
    >>> rows = count_rows(["Food", ""], TextSettings(bits=8))
    >>> rows.shape, bool(rows[0].sum() > 5), float(rows[1].sum())
    ((2, 256), True, 0.0)
    """
    data, indices, indptr = sparse_rows(texts, settings)
    rows = np.zeros((len(indptr) - 1, settings.columns), dtype=np.float32)
    rows[np.repeat(np.arange(len(rows)), np.diff(indptr)), indices] = data
    return rows


def mask_genre_words(text: str) -> str:
    """A text without words that name a genre or style.

    Masked are the titles of the genre tree and their aliases, the words that longer names are made
    of unless they are everyday words ("time", "new"), and single words with common endings, too
    ("rocker", "bluesy"). Case, accents, hyphens and punctuation do not matter.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The rest, blanks between words as single ones.

    Examples
    --------
    >>> mask_genre_words("Hip-Hop tape vol. 2"), mask_genre_words("Rockers & old time songs")
    ('tape vol. 2', '& songs')
    >>> mask_genre_words("A new time")
    'A new time'
    """
    pieces = [(m.start(), m.end(), _fold(m[0])) for m in re.finditer(r"[^\W_]+(?:['’]\w+)?", text)]
    names = _genre_names()
    keep = [True] * len(text)
    at = 0
    while at < len(pieces):
        for length in range(min(_longest(), len(pieces) - at), 0, -1):
            phrase = tuple(piece[2] for piece in pieces[at : at + length])
            if phrase in names or (length == 1 and _is_genre_word(phrase[0])):
                for place in range(pieces[at][0], pieces[at + length - 1][1]):
                    keep[place] = False
                at += length
                break
        else:
            at += 1
    if all(keep):
        return " ".join(text.split())
    kept = "".join(c if k else " " for c, k in zip(text, keep, strict=True))
    return " ".join(kept.split())


@functools.cache
def _genre_names() -> frozenset[tuple[str, ...]]:
    """Every title and alias of two words or more, and "hiphop" beside "hip hop"."""
    known = [*GenreTree.fma().titles, *ID3V1, *(n for names in ALIASES.values() for n in names)]
    names = set()
    for name in known:
        words = tuple(_fold(word) for word in re.findall(r"[^\W_]+(?:['’]\w+)?", name))
        if len(words) > 1:
            names.add(words)
            names.add(("".join(words),))
            if "and" not in words and "&" in name:
                spelt = re.sub("[&+]", " and ", name)
                names.add(tuple(_fold(word) for word in re.findall(r"[^\W_]+", spelt)))
    return frozenset(names)


@functools.cache
def _longest() -> int:
    return max(len(name) for name in _genre_names())


@functools.cache
def _genre_words() -> frozenset[str]:
    """Genres of one word, and every word of the other names that is not an everyday word."""
    tree = [*GenreTree.fma().titles, *(n for names in ALIASES.values() for n in names)]
    whole = {_fold(name) for name in tree if re.fullmatch(r"[^\W_]+", name)}
    words = {_fold(word) for name in (*tree, *ID3V1) for word in re.findall(r"[^\W_]+", name)}
    return frozenset(w for w in words if len(w) >= 3 and w not in _COMMON) | whole | _ALWAYS


@functools.lru_cache(maxsize=65_536)
def _is_genre_word(word: str) -> bool:
    words = _genre_words()
    for ending in _ENDINGS:
        if ending and not word.endswith(ending):
            continue
        stem = word[: len(word) - len(ending)]
        # Three letters and an ending is mostly another word: "raps" and "pops", but not "poper".
        if stem in words and (len(stem) > 3 or ending in ("", "s")):
            return True
    return False


def _fold(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in plain if c.isalnum() and not unicodedata.combining(c))


def _marks(written: str) -> Iterable[str]:
    """What a text looks like, apart from its letters."""
    words = written.split()
    if not words:
        return []
    found = {
        f"m:words={min(len(words), 8)}",
        f"m:length={min(len(written) // 5, 10)}",
        "m:first=" + words[0].casefold(),
        "m:last=" + words[-1].casefold(),
    }
    if written.islower():
        found.add("m:lower")
    if written.isupper():
        found.add("m:upper")
    for c in set(written):
        if c.isdigit():
            found.add("m:digit")
        elif not c.isalnum() and not c.isspace():
            found.add("m:" + c)
        if not c.isascii():
            found.add(f"m:block={ord(c) >> 5:x}")  # a script, about
    return sorted(found)


@functools.lru_cache(maxsize=262_144)
def _column(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))
