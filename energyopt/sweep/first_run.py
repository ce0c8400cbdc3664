"""The job of another app that runs before its study is opened: it declares the study's goal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from energyopt.core.journal import NAME as JOURNAL
from energyopt.core.study_record import Outcome
from energyopt.core.trial_result import TrialResult
from energyopt.errors import ConfigError
from energyopt.jobs.job_result import outcome_of_error, traceback_of_job
from energyopt.training.checkpointing import NAME as PAUSED
from energyopt.utils.failure import about


@dataclass(frozen=True, slots=True)
class FirstRun:
    """A job that ran before the study was opened: its first trial.

    Attributes:
        recipe: The overrides that set its values.
        outcome: Its outcome.
    """

    recipe: tuple[str, ...]
    outcome: Outcome


def check_began(record: TrialResult, returned: JobReturn) -> None:
    """Check that the job did not fail between its `Run` and the loop, which states the epochs.

    Raises:
        ConfigError: If it did, with its reason and its traceback.
    """
    if record.start.epochs or returned.status == JobStatus.COMPLETED:
        return
    value = returned._return_value  # noqa: SLF001  # the property raises a job's exception
    reason = outcome_of_error(value).reason
    error = ConfigError(f"the default configuration failed before its loop began: {reason}")
    raise about(error, traceback_of_job(value))


def forget_earlier(folder: Path) -> None:
    """Remove what a trial of an earlier study left in the folder of the first one."""
    for name in (JOURNAL, PAUSED):
        (folder / name).unlink(missing_ok=True)
