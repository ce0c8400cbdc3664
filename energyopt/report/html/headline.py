"""Top of a report: the recommended configuration against the default, and the search energy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from energyopt.analysis.cost_factors import Factors, carbon, money, watt_hours
from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.recommendation import Recommendation
from energyopt.analysis.seed_noise import Repeated, arithmetic, share
from energyopt.analysis.summary import Summary
from energyopt.core.command_template import shell_word
from energyopt.core.default_setup import name as default_name
from energyopt.core.estimate import Estimate, carried_digits, rounded
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import Provenance
from energyopt.core.units import accuracy, count, joules, percent, quantity
from energyopt.core.window_quality import energy_unit
from energyopt.report.account_view import break_even_interval, counted, trainings_text
from energyopt.report.answer_view import answer_text
from energyopt.report.console import training_words
from energyopt.report.html.tables import (
    Column,
    Grid,
    make_grid,
    metric_column,
    number_column,
)
from energyopt.search.schedule import params_key

_LEAD = ("Recommended", "Confidence", "Best so far", "Caution")  # the cards say the rest

_KINDS = {
    "measured": "These joules were read from sensors",
    "estimated": "These joules were estimated, not measured",
    "replayed": "These joules were recorded before and played back here",
    "simulated": "These joules are made up by a simulation and say nothing of any real machine",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A number with its name and a note."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The top of a report.

    Attributes:
        headline: The result in a sentence.
        lead: Further sentences.
        cards: The main numbers.
        overrides: Overrides of the recommended training run; empty if there is none.
        command: What a shell runs for it.
        energies: The energies as a table, with carbon and price derived from them.
        derived: The factors that those were derived with; empty if there are none.
    """

    headline: str
    lead: tuple[str, ...]
    cards: tuple[Card, ...]
    overrides: tuple[str, ...]
    command: str
    energies: Grid
    derived: str


def answer(
    study: StudyRecord, summary: Summary, setups: Sequence[Repeated], factors: Factors
) -> Answer:
    """Build the top of a study's report."""
    best, text = summary.recommended, answer_text(summary)
    confirmed = _confirmed(best, setups)
    program, words = ("", ()) if best is None else training_words(best, summary.app)
    return Answer(
        headline=f"{text.headline}.",
        lead=(*(line for line in text.lines if line.startswith(_LEAD)), *_lead(study, summary)),
        cards=tuple(_cards(summary, best, confirmed)),
        overrides=() if best is None else best.overrides,
        command=" ".join([program, *map(shell_word, words)]),
        energies=_energies(summary, list(_rows(summary, best)), factors),
        derived=factors.line(),
    )


def scope_lines(study: StudyRecord) -> list[str]:
    """Return a line for each source of energies in a study: its meter and what it covers."""
    sources: dict[tuple[str, ...], Provenance] = {}
    results = [trial.result for trial in study.trials if trial.result is not None]
    results += [c.result for c in study.confirmations if c.result is not None]
    for result in results:
        sources.setdefault(result.start.provenance.binding, result.start.provenance)
    if not sources:
        return ["Nothing was metered yet."]
    lines = [_scope_line(source) for source in sources.values()]
    if len(lines) > 1:
        lines.insert(0, "Joules of several sources are in this study; they cannot be compared.")
    return lines


def _scope_line(source: Provenance) -> str:
    unit = energy_unit(source)
    joules_are = "" if unit is None else f"; no sensor was read, they are {unit}"
    return (
        f"{_KINDS[source.kind]}: by {source.meter} ({source.version}){joules_are}. "
        f"What they cover: {source.scope}, on {source.device}, and no more; {source.uncertainty}."
    )


def _confirmed(best: FrontPoint | None, setups: Sequence[Repeated]) -> Repeated | None:
    """Return the runs that confirm a configuration, if none of them missed the target."""
    if best is None:
        return None
    key = params_key(best.params)
    return next(
        (s for s in setups if s.confirming and not s.missed and params_key(s.trial.params) == key),
        None,
    )


def _default_name(summary: Summary) -> str:
    return default_name(nearest=summary.default_setup.is_nearest)


def _lead(study: StudyRecord, summary: Summary) -> Iterator[str]:
    yield from scope_lines(study)
    if summary.target is not None and summary.monitor == ACCURACY:
        yield "Accuracy is validation accuracy unless labelled as test."


def _cards(summary: Summary, best: FrontPoint | None, confirmed: Repeated | None) -> Iterator[Card]:
    if best is not None and summary.answer is not None:
        yield _energy_card(summary.answer, summary.target or 0.0)
        yield _metric_card(summary.monitor, best, confirmed)
    savings = summary.against_default
    if savings is not None and best is not None and not best.default:
        note = f"{savings.saved.joules_interval} {savings.confidence}"
        if confirmed is None:  # otherwise the table below gives its mean over several seeds
            is_nearest = summary.default_setup.is_nearest
            name = _default_name(summary) if is_nearest else "the default"
            note += f"; {name} needs {savings.default.joules}"
        yield Card("saved by each training", savings.saved.joules, note)
    if summary.provenance is not None:
        yield Card("cost of the search", joules(summary.search_energy_j), _search_note(summary))
        if best is not None:
            yield _break_even_card(summary)


def _energy_card(answer: Recommendation, target: float) -> Card:
    energy, point = answer.energy, answer.point
    basis = f"{count(answer.seeds, 'seed')} to confirm it; " if answer.seeds else "expected; "
    note = (
        f"{basis}{energy.joules_interval} with 95 % confidence; its cheapest training used "
        f"{joules(point.energy_j)} (trial {point.trial})"
    )
    return Card(f"energy to {accuracy(target)}", energy.joules, note)


def _metric_card(monitor: Monitor, best: FrontPoint, confirmed: Repeated | None) -> Card:
    """Return the test value where it was measured, else that of the validation."""
    tests, validations = ((), ()) if confirmed is None else (confirmed.tests, confirmed.accuracies)
    mean = (share if monitor.is_share else arithmetic)(tests or validations)
    if mean is None:
        note = "of one training, so no interval; `confirm` trains with more seeds and tests"
        return Card(monitor.label, monitor.text(best.accuracy), note)
    name = f"test {monitor.name}" if tests else monitor.label
    value, interval = monitor.text(mean.mean), ""
    if mean.low is not None and mean.high is not None:
        interval = f"{monitor.text(mean.low)} to {monitor.text(mean.high)}, "
        value = rounded(mean.mean, carried_digits(mean.mean, mean.low, mean.high))
    return Card(name, value, f"{interval}{count(mean.count, 'seed')}")


def _search_note(summary: Summary) -> str:
    note = count(summary.counts.trials, "trial")
    if summary.missed_share is not None:
        note += f"; {percent(summary.missed_share)} in trials that missed the target"
    return note


def _break_even_card(summary: Summary) -> Card:
    name = "pays back after"
    savings = summary.against_default
    if summary.break_even is None:
        return Card("break-even", "none", f"because {summary.break_even_reason}")
    if savings is None:  # the default used that much and missed
        trainings = count(math.ceil(summary.break_even), "training")
        return Card(
            name, f"at most {trainings}", f"{summary.break_even_reason}. {counted(summary)}"
        )
    value = trainings_text(summary.break_even, *savings.break_even(summary.search_energy_j))
    interval = break_even_interval(savings, summary.search_energy_j)
    return Card(name, value, f"{interval}. {counted(summary)}")


@dataclass(frozen=True, slots=True)
class _Row:
    """An energy, in J, with its interval and the value of the metric it led to, where known."""

    name: str
    energy_j: float
    low_j: float | None = None
    high_j: float | None = None
    accuracy: float | None = None

    @property
    def digits(self) -> int:
        """Significant digits of the energy that its interval carries."""
        ends = (end if end is not None else self.energy_j for end in (self.low_j, self.high_j))
        return carried_digits(self.energy_j, *ends)


def _rows(summary: Summary, best: FrontPoint | None) -> Iterator[_Row]:
    """Yield the energies of the configurations, of the search, and what is saved."""
    default = summary.default
    savings = None if best is None or best.default else summary.against_default
    if best is not None and summary.answer is not None:
        name = best.default_name if best.default else "the recommended setup"
        yield _training(name, summary.answer.energy, best)
    if savings is not None and default is not None:
        yield _training(default.default_name, savings.default, default)
        yield _Row("saved by each training, on average", savings.value_j, *savings.interval_j)
    if summary.provenance is not None:
        yield _Row("the whole search", summary.search_energy_j)
    if savings is not None and summary.reuse is not None:
        net = savings.net_j(summary.search_energy_j, summary.reuse)
        yield _Row(f"saved by {summary.reuse:g} trainings beyond the search", *net)


def _training(name: str, energy: Estimate, point: FrontPoint) -> _Row:
    ends = (energy.value, energy.low, energy.high)
    return _Row(f"a training with {name}", *ends, point.accuracy)


def _energies(summary: Summary, rows: Sequence[_Row], factors: Factors) -> Grid:
    """Return the energies as a table, with columns for carbon and price if configured."""
    monitor, savings = summary.monitor, summary.against_default
    digits = {row.energy_j: row.digits for row in rows}
    end, ends = partial(quantity, unit="J", digits=2), (("low_j", "from"), ("high_j", "to"))
    columns = [
        Column("of", "energy of", lambda row: row.name),
        number_column(
            "energy_j", "joules", text=lambda value_j: quantity(value_j, "J", digits[value_j])
        ),
        *(number_column(key, title, text=end) for key, title in ends),
        metric_column(monitor, monitor.name, monitor.name, lambda row: row.accuracy),
        number_column(
            "energy_wh",
            "watt-hours",
            lambda row: row.energy_j / 3600,
            lambda wh: watt_hours(wh * 3600),
        ),
    ]
    if factors.carbon_g_per_kwh is not None:
        key, title = "carbon_gco2e_derived", "greenhouse gas, derived"
        columns.append(
            number_column(key, title, lambda row: factors.carbon_g(row.energy_j), carbon)
        )
    if factors.price_per_kwh is not None:
        key, in_currency = (
            f"price_{factors.currency.lower()}_derived",
            partial(money, currency=factors.currency),
        )
        columns.append(
            number_column(
                key, "price, derived", lambda row: factors.price(row.energy_j), in_currency
            )
        )
    basis = f" ({savings.basis})" if savings else ""
    rival = _default_name(summary) if summary.default_setup.is_nearest else "the default"
    caption = f"Comparison with {rival}, and in other units; from and to: 95 % confidence{basis}."
    return make_grid("answer", caption, columns, rows)
