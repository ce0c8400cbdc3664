"""Read a study's trials from Optuna's tables, by column.

Optuna creates an object for each row: reading ten thousand trials that way takes longer than the
rest of a report. When it opens the database, Optuna itself checks that its tables are of this
version; a test compares the result with what Optuna reads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import TrialState
from sqlalchemy import Connection

State = Literal["complete", "pruned", "failed", "running", "waiting"]

STATES: Mapping[str, State] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
"""States by the names that Optuna gives them, also in its tables."""

OPTUNA_STATES: Mapping[str, TrialState] = {
    state: TrialState[name] for name, state in STATES.items()
}

_INFINITE: Mapping[str, float] = {"INF_POS": float("inf"), "INF_NEG": float("-inf")}

_TRIALS = """
    SELECT trial_id, number, state FROM trials WHERE study_id = :study ORDER BY trial_id
"""
_COUNTS = """
    SELECT state, count(*) FROM trials WHERE study_id = :study GROUP BY state
"""
_RUNNING = """
    SELECT number FROM trials WHERE study_id = :study AND state = 'RUNNING'
"""
_PARAMS = """
    SELECT trial_id, param_name, param_value, distribution_json
    FROM trial_params JOIN trials USING (trial_id) WHERE study_id = :study ORDER BY param_id
"""
_SPACE = """
    SELECT DISTINCT param_name, distribution_json
    FROM trial_params JOIN trials USING (trial_id) WHERE study_id = :study ORDER BY param_name
"""
_VALUES = """
    SELECT trial_id, value, value_type
    FROM trial_values JOIN trials USING (trial_id) WHERE study_id = :study ORDER BY objective
"""
_CONSTRAINTS = """
    SELECT trial_id, value_json FROM trial_system_attributes JOIN trials USING (trial_id)
    WHERE study_id = :study AND (key = 'constraints' OR key LIKE 'constraints:%')
"""


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A trial as Optuna stores it."""

    number: int
    state: State
    params: Mapping[str, Any]
    values: tuple[float, ...]
    feasible: bool


def stored_trials(connection: Connection, study_id: int) -> list[StoredTrial]:
    """Read all trials of a study, by number, with one statement per table."""

    def rows(statement: str) -> Iterator[Any]:
        return iter(connection.execute(sa.text(statement), {"study": study_id}))

    params: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, value, distribution in rows(_PARAMS):
        params[trial_id][key] = distribution_from_json(distribution).to_external_repr(value)
    values: defaultdict[int, list[float]] = defaultdict(list)
    for trial_id, value, kind in rows(_VALUES):
        values[trial_id].append(_INFINITE.get(kind, value))
    violated = {trial_id for trial_id, violation in rows(_CONSTRAINTS) if _is_violated(violation)}
    return [
        StoredTrial(
            number=number,
            state=STATES[state],
            params=params[trial_id],
            values=tuple(values[trial_id]),
            feasible=trial_id not in violated,
        )
        for trial_id, number, state in rows(_TRIALS)
    ]


def space_of(connection: Connection, study_id: int) -> dict[str, BaseDistribution]:
    """Return the distribution of each searched key, except for those with several."""
    rows = connection.execute(sa.text(_SPACE), {"study": study_id})
    return unique_distributions((key, distribution) for key, distribution in rows)


def unique_distributions(pairs: Iterable[tuple[str, str]]) -> dict[str, BaseDistribution]:
    """Return the distribution of each key, given its JSON, except for keys with several."""
    distributions: defaultdict[str, set[str]] = defaultdict(set)
    for key, text in pairs:
        distributions[key].add(text)
    return {
        key: distribution_from_json(*texts)
        for key, texts in sorted(distributions.items())
        if len(texts) == 1
    }


def count_trials(connection: Connection, study_id: int) -> Mapping[State, int]:
    """Return the number of trials in each state that occurs in a study."""
    counts = connection.execute(sa.text(_COUNTS), {"study": study_id})
    return {STATES[state]: int(count) for state, count in counts}


def running_trials(connection: Connection, study_id: int) -> set[int]:
    """Return the numbers of the trials that any run has open."""
    return set(connection.execute(sa.text(_RUNNING), {"study": study_id}).scalars())


@cache
def distribution_from_json(text: str) -> BaseDistribution:
    """Return a distribution; cached, because the trials of a study share a few of them."""
    return json_to_distribution(text)


def _is_violated(text: str) -> bool:
    data = json.loads(text)
    violations = data if isinstance(data, list) else [data]  # a list in older versions of Optuna
    return any(not violation <= 0 for violation in violations)
