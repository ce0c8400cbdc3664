"""Progress of a running study: live on a terminal, one line per trial in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from energyopt.core.energy import total
from energyopt.core.journal import JournalReader
from energyopt.core.metric import ACCURACY
from energyopt.core.study_record import TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.core.units import joules, roughly, setup, time_left
from energyopt.core.window_quality import SHORT_ESTIMATE
from energyopt.errors import JournalError
from energyopt.report.console import drawn_over, say, say_code
from energyopt.report.flags import explain_flag
from energyopt.report.sentences import params_text, source_lines

_REFRESHES_PER_S = 4
_LINE_EVERY_S = 600.0
_SHORT_S = 60.0  # of a shorter study a log needs no time left
_POSITION = '  File "'  # how a line of a traceback begins
_EPOCH_PURPOSES = ("training", "evaluation")  # of the windows that each epoch has


class Progress:
    """Context manager that shows progress: live on a terminal, a line now and then in a log.

    Args:
        console: The console to show it on.
        draw: Returns the live display of a terminal.
        line: Returns the line of a log; empty if there is nothing to report.
        every_s: Time between two lines of a log, in s.
        draws: Whether it may draw; a job that prints to the terminal, or reads from it, needs it
            for itself.
    """

    def __init__(
        self,
        console: Console,
        draw: Callable[[], RenderableType],
        line: Callable[[], str],
        every_s: float = _LINE_EVERY_S,
        *,
        draws: bool = True,
    ) -> None:
        self._console = console
        self._line = line
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._live: Live | None = None
        if draws and drawn_over(console):
            self._live = Live(
                get_renderable=draw,
                console=console,
                refresh_per_second=_REFRESHES_PER_S,
                transient=True,
            )

    @property
    def drawn(self) -> bool:
        """True if it is shown live: then most events need no line of their own."""
        return self._live is not None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._stopped.set()
            self._thread.join()

    def _write(self) -> None:
        while not self._stopped.wait(self._every_s):
            if line := self._line():
                say(self._console, line)


@dataclass(slots=True)
class _Running:
    setup: str
    reader: JournalReader
    since_s: float


class LiveStudy(Progress):
    """Context manager that shows a running study from the events it is notified of.

    Args:
        n_trials: Total number of trials.
        console: The console to show it on; live if it is a terminal.
        provenance: Source of energies, if printed already; else that of the first trial is printed.
        draws: Whether it may draw on a terminal; see `Progress`.
    """

    def __init__(
        self,
        n_trials: int,
        console: Console,
        provenance: Provenance | None = None,
        *,
        draws: bool = True,
    ) -> None:
        self._n_trials = n_trials
        self._provenance = provenance
        self._began_s = time.monotonic()
        self._running: dict[int, _Running] = {}
        self._n_finished = self._begun_before = 0
        self._paused: set[int] = set()
        self._energy_by_trial_j: dict[int, float] = {}
        self._warned: set[str] = set()
        self._best: TrialRecord | None = None
        self._tracebacks: dict[tuple[str, ...], int] = {}  # positions, and who was there first
        # Last: rich draws once when it is constructed.
        super().__init__(console, self._render, self._log_line, draws=draws)

    def take_up(self, n_finished: int, trials: Sequence[TrialRecord]) -> None:
        """Start with the trials that the study already has."""
        self._n_finished = n_finished
        self._paused = {trial.number for trial in trials if trial.state == "paused"}
        self._begun_before = self._begun
        for trial in trials:
            self._add_result(trial)

    def started(self, number: int, params: Mapping[str, Any], journal: Path) -> None:
        """Show a trial that started or resumed."""
        self._running[number] = _Running(setup(params), JournalReader(journal), time.monotonic())

    def paused(self, trial: TrialRecord) -> None:
        """Show a trial that paused: it may resume later."""
        self._running.pop(trial.number, None)
        self._paused.add(trial.number)
        self._print_source_and_warnings(trial)
        self._add_result(trial)
        if not self.drawn:
            self._print_line(trial)

    def ended(self, trial: TrialRecord, n_finished: int | None = None) -> None:
        """Show a trial that ended."""
        self._running.pop(trial.number, None)
        self._print_source_and_warnings(trial)
        self._n_finished = self._n_finished + 1 if n_finished is None else n_finished
        self._paused.discard(trial.number)
        self._add_result(trial)
        if not self.drawn or trial.state == "failed":
            self._print_line(trial)

    def lost(self, number: int, text: str) -> None:
        """Show that a trial counts no more: another takes its place."""
        self._running.pop(number, None)
        self._paused.discard(number)
        self.note(text)

    def raised(self, number: int, traceback: str) -> None:
        """Print the traceback of a job, if it has one; that of an earlier job is not repeated."""
        if not traceback:
            return
        first = self._tracebacks.setdefault(_positions(traceback), number)
        if first == number:
            say_code(self._console, traceback)
        else:
            self.note(f"trial {number} raised where trial {first} did; its log has the traceback")

    def warn(self, flags: Sequence[str]) -> None:
        """Print warnings about the measuring conditions, each once, with its remedy."""
        for flag in flags:
            if flag not in self._warned:
                self._warned.add(flag)
                self.note(f"warning: {explain_flag(flag)}")

    def note(self, text: str) -> None:
        """Print text above the progress."""
        say(self._console, text)

    def _print_source_and_warnings(self, trial: TrialRecord) -> None:
        """Print the source of energies, once, and the warnings of a trial."""
        if trial.result is not None and self._provenance is None:
            self._provenance = trial.result.start.provenance
            self.note(source_lines(self._provenance))
        flags = () if trial.result is None else trial.result.flags
        self.warn([flag for flag in flags if flag != SHORT_ESTIMATE])  # the summary says it

    @property
    def _begun(self) -> int:
        """Number of trials that ended or paused."""
        return self._n_finished + len(self._paused)

    @property
    def _energy_j(self) -> float:
        return sum(self._energy_by_trial_j.values())

    def _add_result(self, trial: TrialRecord) -> None:
        if trial.result is None:
            return
        self._energy_by_trial_j[trial.number] = trial.result.spent_j  # of all its executions
        energy_j = trial.result.energy_to_target_j
        if trial.result.valid and energy_j is not None:
            best = (
                self._best.result.energy_to_target_j if self._best and self._best.result else None
            )
            if best is None or energy_j < best:
                self._best = trial

    def _print_line(self, trial: TrialRecord) -> None:
        params = setup(trial.params)
        text = f"{self._counter} trial {trial.number}: {_outcome(trial)}"
        text += f" ({params})" if params else ""
        if self._energy_j:
            text += f"; {joules(self._energy_j)} so far"
        if time.monotonic() - self._began_s > _SHORT_S:
            text += self._time_left
        say(self._console, text, style="red" if trial.state == "failed" else "")

    def _log_line(self) -> str:
        """Return the running trials as a line of a log."""
        trials = "; ".join(
            _training_line(f"trial {number}", run) for number, run in self._running_now()
        )
        return f"{self._counter} {trials}{self._time_left}" if trials else ""

    @property
    def _counter(self) -> str:
        return f"[{self._begun}/{self._n_trials}]"

    @property
    def _time_left(self) -> str:
        """Time left, extrapolated from the trials that this run has started."""
        elapsed_s = time.monotonic() - self._began_s
        begun_here = self._begun - self._begun_before
        return time_left(elapsed_s, begun_here, self._n_trials - self._begun)

    def _running_now(self) -> list[tuple[int, _Running]]:
        return sorted(self._running.items())  # a copy: another thread draws it

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._bar()]
        if self._best is not None:
            line = f"best  {_outcome(self._best)} ({params_text(self._best.params)})"
            parts.append(Text(line, style="green", overflow="ellipsis", no_wrap=True))
        parts.extend(
            _dim(_training_line(f"trial {number}", run)) for number, run in self._running_now()
        )
        return Group(*parts)

    def _bar(self) -> RenderableType:
        elapsed_s = time.monotonic() - self._began_s
        journal_j = {
            number: total(w.energy for w in run.reader.journal.windows).total_j
            for number, run in self._running_now()
        }
        # The journal of a resumed trial includes the energy of its earlier executions.
        running_j = sum(
            max(energy_j - self._energy_by_trial_j.get(number, 0.0), 0.0)
            for number, energy_j in journal_j.items()
        )
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(self._n_trials, self._begun, width=24),
            Text(
                f"{self._begun}/{self._n_trials} trials, {joules(self._energy_j + running_j)} "
                f"so far, {roughly(elapsed_s)}{self._time_left}"
            ),
        )
        return row


class LiveTrial(Progress):
    """Context manager that shows one training run, from its journal, while it runs."""

    def __init__(self, journal: Path, console: Console) -> None:
        run = _Running("", JournalReader(journal), time.monotonic())
        line = partial(_training_line, "training", run)
        super().__init__(console, lambda: _dim(line()), line)


def _positions(traceback: str) -> tuple[str, ...]:
    """Return where a traceback passes: that of another trial differs in its message alone."""
    return tuple(line for line in traceback.splitlines() if line.startswith(_POSITION))


def _dim(line: str) -> Text:
    return Text(line, style="dim", overflow="ellipsis", no_wrap=True)


def _training_line(name: str, run: _Running) -> str:
    """Return a training run in progress as a line."""
    with suppress(JournalError):  # a damaged journal is reported when the trial ends
        run.reader.read()
    journal = run.reader.journal
    line = f"now   {name}{': ' if run.setup else ''}{run.setup}"
    if not journal.checkpoints:
        activity = journal.now or "starting"
        line += f"  {activity}, {roughly(time.monotonic() - run.since_s)}"
    elif journal.start is not None:
        last, monitor = journal.checkpoints[-1], journal.start.monitor
        energy_j = total(w.energy for w in journal.windows).total_j
        trained_s = sum(w.energy.time_s for w in journal.windows if w.purpose in _EPOCH_PURPOSES)
        remaining = time_left(trained_s, last.epoch, journal.start.epochs - last.epoch)
        line += (
            f"  epoch {last.epoch:.3g}/{journal.start.epochs:g}, "
            f"{monitor.name} {last.accuracy:{monitor.digits}}, "
            f"{joules(energy_j)}{remaining.replace('about', 'at most')}"
        )
    return line


def _outcome(trial: TrialRecord) -> str:
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
    paused = f"{result.reason}, " if result.end == "paused" else ""
    if result.energy_to_target_j is not None:
        return f"{paused}{joules(result.energy_to_target_j)} to {result.target:g}, {best}"
    if paused:
        return f"{paused}{best}" if len(result.curve) else result.reason
    ended_early = result.end in ("diverged", "stopped")
    outcome = f"stopped ({result.reason})" if ended_early else f"missed {result.target:g}"
    return f"{outcome}, {best}, {joules(result.training_j)} spent training"
