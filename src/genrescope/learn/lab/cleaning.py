"""From columns to a table that can be learnt from: what is left out, and a sentence on each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError
from genrescope.learn.lab.tabular import TabularData

__all__ = ["RawTable", "clean", "families", "listed"]

_LARGE_GROUP = 0.1  # share of all rows from which a group is worth a word
_MOST_FAMILIES = 15
# fmt: off
_STATISTICS = frozenset({
    "mean", "avg", "average", "std", "stdev", "sd", "var", "variance", "median", "min", "max",
    "skew", "skewness", "kurtosis", "range", "iqr", "sum", "delta", "d", "dd", "first", "last",
})
# fmt: on


@dataclass
class RawTable:
    """A table before it is cleaned; see :class:`~genrescope.learn.lab.tabular.TabularData`.

    Attributes
    ----------
    x : np.ndarray [shape=(n, d), float32]
        NaN where missing; infinite values and useless columns may be there.
    label, groups : np.ndarray [shape=(n,), str]
        Empty where not known.
    group_name : str
        What a group is; "track" says that nothing is known of artists.
    notes : list of str
        What was decided so far.
    """

    name: str
    x: NDArray[np.float32]
    features: Sequence[str]
    families: Sequence[str]
    label: NDArray[np.str_]
    groups: NDArray[np.str_]
    group_name: str
    track_id: NDArray[np.str_]
    title: NDArray[np.str_] | None = None
    artist: NDArray[np.str_] | None = None
    split: NDArray[np.str_] | None = None
    extras: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    source: str = ""
    simulated: bool = False


def clean(raw: RawTable, *, min_per_genre: int = 2) -> TabularData:
    """Leave out what cannot be learnt from, and say so.

    Rows without a genre or without any feature, genres of fewer than `min_per_genre` rows, and
    columns that are empty, constant or the copy of another go. Infinite values become missing.
    Rows without a group are each a group of their own.

    Parameters
    ----------
    raw : RawTable
        The columns; they are not changed.
    min_per_genre : int >= 2
        A genre with one row cannot be both trained on and scored.

    Returns
    -------
    TabularData

    Raises
    ------
    DataError
        If fewer than two genres, or no feature, are left.
    """
    if min_per_genre < 2:
        raise DataError(
            f"min_per_genre is {min_per_genre}; it must be 2 or more, since a genre with one row "
            "cannot be both trained on and scored"
        )
    notes = list(raw.notes)
    x = np.array(raw.x, dtype=np.float32)
    label = _one_spelling(raw.label, notes)
    rows = _labelled(raw, label, notes)
    _finite(x, rows, raw.features, notes)
    if not len(rows):
        raise DataError(_too_few_genres(raw.name, label, (), min_per_genre))
    rows, columns = _settled(x, rows, label, min_per_genre, raw.features, notes)
    genres = sorted(set(label[rows].tolist()))
    if len(genres) < 2:
        raise DataError(_too_few_genres(raw.name, label, genres, min_per_genre))
    columns = _without_copies(x, rows, columns, raw.features, notes)
    x = np.ascontiguousarray(_part(x, rows, columns))
    features = tuple(raw.features[at] for at in columns)
    _say_missing(x, features, notes)
    groups, group_name = _grouped(raw, rows, notes)
    split = None if raw.split is None else raw.split[rows]
    _say_groups(label[rows], groups, group_name, split, notes)
    nothing = np.full(len(label), "", dtype="U1")
    return TabularData(
        name=raw.name,
        x=x,
        features=features,
        feature_groups=tuple(raw.families[at] for at in columns),
        y=np.searchsorted(genres, label[rows]).astype(np.int64),
        genres=tuple(genres),
        groups=groups,
        group_name=group_name,
        track_id=raw.track_id[rows],
        title=(nothing if raw.title is None else raw.title)[rows],
        artist=(nothing if raw.artist is None else raw.artist)[rows],
        split=split,
        extras={name: np.asarray(column, float)[rows] for name, column in raw.extras.items()},
        notes=tuple(notes),
        source=raw.source,
        simulated=raw.simulated,
    )


def families(names: Sequence[str]) -> tuple[str, ...]:
    """The family of each feature, by name: what stands before the statistic and the number.

    Families are what importance is added up by, so there are at most fifteen: if names tell more
    apart, those that are alone are put together as "other".

    >>> families(["mfcc_mean_01", "mfcc_std.12", "spectral_centroid_mean", "tempo"])
    ('mfcc', 'mfcc', 'spectral_centroid', 'tempo')
    """
    heads = [_head(name) for name in names]
    if len(set(heads)) > _MOST_FAMILIES:
        heads = [re.split(r"[_.\s-]", head, maxsplit=1)[0] for head in heads]
    counts = Counter(heads)
    if len(counts) > _MOST_FAMILIES:
        kept = {head for head, n in counts.most_common(_MOST_FAMILIES - 1) if n > 1}
        heads = [head if head in kept else "other" for head in heads]
    return tuple(heads)


def _head(name: str) -> str:
    parts = [part for part in re.split(r"[_.\s-]+", name.strip()) if part]
    while len(parts) > 1 and (parts[-1].isdigit() or parts[-1].casefold() in _STATISTICS):
        parts.pop()
    if parts and (bare := parts[-1].rstrip("0123456789")):
        parts[-1] = bare
    return "_".join(parts) or name


def listed(names: Sequence[str], *, most: int = 6) -> str:
    """Names for a sentence, the first few of them.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=1)
    ('a, b and c', 'a and 2 more')
    """
    shown = [str(name) for name in names[:most]]
    last = f"{len(names) - most:,} more" if len(names) > most else shown.pop() if shown else ""
    return " and ".join(part for part in (", ".join(shown), last) if part)


# --- rows ------------------------------------------------------------------


def _one_spelling(label: NDArray[np.str_], notes: list[str]) -> NDArray[np.str_]:
    """Genres that differ only by case or spaces are one, in the spelling that is most common."""
    spellings: dict[str, Counter[str]] = {}
    for name, n in Counter(label.tolist()).items():
        plain = " ".join(name.split())
        spellings.setdefault(plain.casefold(), Counter())[plain] += n
    best = {key: max(sorted(found), key=lambda s: found[s]) for key, found in spellings.items()}
    merged = [(key, found) for key, found in sorted(spellings.items()) if len(found) > 1]
    for key, found in merged:
        others = sorted(set(found) - {best[key]})
        notes.append(
            f"The genre {best[key]} is also written {listed(others)}; they are taken as one."
        )
    return np.array([best[" ".join(name.split()).casefold()] for name in label.tolist()], np.str_)


def _labelled(raw: RawTable, label: NDArray[np.str_], notes: list[str]) -> NDArray[np.intp]:
    known = label != ""
    if not known.all():
        notes.append(_lack(int((~known).sum()), len(known), "genre"))
    if raw.split is not None:
        placed = raw.split != ""
        if lost := int((known & ~placed).sum()):
            notes.append(_lack(lost, int(known.sum()), "split"))
        known &= placed
    return np.flatnonzero(known)


def _lack(n: int, total: int, what: str) -> str:
    have, are = ("has", "is") if n == 1 else ("have", "are")
    return f"{n:,} of {total:,} rows {have} no {what} and {are} left out."


def _settled(
    x: NDArray[np.float32],
    rows: NDArray[np.intp],
    label: NDArray[np.str_],
    least: int,
    features: Sequence[str],
    notes: list[str],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of which each is of use among the others."""
    columns = np.arange(x.shape[1])
    small: dict[str, int] = {}
    hollow = 0
    why: dict[str, list[str]] = {"empty": [], "constant": []}
    settled = False
    while not settled:
        part = _part(x, rows, columns)
        missing = np.isnan(part)
        # minimum and maximum are fast, and those that pass over NaN are not.
        low = part.min(axis=0, where=~missing, initial=np.inf) if missing.any() else part.min(0)
        high = part.max(axis=0, where=~missing, initial=-np.inf) if missing.any() else part.max(0)
        useful = low < high
        for at in np.flatnonzero(~useful).tolist():
            why["empty" if low[at] > high[at] else "constant"].append(features[columns[at]])
        columns = columns[useful]
        if not len(columns):
            raise DataError(_no_feature(features, why, len(rows)))
        heard = ~(missing[:, useful] if missing.any() else missing).all(axis=1)
        hollow += int((~heard).sum())
        few = {n: k for n, k in Counter(label[rows[heard]].tolist()).items() if k < least}
        small.update(few)
        keep = heard & np.array([name not in few for name in label[rows].tolist()], dtype=bool)
        rows = rows[keep]
        settled = bool(keep.all() or not keep.any())  # columns that go take no row with them
    if hollow:
        notes.append(_lack(hollow, len(label), "value in any feature"))
    if small:
        told = listed([f"{name} ({n})" for name, n in sorted(small.items())], most=10)
        rule = (
            "one row cannot be both trained on and scored"
            if least == 2
            else f"at least {least} rows were asked for"
        )
        notes.append(f"Genres with too few rows are left out, since {rule}: {told}.")
    for reason, names in why.items():
        if names:
            notes.append(f"{_columns(len(names))} {reason} and left out: {listed(names)}.")
    return rows, columns


def _part(
    x: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Some rows and columns; not copied where they are all."""
    part = x if len(rows) == len(x) else x[rows]
    return part if len(columns) == part.shape[1] else np.take(part, columns, axis=1)


def _columns(n: int) -> str:
    return "1 feature is" if n == 1 else f"{n:,} features are"


def _no_feature(features: Sequence[str], why: Mapping[str, Sequence[str]], n: int) -> str:
    told = "; ".join(f"{reason}: {listed(names)}" for reason, names in why.items() if names)
    return (
        f"no feature is left of {len(features)} in {n:,} rows with a genre "
        f"({told or 'there was none'}); give columns of numbers that differ from row to row"
    )


def _too_few_genres(name: str, label: NDArray[np.str_], genres: Sequence[str], least: int) -> str:
    counts = Counter(label[label != ""].tolist())
    told = listed([f"{genre} ({n})" for genre, n in counts.most_common()])
    return (
        f"{name}: {len(genres)} genres have {least} rows or more, and telling genres apart needs "
        f"2 (found: {told or 'none'}); look whether the label column is the right one"
    )


# --- columns ---------------------------------------------------------------


def _finite(
    x: NDArray[np.float32], rows: NDArray[np.intp], features: Sequence[str], notes: list[str]
) -> None:
    infinite = np.isinf(x)
    counts = infinite[rows].sum(axis=0)
    x[infinite] = np.nan
    if counts.any():
        where = [features[at] for at in np.flatnonzero(counts).tolist()]
        n = int(counts.sum())
        what = "1 infinite value is" if n == 1 else f"{n:,} infinite values are"
        notes.append(f"{what} taken for missing, in {listed(where)} (infinite: 3e38 or more).")


def _without_copies(
    x: NDArray[np.float32],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    features: Sequence[str],
    notes: list[str],
) -> NDArray[np.intp]:
    seen: dict[bytes, int] = {}
    kept, copies = [], []
    for at in columns.tolist():
        # -0 and 0 are the same number, and so are all NaN.
        column = x[rows, at] + np.float32(0.0)
        column[np.isnan(column)] = np.nan
        first = seen.setdefault(column.tobytes(), at)
        if first == at:
            kept.append(at)
        else:
            copies.append(f"{features[at]} (of {features[first]})")
    if copies:
        what = "is the copy" if len(copies) == 1 else "are copies"
        notes.append(
            f"{len(copies):,} feature{'s' * (len(copies) > 1)} {what} of another and left out: "
            f"{listed(copies)}."
        )
    return np.array(kept, dtype=np.intp)


def _say_missing(x: NDArray[np.float32], features: Sequence[str], notes: list[str]) -> None:
    missing = np.isnan(x).sum(axis=0)
    if not missing.any():
        return
    most = np.argsort(-missing, kind="stable")[:3].tolist()
    told = listed([f"{features[at]} ({missing[at]:,})" for at in most if missing[at]])
    share = missing.sum() / x.size
    notes.append(
        f"{int(missing.sum()):,} of {x.size:,} values ({_percent(share)}) are missing, in "
        f"{int((missing > 0).sum()):,} of {x.shape[1]:,} features; most in {told}. They stay "
        "missing in the table; a model that cannot read them fills them from its training rows."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


# --- groups ----------------------------------------------------------------


def _grouped(
    raw: RawTable, rows: NDArray[np.intp], notes: list[str]
) -> tuple[NDArray[np.str_], str]:
    groups = raw.groups[rows]
    unknown = groups == ""
    alone = np.array([f"\x00{at}" for at in rows.tolist()], dtype=np.str_)
    if not unknown.any() and len(set(groups.tolist())) == 1:
        notes.append(
            f"All rows are of one {raw.group_name}, {groups[0]}: nothing can be kept apart by it, "
            "so each row is taken for a group of its own."
        )
        return np.char.replace(alone, "\x00", "track "), "track"
    if unknown.all():
        notes.append(
            "The table does not say who made the tracks. Tracks of one artist may be both trained "
            "on and scored, which makes every score here too high: name "
            "the column of the artist if there is one."
        )
        return np.char.replace(alone, "\x00", "track "), "track"
    if unknown.any():
        n = int(unknown.sum())
        notes.append(
            f"{n:,} of {len(rows):,} rows {'has' if n == 1 else 'have'} no {raw.group_name}; each "
            "such row is a group of its own."
        )
        taken = set(groups.tolist())
        names = np.char.replace(alone, "\x00", f"no {raw.group_name}, row ")
        if taken & set(names.tolist()):  # pragma: no cover - somebody would have to try
            names = alone
        groups = np.where(unknown, names, groups)
    return groups, raw.group_name


def _say_groups(
    label: NDArray[np.str_],
    groups: NDArray[np.str_],
    group_name: str,
    split: NDArray[np.str_] | None,
    notes: list[str],
) -> None:
    if group_name == "track":
        return
    ids, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(ids) == len(groups):
        notes.append(f"No {group_name} has more than one row.")
        return
    lonely = [
        f"{genre} ({int((label == genre).sum())} rows)"
        for genre in sorted(set(label.tolist()))
        if len(set(codes[label == genre].tolist())) == 1
    ]
    if lonely:
        notes.append(
            f"All rows of {listed(lonely)} are of one {group_name}. Where groups stay together, "
            "such a genre is either trained on or scored, never both: its scores say nothing."
        )
    if sizes.max() > _LARGE_GROUP * len(groups):
        notes.append(
            f"The largest {group_name}, {ids[sizes.argmax()]}, has {int(sizes.max()):,} of "
            f"{len(groups):,} rows."
        )
    if split is not None:
        _say_leak(codes, split, group_name, notes)


def _say_leak(
    codes: NDArray[np.intp], split: NDArray[np.str_], group_name: str, notes: list[str]
) -> None:
    training = set(codes[split == "training"].tolist())
    test = codes[split == "test"]
    both = [code for code in test.tolist() if code in training]
    if both:
        notes.append(
            f"The split leaks: {len(set(both)):,} {group_name}s have rows in both training and "
            f"test ({len(both):,} of {len(test):,} test rows), so scores on it are too high."
        )
