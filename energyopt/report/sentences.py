"""Sentences for the terminal: what a study found, what it cost, how it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from energyopt.analysis.pareto import FrontPoint
from energyopt.analysis.pretraining_value import recycled_line
from energyopt.analysis.recommendation import WITHIN
from energyopt.analysis.summary import Counts, Fate, Summary
from energyopt.core.conditions import PowerProfile
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.core.units import accuracy, count, duration, joules, percent, quantity, setup
from energyopt.report.flags import explain_flag

COUNTED = "This counts the energy of trials only: start-up and the sampler are not metered."

_FEW = 3

_SPENT: Mapping[str, str] = {
    "reached": "reached the target",
    "missed": "missed it",
    "stopped": "stopped",
    "paused": "paused",
    "running": "running",
    "failed": "failed",
    "lost": "lost",
    "confirmation": "confirming",
}
_FATES: Mapping[Fate, str] = {
    "missed": "trained to the end",
    "stopped": "stopped early",
    "failed": "failed",
    "lost": "lost",
}


def summary_lines(summary: Summary) -> tuple[str, ...]:
    """Write a summary as sentences."""
    lines = [_trials_line(summary)]
    if summary.target is not None:
        lines += [
            _cheapest_line(summary, summary.target),
            _advice_line(summary),
            _worst_line(summary, summary.target),
        ]
    lines += [*book_lines(summary), recycled_line(summary.recycled)]
    if summary.target is not None or summary.provenance is not None:
        lines.append(_measuring_line(summary.provenance))
    lines += [_profile_line(trial, profile) for trial, profile in summary.profiles[:_FEW]]
    lines.append(_flags_line(summary.flags))
    return tuple(line for line in lines if line)


def book_lines(summary: Summary) -> tuple[str, ...]:
    """Write what a search cost and when it pays back."""
    if summary.provenance is None:
        return ()
    lines = (_search_line(summary), _fates_line(summary), _break_even_line(summary))
    return tuple(line for line in (*lines, _net_line(summary)) if line)


def source(provenance: Provenance) -> str:
    """Say in short where joules come from: "estimated by cpu-time 4 W/core"."""
    return f"{provenance.kind} by {provenance.meter}"


def source_lines(provenance: Provenance, flags: Sequence[str] = ()) -> str:
    """Say at the start of a run where its joules come from, and what is doubtful about them."""
    lines = [
        f"energy    {provenance.kind.upper()} by {provenance.meter}, {provenance.scope}",
        f"          {provenance.uncertainty}",
        f"on        {provenance.device}",
    ]
    lines += [f"mind      {explain_flag(flag)}" for flag in flags]
    return "\n".join(lines)


def hardware_lines(result: TrialResult) -> list[str]:
    """Say at which limit a trial's GPUs worked, what they draw at rest, and how warm they were."""
    found = result.conditions
    lines = []
    if found.profile is not None:
        tried = ", ".join(
            f"{at.limit_w:g} W {joules(at.step_j)} {duration(at.step_s)}"
            for at in found.profile.points
        )
        chosen = f"{found.profile.chosen_w:g} W, by {found.profile.policy}"
        lines.append(f"Power limit: {chosen}; a step at {tried}.")
    elif found.limit_w is not None:
        lines.append(f"Power limit: {found.limit_w:g} W.")
    if found.idle_w is not None:
        net = f", {joules(result.energy_net_j)} of training beyond it"
        lines.append(f"At rest: {quantity(found.idle_w, 'W')}{net}.")
    if found.temperature_before_c is not None and found.temperature_after_c is not None:
        before, after = found.temperature_before_c, found.temperature_after_c
        lines.append(f"Temperature: {before:g} degC before, {after:g} after.")
    return lines


def _trials_line(summary: Summary) -> str:
    counts = summary.counts
    if not counts.trials:
        return f"Study {summary.study} has no trials yet."
    states = ", ".join(f"{number} {state}" for state, number in sorted(counts.states.items()))
    line = f"Study {summary.study}: {count(counts.trials, 'trial')} ({states})."
    if summary.target is None:
        line += " It has no target accuracy, so nothing is said of energy-to-target."
    return line


def _cheapest_line(summary: Summary, target: float) -> str:
    point = summary.recommended
    if point is not None:
        return (
            f"Cheapest setup reaching {accuracy(target)}: {_setup_of(point)} - "
            f"{joules(point.energy_j)} to target (trial {point.trial}, epoch {point.epoch:.4g})."
        )
    if not summary.front:
        return ""
    best = summary.front[-1]
    return (
        f"No trial reached {accuracy(target)}. The best accuracy was {accuracy(best.accuracy)} "
        f"({_setup_of(best)}; {joules(best.energy_j)}, trial {best.trial}, "
        f"epoch {best.epoch:.4g})."
    )


def _advice_line(summary: Summary) -> str:
    """What is expected to be cheapest, where that is not the setup that was."""
    point, advice = summary.advised, summary.advice
    if point is None or advice is None:
        return ""
    return (
        f"Luck aside, {_setup_of(point)} is expected to need the least, "
        f"{joules(advice.energy_j)} (trial {point.trial}; by the model within {percent(WITHIN)} "
        f"of the best with probability {percent(advice.probability)})."
    )


def _worst_line(summary: Summary, target: float) -> str:
    counts, worst = summary.counts, summary.worst
    if worst is None:
        return _rest(counts)
    if counts.reached == 1:
        line = f"Trial {worst.trial} is the only one that reached {accuracy(target)}"
    else:
        times = "" if summary.spread is None else f" {summary.spread:.1f}x the best"
        line = (
            f"The worst setup that reached {accuracy(target)} cost{times} "
            f"({joules(worst.energy_j)}, trial {worst.trial}; one seed each)"
        )
    rest = _rest(counts)
    return f"{line}; {rest}" if rest else f"{line}."


def _rest(counts: Counts) -> str:
    """What became of the trials that did not reach the target."""
    others = {fate: counts.fates[fate] for fate in _FATES if counts.fates.get(fate)}
    if not others:
        return ""
    words = ", ".join(f"{number} {_FATES[fate]}" for fate, number in others.items())
    finished = count(counts.finished, "trial")
    return f"{sum(others.values())} of {finished} missed the target ({words})."


def _search_line(summary: Summary) -> str:
    parts = ", ".join(f"{each} {joules(part)}" for each, part in summary.parts_j.items() if part)
    line = f"The search cost {joules(summary.search_energy_j)}"
    if parts:
        line += f" ({parts})"
    if summary.missed_share is not None:
        line += f", {percent(summary.missed_share)} of it in trials that missed the target"
    return line + "."


def _fates_line(summary: Summary) -> str:
    """What became of the trials that burnt it, where there is more to say than the target."""
    spent = {fate: part for fate, part in summary.fates_j.items() if part}
    if not spent.keys() - {"reached"}:
        return ""
    parts = (f"{joules(spent[fate])} {words}" for fate, words in _SPENT.items() if fate in spent)
    return f"By fate: {', '.join(parts)}."


def _break_even_line(summary: Summary) -> str:
    found = summary.against_default
    if summary.break_even is None or summary.default is None or found is None:
        return f"Break-even: none, because {summary.break_even_reason}."
    trainings = count(math.ceil(summary.break_even), "training")
    soonest, latest = found.break_even(summary.search_energy_j)
    last = "never" if math.isinf(latest) else f"{math.ceil(latest)}"
    single = ", one seed each" if found.single else ""
    return (
        f"Break-even: the search pays back after {trainings} against the default setup "
        f"(trial {summary.default.trial}: {joules(found.default_j)} to target; the recommended "
        f"one saves {percent(summary.saving)} of it{single}); from {math.ceil(soonest)} to {last} "
        f"{found.confidence}. {COUNTED}"
    )


def _net_line(summary: Summary) -> str:
    """What the planned trainings save beyond the search."""
    found, reuse = summary.against_default, summary.reuse
    if found is None or reuse is None:
        return ""
    net_j, least_j, most_j = found.net_j(summary.search_energy_j, reuse)
    verb = "save" if net_j >= 0 else "lose"
    return (
        f"Over {reuse:g} trainings search and recommended setup {verb} {joules(abs(net_j))} "
        f"({joules(least_j)} to {joules(most_j)} saved {found.confidence})."
    )


def _profile_line(trial: int, profile: PowerProfile) -> str:
    at = {point.limit_w: point for point in profile.points}
    best, highest = at[profile.chosen_w], profile.points[0]
    line = f"Power limit: {best.limit_w:g} W for batch size {profile.shape.get('batch_size')}"
    if best == highest:
        return f"{line}, the highest of {len(at)} tried (trial {trial})."
    saved, slower = 1 - best.step_j / highest.step_j, best.step_s / highest.step_s - 1
    return (
        f"{line}, of {len(at)} tried (trial {trial}): {percent(saved)} less energy and "
        f"{percent(slower)} more time a step than at {highest.limit_w:g} W."
    )


def _measuring_line(provenance: Provenance | None) -> str:
    if provenance is None:
        return "Measuring: no trial was metered."
    line = f"Measuring: {provenance}, {provenance.version}; uncertainty: {provenance.uncertainty}"
    if provenance.resolution_s:
        line += f"; sensor updates every {quantity(provenance.resolution_s, 's')}"
    return line + "."


def _flags_line(flags: Mapping[str, int]) -> str:
    if not flags:
        return ""
    words = "; ".join(f"{explain_flag(flag)} ({count(n, 'trial')})" for flag, n in flags.items())
    return f"Conditions to mind: {words}."


def _setup_of(point: FrontPoint) -> str:
    words = setup(point.params)
    if not point.default:
        return words or "the fixed setup"
    return f"the default setup ({words})" if words else "the default setup"
