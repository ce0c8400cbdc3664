"""Learning-rate schedules, advanced once per optimizer step.

All are functions `(optimizer, total_steps, ...)`. The configured `lr` of each parameter group is
its peak rate. Beyond `total_steps` the rate stays at its final value.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from energyopt.errors import ConfigError


def none(optimizer: Optimizer, total_steps: int) -> LRScheduler | None:  # noqa: ARG001 - signature
    """Keep the learning rate constant.

    Args:
        optimizer: Not touched.
        total_steps: Not used.

    Returns:
        None: there is nothing to advance.
    """
    return None


def cosine(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final_factor: float = 0.0
) -> LRScheduler:
    """Lower the learning rate along half a cosine (Loshchilov & Hutter, arXiv 1608.03983).

    Args:
        optimizer: Its groups' `lr` is the peak.
        total_steps: Optimizer steps of the whole training.
        warmup: Share of the steps, in [0, 1), over which the rate first rises linearly.
        final_factor: Final rate as a share of `lr`, in [0, 1].

    Raises:
        ConfigError: If an option is out of its range.
    """
    _validate(total_steps, warmup, final_factor=final_factor)
    warmup_steps = warmup * total_steps

    def factor(step: int) -> float:
        if step < warmup_steps:
            # Without + 1 the first step would have a rate of zero and be wasted.
            return (step + 1) / (warmup_steps + 1)
        return _interpolate(1.0, final_factor, (step - warmup_steps) / (total_steps - warmup_steps))

    return LambdaLR(optimizer, factor)


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    warmup: float = 0.3,
    initial_factor: float = 0.04,
    final_factor: float = 0.0,
) -> LRScheduler:
    """Raise, then lower the learning rate (Smith & Topin, arXiv 1708.07120).

    Both phases follow half a cosine. Momentum is not changed, so any optimizer works.

    Args:
        optimizer: Its groups' `lr` is the peak.
        total_steps: Optimizer steps of the whole training.
        warmup: Share of the steps, in [0, 1), over which the rate rises.
        initial_factor: Initial rate as a share of `lr`, in [0, 1].
        final_factor: Final rate as a share of `lr`, in [0, 1].

    Raises:
        ConfigError: If an option is out of its range.
    """
    _validate(total_steps, warmup, initial_factor=initial_factor, final_factor=final_factor)
    # A whole number, so that one step has exactly the peak rate.
    warmup_steps = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return _interpolate(initial_factor, 1.0, step / warmup_steps)
        return _interpolate(
            1.0, final_factor, (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        )

    return LambdaLR(optimizer, factor)


def _interpolate(start: float, end: float, progress: float) -> float:
    """Interpolate along half a cosine; beyond a progress of 1 return `end`."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _validate(total_steps: int, warmup: float, **factors: float) -> None:
    if total_steps < 1:
        raise ConfigError(
            f"total_steps={total_steps} is no training: a scheduler needs at least 1 step."
        )
    if not 0 <= warmup < 1:
        raise ConfigError(
            f"scheduler.warmup={warmup} is outside [0, 1): give a share of the steps."
        )
    for name, value in factors.items():
        if not 0 <= value <= 1:
            raise ConfigError(
                f"scheduler.{name}={value} is outside [0, 1]: give a share of the learning rate."
            )
