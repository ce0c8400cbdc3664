"""The configurations of a study that reached a target: their trainings with all seeds together.

Seeds of one configuration differ by seed noise alone. So a claim about configurations compares
their means, never single trainings of one and the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from energyopt.analysis.evaluation_share import evaluation_to_j, is_notable
from energyopt.analysis.pareto import Hit, trained_as
from energyopt.core.curve import CurvePoint
from energyopt.core.seeds import configuration_key
from energyopt.core.study_record import Confirmation, StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult


@dataclass(frozen=True, slots=True)
class Spent:
    """Energy of a training up to a target, in J: of its training windows and of its evaluations."""

    result: TrialResult
    point: CurvePoint

    @property
    def training_j(self) -> float:
        """Energy of its training, in J."""
        return self.point.training_j

    @property
    def evaluation_j(self) -> float:
        """Energy of its evaluations, in J."""
        return evaluation_to_j(self.result, self.point)

    @property
    def total_j(self) -> float:
        """Both, in J."""
        return self.training_j + self.evaluation_j


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that reached a target.

    Attributes:
        hit: The cheapest of its trials that reached it.
        searched: Its trials that reached it, the cheapest first.
        confirmed: Its trainings with new seeds that reached it. They did not choose it, so that
            their mean is free of selection.
        trainings: Number of its trainings that `runs` are a part of; the rest missed the target.
        default: Whether it is the default configuration.
    """

    hit: Hit
    searched: tuple[Spent, ...]
    confirmed: tuple[Spent, ...]
    trainings: int
    default: bool

    @property
    def runs(self) -> tuple[Spent, ...]:
        """The trainings that stand for it: those with new seeds, else its trials."""
        return self.confirmed or self.searched

    @property
    def mean_j(self) -> float:
        """Geometric mean of its energies to the target, in J."""
        return _mean(run.training_j for run in self.runs)

    @property
    def with_evaluation_j(self) -> float:
        """Geometric mean of its energies to the target, evaluations included, in J."""
        return _mean(run.total_j for run in self.runs)

    @property
    def evaluation_share(self) -> float:
        """Energy of its evaluations over that of its training."""
        return sum(r.evaluation_j for r in self.runs) / sum(r.training_j for r in self.runs)

    @property
    def key(self) -> Hashable:
        """Its identity among the configurations of a study."""
        return configuration_key(self.hit[0].params)


def reached_configurations(
    study: StudyRecord, target: float, reaching: Sequence[Hit]
) -> list[Configuration]:
    """Return the configurations that reached a target, the cheapest on average first.

    Args:
        study: The study.
        target: Value of the metric.
        reaching: Its trials that reached it, from `at_target`.
    """
    hits: dict[Hashable, list[Hit]] = {}
    for hit in reaching:
        hits.setdefault(configuration_key(hit[0].params), []).append(hit)
    n_trained: dict[Hashable, int] = {}
    for trial, result in study.results:
        if result.end != "paused" or result.first_at(target) is not None:
            key = configuration_key(trial.params)
            n_trained[key] = n_trained.get(key, 0) + 1
    defaults = {configuration_key(trial.params) for trial in study.trials if trial.default}
    confirmed = _confirmed(study, target, hits)
    configurations = [
        _configuration(group, confirmed.get(key, []), n_trained[key], default=key in defaults)
        for key, group in hits.items()
    ]
    return sorted(configurations, key=lambda configuration: configuration.mean_j)


def n_configurations(trials: Iterable[TrialRecord]) -> int:
    """Return the number of different configurations of some trials."""
    return len({configuration_key(trial.params) for trial in trials})


@dataclass(frozen=True, slots=True)
class WithEvaluation:
    """Comparisons of the same configurations by training and evaluation together.

    Attributes:
        share: The largest share of evaluation in training among them.
        spread: Energy of the worst over that of the cheapest.
        saving: Share of the default's energy that the recommended one saves; None without both.
        cheapest: The configuration that is cheapest with evaluation.
    """

    share: float
    spread: float
    saving: float | None
    cheapest: Configuration


def with_evaluation(
    reached: Sequence[Configuration],
    best: Hashable,
    default: Hashable,
    ratio: float | None = None,
) -> WithEvaluation | None:
    """Compare with evaluation, where that costs one of them more than a fifth of its training.

    Args:
        reached: The configurations that reached the target, the cheapest first.
        best: Key of the recommended one.
        default: Key of the default one.
        ratio: Expected energy of the first over that of the second, by training alone.
    """
    by_key = {configuration.key: configuration for configuration in reached}
    named = [*reached[:1], *reached[-1:], *(by_key[k] for k in (best, default) if k in by_key)]
    share = max((configuration.evaluation_share for configuration in named), default=0.0)
    if not is_notable(share, 1.0):
        return None
    saving = None
    if ratio is not None and best in by_key and default in by_key and best != default:
        factors = [by_key[k].with_evaluation_j / by_key[k].mean_j for k in (best, default)]
        saving = 1 - ratio * factors[0] / factors[1]
    return WithEvaluation(
        share=share,
        spread=reached[-1].with_evaluation_j / reached[0].with_evaluation_j,
        saving=saving,
        cheapest=min(reached, key=lambda configuration: configuration.with_evaluation_j),
    )


def _configuration(
    hits: Sequence[Hit], confirmed: Sequence[Spent | None], n_trained: int, *, default: bool
) -> Configuration:
    new_seeds = tuple(run for run in confirmed if run is not None)
    return Configuration(
        hit=hits[0],
        searched=tuple(Spent(result, point) for _, result, point in hits),
        confirmed=new_seeds,
        trainings=len(confirmed) if new_seeds else n_trained + len(confirmed),
        default=default,
    )


def _confirmed(
    study: StudyRecord, target: float, among: Collection[Hashable]
) -> dict[Hashable, list[Spent | None]]:
    """Return the trainings with new seeds by configuration; None for one that missed the target.

    Only those of unchanged configurations: `confirm` may be given other overrides for all.
    """
    trials = {trial.number: trial for trial in study.trials}
    runs: dict[Hashable, list[Spent | None]] = {}
    for confirmation in study.confirmations:
        trial, result = trials.get(confirmation.trial), confirmation.result
        if trial is None or result is None or confirmation.state != "complete":
            continue
        key = configuration_key(trial.params)
        is_same = is_unchanged(study, trial, confirmation)
        # One that ended at an easier target might have reached this one later.
        if key in among and is_same and study.monitor.reaches(result.target, target):
            point = result.first_at(target)
            energy = None if point is None else Spent(result, point)
            runs.setdefault(key, []).append(energy)
    return runs


def is_unchanged(study: StudyRecord, trial: TrialRecord, confirmation: Confirmation) -> bool:
    """Return True if a confirmation is of a trial's very configuration, with another seed."""
    return _essence(confirmation.overrides) == _essence(trained_as(study, trial))


def _essence(overrides: Iterable[str]) -> set[str]:
    """Return the overrides of a training that make up its configuration."""
    ends = ("seed=", "target=", "objective=", "objective.")
    return {o.lstrip("+") for o in overrides if not o.lstrip("+").startswith(ends)}


def _mean(energies_j: Iterable[float]) -> float:
    values = [energy_j for energy_j in energies_j if energy_j > 0]
    if len(values) < 2:  # noqa: PLR2004  # exactly the value, without a detour over its log
        return values[0] if values else math.inf
    return statistics.geometric_mean(values)
