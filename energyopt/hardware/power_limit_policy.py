"""Choose the best of several profiled power limits, by Zeus' selectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from energyopt.core.conditions import ProfilePoint
from energyopt.hardware.gpu_options import GpuOptions

Select = Callable[[Sequence[ProfilePoint]], float]
"""Chooses a limit, in W, from the measured energy and time of several."""


def selector(options: GpuOptions, gpus: int) -> Select:
    """Return the configured choice of a power limit.

    "zeus_cost" is eta E + (1 - eta) n P_max t, with the energy E and time t of a step, the number
    n of GPUs, and the highest profiled limit P_max: it prices time at full power. "max_slowdown"
    takes the lowest limit with t <= factor x t(P_max).

    Source: Zeus (`zeus.optimizer.power_limit`, `zeus.utils.metric.zeus_cost`); You et al.,
    "Zeus: Understanding and Optimizing GPU Energy Consumption of DNN Training", NSDI 2023.
    """
    # Heavy (pandas, scikit-learn), and needed only where a trial profiles.
    from zeus.optimizer import power_limit as zeus

    policy = {
        "energy": zeus.Energy,
        "time": zeus.Time,
        "zeus_cost": lambda: zeus.ZeusCost(options.power_eta, world_size=gpus),
        "max_slowdown": lambda: zeus.MaxSlowdownConstraint(options.power_slowdown),
    }[options.power_policy]()

    def select(points: Sequence[ProfilePoint]) -> float:
        """Choose by whole watts, the unit of Zeus, and return the exact limit."""
        limits_w = {round(point.limit_w): point.limit_w for point in points}
        measurements = [
            zeus.PowerLimitMeasurement(
                power_limit=round(point.limit_w), energy=point.step_j, time=point.step_s
            )
            for point in points
        ]
        return limits_w[policy.select(measurements)]

    return select
