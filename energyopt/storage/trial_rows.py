"""The rows of a study's trials: which run owns each, how it ended, and the energy that it used.

Each decision is one statement that changes a row only if it is still as expected, so of two
concurrent decisions exactly one is taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from energyopt.core.energy import Energy
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.storage.tables import TRIALS, result_from_json, result_to_json

Condition = sa.ColumnElement[bool]


class TrialRows:
    """The rows of a study, as the run of an ordinal changes them."""

    def __init__(self, engine: Engine, study_id: int, run: int) -> None:
        self._begin: Callable[[], AbstractContextManager[Connection]] = engine.begin
        self._connect = engine.connect
        self._study_id = study_id
        self._run = run

    def get(self, number: int) -> sa.Row[Any] | None:
        """Return the row of a trial, or None if it has none."""
        with self._connect() as connection:
            return connection.execute(sa.select(TRIALS).where(self._is(number))).one_or_none()

    def add(
        self,
        number: int,
        *,
        is_default: bool,
        deaths: int,
        connection: Connection | None = None,
        ended: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert a trial that this run owns.

        Args:
            number: The trial's number.
            is_default: It has the default parameters.
            deaths: Number of consecutive runs that died with its parameters.
            connection: The connection whose transaction to use; None for a new one.
            ended: The columns of a trial that has already ended.
        """
        row = {
            "study_id": self._study_id,
            "number": number,
            "overrides": "[]",
            "is_default": is_default,
            "lost": False,
            "reason": "",
            "run": self._run,
            "ended": False,
            "deaths": deaths,
        }
        self._execute(sa.insert(TRIALS).values(row | dict(ended or {})), connection)

    def keep_overrides(self, number: int, overrides: Sequence[str]) -> None:
        """Store the overrides of a running trial of this run, which may pause."""
        self._change(self._is_open(number), {"overrides": json.dumps(list(overrides))})

    def keep_progress(self, connection: Connection, number: int, result: TrialResult) -> bool:
        """Store the energy used so far by a running trial that this run owns.

        Return False if this run no longer owns it.
        """
        values = {"result": result_to_json(result)}
        return self._change(self._is_open(number), values, connection)

    def finish(self, number: int, ended: Mapping[str, Any]) -> bool:
        """Store how a trial of this run ended; return False if another run abandoned it."""
        is_owned = self._is(number) & (TRIALS.c.run == self._run) & ~TRIALS.c.lost
        return self._change(is_owned, ended)

    def abandon(self, number: int, ended: Mapping[str, Any]) -> bool:
        """Abandon a running trial of this run; return False if this run no longer owns it."""
        return self._change(self._is_open(number), ended)

    def pause(self, number: int, paused: Mapping[str, Any]) -> bool:
        """Leave a running trial of this run open, without an owner.

        Repeating it changes nothing. Return False if this run no longer owns the trial.
        """
        if self._change(self._is_open(number), paused):
            return True
        row = self.get(number)
        return row is not None and not row.lost and row.run != self._run

    def claim(self, number: int) -> bool:
        """Claim a paused trial for this run; return False if another run was first."""
        is_paused = self._is(number) & TRIALS.c.paused & ~TRIALS.c.ended
        return self._change(is_paused, {"run": self._run, "paused": False, "outcome": None})

    def conclude(self, number: int, run: int | None, ended: Mapping[str, Any]) -> bool:
        """Store how a trial of another run ended; return False if that run was first."""
        is_theirs = self._is(number) & (TRIALS.c.run == run) & ~TRIALS.c.ended & ~TRIALS.c.paused
        return self._change(is_theirs, ended)

    def keep_energy(self, number: int, result: TrialResult) -> None:
        """Store the energy of a trial of this run that another run has abandoned."""
        final = replace(result, end="lost", reason="its run was taken for dead")
        self._change(self._is(number) & TRIALS.c.lost, {"result": result_to_json(final)})

    def energies(self, begin: int, earlier: Iterable[int]) -> Iterator[tuple[int, bool, Energy]]:
        """Yield number, whether the energy is final, and the stored energy of trials.

        Args:
            begin: Number of the first trial; all later ones follow.
            earlier: Numbers of earlier trials to read in addition.
        """
        is_read = (TRIALS.c.number >= begin) | TRIALS.c.number.in_(list(earlier))
        query = sa.select(TRIALS.c.number, TRIALS.c.ended & ~TRIALS.c.lost, TRIALS.c.result)
        with self._connect() as connection:
            for number, is_final, text in connection.execute(
                query.where((TRIALS.c.study_id == self._study_id) & is_read)
            ):
                result = result_from_json(text)
                yield number, bool(is_final), Energy() if result is None else result.spent

    def mark_retried(self, number: int) -> None:
        """Store that a lost trial's parameters are queued."""
        self._change(self._is(number), {"retried": True})

    def to_retry(self) -> list[tuple[int, int]]:
        """Return lost trials whose parameters may not be queued yet: numbers and deaths."""
        waiting = (TRIALS.c.study_id == self._study_id) & TRIALS.c.lost & ~TRIALS.c.retried
        with self._connect() as connection:
            rows = connection.execute(sa.select(TRIALS.c.number, TRIALS.c.deaths).where(waiting))
            return [(number, deaths) for number, deaths in rows]

    def lost(self) -> set[int]:
        """Return the numbers of the lost trials."""
        return self._numbers(TRIALS.c.lost)

    def paused(self) -> set[int]:
        """Return the numbers of the paused trials."""
        return self._numbers(TRIALS.c.paused)

    def _numbers(self, condition: Condition) -> set[int]:
        query = sa.select(TRIALS.c.number).where((TRIALS.c.study_id == self._study_id) & condition)
        with self._connect() as connection:
            return set(connection.execute(query).scalars())

    def _is(self, number: int) -> Condition:
        return (TRIALS.c.study_id == self._study_id) & (TRIALS.c.number == number)

    def _is_open(self, number: int) -> Condition:
        return self._is(number) & (TRIALS.c.run == self._run) & ~TRIALS.c.ended

    def _change(
        self, condition: Condition, row: Mapping[str, Any], connection: Connection | None = None
    ) -> bool:
        return self._execute(sa.update(TRIALS).where(condition).values(dict(row)), connection) > 0

    def _execute(self, statement: sa.UpdateBase, connection: Connection | None) -> int:
        if connection is not None:
            return connection.execute(statement).rowcount
        with self._begin() as transaction:
            return transaction.execute(statement).rowcount


def ended_row(overrides: Sequence[str], outcome: Outcome) -> dict[str, Any]:
    """Return the columns of a trial with an outcome, also if Optuna's tables do not have it yet."""
    return {
        "overrides": json.dumps(list(overrides)),
        "reason": outcome.reason,
        "result": result_to_json(outcome.result),
        "outcome": json.dumps(outcome.to_dict()),
        "ended": True,
    }


def paused_row(overrides: Sequence[str], outcome: Outcome, deaths: int = 0) -> dict[str, Any]:
    """Return the columns of a trial that can be resumed: open, without an owner."""
    columns = {"run": None, "deaths": deaths, "paused": True, "ended": False}
    return ended_row(overrides, outcome) | columns


def lost_row(
    overrides: Sequence[str], reason: str, result: TrialResult | None, deaths: int
) -> dict[str, Any]:
    """Return the columns of an abandoned trial, whose parameters are to be queued again."""
    return {
        "overrides": json.dumps(list(overrides)),
        "reason": reason,
        "result": result_to_json(result),
        "deaths": deaths,
        "lost": True,
        "ended": True,
        "retried": False,
    }


def outcome_in(row: sa.Row[Any]) -> Outcome | None:
    """Return the outcome of an ended trial, to be reported to Optuna; None for a lost one."""
    if row.outcome is None:
        return None
    return Outcome.from_dict(json.loads(row.outcome), result_from_json(row.result))
