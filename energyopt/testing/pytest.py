"""The checks as test classes for pytest: one test per check.

Subclass one in a test file and give it the fixture that it asks for:

    class TestMyMeter(MeterContract):
        @pytest.fixture
        def meter(self) -> EnergyMeter:
            return MyMeter()

A check that does not apply to a part is left out by setting its test to None in the subclass.
"""

# ruff: noqa: D102  # each test is documented by the check of the same name

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.protocols import EnergyMeter, Objective, StoppingRule, Task
from energyopt.testing import (
    meters,
    models,
    objectives,
    paradigms,
    schedules,
    stopping_rules,
    tasks,
)
from energyopt.testing._check import Check
from energyopt.testing._records import EXAMPLE_RESULTS

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


class MeterContract:
    """Any meter. Needs the fixture `meter`, able to open at least eight windows."""

    tolerance = 1e-9
    """Largest relative error of a sum of windows."""

    def work(self, amount: int) -> None:
        """Do work that uses energy; override it to advance a simulated counter."""
        meters.use_cpu(amount)

    def case(self, meter: EnergyMeter) -> meters.MeterCase:
        """Return the meter's case."""
        return meters.MeterCase(lambda: meter, self.work, self.tolerance)

    def test_is_an_energy_meter(self, meter: EnergyMeter) -> None:
        meters.is_an_energy_meter(self.case(meter))

    def test_says_where_its_joules_come_from(self, meter: EnergyMeter) -> None:
        meters.says_where_its_joules_come_from(self.case(meter))

    def test_a_window_has_finite_parts_and_takes_time(self, meter: EnergyMeter) -> None:
        meters.a_window_has_finite_parts_and_takes_time(self.case(meter))

    def test_windows_follow_each_other_with_the_same_parts(self, meter: EnergyMeter) -> None:
        meters.windows_follow_each_other_with_the_same_parts(self.case(meter))

    def test_work_between_windows_does_not_break_it(self, meter: EnergyMeter) -> None:
        meters.work_between_windows_does_not_break_it(self.case(meter))


class CountingMeterContract(MeterContract):
    """A meter that measures work as it happens, unlike a recording."""

    def test_stop_without_start_is_an_error(self, meter: EnergyMeter) -> None:
        meters.stop_without_start_is_an_error(self.case(meter))

    def test_stopping_twice_is_an_error(self, meter: EnergyMeter) -> None:
        meters.stopping_twice_is_an_error(self.case(meter))

    def test_work_costs_more_than_none(self, meter: EnergyMeter) -> None:
        meters.work_costs_more_than_none(self.case(meter))

    def test_windows_add_up(self, meter: EnergyMeter) -> None:
        meters.windows_add_up(self.case(meter))

    def test_work_between_windows_is_in_none(self, meter: EnergyMeter) -> None:
        meters.work_between_windows_is_in_none(self.case(meter))


class ParadigmContract:
    """Any paradigm. Needs the fixture `make`: a function that makes a fresh one for a seed."""

    models = 1
    """Number of models that it trains at once."""

    abilities: tuple[type, ...] = paradigms.ALL_ABILITIES
    """Optional protocols that it has; tests of the others are skipped."""

    def check(self, check: Check[paradigms.ParadigmCase], make: Callable[[int], Any]) -> None:
        """Run a check, or skip the test."""
        _run(check, paradigms.ParadigmCase(make, self.models, self.abilities))

    def test_is_a_paradigm(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.is_a_paradigm, make)

    @pytest.mark.parametrize("share", paradigms.EPOCH_SHARES)
    def test_trains_at_least_what_is_asked_and_says_so(
        self, make: Callable[[int], Any], share: float
    ) -> None:
        case = paradigms.ParadigmCase(make, self.models, self.abilities)
        paradigms.trains_at_least_a_share(case, share)

    def test_stops_at_the_batch_that_suffices(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.stops_at_the_batch_that_suffices, make)

    def test_training_changes_the_weights(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.training_changes_the_weights, make)

    def test_training_in_two_calls_is_training_in_one(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.training_in_two_calls_is_training_in_one, make)

    def test_scores_are_shares(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.scores_are_shares, make)

    def test_scoring_twice_gives_the_same(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.scoring_twice_gives_the_same, make)

    def test_scoring_does_not_change_training(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.scoring_does_not_change_training, make)

    def test_is_the_same_for_a_seed(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.is_the_same_for_a_seed, make)

    def test_is_another_for_another_seed(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.is_another_for_another_seed, make)

    def test_warming_up_leaves_no_trace(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.warming_up_leaves_no_trace, make)

    def test_goes_on_where_it_paused(self, make: Callable[[int], Any]) -> None:
        self.check(paradigms.goes_on_where_it_paused, make)


class ObjectiveContract:
    """Any objective. Needs the fixture `objective`."""

    def case(self, objective: Objective) -> objectives.ObjectiveCase:
        """Return the objective's case."""
        return objectives.ObjectiveCase(objective, EXAMPLE_RESULTS)

    def test_is_an_objective(self, objective: Objective) -> None:
        objectives.is_an_objective(self.case(objective))

    def test_names_its_metrics(self, objective: Objective) -> None:
        objectives.names_its_metrics(self.case(objective))

    @pytest.mark.parametrize("record", EXAMPLE_RESULTS)
    def test_gives_a_finite_number_for_each_metric(self, objective: Objective, record: str) -> None:
        objectives.gives_finite_numbers_for(self.case(objective), record)

    def test_is_a_pure_function(self, objective: Objective) -> None:
        objectives.is_a_pure_function(self.case(objective))


class StoppingRuleContract:
    """Any rule. Needs the attribute `make`: a function that makes one."""

    make: Callable[[], StoppingRule]

    hopeless: tuple[TrialProgress, StudyHistory] = stopping_rules.HOPELESS
    """A trial that the rule stops, and the history of its study."""

    @cached_property
    def case(self) -> stopping_rules.StoppingRuleCase:
        """The rule's case."""
        return stopping_rules.StoppingRuleCase(type(self).make, self.hopeless)

    def test_is_a_stopping_rule(self) -> None:
        stopping_rules.is_a_stopping_rule(self.case)

    def test_says_why_with_numbers(self) -> None:
        stopping_rules.says_why_with_numbers(self.case)

    def test_stops_nothing_while_nothing_is_known(self) -> None:
        stopping_rules.stops_nothing_while_nothing_is_known(self.case)

    def test_never_stops_the_first_to_be_so_good_with_so_little(self) -> None:
        stopping_rules.never_stops_the_first_to_be_so_good_with_so_little(self.case)

    def test_says_the_same_of_the_same(self) -> None:
        stopping_rules.says_the_same_of_the_same(self.case)


class ScheduleContract:
    """Any schedule. Needs the attribute `make`: a function that makes one."""

    make: Callable[[], Schedule]

    @cached_property
    def case(self) -> schedules.ScheduleCase:
        """The schedule's case."""
        return schedules.ScheduleCase(type(self).make)

    def test_is_a_schedule(self) -> None:
        schedules.is_a_schedule(self.case)

    def test_begins_with_a_new_trial(self) -> None:
        schedules.begins_with_a_new_trial(self.case)

    def test_asks_for_nothing_impossible(self) -> None:
        schedules.asks_for_nothing_impossible(self.case)

    def test_trains_something_to_its_end(self) -> None:
        schedules.trains_something_to_its_end(self.case)

    def test_says_the_same_of_the_same(self) -> None:
        schedules.says_the_same_of_the_same(self.case)


class TaskContract:
    """Any task. Needs the fixture `make`: a function that makes it."""

    def check(self, check: Check[tasks.TaskCase], make: Callable[[], Task]) -> None:
        """Run a check, or skip the test."""
        _run(check, tasks.TaskCase(make))

    def test_is_a_task(self, make: Callable[[], Task]) -> None:
        self.check(tasks.is_a_task, make)

    def test_splits_have_the_shapes_and_types_the_protocol_promises(
        self, make: Callable[[], Task]
    ) -> None:
        self.check(tasks.splits_have_the_shapes_and_types_the_protocol_promises, make)

    def test_a_task_of_several_heads_has_a_column_of_labels_each(
        self, make: Callable[[], Task]
    ) -> None:
        self.check(tasks.a_task_of_several_heads_has_a_column_of_labels_each, make)

    def test_every_class_occurs_in_every_split_and_no_other(self, make: Callable[[], Task]) -> None:
        self.check(tasks.every_class_occurs_in_every_split_and_no_other, make)

    def test_inputs_are_standardised_with_the_training_statistics_only(
        self, make: Callable[[], Task]
    ) -> None:
        self.check(tasks.inputs_are_standardised_with_the_training_statistics_only, make)

    def test_splits_do_not_overlap(self, make: Callable[[], Task]) -> None:
        self.check(tasks.splits_do_not_overlap, make)

    def test_building_twice_gives_the_same_data(self, make: Callable[[], Task]) -> None:
        self.check(tasks.building_twice_gives_the_same_data, make)

    def test_building_leaves_the_global_random_state_alone(self, make: Callable[[], Task]) -> None:
        self.check(tasks.building_leaves_the_global_random_state_alone, make)

    def test_training_samples_are_not_ordered_by_class(self, make: Callable[[], Task]) -> None:
        self.check(tasks.training_samples_are_not_ordered_by_class, make)


class ModelContract:
    """Any model. Needs the attributes `make`, a function that makes one, and `input_shape`."""

    make: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_classes = 5

    @cached_property
    def case(self) -> models.ModelCase:
        """The model's case."""
        return models.ModelCase(type(self).make, self.input_shape, self.num_classes)

    def test_gives_one_logit_a_class_and_gradients_to_every_parameter(self) -> None:
        models.gives_one_logit_a_class_and_gradients_to_every_parameter(self.case)

    def test_scores_each_sample_for_itself(self) -> None:
        models.scores_each_sample_for_itself(self.case)

    def test_leaves_its_inputs_as_they_are(self) -> None:
        models.leaves_its_inputs_as_they_are(self.case)

    def test_same_seed_trains_to_the_same_weights_bit_by_bit(self) -> None:
        models.same_seed_trains_to_the_same_weights_bit_by_bit(self.case)

    def test_a_copy_gives_the_same_logits_and_trains_alone(self) -> None:
        models.a_copy_gives_the_same_logits_and_trains_alone(self.case)

    def test_learns_a_small_batch_by_heart(self) -> None:
        models.learns_a_small_batch_by_heart(self.case)


def _run(check: Check[Any], case: object) -> None:
    reason = check.why_skipped(case)
    if reason is not None:
        pytest.skip(reason)
    check(case)
