"""Stop a trial when others had a better metric with no more energy."""

from __future__ import annotations

from energyopt.core.history import StudyHistory, TrialProgress
from energyopt.core.units import joules
from energyopt.stopping._validation import checked_count, checked_number


class Dominance:
    """Stops when at least `k` earlier trials were better by a margin at the same energy.

    Args:
        k: Number of better trials.
        margin: Their lead in accuracy; in another metric, as a share of the range from the first
            evaluations to the best.
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
        margin = self._margin * rivals.unit(progress)
        scores = ((rival.at(energy_j), rival.number) for rival in rivals.curves)
        better = [(score, number) for score, number in scores if score > best + margin]
        if len(better) < self._k:
            return None
        top_score, top_trial = max(better)
        monitor, digits = progress.monitor, progress.monitor.digits
        winners = f"{len(better)} trials were" if len(better) > 1 else "1 trial was"
        return (
            f"with {joules(energy_j)}, {monitor.describe(best)}, where {winners} better by more "
            f"than {margin:.4g} (trial {top_trial}: {monitor.value(top_score):{digits}})"
        )
