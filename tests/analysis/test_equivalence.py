"""Testing that energies are alike."""

from __future__ import annotations

import math
import random

import pytest

from energyopt.analysis.equivalence import equivalence, equivalence_of


def test_it_is_the_interval_of_90_percent_against_the_margin() -> None:
    logs = [0.0, 0.1, -0.1, 0.05, -0.05]
    found = equivalence(logs, 1.25)
    assert found is not None
    assert found.ratio == pytest.approx(1)
    # t(4) at 95 % is 2.1318; the standard deviation of the logs is 0.0791.
    assert math.log(found.high) == pytest.approx(2.1318 * 0.0790569 / math.sqrt(5), rel=1e-4)
    assert found.finding == "equivalent"


@pytest.mark.parametrize(
    ("mean", "error", "finding"),
    [
        (0.0, 0.01, "equivalent"),
        (0.2, 0.01, "equivalent"),
        (0.2, 0.1, "undecided"),  # 1.22 times, and perhaps much more
        (0.0, 1.0, "undecided"),  # no difference is shown, and no likeness either
        (0.5, 0.01, "different"),
        (-0.5, 0.01, "different"),
        (0.0, 0.0, "equivalent"),
    ],
)
def test_what_is_not_shown_to_differ_is_not_equivalent(
    mean: float, error: float, finding: str
) -> None:
    assert equivalence_of(mean, error, 10, 1.25).finding == finding


def test_one_pair_has_no_test() -> None:
    assert equivalence([0.1], 1.25) is None


def test_energies_at_the_margin_are_called_alike_in_one_of_twenty() -> None:
    draw = random.Random(0)
    runs = [[draw.gauss(math.log(1.25), 0.1) for _ in range(6)] for _ in range(2000)]
    alike = sum(
        found.finding == "equivalent" for logs in runs if (found := equivalence(logs, 1.25))
    )
    assert 0.03 < alike / len(runs) < 0.07
