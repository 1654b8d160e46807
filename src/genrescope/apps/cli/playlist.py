"""``genrescope playlist``: playlists by genre."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli import tag_options as tagging
from genrescope.apps.cli.batch import Batch
from genrescope.apps.cli.interrupts import Interrupts

if TYPE_CHECKING:
    from genrescope.apps.playlists import Playlist
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["playlist"]


class By(Enum):
    """What a playlist is of."""

    genre = "genre"
    subgenre = "subgenre"


def playlist(
    paths: options.Paths,
    out: Annotated[Path, options.out("Folder of the playlists; made where it is not there.")],
    null: options.Null = False,
    by: Annotated[
        By,
        typer.Option(
            "--by",
            metavar="genre|subgenre",
            help="A playlist for each genre, or for each sub-genre.",
        ),
    ] = By.genre,
    unsure: Annotated[
        bool, typer.Option("--unsure", help='One more playlist, "Not sure", of all other tracks.')
    ] = False,
    flow: Annotated[
        bool,
        typer.Option("--flow", help="Put like next to like, rather than keep the order of files."),
    ] = False,
    force: Annotated[bool, options.force("Overwrite files that genrescope did not write.")] = False,
    min_confidence: options.MinConfidence = None,
    workers: options.Workers = None,
    windows: options.Windows = None,
    bundle: options.Bundle = "default",
    metadata: options.Metadata = True,
    together: options.Alone = None,
) -> None:
    """Write a playlist (m3u8) for each genre that is recognised.

    Genres are those that are heard, whatever the tags say; the music files are not changed.
    What was heard is remembered: other lists of the same files take seconds.

    Exit codes: 0 all went well, 1 some files could not be recognised, 2 wrong usage or nothing
    to do, 130 stopped by Ctrl-C (no playlist is written then).

    Examples:

      genrescope playlist ~/Music --out ~/Music/Playlists
      genrescope playlist ~/Music --out ~/Music/Playlists --by subgenre --flow
      genrescope playlist ~/Music --out Lists --min-confidence 0.8 --unsure
    """
    given = options.check_paths(paths, null=null)

    from genrescope.apps.playlists import gather
    from genrescope.apps.tagging import can_judge_together
    from genrescope.learn.recogniser import Recogniser

    recogniser = Recogniser.load(bundle, n_windows=windows, workers=workers, metadata=metadata)
    tagging.need_subgenres(recogniser, wanted=by is By.subgenre)
    if together:
        recogniser.together([])  # says now, rather than at the end, that the bundle cannot
    with Interrupts() as interrupts:
        try:
            code = _playlist(
                Batch(given, null=null),
                recogniser,
                out=out,
                choose=partial(
                    gather, by=by.value, min_confidence=min_confidence, unsure=unsure, flow=flow
                ),
                together=can_judge_together(recogniser) if together is None else together,
                force=force,
            )
        except KeyboardInterrupt:
            typer.echo(
                "stopped; no playlist was written. What was heard is remembered, the same command "
                "goes on from there",
                err=True,
            )
            code = interrupts.exit_code
    raise typer.Exit(code)


def _playlist(
    batch: Batch,
    recogniser: Recogniser,
    *,
    out: Path,
    choose: Callable[[Sequence[Prediction]], list[Playlist]],
    together: bool,
    force: bool,
) -> int:
    from genrescope.apps.cli.progress import Progress
    from genrescope.apps.cli.sinks import list_failures
    from genrescope.apps.heard import Heard
    from genrescope.apps.playlists import write_playlists
    from genrescope.apps.tagging import hear
    from genrescope.learn.prediction import FailedPrediction

    progress = Progress("Hearing", unit="files")
    if progress.shown:
        batch.look_ahead()
        progress.total = batch.total
    tracks: list[Prediction] = []
    failures: list[FailedPrediction] = []
    with progress, Heard.open() as heard, closing(hear(heard, recogniser, batch)) as results:
        for result in results:
            found = batch.explain(result)
            if isinstance(found, FailedPrediction):
                failures.append(found)
            else:
                tracks.append(found)
            progress.advance()
    failures += batch.unread
    if not tracks and not failures:
        progress.tell(f"genrescope: {batch.nothing_found()}")
        return 2
    lists = choose(recogniser.together(tracks) if together else tracks)
    _show(lists, write_playlists(lists, out, force=force))
    total = len(tracks) + len(failures)
    list_failures(failures, total=total, write=progress.tell)
    sure = {track.path for one in lists for track in one.tracks}
    rest = len(tracks) - len(sure)
    if rest:
        names = f"{rest} {'track is' if rest == 1 else 'tracks are'}"
        progress.tell(f" {names} not sure enough for a playlist (--unsure makes one of them).")
    if not failures:
        return 0
    return 2 if batch.only_patterns(failures) and not tracks else 1


def _show(lists: Sequence[Playlist], files: Sequence[Path]) -> None:
    """One line a playlist: the file, how many tracks, how long."""
    from rich.text import Text

    from genrescope.apps.cli.render import console
    from genrescope.apps.cli.text import clock, printable

    out = console()
    width = max((len(printable(file)) for file in files), default=0)
    for one, file in zip(lists, files, strict=True):
        count = len(one.tracks)
        length = clock(sum(track.duration for track in one.tracks))
        word = "track" if count == 1 else "tracks"
        out.print(Text(f" {printable(file):<{width}}  {count:>6,} {word:<6}  {length:>9}"))
