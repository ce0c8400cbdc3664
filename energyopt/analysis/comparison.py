"""Studies side by side: whether their joules compare, and by what factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from energyopt.analysis.recommendation import Recommendation
from energyopt.analysis.summary import Summary, summarize
from energyopt.core.estimate import Estimate
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import Provenance


def energy_ratio(energy: Estimate, first: Estimate) -> Estimate:
    """Return the ratio of two energies of independent studies, with its 95 % interval.

    log r = log a - log b; the half-widths of independent logs add in squares.
    """
    ratio = energy.value / first.value
    ends = [
        (math.log(estimate.value / estimate.low), math.log(estimate.high / estimate.value))
        for estimate in (energy, first)
    ]
    (below, above), (below_first, above_first) = ends
    return Estimate(
        ratio,
        ratio / math.exp(math.hypot(below, above_first)),
        ratio * math.exp(min(math.hypot(above, below_first), 600.0)),  # keeps exp finite
    )


@dataclass(frozen=True, slots=True)
class ComparedStudy:
    """A study among others.

    Attributes:
        label: What tells it from the others: its name, or the folder that it was read from.
        study: The study.
        summary: Its summary, seen from the target.
    """

    label: str
    study: StudyRecord
    summary: Summary

    @property
    def target(self) -> float | None:
        """Value of the metric that it is seen from; None without a target."""
        return self.summary.target

    @property
    def answer(self) -> Recommendation | None:
        """Its recommended configuration; None if no trial reached the target."""
        return self.summary.answer

    @property
    def default_j(self) -> float | None:
        """Energy of its default configuration to the target, in J; None if it missed."""
        energy = self.summary.default_energy
        return None if energy is None else energy.value

    @property
    def reached(self) -> int:
        """Number of its trials that reached the target."""
        return self.summary.counts.reached + self.summary.counts.paused_there

    def ratio_to(self, first: ComparedStudy) -> Estimate | None:
        """Return its energy over that of another study; None if one has no answer."""
        if self.answer is None or first.answer is None:
            return None
        if self is first:
            return Estimate(1.0, 1.0, 1.0)
        return energy_ratio(self.answer.energy, first.answer.energy)


def compared(label: str, study: StudyRecord, target: float | None) -> ComparedStudy:
    """Return a study as it is compared, seen from a target; its own if that is None."""
    return ComparedStudy(label, study, summarize(study, target))


def meters_of(studies: Sequence[StudyRecord]) -> list[Provenance]:
    """Return the different meters whose joules stand side by side: kind, meter, what they cover."""
    sources = [study.provenance for study in studies if study.provenance is not None]
    return list({(source.kind, source.meter, source.scope): source for source in sources}.values())


def have_one_goal(rows: Sequence[ComparedStudy]) -> bool:
    """Return True if all are judged by the same metric and target, so that ratios mean something.

    Whether the task is the same is the reader's to know.
    """
    return all(
        (left.study.monitor, left.target) == (right.study.monitor, right.target)
        for left, right in pairwise(rows)
    )
