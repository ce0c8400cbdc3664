"""Show confirmations: configurations compared by training runs with the same seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from energyopt.analysis.confirmation_stats import Confirmed
from energyopt.analysis.held_out import HeldOut, held_out
from energyopt.analysis.paired_ratio import CONFIDENCE, Ratio, ratio
from energyopt.analysis.seed_noise import geometric
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import count, energy_span, joules, percent
from energyopt.report.sentences import source, trial_text
from energyopt.report.tables import rows_of


def confirmation_view(study: StudyRecord, setups: Sequence[Confirmed]) -> RenderableType:
    """Return a table of the confirmed configurations, and which one wins."""
    heading = "Confirmed: energy to the target with the same seeds for all"
    if study.provenance is not None:
        heading += f" ({source(study.provenance)})"
    default = next((setup for setup in setups if setup.trial.default), None)
    rows = [_row(study, confirmed, default) for confirmed in setups]
    columns = ("setup", "energy", _times_column(default), "reached", f"test {study.monitor.name}")
    return Group(
        Text(heading, style="bold"),
        rows_of(columns, rows),
        *(Text(line) for line in (*confirmation_lines(setups), *test_lines(study, setups))),
        Text(
            "Energy: geometric mean with its 95 % interval over seeds. Test: mean and standard "
            "error.",
            style="dim",
        ),
    )


def _times_column(default: Confirmed | None) -> str:
    nearest = default is not None and default.trial.nearest
    return "times the nearest to the default's" if nearest else "times the default's"


def confirmation_lines(setups: Sequence[Confirmed]) -> Iterator[str]:
    """Yield sentences on which wins: the confidence interval of the energy ratio excludes 1."""
    best = next((c for c in setups if not c.trial.default and c.energies_j), None)
    if best is None:
        return
    for rival in setups:
        if rival is not best:
            yield _comparison_line(best, rival)
            yield from _evaluation_line(best, rival)


def test_lines(study: StudyRecord, setups: Sequence[Confirmed]) -> Iterator[str]:
    """Yield what each configuration is worth on test data, which no search has seen."""
    name = study.monitor.name
    for confirmed in setups:
        test = _tested(study, confirmed)
        if test is None:
            continue
        value = f"test {name} {study.monitor.text(test.mean)}"
        if test.low is not None and test.high is not None:
            low, high = (study.monitor.text(end) for end in (test.low, test.high))
            value += f" (95 % interval {low} to {high}, {_basis(test)})"
        reaches = ""
        if confirmed.target is not None:
            times = f"{test.reached} of {count(test.seeds, 'time')}"
            reaches = f"reaches the target {confirmed.target:.6g} on test data {times}; "
        yield f"{confirmed.name[0].upper()}{confirmed.name[1:]} {reaches}{value}."


def _basis(test: HeldOut) -> str:
    """Return what the interval of a test value rests on."""
    seeds = count(test.seeds, "seed")
    return seeds if test.samples is None else f"{count(test.samples, 'test sample')}, {seeds}"


def _tested(study: StudyRecord, confirmed: Confirmed) -> HeldOut | None:
    values = tuple(confirmed.tests.values())
    return held_out(values, confirmed.test_samples, study.monitor, confirmed.target)


def _evaluation_line(first: Confirmed, second: Confirmed) -> Iterator[str]:
    """Yield the comparison with evaluation, where that is more than a fifth of training."""
    if first.missed or second.missed or not (first.evaluates_much or second.evaluates_much):
        return
    alone = ratio(first.energies_j, second.energies_j)
    whole = ratio(first.with_evaluation_j, second.with_evaluation_j)
    if alone is None or whole is None:
        return
    shares = " and ".join(
        f"{percent(sum(c.evaluation_j.values()) / sum(c.energies_j.values()))} of the training of "
        f"{c.name}"
        for c in (first, second)
    )
    flips = "" if alone.verdict == whole.verdict else ", so the verdict depends on evaluation"
    yield (
        f"Evaluation costs {shares}. With it: {whole.value:.3g}x the joules ({_interval(whole)}): "
        f"{_winner(first, second, whole)}{flips}."
    )


def _interval(comparison: Ratio) -> str:
    return f"{100 * CONFIDENCE:g} % interval {comparison.low:.3g} to {comparison.high:.3g}"


def _winner(first: Confirmed, second: Confirmed, comparison: Ratio) -> str:
    return {-1: f"{first.name} wins", 1: f"{second.name} wins", 0: "no winner"}[comparison.verdict]


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
    interval, winner = _interval(comparison), _winner(first, second, comparison)
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
    test = _tested(study, confirmed)
    return (
        trial_text(confirmed.trial),
        _energy_text(confirmed),
        times_default,
        f"{len(confirmed.energies_j)}/{confirmed.seeds}",
        "-" if test is None else _test_text(study, test),
    )


def _energy_text(confirmed: Confirmed) -> str:
    """Return the mean energy with its interval: "271 mJ (243 to 302 mJ)"."""
    energy = geometric(tuple(confirmed.energies_j.values()))
    if energy is None:
        return "-"
    if energy.low is None or energy.high is None:
        return f"{joules(energy.mean)} (one seed)"
    return f"{joules(energy.mean)} ({energy_span(energy.low, energy.high)})"


def _test_text(study: StudyRecord, test: HeldOut) -> str:
    value = study.monitor.text(test.mean)
    return value if test.error is None else f"{value} ± {test.error:.2g}"
