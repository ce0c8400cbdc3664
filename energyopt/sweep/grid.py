"""All points of a space, planned beforehand: `sampler=grid`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from energyopt.errors import ConfigError
from energyopt.search.guarded_sampler import decimal_point
from energyopt.search.space import Space
from energyopt.storage.reconciliation import Point
from energyopt.sweep.composer import Composer
from energyopt.sweep.trial_queue import NextPoint

MOST_POINTS = 100_000  # one takes about 1 kB, and 0.1 ms in a conditional space


def check_grid(space: Space) -> None:
    """Check that the points of a grid can be planned.

    Raises:
        ConfigError: If a key has no countable values, or there are too many points.
    """
    counts = [d.n_values for d in space.dimensions]
    for dimension, count in zip(space.dimensions, counts, strict=True):
        if count is None:
            dimension.grid()  # raises
    n_points = math.prod(count for count in counts if count is not None)
    if n_points > MOST_POINTS:
        raise ConfigError(
            f"the grid has {n_points:,} points, and at most {MOST_POINTS:,} can be planned: give "
            "larger steps or fewer choices, or another sampler"
        )


def plan_grid(space: Space, composer: Composer, n_trials: int) -> tuple[int, NextPoint, list[str]]:
    """Plan a trial for each point of a space.

    Args:
        space: The search space.
        composer: Knows which dimensions exist under a choice of groups.
        n_trials: Maximum number of trials.

    Returns:
        The number of trials, the function that returns the next point, and lines to print.
    """
    check_grid(space)
    planned: dict[frozenset[tuple[str, Any]], Point] = {}
    for values in itertools.product(*(d.grid() for d in space.dimensions)):
        params = dict(zip((d.key for d in space.dimensions), values, strict=True))
        present = composer.present({d.key: params[d.key] for d in space.groups})
        keys = {d.key for d in (*space.groups, *present)}
        point = {key: value for key, value in params.items() if key in keys}
        # Points may differ only in keys that do not exist there.
        planned.setdefault(frozenset(point.items()), point)
    points = list(planned.values())

    axes = {d.key: d.distribution for d in space.dimensions}

    def next_point(trained: Sequence[Point]) -> Point | None:
        # Earlier versions stored what a sampler suggested as 0.30000000000000004.
        existing = {frozenset(decimal_point(point, axes).items()) for point in trained}
        return next((point for key, point in planned.items() if key not in existing), None)

    if len(points) <= n_trials:
        return len(points), next_point, []
    line = (
        f"the grid has {len(points)} points, n_trials={n_trials} trains the first of them; "
        f"n_trials={len(points)} trains all"
    )
    return n_trials, next_point, [line]
