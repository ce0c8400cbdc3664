"""Example learning curves, trial progress and study histories, from a few numbers or random."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

from energyopt.core.curve import Curve
from energyopt.core.history import StudyHistory, TrialProgress

TARGET = 0.9
"""Target accuracy of the example trials."""

_MAX_EVALUATIONS = 15  # the history thins curves of more than 16
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
    curve: Curve, evaluations: int, *, last_epoch: float = 20.0, goes_beyond: bool = True
) -> TrialProgress:
    """Make the progress of a trial after the first evaluations of a curve.

    Args:
        curve: The whole curve.
        evaluations: Number of evaluations so far.
        last_epoch: The maximum number of epochs.
        goes_beyond: Whether the trial continues beyond the target for more accuracy.
    """
    return TrialProgress(
        curve.epoch[:evaluations],
        curve.training_j[:evaluations],
        curve.accuracy[:evaluations],
        TARGET,
        last_epoch,
        beyond=goes_beyond,
    )


def make_history(curves: Iterable[Curve]) -> StudyHistory:
    """Make the history of a study of trials with these curves, numbered from 0."""
    history = StudyHistory()
    for number, curve in enumerate(curves):
        history = history.updated_with(number, curve, TARGET)
    return history


def make_stepped_curve(steps: Iterable[tuple[int, int]]) -> Curve:
    """Make a curve from (joules since the one before, accuracy in percent) of each evaluation."""
    added_j, percents = zip(*steps, strict=True)
    joules = itertools.accumulate(added_j)
    pairs = zip(joules, percents, strict=True)
    return make_curve(*((float(joule), percent / _PERCENT) for joule, percent in pairs))


def draw_curve(generator: random.Random) -> Curve:
    """Draw a random curve of up to 15 evaluations; most are worse than real ones."""
    return make_stepped_curve(
        (generator.randint(1, _MAX_STEP_J), generator.randint(0, _PERCENT))
        for _ in range(generator.randint(1, _MAX_EVALUATIONS))
    )


def draw_histories(
    count: int, seed: int = 0, *, max_others: int = 5
) -> tuple[tuple[Curve, tuple[Curve, ...]], ...]:
    """Draw `count` pairs of a trial's curve and those of up to `max_others` earlier trials."""
    generator = random.Random(seed)  # noqa: S311  # examples, no secrets
    return tuple(
        (
            draw_curve(generator),
            tuple(draw_curve(generator) for _ in range(generator.randint(0, max_others))),
        )
        for _ in range(count)
    )
