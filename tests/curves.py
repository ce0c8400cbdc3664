"""Curves for tests of what looks at them: from a few numbers, or any."""

from __future__ import annotations

from hypothesis import strategies as st

from energyopt.testing._curves import TARGET, make_stepped_curve
from energyopt.testing._curves import make_curve as curve
from energyopt.testing._curves import make_history as rivals_of
from energyopt.testing._curves import make_progress as progress
from energyopt.testing._curves import make_steady_curve as steady

__all__ = ["CURVES", "TARGET", "curve", "progress", "rivals_of", "steady"]

CURVES = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100)), min_size=1, max_size=15).map(
    make_stepped_curve
)
"""Any curve of up to 15 evaluations, fewer than are thinned."""
