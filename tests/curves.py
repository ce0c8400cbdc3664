"""Curves for tests of what looks at them: from a few numbers, or any."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from energyopt.core.energy import Curve
from energyopt.core.history import Progress, Rivals

TARGET = 0.9


def curve(*points: tuple[float, float]) -> Curve:
    """One from (joules so far, accuracy) of each evaluation, one an epoch."""
    joules, accuracy = zip(*points, strict=True) if points else ((), ())
    epochs = tuple(range(1, len(points) + 1))
    return Curve(joules, joules, accuracy, epochs, epochs, tuple(map(float, epochs)))


def steady(accuracy: Sequence[float], epoch_j: float = 1.0) -> Curve:
    """One whose epochs cost the same, in J."""
    return curve(*((epoch_j * (at + 1), value) for at, value in enumerate(accuracy)))


def progress(of: Curve, seen: int, *, last_epoch: float = 20.0, beyond: bool = True) -> Progress:
    """A trial after so many of its evaluations."""
    return Progress(
        of.epoch[:seen],
        of.training_j[:seen],
        of.accuracy[:seen],
        TARGET,
        last_epoch,
        beyond=beyond,
    )


def rivals_of(curves: Iterable[Curve]) -> Rivals:
    """What is known after trials with these curves, numbered from 0."""
    rivals = Rivals()
    for number, each in enumerate(curves):
        rivals = rivals.learn(number, each, TARGET)
    return rivals


def _made(steps: list[tuple[int, int]]) -> Curve:
    joules = itertools.accumulate(step for step, _ in steps)
    return curve(*((float(j), at / 100) for j, (_, at) in zip(joules, steps, strict=True)))


CURVES = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100)), min_size=1, max_size=15).map(
    _made
)
"""Any curve of up to 15 evaluations, fewer than are thinned."""
