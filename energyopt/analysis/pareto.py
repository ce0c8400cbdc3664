"""The Pareto front: what each further point of accuracy costs in joules."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter, le
from typing import Any, Literal, TypeVar

from energyopt.core.curve import CurvePoint
from energyopt.core.study_record import Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult

P = TypeVar("P")

_PROFILED = "hardware.power_limit_w=profile"

PointKind = Literal["checkpoint", "final"]
"""What a point is: one evaluation on a trial's curve, or the told end result of a trial."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One setup, what it costs and what it reaches.

    Attributes:
        energy_j: Training energy from the first step to this point, in J.
        accuracy: Validation accuracy in [0, 1].
        time_s: Training time to this point, in s.
        samples: Training samples seen; None where they were not counted.
        epoch: How much was trained, in units of the training set.
        index: Number of its evaluation in the trial, from 0.
        trial: Number of the trial it comes from.
        params: The searched values, by config key.
        overrides: The command-line words that reproduce it.
        provenance: Where its joules come from.
        kind_of_point: A checkpoint of the curve, or the told end result.
        flags: Doubtful measuring conditions of its trial.
        default: Whether it belongs to the default setup.
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


def non_dominated(points: Iterable[P], *, values: Callable[[P], tuple[float, float]]) -> list[P]:
    """Find the points that no other beats in both energy and accuracy.

    Args:
        points: Candidates; of equal ones the first is kept.
        values: Gives (energy, accuracy) of a point: the first is minimised, the second maximised.

    Returns:
        The front by rising energy; accuracy then rises strictly, too.

    Raises:
        ValueError: A value is not finite, so that the points have no order.
    """
    # The front so far, by energy; both columns rise strictly.
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
    """Find the front of all checkpoints of all validly metered trials.

    Missed and stopped trials take part: each checkpoint is a setup one could stop at.
    """
    front = non_dominated(_checkpoints(study), values=itemgetter(0, 1))
    return tuple(
        at_checkpoint(study, trial, result, result.curve[at]) for _, _, trial, result, at in front
    )


def final_front(study: StudyRecord) -> tuple[FrontPoint, ...]:
    """Find the front of what feasible complete trials told the study, in its own objectives.

    A point's energy is that up to the target, its accuracy the best of the whole trial.
    """
    finals = list(_finals(study))
    best = {trial.number for trial in undominated([t for t, *_ in finals], study.metrics)}
    chosen = [_final(study, *final) for final in finals if final[0].number in best]
    return tuple(sorted(chosen, key=lambda point: (point.energy_j, -point.accuracy)))


def undominated(trials: Sequence[TrialRecord], metrics: Sequence[Metric]) -> list[TrialRecord]:
    """The trials whose told values no other's beat in every objective.

    Args:
        trials: Complete trials, with one value a metric; of equal ones the first is kept.
        metrics: The objectives, with their directions.
    """
    signs = [1 if metric.direction == "minimize" else -1 for metric in metrics]
    told = [tuple(s * v for s, v in zip(signs, t.values, strict=True)) for t in trials]
    # Sorted, a trial can be beaten by earlier ones alone; and where there are two objectives, by
    # the last one kept if by any, since that is the best so far in the second.
    kept: list[int] = []
    for at in sorted(range(len(trials)), key=told.__getitem__):
        rivals = kept if len(signs) > 2 else kept[-1:]  # noqa: PLR2004
        if not any(all(map(le, told[rival], told[at])) for rival in rivals):
            kept.append(at)
    return [trials[at] for at in sorted(kept)]


def front_of(points: Sequence[FrontPoint], study: StudyRecord) -> str:
    """Say in words what a front is a front of."""
    if not points:
        return "no points"
    if points[0].kind_of_point == "final":
        count = _count(sum(1 for _ in _finals(study)), "feasible trial")
        return f"told values ({', '.join(metric.name for metric in study.metrics)}) of {count}"
    curves = sum(any(map(math.isfinite, result.curve.accuracy)) for _, result in study.results)
    count = _count(curves, "trial")
    return f"accuracy against training energy, over all checkpoints of {count}"


def at_target(
    study: StudyRecord, target: float
) -> list[tuple[TrialRecord, TrialResult, CurvePoint]]:
    """Find what each trial needed to a target, which need not be the study's own.

    Returns:
        The trials that reached it, with their records and the first evaluation at or above
        it, cheapest first.
    """
    hits = [
        (trial, result, point)
        for trial, result in study.results
        if (point := result.first_at(target)) is not None
    ]
    return sorted(hits, key=lambda hit: (hit[2].training_j, -hit[2].accuracy, hit[0].number))


def at_checkpoint(
    study: StudyRecord,
    trial: TrialRecord,
    result: TrialResult,
    point: CurvePoint,
) -> FrontPoint:
    """Make the front point of one evaluation.

    With its samples as `max_samples` and nothing else changed, a training that repeats itself
    makes the same evaluations up to this one and ends with it. Where they were not counted it goes
    on to its own end.

    Args:
        study: The study it belongs to.
        trial: The trial it belongs to.
        result: That trial's record.
        point: The evaluation.
    """
    end = () if point.samples is None else (f"max_samples={point.samples}",)
    return FrontPoint(
        energy_j=point.training_j,
        accuracy=point.accuracy,
        time_s=point.training_s,
        samples=point.samples,
        epoch=point.epoch,
        index=point.index,
        trial=trial.number,
        params=trial.params,
        overrides=join_overrides(trained_as(study, trial), end),
        provenance=result.start.provenance,
        flags=result.flags,
        kind_of_point="checkpoint",
        default=trial.default,
    )


def trained_as(study: StudyRecord, trial: TrialRecord) -> tuple[str, ...]:
    """The words that set a trial up as it was trained: at the power limit that it found."""
    words = join_overrides(study.overrides, trial.overrides)
    if trial.result is None or not any(word.lstrip("+") == _PROFILED for word in words):
        return words
    limit_w = trial.result.conditions.limit_w
    if limit_w is None or "no_power_limit" in trial.result.flags:
        return join_overrides(words, (f"{_key(_PROFILED)}=null",))
    return join_overrides(words, (f"{_key(_PROFILED)}={limit_w:g}",))


def join_overrides(*groups: Iterable[str]) -> tuple[str, ...]:
    """Join command-line words; a later word for a key takes the place of an earlier one."""
    words: dict[str, str] = {}
    for word in (word for group in groups for word in group):
        key = _key(word)
        earlier = words.pop(key, None)
        words[key] = word if earlier is None else _sigil(earlier) + word.lstrip("+")
    return tuple(words.values())


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _sigil(word: str) -> str:
    """The "+" or "++" that adds a key; it must stay with the first word that names the key."""
    return word[: len(word) - len(word.lstrip("+"))]


def _checkpoints(
    study: StudyRecord,
) -> Iterator[tuple[float, float, TrialRecord, TrialResult, int]]:
    """All evaluations that may be compared: energy, accuracy, and where they are."""
    for trial, result in study.results:
        curve = result.curve
        for at, (energy_j, accuracy) in enumerate(
            zip(curve.training_j, curve.accuracy, strict=True)
        ):
            # A user's evaluate() can answer NaN: such a checkpoint reached nothing.
            if math.isfinite(accuracy) and math.isfinite(energy_j):
                yield energy_j, accuracy, trial, result, at


def _finals(study: StudyRecord) -> Iterator[tuple[TrialRecord, TrialResult, CurvePoint]]:
    for trial, result in study.results:
        if trial.state == "complete" and trial.feasible and result.hit is not None:
            yield trial, result, result.hit


def _final(
    study: StudyRecord, trial: TrialRecord, result: TrialResult, hit: CurvePoint
) -> FrontPoint:
    """Make the front point of what a trial told."""
    return FrontPoint(
        energy_j=hit.training_j,
        accuracy=result.best_accuracy,
        time_s=hit.training_s,
        samples=hit.samples,
        epoch=hit.epoch,
        index=hit.index,
        trial=trial.number,
        params=trial.params,
        overrides=trained_as(study, trial),
        provenance=result.start.provenance,
        flags=result.flags,
        kind_of_point="final",
        default=trial.default,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
