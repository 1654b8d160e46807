"""Tables with a name: FMA as prepared here, whole or in the parts that are shared."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.audio import frames
from genrescope.catalog import fma
from genrescope.catalog.fma_prepare import read_stamp, table_file
from genrescope.catalog.fma_tables import Unreadable, batches, import_pyarrow, read_header
from genrescope.catalog.table import Subset
from genrescope.errors import DataError
from genrescope.learn.lab.cleaning import RawTable, clean, listed
from genrescope.learn.lab.fma_frames import family, feature_name, frame_table
from genrescope.learn.lab.id_runs import GAP, id_runs, measure_runs
from genrescope.learn.lab.reading import read_columns
from genrescope.learn.lab.tabular import TabularData

__all__ = ["DATASETS", "ECHONEST_AUDIO", "TABLES", "load_dataset"]

_LICENCE = (
    "FMA metadata (Defferrard et al., ISMIR 2017) is CC BY 4.0; the features were computed from "
    "FMA's audio, which stays under the Creative Commons licence that each artist chose."
)
_ECHONEST_LICENCE = (
    "FMA metadata (Defferrard et al., ISMIR 2017) is CC BY 4.0; the audio features in it were "
    "computed by Echonest (now Spotify), which never published how."
)
ECHONEST_AUDIO = (
    *("acousticness", "danceability", "energy", "instrumentalness"),
    *("liveness", "speechiness", "tempo", "valence"),
)
"""The eight Echonest features of the sound; tempo is in beats a minute, the rest from 0 to 1."""

_FACTS = ("listens", "favorites", "interest", "duration", "bit_rate")  # counts, s, bit/s
_DATES = {"date_created": "year_added", "date_recorded": "year_recorded"}
_TRACK_FILES = ("tracks_head.csv", "rock_hiphop_tracks.csv")  # what both have, the first says


@dataclass(frozen=True)
class _Asked:
    """What a table is made from."""

    folder: Path
    subset: Subset | None
    groups: tuple[str, ...] | None
    table: str
    cache: Path | None


def load_dataset(
    name: str,
    directory: str | PathLike[str],
    *,
    subset: Subset | str | None = None,
    groups: Collection[str] | None = None,
    table: str = "features",
    cache: str | PathLike[str] | None = None,
) -> TabularData:
    """Load a table by its name.

    Parameters
    ----------
    name : str
        One of :data:`DATASETS`.
    directory : path
        Where its files are: the folder with ``small_tracks.csv`` and its companions, or, for
        ``fma``, what ``genrescope fma prepare`` made.
    subset : Subset or str, optional
        Of ``fma``: the tracks of this subset and of those inside it; by default all.
    groups : collection of str, optional
        Features to take: families (as in ``feature_groups``) or heads of names, such as
        ``mfcc`` or ``mfcc_mean``; by default all (of Echonest's, the eight of the sound).
    table : {"features", "echonest"}
        Of ``fma``: the 518 descriptors, or Echonest's numbers.
    cache : path, optional
        A folder for what takes long to compute: the statistics of ``fma-small-*``.

    Returns
    -------
    TabularData

    Raises
    ------
    DataError
        If there is no table of that name, files are missing, or a group has no feature.
    TableError
        If `subset` names none, or a file is no table.
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise DataError(
            f"{name!r} is the name of no table{hint}; there are {listed(list(DATASETS))}. For a "
            "table of your own give its file"
        )
    if name != "fma" and (subset is not None or table != "features"):
        what = f"subset {subset!s}" if subset is not None else f"table {table}"
        raise DataError(f"{name} has no {what}; subsets and tables are of the dataset fma")
    asked = _Asked(
        Path(directory),
        None if subset is None else Subset.parse(subset),
        None if groups is None else tuple(groups),
        table,
        None if cache is None else Path(cache),
    )
    if not asked.folder.is_dir():
        raise DataError(f"{asked.folder}: no such folder; give the one that holds the tables")
    load = TABLES[name][1]
    return clean(load(asked))


# --- FMA-small, statistics of its frames -----------------------------------


def _small_mfcc(asked: _Asked) -> RawTable:
    columns = [
        at for at, name in enumerate(frames.STATISTIC_NAMES) if name.startswith("mfcc.mfcc_")
    ]
    names = [feature_name(frames.STATISTIC_NAMES[at]) for at in columns]
    kinds = [name.partition(".")[0].replace("_", " ") for name in names]
    raw = _small("fma-small-mfcc", asked, columns, names, kinds)
    raw.notes.append(
        "The 140 features are mean, standard deviation, skew, kurtosis, median, minimum and "
        "maximum of 20 cepstral coefficients, as in the study of 2022, over 128 frames of 30 s "
        f"(one every 0.23 s) and {frames.READ_BANDS} mel bands below 15 kHz; FMA's own "
        "descriptors have a frame every 23 ms, and all bands."
    )
    return raw


def _small_mel(asked: _Asked) -> RawTable:
    names = list(frames.STATISTIC_NAMES)
    columns = list(range(len(names)))
    return _small(
        "fma-small-mel",
        asked,
        columns,
        [feature_name(name) for name in names],
        [family(name) for name in names],
    )


def _small(
    name: str, asked: _Asked, columns: list[int], names: list[str], kinds: list[str]
) -> RawTable:
    folder = asked.folder
    chosen = _by_group(name, names, kinds, asked.groups)
    x = frame_table(folder, cache=asked.cache)[:, [columns[at] for at in chosen]]
    tracks = read_columns(folder / "small_tracks.csv").columns
    ids = tracks["track_id"].values(np.arange(len(x))).astype(np.int64)
    facts, _ = _facts(folder, ids)
    raw = RawTable(
        name=name,
        x=x,
        features=[names[at] for at in chosen],
        families=[kinds[at] for at in chosen],
        label=tracks["genre_top"].text(),
        groups=tracks["artist_id"].text() if "artist_id" in tracks else np.full(len(x), ""),
        group_name="artist",
        track_id=ids.astype(np.str_),
        title=tracks["title"].shown() if "title" in tracks else None,
        artist=tracks["artist_name"].shown() if "artist_name" in tracks else None,
        extras=facts,
        source=f"Tracks of FMA's training and validation splits, subset small. {_LICENCE}",
    )
    _say_facts(raw)
    return raw


# --- Echonest's features ---------------------------------------------------


def _echonest(asked: _Asked) -> RawTable:
    folder = asked.folder
    chosen = _by_group("fma-echonest", ECHONEST_AUDIO, ECHONEST_AUDIO, asked.groups)
    names = [ECHONEST_AUDIO[at] for at in chosen]
    heard = _file(folder, "echonest_audio_features.csv", ("track_id", *names))
    tops = _file(folder, "genre_top.csv", ("track_id", "genre_top"))
    every = _integers(heard["track_id"])
    top = dict(zip(_integers(tops["track_id"]).tolist(), tops["genre_top"].text(), strict=True))
    ids = every
    artist_of, artist_name, title = _makers(folder)
    facts, titles = _facts(folder, ids)
    rows = np.arange(len(ids))
    # Groups are made among the rows that stay: the others would only join what is apart.
    label = np.array([top.get(one, "") for one in ids.tolist()], dtype=np.str_)
    groups = np.full(len(ids), "", dtype="U40")
    groups[label != ""] = id_runs(ids[label != ""], artist_of)
    raw = RawTable(
        name="fma-echonest",
        x=np.column_stack([heard[name].values(rows) for name in names]).astype(np.float32),
        features=names,
        families=names,
        label=label,
        groups=groups,
        group_name="likely artist",
        track_id=ids.astype(np.str_),
        title=np.array([title.get(one) or titles.get(one, "") for one in ids.tolist()], np.str_),
        artist=np.array([artist_name.get(one, "") for one in ids.tolist()], np.str_),
        extras=facts,
        source=_ECHONEST_LICENCE,
    )
    raw.notes.append(_run_note(ids[label != ""], artist_of))
    _say_facts(raw)
    return raw


def _run_note(ids: NDArray[np.int64], artist_of: Mapping[int, str]) -> str:
    facts = measure_runs(ids, artist_of)
    said = (
        f"The artist is known for {facts.known:,} of {len(ids):,} tracks only. FMA numbers tracks "
        f"album by album, so tracks whose ids are at most {GAP} apart are kept in one group, and "
        "so are all that are known to be by one artist."
    )
    if facts.neighbours and facts.together:
        said += (
            f" Checked where artists are known: of {facts.neighbours:,} neighbours so close, "
            f"{100 * facts.same:.0f} % are by one artist; and of {facts.together:,} tracks that "
            f"share their artist with others here, {100 * facts.torn:.0f} % would be torn from "
            "some of them if only ids were known. So some artists are on both sides of a split, "
            "and scores are somewhat too high."
        )
    return said


def _makers(folder: Path) -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """Artist ids, artist names and titles, by track, where the files say."""
    ids: dict[int, str] = {}
    names: dict[int, str] = {}
    titles: dict[int, str] = {}
    small = folder / "small_tracks.csv"
    sources: list[Mapping[str, Sequence[Any]]] = []
    if small.exists():
        columns = _file(folder, small.name, ("track_id", "artist_id", "artist_name", "title"))
        sources.append(
            {
                "track_id": _integers(columns["track_id"]).tolist(),
                **{n: columns[n].shown().tolist() for n in ("artist_id", "artist_name", "title")},
            }
        )
    if (folder / _TRACK_FILES[0]).exists():
        head = _track_file(folder / _TRACK_FILES[0])
        wanted = ("track_id", "artist_id", "artist_name", "title")
        if set(wanted) <= set(head.column_names):
            sources.append({name: head[name].to_pylist() for name in wanted})
    for source in sources:
        for track, artist, name, title in zip(*source.values(), strict=True):
            if artist not in (None, ""):
                ids.setdefault(track, str(artist))
                names.setdefault(track, str(name or ""))
            titles.setdefault(track, str(title or ""))
    return ids, names, titles


# --- FMA as prepared -------------------------------------------------------


def _fma(asked: _Asked) -> RawTable:
    if asked.table not in ("features", "echonest"):
        raise DataError(f"table is {asked.table!r}; it must be features or echonest")
    folder = fma.find_prepared(asked.folder)
    if asked.table not in read_stamp(folder)["tables"]:
        raise DataError(
            f"{folder}: has no {asked.table}; fetch FMA's metadata with {asked.table}.csv in it, "
            "and run `genrescope fma prepare` again"
        )
    tracks = fma.load_tracks(folder, subset=asked.subset)
    n = len(tracks)
    table = fma.load_features(folder) if asked.table == "features" else fma.load_echonest(folder)
    kinds = [_fma_family(name, asked.table) for name in table.names]
    groups = asked.groups
    if groups is None and asked.table == "echonest":
        groups = tuple(name for name in table.names if name in ECHONEST_AUDIO)
    chosen = _by_group(f"fma ({asked.table})", table.names, kinds, groups)
    notes: list[str] = []
    keep = _sound(tracks, notes)
    order = np.argsort(table.track_id)
    ids: NDArray[np.int64] = tracks["track_id"]
    place = order[np.minimum(np.searchsorted(table.track_id, ids, sorter=order), len(order) - 1)]
    described = table.track_id[place] == ids
    if lost := int((keep & ~described).sum()):
        notes.append(f"{lost:,} of {n:,} tracks are not in {asked.table}.csv and are left out.")
    keep &= described
    rows = np.flatnonzero(keep)
    top = _texts(tracks["genre_top"][rows]) if "genre_top" in tracks else np.full(len(rows), "")
    artist = next((name for name in ("artist_id", "artist_name") if name in tracks), None)
    split = None
    if "split" in tracks:
        split = np.array([getattr(s, "value", "") for s in tracks["split"][rows]], dtype=np.str_)
    facts, _ = _joined_facts(_prepared_facts(folder), ids[rows])
    if "duration" in tracks:
        facts["duration"] = tracks["duration"][rows]  # without those known to be wrong
    which = "all" if asked.subset is None else asked.subset.value
    what = asked.table if asked.groups is None else "-".join(asked.groups)
    simulated = fma.is_simulated(folder)
    return RawTable(
        name=f"fma-{which}-{what}",
        x=table.values[np.ix_(place[rows], np.array(chosen))],
        features=[table.names[at] for at in chosen],
        families=[kinds[at] for at in chosen],
        label=top,
        groups=np.full(len(rows), "") if artist is None else _texts(tracks[artist][rows]),
        group_name="artist" if artist else "track",
        track_id=ids[rows].astype(np.str_),
        title=_texts(tracks["title"][rows]) if "title" in tracks else None,
        artist=_texts(tracks["artist_name"][rows]) if "artist_name" in tracks else None,
        split=split,
        extras={name: column for name, column in facts.items() if np.isfinite(column).any()},
        notes=notes,
        source=_SIMULATED
        if simulated
        else (_LICENCE if asked.table == "features" else _ECHONEST_LICENCE),
        simulated=simulated,
    )


_SIMULATED = (
    "Made up by `genrescope fma simulate`: no track, artist or number in it is real, and what is "
    "measured on it says nothing about music."
)


def _sound(tracks: Any, notes: list[str]) -> NDArray[np.bool_]:
    """Which tracks are not known to be bad."""
    problem = _texts(tracks["problem"])
    bad = np.flatnonzero(problem != "")
    if len(bad):
        reasons = Counter(problem[bad].tolist())
        told = listed([f"{reason} ({count})" for reason, count in reasons.most_common()])
        ids = listed([str(one) for one in tracks["track_id"][bad]], most=30)
        notes.append(
            f"{len(bad):,} tracks that are known to be bad are left out: {told}. They are {ids}."
        )
    return np.asarray(problem == "", dtype=bool)


def _fma_family(name: str, table: str) -> str:
    if table == "features":
        return name.rsplit("_", 2)[0]
    if name in ECHONEST_AUDIO:
        return name
    if name.startswith("temporal_features"):
        return "temporal"
    return "ranks" if name.endswith("_rank") else "social"


def _prepared_facts(folder: Path) -> Any:
    pa = import_pyarrow()
    path = table_file(folder, "tracks")
    there = set(pa.parquet.read_schema(path).names)
    wanted = [name for name in ("track_id", *_FACTS, *_DATES) if name in there]
    return pa.parquet.read_table(path, columns=wanted, use_threads=False)


# --- columns of several files ----------------------------------------------


def _facts(
    folder: Path, ids: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], dict[int, str]]:
    """Listens and the like from the parts of tracks.csv that are there, and titles."""
    facts: dict[str, NDArray[np.float64]] = {}
    titles: dict[int, str] = {}
    for name in _TRACK_FILES:
        if (folder / name).exists():
            found, called = _joined_facts(_track_file(folder / name), ids)
            titles = {**called, **titles}
            for fact, column in found.items():
                before = facts.get(fact, column)
                facts[fact] = np.where(np.isnan(before), column, before)
    return {name: column for name, column in facts.items() if np.isfinite(column).any()}, titles


def _joined_facts(
    table: Any, ids: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], dict[int, str]]:
    """The facts of a table of tracks, in the order of `ids`; NaN where it has none."""
    pa = import_pyarrow()
    there: NDArray[np.int64] = table["track_id"].to_numpy()
    order = np.argsort(there)
    at = order[np.minimum(np.searchsorted(there, ids, sorter=order), len(there) - 1)]
    known = there[at] == ids
    facts = {}
    for name in (*_FACTS, *_DATES):
        if name in table.column_names:
            column = pa.compute.year(table[name]) if name in _DATES else table[name]
            numbers = pa.compute.cast(column, pa.float64()).to_numpy()
            facts[_DATES.get(name, name)] = np.where(known, numbers[at], np.nan)
    if "duration" in facts:
        wrong = [track for track, why in fma.KNOWN_BAD.items() if "duration" in why]
        facts["duration"][np.isin(ids, wrong)] = np.nan
    titles: dict[int, str] = {}
    if "title" in table.column_names:
        words = table["title"].to_pylist()
        titles = {int(ids[k]): words[at[k]] or "" for k in np.flatnonzero(known)}
    return facts, titles


def _say_facts(raw: RawTable) -> None:
    if "listens" in raw.extras:
        known = np.isfinite(raw.extras["listens"]) & (raw.label != "")
        counts = Counter(raw.label[known].tolist())
        told = listed([f"{genre} ({n:,})" for genre, n in counts.most_common()], most=4)
        raw.notes.append(
            f"Listens, dates and durations are known for {int(known.sum()):,} of "
            f"{int((raw.label != '').sum()):,} tracks: {told}. They are shown, not learnt from."
        )


def _track_file(path: Path) -> Any:
    """A part of FMA's tracks.csv, typed."""
    pa = import_pyarrow()
    header = read_header(path, table="tracks")
    found = batches(path, table="tracks", header=header, unreadable=Unreadable())
    return pa.Table.from_batches(list(found)).combine_chunks()


def _file(folder: Path, name: str, needed: Sequence[str]) -> Any:
    path = folder / name
    if not path.exists():
        raise DataError(f"{path}: not there; give the folder that holds it")
    columns = read_columns(path).columns
    if missing := [column for column in needed if column not in columns]:
        raise DataError(f"{path}: lacks the columns {listed(missing)}; fetch it again")
    return columns


def _integers(column: Any) -> NDArray[np.int64]:
    numbers = column.numbers
    if numbers is None or np.isnan(numbers).any() or len(set(numbers.tolist())) < len(numbers):
        raise DataError(f"{column.name} is not a whole number in every row, each once")
    whole: NDArray[np.int64] = numbers.astype(np.int64)
    return whole


def _texts(cells: Any) -> NDArray[np.str_]:
    return np.array(["" if cell is None else str(cell) for cell in cells], dtype=np.str_)


def _by_group(
    name: str, names: Sequence[str], kinds: Sequence[str], groups: Sequence[str] | None
) -> list[int]:
    """Where the features of some families are."""
    if groups is None:
        return list(range(len(names)))
    chosen: set[int] = set()
    for group in groups:
        heads = tuple(f"{group}{mark}" for mark in "_.")
        found = {
            at
            for at, (one, kind) in enumerate(zip(names, kinds, strict=True))
            if group in (one, kind) or one.startswith(heads)
        }
        if not found:
            raise DataError(
                f"{group!r} is no group of features in {name}; there are "
                f"{listed(sorted(set(kinds)), most=30)}"
            )
        chosen |= found
    return sorted(chosen)


#: Tables by name: what they hold, and what loads them from a folder.
TABLES: Mapping[str, tuple[str, Callable[[_Asked], RawTable]]] = MappingProxyType(
    {
        "fma-small-mfcc": (
            "140 MFCC statistics of FMA-small: the table of the study of 2022",
            _small_mfcc,
        ),
        "fma-small-mel": (
            f"{frames.N_STATISTICS:,} statistics of the same mel frames of FMA-small",
            _small_mel,
        ),
        "fma-echonest": (
            "8 features by Echonest, for the tracks of FMA that have a genre",
            _echonest,
        ),
        "fma": (
            "FMA as `genrescope fma prepare` made it: 518 descriptors, or Echonest's numbers",
            _fma,
        ),
    }
)
#: Tables by name, and what they hold.
DATASETS: Mapping[str, str] = MappingProxyType({name: about for name, (about, _) in TABLES.items()})
