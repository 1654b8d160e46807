"""The genre tree of the Free Music Archive: 163 genres, 16 of them top-level.

Titles, parents and ids are those of FMA (Defferrard et al., ISMIR 2017, CC BY 4.0).
"""

from __future__ import annotations

import csv
import difflib
import functools
import importlib.resources
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType

from genrescope.catalog.genre_aliases import ALIASES, ID3V1
from genrescope.errors import TableError, UnknownGenreError

__all__ = ["GENRE_COLOURS", "Genre", "GenreTree", "split_genres"]

# Chosen by search: in each group the smallest difference (CIEDE2000) between two colours is
# as large as we could make it, with normal vision and with simulated protanopia, deuteranopia
# and tritanopia (Machado et al. 2009), at a contrast of 3:1 or more against white and against
# near-black. The eight genres of FMA-small came first.
GENRE_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "Hip-Hop": "#b88f00",
        "Pop": "#f55c7a",
        "Folk": "#0a8552",
        "Experimental": "#473dff",
        "Rock": "#c21400",
        "International": "#b80085",
        "Electronic": "#0099ff",
        "Instrumental": "#998fad",
        "Blues": "#29668f",
        "Classical": "#707ab8",
        "Country": "#ad7029",
        "Easy Listening": "#70997a",
        "Jazz": "#9933c2",
        "Old-Time / Historic": "#5c6629",
        "Soul-RnB": "#ff33eb",
        "Spoken": "#997085",
    }
)
"""One colour per top-level genre, used in every table, figure and page."""

_NAMED = 100  # characters of a name that a message repeats
_LONGEST = 20_000  # characters of a tag that are looked at; some hold whole web pages
_BRACKETED = re.compile(r"\((\d{1,3}|RX|CR)\)")


@dataclass(frozen=True)
class Genre:
    """One genre; ``parent`` is 0 for a top-level genre."""

    id: int
    parent: int
    title: str


class GenreTree:
    """Genres by name, id or alias, and their place in the tree.

    Parameters
    ----------
    genres : iterable of Genre
        Every genre once, in any order.
    aliases : mapping of str to iterable of str
        Title to other names for it.

    Raises
    ------
    TableError
        If an id or title occurs twice, a parent does not exist, parents form a cycle, or an
        alias belongs to no title or to two.

    Examples
    --------
    >>> tree = GenreTree.fma()
    >>> tree.canonical("hip hop"), tree.canonical("R&B"), tree.canonical(21)
    ('Hip-Hop', 'Soul-RnB', 'Hip-Hop')
    >>> tree.path("Chiptune")
    ('Electronic', 'Chip Music', 'Chiptune')
    >>> tree.top("Trip Hop")
    'Electronic'
    """

    def __init__(
        self, genres: Iterable[Genre], *, aliases: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self._by_id: dict[int, Genre] = {}
        for genre in genres:
            if genre.id in self._by_id:
                raise TableError(f"genre id {genre.id} occurs twice; each genre needs its own")
            self._by_id[genre.id] = genre
        self._by_key: dict[str, Genre] = {}
        for genre in self._by_id.values():
            key = _key(genre.title)
            if not key:
                raise TableError(f"genre {genre.id} has the title {genre.title!r}; it needs one")
            if key in self._by_key:
                other = self._by_key[key].id
                raise TableError(f"genres {other} and {genre.id} have one title, {genre.title!r}")
            self._by_key[key] = genre
        self._paths = {id_: self._path_of(id_) for id_ in self._by_id}
        self._add_aliases(aliases or {})

    @classmethod
    @functools.cache
    def fma(cls) -> GenreTree:
        """The tree that ships with genrescope: 163 genres and their usual other names."""
        file = importlib.resources.files(__package__) / "fma_genres.csv"
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        tree = cls(
            (Genre(int(r["id"]), int(r["parent"]), r["title"]) for r in rows), aliases=ALIASES
        )
        for row in rows:
            top = tree._paths[int(row["id"])][0].id
            if top != int(row["top_level"]):
                raise TableError(f"genre {row['id']} rolls up to {top}, not {row['top_level']}")
        return tree

    @property
    def titles(self) -> tuple[str, ...]:
        """Every canonical name, in alphabetical order."""
        return tuple(sorted(g.title for g in self._by_id.values()))

    @property
    def top_level(self) -> tuple[str, ...]:
        """The names of the top-level genres, in alphabetical order."""
        return tuple(sorted(g.title for g in self._by_id.values() if g.parent == 0))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, name: object) -> bool:
        try:
            self._find(name, hint=False)
        except UnknownGenreError:
            return False
        return True

    def canonical(self, name: str | int) -> str:
        """The title of a genre.

        Parameters
        ----------
        name : str or int
            A title, an alias, or an FMA id (``21`` or ``"21"``). Case, accents, blanks and
            punctuation do not matter, and ``&`` is ``and``. A number in brackets is one of
            ID3v1's 80 genres: ``"(17)"`` is Rock, and so is ``"(17)Rock"``.

        Raises
        ------
        UnknownGenreError
            If there is no such genre; the message says the nearest ones.
        """
        return self._find(name).title

    def id(self, name: str | int) -> int:
        """The FMA id of a genre; `name` and errors as in :meth:`canonical`."""
        return self._find(name).id

    def top(self, name: str | int) -> str:
        """The top-level genre above `name`; names and errors as in :meth:`canonical`."""
        return self._paths[self._find(name).id][0].title

    def path(self, name: str | int) -> tuple[str, ...]:
        """Titles from the top-level genre down to `name` itself; errors as in :meth:`canonical`."""
        return tuple(g.title for g in self._paths[self._find(name).id])

    def children(self, name: str | int) -> tuple[str, ...]:
        """Titles one level below `name`, in alphabetical order; errors as in :meth:`canonical`."""
        parent = self._find(name).id
        return tuple(sorted(g.title for g in self._by_id.values() if g.parent == parent))

    def _path_of(self, id_: int) -> tuple[Genre, ...]:
        chain = [self._by_id[id_]]
        while (parent := chain[0].parent) != 0:
            if parent not in self._by_id:
                raise TableError(
                    f"genre {chain[0].id} ({chain[0].title}) has the parent {parent}, which "
                    "is no genre; top-level genres have the parent 0"
                )
            if any(g.id == parent for g in chain):
                loop = " > ".join(str(g.id) for g in chain)
                raise TableError(f"genres {loop} are each other's parents; a tree has no cycle")
            chain.insert(0, self._by_id[parent])
        return tuple(chain)

    def _add_aliases(self, aliases: Mapping[str, Iterable[str]]) -> None:
        for title, names in aliases.items():
            genre = self._by_key.get(_key(title))
            if genre is None or genre.title != title:
                raise TableError(f"aliases are given for {title!r}, which is no title")
            for name in names:
                taken = self._by_key.setdefault(_key(name), genre)
                if taken is not genre:
                    raise TableError(f"alias {name!r} means both {taken.title} and {title}")

    def _find(self, name: object, *, hint: bool = True) -> Genre:
        if isinstance(name, bool) or not isinstance(name, str | Integral):
            raise UnknownGenreError(f"{_short(name)} is no genre; give its name or its FMA id")
        if isinstance(name, Integral):
            return self._from_id(int(name))
        text = name.strip()
        if text.isascii() and text.isdigit() and len(text) < 19:
            return self._from_id(int(text))
        if found := self._by_key.get(_key(text)):
            return found
        if match := _BRACKETED.match(text):
            return self._from_id3(text, match)
        nearest = self._nearest(text[:_NAMED]) if hint else ""
        raise UnknownGenreError(f"{_short(text)} is no genre, alias or genre id{nearest}")

    def _from_id(self, id_: int) -> Genre:
        if id_ in self._by_id:
            return self._by_id[id_]
        raise UnknownGenreError(
            f"{_short(id_)} is no FMA genre id (2 to {max(self._by_id)}, with gaps); ID3v1 numbers "
            f"are written in brackets, as in '(17)'"
        )

    def _from_id3(self, text: str, match: re.Match[str]) -> Genre:
        # ID3v2.3: the number, then a name that refines it. The name says more, if we know it.
        refined = self._by_key.get(_key(text[match.end() :]))
        if refined:
            return refined
        code = match[1]
        meaning = {"RX": "Remix", "CR": "Cover"}.get(code)
        if meaning is None and int(code) < len(ID3V1):
            meaning = ID3V1[int(code)]
        if meaning is None:
            raise UnknownGenreError(
                f"{_short(text)}: ID3v1 numbers its genres 0 to {len(ID3V1) - 1}"
            )
        found = self._by_key.get(_key(meaning))
        if found is None:
            raise UnknownGenreError(
                f"{_short(text)} is ID3v1's {meaning!r}, which has no counterpart in the genre tree"
            )
        return found

    def _nearest(self, text: str) -> str:
        close = difflib.get_close_matches(_key(text), self._by_key, n=6, cutoff=0.7)
        titles = list(dict.fromkeys(self._by_key[key].title for key in close))[:3]
        if titles:
            return "; did you mean " + " or ".join(titles) + "?"
        return "; the top-level genres are " + ", ".join(self.top_level)


def split_genres(text: str) -> tuple[str, ...]:
    """Take apart a tag that holds several genres.

    Parameters
    ----------
    text : str
        Names between ``;``, ``,``, ``/``, ``|``, line breaks or NUL, or ID3v2.3 numbers one
        after another, ``"(17)(21)"``. A name that is written with ``/`` or ``,`` itself, such
        as ``"Old-Time / Historic"`` or ``"R&B/Soul"``, stays whole.

    Returns
    -------
    tuple of str
        The names as written, without outer blanks, empty ones and repeats. What stands beyond
        the first 20,000 characters is left out.

    Examples
    --------
    >>> split_genres("Rock; Old-Time / Historic/Pop")
    ('Rock', 'Old-Time / Historic', 'Pop')
    """
    names: list[str] = []
    for piece in re.split(r"[;|\0\r\n]", text[:_LONGEST]):
        while match := re.match(rf"\s*({_BRACKETED.pattern})(?=\s*\()", piece):
            names.append(match[1])
            piece = piece[match.end() :]
        names.extend(_split_soft(piece))
    unique: dict[str, str] = {}
    for name in map(str.strip, names):
        if name:
            unique.setdefault(name.casefold(), name)
    return tuple(unique.values())


def _split_soft(piece: str) -> list[str]:
    """Split at ``/`` and ``,``, keeping the longest runs that are one known name."""
    parts = re.split(r"([/,])", piece)  # name, mark, name, ...
    names: list[str] = []
    start = 0
    while start < len(parts):
        end = start + 1
        # No name has more marks than the one that has most: a tag may have thousands.
        for stop in range(min(len(parts), start + _most_parts()), start + 1, -2):
            if _marked("".join(parts[start:stop])) in _whole_names():
                end = stop
                break
        names.append("".join(parts[start:end]))
        start = end + 1
    return names


@functools.cache
def _whole_names() -> frozenset[str]:
    """Titles and aliases that are written with a separator, as one run of letters and marks."""
    known = [*GenreTree.fma().titles, *(name for names in ALIASES.values() for name in names)]
    return frozenset(_marked(name) for name in known if re.search("[/,]", name))


@functools.cache
def _most_parts() -> int:
    """Names and marks, counted together, of the known name that has most."""
    return max(len(re.split("([/,])", name)) for name in _whole_names())


def _short(name: object) -> str:
    text = repr(name[:_NAMED] if isinstance(name, str) else name)
    return text if len(text) <= 3 * _NAMED else f"{text[: 3 * _NAMED]}..."


def _marked(name: str) -> str:
    return "".join(p if p in "/," else _key(p) for p in re.split("([/,])", name))


def _key(name: str) -> str:
    """Letters and digits only, folded, so that spellings of one name meet."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"[&+]", " and ", plain)
    return "".join(c for c in plain if c.isalnum())
