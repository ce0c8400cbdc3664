"""The Pareto front of training energy and the monitored metric."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter, le
from typing import Any, Literal, TypeVar

from energyopt.core import default_setup
from energyopt.core.curve import CurvePoint
from energyopt.core.seeds import configuration_key, is_seed
from energyopt.core.study_record import Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.core.units import count
from energyopt.errors import ConfigError

P = TypeVar("P")

_PROFILED = "hardware.power_limit_w=profile"

PointKind = Literal["checkpoint", "final"]
"""Kind of a point: one evaluation on a trial's curve, or the final result of a trial."""

Hit = tuple[TrialRecord, TrialResult, CurvePoint]
"""A trial that reached a target, its record, and its first evaluation at the target or better."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One configuration with its energy and its value of the metric.

    Attributes:
        energy_j: Training energy from the first step to this point, in J.
        accuracy: Value of the metric as it was reported.
        time_s: Training time to this point, in s.
        samples: Training samples seen; None where they were not counted.
        epoch: Amount of training, in units of the training set.
        index: Number of its evaluation in the trial, from 0.
        trial: Number of the trial it comes from.
        params: The searched values, by config key.
        overrides: The overrides that reproduce it.
        provenance: Source of its energies.
        kind_of_point: A checkpoint of the curve, or the final result.
        flags: Doubtful measuring conditions of its trial.
        default: True if it belongs to the configuration that stands for the user's default.
        nearest: True if that is only the nearest to the default in the space.
    """

    energy_j: float
    accuracy: float
    time_s: float
    samples: int | None
    epoch: float
    index: int
    trial: int
    params: Mapping[str, Any]
    overrides: tuple[str, ...]
    provenance: Provenance
    kind_of_point: PointKind
    flags: tuple[str, ...] = ()
    default: bool = False
    nearest: bool = False

    @property
    def default_mark(self) -> str:
        """Its mark: "default", "nearest to the default", or nothing."""
        return default_setup.mark(default=self.default, nearest=self.nearest)

    @property
    def default_name(self) -> str:
        """Name of the configuration that stands for the default, in a sentence."""
        return default_setup.name(nearest=self.nearest)


def non_dominated(points: Iterable[P], *, values: Callable[[P], tuple[float, float]]) -> list[P]:
    """Return the points that no other beats in both energy and score.

    Args:
        points: Candidates; of equal ones the first is kept.
        values: Returns (energy, score) of a point: the first is minimised, the second maximised.

    Returns:
        The front by rising energy; scores then also rise strictly.

    Raises:
        ValueError: If a value is not finite, so that the points have no order.
    """
    # The front of the points seen, by energy; energies and accuracies rise strictly.
    front: list[P] = []
    energies: list[float] = []
    accuracies: list[float] = []
    for point in points:
        energy, accuracy = values(point)
        if not (math.isfinite(energy) and math.isfinite(accuracy)):
            raise ValueError(f"({energy}, {accuracy}) is not finite; leave such points out")
        cheaper = bisect_right(energies, energy)
        if cheaper and accuracies[cheaper - 1] >= accuracy:
            continue
        beaten = slice(bisect_left(energies, energy), bisect_right(accuracies, accuracy))
        front[beaten], energies[beaten], accuracies[beaten] = [point], [energy], [accuracy]
    return front


def curve_front(study: StudyRecord) -> tuple[FrontPoint, ...]:
    """Return the front of all checkpoints of all validly metered trials.

    Missed and stopped trials are included: training could be stopped at each checkpoint.
    """
    front = non_dominated(_checkpoints(study), values=itemgetter(0, 1))
    return tuple(
        at_checkpoint(study, trial, result, result.curve[i]) for _, _, trial, result, i in front
    )


def final_front(study: StudyRecord) -> tuple[FrontPoint, ...]:
    """Return the front of the feasible complete trials, in the objectives of the study.

    A point's energy is that up to the target, its value the best of the whole trial.
    """
    finals = list(_finals(study))
    best = {trial.number for trial in undominated([t for t, *_ in finals], study.metrics)}
    chosen = [_final(study, *final) for final in finals if final[0].number in best]
    score = study.monitor.score
    return tuple(sorted(chosen, key=lambda point: (point.energy_j, -score(point.accuracy))))


def undominated(trials: Sequence[TrialRecord], metrics: Sequence[Metric]) -> list[TrialRecord]:
    """Return the trials whose objective values no other trial beats."""
    signs = [1 if metric.direction == "minimize" else -1 for metric in metrics]
    losses = [tuple(s * v for s, v in zip(signs, t.values, strict=True)) for t in trials]
    # In sorted order, only an earlier trial can beat a later one. With two objectives, that is the
    # last undominated one, if any: it is the best so far in the second objective.
    best: list[int] = []
    for i in sorted(range(len(trials)), key=losses.__getitem__):
        rivals = best if len(signs) > 2 else best[-1:]  # noqa: PLR2004
        if not any(all(map(le, losses[rival], losses[i])) for rival in rivals):
            best.append(i)
    return [trials[i] for i in sorted(best)]


def front_of(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    """Return a description of a front: its objectives and trials."""
    if not points:
        return "no points"
    if points[0].kind_of_point == "final":
        n_final = _trials_text([trial for trial, *_ in _finals(study)], "feasible trial")
        return f"objective values ({', '.join(m.name for m in study.metrics)}) of {n_final}"
    finite = [t for t, result in study.results if any(map(math.isfinite, result.curve.accuracy))]
    trials = _trials_text(finite, "trial")
    return f"{study.monitor.name} against training energy, over all checkpoints of {trials}"


def _trials_text(trials: Sequence[TrialRecord], noun: str) -> str:
    """Return a number of trials, and of configurations where some differ in their seeds only."""
    n_setups = len({configuration_key(trial.params) for trial in trials})
    if n_setups == len(trials):
        return count(len(trials), noun)
    return f"{count(len(trials), noun)} with {count(n_setups, 'setup')}, each point of one training"


def check_target(study: StudyRecord, target: float | None) -> None:
    """Check a target from which a study is to be seen; None is its own.

    Raises:
        ConfigError: If it is no accuracy, and the study is judged by one.
    """
    if target is not None and study.monitor.is_share and not 0 < target <= 1:
        raise ConfigError(
            f"--target must be above 0 and at most 1, got {target:g}: study {study.name} is judged "
            "by its accuracy"
        )


def at_target(study: StudyRecord, target: float) -> list[Hit]:
    """Return the trials that reached a target, which need not be the study's own.

    Returns:
        The trials that reached it, with their records and the first evaluation at it or better,
        cheapest first.
    """
    hits = [
        (trial, result, point)
        for trial, result in study.results
        if (point := result.first_at(target)) is not None
    ]
    score = study.monitor.score
    return sorted(hits, key=lambda hit: (hit[2].training_j, -score(hit[2].accuracy), hit[0].number))


def at_checkpoint(
    study: StudyRecord,
    trial: TrialRecord,
    result: TrialResult,
    point: CurvePoint,
) -> FrontPoint:
    """Return the front point of one evaluation.

    With its samples as `max_samples`, a deterministic training repeats the evaluations up to this
    one and ends with it. If samples were not counted, it continues to its own end.
    """
    ends_there = point.samples is not None and study.app is None
    end = (f"max_samples={point.samples}",) if ends_there else ()
    overrides = join_overrides(trained_as(study, trial), end)
    return _front_point(
        trial, result, point, accuracy=point.accuracy, overrides=overrides, kind="checkpoint"
    )


def trained_as(study: StudyRecord, trial: TrialRecord) -> tuple[str, ...]:
    """Return the overrides that reproduce a trial: at the power limit that was profiled."""
    overrides = join_overrides(study.overrides, trial.overrides)
    if trial.result is None or not any(o.lstrip("+") == _PROFILED for o in overrides):
        return overrides
    limit_w = trial.result.conditions.limit_w
    if limit_w is None or "no_power_limit" in trial.result.flags:
        return join_overrides(overrides, (f"{_key(_PROFILED)}=null",))
    return join_overrides(overrides, (f"{_key(_PROFILED)}={limit_w:g}",))


def training_overrides(study: StudyRecord, trial: TrialRecord, target: float) -> tuple[str, ...]:
    """Return the overrides that train a configuration up to a target, without seeds of its trial.

    Another app's training ends as that app says.
    """
    overrides = trained_as(study, without_trial_seeds(trial))
    if study.app is not None:
        return overrides
    # Another objective does not have the keys of the study's.
    setting = (o for o in overrides if not o.lstrip("+").startswith("objective."))
    moved = () if target == study.target else (f"target={target}",)
    return join_overrides(setting, ("objective=energy_to_target", *moved))


def without_trial_seeds(trial: TrialRecord) -> TrialRecord:
    """Return a trial that trains with the seed of the study: it is told from no repetition."""
    seedless = tuple(override for override in trial.overrides if not is_seed(_key(override)))
    return replace(trial, overrides=seedless)


def join_overrides(*groups: Iterable[str]) -> tuple[str, ...]:
    """Join overrides; a later override of a key replaces an earlier one."""
    by_key: dict[str, str] = {}
    for override in itertools.chain.from_iterable(groups):
        key = _key(override)
        earlier = by_key.pop(key, None)
        by_key[key] = override if earlier is None else _prefix(earlier) + override.lstrip("+")
    return tuple(by_key.values())


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _prefix(override: str) -> str:
    """Return the "+" or "++" that adds a key, which the first override of a key must keep."""
    return override[: len(override) - len(override.lstrip("+"))]


def _checkpoints(
    study: StudyRecord,
) -> Iterator[tuple[float, float, TrialRecord, TrialResult, int]]:
    """Yield energy, score, trial, record and index of evaluations that may be on a front.

    They have finite values and are better than those before in the trial, which needed less.
    """
    for trial, result in study.results:
        curve = result.curve
        best, best_j = -math.inf, 0.0
        for i, (energy_j, score) in enumerate(zip(curve.training_j, curve.scores, strict=True)):
            # Older versions stored what a user's evaluate() answered, NaN included.
            if score <= best and energy_j >= best_j:
                continue
            if math.isfinite(score) and math.isfinite(energy_j):
                best, best_j = score, energy_j
                yield energy_j, score, trial, result, i


def _finals(study: StudyRecord) -> Iterator[tuple[TrialRecord, TrialResult, CurvePoint]]:
    for trial, result in study.results:
        if trial.state == "complete" and trial.feasible and result.hit is not None:
            yield trial, result, result.hit


def _final(
    study: StudyRecord, trial: TrialRecord, result: TrialResult, hit: CurvePoint
) -> FrontPoint:
    """Return the front point of the final result of a trial."""
    overrides, accuracy = trained_as(study, trial), result.best_accuracy
    return _front_point(trial, result, hit, accuracy=accuracy, overrides=overrides, kind="final")


def _front_point(
    trial: TrialRecord,
    result: TrialResult,
    point: CurvePoint,
    *,
    accuracy: float,
    overrides: tuple[str, ...],
    kind: PointKind,
) -> FrontPoint:
    return FrontPoint(
        energy_j=point.training_j,
        accuracy=accuracy,
        time_s=point.training_s,
        samples=point.samples,
        epoch=point.epoch,
        index=point.index,
        trial=trial.number,
        params=trial.params,
        overrides=overrides,
        provenance=result.start.provenance,
        flags=result.flags_at(point),
        kind_of_point=kind,
        default=trial.default,
        nearest=trial.nearest,
    )
