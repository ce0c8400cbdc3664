"""The data that commands print with `--json`, as `output_schema.json` describes it.

Units are in the keys, what is not known is null, and joules come with their provenance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from energyopt.analysis.configurations import reached_configurations
from energyopt.analysis.pareto import FrontPoint, at_target, trained_as
from energyopt.analysis.recommendation import Recommendation
from energyopt.analysis.summary import OPEN, Summary, trial_outcome
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult

Data = dict[str, Any]


def provenance_data(provenance: Provenance | None) -> Data:
    """Return where joules come from, as keys of the object that holds them."""
    keys = {"provenance": "kind", "meter": "meter", "meter_version": "version", "scope": "scope",
            "device": "device"}  # fmt: skip
    return {key: provenance and getattr(provenance, name) for key, name in keys.items()}


def head_data(study: StudyRecord, target: float | None) -> Data:
    """Return what each output about a study begins with."""
    return {
        "study": study.name,
        "target": target,
        "monitor": {"name": study.monitor.name, "mode": study.monitor.mode},
        **provenance_data(study.provenance),
    }


def answer_data(answer: Recommendation | None) -> Data | None:
    """Return the recommended configuration; None if no trial reached the target."""
    if answer is None:
        return None
    point = answer.point
    return {
        "trial": point.trial,
        "default": point.default,
        "params": without_seeds(point.params),
        "overrides": point.overrides,
        "metric": point.accuracy,
        "energy_j": answer.energy.value,
        "energy_interval_j": (answer.energy.low, answer.energy.high),
        "trainings": answer.trainings,
        "reached": answer.reached,
    }


def trial_data(study: StudyRecord, trial: TrialRecord, target: float | None) -> Data:
    """Return one trial, as seen from a target."""
    return {
        "trial": trial.number,
        "state": trial.state,
        "outcome": trial_outcome(trial, target),
        "default": trial.default,
        "params": trial.params,
        "overrides": trained_as(study, trial),
        "values": trial.values,
        "reason": trial.reason,
        **result_data(trial.result, target),
    }


def result_data(result: TrialResult | None, target: float | None) -> Data:
    """Return the numbers of one training; all unknown without a record."""
    if result is None:
        keys = ("metric", "energy_to_target_j", "time_to_target_s", "training_j", "spent_j",
                "epochs", "seed")  # fmt: skip
        return {**dict.fromkeys(keys), "flags": [], **provenance_data(None)}
    hit = None if target is None or not result.valid else result.first_at(target)
    curve = result.curve
    return {
        "metric": curve.best if result.valid else None,
        "energy_to_target_j": hit and hit.training_j,
        "time_to_target_s": hit and hit.training_s,
        "training_j": result.training_j,
        "spent_j": result.spent_j,
        "epochs": curve.epoch[-1] if len(curve) else None,
        "seed": result.start.seed,
        "flags": result.flags_at(hit),
        **provenance_data(result.start.provenance),
    }


def run_data(result: TrialResult) -> Data:
    """Return a run that belongs to no study, for `show FOLDER`."""
    monitor = {"name": result.monitor.name, "mode": result.monitor.mode}
    head = {"study": None, "target": result.target, "monitor": monitor, "reason": result.reason}
    return {**head, "outcome": result.end, **result_data(result, result.target)}


def studies_data(studies: Iterable[StudyRecord]) -> Data:
    """Return the studies of a storage."""
    return {"studies": [_study_row(study) for study in studies]}


def _study_row(study: StudyRecord) -> Data:
    target = study.target
    hits = [] if target is None else at_target(study, target)
    cheapest = reached_configurations(study, target, hits) if target is not None and hits else []
    return {
        **head_data(study, target),
        "trials": sum(trial.state not in OPEN for trial in study.trials),
        "reached": len(hits),
        "cheapest_j": cheapest[0].mean_j if cheapest else None,
        "search_energy_j": study.search_energy_j,
    }


def show_data(study: StudyRecord, summary: Summary) -> Data:
    """Return what a study found, and what it cost."""
    savings = summary.against_default
    return {
        **head_data(study, summary.target),
        "states": summary.counts.states,
        "outcomes": summary.counts.outcomes,
        "answer": answer_data(summary.answer),
        "default_energy_j": summary.default_energy and summary.default_energy.value,
        "saving_share": savings and savings.share.value,
        "saving_share_interval": savings and (savings.share.low, savings.share.high),
        "basis": savings and savings.basis,
        "search_energy_j": summary.search_energy_j,
        "energy_by_purpose_j": summary.energy_by_purpose_j,
        "energy_by_outcome_j": summary.energy_by_outcome_j,
        "other_j": summary.other_j,
        "break_even_trainings": summary.break_even,
        "break_even_reason": summary.break_even_reason,
        "flags": summary.flags,
    }


def front_data(points: Sequence[FrontPoint], study: StudyRecord, front_of: str) -> Data:
    """Return the points of a front."""
    return {
        **head_data(study, study.target),
        "front_of": front_of,
        "points": [
            {
                "energy_j": point.energy_j,
                "metric": point.accuracy,
                "time_s": point.time_s,
                "epoch": point.epoch,
                "samples": point.samples,
                "trial": point.trial,
                "default": point.default,
                "params": without_seeds(point.params),
                "overrides": point.overrides,
                "flags": point.flags,
                **provenance_data(point.provenance),
            }
            for point in points
        ],
    }
