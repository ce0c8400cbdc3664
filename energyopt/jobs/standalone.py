"""Trainings that no study asked for, each in a process of its own, as the launcher runs them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.journal import NAME, JournalWriter
from energyopt.core.protocols import SupportsTest
from energyopt.core.run_context import NAME as CONTEXT
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.errors import StudyError
from energyopt.jobs.compose import compose_here, folders_here
from energyopt.jobs.job import ready_trial
from energyopt.jobs.worker import OUTPUT, Job, pickled, print_into
from energyopt.utils.files import private_files


@dataclass(frozen=True, slots=True)
class StandaloneResult:
    """What a training was.

    Attributes:
        result: Its record.
        test_accuracy: Of the model as it ended; None if its paradigm tests none.
    """

    result: TrialResult
    test_accuracy: float | None


@dataclass(frozen=True, slots=True)
class StandaloneJobs:
    """What all of them share; each has its words and a folder, named by its number.

    Attributes:
        folder: Where each has a folder.
        config_dir: A folder of the user's own configs.
        beside: Where the joules come from that theirs are to be compared with.
        timeout_s: How long one may take, in s.
    """

    folder: Path
    config_dir: Path | None = None
    beside: Provenance | None = None
    timeout_s: float = math.inf

    def journal(self, number: int) -> Path:
        """The journal of a training."""
        return self.folder / str(number) / NAME

    def prepare(self, number: int, context: RunContext) -> None:
        """Make the folder of a training anew, with what it is told; see `RunContext`."""
        journal = self.journal(number)
        journal.unlink(missing_ok=True)  # of a study that had this name before
        with private_files():
            context.write(journal.parent)

    def remember_configs(self) -> None:
        """Nothing: each reads its own."""

    def run(self, job: Job) -> bytes:
        """Train; see `Runs`."""
        returned = JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED)
        # The boundary of the process: whatever user code raises (sys.exit included) is an answer.
        try:
            returned._return_value = self._train(job)  # noqa: SLF001  # as Hydra sets it
            returned.status = JobStatus.COMPLETED
        except BaseException as error:
            returned._return_value = error  # noqa: SLF001
        return pickled(returned)

    def _train(self, job: Job) -> StandaloneResult:
        path = self.journal(job.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        print_into(path.with_name(OUTPUT))
        journal = JournalWriter(path)
        cfg = compose_here(job.overrides, self.config_dir)
        folders = folders_here(self.config_dir)
        context = RunContext.read(path.with_name(CONTEXT))
        with TrialFactory(cfg, folders, context=context, on_wait=journal.began) as setup:
            self._check(setup.start.provenance)
            with ready_trial(setup, journal) as trial:
                result = trial.train()
            paradigm = trial.paradigm
            accuracy = paradigm.test() if isinstance(paradigm, SupportsTest) else None
        return StandaloneResult(result, None if accuracy is None else float(accuracy))

    def _check(self, provenance: Provenance) -> None:
        if self.beside is not None and provenance.binding != self.beside.binding:
            raise StudyError(
                f"the study holds joules {' / '.join(self.beside.binding)}, this machine gives "
                f"{' / '.join(provenance.binding)}; joules of two kinds do not mix: confirm it "
                "where it was searched"
            )
