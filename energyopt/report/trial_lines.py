"""Lines that a running study shows of its trials: what runs, and what came of those that ran."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from energyopt.core.energy import total
from energyopt.core.journal import Journal, JournalReader
from energyopt.core.metric import ACCURACY
from energyopt.core.study_record import Metric, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import joules, roughly, setup, time_left
from energyopt.errors import JournalError

_EPOCH_PURPOSES = ("training", "evaluation")  # of the windows that each epoch has


@dataclass(slots=True)
class Running:
    """A training run in progress: its configuration, its journal, and when it was started."""

    params: Mapping[str, Any]
    reader: JournalReader
    since_s: float

    @property
    def energy_j(self) -> float:
        """Its energy so far, as last read, in J."""
        return total(w.energy for w in self.reader.journal.windows).total_j

    def read(self) -> Journal:
        """Read on in its journal."""
        with suppress(JournalError):  # a damaged journal is reported when the trial ends
            self.reader.read()
        return self.reader.journal


def with_params(text: str, params: str) -> str:
    """Return a line that ends with a configuration, which is what is cut if it is too long."""
    return f"{text}  {params}" if params else text


def rank_of(trial: TrialRecord, metrics: Sequence[Metric]) -> tuple[int, float] | None:
    """Return the order of a trial among others: the least is the best; None if it has none.

    Those that reached the target come first, by energy, then the others by their metric.
    """
    result = trial.result
    if result is None:
        if len(trial.values) != 1 or len(metrics) != 1:
            return None
        return 2, trial.values[0] * (1 if metrics[0].direction == "minimize" else -1)
    if not result.valid or result.best_value is None:
        return None
    if result.energy_to_target_j is not None:
        return 0, result.energy_to_target_j
    return 1, -result.monitor.score(result.best_value)


def best_line(best: TrialRecord | None, default: TrialRecord | None) -> str:
    """Return the best trial as a line: its energy, metric and ratio to the default trial."""
    if best is None:
        return "best  none yet"
    result = best.result
    if result is None:
        return with_params(f"best  {outcome_line(best)}", setup(best.params))
    value = f"{result.monitor.name} {result.best_value:{result.monitor.digits}}"
    energy_j = result.energy_to_target_j
    if energy_j is None:
        text = f"best  {value} with {joules(result.training_j)}, not yet {result.target:g}"
        return with_params(text, setup(best.params))
    text = f"best  {joules(energy_j)} to {result.target:g}, {value}"
    default_j = default and default.result and default.result.energy_to_target_j
    if best.default:
        text += f", {best.default_mark}"
    elif default is not None and default_j:
        whose = "the one nearest to the default" if default.nearest else "the default"
        text += f", {energy_j / default_j:.2g}x {whose}"
    return with_params(text, setup(best.params))


def training_line(name: str, run: Running, *, with_time: bool = True) -> str:
    """Return a training run in progress as a line, with the time that it has left at most."""
    journal = run.read()
    line = f"now   {name}: "
    if not journal.checkpoints or journal.start is None:
        activity = journal.now or "starting"
        return f"{line}{activity}, {roughly(time.monotonic() - run.since_s)}"
    last, monitor = journal.checkpoints[-1], journal.start.monitor
    line += (
        f"epoch {last.epoch:.3g}/{journal.start.epochs:g}, "
        f"{monitor.name} {last.accuracy:{monitor.digits}}, {joules(run.energy_j)}"
    )
    if not with_time:
        return line
    trained_s = sum(w.energy.time_s for w in journal.windows if w.purpose in _EPOCH_PURPOSES)
    remaining = time_left(trained_s, last.epoch, journal.start.epochs - last.epoch)
    return line + remaining.replace("about", "at most")


def trainings_line(running: Sequence[Running]) -> str:
    """Return several runs in progress as one line: from the least to the most of each number."""
    journals = [run.read() for run in running]
    last = [journal.checkpoints[-1] for journal in journals if journal.checkpoints]
    text = f"now   {len(running)} trials: "
    monitor = next((journal.start.monitor for journal in journals if journal.start), None)
    if not last or monitor is None:
        return f"{text}starting"
    epochs = _span([*(point.epoch for point in last), *[0.0] * (len(running) - len(last))], ".3g")
    values = _span([point.accuracy for point in last], monitor.digits)
    energy = joules(sum(run.energy_j for run in running))
    return f"{text}epoch {epochs}, {monitor.name} {values}, {energy}"


def _span(values: Sequence[float], digits: str) -> str:
    low, high = f"{min(values):{digits}}", f"{max(values):{digits}}"
    return low if low == high else f"{low} to {high}"


def outcome_line(trial: TrialRecord) -> str:
    """Return the outcome of a trial in short."""
    if trial.state == "failed":
        return f"failed: {trial.reason}"
    if trial.result is None:
        if trial.state == "pruned":
            return f"pruned{': ' + trial.reason if trial.reason else ''}"
        return ", ".join(f"{value:.6g}" for value in trial.values)
    return result_line(trial.result)


def result_line(result: TrialResult) -> str:
    """Return a trial's outcome: "1.2 J to 0.95, best accuracy 0.972", or that it missed."""
    monitor, value = result.monitor, result.best_value
    if value is None and monitor != ACCURACY:
        best = f"no finite {monitor.name}"
    else:
        best = f"best {monitor.name} {value or 0.0:{monitor.digits}}"
    is_paused = result.end == "paused"
    if result.energy_to_target_j is not None:
        outcome = f"{joules(result.energy_to_target_j)} to {result.target:g}, {best}"
        return f"{outcome}, paused" if is_paused else outcome
    if is_paused:
        return f"{result.reason}, {best}" if len(result.curve) else result.reason
    ended_early = result.end in ("diverged", "stopped")
    outcome = f"stopped ({result.reason})" if ended_early else f"missed {result.target:g}"
    return f"{outcome}, {best}, {joules(result.training_j)} spent training"
