"""The leak audit: whether a split keeps every artist on one side.

A recogniser that has heard other tracks of the same artist knows the voice, the room and the
mastering, and scores too high. So a split is sound only if no artist is in two parts of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from genrescope.catalog.table import Split, TrackTable
from genrescope.errors import SplitError, TableError

__all__ = [
    "DOMINANT_SHARE",
    "DOMINANT_TRACKS",
    "AuditReport",
    "DominantGroup",
    "DuplicateTrack",
    "RepeatedTitle",
    "SharedGroup",
    "SimilarNames",
    "audit",
]

DOMINANT_SHARE = 0.05  # of a split's tracks: three artists hold 27 % of FMA's official test
DOMINANT_TRACKS = 10  # in a tiny split every artist has a large share; that says nothing
EXAMPLES = 3  # tracks named for each artist and split


@dataclass(frozen=True)
class SharedGroup:
    """A group (as a rule an artist) that is in more than one split: a leak.

    ``tracks`` counts its tracks by split, ``examples`` names up to three of each.
    """

    group: str
    name: str
    tracks: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class DuplicateTrack:
    """A track id that occurs more than once; ``tracks`` counts its rows by split."""

    track_id: str
    tracks: Mapping[str, int]


@dataclass(frozen=True)
class RepeatedTitle:
    """One title by one artist in more than one split; ``tracks`` names the rows by split."""

    title: str
    artist: str
    tracks: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class SimilarNames:
    """Groups in different splits whose names differ only in spelling: perhaps one artist.

    ``groups`` has, for each, its value, name and tracks by split.
    """

    groups: tuple[tuple[str, str, Mapping[str, int]], ...]


@dataclass(frozen=True)
class DominantGroup:
    """A group that holds more than :data:`DOMINANT_SHARE` of a split."""

    group: str
    name: str
    split: str
    tracks: int
    share: float


@dataclass(frozen=True)
class AuditReport:
    """What :func:`audit` found.

    Attributes
    ----------
    group, split, label : str
        The columns that were looked at (`label` may be None).
    n_tracks, n_groups : int
        Rows in the table; different groups among them.
    splits : mapping of str to int
        Tracks in each split.
    labels : mapping of str to mapping of str to int
        Tracks of each label, by split; ``""`` is the label of those that have none.
    shared_groups, duplicate_tracks, repeated_titles : tuple
        Leaks.
    similar_names, dominant_groups : tuple
        Warnings.
    without_group : mapping of str to int
        Tracks that name no group, by split: nobody knows whether they leak.
    without_split : int
        Tracks in no split; they are left out of everything else here.
    missing_labels : mapping of str to tuple of str
        Labels that a split lacks and another has.
    """

    group: str
    split: str
    label: str | None
    n_tracks: int
    n_groups: int
    splits: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    shared_groups: tuple[SharedGroup, ...]
    duplicate_tracks: tuple[DuplicateTrack, ...]
    repeated_titles: tuple[RepeatedTitle, ...]
    similar_names: tuple[SimilarNames, ...]
    dominant_groups: tuple[DominantGroup, ...]
    without_group: Mapping[str, int]
    without_split: int
    missing_labels: Mapping[str, tuple[str, ...]]

    @property
    def clean(self) -> bool:
        """True if there is no leak (there may be warnings)."""
        return not (self.shared_groups or self.duplicate_tracks or self.repeated_titles)

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain types for JSON, ``clean`` included."""
        similar = [
            [{"group": g, "name": n, "tracks": dict(t)} for g, n, t in s.groups]
            for s in self.similar_names
        ]
        return {"clean": self.clean, **asdict(self), "similar_names": similar}


@dataclass
class _Group:
    """What is gathered about one group on the way."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def audit(
    table: TrackTable,
    *,
    label: str | None = "genre_top",
    group: str = "artist_id",
    split: str = "split",
) -> AuditReport:
    """Look for anything that is in more than one split and should not be.

    Parameters
    ----------
    table : TrackTable
        With the columns `group`, `split` and `label`; ``track_id``, ``title`` and
        ``artist_name`` are used where they are there.
    label : str or None
        Column of the class, for the balance of classes; None leaves that out.
    group : str
        Column whose values must each stay in one split.
    split : str
        Column that says the part a track belongs to; any names. Those of :class:`Split`,
        and their short forms, come in their order and count as one ("train", "training").

    Returns
    -------
    AuditReport

    Raises
    ------
    TableError
        If a column is missing, the table has no tracks, or none of them names a group.
    SplitError
        If no track is in a split, or all are in one.
    """
    table.require(*(column for column in (group, split, label) if column is not None))
    if len(table) == 0:
        raise TableError("the table has no tracks, so there is nothing to audit")
    parts = [_part(value) for value in table[split]]
    rows = [row for row, part in enumerate(parts) if part]
    if not rows:
        raise SplitError(f"no track has a value in the column {split!r}; fill it in first")

    groups = _column(table, group)
    if not any(groups):
        raise TableError(f"no track has a value in the column {group!r}, so nothing can be checked")
    names = _column(table, "artist_name") if "artist_name" in table else groups
    tracks = _row_names(table)
    titles = _column(table, "title") if "title" in table else [""] * len(table)
    order = sorted({parts[row] for row in rows}, key=_part_order)
    if len(order) == 1:
        raise SplitError(
            f"every track is in the split {order[0]!r}; an audit compares two splits or more"
        )

    gathered: dict[str, _Group] = {}
    for row in rows:
        if not groups[row]:
            continue
        entry = gathered.setdefault(groups[row], _Group(names[row]))
        entry.counts[parts[row]] += 1
        if len(examples := entry.examples[parts[row]]) < EXAMPLES:
            examples.append(f'{tracks[row]} "{titles[row]}"' if titles[row] else tracks[row])

    sizes = Counter(parts[row] for row in rows)
    labels = _labels(table, label, rows, parts, order)
    artists = [name or value for name, value in zip(names, groups, strict=True)]
    return AuditReport(
        group=group,
        split=split,
        label=label,
        n_tracks=len(table),
        n_groups=len(set(filter(None, groups))),
        splits={part: sizes[part] for part in order},
        labels=labels,
        shared_groups=_shared(gathered, order),
        duplicate_tracks=_duplicates(table, rows, parts, order),
        repeated_titles=_repeated(rows, parts, order, titles, artists, tracks),
        similar_names=_similar(gathered, order),
        dominant_groups=_dominant(gathered, sizes),
        without_group=_ordered(Counter(parts[r] for r in rows if not groups[r]), order),
        without_split=len(parts) - len(rows),
        missing_labels=_missing_labels(labels),
    )


def _shared(gathered: Mapping[str, _Group], order: Sequence[str]) -> tuple[SharedGroup, ...]:
    found = [
        SharedGroup(
            group,
            entry.name,
            _ordered(entry.counts, order),
            {part: tuple(entry.examples[part]) for part in order if part in entry.examples},
        )
        for group, entry in gathered.items()
        if len(entry.counts) > 1
    ]

    # The tracks outside the artist's largest split are those that leak: most harm first.
    def harm(shared: SharedGroup) -> int:
        return sum(shared.tracks.values()) - max(shared.tracks.values())

    return tuple(sorted(found, key=lambda s: (-harm(s), s.name, s.group)))


def _duplicates(
    table: TrackTable, rows: Sequence[int], parts: Sequence[str], order: Sequence[str]
) -> tuple[DuplicateTrack, ...]:
    if "track_id" not in table:
        return ()
    ids = _column(table, "track_id")
    at = _grouped(rows, lambda row: ids[row])
    return tuple(
        DuplicateTrack(id_, _ordered(Counter(parts[r] for r in where), order))
        for id_, where in at.items()
        if id_ and len(where) > 1
    )


def _repeated(
    rows: Sequence[int],
    parts: Sequence[str],
    order: Sequence[str],
    titles: Sequence[str],
    artists: Sequence[str],
    tracks: Sequence[str],
) -> tuple[RepeatedTitle, ...]:
    named = [row for row in rows if titles[row] and artists[row]]
    at = _grouped(named, lambda row: (_folded(titles[row]), _folded(artists[row])))
    found = []
    for where in at.values():
        if len({parts[row] for row in where}) > 1:
            by_part = _grouped(where, lambda row: parts[row])
            named_by_part = {p: tuple(tracks[r] for r in by_part[p]) for p in order if p in by_part}
            found.append(RepeatedTitle(titles[where[0]], artists[where[0]], named_by_part))
    return tuple(found)


def _similar(gathered: Mapping[str, _Group], order: Sequence[str]) -> tuple[SimilarNames, ...]:
    at = _grouped(gathered, lambda group: _artist_key(gathered[group].name))
    found = []
    for key, groups in at.items():
        where = {part for group in groups for part in gathered[group].counts}
        if key and len(groups) > 1 and len(where) > 1:
            found.append(
                SimilarNames(
                    tuple(
                        (g, gathered[g].name, _ordered(gathered[g].counts, order)) for g in groups
                    )
                )
            )
    return tuple(found)


def _dominant(gathered: Mapping[str, _Group], sizes: Counter[str]) -> tuple[DominantGroup, ...]:
    found = [
        DominantGroup(group, entry.name, part, n, n / sizes[part])
        for group, entry in gathered.items()
        for part, n in entry.counts.items()
        if n >= DOMINANT_TRACKS and n > DOMINANT_SHARE * sizes[part]
    ]
    return tuple(sorted(found, key=lambda d: -d.share))


def _labels(
    table: TrackTable,
    label: str | None,
    rows: Sequence[int],
    parts: Sequence[str],
    order: Sequence[str],
) -> dict[str, dict[str, int]]:
    if label is None:
        return {}
    values = _column(table, label)
    counts = {part: Counter[str]() for part in order}
    for row in rows:
        counts[parts[row]][values[row]] += 1
    return {part: dict(sorted(counts[part].items())) for part in order}


def _missing_labels(labels: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[str, ...]]:
    every = {name for counts in labels.values() for name in counts if name}
    lacking = {part: tuple(sorted(every - counts.keys())) for part, counts in labels.items()}
    return {part: names for part, names in lacking.items() if names}


def _part(value: object) -> str:
    text = _text(value)
    try:
        return str(Split.parse(text).value)
    except TableError:
        return text


def _part_order(part: str) -> tuple[int, list[tuple[int, str]]]:
    known = [member.value for member in Split]
    digits = [(int(d or 0), t) for t, d in re.findall(r"(\D*)(\d*)", part)]
    return (known.index(part) if part in known else len(known), [(n, t) for n, t in digits])


def _row_names(table: TrackTable) -> list[str]:
    """What each row is called: its id, else its path, else its number."""
    names = [f"row {row + 1}" for row in range(len(table))]
    for column in ("path", "track_id"):
        if column in table:
            names = [new or name for new, name in zip(_column(table, column), names, strict=True)]
    return names


def _column(table: TrackTable, name: str) -> list[str]:
    return [_text(value) for value in table[name]]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "|".join(map(str, value))
    return str(value.value if isinstance(value, Enum) else value)


def _ordered(counts: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    return {part: counts[part] for part in order if counts.get(part)}


def _grouped(items: Iterable[Any], key: Callable[[Any], Hashable]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _artist_key(name: str) -> str:
    """What is left of an artist's name without accents, case, guests, "the" and punctuation."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("&", " and ")
    plain = re.split(r"[\s(\[](?:feat|ft|featuring)\b", plain)[0]
    plain = re.sub(r"\A\s*the\s+(?=\S)", "", plain)
    return "".join(c for c in plain if c.isalnum()) or plain.strip()
