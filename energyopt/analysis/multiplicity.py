"""Verdicts on several comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the order given.

    Where no comparison has a difference, at most 5 % of studies then find one at 0.05, whatever the
    number n of comparisons and however they depend on each other. Source: S. Holm, "A Simple
    Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979: the
    i-th smallest of n is multiplied by n - i + 1, and none becomes smaller than one before it.

    Args:
        p_values: Two-sided p-values.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted
