"""The rules of a trial combined: the first one with a reason stops it."""

from __future__ import annotations

from collections.abc import Mapping

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.protocols import StoppingRule


class Rules:
    """Applies rules in turn.

    Args:
        rules: By name, in the order in which they are applied.
        rivals: History of the study's earlier trials.
    """

    def __init__(self, rules: Mapping[str, StoppingRule], rivals: StudyHistory) -> None:
        self._rules = rules
        self._rivals = rivals

    def __bool__(self) -> bool:
        return bool(self._rules)

    def stop(self, progress: TrialProgress) -> str | None:
        """Return the rule that stops the trial now and its reason; None to continue."""
        for name, rule in self._rules.items():
            reason = rule.decide(progress, self._rivals)
            if reason is not None:
                return f"{name}: {reason}"
        return None
