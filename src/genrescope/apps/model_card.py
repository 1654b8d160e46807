"""The model card of a bundle as Markdown, written from its card and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["model_card", "score_table"]

_COLUMNS = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro-F1"),
    ("top3", "top-3"),
    ("log_loss", "log-loss"),
    ("ece", "ECE"),
    ("artist_weighted_accuracy", "artist-weighted"),
)


def score_table(card: Mapping[str, Any]) -> str:
    """The recogniser and what it was compared with, as a Markdown table.

    Parameters
    ----------
    card : mapping
        ``Bundle.card``.

    Returns
    -------
    str
        One row a model; accuracy and macro-F1 with their 95 % intervals.
    """
    lines = [
        "| | " + " | ".join(name for _, name in _COLUMNS) + " |",
        "|---|" + "---|" * len(_COLUMNS),
    ]
    for place, row in enumerate(card["metrics"]["table"]):
        cells = []
        for key, _ in _COLUMNS:
            value, ends = row.get(key), (row.get("intervals") or {}).get(key)
            text = "" if value is None else f"{value:.3f}"
            if ends and key in ("accuracy", "macro_f1"):
                text += f" ({ends[0]:.3f} to {ends[1]:.3f})"
            cells.append(f"**{text}**" if place == 0 else text)
        name = f"**{row['name']}**" if place == 0 else row["name"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def model_card(card: Mapping[str, Any]) -> str:
    """The whole model card.

    Parameters
    ----------
    card : mapping
        ``Bundle.card``.

    Returns
    -------
    str
        Markdown, ending with a line break.
    """
    scores, training = card["metrics"]["scores"], card["training"]
    abstention, conformal = card["abstention"], card["conformal"]
    parts = [
        f"# Model card: {card['name']}, version {card['version']}",
        card["description"],
        "This page is written by `genrescope info --markdown` from the card of the bundle.",
        "## What it is for",
        "Sorting and tagging a music collection by broad genre, offline, on any file that can be "
        "decoded; a starting point for research on genre. Not for judging who made a track or what "
        "it is worth, not for speech, and not for genres that it does not know: "
        f"it always answers with one of {', '.join(card['genres'])}, or with *not sure*.",
        "## What it was trained on",
        f"{training['data']}: {training['tracks']:,} tracks by {training['artists']:,} artists "
        f"(licence: {training['licence']}). Teacher: {training.get('teacher', 'none')}. The ids of "
        "the training tracks are on the card (`genrescope info --json`), so that `genrescope "
        "evaluate` can say when it is shown a track that was trained on. Licence of the weights: "
        f"{card['licence']}",
        "## How well it does",
        card["metrics"]["protocol"],
        score_table(card),
        "## Genre by genre",
        _genres(scores),
        "The most frequent mistakes:",
        _mistakes(scores),
        "## How sure it is",
        _sure(card, abstention, conformal),
        *_beside(card),
        "## What it does badly",
        _limits(card),
        "## How it hears",
        _hears(card),
        "## Repeat it",
        f"```console\n$ {_again(training['command'])}\n```",
        "Versions: "
        + ", ".join(f"{name} {version}" for name, version in training["packages"].items())
        + f". Made on {card['created']}.",
    ]
    return "\n\n".join(parts) + "\n"


def _genres(scores: Mapping[str, Any]) -> str:
    ranked = sorted(scores["per_genre"].items(), key=lambda item: -(item[1]["f1"] or 0.0))
    lines = ["| genre | precision | recall | F1 | tracks |", "|---|---|---|---|---|"]
    lines += [
        f"| {genre} | {row['precision']:.2f} | {row['recall']:.2f} | {row['f1']:.2f} "
        f"| {row['support']:,.0f} |"
        for genre, row in ranked
    ]
    return "\n".join(lines)


def _confusions(scores: Mapping[str, Any]) -> list[tuple[float, str, str]]:
    """(share of the true genre's tracks, true genre, taken for), most frequent first."""
    genres: Sequence[str] = scores["genres"]
    found = []
    for i, row in enumerate(scores["confusion"]):
        total = sum(row) or 1
        found += [(count / total, genres[i], genres[j]) for j, count in enumerate(row) if j != i]
    return sorted(found, reverse=True)


def _mistakes(scores: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- {share:.0%} of {true} is taken for {taken}"
        for share, true, taken in _confusions(scores)[:8]
    )


def _sure(
    card: Mapping[str, Any], abstention: Mapping[str, Any], conformal: Mapping[str, Any]
) -> str:
    lines = [
        f"Probabilities are calibrated by temperature ({card['calibration']['temperature']:.2f}); "
        f"the expected calibration error is {card['calibration']['ece']:.3f}."
    ]
    if abstention["threshold"] is not None:
        lines.append(
            f"It says a genre where the best one has a probability of {abstention['threshold']:.2f}"
            f" or more, and *not sure* below. In validation, with the threshold chosen on other "
            f"folds, that answers {abstention['coverage']:.0%} of tracks and is right on "
            f"{abstention['accuracy_when_sure']:.0%} of these (target "
            f"{abstention['target_accuracy']:.0%}; {abstention['method']})."
        )
    lines.append(
        f"The *plausible* genres of a track are those that cannot be ruled out at "
        f"{conformal['level']:.0%}: {conformal['mean_set_size']:.1f} genres on average, which held "
        f"the right one for {conformal['coverage']:.0%} of tracks in validation."
    )
    return "\n\n".join(lines)


def _again(command: str) -> str:
    """A command that says where its data is, as that of a training by hand may not."""
    whole = "train default" not in command or "--data" in command
    return command if whole else f"{command} --data ../shared/data/fma --out runs/default"


def _beside(card: Mapping[str, Any]) -> list[str]:
    """What it does beside recognising sound, where it does."""
    metrics, lines = card["metrics"].get("parts", {}), []
    if "text" in metrics:
        known = metrics["text"]["everything known"]
        gap = known["minus_sound"]
        lines.append(
            "- **Title and artist** in the tags of a file are weighed with the sound, genre words "
            f"masked: {known['accuracy']:.3f} in place of {gap['b']:.3f}, "
            f"{100 * gap['difference']:+.1f} points ({100 * gap['low']:+.1f} to "
            f"{100 * gap['high']:+.1f}). Without sound, words alone are never sure."
        )
    if company := card.get("company"):
        abstention = company["abstention"]
        lines.append(
            "- **All tracks of an artist together** (`--together`): the answers for an artist's "
            "other tracks count, no label does. It is sure of "
            f"{abstention['coverage']:.0%} of tracks and right on "
            f"{abstention['accuracy_when_sure']:.0%} of these. It rests on artists keeping to few "
            "genres, as most in this archive do; expect less from a collection of other habits."
        )
    if "tree" in metrics:
        tree = metrics["tree"]
        lines.append(
            f"- **Sub-genres**: {tree['n_nodes']} of FMA's tree, never above what they are part "
            f"of. Micro-F1 {tree['micro_f1']:.2f}, macro-F1 {tree['macro_f1']:.2f}: the frequent "
            "ones are of use, rare ones hardly ever named."
        )
    if "familiar" in metrics:
        flagged = metrics["familiar"]["flagged"]
        lines.append(
            "- **What is no music** is answered *not sure*, as is less than three seconds of "
            f"sound. That takes the answer from {flagged:.1%} of music, too."
        )
    if "known" in metrics:
        near = metrics["known"]
        lines.append(
            f"- **{near['tracks']:,} known tracks**: those that sound most like a track, and its "
            "place among them on a map. By artists that it was made without, "
            f"{near['same_genre_5']['share']:.0%} of the five nearest are of the track's genre "
            f"(chance {near['same_genre_chance']:.0%})."
        )
    return ["## What it does beside", "\n".join(lines)] if lines else []


def _limits(card: Mapping[str, Any]) -> str:
    scores = card["metrics"]["scores"]
    ranked = sorted(scores["per_genre"].items(), key=lambda item: item[1]["recall"] or 0.0)
    (worst, low), (second, next_low) = ranked[0], ranked[1]
    first = (
        f"- {worst} is found in {low['recall']:.0%} of its tracks only, {second} in "
        f"{next_low['recall']:.0%}."
    )
    if card["front_end"]["name"] != "frames":
        return f"{first}\n- It knows no genre but these: whatever is played, it is one of them."
    return "\n".join(
        [
            first,
            "- It knows no jazz, classical, blues, country, soul, reggae or metal as such: they "
            "are pressed into the nearest of its genres.",
            "- It was not taught speech, field recordings or noise; what it says about them means "
            "little, where it is not *not sure*.",
            "- The archive is independent, mostly Western music uploaded until 2017, and its "
            "uploaders chose the genre. Charts, other regions and other decades are further away.",
            "- A piece of a few seconds is judged on a few seconds.",
        ]
    )


def _hears(card: Mapping[str, Any]) -> str:
    p = card["front_end"]["parameters"]
    if card["front_end"]["name"] != "frames":
        names = [str(one.get("name")) for one in p.get("encoders", [])]
        return (
            f"By the encoders {', '.join(names)}: {card['front_end']['n_features']:,} numbers a "
            f"window. Graph: {card['graph']['bytes'] / 1e6:.1f} MB of ONNX, SHA-256 "
            f"`{card['graph']['sha256']}`."
        )
    return (
        f"Windows of {p['window_seconds']:.0f} s, spread over the track. Of each, {p['frames']} "
        f"mel frames (one about every 0.23 s, {p['bands_read']} bands up to "
        f"{p['top_hz'] / 1000:.0f} kHz) and the MFCC of the first 3 s. Loudness is not heard, nor "
        "what is above "
        f"{p['top_hz'] / 1000:.0f} kHz, where the codec speaks and not the music. In training, a "
        "quarter of the samples or more had their top cut off at a random frequency, so that old "
        f"and low-rate files are understood. Graph: {card['graph']['bytes'] / 1e6:.1f} MB of ONNX, "
        f"SHA-256 `{card['graph']['sha256']}`."
    )
