"""Sentences about a study: its results, its energy, and how that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from energyopt.analysis.pretraining_value import recycled_line
from energyopt.analysis.summary import Counts, Summary, TrialOutcome
from energyopt.core.conditions import PowerProfile
from energyopt.core.seeds import without_seeds
from energyopt.core.study_record import TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.core.units import accuracy, count, duration, joules, percent, quantity, setup
from energyopt.core.window_quality import energy_unit
from energyopt.report.account_view import book_lines
from energyopt.report.answer_view import answer_text
from energyopt.report.flags import event_text, explain_flag

_MAX_PROFILES = 3
_DRIFT_TO_SAY = 0.01  # below it, the repeated measurements of a limit agree within their noise
_MAX_EVENTS = 3

_MISSES: Mapping[TrialOutcome, str] = {
    "missed": "trained to the end",
    "stopped": "stopped early",
    "failed": "failed",
    "lost": "lost",
}


def summary_lines(summary: Summary) -> tuple[str, ...]:
    """Return a summary as sentences."""
    lines = [_trials_line(summary), summary.default_setup.sentence]
    if summary.target is not None:
        lines += [
            *answer_text(summary).lines,
            _worst_line(summary, summary.target),
            evaluation_line(summary),
        ]
    lines += [*book_lines(summary), recycled_line(summary.recycled)]
    if summary.target is not None or summary.provenance is not None:
        lines.append(_measuring_line(summary.provenance))
    lines += [_profile_line(trial, profile) for trial, profile in summary.profiles[:_MAX_PROFILES]]
    lines += [_flags_line(summary.flags), _events_line(summary)]
    return tuple(line for line in lines if line)


def source(provenance: Provenance) -> str:
    """Return the source of energies in short: "measured by ...", or what an estimate is made of."""
    unit = energy_unit(provenance)
    if unit is not None:
        return f"{provenance.kind} as {unit}"
    return f"{provenance.kind} by {provenance.meter}"


def source_text(provenance: Provenance) -> str:
    """Return the source of energies in full, with what a joule of an estimate is made of."""
    unit = energy_unit(provenance)
    return str(provenance) if unit is None else f"{provenance}, as {unit}"


def source_lines(provenance: Provenance, flags: Sequence[str] = ()) -> str:
    """Return the source of a run's energies in full, and its warnings."""
    lines = [
        f"energy    {provenance.kind.upper()} by {provenance.meter}, {provenance.scope}",
        f"          {provenance.uncertainty}",
        f"on        {provenance.device}",
    ]
    lines += [f"warning   {explain_flag(flag)}" for flag in flags]
    return "\n".join(lines)


def hardware_lines(result: TrialResult) -> list[str]:
    """Return the power limit, idle power and temperature of a trial's GPUs as sentences."""
    conditions = result.conditions
    lines = []
    if conditions.profile is not None:
        tried = ", ".join(
            f"{point.limit_w:g} W {joules(point.step_j)} {duration(point.step_s)}"
            for point in conditions.profile.points
        )
        chosen = f"{conditions.profile.chosen_w:g} W, by {conditions.profile.policy}"
        if conditions.limit_w not in (None, conditions.profile.chosen_w):
            chosen = f"{conditions.limit_w:g} W, not chosen by its profile"
        lines.append(f"Power limit: {chosen}; a step at {tried}{_doubt(conditions.profile)}.")
    elif conditions.limit_w is not None:
        lines.append(f"Power limit: {conditions.limit_w:g} W.")
    if conditions.idle_w is not None:
        net = f", {joules(result.energy_net_j)} of training beyond it"
        lines.append(f"At rest: {quantity(conditions.idle_w, 'W')}{net}.")
    if conditions.temperature_before_c is not None and conditions.temperature_after_c is not None:
        lines.append(
            f"Temperature: {conditions.temperature_before_c:g} degC before, "
            f"{conditions.temperature_after_c:g} after."
        )
    return lines


def _trials_line(summary: Summary) -> str:
    counts = summary.counts
    if not counts.trials:
        return f"Study {summary.study} has no trials yet."
    states = ", ".join(f"{number} {state}" for state, number in sorted(counts.states.items()))
    line = f"Study {summary.study}: {count(counts.trials, 'trial')} ({states})."
    if summary.target is None:
        line += " It has no target, so nothing is said of energy-to-target."
    return line


def _worst_line(summary: Summary, target: float) -> str:
    counts, worst = summary.counts, summary.worst
    if worst is None:
        return _missed_text(counts)
    if counts.reached == 1:
        line = f"Trial {worst.trial} is the only one that reached {accuracy(target)}"
    elif len(summary.reached) == 1:
        trials = count(counts.reached, "trial")
        line = f"No other setup reached {accuracy(target)} ({trials} with this one did)"
        line = "" if summary.tried == 1 else line
    else:
        times = "" if summary.spread is None else f" {summary.spread:.1f}x the best"
        line = (
            f"The worst setup that reached {accuracy(target)} cost{times} ({_worst_basis(summary)})"
        )
    missed = _missed_text(counts)
    if not line:
        return missed
    return f"{line}; {missed}" if missed else f"{line}."


def _worst_basis(summary: Summary) -> str:
    """Return the energy of the worst configuration, and what its ratio to the best rests on."""
    worst, best = summary.reached[-1], summary.reached[0]
    energy, number = joules(worst.mean_j), worst.hit[0].number
    if worst.confirmed and best.confirmed:
        return f"{energy}, trial {number}; means of new seeds, which chose neither"
    fewest, most = sorted((len(best.runs), len(worst.runs)))
    if most == 1:
        basis = "one seed each"
    else:
        basis = f"means of {f'{fewest} and {most}' if fewest < most else most} seeds"
    return f"{energy}, trial {number}; {basis}"


def evaluation_line(summary: Summary) -> str:
    """Return the ratios with evaluation, where it costs more than a fifth of training."""
    whole = summary.with_evaluation
    if whole is None or summary.spread is None:
        return ""
    ratios, alone = [], []
    if len(summary.reached) > 1:
        ratios.append(f"the worst setup cost {whole.spread:.1f}x the best")
        alone.append(f"{summary.spread:.1f}x")
    if whole.saving is not None and summary.saving is not None:
        nearest = summary.default_setup.is_nearest
        whose = (
            "of the energy of the setup nearest to the default"
            if nearest
            else "of the default's energy"
        )
        ratios.append(f"the recommended one saves {percent(whole.saving)} {whose}")
        alone.append(percent(summary.saving))
    line = f"Evaluation costs up to {percent(whole.share)} of training"
    if not ratios:
        return f"{line} on top."
    line += f". With it {' and '.join(ratios)}; by training alone {' and '.join(alone)}"
    return f"{line}. {_flips(summary)}" if _flips(summary) else f"{line}."


def _flips(summary: Summary) -> str:
    """Return what evaluation turns around; empty if it is nothing."""
    whole = summary.with_evaluation
    if whole is None:
        return ""
    is_known = whole.saving is not None and summary.saving is not None
    if is_known and ((whole.saving or 0.0) > 0) != ((summary.saving or 0.0) > 0):
        return "So whether the recommended setup saves energy depends on evaluation."
    if whole.cheapest.key != summary.reached[0].key:
        cheapest = params_text(whole.cheapest.hit[0].params)
        return f"So the verdict depends on evaluation: with it {cheapest} is the cheapest."
    return ""


def _missed_text(counts: Counts) -> str:
    """Return how many trials missed the target, by outcome."""
    missed = {
        outcome: counts.outcomes[outcome] for outcome in _MISSES if counts.outcomes.get(outcome)
    }
    if not missed:
        return ""
    parts = ", ".join(f"{number} {_MISSES[outcome]}" for outcome, number in missed.items())
    finished = count(counts.finished, "trial")
    return f"{sum(missed.values())} of {finished} missed the target ({parts})."


def _profile_line(trial: int, profile: PowerProfile) -> str:
    points = {point.limit_w: point for point in profile.points}
    best, highest = points[profile.chosen_w], profile.points[0]
    line = f"Power limit: {best.limit_w:g} W for batch size {profile.shape.get('batch_size')}"
    doubt = _doubt(profile)
    if best == highest:
        return f"{line}, the highest of {len(points)} tried (trial {trial}){doubt}."
    saved_share, slower_share = 1 - best.step_j / highest.step_j, best.step_s / highest.step_s - 1
    return (
        f"{line}, of {len(points)} tried (trial {trial}): {percent(saved_share)} less energy and "
        f"{percent(slower_share)} more time a step than at {highest.limit_w:g} W{doubt}."
    )


def _doubt(profile: PowerProfile) -> str:
    """Return what makes a profile less sure, as clauses to append to a sentence."""
    text = ""
    if abs(profile.drift - 1) >= _DRIFT_TO_SAY:
        change = percent(abs(profile.drift - 1))
        verb = "raised" if profile.drift > 1 else "lowered"
        text += (
            f"; corrected for a drift of the board, which {verb} the energy of a step by {change}"
        )
    if not profile.finished:
        text += "; unfinished: one of the limits that were not tried may be better"
    return text


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
    warnings = "; ".join(f"{explain_flag(flag)} ({count(n, 'trial')})" for flag, n in flags.items())
    return f"Warnings: {warnings}."


def _events_line(summary: Summary) -> str:
    if not summary.events:
        return ""
    shown = [f"trial {number} {event_text(e)}" for number, e in summary.events[:_MAX_EVENTS]]
    n_more = len(summary.events) - len(shown)
    more = f"; {n_more} more are in the report" if n_more else ""
    return f"Within trials: {'; '.join(shown)}{more}."


def trial_text(trial: TrialRecord) -> str:
    """Return the number and the configuration of a trial."""
    mark = f" ({trial.default_mark})" if trial.default else ""
    return f"trial {trial.number}{mark}: {params_text(trial.params)}"


def params_text(params: Mapping[str, Any]) -> str:
    """Return the searched hyperparameters of a trial without seeds, or that none were searched."""
    return setup(without_seeds(params)) or "the fixed setup"
