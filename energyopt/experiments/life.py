"""The joules of a model's life: its search, its training, and the answers that it gives.

E(Q) = E_search + E_train + Q x E_answer: the more answers, the less what came before them matters.
E_search is that of the trainings of the search alone: its commands have no account here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from energyopt.analysis.paired_ratio import half_width
from energyopt.core.accounting import life_cycle_j
from energyopt.core.units import joules
from energyopt.experiments.results import Table, mean, rounded
from energyopt.experiments.rows import Row

ANSWERS = tuple(10**power for power in range(10))
"""Numbers of answers Q for which the joules of a life are given."""

SHARE = 0.05
"""Share of a life below which search and training are said not to matter any more."""

_SHOWN = (1e3, 1e6, 1e9)  # numbers of answers in the table


def life_of(name: str, grid: Sequence[Row], retrained: Sequence[Row]) -> dict[str, Any] | None:
    """Return the joules of the life of a model that a search has found.

    Args:
        name: Its name.
        grid: The trainings that chose its configuration: their energy for all purposes is E_search.
        retrained: Its trainings with new seeds; E_train is their mean energy to the target with
            evaluations and the upfront share.

    Returns:
        None if a training missed the target, or the energy of its answers was not metered.
    """
    training_j = {row.seed: row.evaluated_j for row in retrained if row.reached}
    answer_j = {row.seed: next(iter(row.answers_j.values()), 0.0) / 1000 for row in retrained}
    by_seed_j = {seed: energy_j for seed, energy_j in training_j.items() if energy_j is not None}
    mean_training_j, mean_answer_j = mean([*by_seed_j.values()]), mean([*answer_j.values()])
    is_known = len(by_seed_j) == len(retrained) and all(
        energy_j > 0 for energy_j in answer_j.values()
    )
    if mean_training_j is None or mean_answer_j is None or not is_known:
        return None
    search_j = sum(row.total_j for row in grid)
    logs = [
        math.log(_answers_until((search_j + by_seed_j[seed]) / answer_j[seed])) for seed in answer_j
    ]
    center, half = statistics.fmean(logs), half_width(logs) if len(logs) > 1 else math.nan
    ends = {"value": center, "low": center - half, "high": center + half}
    return {
        "name": name,
        "search_j": rounded(search_j),
        "training_j": rounded(mean_training_j),
        "answer_j": rounded(mean_answer_j),
        "total_j": {
            str(count): rounded(
                life_cycle_j(search_j, mean_training_j, count, 1000 * mean_answer_j)
            )
            for count in ANSWERS
        },
        "share": SHARE,
        "answers_until": {
            end: None if math.isnan(log) else rounded(math.exp(log)) for end, log in ends.items()
        },
    }


def _answers_until(earlier_per_answer: float) -> float:
    """Return the number of answers at which what came before them is `SHARE` of the whole.

    E_before = SHARE x (E_before + Q x E_answer), so Q = E_before / E_answer x (1 / SHARE - 1).
    """
    return earlier_per_answer * (1 / SHARE - 1)


def life_table(lives: Sequence[dict[str, Any]]) -> Table:
    """Return the table of lives; empty without any."""
    columns = ("", "search", "training", "an answer", *(f"Q={count:.0e}" for count in _SHOWN))
    return Table(
        f"The joules of a life: search + training + Q answers; Q until: {100 * SHARE:g} % of them "
        "are search and training",
        (*(column.replace("e+0", "e") for column in columns), "Q until"),
        tuple(map(_row, lives)),
    )


def _row(life: dict[str, Any]) -> tuple[str, ...]:
    parts = (joules(life[key]) for key in ("search_j", "training_j", "answer_j"))
    totals = (joules(life["total_j"][str(int(count))]) for count in _SHOWN)
    limit = life["answers_until"]
    ends = "" if limit["low"] is None else f" [{limit['low']:.1e}, {limit['high']:.1e}]"
    return (life["name"], *parts, *totals, f"{limit['value']:.1e}{ends}".replace("e+0", "e"))
