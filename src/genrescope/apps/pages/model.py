"""The page *Model*: what answers, how good it is, how sure, and what it was taught."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nicegui import ui

from genrescope.apps.model_card import additions, sections
from genrescope.apps.pages.model_figures import (
    confusion_table,
    genre_table,
    reliability_figure,
    score_table,
    share,
)
from genrescope.apps.pages.shell import page_frame

__all__ = ["build"]

_FROM_CARD = (  # parts of the model card that stand here as they are
    "What it is for",
    "What it does badly",
    "How it hears",
    "Repeat it",
)


def build(service: Any) -> None:
    """Build the page.

    Parameters
    ----------
    service : Service
        Whose recogniser is described.
    """
    with page_frame(active="model", service=service, styles=("model.css",)):
        ui.html(content(service.recogniser.card), sanitize=False)


def content(card: Mapping[str, Any]) -> str:
    """The page of a bundle, written from its card and from nothing else.

    Parameters
    ----------
    card : mapping
        ``Bundle.card``.

    Returns
    -------
    str
        HTML; everything of the card is escaped.
    """
    scores, parts_of_card = card["metrics"]["scores"], sections(card)
    parts = [
        f"<h1>{escape(str(card['name']))}, version {escape(str(card['version']))}</h1>",
        f'<p class="gs-lead">{escape(str(card["description"]))}</p>',
        _figures(card, scores),
        _section("What it is for", parts_of_card),
        _taught(card),
        '<section class="whole"><h2>How well it does</h2>',
        f"<p>{escape(str(card['metrics']['protocol']))}</p>",
        score_table(card["metrics"]["table"]),
        '<p class="gs-quiet">Below each score, its 95 % interval. Macro-F1 counts every genre '
        "alike; top 3: the right genre is among the three most probable; lower is better for "
        "log-loss and ECE, the expected calibration error.</p></section>",
    ]
    if scores.get("confusion"):
        parts += [
            "<section><h2>What it takes for what</h2><p>Of a hundred tracks of the genre at the "
            "left, so many are taken for the genre above. The framed cells are right; the genre "
            "that it knows best comes first.</p>",
            confusion_table(scores),
            "</section>",
        ]
    if scores.get("per_genre"):
        parts += [
            "<section><h2>Genre by genre</h2><p>Precision: how often it is right where it says the "
            "genre. Recall: how many of the genre's tracks it finds.</p>",
            genre_table(scores),
            "</section>",
        ]
    parts += [_sure(card, scores), _beside(card)]
    parts += [_section(name, parts_of_card) for name in _FROM_CARD[1:]]
    parts.append(
        f"<section><h2>Licence</h2><p>{escape(str(card['licence']))}</p></section>",
    )
    return f'<div class="model">{"".join(parts)}</div>'


def _figures(card: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    abstention, conformal = card["abstention"], card["conformal"]
    ends = (scores.get("intervals") or {}).get("accuracy")
    told = [
        (
            share(scores["accuracy"], digits=1),
            "right"
            + (
                f", between {share(ends[0], digits=1)} and {share(ends[1], digits=1)}"
                if ends
                else ""
            ),
        ),
        (share(scores["top3"], digits=1), "have the right genre among the first three"),
    ]
    if abstention["threshold"] is not None:
        told.append(
            (
                share(abstention["accuracy_when_sure"], digits=1),
                f"right where it is sure, which is {share(abstention['coverage'])} of tracks",
            )
        )
    told.append(
        (
            f"{conformal['mean_set_size']:.1f}",
            f"genres are plausible on average, of {len(card['genres'])}",
        )
    )
    items = "".join(f"<li><b>{value}</b> <span>{words}</span></li>" for value, words in told)
    return f'<ul class="figures">{items}</ul>'


def _taught(card: Mapping[str, Any]) -> str:
    training = card["training"]
    rows = [
        ("Data", escape(str(training["data"]))),
        ("Tracks", f"{training['tracks']:,} by {training['artists']:,} artists"),
        ("Licence of the data", escape(str(training["licence"]))),
        ("Teacher", escape(str(training.get("teacher", "none")))),
        ("Genres", escape(", ".join(card["genres"]))),
        ("Made on", escape(str(card["created"]))),
    ]
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f'<section><h2>What it was trained on</h2><dl class="facts">{facts}</dl></section>'


def _sure(card: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    calibration, abstention, conformal = card["calibration"], card["abstention"], card["conformal"]
    ends = (scores.get("intervals") or {}).get("ece")
    between = f" (95 % interval {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
    lines = [
        f"Where it says 70 %, it should be right seven times in ten. The expected calibration "
        f"error, the mean distance from that, is {calibration['ece']:.3f}{between}. Probabilities "
        f"are calibrated by a temperature of {calibration['temperature']:.2f}.",
        f"<b>Not sure.</b> {_not_sure(abstention)}",
        f"<b>Plausible genres.</b> The set of genres that cannot be ruled out at "
        f"{share(conformal['level'])} has {conformal['mean_set_size']:.1f} genres on average and "
        f"held the right one for {share(conformal['coverage'], digits=1)} of tracks in validation "
        f"({escape(str(conformal['method']))}).",
    ]
    bins = scores.get("reliability") or ()
    figure = (
        f"<figure>{reliability_figure(bins)}<figcaption>Points on the dashed line are as often "
        "right as they say; below it, it says too much. A larger point stands for more tracks."
        "</figcaption></figure>"
        if bins
        else '<p class="gs-note">The card has no reliability diagram.</p>'
    )
    words = "".join(f"<p>{line}</p>" for line in lines)
    return (
        '<section class="whole"><h2>How sure it is</h2><div class="beside">'
        f"{figure}<div>{words}</div></div></section>"
    )


def _not_sure(abstention: Mapping[str, Any]) -> str:
    if abstention["threshold"] is None:
        return "It has no threshold that keeps its promise, so it is never sure."
    return (
        f"It says a genre from a probability of {share(abstention['threshold'])} on, and "
        f"<i>not sure</i> below. In validation that answers {share(abstention['coverage'])} of "
        f"tracks and is right on {share(abstention['accuracy_when_sure'], digits=1)} of these; the "
        f"aim is {share(abstention['target_accuracy'])} ({escape(str(abstention['method']))})."
    )


def _beside(card: Mapping[str, Any]) -> str:
    items = "".join(
        f"<li><h3>{escape(one.name)}</h3>"
        f"<p><b>{escape(one.figure)}</b> {escape(one.words)}</p></li>"
        for one in additions(card)
    )
    if not items:
        return ""
    heading = "<h2>What its other parts add</h2>"
    return f'<section class="whole">{heading}<ul class="adds">{items}</ul></section>'


def _section(name: str, found: Mapping[str, str]) -> str:
    text = found.get(name)
    return f"<section><h2>{name}</h2>{''.join(_html(text))}</section>" if text else ""


def _html(markdown: str) -> Iterator[str]:
    """Paragraphs, lists and code, which is all that these parts of a card have."""
    for block in re.split(r"\n{2,}", markdown):
        if block.startswith("```"):
            lines = block.strip("`").split("\n")[1:]
            yield f"<pre><code>{escape(chr(10).join(lines).strip())}</code></pre>"
        elif block.startswith("- "):
            items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
            yield f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
        else:
            yield f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    safe = escape(text.strip())
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", safe)
    return re.sub(r"\*([^*]+)\*", r"<i>\1</i>", safe)
