"""Energy accounting: cost ratio of configurations, reuse of pretraining, multitask, life cycle.

Pure functions of numbers and records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from energyopt.core.curve import CurvePoint
from energyopt.core.trial_result import TrialResult

_TOLERANCE = 1e-9  # relative rounding error of sums and quotients of floats


# Spread -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """Energy to the target of the best and the worst configuration.

    Attributes:
        best_j: Mean energy to the target of the cheapest configuration, in J, among those that
            reach it with all seeds; None without any.
        worst_j: Mean energy to the target of the most expensive of them, in J.
        setups: Number of configurations that reach the target with all seeds.
        censored: Number of configurations with a seed that missed it: their energy is unknown.
    """

    best_j: float | None
    worst_j: float | None
    setups: int
    censored: int

    @property
    def ratio(self) -> float | None:
        """Worst over best; None if no configuration counts."""
        if self.best_j is None or self.worst_j is None:
            return None
        return self.worst_j / self.best_j


def spread(setups: Iterable[Sequence[float | None]]) -> Spread:
    """Compare configurations by their energy to the target.

    Args:
        setups: For each configuration the energy to the target by seed, in J; None if missed.
    """
    with_seeds = [energies for energies in map(list, setups) if energies]
    means = []
    for energies in with_seeds:
        reached = [energy_j for energy_j in energies if energy_j is not None]
        if len(reached) == len(energies):
            means.append(math.fsum(reached) / len(reached))
    return Spread(
        min(means, default=None),
        max(means, default=None),
        len(means),
        len(with_seeds) - len(means),
    )


# Recycled knowledge ---------------------------------------------------------------------------


def recycled_j(pretrain_j: float, finetune_j: float, n: float) -> float:
    """Return the energy of one of n trainings of a pretraining: E(n) = E_pre / n + E_finetune.

    Args:
        pretrain_j: Energy of the pretraining, in J.
        finetune_j: Energy of one fine-tuning, in J.
        n: Number of trainings that use it; at least 1.

    Raises:
        ValueError: If an energy is below 0 or n below 1.
    """
    _check(pretrain_j=pretrain_j, finetune_j=finetune_j)
    if not n >= 1:
        raise ValueError(f"n={n}: at least one training uses it")
    return pretrain_j / n + finetune_j


def payback_n(pretrain_j: float, scratch_j: float, finetune_j: float) -> int | None:
    """Return the number of trainings from which one pretraining is cheaper than scratch.

    n* = ceil(E_pre / (E_scratch - E_finetune)), at least 1; a quotient that is an integer up to
    rounding is that integer. All energies are to the same target.

    Args:
        pretrain_j: Energy of the pretraining, in J.
        scratch_j: Energy of a training from scratch, in J.
        finetune_j: Energy of a fine-tuning, in J.

    Returns:
        None if a fine-tuning saves nothing, so that it never pays back.

    Raises:
        ValueError: If an energy is below 0.
    """
    _check(pretrain_j=pretrain_j, scratch_j=scratch_j, finetune_j=finetune_j)
    saved_j = scratch_j - finetune_j
    if saved_j <= 0 or not math.isfinite(quotient := pretrain_j / saved_j):
        return None
    nearest = round(quotient)
    # Cancellation: the relative error of E_scratch - E_finetune grows with their sum over it.
    slack = _TOLERANCE * max(1.0, quotient, quotient * (scratch_j + finetune_j) / saved_j * 1e-3)
    n = nearest if abs(quotient - nearest) <= slack else math.ceil(quotient)
    return max(1, n)


@dataclass(frozen=True, slots=True)
class Recycled:
    """Energy of a training with pretraining, by who pays for the pretraining.

    Attributes:
        own_j: Energy of a training that pays all of it, in J.
        shared_j: Energy of one of n trainings that share it, in J.
        downloaded_j: Energy of a training of which another user paid it, in J.
        scratch_j: Energy of a training from scratch, in J.
        n: Number of trainings that share it.
        payback: Number of trainings from which it pays back; None for never.
    """

    own_j: float
    shared_j: float
    downloaded_j: float
    scratch_j: float
    n: float
    payback: int | None

    @property
    def savings(self) -> Mapping[str, float]:
        """Saving relative to a training from scratch, by regime; negative for a loss."""
        costs = {"own": self.own_j, "shared": self.shared_j, "downloaded": self.downloaded_j}
        return {regime: 1 - cost_j / self.scratch_j for regime, cost_j in costs.items()}


def recycled(pretrain_j: float, scratch_j: float, finetune_j: float, n: float = 1) -> Recycled:
    """Compare fine-tuning with training from scratch, in three regimes.

    Args:
        pretrain_j: Energy of the pretraining, in J.
        scratch_j: Energy of a training from scratch, in J; above 0.
        finetune_j: Energy of a fine-tuning to the same target, in J.
        n: Number of trainings that share the pretraining.

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
    """Return the first evaluation at which each head was at its target or better.

    Args:
        result: The trial's record.
        targets: Target of each head; by default those of the trial.

    Returns:
        The evaluations by head, None for a missed target; empty for a task with one head.
    """
    points = {point.index: point for point in result.curve}
    head_targets = result.head_targets if targets is None else targets
    hits: dict[str, CurvePoint | None] = {}
    for name, column in result.checkpoints.heads.items():
        target = head_targets.get(name, result.target)
        reached = (
            points[index]
            for index, value in enumerate(column)
            if result.monitor.reaches(value, target) and index in points
        )
        hits[name] = next(reached, None)
    return hits


@dataclass(frozen=True, slots=True)
class Shared:
    """Saving of one training of several heads over a separate training for each.

    Attributes:
        multitask_j: Energy until all heads were at their targets at one evaluation, in J; None if
            they never were.
        single_j: Energy of each separate training to the same target, in J; None if missed.
        accuracy_gain: Best accuracy of each head less that of its separate training.
        missed: Descriptions of missed targets; a saving is defined only without any.
    """

    multitask_j: float | None
    single_j: Mapping[str, float | None]
    accuracy_gain: Mapping[str, float] = field(default_factory=dict)
    missed: tuple[str, ...] = ()

    @property
    def saving(self) -> float | None:
        """1 - E_multitask / sum of E_single; None if a target was missed."""
        energies = [energy_j for energy_j in self.single_j.values() if energy_j is not None]
        if self.missed or self.multitask_j is None or not energies:
            return None
        return 1 - self.multitask_j / math.fsum(energies)


def shared(multitask: TrialResult, singles: Mapping[str, TrialResult]) -> Shared:
    """Compare a multitask training with separate ones, valid only where every target is reached.

    A separate training counts up to the target that its head had in the multitask training.

    Args:
        multitask: A trial of several heads.
        singles: A separate trial for each head.

    Raises:
        ValueError: If the heads differ.
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
    """Return E_life = E_search + E_train + n_inferences x E_inference + E_embodied.

    Args:
        search_j: All energy that the search used, in J.
        train_j: Energy of the final training, its upfront share included, in J.
        n_inferences: Number of inferences over the life of the model.
        inference_j_per_1000: Measured energy of 1,000 inferences, in J.
        embodied_j: Share of the energy of making the hardware, user-specified, in J.

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
