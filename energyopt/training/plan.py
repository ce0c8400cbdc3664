"""The length of a trial, and the times of its evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass

_EVALUATIONS_PER_EPOCH = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a trial, and when it is evaluated.

    Attributes:
        target: Value of the metric to reach.
        epochs: Maximum number of epochs.
        max_samples: Samples after which it ends in any case; None for no limit.
        eval_every: Samples between evaluations, the same for all batch sizes; None is a
            quarter of an epoch until the target is reached and an epoch after it (four
            evaluations an epoch cost 22-44 % of a small network's time).
        patience: Evaluations without a better value, after the target, that end the trial;
            None trains all epochs.
        stop_at_target: End at the first evaluation at the target.
        pause_at_j: Training energy at which it pauses, its share of pretraining included, in J; 0
            as soon as power limits are profiled, or at its first evaluation; None never.
        inference_s: Minimum time of inference after the training, to meter it, in s; None for no
            inference.
        test_at_end: Evaluate the model as it ended on the test split.
        max_loss_growth: Mean loss of a window, in units of the first window's, that counts
            as divergence.
    """

    target: float
    epochs: float
    max_samples: int | None = None
    eval_every: int | None = None
    patience: int | None = None
    stop_at_target: bool = False
    pause_at_j: float | None = None
    inference_s: float | None = None
    test_at_end: bool = False
    max_loss_growth: float = 10.0

    def next_evaluation(self, samples: int, epoch_samples: int, *, reached: bool) -> int:
        """Return the samples since the first step at which to evaluate next.

        Marks are multiples counted from the start, so that a large batch that overshoots one
        does not shift the others.
        """
        if self.eval_every is not None:
            interval = float(self.eval_every)
        else:
            interval = epoch_samples / (1 if reached else _EVALUATIONS_PER_EPOCH)
        mark = math.ceil(round((math.floor(samples / interval + 1e-9) + 1) * interval, 6))
        return min(mark, self.last_sample(epoch_samples))

    def last_sample(self, epoch_samples: int) -> int:
        """Return the samples after which the trial has trained all its epochs."""
        last = max(1, round(self.epochs * epoch_samples))
        return last if self.max_samples is None else min(last, self.max_samples)
