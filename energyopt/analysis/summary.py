"""A study in a few numbers: the best configuration, the search energy, and break-even."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from energyopt.analysis.break_even import Savings, energy_by_outcome_j, energy_by_purpose_j
from energyopt.analysis.configurations import (
    Configuration,
    WithEvaluation,
    n_configurations,
    reached_configurations,
    with_evaluation,
)
from energyopt.analysis.drift import Drift, drift_of
from energyopt.analysis.noise_model import NoiseModel
from energyopt.analysis.pareto import (
    FrontPoint,
    at_target,
    curve_front,
    front_of,
    undominated,
)
from energyopt.analysis.pretraining_value import recycled_of
from energyopt.analysis.ranking import advise
from energyopt.analysis.recommendation import (
    BestSoFar,
    Recommendation,
    best_so_far,
    default_trial,
    point_of,
    recommend,
)
from energyopt.analysis.seed_noise import noise_model
from energyopt.core.accounting import Recycled
from energyopt.core.conditions import PowerProfile
from energyopt.core.default_setup import DEFAULT, DefaultSetup
from energyopt.core.default_setup import name as default_name
from energyopt.core.estimate import Estimate
from energyopt.core.gpu_trace import TraceEvent
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import Metric, StudyRecord, TrialRecord
from energyopt.core.trial_result import RAN_ITS_COURSE, Provenance
from energyopt.search.schedule import params_key

TrialOutcome = Literal["reached", "missed", "stopped", "failed", "lost"]
"""Outcome of a finished trial, for one target.

`missed`: trained to its end without reaching it. `stopped`: ended earlier (stopped, diverged, or
reached a lower target). `lost`: interrupted or crashed.
"""

_INTERRUPTED = "interrupted"  # the reason of a trial that a signal ended

OPEN = ("running", "paused", "waiting")
"""States of trials that are not over."""
_WITHOUT_RESULT: dict[str, TrialOutcome] = {"failed": "failed", "pruned": "stopped"}


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of trials, by state and by outcome.

    Attributes:
        states: Trials by state in the study.
        outcomes: Finished trials by outcome, for the target.
        diverged: Trials whose metric or loss became NaN or infinite.
        paused_there: Paused trials that reached the target.
        failed: Trials that failed; those that were interrupted are trained again.
        failure: Why the last of them did.
    """

    states: Mapping[str, int]
    outcomes: Mapping[TrialOutcome, int]
    diverged: int = 0
    paused_there: int = 0
    failed: int = 0
    failure: str = ""

    @property
    def trials(self) -> int:
        """All trials, finished or not."""
        return sum(self.states.values())

    @property
    def finished(self) -> int:
        """Trials that are over."""
        return self.trials - sum(self.states.get(state, 0) for state in OPEN)

    @property
    def reached(self) -> int:
        """Trials that reached the target."""
        return self.outcomes.get("reached", 0)


@dataclass(frozen=True, slots=True)
class Summary:
    """A study in a few numbers, seen from one target.

    Attributes:
        study: Name of the study.
        target: Value of the metric to reach; None for another app's study.
        counts: Number of trials by state and outcome.
        answer: The configuration to train with; None if no trial reached the target.
        best_so_far: The best value of the metric, if no trial reached the target.
        worst: The cheapest trial with the configuration that needed most.
        spread: Mean energy of the worst configuration over that of the cheapest; None if unknown.
        reached: The configurations that reached the target, the cheapest on average first.
        tried: Number of configurations that were trained.
        with_evaluation: The comparisons with evaluation, if it costs more than a fifth of training.
        default: The default configuration at the target; None if not trained or if it missed.
        saving: Share of the default's energy that the recommended configuration saves.
        search_energy_j: All energy that the study used, in J.
        energy_by_purpose_j: The search energy by purpose, in J.
        energy_by_outcome_j: The search energy by outcome of the trials, in J.
        missed_share: Share of the search energy used by trials that missed the target.
        break_even: Search energy over the saving of one training, in trainings; None if none.
        break_even_reason: Why there is none, or only a bound, in words; empty if there is one.
        reuse: Number of planned training runs; None if not specified.
        flags: Warnings about the measuring conditions, with the number of trials.
        provenance: Source of the energies; None before the first.
        front: The front of all checkpoints.
        front_of: Description of that front.
        profiles: Power profiles, each with the number of the trial that measured it.
        metrics: The study's objectives.
        told: The trials whose objective values no other trial beats.
        monitor: The metric of its trials.
        recycled: The value of pretraining; None if nothing can be compared.
        app: The command of the other app that trains; None for our own.
        events: What traces of GPUs show, each with the number of its trial.
        other_j: The part of the search energy that no training booked, in J; None if unknown.
        is_other_known: Whether that part is known of all commands.
        noise: The posterior of the configurations' energies; None if no trial reached the target.
        drift: How the machine drifted; None where too little was repeated to tell.
        default_setup: How the trial that stands for the user's default differs from it.
    """

    study: str
    target: float | None
    counts: Counts
    answer: Recommendation | None
    best_so_far: BestSoFar | None
    worst: FrontPoint | None
    spread: float | None
    reached: tuple[Configuration, ...]
    tried: int
    with_evaluation: WithEvaluation | None
    default: FrontPoint | None
    saving: float | None
    search_energy_j: float
    energy_by_purpose_j: Mapping[str, float]
    energy_by_outcome_j: Mapping[str, float]
    missed_share: float | None
    break_even: float | None
    break_even_reason: str
    reuse: float | None
    flags: Mapping[str, int]
    provenance: Provenance | None
    front: tuple[FrontPoint, ...]
    front_of: str
    profiles: tuple[tuple[int, PowerProfile], ...]
    metrics: tuple[Metric, ...]
    told: tuple[TrialRecord, ...]
    monitor: Monitor = ACCURACY
    recycled: Recycled | None = None
    app: str | None = None
    events: tuple[tuple[int, TraceEvent], ...] = ()
    other_j: float | None = None
    is_other_known: bool = False
    noise: NoiseModel | None = None
    drift: Drift | None = None
    default_setup: DefaultSetup = DEFAULT

    @property
    def recommended(self) -> FrontPoint | None:
        """Where the cheapest trial of the answer reached the target."""
        return None if self.answer is None else self.answer.point

    @property
    def default_energy(self) -> Estimate | None:
        """Energy of a typical training with the default to the target; None if it missed it."""
        if self.answer is not None and self.answer.point.default:
            return self.answer.energy
        return None if self.against_default is None else self.against_default.default

    @property
    def against_default(self) -> Savings | None:
        """Saving of the answer against the default; None if it is that, or unknown."""
        return None if self.answer is None else self.answer.savings


def summarize(
    study: StudyRecord, target: float | None = None, *, reuse: float | None = None
) -> Summary:
    """Summarize a study.

    Args:
        study: The study.
        target: Value of the metric to reach; the study's own if None.
        reuse: Number of planned training runs with the result; that of the study's last run if
            None.
    """
    reuse = study.plans.reuse if reuse is None else reuse
    target = study.target if target is None else target
    reaching = [] if target is None else at_target(study, target)
    reached = [] if target is None else reached_configurations(study, target, reaching)
    worst = None if target is None or not reached else point_of(study, reached[-1], target)
    defaults = [] if target is None else [point_of(study, c, target) for c in reached if c.default]
    outcomes = {trial.number: trial_outcome(trial, target) for trial in study.trials}
    spent_j = study.search_energy_j
    front = curve_front(study)
    noise = noise_model(study, target)
    answer = None
    if target is not None and noise is not None:
        ranked = advise(study, target, noise=noise) if len(reached) > 1 else []
        answer = recommend(study, target, reached, noise, ranked)
    default = next(iter(defaults), None)
    best = None if answer is None else answer.point
    savings = None if answer is None else answer.savings
    saved_j = _saved_j(answer)
    return Summary(
        study=study.name,
        target=target,
        counts=_count(study, outcomes),
        answer=answer,
        best_so_far=best_so_far(study, front) if answer is None else None,
        worst=worst,
        spread=reached[-1].mean_j / reached[0].mean_j if reached else None,
        reached=tuple(reached),
        tried=n_configurations(trial for trial, _ in study.results),
        with_evaluation=_with_evaluation(reached, best, default, savings),
        default=default,
        saving=savings.share.value if savings else None,
        noise=noise,
        drift=drift_of(study),
        default_setup=study.default_setup,
        search_energy_j=spent_j,
        energy_by_purpose_j=energy_by_purpose_j(study),
        energy_by_outcome_j=energy_by_outcome_j(study, outcomes) if target is not None else {},
        missed_share=_missed_share(study, outcomes, spent_j) if target is not None else None,
        break_even=spent_j / saved_j if saved_j > 0 else None,
        break_even_reason=(
            "" if savings and saved_j > 0 else _no_break_even(study, target, answer, default)
        ),
        reuse=reuse,
        flags=_flags(study, target),
        provenance=study.provenance,
        front=front,
        front_of=front_of(front, study),
        profiles=_profiles(study),
        metrics=study.metrics,
        told=tuple(
            undominated(
                [t for t in study.trials if t.state == "complete" and t.feasible], study.metrics
            )
        ),
        monitor=study.monitor,
        recycled=recycled_of(study, reaching),
        app=study.app,
        events=tuple(_events(study)),
        other_j=study.other_j,
        is_other_known=study.is_other_known,
    )


def with_search_energy(summary: Summary, study: StudyRecord) -> Summary:
    """Return a summary with the search energy of a later record of the study.

    The rest is not computed again: that takes seconds of CPU time, which the search energy counts.

    Args:
        summary: Of the same trials.
        study: The study, in which only the energy of commands differs.
    """
    saved_j, target = _saved_j(summary.answer), summary.target
    spent_j = study.search_energy_j
    outcomes = {trial.number: trial_outcome(trial, target) for trial in study.trials}
    has_target = target is not None
    return replace(
        summary,
        search_energy_j=spent_j,
        energy_by_purpose_j=energy_by_purpose_j(study),
        energy_by_outcome_j=energy_by_outcome_j(study, outcomes) if has_target else {},
        missed_share=_missed_share(study, outcomes, spent_j) if has_target else None,
        break_even=spent_j / saved_j if saved_j > 0 else None,
        other_j=study.other_j,
        is_other_known=study.is_other_known,
    )


def _profiles(study: StudyRecord) -> tuple[tuple[int, PowerProfile], ...]:
    """Return the power profiles, by trial, without unfinished ones that a later trial finished."""
    profiles = [
        (trial.number, result.conditions.profile)
        for trial, result in study.results
        if result.conditions.profile is not None
    ]
    finished = [profile.shape for _, profile in profiles if profile.finished]
    return tuple(
        (trial, profile)
        for trial, profile in profiles
        if profile.finished or (len(profile.points) > 1 and profile.shape not in finished)
    )


def trial_outcome(trial: TrialRecord, target: float | None) -> TrialOutcome | None:
    """Return the outcome of a trial for a target; None if it is open or not comparable."""
    result = trial.result
    if result is None:
        return _WITHOUT_RESULT.get(trial.state)
    if not result.valid:
        return "failed" if result.end == "failed" else "lost"
    if target is None:
        return None
    if result.first_at(target) is not None:
        return "reached"
    if result.end == "paused":
        return None
    # A trial that ended at its own, lower target might have reached this one.
    return "missed" if result.end in RAN_ITS_COURSE - {"target"} else "stopped"


def _count(study: StudyRecord, outcomes: Mapping[int, TrialOutcome | None]) -> Counts:
    failed = [t for t in study.trials if outcomes[t.number] == "failed"]
    reasons = [t.reason for t in failed if t.reason != _INTERRUPTED]
    return Counts(
        states=dict(Counter(str(trial.state) for trial in study.trials)),
        outcomes=dict(Counter(outcome for outcome in outcomes.values() if outcome is not None)),
        diverged=sum(t.result is not None and t.result.end == "diverged" for t in study.trials),
        paused_there=sum(
            t.state == "paused" and outcomes[t.number] == "reached" for t in study.trials
        ),
        failed=len(reasons),
        failure=reasons[-1] if reasons else "",
    )


def _saved_j(answer: Recommendation | None) -> float:
    """Return what a training with the answer saves, in J: at least, if the default missed."""
    if answer is None:
        return 0.0
    if answer.savings is not None:
        return answer.savings.value_j
    least_j = answer.default_least_j
    return 0.0 if least_j is None else least_j - answer.energy.value


def _with_evaluation(
    reached: Sequence[Configuration],
    best: FrontPoint | None,
    default: FrontPoint | None,
    savings: Savings | None,
) -> WithEvaluation | None:
    of_best, of_default = (p and params_key(p.params) for p in (best, default))
    ratio = None if savings is None else savings.ratio.value
    return with_evaluation(reached, of_best, of_default, ratio)


def _missed_share(
    study: StudyRecord, outcomes: Mapping[int, TrialOutcome | None], spent_j: float
) -> float | None:
    if not spent_j:
        return None
    missed_j = sum(
        trial.result.spent_j
        for trial in study.trials
        if trial.result is not None and outcomes[trial.number] not in {"reached", None}
    )
    return missed_j / spent_j


def _flags(study: StudyRecord, target: float | None) -> dict[str, int]:
    """Return the number of trials with each warning about their energy to the target."""
    results = [trial.result for trial in study.trials if trial.result is not None]
    points = [None if target is None else result.first_at(target) for result in results]
    flags = (set(r.flags_at(point)) for r, point in zip(results, points, strict=True))
    return dict(sorted(Counter(itertools.chain.from_iterable(flags)).items()))


def _events(study: StudyRecord) -> Iterator[tuple[int, TraceEvent]]:
    for trial in study.trials:
        for event in trial.result.conditions.events if trial.result is not None else ():
            yield trial.number, event


def _no_break_even(
    study: StudyRecord,
    target: float | None,
    answer: Recommendation | None,
    default: FrontPoint | None,
) -> str:
    if target is None:
        return "the study has no target"
    if answer is None:
        return f"no trial reached {target:.6g}"
    if default is None:
        return _no_default(study, target)
    if not answer.point.default:
        return f"{default.default_name} (trial {default.trial}) is not more expensive"
    if n_configurations(trial for trial, _ in study.results) == 1:
        return f"only {default.default_name} was trained"
    return f"nothing that was tried needs less than {default.default_name} beyond noise"


def _no_default(study: StudyRecord, target: float) -> str:
    trial = default_trial(study)
    if trial is None:
        return "the default setup was not trained in this study"
    verbs: dict[TrialOutcome | None, str] = {
        "missed": f"missed {target:.6g}",
        "stopped": f"ended before {target:.6g}",
        "failed": "failed",
        "lost": "was lost",
    }
    verb = verbs.get(trial_outcome(trial, target), "is not finished")
    return f"{default_name(nearest=trial.nearest)} (trial {trial.number}) {verb}"
