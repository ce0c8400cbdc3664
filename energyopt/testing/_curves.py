"""Learning curves, trials so far and histories of a study, from a few numbers or at random."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

from energyopt.core.curve import Curve
from energyopt.core.history import StudyHistory, TrialProgress

TARGET = 0.9
"""Accuracy that made-up trials are to reach."""

_MAX_EVALUATIONS = 15  # fewer than at which a curve of the history is thinned
_MAX_STEP_J = 50
_PERCENT = 100


def make_curve(*points: tuple[float, float]) -> Curve:
    """Make a curve from (joules so far, accuracy) of each evaluation, one per epoch."""
    joules, accuracy = zip(*points, strict=True) if points else ((), ())
    epochs = tuple(range(1, len(points) + 1))
    numbers = tuple(range(len(points)))
    return Curve(joules, joules, accuracy, epochs, epochs, tuple(map(float, epochs)), numbers)


def make_steady_curve(accuracy: Sequence[float], epoch_j: float = 1.0) -> Curve:
    """Make a curve whose epochs cost the same, in J."""
    return make_curve(*((epoch_j * epoch, value) for epoch, value in enumerate(accuracy, 1)))


def make_progress(
    curve: Curve, evaluations: int, *, last_epoch: float = 20.0, beyond: bool = True
) -> TrialProgress:
    """Make a trial that has had so many evaluations of a curve.

    Args:
        curve: Its whole curve.
        evaluations: How many of its points are known.
        last_epoch: The most epochs it may train.
        beyond: Whether accuracy other than the target's counts, too.
    """
    return TrialProgress(
        curve.epoch[:evaluations],
        curve.training_j[:evaluations],
        curve.accuracy[:evaluations],
        TARGET,
        last_epoch,
        beyond=beyond,
    )


def make_history(curves: Iterable[Curve]) -> StudyHistory:
    """Make what is known after trials with these curves, numbered from 0."""
    history = StudyHistory()
    for number, curve in enumerate(curves):
        history = history.learn(number, curve, TARGET)
    return history


def make_stepped_curve(steps: Iterable[tuple[int, int]]) -> Curve:
    """Make a curve from (joules since the one before, accuracy in percent) of each evaluation."""
    added_j, percents = zip(*steps, strict=True)
    joules = itertools.accumulate(added_j)
    pairs = zip(joules, percents, strict=True)
    return make_curve(*((float(joule), percent / _PERCENT) for joule, percent in pairs))


def draw_curve(generator: random.Random) -> Curve:
    """Draw any curve of up to 15 evaluations; most are worse than real ones."""
    return make_stepped_curve(
        (generator.randint(1, _MAX_STEP_J), generator.randint(0, _PERCENT))
        for _ in range(generator.randint(1, _MAX_EVALUATIONS))
    )


def draw_histories(
    count: int, seed: int = 0, *, max_others: int = 5
) -> tuple[tuple[Curve, tuple[Curve, ...]], ...]:
    """Draw a curve and those of earlier trials, so many times."""
    generator = random.Random(seed)  # noqa: S311  # examples, no secrets
    return tuple(
        (
            draw_curve(generator),
            tuple(draw_curve(generator) for _ in range(generator.randint(0, max_others))),
        )
        for _ in range(count)
    )
