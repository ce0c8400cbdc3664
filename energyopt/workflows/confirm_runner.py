"""The trainings of a confirmation: one at a time, each in its process, each in the books."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from rich.console import Console

from energyopt.core.calibration import Calibration
from energyopt.core.journal import JournalReader
from energyopt.core.run_context import RunContext
from energyopt.core.study_record import StudyRecord, TrialRecord
from energyopt.core.trial_result import TrialResult
from energyopt.core.units import count, setup, time_left
from energyopt.errors import EnergyoptError, StudyError
from energyopt.jobs.compose import compose_here
from energyopt.jobs.job import restore_limits, warm_up
from energyopt.jobs.job_result import outcome_of_error
from energyopt.jobs.launcher import LocalLauncher
from energyopt.jobs.standalone import StandaloneJobs, StandaloneResult
from energyopt.jobs.worker import OUTPUT
from energyopt.report.console import say
from energyopt.report.live import LiveTrial, result_line
from energyopt.storage.confirmations import Confirmations
from energyopt.utils import failpoints
from energyopt.utils.signals import Interrupted, deferring

_DEATH_S = 3.0  # a driver takes its time to let go of a killed process


@dataclass(frozen=True, slots=True)
class ConfirmRun:
    """One that is to be made.

    Attributes:
        trial: The trial whose setup it is.
        seed: Its seed.
        words: What trains it.
    """

    trial: TrialRecord
    seed: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        default = "default, " if self.trial.default else ""
        words = setup(self.trial.params)
        return f"seed {self.seed}, {default}trial {self.trial.number} ({words})"


class ConfirmRunner:
    """One call of the command.

    Args:
        study: The study.
        plan: All trainings, in their order.
        config_dir: A folder of the user's own configs.
        console: Where to show it.
    """

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
        folder = Path("studies").resolve() / study.name / "confirm"
        self._trainings = StandaloneJobs(folder, config_dir, study.provenance)
        self._config = compose_here(plan[0].words, config_dir)
        confirmed = (c.result for c in study.confirmations if c.result is not None)
        self._known = Calibration.of((*(result for _, result in study.results), *confirmed))
        self._launcher = LocalLauncher()
        self._news: queue.SimpleQueue[JobReturn | Interrupted] = queue.SimpleQueue()

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Fork the server of the trainings, while nothing here has connections to a database."""
        for sentence in restore_limits():
            self._say(sentence)
        self._launcher.take(self._trainings)
        self._launcher.open(lambda: warm_up(self._config), lambda: restore_limits(_DEATH_S))
        try:
            yield
        finally:
            self._launcher.close()
            restore_limits(_DEATH_S)

    def burnt(self, number: int) -> TrialResult | None:
        """What there is of a training that did not come back."""
        journal = JournalReader(self._trainings.journal(number)).read()
        return journal.result("lost", "it did not end")

    def train_missing(self, books: Confirmations) -> None:
        """Make the trainings that are not in the books.

        Raises:
            EnergyoptError: If one fails.
            SystemExit: After an interrupt, with the code of its signal.
        """
        done = {each.overrides for each in books.all() if each.state == "complete"}
        before = sum(training.words in done for training in self._plan)
        setups = len({training.trial.number for training in self._plan})
        each = count(len(self._plan) // setups, "seed")
        already = f", {before} of them done before" if before else ""
        trainings = count(len(self._plan), "training")
        self._say(
            f"study {self._study.name}: {trainings}, {setups} setups with {each} each{already}"
        )
        began_s = time.monotonic()
        missing = [training for training in self._plan if training.words not in done]
        with deferring(self._news.put):
            for at, training in enumerate(missing):
                number = self._plan.index(training) + 1
                line = self._train(books, training)
                left = time_left(time.monotonic() - began_s, at + 1, len(missing) - at - 1)
                self._say(f"[{number}/{len(self._plan)}] {training}: {line}{left}")

    def _train(self, books: Confirmations, training: ConfirmRun) -> str:
        """Train a setup with a seed, and book it; how it ended."""
        number = books.begin(training.trial.number, training.seed, training.words)
        failpoints.at("confirming")
        self._trainings.prepare(number, RunContext(calibration=self._known))
        journal = self._trainings.journal(number)
        with LiveTrial(journal, self._console):
            answer = self._launched(training, number)
        if isinstance(answer, Interrupted):
            self._launcher.close()  # first: what it burnt until then belongs into the books
            books.end(number, "lost", self.burnt(number), reason="interrupted")
            self._say("interrupted: what was trained is kept; the same command goes on from there")
            raise SystemExit(answer.exit_code)
        value = answer._return_value  # noqa: SLF001  # the property prints a traceback
        if not isinstance(value, StandaloneResult):
            raise self._failed(books, training, number, value)
        failpoints.at("confirmed")
        books.end(number, "complete", value.result, test_accuracy=value.test_accuracy)
        self._known = self._known.learn(value.result)
        tested = value.test_accuracy
        more = "" if tested is None else f", test accuracy {tested:.4f}"
        return f"{result_line(value.result)}{more}"

    def _launched(self, training: ConfirmRun, number: int) -> JobReturn | Interrupted:
        """The answer of a training, or the signal that came before it."""

        def run() -> None:
            try:
                (returned,) = self._launcher.launch([training.words], initial_job_idx=number)
            except EnergyoptError as error:  # what runs the trainings died
                returned = JobReturn(status=JobStatus.FAILED, _return_value=error)
            self._news.put(returned)

        threading.Thread(target=run, daemon=True).start()
        return self._news.get()

    def _failed(
        self, books: Confirmations, training: ConfirmRun, number: int, error: object
    ) -> EnergyoptError:
        reason = outcome_of_error(error).reason
        books.end(number, "failed", self.burnt(number), reason=reason)
        if isinstance(error, EnergyoptError):
            return error
        output = self._trainings.journal(number).with_name(OUTPUT)
        return StudyError(f"{training} failed: {reason}; {output} has what it printed")

    def _say(self, text: str) -> None:
        say(self._console, text)
