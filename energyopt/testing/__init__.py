"""Checks for your own parts that plug into energyopt.

    from energyopt.testing import check_meter

    check_meter(MyMeter)

There is a function and a tuple of checks for each kind of part. The function returns the names of
the checks that passed. A failed check raises `ContractViolation`, whose message says what was
expected, what was observed and what to do. The checks need only the standard library, and torch
for tasks, models and paradigms; `energyopt.testing.pytest` has the same checks as test classes.
"""

from energyopt.testing._check import Check, ContractViolation, run_checks
from energyopt.testing._curves import make_curve, make_history, make_progress, make_steady_curve
from energyopt.testing._records import EXAMPLE_RESULTS, make_result
from energyopt.testing.meters import (
    COUNTING_METER_CHECKS,
    METER_CHECKS,
    MeterCase,
    check_meter,
)
from energyopt.testing.models import MODEL_CHECKS, ModelCase, check_model
from energyopt.testing.objectives import OBJECTIVE_CHECKS, ObjectiveCase, check_objective
from energyopt.testing.paradigms import (
    ALL_ABILITIES,
    PARADIGM_CHECKS,
    ParadigmCase,
    Trainable,
    abilities_of,
    check_paradigm,
)
from energyopt.testing.schedules import SCHEDULE_CHECKS, ScheduleCase, check_schedule
from energyopt.testing.stopping_rules import (
    STOPPING_RULE_CHECKS,
    StoppingRuleCase,
    check_stopping_rule,
)
from energyopt.testing.tasks import TASK_CHECKS, TaskCase, check_task

__all__ = [
    "ALL_ABILITIES",
    "COUNTING_METER_CHECKS",
    "EXAMPLE_RESULTS",
    "METER_CHECKS",
    "MODEL_CHECKS",
    "OBJECTIVE_CHECKS",
    "PARADIGM_CHECKS",
    "SCHEDULE_CHECKS",
    "STOPPING_RULE_CHECKS",
    "TASK_CHECKS",
    "Check",
    "ContractViolation",
    "MeterCase",
    "ModelCase",
    "ObjectiveCase",
    "ParadigmCase",
    "ScheduleCase",
    "StoppingRuleCase",
    "TaskCase",
    "Trainable",
    "abilities_of",
    "check_meter",
    "check_model",
    "check_objective",
    "check_paradigm",
    "check_schedule",
    "check_stopping_rule",
    "check_task",
    "make_curve",
    "make_history",
    "make_progress",
    "make_result",
    "make_steady_curve",
    "run_checks",
]
