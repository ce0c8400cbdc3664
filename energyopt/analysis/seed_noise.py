"""The seed noise of a study, from configurations that were trained more than once."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.analysis.configurations import is_unchanged
from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.drift import drift_of, positions
from energyopt.analysis.held_out import wilson
from energyopt.analysis.noise_model import LONG_SD, SMALL_SD, NoiseModel, Repetitions
from energyopt.analysis.paired_ratio import half_width, quantile
from energyopt.analysis.pareto import Hit, at_target
from energyopt.core.study_record import Confirmation, StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.search.schedule import params_key

_LONG_S = 60.0  # MLPerf asks for windows of a minute; recorded trainings took as long and longer


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval (Student's t); without an interval for a single value."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A configuration that was trained several times.

    Attributes:
        trial: The first trial with it.
        confirming: True for its confirmations, which use the same seeds for all configurations.
        energies_j: Energies to the target of the runs that reached it, in J.
        missed: Number of runs that did not reach it.
        accuracies: Validation accuracy of each when it first reached the target.
        tests: Test accuracies, where they were measured.
    """

    trial: TrialRecord
    confirming: bool
    energies_j: tuple[float, ...]
    missed: int
    accuracies: tuple[float, ...]
    tests: tuple[float, ...] = ()

    @property
    def trainings(self) -> int:
        """Number of training runs."""
        return len(self.energies_j) + self.missed

    @property
    def energy(self) -> Interval | None:
        """Geometric mean of the energies with its interval, in J; None if none reached it."""
        return geometric(self.energies_j)


def repeated_setups(study: StudyRecord, target: float | None = None) -> list[Repeated]:
    """Return the configurations that were trained more than once, the cheapest first."""
    target = study.target if target is None else target
    repeated = [*_repeated_trials(study, target), *_confirmations(study, target)]
    return sorted(repeated, key=lambda setup: _mean_j(setup.energies_j))


def noise_model(study: StudyRecord, target: float | None = None) -> NoiseModel | None:
    """Return the posterior of the energies of a study's configurations, by `params_key`.

    It rests on all trials and confirmations that reached the target; None if no trial did. Drift of
    the machine, where it is certain, is removed from the trials: it is no noise of seeds.
    """
    target = study.target if target is None else target
    reaching = [] if target is None else at_target(study, target)
    if target is None or not reaching:
        return None
    drift, position = drift_of(study), positions(study)
    logs: dict[object, list[float]] = {}
    for trial, _, point in reaching:
        moved = drift.log_at(position[trial.number]) if drift else 0.0
        logs.setdefault(params_key(trial.params), []).append(math.log(point.training_j) - moved)
    confirming: dict[object, dict[int, float]] = {}
    missed = Counter(
        params_key(trial.params)
        for trial, result in study.results
        if result.end != "paused" and result.first_at(target) is None
    )
    for trial, confirmation, result in unchanged_confirmations(study, target):
        key, hit = params_key(trial.params), result.first_at(target)
        if hit is None or hit.training_j <= 0:
            missed[key] += 1
        else:
            confirming.setdefault(key, {})[confirmation.seed] = math.log(hit.training_j)
    observed = {
        key: Repetitions(tuple(group), confirming.get(key, {}), missed[key])
        for key, group in logs.items()
    }
    return NoiseModel(observed, prior_sd(reaching))


def prior_sd(reaching: Sequence[Hit]) -> float:
    """Return the noise to expect before any repetition.

    Trainings of a minute and more whose energy was measured vary less than small or estimated ones.
    """
    measured = all(result.start.provenance.kind == "measured" for _, result, _ in reaching)
    typical_s = statistics.median(point.training_s for _, _, point in reaching)
    return LONG_SD if measured and typical_s >= _LONG_S else SMALL_SD


def unchanged_confirmations(
    study: StudyRecord, target: float
) -> Iterator[tuple[TrialRecord, Confirmation, TrialResult]]:
    """Yield the confirmations of trials that reached a target, with unchanged overrides."""
    trials = {trial.number: trial for trial, _ in study.results}
    for confirmation in study.confirmations:
        trial, result = trials.get(confirmation.trial), confirmation.result
        if trial is None or result is None or confirmation.state != "complete":
            continue
        reached = trial.result is not None and trial.result.first_at(target) is not None
        is_same = is_unchanged(study, trial, confirmation)
        if reached and is_same and study.monitor.reaches(result.target, target):
            yield trial, confirmation, result


def seed_band(
    study: StudyRecord, params: Mapping[str, Any], target: float
) -> list[tuple[float, float, float]]:
    """Return the spread of the trainings of a configuration, from its first curve up to a target.

    Args:
        study: The study.
        params: Its searched values; trials and confirmations with them count.
        target: Value of the metric to reach.

    Returns:
        Values of the metric, each with the least and the most energy, in J, with which a training
        first reached it or better; only values that all reached. Empty for a single training.
    """
    key = params_key(params)
    results = [r for t, r in study.results if params_key(t.params) == key and len(r.curve)]
    confirming = unchanged_confirmations(study, target)
    results += [r for trial, _, r in confirming if params_key(trial.params) == key]
    if len(results) < 2:  # noqa: PLR2004  # one training has no spread
        return []
    curve = results[0].curve
    values = [curve[index].accuracy for index in curve.rises()]
    levels = [v for v in values if math.isfinite(v) and not study.monitor.is_better(v, target)]
    band = []
    for value in [*levels, target]:
        hits = [result.first_at(value) for result in results]
        energies = [hit.training_j for hit in hits if hit is not None and hit.training_j > 0]
        if len(energies) == len(results):
            band.append((value, min(energies), max(energies)))
    return band


def arithmetic(values: Sequence[float]) -> Interval | None:
    """Return the mean with its interval; None without any value."""
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) < 2:  # noqa: PLR2004  # one value has no spread
        return Interval(mean, None, None, len(values))
    half = half_width(values)
    return Interval(mean, mean - half, mean + half, len(values))


def share(values: Sequence[float]) -> Interval | None:
    """Return the mean of shares in [0, 1], such as accuracies, with an interval that stays there.

    Wilson's interval, with Student's t and as many samples as make the spread of the values a
    binomial one: n = mean (1 - mean) / variance of the mean. None without any value.
    """
    plain = arithmetic(values)
    if plain is None or plain.low is None or not 0 < plain.mean < 1:
        return plain
    variance = statistics.variance(values) / len(values)
    if not variance:
        return plain
    mean = plain.mean
    samples = mean * (1 - mean) / variance
    low, high = wilson(mean, samples, quantile(len(values) - 1))
    return Interval(mean, low, high, len(values))


def geometric(values: Sequence[float]) -> Interval | None:
    """Return the geometric mean with the interval of the mean log; None without any value."""
    log = arithmetic([math.log(value) for value in values])
    if log is None:
        return None
    low, high = (None if end is None else _exp(end) for end in (log.low, log.high))
    return Interval(math.exp(log.mean), low, high, log.count)


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))  # about the largest float


def _mean_j(energies_j: Sequence[float]) -> float:
    return statistics.geometric_mean(energies_j) if energies_j else math.inf


def _repeated_trials(study: StudyRecord, target: float | None) -> list[Repeated]:
    if target is None:
        return []
    groups: dict[object, list[TrialRecord]] = {}
    for trial, result in study.results:
        if len(result.curve):
            groups.setdefault(params_key(trial.params), []).append(trial)
    hits = {trial.number: point for trial, _, point in at_target(study, target)}
    repeated = []
    for trials in groups.values():
        reached = [hits[trial.number] for trial in trials if trial.number in hits]
        if len(trials) > 1:
            repeated.append(
                Repeated(
                    trial=trials[0],
                    confirming=False,
                    energies_j=tuple(point.training_j for point in reached),
                    missed=len(trials) - len(reached),
                    accuracies=tuple(point.accuracy for point in reached),
                )
            )
    return repeated


def _confirmations(study: StudyRecord, target: float | None) -> list[Repeated]:
    return [
        Repeated(
            trial=setup.trial,
            confirming=True,
            energies_j=tuple(setup.energies_j.values()),
            missed=len(setup.missed),
            accuracies=tuple(setup.accuracies.values()),
            tests=tuple(setup.tests.values()),
        )
        for setup in confirmed_setups(study)
        if setup.target == target
    ]
