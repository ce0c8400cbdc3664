"""The reports of running trials about their one objective, and the pruner that judges them.

Other threads than that of the coordinator may use it: it touches the intermediate values of running
trials alone, which nothing else writes until they end.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import Trial

from energyopt.storage.database import storage_errors


class TrialReports:
    """The reports of a study's trials.

    Args:
        study: Optuna's study.
        url: Of its storage, for messages.
    """

    def __init__(self, study: Study, url: str) -> None:
        self._study = study
        self._storage = study._storage  # noqa: SLF001  # no other way to a trial by its number
        self._url = url

    def use(self, pruner: BasePruner) -> None:
        """Judge by a pruner from now on; samplers that know Hyperband see it, too."""
        self._study.pruner = pruner

    def add(self, number: int, step: int, value: float) -> bool:
        """Store a report of a running trial. Returns whether the pruner would end the trial.

        Args:
            number: Number of the trial.
            step: Number of the report, from 0.
            value: The reported value.

        Raises:
            StorageError: If it cannot be stored.
        """
        study_id = self._study._study_id  # noqa: SLF001
        with storage_errors(self._url):
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
            try:
                self._storage.set_trial_intermediate_value(trial_id, step, value)
            except UpdateFinishedTrialError:
                return False  # another run took this one for dead: the coordinator says so
            trial = copy.deepcopy(self._storage.get_trial(trial_id))
            return self._study.pruner.prune(self._study, trial)


def complete_reports(trial: Trial, reports: Sequence[float]) -> None:
    """Store the reports of an open trial that are not stored yet."""
    if not reports:
        return
    stored = trial.storage.get_trial(trial._trial_id).intermediate_values  # noqa: SLF001
    for step, value in enumerate(reports):
        if step not in stored:
            trial.report(value, step)
