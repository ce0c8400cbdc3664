"""What a search cost and when it pays back, with how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from energyopt.analysis.confirmation_stats import Confirmed, confirmed_setups
from energyopt.analysis.paired_ratio import quantile
from energyopt.core.curve import CurvePoint
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Purpose, TrialResult
from energyopt.search.noise_prior import ASSUMED_SD, luck
from energyopt.search.schedule import setup_of

CONFIRMATION = "confirmation"
_Z = 1.959964  # of a 95 % interval
_TOO_SMALL = "and too small: repeats of small trainings varied by a fifth to a third"

Hit = tuple[TrialRecord, TrialResult, CurvePoint]


@dataclass(frozen=True, slots=True)
class Savings:
    """What a training with one setup saves against the default one.

    Attributes:
        default_j: Energy to the target of the default setup, in J.
        other_j: That of the other one, in J.
        half_j: Half the 95 % interval of their difference, in J.
        basis: Where that comes from, in words.
        assumed: Whether the noise behind it is assumed, because nothing was repeated.
        single: Whether each energy is that of one training with one seed.
    """

    default_j: float
    other_j: float
    half_j: float
    basis: str
    assumed: bool = False
    single: bool = False

    @property
    def confidence(self) -> str:
        """Say how sure the interval is: an assumed noise gives no confidence."""
        if self.assumed:
            return f"by {self.basis} {_TOO_SMALL}"
        return f"with 95 % confidence, by {self.basis}"

    @property
    def value_j(self) -> float:
        """The difference, in J; below 0 where the other one is dearer."""
        return self.default_j - self.other_j

    def break_even(self, search_j: float) -> tuple[float, float]:
        """The interval of the trainings after which a search has paid back; infinite for never."""
        least_j, most_j = self.value_j - self.half_j, self.value_j + self.half_j
        return tuple(search_j / each if each > 0 else math.inf for each in (most_j, least_j))  # type: ignore[return-value]

    def net_j(self, search_j: float, trainings: float) -> tuple[float, float, float]:
        """What so many trainings save beyond the search: expected, at least, at most, in J."""
        least_j, most_j = self.value_j - self.half_j, self.value_j + self.half_j
        return tuple(trainings * each - search_j for each in (self.value_j, least_j, most_j))  # type: ignore[return-value]


def saving(
    study: StudyRecord, reaching: Sequence[Hit], default: TrialRecord, other: TrialRecord
) -> Savings:
    """Compare a setup with the default one, by trainings with the same seeds where there are.

    Args:
        study: The study.
        reaching: The trials that reached the target.
        default: The trial of the default setup, one of these.
        other: The trial of the other setup, one of these.
    """
    target = reaching[0][1].target
    confirmed = {
        setup_of(each.trial.params): each
        for each in confirmed_setups(study)
        if each.target == target and not each.missed
    }
    paired = [confirmed.get(setup_of(each.params)) for each in (default, other)]
    if paired[0] is not None and paired[1] is not None:
        found = _paired(paired[0], paired[1])
        if found is not None:
            return found
    return _observed(reaching, default, other)


def parts_j(study: StudyRecord) -> dict[str, float]:
    """All energy that a study burnt, by purpose, in J."""
    results = [trial.result for trial in study.trials if trial.result is not None]
    purposes: tuple[Purpose, ...] = get_args(Purpose)
    parts: dict[str, float]
    parts = {each: sum(result.booked(each).total_j for result in results) for each in purposes}
    return {**parts, CONFIRMATION: study.confirmation_j}


def fates_j(study: StudyRecord, fates: Mapping[int, str | None]) -> dict[str, float]:
    """The same by what became of the trials; of those that are not over, by their state.

    Args:
        study: The study.
        fates: What became of each trial, by number; None of one that is not over.
    """
    spent: dict[str, float] = {}
    for trial in study.trials:
        if trial.result is not None:
            fate = fates[trial.number] or str(trial.state)
            spent[fate] = spent.get(fate, 0.0) + trial.result.spent_j
    return {**spent, CONFIRMATION: study.confirmation_j}


def _paired(default: Confirmed, other: Confirmed) -> Savings | None:
    seeds = sorted(default.energies_j.keys() & other.energies_j.keys())
    if len(seeds) < 2:  # noqa: PLR2004  # of one alone no spread is known
        return None
    pairs = [(default.energies_j[seed], other.energies_j[seed]) for seed in seeds]
    deviation = statistics.stdev(one - two for one, two in pairs)
    return Savings(
        default_j=statistics.fmean(one for one, _ in pairs),
        other_j=statistics.fmean(two for _, two in pairs),
        half_j=quantile(len(seeds) - 1) * deviation / math.sqrt(len(seeds)),
        basis=f"{len(seeds)} paired seeds",
    )


def _observed(reaching: Sequence[Hit], default: TrialRecord, other: TrialRecord) -> Savings:
    """By the trials, with the luck that their seeds have."""
    energies: dict[object, list[float]] = {}
    for trial, _, point in reaching:
        energies.setdefault(setup_of(trial.params), []).append(point.training_j)
    known = luck([math.log(energy_j) for energy_j in of] for of in energies.values())
    noise = ASSUMED_SD if known is None else known
    of = [energies[setup_of(trial.params)] for trial in (default, other)]
    default_j, other_j = (e[0] if len(e) == 1 else statistics.geometric_mean(e) for e in of)
    apart = (default_j**2 / len(of[0]) + other_j**2 / len(of[1])) * noise**2
    how = "assumed" if known is None else "of its repetitions"
    return Savings(
        default_j=default_j,
        other_j=other_j,
        half_j=_Z * math.sqrt(apart),
        basis=f"a seed noise of {100 * noise:.2g} %, {how}",
        assumed=known is None,
        single=max(map(len, of)) == 1,
    )
