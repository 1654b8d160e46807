"""From genrescope's genre names to those of a beets library.

The lists are beets' own: the whitelist, the genre tree and the aliases that its plugin lastgenre
comes with, or files of the user in the same formats. They are read as files, so that lastgenre
need not be enabled and what it imports need not be installed.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]
from beets import ui

__all__ = ["Names", "UserError", "lastgenre_file", "unique"]

UserError: type[Exception] = ui.UserError  # type: ignore[attr-defined, unused-ignore]

# What the recogniser says -> what beets' lists may call it, the best first. Only where the name
# itself, with or without hyphens, is not in them. No entry: there is no such genre in the lists.
_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "Abstract Hip-Hop": ("underground hip hop",),
    "Alternative Hip-Hop": ("alternative hip hop",),
    "Ambient Electronic": ("ambient",),
    "Be-Bop": ("bebop",),
    "Big Band/Swing": ("swing", "swing music"),
    "Bigbeat": ("big beat",),
    "Black-Metal": ("black metal",),
    "Bollywood": ("filmi",),
    "Breakcore - Hard": ("breakcore",),
    "Chill-out": ("chillout",),
    "Dance": ("electronic dance music", "dance music"),
    "Death-Metal": ("death metal",),
    "Drone": ("drone music",),
    "Drum & Bass": ("drum and bass",),
    "Electro-Punk": ("electropunk", "electro punk"),
    "Experimental": ("experimental music",),
    "Folk": ("folk", "folk music"),
    "Free-Folk": ("free folk", "psychedelic folk"),
    "Free-Jazz": ("free jazz",),
    "Garage": ("garage rock",),
    "Gospel": ("gospel music",),
    "Goth": ("gothic rock",),
    "Hardcore": ("hardcore punk",),
    "Improv": ("free improvisation",),
    "International": ("world music",),
    "Latin America": ("latin american", "caribbean and latin american"),
    "Lounge": ("lounge music",),
    "Minimal Electronic": ("minimal techno",),
    "Minimalism": ("minimal music", "minimalist music"),
    "Musique Concrete": ("musique concrète",),
    "New Age": ("new age music",),
    "Noise-Rock": ("noise rock",),
    "Power-Pop": ("power pop",),
    "Progressive": ("progressive rock",),
    "Psych-Folk": ("psychedelic folk",),
    "Psych-Rock": ("psychedelic rock",),
    "Punk": ("punk rock",),
    "Reggae - Dancehall": ("dancehall",),
    "Reggae - Dub": ("reggae",),
    "Sludge": ("sludge metal",),
    "Soul-RnB": ("soul", "soul music"),
    "Space-Rock": ("space rock",),
    "Surf": ("surf music", "surf rock"),
    "Synth Pop": ("synth-pop", "synthpop"),
    "Thrash": ("thrash metal",),
}


def unique(names: Iterable[str]) -> list[str]:
    """The names in order, each once, whatever its case."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.casefold(), name)
    return list(found.values())


def lastgenre_file(name: str) -> Path:
    """One of the lists that beets' plugin lastgenre comes with.

    Raises
    ------
    UserError
        If this beets has none.
    """
    spec = importlib.util.find_spec("beetsplug.lastgenre")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / name
        if path.is_file():
            return path
    raise UserError(
        f"genrescope: this beets comes without {name}; set the options whitelist and canonical "
        "to files of your own, or to no"
    )


@dataclass(frozen=True)
class Names:
    """What genres are called in the library.

    Attributes
    ----------
    own : mapping of str to tuple of str
        The user's names for our genres, by casefolded name; they are taken as they are.
    whitelist : frozenset of str or None
        Names that may be given, in lower case; None is all.
    tree : mapping of str to tuple of str, or None
        For each genre of the tree the way to it from the top, itself last; None is no tree.
    aliases : tuple of (pattern, str)
        Other spellings; a template for :meth:`re.Match.expand` each.
    title_case : bool
        Whether names from beets' lists, which are in lower case, get capitals.
    """

    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    whitelist: frozenset[str] | None = None
    tree: Mapping[str, tuple[str, ...]] | None = None
    aliases: tuple[tuple[re.Pattern[str], str], ...] = ()
    title_case: bool = True

    @classmethod
    def read(
        cls,
        *,
        whitelist: Path | None,
        tree: Path | None,
        own: Mapping[str, Sequence[str]],
        title_case: bool,
    ) -> Names:
        """Read the lists.

        Raises
        ------
        UserError
            If a list cannot be read.
        """
        aliases = whitelist is not None or tree is not None
        return cls(
            own={name.casefold(): tuple(theirs) for name, theirs in own.items()},
            whitelist=None if whitelist is None else _read_whitelist(whitelist),
            tree=None if tree is None else _read_tree(tree),
            aliases=_read_aliases() if aliases else (),
            title_case=title_case,
        )

    def of(self, genres: Iterable[str]) -> tuple[list[str], list[str]]:
        """Names for genres of ours.

        Parameters
        ----------
        genres : iterable of str
            In the order in which they are to be given.

        Returns
        -------
        names, dropped : list of str
            What they are called, each once; and the genres that the whitelist has no name for.
        """
        names: list[str] = []
        dropped: list[str] = []
        for genre in genres:
            found = self._name(genre)
            names += found
            if not found and genre.casefold() not in self.own:
                dropped.append(genre)
        return unique(names), dropped

    def _name(self, genre: str) -> list[str]:
        own = self.own.get(genre.casefold())
        if own is not None:
            return list(own)
        if self.whitelist is None and self.tree is None:
            return [genre]
        lower = genre.lower()
        candidates = unique(
            [*_ELSEWHERE.get(genre, ()), self._spelt(genre), lower, lower.replace("-", " ")]
        )
        for name in candidates:
            # The name itself, else what is nearest above it.
            for step in reversed((self.tree or {}).get(name, (name,))):
                if self._may_be_given(step):
                    return [self._cased(step, genre)]
        return []

    def _may_be_given(self, name: str) -> bool:
        return self.whitelist is None or name in self.whitelist

    def _spelt(self, genre: str) -> str:
        name = genre.lower()
        for pattern, template in self.aliases:
            if match := pattern.fullmatch(name):
                return match.expand(template)
        return name

    def _cased(self, name: str, genre: str) -> str:
        if name == genre.lower():  # "IDM", not "Idm"
            return genre
        return name.title() if self.title_case else name


def _read_whitelist(path: Path) -> frozenset[str]:
    lines = (line.strip().lower() for line in _text(path, "whitelist").splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _read_tree(path: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}

    def walk(node: Any, above: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            for name, below in node.items():
                here = (*above, str(name).lower())
                found.setdefault(here[-1], here)
                walk(below, here)
        elif isinstance(node, list):
            for one in node:
                walk(one, above)
        elif node is not None:
            here = (*above, str(node).lower())
            found.setdefault(here[-1], here)

    walk(_yaml(path, "canonical"), ())
    if not found:
        raise UserError(f"genrescope: canonical: {path}: holds no genres")
    return found


def _read_aliases() -> tuple[tuple[re.Pattern[str], str], ...]:
    try:
        path = lastgenre_file("aliases.yaml")
    except UserError:  # older versions of beets have none
        return ()
    return tuple(
        (re.compile(pattern, re.IGNORECASE), str(name).lower())
        for name, patterns in _yaml(path, "canonical").items()
        for pattern in patterns
    )


def _yaml(path: Path, option: str) -> Any:
    try:
        return yaml.safe_load(_text(path, option))
    except yaml.YAMLError as error:
        raise UserError(f"genrescope: {option}: {path}: is no valid YAML: {error}") from error


def _text(path: Path, option: str) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"genrescope: {option}: {path}: cannot be read: {error}") from error
