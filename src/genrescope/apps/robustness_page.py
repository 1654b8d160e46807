"""The report on robustness as Markdown, written from what was measured and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["robustness_page"]

_UNITS = "artists (files where no artist is known)"


def robustness_page(result: Mapping[str, Any]) -> str:
    """The whole page.

    Parameters
    ----------
    result : mapping
        What ``genrescope robustness --json`` prints.

    Returns
    -------
    str
        Markdown; the same measurement gives the same text.
    """
    bundle = result["bundle"]
    lines = [
        "# Robustness",
        "",
        f"How the answers of `{bundle['name']}` version {bundle['version']} change when the sound "
        "is changed and the music is not. Written by:",
        "",
        "```console",
        f"$ {result['command']}",
        "```",
        "",
        "**Same genre** is the share of clips whose most probable genre stays. **Sure, kept** is "
        "the share of sure answers that stay sure of the same genre, **turned** the share that "
        "become sure of another one. **Distance** is how far the probabilities move: half the sum "
        f"of absolute differences, 0 to 1. Intervals are 95 %, from resampling whole {_UNITS}; "
        "where no clip changed, the lower end is the exact binomial one for that many of them. "
        "The rows that change most come first.",
    ]
    for section in result["sections"]:
        lines += ["", f"## {section['title']}", "", section["about"], "", *_table(section)]
    lines += ["", "## What is done to the sound", ""]
    lines += [
        "- MP3 is encoded by LAME at a constant bit rate and Opus by libopus, and both are decoded "
        "as any file is. MP3 keeps the rate and the channels of the file.",
        "- *Nothing above 16 kHz* is a brick wall and nothing else: what a codec's cut-off does. "
        "The recogniser reads nothing above 15 kHz, so it must not notice.",
        "- *Mixed to mono* is what the recogniser does to any sound, so nothing may change.",
        "- *20 dB softer* and *6 dB louder* are rounded to 16 bits, and clipped at full scale.",
        "- Tempo changes without the key, and the key without the tempo (FFmpeg's atempo).",
        "- Noise is white, 30 dB below the mean power of the clip.",
        "- *Another 30 s* compares two pieces of one song that do not overlap.",
    ]
    failed = result["n_failed"]
    if failed:
        what = "file or clip" if failed == 1 else "files or clips"
        lines += ["", f"{failed} {what} could not be recognised, and left out."]
    return "\n".join(lines) + "\n"


def _table(section: Mapping[str, Any]) -> list[str]:
    labelled = any(row["n_labelled"] for row in section["effects"])
    head = ["", "clips", "same genre", "sure, kept", "turned", "sure before, after", "distance"]
    head += ["accuracy before, after", "change"] if labelled else []
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row in section["effects"]:
        cells = [
            row["label"],
            f"{row['n']:,}",
            f"{row['same']:.1%}" + _range(row["same_interval"], percent=True),
            _share(row["sure_kept"]),
            _share(row["sure_turned"]),
            f"{row['sure_before']:.0%}, {row['sure_after']:.0%}",
            f"{row['distance']:.3f}",
        ]
        if labelled and row["n_labelled"]:
            before, after = row["accuracy_before"], row["accuracy_after"]
            cells += [
                f"{before:.3f}, {after:.3f}",
                f"{after - before:+.3f}" + _range(row["change_interval"], percent=False),
            ]
        elif labelled:
            cells += ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _range(pair: Sequence[float] | None, *, percent: bool) -> str:
    if pair is None:
        return ""
    low, high = (f"{100 * end:.0f}" if percent else f"{end:+.3f}" for end in pair)
    return f" ({low} to {high})"
