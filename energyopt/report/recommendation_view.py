"""What is expected of a study's setups: as a table and sentences, and as plain data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.pareto import FrontPoint, at_checkpoint
from energyopt.analysis.recommendation import Advice, advise
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import accuracy, count, joules, percent, setup
from energyopt.errors import StudyError
from energyopt.report.console import COMMAND
from energyopt.report.sentences import source
from energyopt.report.study_output import words_to_vouch_for
from energyopt.report.tables import command_text, rows_of

_SHOWN = 10


def advised(
    study: StudyRecord, target: float | None = None, *, within: float
) -> tuple[list[Advice], float]:
    """What is expected of the setups of a study, and the target that it is about.

    Args:
        study: The study.
        target: Accuracy to reach; the study's own if None.
        within: By how much a setup may be dearer than the best and still be as good, as a share.

    Raises:
        StudyError: If none reached the target.
    """
    target = study.target if target is None else target
    if target is None:
        raise StudyError(
            f"study {study.name} has no target accuracy: it is another app's; give --target if its "
            "trials have curves"
        )
    found = advise(study, target, within=within)
    if not found:
        raise StudyError(
            f"no trial of study {study.name} reached {accuracy(target)}; search on, or give a "
            "lower --target"
        )
    return found, target


def recommended_screen(
    study: StudyRecord, found: Sequence[Advice], target: float, within: float
) -> RenderableType:
    """Show what is expected of the setups, and how to train the first."""
    best, point = found[0], _point(study, found[0], target)
    heading = f"Expected energy to {accuracy(target)} (validation accuracy"
    if study.provenance is not None:
        heading += f"; {source(study.provenance)}"
    columns = ("setup", "energy", "95 %", f"within {100 * within:.3g} %", "reached")
    rows = [_row(each) for each in found[:_SHOWN]]
    hidden = len(found) - len(rows)
    more = f"{count(hidden, 'setup')} not shown. " if hidden else ""
    low, high = best.interval_j
    lines = (
        f"{more}The energies are those of a usual seed; the cheapest training alone may have been "
        "lucky. Intervals and probabilities are the model's: too narrow for small trainings, whose "
        "seeds vary more than it expects.",
        f"Recommended: {setup(best.trial.params) or 'the fixed setup'} - {joules(best.energy_j)} "
        f"to the target ({joules(low)} to {joules(high)}; trial {best.trial.number}), within "
        f"{percent(within)} of the best setup tried with probability {percent(best.probability)}.",
        "Train it:",
    )
    name = shlex.quote(study.name)
    vouched = "".join(f" {shlex.quote(w)}" for w in words_to_vouch_for(study, best.trial))
    again = f"retrain {name}{vouched} --trial {best.trial.number} --out model.safetensors"
    return Group(
        Text(f"{heading})", style="bold"),
        rows_of(columns, rows),
        *(Text(line) for line in lines),
        command_text(point.overrides),
        Text("Train it, test it and keep the model; train it and others with more seeds:"),
        Text(f"  {COMMAND} {again}"),
        Text(f"  {COMMAND} confirm {name}{vouched}"),
    )


def recommended_data(
    study: StudyRecord, found: Sequence[Advice], target: float, within: float
) -> dict[str, Any]:
    """The same as plain data, the recommended setup first."""
    source_of = study.provenance
    return {
        "study": study.name,
        "target": target,
        "within": within,
        "unit": {"energy": "J"},
        "provenance": None if source_of is None else source_of.kind,
        "meter": None if source_of is None else source_of.meter,
        "setups": [
            {
                "trial": each.trial.number,
                "params": dict(each.trial.params),
                "energy_j": each.energy_j,
                "interval_j": list(each.interval_j),
                "probability": each.probability,
                "trainings": each.trainings,
                "reached": each.reached,
                "overrides": list(_point(study, each, target).overrides) if each.reached else None,
            }
            for each in found
        ],
    }


def _point(study: StudyRecord, advice: Advice, target: float) -> FrontPoint:
    result = advice.trial.result
    hit = None if result is None else result.first_at(target)
    assert result is not None  # noqa: S101  # it reached the target
    assert hit is not None  # noqa: S101
    return at_checkpoint(study, advice.trial, result, hit)


def _row(each: Advice) -> tuple[object, ...]:
    low, high = each.interval_j
    default = " (default)" if each.trial.default else ""
    return (
        f"trial {each.trial.number}{default}: {setup(each.trial.params) or 'the fixed setup'}",
        joules(each.energy_j),
        f"{joules(low)} to {joules(high)}",
        percent(each.probability),
        f"{each.reached}/{each.trainings}",
    )
