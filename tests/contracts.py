"""What any meter, paradigm, objective or stopping rule must do: a class of tests for each seam.

Subclass one in a test file and give it the fixture that it asks for:

    class TestMyMeter(MeterContract):
        @pytest.fixture
        def meter(self) -> EnergyMeter:
            return MyMeter()
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energyopt.core.energy import Curve
from energyopt.core.history import Progress, Rivals
from energyopt.core.protocols import (
    EnergyMeter,
    Objective,
    Paradigm,
    Pauses,
    Saves,
    StoppingRule,
    Tests,
    TrainStep,
    WarmsUp,
)
from energyopt.core.trial_result import Energy, Kind, TrialResult
from energyopt.training.checkpointing import go_on, keep_in, load, state_of
from tests.curves import CURVES, progress, rivals_of
from tests.toys import result

PARTS = ("gpu_j", "cpu_j", "dram_j")


class MeterContract:
    """Any meter. Needs the fixture `meter`, able to open at least eight windows."""

    def work(self, amount: int) -> None:
        """Do something that costs energy; override it where a made-up counter must move."""
        sum(range(20_000 * amount))

    def window(self, meter: EnergyMeter, amount: int = 1) -> Energy:
        meter.start()
        self.work(amount)
        return meter.stop()

    def test_is_an_energy_meter(self, meter: EnergyMeter):
        assert isinstance(meter, EnergyMeter)

    def test_says_where_its_joules_come_from(self, meter: EnergyMeter):
        provenance = meter.provenance
        assert provenance.kind in get_args(Kind)
        for text in ("meter", "version", "scope", "device", "host", "uncertainty"):
            assert getattr(provenance, text), text
        assert math.isfinite(provenance.resolution_s)
        assert provenance.resolution_s >= 0
        assert provenance == meter.provenance

    def test_a_window_has_finite_parts_and_takes_time(self, meter: EnergyMeter):
        energy = self.window(meter)
        assert math.isfinite(energy.time_s)
        assert energy.time_s > 0
        parts = [getattr(energy, name) for name in PARTS]
        metered = [part for part in parts if part is not None]
        assert metered
        assert all(math.isfinite(part) and part >= 0 for part in metered)

    def test_windows_follow_each_other_with_the_same_parts(self, meter: EnergyMeter):
        first, second = self.window(meter), self.window(meter)
        for name in PARTS:
            assert (getattr(first, name) is None) == (getattr(second, name) is None)

    def test_work_between_windows_does_not_break_it(self, meter: EnergyMeter):
        self.window(meter)
        self.work(1)
        assert self.window(meter).time_s > 0


class CountingMeterContract(MeterContract):
    """A meter that sees what happens here and now, unlike a recording."""

    tolerance = 1e-9
    """Relative error of a sum of windows."""

    def test_stop_without_start_is_an_error(self, meter: EnergyMeter):
        with pytest.raises(Exception, match=r".+"):
            meter.stop()

    def test_stopping_twice_is_an_error(self, meter: EnergyMeter):
        self.window(meter)
        with pytest.raises(Exception, match=r".+"):
            meter.stop()

    def test_work_costs_more_than_none(self, meter: EnergyMeter):
        assert self.window(meter, 10).total_j > self.window(meter, 0).total_j

    def test_windows_add_up(self, meter: EnergyMeter):
        parts = self.window(meter, 4) + self.window(meter, 6)
        whole = self.window(meter, 10)
        assert parts.total_j == pytest.approx(whole.total_j, rel=self.tolerance)

    def test_work_between_windows_is_in_none(self, meter: EnergyMeter):
        before = self.window(meter, 10)
        self.work(20)
        assert self.window(meter, 10).total_j == pytest.approx(before.total_j, rel=self.tolerance)


class Trainable(Paradigm, WarmsUp, Tests, Saves, Pauses, Protocol):
    """A paradigm with everything that ours have."""


class ParadigmContract:
    """Any paradigm. Needs the fixture `make`: a maker of fresh ones for a seed.

    One that trains several models at once says how many.
    """

    models = 1

    def weights(self, paradigm: Trainable, folder: Path) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        paradigm.save(folder / "model.safetensors")
        loaded: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
        return loaded

    def assert_same(
        self, one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, same: bool = True
    ) -> None:
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one) == same

    def test_is_a_paradigm(self, make: Callable[[int], Trainable]):
        paradigm = make(0)
        for seam in (Paradigm, WarmsUp, Tests, Saves, Pauses):
            assert isinstance(paradigm, seam)
        assert paradigm.epoch_samples > 0

    @pytest.mark.parametrize("share", [0.01, 0.3, 1.7])
    def test_trains_at_least_what_is_asked_and_says_so(
        self, make: Callable[[int], Trainable], share: float
    ):
        paradigm = make(0)
        asked = max(1, round(share * paradigm.epoch_samples))
        trained = paradigm.train(asked)
        assert isinstance(trained, TrainStep)
        assert trained.samples >= asked
        assert 1 <= trained.steps <= trained.samples
        assert math.isfinite(trained.loss)

    def test_stops_at_the_batch_that_suffices(self, make: Callable[[int], Trainable]):
        one = make(0).train(1)
        assert one.steps == self.models
        two = make(0).train(one.samples + 1)
        assert two.steps == 2 * self.models
        assert make(0).train(one.samples) == one

    def test_training_changes_the_weights(self, make: Callable[[int], Trainable], tmp_path: Path):
        paradigm = make(0)
        before = self.weights(paradigm, tmp_path)
        paradigm.train(1)
        self.assert_same(before, self.weights(paradigm, tmp_path), same=False)

    def test_scores_are_shares(self, make: Callable[[int], Trainable]):
        paradigm = make(0)
        paradigm.train(1)
        assert 0 <= paradigm.evaluate() <= 1
        assert 0 <= paradigm.test() <= 1

    def test_scoring_twice_gives_the_same(self, make: Callable[[int], Trainable]):
        paradigm = make(0)
        paradigm.train(1)
        assert paradigm.evaluate() == paradigm.evaluate()
        assert paradigm.test() == paradigm.test()

    def test_scoring_does_not_change_training(
        self, make: Callable[[int], Trainable], tmp_path: Path
    ):
        plain = make(0)
        losses = [plain.train(1).loss, plain.train(1).loss]
        expected = self.weights(plain, tmp_path)
        scored = make(0)
        first = scored.train(1).loss
        scored.evaluate()
        scored.test()
        assert [first, scored.train(1).loss] == losses
        self.assert_same(self.weights(scored, tmp_path), expected)

    def test_is_the_same_for_a_seed(self, make: Callable[[int], Trainable], tmp_path: Path):
        runs = []
        for _ in range(2):
            paradigm = make(3)
            trained = paradigm.train(paradigm.epoch_samples)
            runs.append((trained, paradigm.evaluate(), self.weights(paradigm, tmp_path)))
        (first, accuracy, weights), (second, again, same) = runs
        assert (first, accuracy) == (second, again)
        self.assert_same(weights, same)

    def test_is_another_for_another_seed(self, make: Callable[[int], Trainable], tmp_path: Path):
        one, other = make(0), make(1)
        one.train(1)
        other.train(1)
        self.assert_same(self.weights(one, tmp_path), self.weights(other, tmp_path), same=False)

    def test_warming_up_leaves_no_trace(self, make: Callable[[int], Trainable], tmp_path: Path):
        plain = make(0)
        expected_loss = plain.train(plain.epoch_samples).loss
        expected = self.weights(plain, tmp_path)
        warm = make(0)
        before = self.weights(warm, tmp_path)
        random_state = torch.get_rng_state()
        warm.warm_up()
        assert torch.equal(torch.get_rng_state(), random_state)
        self.assert_same(self.weights(warm, tmp_path), before)
        assert warm.train(warm.epoch_samples).loss == expected_loss
        self.assert_same(self.weights(warm, tmp_path), expected)

    def test_goes_on_where_it_paused(self, make: Callable[[int], Trainable], tmp_path: Path):
        """In another process, in the middle of an epoch, as if it had not paused."""
        whole = make(2)
        asked = (1, whole.epoch_samples, 1)
        expected = [(whole.train(samples), whole.evaluate()) for samples in asked]
        state, seen = None, []
        for samples in asked:
            paradigm = make(2)
            paradigm.warm_up()
            if state is not None:
                go_on(paradigm, state)
            seen.append((paradigm.train(samples), paradigm.evaluate()))
            with keep_in(tmp_path / "paused.pt")(state_of(paradigm, samples)):
                pass
            state = load(tmp_path / "paused.pt")
        assert seen == expected
        self.assert_same(self.weights(whole, tmp_path), self.weights(paradigm, tmp_path))


RESULTS = {
    "reached": result([(100, 2, 0.5), (200, 4, 0.95)]),
    "reached at once": result([(100, 2, 0.95)]),
    "went on": result([(100, 2, 0.95), (200, 4, 0.97)], end="plateau"),
    "missed": result([(100, 2, 0.5), (200, 4, 0.6)]),
    "diverged after the target": result([(100, 2, 0.95), (200, 4, 0.1)], end="diverged"),
}
"""Records of trials that are told to a study with values."""


class ObjectiveContract:
    """Any objective. Needs the fixture `objective`."""

    def test_is_an_objective(self, objective: Objective):
        assert isinstance(objective, Objective)
        assert isinstance(objective.stops_at_target, bool)

    def test_names_its_metrics(self, objective: Objective):
        names = [metric.name for metric in objective.metrics]
        assert names
        assert len(set(names)) == len(names)
        assert {metric.direction for metric in objective.metrics} <= {"minimize", "maximize"}

    @pytest.mark.parametrize("record", RESULTS.values(), ids=RESULTS)
    def test_gives_a_finite_number_for_each_metric(self, objective: Objective, record: TrialResult):
        values = objective(record)
        assert len(values) == len(objective.metrics)
        assert all(math.isfinite(value) for value in values)

    def test_is_a_pure_function(self, objective: Objective):
        record = RESULTS["went on"]
        assert objective(record) == objective(record)


# Each subclass is about a rule of its own.
_ANY_CURVES = settings(suppress_health_check=[HealthCheck.differing_executors])


class StoppingRuleContract:
    """Any rule. Needs the attributes `make`, a maker of one, and `hopeless`, which it stops."""

    make: Callable[[], StoppingRule]
    hopeless: tuple[Progress, Rivals]

    def test_is_a_stopping_rule(self):
        assert isinstance(type(self).make(), StoppingRule)

    def test_says_why_with_numbers(self):
        why = type(self).make().decide(*self.hopeless)
        assert why is not None
        assert any(character.isdigit() for character in why)
        assert "\n" not in why
        assert not why.endswith(".")

    @_ANY_CURVES
    @given(CURVES)
    def test_stops_nothing_while_nothing_is_known(self, curve: Curve):
        rule = type(self).make()
        for seen in range(1, len(curve) + 1):
            assert rule.decide(progress(curve, seen), Rivals()) is None

    @_ANY_CURVES
    @given(CURVES, st.lists(CURVES, max_size=5))
    def test_never_stops_the_first_to_be_so_good_with_so_little(
        self, curve: Curve, others: list[Curve]
    ):
        """On the front at its energy, before the cheapest to the target has used its own."""
        rivals, so_far = rivals_of(others), progress(curve, len(curve))
        beaten = any(rival.at(so_far.spent_j) > so_far.best for rival in rivals.curves)
        if beaten or so_far.spent_j > (rivals.incumbent_j or math.inf):
            return
        assert type(self).make().decide(so_far, rivals) is None

    @_ANY_CURVES
    @given(CURVES, st.lists(CURVES, max_size=5))
    def test_says_the_same_of_the_same(self, curve: Curve, others: list[Curve]):
        rivals, so_far = rivals_of(others), progress(curve, len(curve))
        assert type(self).make().decide(so_far, rivals) == type(self).make().decide(so_far, rivals)
