"""What a report tells: the table, its analysis, the classifiers, and what explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from genrescope.catalog.leaks import AuditReport
    from genrescope.explain.analysis.types import Analysis
    from genrescope.explain.confusion import Confusion
    from genrescope.explain.importance.types import Explanations, Importance
    from genrescope.explain.maps.drawn import Map
    from genrescope.explain.report.reference import Reference
    from genrescope.learn.lab.compare import ModelRun
    from genrescope.learn.lab.gains import EnsembleGain
    from genrescope.learn.lab.leaderboard import Leaderboard, LeaderRow
    from genrescope.learn.lab.protocol import Protocol
    from genrescope.learn.lab.tabular import TabularData

__all__ = ["LabResult"]


@dataclass(frozen=True, eq=False)
class LabResult:
    """Everything that a report tells.

    Attributes
    ----------
    data : TabularData
        The table.
    protocol : Protocol
        Who was trained on and who was scored.
    audit : AuditReport or None
        Whether the split leaks; None where the table has no groups.
    analysis : Analysis
        Features against genre.
    maps : tuple of Map
        In the order of their tabs.
    leaderboard : Leaderboard
        All classifiers.
    ensembles, gains : tuple
        Ensembles, and what each adds to its best member.
    confusion : Confusion or None
        Of the best classifier.
    explanations : Explanations or None
        Importance of features, and explained tracks.
    reference : Reference or None
        A published table to stand beside the measured one.
    command : str
        What a reader types to repeat the run.
    seconds : float
        Of the whole run, by the clock.
    versions : mapping of str to str
        Of everything that the figures depend on.
    notes : tuple of str
        What was left out or changed on the way in: sentences.
    maps_left_out : tuple of str
        Why there are fewer maps than six: sentences.
    """

    data: TabularData
    protocol: Protocol
    audit: AuditReport | None
    analysis: Analysis
    maps: tuple[Map, ...]
    leaderboard: Leaderboard
    ensembles: tuple[ModelRun, ...]
    gains: tuple[EnsembleGain, ...]
    confusion: Confusion | None
    explanations: Explanations | None
    reference: Reference | None
    command: str
    seconds: float
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()
    maps_left_out: tuple[str, ...] = ()

    @cached_property
    def best(self) -> LeaderRow | None:
        """The row of the best classifier; None where all failed."""
        return next((row for row in self.leaderboard.rows if row.best), None)

    @cached_property
    def chance(self) -> float:
        """Share of the scored tracks that are of the most common genre."""
        y = self.data.y[self.protocol.fold >= 0]
        return float(np.bincount(y).max() / len(y)) if len(y) else 0.0

    @cached_property
    def importances(self) -> dict[str, Importance]:
        """Importance by method, those that there are."""
        found = self.explanations
        kinds = () if found is None else (found.impurity, found.permutation, found.shap)
        return {one.kind: one for one in kinds if one is not None}
