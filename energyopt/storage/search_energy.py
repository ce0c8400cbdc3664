"""All energy that a study burnt until now, without reading each trial again."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine

from energyopt.core.trial_result import TrialResult
from energyopt.storage.confirmations import confirmations_of
from energyopt.storage.trial_rows import TrialRows


class SearchEnergy:
    """The sum over a study's trials and confirming trainings, kept up with its tables.

    Args:
        engine: Of the study's database.
        rows: The study's trials.
        study_id: The study's.
    """

    def __init__(self, engine: Engine, rows: TrialRows, study_id: int) -> None:
        self._engine = engine
        self._rows = rows
        self._study_id = study_id
        self._trials_j: dict[int, float] = {}
        self._may_grow: set[int] = set()  # of these trials more may be kept later

    def total_j(self, progress: Mapping[int, TrialResult]) -> float:
        """Return the sum in J.

        Args:
            progress: The records of trials that run here, by number: they know more than the
                tables do.
        """
        begin = max(self._trials_j, default=-1) + 1
        for number, is_all, spent_j in self._rows.spent_j(begin, self._may_grow):
            self._trials_j[number] = spent_j
            (self._may_grow.discard if is_all else self._may_grow.add)(number)
        with self._engine.connect() as connection:
            confirmations = confirmations_of(connection, self._study_id)
        running_j = {number: result.spent_j for number, result in progress.items()}
        confirming_j = sum(each.result.spent_j for each in confirmations if each.result is not None)
        return sum((self._trials_j | running_j).values()) + confirming_j
