"""A dry run in sentences: what a search is expected to cost, and when it pays back."""

from __future__ import annotations

from energyopt.analysis.forecast import SAVED_SHARES, Forecast
from energyopt.core.default_setup import DEFAULT, DefaultSetup
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import accuracy, count, joules, roughly


def forecast_lines(
    forecast: Forecast, result: TrialResult, n_trials: int, default: DefaultSetup = DEFAULT
) -> list[str]:
    """Return a forecast as sentences.

    Args:
        forecast: The forecast.
        result: The record of the default configuration, which it rests on.
        n_trials: Number of trials of the search.
        default: How that configuration differs from the user's default.
    """
    monitor, best = result.monitor, result.best_value
    reached = "" if best is None else f"; {monitor.name} {monitor.text(best)}"
    called = "default configuration"
    if default.is_nearest:
        called = f"configuration nearest to the default ({default.explanation})"
    training = "training with that" if default.is_nearest else "default training"
    lines = [
        f"One epoch of the {called}: {joules(forecast.epoch_j)} of training{reached}.",
        f"A {training}: {joules(forecast.default_j)} to {accuracy(result.target)}."
        if forecast.is_to_target
        else f"A {training}: at most {joules(forecast.default_j)}, by one epoch alone; "
        f"{accuracy(result.target)} was not reached in it.",
        f"The search of {count(n_trials, 'trial')}: {joules(forecast.least_j)} if each ends after "
        f"an epoch, {joules(forecast.most_j)} if each trains to its last, in "
        f"{_range(roughly(forecast.least_s), roughly(forecast.most_s))}. {_other(forecast)}",
    ]
    pays = (
        f"{_range(str(least), str(most))} if each saves {100 * share:.0f} %"
        for share in SAVED_SHARES
        for least, most in [forecast.trainings(share)]
    )
    lines.append(f"Trainings until the search pays back: {', '.join(pays)} of a {training}.")
    lines.append("This rests on one epoch with one seed: other configurations cost more or less.")
    return lines


def _other(forecast: Forecast) -> str:
    if forecast.other_j is None:
        return "Energy outside of trials is not metered with these joules, and not included."
    rest = f"{joules(forecast.other_j)} of it is not training: imports, checks, starting trials"
    return f"{rest}; the sampler comes on top."


def _range(least: str, most: str) -> str:
    return f"about {least}" if least == most else f"{least} to {most}"
