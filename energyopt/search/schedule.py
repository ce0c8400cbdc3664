"""Schedules, and the view of a study they decide on: curves of the metric against energy."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from optuna.trial import FrozenTrial, TrialState

from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.outcome import MONITOR
from energyopt.core.seeds import configuration_key

CURVE = "curve"
"""Attribute of a trial, in Optuna's tables too: its curve, as `TrialSnapshot.curve` gives it."""
DEFAULT_SETUP = "default_setup"
"""Attribute of the trial that trains the default configuration, for comparison."""
PAUSED = "paused"
"""Attribute of a trial: whether it is open in the study, and waits to be resumed."""


@dataclass(frozen=True, slots=True)
class TrialSnapshot:
    """A trial up to now.

    Attributes:
        number: Its number in the study.
        params: Its searched values, by config key.
        epochs: Epochs trained at each evaluation.
        joules: Training energy from the first step up to each evaluation, in J.
        accuracy: Score at each evaluation, of which more is better: the accuracy, or the value of
            another metric, or its negative where less is better.
        epoch_j: Energy of an epoch at its power limit, in J; None before the first window.
        spent_j: All energy it has used, in J.
        state: "paused" can be resumed and pays only the rest; "ended" cannot.
        reached: Whether an evaluation was at the study's target or better.
        default: Whether it trains the default configuration.
    """

    number: int
    params: Mapping[str, Any]
    epochs: tuple[float, ...] = ()
    joules: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    epoch_j: float | None = None
    spent_j: float = 0.0
    state: Literal["running", "paused", "ended"] = "ended"
    reached: bool = False
    default: bool = False

    def curve(self) -> dict[str, Any]:
        """Return its curve as plain data for an attribute of a metric that is maximised."""
        return {
            "epochs": list(self.epochs),
            "joules": list(self.joules),
            "accuracy": list(self.accuracy),
            "epoch_j": self.epoch_j,
        }

    def to_target_j(self, target: float) -> float | None:
        """Return the training energy to a target score, in J; None if missed, or for nothing."""
        pairs = zip(self.joules, self.accuracy, strict=True)
        energy_j = next((joules for joules, accuracy in pairs if accuracy >= target), 0.0)
        return energy_j if energy_j > 0 else None


def params_key(params: Mapping[str, Any]) -> Hashable:
    """Return a key of a configuration: all hyperparameters but seeds."""
    return configuration_key(params)


def unique_params(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return unique configurations, in order; repetitions with other seeds count as one."""
    return list({params_key(point): dict(point) for point in points}.values())


class Step(NamedTuple):
    """The next step of a study.

    Attributes:
        resume: Number of the paused trial to resume; None for a new one.
        until_j: Training energy since its first step at which it pauses, in J; 0 pauses as soon
            as its power limit is profiled, or at its first evaluation; None trains to the end.
        again: How often the configuration of a new trial was trained before: it takes the next
            seed, to measure seed noise.
    """

    resume: int | None = None
    until_j: float | None = None
    again: int = 0


@runtime_checkable
class Schedule(Protocol):
    """Decides which trial trains next, and for how long: a new one, or a paused one.

    With a true attribute `final`, paused trials end when no step is worth its energy before the
    study has its total; else they wait for a schedule that decides otherwise.
    """

    def next_step(self, observed: Sequence[TrialSnapshot], *, can_begin: bool) -> Step | None:
        """Return the next step.

        Args:
            observed: All trials of the study so far, by number, running ones included.
            can_begin: Whether the study may still begin trials.

        Returns:
            None where no step is worth its energy: while others run, for now; else for good.
        """


def observed_of(trial: FrozenTrial) -> TrialSnapshot:
    """Return a snapshot of an Optuna trial, from its attributes.

    Args:
        trial: Running, paused or ended; one of another app has no curve.
    """
    attributes = trial.user_attrs
    curve = attributes.get(CURVE, {})
    monitor = Monitor(**attributes[MONITOR]) if MONITOR in attributes else ACCURACY
    joules, epoch_j = tuple(curve.get("joules", ())), curve.get("epoch_j")
    epochs = tuple(curve.get("epochs", ()))
    upfront_j = curve.get("upfront_j", 0.0)
    if upfront_j and epoch_j:  # its share of pretraining counts as epochs trained
        epochs = tuple(energy_j / epoch_j for energy_j in joules)
    # The energy used for pretraining may differ from the trial's share: the share counts.
    pretraining_j = float(attributes.get("knowledge_j", 0.0))
    spent_j = float(attributes.get("spent_j", 0.0)) - pretraining_j + upfront_j
    return TrialSnapshot(
        number=trial.number,
        params=trial.params,
        epochs=epochs,
        joules=joules,
        accuracy=tuple(map(monitor.score, curve.get("accuracy", ()))),
        epoch_j=epoch_j,
        spent_j=spent_j,
        state=_state(trial),
        reached="energy_to_target_j" in attributes,
        default=bool(attributes.get(DEFAULT_SETUP)),
    )


def _state(trial: FrozenTrial) -> Literal["running", "paused", "ended"]:
    if trial.state.is_finished():
        return "ended"
    is_paused = trial.state == TrialState.RUNNING and trial.user_attrs.get(PAUSED)
    return "paused" if is_paused else "running"
