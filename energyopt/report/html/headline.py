"""The answer of a report: the recommended setup against the default, what finding it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from energyopt.analysis.break_even import Savings
from energyopt.analysis.cost_factors import Factors, carbon, money, watt_hours
from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.seed_noise import Interval, Repeated, arithmetic
from energyopt.analysis.summary import Summary
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import Provenance
from energyopt.core.units import accuracy, count, joules, percent, setup
from energyopt.report.html.tables import Column, Grid
from energyopt.report.sentences import COUNTED
from energyopt.search.schedule import setup_of

_LONG = 60  # characters of a setup in a headline

_KINDS = {
    "measured": "These joules were read from sensors",
    "estimated": "These joules were estimated, not measured",
    "replayed": "These joules were recorded before and played back here",
    "simulated": "These joules are made up by a simulation and say nothing of any real machine",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A number with its name and a remark."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What stands at the top of a report.

    Attributes:
        headline: The finding in a sentence.
        lead: What to know beside it, in sentences.
        cards: The numbers that matter.
        overrides: The words of the recommended training; empty without any.
        energies: The energies as a table, with what is derived of them.
        derived: What that was derived by, in words; empty if it was not asked for.
    """

    headline: str
    lead: tuple[str, ...]
    cards: tuple[Card, ...]
    overrides: tuple[str, ...]
    energies: Grid
    derived: str


def answer(
    study: StudyRecord, summary: Summary, setups: Sequence[Repeated], factors: Factors
) -> Answer:
    """Say what a study found.

    Args:
        study: The study.
        summary: The same in numbers.
        setups: Its setups that were trained more than once.
        factors: What joules are worth.
    """
    best = summary.advised or summary.recommended
    again = _confirmed(best, setups)
    return Answer(
        headline=_headline(summary, best),
        lead=tuple(_lead(study, summary, best)),
        cards=tuple(_cards(summary, best, again)),
        overrides=() if best is None else best.overrides,
        energies=_energies(list(_rows(summary, best, setups)), factors, summary.against_default),
        derived=factors.line(),
    )


def name_of(point: FrontPoint) -> str:
    """What to call a setup in a sentence: by its values, where they are few."""
    words = setup(point.params)
    if len(words) > _LONG and not point.default:
        return f"the setup of trial {point.trial}"
    if point.default:
        return f"the default setup ({words})" if words else "the default setup"
    return words or "the fixed setup"


def scope_lines(study: StudyRecord) -> list[str]:
    """Where joules come from and what they cover, in plain words: a line for each source."""
    sources: dict[tuple[str, ...], Provenance] = {}
    results = [trial.result for trial in study.trials if trial.result is not None]
    results += [each.result for each in study.confirmations if each.result is not None]
    for result in results:
        sources.setdefault(result.start.provenance.binding, result.start.provenance)
    if not sources:
        return ["Nothing was metered yet."]
    lines = [_scope_line(source) for source in sources.values()]
    if len(lines) > 1:
        lines.insert(0, "Joules of several sources are in this study; they cannot be compared.")
    return lines


def _scope_line(source: Provenance) -> str:
    return (
        f"{_KINDS[source.kind]}: by {source.meter} ({source.version}). What they cover: "
        f"{source.scope}, on {source.device}, and no more; {source.uncertainty}."
    )


def _confirmed(best: FrontPoint | None, setups: Sequence[Repeated]) -> Repeated | None:
    """The trainings that confirmed it, if none of them missed the target."""
    if best is None:
        return None
    of = setup_of(best.params)
    return next(
        (s for s in setups if s.confirming and not s.missed and setup_of(s.trial.params) == of),
        None,
    )


def _headline(summary: Summary, best: FrontPoint | None) -> str:
    if best is None or summary.target is None:
        return _without_answer(summary)
    target = accuracy(summary.target)
    if best.default:
        return f"The default setup is the cheapest that was found to reach {target}."
    if summary.saving is not None and summary.saving > 0:
        saved = percent(summary.saving)
        found = summary.against_default
        single = " (one seed each)" if found is not None and found.single else ""
        return (
            f"{_begun(best)} reaches {target} with {saved} less energy than the default "
            f"setup{single}."
        )
    return f"{_begun(best)} reaches {target} with the least energy that was found."


def _begun(point: FrontPoint) -> str:
    """What to call it at the start of a sentence; a config key stays as it is."""
    name = name_of(point)
    return f"T{name[1:]}" if name.startswith("the ") else name


def _without_answer(summary: Summary) -> str:
    trials = summary.counts.trials
    if not trials:
        return "This study has no trials yet."
    if summary.target is None:
        return f"{count(trials, 'trial')}, and no target accuracy to compare them at."
    target = accuracy(summary.target)
    if not summary.front:
        return f"No trial reached {target} yet, and none has a curve to show."
    best = accuracy(summary.front[-1].accuracy)
    return f"No trial reached {target}; the best accuracy was {best}."


def _lead(study: StudyRecord, summary: Summary, best: FrontPoint | None) -> Iterator[str]:
    cheapest = summary.recommended
    if best is not None and len(setup(best.params)) > _LONG:
        yield f"That is {setup(best.params)}."
    if summary.advised is not None and cheapest is not None:
        yield (
            f"It is expected to need the least, luck aside. The cheapest single training was "
            f"{name_of(cheapest)}, with {joules(cheapest.energy_j)} (trial {cheapest.trial})."
        )
    elif best is None and summary.front and summary.target is not None:
        point = summary.front[-1]
        yield f"That was {name_of(point)}, after {joules(point.energy_j)} (trial {point.trial})."
    if summary.counts.finished < summary.counts.trials:
        still = summary.counts.trials - summary.counts.finished
        of = f"{count(still, 'trial')} of {summary.counts.trials}"
        be = "is" if still == 1 else "are"
        if summary.counts.states.get("paused", 0) == still:
            yield f"{of} {be} paused, and can go on: this is how it stands now."
        else:
            yield f"{of} {be} not over: this is how it stands now."
    yield from scope_lines(study)
    if summary.target is not None:
        yield "Accuracies are those of validation, unless a test is named."


def _cards(summary: Summary, best: FrontPoint | None, again: Repeated | None) -> Iterator[Card]:
    if best is not None:
        yield _energy_card(summary, best, again)
        yield _accuracy_card(best, again)
    found = summary.against_default
    if found is not None and best is not None and not best.default:
        low_j, high_j = found.value_j - found.half_j, found.value_j + found.half_j
        note = f"{joules(low_j)} to {joules(high_j)} {found.confidence}"
        if again is None:  # else it has a mean of several seeds, which is said below
            note += f"; the default needs {joules(found.default_j)}"
        yield Card("saved by each training", joules(found.value_j), note)
    if summary.provenance is not None:
        yield Card("cost of the search", joules(summary.search_energy_j), _search_note(summary))
        if best is not None:
            yield _break_even_card(summary)


def _energy_card(summary: Summary, best: FrontPoint, again: Repeated | None) -> Card:
    name = f"energy to {accuracy(summary.target or 0.0)}"
    found = None if again is None else again.energy
    if found is not None:
        return Card(
            name, joules(found.mean), f"{_ends(found)}{count(found.count, 'seed')} to confirm it"
        )
    seen = f"its training used {joules(best.energy_j)} (trial {best.trial})"
    if summary.advice is None:
        return Card(
            name, joules(best.energy_j), f"one training, so no interval (trial {best.trial})"
        )
    low_j, high_j = summary.advice.interval_j
    note = (
        f"expected; {joules(low_j)} to {joules(high_j)} with 95 % confidence by the model, which "
        f"is too narrow for small trainings; {seen}"
    )
    return Card(name, joules(summary.advice.energy_j), note)


def _accuracy_card(best: FrontPoint, again: Repeated | None) -> Card:
    """Of the test where it was measured, else of validation."""
    tests, seen = ((), ()) if again is None else (again.tests, again.accuracies)
    found = arithmetic(tests or seen)
    if found is None:
        note = "of one training, so no interval; `confirm` trains with more seeds and tests"
        return Card("validation accuracy", f"{best.accuracy:.4f}", note)
    name = "test accuracy" if tests else "validation accuracy"
    ends = "" if found.low is None else f"{found.low:.4f} to {found.high:.4f}, "
    return Card(name, f"{found.mean:.4f}", f"{ends}{count(found.count, 'seed')}")


def _ends(found: Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{joules(found.low)} to {joules(found.high)} with 95 % confidence; "


def _search_note(summary: Summary) -> str:
    note = count(summary.counts.trials, "trial")
    if summary.missed_share is not None:
        note += f"; {percent(summary.missed_share)} in trials that missed the target"
    return note


def _break_even_card(summary: Summary) -> Card:
    name = "pays back after"
    found = summary.against_default
    if summary.break_even is None or found is None:
        return Card("break-even", "none", f"because {summary.break_even_reason}")
    soonest, latest = found.break_even(summary.search_energy_j)
    last = "never" if math.isinf(latest) else f"{math.ceil(latest)}"
    value = count(math.ceil(summary.break_even), "training")
    ends = f"from {math.ceil(soonest)} to {last} {found.confidence}"
    return Card(name, value, f"{ends}. {COUNTED}")


@dataclass(frozen=True, slots=True)
class _Row:
    """An energy, in J, with its interval and the accuracy that goes with it, where known."""

    name: str
    energy_j: float
    low_j: float | None = None
    high_j: float | None = None
    accuracy: float | None = None


def _rows(summary: Summary, best: FrontPoint | None, setups: Sequence[Repeated]) -> Iterator[_Row]:
    """The energies that matter."""
    found, default = summary.against_default, summary.default
    compared = best is not None and not best.default and found is not None
    if best is not None:
        name = "the default setup" if best.default else "the recommended setup"
        energy_j = found.other_j if compared and found is not None else best.energy_j
        yield _training(name, energy_j, best, setups)
    if compared and found is not None and default is not None:
        yield _training("the default setup", found.default_j, default, setups)
        low_j, high_j = found.value_j - found.half_j, found.value_j + found.half_j
        yield _Row("saved by each training, on average", found.value_j, low_j, high_j)
    if summary.provenance is not None:
        yield _Row("the whole search", summary.search_energy_j)
    if compared and found is not None and summary.reuse is not None:
        net = found.net_j(summary.search_energy_j, summary.reuse)
        yield _Row(f"saved by {summary.reuse:g} trainings beyond the search", *net)


def _training(
    setup_name: str, energy_j: float, point: FrontPoint, setups: Sequence[Repeated]
) -> _Row:
    """That of one seed, or the geometric mean of those that confirm it, as `confirm` says it."""
    name, again = f"a training with {setup_name}", _confirmed(point, setups)
    found = None if again is None else again.energy
    if found is None:
        return _Row(name, energy_j, accuracy=point.accuracy)
    return _Row(f"{name}, geometric mean", found.mean, found.low, found.high, point.accuracy)


def _energies(rows: Sequence[_Row], factors: Factors, found: Savings | None) -> Grid:
    """The same as a table, with the columns that were asked for."""
    columns = [
        Column("of", "energy of"),
        Column("energy_j", "joules", joules, number=True),
        Column("low_j", "from", joules, number=True),
        Column("high_j", "to", joules, number=True),
        Column("accuracy", "accuracy", lambda value: f"{value:.4f}", number=True),
        Column("energy_wh", "watt-hours", lambda wh: watt_hours(wh * 3600), number=True),
    ]
    cells = [
        [row.name, row.energy_j, row.low_j, row.high_j, row.accuracy, row.energy_j / 3600]
        for row in rows
    ]
    if factors.carbon_g_per_kwh is not None:
        columns.append(
            Column("carbon_gco2e_derived", "greenhouse gas, derived", carbon, number=True)
        )
        for row, line in zip(rows, cells, strict=True):
            line.append(factors.carbon_g(row.energy_j))
    if factors.price_per_kwh is not None:
        unit = factors.currency
        title, key = "price, derived", f"price_{unit.lower()}_derived"
        columns.append(Column(key, title, lambda amount: money(amount, unit), number=True))
        for row, line in zip(rows, cells, strict=True):
            line.append(factors.price(row.energy_j))
    caption = "The same against the default, and in other units; from and to: 95 % confidence"
    caption += f", of a saving {found.confidence}." if found is not None and found.assumed else "."
    return Grid("answer", caption, tuple(columns), tuple(map(tuple, cells)))
