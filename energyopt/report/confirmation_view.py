"""Show confirmations: configurations compared by training runs with the same seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.confirmation_stats import Confirmed
from energyopt.analysis.paired_ratio import CONFIDENCE, ratio
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import count, joules
from energyopt.report.sentences import source, trial_text
from energyopt.report.tables import rows_of


def confirmation_view(study: StudyRecord, setups: Sequence[Confirmed]) -> RenderableType:
    """Return a table of the confirmed configurations, and which one wins."""
    heading = "Confirmed: energy to the target with the same seeds for all"
    if study.provenance is not None:
        heading += f" ({source(study.provenance)})"
    default = next((setup for setup in setups if setup.trial.default), None)
    rows = [_row(study, confirmed, default) for confirmed in setups]
    columns = ("setup", "energy", "times the default's", "reached", f"test {study.monitor.name}")
    return Group(
        Text(heading, style="bold"),
        rows_of(columns, rows),
        *(Text(line) for line in confirmation_lines(setups)),
    )


def confirmation_lines(setups: Sequence[Confirmed]) -> Iterator[str]:
    """Yield sentences on which wins: the confidence interval of the energy ratio excludes 1."""
    best = next((c for c in setups if not c.trial.default and c.energies_j), None)
    if best is None:
        return
    for rival in setups:
        if rival is not best:
            yield _comparison_line(best, rival)


def _comparison_line(first: Confirmed, second: Confirmed) -> str:
    pair = f"{first.name[0].upper()}{first.name[1:]} against {second.name}"
    comparison = ratio(first.energies_j, second.energies_j)
    missed = [
        f"{c.name} missed the target with {len(c.missed)} of {count(c.seeds, 'seed')}"
        for c in (first, second)
        if c.missed
    ]
    if missed:
        return f"{pair}: {' and '.join(missed)}, so their joules are not compared."
    if comparison is None:
        return f"{pair}: too few seeds; give --seeds 2 or more."
    times = f"{comparison.value:.3g}x the joules"
    interval = f"{100 * CONFIDENCE:g} % interval {comparison.low:.3g} to {comparison.high:.3g}"
    winner = {-1: f"{first.name} wins", 1: f"{second.name} wins", 0: "no winner"}[
        comparison.verdict
    ]
    more = "" if comparison.verdict else "; more --seeds may tell them apart"
    pairs = f"{comparison.pairs} paired seeds"
    return f"{pair}: {times} ({interval}, {pairs}): {winner}{more}."


def _row(study: StudyRecord, confirmed: Confirmed, default: Confirmed | None) -> tuple[str, ...]:
    times_default = "-"
    # A run that missed its target has only a lower bound of its energy, so no ratio.
    if default not in (None, confirmed) and not (confirmed.missed or default.missed):
        comparison = ratio(confirmed.energies_j, default.energies_j)
        if comparison is not None:
            low, high = comparison.low, comparison.high
            times_default = f"{comparison.value:.3g} [{low:.3g}, {high:.3g}]"
    return (
        trial_text(confirmed.trial),
        joules(confirmed.mean_j),
        times_default,
        f"{len(confirmed.energies_j)}/{confirmed.seeds}",
        study.monitor.text(statistics.fmean(confirmed.tests.values())) if confirmed.tests else "-",
    )
