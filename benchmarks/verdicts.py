"""How good a search was, and which of several is the best: J5 and its statistics.

J5 is the energy of a search until the configuration that it recommends is, and stays, within 5 % of
the least mean energy to target, in units of that (E*). A search that has not got there at the cap
counts as the cap, and as censored.

Rows of J5 are not comparable yet, see `UNEQUAL`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

CAP = 40.0
MARKS = (5.0, 10.0, 20.0)
UNEQUAL = (
    "Warning: the searches have unequal rights. joule may recommend the default after its first\n"
    "look, the others only what has reached the target; where the default is good enough already,\n"
    "J5 is next to 0, and a geometric mean is ruled by such problems. Compare joule with no other\n"
    "row by it."
)
"""To be printed below each table of J5 until the protocol gives all the same rights."""

_RESAMPLES = 10_000


class Moment(NamedTuple):
    """Energy of a search after a step, in E*, and whether its recommendation was good."""

    spent: float
    good: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one search did.

    Attributes:
        first_hit: Energy used when its recommendation was first good, in E*.
        j5: When it was and stayed good, likewise.
        censored: Whether it was not good at the end.
        good_at: Whether it was good after each of `MARKS`.
    """

    first_hit: float
    j5: float
    censored: bool
    good_at: tuple[bool, ...]


def judge(moments: Sequence[Moment], cap: float = CAP) -> Verdict:
    """Judge a search by its moments, which end where it ended by itself, or beyond the cap."""
    within = [moment for moment in moments if moment.spent <= cap]
    first = next((at.spent for at in within if at.good), cap)
    stable = cap
    for at in reversed(within):
        if not at.good:
            break
        stable = at.spent
    return Verdict(
        first,
        stable,
        not (within and within[-1].good),
        tuple(_good_after(within, mark) for mark in MARKS),
    )


def _good_after(moments: Sequence[Moment], mark: float) -> bool:
    before = [moment for moment in moments if moment.spent <= mark]
    return bool(before) and before[-1].good


Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """How one method did on all problems.

    Attributes:
        first_hit: Geometric mean over problems of the median over seeds, in E*.
        j5: Likewise.
        low: Of the 95 % confidence interval of `j5`, by resampling problems.
        high: Likewise.
        censored: Share of searches.
        good_at: Share of searches that were good after each of `MARKS`.
        worst: The largest median J5 of a problem.
        worst_problem: Its name.
        medians: Median J5 by problem.
    """

    first_hit: float
    j5: float
    low: float
    high: float
    censored: float
    good_at: tuple[float, ...]
    worst: float
    worst_problem: str
    medians: Mapping[str, float]


def summarise(verdicts: Mapping[str, Sequence[Verdict]]) -> Summary:
    """Sum up one method's verdicts by problem."""
    medians = {name: _median(v.j5 for v in verdict) for name, verdict in verdicts.items()}
    logs = np.log(list(medians.values()))
    low, high = interval(logs)
    everything = [v for verdict in verdicts.values() for v in verdict]
    worst = max(medians, key=medians.__getitem__)
    return Summary(
        first_hit=geometric(
            [_median(v.first_hit for v in verdict) for verdict in verdicts.values()]
        ),
        j5=float(np.exp(logs.mean())),
        low=low,
        high=high,
        censored=float(np.mean([v.censored for v in everything])),
        good_at=tuple(
            float(np.mean([v.good_at[i] for v in everything])) for i in range(len(MARKS))
        ),
        worst=medians[worst],
        worst_problem=worst,
        medians=medians,
    )


def compare(medians: Mapping[str, Mapping[str, float]], against: str) -> dict[str, Comparison]:
    """Compare methods with one of them, problem by problem, by their median J5.

    Args:
        medians: By method and problem.
        against: The one.
    """
    others = [name for name in medians if name != against]
    pairs = {name: _paired(medians[name], medians[against]) for name in others}
    p_values = _holm({name: _p_value(logs) for name, logs in pairs.items()})
    return {
        name: Comparison(p_values[name], int((logs < 0).sum()), int((logs > 0).sum()))
        for name, logs in pairs.items()
    }


class Comparison(NamedTuple):
    """One method against another: Wilcoxon's p after Holm, and problems won and lost."""

    p_value: float
    wins: int
    losses: int


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]))


def _paired(one: Mapping[str, float], other: Mapping[str, float]) -> Array:
    return np.array([math.log(one[name] / other[name]) for name in one])


def _p_value(differences: Array) -> float:
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences, method="auto").pvalue)


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return corrected


def interval(logs: Array) -> tuple[float, float]:
    """Return the 95 % confidence interval of a geometric mean, from logs, by resampling."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(logs, (_RESAMPLES, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(drawn, [0.025, 0.975]))
    return float(low), float(high)


def _median(values: object) -> float:
    return float(np.median(list(values)))  # type: ignore[call-overload]


def geometric(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(values))))
