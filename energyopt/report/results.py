"""`optimization_results.yaml`: what hydra-optuna-sweeper leaves beside its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from energyopt.records import Metric, StudyRecord, TrialRecord

NAME = "optimization_results.yaml"


def write_results(study: StudyRecord, folder: Path) -> None:
    """Write the best trial, or with several objectives the non-dominated ones."""
    complete = [t for t in study.trials if t.state == "complete" and t.feasible]
    results: dict[str, Any] = {"name": "energyopt"}
    if len(study.metrics) == 1:
        sign = _sign(study.metrics[0])
        best = min(complete, key=lambda t: sign * t.values[0], default=None)
        if best is not None:
            results |= {"best_params": dict(best.params), "best_value": best.values[0]}
    else:
        results["solutions"] = [
            {"params": dict(t.params), "values": list(t.values)}
            for t in complete
            if not any(_dominates(o, t, study.metrics) for o in complete)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(yaml.safe_dump(results, sort_keys=False))


def _sign(metric: Metric) -> int:
    return 1 if metric.direction == "minimize" else -1


def _dominates(a: TrialRecord, b: TrialRecord, metrics: Sequence[Metric]) -> bool:
    signs = [_sign(metric) for metric in metrics]
    pairs = [(s * x, s * y) for s, x, y in zip(signs, a.values, b.values, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)
