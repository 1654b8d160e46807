"""What the page says first and last: the finding, what not to conclude, how to repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrescope.explain.marks import share
from genrescope.explain.report.composer import (
    Block,
    Cell,
    Column,
    Composer,
    Section,
    Table,
    interval,
)
from genrescope.explain.words import counted, listed, plural

if TYPE_CHECKING:
    from genrescope.explain.report.result import LabResult

__all__ = ["finding", "limits_section", "repeat_section", "subtitle"]


def subtitle(result: LabResult) -> str:
    """The study in one line: tracks, genres, features, classifiers."""
    data = result.data
    tracks = counted(len(data), "track")
    if data.group_name != "track":
        tracks += f" by {counted(result.analysis.n_groups, data.group_name)}"
    parts = [
        tracks,
        counted(len(data.genres), "genre"),
        counted(len(data.features), "feature"),
        counted(len(result.leaderboard.rows), "classifier"),
    ]
    return " · ".join(parts)


def finding(result: LabResult) -> str:
    """The main finding, in two sentences."""
    best = result.best
    if best is None or best.scores is None:
        return (
            "No classifier gave answers for this table. The reasons are in the classifiers' table."
        )
    ends = interval(best.scores.intervals.get("accuracy"))
    who = {
        "folds": "tracks of artists it had not heard",
        "official": "the scored tracks of the official split",
        "random": "held-out tracks of artists that it partly knew, so too often",
    }.get(result.protocol.kind, "held-out tracks")
    if result.protocol.kind == "folds" and result.data.group_name == "track":
        who = "held-out tracks, perhaps of artists it knew"
    elif result.protocol.kind == "folds" and result.data.group_name != "artist":
        who = f"tracks of {plural(result.data.group_name)} it had not met"
    same = sum(row.within for row in result.leaderboard.rows)
    first = (
        f"The best of {counted(len(result.leaderboard.rows), 'classifier')}, {best.run.name}, "
        f"names the genre rightly for {share(best.scores.accuracy, 1)} of {who}"
        + (f" (95 % interval {ends} %)" if ends else "")
        + f", where always answering the most common genre is right for {share(result.chance, 1)}"
        + (f"; {counted(same, 'other')} cannot be told from it" if same else "")
        + "."
    )
    return f"{first} {_second(result)}"


def _second(result: LabResult) -> str:
    said = []
    effects = [e for e in result.analysis.effects if e.eta_squared == e.eta_squared]
    if effects:
        said.append(
            f"the feature that tells genres apart most is {effects[0].feature} "
            f"(η² {effects[0].eta_squared:.2f})"
        )
    if result.confusion is not None and result.confusion.pairs:
        pair = result.confusion.pairs[0]
        said.append(
            f"the most frequent error is "
            f"{pair.true} taken for {pair.taken_for} ({share(pair.share)} of its tracks)"
        )
    if not said:
        return "No single feature stands out."
    text = ", and ".join(said)
    return text[0].upper() + text[1:] + "."


def limits_section(result: LabResult) -> Section:
    """What these figures do not show."""
    data, kind = result.data, result.protocol.kind
    section = Section("limits", "What not to conclude")
    said = []
    if data.simulated:
        said.append(
            "Anything about music. These data are made up; the page shows that the method runs, "
            "and nothing else."
        )
    if kind == "random":
        said.append(
            "How well this works on new artists. The folds are random, so tracks of one artist "
            "are in training and in test, and every score here is too high."
        )
    elif data.group_name == "track":
        said.append(
            "How well this works on new artists. The table does not say who made a track, so "
            "artists may be on both sides of the split."
        )
    if kind == "folds" and data.name.startswith("fma-small"):
        said.append(
            "What the official test of FMA-small would give. These folds are made of its training "
            "and validation tracks; its official validation is 7 to 10 points easier than its test."
        )
    elif kind == "folds":
        said.append(
            "What another collection would give. Training and scored tracks come from one table: "
            "same labels, same recordings, same years."
        )
    best = result.best
    same = [row.run.name for row in result.leaderboard.rows if row.within]
    if best is not None and same:
        said.append(
            f"That {best.run.name} is better than {listed(same)}. These tracks do not tell them "
            "apart."
        )
    if best is not None:
        said.append(
            f"That {best.run.name} will be the best elsewhere, or quite as good again. It was "
            "chosen on the tracks that score it."
        )
    said += [
        "That a feature makes the genre. Effect sizes and importance say what goes together in "
        "this table; features that rise and fall together share, or hide, each other's importance.",
        "That islands on a t-SNE map are kinds of music. Their distances and sizes depend on "
        "settings as much as on tracks.",
        "That an answer that differs from the label is wrong music. Each track has one label here, "
        "given by people who did not agree on what the labels mean.",
        "That the intervals cover everything. They say how much the scores would move with other "
        f"{plural(data.group_name)} of the same kind, not with other labels, features or years.",
    ]
    section.list(said)
    return section


def repeat_section(result: LabResult, page: Composer) -> Section:
    """The command, the seed, the versions, the fingerprint."""
    section = Section("repeat", "How to repeat this")
    section.text("The same command on the same table gives the same figures:")
    section.add(Block("code", (result.command or "genrescope lab ...",)))
    facts = [
        ("Seed", str(result.protocol.seed)),
        ("Fingerprint of the table (SHA-256)", result.data.fingerprint),
        ("Split", f"{result.protocol.kind}, {counted(result.protocol.n_folds, 'fold')}"),
        ("Time of this run", f"{result.seconds:,.0f} s"),
        *result.versions.items(),
    ]
    section.add(
        page.table(
            Table(
                "repeat",
                "What the figures depend on. Figures computed by other versions may differ in the "
                "last digits.",
                (Column("What"), Column("Value")),
                [(Cell(name), Cell(value)) for name, value in facts],
            )
        )
    )
    section.text(
        "Beside this page: every figure as SVG and PNG (folder figures), every table in full as "
        "CSV and Parquet (folder tables), and all numbers in results.json. In the CSV files, text "
        "that a spreadsheet would run as a formula has an apostrophe in front."
    )
    return section
