"""A dry run in sentences: what a search is expected to cost, and when it pays back."""

from __future__ import annotations

from energyopt.analysis.forecast import SAVED_SHARES, Forecast
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import accuracy, count, joules, roughly


def forecast_lines(found: Forecast, result: TrialResult, n_trials: int) -> list[str]:
    """Return a forecast as sentences.

    Args:
        found: The forecast.
        result: The record of the default configuration, which it rests on.
        n_trials: Number of trials of the search.
    """
    monitor, best = result.monitor, result.best_value
    reached = "" if best is None else f"; {monitor.name} {monitor.text(best)}"
    lines = [
        f"One epoch of the default configuration: {joules(found.epoch_j)} of training{reached}.",
        f"A default training: {joules(found.default_j)} to {accuracy(result.target)}."
        if found.is_to_target
        else f"A default training: at most {joules(found.default_j)}, by one epoch alone; "
        f"{accuracy(result.target)} was not reached in it.",
        f"The search of {count(n_trials, 'trial')}: {joules(found.least_j)} if each ends after an "
        f"epoch, {joules(found.most_j)} if each trains to its last, in "
        f"{_range(roughly(found.least_s), roughly(found.most_s))}. {_other(found)}",
    ]
    pays = (
        f"{_range(str(least), str(most))} if each saves {100 * share:.0f} %"
        for share in SAVED_SHARES
        for least, most in [found.trainings(share)]
    )
    lines.append(f"Trainings until the search pays back: {', '.join(pays)} of a default training.")
    lines.append("This rests on one epoch with one seed: other configurations cost more or less.")
    return lines


def _other(found: Forecast) -> str:
    if found.other_j is None:
        return "Energy outside of trials is not metered with these joules, and not included."
    other = f"{joules(found.other_j)} of it is not training: imports, checks, starting trials"
    return f"{other}; the sampler comes on top."


def _range(least: str, most: str) -> str:
    return f"about {least}" if least == most else f"{least} to {most}"
