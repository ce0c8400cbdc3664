"""Stop a trial when others had a better accuracy with no more joules."""

from __future__ import annotations

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.units import joules
from energyopt.stopping._validation import count, number


class Dominance:
    """Stops when at the same energy at least `k` earlier trials were better by a margin.

    Args:
        k: How many.
        margin: By how much, in accuracy.
        evaluations: Evaluations before it may stop a trial.

    Raises:
        ConfigError: If one of them is not what it may be.
    """

    def __init__(self, k: int = 2, margin: float = 0.05, evaluations: int = 3) -> None:
        key = "stopping.rules.dominance"
        self._k = count(f"{key}.k", k)
        self._margin = number(f"{key}.margin", margin, 0.0, 1.0, says="a number in [0, 1]")
        self._evaluations = count(f"{key}.evaluations", evaluations)

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Why to stop now; None to go on."""
        if len(progress.accuracy) < self._evaluations:
            return None
        spent_j, best = progress.spent_j, progress.best
        there = sorted(((rival.at(spent_j), rival.number) for rival in rivals.curves), reverse=True)
        better = [(accuracy, at) for accuracy, at in there if accuracy > best + self._margin]
        if len(better) < self._k:
            return None
        others = f"{len(better)} trials were" if len(better) > 1 else "1 trial was"
        return (
            f"with {joules(spent_j)}, accuracy {best:.3f}, where {others} better by more than "
            f"{self._margin:g} (trial {better[0][1]}: {better[0][0]:.3f})"
        )
