"""How trials end on Optuna's side, and what becomes of those whose run is dead.

A row in our table says how a trial ended. Here Optuna's tables are brought to where the row is, be
it by the trial's own run or by the next one: doing it again, or at the same time, changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Row

from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import JournalError
from energyopt.search.schedule import DEFAULT_SETUP, PAUSED
from energyopt.storage.trial_rows import TrialRows, ended_row, lost_row, outcome_in, paused_row
from energyopt.utils import failpoints

RETRY_OF = "retry_of"
"""Attribute of a trial that trains a lost one's setup again: the number of that."""

_DEATHS = "deaths"
_MOST_DEATHS = 2  # a setup whose run died so often may be what kills it
_DIED = "its run died"
_OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

Point = Mapping[str, Any]
"""A setup: the values of searched keys."""


@dataclass(frozen=True, slots=True)
class TrialRemnant:
    """What is known of a trial that does not run any more.

    Attributes:
        overrides: Its words.
        outcome: How it ended, where that could not be told.
        result: The record of what its journal knows.
        paused: Its pause, where it can go on from one.
    """

    overrides: tuple[str, ...] = ()
    outcome: Outcome | None = None
    result: TrialResult | None = None
    paused: Outcome | None = None


class Reconciler:
    """Brings a study's trials to their ends; one run at a time does so for the dead.

    Args:
        study: Optuna's.
        rows: Ours, as this run changes them.
        remains: What a dead run left of a trial outside of the database.
    """

    def __init__(
        self, study: Study, rows: TrialRows, remains: Callable[[FrozenTrial], TrialRemnant]
    ) -> None:
        self._study = study
        self._rows = rows
        self._remains = remains
        # For trials of the dead: a trial's object makes its study's sampler suggest.
        self._books = Study(study.study_name, study._storage, RandomSampler())  # noqa: SLF001

    def enter(
        self,
        trial: Trial | FrozenTrial,
        *,
        connection: Connection | None = None,
        ended: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a trial's row: it is this run's. See `TrialRows.add`."""
        self._rows.add(
            trial.number,
            is_default=bool(trial.user_attrs.get(DEFAULT_SETUP)),
            deaths=_deaths(trial),
            connection=connection,
            ended=ended,
        )

    def give_up(self, trial: Trial, left: TrialRemnant, reason: str, *, died: bool) -> bool:
        """Give up a trial of this run; False if somebody else has done so.

        Args:
            trial: The trial.
            left: What is known of it.
            reason: Why, in words.
            died: Whether it is what ran it that died.
        """
        deaths = max(_deaths(trial), self._row(trial.number).deaths) + died
        if not self._rows.lose(trial.number, _given_up(left, reason, deaths)):
            return False
        failpoints.at("lost")
        self.follow(trial)
        failpoints.at("failed")
        self.retry_lost()
        return True

    def settle(
        self,
        left: Sequence[FrozenTrial],
        living: Set[int],
        silent: Set[int] = frozenset(),
        *,
        all_of_them: bool = True,
    ) -> int:
        """Bring the trials that nobody runs to their ends, and queue what was lost again.

        Args:
            left: The study's running trials.
            living: Ordinals of the runs that live.
            silent: Of those that are only taken for dead: their jobs may train on, so that
                nobody else may go on with their trials.
            all_of_them: Whether one whose journal a newer energyopt wrote is an error; else it
                is left for a run of that.

        Returns:
            How many were settled.

        Raises:
            JournalError: If a newer energyopt wrote the journal of one.
        """
        settled = 0
        for trial in left:
            row = self._rows.of(trial.number)
            if row is None or (row.run not in living and not row.paused):
                try:
                    self._settle(trial, row, silent)
                except JournalError:
                    if all_of_them:
                        raise
                else:
                    settled += 1
        self.retry_lost()
        return settled

    def _settle(self, trial: FrozenTrial, row: Row[Any] | None, silent: Set[int]) -> None:
        """Bring a trial that nobody runs to its end, from where its run left it."""
        if row is None or not row.ended:
            left = self._remains(trial)
            words = () if row is None else tuple(json.loads(row.overrides))
            if row is None or row.run in silent or not words:
                left = replace(left, paused=None)
            if left.paused is not None:
                left = replace(left, overrides=words)
            if left.result is not None:
                left = replace(left, result=replace(left.result, end="lost", reason=_DIED))
            # Without a row nothing ran yet.
            deaths = _deaths(trial) if row is None else max(_deaths(trial), row.deaths) + 1
            ended = _given_up(left, _DIED, deaths)
            if ended["result"] is None:
                del ended["result"]  # but for what was kept while it ran
            if row is None:
                self.enter(trial, ended=ended)
            else:
                self._rows.conclude(trial.number, row.run, ended)
            failpoints.at("lost")
        self.follow(Trial(self._books, trial._trial_id))  # noqa: SLF001  # no other way
        failpoints.at("failed")

    def _row(self, number: int) -> Row[Any]:
        row = self._rows.of(number)
        assert row is not None  # noqa: S101  # rows are never deleted
        return row

    def follow(self, trial: Trial) -> None:
        """Bring Optuna's side of a trial to where its row is."""
        self.tell(trial, outcome_in(self._row(trial.number)) or Outcome("failed"))

    def retry_lost(self) -> None:
        """Queue the setup of each lost trial again, once."""
        lost = self._rows.to_retry()
        if not lost:
            return
        trials = self._study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for number, deaths in lost:
            if number not in retried:
                trial = next(trial for trial in trials if trial.number == number)
                params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                marks = {DEFAULT_SETUP: True} if trial.user_attrs.get(DEFAULT_SETUP) else {}
                if params:  # else it had no setup yet
                    self.enqueue(params, {**marks, RETRY_OF: number, _DEATHS: deaths})
                failpoints.at("retried")
            self._rows.retried(number)

    def enqueue(self, params: Point, marks: Mapping[str, Any]) -> None:
        """Queue a setup: the next that is asked for."""
        self._study.enqueue_trial(dict(params), user_attrs=dict(marks) or None)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Tell Optuna how a trial ended, or that it paused, as far as it was not told yet."""
        attributes = dict(outcome.attributes)
        is_paused = outcome.state == "paused"
        if is_paused or trial.user_attrs.get(PAUSED):
            attributes[PAUSED] = is_paused
        if outcome.state != "complete" and outcome.reason:
            attributes["reason"] = outcome.reason
        values = list(outcome.values) if outcome.state == "complete" else None
        # Another run may finish it at the same time, in the same way: the row says how.
        with contextlib.suppress(UpdateFinishedTrialError):
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            if is_paused:
                return
            there = trial.constraints
            for key, violation in outcome.constraints.items():
                if key not in there:
                    trial.set_constraint(key, violation)
            state = _OPTUNA_STATES[outcome.state]
            self._study.tell(trial.number, values, state=state, skip_if_finished=True)


def _given_up(left: TrialRemnant, reason: str, deaths: int) -> dict[str, Any]:
    """Columns of a trial that nobody runs any more.

    What was spooled is told, the others' setups are queued again; but for one whose runs died time
    after time: it may be what kills them, and has failed. One that can go on from a pause waits.
    """
    outcome = left.outcome
    if outcome is None and deaths >= _MOST_DEATHS:
        outcome = Outcome("failed", reason=f"{reason}, {deaths} times with this setup")
    if outcome is None and left.paused is not None:
        return paused_row(left.overrides, left.paused, deaths)
    if outcome is None:
        return lost_row(left.overrides, reason, left.result, deaths)
    if outcome.state == "paused":
        return paused_row(left.overrides, outcome)
    return ended_row(left.overrides, replace(outcome, result=outcome.result or left.result))


def _deaths(trial: Trial | FrozenTrial) -> int:
    return int(trial.user_attrs.get(_DEATHS, 0))
