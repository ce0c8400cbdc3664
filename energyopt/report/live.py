"""Progress of a study while it runs: live on a terminal, a line a trial in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from energyopt.core.energy import total
from energyopt.core.journal import JournalReader
from energyopt.core.study_record import TrialRecord
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.core.units import joules, roughly, setup, time_left
from energyopt.errors import JournalError
from energyopt.report.console import drawn_over, say
from energyopt.report.flags import explain_flag
from energyopt.report.sentences import source_lines

_REFRESHES_PER_S = 4
_LINE_EVERY_S = 600.0
_SOON_S = 60.0
_EPOCHS = ("training", "evaluation")  # windows that each epoch has


class Progress:
    """Shows how far something is: drawn over on a terminal, a line now and then in a log.

    A context manager.

    Args:
        console: Where to.
        draw: Makes what a terminal shows.
        line: Makes the line of a log; empty where there is nothing to say.
        every_s: How long a log is left alone, in s.
    """

    def __init__(
        self,
        console: Console,
        draw: Callable[[], RenderableType],
        line: Callable[[], str],
        every_s: float = _LINE_EVERY_S,
    ) -> None:
        self._console = console
        self._line = line
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._live: Live | None = None
        if drawn_over(console):
            self._live = Live(
                get_renderable=draw,
                console=console,
                refresh_per_second=_REFRESHES_PER_S,
                transient=True,
            )

    @property
    def drawn(self) -> bool:
        """Whether it is drawn over: then not all that happens needs a line of its own."""
        return self._live is not None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._over.set()
            self._thread.join()

    def _write(self) -> None:
        while not self._over.wait(self._every_s):
            if line := self._line():
                say(self._console, line)


@dataclass(slots=True)
class _Running:
    setup: str
    reader: JournalReader
    since_s: float


class LiveStudy:
    """Shows a study that runs. A context manager; what is told it is what it shows.

    Args:
        n_trials: The study's total.
        console: Where to show; live if it is a terminal.
        provenance: Of the joules, where it was said already; else the first trial's is.
    """

    def __init__(
        self, n_trials: int, console: Console, provenance: Provenance | None = None
    ) -> None:
        self._n_trials = n_trials
        self._provenance = provenance
        self._console = console
        self._began_s = time.monotonic()
        self._running: dict[int, _Running] = {}
        self._counted = self._begun_before = 0
        self._paused: set[int] = set()
        self._spent: dict[int, float] = {}
        self._warned: set[str] = set()
        self._best: TrialRecord | None = None
        self._progress = Progress(console, self._render, self._log_line)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def take_up(self, counted: int, trials: Sequence[TrialRecord]) -> None:
        """Begin with the trials that the study already has."""
        self._counted = counted
        self._paused = {trial.number for trial in trials if trial.state == "paused"}
        self._begun_before = self._begun
        for trial in trials:
            self._account(trial)

    def started(self, number: int, params: Mapping[str, Any], journal: Path) -> None:
        """A trial began, or goes on."""
        self._running[number] = _Running(setup(params), JournalReader(journal), time.monotonic())

    def paused(self, trial: TrialRecord) -> None:
        """A trial paused: it may go on later."""
        self._running.pop(trial.number, None)
        self._paused.add(trial.number)
        self._meet(trial)
        self._account(trial)
        if not self._progress.drawn:
            self._print_line(trial)

    def ended(self, trial: TrialRecord, counted: int | None = None) -> None:
        """A trial ended.

        Args:
            trial: The trial.
            counted: How many have, where others add to them.
        """
        self._running.pop(trial.number, None)
        self._meet(trial)
        self._counted = self._counted + 1 if counted is None else counted
        self._paused.discard(trial.number)
        self._account(trial)
        if not self._progress.drawn or trial.state == "failed":
            self._print_line(trial)

    def mind(self, flags: Sequence[str]) -> None:
        """Say doubtful measuring conditions, each once, with what to do about it."""
        for flag in flags:
            if flag not in self._warned:
                self._warned.add(flag)
                self.note(f"mind: {explain_flag(flag)}")

    def note(self, text: str) -> None:
        """Say something above the progress."""
        say(self._console, text)

    def _meet(self, trial: TrialRecord) -> None:
        """Say where joules come from, once, and what is doubtful about a trial's."""
        if trial.result is not None and self._provenance is None:
            self._provenance = trial.result.start.provenance
            self.note(source_lines(self._provenance))
        self.mind(() if trial.result is None else trial.result.flags)

    @property
    def _begun(self) -> int:
        """Trials that have ended, or come to a pause."""
        return self._counted + len(self._paused)

    @property
    def _spent_j(self) -> float:
        return sum(self._spent.values())

    def _account(self, trial: TrialRecord) -> None:
        if trial.result is None:
            return
        self._spent[trial.number] = trial.result.spent_j  # all executions of it
        energy_j = trial.result.energy_to_target_j
        if trial.result.valid and energy_j is not None:
            best = (
                self._best.result.energy_to_target_j if self._best and self._best.result else None
            )
            if best is None or energy_j < best:
                self._best = trial

    def _print_line(self, trial: TrialRecord) -> None:
        words = setup(trial.params)
        text = f"{self._so_far} trial {trial.number}: {_outcome(trial)}"
        text += f" ({words})" if words else ""
        if self._spent_j:
            text += f"; {joules(self._spent_j)} so far"
        if time.monotonic() - self._began_s > _SOON_S:  # else whoever reads a log need not wait
            text += self._left
        say(self._console, text, style="red" if trial.state == "failed" else "")

    def _log_line(self) -> str:
        """What runs, for a log."""
        now = "; ".join(_now(f"trial {number}", run) for number, run in self._running_now())
        return f"{self._so_far} {now}{self._left}" if now else ""

    @property
    def _so_far(self) -> str:
        return f"[{self._begun}/{self._n_trials}]"

    @property
    def _left(self) -> str:
        """How long it will take, from the trials that this run has begun."""
        elapsed_s = time.monotonic() - self._began_s
        begun_here = self._begun - self._begun_before
        return time_left(elapsed_s, begun_here, self._n_trials - self._begun)

    def _running_now(self) -> list[tuple[int, _Running]]:
        return sorted(self._running.items())  # a copy: a thread of its own draws it

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._bar()]
        if self._best is not None:
            line = f"best  {_outcome(self._best)} ({setup(self._best.params)})"
            parts.append(Text(line, style="green", overflow="ellipsis", no_wrap=True))
        parts.extend(_dim(_now(f"trial {number}", run)) for number, run in self._running_now())
        return Group(*parts)

    def _bar(self) -> RenderableType:
        elapsed_s = time.monotonic() - self._began_s
        now = {
            number: total(w.energy for w in run.reader.journal.windows).total_j
            for number, run in self._running_now()
        }
        # The journal of a trial that goes on knows what it has burnt before, too.
        now_j = sum(max(of - self._spent.get(number, 0.0), 0.0) for number, of in now.items())
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(self._n_trials, self._begun, width=24),
            Text(
                f"{self._begun}/{self._n_trials} trials, {joules(self._spent_j + now_j)} so far, "
                f"{roughly(elapsed_s)}{self._left}"
            ),
        )
        return row


class LiveTrial:
    """Shows one training while it runs, on a terminal. A context manager.

    Args:
        journal: The trial's journal.
        console: Where to show.
    """

    def __init__(self, journal: Path, console: Console) -> None:
        self._run = _Running("", JournalReader(journal), time.monotonic())
        self._progress = Progress(
            console,
            lambda: _dim(_now("training", self._run)),
            lambda: _now("training", self._run),
        )

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)


def _dim(line: str) -> Text:
    return Text(line, style="dim", overflow="ellipsis", no_wrap=True)


def _now(what: str, run: _Running) -> str:
    """One training that runs, in a line."""
    with suppress(JournalError):  # whoever needs all of it says so; this only shows
        run.reader.read()
    journal = run.reader.journal
    line = f"now   {what}{': ' if run.setup else ''}{run.setup}"
    if not journal.checkpoints:
        doing = journal.now or "starting"
        line += f"  {doing}, {roughly(time.monotonic() - run.since_s)}"
    elif journal.start is not None:
        at = journal.checkpoints[-1]
        spent_j = total(w.energy for w in journal.windows).total_j
        trained_s = sum(w.energy.time_s for w in journal.windows if w.purpose in _EPOCHS)
        left = time_left(trained_s, at.epoch, journal.start.epochs - at.epoch)
        line += (
            f"  epoch {at.epoch:.3g}/{journal.start.epochs:g}, accuracy {at.accuracy:.3f}, "
            f"{joules(spent_j)}{left.replace('about', 'at most')}"
        )
    return line


def _outcome(trial: TrialRecord) -> str:
    """How a trial ended, in a few words."""
    if trial.state == "failed":
        return f"failed: {trial.reason}"
    if trial.result is None:
        if trial.state == "pruned":
            return f"pruned{': ' + trial.reason if trial.reason else ''}"
        return ", ".join(f"{value:.6g}" for value in trial.values)
    return result_line(trial.result)


def result_line(result: TrialResult) -> str:
    """A trial's outcome: "1.2 J to 0.95, best accuracy 0.972", or that it missed."""
    best = f"best accuracy {result.best_accuracy:.3f}"
    paused = f"{result.reason}, " if result.end == "paused" else ""
    if result.energy_to_target_j is not None:
        return f"{paused}{joules(result.energy_to_target_j)} to {result.target:g}, {best}"
    if paused:
        return f"{paused}{best}" if len(result.curve) else result.reason
    early = result.end in ("diverged", "stopped")
    how = f"stopped ({result.reason})" if early else f"missed {result.target:g}"
    return f"{how}, {best}, {joules(result.training_j)} spent training"
