"""Show the expected energy of a study's configurations, as a table and as JSON data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.pareto import training_overrides
from energyopt.analysis.ranking import Advice, advise
from energyopt.analysis.summary import Summary, summarize
from energyopt.core.seeds import configuration_key, without_seeds
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import accuracy, count
from energyopt.errors import StudyError
from energyopt.report.answer_view import answer_text
from energyopt.report.sentences import source, trial_text
from energyopt.report.tables import rows_of

_MAX_ROWS = 10


def rank_setups(
    study: StudyRecord, target: float | None = None, *, within: float
) -> tuple[list[Advice], Summary]:
    """Rank the configurations of a study: the answer first, the others by expected energy.

    Args:
        study: The study.
        target: Target value of the metric; the study's own if None.
        within: Share by which a configuration may be more expensive than the best one and still
            count as equally good.

    Returns:
        The configurations, and the summary of the study at the target.

    Raises:
        StudyError: If none reached the target.
    """
    target = study.target if target is None else target
    if target is None:
        raise StudyError(
            f"study {study.name} has no target: it is another app's; give --target if its "
            "trials have curves"
        )
    summary = summarize(study, target)
    if summary.recommended is None:
        raise StudyError(
            f"no trial of study {study.name} reached {accuracy(target)}; search on, or give a "
            f"{study.monitor.easier} --target"
        )
    key = configuration_key(summary.recommended.params)
    ranked = advise(study, target, within=within, noise=summary.noise)
    return sorted(ranked, key=lambda advice: configuration_key(advice.trial.params) != key), summary


def ranking_view(
    study: StudyRecord, ranked: Sequence[Advice], summary: Summary, within: float
) -> RenderableType:
    """Return a table of the ranked configurations, and what their intervals rest on."""
    heading = f"Expected energy to {accuracy(summary.target or 0.0)} ({study.monitor.label}"
    if study.provenance is not None:
        heading += f"; {source(study.provenance)}"
    columns = ("configuration", "energy", "95 %", f"within {100 * within:.3g} %", "reached")
    rows = [_row(advice) for advice in ranked[:_MAX_ROWS]]
    hidden = len(ranked) - len(rows)
    more = f"{count(hidden, 'configuration')} not shown. " if hidden else ""
    basis = "" if summary.noise is None else f", by {summary.noise.basis}"
    note = (
        f"{more}The first is the answer. Energies are those of a typical seed; intervals and "
        f"probabilities allow for noise{basis}. The order also counts what similar configurations "
        "needed."
    )
    return Group(Text(f"{heading})", style="bold"), rows_of(columns, rows), Text(note), Text())


def recommendation_data(
    study: StudyRecord, ranked: Sequence[Advice], summary: Summary, within: float
) -> dict[str, Any]:
    """Return the ranked configurations as JSON data, the answer first."""
    provenance, noise, target = study.provenance, summary.noise, summary.target or 0.0
    return {
        "study": study.name,
        "target": target,
        "within": within,
        "unit": {"energy": "J"},
        "provenance": None if provenance is None else provenance.kind,
        "meter": None if provenance is None else provenance.meter,
        "basis": None if noise is None else noise.basis,
        "answer": answer_text(summary).headline,
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
                    list(training_overrides(study, advice.trial, target))
                    if advice.reached
                    else None
                ),
            }
            for advice in ranked
        ],
    }


def _row(advice: Advice) -> tuple[object, ...]:
    return (
        trial_text(advice.trial),
        advice.energy.joules,
        advice.energy.joules_interval,
        f"{100 * advice.probability:.0f} %",
        f"{advice.reached}/{advice.trainings}",
    )
