"""The setups of a study that were trained again, with the same seeds for all."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from energyopt.core.study_record import Confirmation, StudyRecord, TrialRecord

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A setup that was trained with several seeds.

    Attributes:
        trial: The trial whose setup it is.
        target: Accuracy to reach.
        energies_j: Energy to the target, in J, by seed.
        missed: Seeds with which it missed the target.
        tests: Test accuracies, by seed.
        accuracies: Validation accuracies where it first was at the target, by seed.
    """

    trial: TrialRecord
    target: float | None
    energies_j: Mapping[int, float]
    missed: tuple[int, ...]
    tests: Mapping[int, float]
    accuracies: Mapping[int, float]

    @property
    def seeds(self) -> int:
        """With how many it was trained."""
        return len(self.energies_j) + len(self.missed)

    @property
    def mean_j(self) -> float | None:
        """Geometric mean of its energies to the target, in J; None if it never got there."""
        return statistics.geometric_mean(self.energies_j.values()) if self.energies_j else None

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return "the default setup" if self.trial.default else f"trial {self.trial.number}"


def confirmed_setups(study: StudyRecord, among: Collection[Words] | None = None) -> list[Confirmed]:
    """The setups of a study that were trained with several seeds, the cheapest first.

    Args:
        study: The study.
        among: The words of the trainings to look at; None for the latest ones of each setup.
    """
    done = [c for c in study.confirmations if c.state == "complete" and c.result is not None]
    if among is not None:
        done = [each for each in done if each.overrides in among]
    groups: dict[Words, list[Confirmation]] = {}
    for each in done:
        groups.setdefault(_but_seed(each.overrides), []).append(each)
    latest = {of[-1].trial: of for of in sorted(groups.values(), key=lambda of: of[-1].number)}
    targets = {done[-1].result.target} if done and done[-1].result else set()
    trials = {trial.number: trial for trial in study.trials}
    found = [
        _confirmed(trials[number], of)
        for number, of in latest.items()
        if number in trials and {c.result.target for c in of if c.result} <= targets
    ]
    return sorted(found, key=lambda each: (bool(each.missed), each.mean_j or float("inf")))


def _confirmed(trial: TrialRecord, of: Sequence[Confirmation]) -> Confirmed:
    energies = {c.seed: c.result.energy_to_target_j for c in of if c.result is not None}
    reached = {seed: energy_j for seed, energy_j in energies.items() if energy_j}
    return Confirmed(
        trial=trial,
        target=next((c.result.target for c in of if c.result is not None), None),
        energies_j=reached,
        missed=tuple(sorted(energies.keys() - reached.keys())),
        tests={c.seed: c.test_accuracy for c in of if c.test_accuracy is not None},
        accuracies={c.seed: c.result.hit.accuracy for c in of if c.result and c.result.hit},
    )


def _but_seed(words: Words) -> Words:
    return tuple(word for word in words if not word.lstrip("+").startswith("seed="))
