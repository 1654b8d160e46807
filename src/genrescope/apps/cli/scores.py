"""How scores look in a terminal: metrics with intervals, genres, confusions, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from genrescope.apps.cli.text import percent, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from genrescope.learn.evaluate import Scores

__all__ = ["format_scores", "most_confused", "paragraph"]

# name in the JSON, name for people, what it is
_ROWS = (
    ("accuracy", "Accuracy", "most probable genre is the right one"),
    ("balanced_accuracy", "Balanced accuracy", "every genre counts the same"),
    ("artist_weighted_accuracy", "Artist-weighted accuracy", "every artist counts the same"),
    ("macro_f1", "Macro-F1", "F1, every genre counts the same"),
    ("top3", "Top-3", "right genre among the first three"),
    ("log_loss", "Log-loss", "nats; a blind guess gives {blind:.3f}"),
    ("ece", "Calibration error (ECE)", "15 bins of the highest probability"),
    ("coverage", "Coverage when sure", "share with a probability of {threshold:.2f} or more"),
    ("accuracy_when_sure", "Accuracy when sure", "on that share"),
)
_WORDY = 104  # cells; below, the explanations are left out
_COLD = (24, 26, 32)  # background of the confusion matrix at 0 % ...
_HOT = (25, 130, 225)  # ... and at 100 %


def format_scores(scores: Scores | Mapping[str, Any], *, width: int = 80) -> RenderableType:
    """Scores for a terminal.

    Parameters
    ----------
    scores : Scores or mapping
        What :func:`genrescope.learn.evaluate.score` gave, or its ``to_dict()`` as a card keeps
        it; parts that a mapping lacks are left out.
    width : int > 0
        Cells there are. In a pipe, give many: nothing is cut short then.

    Returns
    -------
    rich renderable
        For ``Console.print(..., soft_wrap=False)``.
    """
    values: Mapping[str, Any] = scores if isinstance(scores, Mapping) else scores.to_dict()
    parts: list[RenderableType] = [_title(_counts(values)), Text(), _metrics(values, width)]
    if values.get("per_genre"):
        parts += [Text(), _title("Genres, best F1 first"), Text()]
        parts.append(_genres(values["per_genre"], width))
    if values.get("confusion") and values.get("genres"):
        parts += [Text(), *_confusion(values["confusion"], values["genres"], width)]
    if values.get("reliability"):
        parts += [Text(), *_reliability(values["reliability"], width)]
    if values.get("notes"):
        parts.append(Text())
    for note in values.get("notes", ()):
        parts.append(paragraph(printable(note), style="italic"))
    return Group(*parts)


def most_confused(
    confusion: Sequence[Sequence[int]], genres: Sequence[str], *, at_most: int = 3
) -> list[tuple[str, str, float]]:
    """The mistakes that are most common among the tracks of their genre.

    Parameters
    ----------
    confusion : sequence of rows [k, k]
        Counts; rows are the true genres.
    genres : sequence of k str
        Names.
    at_most : int
        How many.

    Returns
    -------
    list of (true genre, taken for, share of the true genre's tracks)
        High to low; shares above 0 only.
    """
    found = [
        (genres[i], genres[j], count / sum(row))
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda mistake: -mistake[2])[:at_most]


def paragraph(text: str, *, style: str = "") -> RenderableType:
    """Words that keep their margin where they are wrapped; print with ``soft_wrap=False``."""
    return Padding(Text(text, style=style), (0, 0, 0, 1), expand=False)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=True)


def _title(text: str) -> Text:
    return Text(f" {text}", style="bold")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _counts(values: Mapping[str, Any]) -> str:
    artists = values.get("n_artists")
    return f"{values['n']:,} tracks" + (f", {artists:,} artists" if artists else "")


def _metrics(values: Mapping[str, Any], width: int) -> Table:
    resampling = values.get("resampling", {})
    unit = f" by {resampling['unit']}" if resampling else ""
    table = _table()
    table.add_column("Metric", no_wrap=True)
    table.add_column("Value", justify="right", no_wrap=True, min_width=5)
    table.add_column(f"95 % interval{unit}", no_wrap=True, min_width=13)
    wordy = width >= _WORDY
    if wordy:
        table.add_column("", style="dim", no_wrap=True)
    genres = values.get("genres") or list(values.get("per_genre", {}))
    threshold = values.get("threshold")
    for name, label, words in _ROWS:
        if name not in values or (values[name] is None and name.endswith(("sure", "coverage"))):
            continue
        pair = values.get("intervals", {}).get(name)
        shown = "–" if pair is None else f"{pair[0]:.3f} – {pair[1]:.3f}"
        cells: list[RenderableType] = [label, Text(_figure(values[name]), style="bold"), shown]
        if wordy:
            cells.append(_explain(words, n_genres=len(genres), threshold=threshold))
        table.add_row(*cells)
    return table


def _explain(words: str, *, n_genres: int, threshold: float | None) -> str:
    if "{blind" in words:
        return words.format(blind=math.log(n_genres)) if n_genres else "nats"
    if "{threshold" in words:
        return words.format(threshold=threshold) if threshold is not None else ""
    return words


def _genres(per_genre: Mapping[str, Mapping[str, Any]], width: int) -> Table:
    from genrescope.apps.cli.render import colour

    table = _table()
    table.add_column("Genre", no_wrap=True, overflow="ellipsis", max_width=max(12, width - 46))
    for heading in ("Tracks", "Precision", "Recall", "F1"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(5, len(heading)))
    ordered = sorted(
        per_genre.items(),
        key=lambda item: (item[1]["f1"] is None, -(item[1]["f1"] or 0), item[0]),
    )
    for genre, row in ordered:
        table.add_row(
            Text(printable(genre), style=colour(genre)),
            f"{row['support']:,}",
            *(_figure(row[name]) for name in ("precision", "recall")),
            Text(_figure(row["f1"]), style="bold"),
        )
    return table


def _confusion(
    confusion: Sequence[Sequence[int]], genres: Sequence[str], width: int
) -> list[RenderableType]:
    """Row-normalised percentages; shading says the same to the eye."""
    from genrescope.apps.cli.render import colour, fit

    names = [printable(genre) for genre in genres]
    label = min(max(map(cell_len, names)), 16)
    most = max(len(f"{sum(row):,}") for row in confusion)
    heads = _headings(names, width - label - most - 4)
    if heads is None:
        text = f"The confusion matrix of {len(names)} genres is too wide to show; --json has it."
        return [paragraph(text, style="italic")]
    first = Text(" " * (label + most + 3))
    for head in heads:
        first.append(_cell(head, head))
    lines: list[RenderableType] = [
        _title("Confusion: rows are the true genres, in % of their tracks"),
        Text(),
        first,
    ]
    for i, row in enumerate(confusion):
        total = sum(row)
        line = Text(" ").append(fit(names[i], label), style=colour(genres[i]))
        line.append(f" {total:>{most},} ", style="dim")
        for j, count in enumerate(row):
            share = count / total if total else None
            text = _cell("–" if share is None else f"{100 * share:.0f}", heads[j])
            line.append(text, style=_shade(share, diagonal=i == j))
        lines.append(line)
    mistakes = [
        f"{printable(true)} for {printable(taken)} ({share:.0%})"
        for true, taken, share in most_confused(confusion, genres)
    ]
    if mistakes:
        lines += [Text(), paragraph("Most often mistaken: " + ", ".join(mistakes), style="dim")]
    return lines


def _headings(names: Sequence[str], width: int) -> list[str] | None:
    """Names as long as fit side by side, still different from each other; None if none do."""
    longest = max(map(len, names))
    for letters in range(longest, min(longest, 3) - 1, -1):
        heads = [name[:letters].strip() for name in names]
        if len(set(heads)) == len(heads) and sum(len(_cell("", h)) for h in heads) <= width:
            return heads
    return None


def _cell(text: str, head: str) -> str:
    """A cell of the confusion matrix, as wide as its heading and a blank on each side."""
    return text.rjust(max(cell_len(head), 3) + 1) + " "


def _shade(share: float | None, *, diagonal: bool) -> str:
    if share is None:
        return "dim"
    # A power below 1 shows small shares apart; the number says how much.
    red, green, blue = (
        round(cold + (hot - cold) * share**0.7) for cold, hot in zip(_COLD, _HOT, strict=True)
    )
    return f"{'bold ' if diagonal else ''}#ffffff on #{red:02x}{green:02x}{blue:02x}"


def _reliability(bins: Sequence[Mapping[str, Any]], width: int) -> list[RenderableType]:
    """What was said beside what was true; neighbouring bins are joined until they fit."""
    cell = max(5, max(len(f"{row['n']:,}") for row in bins)) + 1
    step = -(-len(bins) // max(2, (width - 14) // cell))
    said, true, counts = Text(" Says        "), Text(" Is right    "), Text(" Tracks      ")
    for start in range(0, len(bins), step):
        joined = bins[start : start + step]
        n = sum(row["n"] for row in joined)
        for line, name in ((said, "confidence"), (true, "accuracy")):
            share = sum(row[name] * row["n"] for row in joined) / n
            line.append(percent(share).rjust(cell))
        counts.append(f"{n:,}".rjust(cell))
    for line, style in ((said, "dim"), (true, "bold"), (counts, "dim")):
        line.stylize(style)
    title = "Reliability: how sure it says it is, how often it is right"
    return [_title(title), Text(), said, true, counts]
