"""A study of thousands of trials with curves, made up in seconds: for benchmarks alone.

What a coordinator would have written, in the same tables, without its thousands of
transactions: the records are real ones, judged by a real objective.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers import RandomSampler

from energyopt.core.conditions import Machine
from energyopt.core.curve import Checkpoint
from energyopt.core.energy import Energy
from energyopt.core.outcome import outcome_of
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import End, Provenance, TrialResult, TrialStart, Window
from energyopt.objectives import EnergyVsAccuracy
from energyopt.storage.database import open_database
from energyopt.storage.identity import Identity
from energyopt.storage.study_store import StudyStore

Params: TypeAlias = Mapping[str, float | str]

TARGET = 0.9
CHECKPOINTS = 30
SPACE: Mapping[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "batch_size": CategoricalDistribution([16, 32, 64, 128]),
    "model.width": IntDistribution(4, 64),
    "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    "optimizer": CategoricalDistribution(["adam", "sgd"]),
    "scheduler": CategoricalDistribution(["none", "cosine", "linear"]),
}
SWEEP = (
    *("lr=tag(log,interval(1e-4,1e-1))", "batch_size=choice(16,32,64,128)"),
    *("model.width=range(4,65)", "optimizer.weight_decay=tag(log,interval(1e-6,1e-2))"),
    *("optimizer=choice(adam,sgd)", "scheduler=choice(none,cosine,linear)"),
)
IDENTITY = Identity(EnergyVsAccuracy().metrics, ("task=digits",), SWEEP, {"epochs": 30}, TARGET)

_PROVENANCE = Provenance(
    kind="simulated",
    meter="made up",
    version="1",
    scope="GPU board + CPU package",
    device="Made-up GPU",
    host="nowhere",
    uncertainty="all of it",
    resolution_s=0.1,
)
_VERSIONS = ("python", "energyopt", "torch", "zeus", "nvidia-ml-py", "numpy", "optuna")
_MACHINE = Machine(packages=dict.fromkeys(_VERSIONS, "1.2.3"))
_START = TrialStart(TARGET, 30.0, 0, _PROVENANCE, machine=_MACHINE)
_BEGAN = datetime(2026, 1, 1)  # as Optuna keeps it
_BATCH = 1000


def made_up_params(random_: random.Random) -> Params:
    """Values of the searched keys."""
    return {
        "lr": 10 ** random_.uniform(-4, -1),
        "batch_size": random_.choice([16, 32, 64, 128]),
        "model.width": random_.randint(4, 64),
        "optimizer.weight_decay": 10 ** random_.uniform(-6, -2),
        "optimizer": random_.choice(["adam", "sgd"]),
        "scheduler": random_.choice(["none", "cosine", "linear"]),
    }


def made_up_result(random_: random.Random, checkpoints: int = CHECKPOINTS) -> TrialResult:
    """Make up a trial: one in twenty failed, one in twenty diverged, one in five missed."""
    fate = random_.random()
    best = random_.uniform(0.6, 0.89) if fate < 0.3 else random_.uniform(0.9, 0.99)
    end, reason = _end(fate)
    power_w, window_s = random_.uniform(80, 300), random_.uniform(1, 20)
    length = checkpoints if end == "plateau" else random_.randint(1, checkpoints)
    curve, windows = [], [Window("warmup", _energy(random_, power_w, 1.0))]
    for index in range(1, length + 1):
        training = _energy(random_, power_w, window_s)
        evaluation = _energy(random_, power_w / 2, window_s / 10)
        accuracy = round(best * 225 * (1 - math.exp(-8 * index / checkpoints))) / 225
        curve.append(
            Checkpoint(
                384 * index,
                6 * index,
                384 * index / 1348,
                accuracy,
                2.3 / index,
                training,
                evaluation,
            )
        )
        windows += [Window("training", training), Window("evaluation", evaluation)]
    return TrialResult.assemble(_START, windows, curve, end, reason)


def _end(fate: float) -> tuple[End, str]:
    if fate < 0.05:
        return "failed", "RuntimeError: made up"
    if fate < 0.1:
        return "diverged", "the loss is nan"
    return "plateau", "no better accuracy in 5 evaluations"


def _energy(random_: random.Random, power_w: float, time_s: float) -> Energy:
    gpu_j = power_w * time_s * random_.uniform(0.95, 1.05)
    return Energy(time_s * random_.uniform(0.99, 1.01), gpu_j, gpu_j / 10, None, (gpu_j,))


def made_up_outcome(random_: random.Random, checkpoints: int = CHECKPOINTS) -> Outcome:
    """Return what a job with such a record would have reported."""
    result = made_up_result(random_, checkpoints)
    if not result.valid:
        return Outcome("failed", reason=result.reason, result=result)
    return outcome_of(result, EnergyVsAccuracy())


def make_up(where: str, name: str, n_trials: int, *, checkpoints: int = CHECKPOINTS) -> None:
    """Add a study to a database.

    Args:
        where: A file or a SQLAlchemy URL.
        name: Name of the study, which must be new.
        n_trials: How many trials it has.
        checkpoints: How many evaluations a trial that ran its course has.
    """
    store = StudyStore.open(where, name, IDENTITY, lambda _: RandomSampler())
    store.bind(_PROVENANCE)
    store.close()
    storage = open_database(where, create=True)
    study_id = storage.get_study_id_from_name(name)
    tables = sa.MetaData()
    tables.reflect(storage.engine)
    random_ = random.Random(n_trials)
    with storage.engine.begin() as connection:
        last = connection.execute(sa.select(sa.func.max(tables.tables["trials"].c.trial_id)))
        first_id = (last.scalar_one() or 0) + 1
        for begin in range(0, n_trials, _BATCH):
            rows: dict[str, list[dict[str, Any]]] = {}
            for number in range(begin, min(begin + _BATCH, n_trials)):
                for table, row in _rows(random_, study_id, first_id, number, checkpoints):
                    rows.setdefault(table, []).append(row)
            for table, some in rows.items():
                connection.execute(sa.insert(tables.tables[table]), some)
    storage.engine.dispose()


def _rows(
    random_: random.Random, study_id: int, first_id: int, number: int, checkpoints: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a trial, with the name of each one's table."""
    outcome, params = made_up_outcome(random_, checkpoints), made_up_params(random_)
    trial_id = first_id + number
    began = _BEGAN + timedelta(minutes=number)
    state = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[outcome.state]
    yield (
        "trials",
        {
            "trial_id": trial_id,
            "number": number,
            "study_id": study_id,
            "state": state,
            "datetime_start": began,
            "datetime_complete": began + timedelta(seconds=50),
        },
    )
    of_trial = {"trial_id": trial_id}
    for key, distribution in SPACE.items():
        value = distribution.to_internal_repr(params[key])
        text = distribution_to_json(distribution)
        row = {"param_name": key, "param_value": value, "distribution_json": text}
        yield "trial_params", of_trial | row
    for index, told in enumerate(outcome.values):
        row = {"objective": index, "value": told, "value_type": "FINITE"}
        yield "trial_values", of_trial | row
    attributes = {"default_setup": True} if number == 0 else {}
    for key, attribute in (attributes | dict(outcome.attributes)).items():
        yield "trial_user_attributes", of_trial | {"key": key, "value_json": json.dumps(attribute)}
    for key, violation in outcome.constraints.items():
        row = {"key": f"constraints:{key}", "value_json": json.dumps(violation)}
        yield "trial_system_attributes", of_trial | row
    yield (
        "energyopt_trials",
        {
            "study_id": study_id,
            "number": number,
            "overrides": json.dumps([f"{key}={value}" for key, value in params.items()]),
            "is_default": number == 0,
            "lost": False,
            "reason": outcome.reason,
            "result": json.dumps(outcome.result.to_dict()) if outcome.result else None,
        },
    )
