"""The policy of Zeus (You et al., NSDI 2023) from the installed package, on our loop.

The batch size is pruned in two rounds from the default and then drawn by Thompson sampling; a job
is stopped before the epoch in which it would cost `beta` times the least that a job has cost; the
first epoch of a batch size is split evenly over all power limits. `zeus._legacy.simulate` does the
same on tables alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.problems import Setup
from benchmarks.session import Session
from energyopt.core.protocols import TrainStep
from energyopt.core.traces import Clock
from energyopt.paradigms.replay import EPOCH_SAMPLES, Playback

_NOT_BEGUN = 100.0  # what the simulator tells of a job that may not train one epoch, in caps


def zeus(session: Session, *, beta: float = 2.0, **options: Any) -> Iterator[Setup | None]:
    """Train job after job as the policy says; recommend the batch size of the least mean cost.

    Args:
        session: Where it trains.
        beta: A job is stopped at so many times the least cost.
        options: Of `PruningGTSBatchSizeOptimizer`.
    """
    from zeus._legacy.job import Job
    from zeus._legacy.policy.optimizer import JITPowerLimitOptimizer, PruningGTSBatchSizeOptimizer

    recorded = session.problem.recorded
    start = session.problem.default
    sizes = PruningGTSBatchSizeOptimizer(seed=session.seed, verbose=False, **options)
    limits = JITPowerLimitOptimizer(verbose=False)
    job = Job(recorded.workload, "", "", recorded.target, recorded.max_epochs, start.batch_size)
    sizes.register_job(job, sorted(recorded.runs))
    costs: dict[int, list[float]] = defaultdict(list)
    least_j, burnt_j = np.inf, 0.0
    while True:
        try:
            with np.errstate(divide="ignore", invalid="ignore"):  # equal costs have no variance
                size = int(sizes.predict(job))
        except (ValueError, AssertionError):  # it has pruned all batch sizes
            return
        epoch_j = _epochs_j(session, size)
        new = limits.predict(job, size) is None
        for limit_w, cost_j in epoch_j.items() if new else ():
            limits.observe(job, size, limit_w, cost_j)
        limit_w = limits.predict(job, size)
        most_j = min(beta * least_j, recorded.max_epochs * epoch_j[limit_w])
        epochs = int(most_j / epoch_j[limit_w] + 1e-9)
        if epochs < 1:
            _observe(sizes, job, size, _NOT_BEGUN * beta * least_j, reached=False)
            continue
        training = session.begin_size(size)
        wrap = partial(_Split, clock=session.clock, limits_w=list(epoch_j), best_w=limit_w)
        result = session.train(
            training, epochs=epochs, limit_w=limit_w, wrap=wrap if new else lambda played: played
        )
        if new:  # what the first epoch cost beyond one at the chosen limit
            session.profiling_j += float(np.mean(list(epoch_j.values()))) - epoch_j[limit_w]
        _observe(sizes, job, size, result.spent_j, reached=result.reached)
        burnt_j += result.spent_j
        if result.reached:
            costs[size].append(result.spent_j)
            least_j, burnt_j = min(least_j, burnt_j), 0.0
        means = {key: float(np.mean(cost)) for key, cost in costs.items()}
        best = min(means, key=means.__getitem__) if means else None
        yield None if best is None else Setup(best, limits.predict(job, best))


def _observe(sizes: Any, job: Any, size: int, cost_j: float, *, reached: bool) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes.observe(job, size, cost_j, reached)


def _epochs_j(session: Session, size: int) -> Mapping[float, float]:
    """Energy of an epoch at each limit, from the highest downward, in J."""
    costs = session.problem.recorded.costs[size]
    return {limit_w: costs.pace(limit_w).until(1.0)[1] for limit_w in costs.limits_w[::-1]}


class _Split:
    """Plays the first epoch in equal parts at all limits, and the rest at the best."""

    epoch_samples = EPOCH_SAMPLES

    def __init__(
        self, playback: Playback, *, clock: Clock, limits_w: Sequence[float], best_w: float
    ) -> None:
        self._playback = playback
        self._clock = clock
        self._limits_w = limits_w
        self._best_w = best_w
        self._first = True

    def train(self, samples: int) -> TrainStep:
        if not self._first:
            return self._playback.train(samples)
        self._first = False
        marks = [round(i * samples / len(self._limits_w)) for i in range(len(self._limits_w) + 1)]
        for limit_w, begin, end in zip(self._limits_w, marks, marks[1:], strict=False):
            self._clock.limit_w = limit_w
            self._playback.train(end - begin)
        self._clock.limit_w = self._best_w
        return TrainStep(samples, samples, 1.0)

    def evaluate(self) -> float:
        return self._playback.evaluate()
