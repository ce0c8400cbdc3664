"""The configurations of a study that were confirmed, with the same seeds for all."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.analysis.evaluation_share import evaluation_to_j, is_notable
from energyopt.core.default_setup import name as default_name
from energyopt.core.study_record import Confirmation, StudyRecord, TrialRecord

Overrides = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A configuration that was trained with several seeds.

    Attributes:
        trial: The trial that it comes from.
        target: Accuracy to reach.
        energies_j: Energy to the target, in J, by seed.
        missed: Seeds with which it missed the target.
        tests: Test accuracies, by seed.
        accuracies: Validation accuracies when it first reached the target, by seed.
        evaluation_j: Energy of the evaluations up to the target, in J, by seed.
        test_samples: Number of samples of the test split; None if unknown, or if the metric is no
            share of them.
    """

    trial: TrialRecord
    target: float | None
    energies_j: Mapping[int, float]
    missed: tuple[int, ...]
    tests: Mapping[int, float]
    accuracies: Mapping[int, float]
    evaluation_j: Mapping[int, float] = field(default_factory=dict)
    test_samples: int | None = None

    @property
    def seeds(self) -> int:
        """Number of seeds with which it was trained."""
        return len(self.energies_j) + len(self.missed)

    @property
    def mean_j(self) -> float | None:
        """Geometric mean of its energies to the target, in J; None if it always missed it."""
        return statistics.geometric_mean(self.energies_j.values()) if self.energies_j else None

    @property
    def evaluates_much(self) -> bool:
        """True if its evaluations cost more than a fifth of its training."""
        return is_notable(sum(self.evaluation_j.values()), sum(self.energies_j.values()))

    @property
    def with_evaluation_j(self) -> dict[int, float]:
        """Energies to the target, evaluations included, in J, by seed."""
        return {
            seed: energy_j + self.evaluation_j.get(seed, 0.0)
            for seed, energy_j in self.energies_j.items()
        }

    @property
    def name(self) -> str:
        """Its name in a sentence."""
        if self.trial.default:
            return default_name(nearest=self.trial.nearest)
        return f"trial {self.trial.number}"


def confirmed_setups(
    study: StudyRecord, among: Collection[Overrides] | None = None
) -> list[Confirmed]:
    """Return the configurations that were trained with several seeds, the cheapest first.

    Args:
        study: The study.
        among: The overrides of the training runs to use; None for the latest ones of each
            configuration.
    """
    complete = [c for c in study.confirmations if c.state == "complete" and c.result is not None]
    if among is not None:
        complete = [c for c in complete if c.overrides in among]
    groups: dict[Overrides, list[Confirmation]] = {}
    for confirmation in complete:
        groups.setdefault(_without_seed(confirmation.overrides), []).append(confirmation)
    by_age = sorted(groups.values(), key=lambda group: group[-1].number)
    latest = {group[-1].trial: group for group in by_age}
    targets = {complete[-1].result.target} if complete and complete[-1].result else set()
    trials = {trial.number: trial for trial in study.trials}
    setups = [
        _confirmed(trials[number], group)
        for number, group in latest.items()
        if number in trials and {c.result.target for c in group if c.result} <= targets
    ]
    return sorted(setups, key=lambda setup: (bool(setup.missed), setup.mean_j or float("inf")))


def _confirmed(trial: TrialRecord, confirmations: Sequence[Confirmation]) -> Confirmed:
    energies = {c.seed: c.result.energy_to_target_j for c in confirmations if c.result is not None}
    reached = {seed: energy_j for seed, energy_j in energies.items() if energy_j}
    return Confirmed(
        trial=trial,
        target=next((c.result.target for c in confirmations if c.result is not None), None),
        energies_j=reached,
        missed=tuple(sorted(energies.keys() - reached.keys())),
        tests={c.seed: c.test_accuracy for c in confirmations if c.test_accuracy is not None},
        accuracies={
            c.seed: c.result.hit.accuracy for c in confirmations if c.result and c.result.hit
        },
        evaluation_j={
            c.seed: evaluation_to_j(c.result, c.result.hit)
            for c in confirmations
            if c.result and c.result.hit
        },
        test_samples=next(
            (c.result.test_samples for c in confirmations if c.result and c.result.test_samples),
            None,
        ),
    )


def _without_seed(overrides: Overrides) -> Overrides:
    return tuple(o for o in overrides if not o.lstrip("+").startswith("seed="))
