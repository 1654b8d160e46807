"""The findings of an analysis as sentences that claim no more than the figures."""

from __future__ import annotations

import numpy as np

from genrescope.explain.analysis.densities import label_of
from genrescope.explain.analysis.effects import FeatureEffect
from genrescope.explain.analysis.types import Analysis
from genrescope.explain.words import listed, plural

__all__ = ["describe"]

UNEVEN = 1.5  # largest genre over smallest: below, genres are "of nearly equal size"
FEW_ARTISTS = 1 / 3  # share of a genre from five artists that is worth a warning
SIGNIFICANT = 0.01
SOLID = 20  # values of a genre from which its median is worth a sentence
EXTRAS = 4  # numbers beside the features that get a sentence
MOST = 4  # names of a sentence, before only their number is told
SMALL = 50  # tracks of a genre below which its figures are rough


def _figure(value: float) -> str:
    """A number to three digits, without noise.

    Examples
    --------
    >>> _figure(0.30879), _figure(7115.0), _figure(123456.0), _figure(0.000012)
    ('0.309', '7,115', '123,456', '1.2e-05')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def describe(made: Analysis) -> tuple[str, ...]:
    """What an analysis found, one finding a sentence or two.

    Parameters
    ----------
    made : Analysis
        Its ``sentences`` are not read.

    Returns
    -------
    tuple of str
    """
    return tuple(
        sentence
        for part in (
            _balance(made),
            _artists(made),
            _missing(made),
            _strongest(made),
            _families(made),
            _extras(made),
            _copies(made),
            _doubts(made),
        )
        for sentence in part
    )


def _balance(made: Analysis) -> list[str]:
    order = sorted(made.balance, key=lambda genre: -made.balance[genre])
    first, last = order[0], order[-1]
    most, least = made.balance[first], made.balance[last]
    share = most / made.n
    if most <= UNEVEN * least:
        return [
            f"The {len(order)} genres are of nearly equal size, from {least:,} tracks ({last}) to "
            f"{most:,} ({first}); always answering {first} would be right for {share:.0%}."
        ]
    out = [
        f"The {len(order)} genres are not of equal size: {first} has {most:,} of the {made.n:,} "
        f"tracks, {last} {least:,}. Always answering {first} would be right for {share:.0%}, so "
        "look at balanced accuracy and macro-F1 beside accuracy."
    ]
    small = [genre for genre in order if made.balance[genre] < SMALL]
    if small:
        out.append(
            f"{listed(small, most=MOST)} {'has' if len(small) == 1 else 'have'} fewer than {SMALL} "
            "tracks: figures of a genre so small are rough."
        )
    return out


def _artists(made: Analysis) -> list[str]:
    what = made.group_name
    if not made.largest_groups:
        return [
            "The table does not say which tracks share an artist. Tracks of one artist resemble "
            "each other, so all intervals here are narrower than they should be."
        ]
    known = made.n_groups - made.n_without_group
    out = [f"The {made.n:,} tracks come from {known:,} {plural(what)}."]
    if made.n_without_group:
        out = [
            f"For {made.n_without_group:,} of the {made.n:,} tracks no {what} is known: each "
            f"counts as {_article(what)} of its own, which makes intervals too narrow. The others "
            f"come from {known:,} {plural(what)}."
        ]
    worst = max(made.largest_groups, key=lambda genre: made.largest_groups[genre].share_of_five)
    top = made.largest_groups[worst]
    if top.share_of_five >= FEW_ARTISTS and made.groups_per_genre[worst] > 5:
        out.append(
            f"In {worst}, five {plural(what)} made {top.share_of_five:.0%} of the tracks "
            f"({top.name} alone {top.n:,}): what looks like the genre there may be "
            f"these {plural(what)}."
        )
    return out


def _article(what: str) -> str:
    return f"an {what}" if what[:1].lower() in "aeiou" else f"a {what}"


def _missing(made: Analysis) -> list[str]:
    if not made.missing:
        return ["No feature is missing for any track."]
    out = []
    n, features = len(made.missing), len(made.effects)
    worst = max(made.missing, key=lambda name: made.missing[name])
    out.append(
        f"{n} of {features} features {'is' if n == 1 else 'are'} missing for some tracks, most "
        f"often {worst} ({made.missing[worst] / made.n:.0%} of the tracks). Figures of a feature "
        "are from the tracks that have it."
    )
    for pattern in made.missing_patterns:
        p = pattern.effect.artist_p_adjusted if made.largest_groups else pattern.effect.p_adjusted
        if p < SIGNIFICANT and pattern.effect.eta_squared >= 0.01:
            most = max(pattern.by_genre, key=lambda genre: pattern.by_genre[genre])
            least = min(pattern.by_genre, key=lambda genre: pattern.by_genre[genre])
            out.append(
                f"Whether {listed(pattern.features, most=MOST)} "
                f"{'is' if len(pattern.features) == 1 else 'are'} missing depends on the genre: "
                f"{pattern.by_genre[most]:.0%} of {most}, "
                f"{pattern.by_genre[least]:.0%} of {least}. A model can read the genre from that."
            )
            break
    return out


def _strongest(made: Analysis) -> list[str]:
    usable = [e for e in made.effects if np.isfinite(e.eta_squared)]
    if not usable:
        return ["No feature has a spread that could differ between genres."]
    best = usable[0]
    out = [
        f"{label_of(best.feature)} tells genres apart best: eta squared {_eta(best)}, so "
        f"{best.eta_squared:.0%} of its variance lies between genres.{_medians(made, best)}"
    ]
    if len(usable) > 1:
        after = [f"{label_of(e.feature)} {_eta(e)}" for e in usable[1:4]]
        words = f"Next: {listed(after, most=MOST)}."
        if best.eta_low < usable[1].eta_high:
            words += " The intervals of the first two overlap, so their order is not certain."
        out.append(words)
    if len(usable) > 4:
        out.append(f"Least: {label_of(usable[-1].feature)}, {_eta(usable[-1])}.")
    return out


def _eta(effect: FeatureEffect) -> str:
    value = f"{effect.eta_squared:.2f}" if effect.eta_squared >= 0.01 else "below 0.01"
    if not np.isfinite(effect.eta_low) or effect.eta_squared < 0.01:
        return value
    return f"{value} ({effect.eta_low:.2f} to {effect.eta_high:.2f})"


def _medians(made: Analysis, effect: FeatureEffect) -> str:
    if len(effect.medians) < 2:
        return ""
    # A median over a handful of tracks is no finding.
    counts = next((q.n for q in made.distributions if q.feature == effect.feature), made.balance)
    solid = {g: m for g, m in effect.medians.items() if counts[g] >= SOLID}
    if len(solid) < 2:
        return ""
    high = max(solid, key=lambda genre: solid[genre])
    low = min(solid, key=lambda genre: solid[genre])
    top, bottom = (
        f"{solid[genre]:.0f}" if "year" in effect.feature else _figure(solid[genre])
        for genre in (high, low)
    )
    return f" Its median is highest for {high} ({top}) and lowest for {low} ({bottom})."


def _families(made: Analysis) -> list[str]:
    families = {name: e for name, e in made.group_effects.items() if e.n_features > 1}
    if len(made.group_effects) < 2 or not families:
        return []
    name = max(families, key=lambda family: families[family].mean)
    best = families[name]
    return [
        f"By family, the features of {name} differ most between genres: mean eta squared "
        f"{best.mean:.2f} over {best.n_features} features, at most {best.max:.2f} ({best.best})."
    ]


def _extras(made: Analysis) -> list[str]:
    out = []
    for e in sorted(made.extra_effects, key=lambda e: -np.nan_to_num(e.epsilon_squared))[:EXTRAS]:
        if np.isfinite(e.epsilon_squared) and e.medians:
            rows = "" if not e.n_missing else f" over the {e.n:,} tracks that have it"
            out.append(
                f"{label_of(e.feature)} (not learnt from){rows}: epsilon squared "
                f"{e.epsilon_squared:.2f}.{_medians(made, e)}"
            )
    return out


def _copies(made: Analysis) -> list[str]:
    matrix, names = made.correlation.matrix, made.correlation.features
    if len(names) < 3:
        return []
    upper = np.abs(matrix[np.triu_indices(len(names), 1)])
    near = int((upper > 0.9).sum())
    if near:
        return [
            f"Of the {len(names)} features with the largest effect, {near} of {len(upper)} pairs "
            "have a rank correlation beyond 0.9: these say nearly the same, and their effects must "
            "not be added up."
        ]
    i, j = np.unravel_index(int(np.argmax(np.abs(matrix) - 2 * np.eye(len(names)))), matrix.shape)
    return [
        f"{label_of(names[int(i)])} and {label_of(names[int(j)])} go together most (rank "
        f"correlation {matrix[i, j]:.2f}); effects of correlated features must not be added up."
    ]


def _doubts(made: Analysis) -> list[str]:
    usable = [e for e in made.effects if np.isfinite(e.p_adjusted)]
    tracks = sum(e.p_adjusted < SIGNIFICANT for e in usable)
    out = []
    if made.largest_groups and usable:
        artists = sum(e.artist_p_adjusted < SIGNIFICANT for e in usable)
        out.append(
            f"After Holm's correction {tracks} of {len(usable)} features differ between genres "
            f"with p below {SIGNIFICANT} if tracks are counted as independent, which they are not: "
            f"those of one {made.group_name} resemble each other. Counted by the means "
            f"of {plural(made.group_name)} it is {artists}. Intervals of eta squared resample "
            f"whole {plural(made.group_name)}."
        )
    elif usable:
        out.append(
            f"After Holm's correction {tracks} of {len(usable)} features differ between genres "
            f"with p below {SIGNIFICANT}, as if tracks were independent. They may not be."
        )
    out.append(
        "With many tracks a small difference has a small p: judge by eta squared. A feature that "
        "does little alone may still help together with others."
    )
    return out
