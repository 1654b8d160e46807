"""The model card of a bundle as Markdown, written from its card and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Addition", "additions", "model_card", "score_table", "sections"]


@dataclass(frozen=True)
class Addition:
    """What one part of a bundle adds: its name, the figure that counts, and the rest in words."""

    name: str
    figure: str
    words: str


_COLUMNS = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro-F1"),
    ("top3", "top-3"),
    ("log_loss", "log-loss"),
    ("ece", "ECE"),
    ("artist_weighted_accuracy", "artist-weighted"),
)

_ETHICS = (
    "A genre is what somebody called a track, not a fact about it and no trait of the people who "
    "made or hear it. Genres carry habits of their time and place: what is called by where it is "
    "from rather than by how it sounds is recognised by what the others are not. Do not let an "
    "answer decide alone what is paid, shown or taken away. It runs on your machine: nothing that "
    "is heard leaves it."
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
    parts = [
        f"# Model card: {card['name']}, version {card['version']}",
        card["description"],
        "This page is written by `genrescope info --markdown` from the card of the bundle.",
    ]
    for heading, text in sections(card).items():
        parts += [f"## {heading}", text]
    return "\n\n".join(parts) + "\n"


def sections(card: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the model card by their headings, as Markdown; only those that there are.

    Parameters
    ----------
    card : mapping
        ``Bundle.card``.
    """
    scores, training = card["metrics"]["scores"], card["training"]
    packages = ", ".join(f"{name} {version}" for name, version in training["packages"].items())
    found = {
        "What it is for": "Sorting and tagging a music collection by broad genre, offline, on any "
        "file that can be decoded; a starting point for research on genre. Not for judging who "
        "made a track or what it is worth, not for speech, and not for genres that it does not "
        f"know: it always answers with one of {', '.join(card['genres'])}, or with *not sure*.",
        "What it was trained on": f"{training['data']}: {training['tracks']:,} tracks by "
        f"{training['artists']:,} artists (licence: {training['licence']}). Teacher: "
        f"{training.get('teacher', 'none')}. The ids of the training tracks are on the card "
        "(`genrescope info --json`), so that `genrescope evaluate` can say when it is shown a "
        f"track that was trained on. Licence of the weights: {card['licence']}",
        "How well it does": f"{card['metrics']['protocol']}\n\n{score_table(card)}",
        "Genre by genre": f"{_genres(scores)}\n\nThe most frequent mistakes:\n\n"
        f"{_mistakes(scores)}",
        "How sure it is": _sure(card, card["abstention"], card["conformal"]),
        "What it does beside": _beside(card),
        "What it depends on": _factors(scores),
        "What it does badly": _limits(card),
        "Whom it may touch": _ETHICS,
        "How it hears": _hears(card),
        "Repeat it": f"```console\n$ {_again(training['command'])}\n```\n\nVersions: {packages}. "
        f"Made on {card['created']}.",
    }
    return {heading: text for heading, text in found.items() if text}


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


def additions(card: Mapping[str, Any]) -> list[Addition]:
    """What the other parts of the bundle add, as far as the card says.

    Parameters
    ----------
    card : mapping
        ``Bundle.card``.
    """
    metrics, company = card["metrics"].get("parts", {}), card.get("company")
    found = []
    if known := metrics.get("text", {}).get("everything known"):
        gap = known["minus_sound"]
        found.append(
            Addition(
                "Title and artist",
                f"{100 * gap['difference']:+.1f} points",
                f"of accuracy ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f}) where tags "
                f"have them, genre words masked: {known['accuracy']:.3f} in place of "
                f"{gap['b']:.3f}. "
                "Without sound, words alone are never sure.",
            )
        )
    if company:
        answer = company["abstention"]
        found.append(
            Addition(
                "All tracks of an artist together",
                f"{answer['coverage']:.0%} sure",
                f"and {answer['accuracy_when_sure']:.1%} of these right: the answers for an "
                "artist's other tracks count, no label does. It rests on artists keeping to few "
                "genres, as most in this archive do; expect less from a collection of other "
                "habits.",
            )
        )
    if tree := metrics.get("tree"):
        found.append(
            Addition(
                "Sub-genres",
                f"{tree['n_nodes']:,} of FMA's tree",
                f"are told, never above what they are part of. Micro-F1 {tree['micro_f1']:.2f}, "
                f"macro-F1 {tree['macro_f1']:.2f}: the frequent ones are of use, rare ones hardly "
                "ever named.",
            )
        )
    if familiar := metrics.get("familiar"):
        caught = list((familiar.get("caught_family_left_out") or {}).values())
        share = f"{sum(caught) / len(caught):.0%} found" if caught else "not sure"
        found.append(
            Addition(
                "What is no music",
                share,
                "of made-up sound of kinds that it had not met (hiss, hum, rain, steps ...); it is "
                "answered not sure, as is less than three seconds of sound. That takes the answer "
                f"from {familiar['flagged']:.1%} of music, too.",
            )
        )
    if near := metrics.get("known"):
        found.append(
            Addition(
                "Known tracks",
                f"{near['tracks']:,} to compare with",
                "and to find a place among, on a map. By artists that it was made without, "
                f"{near['same_genre_5']['share']:.0%} of the five nearest are of the track's genre "
                f"(chance {near['same_genre_chance']:.0%}).",
            )
        )
    return found


def _beside(card: Mapping[str, Any]) -> str:
    return "\n".join(f"- **{one.name}**: {one.figure} {one.words}" for one in additions(card))


def _factors(scores: Mapping[str, Any]) -> str:
    """What accuracy was measured by, and what it was not."""
    weighted = scores["artist_weighted_accuracy"]
    return (
        f"Accuracy differs by genre (above) and by artist: {scores['accuracy']:.3f} where every "
        f"track counts the same, {weighted:.3f} where every artist does. It was not measured by "
        "region, language, decade or quality of the recording, since the labels do not say these."
    )


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
