"""Show the expected energy of a study's configurations, as a table and as JSON data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.pareto import FrontPoint, at_checkpoint
from energyopt.analysis.recommendation import Advice, advise
from energyopt.analysis.seed_noise import noise_model
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import accuracy, count, percent
from energyopt.errors import StudyError
from energyopt.report.console import COMMAND
from energyopt.report.sentences import params_text, source, trial_text
from energyopt.report.study_output import untrusted_overrides
from energyopt.report.tables import CommandText, rows_of

_MAX_ROWS = 10


def rank_setups(
    study: StudyRecord, target: float | None = None, *, within: float
) -> tuple[list[Advice], float]:
    """Rank the configurations of a study by expected energy to the target.

    Args:
        study: The study.
        target: Target value of the metric; the study's own if None.
        within: Share by which a configuration may be more expensive than the best one and still
            count as equally good.

    Returns:
        The configurations, the recommended one first, and the target.

    Raises:
        StudyError: If none reached the target.
    """
    target = study.target if target is None else target
    if target is None:
        raise StudyError(
            f"study {study.name} has no target: it is another app's; give --target if its "
            "trials have curves"
        )
    ranked = advise(study, target, within=within)
    if not ranked:
        raise StudyError(
            f"no trial of study {study.name} reached {accuracy(target)}; search on, or give a "
            f"{study.monitor.easier} --target"
        )
    return ranked, target


def recommendation_view(
    study: StudyRecord, ranked: Sequence[Advice], target: float, within: float
) -> RenderableType:
    """Return a table of the ranked configurations, and the commands to train the first."""
    best, point = ranked[0], _point(study, ranked[0], target)
    heading = f"Expected energy to {accuracy(target)} ({study.monitor.label}"
    if study.provenance is not None:
        heading += f"; {source(study.provenance)}"
    columns = ("setup", "energy", "95 %", f"within {100 * within:.3g} %", "reached")
    rows = [_row(advice) for advice in ranked[:_MAX_ROWS]]
    hidden = len(ranked) - len(rows)
    more = f"{count(hidden, 'setup')} not shown. " if hidden else ""
    noise = noise_model(study, target)
    basis = "" if noise is None else f", by {noise.basis}"
    lines = (
        f"{more}The energies are those of a typical seed; that of the cheapest single training may "
        f"be low by seed noise. Intervals and probabilities allow for it{basis}. The order also "
        "counts what similar setups needed.",
        f"Recommended: {params_text(best.trial.params)} - {best.energy.joules} to the target "
        f"({best.energy.joules_interval}; trial {best.trial.number}), within {percent(within)} of "
        f"the best setup tried with probability {100 * best.probability:.0f} %.",
        "Train it:",
    )
    name = shlex.quote(study.name)
    overrides = "".join(f" {shlex.quote(o)}" for o in untrusted_overrides(study, best.trial))
    retrain = f"retrain {name}{overrides} --trial {best.trial.number} --out model.safetensors"
    shown = (
        Text(f"{heading})", style="bold"),
        rows_of(columns, rows),
        *(Text(line) for line in lines),
        CommandText(point.overrides, study.app),
    )
    if study.app is not None:  # it has no `retrain` and no `confirm`
        return Group(*shown)
    return Group(
        *shown,
        Text("Train it, test it and keep the model; train it and others with more seeds:"),
        Text(f"  {COMMAND} {retrain}"),
        Text(f"  {COMMAND} confirm {name}{overrides}"),
    )


def recommendation_data(
    study: StudyRecord, ranked: Sequence[Advice], target: float, within: float
) -> dict[str, Any]:
    """Return the ranked configurations as JSON data, the recommended one first."""
    provenance, noise = study.provenance, noise_model(study, target)
    return {
        "study": study.name,
        "target": target,
        "within": within,
        "unit": {"energy": "J"},
        "provenance": None if provenance is None else provenance.kind,
        "meter": None if provenance is None else provenance.meter,
        "basis": None if noise is None else noise.basis,
        "setups": [
            {
                "trial": advice.trial.number,
                "params": without_seeds(advice.trial.params),
                "energy_j": advice.energy_j,
                "interval_j": list(advice.interval_j),
                "probability": advice.probability,
                "trainings": advice.trainings,
                "reached": advice.reached,
                "overrides": (
                    list(_point(study, advice, target).overrides) if advice.reached else None
                ),
            }
            for advice in ranked
        ],
    }


def _point(study: StudyRecord, advice: Advice, target: float) -> FrontPoint:
    result = advice.trial.result
    hit = None if result is None else result.first_at(target)
    assert result is not None and hit is not None  # noqa: S101, PT018  # it reached the target
    return at_checkpoint(study, advice.trial, result, hit)


def _row(advice: Advice) -> tuple[object, ...]:
    return (
        trial_text(advice.trial),
        advice.energy.joules,
        advice.energy.joules_interval,
        f"{100 * advice.probability:.0f} %",
        f"{advice.reached}/{advice.trainings}",
    )
