"""The main tables of a report as Markdown, for a README or a paper's supplement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["summary"]

_NOT_ON_RECORD = "not on record"


def summary(results: Mapping[str, Any]) -> str:
    """Markdown of what a run of the laboratory found.

    Parameters
    ----------
    results : mapping
        What ``results.json`` holds.

    Returns
    -------
    str
        A heading, the finding, who was scored, the classifiers with intervals (beside the
        published figures where the run was given some), the ensembles, and the command.
    """
    data = results["data"]
    parts = [f"# {data['name']}"]
    if data["simulated"]:
        parts.append("**SIMULATED: the numbers were made up and say nothing about music.**")
    parts += [_plain(results["finding"]), _plain(results["protocol"]["description"])]
    parts.append("\n".join(_classifiers(results)))
    parts += [_key(results), "\n".join(_ensembles(results["ensembles"]))]
    if results["reference"]:
        parts.append("\n".join(_reference(results["reference"])))
    notes = [f"- {_plain(note)}" for note in data["notes"]]
    if notes:
        parts.append("\n".join(["What was left out or changed on the way in:", "", *notes]))
    parts.append(f"Made by `{results['command']}`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _classifiers(results: Mapping[str, Any]) -> Iterator[str]:
    published = _published(results["reference"])
    headings = ["", "accuracy", "balanced", "macro-F1", "top-3", "log-loss", "ECE"]
    headings += ["fit, CPU s", "predict, CPU s"]
    if published is not None:
        headings.insert(2, "published")
    yield _row(headings)
    yield _row(["---"] * len(headings))
    for row in results["leaderboard"]["rows"]:
        cells = list(_cells(row))
        if published is not None:
            cells.insert(2, published.get(row["name"], "–"))
        yield _row([f"**{cell}**" for cell in cells[:2]] + cells[2:] if row["best"] else cells)


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    yield _plain(row["name"]) + (" ≈" if row["within"] else "")
    scores = row["scores"]
    if scores is None:
        yield f"failed: {_plain(row['failure'])}"
        yield from [""] * 7
        return
    yield _with_interval(scores, "accuracy")
    yield f"{scores['balanced_accuracy']:.3f}"
    yield _with_interval(scores, "macro_f1")
    for name in ("top3", "log_loss", "ece"):
        yield f"{scores[name]:.3f}"
    yield f"{row['fit_seconds']:.1f}"
    yield f"{row['predict_seconds']:.1f}"


def _with_interval(scores: Mapping[str, Any], name: str) -> str:
    pair = scores["intervals"][name]
    around = "" if pair is None else f" ({pair[0]:.3f} to {pair[1]:.3f})"
    return f"{scores[name]:.3f}{around}"


def _key(results: Mapping[str, Any]) -> str:
    unit = results["leaderboard"]["resampled"]
    text = (
        f"95 % intervals by bootstrap over {unit}s. The best stands first in bold; ≈: its paired "
        "interval to the best holds zero. Seconds are of all folds together, one core. Always "
        f"answering the most common genre is right for {100 * results['protocol']['chance']:.1f} %."
    )
    selection = results["leaderboard"]["selection"]
    return text if selection is None else f"{text} {_plain(selection['sentence'])}"


def _ensembles(gains: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not gains:
        return
    yield _row(["ensemble", "members", "accuracy", "gain over its best member, points"])
    yield _row(["---"] * 4)
    for one in gains:
        gain = one["gain"]
        low, high = gain["low"], gain["high"]
        around = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
        yield _row(
            [
                one["name"],
                str(len(one["members"])),
                f"{gain['a']:.3f}",
                f"{100 * gain['difference']:+.1f}{around} over {one['best_name']}",
            ]
        )


def _published(reference: Mapping[str, Any] | None) -> dict[str, str] | None:
    if reference is None:
        return None
    return {
        row["name"]: _NOT_ON_RECORD if row["accuracy"] is None else f"{row['accuracy']:.2f}"
        for row in reference["rows"]
    }


def _reference(reference: Mapping[str, Any]) -> Iterator[str]:
    yield f"Published: {reference['title']}, on {reference['data']}. Why the figures differ:"
    yield ""
    for at, (words, sentence) in enumerate(reference["reasons"], 1):
        yield f"{at}. **{words}.** {sentence}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text from a table that may hold anything, as text of one Markdown cell."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
