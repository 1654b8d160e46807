"""The figures of the pages that explain, drawn from the card of the recogniser that ships.

python -m benchmarks.explanation_figures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "figures"
_SIDE = 300  # of the square, in pixels
_EDGE = 56


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """How sure it says it is, against how often it is right, as SVG.

    Parameters
    ----------
    bins : sequence of mapping
        "confidence" and "accuracy" (0 to 1) and "n", the tracks, of each bin.

    Returns
    -------
    str
    """

    def x(share: float) -> float:
        return round(_EDGE + share * _SIDE, 1)

    def y(share: float) -> float:
        return round(20 + (1 - share) * _SIDE, 1)

    size, most = _SIDE + _EDGE + 24, max(float(one["n"]) for one in bins)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size + 4}" width="{size}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        "<title>How sure it says it is, against how often it is right</title>",
        f'<rect width="{size}" height="{size + 4}" fill="#fff"/>',
        f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#999" stroke-dasharray="4 4"/>',
        f'<path d="M{x(0)} {y(1)}V{y(0)}H{x(1)}" fill="none" stroke="#222"/>',
    ]
    for tenth in range(0, 11, 2):
        share, label = tenth / 10, f"{tenth * 10} %"
        parts.append(f'<text x="{x(share)}" y="{y(0) + 18}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{x(0) - 6}" y="{y(share) + 4}" text-anchor="end">{label}</text>')
    for one in bins:
        radius = round(3 + 8 * (float(one["n"]) / most) ** 0.5, 1)
        parts.append(
            f'<circle cx="{x(one["confidence"])}" cy="{y(one["accuracy"])}" r="{radius}" '
            f'fill="#0b6fa4" fill-opacity="0.75"><title>{one["n"]:,.0f} tracks: says '
            f"{one['confidence']:.0%}, right {one['accuracy']:.0%}</title></circle>"
        )
    parts.append(f'<text x="{x(0.5)}" y="{y(0) + 38}" text-anchor="middle">says</text>')
    parts.append(f'<text x="{x(0) + 8}" y="{y(1) + 10}">is right</text></svg>')
    return "\n".join(parts) + "\n"


def figures() -> dict[str, str]:
    """All of them, by file name."""
    from genrescope.learn.bundle import Bundle

    card = Bundle.load("default").card
    return {"calibration-reliability.svg": reliability(card["metrics"]["scores"]["reliability"])}


if __name__ == "__main__":
    for name, text in figures().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
