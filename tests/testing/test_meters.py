"""Each check of a meter finds what it is for, and says so."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from energyopt import testing
from energyopt.core.energy import Energy
from energyopt.testing import check_meter
from tests.toys import ESTIMATED, Counter, ToyMeter
from tests.violations import caught


def spend(counter: Counter, amount: int) -> None:
    counter.total_j += 2 * amount + 0.5


class BrokenMeter:
    """A meter that is right, but for what a subclass does."""

    provenance = ESTIMATED

    def __init__(self) -> None:
        self.counter = Counter()
        self.began_j: float | None = None

    def start(self) -> None:
        self.began_j = self.counter.total_j

    def stop(self) -> Energy:
        if self.began_j is None:
            raise RuntimeError("no window is open")
        energy_j, self.began_j = self.counter.total_j - self.began_j, None
        return self.read(energy_j)

    def read(self, energy_j: float) -> Energy:
        return Energy(energy_j / 2, cpu_j=energy_j)


class NoStop:
    provenance = ESTIMATED

    def start(self) -> None: ...


class Unnamed(BrokenMeter):
    provenance = replace(ESTIMATED, device="")


class Guessing(BrokenMeter):
    provenance = replace(ESTIMATED, kind="guessed")  # type: ignore[arg-type]


class NotANumber(BrokenMeter):
    def read(self, energy_j: float) -> Energy:
        return Energy(1.0, cpu_j=math.nan)


class Negative(BrokenMeter):
    def read(self, energy_j: float) -> Energy:
        return Energy(1.0, cpu_j=-energy_j)


class NoTime(BrokenMeter):
    def read(self, energy_j: float) -> Energy:
        return Energy(0.0, cpu_j=energy_j)


class Nothing(BrokenMeter):
    def read(self, energy_j: float) -> Energy:
        return Energy(1.0)


class SilentZero(BrokenMeter):
    def read(self, energy_j: float) -> Energy:
        return Energy(1.0, cpu_j=0.0)


class LosesAPart(BrokenMeter):
    windows = 0

    def read(self, energy_j: float) -> Energy:
        self.windows += 1
        return Energy(1.0, cpu_j=energy_j, gpu_j=1.0 if self.windows == 1 else None)


class NeverRefuses(BrokenMeter):
    def stop(self) -> Energy:
        return self.read(self.counter.total_j - (self.began_j or 0.0))


class ForgetsToClose(BrokenMeter):
    def stop(self) -> Energy:
        if self.began_j is None:
            raise RuntimeError("no window is open")
        return self.read(self.counter.total_j - self.began_j)


class Overhead(BrokenMeter):
    def read(self, energy_j: float) -> Energy:
        return Energy(1.0, cpu_j=energy_j + 100)


class NeverResets(BrokenMeter):
    """It counts from its first window on, with nothing lost in a sum that grows little."""

    first_j: float | None = None

    def start(self) -> None:
        self.first_j = self.counter.total_j if self.first_j is None else self.first_j
        self.began_j = self.first_j


@pytest.mark.parametrize(
    ("meter", "check", "says"),
    [
        (NoStop, "is_an_energy_meter", "NoStop without stop"),
        (Unnamed, "says_where_its_joules_come_from", "a text as provenance.device, got ''"),
        (Guessing, "says_where_its_joules_come_from", "got 'guessed'"),
        (NotANumber, "a_window_has_finite_parts_and_takes_time", "got nan"),
        (Negative, "a_window_has_finite_parts_and_takes_time", "got -2"),
        (NoTime, "a_window_has_finite_parts_and_takes_time", "time_s to be finite and above 0"),
        (Nothing, "a_window_has_finite_parts_and_takes_time", "raise HardwareError in the"),
        (LosesAPart, "windows_follow_each_other_with_the_same_parts", "gpu_j and cpu_j like"),
        (NeverRefuses, "stop_without_start_is_an_error", "no error, but Energy"),
        (ForgetsToClose, "stopping_twice_is_an_error", "forget the open window"),
        (SilentZero, "work_costs_more_than_none", "0 J; check that the sensor is read"),
        (Overhead, "windows_add_up", "to cost the 120 J of one of 10"),
        (NeverResets, "work_costs_more_than_none", "20 J"),
    ],
)
def test_a_broken_meter_is_caught_by_the_check_that_is_for_it(
    meter: type[Any], check: str, says: str
):
    made: list[Any] = []

    def make() -> Any:
        made.append(meter())
        return made[-1]

    def work(amount: int) -> None:
        made[-1].counter.total_j += 2 * amount

    violation = caught(check_meter, make, work=work, tolerance=1e-9)
    assert violation.check == check
    assert says in str(violation)


def test_a_recording_need_not_count():
    steady: Any = type("Steady", (BrokenMeter,), {"read": lambda self, _: Energy(1.0, cpu_j=1.0)})
    assert caught(check_meter, steady, work=lambda _: None).check == "work_costs_more_than_none"
    check_meter(steady, work=lambda _: None, counting=False)


def test_a_check_can_be_left_out_by_its_name_alone():
    counter = Counter()

    def skipping(*skip: str) -> tuple[str, ...]:
        return check_meter(lambda: ToyMeter(counter), work=lambda n: spend(counter, n), skip=skip)

    every = tuple(check.name for check in testing.COUNTING_METER_CHECKS)
    assert skipping() == every
    assert skipping("windows_add_up") == tuple(name for name in every if name != "windows_add_up")
    with pytest.raises(ValueError, match=r"skip=windows is no check .* choose from is_an_energy"):
        skipping("windows")
