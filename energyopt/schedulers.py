"""How the learning rate runs over a training; stepped once an optimizer step.

All are functions `(optimizer, total_steps, ...)`. The configured `lr` of each parameter group is
the highest rate it sees. Beyond `total_steps` the rate stays where it ended.
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
        None: there is nothing to step.
    """
    return None


def cosine(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final_factor: float = 0.0
) -> LRScheduler:
    """Let the learning rate fall along half a cosine (Loshchilov & Hutter, arXiv 1608.03983).

    Args:
        optimizer: Its groups' `lr` is where the rate falls from.
        total_steps: Optimizer steps of the whole training.
        warmup: Share of the steps, in [0, 1), over which the rate first rises linearly.
        final_factor: Where it ends, as a share of `lr`, in [0, 1].

    Raises:
        ConfigError: If an option is out of its range.
    """
    _check(total_steps, warmup, final_factor=final_factor)
    rising = warmup * total_steps

    def factor(step: int) -> float:
        if step < rising:
            # The first step would otherwise be lost to a rate of zero.
            return (step + 1) / (rising + 1)
        return _ease(1.0, final_factor, (step - rising) / (total_steps - rising))

    return LambdaLR(optimizer, factor)


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    warmup: float = 0.3,
    initial_factor: float = 0.04,
    final_factor: float = 0.0,
) -> LRScheduler:
    """Let the learning rate rise, then fall (Smith & Topin, arXiv 1708.07120).

    Both ways follow half a cosine. Momentum is left alone, so that any optimizer fits.

    Args:
        optimizer: Its groups' `lr` is the peak.
        total_steps: Optimizer steps of the whole training.
        warmup: Share of the steps, in [0, 1), over which the rate rises.
        initial_factor: Where it starts, as a share of `lr`, in [0, 1].
        final_factor: Where it ends, as a share of `lr`, in [0, 1].

    Raises:
        ConfigError: If an option is out of its range.
    """
    _check(total_steps, warmup, initial_factor=initial_factor, final_factor=final_factor)
    # A whole number, so that one step sees the peak itself.
    rising = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return _ease(initial_factor, 1.0, step / rising)
        return _ease(1.0, final_factor, (step - rising) / max(total_steps - rising, 1))

    return LambdaLR(optimizer, factor)


def _ease(start: float, end: float, progress: float) -> float:
    """Go from start to end along half a cosine; beyond a progress of 1 stay at the end."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _check(total_steps: int, warmup: float, **factors: float) -> None:
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
