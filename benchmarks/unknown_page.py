"""The page docs/not-sure.md and its figure, from what study_unknown measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.catalog.not_music import KINDS
from genrescope.catalog.storage import atomic
from genrescope.explain import ink
from genrescope.learn.resampling import artist_units, interval, resamples, sum_by_unit
from genrescope.learn.studies.selective import Coverage, Selective, conformal_coverage, selective

Floats = NDArray[np.float64]
FIGURE = "not-sure-risk"
COMMAND = "python -m benchmarks.study_unknown --data ../shared/data --run runs/default"


def percent(share: float, digits: int = 0) -> str:
    """As in "12 %"."""
    return f"{100 * share:.{digits}f} %"


def points(figure: Any) -> str:
    """A difference of shares in points."""
    if figure.low is None:
        return f"{100 * figure.value:+.1f}"
    return f"{100 * figure.value:+.1f} [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"


def write_page(
    out: Path,
    *,
    genres: list[str],
    y: NDArray[Any],
    p: Floats,
    folds: NDArray[Any],
    artists: NDArray[Any],
    teacher: Floats | None,
    threshold: float,
    scores: Floats,
    dull: NDArray[np.bool_],
    report: Mapping[str, Any],
    others: Mapping[str, Any],
    real: Mapping[str, Any],
    cut: list[Any],
    part_bytes: int,
) -> None:
    """Write the page, and the figure beside it in ``figures``."""
    curve = selective(y, p, groups=artists)
    sets = conformal_coverage(y, p, folds=folds, artists=artists)
    with ink.style():
        drawing = _figure(curve, y, p)
    figures = out.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    with atomic(figures / f"{FIGURE}.svg") as fresh:
        fresh.write_text(drawing.svg)
    text = "\n\n".join(
        [
            _head(others, real, curve, report),
            _selective(curve, y, p, artists, teacher, scores, threshold),
            _not_music(others, report, part_bytes),
            _cost(y, p, artists, genres, threshold, scores, dull, report),
            _music(real),
            _short(cut, threshold),
            _sets(sets, genres),
        ]
    )
    with atomic(out) as fresh:
        fresh.write_text(text + "\n")


def _figure(curve: Selective, y: NDArray[Any], p: Floats) -> ink.Drawing:
    figure = ink.new_figure(ink.WIDTH, 3.1)
    axes = figure.subplots()
    risk = float(curve.risk[-1])
    at = np.linspace(0.005, 1, 400)
    best = np.maximum(at - (1 - risk), 0) / at
    shown = curve.coverage > 0.01  # a handful of tracks makes a ragged start
    axes.plot(curve.coverage[shown], curve.risk[shown], color=ink.ACCENT)
    axes.plot(at, best, color=ink.QUIET, linestyle="--", linewidth=1)
    axes.axhline(risk, color=ink.GRID, linewidth=1)
    low = [1 - f.high for f in curve.accuracy_at.values()]
    high = [1 - f.low for f in curve.accuracy_at.values()]
    axes.vlines(list(curve.accuracy_at), low, high, color=ink.ACCENT, alpha=0.4, linewidth=4)
    axes.annotate("answers by the highest probability", (0.12, 0.24), color=ink.ACCENT)
    axes.annotate("best order possible", (0.79, 0.10), color=ink.QUIET)
    axes.annotate("answers at random", (0.02, risk + 0.01), color=ink.QUIET)
    axes.set(xlim=(0, 1), ylim=(0, risk * 1.15))
    axes.set_xlabel("share of tracks that are answered")
    axes.set_ylabel("share of the answers that is wrong")
    return ink.finish(figure, key=FIGURE)


def _head(
    others: Mapping[str, Any], real: Mapping[str, Any], curve: Selective, report: Mapping[str, Any]
) -> str:
    total = _all(others)
    gain = curve.gain_at[0.8]
    return f"""# What it does not know

A recogniser of eight genres finds one of them in anything. This page measures what it makes of what
it should not answer: hard tracks, sound that is no music, too little sound, music through a
telephone. Written by

```console
$ {COMMAND}
```

- Of {total[0]} sounds that are not music it is "not sure" of **{percent(total[3], 1)}**; without
  the part "familiar" it was of {percent(total[1], 1)}.
- That costs {percent(report["flagged"], 1)} of real music by artists it had not met.
- Where it may leave out a fifth of the tracks, the rest is right {points(gain)} points more often
  than all of them."""


def _all(tallies: Mapping[str, Any]) -> tuple[int, float, float, float]:
    """Means over kinds, so that a kind with more sounds does not weigh more."""
    rows = [tally.row() for tally in tallies.values()]
    means = np.mean([row[1:] for row in rows], axis=0)
    return sum(row[0] for row in rows), float(means[0]), float(means[1]), float(means[2])


def _selective(
    curve: Selective,
    y: NDArray[Any],
    p: Floats,
    artists: NDArray[Any],
    teacher: Floats | None,
    scores: Floats,
    threshold: float,
) -> str:
    rows = "\n".join(
        f"| {percent(c)} | {f} | {points(curve.gain_at[c])} |" for c, f in curve.accuracy_at.items()
    )
    ordered = np.sort(p, axis=1)
    top = ordered[:, -1]
    entropy = (p * np.log(np.maximum(p, 1e-12))).sum(axis=1)
    orders = {
        "highest probability (what is used)": top,
        "highest less second": top - ordered[:, -2],
        "entropy": entropy,
        "sum of squares": (p**2).sum(axis=1),
        "highest probability, unfamiliar last": top - (scores > 1),
    }
    lines = []
    for name, confidence in orders.items():
        found = selective(y, p, groups=artists, confidence=confidence, n_boot=300)
        lines.append(
            f"| {name} | {found.aurc.value:.3f} | {found.excess_aurc.value:.3f} | "
            f"{found.accuracy_at[0.8].value:.3f} | {points(found.gain_at[0.8])} |"
        )
    if teacher is not None:
        found = selective(y, teacher, groups=artists, n_boot=300)
        lines.append(
            f"| another recogniser: VGGish and logistic regression | {found.aurc.value:.3f} | "
            f"{found.excess_aurc.value:.3f} | {found.accuracy_at[0.8].value:.3f} | "
            f"{points(found.gain_at[0.8])} |"
        )
    kept = np.sort(top)[::-1][: round(0.8 * len(top))]
    own = float(kept.mean() - top.mean())
    sure = top >= threshold
    right = p.argmax(axis=1) == y
    gain = curve.gain_at[0.8]
    verdict = (
        "That is the eight points that were aimed at."
        if gain.value >= 0.08
        else "Eight points were aimed at, and are not reached."
    )
    return f"""## Leaving out what it is least sure of

Out-of-fold answers to {curve.n:,} tracks of FMA-small, folds by artist, 95 % intervals by bootstrap
over {curve.n_units:,} artists. Sound only.

![Risk and coverage](figures/{FIGURE}.svg)

| answered | accuracy of the answers | points above all |
|---|---|---|
{rows}

Area under the risk-coverage curve (AURC) {curve.aurc}; in excess of the best order possible
{curve.excess_aurc}. At the shipped threshold, {threshold:g}, {percent(float(sure.mean()))} are
answered, and {percent(float(right[sure].mean()), 1)} of these answers are right.

At 20 % abstention the gain is {points(gain)} points. {verdict} Its own probabilities, which are
calibrated, promise {100 * own:+.1f}: no order of these answers that was tried does better than they
say, and only a recogniser that tells more can gain more. Other orders:

| order | AURC | in excess | accuracy at 80 % | points |
|---|---|---|---|---|
{chr(10).join(lines)}

Also tried, fitted on the other folds to say whether an answer is right: logistic regression and
boosted trees on the probabilities, on those of each member and where they disagree, and on 64
principal components of the statistics, 12 ways in all: +5.8 to +6.3 points, none above the highest
probability."""


def _not_music(others: Mapping[str, Any], report: Mapping[str, Any], part_bytes: int) -> str:
    kinds, families = report["caught_kind_left_out"], report["caught_family_left_out"]
    lines = []
    for name, tally in others.items():
        n, before, unfamiliar, now = tally.row()
        alone = percent(kinds[name]) if name in kinds else "never met"
        both = percent(families[name]) if name in families else "never met"
        family = KINDS[name].family if name in KINDS else "speech" if "speech" in name else "-"
        lines.append(
            f"| {name} | {family} | {n} | {percent(before)} | {percent(unfamiliar)} | "
            f"**{percent(now)}** | {alone} | {both} |"
        )
    total = _all(others)
    mean = [float(np.mean(list(values.values()))) for values in (kinds, families)]
    speech = (
        ""
        if any("speech" in name for name in others)
        else "\nespeak-ng is not installed here, so speech was left out.\n"
    )
    reasons = sorted(
        {r for t in others.values() for r in t.reasons if r and not r.endswith("Error")}
    )
    return f"""## Sound that is not music

Each of 30 s, from seeds that training does not use, levels and colours drawn anew. Silence has no
answer at all (AudioSilentError). Speech is read by espeak-ng: eight languages, seven voices, every
second one in a noisy room; nothing is learnt from speech but made-up voices without words. "Before"
is the recogniser without the part "familiar". The last two columns are what the part alone
catches where the kind, or its whole family, was left out of its training ({report["made_each"]}
sounds a kind, at a limit that costs as much music).

| kind | family | n | not sure before | unfamiliar | not sure | kind left out | family left out |
|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}
| mean over kinds | | {total[0]} | {percent(total[1], 1)} | {percent(total[2], 1)} | \
**{percent(total[3], 1)}** | {percent(mean[0], 1)} | {percent(mean[1], 1)} |
{speech}
Without the part nearly all of this is "Experimental", and surely so: FMA's Experimental holds noise
music and field recordings. The part ({part_bytes / 1000:.0f} kB) asks two questions: how far is a
sound from the middle of music in training (Mahalanobis distance along 16 principal axes, no other
sound needed), and on which side of a linear border to made-up sound is it? The first alone misses
even noise, which is simple rather than far; the second alone misses families it has not met, such
as voices. It says why in words: {"; ".join(f"“{r}”" for r in reasons)}."""


def _share(flags: NDArray[np.bool_], artists: NDArray[Any]) -> str:
    units, _, _ = artist_units(artists, n=len(flags))
    table = sum_by_unit(np.stack([flags, np.ones(len(flags))], axis=1).astype(float), units)
    draws = []
    for weights in resamples(len(table), n_boot=1000, seed=0):
        total = weights @ table
        draws.append(total[:, 0] / total[:, 1])
    low, high = interval(draws, point=float(flags.mean())) or (np.nan, np.nan)
    return f"{percent(float(flags.mean()), 1)} [{100 * low:.1f}, {100 * high:.1f}]"


def _cost(
    y: NDArray[Any],
    p: Floats,
    artists: NDArray[Any],
    genres: list[str],
    threshold: float,
    scores: Floats,
    dull: NDArray[np.bool_],
    report: Mapping[str, Any],
) -> str:
    odd = scores > 1
    right, sure = p.argmax(axis=1) == y, p.max(axis=1) >= threshold
    lines = "\n".join(
        f"| {name} | {percent(float(odd[y == k].mean()), 1)} | "
        f"{percent(float((odd | dull)[y == k].mean()), 1)} | "
        f"{percent(float(((odd | dull) & sure)[y == k].mean()), 1)} |"
        for k, name in enumerate(genres)
    )

    def accuracy(rows: NDArray[np.bool_]) -> str:
        return f"{percent(float(right[rows].mean()))} of {int(rows.sum())}" if rows.any() else "-"

    return f"""## What it costs

The same tracks, by limits and borders that had not met their artists.

| | share of real music |
|---|---|
| unfamiliar | {_share(odd, artists)} |
| nothing above 4.2 kHz | {_share(dull, artists)} |
| either | {_share(odd | dull, artists)} |
| either, though a genre was probable enough: what it takes away | \
{_share((odd | dull) & sure, artists)} |

Of the answers that are taken away {accuracy(sure & odd)} unfamiliar ones would have been right, and
{accuracy(sure & dull)} without anything above 4.2 kHz; of those that stay,
{accuracy(sure & ~odd & ~dull)}.

| genre | unfamiliar | either | answers taken away |
|---|---|---|---|
{lines}

Experimental pays most, as it must: noise is music there."""


def _music(real: Mapping[str, Any]) -> str:
    lines = []
    for name, tally in real.items():
        n, before, unfamiliar, now = tally.row()
        reasons = sorted({r.split(" (")[0] for r in tally.reasons if r})
        lines.append(
            f"| {name} | {n} | {percent(before)} | {percent(unfamiliar)} | {percent(now)} | "
            f"{'; '.join(reasons)} |"
        )
    return f"""## Real music, whole and damaged

Eight FMA clips and four songs; the clips are among the tracks that were learnt from, so look at how
the rows differ rather than at any one of them.

| how it comes | n | not sure before | unfamiliar | not sure | reasons |
|---|---|---|---|---|---|
{chr(10).join(lines)}"""


def _short(cut: list[Any], threshold: float) -> str:
    lines = []
    for name, confidence, right, known in cut:
        sure = confidence >= threshold
        lines.append(
            f"| {name} | {right.mean():.3f} | {percent(float(sure.mean()))} | "
            f"{right[sure].mean():.3f} | {percent(float((~known).mean()), 1)} |"
        )
    return f"""## Too little sound

Fold 0 ({len(cut[0][2]):,} tracks) by members that had not met its artists. A shorter piece repeats
the frames of its start, as the front end does; a cut in frequency is made on the prepared frames.

| what is heard | accuracy | sure before | accuracy when sure | flagged by the two tests |
|---|---|---|---|---|
{chr(10).join(lines)}

Sure answers are to be right three times in four. From 3 s on they are, at 2 s and 1 s no more, so
less than 3 s is "too little sound". A cut at 4 kHz by itself does little harm, since training has
such tracks; but of sure answers on tracks that end there by nature about one half is right
(above), and at 2 kHz nothing holds. So what has nothing above 4.2 kHz is not sure, either. The two
tests flag more where less is heard."""


def _sets(sets: Coverage, genres: list[str]) -> str:
    folds = "\n".join(
        f"| fold {row['fold']} | {row['n']:,} | {row['coverage']} | {row['artist_coverage']} | "
        f"{row['size']:.2f} |"
        for row in sets.per_fold
    )
    by_genre = "\n".join(
        f"| {genres[row['genre']]} | {row['n']:,} | {row['coverage']} | | {row['size']:.2f} |"
        for row in sets.per_genre
    )
    worst = "; ".join(
        f"{percent(share)} of them below {percent(value)}"
        for share, value in sets.worst_artists.items()
    )
    return f"""## Do sets of plausible genres keep their word?

Sets are to hold the right genre {percent(sets.level)} of the time, for a track of an artist drawn
at random. Each fold has the quantile of the other folds: new artists throughout.

| | tracks | coverage by track | coverage by artist | genres in a set |
|---|---|---|---|---|
| all | {len(sets.covered):,} | {sets.overall} | {sets.by_artist} | {sets.size.mean():.2f} |
{folds}
{by_genre}

The promise is one on average. Of the {sets.n_many} artists with five tracks or more, coverage is
{worst}; {percent(sets.badly_served)} of them are covered {percent(sets.level - 0.1)} of the time or
less. An artist unlike the others is not served better by any quantile that is one for all."""
