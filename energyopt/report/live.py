"""Progress of a running study: live on a terminal, one line per trial in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from energyopt.core.journal import JournalReader
from energyopt.core.study_record import Metric, TrialRecord
from energyopt.core.trial_result import Provenance
from energyopt.core.units import joules, roughly, setup, time_left
from energyopt.core.window_quality import SHORT_ESTIMATE
from energyopt.report.console import drawn_over, printable, say, say_code
from energyopt.report.flags import explain_flag
from energyopt.report.notebook import NotebookView
from energyopt.report.sentences import params_text, source_lines
from energyopt.report.tables import rows_of
from energyopt.report.trial_lines import (
    Running,
    best_line,
    outcome_line,
    rank_of,
    training_line,
    trainings_line,
    with_params,
)

_REFRESHES_PER_S = 4
_LINE_EVERY_S = 600.0
_SHORT_S = 60.0  # of a shorter study a log needs no time left
_POSITION = '  File "'  # how a line of a traceback begins
_BAR, _SHORTEST_BAR = 24, 8  # characters
_FEW_KEYS = 3  # of a configuration that is shown in full


class Progress:
    """Context manager that shows progress: live on a terminal, a line now and then in a log.

    Args:
        console: The console to show it on.
        draw: Returns the live display of a terminal.
        line: Returns the line of a log; empty if there is nothing to report. None if a log gets
            none now and then.
        every_s: Time between two lines of a log, in s.
        draws: Whether it may draw; a job that prints to the terminal, or reads from it, needs it
            for itself.
        table: Returns what a notebook shows instead; None for lines there.
    """

    def __init__(
        self,
        console: Console,
        draw: Callable[[], RenderableType],
        line: Callable[[], str] | None,
        every_s: float = _LINE_EVERY_S,
        *,
        draws: bool = True,
        table: Callable[[], RenderableType] | None = None,
    ) -> None:
        self._console = console
        self._line = line
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Live | NotebookView | None = None
        if draws and table is not None and console.is_jupyter:
            self._live = NotebookView(table)
        elif draws and drawn_over(console):
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
        elif self._line is not None:
            self._thread = threading.Thread(target=self._write, args=(self._line,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._thread is not None:
            self._stopped.set()
            self._thread.join()

    def _write(self, next_line: Callable[[], str]) -> None:
        while not self._stopped.wait(self._every_s):
            if line := next_line():
                say(self._console, line)


class LiveStudy(Progress):
    """Context manager that shows a running study from the events it is notified of.

    A terminal has three lines: how far the study is, the best trial so far, and what runs now.
    Above them, and in a log, each trial has one line, when its outcome is known: when it ends, or
    pauses beyond the target; in a log one that is paused still has it at the end.

    Args:
        n_trials: Total number of trials.
        console: The console to show it on; live if it is a terminal.
        provenance: Source of energies, if printed already; else that of the first trial is printed.
        metrics: The objectives, by which trials without a record are compared.
        draws: Whether it may draw on a terminal; see `Progress`.
    """

    def __init__(
        self,
        n_trials: int,
        console: Console,
        provenance: Provenance | None = None,
        *,
        metrics: Sequence[Metric] = (),
        draws: bool = True,
    ) -> None:
        self._n_trials = n_trials
        self._provenance = provenance
        self._metrics = metrics
        self._began_s = time.monotonic()
        self._running: dict[int, Running] = {}
        self._n_finished = self._begun_before = 0
        self._paused: set[int] = set()
        self._untold: dict[int, TrialRecord] = {}  # paused here, and without a line
        self._told: set[int] = set()
        self._energy_by_trial_j: dict[int, float] = {}
        self._warned: set[str] = set()
        self._best: TrialRecord | None = None
        self._default: TrialRecord | None = None
        self._trials: dict[int, TrialRecord] = {}
        self._tracebacks: dict[tuple[str, ...], int] = {}  # positions, and who was there first
        # Last: rich draws once when it is constructed.
        super().__init__(console, self._render, None, draws=draws, table=self._render_table)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if not self.drawn:  # on a terminal they would push the summary away
            for trial in self._untold.values():
                self._print_line(trial)

    def take_up(self, n_finished: int, trials: Sequence[TrialRecord]) -> None:
        """Start with the trials that the study already has."""
        self._n_finished = n_finished
        self._paused = {trial.number for trial in trials if trial.state == "paused"}
        self._begun_before = self._begun
        for trial in trials:
            self._add_result(trial)

    def started(self, number: int, params: Mapping[str, Any], journal: Path) -> None:
        """Show a trial that started or resumed."""
        self._running[number] = Running(params, JournalReader(journal), time.monotonic())

    def paused(self, trial: TrialRecord) -> None:
        """Show a trial that paused: it may resume later."""
        self._running.pop(trial.number, None)
        self._paused.add(trial.number)
        self._print_source_and_warnings(trial)
        self._add_result(trial)
        if trial.result is not None and trial.result.reached:
            self._tell(trial)
        elif trial.number not in self._told:
            self._untold[trial.number] = trial

    def ended(self, trial: TrialRecord, n_finished: int | None = None) -> None:
        """Show a trial that ended."""
        self._running.pop(trial.number, None)
        self._print_source_and_warnings(trial)
        self._n_finished = self._n_finished + 1 if n_finished is None else n_finished
        self._paused.discard(trial.number)
        self._add_result(trial)
        self._tell(trial)

    def lost(self, number: int, text: str) -> None:
        """Show that a trial counts no more: another takes its place."""
        self._running.pop(number, None)
        self._paused.discard(number)
        self._untold.pop(number, None)
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
        self._trials[trial.number] = trial
        if trial.result is not None:
            self._energy_by_trial_j[trial.number] = trial.result.spent_j  # of all its executions
        if trial.default:
            self._default = trial
        rank = rank_of(trial, self._metrics)
        best = None if self._best is None else rank_of(self._best, self._metrics)
        is_best_itself = self._best is not None and trial.number == self._best.number
        if rank is not None and (best is None or rank < best or is_best_itself):
            self._best = trial

    def _tell(self, trial: TrialRecord) -> None:
        """Print the line of a trial, unless it has one; a failure is always said."""
        self._untold.pop(trial.number, None)
        if trial.number not in self._told or trial.state == "failed":
            self._told.add(trial.number)
            self._print_line(trial)

    def _print_line(self, trial: TrialRecord) -> None:
        is_failed = trial.state == "failed"
        text = f"trial {trial.number}: {outcome_line(trial)}"
        if self.drawn and not is_failed:  # the reason of a failure is not cut
            line = _cut(with_params(text, self._changed(trial.params)))
            self._console.print(line, no_wrap=True, overflow="ellipsis")
            return
        params = setup(trial.params)
        text += f" ({params})" if params else ""
        if not self.drawn:
            text = f"[{self._begun}/{self._n_trials}] {text}"
            text += f"; {joules(self._energy_j)} so far" if self._energy_j else ""
            is_long = time.monotonic() - self._began_s > _SHORT_S
            text += self._time_left if is_long else ""
        say(self._console, text, style="red" if is_failed else "")

    def _changed(self, params: Mapping[str, Any]) -> str:
        """Return a configuration; of many keys those that differ from the best trial's."""
        best = {} if self._best is None else self._best.params
        if len(params) <= _FEW_KEYS or not best or params == best:
            return setup(params)
        return setup({k: v for k, v in params.items() if k not in best or best[k] != v})

    @property
    def _time_left(self) -> str:
        """Time left, extrapolated from the trials that this run has started."""
        elapsed_s = time.monotonic() - self._began_s
        begun_here = self._begun - self._begun_before
        return time_left(elapsed_s, begun_here, self._n_trials - self._begun)

    def _running_now(self) -> list[tuple[int, Running]]:
        return sorted(self._running.items())  # a copy: another thread draws it

    def _render(self) -> RenderableType:
        now = _cut(self._now_line(), style="dim")  # first: it reads what runs
        best = _cut(best_line(self._best, self._default), style="green")
        return Group(self._bar(), best, now)

    def _now_line(self) -> str:
        running = self._running_now()
        if not running:
            return "now   between trials"
        if len(running) > 1:
            return trainings_line([run for _, run in running])
        ((number, run),) = running
        line = training_line(f"trial {number}", run, with_time=not self._time_left)
        return with_params(line, self._changed(run.params))

    def _render_table(self) -> RenderableType:
        """Return the progress with a row for each trial, for a notebook."""
        rows = [
            (params_text(trial.params), trial.number, outcome_line(trial))
            for trial in sorted(self._trials.values(), key=lambda trial: trial.number)
        ]
        return Group(self._render(), rows_of(("configuration", "trial", "outcome"), rows))

    def _bar(self) -> RenderableType:
        elapsed_s = time.monotonic() - self._began_s
        # The journal of a resumed trial includes the energy of its earlier executions.
        running_j = sum(
            max(run.energy_j - self._energy_by_trial_j.get(number, 0.0), 0.0)
            for number, run in self._running_now()
        )
        text = _cut(
            f"{self._begun}/{self._n_trials} trials, {joules(self._energy_j + running_j)} so far, "
            f"{roughly(elapsed_s)}{self._time_left}"
        )
        width = min(self._console.width - len(text) - 1, _BAR)
        if width < _SHORTEST_BAR:
            return text
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(self._n_trials, self._begun, width=width), text)
        return row


class LiveTrial(Progress):
    """Context manager that shows one training run, from its journal, while it runs."""

    def __init__(self, journal: Path, console: Console) -> None:
        run = Running({}, JournalReader(journal), time.monotonic())
        line = partial(training_line, "training", run)
        super().__init__(console, lambda: _cut(line(), style="dim"), line)


def _positions(traceback: str) -> tuple[str, ...]:
    """Return where a traceback passes: that of another trial differs in its message alone."""
    return tuple(line for line in traceback.splitlines() if line.startswith(_POSITION))


def _cut(line: str, *, style: str = "") -> Text:
    return Text(printable(line), style=style, overflow="ellipsis", no_wrap=True)
