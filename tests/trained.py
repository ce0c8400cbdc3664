"""Made-up trainings whose curves follow laws, for tests of what searches them.

The epochs to a level of accuracy grow with the batch size as `1 + b / 64`, the energy of an epoch
falls as `10 + 640 / b`: 64 needs the least energy to any level, 128 and 32 an eighth more. A power
limit costs more the further it lies from 150 W.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from energyopt.search.schedule import Schedule, TrialSnapshot

TARGET = 0.9
EPOCHS = 60.0
SIZES = (8, 16, 32, 64, 128, 256, 512)
LIMITS_W = (100, 150, 200, 250)
SPACE: Mapping[str, BaseDistribution] = {"batch_size": CategoricalDistribution(SIZES)}
LIMITS: Mapping[str, BaseDistribution] = {
    **SPACE,
    "power_limit_w": CategoricalDistribution(LIMITS_W),
}

_TOP, _LEAST, _FALLS = 0.97, 0.17, 1.2
_STEP = 0.5  # epochs between evaluations


def epoch_j(setup: Mapping[str, Any]) -> float:
    """Energy of an epoch."""
    apart = (setup.get("power_limit_w", 150) - 150) / 150
    return float((10 + 640 / setup.get("batch_size", 64)) * (1 + apart**2))


def accuracy(setup: Mapping[str, Any], epochs: float, luck: float = 1.0) -> float:
    """Accuracy after so many epochs."""
    tau = luck * (1 + setup.get("batch_size", 64) / 64) * setup.get("slower", 1.0)
    return float(_TOP - (_TOP - _LEAST) * (1 + epochs / tau) ** -_FALLS)


def target_j(setup: Mapping[str, Any]) -> float:
    """Return the energy to target without seed noise."""
    tau = (1 + setup.get("batch_size", 64) / 64) * setup.get("slower", 1.0)
    needed = ((_TOP - _LEAST) / (_TOP - TARGET)) ** (1 / _FALLS) - 1
    return epoch_j(setup) * float(tau * needed)


def trained(
    number: int,
    setup: Mapping[str, Any],
    epochs: float,
    *,
    luck: float = 1.0,
    state: str = "paused",
    default: bool = False,
) -> TrialSnapshot:
    """A trial after so many epochs."""
    at = [_STEP * (i + 1) for i in range(round(epochs / _STEP))]
    reads = tuple(accuracy(setup, epoch, luck) for epoch in at)
    joules = tuple(epoch * epoch_j(setup) for epoch in at)
    return TrialSnapshot(
        number,
        setup,
        epochs=tuple(at),
        joules=joules,
        accuracy=reads,
        epoch_j=epoch_j(setup),
        spent_j=joules[-1] if joules else 0.0,
        state=state,  # type: ignore[arg-type]
        reached=any(read >= TARGET for read in reads),
        default=default,
    )


def to_target(number: int, setup: Mapping[str, Any], **options: Any) -> TrialSnapshot:
    """A trial that trained until it reached the target, or as long as it may."""
    epochs = _STEP
    while epochs < EPOCHS and accuracy(setup, epochs, options.get("luck", 1.0)) < TARGET:
        epochs += _STEP
    return trained(number, setup, epochs, **{"state": "ended", **options})


def played(
    schedule: Schedule,
    ask: Callable[[], Mapping[str, Any]],
    *,
    seed: int = 0,
    front: bool = False,
    most: int = 60,
    begin: int = 1000,
) -> list[TrialSnapshot]:
    """The trials of a search that trains step by step, as its schedule says.

    Args:
        schedule: Says which trial trains.
        ask: Gives the setup of a new one.
        seed: Of the trials' seed noise.
        front: Train to the last epoch, not to the target.
        most: Steps.
        begin: Trials that may begin.
    """
    random_, trials, lucks = random.Random(seed), list[TrialSnapshot](), list[float]()
    for _ in range(most):
        step = schedule.next_step(trials, can_begin=len(trials) < begin)
        if step is None:
            break
        at = len(trials) if step.resume is None else step.resume
        if step.resume is None:
            trials.append(TrialSnapshot(at, dict(ask()), state="paused", default=not trials))
            lucks.append(math.exp(0.05 * random_.gauss(0, 1)))
        trials[at] = _on(trials[at], step.until_j, lucks[at], front=front)
    return trials


def _on(trial: TrialSnapshot, until_j: float | None, luck: float, *, front: bool) -> TrialSnapshot:
    assert trial.state == "paused"
    epochs = trial.epochs[-1] if trial.epochs else 0.0
    while True:
        epochs += _STEP
        ends = epochs >= EPOCHS or (not front and accuracy(trial.params, epochs, luck) >= TARGET)
        if ends or (until_j is not None and epochs * epoch_j(trial.params) >= until_j):
            break
    now = trained(trial.number, trial.params, epochs, luck=luck)
    return dataclasses.replace(now, state="ended" if ends else "paused", default=trial.default)
