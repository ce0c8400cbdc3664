"""All rules of a trial together: the first that says stop stops it."""

from __future__ import annotations

from collections.abc import Mapping

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.protocols import StoppingRule


class Rules:
    """Asks each rule in turn.

    Args:
        rules: By name, in the order in which they are asked.
        rivals: What the earlier trials of the study did.
    """

    def __init__(self, rules: Mapping[str, StoppingRule], rivals: StudyHistory) -> None:
        self._rules = rules
        self._rivals = rivals

    def __bool__(self) -> bool:
        return bool(self._rules)

    def stop(self, progress: TrialProgress) -> str | None:
        """The name of the rule that stops the trial now and why; None to go on."""
        for name, rule in self._rules.items():
            why = rule.decide(progress, self._rivals)
            if why is not None:
                return f"{name}: {why}"
        return None
