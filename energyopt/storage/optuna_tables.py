"""What Optuna's tables hold of a study's trials, read by column.

Optuna makes an object of each row: ten thousand trials then take longer to read than all else
that a report does. Optuna itself checks, when it opens the database, that its tables are those
of this version; and a test compares what is read here with what Optuna reads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from sqlalchemy import Connection

State = Literal["complete", "pruned", "failed", "running", "waiting"]

_STATES: Mapping[str, State] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
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
class KeptTrial:
    """A trial as Optuna keeps it.

    Attributes:
        number: Its number in the study, from 0.
        state: Its state.
        params: The values that the sampler chose, by key.
        values: What was told, one number an objective.
        feasible: Whether all constraints held.
    """

    number: int
    state: State
    params: Mapping[str, Any]
    values: tuple[float, ...]
    feasible: bool


def kept_trials(connection: Connection, study_id: int) -> list[KeptTrial]:
    """Read all trials of a study, by number, in one statement a table."""

    def rows(statement: str) -> Iterator[Any]:
        return iter(connection.execute(sa.text(statement), {"study": study_id}))

    params: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, value, distribution in rows(_PARAMS):
        params[trial_id][key] = _distribution(distribution).to_external_repr(value)
    values: defaultdict[int, list[float]] = defaultdict(list)
    for trial_id, value, kind in rows(_VALUES):
        values[trial_id].append(_INFINITE.get(kind, value))
    violated = {trial_id for trial_id, violation in rows(_CONSTRAINTS) if _is_violated(violation)}
    return [
        KeptTrial(number, _STATES[state], params[at], tuple(values[at]), at not in violated)
        for at, number, state in rows(_TRIALS)
    ]


def space_of(connection: Connection, study_id: int) -> dict[str, BaseDistribution]:
    """The distribution of each searched key, but for those that had several."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key, distribution in connection.execute(sa.text(_SPACE), {"study": study_id}):
        found[key].add(distribution)
    return {key: _distribution(*of) for key, of in found.items() if len(of) == 1}


def count_trials(connection: Connection, study_id: int) -> Mapping[State, int]:
    """How many trials of a study are in each state that one is in."""
    counts = connection.execute(sa.text(_COUNTS), {"study": study_id})
    return {_STATES[state]: int(count) for state, count in counts}


def running_trials(connection: Connection, study_id: int) -> set[int]:
    """Numbers of the trials that run, by whomever."""
    return set(connection.execute(sa.text(_RUNNING), {"study": study_id}).scalars())


@cache
def _distribution(text: str) -> BaseDistribution:
    """The trials of a study share their few distributions."""
    return json_to_distribution(text)


def _is_violated(text: str) -> bool:
    found = json.loads(text)
    violations = (
        found if isinstance(found, list) else [found]
    )  # one text for all, in studies of old
    return any(not violation <= 0 for violation in violations)
