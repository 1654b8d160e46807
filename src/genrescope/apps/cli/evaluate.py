"""``genrescope evaluate``: how good a recogniser is on tracks whose genre is known."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.interrupts import Interrupts
from genrescope.apps.cli.text import printable
from genrescope.errors import DataError, TableError, UnknownGenreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from genrescope.learn.evaluate import Scores
    from genrescope.learn.prediction import FailedPrediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["evaluate"]

_BATCH = 256  # tracks whose features are held at once
_LISTED = 20  # files that failed, on the terminal; the JSON has all
_STDOUT = "-"


def evaluate(
    old_out: Annotated[str | None, typer.Argument(hidden=True)] = None,
    data: Annotated[
        Path | None,
        options.data(
            "Score on prepared features: a folder with small_tracks.csv, small_mel_frames.npz and "
            "small_mfcc.npz."
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        options.text(
            "--manifest",
            "Score on sound: a table with the columns path (relative to the table) and genre; "
            "artist_id and track_id where they are known.",
            "--audio",
            metavar="FILE",
        ),
    ] = None,
    out: Annotated[
        Path | None, options.out("Write the scores to this file as JSON, too.", metavar="FILE")
    ] = None,
    workers: options.Workers = None,
    bundle: options.Bundle = "default",
    metadata: options.Metadata = True,
    json: options.Json = False,
) -> None:
    """Score a recogniser on tracks whose genre is known.

    Accuracy, macro-F1, calibration and the rest, with 95 % intervals that resample whole artists
    (tracks, where no artist is known), every genre for itself, and the confusion matrix. Where
    the tracks were trained on, it says so. Nothing is written but --out.

    Exit codes: 0 every file was scored, 1 some could not be read, 2 wrong usage or nothing to do,
    130 stopped by Ctrl-C.

    Examples:

      genrescope evaluate --manifest tracks.csv
      genrescope evaluate --data PREPARED --bundle mine --out scores.json
    """
    if old_out is not None:  # --json FILE, as it was once
        if not json or out is not None:
            raise typer.BadParameter(f"{old_out}: more than it takes; give --manifest or --data")
        json, out = old_out == _STDOUT, None if old_out == _STDOUT else Path(old_out)
    if (data is None) == (manifest is None):
        raise typer.BadParameter("--data and --manifest: exclude each other; give one of them")
    if out is not None:
        _check_writable(out)
    from genrescope.learn.recogniser import Recogniser

    with Interrupts() as interrupts:
        try:
            code = _evaluate(
                Recogniser.load(bundle, workers=workers, metadata=metadata),
                data=data,
                manifest=manifest,
                out=out,
                as_json=json,
            )
        except KeyboardInterrupt:
            typer.echo("stopped; a part of the tracks would give other scores", err=True)
            code = interrupts.exit_code
    raise typer.Exit(code)


def _evaluate(
    recogniser: Recogniser,
    *,
    data: Path | None,
    manifest: Path | None,
    out: Path | None,
    as_json: bool,
) -> int:

    from genrescope.apps.cli.render import console

    if data is not None:
        heard = _hear_prepared(recogniser, data)
    else:
        heard = _hear_files(recogniser, manifest or Path())
    result, scores = _judge(recogniser, heard)
    # Before anything is shown: whoever reads the screen may leave early.
    if out is not None:
        _write(out, _dump(result))
    screen = console(sys.stderr if as_json else sys.stdout)
    if as_json:
        typer.echo(_dump(result))
    else:
        _print_head(screen, recogniser, heard)
    _print_warnings(screen, result)
    if scores is not None and not as_json:
        _print_scores(screen, result, scores)
    _print_failures(heard)
    return 1 if heard.failures else 0


# --- labels ----------------------------------------------------------------


@dataclass
class _Labels:
    """Which genre of the recogniser each label means.

    ``position`` is -1 where a track is left out. A label may be a genre below one that the
    recogniser knows ("Techno" below "Electronic"): it then counts as that one, and is listed.
    """

    position: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    counted_as: dict[str, tuple[str, int]] = field(default_factory=dict)
    without: int = 0

    @classmethod
    def read(cls, labels: Iterable[str], genres: Sequence[str]) -> _Labels:
        from genrescope.catalog.genres import GenreTree

        tree = GenreTree.fma()
        known = {genre: i for i, genre in enumerate(genres)}
        for genre in genres:  # a bundle may write a genre in its own way
            with suppress(UnknownGenreError):
                known.setdefault(tree.canonical(genre), known[genre])
        labelled = cls()
        for label in labels:
            place = -1
            if not label:
                labelled.without += 1
            elif label in known:
                place = known[label]
            else:
                place = labelled._above(label, tree, known)
                if place < 0:
                    labelled.left_out[label] += 1
                elif tree.canonical(label) not in known:
                    n = labelled.counted_as.get(label, ("", 0))[1] + 1
                    labelled.counted_as[label] = (genres[place], n)
            labelled.position.append(place)
        return labelled

    @staticmethod
    def _above(label: str, tree: Any, known: Mapping[str, int]) -> int:
        try:
            path = tree.path(label)
        except UnknownGenreError:
            return -1
        return next((known[name] for name in reversed(path) if name in known), -1)

    def check(self, where: Path, genres: Sequence[str]) -> None:
        """Raise DataError where no track is left."""
        if any(place >= 0 for place in self.position):
            return
        found = ", ".join(f"{label} ({n})" for label, n in self.left_out.most_common(5))
        raise DataError(
            f"{where}: none of its {len(self.position)} tracks has a genre that the recogniser "
            f"knows (found: {found or 'no labels'}); it knows {', '.join(genres)}"
        )


# --- listening -------------------------------------------------------------


@dataclass
class _Heard:
    """Probabilities and truth of the tracks that could be recognised."""

    source: Path
    kind: str  # "prepared features" or "sound"
    labels: _Labels
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    artists: list[str]
    ids: list[str]  # "" where not known
    ids_from: str  # what the ids were read from
    failures: list[FailedPrediction] = field(default_factory=list)


def _hear_prepared(recogniser: Recogniser, folder: Path) -> _Heard:
    import numpy as np

    from genrescope.apps.cli.progress import Progress
    from genrescope.audio.frames import describe_prepared
    from genrescope.audio.store import load_frames

    prepared = load_frames(folder)
    labels = _Labels.read(prepared.genre_top.tolist(), recogniser.genres)
    labels.check(folder, recogniser.genres)
    truth = np.array(labels.position, dtype=np.int64)
    rows = np.flatnonzero(truth >= 0)
    probabilities = np.empty((len(rows), len(recogniser.genres)))
    with Progress("Scoring", unit="tracks", total=len(rows)) as progress:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            features = describe_prepared(prepared.mel[batch], prepared.mfcc_3s[batch])
            probabilities[start : start + len(batch)] = recogniser.bundle.run(
                features[:, np.newaxis, :]
            )[0]
            for _ in batch:
                progress.advance()
    return _Heard(
        source=folder,
        kind="prepared features",
        labels=labels,
        truth=truth[rows],
        probabilities=probabilities,
        artists=[str(artist) for artist in prepared.artist_id[rows]],
        ids=[str(track) for track in prepared.track_id[rows]],
        ids_from="track_id",
    )


def _hear_files(recogniser: Recogniser, manifest: Path) -> _Heard:
    import numpy as np

    from genrescope.apps.cli.progress import Progress
    from genrescope.catalog.folders import read_manifest
    from genrescope.learn.prediction import FailedPrediction

    table = read_manifest(manifest)
    if "genre_top" not in table:
        raise TableError(
            f"{manifest}: has no column genre, its columns are {', '.join(table.columns)}; "
            "each row needs path and genre"
        )
    labels = _Labels.read(table["genre_top"].tolist(), recogniser.genres)
    labels.check(manifest, recogniser.genres)
    rows = [row for row, place in enumerate(labels.position) if place >= 0]
    paths = table["path"].tolist()
    trained = {str(track) for track in recogniser.card["training"]["track_ids"]}
    ids, ids_from = _ids(table, paths)
    if trained & {Path(path).name for path in paths}:  # one that was taught knows its files by name
        ids, ids_from = [Path(path).name for path in paths], "names of files"
    artists = next((table[c].tolist() for c in ("artist_id", "artist_name") if c in table), None)

    found: list[int] = []
    probabilities: list[list[float]] = []
    failures: list[FailedPrediction] = []
    results = recogniser.predict_many([paths[row] for row in rows])
    with Progress("Scoring", unit="files", total=len(rows)) as progress, closing(results):
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, FailedPrediction):
                failures.append(result)
            else:
                found.append(row)
                probabilities.append([result.probabilities[g] for g in recogniser.genres])
            progress.advance()
    return _Heard(
        source=manifest,
        kind="sound",
        labels=labels,
        truth=np.array([labels.position[row] for row in found], dtype=np.int64),
        probabilities=np.array(probabilities).reshape(len(found), len(recogniser.genres)),
        artists=[artists[row] if artists else "" for row in found],
        ids=[ids[row] for row in found],
        ids_from=ids_from,
        failures=failures,
    )


def _ids(table: Any, paths: Sequence[str]) -> tuple[list[str], str]:
    """Track ids, from their column or from names as FMA gives them (000002.mp3)."""
    if "track_id" in table:
        return [str(track) for track in table["track_id"]], "track_id"
    stems = [Path(path).stem for path in paths]
    return [str(int(s)) if re.fullmatch(r"[0-9]{6}", s) else "" for s in stems], "file names"


# --- judging ---------------------------------------------------------------


def _judge(recogniser: Recogniser, heard: _Heard) -> tuple[dict[str, Any], Scores | None]:
    """Everything that the JSON holds, and the scores where there are any."""
    from genrescope.learn.calibrate import prediction_set
    from genrescope.learn.evaluate import METRICS, score

    card = recogniser.card
    scores = None
    measured: dict[str, Any] = {
        **dict.fromkeys(METRICS),
        **{"per_genre": {}, "confusion": [], "intervals": dict.fromkeys(METRICS), "n": 0},
    }
    conformal: dict[str, Any] = {"level": card["conformal"]["level"]}
    if len(heard.truth):
        scores = score(
            heard.truth,
            heard.probabilities,
            genres=recogniser.genres,
            groups=heard.artists if any(heard.artists) else None,
            threshold=card["abstention"]["threshold"],
        )
        measured = scores.to_dict()
        sets = prediction_set(heard.probabilities, card["conformal"]["quantile"])
        conformal["coverage"] = float(sets[range(len(sets)), heard.truth].mean())
        conformal["mean_set_size"] = float(sets.sum(axis=1).mean())
    labels = heard.labels
    return {
        **measured,
        "conformal": conformal,
        "bundle": {
            "name": card["name"],
            "version": card["version"],
            "sha256": card["graph"]["sha256"],
        },
        "source": {"path": str(heard.source), "kind": heard.kind},
        "training_overlap": _overlap(card, heard),
        "left_out": {
            "tracks": labels.without + labels.left_out.total(),
            "unknown_genres": dict(labels.left_out.most_common()),
            "without_genre": labels.without,
        },
        "counted_as": {
            label: {"genre": genre, "tracks": n} for label, (genre, n) in labels.counted_as.items()
        },
        "n_failed": len(heard.failures),
        "errors": [failure.to_dict() for failure in heard.failures],
    }, scores


def _overlap(card: Mapping[str, Any], heard: _Heard) -> dict[str, Any]:
    """How many of the tracks the recogniser was trained on."""
    trained = {str(track) for track in card["training"]["track_ids"]}
    m = len(heard.ids)
    identified = sum(1 for track in heard.ids if track)
    if not identified or not trained:
        why = "the card lists no training tracks" if not trained else "the tracks have no ids"
        return {"tracks": None, "of": m, "note": f"not known whether trained on: {why}"}
    n = sum(1 for track in heard.ids if track and track in trained)
    if n == m:
        note = (
            "these are training figures: the recogniser was trained on every one of these "
            "tracks, so they say nothing about other music"
        )
    elif n:
        note = (
            f"these are partly training figures: the recogniser was trained on {n} of these "
            f"{m} tracks, so they are too high"
        )
    elif identified < m:
        note = f"none of the {identified} tracks with an id was trained on ({m} tracks in all)"
    else:
        note = "none of these tracks was trained on"
    return {"tracks": n, "of": m, "by": heard.ids_from, "note": note}


# --- what people see -------------------------------------------------------


def _say(out: Console, text: str, *, style: str = "") -> None:
    from genrescope.apps.cli.scores import paragraph

    out.print(paragraph(printable(text), style=style), soft_wrap=False)


def _print_head(out: Console, recogniser: Recogniser, heard: _Heard) -> None:
    out.print()
    card = recogniser.card
    _say(out, f"{card['name']} {card['version']} on {heard.source} ({heard.kind})")


def _print_warnings(out: Console, result: Mapping[str, Any]) -> None:
    overlap = result["training_overlap"]
    if overlap["tracks"]:
        _say(out, f"WARNING: {overlap['note']}.", style="bold red")
    for label, n in result["left_out"]["unknown_genres"].items():
        _say(out, f"Left out: {_tracks(n)} of {label}, which it does not know.")
    without = result["left_out"]["without_genre"]
    if without:
        _say(out, f"Left out: {_tracks(without)} without a genre.")
    for label, row in result["counted_as"].items():
        _say(out, f"{label} counts as {row['genre']} ({_tracks(row['tracks'])}).")


def _tracks(n: int) -> str:
    return "1 track" if n == 1 else f"{n:,} tracks"


def _print_scores(out: Console, result: Mapping[str, Any], scores: Scores) -> None:
    from genrescope.apps.cli.scores import format_scores

    out.print()
    out.print(format_scores(scores, width=out.width), soft_wrap=False)
    out.print()
    sets = result["conformal"]
    _say(
        out,
        f"Sets of plausible genres hold the right one {sets['coverage']:.1%} of the time (meant "
        f"to: {sets['level']:.0%}), and {sets['mean_set_size']:.1f} genres on average.",
    )
    if scores.threshold is None:
        _say(out, "Its card has no threshold: it is never sure.")
    overlap = result["training_overlap"]
    out.print()
    if overlap["tracks"]:  # again, where the eye is when the tables have scrolled by
        _say(out, f"WARNING: {overlap['note']}.", style="bold red")
    else:
        _say(out, f"Training overlap: {overlap['note']}.", style="dim")


def _print_failures(heard: _Heard) -> None:
    failures = heard.failures
    if not failures:
        return
    total = len(failures) + len(heard.truth)
    typer.echo(f"{len(failures)} of {total} files could not be scored:", err=True)
    for failure in failures[:_LISTED]:
        path, message = printable(failure.path), printable(failure.message)
        typer.echo(f"  {message if path in message else f'{path}: {message}'}", err=True)
    if len(failures) > _LISTED:
        typer.echo(f"  and {len(failures) - _LISTED} more; --json lists all", err=True)


# --- JSON ------------------------------------------------------------------


def _dump(result: Mapping[str, Any]) -> str:
    text = json.dumps(result, indent=2, allow_nan=False)
    # Rows of numbers on one line each.
    numbers = re.compile(r"\[\n\s+([-+\d.eE,\s]+?)\n\s*\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def _check_writable(path: Path) -> None:
    """Before the work, not after it."""
    if path.is_dir():
        raise typer.BadParameter(f"--out {path}: is a folder; give the name of a file")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"--out {path}: there is no folder {path.absolute().parent}; make it first"
        )


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    if path.exists() and not path.is_file():  # a pipe or a device cannot be replaced
        path.write_text(text + "\n", encoding="utf-8")
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise DataError(
            f"{path}: the scores could not be written ({error.strerror or error}); "
            "give another file, or - to print them"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
