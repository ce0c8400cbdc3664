"""Checks of energy meters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import get_args

from energyopt.core.energy import PARTS, Energy
from energyopt.core.protocols import EnergyMeter
from energyopt.core.trial_result import Kind
from energyopt.testing._check import (
    Check,
    check,
    require,
    require_error,
    require_protocols,
    run_checks,
)

_CPU_S_PER_UNIT = 0.005
_ROUNDING_J = 1e-12  # error of sums of the same joules in a different order
_TEXTS = ("meter", "version", "scope", "device", "host", "uncertainty")


def use_cpu(amount: int) -> None:
    """Keep one core busy for 5 ms of this thread's CPU time per unit."""
    end_s = time.thread_time() + _CPU_S_PER_UNIT * amount
    while time.thread_time() < end_s:
        pass


@dataclass(frozen=True, slots=True)
class MeterCase:
    """A meter and work for it to measure; see `check_meter`."""

    make: Callable[[], EnergyMeter]
    work: Callable[[int], None] = use_cpu
    tolerance: float = 0.25

    def measure(self, meter: EnergyMeter, amount: int = 1) -> Energy:
        """Return the energy of a window with some work."""
        meter.start()
        self.work(amount)
        return meter.stop()


@check
def is_an_energy_meter(case: MeterCase) -> None:
    """Check that it has `provenance`, `start` and `stop`."""
    require_protocols(case.make(), [EnergyMeter])


@check
def says_where_its_joules_come_from(case: MeterCase) -> None:
    """Check that its provenance is complete and stays the same."""
    meter = case.make()
    provenance = meter.provenance
    kinds = get_args(Kind)
    require(
        provenance.kind in kinds,
        f"provenance.kind to be one of {', '.join(kinds)}",
        repr(provenance.kind),
        "say truly how the joules come about",
    )
    for name in _TEXTS:
        text = getattr(provenance, name)
        require(text, f"a text as provenance.{name}", repr(text), "fill it in")
    resolution_s = provenance.resolution_s
    require(
        math.isfinite(resolution_s) and resolution_s >= 0,
        "provenance.resolution_s to be a finite number of at least 0",
        resolution_s,
        "give the update period of the sensor in s, 0 where it does not matter",
    )
    require(
        provenance == meter.provenance,
        "the same provenance each time",
        f"{provenance}, then {meter.provenance}",
        "make it once, in the constructor",
    )


@check
def a_window_has_finite_parts_and_takes_time(case: MeterCase) -> None:
    """Check that a window takes time and has finite joules, none of them negative."""
    energy = case.measure(case.make())
    require(
        math.isfinite(energy.time_s) and energy.time_s > 0,
        "time_s to be finite and above 0",
        energy.time_s,
        "take it from a monotonic clock such as time.perf_counter()",
    )
    parts = {name: getattr(energy, name) for name in PARTS}
    metered = {name: part for name, part in parts.items() if part is not None}
    require(
        metered,
        f"at least one of {', '.join(PARTS)}",
        "None for each",
        "raise HardwareError in the constructor where nothing can be read",
    )
    for name, part in metered.items():
        require(
            math.isfinite(part) and part >= 0,
            f"{name} to be a finite number of joules of at least 0",
            part,
            "handle an overflow of the counter, and raise HardwareError where it cannot be read; "
            "a part that is not metered is None",
        )


@check
def windows_follow_each_other_with_the_same_parts(case: MeterCase) -> None:
    """Check that each window has the same parts metered."""
    meter = case.make()
    first, second = (_metered(case.measure(meter)) for _ in range(2))
    require(
        first == second,
        f"the second window to have {_listed(first)} like the first",
        _listed(second),
        "raise HardwareError where a part cannot be read any more",
    )


@check
def work_between_windows_does_not_break_it(case: MeterCase) -> None:
    """Check that a window can follow work that was not metered."""
    meter = case.make()
    case.measure(meter)
    case.work(1)
    time_s = case.measure(meter).time_s
    require(
        time_s > 0,
        "the time_s of a second window to be above 0",
        time_s,
        "read the clock again in start()",
    )


@check
def stop_without_start_is_an_error(case: MeterCase) -> None:
    """Check that a window that was never opened cannot be closed."""
    meter = case.make()
    require_error(meter.stop, "stop() without start() to raise an error", "refuse it in stop()")


@check
def stopping_twice_is_an_error(case: MeterCase) -> None:
    """Check that a window cannot be closed a second time."""
    meter = case.make()
    case.measure(meter)
    require_error(
        meter.stop, "a second stop() to raise an error", "forget the open window in stop()"
    )


@check
def work_costs_more_than_none(case: MeterCase) -> None:
    """Check that a window with work costs more than one without: no silent zero."""
    meter = case.make()
    work_j = case.measure(meter, 10).total_j
    idle_j = case.measure(meter, 0).total_j
    require(
        work_j > idle_j,
        f"a window with work to cost more than the {idle_j:g} J of one without",
        f"{work_j:g} J",
        "check that the sensor is read at both ends of the window, and that one unit of `work` is "
        "above its resolution",
    )


@check
def windows_add_up(case: MeterCase) -> None:
    """Check that two windows cost as much as one with the same work."""
    meter = case.make()
    parts = case.measure(meter, 4) + case.measure(meter, 6)
    whole = case.measure(meter, 10)
    _require_close(
        parts.total_j,
        whole.total_j,
        case.tolerance,
        "two windows of 4 and 6 units of work to cost the {} of one of 10",
    )


@check
def work_between_windows_is_in_none(case: MeterCase) -> None:
    """Check that work between two windows is in neither of them."""
    meter = case.make()
    first = case.measure(meter, 10)
    case.work(20)
    second = case.measure(meter, 10)
    _require_close(
        second.total_j,
        first.total_j,
        case.tolerance,
        "a window after unmetered work to cost the {} of the one before it",
    )


METER_CHECKS: tuple[Check[MeterCase], ...] = (
    is_an_energy_meter,
    says_where_its_joules_come_from,
    a_window_has_finite_parts_and_takes_time,
    windows_follow_each_other_with_the_same_parts,
    work_between_windows_does_not_break_it,
)
"""Checks that every meter must pass."""

COUNTING_METER_CHECKS: tuple[Check[MeterCase], ...] = (
    *METER_CHECKS,
    stop_without_start_is_an_error,
    stopping_twice_is_an_error,
    work_costs_more_than_none,
    windows_add_up,
    work_between_windows_is_in_none,
)
"""Checks for a meter that measures work as it happens, unlike a recording."""


def check_meter(
    make: Callable[[], EnergyMeter],
    *,
    work: Callable[[int], None] = use_cpu,
    tolerance: float = 0.25,
    counting: bool = True,
    skip: Collection[str] = (),
) -> tuple[str, ...]:
    """Check an energy meter.

    Args:
        make: Returns a meter that can open at least eight windows; called once per check.
        work: Does an amount of work that the meter sees; one unit must be well above its
            resolution. Uses the CPU if not given.
        tolerance: Largest relative error of a sum of windows: 1e-9 for a counter that `work`
            moves by itself, 0.25 for a sensor of a machine that other processes use as well.
        counting: Whether it measures work as it happens; False for a recording.
        skip: Names of checks to leave out.
    """
    checks = COUNTING_METER_CHECKS if counting else METER_CHECKS
    return run_checks(checks, MeterCase(make, work, tolerance), skip=skip)


def _metered(energy: Energy) -> list[str]:
    return [name for name in PARTS if getattr(energy, name) is not None]


def _listed(names: list[str]) -> str:
    return " and ".join(names) or "no part"


def _require_close(energy_j: float, expected_j: float, tolerance: float, expected: str) -> None:
    require(
        abs(energy_j - expected_j) <= max(tolerance * abs(expected_j), _ROUNDING_J),
        f"{expected.format(f'{expected_j:g} J')} within {tolerance:.3g}",
        f"{energy_j:g} J",
        "count only between start() and stop(); where the sensor is coarse or the machine busy, "
        "use more work or a larger tolerance",
    )
