"""Each SQL statement of a small study dies, or fails, once; the next run makes the study whole."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests import small_study
from tests.small_study import UNTOUCHED, check, forked


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("place", "action", "step"), [("write", "kill", 3), ("sql", "fail", 11)])
def test_a_fault_at_any_statement_costs_nothing(tmp_path, place, action, step):
    """A study of two trials on a file dies once at each third write, or fails at an eleventh.

    To die at a query is to die at the next statement that is none.
    """
    struck = 0
    for nth in range(1, 1000, step):
        where, folder = str(tmp_path / f"{nth}.db"), tmp_path / str(nth)

        def run(where: str = where, folder: Path = folder) -> None:
            small_study.run(where, folder, 2)

        code = forked(run, f"{place}#{nth}:{action}")
        if code == UNTOUCHED:
            break
        # Some that fail cost nothing at once: they are tried again, or say that a run is over.
        assert code in ((-signal.SIGKILL,) if action == "kill" else (0, 2)), nth
        struck += 1
        assert forked(run) == 0, nth
        check(where, 2)
    assert struck > 15
