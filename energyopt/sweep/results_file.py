"""The file `optimization_results.yaml`, as hydra-optuna-sweeper writes it next to its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from energyopt.analysis.pareto import undominated
from energyopt.core.study_record import StudyRecord

NAME = "optimization_results.yaml"


def write_results(study: StudyRecord, folder: Path) -> None:
    """Write the best trial, or with several objectives the non-dominated ones."""
    complete = [t for t in study.trials if t.state == "complete" and t.feasible]
    results: dict[str, Any] = {"name": "energyopt"}
    if len(study.metrics) == 1:
        for best in undominated(complete, study.metrics):
            results |= {"best_params": dict(best.params), "best_value": best.values[0]}
    else:
        results["solutions"] = [
            {"params": dict(t.params), "values": list(t.values)}
            for t in undominated(complete, study.metrics)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(yaml.safe_dump(results, sort_keys=False))
