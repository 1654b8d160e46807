"""Any table with a genre column, as something the laboratory can learn from."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.table import Split
from genrescope.errors import DataError, TableError
from genrescope.learn.lab.cleaning import RawTable, clean, families, listed
from genrescope.learn.lab.reading import Column, FileColumns, read_columns
from genrescope.learn.lab.tabular import TabularData

__all__ = ["load_table"]

_LABELS = ("genre_top", "top_genre", "genre", "label", "class", "target")
_GROUPS = ("artist_id", "artist_name", "artist")
_ARTISTS = ("artist_name", "artist")
_IDS = ("track_id", "id", "track", "filename", "file", "path")
_TITLES = ("title", "track_title", "track_name", "name")
_SPLITS = ("split",)
_FACTS = ("listens", "duration", "favorites", "interest", "year", "bit_rate")
_ID_LIKE = re.compile(
    r"(.*[_\s.-])?(id|ids|idx|index|uid|uuid|row|fold|subset|split)|.*[a-z]Id|unnamed: \d+"
)
_RESTATES_FROM = 20  # rows, below which a column may tell genres apart by chance
_RESTATES_EACH = 4  # rows a value, at least


@dataclass
class _Sources:
    """The features' file, the labels' file (maybe the same), and what was decided."""

    features: FileColumns
    labels: FileColumns
    at_features: NDArray[np.intp]  # rows of the features' file, by row of the joined table
    at_labels: NDArray[np.intp]
    notes: list[str]
    key: str | None = None  # what two files were joined by
    used: set[str] = field(default_factory=set)  # names that are no features

    @property
    def files(self) -> tuple[tuple[FileColumns, NDArray[np.intp]], ...]:
        own = (self.labels, self.at_labels)
        return (own,) if self.labels is self.features else (own, (self.features, self.at_features))

    def column(self, name: str) -> tuple[Column, NDArray[np.intp]] | None:
        """The column of a name and the rows to take of it; that of the labels' file first."""
        for file, rows in self.files:
            if name in file.columns:
                return file.columns[name], rows
        return None

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for file, _ in self.files for name in file.columns))

    def role(self, named: str | None, guesses: Sequence[str], what: str) -> str | None:
        """The column that was named for a role, or the first that has a usual name."""
        names = self.names()
        if named is not None:
            if named not in names:
                raise DataError(
                    f"{self.labels.path}: has no column {named!r} for the {what}"
                    f"{_nearest(named, names)}; its columns are: {listed(names, most=40)}"
                )
            return named
        folded = {name.casefold(): name for name in reversed(names)}
        return next((folded[guess] for guess in guesses if guess in folded), None)

    def words(self, guesses: Sequence[str]) -> str | None:
        """The column of text that has one of some usual names."""
        name = self.role(None, guesses, "")
        found = None if name is None else self.column(name)
        return name if found is not None and found[0].kind == "text" else None

    def text(self, name: str | None, *, shown: bool = False) -> NDArray[np.str_] | None:
        found = None if name is None else self.column(name)
        if found is None:
            return None
        column, rows = found
        return (column.shown() if shown else column.text())[rows]


def load_table(
    features: str | PathLike[str],
    *,
    labels: str | PathLike[str] | None = None,
    label: str | None = None,
    group: str | None = None,
    id_column: str | None = None,
    columns: Sequence[str] | None = None,
    split: str | None = None,
    min_per_genre: int = 2,
) -> TabularData:
    """Load features and genres from CSV or Parquet; what is left out or guessed is in ``notes``.

    Parameters
    ----------
    features : path
        The table of features. Every column of numbers (or of yes and no) is one, but for those
        with another role, those that name or number rows, and those that repeat the genre in
        other words. With `columns`, only those.
    labels : path, optional
        The table of genres, where they are not in the same file.
    label : str, optional
        The column of the genre; by default one of a usual name (``genre_top``, ``genre``,
        ``label``, ``class``, ...).
    group : str, optional
        The column of what must stay on one side of a split; by default ``artist_id``,
        ``artist_name`` or ``artist``, if there is one. An empty name stands for none.
    id_column : str, optional
        The column that two files are joined by; by default the one that both have. Its values
        occur once in each file.
    columns : sequence of str, optional
        The features: names, patterns such as ``mfcc_*``, or heads of names such as ``mfcc``.
        Columns that are named whole are taken even where they look like an id.
    split : str, optional
        The column of the official split; by default ``split``, if that is what it holds.
    min_per_genre : int >= 2
        Genres with fewer rows are left out.

    Returns
    -------
    TabularData

    Raises
    ------
    TableError
        If a file cannot be read as a table.
    DataError
        If a column that was named is not there, the files cannot be joined, or fewer than two
        genres or no feature are left.
    """
    path = Path(features)
    sources = _joined(read_columns(path), None if labels is None else Path(labels), id_column)
    genre = sources.role(label, _LABELS, "genre")
    if genre is None:
        raise DataError(
            f"{sources.labels.path}: none of its columns has a usual name for the genre "
            f"({', '.join(_LABELS)}); name one with label (there are: "
            f"{listed(sources.names(), most=40)})"
        )
    artist = sources.role(group, _GROUPS, "group") if group != "" else None
    parts = sources.role(split, _SPLITS, "split")
    title, maker = (sources.words(names) for names in (_TITLES, _ARTISTS))
    sources.used |= {name for name in (genre, artist, title, maker) if name}
    _say_roles(sources, {genre: label, **({artist: group} if artist else {})}, genre, artist)
    splits = _splits(sources, parts, named=split is not None)
    genres = _genres(sources, genre)
    ids = _ids(sources, id_column)
    chosen = _chosen(sources, columns, genres)
    x = np.empty((len(genres), len(chosen)), dtype=np.float32)
    for at, column in enumerate(chosen):
        with np.errstate(over="ignore"):  # beyond single precision is infinite, and said later
            x[:, at] = column.values(sources.at_features)
    names = [column.name for column in chosen]
    nothing = np.full(len(genres), "", dtype="U1")
    group_text = sources.text(artist)
    raw = RawTable(
        name=path.stem,
        x=x,
        features=names,
        families=families(names),
        label=genres,
        groups=nothing if group_text is None else group_text,
        group_name="track" if artist is None else _group_name(artist),
        track_id=ids,
        title=sources.text(title, shown=True),
        artist=sources.text(maker, shown=True),
        split=splits,
        extras=_extras(sources, set(names)),
        notes=sources.notes,
        source=_source(sources),
    )
    return clean(raw, min_per_genre=min_per_genre)


# --- files -----------------------------------------------------------------


def _joined(features: FileColumns, labels: Path | None, named: str | None) -> _Sources:
    if labels is None:
        every = np.arange(features.rows)
        return _Sources(features, features, every, every, list(features.notes))
    other = read_columns(labels)
    key = _key(features, other, named)
    left, right = (_keys(file, key) for file in (features, other))
    place = {value: at for at, value in enumerate(right) if value}
    found = [(at, place[value]) for at, value in enumerate(left) if value in place]
    if not found:
        raise DataError(
            f"{features.path} and {other.path} have no value of {key!r} in common (such as "
            f"{next(iter(left), '')!r} and {next(iter(right), '')!r}); name the column that "
            "holds the same ids in both with id_column"
        )
    at_features, at_labels = np.array(found, dtype=np.intp).T
    notes = [*features.notes, *other.notes]
    lost, spare = features.rows - len(found), other.rows - len(found)
    said = f"Features and genres are joined by {key}: {len(found):,} rows are in both files"
    if lost or spare:
        said += f"; {lost:,} rows of features have no label row and {spare:,} the other way round"
    notes.append(said + ".")
    return _Sources(features, other, at_features, at_labels, notes, key, {key})


def _key(features: FileColumns, labels: FileColumns, named: str | None) -> str:
    if named is not None:
        for file in (features, labels):
            if named not in file.columns:
                raise DataError(
                    f"{file.path}: has no column {named!r} to join by"
                    f"{_nearest(named, file.columns)}; its columns are: "
                    f"{listed(list(file.columns), most=40)}"
                )
        return named
    shared = [name for name in features.columns if name in labels.columns]
    usual = [name for name in shared if name.casefold() in _IDS]
    candidates = usual[:1] or shared
    if len(candidates) != 1:
        told = f"share {listed(shared)}" if shared else "share no column"
        raise DataError(
            f"{features.path} and {labels.path} {told}; name the one column that holds the id of "
            "the track in both with id_column"
        )
    return candidates[0]


def _keys(file: FileColumns, key: str) -> list[str]:
    """Ids as text; 7, 7.0 and 000007 are one track."""
    values: list[str] = file.columns[key].text().tolist()
    if all(re.fullmatch(r"\d+(\.0+)?", value) for value in values if value):
        values = [value.partition(".")[0].lstrip("0") or value[:1] for value in values]
    _once(file.path, key, values)
    return values


def _once(path: Path, key: str, values: Iterable[str]) -> None:
    twice = [value for value, n in Counter(values).items() if n > 1 and value]
    if twice:
        raise DataError(
            f"{path}: {len(twice):,} values of {key} occur more than once (first: {twice[0]!r}); "
            "each track needs one row: remove the others, or name another column with id_column"
        )


def _source(sources: _Sources) -> str:
    files = dict.fromkeys(file.path.name for file in (sources.features, sources.labels))
    return (
        f"A table of the user's own: {listed(list(files))}. Its licence is for its owner to know."
    )


# --- roles -----------------------------------------------------------------


def _say_roles(
    sources: _Sources, named: Mapping[str, str | None], genre: str, artist: str | None
) -> None:
    guessed = [name for name, given in named.items() if given is None]
    roles = {genre: "genre", **({artist: "group"} if artist else {})}
    if guessed:
        told = listed([f"the {roles[name]} is read from {name}" for name in guessed])
        sources.notes.append(f"By their names, {told}.")


def _group_name(column: str) -> str:
    return "artist" if column.casefold() in _GROUPS else re.sub(r"[_\s.-]?id\Z", "", column) or "id"


def _genres(sources: _Sources, name: str) -> NDArray[np.str_]:
    found = sources.column(name)
    text = sources.text(name)
    if found is None or text is None:  # pragma: no cover - its role was checked
        raise DataError(f"no column {name!r}")
    column = found[0]
    if column.kind in ("empty", "other", "date"):
        raise DataError(
            f"{sources.labels.path}: the genre column {name!r} holds "
            f"{'nothing' if column.kind == 'empty' else 'no names'}; name another with label"
        )
    if column.kind == "number" and column.numbers is not None:
        known = column.numbers[np.isfinite(column.numbers)]
        if (known != np.round(known)).any():
            raise DataError(
                f"{sources.labels.path}: the genre column {name!r} holds measured numbers (such as "
                f"{known[known != np.round(known)][0]:g}); genres are names or whole numbers: name "
                "another column with label"
            )
    return text


def _splits(sources: _Sources, name: str | None, *, named: bool) -> NDArray[np.str_] | None:
    text = sources.text(name)
    if name is None or text is None:
        return None
    values = {}
    try:
        values = {value: Split.parse(value).value for value in set(text.tolist()) if value}
    except TableError as error:
        if named:
            raise DataError(f"{sources.labels.path}: column {name!r}: {error}") from error
    if not {"training", "test"} <= set(values.values()):
        if named:
            raise DataError(
                f"{sources.labels.path}: the split {name!r} holds "
                f"{listed(sorted(values)) or 'nothing'}; it must have training and test rows"
            )
        return None
    sources.used.add(name)
    if not named:
        sources.notes.append(f"The column {name} is taken for the official split.")
    return np.array([values.get(value, "") for value in text.tolist()], dtype=np.str_)


def _ids(sources: _Sources, named: str | None) -> NDArray[np.str_]:
    column = sources.role(sources.key or named, _IDS, "id")
    text = sources.text(column)
    if column is None or text is None:
        return np.array([str(at + 1) for at in range(len(sources.at_features))], dtype=np.str_)
    if named or column.casefold() in ("track_id", "id"):
        _once(sources.features.path, column, text.tolist())
    sources.used.add(column)
    return text


# --- features --------------------------------------------------------------


def _chosen(
    sources: _Sources, wanted: Sequence[str] | None, genres: NDArray[np.str_]
) -> list[Column]:
    """The columns to learn from."""
    every = sources.features.columns
    candidates = {name: column for name, column in every.items() if name not in sources.used}
    exact: set[str] = set()
    if wanted is not None:
        picked, exact = _picked(sources, wanted)
        candidates = {name: column for name, column in every.items() if name in picked}
        for name in sorted(exact):
            if every[name].kind not in ("number", "truth"):
                raise DataError(
                    f"{sources.features.path}: the column {name!r} holds "
                    f"{_KINDS[every[name].kind]}; a feature is a number: leave it out of columns"
                )
    rows = sources.at_features
    folded = np.array([" ".join(name.casefold().split()) for name in genres.tolist()], np.str_)
    common = {name for name, n in Counter(folded.tolist()).items() if n > 1 and name}
    known = np.array([name in common for name in folded.tolist()], dtype=bool)
    out: dict[str, list[str]] = {}
    kept = []
    for name, column in candidates.items():
        reason = _reason(column, rows, folded, known) if name not in exact else ""
        if reason:
            out.setdefault(reason, []).append(name)
        else:
            kept.append(column)
    for reason, sentence in _SENTENCES.items():
        if names := out.get(reason):
            sources.notes.append(sentence(names))
    truths = [column.name for column in kept if column.kind == "truth"]
    if truths:
        sources.notes.append(f"Yes and no are taken for 1 and 0 in {listed(truths)}.")
    sources.notes += [column.remark for column in kept if column.remark]
    if not kept:
        told = "; ".join(f"{reason}: {listed(names)}" for reason, names in out.items())
        raise DataError(
            f"{sources.features.path}: no feature is left of {len(candidates)} columns "
            f"({told or 'there is no other column'}); name columns of numbers with columns"
        )
    return kept


_KINDS = {"date": "dates", "text": "text", "other": "lists or other things", "empty": "nothing"}


def _left_out(what: str, many: str, why: str = "") -> Callable[[list[str]], str]:
    def sentence(names: list[str]) -> str:
        n = len(names)
        head = f"1 column {what} and is" if n == 1 else f"{n:,} columns {many} and are"
        return f"{head} left out: {listed(names)}{why}."

    return sentence


_SENTENCES: Mapping[str, Callable[[list[str]], str]] = {
    "empty": _left_out("is empty", "are empty"),
    "text": _left_out("holds text", "hold text"),
    "date": _left_out(
        "holds dates", "hold dates", "; the year is kept to be shown, not to be learnt from"
    ),
    "other": _left_out("holds neither numbers nor text", "hold neither numbers nor text"),
    "id": _left_out(
        "names or numbers rows",
        "name or number rows",
        "; such a number says nothing of the sound (name it in columns to learn from it all the "
        "same)",
    ),
    "restates": _left_out(
        "repeats the genre in other words",
        "repeat the genre in other words",
        ": each of its values occurs in one genre only (name it in columns if it is a measurement)",
    ),
}


def _reason(
    column: Column, rows: NDArray[np.intp], genres: NDArray[np.str_], known: NDArray[np.bool_]
) -> str:
    """Why a column is no feature; empty if it is one."""
    if column.kind not in ("number", "truth"):
        return str(column.kind)
    if _ID_LIKE.fullmatch(column.name) or _ID_LIKE.fullmatch(column.name.casefold()):
        return "id"
    numbers = column.values(rows)
    if not np.isfinite(numbers).all():
        return ""
    if len(numbers) > 2 and (np.diff(np.sort(numbers)) == 1).all():
        return "id"  # whole numbers without a gap, each once: it counts the rows
    if _restates(numbers[known], genres[known]):
        return "restates"
    return ""


def _restates(numbers: NDArray[np.float64], genres: NDArray[np.str_]) -> bool:
    """Whether each of a few whole values occurs in one genre alone."""
    if len(numbers) < _RESTATES_FROM or (numbers != np.round(numbers)).any():
        return False
    values, codes = np.unique(numbers, return_inverse=True)
    k = len(set(genres.tolist()))
    if not max(k, 2) <= len(values) <= len(numbers) / _RESTATES_EACH:
        return False
    pairs = {(int(code), genre) for code, genre in zip(codes, genres.tolist(), strict=True)}
    return len(pairs) == len(values)


def _picked(sources: _Sources, wanted: Sequence[str]) -> tuple[set[str], set[str]]:
    """Names that fit, and those among them that were given whole."""
    names = list(sources.features.columns)
    picked: set[str] = set()
    exact = {name for name in wanted if name in names}
    for want in wanted:
        found = {
            name
            for name in names
            if name == want
            or fnmatchcase(name, want)
            or (name.startswith(want) and name[len(want) : len(want) + 1] in ("_", ".", "-", " "))
        } - (sources.used - exact)
        if not found:
            raise DataError(
                f"{sources.features.path}: no column is called {want!r} or begins with it"
                f"{_nearest(want, names)}; its columns are: {listed(names, most=40)}"
            )
        picked |= found
    if taken := sorted(exact & sources.used):
        raise DataError(
            f"{sources.features.path}: {listed(taken)} is the genre, group, split or id, so that "
            "it cannot be a feature too; leave it out of columns"
        )
    return picked, exact


def _extras(sources: _Sources, features: set[str]) -> dict[str, NDArray[np.float64]]:
    """Numbers to be shown: those beside the labels, and facts that are no features here."""
    extras: dict[str, NDArray[np.float64]] = {}
    for file, rows in sources.files:
        own = file is sources.labels and file is not sources.features
        for name, column in file.columns.items():
            taken = name in features or name in sources.used or name in extras
            numbers = column.values(rows)
            if taken or not np.isfinite(numbers).any():
                continue
            if _ID_LIKE.fullmatch(name.casefold()):
                continue
            if own or column.kind == "date" or name.casefold() in _FACTS:
                numbers[np.isinf(numbers)] = np.nan
                extras[f"{name} (year)" if column.kind == "date" else name] = numbers
    return extras


def _nearest(name: str, names: Iterable[str]) -> str:
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(folded[c]) for c in close)}?)" if close else ""
