"""Objectives that a study minimises or maximises.

An objective is anything with `metrics`, `stops_at_target` and `__call__(TrialResult)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.number_checks import is_number
from energyopt.core.study_record import Metric
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError, TrialError

Direction = Literal["minimize", "maximize"]


def cost_j(result: TrialResult) -> float:
    """Return the energy to the target, in J; if it was missed, the energy used, a lower bound."""
    energy_j = result.energy_to_target_j
    return result.cost_j if energy_j is None else energy_j


def cost_s(result: TrialResult) -> float:
    """Return the training time to the target, in s; if missed, the whole time, a lower bound."""
    time_s = result.time_to_target_s
    return result.booked("training").time_s if time_s is None else time_s


class EnergyVsAccuracy:
    """Two objectives: less energy to the target, a better metric. Trains beyond the target.

    Args:
        monitor: The metric.
    """

    stops_at_target = False

    def __init__(self, monitor: Monitor = ACCURACY) -> None:
        direction: Direction = "maximize" if monitor.mode == "max" else "minimize"
        energy = Metric("energy_to_target_j", "minimize")
        self.metrics = (energy, Metric(monitor.name, direction))

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return energy to target in J and the best value of the metric."""
        return cost_j(result), result.best_accuracy


class BestMetric:
    """One objective: the best value of the metric, as Optuna's pruners need it.

    Args:
        monitor: The metric.
        name: Name of the objective; that of the metric if None.
    """

    stops_at_target = False

    def __init__(self, monitor: Monitor, name: str | None = None) -> None:
        direction: Direction = "maximize" if monitor.mode == "max" else "minimize"
        self.metrics = (Metric(name or monitor.name, direction),)

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return the best value of the metric."""
        return (result.best_accuracy,)


class EnergyToTarget:
    """One objective: the energy to the target. A trial stops there."""

    metrics = (Metric("energy_to_target_j", "minimize"),)
    stops_at_target = True

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return energy to target in J."""
        return (cost_j(result),)


class EnergyDelayProduct:
    """One objective: energy to target times time to target. A trial stops there."""

    metrics = (Metric("energy_delay_product_js", "minimize"),)
    stops_at_target = True

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return energy times time to target, in J s."""
        return (cost_j(result) * cost_s(result),)


class TimeVsEnergy:
    """Two objectives: less time and less energy to the target. A trial stops there."""

    metrics = (Metric("time_to_target_s", "minimize"), Metric("energy_to_target_j", "minimize"))
    stops_at_target = True

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return time to target in s and energy to target in J."""
        return cost_s(result), cost_j(result)


class LifeCycle:
    """One objective: energy to the target plus that of all inferences. A trial stops there.

    The energy of the search is left out: it does not depend on which configuration is chosen.

    Args:
        n_inferences: Inferences over the model's life.
        embodied_j: Share of the energy used to make the hardware, in J.

    Raises:
        ConfigError: If one is not a finite number of at least 0.
    """

    metrics = (Metric("life_cycle_j", "minimize"),)
    stops_at_target = True
    needs_inference = True

    def __init__(self, n_inferences: float, embodied_j: float = 0.0) -> None:
        for key, value in (("n_inferences", n_inferences), ("embodied_j", embodied_j)):
            if not is_number(value) or value < 0:
                raise ConfigError(f"objective.{key}={value}: a number of at least 0 is needed")
        self._n_inferences = n_inferences
        self._embodied_j = embodied_j

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return energy to target + n_inferences * J per inference + embodied_j, in J.

        Raises:
            TrialError: If the paradigm has no inference to meter.
        """
        per_1000_j = next(iter(result.inference_j_per_1000.values()), None)
        if per_1000_j is None:
            raise TrialError(
                "objective=life_cycle needs the energy of an answer, and the paradigm has no "
                "inference(): see energyopt.core.protocols.Infers, or choose another objective"
            )
        inference_j = self._n_inferences * per_1000_j / 1000
        return (cost_j(result) + inference_j + self._embodied_j,)


class FunctionObjective:
    """A user's own function of a `TrialResult`.

    Args:
        function: Takes a `TrialResult`; returns a number, or one number a metric.
        metrics: Name (with the unit as suffix) to "minimize" or "maximize", in order.
        stops_at_target: Whether to stop at the target: the function needs nothing beyond it.

    Raises:
        ConfigError: If a direction is neither "minimize" nor "maximize", or none is given.
    """

    def __init__(
        self,
        function: Callable[[TrialResult], float | Sequence[float]],
        metrics: Mapping[str, Direction],
        *,
        stops_at_target: bool = False,
    ) -> None:
        if not metrics:
            raise ConfigError(
                "objective.metrics is empty; name each value, such as "
                "'objective.metrics={carbon_g: minimize}'"
            )
        for name, direction in metrics.items():
            if direction not in ("minimize", "maximize"):
                raise ConfigError(
                    f"objective.metrics.{name}={direction}: choose minimize or maximize"
                )
        self.metrics = tuple(Metric(name, direction) for name, direction in metrics.items())
        self.stops_at_target = stops_at_target
        self._function = function

    def __call__(self, result: TrialResult) -> tuple[float, ...]:
        """Return the function's values as a tuple."""
        values = self._function(result)
        return tuple(values) if isinstance(values, Sequence) else (values,)
