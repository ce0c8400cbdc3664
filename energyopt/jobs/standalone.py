"""Standalone trainings, outside of a study's trials, each in its own process."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from energyopt.config.trial_factory import TrialFactory
from energyopt.core.journal import NAME, JournalWriter
from energyopt.core.metric import ACCURACY
from energyopt.core.protocols import SupportsTest
from energyopt.core.run_context import NAME as CONTEXT
from energyopt.core.run_context import RunContext
from energyopt.core.trial_result import Provenance, TrialResult
from energyopt.errors import StudyError
from energyopt.jobs.app_config import compose_here, folders_here
from energyopt.jobs.job import ready_trial
from energyopt.jobs.worker import OUTPUT, Job, pickled, redirect_output
from energyopt.utils.files import private_files


@dataclass(frozen=True, slots=True)
class StandaloneResult:
    """The result of a standalone training.

    Attributes:
        result: Its record.
        test_accuracy: Test accuracy of the final model; None if its paradigm has no test.
    """

    result: TrialResult
    test_accuracy: float | None


@dataclass(frozen=True, slots=True)
class StandaloneJobs:
    """Runs standalone trainings; each has overrides, and a folder named by its number.

    Attributes:
        folder: Holds the folder of each training.
        config_dir: A folder of the user's own configs.
        study_provenance: Where the joules come from with which theirs are compared.
        timeout_s: Time limit of one training, in s.
    """

    folder: Path
    config_dir: Path | None = None
    study_provenance: Provenance | None = None
    timeout_s: float = math.inf

    def journal(self, number: int) -> Path:
        """Return the path of a training's journal."""
        return self.folder / str(number) / NAME

    def prepare(self, number: int, context: RunContext) -> None:
        """Create the folder of a training, with its context and no old journal."""
        journal = self.journal(number)
        journal.unlink(missing_ok=True)  # of a study that had this name before
        with private_files():
            context.write(journal.parent)

    def remember_configs(self) -> None:
        """Do nothing: each training reads its own configs."""

    def run(self, job: Job) -> bytes:
        """Train; see `JobRunner.run`."""
        returned = JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED)
        # The boundary of the process: whatever user code raises, sys.exit included, is an answer.
        try:
            returned._return_value = self._train(job)  # noqa: SLF001  # as Hydra sets it
            returned.status = JobStatus.COMPLETED
        except BaseException as error:
            returned._return_value = error  # noqa: SLF001
        return pickled(returned, prints=True)

    def _train(self, job: Job) -> StandaloneResult:
        path = self.journal(job.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        redirect_output(path.with_name(OUTPUT))
        journal = JournalWriter(path)
        cfg = compose_here(job.overrides, self.config_dir)
        folders = folders_here(self.config_dir)
        context = RunContext.read(path.with_name(CONTEXT))
        with TrialFactory(cfg, folders, context=context, on_wait=journal.began) as setup:
            self._check_provenance(setup.start.provenance)
            with ready_trial(setup, journal) as trial:
                result = trial.train()
            paradigm = trial.paradigm
            if not isinstance(paradigm, SupportsTest):
                return StandaloneResult(result, None)
            value = float(paradigm.test())
            built_task = vars(setup).get("task")  # a training that is replayed builds none
            samples = _test_samples(built_task) if _is_share(result) else None
        return StandaloneResult(replace(result, test_samples=samples), value)

    def _check_provenance(self, provenance: Provenance) -> None:
        expected = self.study_provenance
        if expected is not None and provenance.binding != expected.binding:
            raise StudyError(
                f"the study holds joules {' / '.join(expected.binding)}, this machine gives "
                f"{' / '.join(provenance.binding)}; joules of two kinds do not mix: confirm it "
                "where it was searched"
            )


def _is_share(result: TrialResult) -> bool:
    """Return True if a test value is the share of test samples that one model got right."""
    return result.monitor == ACCURACY and not result.head_targets


def _test_samples(task: object) -> int | None:
    """Return the number of test samples; None if a task of a user's own does not tell."""
    try:
        return len(task.test.labels) or None  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        return None
