"""What a study's trials did until now, for the rules that stop the next: see `core.history`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from energyopt.core.history import StudyHistory
from energyopt.core.study_record import TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.search.noise_prior import luck
from energyopt.search.schedule import setup_of


class HistoryBuilder:
    """Learns from each trial, and says what the next is told.

    Args:
        trials: Those that the study has.
    """

    def __init__(self, trials: Iterable[TrialRecord] = ()) -> None:
        self._rivals = StudyHistory()
        self._repeats: dict[Hashable, dict[int, float]] = {}
        for trial in trials:
            if trial.result is not None:
                self.add(trial.number, trial.params, trial.result)

    def add(self, number: int, params: Mapping[str, Any], result: TrialResult) -> None:
        """Take in how a trial went, or how it has gone on since."""
        if not result.valid:
            return
        self._rivals = self._rivals.learn(number, result.curve, result.target)
        if result.energy_to_target_j is not None:
            logs = self._repeats.setdefault(setup_of(params), {})
            logs[number] = math.log(result.energy_to_target_j)

    @property
    def rivals(self) -> StudyHistory:
        """What the next trial is told."""
        repeats = (tuple(logs.values()) for logs in self._repeats.values())
        return dataclasses.replace(self._rivals, luck=luck(repeats))
