"""``genrescope robustness``: how often answers change when sound does and music does not."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.interrupts import Interrupts
from genrescope.apps.cli.text import percent, print_json, printable
from genrescope.errors import DataError, GenrescopeError, UnknownGenreError

if TYPE_CHECKING:
    from rich.console import Console

    from genrescope.audio.perturb import Perturbation
    from genrescope.learn.recogniser import Recogniser
    from genrescope.learn.studies.robustness import Clip, Effect, Heard

__all__ = ["robustness"]

_SHORT_SECONDS = 20.0  # clips below are a table of their own
_TABLES = frozenset({".csv", ".parquet"})
_LISTED = 20
_FEW_UNITS = 20


def robustness(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            show_default=False,
            help="Files, folders (searched at any depth), or tables with a column path (and "
            "genre, artist_id).",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        options.text(
            "--only",
            "Only this change, such as mp3-128; repeat it for more.",
            autocompletion=completion.changes,
        ),
    ] = None,
    every: Annotated[
        float,
        options.number(
            "--every",
            "From the start of a 30-s clip to the start of the next in the same file.",
            metavar="SECONDS",
        ),
    ] = 30.0,
    run: Annotated[
        Path | None,
        options.text(
            "--run",
            "A finished `genrescope train default`: also cut off the top of the spectrum of all "
            "tracks it was trained on, answered out of fold (needs --data).",
            metavar="FOLDER",
        ),
    ] = None,
    data: Annotated[Path | None, options.data("The prepared data of --run.")] = None,
    out: Annotated[
        Path | None,
        options.out("Write the report to this page (Markdown), too.", "--markdown", metavar="FILE"),
    ] = None,
    workers: options.Workers = None,
    bundle: options.Bundle = "default",
    json: options.Json = False,
) -> None:
    """Test how steady a recogniser is.

    Every file is cut into clips of 30 s. Each clip is recognised as it is and again after it went
    through MP3, Opus, other sampling rates, levels, keys, tempos and more; the two answers are
    compared. The changes that matter most come first. Nothing is written but --out.

    Exit codes: 0 every file was heard, 1 some could not be, 2 wrong usage or nothing to do, 130
    stopped by Ctrl-C.

    Examples:

      genrescope robustness ~/Music/Album --only mp3-128 --only noise
      genrescope robustness songs.csv --every 60 --out robustness.md
    """
    from genrescope.apps.cli.render import console

    if (run is None) != (data is None):
        raise typer.BadParameter("--run and --data: belong together; give both or neither")
    if not paths and run is None:
        raise typer.BadParameter(
            "PATH: is missing; give files, folders or tables, or --run with --data"
        )
    if not every > 0:
        raise typer.BadParameter(f"--every: is {every}; give seconds, more than 0")
    if out is not None and not out.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"--out {out}: there is no folder {out.absolute().parent}; make it first"
        )
    with Interrupts() as interrupts:
        try:
            result = _measure(
                paths or [],
                bundle=bundle,
                only=only or [],
                every=every,
                folds=None if run is None or data is None else (run, data),
                workers=workers,
            )
        except KeyboardInterrupt:
            typer.echo("stopped; a part of the clips would give other figures", err=True)
            raise typer.Exit(interrupts.exit_code) from None
    if out is not None:
        from genrescope.apps.robustness_page import robustness_page
        from genrescope.catalog.storage import atomic

        with atomic(out) as part:
            part.write_text(robustness_page(result), encoding="utf-8")
    if json:
        print_json(result)
    else:
        _show(console(), result)
    for failure in result["errors"][:_LISTED]:
        typer.echo(f"  {printable(failure)}", err=True)
    raise typer.Exit(1 if result["n_failed"] else 0)


# --- measuring -------------------------------------------------------------


def _measure(
    paths: Sequence[Path],
    *,
    bundle: str,
    only: Sequence[str],
    every: float,
    folds: tuple[Path, Path] | None,
    workers: int | None,
) -> dict[str, Any]:
    from genrescope.audio.perturb import choose
    from genrescope.learn.recogniser import Recogniser
    from genrescope.learn.studies.robustness import cut

    perturbations = choose(only)
    recogniser = Recogniser.load(bundle)
    files, genres, artists = _files(paths, recogniser)
    clips, unread = cut(files, every=every, genres=genres, artists=artists)
    errors = [_message(path, error) for path, error in unread]
    if paths and not clips:
        raise DataError(
            f"none of {len(files)} files could be read ({errors[0] if errors else 'no audio'}); "
            "give files with sound"
        )
    heard, failed = _hear(recogniser, clips, perturbations, workers)
    errors += failed
    sections = _sections(recogniser, heard, perturbations)
    if folds is not None:
        sections.append(_fold_section(*folds))
    if not sections:
        raise DataError(f"none of {len(clips)} clips could be recognised ({errors[0]})")
    card = recogniser.card
    return {
        "bundle": {
            "name": card["name"],
            "version": card["version"],
            "sha256": card["graph"]["sha256"],
        },
        "command": shlex.join(["genrescope", *sys.argv[1:]]),
        "sections": sections,
        "n_failed": len(errors),
        "errors": errors,
    }


def _files(
    paths: Iterable[Path], recogniser: Recogniser
) -> tuple[list[Path], list[str], list[str]]:
    """Files with genre and artist, "" where they are not known."""
    from genrescope.catalog.folders import find_audio, read_manifest

    files: list[Path] = []
    genres: list[str] = []
    artists: list[str] = []
    for path in paths:
        if path.suffix.lower() not in _TABLES:
            found = list(find_audio(path))
            files += found
            genres += [""] * len(found)
            artists += [""] * len(found)
            continue
        table = read_manifest(path)
        n = len(table["path"])
        files += [Path(name) for name in table["path"].tolist()]
        genres += [_known(g, recogniser) for g in _column(table, n, "genre_top")]
        artists += _column(table, n, "artist_id", "artist_name")
    return files, genres, artists


def _column(table: Any, n: int, *names: str) -> list[str]:
    found = next((table[name].tolist() for name in names if name in table), [""] * n)
    return ["" if value is None else str(value) for value in found]


def _known(label: str, recogniser: Recogniser) -> str:
    """The genre of the recogniser that a label means, or is below; "" where there is none."""
    from genrescope.catalog.genres import GenreTree

    if label in recogniser.genres:
        return label
    try:
        path = GenreTree.fma().path(label)
    except UnknownGenreError:
        return ""
    return next((name for name in reversed(path) if name in recogniser.genres), "")


def _hear(
    recogniser: Recogniser,
    clips: Sequence[Clip],
    perturbations: Sequence[Perturbation],
    workers: int | None,
) -> tuple[list[Heard], list[str]]:
    from genrescope.apps.cli.progress import Progress
    from genrescope.learn.studies.robustness import hear

    heard: list[Heard] = []
    errors: list[str] = []
    with Progress("Listening", unit="clips", total=len(clips)) as progress:
        for answer in hear(recogniser, clips, perturbations=perturbations, workers=workers):
            if isinstance(answer, tuple):
                errors.append(_message(answer[0].path, answer[1]))
            else:
                heard.append(answer)
                errors += [
                    f"{answer.clip.path}: {name}: {why}" for name, why in answer.failures.items()
                ]
            progress.advance()
    return heard, errors


def _sections(
    recogniser: Recogniser, heard: Sequence[Heard], perturbations: Sequence[Perturbation]
) -> list[dict[str, Any]]:
    from genrescope.learn.studies.robustness import effects

    sections = []
    for title, what, rows in (
        (
            "Clips of 30 s",
            "clip{s} of 30 s",
            [h for h in heard if h.clip.seconds >= _SHORT_SECONDS],
        ),
        (
            "Short pieces",
            f"piece{{s}} of less than {_SHORT_SECONDS:.0f} s, on which answers are less sure and "
            "turn more easily",
            [h for h in heard if h.clip.seconds < _SHORT_SECONDS],
        ),
    ):
        if not rows:
            continue
        found = effects(
            rows,
            genres=recogniser.genres,
            threshold=recogniser.card["abstention"]["threshold"],
            perturbations=perturbations,
        )
        sections.append(_section(title, _about(recogniser, rows, what), found))
    return sections


def _about(recogniser: Recogniser, rows: Sequence[Heard], what: str) -> str:
    units = {row.clip.unit for row in rows}
    files = {row.clip.path for row in rows}
    about = f"{len(rows):,} {what.format(s=_s(len(rows)))}, from {_files_in_words(len(files))}."
    if len(units) < _FEW_UNITS:
        about += (
            " That is few, and clips of one file resemble each other, so the intervals say more "
            "than the decimals."
        )
    trained = {str(track) for track in recogniser.card["training"]["track_ids"]}
    learnt = sum(1 for path in files if path.stem.isdigit() and str(int(path.stem)) in trained)
    if learnt:
        about += f" It was trained on {learnt} of them"
        if any(row.clip.genre for row in rows):
            about += ", so accuracy here says nothing about other music; its change still counts"
        about += "."
    return about


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def _files_in_words(n: int) -> str:
    return f"{n:,} file{_s(n)}"


def _fold_section(run: Path, data: Path) -> dict[str, Any]:
    from genrescope.learn.studies.robustness_folds import cutoff_effects

    found = cutoff_effects(run, data)
    about = (
        f"{found[0].n:,} labelled tracks by {found[0].n_units:,} artists, as prepared mel frames: "
        "no codec can be tried on these, but their top can be cut off as codecs and low sampling "
        "rates do. Every track is answered by members that had never met its artist."
    )
    return _section("Labelled tracks, out of fold", about, found)


def _section(title: str, about: str, found: Sequence[Effect]) -> dict[str, Any]:
    return {"title": title, "about": about, "effects": [effect.to_dict() for effect in found]}


def _message(path: Path, error: GenrescopeError) -> str:
    text = str(error)
    return text if str(path) in text else f"{path}: {text}"


# --- what people see -------------------------------------------------------


def _show(out: Console, result: dict[str, Any]) -> None:
    from rich.text import Text

    from genrescope.apps.cli.render import paragraph

    bundle = result["bundle"]
    out.print()
    out.print(Text(f" {bundle['name']} {bundle['version']}", style="bold"))
    plain = not (out.encoding or "").lower().startswith("utf")
    for section in result["sections"]:
        out.print()
        out.print(Text(f" {section['title']}", style="bold"))
        paragraph(out, section["about"])
        out.print()
        for line in _rows(section["effects"], wide=out.width >= 100, plain=plain):
            out.print(line)
    out.print()
    paragraph(
        out,
        "Same genre: share of clips whose most probable genre stays, with its 95 % interval. "
        "Sure, kept: of the sure answers, those that stay. Turned: those that become sure of "
        "another genre. Distance: how far the probabilities move, 0 to 1.",
    )


def _rows(effects: Sequence[dict[str, Any]], *, wide: bool, plain: bool) -> list[Any]:
    from rich.text import Text

    from genrescope.apps.cli.render import bar, fit

    label = max(len(effect["label"]) for effect in effects)
    labelled = any(effect["n_labelled"] for effect in effects) and wide
    gauge = 12 if wide else 0
    kept = "Sure, kept" if wide else "Kept"
    head = f" {'':<{label}}  {'Clips':>5}  {'Same genre':<{gauge + 15 + wide}}  {kept:>{len(kept)}}"
    head += f"  {'Turned':>6}  {'Distance':>8}" + ("  Accuracy" if labelled else "")
    lines = [Text(head, style="bold"), Text(" " + ("-" if plain else "─") * len(head), "dim")]
    for effect in effects:
        same, ends = effect["same"], effect["same_interval"]
        line = Text(f" {fit(effect['label'], label)}  {effect['n']:>5,}  ")
        line.append(bar(same, gauge, ascii_only=plain), style=_tint(same))
        line.append(f"{' ' if wide else ''}{percent(same):>4}", style=_tint(same))
        between = "" if ends is None else f"{100 * ends[0]:.0f} to {100 * ends[1]:.0f}"
        line.append(f" {between:<10}", style="dim")
        line.append(f"  {_share(effect['sure_kept']):>{len(kept)}}")
        line.append(f"  {_share(effect['sure_turned']):>6}")
        line.append(f"  {effect['distance']:>8.3f}")
        if labelled and effect["n_labelled"]:
            before, after = effect["accuracy_before"], effect["accuracy_after"]
            line.append(f"  {before:.3f} to {after:.3f}")
        lines.append(line)
    return lines


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _tint(same: float) -> str:
    return "green" if same >= 0.9 else "yellow" if same >= 0.8 else "red"
