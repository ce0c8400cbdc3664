"""What trainings with the same seeds say: who wins, and by how much."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.confirmation_stats import Confirmed
from energyopt.analysis.paired_ratio import CONFIDENCE, ratio
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import count, joules, setup
from energyopt.report.sentences import source
from energyopt.report.tables import rows_of


def confirmed_screen(study: StudyRecord, setups: Sequence[Confirmed]) -> RenderableType:
    """Show the setups, and who wins."""
    heading = "Confirmed: energy to the target with the same seeds for all"
    if study.provenance is not None:
        heading += f" ({source(study.provenance)})"
    rows = [_row(each, _default(setups)) for each in setups]
    columns = ("setup", "energy", "times the default's", "reached", "test accuracy")
    return Group(
        Text(heading, style="bold"),
        rows_of(columns, rows),
        *(Text(line) for line in confirmed_lines(setups)),
    )


def confirmed_lines(setups: Sequence[Confirmed]) -> Iterator[str]:
    """Sentences: who wins, where the interval of the ratio of energies excludes 1."""
    best = next((each for each in setups if not each.trial.default and each.energies_j), None)
    if best is None:
        return
    for other in setups:
        if other is not best:
            yield _against(best, other)


def _against(one: Confirmed, other: Confirmed) -> str:
    who = f"{one.name[0].upper()}{one.name[1:]} against {other.name}"
    found = ratio(one.energies_j, other.energies_j)
    missed = [
        f"{each.name} missed the target with {len(each.missed)} of {count(each.seeds, 'seed')}"
        for each in (one, other)
        if each.missed
    ]
    if missed:
        return f"{who}: {' and '.join(missed)}, so their joules are not compared."
    if found is None:
        return f"{who}: too few seeds; give --seeds 2 or more."
    times = f"{found.value:.3g}x the joules"
    interval = f"{100 * CONFIDENCE:g} % interval {found.low:.3g} to {found.high:.3g}"
    winner = {-1: f"{one.name} wins", 1: f"{other.name} wins", 0: "no winner"}[found.verdict]
    more = "" if found.verdict else "; more --seeds may tell them apart"
    pairs = f"{found.pairs} paired seeds"
    return f"{who}: {times} ({interval}, {pairs}): {winner}{more}."


def _row(each: Confirmed, default: Confirmed | None) -> tuple[str, ...]:
    found = None if default in (None, each) else ratio(each.energies_j, default.energies_j)
    comparable = found is not None and default is not None and not (each.missed or default.missed)
    of_default = "-"
    if found is not None and comparable:
        of_default = f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"
    words = setup(each.trial.params) or "the fixed setup"
    who = f"trial {each.trial.number}{' (default)' if each.trial.default else ''}: {words}"
    tested = statistics.fmean(each.tests.values()) if each.tests else None
    return (
        who,
        joules(each.mean_j),
        of_default,
        f"{len(each.energies_j)}/{each.seeds}",
        "-" if tested is None else f"{tested:.4f}",
    )


def _default(setups: Sequence[Confirmed]) -> Confirmed | None:
    return next((each for each in setups if each.trial.default), None)
