"""Checks of stopping rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from energyopt.core.curve import Curve
from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.protocols import StoppingRule
from energyopt.testing._check import Check, check, require, require_protocols, run_checks
from energyopt.testing._curves import (
    draw_histories,
    make_history,
    make_progress,
    make_steady_curve,
)

Example = tuple[Curve, Sequence[Curve]]
"""The curve of a trial and those of earlier ones."""

_GOOD = make_steady_curve([0.3, 0.6, 0.8, 0.9, 0.95, 0.97, 0.98])
_FLAT = make_steady_curve([0.1, 0.11, 0.1, 0.11, 0.1, 0.11, 0.11, 0.1, 0.11])

HOPELESS: tuple[TrialProgress, StudyHistory] = (
    make_progress(_FLAT, len(_FLAT)),
    make_history([_GOOD, _GOOD]),
)
"""A trial at accuracy 0.11 after 9 J, where two others reached the target of 0.9 with 4 J."""

RANDOM_EXAMPLES: tuple[Example, ...] = draw_histories(100)
"""Any curves, the same ones each time."""


@dataclass(frozen=True, slots=True)
class StoppingRuleCase:
    """A stopping rule and what it is told.

    Attributes:
        make: Returns a rule.
        hopeless: A trial that it must stop, and what the earlier ones did.
        examples: Other trials, about which rules may differ.
    """

    make: Callable[[], StoppingRule]
    hopeless: tuple[TrialProgress, StudyHistory] = HOPELESS
    examples: Sequence[Example] = RANDOM_EXAMPLES


@check
def is_a_stopping_rule(case: StoppingRuleCase) -> None:
    """Check that it has `decide`."""
    require_protocols(case.make(), [StoppingRule])


@check
def says_why_with_numbers(case: StoppingRuleCase) -> None:
    """Check that it stops a hopeless trial, and says why in one line with numbers."""
    progress, history = case.hopeless
    why = case.make().decide(progress, history)
    require(
        why is not None,
        f"a trial at accuracy {progress.best:g} after {progress.spent_j:g} J to be stopped",
        "None",
        "return why; if the rule is for other trials than this one, give one that it stops as "
        "`hopeless`",
    )
    assert why is not None  # noqa: S101  # for the type checker
    require(
        any(character.isdigit() for character in why),
        "a reason with the numbers that it rests on",
        repr(why),
        "name joules, accuracies or trials in it",
    )
    require(
        "\n" not in why and not why.endswith("."),
        "a reason in one line without a full stop",
        repr(why),
        "it is printed after the name of the rule and a colon",
    )


@check
def stops_nothing_while_nothing_is_known(case: StoppingRuleCase) -> None:
    """Check that it stops no trial before another one has trained."""
    for curve, _ in case.examples:
        stops_nothing_without_history(case.make(), curve)


def stops_nothing_without_history(rule: StoppingRule, curve: Curve) -> None:
    """Check the same for a curve."""
    for evaluations in range(1, len(curve) + 1):
        progress = make_progress(curve, evaluations)
        why = rule.decide(progress, StudyHistory())
        require(
            why is None,
            f"no stop of the first trial of a study ({_described(progress)})",
            repr(why),
            "return None where the history is empty",
        )


@check
def never_stops_the_first_to_be_so_good_with_so_little(case: StoppingRuleCase) -> None:
    """Check that it leaves trials on the front, within the energy of the cheapest to the target."""
    for curve, others in case.examples:
        leaves_what_is_on_the_front(case.make(), curve, others)


def leaves_what_is_on_the_front(rule: StoppingRule, curve: Curve, others: Sequence[Curve]) -> None:
    """Check the same for a curve, unless another one beats it."""
    history, progress = make_history(others), make_progress(curve, len(curve))
    beaten = any(rival.at(progress.spent_j) > progress.best for rival in history.curves)
    if beaten or progress.spent_j > (history.incumbent_j or math.inf):
        return
    why = rule.decide(progress, history)
    require(
        why is None,
        f"no stop of a trial that is better than {len(others)} others were with its energy "
        f"({_described(progress)})",
        repr(why),
        "compare trials at the same joules, and leave those that none beats",
    )


@check
def says_the_same_of_the_same(case: StoppingRuleCase) -> None:
    """Check that it decides by what it is told alone."""
    for curve, others in case.examples:
        decides_the_same_twice(case.make, curve, others)


def decides_the_same_twice(
    make: Callable[[], StoppingRule], curve: Curve, others: Sequence[Curve]
) -> None:
    """Check the same for a curve: of two rules, and of one that is asked twice."""
    history, progress = make_history(others), make_progress(curve, len(curve))
    rule = make()
    first = rule.decide(progress, history)
    for again in (make().decide(progress, history), rule.decide(progress, history)):
        require(
            first == again,
            f"the same decision each time for {_described(progress)} ({first!r})",
            repr(again),
            "keep nothing between calls, and draw nothing at random",
        )


STOPPING_RULE_CHECKS: tuple[Check[StoppingRuleCase], ...] = (
    is_a_stopping_rule,
    says_why_with_numbers,
    stops_nothing_while_nothing_is_known,
    never_stops_the_first_to_be_so_good_with_so_little,
    says_the_same_of_the_same,
)
"""What any stopping rule must do."""


def check_stopping_rule(
    make: Callable[[], StoppingRule],
    *,
    hopeless: tuple[TrialProgress, StudyHistory] = HOPELESS,
    examples: Sequence[Example] = RANDOM_EXAMPLES,
    skip: Collection[str] = (),
) -> tuple[str, ...]:
    """Check a stopping rule.

    Args:
        make: Returns a rule.
        hopeless: A trial that it must stop, and what the earlier ones did.
        examples: Curves of trials and of earlier ones; random ones if not given.
        skip: Names of checks to leave out.

    Returns:
        Names of the checks that passed.

    Raises:
        ContractViolation: If it fails a check.
    """
    case = StoppingRuleCase(make, hopeless, examples)
    return run_checks(STOPPING_RULE_CHECKS, case, skip=skip)


def _described(progress: TrialProgress) -> str:
    evaluations = len(progress.accuracy)
    return f"accuracy {progress.best:g} after {evaluations} evaluations, {progress.spent_j:g} J"
