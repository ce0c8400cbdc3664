"""Which power limit is best, by Zeus' own selectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from energyopt.core.conditions import ProfilePoint
from energyopt.hardware.gpu_options import GpuOptions

Select = Callable[[Sequence[ProfilePoint]], float]
"""Chooses the limit, in W, from what several cost."""


def selector(options: GpuOptions, gpus: int) -> Select:
    """The choice that a config asks for.

    Args:
        options: `power_policy`, and what belongs to it.
        gpus: How many GPUs a limit is set on.

    Source: Zeus, `zeus.optimizer.power_limit`; its cost is eta x energy + (1 - eta) x highest
    limit x time (You et al., NSDI 2023).
    """
    # Heavy (pandas, scikit-learn), and needed where a trial profiles alone.
    from zeus.optimizer import power_limit as zeus

    policy = {
        "energy": zeus.Energy,
        "time": zeus.Time,
        "zeus_cost": lambda: zeus.ZeusCost(options.power_eta, world_size=gpus),
        "max_slowdown": lambda: zeus.MaxSlowdownConstraint(options.power_slowdown),
    }[options.power_policy]()

    def select(points: Sequence[ProfilePoint]) -> float:
        """By whole watts, as Zeus counts them."""
        limits = {round(at.limit_w): at.limit_w for at in points}
        measured = [
            zeus.PowerLimitMeasurement(
                power_limit=round(at.limit_w), energy=at.step_j, time=at.step_s
            )
            for at in points
        ]
        return limits[policy.select(measured)]

    return select
