"""What each source adds to the sound, with genre words masked and without, late and early.

Every figure is out of fold, by artist, on the tracks for which all sources of its row are known;
a difference is to the sound alone on the same tracks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genrescope.catalog.storage import atomic
from genrescope.learn.card_parts import cross_cooled
from genrescope.learn.evaluate import Scores, score
from genrescope.learn.paired import PairedDifference, paired_difference
from genrescope.learn.parts.company import company
from genrescope.learn.parts.fusion import SOUND
from genrescope.learn.studies.early_fusion import EarlySettings, early_out_of_fold
from genrescope.learn.studies.sentences import SentenceEncoder, sentences_out_of_fold
from genrescope.learn.train.fusion import FusionRecipe, FusionTracks, stack, text_part

__all__ = ["StudyRow", "metadata_study", "study_markdown", "write_study"]

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class StudyRow:
    """One line of the study.

    Attributes
    ----------
    name : str
        What was put together.
    kind : str
        "late" or "early".
    masked : bool
        Whether genre words were masked.
    scores : Scores
        With intervals by artist.
    against : str
        Name of what it is compared with.
    difference : PairedDifference or None
        Of its accuracy to that, on the same tracks.
    """

    name: str
    kind: str
    masked: bool
    scores: Scores
    against: str = ""
    difference: PairedDifference | None = None


def metadata_study(
    tracks: FusionTracks,
    *,
    sound: npt.NDArray[np.float32] | None = None,
    recipe: FusionRecipe | None = None,
    early: EarlySettings | None = None,
    encoder: SentenceEncoder | None = None,
    n_boot: int = 1000,
) -> list[StudyRow]:
    """Score every combination of sources, masked and not, and early fusion.

    Parameters
    ----------
    tracks : FusionTracks
        What is known of each, and what the sound says.
    sound : np.ndarray [shape=(n, d), float32], optional
        Statistics of the sound; without them there is no early fusion.
    recipe : FusionRecipe, optional
        Of late fusion.
    early : EarlySettings, optional
        Of its network.
    encoder : SentenceEncoder, optional
        Titles are read by it, too.
    n_boot : int
        Resamples of artists.

    Returns
    -------
    list of StudyRow
        Sound alone first.
    """
    recipe = recipe or FusionRecipe()
    y, folds, artists = tracks.y, tracks.folds, tracks.artists
    names = tracks.genres
    rows: list[StudyRow] = []

    def add(
        name: str,
        p: Floats,
        *,
        kind: str = "late",
        masked: bool = True,
        against: tuple[str, Floats] | None = None,
    ) -> None:
        ok = np.isfinite(p).all(axis=1)
        scores = score(y[ok], p[ok], genres=names, groups=artists[ok], n_boot=n_boot)
        difference = None
        if against is not None:
            difference = paired_difference(y[ok], p[ok], against[1][ok], artists[ok], n_boot=n_boot)
        rows.append(StudyRow(name, kind, masked, scores, against[0] if against else "", difference))

    cooled = cross_cooled(tracks.log_p, y, folds)[0]
    plain = ("sound alone", cooled)
    add(*plain)
    for masked in (True, False):
        text = replace(recipe.text, mask=1 if masked else 0)
        trained = text_part(tracks, recipe=replace(recipe, text=text))
        for sources, p in trained.by_combination.items():
            beside = plain if SOUND in sources else None
            add(" + ".join(sources), p, masked=masked, against=beside)
        add("sound + what is known", trained.probabilities, masked=masked, against=plain)
        if not masked:
            continue
        found = {name: a.log_p for name, a in trained.answers.items()}
        for name, p in (("sound", cooled), ("all of these", trained.probabilities)):
            label = f"{name}, + the artist's other tracks"
            add(label, _in_company(p, y, folds, artists), against=plain)
        if encoder is not None and "title" in trained.answers:
            read = sentences_out_of_fold(encoder, tracks.abouts, y, folds, n_genres=len(names))
            late = stack({SOUND: np.log(np.maximum(cooled, _FLOOR)), "title": read}, y, folds)[1]
            add(f"sound + title by {encoder.name}", late, masked=False, against=plain)
        if sound is None:
            continue
        known = tuple(name for name in ("title", "artist") if name in found)
        alone, both = (
            early_out_of_fold(sound, tracks, sources=sources, settings=early)
            for sources in ((), known)
        )
        small = "one small network on sound"
        bare = (small, cross_cooled(alone["all"], y, folds)[0])
        add(*bare, kind="early")
        late = stack({SOUND: alone["all"], **{name: found[name] for name in known}}, y, folds)[1]
        add(f"{small}, {' + '.join(known)} stacked on it", late, against=bare)
        for label, p in (
            (f"one network on sound + {' + '.join(known)}", both["all"]),
            ("the same network, text withheld", both["sound"]),
        ):
            add(label, cross_cooled(p, y, folds)[0], kind="early", against=bare)
    return rows


def _in_company(p: Floats, y: IntArray, folds: IntArray, artists: npt.NDArray[np.str_]) -> Floats:
    """With the other tracks of the artist; weights fitted on other folds."""
    others, count = company(p, artists.tolist())
    some = count > 0
    out = p.copy()
    if some.any() and len(np.unique(folds[some])) > 1:
        own = np.log(np.maximum(p, _FLOOR))
        log_p = {SOUND: own[some], "company": others[some]}
        out[some] = stack(log_p, y[some], folds[some])[1]
    return out


def study_markdown(rows: Sequence[StudyRow]) -> str:
    """A table of the study in Markdown.

    Parameters
    ----------
    rows : sequence of StudyRow
        Of :func:`metadata_study`.

    Returns
    -------
    str
        With a line break at its end.
    """
    lines = [
        "| sources | genre words | tracks | accuracy | macro-F1 | log-loss | ECE "
        "| artist-weighted | points of accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        s = row.scores
        ends = s.intervals["accuracy"]
        span = "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"
        gain = ""
        if (d := row.difference) is not None:
            gain = f"{100 * d.difference:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
            gain += f" against {row.against}"
        words = "" if row.name in ("sound alone",) else ("masked" if row.masked else "read")
        lines.append(
            f"| {row.name} | {words} | {s.n:,} | {s.accuracy:.3f}{span} | {s.macro_f1:.3f} "
            f"| {s.log_loss:.3f} | {s.ece:.3f} | {s.artist_weighted_accuracy:.3f} | {gain} |"
        )
    return "\n".join(lines) + "\n"


def write_study(path: str | PathLike[str], rows: Sequence[StudyRow]) -> Path:
    """Write :func:`study_markdown` to a file, whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as fresh:
        fresh.write_text(study_markdown(rows), encoding="utf-8")
    return target
