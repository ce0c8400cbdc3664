"""Top of a report: the recommended configuration against the default, and the search energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from energyopt.analysis.cost_factors import Factors, carbon, money, watt_hours
from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.seed_noise import Interval, Repeated, arithmetic, share
from energyopt.analysis.summary import Summary
from energyopt.core.default_setup import name as default_name
from energyopt.core.estimate import Estimate, carried_digits, rounded, times_less
from energyopt.core.metric import ACCURACY, Monitor
from energyopt.core.study_record import StudyRecord
from energyopt.core.trial_result import Provenance
from energyopt.core.units import accuracy, count, joules, percent, quantity
from energyopt.core.window_quality import energy_unit
from energyopt.report.account_view import break_even_interval, counted, trainings_text
from energyopt.report.html.tables import (
    Column,
    Grid,
    energy_column,
    make_grid,
    metric_column,
    number_column,
)
from energyopt.report.sentences import best_value_text, energy_text, params_text, point_text
from energyopt.search.schedule import params_key

_MAX_NAME_CHARS = 60  # a longer configuration is called by its trial in the headline

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
        energies: The energies as a table, with carbon and price derived from them.
        derived: The factors that those were derived with; empty if there are none.
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
    """Build the top of a study's report."""
    best = summary.advised or summary.recommended
    confirmed = _confirmed(best, setups)
    return Answer(
        headline=_headline(summary, best),
        lead=tuple(_lead(study, summary, best)),
        cards=tuple(_cards(summary, best, confirmed)),
        overrides=() if best is None else best.overrides,
        energies=_energies(summary, list(_rows(summary, best, setups)), factors),
        derived=factors.line(),
    )


def name_of(point: FrontPoint) -> str:
    """Return the name of a configuration in a sentence: its values, unless they are long."""
    if len(params_text(point.params)) > _MAX_NAME_CHARS and not point.default:
        return f"the setup of trial {point.trial}"
    return point_text(point)


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


def _headline(summary: Summary, best: FrontPoint | None) -> str:
    if best is None or summary.target is None:
        return _headline_without_best(summary)
    target = accuracy(summary.target)
    if summary.tried == 1 and summary.reached[0].trainings > 1:
        return f"The only setup that was trained reaches {target}: {name_of(best)}."
    if best.default:
        return (
            f"{_capitalized(best.default_name)} is the cheapest that was found to reach {target}."
        )
    savings = summary.against_default
    if savings is not None and savings.value_j > 0:
        interval = savings.share.percent_interval
        single = "; one seed each" if savings.single else ""
        return (
            f"{_capitalized_name(best)} reaches {target} with {times_less(savings.ratio)} energy "
            f"than {_default_name(summary)} ({interval} saved{single})."
        )
    return f"{_capitalized_name(best)} reaches {target} with the least energy that was found."


def _capitalized_name(point: FrontPoint) -> str:
    """Return its name at the start of a sentence; a config key stays in lower case."""
    name = name_of(point)
    return _capitalized(name) if name.startswith("the ") else name


def _default_name(summary: Summary) -> str:
    return default_name(nearest=summary.default_setup.is_nearest)


def _capitalized(name: str) -> str:
    return name[0].upper() + name[1:]


def _headline_without_best(summary: Summary) -> str:
    trials = summary.counts.trials
    if not trials:
        return "This study has no trials yet."
    if summary.target is None:
        return f"{count(trials, 'trial')}, and no target to compare them at."
    target = accuracy(summary.target)
    if not summary.front:
        return f"No trial reached {target} yet, and none has a curve to show."
    best = best_value_text(summary, summary.front[-1], "the")
    return f"No trial reached {target}; {best}."


def _lead(study: StudyRecord, summary: Summary, best: FrontPoint | None) -> Iterator[str]:
    cheapest = summary.recommended
    if best is not None and len(params_text(best.params)) > _MAX_NAME_CHARS:
        yield f"That is {params_text(best.params)}."
    if summary.advised is not None and cheapest is not None:
        yield (
            "It is expected to need the least allowing for seed noise. The cheapest as measured "
            f"was {name_of(cheapest)}: {energy_text(summary.reached[0])}."
        )
    elif best is None and summary.front and summary.target is not None:
        point = summary.front[-1]
        yield f"That was {name_of(point)}, after {joules(point.energy_j)} (trial {point.trial})."
    if summary.counts.finished < summary.counts.trials:
        unfinished = summary.counts.trials - summary.counts.finished
        trials = f"{count(unfinished, 'trial')} of {summary.counts.trials}"
        verb = "is" if unfinished == 1 else "are"
        if summary.counts.states.get("paused", 0) == unfinished:
            yield f"{trials} {verb} paused, and can resume: this is how it stands now."
        else:
            yield f"{trials} {verb} not over: this is how it stands now."
    yield from scope_lines(study)
    if summary.target is not None and summary.monitor == ACCURACY:
        yield "Accuracy is validation accuracy unless labelled as test."


def _cards(summary: Summary, best: FrontPoint | None, confirmed: Repeated | None) -> Iterator[Card]:
    if best is not None:
        yield _energy_card(summary, best, confirmed)
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


def _energy_card(summary: Summary, best: FrontPoint, confirmed: Repeated | None) -> Card:
    name = f"energy to {accuracy(summary.target or 0.0)}"
    energy = None if confirmed is None else confirmed.energy
    if energy is not None:
        note = f"{_interval_text(energy)}{count(energy.count, 'seed')} to confirm it"
        digits = carried_digits(energy.mean, energy.low or energy.mean, energy.high or energy.mean)
        return Card(name, quantity(energy.mean, "J", digits), note)
    single_run = f"its training used {joules(best.energy_j)} (trial {best.trial})"
    if summary.noise is None:
        return Card(name, joules(best.energy_j), single_run)
    energy_j = summary.noise.energy_j(params_key(best.params))
    note = (
        f"expected; {energy_j.joules_interval} with 95 % confidence ({summary.noise.basis}); "
        f"{single_run}"
    )
    return Card(name, energy_j.joules, note)


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


def _interval_text(energy: Interval) -> str:
    if energy.low is None or energy.high is None:
        return ""
    return f"{joules(energy.low)} to {joules(energy.high)} with 95 % confidence; "


def _search_note(summary: Summary) -> str:
    note = count(summary.counts.trials, "trial")
    if summary.missed_share is not None:
        note += f"; {percent(summary.missed_share)} in trials that missed the target"
    return note


def _break_even_card(summary: Summary) -> Card:
    name = "pays back after"
    savings = summary.against_default
    if summary.break_even is None or savings is None:
        return Card("break-even", "none", f"because {summary.break_even_reason}")
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


def _rows(summary: Summary, best: FrontPoint | None, setups: Sequence[Repeated]) -> Iterator[_Row]:
    """Yield the energies of the configurations, of the search, and what is saved."""
    default = summary.default
    savings = None if best is None or best.default else summary.against_default
    if best is not None:
        name = best.default_name if best.default else "the recommended setup"
        yield _training(name, _expected(summary, best), best, setups)
    if savings is not None and default is not None:
        yield _training(default.default_name, savings.default, default, setups)
        yield _Row("saved by each training, on average", savings.value_j, *savings.interval_j)
    if summary.provenance is not None:
        yield _Row("the whole search", summary.search_energy_j)
    if savings is not None and summary.reuse is not None:
        net = savings.net_j(summary.search_energy_j, summary.reuse)
        yield _Row(f"saved by {summary.reuse:g} trainings beyond the search", *net)


def _expected(summary: Summary, point: FrontPoint) -> Estimate:
    """Return the energy of a typical training with a configuration."""
    if summary.noise is None:
        return Estimate(point.energy_j, point.energy_j, point.energy_j)
    return summary.noise.energy_j(params_key(point.params))


def _training(
    setup_name: str, expected: Estimate, point: FrontPoint, setups: Sequence[Repeated]
) -> _Row:
    """Return the energy of a run: the geometric mean of its confirmations, if it has some."""
    name, confirmed = f"a training with {setup_name}", _confirmed(point, setups)
    energy = None if confirmed is None else confirmed.energy
    if energy is None:
        return _Row(name, expected.value, expected.low, expected.high, point.accuracy)
    return _Row(f"{name}, geometric mean", energy.mean, energy.low, energy.high, point.accuracy)


def _energies(summary: Summary, rows: Sequence[_Row], factors: Factors) -> Grid:
    """Return the energies as a table, with columns for carbon and price if configured."""
    monitor, savings = summary.monitor, summary.against_default
    columns = [
        Column("of", "energy of", lambda row: row.name),
        energy_column("energy_j", "joules"),
        energy_column("low_j", "from"),
        energy_column("high_j", "to"),
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
