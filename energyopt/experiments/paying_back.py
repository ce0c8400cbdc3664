"""After how many trainings a pretraining has paid back, with Fieller's interval.

At each n, what a training saves against one from scratch, E_scratch - E_finetune - E_pre / n, has a
mean over seeds and an interval. The interval of n is where that of the saving holds zero.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from energyopt.analysis.paired_ratio import quantile
from energyopt.core.accounting import payback_n

_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Payback:
    """Trainings from which a pretraining has paid back.

    Attributes:
        n: By the means; None for never.
        low: The least that is not excluded; None where every n is.
        high: The number from which it surely has; None where no number is sure.
    """

    n: int | None
    low: int | None
    high: int | None

    def __str__(self) -> str:
        if self.n is None and self.low is None:
            return "never"
        n, low, high = ("never" if at is None else str(at) for at in (self.n, self.low, self.high))
        return f"{n} [{low}, {high}]"


def payback(
    pretrain_j: Sequence[float], scratch_j: Sequence[float], finetune_j: Sequence[float]
) -> Payback:
    """Tell from which number of trainings a pretraining has paid back.

    Args:
        pretrain_j: Energy of the pretraining with each seed, in J; above 0.
        scratch_j: Of a training from scratch, with the same seeds, in J.
        finetune_j: Of a fine-tuning, likewise.

    Raises:
        ValueError: If there are fewer than two seeds, or not the same number of each.
    """
    trios = list(zip(pretrain_j, scratch_j, finetune_j, strict=True))
    half = quantile(len(trios) - 1) / math.sqrt(len(trios)) if len(trios) > 1 else math.nan
    if math.isnan(half):
        raise ValueError("an interval takes two seeds at least")

    def saving(share: float) -> tuple[float, float]:
        """Mean and half the interval, if each training pays this share of the pretraining."""
        each = [scratch - tuned - share * pre for pre, scratch, tuned in trios]
        return statistics.fmean(each), half * statistics.stdev(each)

    point = payback_n(*(statistics.fmean(column) for column in zip(*trios, strict=True)))
    return Payback(
        n=point,
        low=_from(lambda share: sum(saving(share))),
        high=_from(lambda share: saving(share)[0] - saving(share)[1]),
    )


def _from(bound: Callable[[float], float]) -> int | None:
    """The least n at which a bound of the saving is above zero; None for none."""
    if bound(0.0) <= 0:
        return None
    if bound(1.0) > 0:
        return 1
    below, above = 0.0, 1.0  # shares: above zero at the first, not at the second
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        if bound(middle) > 0:
            below = middle
        else:
            above = middle
    n = 1 / above
    whole = round(n)
    return whole if math.isclose(n, whole, rel_tol=1e-9) else math.ceil(n)
