"""Stop a trial when others had a better accuracy with no more energy."""

from __future__ import annotations

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.units import joules
from energyopt.stopping._validation import checked_count, checked_number


class Dominance:
    """Stops when at least `k` earlier trials were better by a margin at the same energy.

    Args:
        k: Number of better trials.
        margin: Their lead in accuracy.
        evaluations: Evaluations before it may stop a trial.

    Raises:
        ConfigError: If an option is out of its range.
    """

    def __init__(self, k: int = 2, margin: float = 0.05, evaluations: int = 3) -> None:
        key = "stopping.rules.dominance"
        self._k = checked_count(f"{key}.k", k)
        self._margin = checked_number(
            f"{key}.margin", margin, 0.0, 1.0, allowed="a number in [0, 1]"
        )
        self._evaluations = checked_count(f"{key}.evaluations", evaluations)

    def decide(self, progress: TrialProgress, rivals: StudyHistory) -> str | None:
        """Return why to stop now, or None to continue."""
        if len(progress.accuracy) < self._evaluations:
            return None
        energy_j, best = progress.spent_j, progress.best
        accuracies = ((rival.at(energy_j), rival.number) for rival in rivals.curves)
        better = [(accuracy, n) for accuracy, n in accuracies if accuracy > best + self._margin]
        if len(better) < self._k:
            return None
        top_accuracy, top_trial = max(better)
        winners = f"{len(better)} trials were" if len(better) > 1 else "1 trial was"
        return (
            f"with {joules(energy_j)}, accuracy {best:.3f}, where {winners} better by more than "
            f"{self._margin:g} (trial {top_trial}: {top_accuracy:.3f})"
        )
