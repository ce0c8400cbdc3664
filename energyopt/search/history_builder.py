"""Builds the history of a study that its stopping rules read: see `core.history`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from energyopt.core.history import StudyHistory
from energyopt.core.study_record import TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.search.noise_prior import seed_sd
from energyopt.search.schedule import params_key


class HistoryBuilder:
    """Collects finished trials into the history that the next trial gets.

    Args:
        trials: Trials that the study already has.
    """

    def __init__(self, trials: Iterable[TrialRecord] = ()) -> None:
        self._history = StudyHistory()
        self._log_energies: dict[Hashable, dict[int, float]] = {}
        for trial in trials:
            if trial.result is not None:
                self.add(trial.number, trial.params, trial.result)

    def add(self, number: int, params: Mapping[str, Any], result: TrialResult) -> None:
        """Add a trial's result, or replace the one from before it resumed."""
        if not result.valid:
            return
        self._history = self._history.updated_with(number, result.curve, result.target)
        if result.energy_to_target_j is not None:
            logs = self._log_energies.setdefault(params_key(params), {})
            logs[number] = math.log(result.energy_to_target_j)

    @property
    def history(self) -> StudyHistory:
        """The history for the next trial."""
        repetitions = (tuple(logs.values()) for logs in self._log_energies.values())
        return dataclasses.replace(self._history, luck=seed_sd(repetitions))
