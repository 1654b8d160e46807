"""The first half of the page: the data and its split, and the analysis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from genrescope.explain import figures
from genrescope.explain.colours import colours_of
from genrescope.explain.marks import number, share
from genrescope.explain.report.composer import (
    Cell,
    Column,
    Composer,
    Section,
    Table,
    count,
    decimal,
    genre_cell,
    p_value,
    percent,
)
from genrescope.explain.words import counted, listed, plural

if TYPE_CHECKING:
    from genrescope.catalog.leaks import AuditReport
    from genrescope.explain.report.result import LabResult

__all__ = ["analysis_section", "data_section"]

_SHOWN = 15  # rows of a long table that stand on the page


def data_section(result: LabResult, page: Composer) -> Section:
    """What the data are, who is scored, and whether anything leaks."""
    data, found = result.data, result.analysis
    section = Section("data", "Data and split")
    section.text(data.source)
    families = Counter(data.feature_groups)
    kinds = listed([f"{name} ({n})" for name, n in families.most_common()])
    gaps = float(np.isnan(data.x).mean())
    facts = [
        ("Tracks", f"{len(data):,}"),
        ("Genres", f"{len(data.genres)}: {listed(data.genres, most=20)}"),
        (
            "Features",
            f"{len(data.features):,}"
            + (f": {kinds}" if 1 < len(families) < len(data.features) else ""),
        ),
        ("Missing values", f"{share(gaps, 2)} of all cells" if gaps else "none"),
        ("Scored", f"{int((result.protocol.fold >= 0).sum()):,} tracks"),
    ]
    if data.group_name == "track":
        facts.insert(1, ("Groups", "none: each track stands for itself"))
    else:
        facts.insert(1, (plural(data.group_name).capitalize(), f"{found.n_groups:,}"))
    section.add(
        page.table(
            Table(
                "facts",
                "The table that everything here was computed from.",
                (Column("What"), Column("How much")),
                [(Cell(name), Cell(text)) for name, text in facts],
            )
        )
    )
    section.heading("Who is trained, who is scored")
    section.note(result.protocol.description, alert=result.protocol.kind == "random")
    _audit(result.audit, result, section)
    section.heading("Classes")
    largest, part = _most_common(result)
    section.add(
        page.figure(
            figures.balance(found),
            f"Tracks of each genre{_by_groups(result)}. Whoever always answers {largest} is right "
            f"for {share(part, 1)} of the scored tracks: read every accuracy against that.",
            alt="Bar chart of tracks by genre: "
            + listed([f"{g} {n:,}" for g, n in found.balance.items()], most=40),
        )
    )
    section.add(_classes(result, page))
    drawing = figures.missing(found)
    if drawing is None:
        section.text("No feature has missing values.")
    section.add(
        page.figure(
            drawing,
            "Features with missing values, the most incomplete first. What stands in for a missing "
            "value is learnt from training tracks only.",
            alt=f"Bar chart of missing values in {sum(n > 0 for n in found.missing.values())} "
            "features",
        )
    )
    section.add(_missing_patterns(result, page))
    section.list(result.notes, title="What was left out or changed on the way in")
    return section


def _audit(audit: AuditReport | None, result: LabResult, section: Section) -> None:
    what = result.data.group_name
    if audit is None:
        section.note(
            "No leak audit: the table does not say who made a track, so tracks of one artist may "
            "be in training and in test. Such scores can be too high, and nobody can tell by how "
            "much."
            if what == "track"
            else "No leak audit was made.",
            title="Leak audit",
            alert=True,
        )
        return
    parts = _parts(audit)
    if audit.clean:
        section.note(
            f"Nothing leaks: no {what}, no track and no title by the same artist is in two of "
            f"{parts}.",
            *_warnings(audit),
            title="Leak audit",
        )
    else:
        found = [
            counted(len(audit.shared_groups), what) if audit.shared_groups else "",
            counted(len(audit.duplicate_tracks), "track") if audit.duplicate_tracks else "",
            counted(len(audit.repeated_titles), "repeated title") if audit.repeated_titles else "",
        ]
        names = [shared.name or shared.group for shared in audit.shared_groups]
        section.note(
            f"In more than one of {parts}: {listed([f for f in found if f])}. Scores on "
            "such a split are too high.",
            f"Among them {listed(names, most=5)}." if names else "",
            *_warnings(audit),
            title="Leak audit: leaks",
            alert=True,
        )


def _classes(result: LabResult, page: Composer) -> Any:
    """Tracks of each genre in each part, and whose they are."""
    data, found, audit = result.data, result.analysis, result.audit
    parts = audit.labels if audit is not None and len(audit.splits) <= 10 else {}
    what, colours = found.group_name, colours_of(data.genres)
    columns = [Column("Genre"), Column("Tracks", number=True)]
    if what != "track":
        columns += [
            Column(plural(what).capitalize(), number=True),
            Column(f"Most frequent {what}"),
        ]
    columns += [Column(part, number=True) for part in parts]
    rows = []
    for genre in data.genres:
        row = [genre_cell(genre, colours[genre]), count(found.balance.get(genre, 0))]
        if what != "track":
            big = found.largest_groups.get(genre)
            row += [
                count(found.groups_per_genre.get(genre)),
                Cell("–")
                if big is None
                else Cell(big.name, quiet=f"{big.n:,}, {share(big.share)}", sort=big.share),
            ]
        row += [count(by.get(genre, 0)) for by in parts.values()]
        rows.append(row)
    return page.table(
        Table(
            "classes",
            "Tracks of each genre in all and in each part. A genre that a part lacks cannot be "
            f"scored there; one that hangs on a few {plural(what)} says little about others."
            if what != "track"
            else "Tracks of each genre.",
            columns,
            rows,
            file="class_balance",
            sortable=True,
            wide=bool(parts),
        )
    )


def _missing_patterns(result: LabResult, page: Composer) -> Any:
    patterns = result.analysis.missing_patterns
    return page.table(
        Table(
            "missing",
            "Features that are missing for the same tracks. Where a genre lacks them more often "
            "than others, being missing says something about genre by itself.",
            (
                Column("Features"),
                Column("Tracks", number=True),
                Column("Share, %", number=True),
                Column("Most often in"),
                Column("η²", "of genre on being missing", number=True),
            ),
            [
                (
                    Cell(listed(pattern.features, most=4), sort=pattern.features[0].casefold()),
                    count(pattern.n),
                    percent(pattern.share),
                    _most_often(pattern.by_genre),
                    decimal(pattern.effect.eta_squared),
                )
                for pattern in patterns[:_SHOWN]
            ],
            file="missing_values",
            more=max(0, len(patterns) - _SHOWN),
            sortable=True,
        )
    )


def _most_often(by_genre: Mapping[str, float]) -> Cell:
    if not by_genre:
        return Cell("–")
    genre = max(by_genre, key=lambda g: by_genre[g])
    return Cell(genre, quiet=share(by_genre[genre]), sort=genre.casefold())


def _parts(audit: AuditReport) -> str:
    """The parts of a split by name, folds by their number."""
    if all(part.startswith("fold ") for part in audit.splits):
        return f"the {len(audit.splits)} folds"
    return "the parts " + listed([f"{part} ({n:,})" for part, n in audit.splits.items()], most=12)


def _warnings(audit: AuditReport) -> list[str]:
    said = []
    if audit.similar_names:
        pairs = [" / ".join(name for _, name, _ in s.groups) for s in audit.similar_names]
        said.append(
            f"{counted(len(pairs), 'group')} of names differ only in spelling and may be one "
            f"artist: {listed(pairs, most=3)}."
        )
    if audit.dominant_groups:
        big = [
            f"{d.name or d.group} ({share(d.share)} of {d.split})" for d in audit.dominant_groups
        ]
        said.append(f"Much of a part is by one artist: {listed(big, most=4)}.")
    lost = sum(audit.without_group.values())
    if lost:
        said.append(f"{counted(lost, 'track')} name no artist; nobody knows whether they leak.")
    return said


def analysis_section(result: LabResult, page: Composer) -> Section:
    """Which features tell genres apart, and by how much."""
    found = result.analysis
    section = Section("analysis", "Analysis: which features tell genres apart")
    section.list(found.sentences)
    section.add(
        page.figure(
            figures.effects(found.effects),
            "Effect size of each feature, the largest first. η² is the share of the feature's "
            "variance that lies between genres: 0 says nothing about genre, 1 says it all. Lines "
            f"are 95 % intervals from resampled {plural(found.group_name)}.",
            alt="Dot plot of effect sizes: "
            + listed([f"{e.feature} {e.eta_squared:.2f}" for e in found.effects[:10]], most=10),
        )
    )
    section.add(
        page.table(
            Table(
                "effects",
                f"The same in numbers. H is the Kruskal-Wallis statistic; p is {_p_of(result)}, "
                "corrected for the number of features. With many tracks nearly every p is tiny: go "
                "by the effect size.",
                (
                    Column("Feature"),
                    Column("Family"),
                    Column("η²", "variance between genres", number=True),
                    Column("ε²", "the same of ranks", number=True),
                    Column("H", "Kruskal-Wallis", number=True),
                    Column("p, corrected", number=True),
                    Column("Lowest median"),
                    Column("Highest median"),
                ),
                [_effect_row(e) for e in found.effects[:_SHOWN]],
                file="effects",
                more=max(0, len(found.effects) - _SHOWN),
                sortable=True,
                wide=True,
            )
        )
    )
    section.add(
        page.table(
            Table(
                "extras",
                "Numbers that come with the tracks and were not learnt from.",
                (
                    Column("Column"),
                    Column("η²", number=True),
                    Column("ε²", number=True),
                    Column("Tracks", number=True),
                    Column("Lowest median"),
                    Column("Highest median"),
                ),
                [
                    (row[0], row[2], row[3], count(e.n), *row[-2:])
                    for e in found.extra_effects
                    for row in [_effect_row(e)]
                ],
                sortable=True,
            )
        )
    )
    section.add(
        page.figure(
            figures.group_bars(found.group_effects),
            "Effect sizes by family of features: the mean of a family, and its best feature.",
            alt="Dot plot of mean and largest effect size by family of features",
        )
    )
    shown = found.distributions
    for start in range(0, len(shown), figures.PANELS):
        chosen = shown[start : start + figures.PANELS]
        section.add(
            page.figure(
                figures.distributions(chosen, key=f"distributions-{start // figures.PANELS + 1}"),
                f"How {listed([d.label or d.feature for d in chosen])} "
                f"{'are' if len(chosen) > 1 else 'is'} spread in each genre, genres in the order "
                "of their medians (lines, numbers on the right; tracks in brackets). All ridges "
                "have one height. The less they overlap, the more the feature says."
                + "".join(f" {note}" for note in dict.fromkeys(d.note for d in chosen) if note),
                alt="Ridge plots by genre of "
                + listed([f"{d.label or d.feature} ({_span(d)})" for d in chosen]),
            )
        )
    section.add(
        page.figure(
            figures.correlation(found.correlation.features, found.correlation.matrix),
            "Rank correlation (Spearman) of features, alike ones side by side: blue rise together, "
            "orange are opposed. Blocks of strong colour are features that say the same; none of "
            "them can be called the cause alone.",
            alt=f"Heat map of correlations of {len(found.correlation.features)} features",
        )
    )
    return section


def _effect_row(effect: Any) -> tuple[Cell, ...]:
    medians = {g: m for g, m in effect.medians.items() if m is not None and np.isfinite(m)}
    low = min(medians, key=lambda g: medians[g]) if medians else ""
    high = max(medians, key=lambda g: medians[g]) if medians else ""
    return (
        Cell(effect.feature, sort=effect.feature.casefold()),
        Cell(effect.group, sort=effect.group.casefold()),
        decimal(effect.eta_squared, ends=(effect.eta_low, effect.eta_high)),
        decimal(effect.epsilon_squared),
        decimal(effect.h, 0),
        p_value(effect.artist_p_adjusted if effect.n_artists else effect.p_adjusted),
        Cell(low, quiet=number(medians[low]) if low else "", sort=low.casefold()),
        Cell(high, quiet=number(medians[high]) if high else "", sort=high.casefold()),
    )


def _p_of(result: LabResult) -> str:
    if any(effect.n_artists for effect in result.analysis.effects):
        return f"that of one value an {result.analysis.group_name}"
    return "that of tracks as if each were independent"


def _span(one: Any) -> str:
    medians = {g: m for g, m in one.median.items() if m is not None and np.isfinite(m)}
    if not medians:
        return "no medians"
    low, high = (f(medians, key=lambda g: medians[g]) for f in (min, max))
    return f"lowest median {low} {number(medians[low])}, highest {high} {number(medians[high])}"


def _most_common(result: LabResult) -> tuple[str, float]:
    y = result.data.y[result.protocol.fold >= 0]
    counts = np.bincount(y, minlength=len(result.data.genres))
    return result.data.genres[int(counts.argmax())], float(counts.max() / max(1, len(y)))


def _by_groups(result: LabResult) -> str:
    what = result.data.group_name
    return "" if what == "track" else f", and {plural(what)}"
