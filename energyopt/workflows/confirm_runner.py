"""Run the trainings of a confirmation one at a time, each in its own process, and store them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from rich.console import Console

from energyopt.core.calibration import Calibration
from energyopt.core.journal import JournalReader
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import count, setup, time_left
from energyopt.errors import DiskFullError, EnergyoptError, StudyError
from energyopt.hardware.command_meter import CommandMeters
from energyopt.jobs.app_config import compose_here
from energyopt.jobs.job import restore_limits, warm_up
from energyopt.jobs.job_result import outcome_of_error
from energyopt.jobs.launcher import LocalLauncher
from energyopt.jobs.standalone import StandaloneJobs, StandaloneResult
from energyopt.jobs.worker import OUTPUT
from energyopt.report.console import say
from energyopt.report.live import LiveTrial
from energyopt.report.trial_lines import result_line
from energyopt.storage.command_account import CommandAccount
from energyopt.storage.confirmations import Confirmations
from energyopt.storage.identity import file_name
from energyopt.utils import failpoints
from energyopt.utils.signals import Interrupted, deferring

_DRIVER_RELEASE_S = 3.0  # a driver may need a moment to release a killed process's GPU


@dataclass(frozen=True, slots=True)
class ConfirmRun:
    """A planned training of a trial's configuration with a seed."""

    trial: TrialRecord
    seed: int
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        mark = f"{self.trial.default_mark}, " if self.trial.default else ""
        return f"seed {self.seed}, {mark}trial {self.trial.number} ({setup(self.trial.params)})"


class ConfirmRunner:
    """Runs what is missing of a confirmation; `plan` holds all its trainings, in their order."""

    def __init__(
        self,
        study: StudyRecord,
        plan: Sequence[ConfirmRun],
        config_dir: Path | None,
        console: Console,
    ) -> None:
        self._study = study
        self._plan = plan
        self._console = console
        folder = Path("studies").resolve() / file_name(study.name) / "confirm"
        self._jobs = StandaloneJobs(folder, config_dir, study.provenance)
        self._config = compose_here(plan[0].overrides, config_dir)
        confirmed = (run.result for run in study.confirmations if run.result is not None)
        self._calibration = Calibration.of((*(result for _, result in study.results), *confirmed))
        self._launcher = LocalLauncher()
        hardware: Any = OmegaConf.to_container(self._config.hardware, resolve=True)
        self._hardware: Mapping[str, Any] = hardware
        self._events: queue.SimpleQueue[JobReturn | Interrupted] = queue.SimpleQueue()

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Fork the process that starts the trainings, before a database connection is open."""
        for message in restore_limits():
            self._say(message)
        self._launcher.take(self._jobs)
        self._launcher.open(
            lambda: warm_up(self._config), lambda: restore_limits(_DRIVER_RELEASE_S)
        )
        try:
            yield
        finally:
            self._launcher.close()
            restore_limits(_DRIVER_RELEASE_S)

    def read_partial_result(self, number: int) -> TrialResult | None:
        """Read from its journal what a training did before it was interrupted or crashed."""
        journal = JournalReader(self._jobs.journal(number)).read()
        return journal.result("lost", "it did not end")

    @cached_property
    def meters(self) -> CommandMeters:
        """Return what counts the energy of this command."""
        return CommandMeters.of(self._hardware)

    def train_missing(self, confirmations: Confirmations, account: CommandAccount) -> None:
        """Run the trainings of the plan that are not stored yet.

        Args:
            confirmations: Those that are stored.
            account: Records the energy of this command.

        Raises:
            EnergyoptError: If one fails.
            SystemExit: After an interrupt, with the code of its signal.
        """
        complete = {run.overrides for run in confirmations.all() if run.state == "complete"}
        missing = [run for run in self._plan if run.overrides not in complete]
        n_complete = len(self._plan) - len(missing)
        n_setups = len({run.trial.number for run in self._plan})
        seeds = count(len(self._plan) // n_setups, "seed")
        already = f", {n_complete} of them done before" if n_complete else ""
        trainings = count(len(self._plan), "training")
        self._say(
            f"study {self._study.name}: {trainings}, {n_setups} setups with {seeds} each{already}"
        )
        start_s = time.monotonic()
        with deferring(self._events.put):
            for i, run in enumerate(missing, 1):
                number = self._plan.index(run) + 1
                line = self._train(confirmations, run, account)
                remaining = time_left(time.monotonic() - start_s, i, len(missing) - i)
                self._say(f"[{number}/{len(self._plan)}] {run}: {line}{remaining}")

    def _train(self, confirmations: Confirmations, run: ConfirmRun, account: CommandAccount) -> str:
        """Run a training, store its result, and return a line about it."""
        number = confirmations.begin(run.trial.number, run.seed, run.overrides)
        account.began(number, None)
        failpoints.hit("confirming")
        self._jobs.prepare(number, RunContext(calibration=self._calibration))
        journal = self._jobs.journal(number)
        with LiveTrial(journal, self._console):
            event = self._wait_for(run, number, account)
        if isinstance(event, Interrupted):
            self._launcher.close()  # first, so that the journal has all energy used until then
            partial_result = self.read_partial_result(number)
            account.ended(number, partial_result)
            confirmations.end(number, "lost", partial_result, reason="interrupted")
            self._say("interrupted: what was trained is kept; the same command resumes there")
            raise SystemExit(event.exit_code)
        value = event._return_value  # noqa: SLF001  # the property prints a traceback
        if not isinstance(value, StandaloneResult):
            account.ended(number, self.read_partial_result(number))
            raise self._store_failure(confirmations, run, number, value)
        account.ended(number, value.result)
        failpoints.hit("confirmed")
        confirmations.end(number, "complete", value.result, test_accuracy=value.test_accuracy)
        self._calibration = self._calibration.updated_with(value.result)
        tested, monitor = value.test_accuracy, value.result.monitor
        suffix = "" if tested is None else f", test {monitor.name} {monitor.text(tested)}"
        return f"{result_line(value.result)}{suffix}"

    def _wait_for(
        self, run: ConfirmRun, number: int, account: CommandAccount
    ) -> JobReturn | Interrupted:
        """Return the result of a training, or a signal if one arrives first."""

        def launch() -> None:
            try:
                (job_return,) = self._launcher.launch([run.overrides], initial_job_idx=number)
            except EnergyoptError as error:  # the process that starts the trainings has died
                job_return = JobReturn(status=JobStatus.FAILED, _return_value=error)
            self._events.put(job_return)

        threading.Thread(target=launch, daemon=True).start()
        while True:
            try:
                return self._events.get(timeout=max(account.due_s, 0.0))
            except queue.Empty:
                progress = self.read_partial_result(number)
                account.record({} if progress is None else {number: progress})

    def _store_failure(
        self, confirmations: Confirmations, run: ConfirmRun, number: int, error: object
    ) -> EnergyoptError:
        """Store a failed training, and return the error to raise."""
        partial_result = self.read_partial_result(number)
        try:
            reason = outcome_of_error(error).reason
        except DiskFullError as full:  # the same command trains it again
            confirmations.end(number, "lost", partial_result, reason=str(full))
            return full
        confirmations.end(number, "failed", partial_result, reason=reason)
        if isinstance(error, EnergyoptError):
            return error
        output = self._jobs.journal(number).with_name(OUTPUT)
        return StudyError(f"{run} failed: {reason}; {output} has what it printed")

    def _say(self, text: str) -> None:
        say(self._console, text)
