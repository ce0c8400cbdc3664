"""Our rows of a study's trials: whose each is, how it ended, and what it burnt.

Each decision is one statement that changes a row only if it still is what it was, so that of two
who decide at the same time one does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.storage.tables import TRIALS

Condition = sa.ColumnElement[bool]


class TrialRows:
    """The rows of a study, as one run changes them.

    Args:
        engine: Of the database.
        study_id: The study's.
        run: The run's ordinal.
    """

    def __init__(self, engine: Engine, study_id: int, run: int) -> None:
        self._begin: Callable[[], AbstractContextManager[Connection]] = engine.begin
        self._connect = engine.connect
        self._study_id = study_id
        self._run = run

    def of(self, number: int) -> sa.Row[Any] | None:
        """The whole row of a trial."""
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
        """Enter a trial as this run's.

        Args:
            number: The trial's.
            is_default: Whether it is the default setup.
            deaths: How many runs died with its setup, in a row.
            connection: In whose transaction; None for one of its own.
            ended: Of one that has ended already, the columns that say how.
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

    def keep_words(self, number: int, overrides: Sequence[str]) -> None:
        """Keep the words of a running trial of this run, which may pause."""
        self._change(self._is_open(number), {"overrides": json.dumps(list(overrides))})

    def keep_progress(self, connection: Connection, number: int, result: TrialResult) -> bool:
        """Keep what a running trial of this run has burnt; False if it is not that any more."""
        values = {"result": _json(result)}
        return self._change(self._is_open(number), values, connection)

    def tell(self, number: int, ended: Mapping[str, Any]) -> bool:
        """Say how a trial of this run ended; False if somebody else has given it up."""
        mine = self._is(number) & (TRIALS.c.run == self._run) & ~TRIALS.c.lost
        return self._change(mine, ended)

    def lose(self, number: int, ended: Mapping[str, Any]) -> bool:
        """Give up a running trial of this run; False if it is not that any more."""
        return self._change(self._is_open(number), ended)

    def pause(self, number: int, paused: Mapping[str, Any]) -> bool:
        """Leave a running trial of this run open, as nobody's; False if it is not that any more.

        Said again, it changes nothing.
        """
        if self._change(self._is_open(number), paused):
            return True
        row = self.of(number)
        return row is not None and not row.lost and row.run != self._run

    def claim(self, number: int) -> bool:
        """Take a paused trial for this run; False if somebody else was first."""
        waits = self._is(number) & TRIALS.c.paused & ~TRIALS.c.ended
        return self._change(waits, {"run": self._run, "paused": False, "outcome": None})

    def conclude(self, number: int, run: int | None, ended: Mapping[str, Any]) -> bool:
        """Say how a trial of another run ended; False if that run was first."""
        theirs = self._is(number) & (TRIALS.c.run == run) & ~TRIALS.c.ended & ~TRIALS.c.paused
        return self._change(theirs, ended)

    def account(self, number: int, result: TrialResult) -> None:
        """Keep the joules of a trial of this run that somebody else has given up."""
        lost = replace(result, end="lost", reason="its run was taken for dead")
        self._change(self._is(number) & TRIALS.c.lost, {"result": _json(lost)})

    def spent_j(self, begin: int, among: Iterable[int]) -> Iterator[tuple[int, bool, float]]:
        """What trials have burnt, in J, as far as it was kept; and whether that is all.

        Args:
            begin: Number from which on they are read.
            among: Further ones.
        """
        which = (TRIALS.c.number >= begin) | TRIALS.c.number.in_(list(among))
        query = sa.select(TRIALS.c.number, TRIALS.c.ended & ~TRIALS.c.lost, TRIALS.c.result)
        with self._connect() as connection:
            for number, is_all, result in connection.execute(
                query.where((TRIALS.c.study_id == self._study_id) & which)
            ):
                spent_j = TrialResult.from_dict(json.loads(result)).spent_j if result else 0.0
                yield number, bool(is_all), spent_j

    def retried(self, number: int) -> None:
        """Remember that a lost trial's setup is queued."""
        self._change(self._is(number), {"retried": True})

    def to_retry(self) -> list[tuple[int, int]]:
        """Lost trials whose setup may not be queued yet: numbers and deaths."""
        wanting = (TRIALS.c.study_id == self._study_id) & TRIALS.c.lost & ~TRIALS.c.retried
        with self._connect() as connection:
            rows = connection.execute(sa.select(TRIALS.c.number, TRIALS.c.deaths).where(wanting))
            return [(number, deaths) for number, deaths in rows]

    def lost(self) -> set[int]:
        """Numbers of the lost trials."""
        return self._numbers(TRIALS.c.lost)

    def paused(self) -> set[int]:
        """Numbers of the paused trials."""
        return self._numbers(TRIALS.c.paused)

    def _numbers(self, which: Condition) -> set[int]:
        query = sa.select(TRIALS.c.number).where((TRIALS.c.study_id == self._study_id) & which)
        with self._connect() as connection:
            return set(connection.execute(query).scalars())

    def _is(self, number: int) -> Condition:
        return (TRIALS.c.study_id == self._study_id) & (TRIALS.c.number == number)

    def _is_open(self, number: int) -> Condition:
        return self._is(number) & (TRIALS.c.run == self._run) & ~TRIALS.c.ended

    def _change(
        self, which: Condition, row: Mapping[str, Any], connection: Connection | None = None
    ) -> bool:
        return self._execute(sa.update(TRIALS).where(which).values(dict(row)), connection) > 0

    def _execute(self, statement: sa.UpdateBase, connection: Connection | None) -> int:
        if connection is not None:
            return connection.execute(statement).rowcount
        with self._begin() as own:
            return own.execute(statement).rowcount


def ended_row(overrides: Sequence[str], outcome: Outcome) -> dict[str, Any]:
    """Columns of a trial whose outcome is known, whether or not Optuna is told yet."""
    return {
        "overrides": json.dumps(list(overrides)),
        "reason": outcome.reason,
        "result": _json(outcome.result),
        "outcome": json.dumps(outcome.to_dict()),
        "ended": True,
    }


def paused_row(overrides: Sequence[str], outcome: Outcome, deaths: int = 0) -> dict[str, Any]:
    """Columns of a trial that can go on: nobody's, and open."""
    open_ = {"run": None, "deaths": deaths, "paused": True, "ended": False}
    return ended_row(overrides, outcome) | open_


def lost_row(
    overrides: Sequence[str], reason: str, result: TrialResult | None, deaths: int
) -> dict[str, Any]:
    """Columns of a trial that is given up, with its setup to be queued again."""
    return {
        "overrides": json.dumps(list(overrides)),
        "reason": reason,
        "result": _json(result),
        "deaths": deaths,
        "lost": True,
        "ended": True,
        "retried": False,
    }


def outcome_in(row: sa.Row[Any]) -> Outcome | None:
    """What Optuna is to be told of an ended trial; None of a lost one."""
    if row.outcome is None:
        return None
    result = None if row.result is None else TrialResult.from_dict(json.loads(row.result))
    return Outcome.from_dict(json.loads(row.outcome), result)


def _json(result: TrialResult | None) -> str | None:
    return None if result is None else json.dumps(result.to_dict())
