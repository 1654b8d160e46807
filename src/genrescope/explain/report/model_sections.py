"""The second half of the page: classifiers, ensembles, confusion, reasons, and their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genrescope.explain import figures_models as drawn
from genrescope.explain.colours import colours_of
from genrescope.explain.marks import share
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
    seconds,
)
from genrescope.explain.words import counted, listed
from genrescope.learn.evaluate import score

if TYPE_CHECKING:
    from genrescope.explain.report.result import LabResult
    from genrescope.learn.lab.leaderboard import LeaderRow

__all__ = [
    "classifiers_section",
    "confusion_section",
    "ensembles_section",
    "explanations_section",
]

_TRACKS = 3  # explained on the page; the rest are in the file


def classifiers_section(result: LabResult, page: Composer) -> Section:
    """The table of classifiers, and what it may be read as."""
    board, best = result.leaderboard, result.best
    section = Section("classifiers", "Classifiers")
    n = sum(row.scores is not None for row in board.rows)
    section.text(
        f"{counted(n, 'classifier')} learnt from the same tracks and answered for the same "
        f"{counted(board.n, 'track')}. Each is a pipeline with its own scaler, fitted on training "
        "tracks only."
    )
    section.add(
        page.figure(
            drawn.accuracies(board, chance=result.chance),
            f"Accuracy with 95 % intervals from resampled {board.resampled}s. The diamond is the "
            "best; filled points are those that these tracks do not tell from it. The dashed line "
            f"is reached by always answering the most common genre ({share(result.chance, 1)}).",
            alt="Dot plot of accuracy: "
            + listed(
                [f"{r.run.name} {share(r.scores.accuracy, 1)}" for r in board.rows if r.scores],
                most=40,
            ),
        )
    )
    section.add(_leaderboard(result, page))
    section.list(board.notes, title="How to read it")
    if best is None or best.scores is None:
        return section
    section.add(
        page.figure(
            drawn.cost(board),
            "What accuracy costs. Blue points on the dashed line: no faster classifier is as good.",
            alt="Scatter plot of accuracy against CPU seconds of fitting",
        )
    )
    section.heading(f"The best, {best.run.name}, more closely")
    section.add(
        page.figure(
            drawn.reliability(best.scores, name=best.run.name),
            "Is it as sure as it is right? On the dashed line, of the tracks that it gives 70 % it "
            "gets 70 % right. Below the line it is too sure. Bars count the tracks. Its "
            f"probabilities: {best.run.calibrated}.",
            alt=f"Reliability curve; expected calibration error {best.scores.ece:.3f}",
        )
    )
    section.add(
        page.figure(
            drawn.per_genre(best.scores),
            "Each genre, the easiest first. Filled: recall, the share of its tracks that were "
            "found. Rings: precision, the share of answers with its name that were right.",
            alt="Dot plot of precision and recall by genre",
        )
    )
    colours = colours_of(list(best.scores.per_genre))
    section.add(
        page.table(Table(
            "per-genre",
            f"{best.run.name} by genre.",
            (Column("Genre"), *(Column(c, number=True) for c in
             ("Precision, %", "Recall, %", "F1, %", "Tracks"))),
            [
                (genre_cell(g, colours[g]), percent(row["precision"]), percent(row["recall"]),
                 percent(row["f1"]), count(int(row["support"])))
                for g, row in best.scores.per_genre.items()
            ],
            file="best_by_genre",
            sortable=True,
        ))
    )  # fmt: skip
    if result.reference is not None:
        _reference(result, section, page)
    return section


def _leaderboard(result: LabResult, page: Composer) -> Any:
    columns = (
        Column("#", number=True),
        Column("Classifier"),
        Column("Family"),
        Column("Accuracy, %", "equals micro-averaged precision, recall and F1", number=True),
        Column("Balanced accuracy, %", "mean recall over genres: macro recall", number=True),
        Column("Macro precision, %", number=True),
        Column("Macro F1, %", number=True),
        Column("Micro F1, %", "equals accuracy where a track has one genre", number=True),
        Column("Top-3, %", "the right genre is among the three most probable", number=True),
        Column("Log-loss", "nats; lower is better", number=True),
        Column("ECE", "expected calibration error; lower is better", number=True),
        Column("Behind the best, points", "with its paired 95 % interval", number=True),
        Column("McNemar p", "mid-p, Holm-corrected", number=True),
        Column("Fit, s", "CPU seconds, all folds", number=True),
        Column("Predict, s", "CPU seconds, all folds", number=True),
    )
    return page.table(
        Table(
            "leaderboard",
            "All classifiers, the most accurate first. Small figures are 95 % intervals. Same: its "
            "paired interval to the best holds zero. Click a heading to sort.",
            columns,
            [
                _leader_row(row, n, width=len(columns))
                for n, row in enumerate(result.leaderboard.rows, start=1)
            ],
            file="leaderboard",
            sortable=True,
            wide=True,
        )
    )


def _leader_row(row: LeaderRow, n: int, *, width: int) -> tuple[Cell, ...]:
    run, scores = row.run, row.scores
    name = Cell(
        run.name,
        quiet=run.key,
        sort=run.name.casefold(),
        mark="best" if row.best else "same" if row.within else "",
    )
    if scores is None:
        blank = Cell("–", number=True)
        failed = Cell(run.name, quiet=f"failed: {run.failure}", sort=run.name.casefold())
        rest = [blank] * (width - 5)
        return (blank, failed, Cell(run.family, sort=run.family), *rest,
                seconds(run.fit_seconds), blank)  # fmt: skip
    ends = scores.intervals
    gap = row.difference
    return (
        count(n),
        name,
        Cell(run.family, sort=run.family),
        percent(scores.accuracy, ends=ends.get("accuracy")),
        percent(scores.balanced_accuracy, ends=ends.get("balanced_accuracy")),
        percent(row.macro_precision),
        percent(scores.macro_f1, ends=ends.get("macro_f1")),
        percent(row.micro_f1),
        percent(scores.top3, ends=ends.get("top3")),
        decimal(scores.log_loss, 2, ends=ends.get("log_loss")),
        decimal(scores.ece, ends=ends.get("ece")),
        percent(None) if gap is None else percent(gap.difference, ends=(gap.low, gap.high)),
        p_value(row.mcnemar_p_adjusted),
        seconds(run.fit_seconds),
        seconds(run.predict_seconds),
    )


def _reference(result: LabResult, section: Section, page: Composer) -> None:
    there = result.reference
    if there is None:
        return
    section.heading("Beside a published table")
    section.text(f"{there.title}: {there.data}.")
    unknown = Cell("not on record", sort=None, number=True)
    absent = Cell("not run here", sort=None, number=True)
    rows = []
    for row in there.rows:
        ours = next(
            (r.scores for r in result.leaderboard.rows if r.run.name == row.name and r.scores), None
        )
        rows.append(
            (
                Cell(row.name, quiet=row.note, sort=row.name.casefold()),
                unknown if row.accuracy is None else percent(row.accuracy),
                unknown if row.macro_f1 is None else percent(row.macro_f1),
                absent
                if ours is None
                else percent(ours.accuracy, ends=ours.intervals.get("accuracy")),
                absent
                if ours is None
                else percent(ours.macro_f1, ends=ours.intervals.get("macro_f1")),
            )
        )
    section.add(
        page.table(Table(
            "reference",
            "Published and measured figures side by side, where the names agree. They are of "
            "different data and different splits: the reasons below say why they differ.",
            (
                Column("Classifier"),
                *(Column(c, number=True) for c in ("Published accuracy, %",
                  "Published macro F1, %", "Accuracy here, %", "Macro F1 here, %")),
            ),
            rows,
            file="reference",
            sortable=True,
        ))
    )  # fmt: skip
    section.list(
        [f"{short}. {long}" for short, long in there.reasons],
        title="Why the published figures and these differ",
    )


def ensembles_section(result: LabResult, page: Composer) -> Section:
    """What classifiers gain by answering together."""
    section = Section("ensembles", "Ensembles")
    made = [run for run in result.ensembles if run.probabilities is not None]
    failed = [run for run in result.ensembles if run.probabilities is None]
    if not result.ensembles:
        section.text("No ensemble was made.")
        return section
    section.text(
        "Several classifiers answer together: by one vote each (hard), by the mean of their "
        "probabilities (soft), or through another classifier that learns from answers for tracks "
        "that the members had not seen (stacking)."
    )
    section.add(
        page.figure(
            drawn.gains(result.gains),
            "What each ensemble adds to its best member, on the same tracks. Filled: the 95 % "
            "interval leaves out zero. An ensemble whose line crosses zero has not been shown to "
            "help.",
            alt="Dot plot of gains: "
            + listed(
                [f"{g.name} {100 * g.gain.difference:+.1f} points" for g in result.gains], most=20
            ),
        )
    )
    gains = {g.key: g for g in result.gains}
    y = result.data.y[result.protocol.fold >= 0]
    rows = []
    for run in made:
        scores = score(y, np.asarray(run.probabilities), genres=result.data.genres, n_boot=0)
        gain = gains.get(run.key)
        rows.append(
            (
                Cell(run.name, quiet=", ".join(run.members), sort=run.name.casefold()),
                percent(scores.accuracy),
                percent(scores.macro_f1),
                percent(scores.top3),
                decimal(scores.log_loss, 2),
                decimal(scores.ece),
                Cell("–") if gain is None else Cell(gain.best_name),
                *(
                    percent(None) if d is None else percent(d.difference, ends=(d.low, d.high))
                    for d in ((gain.gain, gain.gain_chosen) if gain else (None, None))
                ),
            )
        )
    section.add(
        page.table(Table(
            "ensembles",
            "Ensembles, their members, and what they gain, with 95 % intervals: over the member "
            "that was the best here, and over the one that someone would have chosen who had "
            "not seen these tracks.",
            (
                Column("Ensemble"),
                *(Column(c, number=True) for c in ("Accuracy, %", "Macro F1, %", "Top-3, %",
                  "Log-loss", "ECE")),
                Column("Best member"),
                Column("Gain, points", "over the best member", number=True),
                Column("Gain over a chosen one, points", "over the member that was the best on the "
                       "other folds", number=True),
            ),
            rows,
            file="ensembles",
            sortable=True,
            wide=True,
        ))
    )  # fmt: skip
    section.list([f"{run.name} failed: {run.failure}" for run in failed])
    return section


def confusion_section(result: LabResult, page: Composer) -> Section:
    """What is taken for what."""
    section = Section("confusion", "Confusion: what is taken for what")
    found = result.confusion
    if found is None:
        section.text("No classifier gave answers, so there is nothing to confuse.")
        return section
    section.add(
        page.figure(
            drawn.confusion_matrix(found),
            f"Confusion matrix of {found.model}. A row is a true genre and adds up to 100 %; blue "
            f"is right, orange is wrong, and small numbers count tracks. {found.order_note}",
            alt="Confusion matrix; most confused: "
            + listed(
                [f"{p.true} taken for {p.taken_for} {share(p.share)}" for p in found.pairs[:5]]
            ),
            plot="confusion",
        )
    )
    colours = colours_of(found.genres)
    section.add(
        page.table(
            Table(
                "pairs",
                "The most confused pairs, with tracks for which the wrong answer was the surest: "
                "where to listen first. Some will be wrongly labelled.",
                (
                    Column("True genre"),
                    Column("Taken for"),
                    Column("Tracks", number=True),
                    Column("Share, %", "of the tracks of the true genre", number=True),
                    Column("Examples"),
                ),
                [
                    (
                        genre_cell(pair.true, colours[pair.true]),
                        genre_cell(pair.taken_for, colours[pair.taken_for]),
                        count(pair.n),
                        percent(pair.share),
                        Cell("; ".join(_example(e) for e in pair.examples)),
                    )
                    for pair in found.pairs
                ],
                file="confused_pairs",
                sortable=True,
                wide=True,
            )
        )
    )
    return section


def _example(one: Any) -> str:
    title = one.title or one.track_id or "a track"
    by = f" by {one.artist}" if one.artist else ""
    return f"{title}{by} ({share(one.probability)})"


def explanations_section(result: LabResult, page: Composer) -> Section:
    """What the classifiers look at."""
    section = Section("explanations", "Explanations: what the classifiers look at")
    kinds, found = result.importances, result.explanations
    if found is None or not (kinds or found.tracks):
        section.text("No classifier could be explained.")
        return section
    section.list(found.sentences)
    section.note(
        *dict.fromkeys(one.warning for one in kinds.values() if one.warning),
        title="Where importance misleads",
        alert=True,
    )
    noise = (
        " Left of the dashed line, impurity is no more than a column of random numbers gets."
        if any(one.noise is not None for one in kinds.values())
        else ""
    )
    spreads = [f"{one.kind}: {one.spread_of}" for one in kinds.values() if one.spread_of]
    section.add(
        page.figure(
            drawn.importance(kinds),
            "The same features by each method, in the order of their mean rank. Lines are the "
            f"spread ({'; '.join(spreads)}).{noise} Where the methods disagree, believe "
            "permutation: it is measured on tracks that were not trained on.",
            alt="Bar charts of importance by feature: "
            + listed([_top(one) for one in kinds.values()]),
        )
    )
    section.add(
        page.figure(
            drawn.importance_by_group(kinds),
            "The same by family of features. A family of many features that say the same is "
            "important as a whole even where no feature alone is.",
            alt="Bar charts of importance by family of features",
        )
    )
    for one in kinds.values():
        section.add(
            page.figure(
                drawn.speaks_for(one),
                f"How much each feature moves {one.model} for or against each genre ({one.unit}). "
                "Blue: high values of the feature speak for the genre; orange: low values do.",
                alt=f"Heat map of {one.kind} importance by feature and genre",
            )
        )
    shown = found.tracks[:_TRACKS]
    if shown:
        section.heading("Single tracks")
    for n, track in enumerate(shown, start=1):
        title = track.title or track.track_id
        by = f" by {track.artist}" if track.artist else ""
        right = "rightly" if track.genre == track.true_genre else f"though it is {track.true_genre}"
        why = f", {track.why}," if track.why else ""
        seen = "" if track.held_out else " The model had heard its artist, so it is too sure."
        section.add(
            page.figure(
                drawn.track(track, key=f"track-{n}"),
                f"“{title}”{by}{why} is taken for {track.genre} "
                f"({share(track.probability)}), {right}. From the bottom up: where "
                "every track starts, and how far each feature moves "
                f"this one; blue for, orange against.{seen}",
                alt=f"Waterfall of SHAP values for {title}",
            )
        )
    section.add(_importance_table(result, page))
    return section


def _importance_table(result: LabResult, page: Composer) -> Any:
    kinds = result.importances
    if not kinds:
        return None
    by = {
        kind: {f: (one.mean[i], one.low[i], one.high[i]) for i, f in enumerate(one.features)}
        for kind, one in kinds.items()
    }
    first = by.get("permutation") or next(iter(by.values()))
    order = sorted(first, key=lambda f: (-np.nan_to_num(first[f][0]), f))
    rows = [
        (Cell(f, sort=f.casefold()), *(_importance_cell(by[kind].get(f)) for kind in kinds))
        for f in order[:15]
    ]
    units = "; ".join(f"{one.kind}: {one.unit}, {one.model}" for one in kinds.values())
    return page.table(
        Table(
            "importance",
            f"Importance in numbers ({units}).",
            (Column("Feature"), *(Column(kind, number=True) for kind in kinds)),
            rows,
            file="importance",
            more=max(0, len(order) - 15),
            sortable=True,
        )
    )


def _importance_cell(ends: Any) -> Cell:
    if ends is None or not np.isfinite(ends[0]):
        return Cell("–", number=True)
    mean, low, high = (float(v) for v in ends)
    known = np.isfinite(low) and np.isfinite(high)
    return Cell(
        f"{mean:.4f}",
        quiet=f"{low:.4f} to {high:.4f}" if known else "",
        sort=mean,
        number=True,
    )


def _top(one: Any) -> str:
    order = np.argsort(-np.nan_to_num(one.mean), kind="stable")[:3]
    return f"{one.kind}: {listed([one.features[i] for i in order])}"
