"""What ensembles add to the models that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrescope.errors import DataError
from genrescope.learn.lab.combine import answer_all, most_accurate
from genrescope.learn.lab.compare import ModelRun, Protocol
from genrescope.learn.lab.ensembles import answers_of, parts_of, usable
from genrescope.learn.lab.leaderboard import scored_groups
from genrescope.learn.lab.tabular import TabularData
from genrescope.learn.paired import PairedDifference, difference_to_dict, paired_difference
from genrescope.learn.resampling import Floats

__all__ = ["EnsembleGain", "best_elsewhere", "ensemble_gains"]


@dataclass(frozen=True)
class EnsembleGain:
    """What an ensemble adds to its members; accuracies, on the same tracks.

    Attributes
    ----------
    key, name : str
        Of the ensemble.
    members : tuple of str
        Keys of the models that it is made of.
    best_member, best_name : str
        Key and name of the most accurate of the models that it could use, found on the scored
        tracks. That choice flatters the member, so ``gain`` is on the low side.
    gain : PairedDifference
        Ensemble minus best member, interval by artist.
    chosen : tuple of str
        For each fold, the most accurate of these models on the other folds: what someone would
        have taken who had not seen the fold. Empty where there are no other rows to choose on.
    gain_chosen : PairedDifference or None
        Ensemble minus the models so chosen; None where there are none.
    """

    key: str
    name: str
    members: tuple[str, ...]
    best_member: str
    best_name: str
    gain: PairedDifference
    chosen: tuple[str, ...] = ()
    gain_chosen: PairedDifference | None = None

    @property
    def sentence(self) -> str:
        """The gain in words, in points (hundredths of accuracy)."""
        found, points = self.gain, round(100 * self.gain.difference, 1)
        where = (
            f"{abs(points):.1f} points {'below' if points < 0 else 'above'}"
            if points
            else "level with"
        )
        text = f"{self.name} reaches {found.a:.3f}, {where} its best member {self.best_name}"
        if found.low != found.low:
            return text + "."
        verdict = "" if found.significant else ", which these tracks do not tell from no gain"
        return text + f" ({100 * found.low:+.1f} to {100 * found.high:+.1f}){verdict}."

    def to_dict(self) -> dict[str, Any]:
        """All of it and the sentence, JSON-clean."""
        return {
            "key": self.key,
            "name": self.name,
            "members": list(self.members),
            "best_member": self.best_member,
            "best_name": self.best_name,
            "gain": difference_to_dict(self.gain),
            "chosen": list(self.chosen),
            "gain_chosen": difference_to_dict(self.gain_chosen),
            "sentence": self.sentence,
        }


def ensemble_gains(
    data: TabularData,
    protocol: Protocol,
    ensembles: Sequence[ModelRun],
    runs: Sequence[ModelRun],
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> tuple[EnsembleGain, ...]:
    """Compare each ensemble with the best of the models that it could use.

    Parameters
    ----------
    data, protocol, runs
        As in :func:`~genrescope.learn.lab.ensembles.ensemble_runs`.
    ensembles : sequence of ModelRun
        What it returned; those that failed are passed over.
    n_boot, seed : int
        Of the intervals.

    Returns
    -------
    tuple of EnsembleGain
        In the order of ``ensembles``.

    Raises
    ------
    DataError
        Probabilities that do not fit the rows, or an ensemble of models that are not given.
    """
    models = usable(data, protocol, runs)
    y, groups = data.y[protocol.scored], scored_groups(data, protocol)
    gains = []
    for run in ensembles:
        if run.probabilities is None:
            continue
        candidates = tuple(run.settings.get("candidates", run.members))
        absent = [key for key in candidates if key not in models]
        if absent or not candidates:
            raise DataError(
                f"{run.key} is made of {', '.join(absent) or 'no models'}, not among the runs "
                "given; give the runs that it was made from"
            )
        pool = [models[key] for key in candidates]
        right = [float((answers_of(model).argmax(axis=1) == y).mean()) for model in pool]
        best = pool[int(np.argmax(right))]
        elsewhere = best_elsewhere(data, protocol, pool)
        against = (
            None
            if elsewhere is None
            else paired_difference(
                y, run.probabilities, elsewhere[1], groups, n_boot=n_boot, seed=seed
            )
        )
        gains.append(
            EnsembleGain(
                key=run.key,
                name=run.name,
                members=run.members,
                best_member=best.key,
                best_name=best.name,
                gain=paired_difference(
                    y, run.probabilities, answers_of(best), groups, n_boot=n_boot, seed=seed
                ),
                chosen=() if elsewhere is None else elsewhere[0],
                gain_chosen=against,
            )
        )
    return tuple(gains)


def best_elsewhere(
    data: TabularData,
    protocol: Protocol,
    runs: Sequence[ModelRun],
) -> tuple[tuple[str, ...], Floats] | None:
    """For each fold the answers of the model that is most accurate on the other folds.

    Parameters
    ----------
    data, protocol
        As in :func:`~genrescope.learn.lab.ensembles.ensemble_runs`.
    runs : sequence of ModelRun
        Models to choose from, none of which failed.

    Returns
    -------
    chosen : tuple of str
        Key of the model of each fold.
    probabilities : np.ndarray [shape=(n_scored, k), float64]
        Its answers there.
        None in place of both where there are no other rows.
    """

    parts = parts_of(data, protocol, runs)
    if parts is None:
        return None
    probabilities, record = answer_all(most_accurate, *parts)
    return tuple(fold["chosen"] for fold in record), probabilities
