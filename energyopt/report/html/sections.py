"""Text, figures and tables of a report, made from a study's record only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from energyopt.analysis.confirmation_stats import confirmed_setups
from energyopt.analysis.cost_factors import Factors
from energyopt.analysis.curves import Drawn, drawn_curves, rises, telling_trials
from energyopt.analysis.energy_breakdown import DEVICES, Use, devices_j, study_uses
from energyopt.analysis.heat_map import heat_map, on_grid, searched
from energyopt.analysis.importance import Importances, importances
from energyopt.analysis.provenance import facts
from energyopt.analysis.seed_noise import Repeated, repeated_setups
from energyopt.analysis.summary import Summary, summarize
from energyopt.core.curve import Curve
from energyopt.core.metric import ACCURACY
from energyopt.core.study_record import StudyRecord
from energyopt.core.units import accuracy, count, joules, percent
from energyopt.errors import ConfigError
from energyopt.report.account_view import counted, noise_lines
from energyopt.report.confirmation_view import confirmation_lines, test_lines
from energyopt.report.html import energy_figures, front_figure, parameter_figures, trace_figures
from energyopt.report.html import tables as grids
from energyopt.report.html.figure import Figure
from energyopt.report.html.headline import Answer, answer
from energyopt.report.html.tables import Grid
from energyopt.report.sentences import hardware_lines, params_text, summary_lines

_MAX_PROFILES = 4  # in figures; the table has all
_MAX_SLICES = 12  # figures of one parameter each
_MAX_MARKS = 150  # trainings in a figure of parameters: each is in every one
_MAX_REPEATED = 30  # configurations in the figure of repetitions; the table has all


@dataclass(frozen=True)
class Section:
    """A part of a report; `name` is its anchor, `lines` are its paragraphs."""

    name: str
    title: str
    lines: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """Energy of a trial to any target: a row of the ranking.

    Attributes:
        trial: Its number.
        setup: Its hyperparameters, as text.
        mark: "recommended", "default" or "nearest to the default", as far as it is that.
        otherwise: Its outcome at a target that it did not reach.
        used_j: All energy of its training, in J; None without a curve.
        rises: The points of its curve with a better value than all earlier ones; the first
            point that reaches any target is one of them.
        is_answer: Whether it is the trial of the answer, which is ranked first at its target.
    """

    trial: int
    setup: str
    mark: str
    otherwise: str
    used_j: float | None
    rises: Curve
    is_answer: bool = False


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        study: The study.
        summary: Its summary.
        answer: The top of the page.
        sentences: The lines that `show` prints.
        ranking: Energy of each trial to any target.
        sections: Its parts, in order.
        files: Tables that are only files, not on the page.
        reload_s: After how many seconds the page loads itself again; None for never.
    """

    study: StudyRecord
    summary: Summary
    answer: Answer
    sentences: tuple[str, ...]
    ranking: tuple[Ranked, ...]
    sections: tuple[Section, ...]
    files: tuple[Grid, ...]
    reload_s: int | None = None

    @property
    def figures(self) -> list[Figure]:
        """All its figures, in order."""
        return [figure for section in self.sections for figure in section.figures]

    @property
    def grids(self) -> list[Grid]:
        """All its tables, including those that are only files."""
        shown = [grid for section in self.sections for grid in section.grids]
        return [self.answer.energies, *shown, *self.files]


def report(
    study: StudyRecord,
    target: float | None = None,
    *,
    reuse: float | None = None,
    factors: Factors | None = None,
    over: Sequence[str] | None = None,
) -> Report:
    """Build the report of a study.

    Args:
        study: The study.
        target: Target value of the metric; the study's own if None.
        reuse: Number of training runs planned with the recommended configuration.
        factors: Carbon intensity, price and PUE; none if None.
        over: The two parameters of the heat map; if None the first two, the learning rate and the
            batch size if searched, if they were searched on a grid.

    Raises:
        ConfigError: If `over` are not two parameters that were searched.
    """
    summary = summarize(study, target, reuse=reuse)
    target = summary.target
    sample = telling_trials(study, target, summary.front)
    setups = repeated_setups(study, target)
    sections = (
        _front_section(study, sample, summary),
        _parameters_section(study, sample, summary, _map_axes(study, over)),
        _joules_section(study, sample, summary),
        _power_section(summary),
        _trace_section(study, summary),
        _noise_section(study, summary, setups),
        _conditions_section(study, summary),
        _record_section(study),
    )
    return Report(
        study=study,
        summary=summary,
        answer=answer(study, summary, setups, factors or Factors()),
        sentences=summary_lines(summary),
        ranking=tuple(ranking(sample, summary)),
        sections=tuple(section for section in sections if section is not None),
        files=(grids.curves_grid(study),),
    )


def ranking(study: StudyRecord, summary: Summary) -> Iterator[Ranked]:
    """Yield the energy of each trial to any target."""
    curves = {trial.number: (result, curve) for trial, result, curve in rises(study)}
    for trial in study.trials:
        result, curve = curves.get(trial.number, (None, Curve()))
        used_j = None if result is None or not len(curve) else result.curve.training_j[-1]
        otherwise = grids.outcome_text(trial, study.monitor.unreachable)
        text = params_text(trial.params)
        is_answer = summary.answer is not None and trial.number == summary.answer.trial
        mark = ", ".join(filter(None, ("recommended" * is_answer, trial.default_mark)))
        yield Ranked(trial.number, text, mark, otherwise, used_j, curve, is_answer)


def _front_section(study: StudyRecord, sample: StudyRecord, summary: Summary) -> Section:
    """Return the front of a study, with the curves of a sample of its trials."""
    best_values = (grids.best_values_grid(summary),) if summary.told else ()
    name, title = summary.monitor.name, f"{summary.monitor.title} against energy"
    if not summary.front:
        lines = (f"No trial has a curve of {name} against energy.",) if study.trials else ()
        return Section("front", title, lines, (), best_values)
    drawn = drawn_curves(sample, summary.target, summary.front)
    figure = front_figure.front_figure(sample, summary, drawn)
    tables = [grids.front_grid(summary)]
    if {metric.name for metric in summary.metrics} - {"energy_to_target_j", name}:
        tables += best_values
    return Section(
        "front",
        title,
        tuple(_front_lines(summary, drawn, len(sample.trials))),
        (figure,),
        tuple(tables),
    )


def _front_lines(summary: Summary, drawn: Drawn, n_shown: int) -> Iterator[str]:
    monitor = summary.monitor
    more = "more accuracy" if monitor == ACCURACY else f"a better {monitor.name}"
    yield (
        "Each line is a training, each point of it a setup one could stop at. The thick line is "
        f"their front: no other point has {more} for as little energy."
    )
    if summary.front and any(c.trainings > 1 for c in summary.reached):
        yield "Shaded is the spread of one setup over its trainings with several seeds."
    if drawn.points < drawn.all_points:
        yield (
            f"{drawn.points:,} of {drawn.all_points:,} evaluations are drawn, all of the front "
            "among them; what is ranked and in tables is made of all."
        )
    if n_shown < summary.counts.trials:
        yield (
            f"Figures and ranking show {n_shown:,} of {summary.counts.trials:,} trials: those of "
            "the front, the cheapest at the target, and others evenly. Numbers, front and tables "
            "are of all."
        )
    n_without_curve = n_shown - len(drawn.curves)
    if n_without_curve:
        verb = "has" if n_without_curve == 1 else "have"
        trials = count(n_without_curve, "trial")
        yield f"{trials} {verb} no curve to compare (failed, lost or not begun)."


def _map_axes(study: StudyRecord, over: Sequence[str] | None) -> Sequence[str]:
    """Return the parameters of the heat map: two that were searched on a grid, or none."""
    parameters = searched(study)
    if over is None:
        return parameters[:2] if on_grid(study, parameters[:2]) else ()
    if not set(over) <= set(parameters) or len(set(over)) != len(over):
        raise ConfigError(
            f"--over {' '.join(over)}: two parameters that took several values are needed; "
            f"there are: {', '.join(parameters) or 'none'}"
        )
    return over


def _parameters_section(
    study: StudyRecord, sample: StudyRecord, summary: Summary, map_axes: Sequence[str]
) -> Section | None:
    keys, target, best = searched(study), summary.target, summary.recommended
    if not keys:
        return None
    importance = importances(study, target)
    figures: list[Figure] = []
    tables: list[Grid] = []
    lines = list(_importance_lines(importance, study.monitor.name))
    if target is not None:
        few = telling_trials(sample, target, summary.front, _MAX_MARKS)
        slices = [parameter_figures.slice_figure(few, key, target, best) for key in keys]
        figures += slices[:_MAX_SLICES]
        if len(few.trials) < len(sample.trials):
            lines.append(f"{len(few.trials)} of {len(study.trials):,} trials are drawn.")
        lines.append(
            "What missed the target lies at what it used: it would have needed more. What diverged "
            "lies at the top."
        )
        if len(keys) > 2:  # noqa: PLR2004  # of two, the slices say as much
            figures.append(parameter_figures.parallel_figure(few, keys, target, best))
    if importance.parameters:
        figures.append(parameter_figures.importance_figure(importance, study.monitor.name))
        tables.append(grids.importance_grid(importance, study.monitor.name))
    if target is not None and map_axes:
        cells = heat_map(study, target, *map_axes)
        figures.append(parameter_figures.heat_map_figure(cells, target))
        tables.append(grids.heat_map_grid(cells))
        lines.append(
            "A cell shows the least energy of its trainings to the target; where all missed "
            "it, the most that one of them spent: it would have needed more than that."
        )
    return Section(
        "parameters", "Which parameters matter", tuple(lines), tuple(figures), tuple(tables)
    )


def _importance_lines(importance: Importances, metric: str) -> Iterator[str]:
    if importance.parameters:
        yield (
            f"Importance: what a random forest has learnt from {importance.trainings:,} trainings, "
            "over the whole space: the share of the variation that each parameter causes, alone or "
            "together with others. It says nothing of a direction."
        )
    reasons = {"energy": importance.energy.reason, metric: importance.metric.reason}
    if reasons["energy"] and reasons["energy"] == reasons[metric]:
        yield f"Parameter importance is not estimated: {reasons['energy']}."
    else:
        for objective, reason in reasons.items():
            if reason:
                yield f"It is not estimated for {objective}: {reason}."
    if importance.partly:
        yield (
            f"{', '.join(importance.partly)}: only a part of the trainings had it, so its share is "
            "also that of having it."
        )


def _joules_section(study: StudyRecord, sample: StudyRecord, summary: Summary) -> Section | None:
    uses = study_uses(study, summary.target)
    if not uses:
        return None
    return Section(
        "joules",
        "Where the joules went",
        tuple(_joules_lines(summary, uses)),
        (energy_figures.uses_figure(uses), energy_figures.trials_figure(sample, summary.target)),
        (grids.uses_grid(uses), grids.trials_grid(study, summary.target)),
    )


def _joules_lines(summary: Summary, uses: dict[Use, Any]) -> Iterator[str]:
    search_j = summary.search_energy_j
    yield f"The search used {joules(search_j)}; the parts add up to that. {counted(summary)}"
    if "useful" in uses and summary.target is not None and search_j:
        share = uses["useful"].total_j / search_j
        yield (
            f"{percent(share)} of it trained setups up to {accuracy(summary.target)}. The rest is "
            "what a search costs, not waste: a trial that misses says where not to look."
        )
    by_device = devices_j(uses)
    parts = ", ".join(f"{name} {joules(energy_j)}" for name, energy_j in by_device.items())
    unmetered = [name for name in DEVICES.values() if name not in by_device]
    not_metered = f" Not metered: {', '.join(unmetered)}." if unmetered else ""
    yield f"By device: {parts}.{not_metered}"


def _power_section(summary: Summary) -> Section | None:
    if not summary.profiles:
        return None
    figures = [
        figure
        for trial, profile in summary.profiles[:_MAX_PROFILES]
        for figure in energy_figures.power_figures(trial, profile)
    ]
    lines = [
        "A lower limit slows each step and can still save energy; it does not change what is "
        "learnt. Each limit was tried for some seconds within a training."
    ]
    if len(summary.profiles) > _MAX_PROFILES:
        profiles = count(len(summary.profiles), "profile")
        lines.append(f"{_MAX_PROFILES} of {profiles} are drawn; the table has all.")
    tables = (grids.power_grid(summary),)
    return Section("power", "Power limits", tuple(lines), tuple(figures), tables)


def _trace_section(study: StudyRecord, summary: Summary) -> Section | None:
    figures = tuple(trace_figures.trace_figures(study, summary))
    if not figures and not summary.events:
        return None
    lines = [
        "The GPUs of each trial are sampled while it runs. Drawn are the recommended and the "
        "default setup, and trials in which something was flagged; `traces.csv` of an export has "
        "all samples.",
        f"{count(len(summary.events), 'event')} in {summary.counts.trials:,} trials."
        if summary.events
        else "Nothing was flagged.",
    ]
    tables = (trace_figures.events_grid(summary),) if summary.events else ()
    return Section("traces", "Power within trials", tuple(lines), figures, tables)


def _noise_section(
    study: StudyRecord, summary: Summary, setups: Sequence[Repeated]
) -> Section | None:
    if summary.target is None or not summary.front:
        return None
    lines = list(noise_lines(summary))
    if summary.noise is not None:
        lines.append(
            "That is the standard deviation of log energy: of seeds, machine and meter together. "
            "Smaller differences between single trainings say nothing."
        )
    if not any(repeated.confirming for repeated in setups):
        lines.append(
            "No setup was confirmed yet: `energyopt confirm` trains the best ones again with new "
            "seeds."
        )
    confirmed = [c for c in confirmed_setups(study) if c.target == summary.target]
    lines += [*confirmation_lines(confirmed), *test_lines(study, confirmed)]
    reached = [repeated for repeated in setups if repeated.energies_j]
    figures = (energy_figures.noise_figure(reached[:_MAX_REPEATED]),) if reached else ()
    tables = (grids.noise_grid(setups, study.monitor),) if setups else ()
    return Section("noise", "Noise", tuple(lines), figures, tables)


def _conditions_section(study: StudyRecord, summary: Summary) -> Section | None:
    if summary.provenance is None:
        return None
    lines = ["No warnings." if not summary.flags else f"{count(len(summary.flags), 'warning')}."]
    best = summary.recommended
    if best is not None:
        trial = next(trial for trial in study.trials if trial.number == best.trial)
        hardware = [] if trial.result is None else hardware_lines(trial.result)
        lines += [f"Recommended setup (trial {trial.number}): {line}" for line in hardware]
    tables = (grids.conditions_grid(summary),) if summary.flags else ()
    return Section("conditions", "Measuring conditions", tuple(lines), (), tables)


def _record_section(study: StudyRecord) -> Section | None:
    record = facts(study)
    if not record:
        return None
    trainings = sum(t.result is not None for t in study.trials)
    trainings += sum(c.result is not None for c in study.confirmations)
    line = (
        f"What {count(trainings, 'training')} ran on and with; a thing that changed has several "
        "rows."
    )
    return Section(
        "record", "Hardware and software", (line,), (), (grids.record_grid(record, trainings),)
    )
