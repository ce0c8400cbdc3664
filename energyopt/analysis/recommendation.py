"""The answer of a study: which configuration to train with, and how sure that is.

Of what reached the target it is, in this order: the confirmed configuration that needs the least;
the one that is expected to need the least; the only one. It is the default unless another one is
better beyond noise, and never a seed. Every surface shows this one (decision 103).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from energyopt.analysis.break_even import Savings, saving
from energyopt.analysis.configurations import Configuration
from energyopt.analysis.noise_model import NoiseModel
from energyopt.analysis.pareto import FrontPoint, at_checkpoint, training_overrides
from energyopt.analysis.ranking import WITHIN, Advice
from energyopt.core.estimate import Estimate
from energyopt.core.seeds import configuration_key
from energyopt.core.study_record import StudyRecord, TrialRecord

Basis = Literal["confirmed", "expected", "only"]
"""Basis of the answer: trainings with new seeds, all trials together, or no comparison."""

BEYOND_NOISE = 0.8
"""Probability of needing less than the default from which another configuration replaces it. One
training each needs about a half of the default's energy for that."""

_MIN_SEEDS = 2  # of a confirmed configuration: one has no spread
_MAX_COMPARED = 100  # configurations, the cheapest on average: each has thousands of draws
_LAST_PART = 0.8  # of a training's energy: one whose best value came later was still rising


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The configuration to train with.

    Attributes:
        point: Where its cheapest trial reached the target, with the overrides that train it.
        basis: What the choice rests on.
        energy: Energy to the target of a typical training, in J.
        probability: Probability that it is within 5 % of the best that reached the target.
        trainings: Number of its trainings.
        reached: Number of them that reached the target.
        seeds: Number of its trainings with new seeds.
        rivals: Configurations that are as good: expected within 5 % of its energy, or less than the
            default that they did not replace.
        savings: What it saves against the default; None if it is that, or the default has no energy
            to the target.
        default_least_j: Energy that the default used without reaching the target, in J; None if it
            reached it, or used less than this one needs.
        is_held: True if it is the default although another one is expected to need less.
    """

    point: FrontPoint
    basis: Basis
    energy: Estimate
    probability: float
    trainings: int
    reached: int
    seeds: int
    rivals: tuple[FrontPoint, ...]
    savings: Savings | None
    default_least_j: float | None
    is_held: bool = False

    @property
    def trial(self) -> int:
        """Number of its cheapest trial."""
        return self.point.trial


@dataclass(frozen=True, slots=True)
class BestSoFar:
    """The best value of the metric where no trial reached the target.

    Attributes:
        point: Where it was reached.
        is_rising: True if the value still got better when that training ended.
        epochs: Number of epochs after which it ended; None if something else ended it.
    """

    point: FrontPoint
    is_rising: bool
    epochs: float | None


def recommend(
    study: StudyRecord,
    target: float,
    reached: Sequence[Configuration],
    noise: NoiseModel,
    ranked: Sequence[Advice],
) -> Recommendation:
    """Return the answer of a study in which a trial reached the target.

    Args:
        study: The study.
        target: Value of the metric.
        reached: The configurations that reached it; at least one.
        noise: The posterior of their energies.
        ranked: They by expected energy, from `advise`; may be empty if there is only one.
    """
    best, basis = _best(reached, noise, ranked)
    default = next((c for c in reached if c.default), None)
    is_held = False
    if default is not None and best is not default:
        difference = noise.log_energy(best.key) - noise.log_energy(default.key)
        if (difference < 0).mean() < BEYOND_NOISE:
            best, is_held = default, True
    energy = noise.energy_j(best.key)
    nearest = [best, *(c for c in reached[:_MAX_COMPARED] if c is not best)]
    comparable = [c for c in nearest if basis != "confirmed" or _is_confirmed(c)]
    return Recommendation(
        point=point_of(study, best, target),
        basis=basis,
        energy=energy,
        probability=float(noise.probability_within(WITHIN, [c.key for c in nearest])[0]),
        trainings=best.trainings,
        reached=len(best.runs),
        seeds=len(best.confirmed),
        rivals=tuple(point_of(study, c, target) for c in _rivals(comparable, best, noise)),
        savings=None if default is None else saving(noise, default.hit[0], best.hit[0]),
        default_least_j=None if default is not None else _default_least_j(study, energy.value),
        is_held=is_held,
    )


def best_so_far(study: StudyRecord, front: Sequence[FrontPoint]) -> BestSoFar | None:
    """Return the best value of a study, given its front; None without any."""
    if not front:
        return None
    point = front[-1]
    result = next(result for trial, result in study.results if trial.number == point.trial)
    is_rising = point.energy_j >= _LAST_PART * result.curve.training_j[-1]
    epochs = result.start.epochs if result.end == "epochs" else None
    return BestSoFar(point, is_rising, epochs)


def point_of(study: StudyRecord, configuration: Configuration, target: float) -> FrontPoint:
    """Return where the cheapest trial of a configuration reached the target."""
    trial = configuration.hit[0]
    return replace(
        at_checkpoint(study, *configuration.hit),
        default=configuration.default,
        nearest=configuration.default and study.default_setup.is_nearest,
        overrides=training_overrides(study, trial, target),
    )


def default_trial(study: StudyRecord) -> TrialRecord | None:
    """Return the last trial of the default: one that was lost is repeated under a new number."""
    return next((trial for trial in reversed(study.trials) if trial.default), None)


def _best(
    reached: Sequence[Configuration], noise: NoiseModel, ranked: Sequence[Advice]
) -> tuple[Configuration, Basis]:
    if confirmed := [c for c in reached if _is_confirmed(c)]:
        return min(confirmed, key=lambda c: noise.energy_j(c.key).value), "confirmed"
    if len(reached) == 1 or not ranked:
        return reached[0], "only"
    by_key = {configuration.key: configuration for configuration in reached}
    keys = (configuration_key(advice.trial.params) for advice in ranked)
    return next(by_key[key] for key in keys if key in by_key), "expected"


def _is_confirmed(configuration: Configuration) -> bool:
    """Return True if it was trained with new seeds, and reached the target with each."""
    seeds = len(configuration.confirmed)
    return seeds >= _MIN_SEEDS and seeds == configuration.trainings


def _rivals(
    reached: Sequence[Configuration], best: Configuration, noise: NoiseModel
) -> list[Configuration]:
    """Return the configurations that are as good as the best, the cheapest first."""
    ratios = {c.key: noise.ratio(c.key, best.key).value for c in reached if c is not best}
    rivals = [c for c in reached if ratios.get(c.key, 2.0) <= 1 + WITHIN]
    return sorted(rivals, key=lambda c: ratios[c.key])


def _default_least_j(study: StudyRecord, energy_j: float) -> float | None:
    trial = default_trial(study)
    result = None if trial is None else trial.result
    if result is None or not result.valid or result.end == "diverged" or not len(result.curve):
        return None
    used_j = result.curve.training_j[-1]
    return used_j if used_j > energy_j else None
