"""All points of a space, planned beforehand: `sampler=grid`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from energyopt.search.guarded_sampler import decimal_point
from energyopt.search.space import Space
from energyopt.storage.reconciliation import Point
from energyopt.sweep.composer import Composer
from energyopt.sweep.trial_queue import NextPoint


def plan_grid(space: Space, composer: Composer, n_trials: int) -> tuple[int, NextPoint, list[str]]:
    """Plan a trial for each point of a space.

    Args:
        space: The search space.
        composer: Knows which dimensions exist under a choice of groups.
        n_trials: Maximum number of trials.

    Returns:
        The number of trials, the function that returns the next point, and lines to print.
    """
    points: list[Point] = []
    for values in itertools.product(*(d.grid() for d in space.dimensions)):
        params = dict(zip((d.key for d in space.dimensions), values, strict=True))
        present = composer.present({d.key: params[d.key] for d in space.groups})
        keys = {d.key for d in (*space.groups, *present)}
        point = {key: value for key, value in params.items() if key in keys}
        if point not in points:  # points may differ only in keys that do not exist there
            points.append(point)

    axes = {d.key: d.distribution for d in space.dimensions}

    def next_point(trained: Sequence[Point]) -> Point | None:
        # Earlier versions stored what a sampler suggested as 0.30000000000000004.
        existing = {frozenset(decimal_point(point, axes).items()) for point in trained}
        return next((p for p in points if frozenset(p.items()) not in existing), None)

    if len(points) <= n_trials:
        return len(points), next_point, []
    line = (
        f"the grid has {len(points)} points, n_trials={n_trials} trains the first of them; "
        f"n_trials={len(points)} trains all"
    )
    return n_trials, next_point, [line]
