"""The file `optimization_results.yaml`, as hydra-optuna-sweeper writes it next to its runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from energyopt.analysis.pareto import undominated
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.units import setup as setup_words
from energyopt.report.console import COMMAND
from energyopt.storage.credentials import masked

NAME = "optimization_results.yaml"


def write_results(study: StudyRecord, folder: Path) -> None:
    """Write the best trial, or with several objectives the non-dominated ones."""
    results: dict[str, Any] = {"name": "energyopt"}
    if len(study.metrics) == 1:
        for best in _best_trials(study):
            results |= {"best_params": dict(best.params), "best_value": best.values[0]}
    else:
        results["solutions"] = [
            {"params": dict(t.params), "values": list(t.values)} for t in _best_trials(study)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(yaml.safe_dump(results, sort_keys=False))


def describe_results(study: StudyRecord, storage: str, folder: Path) -> str:
    """Say which trial is best, and where the study and its results file are."""
    best, storage = _best_trials(study), masked(storage)
    locations = f"study {study.name} is in {storage}, the results are in {folder / NAME}"
    if len(study.metrics) > 1:
        trials = "1 trial is" if len(best) == 1 else f"{len(best)} trials are"
        command = shlex.join(["show", study.name, "--storage", storage])
        return f"{trials} on the front, which `{COMMAND} {command}` prints\n{locations}"
    if not best:
        return locations
    first = best[0]
    setup = setup_words(without_seeds(first.params))
    best_text = f"best: trial {first.number}, {first.values[0]:g} ({setup})"
    return f"{best_text}\n{locations}"


def _best_trials(study: StudyRecord) -> list[TrialRecord]:
    complete = [t for t in study.trials if t.state == "complete" and t.feasible]
    return list(undominated(complete, study.metrics))
