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
"""Random curves, the same ones each time."""


@dataclass(frozen=True, slots=True)
class StoppingRuleCase:
    """A stopping rule and trials for it to decide about; see `check_stopping_rule`."""

    make: Callable[[], StoppingRule]
    hopeless: tuple[TrialProgress, StudyHistory] = HOPELESS
    examples: Sequence[Example] = RANDOM_EXAMPLES


@check
def is_a_stopping_rule(case: StoppingRuleCase) -> None:
    """Check that it has `decide`."""
    require_protocols(case.make(), [StoppingRule])


@check
def says_why_with_numbers(case: StoppingRuleCase) -> None:
    """Check that it stops a hopeless trial, with a reason of one line that contains numbers."""
    progress, history = case.hopeless
    reason = case.make().decide(progress, history)
    require(
        reason is not None,
        f"a trial at accuracy {progress.best:g} after {progress.spent_j:g} J to be stopped",
        "None",
        "return why; if the rule is for other trials than this one, give one that it stops as "
        "`hopeless`",
    )
    assert reason is not None  # noqa: S101  # for the type checker
    require(
        any(character.isdigit() for character in reason),
        "a reason with the numbers that it rests on",
        repr(reason),
        "name joules, accuracies or trials in it",
    )
    require(
        "\n" not in reason and not reason.endswith("."),
        "a reason in one line without a full stop",
        repr(reason),
        "it is printed after the name of the rule and a colon",
    )


@check
def stops_nothing_while_nothing_is_known(case: StoppingRuleCase) -> None:
    """Check that it stops no trial before another one has trained."""
    for curve, _ in case.examples:
        stops_nothing_without_history(case.make(), curve)


def stops_nothing_without_history(rule: StoppingRule, curve: Curve) -> None:
    """Check that a rule never stops the first trial of a study, at any point of its curve."""
    for evaluations in range(1, len(curve) + 1):
        progress = make_progress(curve, evaluations)
        reason = rule.decide(progress, StudyHistory())
        require(
            reason is None,
            f"no stop of the first trial of a study ({_describe(progress)})",
            repr(reason),
            "return None where the history is empty",
        )


@check
def never_stops_the_first_to_be_so_good_with_so_little(case: StoppingRuleCase) -> None:
    """Check that it stops no trial on the front within the energy of the cheapest to the target."""
    for curve, earlier in case.examples:
        leaves_what_is_on_the_front(case.make(), curve, earlier)


def leaves_what_is_on_the_front(rule: StoppingRule, curve: Curve, earlier: Sequence[Curve]) -> None:
    """Check that a rule does not stop a trial that no other beats with the same energy."""
    history, progress = make_history(earlier), make_progress(curve, len(curve))
    is_beaten = any(rival.at(progress.spent_j) > progress.best for rival in history.curves)
    if is_beaten or progress.spent_j > (history.incumbent_j or math.inf):
        return
    reason = rule.decide(progress, history)
    require(
        reason is None,
        f"no stop of a trial that is better than {len(earlier)} others were with its energy "
        f"({_describe(progress)})",
        repr(reason),
        "compare trials at the same joules, and leave those that none beats",
    )


@check
def says_the_same_of_the_same(case: StoppingRuleCase) -> None:
    """Check that its decision depends only on its arguments."""
    for curve, earlier in case.examples:
        decides_the_same_twice(case.make, curve, earlier)


def decides_the_same_twice(
    make: Callable[[], StoppingRule], curve: Curve, earlier: Sequence[Curve]
) -> None:
    """Check that two rules, and one rule twice, decide the same about a curve."""
    history, progress = make_history(earlier), make_progress(curve, len(curve))
    rule = make()
    first = rule.decide(progress, history)
    for repeated in (make().decide(progress, history), rule.decide(progress, history)):
        require(
            first == repeated,
            f"the same decision each time for {_describe(progress)} ({first!r})",
            repr(repeated),
            "keep nothing between calls, and draw nothing at random",
        )


STOPPING_RULE_CHECKS: tuple[Check[StoppingRuleCase], ...] = (
    is_a_stopping_rule,
    says_why_with_numbers,
    stops_nothing_while_nothing_is_known,
    never_stops_the_first_to_be_so_good_with_so_little,
    says_the_same_of_the_same,
)
"""Checks that every stopping rule must pass."""


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
        hopeless: A trial that it must stop, and the history of its study.
        examples: Curves of trials and of earlier ones; random ones by default.
        skip: Names of checks to leave out.
    """
    case = StoppingRuleCase(make, hopeless, examples)
    return run_checks(STOPPING_RULE_CHECKS, case, skip=skip)


def _describe(progress: TrialProgress) -> str:
    evaluations = len(progress.accuracy)
    return f"accuracy {progress.best:g} after {evaluations} evaluations, {progress.spent_j:g} J"
