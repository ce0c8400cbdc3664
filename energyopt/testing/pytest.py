"""The checks as test classes for pytest: one test per check.

Subclass one in a test file and give it the fixture that it asks for:

    class TestMyMeter(MeterContract):
        @pytest.fixture
        def meter(self) -> EnergyMeter:
            return MyMeter()

A check that does not apply to a part is left out by setting its test to None in the subclass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.metric import ACCURACY
from energyopt.core.protocols import EnergyMeter, Objective, StoppingRule, Task
from energyopt.testing._check import Check
from energyopt.testing._records import EXAMPLE_RESULTS
from energyopt.testing.meters import COUNTING_METER_CHECKS, METER_CHECKS, MeterCase, use_cpu
from energyopt.testing.models import MODEL_CHECKS, ModelCase
from energyopt.testing.objectives import OBJECTIVE_CHECKS, ObjectiveCase
from energyopt.testing.paradigms import ALL_ABILITIES, PARADIGM_CHECKS, ParadigmCase
from energyopt.testing.schedules import SCHEDULE_CHECKS, ScheduleCase
from energyopt.testing.stopping_rules import HOPELESS, STOPPING_RULE_CHECKS, StoppingRuleCase
from energyopt.testing.tasks import TASK_CHECKS, TaskCase

if TYPE_CHECKING:
    from torch import nn

    from energyopt.search.schedule import Schedule

__all__ = [
    "CountingMeterContract",
    "MeterContract",
    "ModelContract",
    "ObjectiveContract",
    "ParadigmContract",
    "ScheduleContract",
    "StoppingRuleContract",
    "TaskContract",
]

ContractT = TypeVar("ContractT")


def _tested_by(
    checks: Iterable[Check[Any]],
) -> Callable[[type[ContractT]], type[ContractT]]:
    """Return a decorator that adds a test of each check to a class with the fixture `case`."""

    def add_tests(contract: type[ContractT]) -> type[ContractT]:
        for check in checks:
            setattr(contract, f"test_{check.name}", _test_of(check))
        return contract

    return add_tests


def _test_of(check: Check[Any]) -> Callable[[object, object], None]:
    def test(_self: object, case: object) -> None:
        reason = check.why_skipped(case)
        if reason is not None:
            pytest.skip(reason)
        check(case)

    test.__doc__ = check.summary
    return test


@_tested_by(METER_CHECKS)
class MeterContract:
    """Any meter. Needs the fixture `meter`, able to open at least eight windows."""

    tolerance = 1e-9
    """Largest relative error of a sum of windows."""

    def work(self, amount: int) -> None:
        """Do work that uses energy; override it to advance a simulated counter."""
        use_cpu(amount)

    @pytest.fixture
    def case(self, meter: EnergyMeter) -> MeterCase:
        """Return the meter's case."""
        return MeterCase(lambda: meter, self.work, self.tolerance)


@_tested_by(COUNTING_METER_CHECKS)
class CountingMeterContract(MeterContract):
    """A meter that measures work as it happens, unlike a recording."""


@_tested_by(PARADIGM_CHECKS)
class ParadigmContract:
    """Any paradigm. Needs the fixture `make`: a function that makes a fresh one for a seed."""

    models = 1
    """Number of models that it trains at once."""

    abilities: tuple[type, ...] = ALL_ABILITIES
    """Optional protocols that it has; tests of the others are skipped."""

    monitor = ACCURACY
    """The metric that it evaluates."""

    @pytest.fixture
    def case(self, make: Callable[[int], Any]) -> ParadigmCase:
        """Return the paradigm's case."""
        return ParadigmCase(make, self.models, self.abilities, self.monitor)


@_tested_by(OBJECTIVE_CHECKS)
class ObjectiveContract:
    """Any objective. Needs the fixture `objective`."""

    @pytest.fixture
    def case(self, objective: Objective) -> ObjectiveCase:
        """Return the objective's case."""
        return ObjectiveCase(objective, EXAMPLE_RESULTS)


@_tested_by(STOPPING_RULE_CHECKS)
class StoppingRuleContract:
    """Any rule. Needs the attribute `make`: a function that makes one."""

    make: Callable[[], StoppingRule]

    hopeless: tuple[TrialProgress, StudyHistory] = HOPELESS
    """A trial that the rule stops, and the history of its study."""

    @pytest.fixture
    def case(self) -> StoppingRuleCase:
        """Return the rule's case."""
        return StoppingRuleCase(type(self).make, self.hopeless)


@_tested_by(SCHEDULE_CHECKS)
class ScheduleContract:
    """Any schedule. Needs the attribute `make`: a function that makes one."""

    make: Callable[[], Schedule]

    @pytest.fixture
    def case(self) -> ScheduleCase:
        """Return the schedule's case."""
        return ScheduleCase(type(self).make)


@_tested_by(TASK_CHECKS)
class TaskContract:
    """Any task. Needs the fixture `make`: a function that makes it."""

    @pytest.fixture
    def case(self, make: Callable[[], Task]) -> TaskCase:
        """Return the task's case."""
        return TaskCase(make)


@_tested_by(MODEL_CHECKS)
class ModelContract:
    """Any model. Needs the attributes `make`, a function that makes one, and `input_shape`."""

    make: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_classes = 5

    @pytest.fixture
    def case(self) -> ModelCase:
        """Return the model's case."""
        return ModelCase(type(self).make, self.input_shape, self.num_classes)
