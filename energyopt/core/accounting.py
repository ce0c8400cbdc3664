"""Honest sums about joules: spread, recycled and shared knowledge, a life.

Pure functions of numbers and records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.core.curve import CurvePoint
from energyopt.core.trial_result import TrialResult

_TOLERANCE = 1e-9  # relative: what sums and quotients of floats are off by


# Spread -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """How much a badly chosen setup costs.

    Attributes:
        best_j: Mean energy to the target of the cheapest setup all of whose seeds reach it, in J;
            None if there is none.
        worst_j: The same of the dearest.
        setups: Setups that count.
        censored: Setups of which a seed missed the target: no number says what they would cost.
    """

    best_j: float | None
    worst_j: float | None
    setups: int
    censored: int

    @property
    def ratio(self) -> float | None:
        """Worst over best; None without any that counts."""
        if self.best_j is None or self.worst_j is None:
            return None
        return self.worst_j / self.best_j


def spread(setups: Iterable[Sequence[float | None]]) -> Spread:
    """Compare setups by their energy to the target.

    Args:
        setups: Of each setup the energy to the target of each seed, in J; None of one that missed.
    """
    all_of_them = [energies for energies in map(list, setups) if energies]
    means = []
    for energies in all_of_them:
        reached = [energy_j for energy_j in energies if energy_j is not None]
        if len(reached) == len(energies):
            means.append(math.fsum(reached) / len(reached))
    return Spread(
        min(means, default=None),
        max(means, default=None),
        len(means),
        len(all_of_them) - len(means),
    )


# Recycled knowledge ---------------------------------------------------------------------------


def recycled_j(pretrain_j: float, finetune_j: float, n: float) -> float:
    """Energy of one of n trainings that use the same pretraining: E(n) = E_pre / n + E_finetune.

    Args:
        pretrain_j: Energy of the pretraining, in J.
        finetune_j: Energy of one fine-tuning, in J.
        n: How many use it; at least 1.

    Raises:
        ValueError: If an energy is below 0 or n below 1.
    """
    _check(pretrain_j=pretrain_j, finetune_j=finetune_j)
    if not n >= 1:
        raise ValueError(f"n={n}: at least one training uses it")
    return pretrain_j / n + finetune_j


def payback_n(pretrain_j: float, scratch_j: float, finetune_j: float) -> int | None:
    """The number of trainings from which pretraining once is cheaper than training from scratch.

    n* = ceil(E_pre / (E_scratch - E_finetune)), at least 1; a quotient that is a whole number but
    for the rounding of floats is that number. All energies are to the same target.

    Args:
        pretrain_j: Energy of the pretraining, in J.
        scratch_j: Energy of a training from scratch, in J.
        finetune_j: Energy of a fine-tuning, in J.

    Returns:
        None where a fine-tuning saves nothing, so that it never pays back.

    Raises:
        ValueError: If an energy is below 0.
    """
    _check(pretrain_j=pretrain_j, scratch_j=scratch_j, finetune_j=finetune_j)
    saved_j = scratch_j - finetune_j
    if saved_j <= 0 or not math.isfinite(quotient := pretrain_j / saved_j):
        return None
    whole = round(quotient)
    # The difference of two close numbers has lost digits: its error grows as they do.
    slack = _TOLERANCE * max(1.0, quotient, quotient * (scratch_j + finetune_j) / saved_j * 1e-3)
    n = whole if abs(quotient - whole) <= slack else math.ceil(quotient)
    return max(1, n)


@dataclass(frozen=True, slots=True)
class Recycled:
    """What pretraining is worth, whoever pays for it.

    Attributes:
        own_j: A training that pays for it alone, in J.
        shared_j: One of n that share it, in J.
        downloaded_j: One that somebody else has paid for it, in J.
        scratch_j: A training from scratch, in J.
        n: Trainings that share it.
        payback: Trainings from which it pays back; None for never.
    """

    own_j: float
    shared_j: float
    downloaded_j: float
    scratch_j: float
    n: float
    payback: int | None

    @property
    def savings(self) -> Mapping[str, float]:
        """Share of a training from scratch that is saved, by regime; below 0 where it is lost."""
        costs = {"own": self.own_j, "shared": self.shared_j, "downloaded": self.downloaded_j}
        return {regime: 1 - cost_j / self.scratch_j for regime, cost_j in costs.items()}


def recycled(pretrain_j: float, scratch_j: float, finetune_j: float, n: float = 1) -> Recycled:
    """Compare fine-tuning with training from scratch, in three regimes.

    Args:
        pretrain_j: Energy of the pretraining, in J.
        scratch_j: Energy of a training from scratch, in J; above 0.
        finetune_j: Energy of a fine-tuning to the same target, in J.
        n: Trainings that share the pretraining.

    Raises:
        ValueError: If a number is out of its range.
    """
    if not scratch_j > 0:
        raise ValueError(f"scratch_j={scratch_j}: an energy above 0 is needed")
    return Recycled(
        own_j=recycled_j(pretrain_j, finetune_j, 1),
        shared_j=recycled_j(pretrain_j, finetune_j, n),
        downloaded_j=finetune_j,
        scratch_j=scratch_j,
        n=n,
        payback=payback_n(pretrain_j, scratch_j, finetune_j),
    )


# Shared knowledge -----------------------------------------------------------------------------


def head_hits(
    result: TrialResult, targets: Mapping[str, float] | None = None
) -> dict[str, CurvePoint | None]:
    """The first evaluation at which each head was at or above its target; None if it was missed.

    Args:
        result: The trial's record.
        targets: Of each head, in [0, 1]; those that the trial had if None, its own without any.

    Returns:
        By head; nothing where the task has but one.
    """
    points = {point.index: point for point in result.curve}
    asked = result.head_targets if targets is None else targets
    hits: dict[str, CurvePoint | None] = {}
    for name, column in result.checkpoints.heads.items():
        target = asked.get(name, result.target)
        reached = (
            points[index]
            for index, accuracy in enumerate(column)
            if accuracy >= target and index in points
        )
        hits[name] = next(reached, None)
    return hits


@dataclass(frozen=True, slots=True)
class Shared:
    """What training several heads over one trunk saves against a training for each.

    Attributes:
        multitask_j: Energy until all heads were at their targets at one evaluation, in J; None if
            they never were.
        single_j: Energy of each separate training to the same target, in J; None of one that
            missed it.
        accuracy_gain: Best accuracy of each head less that of its separate training.
        missed: What missed its target, in words: without any, a saving can be said.
    """

    multitask_j: float | None
    single_j: Mapping[str, float | None]
    accuracy_gain: Mapping[str, float] = field(default_factory=dict)
    missed: tuple[str, ...] = ()

    @property
    def saving(self) -> float | None:
        """1 - E_multitask / sum of E_single; None where a target was missed."""
        energies = [energy_j for energy_j in self.single_j.values() if energy_j is not None]
        if self.missed or self.multitask_j is None or not energies:
            return None
        return 1 - self.multitask_j / math.fsum(energies)

    @property
    def over_dearest(self) -> float | None:
        """E_multitask over the dearest separate training; None where a target was missed."""
        energies = [energy_j for energy_j in self.single_j.values() if energy_j is not None]
        if self.missed or self.multitask_j is None or not energies:
            return None
        return self.multitask_j / max(energies)


def shared(multitask: TrialResult, singles: Mapping[str, TrialResult]) -> Shared:
    """Compare a multitask training with separate ones, valid only where every target is reached.

    A separate training counts up to the target that its head had in the multitask training.

    Args:
        multitask: A trial of several heads.
        singles: A trial of each head alone.

    Raises:
        ValueError: If they are not of the same heads.
    """
    best = {name: max(column, default=0.0) for name, column in multitask.checkpoints.heads.items()}
    if not best or best.keys() != singles.keys():
        raise ValueError(f"heads {sorted(best)} and separate trainings {sorted(singles)} differ")
    targets = {name: multitask.head_targets.get(name, multitask.target) for name in best}
    hits = {name: singles[name].first_at(targets[name]) for name in best}
    missed = [
        f"{name} with several heads" for name, hit in head_hits(multitask).items() if hit is None
    ]
    if not missed and not multitask.reached:
        missed.append("all heads at one evaluation")
    missed += [f"{name} alone" for name, hit in hits.items() if hit is None]
    return Shared(
        multitask_j=multitask.energy_to_target_j,
        single_j={name: None if hit is None else hit.training_j for name, hit in hits.items()},
        accuracy_gain={name: best[name] - singles[name].best_accuracy for name in best},
        missed=tuple(missed),
    )


# A life -----------------------------------------------------------------------------------------


def life_cycle_j(
    search_j: float,
    train_j: float,
    n_inferences: float,
    inference_j_per_1000: float,
    embodied_j: float = 0.0,
) -> float:
    """E_life = E_search + E_train + n_inferences x E_inference, and a share of the hardware's.

    Args:
        search_j: All energy that the search burnt, in J.
        train_j: Energy of the final training, its upfront share included, in J.
        n_inferences: Answers that the model gives.
        inference_j_per_1000: Measured energy of 1,000 answers, in J.
        embodied_j: Share of the energy of making the hardware, by the user's figure, in J.

    Raises:
        ValueError: If a number is below 0.
    """
    _check(
        search_j=search_j,
        train_j=train_j,
        n_inferences=n_inferences,
        inference_j_per_1000=inference_j_per_1000,
        embodied_j=embodied_j,
    )
    return search_j + train_j + n_inferences * inference_j_per_1000 / 1000 + embodied_j


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value}: a finite number of at least 0 is needed")
