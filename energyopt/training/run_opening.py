"""The opening of a `Run`: its folder, journal, hardware, and the pause from which it resumes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energyopt.core.conditions import Conditions
from energyopt.core.journal import NAME, JournalWriter, PausedRecord, has_ended
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import TrialStart
from energyopt.core.verdict import forget_verdict
from energyopt.errors import TrialError
from energyopt.training import run_state
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.training.checkpointing import ResumeState, State, check_same, merge_resumed
from energyopt.training.ranks import Message, Ranks
from energyopt.training.run_output import make_folder
from energyopt.training.run_profiling import NO_PROFILE
from energyopt.training.run_ranks import (
    check_ranks,
    declared,
    for_others,
    load_rank,
    metered_by_first,
)
from energyopt.training.run_setup import (
    Meter,
    Question,
    RunHardware,
    open_hardware,
    other_rank_hardware,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The parts of a run before its first window.

    Attributes:
        folder: Folder of its record; None if nothing is kept.
        journal: The record.
        hardware: Its meter and GPUs.
        start: The record of its start.
        record: Its measurements up to the pause from which rank 0 resumes; None without one.
        state: Its state at that pause; None without one.
    """

    folder: Path | None
    journal: JournalWriter
    hardware: RunHardware
    start: TrialStart
    record: PausedRecord | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens a run: in rank 0, which then tells the others what they need of it.

    Attributes:
        ranks: The ranks of the training.
        context: Of its study; empty outside of one.
        question: What the run is asked to reach.
        params: Its hyperparameters.
        in_study: Whether it is a job of a study.
        meter: Meter that the user gave.
        stack: Closes what was opened.
    """

    ranks: Ranks
    context: RunContext
    question: Question
    params: Mapping[str, Any]
    in_study: bool
    meter: Meter
    stack: ExitStack

    def open(self, name: str, folder: str | Path | None) -> Opened:
        """Open it.

        Args:
            name: Name of the run.
            folder: Folder that the user gave.

        Raises:
            EnergyoptError: If an argument is not allowed, or something cannot be opened.
        """
        opened: list[Opened] = []

        def open_first(_others: object) -> Message:
            opened.append(self._open_first(name, folder))
            meter, state = opened[0].hardware.meter, opened[0].state
            return for_others(self.ranks, opened[0].folder, meter, state)

        arguments = declared(self.question, self.params, self.meter)
        answer = self.ranks.share("Run()", arguments, open_first)
        return opened[0] if opened else self._follow(answer)

    def _open_first(self, name: str, folder: str | Path | None) -> Opened:
        path = self.context.folder if self.in_study else make_folder(name, folder)
        journal, resumed = self._open_journal(path)
        limit_w = None if resumed is None else _kept_limit_w(resumed.record.conditions)
        hardware = open_hardware(
            self.context,
            self.meter,
            self.params,
            on_wait=journal.began,
            resumed_limit_w=limit_w,
            ranks=self.ranks,
        )
        self.stack.callback(hardware.close)
        start = hardware.start_of(self.question, self.params)
        if resumed is None:
            return Opened(path, journal, hardware, start)
        start, resumed = merge_resumed(start, resumed)
        return Opened(path, journal, hardware, start, resumed.record, resumed.state)

    def _follow(self, answer: Message) -> Opened:
        """Open the part of another rank than 0."""
        folder = None if answer["folder"] is None else Path(answer["folder"])
        state = load_rank(folder, self.ranks.rank, answer)
        counted = metered_by_first(answer)
        hardware = other_rank_hardware(self.context, self.meter, self.params, counted)
        start = hardware.start_of(self.question, self.params)
        return Opened(folder, JournalWriter(None), hardware, start, state=state)

    def _open_journal(self, folder: Path | None) -> tuple[JournalWriter, ResumeState | None]:
        """Open the journal, and load the pause from which the training resumes."""
        if folder is None:
            return JournalWriter(None), None
        path = folder / NAME
        if self.context.has_pruner:
            forget_verdict(folder)
        if self.context.has_one_run and has_ended(folder):
            raise TrialError(
                "this command has made an energyopt.Run that ended, and a trial is one training: "
                "make one Run, or search the other training by itself"
            )
        if not self.context.resume:
            return JournalWriter(path, is_rerun=self.in_study), None
        state = run_state.load(folder / PAUSED)
        journal = JournalWriter(path, is_rerun=True, pause=state.get("pause"))
        if journal.resumed is None or "objects" not in state:
            raise TrialError(f"the paused training cannot resume: {path} does not hold its pause")
        check_same(folder / PAUSED, journal.resumed.at)
        check_ranks(state, self.ranks)
        return journal, ResumeState(journal.resumed, state)


def _kept_limit_w(conditions: Conditions) -> float | None:
    """Return the power limit that a resumed run keeps, in W; None if it was left alone."""
    return None if NO_PROFILE in conditions.flags else conditions.limit_w
